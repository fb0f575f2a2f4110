/* Embeddings: features projected into the shared space and made unit. */
#ifndef CLIP_TOWER_PROJECT_H
#define CLIP_TOWER_PROJECT_H

#include "base/error.h"
#include "tower/tower.h"

#include <stddef.h>

struct clip_projection;

/* The model's projection of one side; the setup's pool and batch are ignored. NULL with error. */
struct clip_projection *clip_projection_open(enum clip_side side, const struct clip_tower_setup *setup,
                                             struct clip_error *error);
void clip_projection_free(struct clip_projection *projection);

/* The widths of the features and of the embeddings. */
size_t clip_projection_inputs(const struct clip_projection *projection);
size_t clip_projection_outputs(const struct clip_projection *projection);

/* embeddings[n][outputs] = features[n][inputs] projected and made unit, in the caller's thread; a row that
 * has no direction (math/unit.h) is left as projected. Each row is the same bytes whatever n is and wherever
 * it stands. One call at a time. */
int clip_projection_run(struct clip_projection *projection, const float *features, size_t n,
                        float *embeddings, struct clip_error *error);

/* Both projections in training, run as a tower: an item is the features of a pair, and the result is
 * embeddings[n][2][embed], projected and made unit, the picture's first; an error if one has no direction.
 * Its parameters are of CLIP_PART_PROJECTION, its engine f32. NULL with error. */
struct clip_tower *clip_projection_learner_open(const struct clip_tower_setup *setup,
                                                struct clip_error *error);

#endif
