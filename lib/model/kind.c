#include "model/kind.h"

#define ROW(name) &clip_kind_##name,
const struct clip_kind *const clip_kinds[] = {CLIP_KINDS(ROW) NULL};

const struct clip_head *clip_head_of(const struct clip_tower_arch *tower)
{
    return tower->head ? tower->head : tower->kind->head;
}

const struct clip_kind *clip_kind_of_open_clip(enum clip_side side, struct json_object *object)
{
    const struct clip_kind *const *kind = clip_kinds;
    while ((*kind)->side != side || ((*kind)->is_open_clip && !(*kind)->is_open_clip(object)))
        kind++;
    return *kind;
}

const struct clip_kind *clip_kind_of_weights(enum clip_side side, const struct clip_weights *weights)
{
    const struct clip_kind *const *kind = clip_kinds;
    while ((*kind)->side != side || ((*kind)->is_weights && !(*kind)->is_weights(weights)))
        kind++;
    return *kind;
}

const struct clip_kind *clip_kind_of_hf(enum clip_side side)
{
    const struct clip_kind *const *kind = clip_kinds;
    while ((*kind)->side != side || !(*kind)->hf.read)
        kind++;
    return *kind;
}

const struct clip_kind *clip_kind_of_siglip(enum clip_side side)
{
    const struct clip_kind *const *kind = clip_kinds;
    while ((*kind)->side != side || !(*kind)->siglip.read)
        kind++;
    return *kind;
}
