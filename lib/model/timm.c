/* What the names of timm's vision transformers stand for. */
#include "model/timm.h"

#include <string.h>

#define SIGLIP_VIT (CLIP_VIT_NO_CLASS | CLIP_VIT_PATCH_BIAS | CLIP_VIT_NO_PRE_NORM)
#define EVA_VIT (CLIP_VIT_PATCH_BIAS | CLIP_VIT_NO_PRE_NORM)
#define TIMM_NAMES .names = &clip_block_names_timm, .vit_names = &clip_vit_names_timm
#define EVA_BLOCK (CLIP_BLOCK_SPLIT_BIAS | CLIP_BLOCK_NO_KEY_BIAS)

const struct clip_timm_family clip_timm_siglip = {
    .class = CLIP_TIMM_VIT, TIMM_NAMES, .vit = SIGLIP_VIT, .pooling = CLIP_POOL_MAP, .epsilon = 1e-6f};

static const struct clip_timm_family clip = {
    .class = CLIP_TIMM_VIT, TIMM_NAMES, .pooling = CLIP_POOL_TOKEN, .epsilon = 1e-5f};

static const struct clip_timm_family gap = {.class = CLIP_TIMM_VIT,
                                            TIMM_NAMES,
                                            .block = CLIP_BLOCK_NO_QKV_BIAS | CLIP_BLOCK_LAYER_SCALE,
                                            .vit = SIGLIP_VIT,
                                            .pooling = CLIP_POOL_PATCHES,
                                            .epsilon = 1e-6f,
                                            .layer_scale = 1e-6f};

static const struct clip_timm_family eva01 = {.class = CLIP_TIMM_EVA,
                                              .names = &clip_block_names_eva,
                                              .vit_names = &clip_vit_names_timm,
                                              .block = EVA_BLOCK,
                                              .vit = EVA_VIT,
                                              .pooling = CLIP_POOL_TOKEN,
                                              .epsilon = 1e-6f,
                                              .deepening = 1};

static const struct clip_timm_family eva02_post = {.class = CLIP_TIMM_EVA,
                                                   .names = &clip_block_names_eva_post,
                                                   .vit_names = &clip_vit_names_timm,
                                                   .block = EVA_BLOCK | CLIP_BLOCK_NO_NORMS |
                                                            CLIP_BLOCK_ATTN_NORM | CLIP_BLOCK_MLP_NORM,
                                                   .vit = EVA_VIT,
                                                   .pooling = CLIP_POOL_TOKEN,
                                                   .epsilon = 1e-6f,
                                                   .deepening = 1};

static const struct clip_timm_family eva02 = {.class = CLIP_TIMM_EVA,
                                              .names = &clip_block_names_eva02,
                                              .vit_names = &clip_vit_names_timm,
                                              .block = EVA_BLOCK | CLIP_BLOCK_SPLIT_QKV |
                                                       CLIP_BLOCK_INNER_NORM | CLIP_BLOCK_GATED |
                                                       CLIP_BLOCK_HIDDEN_NORM,
                                              .vit = EVA_VIT,
                                              .pooling = CLIP_POOL_TOKEN,
                                              .epsilon = 1e-6f,
                                              .deepening = 1};

static const struct clip_timm_family pe = {.class = CLIP_TIMM_EVA,
                                           TIMM_NAMES,
                                           .pooling = CLIP_POOL_MAP,
                                           .epsilon = 1e-5f,
                                           .pool_heads = 8,
                                           .deepening = 1};

static const struct clip_timm_family pe_g = {.class = CLIP_TIMM_EVA,
                                             TIMM_NAMES,
                                             .vit = CLIP_VIT_NO_CLASS,
                                             .pooling = CLIP_POOL_MAP,
                                             .epsilon = 1e-5f,
                                             .pool_heads = 8,
                                             .deepening = 1};

static const struct clip_timm_family mci = {.class = CLIP_TIMM_HYBRID,
                                            TIMM_NAMES,
                                            .vit = CLIP_VIT_NO_PRE_NORM | CLIP_VIT_PATCH_POSITIONS,
                                            .pooling = CLIP_POOL_TOKEN,
                                            .stem = CLIP_STEM_CONV,
                                            .epsilon = 1e-6f};

