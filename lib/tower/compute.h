/* What a stage of the pipeline that computes has open: the model, the engine of its products, its threads. */
#ifndef CLIP_TOWER_COMPUTE_H
#define CLIP_TOWER_COMPUTE_H

#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "tower/weights.h"

struct clip_compute {
    struct clip_model *model;
    struct clip_engine *engine;
    struct clip_pool *pool;
};

/* Opens all three: see clip_model_open, clip_engine_open (its own choice of engine), clip_pool_new. -1 with
 * error; nothing is then open. */
int clip_compute_open(struct clip_compute *compute, const char *model, const char *arch,
                      enum clip_precision precision, int threads, struct clip_error *error);
/* The same with a model that is open, which it takes over; NULL: -1, with the error of its opening. */
int clip_compute_begin(struct clip_compute *compute, struct clip_model *model, enum clip_precision precision,
                       int threads, struct clip_error *error);
/* What a tower of the model is opened with; with parameters, unless NULL, it learns. */
struct clip_tower_setup clip_compute_setup(const struct clip_compute *compute,
                                           struct clip_parameters *parameters, size_t batch);
void clip_compute_close(struct clip_compute *compute);

#endif
