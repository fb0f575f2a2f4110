/* The towers: pictures or captions in, features out (before the projection into the shared space).
 *
 * A tower is opened once: from a model, for inference, or from parameters, which learn. A forward of one that
 * learns keeps on a tape what its backward needs, which adds to the gradients of the parameters.
 *
 * Inference: the features of an item do not depend on the rest of the batch, to the byte. Training: a batch
 * runs in chunks of up to `batch` items. The results of a chunk, forward and backward, depend on its items
 * and on the parameters alone: not on the number of threads, and not on whether its tape was kept or computed
 * again. Gradients are summed over chunks in the order of the backward calls. If the setup has ranks, towers
 * whose items mix run one chunk on each rank, in step; each rank's gradients are those of its own items.
 */
#ifndef CLIP_TOWER_TOWER_H
#define CLIP_TOWER_TOWER_H

#include "base/error.h"
#include "model/kind.h"
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
    const float *features; /* of a pair, the picture's first: the projections' input (tower/project.h) */
};

struct clip_tower;

/* What one forward keeps for its backward. It does not copy the items, whose memory must stay. The first
 * member of each type's own tape. */
struct clip_tape {
    const struct clip_tower_type *type;
};

/* The functions of a tower. */
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
    /* Refreshes what was computed from the parameters; call it after each change of their values. */
    int (*refresh)(struct clip_tower *tower, struct clip_error *error);
    /* Bytes that the open tower uses apart from tapes and weights, most of them for backward. */
    size_t (*bytes)(const struct clip_tower *tower);
    /* An empty tape, which may be reused (free it by clip_tape_free); NULL with error. The most bytes that
     * the tape of a chunk of n items takes. */
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

/* 1 if, in training, an item's features depend on the rest of its chunk (batch norm), so that the chunk size
 * changes results; 0 if items are independent. */
int clip_tower_mixes(const struct clip_arch *arch, enum clip_side side);

/* -1 with error if the tower of a side supports inference alone. */
int clip_tower_need_training(const struct clip_arch *arch, enum clip_side side, struct clip_error *error);

/* Checks a caption for the model: its length is the context, its ids are in the vocabulary, and it has an end
 * token. */
int clip_caption_check(const struct clip_arch *arch, const struct clip_caption *caption,
                       struct clip_error *error);

/* --- the kinds of towers: what computes those of model/kind.h --- */

struct clip_tower_kind {
    const struct clip_kind *kind;
    int mixes;
    struct clip_tower *(*open)(const struct clip_tower_setup *setup, struct clip_error *error);
};

#define CLIP_TOWER_KIND_DECLARE(name) extern const struct clip_tower_kind clip_tower_##name;
CLIP_KINDS(CLIP_TOWER_KIND_DECLARE)

#endif
