#include "score/results.h"
#include "base/array.h"

#include "base/file.h"
#include "stream/msgpack.h"
#include "stream/reader.h"
#include "stream/vector.h"
#include "text/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int clip_result_name_compare(const struct clip_result_name *a, const struct clip_result_name *b)
{
    int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static void free_item(struct clip_result_item *item)
{
    free(item->key.text);
    free(item->label.text);
}

void clip_results_free(struct clip_results *results)
{
    for (size_t i = 0; i < results->count; i++) {
        struct clip_result *row = &results->rows[i];
        for (size_t k = 0; k < row->count; k++)
            free_item(&row->matches[k].item);
        free(row->matches);
        free_item(&row->item);
    }
    free(results->rows);
    *results = (struct clip_results){0};
}

/* --- adding --- */

int clip_result_name_set(struct clip_result_name *name, const char *text, size_t size,
                         struct clip_error *error)
{
    name->size = size;
    if (!(name->text = malloc(size + 1)))
        return clip_fail_memory(error, "results");
    if (size)
        memcpy(name->text, text, size);
    name->text[size] = '\0';
    return 0;
}

int clip_result_item_set(struct clip_result_item *item, const char *key, size_t key_size, const char *label,
                         size_t label_size, struct clip_error *error)
{
    if (clip_result_name_set(&item->key, key, key_size, error) != 0)
        return -1;
    return clip_result_name_set(&item->label, label ? label : key, label ? label_size : key_size, error);
}

struct clip_result *clip_results_add(struct clip_results *results, struct clip_error *error)
{
    if (CLIP_GROW(results->rows, results->count, results->room) != 0) {
        clip_fail_memory(error, "results");
        return NULL;
    }
    struct clip_result *row = &results->rows[results->count++];
    *row = (struct clip_result){.count = 0};
    return row;
}

struct clip_result_match *clip_results_match(struct clip_results *results, struct clip_result *row,
                                             struct clip_error *error)
{
    if (results->matches == CLIP_MAX_MATCHES) {
        clip_fail(error, "more than %d matches (see --top of clip-simmatrix)", CLIP_MAX_MATCHES);
        return NULL;
    }
    if (CLIP_GROW(row->matches, row->count, row->room) != 0) {
        clip_fail_memory(error, "results");
        return NULL;
    }
    struct clip_result_match *match = &row->matches[row->count++];
    *match = (struct clip_result_match){.score = NAN};
    results->matches++;
    return match;
}

/* --- records --- */

/* The head of an object that begins at p; of the kinds asked for. -1 where it is another. */
static int read_head(struct clip_head *head, const uint8_t *p, size_t size, enum clip_kind one,
                     enum clip_kind other)
{
    if (clip_head_read(head, p, size) != 1)
        return -1;
    enum clip_kind what = head->kind;
    return what == one || what == other ? 0 : -1;
}

/* keys[i] with scores[i]. */
static int add_matches(struct clip_results *results, struct clip_result *row, const struct clip_field *keys,
                       const float *scores, struct clip_error *error)
{
    struct clip_head head;
    const uint8_t *p = keys->value, *end = p + keys->size;
    clip_head_read(&head, p, keys->size);
    size_t count = (size_t)head.length;
    p += head.head;
    for (size_t i = 0; i < count; i++) {
        float score;
        if (read_head(&head, p, (size_t)(end - p), CLIP_STR, CLIP_BIN) != 0)
            return clip_fail(error, "field 'keys' holds what is not text");
        struct clip_result_match *match = clip_results_match(results, row, error);
        if (!match || clip_result_item_set(&match->item, (const char *)p + head.head, (size_t)head.length,
                                           NULL, 0, error) != 0)
            return -1;
        memcpy(&score, scores + i, sizeof score);
        match->score = (double)score;
        p += head.head + head.length;
    }
    return 0;
}

static int add_record(struct clip_results *results, struct clip_record *record, struct clip_error *error)
{
    const struct clip_field *keys = clip_record_find(record, "keys"),
                            *label = clip_record_find(record, "label");
    struct clip_tensor scores;
    struct clip_head head;
    size_t key_size, label_size = 0;
    const char *key = clip_record_key(record, &key_size), *text = NULL;
    if (!key)
        return 0;
    if (!keys || read_head(&head, keys->value, keys->size, CLIP_ARRAY, CLIP_ARRAY) != 0)
        return clip_fail(error, "no field 'keys' (are these results of clip-simmatrix --top?)");
    if (clip_record_floats(record, "scores", &scores) != 0)
        return clip_fail(error, "%s", record->error.text);
    keys = clip_record_find(record, "keys"); /* the record may have changed */
    label = clip_record_find(record, "label");
    if (scores.ndim != 1 || scores.shape[0] != head.length)
        return clip_fail(error, "as many scores as keys are needed");
    if (label && clip_field_bytes(label, &text, &label_size) != 0)
        return clip_fail(error, "field 'label' is not text");
    struct clip_result *row = clip_results_add(results, error);
    if (!row || clip_result_item_set(&row->item, key, key_size, text, label_size, error) != 0)
        return -1;
    return add_matches(results, row, keys, scores.data, error);
}

static int read_records(struct clip_results *results, int fd, const char *name, size_t max_record,
                        struct clip_error *error)
{
    struct clip_record *record;
    char shown[400];
    int got = 0, status = 0;
    struct clip_reader *reader = clip_reader_fd(fd, name, max_record, error);
    if (!reader)
        return -1;
    while (status == 0 && (got = clip_reader_next(reader, &record, error)) > 0) {
        if ((status = add_record(results, record, error)) != 0)
            clip_fail_prefix(error, "%s", clip_record_name(record, shown, sizeof shown));
        clip_record_free(record);
    }
    clip_reader_free(reader);
    return status == 0 && got == 0 ? 0 : -1;
}

/* --- lines --- */

/* A cell as clip_print_cell wrote it, read back in its place. */
static size_t unescape(char *text, size_t size)
{
    static const char letters[] = "tnr\\", meanings[] = "\t\n\r\\";
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        const char *letter =
            text[i] == '\\' && i + 1 < size && text[i + 1] ? strchr(letters, text[i + 1]) : NULL;
        text[n++] = letter ? meanings[letter - letters] : text[i];
        i += letter != NULL;
    }
    return n;
}

