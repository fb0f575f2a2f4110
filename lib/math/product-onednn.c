/* Products by oneDNN: f32, bf16 and int8, weights packed in the layout of its kernels. In int8 oneDNN gives
 * sums of integers, which are exact; what comes before and after is ours (math/quantize.h). */
#include "base/pages.h"
#include "math/engine.h"
#include "math/onednn.h"
#include "math/quantize.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a product: AMX and AVX-512 are fastest with this number (tests/bench/README.md). */
enum { ROWS = 160 };
/* The same in int8: of so few the hidden layer of ViT-B/32, which is read and written several times, stays in
 * the second cache. */
enum { INTEGER_ROWS = 64 };

/* Fewer rows are computed by the least of these heights that holds them, if it gives a row the same bytes.
 * The last stands for all rows of the matrix. */
static const size_t heights[] = {32, 64, 0};
enum { HEIGHTS = sizeof heights / sizeof *heights, ALL = HEIGHTS - 1 };

/* --- the engine --- */

/* What is known of all matrices of one shape: which heights give a row the same bytes. */
struct shape {
    size_t rows, n, k;
    int tried;                 /* by the first matrix of this shape that was set */
    atomic_int alike[HEIGHTS]; /* once tried */
    struct shape *next;
};

struct engine {
    struct clip_engine base;
    dnnl_engine_t dnnl;
    dnnl_primitive_attr_t attr; /* scratch memory comes from the caller */
    pthread_mutex_t lock;       /* of shapes */
    struct shape *shapes;
    const struct clip_quantizers *quantizers; /* int8 */
};

struct matrix {
    struct clip_matrix base;
    struct shape *shape;
    dnnl_primitive_desc_t desc[HEIGHTS]; /* NULL where there is no such product */
    dnnl_primitive_t primitive[HEIGHTS];
    struct onednn_packing packing;
    dnnl_memory_t weights; /* its handle is `packed` */
    void *packed;          /* from clip_pages_new */
    size_t packed_size;
    float *scales, *totals; /* int8: of the outputs [n], the scale and the sum of the weights */
    size_t integers, ends;  /* int8: where in the scratch the rounded rows begin, and what undoes it */
};

