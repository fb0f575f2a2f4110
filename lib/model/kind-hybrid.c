/* timm's vision transformers that begin with convolutions: MobileCLIP-B's vit_base_mci_224. Their blocks are
 * those of the others (kind-timm.c). */
#include "model/shapes.h"
#include "model/timm.h"

#define BACKBONE "visual.trunk.patch_embed.backbone."

/* --- stems --- */

/* A convolution, without its bias as PyTorch draws it. */
static void list_conv(struct clip_listing *listing, struct clip_initial initial, const size_t shape[4],
                      const char *name)
{
    clip_list_tensor(listing, initial, shape, BACKBONE "%s.weight", name);
}

/* Three convolutions whose kernels are their strides: 4, 2 and 2. */
void clip_list_conv_stem(struct clip_listing *listing, const struct clip_tower_arch *tower)
{
    size_t width = (size_t)tower->width, channels = clip_stem_width(tower);
    list_conv(listing, clip_initial_fan_in(3 * 4 * 4), CLIP_SHAPE(channels, 3, 4, 4), "0.conv");
    clip_list_batch_norm(listing, channels, clip_initial_ones, BACKBONE "0.bn");
    list_conv(listing, clip_initial_fan_in(channels * 4), CLIP_SHAPE(channels, channels, 2, 2), "1.conv");
    clip_list_batch_norm(listing, channels, clip_initial_ones, BACKBONE "1.bn");
    list_conv(listing, clip_initial_fan_in(channels * 4), CLIP_SHAPE(width, channels, 2, 2), "2.conv");
    clip_list_tensor(listing, clip_initial_fan_in(channels * 4), CLIP_SHAPE(width), BACKBONE "2.conv.bias");
}

/* --- the row --- */

static int is_open_clip(struct json_object *object)
{
    return clip_timm_has_stem(object, CLIP_STEM_CONV);
}

static const struct clip_anchor anchors[] = {{BACKBONE "0.conv.weight", 0, 0, "", 0},
                                             {"trunk.patch_embed.backbone.0.conv.weight", 0, 0, "visual.", 0},
                                             {0}};

const struct clip_kind clip_kind_hybrid = {
    .name = "hybrid",
    .title = "timm hybrid vision transformer",
    CLIP_TIMM_ROW,
    .is_open_clip = is_open_clip,
    .anchors = anchors,
    .first_tensors = {BACKBONE "0.conv.weight"},
};
