#include "tower/tower.h"

#define ROW(name) &clip_tower_##name,
static const struct clip_tower_kind *const kinds[] = {CLIP_KINDS(ROW) NULL};

/* NULL where the model has no such tower. */
static const struct clip_tower_kind *find_kind(const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_kind *const *row = kinds;
    while (*row && (*row)->kind != arch->towers[side].kind)
        row++;
    return *row;
}

/* 1 if int8 rounds a matrix of the side's tower. */
static int rounds_any(const struct clip_model *model, enum clip_side side)
{
    const struct clip_layout *layout = clip_model_layout(model);
    for (size_t i = 0; i < layout->count; i++)
        if (layout->slots[i].side == side && layout->slots[i].rounding == CLIP_ROUNDED_ROWS)
            return 1;
    return 0;
}

struct clip_tower *clip_tower_open(enum clip_side side, const struct clip_tower_setup *setup,
                                   struct clip_error *error)
{
    const struct clip_tower_kind *row = find_kind(setup->arch, side);
    if (!row) {
        clip_fail(error, "the model has no %s tower", clip_side_names[side]);
        return NULL;
    }
    if (setup->int8 && !rounds_any(setup->model, side)) {
        clip_fail(error, "int8 is for the blocks of transformers; the model's %s tower is a %s",
                  clip_side_names[side], row->kind->title);
        return NULL;
    }
    return row->open(setup, error);
}

void clip_tower_free(struct clip_tower *tower)
{
    if (tower)
        tower->type->free(tower);
}

void clip_tape_free(struct clip_tape *tape)
{
    if (tape)
        tape->type->tape_free(tape);
}

int clip_tower_mixes(const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_kind *row = find_kind(arch, side);
    return row && row->mixes;
}

int clip_tower_need_training(const struct clip_arch *arch, enum clip_side side, struct clip_error *error)
{
    const struct clip_kind *kind = arch->towers[side].kind;
    return kind->untrained ? clip_fail(error, "the model's %s tower, a %s, cannot be trained (see --freeze)",
                                       clip_side_names[side], kind->title)
                           : 0;
}
