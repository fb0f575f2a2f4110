/* Products by our own kernels (math/panels.h): f32, weights packed, those of a mapped file at first in place.
 * They pay where OpenBLAS packs the weights for each product and computes margins (product-openblas.c): with
 * AVX2 and no AVX-512. */
#include "base/pages.h"
#include "math/engine.h"
#include "math/panels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A multiple of the height of each level's tiles; see tests/bench/README.md for the choice. */
enum { ROWS = 96 };

/* Rows that a mapped matrix multiplies in place, at least, before it is packed. In place a product takes a
 * tenth more time; packing takes that of half a product of ROWS (tests/bench/README.md). */
enum { PATIENCE = 5 * ROWS };
/* What a product of fewer rows counts: captions that came one at a time took twice the time in place. */
enum { LEAST = ROWS / 2 };

struct engine {
    struct clip_engine base;
    const struct clip_panel_kernels *kernels;
};

struct matrix {
    struct clip_matrix base;
    const struct clip_panel_kernels *kernels;
    size_t size;             /* bytes of `packed` */
    _Atomic(float *) packed; /* from clip_pages_new; NULL: products read `mapped` in place */
    struct clip_mapped mapped;
    atomic_size_t rows;  /* that products of `mapped` have begun, each LEAST at the least */
    atomic_int products; /* of `mapped` that run */
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
    engine->base = (struct clip_engine){&clip_native, precision, ROWS, 0, 1, ""};
    engine->kernels = clip_panel_kernels(level);
    snprintf(engine->base.text, sizeof engine->base.text, "native, f32, %s", clip_level_name(level));
    return &engine->base;
}

/* --- matrices --- */

static void matrix_free(struct clip_matrix *base)
{
    struct matrix *matrix = (struct matrix *)base;
    clip_pages_free(atomic_load(&matrix->packed), matrix->size);
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
    size_t packed = clip_panels_scratch(rows, k), lying = clip_lying_scratch(matrix->kernels, rows, n, k);
    matrix->base.scratch = (packed > lying ? packed : lying) * sizeof(float);
    matrix->size = clip_panels_floats(matrix->kernels, n, k) * sizeof(float);
    return &matrix->base;
}

/* Memory for packed weights: that of before, or new; NULL where there is none. */
static float *find_room(struct matrix *matrix)
{
    float *packed = atomic_load(&matrix->packed);
    return packed ? packed : clip_pages_new(matrix->size);
}

static int matrix_set(struct clip_matrix *base, const float *w, int transposed, struct clip_error *error)
{
    struct matrix *matrix = (struct matrix *)base;
    float *packed = find_room(matrix);
    if (!packed)
        return clip_fail_memory(error, "a matrix");
    matrix->kernels->pack(base->n, base->k, w, transposed, packed);
    atomic_store(&matrix->packed, packed);
    return 0;
}

/* Parts are packed as they are, in whole panels. */
static int maps(const struct clip_engine *engine, size_t n, const struct clip_mapped *weights)
{
    return weights->count == 1 || n / weights->count % ((const struct engine *)engine)->kernels->width == 0;
}

static int matrix_map(struct clip_matrix *base, const struct clip_mapped *weights, struct clip_error *error)
{
    (void)error;
    struct matrix *matrix = (struct matrix *)base;
    clip_pages_free(atomic_exchange(&matrix->packed, NULL), matrix->size);
    matrix->mapped = *weights;
    atomic_store(&matrix->rows, 0);
    return 0;
}

/* Packs mapped weights. Without memory for them those of the file serve. */
static void pack_mapped(struct matrix *matrix)
{
    float *packed = find_room(matrix);
    if (!packed)
        return;
    size_t k = matrix->base.k, each = matrix->base.n / matrix->mapped.count;
    for (size_t i = 0; i < matrix->mapped.count; i++)
        matrix->kernels->pack_stored(each, k, matrix->mapped.parts[i], matrix->mapped.stored,
                                     packed + i * each * k);
    atomic_store(&matrix->packed, packed);
}

static void return_mapped(const struct matrix *matrix)
{
    size_t element = matrix->mapped.stored == CLIP_STORED_F32 ? sizeof(float) : sizeof(uint16_t);
    for (size_t i = 0; i < matrix->mapped.count; i++)
        clip_pages_return(matrix->mapped.parts[i],
                          matrix->base.n / matrix->mapped.count * matrix->base.k * element);
}

/* --- products --- */

/* A product of a matrix that is not packed yet. The one with the last of PATIENCE rows packs it, others go on
 * in place; the last that ends gives the pages back, which others may have read again. */
static void product_mapped(struct matrix *matrix, size_t rows, const float *x, float *y, float *scratch)
{
    size_t n = matrix->base.n, k = matrix->base.k;
    atomic_fetch_add(&matrix->products, 1);
    size_t counted = rows < LEAST ? LEAST : rows, before = atomic_fetch_add(&matrix->rows, counted);
    if (before < PATIENCE && before + counted >= PATIENCE)
        pack_mapped(matrix);
    const float *packed = atomic_load(&matrix->packed);
    if (packed)
        matrix->kernels->run(rows, n, k, x, packed, 0, y, scratch);
    else
        for (size_t i = 0, each = n / matrix->mapped.count; i < matrix->mapped.count; i++)
            matrix->kernels->run_lying(rows, each, k, x, matrix->mapped.parts[i], matrix->mapped.stored,
                                       y + i * each, n, scratch);
    if (atomic_fetch_sub(&matrix->products, 1) == 1 && atomic_load(&matrix->packed))
        return_mapped(matrix);
}

static int product(const struct clip_matrix *base, size_t rows, const void *x, float *y, void *scratch,
                   struct clip_error *error)
{
    (void)error;
    struct matrix *matrix = (struct matrix *)base;
    const float *packed = atomic_load(&matrix->packed);
    if (packed)
        matrix->kernels->run(rows, base->n, base->k, x, packed, 0, y, scratch);
    else
        product_mapped(matrix, rows, x, y, scratch);
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
    maps,
    matrix_map,
    product,
    clip_outer_openblas_new,
    clip_outer_openblas_free,
    clip_outer_openblas_add,
    NULL,
};
