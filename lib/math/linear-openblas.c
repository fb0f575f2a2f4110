/* Linear layers by OpenBLAS: the product itself adds to y; bias and relu follow while the piece of y is in
 * the cache. */
#include "math/conv-kernels.h"
#include "math/linear-type.h"

#include <stdlib.h>

/* Bytes of y that stay in the cache between product and epilogue; and the least rows of a call, as OpenBLAS
 * packs the weights for each call, which costs more than the cache saves below that. */
enum { PIECE_BYTES = 512 << 10, PIECE_ROWS = 192 };

struct layer {
    const float *w; /* borrowed */
    int transposed;
};

struct linear {
    struct clip_linear base;
    size_t piece; /* rows */
    const struct clip_conv_kernels *kernels;
    struct layer layers[];
};

static struct clip_linear *create_linear(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                         int epilogue, struct clip_error *error)
{
    (void)engine;
    enum clip_level level;
    if (clip_level_choose(&level, error) < 0)
        return NULL;
    struct linear *linear = calloc(1, sizeof *linear + shape->count * sizeof *linear->layers);
    if (!linear) {
        clip_fail_memory(error, "a layer");
        return NULL;
    }
    size_t piece = PIECE_BYTES / (shape->n * sizeof(float));
    if (piece < PIECE_ROWS)
        piece = PIECE_ROWS;
    if (piece > shape->rows || !(epilogue & (CLIP_LINEAR_BIAS | CLIP_LINEAR_RELU)))
        piece = shape->rows;
    linear->piece = piece;
    linear->kernels = clip_conv_kernels(level);
    return &linear->base;
}

static void free_linear(struct clip_linear *linear)
{
    free(linear);
}

static int set_weights(struct clip_linear *base, size_t i, const float *w, int transposed,
                       struct clip_error *error)
{
    (void)error;
    ((struct linear *)base)->layers[i] = (struct layer){w, transposed};
    return 0;
}

static void run_layer(const struct linear *linear, size_t i, const float *x, float *y)
{
    const struct clip_linear *base = &linear->base;
    const struct layer *layer = &linear->layers[i];
    size_t n = base->shape.n, k = base->shape.k;
    const float *bias = base->bias ? base->bias + i * n : NULL;
    for (size_t row = 0; row < base->shape.rows; row += linear->piece) {
        size_t rows = base->shape.rows - row < linear->piece ? base->shape.rows - row : linear->piece;
        float *to = y + row * n;
        clip_gemm(0, !layer->transposed, rows, n, k, x + row * k, k, layer->w, layer->transposed ? n : k,
                  base->epilogue & CLIP_LINEAR_ADD ? 1 : 0, to, n);
        if (base->epilogue & (CLIP_LINEAR_BIAS | CLIP_LINEAR_RELU))
            linear->kernels->bias_relu(rows, n, bias, base->epilogue & CLIP_LINEAR_RELU, to);
    }
}

static int run_layers(const struct clip_linear *base, size_t first, size_t number, const void *x, void *y,
                      void *scratch, struct clip_error *error)
{
    (void)scratch, (void)error;
    const struct clip_linear_shape *shape = &base->shape;
    for (size_t i = 0; i < number; i++)
        run_layer((const struct linear *)base, first + i, (const float *)x + i * shape->rows * shape->k,
                  (float *)y + i * shape->rows * shape->n);
    return 0;
}

const struct clip_linear_type clip_linear_openblas = {create_linear, free_linear, set_weights, run_layers};