#define NAFLEX                                                                                               \
    .class = CLIP_TIMM_NAFLEX, .names = &clip_block_names_timm, .stem = CLIP_STEM_LINEAR, .epsilon = 1e-6f,  \
    .grid = 16, .deepening = 1
#define NAFLEX_VIT (SIGLIP_VIT | CLIP_VIT_PATCH_POSITIONS)

static const struct clip_timm_family naflex_gap = {NAFLEX,
                                                   .vit_names = &clip_vit_names_naflex_mean,
                                                   .block = CLIP_BLOCK_LAYER_SCALE,
                                                   .vit = NAFLEX_VIT | CLIP_VIT_NORM_AFTER_POOL,
                                                   .pooling = CLIP_POOL_PATCHES,
                                                   .layer_scale = 1e-5f,
                                                   .registers = 4};

static const struct clip_timm_family naflex_reg1_gap = {NAFLEX,
                                                        .vit_names = &clip_vit_names_naflex_mean,
                                                        .block =
                                                            CLIP_BLOCK_LAYER_SCALE | CLIP_BLOCK_NO_QKV_BIAS,
                                                        .vit = NAFLEX_VIT | CLIP_VIT_NORM_AFTER_POOL,
                                                        .pooling = CLIP_POOL_PATCHES,
                                                        .layer_scale = 1e-5f,
                                                        .registers = 1};

static const struct clip_timm_family naflex_siglip = {NAFLEX, .vit_names = &clip_vit_names_naflex,
                                                      .vit = NAFLEX_VIT, .pooling = CLIP_POOL_MAP};

#define VITAMIN                                                                                              \
    .class = CLIP_TIMM_HYBRID, .names = &clip_block_names_vitamin, .vit_names = &clip_vit_names_timm_mean,   \
    .block = CLIP_BLOCK_INPUT_NORM | CLIP_BLOCK_GATED, .pooling = CLIP_POOL_PATCHES,                         \
    .stem = CLIP_STEM_MBCONV, .epsilon = 1e-6f
#define VITAMIN_VIT (CLIP_VIT_NO_CLASS | CLIP_VIT_NO_PRE_NORM | CLIP_VIT_NORM_AFTER_POOL)

static const struct clip_timm_family vitamin = {VITAMIN, .vit = VITAMIN_VIT};
static const struct clip_timm_family vitamin_xl = {VITAMIN, .vit = VITAMIN_VIT | CLIP_VIT_NO_POSITIONS};

static const struct clip_timm_family naflex_map = {NAFLEX,
                                                   .vit_names = &clip_vit_names_naflex,
                                                   .block = CLIP_BLOCK_LAYER_SCALE,
                                                   .vit = NAFLEX_VIT | CLIP_VIT_POOL_PATCHES,
                                                   .pooling = CLIP_POOL_MAP,
                                                   .layer_scale = 1e-5f,
                                                   .registers = 1};

static const struct clip_timm_family naflex_reg1_map = {NAFLEX,
                                                        .vit_names = &clip_vit_names_naflex,
                                                        .block =
                                                            CLIP_BLOCK_LAYER_SCALE | CLIP_BLOCK_NO_QKV_BIAS,
                                                        .vit = NAFLEX_VIT | CLIP_VIT_POOL_PATCHES,
                                                        .pooling = CLIP_POOL_MAP,
                                                        .layer_scale = 1e-5f,
                                                        .registers = 1};

/* With swiglu_mlp. */
static const struct clip_timm_family naflex_map_gated = {
    .class = CLIP_TIMM_NAFLEX,
    .names = &clip_block_names_timm_gated,
    .vit_names = &clip_vit_names_naflex,
    .block = CLIP_BLOCK_LAYER_SCALE | EVA_BLOCK | CLIP_BLOCK_GATED | CLIP_BLOCK_JOINED_GATE |
             CLIP_BLOCK_GATE_FIRST,
    .vit = NAFLEX_VIT | CLIP_VIT_POOL_PATCHES | CLIP_VIT_POOL_GELU,
    .pooling = CLIP_POOL_MAP,
    .stem = CLIP_STEM_LINEAR,
    .epsilon = 1e-6f,
    .layer_scale = 1e-5f,
    .registers = 1,
    .swiglu = 1,
    .grid = 16,
    .deepening = 1};