static int has_isa(dnnl_cpu_isa_t isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

static const char *isa_name(void)
{
    if (has_isa(dnnl_cpu_isa_avx512_core_amx))
        return "AMX";
    if (has_isa(dnnl_cpu_isa_avx512_core_bf16))
        return "AVX-512 BF16";
    if (has_isa(dnnl_cpu_isa_avx512_core_vnni))
        return "AVX-512 VNNI";
    if (has_isa(dnnl_cpu_isa_avx512_core))
        return "AVX-512";
    return has_isa(dnnl_cpu_isa_avx2) ? "AVX2" : "SSE4.1";
}

static int supports(enum clip_precision precision, struct clip_error *error)
{
    if (precision == CLIP_PRECISION_BF16 && !has_isa(dnnl_cpu_isa_avx512_core_bf16))
        return clip_fail(error, "bf16 needs a processor with AVX-512 BF16 or AMX; this one has %s",
                         isa_name());
    /* Without VNNI its sums of pairs of products saturate at 16 bits. */
    if (precision == CLIP_PRECISION_INT8 && !has_isa(dnnl_cpu_isa_avx512_core_vnni))
        return clip_fail(error, "int8 needs a processor with AVX-512 VNNI; this one has %s", isa_name());
    /* Below AVX-512 its f32 kernels are not faster than OpenBLAS, need a second copy of the weights, and sum
     * up in an order that depends on the row. */
    if (!has_isa(dnnl_cpu_isa_avx512_core))
        return clip_fail(error, "oneDNN is only useful with AVX-512; this processor has %s", isa_name());
    return 0;
}

static void free_engine(struct clip_engine *base)
{
    struct engine *engine = (struct engine *)base;
    if (engine->attr)
        dnnl_primitive_attr_destroy(engine->attr);
    if (engine->dnnl)
        dnnl_engine_destroy(engine->dnnl);
    for (struct shape *shape = engine->shapes, *next; shape; shape = next) {
        next = shape->next;
        free(shape);
    }
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

static struct clip_engine *open_engine(enum clip_precision precision, struct clip_error *error)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        clip_fail_memory(error, "oneDNN");
        return NULL;
    }
    engine->base = (struct clip_engine){
        &clip_onednn, precision, precision == CLIP_PRECISION_INT8 ? INTEGER_ROWS : ROWS, 0, 0, ""};
    engine->quantizers = clip_quantizers(level);
    pthread_mutex_init(&engine->lock, NULL);
    dnnl_status_t status = dnnl_engine_create(&engine->dnnl, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_create(&engine->attr);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(engine->attr, dnnl_scratchpad_mode_user);
    if (status != dnnl_success) {
        onednn_fail(error, "its start", status);
        free_engine(&engine->base);
        return NULL;
    }
    const dnnl_version_t *version = dnnl_version();
    snprintf(engine->base.text, sizeof engine->base.text, "oneDNN %d.%d.%d, %s, %s", version->major,
             version->minor, version->patch, names[precision], isa_name());
    return &engine->base;
}

/* --- products --- */

/* y: floats, or sums of integers. */
static int product_of(const struct matrix *matrix, int height, const void *x, void *y, void *scratch,
                      struct clip_error *error)
{
    dnnl_engine_t engine = ((struct engine *)matrix->base.engine)->dnnl;
    struct {
        int argument;
        dnnl_query_t query;
        void *data;
    } of[] = {{DNNL_ARG_SRC, dnnl_query_src_md, (void *)x},
              {DNNL_ARG_DST, dnnl_query_dst_md, y},
              {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, scratch}};
    dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_WEIGHTS, matrix->weights}};
    int made = 1;
    dnnl_status_t status = dnnl_success;
    omp_set_num_threads(1);
    for (; made < 4 && status == dnnl_success; made++) {
        arguments[made].arg = of[made - 1].argument;
        onednn_view desc = dnnl_primitive_desc_query_md(matrix->desc[height], of[made - 1].query, 0);
        status = dnnl_memory_create(&arguments[made].memory, desc, engine, of[made - 1].data);
    }
    dnnl_stream_t stream = NULL;
    if (status == dnnl_success)
        status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(matrix->primitive[height], stream, 4, arguments);
    if (stream)
        dnnl_stream_destroy(stream);
    while (--made > 0)
        if (arguments[made].memory)
            dnnl_memory_destroy(arguments[made].memory);
    return status == dnnl_success ? 0 : onednn_fail(error, "a product", status);
}

static int is_int8(const struct clip_engine *engine)
{
    return engine->precision == CLIP_PRECISION_INT8;
}

