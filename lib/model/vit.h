/* A vision transformer beside its blocks (model/block.h): what comes before them and after. All 0 is
 * OpenAI's: patches without bias, a class token, positions of all tokens, ln_pre; ln_post of the class token.
 */
#ifndef CLIP_MODEL_VIT_H
#define CLIP_MODEL_VIT_H

#include <stddef.h>

/* How it differs. */
enum {
    CLIP_VIT_NO_CLASS = 1 << 0,        /* no class token */
    CLIP_VIT_PATCH_BIAS = 1 << 1,      /* the convolution that makes patches tokens has a bias */
    CLIP_VIT_NO_PRE_NORM = 1 << 2,     /* no ln_pre */
    CLIP_VIT_NORM_AFTER_POOL = 1 << 3, /* ln_post is of the mean, not of each token */
    CLIP_VIT_NO_POST_NORM = 1 << 4,    /* no ln_post */
    CLIP_VIT_FIXED_POSITIONS = 1 << 5, /* positions do not learn */
    CLIP_VIT_PATCH_POSITIONS = 1 << 6, /* positions are those of patches alone */
    CLIP_VIT_NO_POSITIONS = 1 << 7,    /* no positions */
    CLIP_VIT_POOL_PATCHES = 1 << 8,    /* the attention pool sees the patches alone */
    CLIP_VIT_POOL_GELU = 1 << 9,       /* its activation is GELU, whatever that of blocks */
};

/* What makes tokens of a picture. */
enum clip_vit_stem {
    CLIP_STEM_PATCHES, /* a convolution whose kernel is a patch */
    CLIP_STEM_LINEAR,  /* the same as a linear layer: a patch is [row][column][channel] (NaFlex) */
    CLIP_STEM_CONV,    /* three convolutions, batch norm and GELU between them (tower/stem-conv.c) */
    CLIP_STEM_MBCONV,  /* ViTamin's stages of convolutions (tower/stem-mbconv.c) */
};

/* Epsilon of the norms of queries and tokens in CoCa's pools, whatever that of the blocks. */
#define CLIP_POOL_EPSILON 1e-5f

struct clip_vit_names;

struct clip_vit_arch {
    const struct clip_vit_names *names; /* NULL: OpenAI's */
    unsigned flags;
    enum clip_vit_stem stem;
    int registers; /* tokens that are learned, after the class token, before the patches */
    /* Positions are learned for a grid of this many rows and columns, [rows, columns, width], and resampled
     * to the picture's; 0: they are of the picture's grid. */
    int grid_height, grid_width;
    int pool_width, pool_heads, pool_queries, pool_mlp; /* of attention pools */
};

/* Its tensors but for those of the blocks. */
enum clip_vit_tensor {
    CLIP_VIT_CLASS,
    CLIP_VIT_REGISTERS,
    CLIP_VIT_POSITIONS,
    CLIP_VIT_CONV,
    CLIP_VIT_CONV_BIAS,
    CLIP_VIT_PRE_WEIGHT,
    CLIP_VIT_PRE_BIAS,
    CLIP_VIT_POST_WEIGHT,
    CLIP_VIT_POST_BIAS,
    CLIP_POOL_LATENT, /* the queries */
    CLIP_POOL_Q_WEIGHT,
    CLIP_POOL_Q_BIAS,
    CLIP_POOL_KV_WEIGHT,
    CLIP_POOL_KV_BIAS,
    CLIP_POOL_IN_WEIGHT, /* q, k and v */
    CLIP_POOL_K_WEIGHT,
    CLIP_POOL_V_WEIGHT,
    CLIP_POOL_IN_BIAS,
    CLIP_POOL_OUT_WEIGHT,
    CLIP_POOL_OUT_BIAS,
    CLIP_POOL_LN_Q_WEIGHT,
    CLIP_POOL_LN_Q_BIAS,
    CLIP_POOL_LN_K_WEIGHT,
    CLIP_POOL_LN_K_BIAS,
    CLIP_POOL_NORM_WEIGHT,
    CLIP_POOL_NORM_BIAS,
    CLIP_POOL_FC_WEIGHT,
    CLIP_POOL_FC_BIAS,
    CLIP_POOL_PROJ_WEIGHT,
    CLIP_POOL_PROJ_BIAS,
    CLIP_VIT_TENSORS
};

/* timm's; its towers' whose last norm is of the mean; its NaFlexVit's. */
extern const struct clip_vit_names clip_vit_names_timm, clip_vit_names_timm_mean, clip_vit_names_naflex,
    clip_vit_names_naflex_mean;

struct clip_tower_arch;

/* "visual.class_embedding" */
const char *clip_vit_name(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor);

/* 1 if the tower has it. Sets shape[4], zeros after the last dimension. */
int clip_vit_shape(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor, size_t shape[4]);

/* Width of the features. */
size_t clip_vit_width(const struct clip_tower_arch *tower);

/* Rows and columns of a picture's patches, patches, and tokens: with the class token and registers, if any.
 */
size_t clip_vit_rows(const struct clip_tower_arch *tower);
size_t clip_vit_columns(const struct clip_tower_arch *tower);
size_t clip_vit_patches(const struct clip_tower_arch *tower);
size_t clip_vit_tokens(const struct clip_tower_arch *tower);

/* Tokens before those of patches; of these the ones that have no position of their own. */
size_t clip_vit_prefix(const struct clip_tower_arch *tower);
size_t clip_vit_unplaced(const struct clip_tower_arch *tower);

/* Channels of the first convolution of a stem; 0 where there is no such stem for towers of the width. */
size_t clip_stem_width(const struct clip_tower_arch *tower);
/* Blocks of the two stages of CLIP_STEM_MBCONV, whose second has twice as many channels. */
extern const int clip_stem_blocks[2];

/* 1 if they are alike. */
int clip_vit_same(const struct clip_vit_arch *a, const struct clip_vit_arch *b);

#endif
