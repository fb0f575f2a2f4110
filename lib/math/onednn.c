#include "math/onednn.h"

#include <stdlib.h>
#include <string.h>

int onednn_fail(struct clip_error *error, const char *what, dnnl_status_t status)
{
    if (status == dnnl_out_of_memory)
        return clip_fail_memory(error, what);
    return clip_fail(error, "oneDNN failed in %s (status %d)", what, (int)status);
}

dnnl_status_t onednn_attributes(dnnl_primitive_attr_t *attr, int after, dnnl_data_type_t type)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success)
        status = onednn_append(ops, after, type);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return status;
}

/* Copies from one layout to the other, converting. */
static dnnl_status_t reorder(dnnl_engine_t engine, onednn_view from, const void *w, onednn_view to,
                             void *packed)
{
    dnnl_memory_t source = NULL, target = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = dnnl_memory_create(&source, from, engine, (void *)w);
    if (status == dnnl_success)
        status = dnnl_memory_create(&target, to, engine, packed);
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&desc, from, engine, to, engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&primitive, desc);
    if (status == dnnl_success)
        status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(primitive, stream, 2,
                                        (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}});
    if (stream)
        dnnl_stream_destroy(stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (target)
        dnnl_memory_destroy(target);
    if (source)
        dnnl_memory_destroy(source);
    return status;
}

/* Copies between w[n][k], or w[k][n] where transposed, and the packing's layout. */
static dnnl_status_t move(const struct onednn_packing *packing, dnnl_engine_t engine, int transposed, void *w,
                          void *packed, int back)
{
    onednn_layout plain;
    omp_set_num_threads(1);
    dnnl_status_t status = onednn_layout_new(&plain, (int64_t)packing->k, (int64_t)packing->n, packing->from,
                                             transposed ? dnnl_ab : dnnl_ba);
    if (status != dnnl_success)
        return status;
    onednn_view view = onednn_view_of(&plain);
    status =
        back ? reorder(engine, packing->to, packed, view, w) : reorder(engine, view, w, packing->to, packed);
    onednn_layout_free(&plain);
    return status;
}

/* out[columns][rows] = the transpose of w[rows][columns], by squares that stay in the cache. */
static void transpose(size_t rows, size_t columns, size_t element, const void *w, void *out)
{
    enum { SIDE = 16 };
    for (size_t r = 0; r < rows; r += SIDE)
        for (size_t c = 0; c < columns; c += SIDE)
            for (size_t i = r; i < r + SIDE && i < rows; i++)
                for (size_t j = c; j < c + SIDE && j < columns; j++)
                    if (element == sizeof(float))
                        ((float *)out)[j * rows + i] = ((const float *)w)[i * columns + j];
                    else
                        ((int8_t *)out)[j * rows + i] = ((const int8_t *)w)[i * columns + j];
}

dnnl_status_t onednn_pack(const struct onednn_packing *packing, dnnl_engine_t engine, const void *w,
                          int transposed, void *packed)
{
    if (!packing->reorder[transposed])
        return move(packing, engine, transposed, (void *)w, packed, 0);
    size_t element = dnnl_data_type_size(packing->from);
    void *other_order = reallocarray(NULL, packing->n * packing->k, element);
    if (!other_order)
        return dnnl_out_of_memory;
    transpose(transposed ? packing->k : packing->n, transposed ? packing->n : packing->k, element, w,
              other_order);
    dnnl_status_t status = move(packing, engine, !transposed, other_order, packed, 0);
    free(other_order);
    return status;
}

/* --- whether oneDNN packs right --- */

/* How many elements of `size` bytes are not zero. */
static size_t count_set(const char *x, size_t bytes, size_t size)
{
    size_t set = 0;
    for (size_t i = 0; i + size <= bytes; i += size)
        set += memcmp(x + i, (char[sizeof(float)]){0}, size) != 0;
    return set;
}

/* Packs w (without zeros, exact in the product's type) over zeros, and unpacks it to `again`: *right if every
 * weight came back and the padding is still zero. */
static dnnl_status_t try_order(const struct onednn_packing *packing, dnnl_engine_t engine, int transposed,
                               void *w, void *again, void *packed, int *right)
{
    size_t n = packing->n * packing->k, element = dnnl_data_type_size(packing->from),
           bytes = dnnl_memory_desc_get_size(packing->to);
    memset(packed, 0, bytes);
    dnnl_status_t status = move(packing, engine, transposed, w, packed, 0);
    if (status == dnnl_success)
        status = move(packing, engine, transposed, again, packed, 1);
    *right = memcmp(w, again, n * element) == 0 && count_set(packed, bytes, onednn_element(packing->to)) == n;
    return status;
}

dnnl_status_t onednn_packing_init(struct onednn_packing *packing, dnnl_engine_t engine, size_t n, size_t k,
                                  dnnl_data_type_t from, onednn_view to)
{
    *packing = (struct onednn_packing){n, k, to, from, {0, 0}};
    size_t bytes = dnnl_memory_desc_get_size(to), element = dnnl_data_type_size(from);
    if (bytes == n * k * onednn_element(to))
        return dnnl_success;
    void *w = malloc(n * k * element), *again = malloc(n * k * element);
    void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    dnnl_status_t status = w && again && packed ? dnnl_success : dnnl_out_of_memory;
    for (size_t i = 0; status == dnnl_success && i < n * k; i++)
        if (from == dnnl_s8)
            ((int8_t *)w)[i] = (int8_t)(i * 37 % 127 + 1);
        else
            ((float *)w)[i] = (float)(i * 37 % 127 + 1);
    int right[2] = {0, 0};
    for (int transposed = 0; status == dnnl_success && transposed < 2; transposed++)
        status = try_order(packing, engine, transposed, w, again, packed, &right[transposed]);
    if (status == dnnl_success && !right[0] && !right[1])
        status = dnnl_unimplemented;
    for (int transposed = 0; transposed < 2; transposed++)
        packing->reorder[transposed] = !right[transposed];
    free(w), free(again), free(packed);
    return status;
}
