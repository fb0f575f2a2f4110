/* CLIP's ModifiedResNet. */
#include "model/kind-resnet.h"

#include "model/kind-parts.h"
#include "model/shapes.h"

#include <math.h>

static size_t feature_width(const struct clip_tower_arch *tower)
{
    /* The last stage has 8 planes of the stem's width in bottlenecks of 4. */
    return (size_t)tower->width * 8 * CLIP_RESNET_EXPANSION;
}

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("vision width", tower->width, CLIP_MAX_WIDTH, error) != 0)
        return -1;
    for (int i = 0; i < CLIP_RESNET_STAGES; i++)
        if (clip_check_bounds("vision layers", tower->blocks[i], CLIP_MAX_LAYERS, error) != 0)
            return -1;
    if (tower->width > CLIP_MAX_WIDTH / 32 || tower->width % 2)
        return clip_fail(error, "a ResNet's width of %d is odd or too large", tower->width);
    if (clip_check_grid("image size", tower->image_size, "stride", 32, error) != 0)
        return -1;
    return clip_check_heads("attention pool", tower->width * 32, tower->heads, error);
}

static int check_resize(const struct clip_tower_arch *tower, int image_size, struct clip_error *error)
{
    if (image_size == tower->image_size)
        return 0;
    return clip_fail(error, "image size %d: the ResNet's attention pool has positions for images of %d alone",
                     image_size, tower->image_size);
}

/* --- its convolutions --- */

size_t clip_resnet_bottlenecks(const struct clip_tower_arch *tower)
{
    size_t count = 0;
    for (int stage = 0; stage < CLIP_RESNET_STAGES; stage++)
        count += (size_t)tower->blocks[stage];
    return count;
}

size_t clip_resnet_convs(const struct clip_tower_arch *tower)
{
    return CLIP_RESNET_STEM + 3 * clip_resnet_bottlenecks(tower) + CLIP_RESNET_STAGES;
}

static void set_stem(const struct clip_tower_arch *tower, struct clip_resnet_conv *conv)
{
    size_t width = (size_t)tower->width, size = (size_t)tower->image_size;
    *conv = (struct clip_resnet_conv){.stage = -1, .number = conv->number, .side = 3, .from = size};
    conv->in = conv->number == 1 ? CLIP_RESNET_COLORS : width / 2;
    conv->out = conv->number == CLIP_RESNET_STEM ? width : width / 2;
    conv->to = size / 2;
    snprintf(conv->weight, sizeof conv->weight, "visual.conv%d", conv->number);
    snprintf(conv->norm, sizeof conv->norm, "visual.bn%d", conv->number);
}

/* Whose place is set: its shape and names. */
static void set_bottleneck(const struct clip_tower_arch *tower, struct clip_resnet_conv *conv)
{
    int first = conv->bottleneck == 0, number = conv->number, halves = conv->stage > 0 && first;
    size_t planes = (size_t)tower->width << conv->stage, out = CLIP_RESNET_EXPANSION * planes;
    size_t in = !first ? out : conv->stage ? out / 2 : planes;
    size_t side = (size_t)tower->image_size / 4 >> conv->stage, from = halves ? 2 * side : side;
    conv->in = number == 1 || number == 0 ? in : planes;
    conv->out = number == 1 || number == 2 ? planes : out;
    conv->side = number == 2 ? 3 : 1;
    conv->from = from;
    conv->halves = halves && (number == 3 || number == 0);
    conv->to = number == 1 || number == 2 ? from : side;
    if (number) {
        snprintf(conv->weight, sizeof conv->weight, "visual.layer%d.%d.conv%d", conv->stage + 1,
                 conv->bottleneck, number);
        snprintf(conv->norm, sizeof conv->norm, "visual.layer%d.%d.bn%d", conv->stage + 1, conv->bottleneck,
                 number);
        return;
    }
    snprintf(conv->weight, sizeof conv->weight, "visual.layer%d.%d.downsample.0", conv->stage + 1,
             conv->bottleneck);
    snprintf(conv->norm, sizeof conv->norm, "visual.layer%d.%d.downsample.1", conv->stage + 1,
             conv->bottleneck);
}

int clip_resnet_next(const struct clip_tower_arch *tower, struct clip_resnet_conv *conv)
{
    if (!conv->out || (conv->stage < 0 && conv->number < CLIP_RESNET_STEM)) {
        conv->number++;
        set_stem(tower, conv);
        return 1;
    }
    if (conv->stage < 0) {
        conv->stage = conv->bottleneck = 0;
        conv->number = 1;
    } else if (conv->number == 1 || conv->number == 2) {
        conv->number++;
    } else if (conv->number == 3 && conv->bottleneck == 0) {
        conv->number = 0;
    } else {
        conv->number = 1;
        if (++conv->bottleneck == tower->blocks[conv->stage]) {
            conv->bottleneck = 0;
            conv->stage++;
        }
    }
    if (conv->stage == CLIP_RESNET_STAGES)
        return 0;
    set_bottleneck(tower, conv);
    return 1;
}

