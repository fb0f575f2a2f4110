/* The towers: pictures or captions in, features out (before the projection into the shared space).
 *
 * A tower is opened once: from a model, for inference, or from parameters, which learn. A forward of one that
 * learns keeps on a tape what its backward needs, which adds to the gradients of the parameters.
 *
 * Inference: the features of an item do not depend on what else is in the batch, to the byte. Training: a
 * batch is run in chunks of up to `batch` items. What a chunk gives, forward and backward, is a function of
 * its items and of the parameters alone: not of the number of threads, and not of whether its tape was kept
 * or made again. Gradients are summed over chunks in the order of the backward calls. Where the setup has
 * ranks, towers whose items mix are run on one chunk by each, in step; gradients are those of its own items.
 */
#ifndef CLIP_TOWER_TOWER_H
#define CLIP_TOWER_TOWER_H

#include "base/error.h"
#include "tower/weights.h"

#include <stddef.h>
#include <stdint.h>

/* A picture [3, H, W]: bytes, to be normalised with the model's mean and std, or floats that are normalised.
 * One of them is NULL. */
struct clip_image {
    const uint8_t *bytes;
    const float *floats;
};

/* A caption: the `count` token ids of its context, padding included. */
struct clip_caption {
    const int32_t *tokens;
    size_t count;
};

/* What a tower takes. */
union clip_item {
    struct clip_image image;
    struct clip_caption caption; /* passed clip_caption_check */
    const float *features; /* of a pair, the picture's first: what the projections take (tower/project.h) */
};

struct clip_tower;

/* What one forward left for its backward: the items' own memory is not kept, so it must stay. The first
 * member of each type's own tape. */
struct clip_tape {
    const struct clip_tower_type *type;
};

/* How a tower is run: callers call these. */
struct clip_tower_type {
    void (*free)(struct clip_tower *tower);

    /* features[n][width] of n <= batch items. `tape`: NULL where the tower is a model's; the tape, and n at
     * least 1, where it learns. `again`: the same chunk went forward before in this step, so running
     * statistics stay as they are. */
    int (*forward)(struct clip_tower *tower, const union clip_item *items, size_t n, int again,
                   struct clip_tape *tape, float *features, struct clip_error *error);

    /* The rest is for towers that learn. Adds to the parameters' gradients those of a loss whose gradient
     * with respect to the features of the tape's forward is gradients[n][width]. The tape is then spent. The
     * parameters must be as they were at the forward. Where the items came from stages before, gives the
     * gradient with respect to them: input_gradients[n][width of an item]; else it may be NULL. */
    int (*backward)(struct clip_tower *tower, struct clip_tape *tape, const float *gradients,
                    float *input_gradients, struct clip_error *error);
    /* Takes up the parameters' values after each change. */
    int (*refresh)(struct clip_tower *tower, struct clip_error *error);
    /* Bytes that it has for its runs, beside tapes and weights, as long as it is open: most are for backward.
     */
    size_t (*bytes)(const struct clip_tower *tower);
    /* An empty tape, to be used again and again (clip_tape_free); NULL with error. Bytes that the tape of a
     * chunk of n items takes at most. */
    struct clip_tape *(*tape_new)(const struct clip_tower *tower, struct clip_error *error);
    void (*tape_free)(struct clip_tape *tape);
    size_t (*tape_bytes)(const struct clip_tower *tower, size_t n);
};

/* The first member of each type's own struct. */
struct clip_tower {
    const struct clip_tower_type *type;
    size_t width; /* of its features */
    size_t batch; /* most items of a run */
};

/* The tower of a side, for up to setup->batch items, at least 1. What the setup points at must outlive it.
 * NULL with error. */
struct clip_tower *clip_tower_open(enum clip_side side, const struct clip_tower_setup *setup,
                                   struct clip_error *error);

/* Both take NULL. */
void clip_tower_free(struct clip_tower *tower);
void clip_tape_free(struct clip_tape *tape);

/* 1 where, in training, an item's features depend on the others of its chunk (batch norm), so that the chunk
 * is part of what is computed; 0 where each item stands alone. */
int clip_tower_mixes(const struct clip_arch *arch, enum clip_side side);

/* An error where the tower of a side is for inference alone. */
int clip_tower_need_training(const struct clip_arch *arch, enum clip_side side, struct clip_error *error);

/* Checks that a caption is one for the model: its length is the context, ids lie in the vocabulary, and there
 * is an end token. */
int clip_caption_check(const struct clip_arch *arch, const struct clip_caption *caption,
                       struct clip_error *error);

/* --- the kinds of towers: a row each, here and in model/kind.h --- */

struct clip_tower_kind {
    const struct clip_kind *kind;
    int mixes;
    struct clip_tower *(*open)(const struct clip_tower_setup *setup, struct clip_error *error);
};

extern const struct clip_tower_kind clip_tower_convnext, clip_tower_fastvit, clip_tower_vit,
    clip_tower_hybrid, clip_tower_timm, clip_tower_resnet, clip_tower_hftext, clip_tower_text;

#endif
