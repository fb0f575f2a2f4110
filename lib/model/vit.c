#include "model/vit.h"
#include "base/array.h"

#include "model/arch.h"

#include <string.h>

struct clip_vit_names {
    int ones;  /* dimensions of 1 come before those of tokens */
    int grids; /* positions are [rows][columns][width] */
    const char *tensors[CLIP_VIT_TENSORS];
};

/* clang-format off */
#define NORM(tensor, name) [tensor##_WEIGHT] = name ".weight", [tensor##_BIAS] = name ".bias"
/* clang-format on */

static const struct clip_vit_names openai = {0,
                                             0,
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

#define TIMM_POOL                                                                                            \
    [CLIP_POOL_LATENT] = "visual.trunk.attn_pool.latent", NORM(CLIP_POOL_Q, "visual.trunk.attn_pool.q"),     \
    NORM(CLIP_POOL_KV, "visual.trunk.attn_pool.kv"), NORM(CLIP_POOL_OUT, "visual.trunk.attn_pool.proj"),     \
    NORM(CLIP_POOL_NORM, "visual.trunk.attn_pool.norm"),                                                     \
    NORM(CLIP_POOL_FC, "visual.trunk.attn_pool.mlp.fc1"),                                                    \
    NORM(CLIP_POOL_PROJ, "visual.trunk.attn_pool.mlp.fc2")
#define TIMM_NAMES(norm)                                                                                     \
    1, 0,                                                                                                    \
    {                                                                                                        \
        [CLIP_VIT_CLASS] = "visual.trunk.cls_token", [CLIP_VIT_REGISTERS] = "visual.trunk.reg_token",        \
        [CLIP_VIT_POSITIONS] = "visual.trunk.pos_embed",                                                     \
        [CLIP_VIT_CONV] = "visual.trunk.patch_embed.proj.weight",                                            \
        [CLIP_VIT_CONV_BIAS] = "visual.trunk.patch_embed.proj.bias",                                         \
        NORM(CLIP_VIT_PRE, "visual.trunk.norm_pre"), NORM(CLIP_VIT_POST, norm), TIMM_POOL                    \
    }
#define NAFLEX_NAMES(norm)                                                                                   \
    1, 1,                                                                                                    \
    {                                                                                                        \
        [CLIP_VIT_CLASS] = "visual.trunk.embeds.cls_token",                                                  \
        [CLIP_VIT_REGISTERS] = "visual.trunk.embeds.reg_token",                                              \
        [CLIP_VIT_POSITIONS] = "visual.trunk.embeds.pos_embed",                                              \
        [CLIP_VIT_CONV] = "visual.trunk.embeds.proj.weight",                                                 \
        [CLIP_VIT_CONV_BIAS] = "visual.trunk.embeds.proj.bias", NORM(CLIP_VIT_PRE, "visual.trunk.norm_pre"), \
        NORM(CLIP_VIT_POST, norm), TIMM_POOL                                                                 \
    }

const struct clip_vit_names clip_vit_names_timm = {TIMM_NAMES("visual.trunk.norm")};
const struct clip_vit_names clip_vit_names_timm_mean = {TIMM_NAMES("visual.trunk.fc_norm")};
const struct clip_vit_names clip_vit_names_naflex = {NAFLEX_NAMES("visual.trunk.norm")};
const struct clip_vit_names clip_vit_names_naflex_mean = {NAFLEX_NAMES("visual.trunk.fc_norm")};

static const struct clip_vit_names *names_of(const struct clip_tower_arch *tower)
{
    return tower->vit.names ? tower->vit.names : &openai;
}

const char *clip_vit_name(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor)
{
    return names_of(tower)->tensors[tensor];
}

/* Patches along a side. Convolutions with padding round up; the others leave out what is over. */
static size_t patches_along(const struct clip_tower_arch *tower, int side)
{
    size_t patch = (size_t)tower->patch, more = tower->vit.stem == CLIP_STEM_MBCONV ? patch - 1 : 0;
    return ((size_t)side + more) / patch;
}

size_t clip_vit_rows(const struct clip_tower_arch *tower)
{
    return patches_along(tower, tower->image_size);
}

size_t clip_vit_columns(const struct clip_tower_arch *tower)
{
    return patches_along(tower, clip_image_width(tower));
}

size_t clip_vit_patches(const struct clip_tower_arch *tower)
{
    return clip_vit_rows(tower) * clip_vit_columns(tower);
}

size_t clip_vit_prefix(const struct clip_tower_arch *tower)
{
    return !(tower->vit.flags & CLIP_VIT_NO_CLASS) + (size_t)tower->vit.registers;
}

size_t clip_vit_unplaced(const struct clip_tower_arch *tower)
{
    return tower->vit.flags & CLIP_VIT_PATCH_POSITIONS ? clip_vit_prefix(tower) : 0;
}

size_t clip_vit_tokens(const struct clip_tower_arch *tower)
{
    return clip_vit_prefix(tower) + clip_vit_patches(tower);
}

size_t clip_vit_width(const struct clip_tower_arch *tower)
{
    return (size_t)(clip_pooling_of(tower)->coca ? tower->vit.pool_width : tower->width);
}

/* Of SigLIP's pool, and of CoCa's: whether it has the tensor. */
static int in_pool(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor)
{
    const struct clip_pooling_type *pooling = clip_pooling_of(tower);
    int coca = pooling->coca, map = pooling->queries && !coca,
        joined = coca && tower->vit.pool_width == tower->width;
    switch (tensor) {
    case CLIP_POOL_LATENT:
    case CLIP_POOL_OUT_WEIGHT:
    case CLIP_POOL_OUT_BIAS:
        return coca || map;
    case CLIP_POOL_IN_WEIGHT:
        return joined;
    case CLIP_POOL_K_WEIGHT:
    case CLIP_POOL_V_WEIGHT:
        return coca && !joined;
    case CLIP_POOL_Q_WEIGHT:
        return (coca || map) && !joined;
    case CLIP_POOL_IN_BIAS:
    case CLIP_POOL_LN_Q_WEIGHT:
    case CLIP_POOL_LN_Q_BIAS:
    case CLIP_POOL_LN_K_WEIGHT:
    case CLIP_POOL_LN_K_BIAS:
        return coca;
    default:
        return map;
    }
}

/* 1 where a token is one product of its patch. */
static int cuts_patches(const struct clip_tower_arch *tower)
{
    return tower->vit.stem == CLIP_STEM_PATCHES || tower->vit.stem == CLIP_STEM_LINEAR;
}

static int has_tensor(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor)
{
    unsigned flags = tower->vit.flags;
    switch (tensor) {
    case CLIP_VIT_CLASS:
        return !(flags & CLIP_VIT_NO_CLASS);
    case CLIP_VIT_REGISTERS:
        return tower->vit.registers > 0;
    case CLIP_VIT_POSITIONS:
        return !(flags & CLIP_VIT_NO_POSITIONS);
    case CLIP_VIT_CONV:
        return cuts_patches(tower);
    case CLIP_VIT_CONV_BIAS:
        return cuts_patches(tower) && (flags & CLIP_VIT_PATCH_BIAS) != 0;
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
    size_t width = (size_t)tower->width, pool = clip_vit_width(tower);
    size_t queries = (size_t)tower->vit.pool_queries, patch = (size_t)tower->patch,
           mlp = (size_t)tower->vit.pool_mlp;
    const size_t sizes[CLIP_VIT_TENSORS][4] = {
        [CLIP_VIT_CLASS] = {width},
        [CLIP_VIT_REGISTERS] = {(size_t)tower->vit.registers, width},
        [CLIP_VIT_POSITIONS] = {clip_vit_tokens(tower) - clip_vit_unplaced(tower), width},
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
    if (tensor == CLIP_VIT_CONV && tower->vit.stem == CLIP_STEM_LINEAR)
        memcpy(shape, (const size_t[4]){width, 3 * patch * patch}, 4 * sizeof *shape);
    if (tensor == CLIP_VIT_POSITIONS && names_of(tower)->grids)
        memcpy(shape, (const size_t[4]){(size_t)tower->vit.grid_height, (size_t)tower->vit.grid_width, width},
               4 * sizeof *shape);
}

int clip_vit_shape(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor, size_t shape[4])
{
    if (!has_tensor(tower, tensor))
        return 0;
    set_shape(tower, tensor, shape);
    /* timm's tokens are [1, tokens, width], a single one [1, 1, width]. */
    int ones = !names_of(tower)->ones     ? 0
               : tensor == CLIP_VIT_CLASS ? 2
                                          : tensor == CLIP_VIT_POSITIONS || tensor == CLIP_VIT_REGISTERS ||
                                                tensor == CLIP_POOL_LATENT;
    memmove(shape + ones, shape, (size_t)(4 - ones) * sizeof *shape);
    for (int i = 0; i < ones; i++)
        shape[i] = 1;
    return 1;
}

const int clip_stem_blocks[2] = {2, 4};

size_t clip_stem_width(const struct clip_tower_arch *tower)
{
    static const struct {
        enum clip_vit_stem stem;
        int width;
        size_t channels;
    } stems[] = {{CLIP_STEM_CONV, 768, 192},
                 {CLIP_STEM_MBCONV, 384, 64},
                 {CLIP_STEM_MBCONV, 768, 128},
                 {CLIP_STEM_MBCONV, 1024, 160},
                 {CLIP_STEM_MBCONV, 1152, 192}};
    for (size_t i = 0; i < CLIP_COUNT_OF(stems); i++)
        if (stems[i].stem == tower->vit.stem && stems[i].width == tower->width)
            return stems[i].channels;
    return 0;
}

int clip_vit_same(const struct clip_vit_arch *a, const struct clip_vit_arch *b)
{
    return a->names == b->names && a->flags == b->flags && a->stem == b->stem &&
           a->registers == b->registers && a->grid_height == b->grid_height &&
           a->grid_width == b->grid_width && a->pool_heads == b->pool_heads &&
           a->pool_queries == b->pool_queries && a->pool_mlp == b->pool_mlp;
}
