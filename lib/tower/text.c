/* The text transformer: token embeddings, positions, causal blocks, ln_final at the end token. */
#include "base/arena.h"
#include "math/kernels.h"
#include "tower/tower.h"
#include "tower/transformer.h"

#include <stdlib.h>

static const char token_embedding[] = "token_embedding.weight";

struct clip_text_tower {
    const struct clip_model *model;
    const struct clip_arch *arch;
    const struct clip_kernels *kernels;
    struct clip_transformer *transformer;
    size_t batch, width;
    struct clip_arena arena;
    float *positions;                /* [context][width] */
    const float *embedding;          /* [vocabulary][width] where it is mapped, or NULL */
    float *row;                      /* [width]: one row of it, where it is not */
    struct clip_sequence *sequences; /* [batch] */
};

/* --- captions --- */

long clip_caption_end(const struct clip_arch *arch, const struct clip_caption *caption)
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
    if (clip_caption_end(arch, caption) < 0)
        return clip_fail(error, "there is no end token (%d)", text->end_token);
    return 0;
}

/* --- opening --- */

void clip_text_tower_free(struct clip_text_tower *tower)
{
    if (!tower)
        return;
    clip_transformer_free(tower->transformer);
    clip_arena_free(&tower->arena);
    free(tower);
}

static void place(void *context)
{
    struct clip_text_tower *tower = context;
    size_t positions = (size_t)tower->arch->text.context;
    tower->positions = clip_arena_take(&tower->arena, positions, tower->width * sizeof(float));
    tower->row = clip_arena_take(&tower->arena, tower->width, sizeof(float));
    tower->sequences = clip_arena_take(&tower->arena, tower->batch, sizeof *tower->sequences);
}

static int load(struct clip_text_tower *tower, struct clip_error *error)
{
    const struct clip_tower_arch *text = &tower->arch->text;
    size_t shape[] = {(size_t)text->vocabulary, tower->width};
    if (clip_arena_build(&tower->arena, "the text tower", place, tower, error) != 0)
        return -1;
    if (clip_model_mapped(tower->model, token_embedding, 2, shape, &tower->embedding, error) != 0)
        return -1;
    shape[0] = (size_t)text->context;
    return clip_model_floats(tower->model, "positional_embedding", 2, shape, tower->positions, error);
}

struct clip_text_tower *clip_text_tower_open(const struct clip_model *model, struct clip_engine *engine,
                                             struct clip_pool *pool, size_t batch, struct clip_error *error)
{
    const struct clip_tower_arch *text = &clip_model_arch(model)->text;
    enum clip_level level;
    struct clip_text_tower *tower = calloc(1, sizeof *tower);
    if (!tower) {
        clip_fail_memory(error, "the text tower");
        return NULL;
    }
    tower->model = model;
    tower->batch = batch;
    tower->arch = clip_model_arch(model);
    tower->width = (size_t)text->width;
    struct clip_transformer_shape shape = clip_text_transformer_shape(tower->arch, batch);
    if (clip_level_choose(&level, error) == 0 && load(tower, error) == 0) {
        tower->kernels = clip_kernels(level);
        tower->transformer = clip_transformer_open(model, engine, tower->kernels, pool, &shape, error);
    }
    if (tower->transformer)
        return tower;
    clip_text_tower_free(tower);
    return NULL;
}

/* --- running --- */

/* rows[length][width] = embeddings of the caption's first tokens, and of their positions. */
static int embed(struct clip_text_tower *tower, const struct clip_caption *caption, size_t length,
                 float *rows, struct clip_error *error)
{
    size_t width = tower->width;
    for (size_t i = 0; i < length; i++) {
        size_t token = (size_t)caption->tokens[i];
        const float *row = tower->embedding ? tower->embedding + token * width : tower->row;
        if (!tower->embedding &&
            clip_model_rows(tower->model, token_embedding, token, 1, width, tower->row, error) != 0)
            return -1;
        tower->kernels->sum(width, row, tower->positions + i * width, rows + i * width);
    }
    return 0;
}

int clip_text_tower_run(struct clip_text_tower *tower, const struct clip_caption *captions, size_t n,
                        float *features, struct clip_error *error)
{
    float *rows = clip_transformer_rows(tower->transformer);
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        size_t end = (size_t)clip_caption_end(tower->arch, &captions[i]);
        tower->sequences[i] = (struct clip_sequence){first, end + 1, end};
        if (embed(tower, &captions[i], end + 1, rows + first * tower->width, error) != 0)
            return -1;
        first += end + 1;
    }
    return clip_transformer_run(tower->transformer, tower->sequences, n, features, error);
}
