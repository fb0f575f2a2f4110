#include "score/page.h"

#include "score/page-parts.h"
#include "stream/print.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

/* --- escaping --- */

void clip_html_text(FILE *file, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        ucs4_t c;
        int n = u8_mbtoucr(&c, (const uint8_t *)text + i, size - i);
        if (n < 1)
            fputs("\xef\xbf\xbd", file);
        else if (c == '\n')
            fputs("\xe2\x86\xb5", file);
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xfdd0 && c < 0xfdf0) || (c & 0xfffe) == 0xfffe)
            fputs("\xef\xbf\xbd", file);
        else if (c < 0x80 && strchr("&<>\"'", (int)c))
            fprintf(file, "&#%u;", (unsigned)c);
        else
            fwrite(text + i, 1, (size_t)n, file);
        i += n < 1 ? 1 : (size_t)n;
    }
}

/* The path of a file as a link: relative to the page, or from the root. */
static void put_link(FILE *file, const char *path, size_t size)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    fputs(size && path[0] == '/' ? "file://" : "./", file); /* never a scheme, nor another host */
    for (size_t i = 0; i < size; i++)
        if (path[i] && strchr(plain, path[i]))
            putc(path[i], file);
        else
            fprintf(file, "%%%02X", (unsigned char)path[i]);
}

/* --- sections and cells --- */

void clip_page_section(FILE *file, const struct clip_result_name *heading, const char *about)
{
    fputs("<section class=\"part\">\n<h2>", file);
    clip_html_text(file, heading->text, heading->size);
    fprintf(file, "</h2>\n<p class=\"about\">%s</p>\n<div class=\"grid\">\n", about);
}

void clip_page_section_end(FILE *file)
{
    fputs("</div>\n</section>\n", file);
}

static void put_picture(FILE *file, const struct clip_gallery_entry *entry,
                        const struct clip_result_name *key)
{
    if (!entry || !entry->data) {
        fputs("<span class=\"none\">no picture</span>", file);
        return;
    }
    fprintf(file, "<img width=\"%d\" height=\"%d\" loading=\"lazy\" alt=\"", entry->width, entry->height);
    clip_html_text(file, key->text, key->size);
    fprintf(file, "\" src=\"data:image/webp;base64,%s\">", entry->data);
}

void clip_page_cell(const struct clip_page *page, FILE *file, const struct clip_result_item *item,
                    double score, const struct clip_page_note *note)
{
    const struct clip_gallery_entry *entry = clip_gallery_find(page->gallery, &item->key);
    int link = entry && entry->is_file;
    fputs("<figure tabindex=\"0\" data-name=\"", file);
    clip_html_text(file, item->label.text, item->label.size);
    fputs("\"", file);
    if (isfinite(score)) {
        fputs(" data-score=\"", file);
        clip_print_float(file, (float)score);
        fputs("\"", file);
    }
    fputs(">", file);
    if (link) {
        fputs("<a href=\"", file);
        put_link(file, item->key.text, item->key.size);
        fputs("\">", file);
    }
    put_picture(file, entry, &item->key);
    fputs(link ? "</a><figcaption>" : "<figcaption>", file);
    if (isfinite(score))
        fprintf(file, "<b>%.4f</b> ", score);
    fputs("<span>", file);
    clip_html_text(file, item->label.text, item->label.size);
    fputs("</span>", file);
    if (note) {
        fputs(" <i>", file);
        if (note->before)
            clip_html_text(file, note->before->text, note->before->size);
        fprintf(file, " %s ", note->words);
        if (note->after)
            clip_html_text(file, note->after->text, note->after->size);
        fputs("</i>", file);
    }
    fputs("</figcaption></figure>\n", file);
}

static const char *count_of(char *out, size_t size, size_t count, const char *one, const char *many)
{
    snprintf(out, size, "%zu %s", count, count == 1 ? one : many);
    return out;
}

/* --- a section a row --- */

