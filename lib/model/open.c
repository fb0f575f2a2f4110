#include "model/open.h"

struct clip_model *clip_open_model(const struct clip_shared *shared, enum clip_side side,
                                   struct clip_error *error)
{
    struct clip_model *model = clip_model_open_key(shared->model, shared->arch, shared->weights, error);
    if (model && clip_model_need(model, side, error) != 0) {
        clip_model_close(model);
        return NULL;
    }
    return model;
}

void clip_note_guess(struct clip_model *model, enum clip_side side)
{
    const char *guess = clip_model_guess(model, side);
    if (guess)
        clip_note("%s", guess);
}
