/* Pools of a vision transformer that read all its tokens: the mean of the patches, and attention with queries
 * that are learned (model/vit.h). (tower/attnpool.h is that of ResNets.)
 *
 * A query does not depend on the picture, so keys and values of single tokens are not computed, and the
 * queries' probes (math/probe.h) are those of all pictures. */
#ifndef CLIP_TOWER_POOLER_H
#define CLIP_TOWER_POOLER_H

#include "base/arena.h"
#include "math/kernels.h"
#include "tower/weights.h"

#include <stddef.h>

struct clip_pooler;

/* What a forward keeps for its backward. */
struct clip_pooler_tape {
    float *weights; /* [n][queries heads][tokens] */
    float *mixes;   /* [n][queries heads][width]: the sums of tokens */
    float *values;  /* [n][queries][pool width] */
    float *out;     /* [n][queries][pool width]: after out_proj; of a mean [n][width] */
    float *normed;  /* [n][queries][pool width] */
    float *wide;    /* [n][mlp] */
    float *hidden;  /* [n][mlp] */
};

/* NULL with error. What setup points at, and the kernels, must outlive it. */
struct clip_pooler *clip_pooler_open(const struct clip_tower_setup *setup, const struct clip_kernels *kernels,
                                     struct clip_error *error);
void clip_pooler_free(struct clip_pooler *pooler);

/* Refreshes what was computed from the parameters' values. */
void clip_pooler_refresh(struct clip_pooler *pooler);

/* Bytes that it has for its runs. */
size_t clip_pooler_bytes(const struct clip_pooler *pooler);

/* Takes a tape of n pictures from the arena. */
void clip_pooler_tape_place(const struct clip_pooler *pooler, size_t n, struct clip_arena *arena,
                            struct clip_pooler_tape *tape);

/* features[n][clip_vit_width] of rows[n][tokens][width], n <= setup->batch; tape NULL: not kept. */
int clip_pooler_forward(struct clip_pooler *pooler, size_t n, const float *rows,
                        const struct clip_pooler_tape *tape, float *features, struct clip_error *error);

/* drows[n][tokens][width] of gradients[n][clip_vit_width]; adds to the gradients of the parameters. */
int clip_pooler_backward(struct clip_pooler *pooler, size_t n, const float *rows,
                         const struct clip_pooler_tape *tape, const float *gradients, float *drows,
                         struct clip_error *error);

#endif