static int set_cell(struct clip_result_item *item, const struct clip_cell *cell, struct clip_error *error)
{
    if (clip_result_name_set(&item->key, cell->text, cell->size, error) != 0)
        return -1;
    item->key.size = unescape(item->key.text, item->key.size);
    item->key.text[item->key.size] = '\0';
    return clip_result_name_set(&item->label, item->key.text, item->key.size, error);
}

static int add_line(struct clip_results *results, const struct clip_row *line, struct clip_error *error)
{
    struct clip_result_item item = {{NULL, 0}, {NULL, 0}};
    char *end = NULL;
    struct clip_result *row = results->count ? &results->rows[results->count - 1] : NULL;
    double score = line->count == 3 ? strtod(line->cells[2].text, &end) : 0;
    if (line->count != 3 || end == line->cells[2].text || *end)
        return clip_fail(error, "not two names and a number (are these results of clip-simmatrix --tsv with "
                                "--top or --pairs?)");
    int status = set_cell(&item, &line->cells[0], error);
    if (status == 0 && row && clip_result_name_compare(&row->item.key, &item.key) == 0)
        free_item(&item);
    else if (status == 0 && (row = clip_results_add(results, error)) != NULL)
        row->item = item;
    else
        status = -1;
    struct clip_result_match *match = status == 0 ? clip_results_match(results, row, error) : NULL;
    if (!match) {
        if (status != 0)
            free_item(&item);
        return -1;
    }
    match->score = score;
    return set_cell(&match->item, &line->cells[1], error);
}

static double score_of(struct json_object *object)
{
    struct json_object *score;
    return json_object_object_get_ex(object, "score", &score) &&
                   (json_object_is_type(score, json_type_double) || json_object_is_type(score, json_type_int))
               ? json_object_get_double(score)
               : NAN;
}

