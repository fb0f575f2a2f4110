#include "model/open.h"

/* Returns the model if it has the tower, otherwise NULL with error. */
static struct clip_model *with_tower(struct clip_model *model, enum clip_side side, struct clip_error *error)
{
    if (!model || clip_model_need(model, side, error) == 0)
        return model;
    clip_model_close(model);
    return NULL;
}

struct clip_model *clip_open_model(const struct clip_shared *shared, enum clip_side side,
                                   struct clip_error *error)
{
    return with_tower(clip_model_open_key(shared->model, shared->arch, shared->weights, error), side, error);
}

struct clip_model *clip_open_settings(const struct clip_shared *shared, enum clip_side side,
                                      struct clip_error *error)
{
    return with_tower(clip_model_open_settings(shared->model, shared->arch, shared->weights, error), side,
                      error);
}

struct clip_model *clip_open_scalars(const struct clip_shared *shared, struct clip_error *error)
{
    return with_tower(clip_model_open_scalars(shared->model, shared->arch, shared->weights, error),
                      CLIP_SIDE_BOTH, error);
}

void clip_note_guess(struct clip_model *model, enum clip_side side)
{
    const char *guess = clip_model_guess(model, side);
    if (guess)
        clip_note("%s", guess);
}
