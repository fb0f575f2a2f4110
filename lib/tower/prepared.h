/* Matrices of a model, prepared for products. */
#ifndef CLIP_TOWER_PREPARED_H
#define CLIP_TOWER_PREPARED_H

#include "base/error.h"
#include "math/product.h"
#include "model/model.h"

#include <stddef.h>

/* A prepared matrix, and the floats that it reads where the engine borrows and the file has no such floats.
 */
struct clip_prepared {
    struct clip_matrix *matrix;
    float *copy;
};

/* Which part of which tensor: rows [first, first + count) along its first dimension, each of the product of
 * the other dimensions. */
struct clip_prepared_part {
    const char *name;
    int ndim;
    size_t shape[4];
    size_t first, count;
    int transposed; /* the tensor is [inputs, outputs] */
};

/* Prepares the part for products of `rows` rows (0: the engine's own number). Mapped pages that are not read
 * again are given back. -1 with error; `prepared` is then empty. */
int clip_prepared_load(struct clip_prepared *prepared, const struct clip_model *model,
                       struct clip_engine *engine, size_t rows, const struct clip_prepared_part *part,
                       struct clip_error *error);
void clip_prepared_free(struct clip_prepared *prepared);

#endif
