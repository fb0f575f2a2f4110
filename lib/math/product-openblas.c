/* OpenBLAS: f32, the weights read where they lie. */
#include "math/engine.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>

/* A multiple of the height of each of OpenBLAS's kernels; see tests/bench/README.md for the choice. */
enum { ROWS = 96 };

struct matrix {
    struct clip_matrix base;
    const float *w; /* borrowed */
    int transposed;
};

static int can(enum clip_precision precision, struct clip_error *error)
{
    if (precision != CLIP_F32)
        return clip_fail(error, "OpenBLAS computes in f32 only");
    return 1;
}

static struct clip_engine *open_engine(enum clip_precision precision, struct clip_error *error)
{
    struct clip_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        clip_fail_memory(error, "OpenBLAS");
        return NULL;
    }
    openblas_set_num_threads(1); /* the threads are ours */
    *engine = (struct clip_engine){&clip_openblas, precision, ROWS, 1, ""};
    /* Its configuration begins "OpenBLAS 0.3.21 ". */
    snprintf(engine->text, sizeof engine->text, "%.15s, f32, %s", openblas_get_config(),
             openblas_get_corename());
    return engine;
}

static void free_engine(struct clip_engine *engine)
{
    free(engine);
}

static struct clip_matrix *matrix_new(struct clip_engine *engine, size_t n, size_t k,
                                      struct clip_error *error)
{
    (void)engine, (void)n, (void)k;
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (!matrix) {
        clip_fail_memory(error, "a matrix");
        return NULL;
    }
    return &matrix->base;
}

static void matrix_free(struct clip_matrix *matrix)
{
    free(matrix);
}

static int matrix_set(struct clip_matrix *base, const float *w, int transposed, struct clip_error *error)
{
    (void)error;
    struct matrix *matrix = (struct matrix *)base;
    matrix->w = w;
    matrix->transposed = transposed;
    return 0;
}

static int product(const struct clip_matrix *base, const void *x, float *y, void *scratch,
                   struct clip_error *error)
{
    (void)scratch, (void)error;
    const struct matrix *matrix = (const struct matrix *)base;
    size_t n = base->n, k = base->k;
    clip_gemm(0, !matrix->transposed, base->engine->rows, n, k, x, k, matrix->w, matrix->transposed ? n : k,
              0, y, n);
    return 0;
}

const struct clip_engine_type clip_openblas = {
    "openblas", "OpenBLAS", can, open_engine, free_engine, matrix_new, matrix_free, matrix_set, product,
};
