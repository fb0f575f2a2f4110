/* The attention pool of CLIP's ResNets: one query, the mean of the pixels, over all of them and itself;
 * without its output projection, which is the model's projection into the shared space. */
#ifndef CLIP_TOWER_ATTNPOOL_H
#define CLIP_TOWER_ATTNPOOL_H

#include "base/arena.h"
#include "math/kernels.h"
#include "tower/weights.h"

/* What a forward keeps for its backward; a token is a pixel, the first one their mean. */
struct clip_attnpool_tape {
    float *x;       /* [n][tokens][width]: with their positions */
    float *queries; /* [n][width] */
    float *probes;  /* [heads][n][width] */
    float *weights; /* [n][heads][tokens]: of the attention */
    float *mixes;   /* [heads][n][width] */
};

struct clip_attnpool;

/* For up to setup->batch pictures of `pixels` pixels of the last stage. NULL with error. */
struct clip_attnpool *clip_attnpool_open(const struct clip_tower_setup *setup, size_t pixels,
                                         struct clip_error *error);
void clip_attnpool_free(struct clip_attnpool *attn);

/* --- a model's pool --- */

/* Reads picture i of the batch: x[pixels][width] in the engine's element. Several threads may put different
 * pictures at once. */
void clip_attnpool_put(struct clip_attnpool *attn, size_t i, const void *x);

/* features[n][width] of the n pictures that were put. */
int clip_attnpool_run(struct clip_attnpool *attn, size_t n, float *features, struct clip_error *error);

/* --- a pool that learns --- */

/* As clip_tower_type.bytes. */
size_t clip_attnpool_bytes(const struct clip_attnpool *attn);

/* Takes the tape of n pictures from an arena. */
void clip_attnpool_tape_place(const struct clip_attnpool *attn, size_t n, struct clip_arena *arena,
                              struct clip_attnpool_tape *tape);

/* features[n][width] of x[n][pixels][width]. */
void clip_attnpool_forward(struct clip_attnpool *attn, size_t n, const float *x,
                           const struct clip_attnpool_tape *tape, float *features);

/* Adds to the parameters' gradients, and gives dx[n][pixels][width], for gradients[n][width] of the features.
 */
void clip_attnpool_backward(struct clip_attnpool *attn, size_t n, const struct clip_attnpool_tape *tape,
                            const float *gradients, float *dx);

#endif
