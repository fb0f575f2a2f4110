/* The vision transformer. */
#include "model/kind-parts.h"

#include "model/shapes.h"

#include <math.h>
#include <string.h>

int clip_check_pool(const struct clip_tower_arch *tower, struct clip_error *error)
{
    int least = clip_pooling_of(tower)->queries;
    if (!least)
        return 0;
    if (tower->vit.pool_queries < least)
        return clip_fail(error, "the mean of all queries but the first needs two of them");
    return clip_check_heads("width of the attention pool", (int)clip_vit_width(tower), tower->vit.pool_heads,
                            error);
}

int clip_check_grid(const char *what, int side, const char *unit, int step, struct clip_error *error)
{
    if (step > 0 && side % step == 0)
        return 0;
    if (step < 1 || side < step)
        return clip_fail(error, "%s %d is not a multiple of the %s %d", what, side, unit, step);
    return clip_fail(error, "%s %d is not a multiple of the %s %d, as %d and %d are", what, side, unit, step,
                     side / step * step, (side / step + 1) * step);
}

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    int image_width = clip_image_width(tower);
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("image width", image_width, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("vision width", tower->width, CLIP_MAX_WIDTH, error) != 0 ||
        clip_check_bounds("vision layers", tower->layers, CLIP_MAX_LAYERS, error) != 0 ||
        clip_check_bounds("vision mlp", tower->mlp, CLIP_MAX_MLP, error) != 0)
        return -1;
    if (clip_check_grid("image size", tower->image_size, "patch size", tower->patch, error) != 0 ||
        clip_check_grid("image width", image_width, "patch size", tower->patch, error) != 0)
        return -1;
    if (tower->image_width && tower->vit.flags & CLIP_VIT_FIXED_POSITIONS)
        return clip_fail(error, "positions of sines and cosines need square images, not %d x %d",
                         tower->image_size, image_width);
    if (clip_check_heads("vision width", tower->width, tower->heads, error) != 0)
        return -1;
    return clip_check_pool(tower, error);
}

void clip_vit_positions(const struct clip_tower_arch *tower, struct clip_positions *table)
{
    *table = (struct clip_positions){
        .name = clip_vit_name(tower, CLIP_VIT_POSITIONS),
        .before = clip_vit_prefix(tower) - clip_vit_unplaced(tower),
        .grid = {clip_vit_rows(tower), clip_vit_columns(tower)},
    };
}

/* --- tensors --- */

/* How a tensor outside the blocks is drawn. */
static struct clip_initial vit_initial(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor,
                                       const size_t shape[4])
{
    size_t patch = (size_t)tower->patch;
    switch (tensor) {
    case CLIP_VIT_CLASS:
    case CLIP_VIT_POSITIONS:
        return clip_initial_normal(1 / sqrt((double)tower->width));
    case CLIP_VIT_CONV:
    case CLIP_VIT_CONV_BIAS:
        return clip_initial_fan_in(3 * patch * patch);
    case CLIP_POOL_LATENT:
        return clip_initial_normal(1);
    default:
        /* Xavier's bound for a pool's in-projections; norms and biases as everywhere. */
        if (shape[1])
            return tensor == CLIP_POOL_OUT_WEIGHT || tensor == CLIP_POOL_FC_WEIGHT ||
                           tensor == CLIP_POOL_PROJ_WEIGHT
                       ? clip_initial_fan_in(shape[1])
                       : clip_initial_uniform(sqrt(6.0 / (double)(shape[0] + shape[1])));
        return strstr(clip_vit_name(tower, tensor), "bias") ? clip_initial_zeros : clip_initial_ones;
    }
}

