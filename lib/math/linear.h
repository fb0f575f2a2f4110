/* Linear layers with an epilogue, each over its own number of rows: convolutions are made of them.
 * (math/product.h has products of the engine's own number of rows.)
 *
 * A row always passes through the same instructions as long as it stands at the same place of a piece. A
 * picture's rows do. */
#ifndef CLIP_MATH_LINEAR_H
#define CLIP_MATH_LINEAR_H

#include "math/product.h"

struct clip_linear_shape {
    size_t rows, n, k; /* y[rows][n] from x[rows][k] */
    size_t count;      /* layers of this shape, each with weights of its own */
};

/* What comes after the product. */
enum {
    CLIP_LINEAR_BIAS = 1, /* + bias[n] */
    CLIP_LINEAR_ADD = 2,  /* + what y held */
    CLIP_LINEAR_RELU = 4, /* max with 0, last */
    CLIP_LINEAR_F32 = 8,  /* y is f32 whatever the engine's element */
};

struct clip_linear;

/* Layers without weights yet. Sizes are checked. NULL with error. */
struct clip_linear *clip_linear_new(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                    int epilogue, struct clip_error *error);
void clip_linear_free(struct clip_linear *linear);

/* Outputs that are given weights at once: so many, but for the last ones, or all n where the engine packs or
 * borrows no part. */
size_t clip_linear_part(const struct clip_linear *linear);

/* Gives outputs [first, first + count) of layer i, those of a part, weights, or new ones: w[count][k], or
 * w[k][count] where `transposed`, which must stay where the engine borrows (clip_engine_borrows), and
 * bias[count], which is copied (NULL without CLIP_LINEAR_BIAS). Not while the layer runs; layers may be set
 * in several threads at once. */
int clip_linear_set(struct clip_linear *linear, size_t i, size_t first, size_t count, const float *w,
                    int transposed, const float *bias, struct clip_error *error);

/* Bytes of scratch that clip_linear_run needs, aligned to 64; of its own for each thread. */
size_t clip_linear_scratch(const struct clip_linear *linear);

/* y[number][rows][n] from x[number][rows][k] by layers [first, first + number), in the caller's thread: x in
 * the engine's element, y in it too or f32; they do not overlap. Any number of threads may run the same
 * layers. -1 with error only where the library itself fails. */
int clip_linear_run(const struct clip_linear *linear, size_t first, size_t number, const void *x, void *y,
                    void *scratch, struct clip_error *error);

#endif
