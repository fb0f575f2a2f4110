/* The projection of features into the shared space, and unit length: what makes them embeddings. */
#ifndef CLIP_TOWER_PROJECT_H
#define CLIP_TOWER_PROJECT_H

#include "base/error.h"
#include "tower/weights.h"

#include <stddef.h>

struct clip_projection;

/* The model's projection of one side; of the setup the pool and the batch do not matter. NULL with error. */
struct clip_projection *clip_projection_open(enum clip_side side, const struct clip_tower_setup *setup,
                                             struct clip_error *error);
void clip_projection_free(struct clip_projection *projection);

/* Width of the features it takes, and of the embeddings it gives. */
size_t clip_projection_inputs(const struct clip_projection *projection);
size_t clip_projection_outputs(const struct clip_projection *projection);

/* embeddings[n][outputs] = features[n][inputs] projected and made unit, in the caller's thread; a row that
 * has no direction (math/unit.h) is left as projected. Each row is the same bytes whatever n is and wherever
 * it stands. One call at a time. */
int clip_projection_run(struct clip_projection *projection, const float *features, size_t n,
                        float *embeddings, struct clip_error *error);

/* --- the two projections as they learn --- */

struct clip_projection_learner;

/* For up to setup->batch pairs at once, of parameters of CLIP_PART_PROJECTION; the engine is f32. NULL with
 * error. */
struct clip_projection_learner *clip_projection_learner_open(const struct clip_tower_setup *setup,
                                                             struct clip_error *error);
void clip_projection_learner_free(struct clip_projection_learner *learner);

/* Width of one side's features. */
size_t clip_projection_learner_inputs(const struct clip_projection_learner *learner, enum clip_side side);

/* Takes up the parameters' values after each change. */
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