static int integer_product(const struct matrix *matrix, int height, size_t rows, const float *x, float *y,
                           unsigned char *scratch, struct clip_error *error)
{
    const struct clip_quantizers *quantizers = ((struct engine *)matrix->base.engine)->quantizers;
    struct clip_int8_row *ends = (void *)(scratch + matrix->ends);
    uint8_t *q = scratch + matrix->integers;
    int32_t *sums = (void *)y; /* of the same size: they become floats in place */
    size_t n = matrix->base.n, k = matrix->base.k;
    for (size_t r = 0; r < rows; r++)
        ends[r] = quantizers->row(k, x + r * k, q + r * k);
    if (product_of(matrix, height, q, sums, scratch, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        quantizers->finish(n, ends[r], matrix->scales, matrix->totals, sums + r * n);
    return 0;
}

static int product(const struct clip_matrix *base, size_t rows, const void *x, float *y, void *scratch,
                   struct clip_error *error)
{
    const struct matrix *matrix = (const struct matrix *)base;
    int height = 0;
    while (height < ALL && (heights[height] < rows || !atomic_load(&matrix->shape->alike[height])))
        height++;
    return is_int8(base->engine) ? integer_product(matrix, height, rows, x, y, scratch, error)
                                 : product_of(matrix, height, x, y, scratch, error);
}

/* --- whether rows are alike --- */

/* The shape of a matrix, new or known; NULL when out of memory. */
static struct shape *find_shape(struct engine *engine, size_t rows, size_t n, size_t k)
{
    pthread_mutex_lock(&engine->lock);
    struct shape *shape = engine->shapes;
    while (shape && (shape->rows != rows || shape->n != n || shape->k != k))
        shape = shape->next;
    if (!shape && (shape = calloc(1, sizeof *shape))) {
        shape->rows = rows;
        shape->n = n;
        shape->k = k;
        shape->next = engine->shapes;
        engine->shapes = shape;
    }
    pthread_mutex_unlock(&engine->lock);
    return shape;
}

/* 1 if the caller is the one to try the shape. */
static int claim_shape(struct engine *engine, struct shape *shape)
{
    pthread_mutex_lock(&engine->lock);
    int mine = !shape->tried;
    shape->tried = 1;
    pthread_mutex_unlock(&engine->lock);
    return mine;
}

/* Marks the shape as not tried. */
static void reset_shape(struct shape *shape, struct engine *engine)
{
    for (int i = 0; i < HEIGHTS; i++)
        atomic_store(&shape->alike[i], 0);
    pthread_mutex_lock(&engine->lock);
    shape->tried = 0;
    pthread_mutex_unlock(&engine->lock);
}

/* How many leading rows of the product y[rows][n] have the bytes of `row`. */
static size_t rows_like(const float *row, const float *y, size_t rows, size_t n)
{
    size_t alike = 0;
    while (alike < rows && memcmp(row, y + alike * n, n * sizeof *y) == 0)
        alike++;
    return alike;
}

static int all_zero(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] != 0)
            return 0;
    return 1;
}

/* Multiplies equal rows by the weights just set, at each height. -1 with error if the rows of a single
 * product differ. Weights of zeros prove nothing: the shape is tried again with the next. */
static int try_shape(struct matrix *matrix, struct clip_error *error)
{
    size_t rows = matrix->base.rows, n = matrix->base.n, k = matrix->base.k;
    size_t element = clip_engine_element(matrix->base.engine), row_bytes = k * element;
    char *x = aligned_alloc(64, (rows * row_bytes + 63) / 64 * 64);
    float *y = aligned_alloc(64, (rows * n * sizeof *y + 63) / 64 * 64), *first = malloc(n * sizeof *first);
    void *scratch = aligned_alloc(64, (matrix->base.scratch + 64) / 64 * 64);
    int status = x && y && first && scratch ? 0 : clip_fail_memory(error, "trying oneDNN");
    for (size_t i = 0; status == 0 && i < rows * k; i++) {
        float value = (float)((i % k * 2654435761u >> 16) % 4096) / 1024 - 2;
        /* Reads bf16: the upper half of a float. */
        memcpy(x + i * element, (char *)&value + sizeof value - element, element);
    }
    for (int height = ALL; status == 0 && height >= 0; height--) {
        size_t tall = height == ALL ? rows : heights[height];
        if (!matrix->primitive[height])
            continue;
        status = product_of(matrix, height, x, y, scratch, error);
        if (height == ALL)
            memcpy(first, y, n * sizeof *first);
        int alike = rows_like(first, y, tall, n) == tall;
        if (status == 0 && height == ALL && !alike)
            status = clip_fail(error, "oneDNN's kernels on this processor do not compute all rows alike");
        atomic_store(&matrix->shape->alike[height], alike);
    }
    if (status == 0 && all_zero(first, n))
        reset_shape(matrix->shape, (struct engine *)matrix->base.engine);
    free(x), free(y), free(first), free(scratch);
    return status;
}

/* --- matrices --- */

static void matrix_free(struct clip_matrix *base)
{
    struct matrix *matrix = (struct matrix *)base;
    if (matrix->weights)
        dnnl_memory_destroy(matrix->weights);
    for (int i = 0; i < HEIGHTS; i++) {
        if (matrix->primitive[i])
            dnnl_primitive_destroy(matrix->primitive[i]);
        if (matrix->desc[i])
            dnnl_primitive_desc_destroy(matrix->desc[i]);
    }
    clip_pages_free(matrix->packed, matrix->packed_size);
    free(matrix->scales);
    free(matrix);
}