static int write_results(const struct clip_page *page, FILE *file, struct clip_error *error)
{
    (void)error;
    for (size_t i = 0; i < page->results->count; i++) {
        const struct clip_result *row = &page->results->rows[i];
        const struct clip_gallery_entry *query = clip_gallery_find(page->gallery, &row->item.key);
        char about[60];
        clip_page_section(file, &row->item.label,
                          count_of(about, sizeof about, row->count, "match", "matches"));
        if (query && query->data)
            clip_page_cell(page, file, &row->item, NAN, &(struct clip_page_note){.words = "asked for"});
        for (size_t k = 0; k < row->count; k++)
            clip_page_cell(page, file, &row->matches[k].item, row->matches[k].score, NULL);
        clip_page_section_end(file);
    }
    return 0;
}

/* --- groups of pictures that matches connect --- */

/* A picture of the gallery, by its number there. */
struct node {
    size_t parent; /* of its group's tree */
    double best;   /* score of a match of its */
    double group;  /* of a tree's root: the best of all in it */
    const struct clip_result_item *item;
};

static size_t root_of(struct node *nodes, size_t i)
{
    while (nodes[i].parent != i)
        i = nodes[i].parent = nodes[nodes[i].parent].parent;
    return i;
}

static size_t number_of(const struct clip_page *page, const struct clip_result_item *item)
{
    return (size_t)(clip_gallery_find(page->gallery, &item->key) - page->gallery->entries);
}

static void note_item(struct node *node, const struct clip_result_item *item, double score)
{
    node->item = item;
    if (!(node->best >= score))
        node->best = score;
}

static void connect_nodes(const struct clip_page *page, struct node *nodes)
{
    for (size_t i = 0; i < page->gallery->count; i++)
        nodes[i] = (struct node){.parent = i, .best = NAN, .group = NAN};
    for (size_t i = 0; i < page->results->count; i++) {
        const struct clip_result *row = &page->results->rows[i];
        size_t from = number_of(page, &row->item);
        for (size_t k = 0; k < row->count; k++) {
            size_t to = number_of(page, &row->matches[k].item);
            if (from == to)
                continue;
            note_item(&nodes[from], &row->item, row->matches[k].score);
            note_item(&nodes[to], &row->matches[k].item, row->matches[k].score);
            nodes[root_of(nodes, from)].parent = root_of(nodes, to);
        }
    }
}

/* A picture and its group, for sorting. */
struct member {
    size_t group;
    double group_best, best;
    const struct clip_result_item *item;
};

static int by_group(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->group_best != y->group_best)
        return x->group_best > y->group_best ? -1 : 1;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->best != y->best)
        return x->best > y->best ? -1 : 1;
    return clip_result_name_compare(&x->item->key, &y->item->key);
}

/* The members in the order in which they are shown; returns how many. */
static size_t order_members(struct node *nodes, size_t count, struct member *members)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct node *root = &nodes[root_of(nodes, i)];
        if (isfinite(nodes[i].best) && !(root->group >= nodes[i].best))
            root->group = nodes[i].best;
    }
    for (size_t i = 0; i < count; i++)
        if (nodes[i].item) {
            size_t group = root_of(nodes, i);
            double best = nodes[i].best;
            members[n++] = (struct member){group, isnan(nodes[group].group) ? -INFINITY : nodes[group].group,
                                           isnan(best) ? -INFINITY : best, nodes[i].item};
        }
    qsort(members, n, sizeof *members, by_group);
    return n;
}

static int write_pairs(const struct clip_page *page, FILE *file, struct clip_error *error)
{
    size_t count = page->gallery->count, groups = 0;
    struct node *nodes = calloc(count + 1, sizeof *nodes);
    struct member *members = calloc(count + 1, sizeof *members);
    if (!nodes || !members) {
        free(nodes);
        free(members);
        return clip_fail_memory(error, "groups");
    }
    connect_nodes(page, nodes);
    size_t n = order_members(nodes, count, members);
    for (size_t i = 0, end; i < n; i = end) {
        char heading[60], about[60];
        for (end = i + 1; end < n && members[end].group == members[i].group;)
            end++;
        snprintf(heading, sizeof heading, "Group %zu", ++groups);
        snprintf(about, sizeof about, "%zu pictures", end - i);
        clip_page_section(file, &(struct clip_result_name){heading, strlen(heading)}, about);
        for (size_t k = i; k < end; k++)
            clip_page_cell(page, file, members[k].item, members[k].best, NULL);
        clip_page_section_end(file);
    }
    free(nodes);
    free(members);
    return 0;
}

