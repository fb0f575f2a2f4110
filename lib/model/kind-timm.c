/* The vision transformers of timm: SigLIP, EVA, PE and plain ones, as open_clip's timm_model_name says. */
#include "model/kind-parts.h"
#include "model/shapes.h"

#include <math.h>
#include <string.h>

/* --- what timm's names stand for --- */

/* What the models of a family have in common. */
struct family {
    const struct clip_block_names *names;
    unsigned block, vit; /* flags */
    enum clip_pooling pooling;
    float epsilon;
    int pool_heads; /* of the pool, whose hidden layer is four times its width; 0: those of the blocks, and
                       theirs */
};

#define SIGLIP_VIT (CLIP_VIT_NO_CLASS | CLIP_VIT_PATCH_BIAS | CLIP_VIT_NO_PRE_NORM)
#define EVA_VIT (CLIP_VIT_PATCH_BIAS | CLIP_VIT_NO_PRE_NORM)

static const struct family siglip = {&clip_block_names_timm, 0, SIGLIP_VIT, CLIP_POOL_MAP, 1e-6f, 0},
                           clip = {&clip_block_names_timm, 0, 0, CLIP_POOL_TOKEN, 1e-5f, 0},
                           gap = {&clip_block_names_timm,
                                  CLIP_BLOCK_NO_QKV_BIAS | CLIP_BLOCK_LAYER_SCALE,
                                  SIGLIP_VIT,
                                  CLIP_POOL_PATCHES,
                                  1e-6f,
                                  0},
                           eva01 = {&clip_block_names_eva,
                                    CLIP_BLOCK_SPLIT_BIAS | CLIP_BLOCK_NO_KEY_BIAS,
                                    EVA_VIT,
                                    CLIP_POOL_TOKEN,
                                    1e-6f,
                                    0},
                           eva02_post = {&clip_block_names_eva_post,
                                         CLIP_BLOCK_SPLIT_BIAS | CLIP_BLOCK_NO_KEY_BIAS |
                                             CLIP_BLOCK_NO_NORMS | CLIP_BLOCK_ATTN_NORM | CLIP_BLOCK_MLP_NORM,
                                         EVA_VIT,
                                         CLIP_POOL_TOKEN,
                                         1e-6f,
                                         0},
                           eva02 = {&clip_block_names_eva02,
                                    CLIP_BLOCK_SPLIT_BIAS | CLIP_BLOCK_NO_KEY_BIAS | CLIP_BLOCK_SPLIT_QKV |
                                        CLIP_BLOCK_INNER_NORM | CLIP_BLOCK_GATED | CLIP_BLOCK_HIDDEN_NORM,
                                    EVA_VIT,
                                    CLIP_POOL_TOKEN,
                                    1e-6f,
                                    0},
                           pe = {&clip_block_names_timm, 0, 0, CLIP_POOL_MAP, 1e-5f, 8},
                           pe_g = {&clip_block_names_timm, 0, CLIP_VIT_NO_CLASS, CLIP_POOL_MAP, 1e-5f, 8};

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

