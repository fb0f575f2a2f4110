/* Linear layers by OpenBLAS: the product itself adds to y. */
#include "math/linear-type.h"

#include <stdlib.h>

/* The least rows of a call: OpenBLAS packs the weights for each call, which costs more than the cache saves
 * below that. */
enum { PIECE_ROWS = 192 };

struct layer {
    const float *w; /* borrowed */
    int transposed;
};

struct linear {
    struct clip_linear base;
    struct layer layers[];
};

static struct clip_linear *create_linear(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                         int epilogue, struct clip_error *error)
{
    (void)engine;
    struct linear *linear = calloc(1, sizeof *linear + shape->count * sizeof *linear->layers);
    if (!linear) {
        clip_fail_memory(error, "a layer");
        return NULL;
    }
    size_t piece = CLIP_LINEAR_PIECE / (shape->n * sizeof(float));
    if (piece < PIECE_ROWS)
        piece = PIECE_ROWS;
    if (piece > shape->rows || !(epilogue & (CLIP_LINEAR_BIAS | CLIP_LINEAR_RELU)))
        piece = shape->rows;
    linear->base.piece = piece;
    return &linear->base;
}

static void free_linear(struct clip_linear *linear)
{
    free(linear);
}

static int set_weights(struct clip_linear *base, size_t i, size_t first, size_t count, const float *w,
                       int transposed, struct clip_error *error)
{
    (void)first, (void)count, (void)error;
    ((struct linear *)base)->layers[i] = (struct layer){w, transposed};
    return 0;
}

static void product(const struct clip_linear *base, size_t i, size_t rows, const float *x, float *y,
                    float *scratch)
{
    (void)scratch;
    const struct layer *layer = &((const struct linear *)base)->layers[i];
    size_t n = base->shape.n, k = base->shape.k;
    clip_gemm(0, !layer->transposed, rows, n, k, x, k, layer->w, layer->transposed ? n : k,
              base->epilogue & CLIP_LINEAR_ADD ? 1 : 0, y, n);
}

const struct clip_linear_type clip_linear_openblas = {create_linear, free_linear, set_weights, NULL, product};