/* Relative positions: with a class token; without, or with it but not of the features; with a norm of each
 * token. */
#define RELPOS                                                                                               \
    .class = CLIP_TIMM_RELPOS, .names = &clip_block_names_relpos, .epsilon = 1e-6f, .layer_scale = 1e-6f,    \
    .drawn = 1
#define RELPOS_BLOCK (CLIP_BLOCK_LAYER_SCALE | CLIP_BLOCK_RELATIVE)
#define RELPOS_VIT (CLIP_VIT_PATCH_BIAS | CLIP_VIT_NO_PRE_NORM | CLIP_VIT_NO_POSITIONS)

static const struct clip_timm_family relpos_cls = {RELPOS,
                                                   .vit_names = &clip_vit_names_timm,
                                                   .block = RELPOS_BLOCK | CLIP_BLOCK_NO_QKV_BIAS,
                                                   .vit = RELPOS_VIT,
                                                   .pooling = CLIP_POOL_TOKEN,
                                                   .relative = 256};

static const struct clip_timm_family relpos_base_cls = {RELPOS,
                                                        .vit_names = &clip_vit_names_timm,
                                                        .block = RELPOS_BLOCK | CLIP_BLOCK_NO_QKV_BIAS,
                                                        .vit = RELPOS_VIT,
                                                        .pooling = CLIP_POOL_TOKEN,
                                                        .relative = 128};

static const struct clip_timm_family relpos_gap = {RELPOS,
                                                   .vit_names = &clip_vit_names_timm_mean,
                                                   .block = RELPOS_BLOCK | CLIP_BLOCK_NO_QKV_BIAS,
                                                   .vit = RELPOS_VIT | CLIP_VIT_NO_CLASS |
                                                          CLIP_VIT_NORM_AFTER_POOL,
                                                   .pooling = CLIP_POOL_PATCHES,
                                                   .relative = 128};

static const struct clip_timm_family relpos_clsgap = {RELPOS,
                                                      .vit_names = &clip_vit_names_timm_mean,
                                                      .block = RELPOS_BLOCK | CLIP_BLOCK_NO_QKV_BIAS,
                                                      .vit = RELPOS_VIT | CLIP_VIT_NORM_AFTER_POOL,
                                                      .pooling = CLIP_POOL_PATCHES,
                                                      .relative = 128};

static const struct clip_timm_family relpos_plus = {RELPOS,
                                                    .vit_names = &clip_vit_names_timm,
                                                    .block = RELPOS_BLOCK,
                                                    .vit = RELPOS_VIT | CLIP_VIT_NO_CLASS,
                                                    .pooling = CLIP_POOL_PATCHES,
                                                    .relative = 128};

#define NO_ROTARY                                                                                            \
    {                                                                                                        \
        0, 0, 0                                                                                              \
    }
#define EVA02_ROTARY                                                                                         \
    {                                                                                                        \
        16, 0, 0                                                                                             \
    }
#define PE_ROTARY(side, offset)                                                                              \
    {                                                                                                        \
        (side), (offset), 1                                                                                  \
    }

