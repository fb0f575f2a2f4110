/* The towers: pictures or captions in, features out (before the projection into the shared space).
 *
 * A tower is opened for batches of up to `batch` items; its buffers are one arena, sized once. The features
 * of an item do not depend on what else is in the batch, to the byte. */
#ifndef CLIP_TOWER_TOWER_H
#define CLIP_TOWER_TOWER_H

#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "model/model.h"

/* A picture [3, S, S]: bytes, to be normalised with the model's mean and std, or floats that are normalised.
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

struct clip_image_tower;

/* The image tower of the model, of either kind. Model, engine and pool must outlive it. `batch` at least 1.
 * NULL with error. */
struct clip_image_tower *clip_image_tower_open(const struct clip_model *model, struct clip_engine *engine,
                                               struct clip_pool *pool, size_t batch,
                                               struct clip_error *error);
void clip_image_tower_free(struct clip_image_tower *tower);

/* features[n][width] of n <= batch pictures. */
int clip_image_tower_run(struct clip_image_tower *tower, const struct clip_image *pictures, size_t n,
                         float *features, struct clip_error *error);

struct clip_text_tower;

/* The text tower of the model. Model, engine and pool must outlive it. `batch` at least 1. */
struct clip_text_tower *clip_text_tower_open(const struct clip_model *model, struct clip_engine *engine,
                                             struct clip_pool *pool, size_t batch, struct clip_error *error);
void clip_text_tower_free(struct clip_text_tower *tower);

/* Checks that a caption is one for the model: its length is the context, ids lie in the vocabulary, and there
 * is an end token. */
int clip_caption_check(const struct clip_arch *arch, const struct clip_caption *caption,
                       struct clip_error *error);

/* Position of a caption's end token, from which on nothing matters; -1 if there is none. */
long clip_caption_end(const struct clip_arch *arch, const struct clip_caption *caption);

/* features[n][width] of n <= batch captions that passed clip_caption_check. Positions behind the end token
 * are not computed. */
int clip_text_tower_run(struct clip_text_tower *tower, const struct clip_caption *captions, size_t n,
                        float *features, struct clip_error *error);

/* --- for the two kinds of image tower (vit.c, resnet.c) --- */

struct clip_image_tower_type {
    struct clip_image_tower *(*open)(const struct clip_model *model, struct clip_engine *engine,
                                     struct clip_pool *pool, size_t batch, struct clip_error *error);
    void (*free)(struct clip_image_tower *tower);
    int (*run)(struct clip_image_tower *tower, const struct clip_image *pictures, size_t n, float *features,
               struct clip_error *error);
};

/* The first member of each kind's own struct; `open` sets it. */
struct clip_image_tower {
    const struct clip_image_tower_type *type;
};

extern const struct clip_image_tower_type clip_vit_type, clip_resnet_type;

#endif
