/* Linear layers by our own kernels (math/panels.h). */
#include "base/pages.h"
#include "math/linear-type.h"
#include "math/panels.h"

#include <stdlib.h>

/* The least rows of a call, which reads all weights. */
enum { PIECE_ROWS = 96 };

struct linear {
    struct clip_linear base;
    size_t each; /* floats of a layer's weights, packed */
    size_t size; /* bytes of all */
    float *packed;
    const struct clip_panel_kernels *panels;
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
    size_t piece = CLIP_LINEAR_PIECE / (shape->n * sizeof(float));
    piece = piece < PIECE_ROWS ? PIECE_ROWS : piece / PIECE_ROWS * PIECE_ROWS;
    linear->base.piece = piece < shape->rows ? piece : shape->rows;
    linear->panels = clip_panel_kernels(level);
    linear->base.part = linear->panels->width;
    linear->each = clip_panels_floats(linear->panels, shape->n, shape->k);
    linear->size = shape->count * linear->each * sizeof(float);
    linear->packed = clip_pages_new(linear->size);
    if (!linear->packed) {
        clip_fail_memory(error, "a layer");
        free_linear(&linear->base);
        return NULL;
    }
    linear->base.scratch = clip_panels_scratch(linear->base.piece, shape->k) * sizeof(float);
    return &linear->base;
}

static int set(struct clip_linear *base, size_t i, size_t first, size_t count, const float *w, int transposed,
               struct clip_error *error)
{
    (void)error;
    struct linear *linear = (struct linear *)base;
    linear->panels->pack(count, base->shape.k, w, transposed,
                         linear->packed + i * linear->each + first * base->shape.k);
    return 0;
}

static void product(const struct clip_linear *base, size_t i, size_t rows, const float *x, float *y,
                    float *scratch)
{
    const struct linear *linear = (const struct linear *)base;
    linear->panels->run(rows, base->shape.n, base->shape.k, x, linear->packed + i * linear->each,
                        base->epilogue & CLIP_LINEAR_ADD, y, scratch);
}

const struct clip_linear_type clip_linear_native = {create, free_linear, set, NULL, product};
