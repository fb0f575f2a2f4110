#include "tower/compute.h"

int clip_compute_open(struct clip_compute *compute, const char *model, const char *arch,
                      enum clip_precision precision, int threads, struct clip_error *error)
{
    return clip_compute_begin(compute, clip_model_open(model, arch, error), precision, threads, error);
}

int clip_compute_begin(struct clip_compute *compute, struct clip_model *model, enum clip_precision precision,
                       int threads, struct clip_error *error)
{
    *compute = (struct clip_compute){.model = model};
    if (compute->model)
        compute->engine = clip_engine_open(NULL, precision, threads, error);
    if (compute->engine)
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
                                     .pool = compute->pool,
                                     .batch = batch};
}

void clip_compute_close(struct clip_compute *compute)
{
    clip_pool_free(compute->pool);
    clip_engine_free(compute->engine);
    if (compute->model)
        clip_model_close(compute->model);
    *compute = (struct clip_compute){0};
}
