/* The vision transformers of timm: SigLIP, EVA, PE and plain ones, as open_clip's timm_model_name says. */
#include "model/shapes.h"
#include "model/timm.h"

#include <math.h>
#include <string.h>

/* --- checks --- */

int clip_timm_check(const struct clip_tower_arch *tower, struct clip_error *error)
{
    int head = tower->heads > 0 ? tower->width / tower->heads : 0;
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("patch size", tower->patch, tower->image_size, error) != 0 ||
        clip_check_bounds("vision width", tower->width, CLIP_MAX_WIDTH, error) != 0 ||
        clip_check_bounds("vision layers", tower->layers, CLIP_MAX_LAYERS, error) != 0 ||
        clip_check_bounds("vision mlp", tower->mlp, CLIP_MAX_MLP, error) != 0 ||
        clip_check_heads("vision width", tower->width, tower->heads, error) != 0)
        return -1;
    if (tower->vit.stem == CLIP_STEM_LINEAR &&
        clip_check_grid("image size", tower->image_size, "patch size", tower->patch, error) != 0)
        return -1;
    if (tower->block.rotary.reference && head % 4)
        return clip_fail(error, "heads of %d cannot have rotary positions, which take four at a time", head);
    return clip_check_pool(tower, error);
}

void clip_timm_positions(const struct clip_tower_arch *tower, struct clip_positions *table)
{
    clip_vit_positions(tower, table);
    table->forced = 1;
}

/* --- tensors --- */

/* Linear layers and positions: truncated at 2, which is 100 deviations. */
#define DRAWN clip_initial_normal(0.02)

/* How a tensor beside the blocks is drawn. */
static struct clip_initial initial_of(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor,
                                      const size_t shape[4])
{
    size_t patch = (size_t)tower->patch;
    int linear = tower->vit.stem == CLIP_STEM_LINEAR;
    switch (tensor) {
    case CLIP_VIT_CLASS:
    case CLIP_VIT_REGISTERS:
        return clip_timm_name_of(tower)->family->class == CLIP_TIMM_EVA ? DRAWN : clip_initial_normal(1e-6);
    case CLIP_VIT_POSITIONS:
        return DRAWN;
    case CLIP_VIT_CONV:
        return linear ? DRAWN : clip_initial_fan_in(3 * patch * patch);
    case CLIP_VIT_CONV_BIAS:
        return linear ? clip_initial_zeros : clip_initial_fan_in(3 * patch * patch);
    case CLIP_POOL_LATENT:
        return (struct clip_initial){CLIP_DRAW_TRUNCATED, 1 / sqrt((double)tower->width)};
    default:
        if (shape[1])
            return DRAWN;
        return strstr(clip_vit_name(tower, tensor), "bias") ? clip_initial_zeros : clip_initial_ones;
    }
}

void clip_timm_list(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    const struct clip_timm_family *family = clip_timm_name_of(tower)->family;
    struct clip_initial of_width = family->drawn ? clip_initial_fan_in((size_t)tower->width) : DRAWN;
    struct clip_initial of_mlp = family->drawn ? clip_initial_fan_in((size_t)tower->mlp) : DRAWN;
    struct clip_block_draws draws = {of_width, of_width, of_width, of_mlp,
                                     family->deepening ? CLIP_DRAWS_DEEPENING
                                     : family->drawn   ? CLIP_DRAWS_BIASES | CLIP_DRAWS_ALL_BIASES
                                                       : 0};
    clip_list_vit(listing, tower, initial_of, CLIP_VIT_CLASS, CLIP_VIT_CONV);
    if (tower->vit.stem == CLIP_STEM_CONV)
        clip_list_conv_stem(listing, tower);
    if (tower->vit.stem == CLIP_STEM_MBCONV)
        clip_list_mbconv_stem(listing, tower);
    clip_list_vit(listing, tower, initial_of, CLIP_VIT_CONV, CLIP_VIT_POST_WEIGHT);
    clip_list_blocks(listing, tower, &draws);
    clip_list_vit(listing, tower, initial_of, CLIP_VIT_POST_WEIGHT, CLIP_VIT_TENSORS);
    clip_list_projection(listing, tower, clip_vit_width(tower), embed);
}

/* --- open_clip: timm_model_name and timm_model_kwargs --- */

int clip_timm_has_stem(struct json_object *object, enum clip_vit_stem stem)
{
    const struct clip_timm_name *name = clip_timm_of_open_clip(object);
    return name && name->family->stem == stem;
}

