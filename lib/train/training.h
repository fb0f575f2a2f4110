/* What a stage that trains has open: the model it starts from, its parameters, its optimizer, its place in
 * the run. */
#ifndef CLIP_TRAIN_TRAINING_H
#define CLIP_TRAIN_TRAINING_H

#include "base/error.h"
#include "math/product.h"
#include "model/parameters.h"
#include "tower/compute.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/options.h"
#include "train/ranks.h"
#include "train/step.h"

#include <stdint.h>

struct clip_training {
    struct clip_run run;
    struct clip_compute compute; /* model, engine, pool */
    struct clip_parameters parameters;
    struct clip_optimizer *optimizer;
    int frozen;
    uint64_t steps;           /* done */
    double gradient_norm;     /* of the last step; 0 where frozen */
    struct clip_ranks *ranks; /* NULL: one */
};

/* Opens a part of the run options->dir: the last checkpoint or the model it starts from, its parameters, and
 * the other ranks. Those of CLIP_PART_LOSS sum what they must themselves. -1 with error; close it also then.
 */
int clip_training_open(struct clip_training *training, const struct clip_train_options *options,
                       enum clip_part part, enum clip_precision precision, int threads,
                       struct clip_error *error);
void clip_training_close(struct clip_training *training);

/* The work is done, as that of the other ranks is: waits for them. Or it has failed, which they are told. */
int clip_training_end(struct clip_training *training, struct clip_error *error);
void clip_training_fail(struct clip_training *training, const struct clip_error *error);

/* Checks that `step` is the one that comes next, has a learning rate, and counts `records` records. */
int clip_training_expect(const struct clip_training *training, const struct clip_step *step, uint64_t records,
                         struct clip_error *error);

/* A step with the parameters' gradients, summed over ranks, which are then zeroed; nothing where frozen. What
 * it changed may be clamped before clip_training_save. -1 with error where something is not finite. */
int clip_training_update(struct clip_training *training, const struct clip_step *step,
                         struct clip_error *error);

/* Writes the stage's part of a checkpoint, if the step says so: rank 0 does, and all wait for it. */
int clip_training_save(struct clip_training *training, const struct clip_step *step,
                       struct clip_error *error);

#endif
