#include "score/evaluation.h"
#include "base/array.h"

#include "base/lines.h"
#include "stream/reader.h"
#include "text/listing.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BEST = 5 }; /* lines of a picture in best.tsv, where there are so many classes */

static void free_names(struct clip_result_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i].text);
    free(names);
}

void clip_page_classes_free(struct clip_page_classes *classes)
{
    free_names(classes->names, classes->count);
    free(classes->truth);
    free(classes->guess);
    *classes = (struct clip_page_classes){0};
}

/* A growing list of names. */
struct names {
    struct clip_result_name *names;
    size_t count, room;
};

static int add_name(struct names *list, const char *text, size_t size, struct clip_error *error)
{
    if (CLIP_GROW(list->names, list->count, list->room) != 0)
        return clip_fail_memory(error, "names");
    return clip_result_name_set(&list->names[list->count], text, size, error) == 0 ? (list->count++, 0) : -1;
}

/* The keys of a stream. */
static int read_keys(struct names *list, char *path, size_t max_record, struct clip_error *error)
{
    struct clip_record *record;
    int got = 0, status = 0;
    struct clip_reader *reader = clip_reader_new(&path, 1, max_record, error);
    if (!reader)
        return -1;
    while (status == 0 && (got = clip_reader_next(reader, &record, error)) > 0) {
        size_t size;
        const char *key = clip_record_key(record, &size);
        if (key)
            status = add_name(list, key, size, error);
        clip_record_free(record);
    }
    clip_reader_free(reader);
    return status == 0 && got == 0 ? 0 : -1;
}

static int read_names(struct names *list, const char *path, struct clip_error *error)
{
    struct clip_lines lines = {.file = fopen(path, "re")};
    char *line;
    size_t size;
    int got = 0, status = 0;
    if (!lines.file)
        return clip_fail_errno(error, "%s", path);
    while (status == 0 && (got = clip_lines_next(&lines, &line, &size, error)) > 0)
        status = add_name(list, line, size, error);
    clip_lines_free(&lines);
    fclose(lines.file);
    return status == 0 && got == 0 ? 0 : clip_fail_prefix(error, "%s", path);
}

/* A class's number in a cell, with the white space that a file may have had after it. Returns 1; 0 where the
 * cell has none; -1 where it is not a number below `count`. */
static int class_number(const struct clip_cell *cell, size_t count, size_t *number)
{
    char digits[24];
    size_t n = 0;
    for (size_t i = 0; i < cell->size; i++) {
        if (cell->text[i] == ' ')
            continue;
        if (cell->text[i] == '\\' && i + 1 < cell->size && strchr("nrt", cell->text[i + 1])) {
            i++;
            continue;
        }
        if (cell->text[i] < '0' || cell->text[i] > '9' || n + 1 == sizeof digits)
            return -1;
        digits[n++] = cell->text[i];
    }
    digits[n] = '\0';
    *number = n ? strtoul(digits, NULL, 10) : 0;
    return n == 0 ? 0 : *number < count ? 1 : -1;
}

/* What is being put together. */
struct evaluation {
    struct clip_results *results;
    struct clip_page_classes *classes;
    const struct names *keys;
    size_t lines;            /* of best.tsv so far */
    size_t each;             /* lines of a picture */
    struct clip_result *row; /* of the picture; NULL: it has no class */
};

static int begin_picture(struct evaluation *e, const struct clip_row *line, struct clip_error *error)
{
    size_t truth, number = e->lines / e->each;
    e->row = NULL;
    if (number >= e->keys->count)
        return clip_fail(error, "more pictures than pictures.clip has (%zu)", e->keys->count);
    int got = class_number(&line->cells[0], e->classes->count, &truth);
    if (got < 0)
        return clip_fail(error, "not the number of one of %zu classes", e->classes->count);
    if (got == 0)
        return 0;
    const struct clip_result_name *key = &e->keys->names[number], *name = &e->classes->names[truth];
    e->classes->truth[e->results->count] = truth;
    e->row = clip_results_add(e->results, error);
    return e->row ? clip_result_item_set(&e->row->item, key->text, key->size, name->text, name->size, error)
                  : -1;
}

