/* The rows of a matrix of scores, as clip-simmatrix writes them: records, a table, lines of JSON, bars. */
#ifndef CLIP_SCORE_ROWS_H
#define CLIP_SCORE_ROWS_H

#include "base/error.h"
#include "stream/writer.h"

#include <stddef.h>
#include <stdio.h>

enum clip_rows_form {
    CLIP_ROWS_RECORDS, /* __key__, label if it is not the key, scores; for the best also keys */
    CLIP_ROWS_TABLE,   /* a line of cells separated by tabs; for the best, one line a match */
    CLIP_ROWS_JSON,    /* one line with everything */
    CLIP_ROWS_BARS,    /* the label, and one line a match: its probability as a number and as a bar */
    CLIP_ROWS_HITS,    /* one line a match: its score, a tab, its key as a cell */
    CLIP_ROWS_KEYS,    /* the keys of the matches, each with `separator` after it */
};

struct clip_rows_output {
    enum clip_rows_form form;
    int best;                   /* a row holds its best matches; otherwise all columns in order */
    char separator;             /* of keys */
    double scale;               /* for messages: what the cosines were multiplied by */
    int sigmoid;                /* scores are written as their probabilities (clip_sigmoid) */
    struct clip_writer *writer; /* of records */
    FILE *text;                 /* for the other forms */
};

/* scores[i] is that of column keys[i], labels[i]. A label may be the key itself, the same pointer. */
struct clip_row {
    const char *key, *label;
    size_t n;
    const char *const *keys, *const *labels;
    const float *scores;
};

/* Names the columns before the first row, if each row has all of them: a table's first line, or an object
 * with the strings __columns__ before the records. */
int clip_rows_begin(const struct clip_rows_output *out, const char *const *keys, const char *const *labels,
                    size_t n, struct clip_error *error);

/* -1 with error if a score is not finite, or as writing fails. */
int clip_rows_write(const struct clip_rows_output *out, const struct clip_row *row, struct clip_error *error);

#endif
