/* ViTamin: two stages of inverted bottlenecks (MBConv), then blocks of timm's vision transformers
 * (kind-timm.c). */
#include "model/shapes.h"
#include "model/timm.h"

#include <math.h>
#include <stdio.h>

#define BACKBONE "visual.trunk.patch_embed.backbone."

/* --- the stem --- */

/* A convolution of `groups` groups with bias, as ViTamin draws it: by the number of outputs of a group. */
static void list_drawn(struct clip_listing *listing, size_t groups, const size_t shape[4], const char *format,
                       const char *at)
{
    char name[64];
    size_t fan_out = shape[0] * shape[2] * shape[3] / groups;
    snprintf(name, sizeof name, format, at);
    clip_list_tensor(listing, clip_initial_normal(sqrt(2 / (double)fan_out)), shape, BACKBONE "%s.weight",
                     name);
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

void clip_list_mbconv_stem(struct clip_listing *listing, const struct clip_tower_arch *tower)
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
    clip_list_tensor(listing, clip_initial_fan_in(in * 9), CLIP_SHAPE(width, in, 3, 3),
                     BACKBONE "pool.proj.weight");
    clip_list_tensor(listing, clip_initial_fan_in(in * 9), CLIP_SHAPE(width), BACKBONE "pool.proj.bias");
    clip_list_norm(listing, in, BACKBONE "pool.norm");
}

/* --- the row --- */

static int is_open_clip(struct json_object *object)
{
    return clip_timm_has_stem(object, CLIP_STEM_MBCONV);
}

static const struct clip_anchor anchors[] = {
    {BACKBONE "stem.conv1.weight", 0, 0, "", 0},
    {"trunk.patch_embed.backbone.stem.conv1.weight", 0, 0, "visual.", 0},
    {0}};

const struct clip_kind clip_kind_vitamin = {
    .name = "vitamin",
    .title = "ViTamin",
    .untrained = 1,
    CLIP_TIMM_ROW,
    .is_open_clip = is_open_clip,
    .anchors = anchors,
    .first_tensors = {BACKBONE "stem.conv1.weight"},
};
