/* AdamW with decoupled weight decay (Loshchilov and Hutter), in PyTorch's order of operations. */
#ifndef CLIP_TRAIN_ADAMW_H
#define CLIP_TRAIN_ADAMW_H

#include <stddef.h>
#include <stdint.h>

struct clip_adamw {
    double beta1, beta2, eps, weight_decay;
};

/* The CLIP paper's values for vision transformers: betas 0.9 and 0.98, eps 1e-6, decay 0.2. Other kinds of
 * towers have another beta2 and eps (model/kind.h). */
extern const struct clip_adamw clip_adamw;

/* 1 if weight decay applies to the parameter: it has at least two dimensions, and none of "bn", "ln",
 * "bias" and "logit_scale" is in its name (open_clip's rule at the time of OpenAI's models). */
int clip_adamw_decays(const char *name, int ndim);

/* One step on p[n] with gradient g[n] and moments m[n], v[n] (zero before the first); `t` counts the steps
 * from 1. p -= lr wd p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²; p -= lr / (1 - b1^t) m / (sqrt(v) /
 * sqrt(1 - b2^t) + eps) Arrays do not overlap. Each element depends on its own history alone: any split over
 * threads gives the same bytes. */
void clip_adamw_step(const struct clip_adamw *adamw, double lr, int decays, uint64_t t, size_t n, float *p,
                     const float *g, float *m, float *v);

#endif
