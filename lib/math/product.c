#include <config.h>

#include "base/pages.h"
#include "math/blas.h"
#include "math/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The faster one first. */
static const struct clip_engine_type *const engines[] = {
#ifdef HAVE_ONEDNN
    &clip_onednn,
#endif
    &clip_native,
    &clip_openblas,
};
enum { ENGINES = sizeof engines / sizeof *engines };

const char *clip_engines(char *out, size_t size)
{
    struct clip_error ignored;
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ENGINES && used < size; i++) {
        int f32 = engines[i]->can(CLIP_PRECISION_F32, &ignored) == 0;
        int bf16 = engines[i]->can(CLIP_PRECISION_BF16, &ignored) == 0;
        int int8 = engines[i]->can(CLIP_PRECISION_INT8, &ignored) == 0;
        used += (size_t)snprintf(out + used, size - used, "%s%s (%s%s%s)", i ? ", " : "", engines[i]->title,
                                 f32 ? "f32" : "not on this processor", bf16 ? ", bf16" : "",
                                 int8 ? ", int8" : "");
    }
    return out;
}

/* The engine of that name, or the first that can compute in the precision; NULL with error. */
static const struct clip_engine_type *find_engine(const char *name, enum clip_precision precision,
                                                  struct clip_error *error)
{
    struct clip_error ignored;
    if (!name)
        name = getenv("CLIP_ENGINE");
    int any = !name || !*name;
    for (size_t i = 0; i < ENGINES; i++) {
        if (!any && strcmp(engines[i]->name, name) == 0)
            return engines[i]->can(precision, error) == 0 ? engines[i] : NULL;
        /* Report the first engine's reason: it is the one that knows all precisions. */
        if (any && engines[i]->can(precision, i == 0 ? error : &ignored) == 0)
            return engines[i];
    }
    char shown[64], list[128];
    if (!any)
        clip_fail(error, "unknown engine '%s' (this build has %s)",
                  clip_printable(shown, sizeof shown, name, strlen(name)), clip_engines(list, sizeof list));
    return NULL;
}

int clip_engine_can(enum clip_precision precision, struct clip_error *error)
{
    return find_engine(NULL, precision, error) ? 0 : -1;
}

struct clip_engine *clip_engine_open(const char *name, enum clip_precision precision, int threads,
                                     struct clip_error *error)
{
    if (clip_blas_open(threads, error) != 0) /* clip_gemm needs it, whichever engine is open */
        return NULL;
    const struct clip_engine_type *engine = find_engine(name, precision, error);
    return engine ? engine->open(precision, error) : NULL;
}

void clip_engine_free(struct clip_engine *engine)
{
    if (engine)
        engine->type->free(engine);
}

const char *clip_engine_text(const struct clip_engine *engine)
{
    return engine->text;
}

enum clip_precision clip_engine_precision(const struct clip_engine *engine)
{
    return engine->precision;
}

size_t clip_engine_rows(const struct clip_engine *engine)
{
    return engine->rows;
}

size_t clip_engine_piece(const struct clip_engine *engine, size_t rows, int threads)
{
    enum { UNIT = 16 };
    size_t each = (rows + (size_t)threads - 1) / (size_t)threads;
    size_t piece = (each + UNIT - 1) / UNIT * UNIT;
    return engine->exact && piece < engine->rows ? piece : engine->rows;
}

enum clip_precision clip_engine_element_type(const struct clip_engine *engine)
{
    return engine->precision == CLIP_PRECISION_BF16 ? CLIP_PRECISION_BF16 : CLIP_PRECISION_F32;
}

size_t clip_engine_element(const struct clip_engine *engine)
{
    return engine->precision == CLIP_PRECISION_BF16 ? sizeof(uint16_t) : sizeof(float);
}

int clip_engine_borrows(const struct clip_engine *engine)
{
    return engine->borrows;
}

