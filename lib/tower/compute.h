/* What a program that computes opens: the model, the engine of products, the threads. */
#ifndef CLIP_TOWER_COMPUTE_H
#define CLIP_TOWER_COMPUTE_H

#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "tower/weights.h"

struct clip_compute {
    struct clip_model *model;
    struct clip_engine *engine, *half; /* half: bf16, for int8's blocks that are not rounded; or NULL */
    struct clip_int8_setup int8;       /* its engine NULL: the precision is another */
    struct clip_pool *pool;
};

/* Opens all: see clip_model_open, clip_engine_open (its own choice of engine), clip_pool_new. Of int8, what
 * is not a block's is computed in f32, and blocks that are not rounded in bf16 or, where the processor has
 * none, in f32. -1 with error; nothing is then open. */
int clip_compute_open(struct clip_compute *compute, const char *model, const char *arch,
                      enum clip_precision precision, int threads, struct clip_error *error);
/* The same with an open model, whose ownership it takes; NULL: -1, with the error already set. */
int clip_compute_begin(struct clip_compute *compute, struct clip_model *model, enum clip_precision precision,
                       int threads, struct clip_error *error);
/* The setup of a tower of the model; with `parameters`, unless NULL, the tower learns. */
struct clip_tower_setup clip_compute_setup(const struct clip_compute *compute,
                                           struct clip_parameters *parameters, size_t batch);
void clip_compute_close(struct clip_compute *compute);

#endif