static int add_line(struct evaluation *e, const struct clip_row *line, struct clip_error *error)
{
    size_t guess;
    char *end;
    if (line->count != 3)
        return clip_fail(error, "not three cells");
    if (e->lines % e->each == 0 && begin_picture(e, line, error) != 0)
        return -1;
    e->lines++;
    double score = strtod(line->cells[2].text, &end);
    if (class_number(&line->cells[1], e->classes->count, &guess) != 1 || end == line->cells[2].text || *end)
        return clip_fail(error, "not the number of one of %zu classes and a score", e->classes->count);
    if (!e->row)
        return 0;
    struct clip_result_match *match = clip_results_match(e->results, e->row, error);
    const struct clip_result_name *name = &e->classes->names[guess];
    if (!match || clip_result_item_set(&match->item, name->text, name->size, NULL, 0, error) != 0)
        return -1;
    match->score = score;
    if (e->row->count == 1)
        e->classes->guess[e->results->count - 1] = guess;
    return 0;
}

static int read_best(struct evaluation *e, const char *path, size_t max_record, struct clip_error *error)
{
    struct clip_listing_options options = {
        .format = CLIP_LISTING_TSV, .no_header = 1, .no_quotes = 1, .max_row = max_record};
    struct clip_row *line;
    int fd = open(path, O_RDONLY | O_CLOEXEC), got = 0;
    if (fd < 0)
        return clip_fail(error, "%s: %m (clip-eval --save writes it, of zero-shot classification)", path);
    struct clip_listing *listing = clip_listing_new(fd, &options, NULL, error);
    int status = listing ? clip_listing_begin(listing, error) : -1;
    while (status == 0 && (got = clip_listing_next(listing, &line, error)) > 0) {
        status = line->bad ? clip_fail(error, "%s", line->error.text) : add_line(e, line, error);
        if (status != 0)
            clip_fail_prefix(error, "line %" PRIu64, line->line);
    }
    if (status == 0 && got == 0 && e->lines != e->each * e->keys->count)
        status = clip_fail(error, "%zu lines, but there are %zu pictures of %zu lines each", e->lines,
                           e->keys->count, e->each);
    clip_listing_free(listing);
    close(fd);
    return status == 0 && got == 0 ? 0 : clip_fail_prefix(error, "%s", path);
}

/* The classes' names, which are their keys, numbers, where no file has others. */
static int read_classes(struct clip_page_classes *classes, char *path, const char *names, size_t max_record,
                        struct clip_error *error)
{
    struct names numbers = {NULL, 0, 0}, given = {NULL, 0, 0};
    int status = read_keys(&numbers, path, max_record, error);
    if (status == 0 && names)
        status = read_names(&given, names, error);
    if (status == 0 && names && given.count != numbers.count)
        status =
            clip_fail(error, "%s: %zu names, but there are %zu classes", names, given.count, numbers.count);
    if (status == 0 && numbers.count == 0)
        status = clip_fail(error, "%s: there are no classes", path);
    classes->names = names ? given.names : numbers.names;
    classes->count = names ? given.count : numbers.count;
    if (names)
        free_names(numbers.names, numbers.count);
    return status;
}

static int read_all(struct evaluation *e, char *const paths[3], const char *names, size_t max_record,
                    struct names *keys, struct clip_error *error)
{
    if (read_classes(e->classes, paths[0], names, max_record, error) != 0 ||
        read_keys(keys, paths[1], max_record, error) != 0)
        return -1;
    e->each = e->classes->count < BEST ? e->classes->count : BEST;
    e->classes->truth = calloc(keys->count + 1, sizeof *e->classes->truth);
    e->classes->guess = calloc(keys->count + 1, sizeof *e->classes->guess);
    if (!e->classes->truth || !e->classes->guess)
        return clip_fail_memory(error, "classes");
    return read_best(e, paths[2], max_record, error);
}

int clip_evaluation_read(const char *folder, const char *names, size_t max_record,
                         struct clip_results *results, struct clip_page_classes *classes,
                         struct clip_error *error)
{
    static const char *const files[] = {"classes.clip", "pictures.clip", "best.tsv"};
    char *paths[3] = {NULL};
    struct names keys = {NULL, 0, 0};
    struct evaluation e = {.results = results, .classes = classes, .keys = &keys};
    int status = 0;
    for (int i = 0; i < 3 && status == 0; i++)
        if (asprintf(&paths[i], "%s/%s", folder, files[i]) < 0) {
            paths[i] = NULL;
            status = clip_fail_memory(error, "a path");
        }
    if (status == 0)
        status = read_all(&e, paths, names, max_record, &keys, error);
    for (int i = 0; i < 3; i++)
        free(paths[i]);
    free_names(keys.names, keys.count);
    return status;
}
