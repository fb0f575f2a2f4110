/* Linear layers by oneDNN: bias, sum and relu are part of its kernel. */
#include "base/pages.h"
#include "math/engine.h"
#include "math/linear-type.h"
#include "math/onednn.h"

#include <stdlib.h>

struct linear {
    struct clip_linear base;
    dnnl_engine_t engine;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    struct onednn_packing packing;
    size_t stride; /* bytes of a layer's packed weights */
    char *packed;  /* [count], each `stride`; from clip_pages_new */
};

static void free_linear(struct clip_linear *base)
{
    struct linear *linear = (struct linear *)base;
    if (linear->primitive)
        dnnl_primitive_destroy(linear->primitive);
    if (linear->desc)
        dnnl_primitive_desc_destroy(linear->desc);
    if (linear->engine)
        dnnl_engine_destroy(linear->engine);
    clip_pages_free(linear->packed, linear->stride * linear->base.shape.count);
    free(linear);
}

/* --- making one --- */

/* The product's descriptor; oneDNN chooses the layout of the weights. */
static dnnl_status_t describe_product(struct linear *linear, const struct clip_linear_shape *shape,
                                      enum clip_precision precision, int epilogue)
{
    enum { X, W, BIAS, Y, LAYOUTS };
    dnnl_data_type_t type = precision == CLIP_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t out = epilogue & CLIP_LINEAR_F32 ? dnnl_f32 : type;
    int64_t rows = (int64_t)shape->rows, n = (int64_t)shape->n, k = (int64_t)shape->k;
    const struct {
        int64_t rows, columns;
        dnnl_data_type_t type;
        dnnl_format_tag_t tag;
    } of[LAYOUTS] = {[X] = {rows, k, type, dnnl_ab},
                     [W] = {k, n, type, dnnl_format_tag_any},
                     [BIAS] = {1, n, dnnl_f32, dnnl_ab},
                     [Y] = {rows, n, out, dnnl_ab}};
    onednn_layout layout[LAYOUTS];
    int made = 0;
    dnnl_primitive_attr_t attr = NULL;
    int after =
        (epilogue & CLIP_LINEAR_ADD ? ONEDNN_SUM : 0) | (epilogue & CLIP_LINEAR_RELU ? ONEDNN_RELU : 0);
    dnnl_status_t status = onednn_attributes(&attr, after, out);
    for (; made < LAYOUTS && status == dnnl_success; made += status == dnnl_success)
        status =
            onednn_layout_new(&layout[made], of[made].rows, of[made].columns, of[made].type, of[made].tag);
    if (status == dnnl_success)
        status = onednn_matmul(&linear->desc, linear->engine, &layout[X], &layout[W],
                               epilogue & CLIP_LINEAR_BIAS ? &layout[BIAS] : NULL, &layout[Y], attr);
    while (made > 0)
        onednn_layout_free(&layout[--made]);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return status;
}

static struct clip_linear *create_linear(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                         int epilogue, struct clip_error *error)
{
    struct linear *linear = calloc(1, sizeof *linear);
    if (!linear) {
        clip_fail_memory(error, "a layer");
        return NULL;
    }
    omp_set_num_threads(1); /* oneDNN makes a kernel for the current number of threads */
    dnnl_status_t status = dnnl_engine_create(&linear->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = describe_product(linear, shape, clip_engine_precision(engine), epilogue);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&linear->primitive, linear->desc);
    if (status == dnnl_success) {
        onednn_view packed = dnnl_primitive_desc_query_md(linear->desc, dnnl_query_weights_md, 0);
        status = onednn_packing_init(&linear->packing, linear->engine, shape->n, shape->k, dnnl_f32, packed);
    }
    if (status == dnnl_success) {
        linear->base.scratch = dnnl_memory_desc_get_size(
            dnnl_primitive_desc_query_md(linear->desc, dnnl_query_scratchpad_md, 0));
        linear->stride = (dnnl_memory_desc_get_size(linear->packing.to) + 63) / 64 * 64;
        linear->packed =
            linear->stride > SIZE_MAX / shape->count ? NULL : clip_pages_new(linear->stride * shape->count);
        status = linear->packed ? dnnl_success : dnnl_out_of_memory;
    }
    if (status != dnnl_success) {
        onednn_fail(error, "preparing a layer", status);
        free_linear(&linear->base);
        return NULL;
    }
    return &linear->base;
}