/* Of a product's input, weights and output, by precision. */
static const struct types {
    dnnl_data_type_t x, w, y;
} product_types[] = {
    {dnnl_f32, dnnl_f32, dnnl_f32}, {dnnl_bf16, dnnl_bf16, dnnl_f32}, {dnnl_u8, dnnl_s8, dnnl_s32}};

/* 1 if oneDNN has no kernels for the product: it takes seconds then. */
static int is_reference(const_dnnl_primitive_desc_t desc)
{
    const char *name = "";
    return dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           strncmp(name, "ref", 3) == 0;
}

/* Makes the product of a height. oneDNN chooses the layout of the weights for the first one, that of all
 * rows; the others must take the same. */
static dnnl_status_t make_product(struct matrix *matrix, int height, size_t rows, size_t n, size_t k)
{
    const struct engine *engine = (const struct engine *)matrix->base.engine;
    const struct types *types = &product_types[engine->base.precision];
    onednn_layout x = {0}, w = {0}, y = {0};
    dnnl_status_t status = onednn_layout_new(&x, (int64_t)rows, (int64_t)k, types->x, dnnl_ab);
    if (status == dnnl_success)
        status = height == ALL ? onednn_layout_new(&w, (int64_t)k, (int64_t)n, types->w, dnnl_format_tag_any)
                               : onednn_layout_copy(&w, dnnl_primitive_desc_query_md(
                                                            matrix->desc[ALL], dnnl_query_weights_md, 0));
    if (status == dnnl_success)
        status = onednn_layout_new(&y, (int64_t)rows, (int64_t)n, types->y, dnnl_ab);
    if (status == dnnl_success)
        status = onednn_matmul(&matrix->desc[height], engine->dnnl, &x, &w, NULL, &y, engine->attr);
    if (status == dnnl_success && is_int8(&engine->base) && is_reference(matrix->desc[height]))
        status = dnnl_unimplemented;
    if (status == dnnl_success)
        status = dnnl_primitive_create(&matrix->primitive[height], matrix->desc[height]);
    onednn_layout_free(&x);
    onednn_layout_free(&w);
    onednn_layout_free(&y);
    return status;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Allocates the packed weights, and sums up the products' scratch. */
static dnnl_status_t make_room(struct matrix *matrix, size_t rows, size_t n, size_t k)
{
    dnnl_engine_t engine = ((struct engine *)matrix->base.engine)->dnnl;
    onednn_view packed = matrix->packing.to;
    for (int i = 0; i < HEIGHTS; i++) {
        size_t bytes = 0;
        if (matrix->desc[i])
            bytes = dnnl_memory_desc_get_size(
                dnnl_primitive_desc_query_md(matrix->desc[i], dnnl_query_scratchpad_md, 0));
        if (bytes > matrix->base.scratch)
            matrix->base.scratch = bytes;
    }
    if (is_int8(matrix->base.engine)) {
        matrix->integers = aligned(matrix->base.scratch);
        matrix->ends = matrix->integers + aligned(rows * k);
        matrix->base.scratch = matrix->ends + rows * sizeof(struct clip_int8_row);
        matrix->scales = calloc(2 * n, sizeof *matrix->scales);
        if (!matrix->scales)
            return dnnl_out_of_memory;
        matrix->totals = matrix->scales + n;
    }
    matrix->packed_size = dnnl_memory_desc_get_size(packed);
    matrix->packed = clip_pages_new(matrix->packed_size);
    if (!matrix->packed)
        return dnnl_out_of_memory;
    return dnnl_memory_create(&matrix->weights, packed, engine, matrix->packed);
}

static struct clip_matrix *matrix_new(struct clip_engine *base, size_t rows, size_t n, size_t k,
                                      struct clip_error *error)
{
    if (is_int8(base) && k > CLIP_INT8_INPUTS) {
        clip_fail(error, "int8 products of more than %d inputs would overflow", CLIP_INT8_INPUTS);
        return NULL;
    }
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (!matrix) {
        clip_fail_memory(error, "a matrix");
        return NULL;
    }
    matrix->base.engine = base;
    matrix->shape = find_shape((struct engine *)base, rows, n, k);
    omp_set_num_threads(1); /* oneDNN makes a kernel for the current number of threads */
    dnnl_status_t status = matrix->shape ? make_product(matrix, ALL, rows, n, k) : dnnl_out_of_memory;
    for (int i = 0; i < ALL && status == dnnl_success; i++)
        if (heights[i] < rows)
            status = make_product(matrix, i, heights[i], n, k);
    if (status == dnnl_success)
        status = onednn_packing_init(
            &matrix->packing, ((struct engine *)base)->dnnl, n, k, is_int8(base) ? dnnl_s8 : dnnl_f32,
            dnnl_primitive_desc_query_md(matrix->desc[ALL], dnnl_query_weights_md, 0));
    if (status == dnnl_success)
        status = make_room(matrix, rows, n, k);
    if (status != dnnl_success) {
        onednn_fail(error, "preparing a product", status);
        matrix_free(&matrix->base);
        return NULL;
    }
    return &matrix->base;
}

static int matrix_set_int8(struct clip_matrix *base, const int8_t *q, const float *scales,
                           struct clip_error *error)
{
    struct matrix *matrix = (struct matrix *)base;
    const struct engine *engine = (const struct engine *)base->engine;
    dnnl_status_t status = onednn_pack(&matrix->packing, engine->dnnl, q, 0, matrix->packed);
    if (status != dnnl_success)
        return onednn_fail(error, "packing weights", status);
    memcpy(matrix->scales, scales, base->n * sizeof *scales);
    for (size_t i = 0; i < base->n; i++)
        matrix->totals[i] = (float)engine->quantizers->total(base->k, q + i * base->k);
    /* Sums of integers are exact: every row is like the others. */
    for (int i = 0; i < HEIGHTS; i++)
        atomic_store(&matrix->shape->alike[i], matrix->primitive[i] != NULL);
    return 0;
}

/* Rounds w[n][k], or w[k][n] where transposed. */
static int round_weights(struct matrix *matrix, const float *w, int transposed, struct clip_error *error)
{
    const struct clip_quantizers *quantizers = ((struct engine *)matrix->base.engine)->quantizers;
    size_t n = matrix->base.n, k = matrix->base.k;
    float *column = malloc((k + n) * sizeof *column), *scales = column + k;
    int8_t *q = malloc(n * k);
    int status = column && q ? 0 : clip_fail_memory(error, "rounded weights");
    for (size_t i = 0; i < n && status == 0; i++) {
        for (size_t j = 0; transposed && j < k; j++)
            column[j] = w[j * n + i];
        scales[i] = quantizers->weights(k, transposed ? column : w + i * k, q + i * k);
    }
    if (status == 0)
        status = matrix_set_int8(&matrix->base, q, scales, error);
    free(column), free(q);
    return status;
}

static int matrix_set(struct clip_matrix *base, const float *w, int transposed, struct clip_error *error)
{
    struct matrix *matrix = (struct matrix *)base;
    if (is_int8(base->engine))
        return round_weights(matrix, w, transposed, error);
    struct engine *engine = (struct engine *)base->engine;
    dnnl_status_t status = onednn_pack(&matrix->packing, engine->dnnl, w, transposed, matrix->packed);
    if (status != dnnl_success)
        return onednn_fail(error, "packing weights", status);
    return claim_shape(engine, matrix->shape) ? try_shape(matrix, error) : 0;
}

const struct clip_engine_type clip_onednn = {
    "onednn",        "oneDNN", supports, open_engine, free_engine,      matrix_new,        matrix_free,
    matrix_set,      NULL,     NULL,     product,     onednn_outer_new, onednn_outer_free, onednn_outer_add,
    matrix_set_int8,
};