void clip_list_vit(struct clip_listing *listing, const struct clip_tower_arch *tower,
                   clip_vit_initial *initial_of, enum clip_vit_tensor first, enum clip_vit_tensor end)
{
    for (int tensor = (int)first; tensor < (int)end; tensor++) {
        size_t shape[4];
        if (clip_vit_shape(tower, tensor, shape))
            clip_list_tensor(listing, initial_of(tower, (enum clip_vit_tensor)tensor, shape), shape, "%s",
                             clip_vit_name(tower, tensor));
    }
}

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    size_t width = (size_t)tower->width, mlp = (size_t)tower->mlp;
    clip_list_vit(listing, tower, vit_initial, CLIP_VIT_CLASS, CLIP_VIT_CONV);
    clip_list_projection(listing, tower, clip_vit_width(tower), embed);
    clip_list_vit(listing, tower, vit_initial, CLIP_VIT_CONV, CLIP_VIT_POST_WEIGHT);
    /* Xavier's bound for in_proj [3 width, width]; PyTorch's defaults for the rest. */
    struct clip_block_draws draws = {clip_initial_uniform(sqrt(6.0 / (4.0 * (double)width))),
                                     clip_initial_fan_in(width), clip_initial_fan_in(width),
                                     clip_initial_fan_in(mlp), CLIP_DRAWS_BIASES};
    clip_list_blocks(listing, tower, &draws);
    clip_list_vit(listing, tower, vit_initial, CLIP_VIT_POST_WEIGHT, CLIP_VIT_TENSORS);
}

