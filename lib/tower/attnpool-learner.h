/* The attention pool of CLIP's ResNets in training (tower/attnpool.h), many pictures at a time. */
#ifndef CLIP_TOWER_ATTNPOOL_LEARNER_H
#define CLIP_TOWER_ATTNPOOL_LEARNER_H

#include "base/arena.h"
#include "base/threads.h"
#include "model/parameters.h"

/* What a forward leaves for its backward; a token is a pixel, the first is their mean. */
struct clip_attnpool_tape {
    float *x;       /* [n][tokens][width]: with their positions */
    float *queries; /* [n][width] */
    float *probes;  /* [heads][n][width] */
    float *weights; /* [n][heads][tokens]: of the attention */
    float *mixes;   /* [heads][n][width] */
};

struct clip_attnpool_learner;

/* For up to `chunk` pictures of `pixels` pixels of the last stage. The parameters and the pool must outlive
 * it; an engine that lets clip_gemm run must be open (math/product.h). NULL with error. */
struct clip_attnpool_learner *clip_attnpool_learner_open(const struct clip_arch *arch,
                                                         const struct clip_parameters *parameters,
                                                         struct clip_pool *pool, size_t pixels, size_t chunk,
                                                         struct clip_error *error);
void clip_attnpool_learner_free(struct clip_attnpool_learner *attn);

/* As clip_learner_bytes. */
size_t clip_attnpool_learner_bytes(const struct clip_attnpool_learner *attn);

/* Takes the tape of n pictures from an arena. */
void clip_attnpool_tape_place(const struct clip_attnpool_learner *attn, size_t n, struct clip_arena *arena,
                              struct clip_attnpool_tape *tape);

/* features[n][width] of x[n][pixels][width]. */
void clip_attnpool_learner_forward(struct clip_attnpool_learner *attn, size_t n, const float *x,
                                   const struct clip_attnpool_tape *tape, float *features);

/* Adds to the parameters' gradients, and gives dx[n][pixels][width], for gradients[n][width] of the features.
 */
void clip_attnpool_learner_backward(struct clip_attnpool_learner *attn, size_t n,
                                    const struct clip_attnpool_tape *tape, const float *gradients, float *dx);

#endif
