#include "tower/tower.h"

#include "model/kind.h"

static const struct clip_image_tower_type *type_of(const struct clip_arch *arch)
{
    return arch->vision.kind == &clip_kind_vit ? &clip_vit_type : &clip_resnet_type;
}

struct clip_image_tower *clip_image_tower_open(const struct clip_model *model, struct clip_engine *engine,
                                               struct clip_pool *pool, size_t batch, struct clip_error *error)
{
    return type_of(clip_model_arch(model))->open(model, engine, pool, batch, error);
}

void clip_image_tower_free(struct clip_image_tower *tower)
{
    if (tower)
        tower->type->free(tower);
}

int clip_image_tower_run(struct clip_image_tower *tower, const struct clip_image *pictures, size_t n,
                         float *features, struct clip_error *error)
{
    return tower->type->run(tower, pictures, n, features, error);
}
