/* The interface of an engine of linear layers; only linear*.c include this. */
#ifndef CLIP_MATH_LINEAR_TYPE_H
#define CLIP_MATH_LINEAR_TYPE_H

#include "math/conv-kernels.h"
#include "math/linear.h"

struct clip_linear_type {
    struct clip_linear *(*create)(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                  int epilogue, struct clip_error *error);
    void (*free)(struct clip_linear *linear);
    /* As clip_linear_set; where `part` is 0, of all outputs. */
    int (*set)(struct clip_linear *linear, size_t i, size_t first, size_t count, const float *w,
               int transposed, struct clip_error *error);
    /* As clip_linear_run; NULL: by `product`. */
    int (*run)(const struct clip_linear *linear, size_t first, size_t number, const void *x, void *y,
               void *scratch, struct clip_error *error);
    /* y[rows][n] of x[rows][k], by layer i, added to what y held with CLIP_LINEAR_ADD, for at most
     * linear->piece rows; bias and relu follow while they are in the cache. */
    void (*product)(const struct clip_linear *linear, size_t i, size_t rows, const float *x, float *y,
                    float *scratch);
};

/* Bytes of y that stay in the cache between product and epilogue. */
enum { CLIP_LINEAR_PIECE = 512 << 10 };

/* The first member of each engine's own struct. `create` leaves all but scratch, piece and part to
 * clip_linear_new.
 */
struct clip_linear {
    const struct clip_linear_type *type;
    struct clip_linear_shape shape;
    int epilogue;
    size_t scratch; /* bytes */
    size_t piece;   /* most rows of a product; an engine with `run` has none */
    size_t part;    /* clip_linear_part, or 0: n */
    const struct clip_conv_kernels *kernels;
    float *bias; /* [count][n], or NULL */
};

extern const struct clip_linear_type clip_linear_openblas, clip_linear_onednn, clip_linear_native;

#endif