struct clip_matrix *clip_matrix_new(struct clip_engine *engine, size_t rows, size_t n, size_t k,
                                    struct clip_error *error)
{
    if (!clip_operand_fits(n, k) || !clip_operand_fits(n > k ? n : k, rows)) {
        clip_fail(error, "a matrix of %zu by %zu is out of bounds", n, k);
        return NULL;
    }
    struct clip_matrix *matrix = engine->type->matrix_new(engine, rows, n, k, error);
    if (matrix) {
        matrix->engine = engine;
        matrix->rows = rows;
        matrix->n = n;
        matrix->k = k;
    }
    return matrix;
}

void clip_matrix_free(struct clip_matrix *matrix)
{
    if (matrix)
        matrix->engine->type->matrix_free(matrix);
}

int clip_matrix_set(struct clip_matrix *matrix, const float *w, int transposed, struct clip_error *error)
{
    return matrix->engine->type->matrix_set(matrix, w, transposed, error);
}

int clip_engine_maps(const struct clip_engine *engine, size_t n, const struct clip_mapped *weights)
{
    return (weights->count == 1 && weights->stored == CLIP_STORED_F32) ||
           (engine->type->maps && engine->type->maps(engine, n, weights));
}

int clip_matrix_map(struct clip_matrix *matrix, const struct clip_mapped *weights, struct clip_error *error)
{
    if (matrix->engine->type->matrix_map)
        return matrix->engine->type->matrix_map(matrix, weights, error);
    if (clip_matrix_set(matrix, weights->parts[0], 0, error) != 0)
        return -1;
    if (!matrix->engine->borrows)
        clip_pages_return(weights->parts[0], matrix->n * matrix->k * sizeof(float));
    return 0;
}

int clip_matrix_set_int8(struct clip_matrix *matrix, const int8_t *q, const float *scales,
                         struct clip_error *error)
{
    return matrix->engine->type->matrix_set_int8(matrix, q, scales, error);
}

size_t clip_matrix_rows(const struct clip_matrix *matrix)
{
    return matrix->rows;
}

size_t clip_matrix_outputs(const struct clip_matrix *matrix)
{
    return matrix->n;
}

size_t clip_matrix_inputs(const struct clip_matrix *matrix)
{
    return matrix->k;
}

size_t clip_product_scratch(const struct clip_matrix *matrix)
{
    return matrix->scratch;
}

int clip_product(const struct clip_matrix *matrix, const void *x, float *y, void *scratch,
                 struct clip_error *error)
{
    return clip_product_rows(matrix, matrix->rows, x, y, scratch, error);
}

int clip_product_rows(const struct clip_matrix *matrix, size_t rows, const void *x, float *y, void *scratch,
                      struct clip_error *error)
{
    return matrix->engine->type->product(matrix, rows, x, y, scratch, error);
}

/* Rows of c in a panel: enough to be worth packing b, few enough for several threads. */
enum { PANEL = 192 };

struct clip_outer *clip_outer_new(struct clip_engine *engine, size_t m, size_t n, struct clip_error *error)
{
    if (!clip_operand_fits(m, n)) {
        clip_fail(error, "a matrix of %zu by %zu is out of bounds", m, n);
        return NULL;
    }
    struct clip_outer shape = {engine, m, n, m < PANEL ? m : PANEL, 0};
    return engine->type->outer_new(&shape, error);
}

void clip_outer_free(struct clip_outer *outer)
{
    if (outer)
        outer->engine->type->outer_free(outer);
}

size_t clip_outer_panels(const struct clip_outer *outer)
{
    return (outer->m + outer->panel - 1) / outer->panel;
}

size_t clip_outer_first(const struct clip_outer *outer, size_t panel)
{
    size_t first = panel * outer->panel;
    return first < outer->m ? first : outer->m;
}

size_t clip_outer_scratch(const struct clip_outer *outer)
{
    return outer->scratch;
}

int clip_outer_add(const struct clip_outer *outer, size_t panel, size_t rows, const void *a, const void *b,
                   float *c, void *scratch, struct clip_error *error)
{
    size_t first = clip_outer_first(outer, panel), count = clip_outer_first(outer, panel + 1) - first;
    return outer->engine->type->outer_add(outer, first, count, rows, a, b, c, scratch, error);
}

void clip_gemm(int transpose_a, int transpose_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
               const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    clip_blas.sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                    transpose_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1, a,
                    (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}
