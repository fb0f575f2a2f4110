/* Linear layers by our own kernels (math/panels.h); bias and relu follow while the piece of y is in the
 * cache. */
#include "base/pages.h"
#include "math/conv-kernels.h"
#include "math/linear-type.h"
#include "math/panels.h"

#include <stdlib.h>

/* Bytes of y that stay in the cache between product and epilogue; and the least rows of a call, which reads
 * all weights. */
enum { PIECE_BYTES = 512 << 10, PIECE_ROWS = 96 };

struct linear {
    struct clip_linear base;
    size_t piece; /* rows */
    size_t each;  /* floats of a layer's weights, packed */
    size_t size;  /* bytes of all */
    float *packed;
    const struct clip_panel_kernels *panels;
    const struct clip_conv_kernels *kernels;
};

static void free_linear(struct clip_linear *base)
{
    struct linear *linear = (struct linear *)base;
    clip_pages_free(linear->packed, linear->size);
    free(linear);
}

static struct clip_linear *create(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                  int epilogue, struct clip_error *error)
{
    (void)engine, (void)epilogue;
    enum clip_level level;
    if (clip_level_choose(&level, error) < 0)
        return NULL;
    struct linear *linear = calloc(1, sizeof *linear);
    if (!linear) {
        clip_fail_memory(error, "a layer");
        return NULL;
    }
    size_t piece = PIECE_BYTES / (shape->n * sizeof(float));
    piece = piece < PIECE_ROWS ? PIECE_ROWS : piece / PIECE_ROWS * PIECE_ROWS;
    linear->piece = piece < shape->rows ? piece : shape->rows;
    linear->panels = clip_panel_kernels(level);
    linear->kernels = clip_conv_kernels(level);
    linear->each = clip_panels_floats(linear->panels, shape->n, shape->k);
    linear->size = shape->count * linear->each * sizeof(float);
    linear->packed = clip_pages_new(linear->size);
    if (!linear->packed) {
        clip_fail_memory(error, "a layer");
        free_linear(&linear->base);
        return NULL;
    }
    linear->base.scratch = clip_panels_scratch(linear->piece, shape->k) * sizeof(float);
    return &linear->base;
}

static int set(struct clip_linear *base, size_t i, const float *w, int transposed, struct clip_error *error)
{
    (void)error;
    struct linear *linear = (struct linear *)base;
    linear->panels->pack(base->shape.n, base->shape.k, w, transposed, linear->packed + i * linear->each);
    return 0;
}

static void run_layer(const struct linear *linear, size_t i, const float *x, float *y, float *scratch)
{
    const struct clip_linear *base = &linear->base;
    size_t n = base->shape.n, k = base->shape.k;
    const float *bias = base->bias ? base->bias + i * n : NULL;
    for (size_t row = 0; row < base->shape.rows; row += linear->piece) {
        size_t rows = base->shape.rows - row < linear->piece ? base->shape.rows - row : linear->piece;
        linear->panels->run(rows, n, k, x + row * k, linear->packed + i * linear->each,
                            base->epilogue & CLIP_LINEAR_ADD, y + row * n, scratch);
        if (base->epilogue & (CLIP_LINEAR_BIAS | CLIP_LINEAR_RELU))
            linear->kernels->bias_relu(rows, n, bias, base->epilogue & CLIP_LINEAR_RELU, y + row * n);
    }
}

static int run_layers(const struct clip_linear *base, size_t first, size_t number, const void *x, void *y,
                      void *scratch, struct clip_error *error)
{
    (void)error;
    const struct clip_linear_shape *shape = &base->shape;
    for (size_t i = 0; i < number; i++)
        run_layer((const struct linear *)base, first + i, (const float *)x + i * shape->rows * shape->k,
                  (float *)y + i * shape->rows * shape->n, scratch);
    return 0;
}

const struct clip_linear_type clip_linear_native = {create, free_linear, set, run_layers};
