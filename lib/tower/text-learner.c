/* The text transformer in training. */
#include "tower/learner.h"
#include "tower/transformer-learner.h"

#include <stdlib.h>

struct text_learner {
    struct clip_learner base;
    const struct clip_arch *arch;
    const struct clip_kernels *kernels;
    struct clip_transformer_learner *transformer;
    struct clip_parameter *tokens, *positions; /* [vocabulary][width], [context][width] */
};

struct text_tape {
    struct clip_tape base;
    struct clip_transformer_tape transformer;
    struct clip_caption *captions; /* [chunk] */
};

static void free_learner(struct clip_learner *base)
{
    struct text_learner *learner = (struct text_learner *)base;
    clip_transformer_learner_free(learner->transformer);
    free(learner);
}

static size_t bytes(const struct clip_learner *base)
{
    return clip_transformer_learner_bytes(((const struct text_learner *)base)->transformer);
}

static int refresh(struct clip_learner *base, struct clip_error *error)
{
    return clip_transformer_learner_refresh(((struct text_learner *)base)->transformer, error);
}

static void tape_free(struct clip_tape *base)
{
    struct text_tape *tape = (struct text_tape *)base;
    clip_transformer_tape_free(&tape->transformer);
    free(tape->captions);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_learner *base, struct clip_error *error)
{
    const struct text_learner *learner = (const struct text_learner *)base;
    struct text_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    tape->captions = calloc(base->chunk, sizeof *tape->captions);
    if (!tape->captions)
        clip_fail_memory(error, "a tape");
    else if (clip_transformer_tape_allocate(&tape->transformer, learner->transformer, error) == 0)
        return &tape->base;
    tape_free(&tape->base);
    return NULL;
}

static size_t tape_bytes(const struct clip_learner *base, size_t n)
{
    const struct text_learner *learner = (const struct text_learner *)base;
    return n * sizeof(struct clip_caption) + clip_transformer_tape_bytes(learner->transformer, n);
}

static int forward(struct clip_learner *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *features, struct clip_error *error)
{
    (void)again;
    const struct text_learner *learner = (const struct text_learner *)base;
    struct text_tape *tape = (struct text_tape *)to;
    size_t width = base->width, row = 0;
    float *x = tape->transformer.layers[0].x;
    tape->transformer.count = n;
    for (size_t s = 0; s < n; s++) {
        const struct clip_caption *caption = &items[s].caption;
        size_t end = (size_t)clip_caption_end(learner->arch, caption);
        tape->captions[s] = *caption;
        tape->transformer.sequences[s] = (struct clip_sequence){row, end + 1, end};
        for (size_t i = 0; i <= end; i++, row++)
            learner->kernels->sum(width, learner->tokens->value + (size_t)caption->tokens[i] * width,
                                  learner->positions->value + i * width, x + row * width);
    }
    return clip_transformer_learner_forward(learner->transformer, &tape->transformer, features, error);
}

/* The gradients of the embeddings, which are sums over rows, in their order. */
static int backward(struct clip_learner *base, struct clip_tape *from, const float *gradients,
                    struct clip_error *error)
{
    const struct text_learner *learner = (const struct text_learner *)base;
    const struct text_tape *tape = (const struct text_tape *)from;
    size_t width = base->width;
    const float *dx;
    if (clip_transformer_learner_backward(learner->transformer, &tape->transformer, gradients, &dx, error) !=
        0)
        return -1;
    for (size_t s = 0; s < tape->transformer.count; s++)
        for (size_t i = 0; i < tape->transformer.sequences[s].length; i++, dx += width) {
            float *token = learner->tokens->gradient + (size_t)tape->captions[s].tokens[i] * width;
            float *position = learner->positions->gradient + i * width;
            learner->kernels->sum(width, token, dx, token);
            learner->kernels->sum(width, position, dx, position);
        }
    return 0;
}

static const struct clip_learner_type type = {
    free_learner, bytes, refresh, tape_new, tape_free, tape_bytes, forward, backward,
};

struct clip_learner *clip_text_learner_open(const struct clip_arch *arch, struct clip_parameters *parameters,
                                            struct clip_engine *engine, struct clip_pool *pool, size_t chunk,
                                            struct clip_error *error)
{
    enum clip_level level;
    struct text_learner *learner = calloc(1, sizeof *learner);
    if (!learner) {
        clip_fail_memory(error, "the text tower");
        return NULL;
    }
    struct clip_transformer_shape shape = clip_text_transformer_shape(arch, chunk);
    learner->base = (struct clip_learner){&type, shape.width, chunk, 0};
    learner->arch = arch;
    learner->tokens = clip_parameters_get(parameters, "token_embedding.weight");
    learner->positions = clip_parameters_get(parameters, "positional_embedding");
    if (clip_level_choose(&level, error) == 0) {
        learner->kernels = clip_kernels(level);
        learner->transformer =
            clip_transformer_learner_open(parameters, engine, learner->kernels, pool, &shape, error);
    }
    if (learner->transformer)
        return &learner->base;
    free_learner(&learner->base);
    return NULL;
}
