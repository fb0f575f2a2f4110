/* The attention pool of CLIP's ResNets: one query, the mean of the pixels, over all of them and itself;
 * without its output projection, which is the model's projection into the shared space. */
#ifndef CLIP_TOWER_ATTNPOOL_H
#define CLIP_TOWER_ATTNPOOL_H

#include "base/threads.h"
#include "math/kernels.h"
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

/* --- for both forms of it (attnpool.c, attnpool-learner.c) --- */

/* tokens[1 + pixels][width], in which all but the first row are the pixels: the mean of them comes before
 * them, and positions[1 + pixels][width] are added. */
void clip_attnpool_tokens(const struct clip_kernels *kernels, size_t pixels, size_t width,
                          const float *positions, float *tokens);

/* Of a picture's x[tokens][width]: weights[heads][tokens] = softmax(probe . x), mixes = sum weight x. A
 * head's probe[width] and mix[width] are `step` floats behind the head's before; mixes may be the probes. An
 * engine that lets clip_gemm run must be open (math/product.h). */
void clip_attnpool_mix(size_t heads, size_t tokens, size_t width, const float *x, const float *probes,
                       size_t step, float *weights, float *mixes);

#endif