/* --- a section a class --- */

static const struct clip_result_name *class_of(const struct clip_result *row)
{
    return &row->matches[0].item.label;
}

static int by_class(const void *a, const void *b)
{
    const struct clip_result *x = *(const struct clip_result *const *)a,
                             *y = *(const struct clip_result *const *)b;
    double p = x->matches[0].score, q = y->matches[0].score;
    int order = clip_result_name_compare(class_of(x), class_of(y));
    if (order == 0 && p != q)
        return p < q || isnan(p) ? -1 : 1;
    return order ? order : x < y ? -1 : x > y;
}

static void write_class(const struct clip_page *page, FILE *file, const struct clip_result *const *rows,
                        size_t n)
{
    char about[60];
    clip_page_section(file, class_of(rows[0]), count_of(about, sizeof about, n, "picture", "pictures"));
    for (size_t i = 0; i < n; i++) {
        struct clip_page_note note = {.words = "or"};
        if (rows[i]->count > 1)
            note.after = &rows[i]->matches[1].item.label;
        clip_page_cell(page, file, &rows[i]->item, rows[i]->matches[0].score, note.after ? &note : NULL);
    }
    clip_page_section_end(file);
}

static int write_classes(const struct clip_page *page, FILE *file, struct clip_error *error)
{
    size_t n = 0;
    const struct clip_result **rows = calloc(page->results->count + 1, sizeof *rows);
    if (!rows)
        return clip_fail_memory(error, "classes");
    for (size_t i = 0; i < page->results->count; i++)
        if (page->results->rows[i].count > 0)
            rows[n++] = &page->results->rows[i];
    qsort(rows, n, sizeof *rows, by_class);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && clip_result_name_compare(class_of(rows[i]), class_of(rows[end])) == 0;)
            end++;
        write_class(page, file, rows + i, end - i);
    }
    free(rows);
    return 0;
}

/* --- the page --- */

static void write_head(const struct clip_page *page, FILE *file)
{
    const char *title = page->title ? page->title : "clip-page";
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
          "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
          "<link rel=\"icon\" href=\"data:,\">\n<title>",
          file);
    clip_html_text(file, title, strlen(title));
    fprintf(file, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<header>\n<h1>", page->style);
    clip_html_text(file, title, strlen(title));
    fputs("</h1>\n<form id=\"tools\" hidden>\n"
          "<label>Filter <input id=\"filter\" type=\"search\" autocomplete=\"off\"></label>\n"
          "<label>Score from <input id=\"least\" type=\"number\" step=\"any\"></label>\n"
          "<label>Sort <select id=\"sort\"><option value=\"given\">as given</option>"
          "<option value=\"high\">highest score first</option>"
          "<option value=\"low\">lowest score first</option>"
          "<option value=\"name\">by name</option></select></label>\n"
          "<output id=\"shown\"></output>\n"
          "<small>Keys: / filters, arrows move, Enter opens, Escape shows all.</small>\n</form>\n</header>\n"
          "<main>\n",
          file);
}

int clip_page_write(const struct clip_page *page, FILE *file, struct clip_error *error)
{
    static int (*const views[])(const struct clip_page *, FILE *, struct clip_error *) = {
        [CLIP_PAGE_RESULTS] = write_results,
        [CLIP_PAGE_PAIRS] = write_pairs,
        [CLIP_PAGE_CLASSES] = write_classes,
        [CLIP_PAGE_EVAL] = clip_page_eval,
    };
    write_head(page, file);
    int status = views[page->view](page, file, error);
    fprintf(file, "</main>\n<script>\n%s</script>\n</body>\n</html>\n", page->script);
    return status;
}