/* {"key": ..., "label": ...} */
static int set_object(struct clip_result_item *item, struct json_object *object, struct clip_error *error)
{
    struct json_object *key = NULL, *label = NULL;
    if (!json_object_is_type(object, json_type_object) || !json_object_object_get_ex(object, "key", &key) ||
        !json_object_is_type(key, json_type_string))
        return clip_fail(error,
                         "an object without a text 'key' (are these results of clip-simmatrix --jsonl?)");
    if (!json_object_object_get_ex(object, "label", &label) || !json_object_is_type(label, json_type_string))
        label = NULL;
    return clip_result_item_set(item, json_object_get_string(key), (size_t)json_object_get_string_len(key),
                                label ? json_object_get_string(label) : NULL,
                                label ? (size_t)json_object_get_string_len(label) : 0, error);
}

static int add_object(struct clip_results *results, struct json_object *object, struct clip_error *error)
{
    struct json_object *matches;
    struct clip_result *row = clip_results_add(results, error);
    if (!row || set_object(&row->item, object, error) != 0)
        return -1;
    if (!json_object_object_get_ex(object, "matches", &matches) ||
        !json_object_is_type(matches, json_type_array))
        return clip_fail(error, "no array 'matches'");
    for (size_t i = 0; i < json_object_array_length(matches); i++) {
        struct json_object *one = json_object_array_get_idx(matches, i);
        struct clip_result_match *match = clip_results_match(results, row, error);
        if (!match || set_object(&match->item, one, error) != 0)
            return -1;
        match->score = score_of(one);
    }
    return 0;
}

static int read_lines(struct clip_results *results, int fd, int json, size_t max_record,
                      struct clip_error *error)
{
    struct clip_listing_options options = {.format = json ? CLIP_LISTING_JSONL : CLIP_LISTING_TSV,
                                           .no_header = 1,
                                           .no_quotes = 1,
                                           .max_row = max_record ? max_record : CLIP_MAX_RECORD};
    struct clip_row *row;
    struct clip_listing *listing = clip_listing_new(fd, &options, NULL, error);
    int status = listing ? clip_listing_begin(listing, error) : -1, got = 0;
    while (status == 0 && (got = clip_listing_next(listing, &row, error)) > 0) {
        if (row->bad)
            status = clip_fail(error, "%s", row->error.text);
        else
            status = json ? add_object(results, clip_listing_object(listing), error)
                          : add_line(results, row, error);
        if (status != 0)
            clip_fail_prefix(error, "line %" PRIu64, row->line);
    }
    clip_listing_free(listing);
    return status == 0 && got == 0 ? 0 : -1;
}

/* --- the file --- */

/* A descriptor that can be gone back in: `fd`, or a copy of what it gives. -1 with error. */
static int spool(int fd, struct clip_error *error)
{
    char block[65536];
    ssize_t n;
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && lseek(fd, 0, SEEK_CUR) == 0)
        return fd;
    int copy = clip_temporary_file(error);
    while (copy >= 0 && (n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || clip_write_all(copy, block, (size_t)n, "a temporary file", error) != 0) {
            if (n < 0)
                clip_fail(error, "%m");
            close(copy);
            return -1;
        }
    }
    if (copy >= 0)
        lseek(copy, 0, SEEK_SET);
    return copy;
}

/* What its first byte says: JSON, a map of msgpack, or a table. */
static int read_spooled(struct clip_results *results, int fd, const char *name, size_t max_record,
                        struct clip_error *error)
{
    unsigned char first;
    if (pread(fd, &first, 1, 0) != 1)
        return clip_fail(error, "%s: empty", name);
    if ((first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf)
        return read_records(results, fd, name, max_record, error);
    return read_lines(results, fd, first == '{', max_record, error) == 0
               ? 0
               : clip_fail_prefix(error, "%s", name);
}

int clip_results_read(struct clip_results *results, const char *path, size_t max_record,
                      struct clip_error *error)
{
    int standard = strcmp(path, "-") == 0, fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    const char *name = standard ? "standard input" : path;
    if (fd < 0)
        return clip_fail_errno(error, "%s", path);
    int spooled = spool(fd, error);
    int status = spooled < 0 ? clip_fail_prefix(error, "%s", name)
                             : read_spooled(results, spooled, name, max_record, error);
    if (spooled >= 0 && spooled != fd)
        close(spooled);
    if (!standard)
        close(fd);
    return status;
}
