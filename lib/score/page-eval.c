#include "score/page-parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_MATRIX = 60,   /* classes of which a matrix is drawn */
    MOST_CONFUSED = 50, /* pairs of classes that are listed */
    MOST_MISTAKES = 200 /* pictures that are shown */
};

/* Pictures of a pair of classes. */
struct confused {
    size_t truth, guess, count;
};

static void put_name(FILE *file, const struct clip_page *page, size_t class)
{
    clip_html_text(file, page->classes->names[class].text, page->classes->names[class].size);
}

static int by_pair(const void *a, const void *b)
{
    const struct confused *x = a, *y = b;
    if (x->truth != y->truth)
        return x->truth < y->truth ? -1 : 1;
    return (x->guess > y->guess) - (x->guess < y->guess);
}

static int by_count(const void *a, const void *b)
{
    const struct confused *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return by_pair(a, b);
}

/* The pairs that occur, in order; returns how many. */
static size_t count_pairs(const struct clip_page *page, struct confused *pairs)
{
    size_t rows = page->results->count, n = 0;
    for (size_t i = 0; i < rows; i++)
        pairs[i] = (struct confused){page->classes->truth[i], page->classes->guess[i], 1};
    qsort(pairs, rows, sizeof *pairs, by_pair);
    for (size_t i = 0; i < rows; i++)
        if (n > 0 && by_pair(&pairs[n - 1], &pairs[i]) == 0)
            pairs[n - 1].count++;
        else
            pairs[n++] = pairs[i];
    return n;
}

/* A row a class, a column each that it was taken for; colours are shares of the row. */
static void write_matrix(const struct clip_page *page, const struct confused *pairs, size_t n,
                         const size_t *pictures, FILE *file)
{
    size_t at = 0, classes = page->classes->count;
    fputs("<h2>Confusion</h2>\n<p class=\"about\">Rows are classes, columns what their pictures were taken "
          "for.</p>\n<div class=\"wide\"><table class=\"matrix\">\n<tr><td></td>",
          file);
    for (size_t c = 0; c < classes; c++) {
        fputs("<th scope=\"col\"><span>", file);
        put_name(file, page, c);
        fputs("</span></th>", file);
    }
    for (size_t r = 0; r < classes; r++) {
        fputs("</tr>\n<tr><th scope=\"row\">", file);
        put_name(file, page, r);
        fputs("</th>", file);
        for (size_t c = 0; c < classes; c++) {
            size_t count = at < n && pairs[at].truth == r && pairs[at].guess == c ? pairs[at++].count : 0;
            if (count)
                fprintf(file, "<td class=\"%s\" style=\"--of:%.2f\">%zu</td>", r == c ? "right" : "wrong",
                        (double)count / (double)pictures[r], count);
            else
                fputs("<td></td>", file);
        }
    }
    fputs("</tr>\n</table></div>\n", file);
}

static void write_confused(const struct clip_page *page, struct confused *pairs, size_t n, FILE *file)
{
    size_t shown = 0;
    qsort(pairs, n, sizeof *pairs, by_count);
    fputs("<h2>Most confused</h2>\n<div class=\"wide\"><table class=\"sortable\">\n<thead><tr><th>class</th>"
          "<th>taken for</th><th class=\"number\">pictures</th></tr></thead>\n<tbody>\n",
          file);
    for (size_t i = 0; i < n && shown < MOST_CONFUSED; i++) {
        if (pairs[i].truth == pairs[i].guess)
            continue;
        fputs("<tr><td>", file);
        put_name(file, page, pairs[i].truth);
        fputs("</td><td>", file);
        put_name(file, page, pairs[i].guess);
        fprintf(file, "</td><td class=\"number\">%zu</td></tr>\n", pairs[i].count);
        shown++;
    }
    fputs("</tbody></table></div>\n", file);
}

