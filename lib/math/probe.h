/* Attention of a few queries to the tokens of a picture, without keys and values of single tokens.
 *
 * Of a head, the score of token x is
 *     q . (K x + k) = (K' q) . x + q . k,
 * whose last term is the same for all tokens and drops out of the softmax, and the sum of the values is
 *     sum a (V x + v) = V (sum a x) + v.
 * So a head reads the tokens as they are, by its "probe" p = K' q, and sums them up into its "mix" z = sum a
 * x.
 *
 * Backward, of the gradient dv of a head's value: dV = dv z', dz = V' dv, da = x . dz, ds = a (da - sum a
 * da), dx = a dz + ds p, dp = sum ds x, dK = q dp', dq = K dp. The bias of the keys adds the same to the
 * scores of all tokens, so its gradient is 0. */
#ifndef CLIP_MATH_PROBE_H
#define CLIP_MATH_PROBE_H

#include <stddef.h>

/* The probes of a picture: one for each query and head. Probes and mixes are [width], `stride` floats from
 * one to the next. */
struct clip_probes {
    size_t count, tokens, width, stride;
    const float *probes; /* with the scale of the scores */
    const float *x;      /* [tokens][width] */
    float *weights;      /* [count][tokens]: of the attention */
};

/* Sets the weights and mixes[count]; mixes may be the probes. */
void clip_probes_mix(const struct clip_probes *p, float *mixes);

/* dx[tokens][width] and dprobes[count] of dmixes[count]; scores[count][tokens] is scratch. */
void clip_probes_mix_backward(const struct clip_probes *p, const float *dmixes, float *scores, float *dx,
                              float *dprobes);

#endif
