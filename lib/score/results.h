/* Results of similarities, as clip-simmatrix and its kin write them: for each row its best matches. */
#ifndef CLIP_SCORE_RESULTS_H
#define CLIP_SCORE_RESULTS_H

#include "base/error.h"

#include <stddef.h>

#define CLIP_MAX_MATCHES 1000000

/* Any bytes, terminated too; owned. */
struct clip_result_name {
    char *text;
    size_t size;
};

/* A key, and what it is called, which may be the key. */
struct clip_result_item {
    struct clip_result_name key, label;
};

struct clip_result_match {
    struct clip_result_item item;
    double score; /* NaN where it is not a number */
};

struct clip_result {
    struct clip_result_item item;
    struct clip_result_match *matches; /* [count] */
    size_t count, room;
};

/* Zeroed: none. */
struct clip_results {
    struct clip_result *rows; /* [count] */
    size_t count, room;
    size_t matches; /* of all rows */
};

/* Reads all of `path` ("-" is standard input): a stream of records with keys and scores, lines of JSON
 * (--jsonl), or lines of two names and a score with tabs between them (--tsv with --top or --pairs; lines
 * after one another with the same first name are a row). A record or a line has at most `max_record` bytes.
 * -1 with error; clip_results_free also then. */
int clip_results_read(struct clip_results *results, const char *path, size_t max_record,
                      struct clip_error *error);
void clip_results_free(struct clip_results *results);

/* Adds a row, or a match to a row of the results, empty; NULL with error: out of memory, or more than
 * CLIP_MAX_MATCHES. What was added may move when more is. */
struct clip_result *clip_results_add(struct clip_results *results, struct clip_error *error);
struct clip_result_match *clip_results_match(struct clip_results *results, struct clip_result *row,
                                             struct clip_error *error);

/* Copies text[size]; a label that is NULL is the key. -1 with error. */
int clip_result_name_set(struct clip_result_name *name, const char *text, size_t size,
                         struct clip_error *error);
int clip_result_item_set(struct clip_result_item *item, const char *key, size_t key_size, const char *label,
                         size_t label_size, struct clip_error *error);

/* <0, 0 or >0, as the bytes of the names. */
int clip_result_name_compare(const struct clip_result_name *a, const struct clip_result_name *b);

#endif
