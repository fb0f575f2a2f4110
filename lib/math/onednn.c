#include "math/onednn.h"

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

dnnl_status_t onednn_pack(dnnl_engine_t engine, size_t n, size_t k, const float *w, int transposed,
                          onednn_view to, void *packed)
{
    onednn_layout plain;
    omp_set_num_threads(1);
    dnnl_status_t status =
        onednn_layout_new(&plain, (int64_t)k, (int64_t)n, dnnl_f32, transposed ? dnnl_ab : dnnl_ba);
    if (status == dnnl_success) {
        status = reorder(engine, onednn_view_of(&plain), w, to, packed);
        onednn_layout_free(&plain);
    }
    return status;
}
