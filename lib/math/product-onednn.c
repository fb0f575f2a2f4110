/* oneDNN: f32 and bf16, weights packed as its kernels want them. */
#include "math/engine.h"
#include "math/onednn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough for AMX to reach its speed, few enough that pieces divide evenly among threads; see
 * tests/bench/README.md. */
enum { ROWS = 64 };

/* --- the engine --- */

struct engine {
    struct clip_engine base;
    dnnl_engine_t dnnl;
    dnnl_primitive_attr_t attr; /* scratch memory comes from the caller */
};

struct matrix {
    struct clip_matrix base;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t weights; /* its handle is `packed` */
    void *packed;
};

static int have(dnnl_cpu_isa_t isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

static const char *isa_name(void)
{
    if (have(dnnl_cpu_isa_avx512_core_amx))
        return "AMX";
    if (have(dnnl_cpu_isa_avx512_core_bf16))
        return "AVX-512 BF16";
    if (have(dnnl_cpu_isa_avx512_core))
        return "AVX-512";
    return have(dnnl_cpu_isa_avx2) ? "AVX2" : "SSE4.1";
}

static int can(enum clip_precision precision, struct clip_error *error)
{
    if (precision == CLIP_PRECISION_BF16 && !have(dnnl_cpu_isa_avx512_core_bf16))
        return clip_fail(error, "bf16 needs a processor with AVX-512 BF16 or AMX; this one has %s",
                         isa_name());
    /* Below AVX-512 its f32 kernels are no faster than OpenBLAS, need a second copy of the weights, and sum
     * up in an order that depends on the row. */
    if (!have(dnnl_cpu_isa_avx512_core))
        return clip_fail(error, "oneDNN is of use from AVX-512 on; this processor has %s", isa_name());
    return 0;
}

static void free_engine(struct clip_engine *base)
{
    struct engine *engine = (struct engine *)base;
    if (engine->attr)
        dnnl_primitive_attr_destroy(engine->attr);
    if (engine->dnnl)
        dnnl_engine_destroy(engine->dnnl);
    free(engine);
}

static struct clip_engine *open_engine(enum clip_precision precision, struct clip_error *error)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        clip_fail_memory(error, "oneDNN");
        return NULL;
    }
    engine->base = (struct clip_engine){&clip_onednn, precision, ROWS, 0, ""};
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
             version->minor, version->patch, precision == CLIP_PRECISION_BF16 ? "bf16" : "f32", isa_name());
    return &engine->base;
}

/* --- matrices --- */

static void matrix_free(struct clip_matrix *base)
{
    struct matrix *matrix = (struct matrix *)base;
    if (matrix->weights)
        dnnl_memory_destroy(matrix->weights);
    if (matrix->primitive)
        dnnl_primitive_destroy(matrix->primitive);
    if (matrix->desc)
        dnnl_primitive_desc_destroy(matrix->desc);
    free(matrix->packed);
    free(matrix);
}

/* The product's descriptor, with the layout of the weights left to oneDNN. */
static dnnl_status_t describe(struct matrix *matrix, const struct engine *engine, int64_t rows, int64_t n,
                              int64_t k)
{
    dnnl_data_type_t type = engine->base.precision == CLIP_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
    onednn_layout x, w, y;
    dnnl_status_t status = onednn_layout_new(&x, rows, k, type, dnnl_ab);
    if (status != dnnl_success)
        return status;
    status = onednn_layout_new(&w, k, n, type, dnnl_format_tag_any);
    if (status == dnnl_success) {
        status = onednn_layout_new(&y, rows, n, dnnl_f32, dnnl_ab);
        if (status == dnnl_success) {
            status = onednn_matmul(&matrix->desc, engine->dnnl, &x, &w, NULL, &y, engine->attr);
            onednn_layout_free(&y);
        }
        onednn_layout_free(&w);
    }
    onednn_layout_free(&x);
    return status;
}

static struct clip_matrix *matrix_new(struct clip_engine *base, size_t rows, size_t n, size_t k,
                                      struct clip_error *error)
{
    struct engine *engine = (struct engine *)base;
    struct matrix *matrix = calloc(1, sizeof *matrix);
    if (!matrix) {
        clip_fail_memory(error, "a matrix");
        return NULL;
    }
    omp_set_num_threads(1); /* kernels are made for as many threads as there are now */
    dnnl_status_t status = describe(matrix, engine, (int64_t)rows, (int64_t)n, (int64_t)k);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&matrix->primitive, matrix->desc);
    if (status == dnnl_success) {
        onednn_view packed = dnnl_primitive_desc_query_md(matrix->desc, dnnl_query_weights_md, 0);
        onednn_view scratch = dnnl_primitive_desc_query_md(matrix->desc, dnnl_query_scratchpad_md, 0);
        matrix->base.scratch = dnnl_memory_desc_get_size(scratch);
        matrix->packed = aligned_alloc(64, (dnnl_memory_desc_get_size(packed) + 63) / 64 * 64);
        status = matrix->packed ? dnnl_memory_create(&matrix->weights, packed, engine->dnnl, matrix->packed)
                                : dnnl_out_of_memory;
    }
    if (status != dnnl_success) {
        onednn_fail(error, "preparing a product", status);
        matrix_free(&matrix->base);
        return NULL;
    }
    return &matrix->base;
}

static int matrix_set(struct clip_matrix *base, const float *w, int transposed, struct clip_error *error)
{
    struct matrix *matrix = (struct matrix *)base;
    onednn_view packed = dnnl_primitive_desc_query_md(matrix->desc, dnnl_query_weights_md, 0);
    dnnl_status_t status = onednn_pack(((struct engine *)base->engine)->dnnl, base->n, base->k, w, transposed,
                                       packed, matrix->packed);
    return status == dnnl_success ? 0 : onednn_fail(error, "packing weights", status);
}

/* --- products --- */

static int product(const struct clip_matrix *base, const void *x, float *y, void *scratch,
                   struct clip_error *error)
{
    const struct matrix *matrix = (const struct matrix *)base;
    dnnl_engine_t engine = ((struct engine *)base->engine)->dnnl;
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
        onednn_view desc = dnnl_primitive_desc_query_md(matrix->desc, of[made - 1].query, 0);
        status = dnnl_memory_create(&arguments[made].memory, desc, engine, of[made - 1].data);
    }
    dnnl_stream_t stream = NULL;
    if (status == dnnl_success)
        status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(matrix->primitive, stream, 4, arguments);
    if (stream)
        dnnl_stream_destroy(stream);
    while (--made > 0)
        if (arguments[made].memory)
            dnnl_memory_destroy(arguments[made].memory);
    return status == dnnl_success ? 0 : onednn_fail(error, "a product", status);
}

const struct clip_engine_type clip_onednn = {
    "onednn", "oneDNN", can, open_engine, free_engine, matrix_new, matrix_free, matrix_set, product,
};
