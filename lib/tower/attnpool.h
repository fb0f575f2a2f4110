/* The attention pool of CLIP's ResNets: one query, the mean of the pixels, over all of them and itself;
 * without its output projection, which is the model's projection into the shared space. */
#ifndef CLIP_TOWER_ATTNPOOL_H
#define CLIP_TOWER_ATTNPOOL_H

#include "base/threads.h"
#include "math/product.h"
#include "model/model.h"

struct clip_attnpool;

/* For up to `batch` pictures of `pixels` pixels of the last stage. Model, engine and pool must outlive it.
 * NULL with error. */
struct clip_attnpool *clip_attnpool_open(const struct clip_model *model, struct clip_engine *engine,
                                         struct clip_pool *pool, size_t pixels, size_t batch,
                                         struct clip_error *error);
void clip_attnpool_free(struct clip_attnpool *attn);

/* Takes picture i of the batch: x[pixels][width] in the engine's element. Several threads may put different
 * pictures at once. */
void clip_attnpool_put(struct clip_attnpool *attn, size_t i, const void *x);

/* features[n][width] of the n pictures that were put. */
int clip_attnpool_run(struct clip_attnpool *attn, size_t n, float *features, struct clip_error *error);

#endif
