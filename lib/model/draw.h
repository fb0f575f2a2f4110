/* Initial weights: the same numbers on every machine.
 *
 * Number i of a tensor is a function of the seed, the tensor's name and i, by the counter-based generator
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011), so that
 * tensors may be drawn in any order and in any pieces. What follows uses only operations that IEEE 754 rounds
 * one way: no function of libm but sqrt. */
#ifndef CLIP_MODEL_DRAW_H
#define CLIP_MODEL_DRAW_H

#include "model/layout.h"

#include <stddef.h>
#include <stdint.h>

/* Elements [first, first + count) of a slot's initial value, into out[count]. */
void clip_draw(uint64_t seed, const struct clip_slot *slot, uint64_t first, size_t count, float *out);

/* Philox4x32-10 of a counter and key, into out[4]. */
void clip_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The standard normal distribution's quantile of p in (0, 1): Wichura's PPND16 (Applied Statistics algorithm
 * AS 241), exact to about 1e-16. */
double clip_normal_quantile(double p);

#endif
