/* What a stage that trains has open: the model it starts from, its parameters, its optimizer, its place in
 * the run. */
#ifndef CLIP_TRAIN_TRAINEE_H
#define CLIP_TRAIN_TRAINEE_H

#include "base/error.h"
#include "math/product.h"
#include "model/parameters.h"
#include "tower/compute.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/options.h"
#include "train/step.h"

#include <stdint.h>

struct clip_trainee {
    struct clip_run run;
    struct clip_compute compute; /* model, engine, pool */
    struct clip_parameters parameters;
    struct clip_optimizer *optimizer;
    int frozen;
    uint64_t steps;       /* done */
    double gradient_norm; /* of the last step; 0 where frozen */
};

/* Opens a part of the run options->dir: the last checkpoint or the model it starts from, and its
 * parameters. -1 with error; close it also then. */
int clip_trainee_open(struct clip_trainee *trainee, const struct clip_train_options *options,
                      enum clip_part part, enum clip_precision precision, int threads,
                      struct clip_error *error);
void clip_trainee_close(struct clip_trainee *trainee);

/* Checks that `step` is the one that comes next, has a learning rate, and counts `records` records. */
int clip_trainee_expect(const struct clip_trainee *trainee, const struct clip_step *step, uint64_t records,
                        struct clip_error *error);

/* A step with the parameters' gradients, which are then zeroed; nothing where frozen. What it changed may be
 * clamped before clip_trainee_save. -1 with error where something is not finite. */
int clip_trainee_update(struct clip_trainee *trainee, const struct clip_step *step, struct clip_error *error);

/* Writes the stage's part of a checkpoint, if the step says so. */
int clip_trainee_save(const struct clip_trainee *trainee, const struct clip_step *step,
                      struct clip_error *error);

#endif
