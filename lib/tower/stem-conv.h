/* The stem of convolutions that learns (tower/stem-conv.c is its inference): batch norms have the statistics
 * of the chunk, or of all ranks' chunks. */
#ifndef CLIP_TOWER_STEM_CONV_H
#define CLIP_TOWER_STEM_CONV_H

#include "base/arena.h"
#include "math/kernels.h"
#include "tower/batch-norm.h"
#include "tower/patches.h"
#include "tower/tower.h"

#include <stddef.h>

enum { CLIP_STEM_LAYERS = 3, CLIP_STEM_NORMS = 2, CLIP_STEM_SQUARE = 4, CLIP_STEM_PLACES = 4 };

/* Rows of a layer's product that are of one patch, in the order in which the next layer joins them by four.
 */
extern const size_t clip_stem_rows[CLIP_STEM_LAYERS];

/* A patch's square s of 16 as its place in the grid of squares; `grid` patches lie in a row. */
size_t clip_stem_square(const struct clip_patches *squares, size_t grid, size_t patch, size_t s);

struct clip_stem_learner;

/* What a chunk's forward leaves for its backward. */
struct clip_stem_tape {
    float *raw[CLIP_STEM_NORMS]; /* [pictures][patches][rows][channels]: what convolutions gave */
    struct clip_norm_record records[CLIP_STEM_NORMS];
};

/* NULL with error. What setup points at, and the kernels, must outlive it. */
struct clip_stem_learner *clip_stem_learner_open(const struct clip_tower_setup *setup,
                                                 const struct clip_kernels *kernels,
                                                 struct clip_error *error);
void clip_stem_learner_free(struct clip_stem_learner *learner);
int clip_stem_learner_refresh(struct clip_stem_learner *learner, struct clip_error *error);

/* Bytes that it has for its runs. */
size_t clip_stem_learner_bytes(const struct clip_stem_learner *learner);

/* Takes a tape of n pictures from the arena. */
void clip_stem_tape_place(const struct clip_stem_learner *learner, size_t n, struct clip_arena *arena,
                          struct clip_stem_tape *tape);

/* tokens[n][patches][width], without positions. `again` as in clip_tower_type.forward. */
int clip_stem_learner_forward(struct clip_stem_learner *learner, const union clip_item *items, size_t n,
                              int again, struct clip_stem_tape *tape, float *tokens,
                              struct clip_error *error);

/* Adds to the parameters' gradients, from those of the tokens, a picture's `stride` floats after the other's.
 */
int clip_stem_learner_backward(struct clip_stem_learner *learner, const union clip_item *items, size_t n,
                               struct clip_stem_tape *tape, const float *gradients, size_t stride,
                               struct clip_error *error);

#endif
