/* The two projections as they learn: features to unit embeddings, and the gradients back. */
#ifndef CLIP_TOWER_PROJECT_LEARNER_H
#define CLIP_TOWER_PROJECT_LEARNER_H

#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "model/parameters.h"
#include "tower/project.h"

#include <stddef.h>

struct clip_projection_learner;

/* For up to `chunk` pairs at once. `parameters` are those of CLIP_PART_PROJECTION; they, engine (f32) and
 * pool must outlive it. NULL with error. */
struct clip_projection_learner *clip_projection_learner_open(const struct clip_arch *arch,
                                                             struct clip_parameters *parameters,
                                                             struct clip_engine *engine,
                                                             struct clip_pool *pool, size_t chunk,
                                                             struct clip_error *error);
void clip_projection_learner_free(struct clip_projection_learner *learner);

/* Width of one side's features. */
size_t clip_projection_learner_inputs(const struct clip_projection_learner *learner, enum clip_side side);

/* Prepares products for the parameters' values as they are now: before the first forward, and after each
 * change. */
int clip_projection_learner_refresh(struct clip_projection_learner *learner, struct clip_error *error);

/* embeddings[n][2][embed] = features[i][picture's, caption's] of n pairs projected and made unit, the
 * picture's first. -1 with error, also where one has no direction. */
int clip_projection_learner_forward(struct clip_projection_learner *learner, const float *const *features,
                                    size_t n, float *embeddings, struct clip_error *error);

/* Adds to the parameters' gradients those of a loss whose gradient with respect to the embeddings is
 * gradients[n][2][embed], and gives that with respect to the features, in their order:
 * feature_gradients[n][inputs of both sides]. What the forward computed is computed again. */
int clip_projection_learner_backward(struct clip_projection_learner *learner, const float *const *features,
                                     size_t n, const float *gradients, float *feature_gradients,
                                     struct clip_error *error);

#endif
