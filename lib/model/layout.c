#include "model/layout.h"

#include "model/kind.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct clip_initial clip_initial_ones = {CLIP_DRAW_CONSTANT, 1},
                          clip_initial_zeros = {CLIP_DRAW_CONSTANT, 0};

struct clip_initial clip_initial_normal(double deviation)
{
    return (struct clip_initial){CLIP_DRAW_NORMAL, deviation};
}

struct clip_initial clip_initial_uniform(double bound)
{
    return (struct clip_initial){CLIP_DRAW_UNIFORM, bound};
}

struct clip_initial clip_initial_fan_in(size_t n)
{
    return clip_initial_uniform(1 / sqrt((double)n));
}

const enum clip_part clip_side_parts[] = {[CLIP_SIDE_IMAGE] = CLIP_PART_IMAGE,
                                          [CLIP_SIDE_TEXT] = CLIP_PART_TEXT,
                                          [CLIP_SIDE_BOTH] = CLIP_PART_LOSS};

struct clip_slot *clip_list_tensor(struct clip_listing *listing, struct clip_initial initial,
                                   const size_t shape[4], const char *format, ...)
{
    struct clip_slot *slot = listing->slots ? &listing->slots[listing->count] : &listing->counted;
    listing->count++;
    *slot = (struct clip_slot){.side = listing->side,
                               .part = clip_side_parts[listing->side],
                               .draw = initial.draw,
                               .scale = initial.scale};
    for (; slot->ndim < 4 && shape[slot->ndim]; slot->ndim++)
        slot->shape[slot->ndim] = shape[slot->ndim];
    va_list args;
    va_start(args, format);
    vsnprintf(slot->name, sizeof slot->name, format, args);
    va_end(args);
    return slot;
}

static void list_all(struct clip_listing *listing, const struct clip_arch *arch)
{
    size_t embed = (size_t)arch->embed;
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        listing->side = side;
        if (!tower->absent && tower->kind->list_first)
            tower->kind->list_first(listing, tower, embed);
    }
    listing->side = CLIP_SIDE_BOTH;
    if (!arch->unscaled)
        clip_list_tensor(listing, (struct clip_initial){CLIP_DRAW_CONSTANT, arch->init_logit_scale},
                         CLIP_SHAPE(0), "logit_scale");
    if (arch->logit_bias)
        clip_list_tensor(listing, (struct clip_initial){CLIP_DRAW_CONSTANT, arch->init_logit_bias},
                         CLIP_SHAPE(0), "logit_bias");
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        listing->side = side;
        if (!tower->absent)
            tower->kind->list(listing, tower, embed);
    }
}

int clip_layout_make(struct clip_layout *layout, const struct clip_arch *arch, struct clip_error *error)
{
    struct clip_listing listing = {0};
    list_all(&listing, arch);
    *layout = (struct clip_layout){calloc(listing.count, sizeof *layout->slots), listing.count};
    if (!layout->slots)
        return clip_fail_memory(error, "the list of tensors");
    listing = (struct clip_listing){.slots = layout->slots};
    list_all(&listing, arch);
    return 0;
}

void clip_layout_free(struct clip_layout *layout)
{
    free(layout->slots);
    *layout = (struct clip_layout){0};
}

uint64_t clip_slot_count(const struct clip_slot *slot)
{
    uint64_t count = 1;
    for (int i = 0; i < slot->ndim; i++)
        count *= slot->shape[i];
    return count;
}

uint64_t clip_layout_parameters(const struct clip_layout *layout)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < layout->count; i++)
        if (!layout->slots[i].buffer)
            sum += clip_slot_count(&layout->slots[i]);
    return sum;
}
