#include "tower/stage.h"

int clip_stage_open(struct clip_stage *stage, const char *model, const char *arch,
                    enum clip_precision precision, int threads, struct clip_error *error)
{
    return clip_stage_begin(stage, clip_model_open(model, arch, error), precision, threads, error);
}

int clip_stage_begin(struct clip_stage *stage, struct clip_model *model, enum clip_precision precision,
                     int threads, struct clip_error *error)
{
    *stage = (struct clip_stage){.model = model};
    if (stage->model)
        stage->engine = clip_engine_open(NULL, precision, threads, error);
    if (stage->engine)
        stage->pool = clip_pool_new(threads, error);
    if (stage->pool)
        return 0;
    clip_stage_close(stage);
    return -1;
}

void clip_stage_close(struct clip_stage *stage)
{
    clip_pool_free(stage->pool);
    clip_engine_free(stage->engine);
    if (stage->model)
        clip_model_close(stage->model);
    *stage = (struct clip_stage){0};
}
