/* The transformer that both towers share: blocks of attention and a hidden layer over the rows of many
 * sequences, and the layer norm of the one row of each sequence that is its feature.
 *
 * Sequences lie one behind the other, whatever their lengths, and the rows of all of them are cut into the
 * engine's pieces. Of the last block only what the features need is computed: keys and values of all rows,
 * the rest for one row a sequence. */
#ifndef CLIP_TOWER_TRANSFORMER_H
#define CLIP_TOWER_TRANSFORMER_H

#include "base/threads.h"
#include "math/kernels.h"
#include "math/product.h"
#include "model/model.h"

#include <stddef.h>

struct clip_transformer_shape {
    const char *blocks; /* what comes before "0.ln_1.weight": "visual.transformer.resblocks." */
    const char *norm;   /* the layer norm of the features: "visual.ln_post" */
    size_t width, heads, layers, mlp;
    enum clip_activation activation;
    int causal;
    size_t sequences, longest; /* most that one run has, and most rows of one */
};

/* Rows [first, first + length) are a sequence; row first + feature of them is the one. Where the transformer
 * is causal, that is the last one. */
struct clip_sequence {
    size_t first, length, feature;
};

struct clip_transformer;

/* Loads the weights, on the pool's threads. Engine, pool and model must outlive it. NULL with error. */
struct clip_transformer *clip_transformer_open(const struct clip_model *model, struct clip_engine *engine,
                                               const struct clip_kernels *kernels, struct clip_pool *pool,
                                               const struct clip_transformer_shape *shape,
                                               struct clip_error *error);
void clip_transformer_free(struct clip_transformer *transformer);

/* Its residual stream [sequences * longest][width], which the tower fills in before a run; the run changes
 * it. */
float *clip_transformer_rows(struct clip_transformer *transformer);

/* features[n][width] of n sequences, which lie without gaps from row 0. */
int clip_transformer_run(struct clip_transformer *transformer, const struct clip_sequence *sequences,
                         size_t n, float *features, struct clip_error *error);

#endif
