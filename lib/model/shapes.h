/* The architecture of a lone weights file, inferred from the shapes of its tensors. */
#ifndef CLIP_MODEL_SHAPES_H
#define CLIP_MODEL_SHAPES_H

#include "base/error.h"
#include "model/arch.h"
#include "model/weight.h"

/* What the names of tensors say: which towers there are, of which kind, and whether there is a logit bias. */
void clip_arch_from_names(struct clip_arch *arch, const struct clip_weights *weights);

/* As OpenAI's build_model: heads of 64, quick GELU; hidden layers as wide as c_fc says. `weights` has
 * OpenAI's names. */
int clip_arch_from_shapes(struct clip_arch *arch, const struct clip_weights *weights,
                          struct clip_error *error);

/* With `lone`: makes a two-tower architecture one tower's if the other's tensors are absent, and sets whether
 * that tower has a projection and a logit scale. */
void clip_arch_fit(struct clip_arch *arch, const struct clip_weights *weights, int lone);

/* 1 if a tower of these widths is one of OpenAI's nine models', or absent: heads of 64 are then not a guess.
 */
int clip_arch_heads_known(const struct clip_arch *arch, enum clip_side side);

/* The view of that name (the first part), or NULL. */
const struct clip_weight *clip_weights_find(const struct clip_weights *weights, const char *name);

#endif
