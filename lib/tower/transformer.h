/* The transformer that both towers share, for inference: the blocks of tower/blocks.h with the weights of a
 * model, in buffers that all blocks share. */
#ifndef CLIP_TOWER_TRANSFORMER_H
#define CLIP_TOWER_TRANSFORMER_H

#include "model/model.h"
#include "tower/blocks.h"

#include <stddef.h>

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