static int is_open_clip(struct json_object *object)
{
    const struct clip_timm_name *name = clip_timm_of_open_clip(object);
    return name && name->family->class != CLIP_TIMM_HYBRID;
}

#define VITS (CLIP_TIMM_VIT | CLIP_TIMM_HYBRID)
#define ALL (VITS | CLIP_TIMM_EVA | CLIP_TIMM_NAFLEX | CLIP_TIMM_RELPOS)

/* The options of timm_model_kwargs, and the classes that have them. */
static const struct {
    unsigned classes;
    struct clip_json_option option;
} kwargs[] = {
    {ALL & ~CLIP_TIMM_NAFLEX, {"img_size", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_NAFLEX, {"img_size", CLIP_JSON_IGNORED, NULL}},
    {ALL & ~CLIP_TIMM_HYBRID, {"patch_size", CLIP_JSON_USED, NULL}},
    {ALL, {"embed_dim", CLIP_JSON_USED, NULL}},
    {ALL, {"depth", CLIP_JSON_USED, NULL}},
    {ALL, {"num_heads", CLIP_JSON_USED, NULL}},
    {ALL, {"mlp_ratio", CLIP_JSON_USED, NULL}},
    {ALL, {"init_values", CLIP_JSON_USED, NULL}},
    {VITS, {"pos_embed", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_RELPOS, {"rel_pos_dim", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_NAFLEX, {"pos_embed_grid_size", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_NAFLEX, {"reg_tokens", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_NAFLEX, {"swiglu_mlp", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_NAFLEX, {"attn_pool_num_heads", CLIP_JSON_USED, NULL}},
    {CLIP_TIMM_NAFLEX, {"attn_pool_mlp_ratio", CLIP_JSON_USED, NULL}},
    {ALL, {"drop_rate", CLIP_JSON_IGNORED, NULL}},
    {ALL, {"drop_path_rate", CLIP_JSON_IGNORED, NULL}},
    {ALL, {"proj_drop_rate", CLIP_JSON_IGNORED, NULL}},
    {ALL, {"attn_drop_rate", CLIP_JSON_IGNORED, NULL}},
    {ALL, {"pos_drop_rate", CLIP_JSON_IGNORED, NULL}},
    {ALL, {"patch_drop_rate", CLIP_JSON_IGNORED, NULL}},
};

static int check_kwargs(struct json_object *more, const struct clip_timm_family *family,
                        struct clip_error *error)
{
    struct clip_json_option options[CLIP_COUNT_OF(kwargs)];
    size_t n = 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(kwargs); i++)
        if (kwargs[i].classes & family->class)
            options[n++] = kwargs[i].option;
    return clip_json_options(more, "timm_model_kwargs", options, n, error);
}

/* Layer scale: a first value, or null. */
static int read_layer_scale(struct json_object *more, const struct clip_timm_name *named,
                            struct clip_tower_arch *tower, struct clip_error *error)
{
    const char *where = "timm_model_kwargs";
    double scale = 0;
    if (!json_object_object_get_ex(more, "init_values", NULL))
        return 0;
    tower->block.flags &= ~(unsigned)CLIP_BLOCK_LAYER_SCALE;
    tower->block.layer_scale = 0;
    if (!clip_json_get(more, "init_values"))
        return 0;
    if (clip_json_real(more, where, "init_values", -1e6, 1e6, &scale, error) != 0)
        return -1;
    if (!named->family->names->tensors[CLIP_LAYER_SCALE_1])
        return clip_fail(error, "%s.init_values: the blocks of %s have no layer scale", where, named->name);
    tower->block.flags |= CLIP_BLOCK_LAYER_SCALE;
    tower->block.layer_scale = (float)scale;
    return 0;
}

/* Whether there are positions: "learn", or "none" or "". */
static int read_positions(struct json_object *more, struct clip_tower_arch *tower, struct clip_error *error)
{
    const char *positions = tower->vit.flags & CLIP_VIT_NO_POSITIONS ? "none" : "learn";
    if (clip_json_string(more, "timm_model_kwargs", "pos_embed", &positions, error) != 0)
        return -1;
    tower->vit.flags &= ~(unsigned)CLIP_VIT_NO_POSITIONS;
    if (!*positions || strcmp(positions, "none") == 0)
        tower->vit.flags |= CLIP_VIT_NO_POSITIONS;
    else if (strcmp(positions, "learn") != 0)
        return clip_fail(error, "timm_model_kwargs.pos_embed: \"%.40s\" is not supported", positions);
    return 0;
}

/* Rows and columns of the grid that positions are learned for. */
static int read_grid(struct json_object *more, struct clip_tower_arch *tower, struct clip_error *error)
{
    struct json_object *grid = clip_json_get(more, "pos_embed_grid_size");
    int *sides[] = {&tower->vit.grid_height, &tower->vit.grid_width};
    for (size_t i = 0; grid && i < 2; i++) {
        struct json_object *side =
            json_object_is_type(grid, json_type_array) ? json_object_array_get_idx(grid, i) : NULL;
        int64_t n = json_object_is_type(side, json_type_int) ? json_object_get_int64(side) : 0;
        if (n < 1 || n > CLIP_MAX_GRID || json_object_array_length(grid) != 2)
            return clip_fail(error, "timm_model_kwargs.pos_embed_grid_size is not [rows, columns] of 1 to %d",
                             CLIP_MAX_GRID);
        *sides[i] = (int)n;
    }
    return 0;
}

/* What NaFlexVit has beside the others. */
static int read_naflex(struct json_object *more, struct clip_tower_arch *tower, struct clip_error *error)
{
    const char *where = "timm_model_kwargs";
    double ratio = tower->width > 0 ? (double)tower->vit.pool_mlp / tower->width : 0;
    if (read_grid(more, tower, error) != 0 ||
        clip_json_int(more, where, "reg_tokens", 0, CLIP_MAX_REGISTERS, &tower->vit.registers, error) != 0 ||
        clip_json_int(more, where, "attn_pool_num_heads", 1, CLIP_MAX_WIDTH, &tower->vit.pool_heads, error) !=
            0 ||
        clip_json_real(more, where, "attn_pool_mlp_ratio", 0, 1024, &ratio, error) != 0)
        return -1;
    if (clip_json_get(more, "attn_pool_mlp_ratio"))
        tower->vit.pool_mlp = (int)(tower->width * ratio);
    return 0;
}

/* The sizes that kwargs say. */
static int read_kwargs(struct json_object *more, const struct clip_timm_name *named,
                       struct clip_tower_arch *tower, double *ratio, struct clip_error *error)
{
    const char *where = "timm_model_kwargs";
    if (check_kwargs(more, named->family, error) != 0 ||
        clip_json_int(more, where, "img_size", 1, CLIP_MAX_IMAGE, &tower->image_size, error) != 0 ||
        clip_json_int(more, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0 ||
        clip_json_int(more, where, "embed_dim", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(more, where, "depth", 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0 ||
        clip_json_int(more, where, "num_heads", 1, CLIP_MAX_WIDTH, &tower->heads, error) != 0 ||
        clip_json_int(more, where, "rel_pos_dim", 1, CLIP_MAX_WIDTH, &tower->block.relative, error) != 0 ||
        clip_json_real(more, where, "mlp_ratio", 0, 1024, ratio, error) != 0)
        return -1;
    if (named->family->class == CLIP_TIMM_HYBRID && tower->width != named->width)
        return clip_fail(error, "%s.embed_dim is %d, but the convolutions of %s have %d channels", where,
                         tower->width, named->name, named->width);
    return read_layer_scale(more, named, tower, error) == 0 ? read_positions(more, tower, error) : -1;
}

/* What a named model is, with other sizes where kwargs say so. */
static int read_sizes(struct json_object *more, const struct clip_timm_name *named,
                      struct clip_tower_arch *tower, struct clip_error *error)
{
    double ratio = named->mlp;
    if (more && read_kwargs(more, named, tower, &ratio, error) != 0)
        return -1;
    tower->mlp = (int)(tower->width * ratio);
    int fixed = named->family->pool_heads;
    tower->vit.pool_heads = fixed ? fixed : tower->heads;
    tower->vit.pool_mlp = fixed ? 4 * tower->width : tower->mlp;
    tower->vit.pool_queries = 1;
    tower->vit.pool_width = tower->width;
    return more && named->family->class == CLIP_TIMM_NAFLEX ? read_naflex(more, tower, error) : 0;
}

/* What the name says. */
static void set_named(struct clip_tower_arch *tower, const struct clip_timm_name *named)
{
    const struct clip_timm_family *family = named->family;
    tower->image_size = named->image;
    tower->patch = named->patch;
    tower->width = named->width;
    tower->layers = named->layers;
    tower->heads = named->heads;
    tower->activation = named->activation;
    tower->block = (struct clip_block_arch){.names = family->names,
                                            .flags = family->block,
                                            .epsilon = family->epsilon,
                                            .layer_scale = family->layer_scale,
                                            .relative = family->relative,
                                            .rotary = named->rotary};
    tower->pooling = family->pooling;
    tower->vit = (struct clip_vit_arch){.names = family->vit_names,
                                        .flags = family->vit,
                                        .stem = family->stem,
                                        .registers = family->registers,
                                        .grid_height = family->grid,
                                        .grid_width = family->grid};
}

static const char *pool_name(const struct clip_tower_arch *tower)
{
    return clip_pooling_of(tower)->names[CLIP_POOLS_TIMM];
}

/* timm_pool is the trunk's own; "" leaves it so where open_clip projects. */
static int check_timm_pool(struct json_object *object, const char *where, const struct clip_tower_arch *tower,
                           struct clip_error *error)
{
    const char *pool = json_object_object_get_ex(object, "timm_pool", NULL) ? "" : "avg";
    if (clip_json_string(object, where, "timm_pool", &pool, error) != 0)
        return -1;
    if (strcmp(pool, pool_name(tower)) == 0 ||
        (!*pool && tower->head != &clip_head_timm_classifier && tower->head != &clip_head_none))
        return 0;
    return clip_fail(error, "%s.timm_pool: \"%.40s\" is not supported (only \"%s\")", where, pool,
                     pool_name(tower));
}

/* The row of the name whose blocks have a gate, where swiglu_mlp says so. */
static int find_gated(struct json_object *more, const struct clip_timm_name **named, struct clip_error *error)
{
    int gated = 0;
    const struct clip_timm_name *plain = *named;
    if (!more || plain->family->class != CLIP_TIMM_NAFLEX)
        return 0;
    if (clip_json_flag(more, "timm_model_kwargs", "swiglu_mlp", &gated, error) != 0)
        return -1;
    *named = clip_timm_find(plain->name, gated);
    return *named
               ? 0
               : clip_fail(error, "timm_model_kwargs.swiglu_mlp: blocks with a gate are not supported of %s",
                           plain->name);
}

/* The preprocessing's size must be the tower's, unless the tower takes any. */
static int check_image_size(const char *where, int image, const struct clip_timm_name *named,
                            struct clip_tower_arch *tower, struct clip_error *error)
{
    if (named->family->class == CLIP_TIMM_NAFLEX ||
        (named->family->class == CLIP_TIMM_HYBRID && tower->vit.flags & CLIP_VIT_NO_POSITIONS))
        tower->image_size = image;
    return image == tower->image_size
               ? 0
               : clip_fail(error, "%s.image_size is %d, but the pictures of %s are of %d", where, image,
                           named->name, tower->image_size);
}

int clip_timm_read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                             struct clip_error *error)
{
    const struct clip_timm_name *named = clip_timm_of_open_clip(object);
    struct json_object *more = NULL;
    int image;
    if (clip_check_timm_options(object, where, error) != 0 ||
        clip_json_object(object, where, "timm_model_kwargs", &more, error) != 0 ||
        find_gated(more, &named, error) != 0)
        return -1;
    set_named(tower, named);
    if (read_sizes(more, named, tower, error) != 0 ||
        clip_read_image_size(object, where, &image, error) != 0 ||
        clip_read_timm_head(object, where, &clip_head_timm_classifier, tower, error) != 0 ||
        check_image_size(where, image, named, tower, error) != 0)
        return -1;
    return check_timm_pool(object, where, tower, error);
}

/* What NaFlexVit has beside the others. */
static void put_naflex(struct clip_kwargs *kwargs, const struct clip_tower_arch *tower,
                       const struct clip_timm_family *family)
{
    const int sides[] = {tower->vit.grid_height, tower->vit.grid_width},
              known[] = {family->grid, family->grid};
    if (family->class != CLIP_TIMM_NAFLEX)
        return;
    clip_kwargs_list(kwargs, "pos_embed_grid_size", sides, 2, known, 2);
    clip_kwargs_int(kwargs, "reg_tokens", tower->vit.registers, family->registers);
    if (family->swiglu)
        clip_kwargs_put(kwargs, "swiglu_mlp", "true");
    clip_kwargs_int(kwargs, "attn_pool_num_heads", tower->vit.pool_heads, tower->heads);
    if (tower->vit.pool_mlp != tower->mlp) {
        struct clip_tower_arch pool = {.width = tower->width, .mlp = tower->vit.pool_mlp};
        clip_kwargs_put(kwargs, "attn_pool_mlp_ratio", "%.17g", clip_mlp_ratio(&pool));
    }
}

void clip_timm_put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const struct clip_timm_name *named = clip_timm_name_of(tower);
    unsigned vit = tower->vit.flags ^ named->family->vit, block = tower->block.flags ^ named->family->block;
    struct clip_kwargs kwargs = clip_kwargs_begin(file, named->name, pool_name(tower), tower);
    if (named->family->class != CLIP_TIMM_NAFLEX)
        clip_kwargs_int(&kwargs, "img_size", tower->image_size, named->image);
    clip_kwargs_int(&kwargs, "patch_size", tower->patch, named->patch);
    clip_kwargs_int(&kwargs, "embed_dim", tower->width, named->width);
    clip_kwargs_int(&kwargs, "depth", tower->layers, named->layers);
    clip_kwargs_int(&kwargs, "num_heads", tower->heads, named->heads);
    if (tower->mlp != (int)(tower->width * named->mlp))
        clip_kwargs_put(&kwargs, "mlp_ratio", "%.17g", clip_mlp_ratio(tower));
    clip_kwargs_int(&kwargs, "rel_pos_dim", tower->block.relative, named->family->relative);
    put_naflex(&kwargs, tower, named->family);
    if (vit & CLIP_VIT_NO_POSITIONS)
        clip_kwargs_put(&kwargs, "pos_embed", "\"%s\"",
                        tower->vit.flags & CLIP_VIT_NO_POSITIONS ? "none" : "learn");
    if (tower->block.flags & CLIP_BLOCK_LAYER_SCALE)
        clip_kwargs_put(&kwargs, "init_values", "%.9g", (double)tower->block.layer_scale);
    else if (block & CLIP_BLOCK_LAYER_SCALE)
        clip_kwargs_put(&kwargs, "init_values", "null");
    clip_kwargs_end(&kwargs, tower);
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
    tower->block =
        (struct clip_block_arch){.names = clip_timm_siglip.names, .epsilon = clip_timm_siglip.epsilon};
    tower->pooling = clip_timm_siglip.pooling;
    tower->vit = (struct clip_vit_arch){
        .names = clip_timm_siglip.vit_names, .flags = clip_timm_siglip.vit, .pool_queries = 1};
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
    if (vit->names != clip_timm_siglip.vit_names || tower->block.names != clip_timm_siglip.names ||
        tower->block.flags != clip_timm_siglip.block || vit->flags != clip_timm_siglip.vit ||
        tower->pooling != clip_timm_siglip.pooling || tower->block.rotary.reference ||
        vit->pool_heads != tower->heads || vit->pool_mlp != tower->mlp ||
        clip_head_of(tower) != &clip_head_none)
        return clip_fail(error, "Hugging Face's form of SigLIP has only image towers like SigLIP's own");
    return 0;
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {{"visual.trunk.patch_embed.proj.weight", 0, 0, "", 0},
                                             {"trunk.patch_embed.proj.weight", 0, 0, "visual.", 0},
                                             {"visual.trunk.embeds.proj.weight", 0, 0, "", 0},
                                             {"trunk.embeds.proj.weight", 0, 0, "visual.", 0},
                                             {0}};

/* --- descriptions --- */

void clip_timm_describe(FILE *out, const struct clip_tower_arch *tower)
{
    fprintf(out, "image %d, %s, patch %d, width %d, %d layers, %d heads, mlp %d, %s, projection %s\n",
            tower->image_size, clip_timm_name_of(tower)->name, tower->patch, tower->width, tower->layers,
            tower->heads, tower->mlp, clip_activation_name(tower->activation), clip_head_of(tower)->title);
}

void clip_timm_describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_text(object, "kind", tower->kind->name);
    clip_add_text(object, "timm_model_name", clip_timm_name_of(tower)->name);
    clip_add_int(object, "image_size", (uint64_t)tower->image_size);
    clip_add_sizes(object, tower);
    clip_add_text(object, "projection", clip_head_of(tower)->title);
}

const struct clip_kind clip_kind_timm = {
    .name = "timm",
    .title = "timm vision transformer",
    CLIP_TIMM_ROW,
    .is_open_clip = is_open_clip,
    .hf = {[CLIP_HF_SIGLIP] = {.key = "vision_config",
                               .read = read_siglip,
                               .put = put_siglip,
                               .refuse = refuse_siglip,
                               .names = siglip_names}},
    .anchors = anchors,
    .first_tensors = {"visual.trunk.patch_embed.proj.weight", "visual.trunk.embeds.proj.weight"},
};
