/* Sums of outer products by oneDNN, as products whose left operand is transposed. */
#include "math/engine.h"
#include "math/onednn.h"

#include <stdlib.h>
#include <string.h>

/* The number of rows that one product sums over. The rest of a sum goes to the smaller products; the smallest
 * takes the last rows, padded with zeros. */
static const size_t heights[] = {256, 128, 64, 32};
enum { HEIGHTS = sizeof heights / sizeof *heights, LEAST = HEIGHTS - 1 };

/* The heights of panels of c: all but the last, and the last. */
enum { WHOLE, REST, PANELS };

struct product {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
};

struct outer {
    struct clip_outer base;
    dnnl_engine_t engine;
    struct product products[PANELS][HEIGHTS]; /* that of REST only where it is not empty */
    size_t a_bytes, b_bytes;                  /* of scratch: a panel of a; the rows after the last height */
};

void onednn_outer_free(struct clip_outer *base)
{
    struct outer *outer = (struct outer *)base;
    for (int p = 0; p < PANELS; p++)
        for (int h = 0; h < HEIGHTS; h++) {
            if (outer->products[p][h].primitive)
                dnnl_primitive_destroy(outer->products[p][h].primitive);
            if (outer->products[p][h].desc)
                dnnl_primitive_desc_destroy(outer->products[p][h].desc);
        }
    if (outer->engine)
        dnnl_engine_destroy(outer->engine);
    free(outer);
}

/* c[m][n] += aᵀ · b over `rows` rows. */
static dnnl_status_t make_product(struct outer *outer, struct product *product, size_t m, size_t rows)
{
    int bf16 = clip_engine_precision(outer->base.engine) == CLIP_PRECISION_BF16;
    dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
    int64_t height = (int64_t)rows, n = (int64_t)outer->base.n;
    onednn_layout a = {0}, b = {0}, c = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = onednn_attributes(&attr, ONEDNN_SUM, dnnl_f32);
    if (status == dnnl_success)
        status = onednn_layout_new(&a, (int64_t)m, height, type, dnnl_ba);
    if (status == dnnl_success)
        status = onednn_layout_new(&b, height, n, type, dnnl_ab);
    if (status == dnnl_success)
        status = onednn_layout_new(&c, (int64_t)m, n, dnnl_f32, dnnl_ab);
    if (status == dnnl_success)
        status = onednn_matmul(&product->desc, outer->engine, &a, &b, NULL, &c, attr);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&product->primitive, product->desc);
    onednn_layout_free(&a);
    onednn_layout_free(&b);
    onednn_layout_free(&c);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Makes the products of all heights, and sums up their scratch. */
static dnnl_status_t make_products(struct outer *outer)
{
    const size_t m[PANELS] = {outer->base.panel, outer->base.m % outer->base.panel};
    size_t most = 0, element = clip_engine_element(outer->base.engine);
    omp_set_num_threads(1); /* oneDNN makes a kernel for the current number of threads */
    for (int p = 0; p < PANELS; p++)
        for (int h = 0; h < HEIGHTS && m[p] > 0; h++) {
            struct product *product = &outer->products[p][h];
            dnnl_status_t status = make_product(outer, product, m[p], heights[h]);
            if (status != dnnl_success)
                return status;
            size_t bytes = dnnl_memory_desc_get_size(
                dnnl_primitive_desc_query_md(product->desc, dnnl_query_scratchpad_md, 0));
            most = bytes > most ? bytes : most;
        }
    outer->a_bytes = (heights[0] * outer->base.panel * element + 63) / 64 * 64;
    outer->b_bytes = (heights[LEAST] * outer->base.n * element + 63) / 64 * 64;
    outer->base.scratch = outer->a_bytes + outer->b_bytes + most;
    return dnnl_success;
}

