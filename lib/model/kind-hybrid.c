/* timm's vision transformers that begin with convolutions: MobileCLIP-B's vit_base_mci_224. Their blocks are
 * those of the others (kind-timm.c). */
#include "model/shapes.h"
#include "model/timm.h"

#include <math.h>

#define BACKBONE "visual.trunk.patch_embed.backbone."

/* --- stems --- */

/* A convolution, without its bias as PyTorch draws it. */
static void list_conv(struct clip_listing *listing, struct clip_initial initial, const size_t shape[4],
                      const char *name)
{
    clip_list_tensor(listing, initial, shape, BACKBONE "%s.weight", name);
}

/* Three convolutions whose kernels are their strides: 4, 2 and 2. */
static void list_conv_stem(struct clip_listing *listing, const struct clip_tower_arch *tower)
{
    size_t width = (size_t)tower->width, channels = clip_stem_width(tower);
    list_conv(listing, clip_initial_fan_in(3 * 4 * 4), CLIP_SHAPE(channels, 3, 4, 4), "0.conv");
    clip_list_batch_norm(listing, channels, clip_initial_ones, BACKBONE "0.bn");
    list_conv(listing, clip_initial_fan_in(channels * 4), CLIP_SHAPE(channels, channels, 2, 2), "1.conv");
    clip_list_batch_norm(listing, channels, clip_initial_ones, BACKBONE "1.bn");
    list_conv(listing, clip_initial_fan_in(channels * 4), CLIP_SHAPE(width, channels, 2, 2), "2.conv");
    clip_list_tensor(listing, clip_initial_fan_in(channels * 4), CLIP_SHAPE(width), BACKBONE "2.conv.bias");
}

/* A convolution of `groups` groups with bias, as ViTamin draws it: by the number of outputs of a group. */
static void list_drawn(struct clip_listing *listing, size_t groups, const size_t shape[4], const char *format,
                       const char *at)
{
    char name[64];
    size_t fan_out = shape[0] * shape[2] * shape[3] / groups;
    snprintf(name, sizeof name, format, at);
    list_conv(listing, clip_initial_normal(sqrt(2 / (double)fan_out)), shape, name);
    clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(shape[0]), BACKBONE "%s.bias", name);
}

/* An inverted bottleneck. */
static void list_mbconv(struct clip_listing *listing, size_t in, size_t out, const char *at)
{
    char norm[96];
    size_t hidden = 4 * out;
    if (in != out)
        list_drawn(listing, 1, CLIP_SHAPE(out, in, 1, 1), "%s.shortcut.expand", at);
    snprintf(norm, sizeof norm, BACKBONE "%s.pre_norm", at);
    clip_list_norm(listing, in, norm);
    list_drawn(listing, 1, CLIP_SHAPE(hidden, in, 1, 1), "%s.conv1_1x1", at);
    list_drawn(listing, hidden, CLIP_SHAPE(hidden, 1, 3, 3), "%s.conv2_kxk", at);
    list_drawn(listing, 1, CLIP_SHAPE(out, hidden, 1, 1), "%s.conv3_1x1", at);
}

static void list_mbconv_stem(struct clip_listing *listing, const struct clip_tower_arch *tower)
{
    size_t width = (size_t)tower->width, channels = clip_stem_width(tower), in = channels;
    list_drawn(listing, 1, CLIP_SHAPE(channels, 3, 3, 3), "%s", "stem.conv1");
    clip_list_norm(listing, channels, BACKBONE "stem.norm1");
    list_drawn(listing, 1, CLIP_SHAPE(channels, channels, 3, 3), "%s", "stem.conv2");
    for (int stage = 0; stage < 2; stage++)
        for (int i = 0; i < clip_stem_blocks[stage]; i++) {
            char at[32];
            size_t out = channels << stage;
            snprintf(at, sizeof at, "stages.%d.%d", stage, i);
            list_mbconv(listing, in, out, at);
            in = out;
        }
    list_conv(listing, clip_initial_fan_in(in * 9), CLIP_SHAPE(width, in, 3, 3), "pool.proj");
    clip_list_tensor(listing, clip_initial_fan_in(in * 9), CLIP_SHAPE(width), BACKBONE "pool.proj.bias");
    clip_list_norm(listing, in, BACKBONE "pool.norm");
}

void clip_list_stem(struct clip_listing *listing, const struct clip_tower_arch *tower)
{
    if (tower->vit.stem == CLIP_STEM_CONV)
        list_conv_stem(listing, tower);
    if (tower->vit.stem == CLIP_STEM_MBCONV)
        list_mbconv_stem(listing, tower);
}

/* --- the row --- */

static int is_open_clip(struct json_object *object)
{
    const struct clip_timm_name *name = clip_timm_of_open_clip(object);
    return name && name->family->class == CLIP_TIMM_HYBRID;
}

static const struct clip_anchor anchors[] = {
    {BACKBONE "0.conv.weight", 0, 0, "", 0},
    {"trunk.patch_embed.backbone.0.conv.weight", 0, 0, "visual.", 0},
    {BACKBONE "stem.conv1.weight", 0, 0, "", 0},
    {"trunk.patch_embed.backbone.stem.conv1.weight", 0, 0, "visual.", 0},
    {0}};

static int is_weights(const struct clip_weights *weights)
{
    return clip_weights_find(weights, BACKBONE "0.conv.weight") != NULL ||
           clip_weights_find(weights, BACKBONE "stem.conv1.weight") != NULL;
}

const struct clip_kind clip_kind_hybrid = {
    .name = "hybrid",
    .title = "timm hybrid vision transformer",
    .side = CLIP_SIDE_IMAGE,
    .untrained = 1,
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .own_activation = 1,
    .head = &clip_head_timm_linear,
    .width = clip_vit_width,
    .check = clip_timm_check,
    .list = clip_timm_list,
    .prefixes = clip_timm_prefixes,
    .positions = clip_timm_positions,
    .is_open_clip = is_open_clip,
    .read_open_clip = clip_timm_read_open_clip,
    .put_open_clip = clip_timm_put_open_clip,
    .anchors = anchors,
    .first_tensor = BACKBONE "0.conv.weight",
    .is_weights = is_weights,
    .read_shapes = clip_timm_read_shapes,
    .describe = clip_timm_describe,
    .describe_json = clip_timm_describe_json,
};
