/* Products by OpenBLAS: f32, the weights read in place. */
#include "math/blas.h"
#include "math/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A multiple of the height of each of OpenBLAS's kernels; see tests/bench/README.md for the choice. */
enum { ROWS = 96 };

/* The kernels for AVX2 without AVX-512 ("Haswell", "Zen") sum in one of two orders, which depends on the row.
 * If the rows run along the other side of BLAS's product, only the MARGIN first and last ones differ; such a
 * product computes margins that are thrown away, and is transposed afterwards. */
enum { MARGIN = 8 };

struct engine {
    struct clip_engine base;
    int margins; /* products need them here */
};

struct matrix {
    struct clip_matrix base;
    const float *w; /* borrowed */
    int transposed;
};

/* --- products --- */

static void product_plain(const struct matrix *matrix, const float *x, float *y)
{
    size_t n = matrix->base.n, k = matrix->base.k;
    clip_gemm(0, !matrix->transposed, matrix->base.rows, n, k, x, k, matrix->w, matrix->transposed ? n : k, 0,
              y, n);
}

/* scratch: [rows + 2 MARGIN][k], then [n][rows + 2 MARGIN] */
static void product_margins(const struct matrix *matrix, const float *x, float *y, float *scratch)
{
    size_t rows = matrix->base.rows, n = matrix->base.n, k = matrix->base.k, all = rows + 2 * MARGIN;
    float *transposed_y = scratch + all * k;
    memset(scratch, 0, MARGIN * k * sizeof *x);
    memcpy(scratch + MARGIN * k, x, rows * k * sizeof *x);
    memset(scratch + (MARGIN + rows) * k, 0, MARGIN * k * sizeof *x);
    clip_gemm(matrix->transposed, 1, n, all, k, matrix->w, matrix->transposed ? n : k, scratch, k, 0,
              transposed_y, all);
    clip_blas.somatcopy(CblasRowMajor, CblasTrans, (blasint)n, (blasint)rows, 1, transposed_y + MARGIN,
                        (blasint)all, y, (blasint)n);
}

static int product(const struct clip_matrix *base, size_t rows, const void *x, float *y, void *scratch,
                   struct clip_error *error)
{
    (void)rows, (void)error;
    const struct matrix *matrix = (const struct matrix *)base;
    if (((struct engine *)base->engine)->margins)
        product_margins(matrix, x, y, scratch);
    else
        product_plain(matrix, x, y);
    return 0;
}

/* --- matrices --- */

static struct clip_matrix *matrix_new(struct clip_engine *engine, size_t rows, size_t n, size_t k,
                                      struct clip_error *error)
{
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (!matrix) {
        clip_fail_memory(error, "a matrix");
        return NULL;
    }
    if (((struct engine *)engine)->margins)
        matrix->base.scratch = (rows + 2 * MARGIN) * (n + k) * sizeof(float);
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

/* --- the engine --- */

static int supports(enum clip_precision precision, struct clip_error *error)
{
    if (precision != CLIP_PRECISION_F32)
        return clip_fail(error, "OpenBLAS computes in f32 only");
    return 0;
}

static void free_engine(struct clip_engine *engine)
{
    free(engine);
}

/* 1 if a product of n outputs gives equal rows the same bytes, 0 if not, -1 with error. */
static int rows_alike(struct clip_engine *engine, size_t n, size_t k, struct clip_error *error)
{
    struct matrix matrix = {{engine, ROWS, n, k, 0}, NULL, 0};
    size_t scratch = (ROWS + 2 * MARGIN) * (n + k);
    float *x = calloc(ROWS * k + n * k + ROWS * n + scratch, sizeof *x);
    if (!x)
        return clip_fail_memory(error, "OpenBLAS");
    float *w = x + ROWS * k, *y = w + n * k;
    for (size_t i = 0; i < ROWS * k; i++)
        x[i] = 1.0f / (float)(i % k + 3);
    for (size_t i = 0; i < n * k; i++)
        w[i] = 1.0f / (float)(i % 997 + 7) - 0.01f;
    matrix.w = w;
    product(&matrix.base, ROWS, x, y, y + ROWS * n, error);
    size_t alike = 1;
    while (alike < ROWS && memcmp(y, y + alike * n, n * sizeof *y) == 0)
        alike++;
    free(x);
    return alike == ROWS;
}

/* Tests whether this processor's kernels need margins. */
static int try_kernels(struct engine *engine, struct clip_error *error)
{
    for (; engine->margins < 2; engine->margins++) {
        /* OpenBLAS uses other kernels for small products. */
        int small = rows_alike(&engine->base, 48, 40, error),
            large = rows_alike(&engine->base, 256, 400, error);
        if (small < 0 || large < 0)
            return -1;
        if (small && large)
            return 0;
    }
    return clip_fail(error, "OpenBLAS's kernels for %s do not compute all rows alike",
                     clip_blas.get_corename());
}

static struct clip_engine *open_engine(enum clip_precision precision, struct clip_error *error)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        clip_fail_memory(error, "OpenBLAS");
        return NULL;
    }
    engine->base = (struct clip_engine){&clip_openblas, precision, ROWS, 1, 0, ""};
    if (try_kernels(engine, error) != 0) {
        free_engine(&engine->base);
        return NULL;
    }
    /* Its configuration begins "OpenBLAS 0.3.21 ". */
    snprintf(engine->base.text, sizeof engine->base.text, "%.15s, f32, %s", clip_blas.get_config(),
             clip_blas.get_corename());
    return &engine->base;
}

const struct clip_engine_type clip_openblas = {
    "openblas",
    "OpenBLAS",
    supports,
    open_engine,
    free_engine,
    matrix_new,
    matrix_free,
    matrix_set,
    NULL,
    NULL,
    product,
    clip_outer_openblas_new,
    clip_outer_openblas_free,
    clip_outer_openblas_add,
    NULL,
};
