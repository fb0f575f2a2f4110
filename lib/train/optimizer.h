/* The optimizer of a stage: AdamW over its parameters, and its state on disk. */
#ifndef CLIP_TRAIN_OPTIMIZER_H
#define CLIP_TRAIN_OPTIMIZER_H

#include "base/error.h"
#include "base/threads.h"
#include "model/parameters.h"
#include "train/adamw.h"

struct clip_optimizer;

/* For parameters that outlive it, as the pool must; those that are frozen stay as they are. `clip_norm` above
 * 0: gradients are scaled down to that norm. The moments are zero, no step is done. NULL with error. */
struct clip_optimizer *clip_optimizer_new(struct clip_parameters *parameters, const struct clip_adamw *adamw,
                                          double clip_norm, struct clip_pool *pool, struct clip_error *error);
void clip_optimizer_free(struct clip_optimizer *optimizer);

/* One step with the parameters' gradients; *norm is set to their norm over all of them, before clipping.
 * Gradients are not zeroed. The results do not depend on the pool's threads. -1 with error where a gradient,
 * and then nothing is changed, or a weight afterwards is not finite. */
int clip_optimizer_step(struct clip_optimizer *optimizer, double lr, double *norm, struct clip_error *error);

/* Writes the state, whole or not at all, to a safetensors file: NAME.exp_avg and NAME.exp_avg_sq of each
 * parameter, and the count of steps, "step". Before the first step the moments are left out. */
int clip_optimizer_write(const struct clip_optimizer *optimizer, const char *path, struct clip_error *error);

/* Reads it back. */
int clip_optimizer_read(struct clip_optimizer *optimizer, const char *path, struct clip_error *error);

#endif
