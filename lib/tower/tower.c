#include "tower/tower.h"

#include "model/kind.h"

static const struct clip_tower_kind *const kinds[] = {&clip_tower_convnext,
                                                      &clip_tower_fastvit,
                                                      &clip_tower_vit,
                                                      &clip_tower_hybrid,
                                                      &clip_tower_swin,
                                                      &clip_tower_timm,
                                                      &clip_tower_resnet,
                                                      &clip_tower_modern,
                                                      &clip_tower_hftext,
                                                      &clip_tower_text,
                                                      NULL};

/* The row of a side's tower; NULL if its kind has none. */
static const struct clip_tower_kind *find_kind(const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_kind *const *row = kinds;
    while (*row && (*row)->kind != arch->towers[side].kind)
        row++;
    return *row;
}

struct clip_tower *clip_tower_open(enum clip_side side, const struct clip_tower_setup *setup,
                                   struct clip_error *error)
{
    const struct clip_tower_kind *row = find_kind(setup->arch, side);
    if (!row) {
        clip_fail(error, "the model's %s tower cannot be computed", clip_side_names[side]);
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
