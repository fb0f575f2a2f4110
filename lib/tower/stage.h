/* What a stage of the pipeline that computes has open: the model, the engine of its products, its threads. */
#ifndef CLIP_TOWER_STAGE_H
#define CLIP_TOWER_STAGE_H

#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "model/model.h"

struct clip_stage {
    struct clip_model *model;
    struct clip_engine *engine;
    struct clip_pool *pool;
};

/* Opens all three: see clip_model_open, clip_engine_open (its own choice of engine), clip_pool_new. -1 with
 * error; nothing is then open. */
int clip_stage_open(struct clip_stage *stage, const char *model, const char *arch,
                    enum clip_precision precision, int threads, struct clip_error *error);
/* The same with a model that is open, which the stage takes over; NULL: -1, with the error of its opening. */
int clip_stage_begin(struct clip_stage *stage, struct clip_model *model, enum clip_precision precision,
                     int threads, struct clip_error *error);
void clip_stage_close(struct clip_stage *stage);

#endif
