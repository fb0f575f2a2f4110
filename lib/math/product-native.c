/* Products by our own kernels (math/panels.h): f32, weights packed. They pay where OpenBLAS packs the weights
 * for each product and computes margins (product-openblas.c): with AVX2 and no AVX-512. */
#include "base/pages.h"
#include "math/engine.h"
#include "math/panels.h"

#include <stdio.h>
#include <stdlib.h>

/* A multiple of the height of each level's tiles; see tests/bench/README.md for the choice. */
enum { ROWS = 96 };

struct engine {
    struct clip_engine base;
    const struct clip_panel_kernels *kernels;
};

struct matrix {
    struct clip_matrix base;
    const struct clip_panel_kernels *kernels;
    float *packed; /* from clip_pages_new */
    size_t size;
};

static int supports(enum clip_precision precision, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) < 0)
        return -1;
    if (precision != CLIP_PRECISION_F32)
        return clip_fail(error, "the native kernels compute in f32 only");
    if (level < CLIP_AVX2)
        return clip_fail(error, "the native kernels are only useful with AVX2");
    return 0;
}

static void free_engine(struct clip_engine *engine)
{
    free(engine);
}

static struct clip_engine *open_engine(enum clip_precision precision, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) < 0)
        return NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        clip_fail_memory(error, "an engine");
        return NULL;
    }
    engine->base = (struct clip_engine){&clip_native, precision, ROWS, 0, ""};
    engine->kernels = clip_panel_kernels(level);
    snprintf(engine->base.text, sizeof engine->base.text, "native, f32, %s", clip_level_name(level));
    return &engine->base;
}

static void matrix_free(struct clip_matrix *base)
{
    struct matrix *matrix = (struct matrix *)base;
    clip_pages_free(matrix->packed, matrix->size);
    free(matrix);
}

static struct clip_matrix *matrix_new(struct clip_engine *engine, size_t rows, size_t n, size_t k,
                                      struct clip_error *error)
{
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (!matrix) {
        clip_fail_memory(error, "a matrix");
        return NULL;
    }
    matrix->kernels = ((struct engine *)engine)->kernels;
    matrix->base.scratch = clip_panels_scratch(rows, k) * sizeof(float);
    matrix->size = clip_panels_floats(matrix->kernels, n, k) * sizeof(float);
    if (!(matrix->packed = clip_pages_new(matrix->size))) {
        clip_fail_memory(error, "a matrix");
        matrix_free(&matrix->base);
        return NULL;
    }
    return &matrix->base;
}

static int matrix_set(struct clip_matrix *base, const float *w, int transposed, struct clip_error *error)
{
    (void)error;
    struct matrix *matrix = (struct matrix *)base;
    matrix->kernels->pack(base->n, base->k, w, transposed, matrix->packed);
    return 0;
}

static int product(const struct clip_matrix *base, size_t rows, const void *x, float *y, void *scratch,
                   struct clip_error *error)
{
    (void)error;
    const struct matrix *matrix = (const struct matrix *)base;
    matrix->kernels->run(rows, base->n, base->k, x, matrix->packed, 0, y, scratch);
    return 0;
}

const struct clip_engine_type clip_native = {
    "native",
    "native",
    supports,
    open_engine,
    free_engine,
    matrix_new,
    matrix_free,
    matrix_set,
    product,
    clip_outer_openblas_new,
    clip_outer_openblas_free,
    clip_outer_openblas_add,
    NULL,
};
