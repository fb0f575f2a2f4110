/* What the files *-onednn.c share; only they include this. Inline functions hide how versions 2 and 3 of
 * oneDNN make descriptors. */
#ifndef CLIP_MATH_ONEDNN_H
#define CLIP_MATH_ONEDNN_H

#include "math/engine.h"

#include <oneapi/dnnl/dnnl.h>

/* oneDNN's threads are OpenMP's; each of our calls must stay in its thread. (Declared here because clang
 * finds no omp.h where only GCC's is installed.) */
void omp_set_num_threads(int threads);

/* Sets the message of a status that is not success; -1. */
int onednn_fail(struct clip_error *error, const char *what, dnnl_status_t status);

/* Bits of what a product does after multiplying. */
enum { ONEDNN_SUM = 1, ONEDNN_RELU = 2 };

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t onednn_layout; /* owned */
typedef const_dnnl_memory_desc_t onednn_view;

static inline dnnl_status_t onednn_layout_new(onednn_layout *out, int64_t rows, int64_t columns,
                                              dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(out, 2, (dnnl_dims_t){rows, columns}, type, tag);
}

static inline dnnl_status_t onednn_layout_copy(onednn_layout *out, onednn_view layout)
{
    return dnnl_memory_desc_clone(out, layout);
}

/* No-op where it is all zeros. */
static inline void onednn_layout_free(onednn_layout *layout)
{
    if (*layout)
        dnnl_memory_desc_destroy(*layout);
}

static inline onednn_view onednn_view_of(const onednn_layout *layout)
{
    return *layout;
}

/* Bytes of an element: f32, bf16 or s8. */
static inline size_t onednn_element(onednn_view layout)
{
    dnnl_data_type_t type = dnnl_data_type_undef;
    dnnl_memory_desc_query(layout, dnnl_query_data_type, &type);
    return dnnl_data_type_size(type);
}

/* `bias` may be NULL. */
static inline dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                          const onednn_layout *x, const onednn_layout *w,
                                          const onednn_layout *bias, const onednn_layout *y,
                                          const_dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(out, engine, *x, *w, bias ? *bias : NULL, *y, attr);
}

static inline dnnl_status_t onednn_append(dnnl_post_ops_t ops, int epilogue, dnnl_data_type_t type)
{
    dnnl_status_t status = dnnl_success;
    if (epilogue & ONEDNN_SUM)
        status = dnnl_post_ops_append_sum(ops, 1, 0, type);
    if (epilogue & ONEDNN_RELU && status == dnnl_success)
        status = dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
    return status;
}

#else

typedef dnnl_memory_desc_t onednn_layout;
typedef const dnnl_memory_desc_t *onednn_view;

static inline dnnl_status_t onednn_layout_new(onednn_layout *out, int64_t rows, int64_t columns,
                                              dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(out, 2, (dnnl_dims_t){rows, columns}, type, tag);
}

static inline dnnl_status_t onednn_layout_copy(onednn_layout *out, onednn_view layout)
{
    *out = *layout;
    return dnnl_success;
}

static inline void onednn_layout_free(onednn_layout *layout)
{
    (void)layout;
}

static inline onednn_view onednn_view_of(const onednn_layout *layout)
{
    return layout;
}

/* Bytes of an element: f32, bf16 or s8. */
static inline size_t onednn_element(onednn_view layout)
{
    return dnnl_data_type_size(layout->data_type);
}

/* `bias` may be NULL. */
static inline dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                          const onednn_layout *x, const onednn_layout *w,
                                          const onednn_layout *bias, const onednn_layout *y,
                                          const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, x, w, bias, y);
    return status == dnnl_success ? dnnl_primitive_desc_create(out, &desc, attr, engine, NULL) : status;
}

static inline dnnl_status_t onednn_append(dnnl_post_ops_t ops, int epilogue, dnnl_data_type_t type)
{
    (void)type;
    dnnl_status_t status = dnnl_success;
    if (epilogue & ONEDNN_SUM)
        status = dnnl_post_ops_append_sum(ops, 1);
    if (epilogue & ONEDNN_RELU && status == dnnl_success)
        status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
    return status;
}

#endif

/* Makes the attributes of a product: the caller provides scratch memory, and the product ends in `after`,
 * whose sum is of `type`. The caller destroys them, also after an error. */
dnnl_status_t onednn_attributes(dnnl_primitive_attr_t *attr, int after, dnnl_data_type_t type);

/* How weights w[n][k], or w[k][n] where transposed, are packed into the layout of a product. */
struct onednn_packing {
    size_t n, k;
    onednn_view to;        /* not owned */
    dnnl_data_type_t from; /* of w: f32, or s8 where the product takes that */
    int reorder[2];        /* by `transposed`: oneDNN packs these correctly only from the other order */
};

/* If the layout has padding, checks oneDNN's packing with known weights: version 3.7 misplaces some. */
dnnl_status_t onednn_packing_init(struct onednn_packing *packing, dnnl_engine_t engine, size_t n, size_t k,
                                  dnnl_data_type_t from, onednn_view to);

/* `packed` must be zeroed before the first weights: not every version of oneDNN clears the padding. */
dnnl_status_t onednn_pack(const struct onednn_packing *packing, dnnl_engine_t engine, const void *w,
                          int transposed, void *packed);

/* The engine's sums of outer products (outer-onednn.c). */
struct clip_outer *onednn_outer_new(const struct clip_outer *shape, struct clip_error *error);
void onednn_outer_free(struct clip_outer *outer);
int onednn_outer_add(const struct clip_outer *outer, size_t first, size_t count, size_t rows, const void *a,
                     const void *b, float *c, void *scratch, struct clip_error *error);

#endif
