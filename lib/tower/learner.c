#include "tower/learner.h"

void clip_learner_free(struct clip_learner *learner)
{
    if (learner)
        learner->type->free(learner);
}

size_t clip_learner_width(const struct clip_learner *learner)
{
    return learner->width;
}

int clip_learner_mixes(const struct clip_learner *learner)
{
    return learner->mixes;
}

size_t clip_learner_bytes(const struct clip_learner *learner)
{
    return learner->type->bytes(learner);
}

int clip_learner_refresh(struct clip_learner *learner, struct clip_error *error)
{
    return learner->type->refresh(learner, error);
}

struct clip_tape *clip_tape_new(const struct clip_learner *learner, struct clip_error *error)
{
    return learner->type->tape_new(learner, error);
}

void clip_tape_free(struct clip_tape *tape)
{
    if (tape)
        tape->type->tape_free(tape);
}

size_t clip_tape_bytes(const struct clip_learner *learner, size_t n)
{
    return learner->type->tape_bytes(learner, n);
}

int clip_learner_forward(struct clip_learner *learner, const union clip_item *items, size_t n, int again,
                         struct clip_tape *tape, float *features, struct clip_error *error)
{
    return learner->type->forward(learner, items, n, again, tape, features, error);
}

int clip_learner_backward(struct clip_learner *learner, struct clip_tape *tape, const float *gradients,
                          struct clip_error *error)
{
    return learner->type->backward(learner, tape, gradients, error);
}
