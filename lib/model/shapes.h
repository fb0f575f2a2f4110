/* The architecture of a lone weights file, read off the shapes of its tensors. */
#ifndef CLIP_MODEL_SHAPES_H
#define CLIP_MODEL_SHAPES_H

#include "base/error.h"
#include "model/arch.h"
#include "model/weight.h"

/* As OpenAI's build_model: heads of 64, quick GELU; hidden layers as wide as c_fc says. `weights` has
 * OpenAI's names. */
int clip_arch_from_shapes(struct clip_arch *arch, const struct clip_weights *weights,
                          struct clip_error *error);

/* The view of that name (its first part), or NULL. */
const struct clip_weight *clip_weights_find(const struct clip_weights *weights, const char *name);

#endif
