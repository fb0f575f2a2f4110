/* The interface of an engine of linear layers; only linear*.c include this. */
#ifndef CLIP_MATH_LINEAR_TYPE_H
#define CLIP_MATH_LINEAR_TYPE_H

#include "math/linear.h"

struct clip_linear_type {
    struct clip_linear *(*create)(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                  int epilogue, struct clip_error *error);
    void (*free)(struct clip_linear *linear);
    int (*set)(struct clip_linear *linear, size_t i, const float *w, int transposed,
               struct clip_error *error);
    int (*run)(const struct clip_linear *linear, size_t first, size_t number, const void *x, void *y,
               void *scratch, struct clip_error *error);
};

/* The first member of each engine's own struct. `create` leaves all but scratch to clip_linear_new. */
struct clip_linear {
    const struct clip_linear_type *type;
    struct clip_linear_shape shape;
    int epilogue;
    size_t scratch; /* bytes */
    float *bias;    /* [count][n], or NULL */
};

extern const struct clip_linear_type clip_linear_openblas, clip_linear_onednn, clip_linear_native;

#endif
