#include "model/shapes.h"

#include "model/kind-parts.h"

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

/* The width of the shared space, from what projects into it. */
static int read_embed(struct clip_arch *arch, const struct clip_weights *weights, struct clip_error *error)
{
    for (int side = CLIP_SIDES; side-- > 0;) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        if (tower->absent || tower->unprojected)
            continue;
        const struct clip_head_layer *last = clip_head_last(clip_head_of(tower));
        if (last)
            return clip_shape_dimension(weights, last->weight, 2, !last->rows, CLIP_MAX_WIDTH, &arch->embed,
                                        error);
        arch->embed = (int)clip_feature_width(arch, side);
        return 0;
    }
    return 0;
}

/* Which towers there are: those of which a tensor is there, unless there is none at all. */
static void find_towers(struct clip_arch *arch, const struct clip_weights *weights)
{
    int there[CLIP_SIDES] = {0};
    for (const struct clip_kind *const *kind = clip_kinds; *kind; kind++)
        there[(*kind)->side] |= clip_kind_has_weights(*kind, weights);
    for (int side = 0; side < CLIP_SIDES; side++)
        if (!there[side] && there[!side])
            arch->towers[side].absent = 1;
}

void clip_arch_fit(struct clip_arch *arch, const struct clip_weights *weights, int lone)
{
    if (lone)
        find_towers(arch, weights);
    for (int side = 0; side < CLIP_SIDES; side++) {
        struct clip_tower_arch *tower = &arch->towers[side];
        if (!tower->absent && tower->kind->fit)
            tower->kind->fit(tower, weights);
    }
    if (arch->vision.absent == arch->text.absent)
        return;
    struct clip_tower_arch *tower = &arch->towers[clip_arch_side(arch)];
    const struct clip_head *head = clip_head_of(tower);
    tower->unprojected = head->optional && !clip_weights_find(weights, clip_head_last(head)->weight);
    arch->unscaled = !clip_weights_find(weights, "logit_scale");
    if (tower->unprojected)
        arch->embed = 0;
}

void clip_arch_from_names(struct clip_arch *arch, const struct clip_weights *weights)
{
    clip_arch_clear(arch);
    find_towers(arch, weights);
    for (int side = 0; side < CLIP_SIDES; side++)
        arch->towers[side].kind = clip_kind_of_weights(side, weights);
    arch->logit_bias = clip_weights_find(weights, "logit_bias") != NULL;
}

int clip_arch_from_shapes(struct clip_arch *arch, const struct clip_weights *weights,
                          struct clip_error *error)
{
    clip_arch_from_names(arch, weights);
    for (int side = 0; side < CLIP_SIDES; side++) {
        struct clip_tower_arch *tower = &arch->towers[side];
        tower->activation = CLIP_QUICK_GELU;
        if (!tower->absent && !tower->kind->read_shapes)
            return clip_fail(error, "the weights of %s (see --arch)", tower->kind->shapes_lack);
        if (!tower->absent && tower->kind->read_shapes(weights, tower, error) != 0)
            return -1;
    }
    clip_arch_fit(arch, weights, 1);
    if (read_embed(arch, weights, error) != 0)
        return -1;
    if (clip_arch_check(arch, error) != 0)
        return clip_fail_prefix(error, "the shapes do not determine the architecture (see --arch)");
    return 0;
}

int clip_arch_heads_known(const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    if (tower->absent)
        return 1;
    for (const int *width = tower->kind->known_widths; *width; width++)
        if (tower->width == *width)
            return 1;
    return 0;
}
