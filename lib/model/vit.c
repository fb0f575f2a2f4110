#include "model/vit.h"

#include "model/arch.h"

#include <string.h>

struct clip_vit_names {
    int ones; /* dimensions of 1 come before those of tokens */
    const char *tensors[CLIP_VIT_TENSORS];
};

/* clang-format off */
#define NORM(tensor, name) [tensor##_WEIGHT] = name ".weight", [tensor##_BIAS] = name ".bias"
/* clang-format on */

static const struct clip_vit_names openai = {0,
                                             {[CLIP_VIT_CLASS] = "visual.class_embedding",
                                              [CLIP_VIT_POSITIONS] = "visual.positional_embedding",
                                              [CLIP_VIT_CONV] = "visual.conv1.weight",
                                              NORM(CLIP_VIT_PRE, "visual.ln_pre"),
                                              NORM(CLIP_VIT_POST, "visual.ln_post"),
                                              [CLIP_POOL_LATENT] = "visual.attn_pool.query",
                                              [CLIP_POOL_IN_WEIGHT] = "visual.attn_pool.attn.in_proj_weight",
                                              [CLIP_POOL_Q_WEIGHT] = "visual.attn_pool.attn.q_proj_weight",
                                              [CLIP_POOL_K_WEIGHT] = "visual.attn_pool.attn.k_proj_weight",
                                              [CLIP_POOL_V_WEIGHT] = "visual.attn_pool.attn.v_proj_weight",
                                              [CLIP_POOL_IN_BIAS] = "visual.attn_pool.attn.in_proj_bias",
                                              NORM(CLIP_POOL_OUT, "visual.attn_pool.attn.out_proj"),
                                              NORM(CLIP_POOL_LN_Q, "visual.attn_pool.ln_q"),
                                              NORM(CLIP_POOL_LN_K, "visual.attn_pool.ln_k")}};

const struct clip_vit_names clip_vit_names_timm = {
    1,
    {[CLIP_VIT_CLASS] = "visual.trunk.cls_token",
     [CLIP_VIT_POSITIONS] = "visual.trunk.pos_embed",
     [CLIP_VIT_CONV] = "visual.trunk.patch_embed.proj.weight",
     [CLIP_VIT_CONV_BIAS] = "visual.trunk.patch_embed.proj.bias",
     NORM(CLIP_VIT_PRE, "visual.trunk.norm_pre"),
     NORM(CLIP_VIT_POST, "visual.trunk.norm"),
     [CLIP_POOL_LATENT] = "visual.trunk.attn_pool.latent",
     NORM(CLIP_POOL_Q, "visual.trunk.attn_pool.q"),
     NORM(CLIP_POOL_KV, "visual.trunk.attn_pool.kv"),
     NORM(CLIP_POOL_OUT, "visual.trunk.attn_pool.proj"),
     NORM(CLIP_POOL_NORM, "visual.trunk.attn_pool.norm"),
     NORM(CLIP_POOL_FC, "visual.trunk.attn_pool.mlp.fc1"),
     NORM(CLIP_POOL_PROJ, "visual.trunk.attn_pool.mlp.fc2")}};

static const struct clip_vit_names *names_of(const struct clip_tower_arch *tower)
{
    return tower->vit.names ? tower->vit.names : &openai;
}

const char *clip_vit_name(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor)
{
    return names_of(tower)->tensors[tensor];
}

size_t clip_vit_patches(const struct clip_tower_arch *tower)
{
    size_t patch = (size_t)tower->patch;
    return (size_t)tower->image_size / patch * ((size_t)clip_image_width(tower) / patch);
}

size_t clip_vit_tokens(const struct clip_tower_arch *tower)
{
    return clip_vit_patches(tower) + !(tower->vit.flags & CLIP_VIT_NO_CLASS);
}

int clip_pools_queries(enum clip_pooling pooling)
{
    return pooling == CLIP_POOL_QUERY || pooling == CLIP_POOL_QUERIES_MEAN;
}

size_t clip_vit_width(const struct clip_tower_arch *tower)
{
    return (size_t)(clip_pools_queries(tower->vit.pooling) ? tower->vit.pool_width : tower->width);
}

/* Of SigLIP's pool, and of CoCa's: whether it has the tensor. */
static int in_pool(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor)
{
    int same = tower->vit.pool_width == tower->width;
    switch (tensor) {
    case CLIP_POOL_LATENT:
    case CLIP_POOL_OUT_WEIGHT:
    case CLIP_POOL_OUT_BIAS:
        return clip_pools_queries(tower->vit.pooling) || tower->vit.pooling == CLIP_POOL_MAP;
    case CLIP_POOL_IN_WEIGHT:
        return clip_pools_queries(tower->vit.pooling) && same;
    case CLIP_POOL_K_WEIGHT:
    case CLIP_POOL_V_WEIGHT:
        return clip_pools_queries(tower->vit.pooling) && !same;
    case CLIP_POOL_Q_WEIGHT:
        return clip_pools_queries(tower->vit.pooling) ? !same : tower->vit.pooling == CLIP_POOL_MAP;
    case CLIP_POOL_IN_BIAS:
    case CLIP_POOL_LN_Q_WEIGHT:
    case CLIP_POOL_LN_Q_BIAS:
    case CLIP_POOL_LN_K_WEIGHT:
    case CLIP_POOL_LN_K_BIAS:
        return clip_pools_queries(tower->vit.pooling);
    default:
        return tower->vit.pooling == CLIP_POOL_MAP;
    }
}

