/* The pools of text towers whose features are of all tokens that are not padding: their mean, the largest of
 * each channel, or attention with one query that is learned (clip_pooling). */
#ifndef CLIP_TOWER_TEXT_POOL_H
#define CLIP_TOWER_TEXT_POOL_H

#include "math/kernels.h"
#include "tower/weights.h"

#include <stddef.h>

struct clip_text_pool;

/* A caption's rows, of which a pool takes those marked, at least one. */
struct clip_pooled {
    size_t first, length; /* in rows[][width] */
};

/* For captions of up to `longest` rows. The tower's pooling is one of these. What setup points at, and the
 * kernels, must outlive it. NULL with error. */
struct clip_text_pool *clip_text_pool_open(const struct clip_tower_setup *setup,
                                           const struct clip_kernels *kernels, size_t longest,
                                           struct clip_error *error);
void clip_text_pool_free(struct clip_text_pool *pool);
size_t clip_text_pool_bytes(const struct clip_text_pool *pool);

/* Takes up the parameters' values. */
void clip_text_pool_refresh(struct clip_text_pool *pool);

/* features[n][width] of n captions; marks[rows] are 1 for rows that are taken. */
int clip_text_pool_forward(struct clip_text_pool *pool, size_t n, const struct clip_pooled *captions,
                           const float *rows, const unsigned char *marks, float *features,
                           struct clip_error *error);

/* Adds to the gradients of the parameters, and sets drows[rows][width] of the captions, of
 * gradients[n][width] with respect to the features. */
int clip_text_pool_backward(struct clip_text_pool *pool, size_t n, const struct clip_pooled *captions,
                            const float *rows, const unsigned char *marks, const float *gradients,
                            float *drows, struct clip_error *error);

#endif