/* --- tensors --- */

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    size_t pool = feature_width(tower), grid = (size_t)tower->image_size / 32;
    struct clip_resnet_conv conv = {0};
    while (clip_resnet_next(tower, &conv)) {
        clip_list_tensor(listing, clip_initial_fan_in(conv.in * conv.side * conv.side),
                         CLIP_SHAPE(conv.out, conv.in, conv.side, conv.side), "%s.weight", conv.weight);
        /* A bottleneck starts as the identity: its last norm multiplies by 0. */
        clip_list_batch_norm(listing, conv.out,
                             conv.stage >= 0 && conv.number == 3 ? clip_initial_zeros : clip_initial_ones,
                             conv.norm);
    }
    struct clip_initial scaled = clip_initial_normal(1 / sqrt((double)pool));
    clip_list_tensor(listing, scaled, CLIP_SHAPE(grid * grid + 1, pool),
                     "visual.attnpool.positional_embedding");
    for (const char *p = "kqv"; *p; p++) {
        clip_list_tensor(listing, scaled, CLIP_SHAPE(pool, pool), "visual.attnpool.%c_proj.weight", *p);
        clip_list_tensor(listing, clip_initial_fan_in(pool), CLIP_SHAPE(pool), "visual.attnpool.%c_proj.bias",
                         *p);
    }
    clip_list_projection(listing, tower, pool, embed);
}

/* --- open_clip --- */

/* Four numbers of layers. */
static int is_open_clip(struct json_object *object)
{
    return json_object_is_type(clip_json_get(object, "layers"), json_type_array);
}

static int read_stages(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    struct json_object *layers = clip_json_get(object, "layers");
    if (json_object_array_length(layers) != CLIP_RESNET_STAGES)
        return clip_fail(error, "%s.layers is not the four numbers of a ResNet", where);
    for (size_t i = 0; i < CLIP_RESNET_STAGES; i++) {
        int64_t n = json_object_get_int64(json_object_array_get_idx(layers, i));
        tower->blocks[i] = n < 1 || n > CLIP_MAX_LAYERS ? 0 : (int)n;
    }
    return 0;
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    int head_width = 64;
    tower->width = 768;
    if (clip_check_vision_options(object, where, error) != 0 ||
        read_stages(object, where, tower, error) != 0 ||
        clip_read_image_size(object, where, &tower->image_size, error) != 0 ||
        clip_json_int(object, where, "width", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(object, where, "head_width", 1, CLIP_MAX_WIDTH * 32, &head_width, error) != 0)
        return -1;
    tower->heads = tower->width * 32 / head_width;
    return 0;
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const int *n = tower->blocks;
    fprintf(file, "      \"image_size\": %d,\n", tower->image_size);
    fprintf(file, "      \"layers\": [%d, %d, %d, %d],\n", n[0], n[1], n[2], n[3]);
    fprintf(file, "      \"width\": %d,\n", tower->width);
    fprintf(file, "      \"head_width\": %d,\n", tower->width * 32 / tower->heads);
    fputs("      \"patch_size\": null\n", file);
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {{"visual.attnpool.positional_embedding", 1, 0, "", 0},
                                             {"attnpool.positional_embedding", 0, 0, "visual.", 0},
                                             {0}};

static int read_shapes(const struct clip_weights *weights, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    int side;
    if (clip_shape_dimension(weights, "visual.layer1.0.conv1.weight", 4, 0, CLIP_MAX_WIDTH, &tower->width,
                             error) != 0 ||
        clip_grid_side(weights, "visual.attnpool.positional_embedding", &side, error) != 0)
        return -1;
    for (int i = 0; i < CLIP_RESNET_STAGES; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "visual.layer%d.", i + 1);
        tower->blocks[i] = clip_count_blocks(weights, prefix, ".conv1.weight");
    }
    tower->heads = tower->width * 32 / 64;
    tower->image_size = side > CLIP_MAX_IMAGE / 32 ? 0 : side * 32;
    return 0;
}

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    const int *n = tower->blocks;
    fprintf(out, "image %d, ResNet of %d %d %d %d bottlenecks, width %d, attention pool of %d heads\n",
            tower->image_size, n[0], n[1], n[2], n[3], tower->width, tower->heads);
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_image(object, tower);
    clip_add_int(object, "width", (uint64_t)tower->width);
    clip_add_int(object, "heads", (uint64_t)tower->heads);
    clip_add_list(object, "layers", tower->blocks, CLIP_RESNET_STAGES);
}

const struct clip_kind clip_kind_resnet = {
    .name = "resnet",
    .title = "ResNet",
    .side = CLIP_SIDE_IMAGE,
    .known_widths = {64, 80, 96, 128},
    .beta2 = 0.999,
    .epsilon = 1e-8,
    .head = &clip_head_resnet,
    .width = feature_width,
    .check = check_arch,
    .list = list_tensors,
    .prefixes = clip_image_prefixes,
    .is_open_clip = is_open_clip,
    .check_resize = check_resize,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .anchors = anchors,
    .first_tensors = {"visual.layer1.0.conv1.weight", "visual.attnpool.positional_embedding"},
    .read_shapes = read_shapes,
    .describe = describe_tower,
    .describe_json = describe_json,
};
