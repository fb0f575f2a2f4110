/* The best of a row of scores. */
#ifndef CLIP_SCORE_RANKING_H
#define CLIP_SCORE_RANKING_H

#include "base/error.h"
#include "score/vectors.h"

#include <stddef.h>
#include <stdint.h>

struct clip_match {
    float score;
    uint64_t column;
    char *key, *label; /* label NULL: the key */
};

/* The `most` best of one row's scores that are at least `least`, of equal ones the first, and what its
 * softmax needs. Scores come in any parts, so that a row need not be held; the results do not depend on them.
 */
struct clip_ranking {
    struct clip_match *matches; /* a heap, its worst first; sorted, the best first, by clip_ranking_sort */
    size_t count, most, room;
    float least;
    int softmax;         /* the next two are kept */
    double highest, sum; /* sum of exp(score - highest) over all scores */
};

/* Memory grows with the matches that come. */
void clip_ranking_init(struct clip_ranking *ranking, size_t most, float least, int softmax);
void clip_ranking_free(struct clip_ranking *ranking);

/* Adds scores[n], those of columns first to first + n - 1 of `columns`, which are called `number` and so on.
 * columns NULL: the matches need no names. */
int clip_ranking_add(struct clip_ranking *ranking, const float *scores, size_t n,
                     const struct clip_vectors *columns, size_t first, uint64_t number,
                     struct clip_error *error);
void clip_ranking_sort(struct clip_ranking *ranking);

/* The softmax of a score among all that were added. */
float clip_ranking_softmax(const struct clip_ranking *ranking, float score);

#endif
