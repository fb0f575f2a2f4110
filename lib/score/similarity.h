/* Cosine similarities of many vectors with many, in tiles of a fixed shape. */
#ifndef CLIP_SCORE_SIMILARITY_H
#define CLIP_SCORE_SIMILARITY_H

#include "base/error.h"
#include "base/threads.h"

#include <stddef.h>
#include <stdint.h>

/* --- vectors that are kept, each with its key and its label --- */

struct clip_vectors;

/* Vectors of [width]. Past `memory` bytes they are kept in a temporary file, which has no name. */
struct clip_vectors *clip_vectors_new(size_t width, size_t memory, struct clip_error *error);
void clip_vectors_free(struct clip_vectors *vectors);

/* Adds unit vector x[width]; key and label, terminated, are copied (label NULL: the key). */
int clip_vectors_add(struct clip_vectors *vectors, const float *x, const char *key, const char *label,
                     struct clip_error *error);
/* Makes it empty, keeping its memory. */
void clip_vectors_clear(struct clip_vectors *vectors);

size_t clip_vectors_count(const struct clip_vectors *vectors);
const char *clip_vectors_key(const struct clip_vectors *vectors, size_t i);
const char *clip_vectors_label(const struct clip_vectors *vectors, size_t i);

/* --- the products --- */

struct clip_similarity;

/* For vectors of [width]. The pool must outlive it. NULL with error. */
struct clip_similarity *clip_similarity_new(struct clip_pool *pool, size_t width, struct clip_error *error);
void clip_similarity_free(struct clip_similarity *similarity);

/* Rows that clip_similarity_rows takes at most. */
size_t clip_similarity_most_rows(const struct clip_similarity *similarity);

/* out[n][count(columns)] = cosines of rows [first, first + n) with all columns. An element does not depend on
 * n. */
int clip_similarity_rows(struct clip_similarity *similarity, const struct clip_vectors *rows, size_t first,
                         size_t n, const struct clip_vectors *columns, float *out, struct clip_error *error);

/* A score is scale * cosine + bias. */
struct clip_scoring {
    double scale, bias;
};
float clip_score_of(struct clip_scoring scoring, float cosine);

/* --- the best of a row --- */

struct clip_match {
    float score;
    uint64_t column;
    char *key, *label;
};

/* The `most` best of one row's scores, of equal ones the first, and what its softmax needs. Scores come
 * column by column, so that a row need not be held; the results do not depend on how they are cut. */
struct clip_ranking {
    struct clip_match *matches; /* a heap, its worst first; sorted, the best first, by clip_ranking_sort */
    size_t count, most;
    double highest, sum; /* sum of exp(score - highest) over all scores */
};

int clip_ranking_init(struct clip_ranking *ranking, size_t most, struct clip_error *error);
void clip_ranking_free(struct clip_ranking *ranking);
int clip_ranking_add(struct clip_ranking *ranking, float score, uint64_t column, const char *key,
                     const char *label, struct clip_error *error);
void clip_ranking_sort(struct clip_ranking *ranking);

/* The softmax of a score among all that were added. */
float clip_ranking_softmax(const struct clip_ranking *ranking, float score);

/* Adds the scores of all `rows` with all `columns` to rankings[count(rows)]; the column numbers
 * begin with `first_column`. */
int clip_similarity_rank(struct clip_similarity *similarity, const struct clip_vectors *rows,
                         const struct clip_vectors *columns, struct clip_scoring scoring,
                         uint64_t first_column, struct clip_ranking *rankings, struct clip_error *error);

#endif
