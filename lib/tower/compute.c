#include "tower/compute.h"

int clip_compute_open(struct clip_compute *compute, const char *model, const char *arch,
                      enum clip_precision precision, int threads, struct clip_error *error)
{
    return clip_compute_begin(compute, clip_model_open(model, arch, error), precision, threads, error);
}

static int open_engines(struct clip_compute *compute, enum clip_precision precision, int threads,
                        struct clip_error *error)
{
    struct clip_error ignored;
    int int8 = precision == CLIP_PRECISION_INT8;
    compute->engine = clip_engine_open(NULL, int8 ? CLIP_PRECISION_F32 : precision, threads, error);
    if (!compute->engine || !int8)
        return compute->engine ? 0 : -1;
    if (clip_engine_can(CLIP_PRECISION_BF16, &ignored) == 0 &&
        !(compute->half = clip_engine_open(NULL, CLIP_PRECISION_BF16, threads, error)))
        return -1;
    compute->int8 = (struct clip_int8_setup){.engine = clip_engine_open(NULL, precision, threads, error),
                                             .kept = compute->half ? compute->half : compute->engine};
    return compute->int8.engine ? 0 : -1;
}

int clip_compute_begin(struct clip_compute *compute, struct clip_model *model, enum clip_precision precision,
                       int threads, struct clip_error *error)
{
    *compute = (struct clip_compute){.model = model};
    if (compute->model && open_engines(compute, precision, threads, error) == 0)
        compute->pool = clip_pool_new(threads, error);
    if (compute->pool)
        return 0;
    clip_compute_close(compute);
    return -1;
}

struct clip_tower_setup clip_compute_setup(const struct clip_compute *compute,
                                           struct clip_parameters *parameters, size_t batch)
{
    return (struct clip_tower_setup){.arch = clip_model_arch(compute->model),
                                     .model = parameters ? NULL : compute->model,
                                     .parameters = parameters,
                                     .engine = compute->engine,
                                     .int8 = compute->int8.engine ? &compute->int8 : NULL,
                                     .pool = compute->pool,
                                     .batch = batch};
}

void clip_compute_close(struct clip_compute *compute)
{
    clip_pool_free(compute->pool);
    clip_engine_free(compute->engine);
    clip_engine_free(compute->half);
    clip_engine_free(compute->int8.engine);
    if (compute->model)
        clip_model_close(compute->model);
    *compute = (struct clip_compute){0};
}