static int has(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor)
{
    unsigned flags = tower->vit.flags;
    switch (tensor) {
    case CLIP_VIT_CLASS:
        return !(flags & CLIP_VIT_NO_CLASS);
    case CLIP_VIT_POSITIONS:
    case CLIP_VIT_CONV:
        return 1;
    case CLIP_VIT_CONV_BIAS:
        return (flags & CLIP_VIT_PATCH_BIAS) != 0;
    case CLIP_VIT_PRE_WEIGHT:
    case CLIP_VIT_PRE_BIAS:
        return !(flags & CLIP_VIT_NO_PRE_NORM);
    case CLIP_VIT_POST_WEIGHT:
    case CLIP_VIT_POST_BIAS:
        return !(flags & CLIP_VIT_NO_POST_NORM);
    default:
        return in_pool(tower, tensor);
    }
}

/* The dimensions of a tensor that it has. */
static void set_shape(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor, size_t shape[4])
{
    size_t width = (size_t)tower->width,
           pool = clip_pools_queries(tower->vit.pooling) ? (size_t)tower->vit.pool_width : width;
    size_t queries = (size_t)tower->vit.pool_queries, patch = (size_t)tower->patch,
           mlp = (size_t)tower->vit.pool_mlp;
    const size_t sizes[CLIP_VIT_TENSORS][4] = {
        [CLIP_VIT_CLASS] = {width},
        [CLIP_VIT_POSITIONS] = {clip_vit_tokens(tower), width},
        [CLIP_VIT_CONV] = {width, 3, patch, patch},
        [CLIP_VIT_CONV_BIAS] = {width},
        [CLIP_VIT_PRE_WEIGHT] = {width},
        [CLIP_VIT_PRE_BIAS] = {width},
        [CLIP_VIT_POST_WEIGHT] = {pool},
        [CLIP_VIT_POST_BIAS] = {pool},
        [CLIP_POOL_LATENT] = {queries, pool},
        [CLIP_POOL_Q_WEIGHT] = {pool, pool},
        [CLIP_POOL_Q_BIAS] = {pool},
        [CLIP_POOL_KV_WEIGHT] = {2 * pool, width},
        [CLIP_POOL_KV_BIAS] = {2 * pool},
        [CLIP_POOL_IN_WEIGHT] = {3 * pool, width},
        [CLIP_POOL_K_WEIGHT] = {pool, width},
        [CLIP_POOL_V_WEIGHT] = {pool, width},
        [CLIP_POOL_IN_BIAS] = {3 * pool},
        [CLIP_POOL_OUT_WEIGHT] = {pool, pool},
        [CLIP_POOL_OUT_BIAS] = {pool},
        [CLIP_POOL_LN_Q_WEIGHT] = {pool},
        [CLIP_POOL_LN_Q_BIAS] = {pool},
        [CLIP_POOL_LN_K_WEIGHT] = {width},
        [CLIP_POOL_LN_K_BIAS] = {width},
        [CLIP_POOL_NORM_WEIGHT] = {width},
        [CLIP_POOL_NORM_BIAS] = {width},
        [CLIP_POOL_FC_WEIGHT] = {mlp, width},
        [CLIP_POOL_FC_BIAS] = {mlp},
        [CLIP_POOL_PROJ_WEIGHT] = {width, mlp},
        [CLIP_POOL_PROJ_BIAS] = {width},
    };
    memcpy(shape, sizes[tensor], sizeof sizes[tensor]);
}

int clip_vit_shape(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor, size_t shape[4])
{
    if (!has(tower, tensor))
        return 0;
    set_shape(tower, tensor, shape);
    /* timm's tokens are [1, tokens, width], a single one [1, 1, width]. */
    int ones = !names_of(tower)->ones     ? 0
               : tensor == CLIP_VIT_CLASS ? 2
                                          : tensor == CLIP_VIT_POSITIONS || tensor == CLIP_POOL_LATENT;
    memmove(shape + ones, shape, (size_t)(4 - ones) * sizeof *shape);
    for (int i = 0; i < ones; i++)
        shape[i] = 1;
    return 1;
}

int clip_vit_same(const struct clip_vit_arch *a, const struct clip_vit_arch *b)
{
    return a->names == b->names && a->flags == b->flags && a->pooling == b->pooling &&
           a->pool_heads == b->pool_heads && a->pool_queries == b->pool_queries && a->pool_mlp == b->pool_mlp;
}
