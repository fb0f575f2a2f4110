/* The matches of rows among columns: the best of each row, all from a score on, or the pairs of one set. */
#ifndef CLIP_SCORE_RETRIEVAL_H
#define CLIP_SCORE_RETRIEVAL_H

#include "base/error.h"
#include "score/ranking.h"
#include "score/rows.h"
#include "score/similarity.h"

#include <stddef.h>
#include <stdint.h>

/* What is wanted. A score is that of `scoring`, or with `softmax` the probability. */
struct clip_wanted {
    size_t top;  /* the best of each row, or of all pairs; 0: all */
    float least; /* scores from here on; -INFINITY: all */
    struct clip_scoring scoring;
    int softmax; /* of each row over all columns */
};

/* Sets the key and the label of a column; a label that is the key is the same pointer. They must stay until
 * the row is written. -1 with error. */
typedef int clip_column_namer(void *context, uint64_t column, const char **key, const char **label,
                              struct clip_error *error);

struct clip_retrieval;

/* For `rows`, which stay as they are. `namer` is asked when matches are written; where it is NULL, names are
 * kept of the columns that match. NULL with error. */
struct clip_retrieval *clip_retrieval_new(struct clip_similarity *similarity,
                                          const struct clip_wanted *wanted, const struct clip_vectors *rows,
                                          clip_column_namer *namer, void *context, struct clip_error *error);
void clip_retrieval_free(struct clip_retrieval *retrieval);

/* Looks at more columns, which are called `first` and so on, and grow from call to call. With softmax and
 * without top all must come in one call. */
int clip_retrieval_add(struct clip_retrieval *retrieval, const struct clip_vectors *columns, uint64_t first,
                       struct clip_error *error);

/* Looks at some columns for each of n rows, from `first_row` on: the columns numbers[n][most] of `columns`,
 * of which the first is called `first`; below 0: none. With top, a namer, and no softmax. */
int clip_retrieval_add_listed(struct clip_retrieval *retrieval, size_t first_row, size_t n,
                              const struct clip_vectors *columns, uint64_t first, const int64_t *numbers,
                              size_t most, struct clip_error *error);

/* Writes a row of matches for each of `rows`, in their order. */
int clip_retrieval_write(struct clip_retrieval *retrieval, const struct clip_rows_output *out,
                         struct clip_error *error);

/* Writes a row of one match for each pair of two of the vectors, the best first: the earlier is the row. */
int clip_find_pairs(struct clip_similarity *similarity, const struct clip_wanted *wanted,
                    const struct clip_vectors *vectors, const struct clip_rows_output *out,
                    struct clip_error *error);

#endif
