/* Initial weights: the same numbers on every machine.
 *
 * Number i of a tensor is a function of the seed, the tensor's name and i (base/random.h), so that tensors
 * may be drawn in any order and in any pieces. What follows uses only operations that IEEE 754 rounds
 * one way: no function of libm but sqrt. */
#ifndef CLIP_MODEL_DRAW_H
#define CLIP_MODEL_DRAW_H

#include "model/layout.h"

#include <stddef.h>
#include <stdint.h>

/* Elements [first, first + count) of a slot's initial value, into out[count]. */
void clip_draw(uint64_t seed, const struct clip_slot *slot, uint64_t first, size_t count, float *out);

/* The standard normal distribution's quantile of p in (0, 1): Wichura's PPND16 (Applied Statistics algorithm
 * AS 241), exact to about 1e-16. */
double clip_normal_quantile(double p);

#endif
