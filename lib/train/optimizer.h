/* The optimizer of a stage: AdamW over its parameters, and its state on disk. Over ranks, each updates its
 * own part of the parameters, whose moments it alone has: gradients are reduced to the parts, and their
 * values gathered from all. */
#ifndef CLIP_TRAIN_OPTIMIZER_H
#define CLIP_TRAIN_OPTIMIZER_H

#include "base/error.h"
#include "base/threads.h"
#include "model/parameters.h"
#include "train/adamw.h"
#include "train/ranks.h"

struct clip_optimizer;

/* An optimizer of parameters, which must outlive it, as must the pool; frozen ones do not change. With
 * `clip_norm` above 0, gradients are scaled down to that norm. The moments are zero, and no step is done.
 * With ranks (NULL: one), which must outlive the parameters, it moves them to memory that is shared. NULL
 * with error. */
struct clip_optimizer *clip_optimizer_new(struct clip_parameters *parameters, const struct clip_adamw *adamw,
                                          double clip_norm, struct clip_pool *pool, struct clip_ranks *ranks,
                                          struct clip_error *error);
void clip_optimizer_free(struct clip_optimizer *optimizer);

/* One step with the parameters' gradients, summed over ranks, which are then zeroed; sets *norm to the norm
 * over all of them, before clipping. The results do not depend on the pool's threads. -1 with error if a
 * gradient is not finite (no value is changed then) or a weight afterwards is not. */
int clip_optimizer_step(struct clip_optimizer *optimizer, double lr, double *norm, struct clip_error *error);

/* Over ranks, all of them call this before rank 0 writes: it is given all moments. */
int clip_optimizer_gather(struct clip_optimizer *optimizer, struct clip_error *error);

/* Writes the state, completely or not at all, to a safetensors file: NAME.exp_avg and NAME.exp_avg_sq of
 * each parameter, and the number of steps, "step". Before the first step the moments are left out. */
int clip_optimizer_write(const struct clip_optimizer *optimizer, const char *path, struct clip_error *error);

/* Reads it back. */
int clip_optimizer_read(struct clip_optimizer *optimizer, const char *path, struct clip_error *error);

#endif
