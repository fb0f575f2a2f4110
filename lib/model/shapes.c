#include "model/shapes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct clip_weight *clip_weights_find(const struct clip_weights *weights, const char *name)
{
    size_t low = 0, high = weights->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(weights->items[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < weights->count && strcmp(weights->items[low].name, name) == 0 ? &weights->items[low] : NULL;
}

/* Dimension `axis` of the tensor, which must have `ndim`, as an int in [1, limit]. */
static int dimension(const struct clip_weights *weights, const char *name, int ndim, int axis, int limit,
                     int *value, struct clip_error *error)
{
    const struct clip_weight *weight = clip_weights_find(weights, name);
    char text[120];
    if (!weight)
        return clip_fail(error, "not a CLIP model: there is no tensor %s", name);
    if (weight->ndim != ndim || weight->shape[axis] < 1 || weight->shape[axis] > (size_t)limit)
        return clip_fail(error, "tensor %s has the impossible shape %s", name,
                         clip_shape_describe(weight->ndim, weight->shape, text, sizeof text));
    *value = (int)weight->shape[axis];
    return 0;
}

/* How many of prefix0, prefix1 ... have a tensor `suffix`. */
static int count_blocks(const struct clip_weights *weights, const char *prefix, const char *suffix)
{
    int n = 0;
    char name[100];
    do
        snprintf(name, sizeof name, "%s%d%s", prefix, n, suffix);
    while (clip_weights_find(weights, name) && ++n <= CLIP_MAX_LAYERS);
    return n;
}

/* The side of the grid whose cells, and one place more, have a positional embedding. */
static int grid_side(const struct clip_weights *weights, const char *name, int *side,
                     struct clip_error *error)
{
    int places;
    if (dimension(weights, name, 2, 0, CLIP_MAX_IMAGE * CLIP_MAX_IMAGE + 1, &places, error) != 0)
        return -1;
    *side = (int)lround(sqrt(places - 1.0));
    if (*side * *side + 1 != places)
        return clip_fail(error, "tensor %s: %d positions are not a square number plus one", name, places);
    return 0;
}

static int read_transformer(struct clip_vision_arch *vision, const struct clip_weights *weights,
                            struct clip_error *error)
{
    int side;
    if (dimension(weights, "visual.conv1.weight", 4, 0, CLIP_MAX_WIDTH, &vision->width, error) != 0 ||
        dimension(weights, "visual.conv1.weight", 4, 3, CLIP_MAX_IMAGE, &vision->patch, error) != 0 ||
        grid_side(weights, "visual.positional_embedding", &side, error) != 0 ||
        dimension(weights, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2, 0, CLIP_MAX_MLP, &vision->mlp,
                  error) != 0)
        return -1;
    vision->kind = CLIP_VIT;
    vision->layers = count_blocks(weights, "visual.transformer.resblocks.", ".attn.in_proj_weight");
    vision->heads = vision->width / 64;
    vision->image_size = side > CLIP_MAX_IMAGE / vision->patch ? 0 : side * vision->patch;
    return 0;
}

static int read_resnet(struct clip_vision_arch *vision, const struct clip_weights *weights,
                       struct clip_error *error)
{
    int side;
    if (dimension(weights, "visual.layer1.0.conv1.weight", 4, 0, CLIP_MAX_WIDTH, &vision->width, error) !=
            0 ||
        grid_side(weights, "visual.attnpool.positional_embedding", &side, error) != 0)
        return -1;
    vision->kind = CLIP_RESNET;
    for (int i = 0; i < 4; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "visual.layer%d.", i + 1);
        vision->blocks[i] = count_blocks(weights, prefix, ".conv1.weight");
    }
    vision->heads = vision->width * 32 / 64;
    vision->image_size = side > CLIP_MAX_IMAGE / 32 ? 0 : side * 32;
    return 0;
}

static int read_text(struct clip_text_arch *text, const struct clip_weights *weights,
                     struct clip_error *error)
{
    if (dimension(weights, "positional_embedding", 2, 0, CLIP_MAX_CONTEXT, &text->context, error) != 0 ||
        dimension(weights, "token_embedding.weight", 2, 0, CLIP_MAX_VOCABULARY, &text->vocabulary, error) !=
            0 ||
        dimension(weights, "ln_final.weight", 1, 0, CLIP_MAX_WIDTH, &text->width, error) != 0 ||
        dimension(weights, "transformer.resblocks.0.mlp.c_fc.weight", 2, 0, CLIP_MAX_MLP, &text->mlp,
                  error) != 0)
        return -1;
    text->layers = count_blocks(weights, "transformer.resblocks.", ".attn.in_proj_weight");
    text->heads = text->width / 64;
    return 0;
}

/* The width of the shared space, from what projects into it. */
static int read_embed(struct clip_arch *arch, const struct clip_weights *weights, struct clip_error *error)
{
    if (clip_weights_find(weights, "text_projection") || (!arch->vision.absent && !arch->text.absent))
        return dimension(weights, "text_projection", 2, 1, CLIP_MAX_WIDTH, &arch->embed, error);
    if (clip_weights_find(weights, "visual.proj"))
        return dimension(weights, "visual.proj", 2, 1, CLIP_MAX_WIDTH, &arch->embed, error);
    if (!arch->vision.absent && arch->vision.kind == CLIP_RESNET)
        return dimension(weights, "visual.attnpool.c_proj.weight", 2, 0, CLIP_MAX_WIDTH, &arch->embed, error);
    return 0;
}

void clip_arch_fit(struct clip_arch *arch, const struct clip_weights *weights, int lone)
{
    int vision = clip_weights_find(weights, "visual.conv1.weight") != NULL;
    int text = clip_weights_find(weights, "token_embedding.weight") != NULL;
    if (lone && !vision && text)
        arch->vision.absent = 1;
    if (lone && !text && vision)
        arch->text.absent = 1;
    if (arch->vision.absent == arch->text.absent)
        return;
    arch->vision.unprojected =
        !arch->vision.absent && arch->vision.kind == CLIP_VIT && !clip_weights_find(weights, "visual.proj");
    arch->text.unprojected = !arch->text.absent && !clip_weights_find(weights, "text_projection");
    arch->unscaled = !clip_weights_find(weights, "logit_scale");
    if (arch->vision.absent ? arch->text.unprojected : arch->vision.unprojected)
        arch->embed = 0;
}

int clip_arch_from_shapes(struct clip_arch *arch, const struct clip_weights *weights,
                          struct clip_error *error)
{
    clip_arch_clear(arch);
    int transformer =
        clip_weights_find(weights, "visual.proj") || clip_weights_find(weights, "visual.class_embedding");
    clip_arch_fit(arch, weights, 1);
    if ((!arch->vision.absent &&
         (transformer ? read_transformer : read_resnet)(&arch->vision, weights, error) != 0) ||
        (!arch->text.absent && read_text(&arch->text, weights, error) != 0))
        return -1;
    clip_arch_fit(arch, weights, 1);
    if (read_embed(arch, weights, error) != 0)
        return -1;
    arch->vision.activation = arch->text.activation = CLIP_QUICK_GELU;
    arch->logit_bias = clip_weights_find(weights, "logit_bias") != NULL;
    if (clip_arch_check(arch, error) != 0)
        return clip_fail_prefix(error, "the shapes do not determine the architecture (see --arch)");
    return 0;
}

/* Widths of OpenAI's nine models, whose heads are of 64. */
static int is_one_of(int width, const int *widths, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (width == widths[i])
            return 1;
    return 0;
}

int clip_arch_heads_known(const struct clip_arch *arch, int text)
{
    static const int transformers[] = {768, 1024}, resnets[] = {64, 80, 96, 128},
                     texts[] = {512, 640, 768, 1024};
    if (text)
        return arch->text.absent || is_one_of(arch->text.width, texts, 4);
    return arch->vision.absent ||
           (arch->vision.kind == CLIP_RESNET ? is_one_of(arch->vision.width, resnets, 4)
                                             : is_one_of(arch->vision.width, transformers, 2));
}
