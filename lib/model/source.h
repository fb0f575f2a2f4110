/* Sources of the tensors of a model to be written: another model, or a seed. */
#ifndef CLIP_MODEL_SOURCE_H
#define CLIP_MODEL_SOURCE_H

#include "base/threads.h"
#include "model/model.h"
#include "model/write.h"

/* The tensors of a model, each in its own type, or (type >= 0) floating-point ones as `type`, rounded once to
 * nearest even. A finite number that would round to infinity is an error. As I8 are the matrices of
 * transformers' blocks, but for the first and the last `keep` of a tower, with the token embeddings in f16,
 * and the rest as it is: what products in int8 compute with (math/quantize.h). */
struct clip_model_source {
    const struct clip_model *model;
    int type; /* enum clip_weight_type, or -1 */
    int keep;
};
struct clip_tensor_source clip_source_of_model(const struct clip_model_source *model);
/* 1 if a tensor of it is, or would be, I8. */
int clip_source_rounds(const struct clip_model_source *model);

/* Initial weights (clip_draw), as f32; counts of batch norm are 0. */
struct clip_seed_source {
    uint64_t seed;
    struct clip_pool *pool;
};
struct clip_tensor_source clip_source_of_seed(const struct clip_seed_source *seed);

#endif