static void write_recall(const struct clip_page *page, const size_t *pictures, const size_t *right,
                         FILE *file)
{
    fputs("<h2>Recall</h2>\n<div class=\"wide\"><table class=\"sortable\">\n<thead><tr><th>class</th>"
          "<th class=\"number\">pictures</th><th class=\"number\">right</th>"
          "<th class=\"number\">recall</th></tr></thead>\n<tbody>\n",
          file);
    for (size_t c = 0; c < page->classes->count; c++) {
        if (pictures[c] == 0)
            continue;
        fputs("<tr><td>", file);
        put_name(file, page, c);
        fprintf(file,
                "</td><td class=\"number\">%zu</td><td class=\"number\">%zu</td>"
                "<td class=\"number\">%.2f %%</td></tr>\n",
                pictures[c], right[c], 100 * (double)right[c] / (double)pictures[c]);
    }
    fputs("</tbody></table></div>\n", file);
}

/* How far the guess is ahead of the right class, or of the last match where that is not among them. */
static double margin_of(const struct clip_page *page, size_t row)
{
    const struct clip_result *result = &page->results->rows[row];
    const struct clip_result_name *truth = &page->classes->names[page->classes->truth[row]];
    double best = result->matches[0].score;
    for (size_t k = 1; k < result->count; k++)
        if (clip_result_name_compare(&result->matches[k].item.label, truth) == 0)
            return best - result->matches[k].score;
    return best - result->matches[result->count - 1].score;
}

struct mistake {
    size_t row;
    double margin;
};

static int by_margin(const void *a, const void *b)
{
    const struct mistake *x = a, *y = b;
    if (x->margin != y->margin)
        return x->margin > y->margin ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int write_mistakes(const struct clip_page *page, FILE *file, struct clip_error *error)
{
    static char heading[] = "Worst mistakes";
    size_t n = 0;
    char about[100];
    struct mistake *mistakes = calloc(page->results->count + 1, sizeof *mistakes);
    if (!mistakes)
        return clip_fail_memory(error, "mistakes");
    for (size_t i = 0; i < page->results->count; i++)
        if (page->classes->truth[i] != page->classes->guess[i])
            mistakes[n++] = (struct mistake){i, margin_of(page, i)};
    qsort(mistakes, n, sizeof *mistakes, by_margin);
    snprintf(about, sizeof about, "%zu of %zu, by how far the class that was taken is ahead",
             n < MOST_MISTAKES ? n : MOST_MISTAKES, n);
    clip_page_section(file, &(struct clip_result_name){heading, strlen(heading)}, about);
    for (size_t i = 0; i < n && i < MOST_MISTAKES; i++) {
        size_t row = mistakes[i].row;
        struct clip_result_item item = page->results->rows[row].item;
        item.label = item.key;
        struct clip_page_note note = {&page->classes->names[page->classes->truth[row]], "taken for",
                                      &page->classes->names[page->classes->guess[row]]};
        clip_page_cell(page, file, &item, mistakes[i].margin, &note);
    }
    clip_page_section_end(file);
    free(mistakes);
    return 0;
}

static void write_summary(const struct clip_page *page, const size_t *right, FILE *file)
{
    size_t all = 0;
    for (size_t c = 0; c < page->classes->count; c++)
        all += right[c];
    fprintf(file, "<p class=\"about\">%zu pictures, %zu classes, %.2f %% right</p>\n", page->results->count,
            page->classes->count,
            page->results->count ? 100 * (double)all / (double)page->results->count : 0.);
}

int clip_page_eval(const struct clip_page *page, FILE *file, struct clip_error *error)
{
    const struct clip_page_classes *classes = page->classes;
    size_t rows = page->results->count;
    struct confused *pairs = calloc(rows + 1, sizeof *pairs);
    size_t *pictures = calloc(2 * classes->count + 1, sizeof *pictures), *right = pictures + classes->count;
    int status = pairs && pictures ? 0 : clip_fail_memory(error, "classes");
    if (status == 0) {
        for (size_t i = 0; i < rows; i++) {
            pictures[classes->truth[i]]++;
            right[classes->truth[i]] += classes->truth[i] == classes->guess[i];
        }
        size_t n = count_pairs(page, pairs);
        write_summary(page, right, file);
        if (classes->count <= MOST_MATRIX)
            write_matrix(page, pairs, n, pictures, file);
        write_confused(page, pairs, n, file);
        write_recall(page, pictures, right, file);
        status = write_mistakes(page, file, error);
    }
    free(pairs);
    free(pictures);
    return status;
}
