/* The text transformer: token embeddings, positions, causal blocks, ln_final at the end token. */
#include "model/kind.h"
#include "tower/tower.h"
#include "tower/transformer.h"

#include <stdlib.h>
#include <string.h>

static const char token_embedding[] = "token_embedding.weight";

struct text {
    struct clip_tower base;
    const struct clip_arch *arch;
    const struct clip_kernels *kernels;
    struct clip_transformer *transformer;
    struct clip_values positions;         /* [context][width] */
    struct clip_parameter *parameter;     /* of the token embeddings, where they learn */
    const struct clip_model *model;       /* whose they are else */
    const float *embedding;               /* [vocabulary][width] where they are in memory, or NULL */
    float *row;                           /* [width]: one row of a model's, where they are not */
    struct clip_transformer_tape buffers; /* of a tower that does not learn */
};

struct text_tape {
    struct clip_tape base;
    struct clip_transformer_tape transformer;
    struct clip_caption *captions; /* [batch] */
};

/* --- captions --- */

/* Position of a caption's end token, from which on nothing matters; -1 if there is none. */
static long find_end(const struct clip_arch *arch, const struct clip_caption *caption)
{
    int32_t token = arch->text.end_token;
    size_t end = 0;
    for (size_t i = 0; i < caption->count; i++) {
        if (token >= 0 && caption->tokens[i] == token)
            return (long)i;
        if (caption->tokens[i] > caption->tokens[end])
            end = i;
    }
    return token >= 0 ? -1 : (long)end;
}

int clip_caption_check(const struct clip_arch *arch, const struct clip_caption *caption,
                       struct clip_error *error)
{
    const struct clip_tower_arch *text = &arch->text;
    if (caption->count != (size_t)text->context)
        return clip_fail(error, "%zu tokens, but the model's context is %d", caption->count, text->context);
    for (size_t i = 0; i < caption->count; i++)
        if (caption->tokens[i] < 0 || caption->tokens[i] >= text->vocabulary)
            return clip_fail(error, "token %d at position %zu is not in the model's vocabulary of %d",
                             (int)caption->tokens[i], i, text->vocabulary);
    if (find_end(arch, caption) < 0)
        return clip_fail(error, "there is no end token (%d)", text->end_token);
    return 0;
}

/* --- opening --- */

static void free_text(struct clip_tower *base)
{
    struct text *text = (struct text *)base;
    clip_transformer_tape_free(&text->buffers);
    clip_transformer_free(text->transformer);
    clip_values_free(&text->positions);
    free(text->row);
    free(text);
}

/* Token embeddings stay where they are: few rows of them are touched. */
static int find_embedding(struct text *text, const struct clip_tower_setup *setup, struct clip_error *error)
{
    if (setup->parameters) {
        text->parameter = clip_parameters_get(setup->parameters, token_embedding);
        text->embedding = text->parameter->value;
        return 0;
    }
    const struct clip_slot *slot = clip_model_slot(setup->model, token_embedding);
    text->row = calloc(text->base.width, sizeof *text->row);
    if (!text->row)
        return clip_fail_memory(error, "the text tower");
    return clip_model_mapped(setup->model, slot->name, slot->ndim, slot->shape, &text->embedding, error);
}

static int load(struct text *text, const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->text;
    enum clip_level level;
    struct clip_transformer_shape shape = {
        .norm = {"ln_final.weight", "ln_final.bias"},
        .epsilon = clip_block_epsilon(&arch->block),
        .arch = arch,
        .layers = (size_t)arch->layers,
        .causal = 1,
        .longest = (size_t)arch->context,
    };
    if (clip_level_choose(&level, error) != 0 || find_embedding(text, setup, error) != 0 ||
        clip_values_load(&text->positions, setup, error, "positional_embedding") != 0)
        return -1;
    text->kernels = clip_kernels(level);
    text->transformer = clip_transformer_open(setup, text->kernels, &shape, error);
    if (!text->transformer)
        return -1;
    return setup->parameters ? 0 : clip_transformer_tape_allocate(&text->buffers, text->transformer, error);
}

/* --- tapes --- */

