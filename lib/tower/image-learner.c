/* Apart from learner.c, so that a program of the text tower has no need of the image towers. */
#include "model/kind.h"
#include "tower/learner.h"

struct clip_learner *clip_image_learner_open(const struct clip_arch *arch, struct clip_parameters *parameters,
                                             struct clip_engine *engine, struct clip_pool *pool, size_t chunk,
                                             struct clip_error *error)
{
    return (arch->vision.kind == &clip_kind_vit ? clip_vit_learner_open : clip_resnet_learner_open)(
        arch, parameters, engine, pool, chunk, error);
}
