/* Cosine similarities of many vectors with many. An element depends on its two vectors alone
 * (math/dots.h). */
#ifndef CLIP_SCORE_SIMILARITY_H
#define CLIP_SCORE_SIMILARITY_H

#include "base/error.h"
#include "base/threads.h"
#include "score/vectors.h"

#include <stddef.h>
#include <stdint.h>

struct clip_similarity;

/* For vectors of [width]. The pool must outlive it. NULL with error. */
struct clip_similarity *clip_similarity_new(struct clip_pool *pool, size_t width, struct clip_error *error);
void clip_similarity_free(struct clip_similarity *similarity);

/* Some rows against some columns. */
struct clip_tile {
    const struct clip_vectors *rows, *columns;
    size_t row, row_count, column, column_count; /* the first of each, and how many */
};

/* out[row_count][column_count] = their cosines. */
int clip_similarity_tile(struct clip_similarity *similarity, const struct clip_tile *tile, float *out,
                         struct clip_error *error);

/* out[n][most] = the cosines of rows first to first + n - 1 with the columns numbers[n][most] of each; NAN
 * for numbers below 0. -1 with error, also where there is no such column. */
int clip_similarity_listed(struct clip_similarity *similarity, const struct clip_vectors *rows, size_t first,
                           size_t n, const struct clip_vectors *columns, const int64_t *numbers, size_t most,
                           float *out, struct clip_error *error);

/* A score is scale * cosine + bias. */
struct clip_scoring {
    double scale, bias;
};
float clip_score_of(struct clip_scoring scoring, float cosine);

/* SigLIP's probability of a score: 1 / (1 + exp(-score)). The least score whose probability is at least p,
 * -INFINITY where all are; INFINITY where none is. */
float clip_sigmoid(float score);
float clip_sigmoid_least(float p);

/* The error of a score that overflows a float, of a row and a column by their labels. Returns -1. */
int clip_fail_score(const char *row, const char *column, double scale, struct clip_error *error);

/* Calls take(context, tile, scores, r, error) for each row r < row_count of each of the tiles, of at most 16
 * MB, that all rows with all columns are cut into; scores[column_count] are that row's scores,
 * or NaN for columns that are removed. The rows of a tile are taken at once by several threads, one tile
 * after another; columns grow within a row. With `upper`, rows and columns are the same vectors, and tiles of
 * nothing but pairs (r, c) with c <= r are left out. -1 with the error of the first that failed. */
struct clip_rows_taker {
    int (*take)(void *context, const struct clip_tile *tile, const float *scores, size_t r,
                struct clip_error *error);
    void *context;
    struct clip_scoring scoring;
    int upper;
};
int clip_similarity_run(struct clip_similarity *similarity, const struct clip_vectors *rows,
                        const struct clip_vectors *columns, const struct clip_rows_taker *taker,
                        struct clip_error *error);

#endif
