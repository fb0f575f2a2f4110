/* Towers that learn: forward in training mode, keeping on a tape what the backward needs, and backward, which
 * adds to the gradients of the tower's parameters.
 *
 * A batch is run in chunks of up to `chunk` items. What a chunk gives, forward and backward, is a function of
 * its items and of the parameters alone: not of the number of threads, and not of whether its tape was kept
 * or made again. Gradients are summed over chunks in the order of the backward calls. */
#ifndef CLIP_TOWER_LEARNER_H
#define CLIP_TOWER_LEARNER_H

#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "model/parameters.h"
#include "tower/tower.h"

#include <stddef.h>

/* A picture or a caption, as the tower takes. */
union clip_item {
    struct clip_image image;
    struct clip_caption caption; /* passed clip_caption_check */
};

struct clip_learner;

/* What one forward left for its backward: the items' own memory is not kept, so it must stay. */
struct clip_tape;

/* The towers of an architecture. `parameters` are those of its part of it (model/layout.h);
 * they, the architecture, engine and pool must outlive the learner. The engine says in which precision
 * products are computed; parameters and their gradients are f32. NULL with error. */
struct clip_learner *clip_image_learner_open(const struct clip_arch *arch, struct clip_parameters *parameters,
                                             struct clip_engine *engine, struct clip_pool *pool, size_t chunk,
                                             struct clip_error *error);
struct clip_learner *clip_text_learner_open(const struct clip_arch *arch, struct clip_parameters *parameters,
                                            struct clip_engine *engine, struct clip_pool *pool, size_t chunk,
                                            struct clip_error *error);
void clip_learner_free(struct clip_learner *learner);

/* Width of its features. */
size_t clip_learner_width(const struct clip_learner *learner);

/* 1 where an item's features depend on the others of its chunk (batch norm), so that the chunk is part of
 * what is computed; 0 where each item stands alone. */
int clip_learner_mixes(const struct clip_learner *learner);

/* Bytes that it has for its runs, beside tapes and weights, as long as it is open: most are for backward. */
size_t clip_learner_bytes(const struct clip_learner *learner);

/* Prepares products for the parameters' values as they are now: before the first forward, and after each
 * change. */
int clip_learner_refresh(struct clip_learner *learner, struct clip_error *error);

/* An empty tape, to be used again and again. clip_tape_free takes NULL. NULL with error. */
struct clip_tape *clip_tape_new(const struct clip_learner *learner, struct clip_error *error);
void clip_tape_free(struct clip_tape *tape);

/* Bytes that the tape of a chunk of `n` items takes at most. */
size_t clip_tape_bytes(const struct clip_learner *learner, size_t n);

/* features[n][width] of 1 <= n <= chunk items, and their tape. `again`: the same chunk went forward before in
 * this step, so running statistics stay as they are. */
int clip_learner_forward(struct clip_learner *learner, const union clip_item *items, size_t n, int again,
                         struct clip_tape *tape, float *features, struct clip_error *error);

/* Adds to the parameters' gradients those of a loss whose gradient with respect to the features of the tape's
 * forward is gradients[n][width]. The tape is then spent. The parameters must be as they were at the forward.
 */
int clip_learner_backward(struct clip_learner *learner, struct clip_tape *tape, const float *gradients,
                          struct clip_error *error);

/* --- for the kinds of tower (transformer-learner.c …, resnet-learner.c) --- */

struct clip_learner_type {
    void (*free)(struct clip_learner *learner);
    size_t (*bytes)(const struct clip_learner *learner);
    int (*refresh)(struct clip_learner *learner, struct clip_error *error);
    struct clip_tape *(*tape_new)(const struct clip_learner *learner, struct clip_error *error);
    void (*tape_free)(struct clip_tape *tape);
    size_t (*tape_bytes)(const struct clip_learner *learner, size_t n);
    int (*forward)(struct clip_learner *learner, const union clip_item *items, size_t n, int again,
                   struct clip_tape *tape, float *features, struct clip_error *error);
    int (*backward)(struct clip_learner *learner, struct clip_tape *tape, const float *gradients,
                    struct clip_error *error);
};

/* The first member of each kind's own struct. */
struct clip_learner {
    const struct clip_learner_type *type;
    size_t width, chunk;
    int mixes;
};

/* The first member of each kind's own tape. */
struct clip_tape {
    const struct clip_learner_type *type;
};

struct clip_learner *clip_vit_learner_open(const struct clip_arch *arch, struct clip_parameters *parameters,
                                           struct clip_engine *engine, struct clip_pool *pool, size_t chunk,
                                           struct clip_error *error);
struct clip_learner *clip_resnet_learner_open(const struct clip_arch *arch,
                                              struct clip_parameters *parameters, struct clip_engine *engine,
                                              struct clip_pool *pool, size_t chunk, struct clip_error *error);

#endif
