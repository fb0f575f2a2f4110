/* Pairs of a row and a column with their scores, in order, in bounded memory. */
#ifndef CLIP_SCORE_MATCHES_H
#define CLIP_SCORE_MATCHES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct clip_pair {
    float score;
    uint64_t row, column;
};

enum clip_matches_order {
    CLIP_MATCHES_BY_SCORE, /* the best first, of equal ones the first row and column */
    CLIP_MATCHES_BY_ROW    /* row by row; within a row the best first, of equal ones the first column */
};

struct clip_matches;

/* Gives back the first `most` of all that are added, 0: all. Past `memory` bytes they are sorted and go to a
 * temporary file, which has no name. */
struct clip_matches *clip_matches_new(enum clip_matches_order order, size_t most, size_t memory,
                                      struct clip_error *error);
void clip_matches_free(struct clip_matches *matches);

/* Any thread may add. */
int clip_matches_add(struct clip_matches *matches, const struct clip_pair *pairs, size_t n,
                     struct clip_error *error);

/* A score below this one need not be added any more. */
float clip_matches_bar(struct clip_matches *matches);

/* Ends adding. */
int clip_matches_sort(struct clip_matches *matches, struct clip_error *error);

/* The next in order: 1, 0 after the last, -1 with error. */
int clip_matches_next(struct clip_matches *matches, struct clip_pair *pair, struct clip_error *error);

#endif