static void tape_free(struct clip_tape *base)
{
    struct text_tape *tape = (struct text_tape *)base;
    clip_transformer_tape_free(&tape->transformer);
    free(tape->captions);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_tower *base, struct clip_error *error)
{
    struct text_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    tape->captions = calloc(base->batch, sizeof *tape->captions);
    if (!tape->captions)
        clip_fail_memory(error, "a tape");
    else if (clip_transformer_tape_allocate(&tape->transformer, ((const struct text *)base)->transformer,
                                            error) == 0)
        return &tape->base;
    tape_free(&tape->base);
    return NULL;
}

static size_t tape_bytes(const struct clip_tower *base, size_t n)
{
    return n * sizeof(struct clip_caption) +
           clip_transformer_tape_bytes(((const struct text *)base)->transformer, n);
}

/* --- running --- */

/* The embedding of a token; NULL with error. */
static const float *embedding_of(struct text *text, size_t token, struct clip_error *error)
{
    size_t width = text->base.width;
    if (text->embedding)
        return text->embedding + token * width;
    return clip_model_rows(text->model, token_embedding, token, 1, width, text->row, error) == 0 ? text->row
                                                                                                 : NULL;
}

/* rows[length][width] = embeddings of the caption's first tokens, and of their positions. */
static int embed(struct text *text, const struct clip_caption *caption, size_t length, float *rows,
                 struct clip_error *error)
{
    size_t width = text->base.width;
    for (size_t i = 0; i < length; i++) {
        const float *row = embedding_of(text, (size_t)caption->tokens[i], error);
        if (!row)
            return -1;
        text->kernels->sum(width, row, text->positions.value + i * width, rows + i * width);
    }
    return 0;
}

/* Positions after the end token are not computed. */
static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *features, struct clip_error *error)
{
    (void)again;
    struct text *text = (struct text *)base;
    struct text_tape *kept = (struct text_tape *)to;
    struct clip_transformer_tape *tape = kept ? &kept->transformer : &text->buffers;
    size_t row = 0;
    if (n == 0)
        return 0;
    tape->count = n;
    for (size_t s = 0; s < n; s++) {
        const struct clip_caption *caption = &items[s].caption;
        size_t end = (size_t)find_end(text->arch, caption);
        if (kept)
            kept->captions[s] = *caption;
        tape->sequences[s] = (struct clip_sequence){row, end + 1, end + 1, end};
        if (embed(text, caption, end + 1, tape->layers[0].x + row * base->width, error) != 0)
            return -1;
        row += end + 1;
    }
    return clip_transformer_forward(text->transformer, tape, features, error);
}

/* The gradients of the embeddings, which are sums over rows, in their order. */
static int backward(struct clip_tower *base, struct clip_tape *from, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)input_gradients;
    const struct text *text = (const struct text *)base;
    const struct text_tape *tape = (const struct text_tape *)from;
    size_t width = base->width;
    const float *dx;
    if (clip_transformer_backward(text->transformer, &tape->transformer, gradients, &dx, error) != 0)
        return -1;
    for (size_t s = 0; s < tape->transformer.count; s++)
        for (size_t i = 0; i < tape->transformer.sequences[s].length; i++, dx += width) {
            float *token = text->parameter->gradient + (size_t)tape->captions[s].tokens[i] * width;
            float *position = text->positions.gradient + i * width;
            text->kernels->sum(width, token, dx, token);
            text->kernels->sum(width, position, dx, position);
        }
    return 0;
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    return clip_transformer_refresh(((struct text *)base)->transformer, error);
}

static size_t bytes(const struct clip_tower *base)
{
    return clip_transformer_bytes(((const struct text *)base)->transformer);
}

static const struct clip_tower_type type = {free_text, forward,  backward,  refresh,
                                            bytes,     tape_new, tape_free, tape_bytes};

static struct clip_tower *open_text(const struct clip_tower_setup *setup, struct clip_error *error)
{
    struct text *text = calloc(1, sizeof *text);
    if (!text) {
        clip_fail_memory(error, "the text tower");
        return NULL;
    }
    text->base = (struct clip_tower){&type, (size_t)setup->arch->text.width, setup->batch};
    text->arch = setup->arch;
    text->model = setup->model;
    if (load(text, setup, error) == 0)
        return &text->base;
    free_text(&text->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_text = {&clip_kind_text, 0, open_text};