struct clip_outer *onednn_outer_new(const struct clip_outer *shape, struct clip_error *error)
{
    struct outer *outer = calloc(1, sizeof *outer);
    if (!outer) {
        clip_fail_memory(error, "a gradient");
        return NULL;
    }
    outer->base = *shape;
    dnnl_status_t status = dnnl_engine_create(&outer->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = make_products(outer);
    if (status == dnnl_success)
        return &outer->base;
    onednn_fail(error, "preparing a gradient", status);
    onednn_outer_free(&outer->base);
    return NULL;
}

/* --- running --- */

/* c[m][n] += aᵀ · b by one product. */
static dnnl_status_t add_product(const struct outer *outer, const struct product *product, const void *a,
                                 const void *b, float *c, void *scratch, dnnl_stream_t stream)
{
    const struct {
        int argument;
        dnnl_query_t query;
        void *data;
    } of[] = {{DNNL_ARG_SRC, dnnl_query_src_md, (void *)a},
              {DNNL_ARG_WEIGHTS, dnnl_query_weights_md, (void *)b},
              {DNNL_ARG_DST, dnnl_query_dst_md, c},
              {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, scratch}};
    enum { ARGUMENTS = sizeof of / sizeof *of };
    dnnl_exec_arg_t arguments[ARGUMENTS] = {{0}};
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < ARGUMENTS && status == dnnl_success; i++) {
        arguments[i].arg = of[i].argument;
        status = dnnl_memory_create(&arguments[i].memory,
                                    dnnl_primitive_desc_query_md(product->desc, of[i].query, 0),
                                    outer->engine, of[i].data);
    }
    if (status == dnnl_success)
        status = dnnl_primitive_execute(product->primitive, stream, ARGUMENTS, arguments);
    for (int i = 0; i < ARGUMENTS; i++)
        if (arguments[i].memory)
            dnnl_memory_destroy(arguments[i].memory);
    return status;
}

/* out[height][count] = columns [first, first + count) of a[rows][m], then zeros. */
static void copy_panel(const struct outer *outer, size_t first, size_t count, size_t rows, size_t height,
                       const char *a, char *out)
{
    size_t element = clip_engine_element(outer->base.engine), bytes = count * element;
    for (size_t r = 0; r < rows; r++)
        memcpy(out + r * bytes, a + (r * outer->base.m + first) * element, bytes);
    memset(out + rows * bytes, 0, (height - rows) * bytes);
}

static dnnl_status_t add_rows(const struct outer *outer, size_t first, size_t count, size_t rows,
                              const char *a, const char *b, float *c, char *scratch, dnnl_stream_t stream)
{
    size_t element = clip_engine_element(outer->base.engine), m = outer->base.m, n = outer->base.n;
    const struct product *products = outer->products[count == outer->base.panel ? WHOLE : REST];
    char *panel = scratch, *tail = panel + outer->a_bytes, *work = tail + outer->b_bytes;
    dnnl_status_t status = dnnl_success;
    for (int h = 0; rows > 0 && status == dnnl_success;) {
        size_t height = heights[h], part = rows < height ? rows : height;
        if (part < height && h < LEAST) {
            h++;
            continue;
        }
        copy_panel(outer, first, count, part, height, a, panel);
        if (part < height) {
            memcpy(tail, b, part * n * element);
            memset(tail + part * n * element, 0, (height - part) * n * element);
            b = tail;
        }
        status = add_product(outer, &products[h], panel, b, c + first * n, work, stream);
        a += part * m * element;
        b += part * n * element;
        rows -= part;
    }
    return status;
}

int onednn_outer_add(const struct clip_outer *base, size_t first, size_t count, size_t rows, const void *a,
                     const void *b, float *c, void *scratch, struct clip_error *error)
{
    const struct outer *outer = (const struct outer *)base;
    dnnl_stream_t stream = NULL;
    omp_set_num_threads(1);
    dnnl_status_t status = dnnl_stream_create(&stream, outer->engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = add_rows(outer, first, count, rows, a, b, c, scratch, stream);
    if (stream)
        dnnl_stream_destroy(stream);
    return status == dnnl_success ? 0 : onednn_fail(error, "a gradient", status);
}