static const struct clip_timm_name names[] = {
    {"vit_base_patch16_siglip_224", &clip_timm_siglip, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_siglip_256", &clip_timm_siglip, 256, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_siglip_384", &clip_timm_siglip, 384, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_siglip_512", &clip_timm_siglip, 512, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch32_siglip_256", &clip_timm_siglip, 256, 32, 768, 12, 12, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_large_patch16_siglip_256", &clip_timm_siglip, 256, 16, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch16_siglip_384", &clip_timm_siglip, 384, 16, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch16_siglip_512", &clip_timm_siglip, 512, 16, 1024, 24, 16, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_so400m_patch14_siglip_224", &clip_timm_siglip, 224, 14, 1152, 27, 16, 3.7362, CLIP_GELU, NO_ROTARY},
    {"vit_so400m_patch14_siglip_378", &clip_timm_siglip, 378, 14, 1152, 27, 16, 3.7362, CLIP_GELU, NO_ROTARY},
    {"vit_so400m_patch14_siglip_384", &clip_timm_siglip, 384, 14, 1152, 27, 16, 3.7362, CLIP_GELU, NO_ROTARY},
    {"vit_so400m_patch16_siglip_256", &clip_timm_siglip, 256, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH,
     NO_ROTARY},
    {"vit_so400m_patch16_siglip_384", &clip_timm_siglip, 384, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH,
     NO_ROTARY},
    {"vit_so400m_patch16_siglip_512", &clip_timm_siglip, 512, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH,
     NO_ROTARY},
    {"vit_giantopt_patch16_siglip_256", &clip_timm_siglip, 256, 16, 1536, 40, 16, 4, CLIP_GELU_TANH,
     NO_ROTARY},
    {"vit_giantopt_patch16_siglip_384", &clip_timm_siglip, 384, 16, 1536, 40, 16, 4, CLIP_GELU_TANH,
     NO_ROTARY},
    {"vit_base_patch32_clip_224", &clip, 224, 32, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_clip_224", &clip, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_224", &clip, 224, 14, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_336", &clip, 336, 14, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch32_clip_quickgelu_224", &clip, 224, 32, 768, 12, 12, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_base_patch16_clip_quickgelu_224", &clip, 224, 16, 768, 12, 12, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_quickgelu_224", &clip, 224, 14, 1024, 24, 16, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_quickgelu_336", &clip, 336, 14, 1024, 24, 16, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_medium_patch16_gap_256", &gap, 256, 16, 512, 12, 8, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_mci_224", &mci, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"naflexvit_base_patch16_gap", &naflex_gap, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"naflexvit_so150m2_patch16_reg1_gap", &naflex_reg1_gap, 224, 16, 832, 21, 13, 34.0 / 13, CLIP_GELU,
     NO_ROTARY},
    {"naflexvit_base_patch16_map", &naflex_map, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"naflexvit_base_patch16_map", &naflex_map_gated, 224, 16, 768, 12, 12, 4, CLIP_SILU, NO_ROTARY},
    {"naflexvit_so150m2_patch16_reg1_map", &naflex_reg1_map, 224, 16, 832, 21, 13, 34.0 / 13, CLIP_GELU,
     NO_ROTARY},
    {"naflexvit_base_patch16_siglip", &naflex_siglip, 224, 16, 768, 12, 12, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"naflexvit_so400m_patch16_siglip", &naflex_siglip, 224, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH,
     NO_ROTARY},
    {"vitamin_small_224", &vitamin, 224, 16, 384, 14, 6, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_base_224", &vitamin, 224, 16, 768, 14, 12, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large_224", &vitamin, 224, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large_256", &vitamin, 256, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large_336", &vitamin, 336, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large_384", &vitamin, 384, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large2_224", &vitamin, 224, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large2_256", &vitamin, 256, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large2_336", &vitamin, 336, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_large2_384", &vitamin, 384, 16, 1024, 31, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_xlarge_256", &vitamin_xl, 256, 16, 1152, 32, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_xlarge_336", &vitamin_xl, 336, 16, 1152, 32, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vitamin_xlarge_384", &vitamin_xl, 384, 16, 1152, 32, 16, 2, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_medium_patch16_cls_224", &relpos_cls, 224, 16, 512, 12, 8, 4, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_base_patch16_cls_224", &relpos_base_cls, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_base_patch16_clsgap_224", &relpos_clsgap, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_small_patch16_224", &relpos_gap, 224, 16, 384, 12, 6, 4, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_medium_patch16_224", &relpos_gap, 224, 16, 512, 12, 8, 4, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_base_patch16_224", &relpos_gap, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_relpos_base_patch16_plus_240", &relpos_plus, 240, 16, 896, 12, 14, 4, CLIP_GELU, NO_ROTARY},
    {"eva_giant_patch14_224", &eva01, 224, 14, 1408, 40, 16, 6144.0 / 1408, CLIP_GELU, NO_ROTARY},
    {"eva02_enormous_patch14_clip_224", &eva02_post, 224, 14, 1792, 64, 16, 15360.0 / 1792, CLIP_GELU,
     NO_ROTARY},
    {"eva02_base_patch16_clip_224", &eva02, 224, 16, 768, 12, 12, 8.0 / 3, CLIP_SILU, EVA02_ROTARY},
    {"eva02_large_patch14_clip_224", &eva02, 224, 14, 1024, 24, 16, 8.0 / 3, CLIP_SILU, EVA02_ROTARY},
    {"eva02_large_patch14_clip_336", &eva02, 336, 14, 1024, 24, 16, 8.0 / 3, CLIP_SILU, EVA02_ROTARY},
    {"vit_pe_core_tiny_patch16_384", &pe, 384, 16, 192, 12, 3, 4, CLIP_GELU, PE_ROTARY(24, 1)},
    {"vit_pe_core_small_patch16_384", &pe, 384, 16, 384, 12, 6, 4, CLIP_GELU, PE_ROTARY(24, 1)},
    {"vit_pe_core_base_patch16_224", &pe, 224, 16, 768, 12, 12, 4, CLIP_GELU, PE_ROTARY(14, 1)},
    {"vit_pe_core_large_patch14_336", &pe, 336, 14, 1024, 24, 16, 4, CLIP_GELU, PE_ROTARY(24, 1)},
    {"vit_pe_core_gigantic_patch14_448", &pe_g, 448, 14, 1536, 50, 16, 8960.0 / 1536, CLIP_GELU,
     PE_ROTARY(32, 0)},
};

const struct clip_timm_name *clip_timm_find(const char *name, int swiglu)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (names[i].family->swiglu == swiglu && strcmp(names[i].name, name) == 0)
            return &names[i];
    return NULL;
}