static int set_weights(struct clip_linear *base, size_t i, size_t first, size_t count, const float *w,
                       int transposed, struct clip_error *error)
{
    (void)first, (void)count;
    struct linear *linear = (struct linear *)base;
    dnnl_status_t status =
        onednn_pack(&linear->packing, linear->engine, w, transposed, linear->packed + i * linear->stride);
    return status == dnnl_success ? 0 : onednn_fail(error, "packing weights", status);
}

/* --- running --- */

enum { X, W, Y, SCRATCH, BIAS, ARGUMENTS };

/* Makes memory objects without data yet; `arguments` comes zeroed. */
static dnnl_status_t make_arguments(const struct linear *linear, int count, dnnl_exec_arg_t *arguments)
{
    static const struct {
        int argument;
        dnnl_query_t query;
        int index;
    } of[ARGUMENTS] = {[X] = {DNNL_ARG_SRC, dnnl_query_src_md, 0},
                       [W] = {DNNL_ARG_WEIGHTS, dnnl_query_weights_md, 0},
                       [Y] = {DNNL_ARG_DST, dnnl_query_dst_md, 0},
                       [SCRATCH] = {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, 0},
                       [BIAS] = {DNNL_ARG_BIAS, dnnl_query_weights_md, 1}};
    for (int i = 0; i < count; i++) {
        arguments[i].arg = of[i].argument;
        dnnl_status_t status = dnnl_memory_create(
            &arguments[i].memory, dnnl_primitive_desc_query_md(linear->desc, of[i].query, of[i].index),
            linear->engine, NULL);
        if (status != dnnl_success)
            return status;
    }
    return dnnl_success;
}

static dnnl_status_t run_layer(const struct linear *linear, size_t i, const char *x, char *y, int count,
                               const dnnl_exec_arg_t *arguments, dnnl_stream_t stream)
{
    void *data[] = {(void *)x, linear->packed + i * linear->stride, y};
    dnnl_status_t status = dnnl_success;
    for (int a = X; a <= Y && status == dnnl_success; a++)
        status = dnnl_memory_set_data_handle(arguments[a].memory, data[a]);
    if (linear->base.bias && status == dnnl_success)
        status =
            dnnl_memory_set_data_handle(arguments[BIAS].memory, linear->base.bias + i * linear->base.shape.n);
    return status == dnnl_success ? dnnl_primitive_execute(linear->primitive, stream, count, arguments)
                                  : status;
}

static int run_layers(const struct clip_linear *base, size_t first, size_t number, const void *x, void *y,
                      void *scratch, struct clip_error *error)
{
    const struct linear *linear = (const struct linear *)base;
    dnnl_exec_arg_t arguments[ARGUMENTS] = {{0}};
    int count = base->bias ? ARGUMENTS : BIAS;
    dnnl_stream_t stream = NULL;
    size_t x_bytes =
        dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(linear->desc, dnnl_query_src_md, 0));
    size_t y_bytes =
        dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(linear->desc, dnnl_query_dst_md, 0));
    omp_set_num_threads(1);
    dnnl_status_t status = make_arguments(linear, count, arguments);
    if (status == dnnl_success)
        status = dnnl_memory_set_data_handle(arguments[SCRATCH].memory, scratch);
    if (status == dnnl_success)
        status = dnnl_stream_create(&stream, linear->engine, dnnl_stream_default_flags);
    for (size_t i = 0; i < number && status == dnnl_success; i++)
        status = run_layer(linear, first + i, (const char *)x + i * x_bytes, (char *)y + i * y_bytes, count,
                           arguments, stream);
    if (stream)
        dnnl_stream_destroy(stream);
    for (int i = 0; i < count; i++)
        if (arguments[i].memory)
            dnnl_memory_destroy(arguments[i].memory);
    return status == dnnl_success ? 0 : onednn_fail(error, "a layer", status);
}

const struct clip_linear_type clip_linear_onednn = {create_linear, free_linear, set_weights, run_layers,
                                                    NULL};