static const struct named {
    const char *name;
    const struct family *family;
    int image, patch, width, layers, heads;
    double mlp; /* ratio of the hidden layer's width */
    enum clip_activation activation;
    struct clip_rotary rotary;
} names[] = {
    {"vit_base_patch16_siglip_224", &siglip, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_siglip_256", &siglip, 256, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_siglip_384", &siglip, 384, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_siglip_512", &siglip, 512, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch32_siglip_256", &siglip, 256, 32, 768, 12, 12, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_large_patch16_siglip_256", &siglip, 256, 16, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch16_siglip_384", &siglip, 384, 16, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch16_siglip_512", &siglip, 512, 16, 1024, 24, 16, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_so400m_patch14_siglip_224", &siglip, 224, 14, 1152, 27, 16, 3.7362, CLIP_GELU, NO_ROTARY},
    {"vit_so400m_patch14_siglip_378", &siglip, 378, 14, 1152, 27, 16, 3.7362, CLIP_GELU, NO_ROTARY},
    {"vit_so400m_patch14_siglip_384", &siglip, 384, 14, 1152, 27, 16, 3.7362, CLIP_GELU, NO_ROTARY},
    {"vit_so400m_patch16_siglip_256", &siglip, 256, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_so400m_patch16_siglip_384", &siglip, 384, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_so400m_patch16_siglip_512", &siglip, 512, 16, 1152, 27, 16, 3.7362, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_giantopt_patch16_siglip_256", &siglip, 256, 16, 1536, 40, 16, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_giantopt_patch16_siglip_384", &siglip, 384, 16, 1536, 40, 16, 4, CLIP_GELU_TANH, NO_ROTARY},
    {"vit_base_patch32_clip_224", &clip, 224, 32, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch16_clip_224", &clip, 224, 16, 768, 12, 12, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_224", &clip, 224, 14, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_336", &clip, 336, 14, 1024, 24, 16, 4, CLIP_GELU, NO_ROTARY},
    {"vit_base_patch32_clip_quickgelu_224", &clip, 224, 32, 768, 12, 12, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_base_patch16_clip_quickgelu_224", &clip, 224, 16, 768, 12, 12, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_quickgelu_224", &clip, 224, 14, 1024, 24, 16, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_large_patch14_clip_quickgelu_336", &clip, 336, 14, 1024, 24, 16, 4, CLIP_QUICK_GELU, NO_ROTARY},
    {"vit_medium_patch16_gap_256", &gap, 256, 16, 512, 12, 8, 4, CLIP_GELU, NO_ROTARY},
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

static const struct named *find_named(const char *name)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return &names[i];
    return NULL;
}

/* --- checks --- */

static int check(const struct clip_tower_arch *tower, struct clip_error *error)
{
    int head = tower->heads > 0 ? tower->width / tower->heads : 0;
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("patch size", tower->patch, tower->image_size, error) != 0 ||
        clip_check_bounds("vision width", tower->width, CLIP_MAX_WIDTH, error) != 0 ||
        clip_check_bounds("vision layers", tower->layers, CLIP_MAX_LAYERS, error) != 0 ||
        clip_check_bounds("vision mlp", tower->mlp, CLIP_MAX_MLP, error) != 0 ||
        clip_check_heads("vision width", tower->width, tower->heads, error) != 0)
        return -1;
    if (tower->block.rotary.reference && head % 4)
        return clip_fail(error, "heads of %d cannot have rotary positions, which take four at a time", head);
    return clip_check_pool(tower, error);
}

/* --- tensors --- */

static void list(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    /* timm's trunks: truncated at 2, which is 100 deviations; biases 0. */
    struct clip_initial drawn = clip_initial_normal(0.02);
    struct clip_block_draws draws = {drawn, drawn, drawn, drawn, 0};
    clip_list_vit(listing, tower, CLIP_VIT_CLASS, CLIP_VIT_POST_WEIGHT);
    clip_list_blocks(listing, tower, &draws);
    clip_list_vit(listing, tower, CLIP_VIT_POST_WEIGHT, CLIP_VIT_TENSORS);
    clip_list_projection(listing, tower, clip_vit_width(tower), embed);
}

static const char *const prefixes[] = {"visual.", NULL};

/* --- open_clip: timm_model_name and timm_model_kwargs --- */

static int is_open_clip(struct json_object *object)
{
    struct json_object *name = clip_json_get(object, "timm_model_name");
    return json_object_is_type(name, json_type_string) && find_named(json_object_get_string(name));
}

static const struct clip_json_option kwargs[] = {
    {"img_size", CLIP_JSON_USED, NULL},          {"patch_size", CLIP_JSON_USED, NULL},
    {"embed_dim", CLIP_JSON_USED, NULL},         {"depth", CLIP_JSON_USED, NULL},
    {"num_heads", CLIP_JSON_USED, NULL},         {"mlp_ratio", CLIP_JSON_USED, NULL},
    {"init_values", CLIP_JSON_USED, NULL},       {"drop_rate", CLIP_JSON_IGNORED, NULL},
    {"drop_path_rate", CLIP_JSON_IGNORED, NULL}, {"proj_drop_rate", CLIP_JSON_IGNORED, NULL},
    {"attn_drop_rate", CLIP_JSON_IGNORED, NULL}, {"patch_drop_rate", CLIP_JSON_IGNORED, NULL},
};

/* What a named model is, with other sizes where kwargs say so. */
static int read_sizes(struct json_object *more, const struct named *named, struct clip_tower_arch *tower,
                      struct clip_error *error)
{
    const char *where = "timm_model_kwargs";
    double ratio = named->mlp, scale = (double)tower->block.layer_scale;
    if (more && (clip_json_options(more, where, kwargs, CLIP_COUNT_OF(kwargs), error) != 0 ||
                 clip_json_int(more, where, "img_size", 1, CLIP_MAX_IMAGE, &tower->image_size, error) != 0 ||
                 clip_json_int(more, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0 ||
                 clip_json_int(more, where, "embed_dim", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
                 clip_json_int(more, where, "depth", 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0 ||
                 clip_json_int(more, where, "num_heads", 1, CLIP_MAX_WIDTH, &tower->heads, error) != 0 ||
                 clip_json_real(more, where, "mlp_ratio", 0, 1024, &ratio, error) != 0 ||
                 clip_json_real(more, where, "init_values", -1e6, 1e6, &scale, error) != 0))
        return -1;
    if (more && clip_json_get(more, "init_values")) {
        if (named->family->names != &clip_block_names_timm)
            return clip_fail(error, "%s.init_values: the blocks of %s have no layer scale", where,
                             named->name);
        tower->block.flags |= CLIP_BLOCK_LAYER_SCALE;
    }
    tower->block.layer_scale = (float)scale;
    tower->mlp = (int)(tower->width * ratio);
    int fixed = named->family->pool_heads;
    tower->vit.pool_heads = fixed ? fixed : tower->heads;
    tower->vit.pool_mlp = fixed ? 4 * tower->width : tower->mlp;
    tower->vit.pool_queries = 1;
    tower->vit.pool_width = tower->width;
    return 0;
}

static const char *pool_name(enum clip_pooling pooling)
{
    return pooling == CLIP_POOL_MAP ? "map" : pooling == CLIP_POOL_PATCHES ? "avg" : "token";
}

/* timm_pool is the trunk's own; "" leaves it so where open_clip projects. */
static int check_timm_pool(struct json_object *object, const char *where, const struct clip_tower_arch *tower,
                           struct clip_error *error)
{
    const char *pool = json_object_object_get_ex(object, "timm_pool", NULL) ? "" : "avg";
    if (clip_json_string(object, where, "timm_pool", &pool, error) != 0)
        return -1;
    if (strcmp(pool, pool_name(tower->vit.pooling)) == 0 ||
        (!*pool && tower->head != &clip_head_timm_classifier && tower->head != &clip_head_none))
        return 0;
    return clip_fail(error, "%s.timm_pool: \"%.40s\" is not supported (only \"%s\")", where, pool,
                     pool_name(tower->vit.pooling));
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    const struct named *named = find_named(json_object_get_string(clip_json_get(object, "timm_model_name")));
    const struct family *family = named->family;
    struct json_object *more = NULL;
    int image;
    tower->image_size = named->image;
    tower->patch = named->patch;
    tower->width = named->width;
    tower->layers = named->layers;
    tower->heads = named->heads;
    tower->activation = named->activation;
    tower->block = (struct clip_block_arch){.names = family->names,
                                            .flags = family->block,
                                            .epsilon = family->epsilon,
                                            .layer_scale = family == &gap ? 1e-6f : 0,
                                            .rotary = named->rotary};
    tower->vit = (struct clip_vit_arch){
        .names = &clip_vit_names_timm, .flags = family->vit, .pooling = family->pooling};
    if (clip_check_timm_options(object, where, error) != 0 ||
        clip_json_object(object, where, "timm_model_kwargs", &more, error) != 0 ||
        read_sizes(more, named, tower, error) != 0 ||
        clip_read_image_size(object, where, &image, error) != 0 ||
        clip_read_timm_head(object, where, &clip_head_timm_classifier, tower, error) != 0)
        return -1;
    if (image != tower->image_size)
        return clip_fail(error, "%s.image_size is %d, but the pictures of %s are of %d", where, image,
                         named->name, tower->image_size);
    return check_timm_pool(object, where, tower, error);
}

static int same_family(const struct clip_tower_arch *tower, const struct named *named)
{
    const struct family *family = named->family;
    return tower->block.names == family->names &&
           (tower->block.flags & ~(unsigned)CLIP_BLOCK_LAYER_SCALE) ==
               (family->block & ~(unsigned)CLIP_BLOCK_LAYER_SCALE) &&
           tower->vit.flags == family->vit && tower->vit.pooling == family->pooling &&
           tower->block.epsilon == family->epsilon && tower->activation == named->activation &&
           memcmp(&tower->block.rotary, &named->rotary, sizeof named->rotary) == 0;
}

/* The name of these sizes; else one of the same family, whose sizes are overridden. */
static const struct named *find_name(const struct clip_tower_arch *tower)
{
    const struct named *like = names;
    for (size_t i = CLIP_COUNT_OF(names); i-- > 0;) {
        if (!same_family(tower, &names[i]))
            continue;
        like = &names[i];
        if (tower->image_size == like->image && tower->patch == like->patch && tower->width == like->width &&
            tower->layers == like->layers && tower->heads == like->heads &&
            tower->mlp == (int)(like->width * like->mlp))
            break;
    }
    return like;
}

static void put_int(FILE *file, const char *key, int value, int known, const char **between)
{
    if (value == known)
        return;
    fprintf(file, "%s\"%s\": %d", *between, key, value);
    *between = ", ";
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const struct named *named = find_name(tower);
    const char *between = "";
    fprintf(file, "      \"timm_model_name\": \"%s\",\n", named->name);
    fprintf(file, "      \"timm_model_pretrained\": false,\n      \"timm_pool\": \"%s\",\n",
            pool_name(tower->vit.pooling));
    clip_put_timm_head(file, clip_head_of(tower));
    fputs("      \"timm_model_kwargs\": {", file);
    put_int(file, "img_size", tower->image_size, named->image, &between);
    put_int(file, "patch_size", tower->patch, named->patch, &between);
    put_int(file, "embed_dim", tower->width, named->width, &between);
    put_int(file, "depth", tower->layers, named->layers, &between);
    put_int(file, "num_heads", tower->heads, named->heads, &between);
    if (tower->mlp != (int)(tower->width * named->mlp)) {
        fprintf(file, "%s\"mlp_ratio\": %.17g", between, clip_mlp_ratio(tower));
        between = ", ";
    }
    if (tower->block.flags & CLIP_BLOCK_LAYER_SCALE)
        fprintf(file, "%s\"init_values\": %.9g", between, (double)tower->block.layer_scale);
    fprintf(file, "},\n      \"image_size\": %d\n", tower->image_size);
}

/* --- Hugging Face's SiglipModel --- */

/* clang-format off */
static const struct clip_name_pair siglip_names[] = {
    {"vision_model.embeddings.patch_embedding.", "visual.trunk.patch_embed.proj.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.embeddings.position_embedding.weight", "visual.trunk.pos_embed", CLIP_NAME_WHOLE, 0, CLIP_NAME_ONE},
    {"vision_model.post_layernorm.", "visual.trunk.norm.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.head.probe", "visual.trunk.attn_pool.latent", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.head.attention.in_proj_", "visual.trunk.attn_pool.q.", CLIP_NAME_WHOLE, 0, CLIP_NAME_FIRST_THIRD},
    {"vision_model.head.attention.in_proj_", "visual.trunk.attn_pool.kv.", CLIP_NAME_WHOLE, 0, CLIP_NAME_LAST_THIRDS},
    {"vision_model.head.attention.out_proj.", "visual.trunk.attn_pool.proj.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.head.layernorm.", "visual.trunk.attn_pool.norm.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.head.mlp.", "visual.trunk.attn_pool.mlp.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.encoder.layers.#.self_attn.q_proj.", "visual.trunk.blocks.#.attn.qkv.", 0, 0, 0},
    {"vision_model.encoder.layers.#.self_attn.k_proj.", "visual.trunk.blocks.#.attn.qkv.", 1, 0, 0},
    {"vision_model.encoder.layers.#.self_attn.v_proj.", "visual.trunk.blocks.#.attn.qkv.", 2, 0, 0},
    {"vision_model.encoder.layers.#.self_attn.out_proj.", "visual.trunk.blocks.#.attn.proj.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.encoder.layers.#.layer_norm1.", "visual.trunk.blocks.#.norm1.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.encoder.layers.#.layer_norm2.", "visual.trunk.blocks.#.norm2.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.encoder.layers.#.mlp.", "visual.trunk.blocks.#.mlp.", CLIP_NAME_WHOLE, 0, 0},
    {0}};
/* clang-format on */

static int read_siglip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    int channels = 3, head = 1;
    tower->width = 768;
    tower->mlp = 3072;
    tower->layers = tower->heads = 12;
    tower->image_size = 224;
    tower->patch = 16;
    tower->activation = CLIP_GELU_TANH;
    tower->block = (struct clip_block_arch){.names = siglip.names, .epsilon = siglip.epsilon};
    tower->vit = (struct clip_vit_arch){
        .names = &clip_vit_names_timm, .flags = siglip.vit, .pooling = siglip.pooling, .pool_queries = 1};
    tower->head = &clip_head_none;
    if (clip_read_hf_tower(object, where, tower, error) != 0 ||
        clip_json_int(object, where, "image_size", 1, CLIP_MAX_IMAGE, &tower->image_size, error) != 0 ||
        clip_json_int(object, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0 ||
        clip_json_int(object, where, "num_channels", 3, 3, &channels, error) != 0 ||
        clip_json_flag(object, where, "vision_use_head", &head, error) != 0)
        return -1;
    if (!head)
        return clip_fail(error, "%s.vision_use_head: a tower without its pool has no features", where);
    tower->vit.pool_heads = tower->heads;
    tower->vit.pool_mlp = tower->mlp;
    tower->vit.pool_width = tower->width;
    return 0;
}

static void put_siglip(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed)
{
    (void)embed;
    clip_put_hf_tower(file, in, tower, 0);
    fprintf(file, "%s\"image_size\": %d,\n%s\"patch_size\": %d,\n%s\"num_channels\": 3\n", in,
            tower->image_size, in, tower->patch, in);
}

static int refuse_siglip(const struct clip_tower_arch *tower, struct clip_error *error)
{
    const struct clip_vit_arch *vit = &tower->vit;
    if (tower->block.names != siglip.names || tower->block.flags != siglip.block ||
        vit->flags != siglip.vit || vit->pooling != siglip.pooling || tower->block.rotary.reference ||
        vit->pool_heads != tower->heads || vit->pool_mlp != tower->mlp ||
        clip_head_of(tower) != &clip_head_none)
        return clip_fail(error, "Hugging Face's form of SigLIP has only image towers like SigLIP's own");
    return 0;
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {{"visual.trunk.patch_embed.proj.weight", 0, 0, "", 0},
                                             {"trunk.patch_embed.proj.weight", 0, 0, "visual.", 0},
                                             {0}};

static int is_weights(const struct clip_weights *weights)
{
    return clip_weights_find(weights, "visual.trunk.patch_embed.proj.weight") != NULL;
}

static int read_shapes(const struct clip_weights *weights, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    (void)weights;
    (void)tower;
    return clip_fail(error, "the weights of a timm tower do not say which one it is (see --arch)");
}

/* --- descriptions --- */

static void describe(FILE *out, const struct clip_tower_arch *tower)
{
    fprintf(out, "image %d, %s, patch %d, width %d, %d layers, %d heads, mlp %d, %s, projection %s\n",
            tower->image_size, find_name(tower)->name, tower->patch, tower->width, tower->layers,
            tower->heads, tower->mlp, clip_activation_name(tower->activation), clip_head_of(tower)->title);
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_text(object, "kind", tower->kind->name);
    clip_add_text(object, "timm_model_name", find_name(tower)->name);
    clip_add_int(object, "image_size", (uint64_t)tower->image_size);
    clip_add_int(object, "width", (uint64_t)tower->width);
    clip_add_int(object, "heads", (uint64_t)tower->heads);
    clip_add_int(object, "layers", (uint64_t)tower->layers);
    clip_add_int(object, "patch_size", (uint64_t)tower->patch);
    clip_add_int(object, "mlp", (uint64_t)tower->mlp);
    clip_add_text(object, "activation", clip_activation_name(tower->activation));
    clip_add_text(object, "projection", clip_head_of(tower)->title);
}

const struct clip_kind clip_kind_timm = {
    .name = "timm",
    .title = "timm vision transformer",
    .side = CLIP_SIDE_IMAGE,
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .own_activation = 1,
    .head = &clip_head_timm_linear,
    .width = clip_vit_width,
    .check = check,
    .list = list,
    .prefixes = prefixes,
    .is_open_clip = is_open_clip,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .hf = {[CLIP_HF_SIGLIP] = {.key = "vision_config",
                               .read = read_siglip,
                               .put = put_siglip,
                               .refuse = refuse_siglip,
                               .names = siglip_names}},
    .anchors = anchors,
    .first_tensor = "visual.trunk.patch_embed.proj.weight",
    .is_weights = is_weights,
    .read_shapes = read_shapes,
    .describe = describe,
    .describe_json = describe_json,
};