const struct clip_timm_name *clip_timm_of_open_clip(struct json_object *object)
{
    struct json_object *name = clip_json_get(object, "timm_model_name");
    return json_object_is_type(name, json_type_string) ? clip_timm_find(json_object_get_string(name), 0)
                                                       : NULL;
}

/* But for what timm_model_kwargs may say: layer scale and positions. */
static int same_family(const struct clip_tower_arch *tower, const struct clip_timm_name *name)
{
    const struct clip_timm_family *family = name->family;
    unsigned block = tower->block.flags ^ family->block, vit = tower->vit.flags ^ family->vit;
    return tower->block.names == family->names && !(block & ~(unsigned)CLIP_BLOCK_LAYER_SCALE) &&
           tower->vit.names == family->vit_names && !(vit & ~(unsigned)CLIP_VIT_NO_POSITIONS) &&
           tower->pooling == family->pooling && tower->vit.stem == family->stem &&
           tower->block.epsilon == family->epsilon && tower->activation == name->activation &&
           memcmp(&tower->block.rotary, &name->rotary, sizeof name->rotary) == 0 &&
           (family->class != CLIP_TIMM_HYBRID || tower->width == name->width);
}

static int same_sizes(const struct clip_tower_arch *tower, const struct clip_timm_name *name)
{
    int any = name->family->class == CLIP_TIMM_NAFLEX; /* pictures of any size */
    return (any || tower->image_size == name->image) && tower->patch == name->patch &&
           tower->width == name->width && tower->layers == name->layers && tower->heads == name->heads &&
           tower->mlp == (int)(name->width * name->mlp) && tower->vit.flags == name->family->vit &&
           tower->block.relative == name->family->relative;
}

const struct clip_timm_name *clip_timm_name_of(const struct clip_tower_arch *tower)
{
    const struct clip_timm_name *like = names;
    for (size_t i = CLIP_COUNT_OF(names); i-- > 0;) {
        if (!same_family(tower, &names[i]))
            continue;
        like = &names[i];
        if (same_sizes(tower, like))
            break;
    }
    return like;
}