static const struct clip_name_pair hf_names[] = {
    {"vision_model.embeddings.class_embedding", "visual.class_embedding", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.embeddings.patch_embedding.", "visual.conv1.", CLIP_NAME_WHOLE, 0, 0},
    {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding", CLIP_NAME_WHOLE, 0,
     0},
    {"vision_model.pre_layrnorm.", "visual.ln_pre.", CLIP_NAME_WHOLE, 0, 0}, /* their spelling */
    {"vision_model.post_layernorm.", "visual.ln_post.", CLIP_NAME_WHOLE, 0, 0},
    {"visual_projection.weight", "visual.proj", CLIP_NAME_WHOLE, 1, 0},
    CLIP_BLOCK_NAMES("vision_model.encoder.layers.#.", "visual.transformer.resblocks.#."),
    {0}};

/* --- open_clip --- */

/* attentional_pool: false or true; other words are of open_clip's experiments. */
static int read_attentional(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                            struct clip_error *error)
{
    int on = 0;
    if (json_object_is_type(clip_json_get(object, "attentional_pool"), json_type_string) ||
        clip_json_flag(object, where, "attentional_pool", &on, error) != 0)
        return clip_fail(error, "%s.attentional_pool: only true and false are supported", where);
    if (!on)
        return 0;
    clip_pooling_set(tower, CLIP_POOLS_VISION, clip_pooling_of(tower)->names[CLIP_POOLS_VISION], 1);
    tower->vit.flags &= ~(unsigned)CLIP_VIT_NORM_AFTER_POOL;
    tower->vit.pool_queries = 256;
    tower->vit.pool_heads = 8;
    if (clip_json_int(object, where, "attn_pooler_queries", 1, CLIP_MAX_CONTEXT, &tower->vit.pool_queries,
                      error) != 0)
        return -1;
    return clip_json_int(object, where, "attn_pooler_heads", 1, CLIP_MAX_WIDTH, &tower->vit.pool_heads,
                         error);
}

/* Which tokens' features are the picture's. */
static int read_pooling(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                        struct clip_error *error)
{
    const char *pool = "tok", *positions = "learnable";
    int no_pre = 0, after = 0;
    if (clip_json_string(object, where, "pool_type", &pool, error) != 0 ||
        clip_json_string(object, where, "pos_embed_type", &positions, error) != 0 ||
        clip_json_flag(object, where, "no_ln_pre", &no_pre, error) != 0 ||
        clip_json_flag(object, where, "final_ln_after_pool", &after, error) != 0)
        return -1;
    if (clip_pooling_set(tower, CLIP_POOLS_VISION, pool, 0) != 0)
        return clip_fail(error, "%s.pool_type: \"%.40s\" is not supported", where, pool);
    if (strcmp(positions, "learnable") != 0 && strcmp(positions, "sin_cos_2d") != 0)
        return clip_fail(error, "%s.pos_embed_type: \"%.40s\" is not supported", where, positions);
    tower->vit.flags |= no_pre ? CLIP_VIT_NO_PRE_NORM : 0;
    tower->vit.flags |= strcmp(positions, "learnable") != 0 ? CLIP_VIT_FIXED_POSITIONS : 0;
    /* Of one token a norm before or after is the same. */
    tower->vit.flags |= after && clip_pooling_of(tower)->all ? CLIP_VIT_NORM_AFTER_POOL : 0;
    return read_attentional(object, where, tower, error);
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    int head_width = 64;
    tower->width = 768;
    tower->layers = 12;
    tower->patch = 16;
    if (clip_check_vision_options(object, where, error) != 0 ||
        clip_json_int(object, where, "layers", 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0 ||
        clip_read_image_sides(object, where, &tower->image_size, &tower->image_width, error) != 0 ||
        clip_json_int(object, where, "width", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(object, where, "head_width", 1, CLIP_MAX_WIDTH * 32, &head_width, error) != 0 ||
        clip_json_int(object, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0)
        return -1;
    tower->heads = tower->width / head_width;
    if (clip_read_mlp(object, where, tower, error) != 0 || clip_read_block(object, where, tower, error) != 0)
        return -1;
    return read_pooling(object, where, tower, error);
}

static void put_pooling(FILE *file, const struct clip_tower_arch *tower)
{
    const struct clip_vit_arch *vit = &tower->vit;
    const struct clip_pooling_type *pooling = clip_pooling_of(tower);
    if (vit->flags & CLIP_VIT_NO_PRE_NORM)
        fputs("      \"no_ln_pre\": true,\n", file);
    if (vit->flags & CLIP_VIT_FIXED_POSITIONS)
        fputs("      \"pos_embed_type\": \"sin_cos_2d\",\n", file);
    if (vit->flags & CLIP_VIT_NORM_AFTER_POOL)
        fputs("      \"final_ln_after_pool\": true,\n", file);
    if (strcmp(pooling->names[CLIP_POOLS_VISION], "tok") != 0)
        fprintf(file, "      \"pool_type\": \"%s\",\n", pooling->names[CLIP_POOLS_VISION]);
    if (pooling->coca)
        fprintf(file,
                "      \"attentional_pool\": true,\n      \"attn_pooler_queries\": %d,\n"
                "      \"attn_pooler_heads\": %d,\n",
                vit->pool_queries, vit->pool_heads);
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    if (tower->image_width)
        fprintf(file, "      \"image_size\": [%d, %d],\n", tower->image_size, tower->image_width);
    else
        fprintf(file, "      \"image_size\": %d,\n", tower->image_size);
    fprintf(file, "      \"layers\": %d,\n      \"width\": %d,\n", tower->layers, tower->width);
    fprintf(file, "      \"head_width\": %d,\n", tower->width / tower->heads);
    fprintf(file, "      \"mlp_ratio\": %.17g,\n", clip_mlp_ratio(tower));
    clip_put_block(file, tower);
    put_pooling(file, tower);
    fprintf(file, "      \"patch_size\": %d\n", tower->patch);
}

/* --- Hugging Face --- */

static int read_hf(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                   struct clip_error *error)
{
    int channels = 3;
    tower->width = 768;
    tower->mlp = 3072;
    tower->layers = tower->heads = 12;
    tower->image_size = 224;
    tower->patch = 32;
    tower->activation = CLIP_QUICK_GELU;
    if (clip_read_hf_tower(object, where, tower, error) != 0 ||
        clip_json_int(object, where, "image_size", 1, CLIP_MAX_IMAGE, &tower->image_size, error) != 0 ||
        clip_json_int(object, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0)
        return -1;
    return clip_json_int(object, where, "num_channels", 3, 3, &channels, error);
}

static void put_hf(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed)
{
    clip_put_hf_tower(file, in, tower, embed);
    fprintf(file, "%s\"image_size\": %d,\n%s\"patch_size\": %d,\n%s\"num_channels\": 3\n", in,
            tower->image_size, in, tower->patch, in);
}

static int refuse_hf(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (tower->vit.flags & ~(unsigned)CLIP_VIT_FIXED_POSITIONS ||
        !(clip_pooling_of(tower)->hf & 1 << CLIP_HF_CLIP))
        return clip_fail(
            error, "Hugging Face's form of CLIP has only image towers with ln_pre whose features are the "
                   "class token's");
    if (tower->image_width)
        return clip_fail(error, "Hugging Face's form has no images of %d x %d, only squares",
                         tower->image_size, tower->image_width);
    return clip_refuse_hf_blocks(tower, error);
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {
    {"vision_model.embeddings.patch_embedding.weight", 0, 1 + CLIP_HF_CLIP, "", 0},
    {"embeddings.patch_embedding.weight", 0, 1 + CLIP_HF_CLIP, "vision_model.", 0},
    {"visual.conv1.weight", 0, 0, "", 0},
    {"visual.class_embedding", 1, 0, "", 0},
    {"embeddings.class_embedding", 1, 0, "", 0},
    {"class_embedding", 0, 0, "visual.", 0},
    {0}};

static int read_shapes(const struct clip_weights *weights, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    int side;
    if (clip_shape_dimension(weights, "visual.conv1.weight", 4, 0, CLIP_MAX_WIDTH, &tower->width, error) !=
            0 ||
        clip_shape_dimension(weights, "visual.conv1.weight", 4, 3, CLIP_MAX_IMAGE, &tower->patch, error) !=
            0 ||
        clip_grid_side(weights, "visual.positional_embedding", &side, error) != 0 ||
        clip_shape_dimension(weights, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2, 0, CLIP_MAX_MLP,
                             &tower->mlp, error) != 0)
        return -1;
    tower->layers = clip_count_blocks(weights, "visual.transformer.resblocks.", ".attn.in_proj_weight");
    tower->heads = tower->width / 64;
    tower->image_size = side > CLIP_MAX_IMAGE / tower->patch ? 0 : side * tower->patch;
    return 0;
}

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    char width[20] = "";
    if (tower->image_width)
        snprintf(width, sizeof width, " x %d", tower->image_width);
    fprintf(out, "image %d%s, transformer, patch %d, width %d, %d layers, %d heads, mlp %d, %s\n",
            tower->image_size, width, tower->patch, tower->width, tower->layers, tower->heads, tower->mlp,
            clip_activation_name(tower->activation));
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_image(object, tower);
    if (tower->image_width)
        clip_add_int(object, "image_width", (uint64_t)tower->image_width);
    clip_add_sizes(object, tower);
}

const struct clip_kind clip_kind_vit = {
    .name = "vit",
    .title = "vision transformer",
    .side = CLIP_SIDE_IMAGE,
    .known_widths = {768, 1024},
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .head = &clip_head_vit,
    .width = clip_vit_width,
    .check = check_arch,
    .list = list_tensors,
    .prefixes = clip_image_prefixes,
    .positions = clip_vit_positions,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .hf = {[CLIP_HF_CLIP] = {.class = "CLIPVisionModel",
                             .key = "vision_config",
                             .old_key = "vision_config_dict",
                             .read = read_hf,
                             .put = put_hf,
                             .refuse = refuse_hf,
                             .names = hf_names}},
    .anchors = anchors,
    .first_tensors = {"visual.conv1.weight"},
    .read_shapes = read_shapes,
    .describe = describe_tower,
    .describe_json = describe_json,
};
