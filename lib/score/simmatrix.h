/* A matrix of similarities, written as its embeddings come. Either the columns are all there first, and rows
 * are answered a few at a time; or the rows are, and columns go by. Memory is bounded: embeddings past 64 MB
 * a side go to a temporary file. */
#ifndef CLIP_SCORE_SIMMATRIX_H
#define CLIP_SCORE_SIMMATRIX_H

#include "base/error.h"
#include "base/threads.h"
#include "score/retrieval.h"
#include "stream/record.h"

#include <stddef.h>

enum clip_simmatrix_side { CLIP_SIMMATRIX_ROWS, CLIP_SIMMATRIX_COLUMNS };

enum { CLIP_SIMMATRIX_MOST_ROWS = 256 }; /* that are best answered at once */

struct clip_simmatrix;

/* `wanted` is copied; the pool and `out` must outlive the matrix. NULL with error. */
struct clip_simmatrix *clip_simmatrix_new(struct clip_pool *pool, const struct clip_wanted *wanted,
                                          const struct clip_rows_output *out, struct clip_error *error);
void clip_simmatrix_free(struct clip_simmatrix *matrix);

/* Keeps the record's embedding, the first of the two fields (the second may be NULL) that it has, called as
 * clip_label_read says. All embeddings have the width of the first. -1 with error; -1 with the record marked
 * as bad. */
int clip_simmatrix_add(struct clip_simmatrix *matrix, enum clip_simmatrix_side side,
                       struct clip_record *record, const char *const fields[2], const char *label,
                       struct clip_error *error);

/* Embeddings of a side that are kept. */
size_t clip_simmatrix_count(const struct clip_simmatrix *matrix, enum clip_simmatrix_side side);

/* The columns are all there, at least one: names them, before the first row. */
int clip_simmatrix_begin(struct clip_simmatrix *matrix, struct clip_error *error);
/* Writes the rows that are kept, against all columns, and drops them. */
int clip_simmatrix_write_rows(struct clip_simmatrix *matrix, struct clip_error *error);

/* The rows are all there, and their best or all from a score on are wanted: looks at the columns that are
 * kept, best clip_simmatrix_block at once, and drops them; then writes the rows. Not with softmax of all
 * columns. */
size_t clip_simmatrix_block(const struct clip_simmatrix *matrix);
int clip_simmatrix_pass_columns(struct clip_simmatrix *matrix, struct clip_error *error);
int clip_simmatrix_end_columns(struct clip_simmatrix *matrix, struct clip_error *error);

/* Writes each pair of two rows, at least one row, the best first. */
int clip_simmatrix_write_pairs(struct clip_simmatrix *matrix, struct clip_error *error);

#endif
