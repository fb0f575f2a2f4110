/* Text transformers: token embeddings, positions, blocks, ln_final of one position, or a pool of all. */
#include "base/arena.h"
#include "model/kind.h"
#include "tower/text-pool.h"
#include "tower/tower.h"
#include "tower/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a caption's rows are: position in the caption, and row of the table of positions. Rows without a
 * token, the class row or registers, are at the caption's count, count + 1 ... */
struct place {
    uint32_t at, position;
};

/* What is said of the rows of a batch. */
struct row_facts {
    uint32_t *positions;          /* [rows]: in the table of rotary positions; NULL: there is none */
    unsigned char *marks;         /* [rows]: 1 for those that a pool takes; NULL: there is none */
    struct clip_pooled *captions; /* [batch] */
};

struct text {
    struct clip_tower base;
    const struct clip_tower_arch *tower;
    const struct clip_kernels *kernels;
    struct clip_transformer *transformer;
    struct clip_text_pool *pool;   /* of all tokens, or NULL */
    struct clip_block_shape norms; /* of which the norms alone are used */
    float *cosines, *sines;        /* rotary positions [longest][head], or NULL */
    struct row_facts facts;        /* of a tower that does not learn */
    /* All but the token embeddings: positions [places][width], a class row's the last; the class row [width];
     * types [types][width]; the norm before the blocks; the pooler [width][width] */
    struct clip_values values[CLIP_TEXT_TENSORS];
    float epsilon;
    struct place *places;                 /* [rows]: of a caption's rows */
    struct clip_parameter *parameter;     /* of the token embeddings, where they learn */
    const struct clip_model *model;       /* whose they are else */
    const float *embedding;               /* [vocabulary][width] where they are in memory, or NULL */
    int rounds;                           /* they are rounded to f16, as int8 stores them */
    float *row;                           /* [width]: one row of a model's, where they are not */
    struct clip_transformer_tape buffers; /* of a tower that does not learn */
    struct clip_arena memory;
    float *rows; /* [rows of a batch][width]: what a pool reads, of a tower that does not learn; or their
                    gradient */
    float *room; /* [batch][width] */
    float *bias; /* [heads][longest][longest]: of the scores, by relative position; NULL: none */
    float *sums; /* [rows][width]: the gradient of a caption's embeddings, before the norm */
};

struct text_tape {
    struct clip_tape base;
    struct clip_transformer_tape transformer;
    struct clip_arena memory;
    struct clip_caption *captions; /* [batch] */
    struct row_facts facts;
    float *embedded; /* [rows][width]: before the norm; NULL where there is none */
    float *rows;     /* [rows][width]: what a pool reads; of a pooler [batch][width] */
    float *features; /* [batch][width]: the pooler's */
};

/* --- captions --- */

static int has_flag(const struct clip_tower_arch *arch, unsigned flag)
{
    return (arch->text.flags & flag) != 0;
}

static size_t count_tokens(const struct clip_tower_arch *arch, const struct clip_caption *caption)
{
    size_t n = 0;
    for (size_t i = 0; i < caption->count; i++)
        n += caption->tokens[i] != arch->pad;
    return n;
}

/* 1 where a token is padding; of one that is nothing else the first may count. */
static int is_padding(const struct clip_tower_arch *arch, const struct clip_caption *caption, size_t position)
{
    if (caption->tokens[position] != arch->pad)
        return 0;
    return position > 0 || !has_flag(arch, CLIP_TEXT_GUARDED) || count_tokens(arch, caption) > 0;
}

/* Position of a caption's end token: the first one; where there is none 0, as in open_clip, or the last of as
 * many tokens as are not padding. */
static size_t find_end(const struct clip_tower_arch *arch, const struct clip_caption *caption)
{
    int32_t token = arch->end_token;
    size_t end = 0;
    for (size_t i = 0; i < caption->count; i++) {
        if (token >= 0 && caption->tokens[i] == token)
            return i;
        if (token < 0 && caption->tokens[i] > caption->tokens[end])
            end = i;
    }
    size_t seen = has_flag(arch, CLIP_TEXT_GUARDED) ? count_tokens(arch, caption) : 0;
    return seen ? seen - 1 : end;
}

static size_t find_first(const struct clip_tower_arch *arch, const struct clip_caption *caption)
{
    (void)arch, (void)caption;
    return 0;
}

static size_t find_last(const struct clip_tower_arch *arch, const struct clip_caption *caption)
{
    return caption->count - 1 + (size_t)arch->class_row;
}

/* Position of the features, of poolings that read one row. */
static size_t (*const find_features[CLIP_POOLINGS])(const struct clip_tower_arch *,
                                                    const struct clip_caption *) = {
    [CLIP_POOL_TOKEN] = find_end, [CLIP_POOL_FIRST] = find_first, [CLIP_POOL_LAST] = find_last};

/* 1 where the features are of all tokens that are not padding. */
static int pools_all(const struct clip_tower_arch *arch)
{
    return clip_pooling_of(arch)->all;
}

/* 1 where a position is seen by others: not padding, where that is hidden. CoCa's class row is at position
 * `count`; there a position is seen unless the token before it is padding (open_clip masks one too early, and
 * its weights learned so). */
static int is_key(const struct clip_tower_arch *arch, const struct clip_caption *caption, size_t position)
{
    if (arch->class_row)
        return position == 0 || caption->tokens[position - 1] != arch->pad;
    return !has_flag(arch, CLIP_TEXT_HIDES_PADDING) || !is_padding(arch, caption, position);
}

/* Positions [0, end) are all that the features at `at`, or a pool, may need. */
static size_t find_needed(const struct clip_tower_arch *arch, const struct clip_caption *caption, size_t at)
{
    size_t end = caption->count;
    if (arch->open_mask)
        return end + (size_t)arch->class_row;
    if (!pools_all(arch))
        return at + 1;
    while (end > 1 && is_padding(arch, caption, end - 1))
        end--;
    return end;
}

/* The rows that are computed of a caption: places[*keys] of those that are seen, and, where the features' is
 * not, that one last; returns how many. */
static size_t list_rows(const struct clip_tower_arch *arch, const struct clip_caption *caption,
                        struct place *places, size_t *keys, size_t *feature)
{
    size_t at = pools_all(arch) ? 0 : find_features[arch->pooling](arch, caption), n = 0;
    size_t end = find_needed(arch, caption, at), registers = (size_t)arch->text.registers;
    uint32_t first = has_flag(arch, CLIP_TEXT_COUNTED) ? (uint32_t)arch->pad + 1 : 0;
    for (; n < registers; n++)
        places[n] = (struct place){(uint32_t)(caption->count + n), (uint32_t)n};
    *feature = 0;
    for (size_t i = 0; i < end; i++)
        if (is_key(arch, caption, i)) {
            if (i == at)
                *feature = n;
            places[n] = (struct place){(uint32_t)i, first ? first + (uint32_t)n : (uint32_t)(i + registers)};
            n++;
        }
    *keys = n;
    if (!pools_all(arch) && !is_key(arch, caption, at)) {
        *feature = n;
        places[n++] = (struct place){(uint32_t)at, first ? first - 1 : (uint32_t)(at + registers)};
    }
    return n;
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
    if ((text->text.flags & CLIP_TEXT_HIDES_PADDING) && !(text->text.flags & CLIP_TEXT_GUARDED)) {
        size_t i = 0;
        while (i < caption->count && caption->tokens[i] == text->pad)
            i++;
        if (i == caption->count)
            return clip_fail(error, "all tokens are padding (%d)", text->pad);
        size_t last = caption->count - 1;
        while (caption->tokens[last] == text->pad)
            last--;
        for (i = 0; text->text.flags & CLIP_TEXT_RELATIVE && i < last; i++)
            if (caption->tokens[i] == text->pad)
                return clip_fail(error, "token %zu is padding (%d), and tokens follow it", i, text->pad);
    }
    return 0;
}

/* --- opening --- */

static void free_text(struct clip_tower *base)
{
    struct text *text = (struct text *)base;
    clip_transformer_tape_free(&text->buffers);
    clip_transformer_free(text->transformer);
    clip_text_pool_free(text->pool);
    for (int i = 0; i < CLIP_TEXT_TENSORS; i++)
        clip_values_free(&text->values[i]);
    clip_arena_free(&text->memory);
    free(text->places);
    free(text->bias);
    free(text->cosines);
    free(text->row);
    free(text);
}

/* Token embeddings stay where they are: few rows of them are touched. */
static int find_embedding(struct text *text, const struct clip_tower_setup *setup, struct clip_error *error)
{
    const char *name = clip_text_name(text->tower, CLIP_TEXT_TOKENS);
    if (setup->parameters) {
        text->parameter = clip_parameters_get(setup->parameters, "%s", name);
        text->embedding = text->parameter->value;
        return 0;
    }
    const struct clip_slot *slot = clip_model_slot(setup->model, name);
    text->rounds = setup->int8 != NULL;
    text->row = calloc(text->base.width, sizeof *text->row);
    if (!text->row)
        return clip_fail_memory(error, "the text tower");
    return clip_model_mapped(setup->model, slot->name, slot->ndim, slot->shape, &text->embedding, error);
}

/* Fixed positions (model/text.h), computed in f32 as transformers does. */
static int make_sinusoids(struct text *text, struct clip_error *error)
{
    struct clip_values *positions = &text->values[CLIP_TEXT_POSITIONS];
    size_t width = text->base.width, half = width / 2, places = clip_text_places(text->tower);
    positions->value = positions->copy = calloc(places * width, sizeof *positions->copy);
    if (!positions->copy)
        return clip_fail_memory(error, "the text tower");
    for (size_t place = 0; place < places; place++)
        for (size_t j = 0; j < half && place != (size_t)text->tower->pad; j++) {
            float angle = (float)place * expf((float)j * -(float)(log(10000) / (double)(half - 1)));
            positions->copy[place * width + j] = sinf(angle);
            positions->copy[place * width + half + j] = cosf(angle);
        }
    return 0;
}

/* Most rows of a caption: with registers, and a class row, or one more that padding hides. */
static size_t longest(const struct text *text)
{
    return (size_t)text->tower->context + (size_t)text->tower->text.registers + 1;
}

/* Rotary positions (model/text.h); frequencies are of f32, as in open_clip. */
static int make_rotary(struct text *text, struct clip_error *error)
{
    size_t head = clip_block_head(text->tower), n = longest(text);
    if (!(text->tower->text.rotary > 0))
        return 0;
    text->cosines = calloc(2 * n, head * sizeof *text->cosines);
    if (!text->cosines)
        return clip_fail_memory(error, "the text tower");
    text->sines = text->cosines + n * head;
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < head; c++) {
            float frequency = 1 / powf(text->tower->text.rotary, (float)(c / 2 * 2) / (float)head);
            double angle = (double)i * (double)frequency;
            text->cosines[i * head + c] = (float)cos(angle);
            text->sines[i * head + c] = (float)(c % 2 ? sin(angle) : -sin(angle));
        }
    return 0;
}

/* The bucket of a key that stands `distance` after the query (model/text.h), in f32 as transformers computes.
 */
static size_t bucket_of(const struct clip_text_arch *arch, long distance)
{
    size_t half = (size_t)arch->buckets / 2, exact = half / 2, a = (size_t)labs(distance), bucket = a;
    if (a >= exact) {
        float part = logf((float)a / (float)exact) / (float)log((double)arch->farthest / (double)exact) *
                     (float)(half - exact);
        bucket = exact + (size_t)part;
        bucket = bucket < half ? bucket : half - 1;
    }
    return (distance > 0 ? half : 0) + bucket;
}

static size_t heads_of(const struct text *text)
{
    return (size_t)text->tower->heads;
}

/* The bias of the scores, from its buckets. */
static void fill_bias(struct text *text)
{
    size_t n = longest(text), heads = heads_of(text);
    for (size_t i = 0; text->bias && i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const float *row =
                text->values[CLIP_TEXT_BIAS].value + bucket_of(&text->tower->text, (long)j - (long)i) * heads;
            for (size_t h = 0; h < heads; h++)
                text->bias[(h * n + i) * n + j] = row[h];
        }
}

/* As clip_transformer_shape.bias_backward. */
static void bias_backward(const void *context, size_t h, size_t first, size_t rows, size_t keys,
                          const float *ds, float *sums)
{
    const struct text *text = context;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < keys; j++)
            sums[bucket_of(&text->tower->text, (long)j - (long)(first + i)) * heads_of(text) + h] +=
                ds[i * keys + j];
}

static int load_values(struct text *text, const struct clip_tower_setup *setup, struct clip_error *error)
{
    for (int tensor = 0; tensor < CLIP_TEXT_TENSORS; tensor++) {
        size_t shape[4];
        if (tensor != CLIP_TEXT_TOKENS && tensor != CLIP_TEXT_FINAL_WEIGHT &&
            tensor != CLIP_TEXT_FINAL_BIAS && tensor < CLIP_TEXT_QUERY &&
            clip_text_shape(text->tower, tensor, shape) &&
            clip_values_load(&text->values[tensor], setup, error, "%s",
                             clip_text_name(text->tower, tensor)) != 0)
            return -1;
    }
    return text->tower->text.flags & CLIP_TEXT_SINUSOIDS ? make_sinusoids(text, error) : 0;
}

static const float *value_of(const struct text *text, enum clip_text_tensor tensor)
{
    return text->values[tensor].value;
}

static int has_norm(const struct text *text)
{
    return value_of(text, CLIP_TEXT_NORM_WEIGHT) != NULL;
}

static int has_pooler(const struct text *text)
{
    return value_of(text, CLIP_TEXT_POOLER_WEIGHT) != NULL;
}

/* Those of n captions. */
static struct row_facts place_facts(const struct text *text, size_t n, struct clip_arena *arena)
{
    struct row_facts facts = {0};
    size_t rows = n * longest(text);
    if (text->cosines)
        facts.positions = clip_arena_take(arena, rows, sizeof *facts.positions);
    if (pools_all(text->tower)) {
        facts.marks = clip_arena_take(arena, rows, 1);
        facts.captions = clip_arena_take(arena, n, sizeof *facts.captions);
    }
    return facts;
}

static void place_memory(void *context)
{
    struct text *text = context;
    size_t row = text->base.width * sizeof(float), rows = text->base.batch * longest(text);
    if (!text->parameter)
        text->facts = place_facts(text, text->base.batch, &text->memory);
    if (pools_all(text->tower))
        text->rows = clip_arena_take(&text->memory, rows, row);
    else if (has_pooler(text))
        text->rows = clip_arena_take(&text->memory, text->base.batch, row);
    if (has_pooler(text) && text->parameter)
        text->room = clip_arena_take(&text->memory, text->base.batch, row);
    if (has_norm(text) && text->parameter)
        text->sums = clip_arena_take(&text->memory, longest(text), row);
}

static int load_weights(struct text *text, const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_tower_arch *arch = text->tower;
    enum clip_level level;
    size_t shape[4];
    int normed = clip_text_shape(arch, CLIP_TEXT_FINAL_WEIGHT, shape);
    int biased = clip_text_shape(arch, CLIP_TEXT_FINAL_BIAS, shape);
    struct clip_transformer_shape transformer = {
        .norm = {normed ? clip_text_name(arch, CLIP_TEXT_FINAL_WEIGHT) : NULL,
                 biased ? clip_text_name(arch, CLIP_TEXT_FINAL_BIAS) : NULL},
        .epsilon = text->epsilon,
        .arch = arch,
        .layers = (size_t)arch->layers,
        .causal = !arch->open_mask,
        .all = pools_all(arch),
        .longest = longest(text) - (arch->class_row || arch->text.flags & CLIP_TEXT_HIDES_PADDING ? 0 : 1),
    };
    if (clip_level_choose(&level, error) != 0 || find_embedding(text, setup, error) != 0 ||
        load_values(text, setup, error) != 0 || make_rotary(text, error) != 0)
        return -1;
    transformer.cosines = text->cosines;
    transformer.sines = text->sines;
    if (text->tower->text.flags & CLIP_TEXT_RELATIVE) {
        text->bias = calloc(heads_of(text) * longest(text), longest(text) * sizeof *text->bias);
        if (!text->bias)
            return clip_fail_memory(error, "the text tower");
        fill_bias(text);
        transformer.bias = text->bias;
        transformer.bias_sums = (size_t)arch->text.buckets * heads_of(text);
        transformer.bias_backward = bias_backward;
        transformer.bias_context = text;
        transformer.bias_gradient = text->values[CLIP_TEXT_BIAS].gradient;
    }
    text->places = calloc(longest(text), sizeof *text->places);
    if (!text->places)
        return clip_fail_memory(error, "the text tower");
    text->kernels = clip_kernels(level);
    text->norms = (struct clip_block_shape){.kernels = text->kernels, .flags = arch->block.flags};
    text->pool = pools_all(arch) ? clip_text_pool_open(setup, text->kernels, longest(text), error) : NULL;
    if (pools_all(arch) && !text->pool)
        return -1;
    text->transformer = clip_transformer_open(setup, text->kernels, &transformer, error);
    if (!text->transformer ||
        clip_arena_build(&text->memory, "the text tower", place_memory, text, error) != 0)
        return -1;
    return setup->parameters ? 0 : clip_transformer_tape_allocate(&text->buffers, text->transformer, error);
}

/* --- tapes --- */

/* A tape of n captions. */
struct tape_plan {
    struct text_tape *tape;
    const struct text *text;
    size_t n;
};

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    struct text_tape *tape = plan->tape;
    const struct text *text = plan->text;
    size_t row = text->base.width * sizeof(float), rows = plan->n * longest(text);
    tape->captions = clip_arena_take(&tape->memory, plan->n, sizeof *tape->captions);
    tape->facts = place_facts(text, plan->n, &tape->memory);
    tape->embedded = has_norm(text) ? clip_arena_take(&tape->memory, rows, row) : NULL;
    if (pools_all(text->tower))
        tape->rows = clip_arena_take(&tape->memory, rows, row);
    else if (has_pooler(text))
        tape->rows = clip_arena_take(&tape->memory, plan->n, row);
    tape->features = has_pooler(text) ? clip_arena_take(&tape->memory, plan->n, row) : NULL;
}

static void tape_free(struct clip_tape *base)
{
    struct text_tape *tape = (struct text_tape *)base;
    clip_transformer_tape_free(&tape->transformer);
    clip_arena_free(&tape->memory);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_tower *base, struct clip_error *error)
{
    const struct text *text = (const struct text *)base;
    struct text_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    struct tape_plan plan = {tape, text, base->batch};
    if (clip_arena_build(&tape->memory, "a tape", place_tape, &plan, error) == 0 &&
        clip_transformer_tape_allocate(&tape->transformer, text->transformer, error) == 0)
        return &tape->base;
    tape_free(&tape->base);
    return NULL;
}

static size_t tape_bytes(const struct clip_tower *base, size_t n)
{
    const struct text *text = (const struct text *)base;
    struct text_tape counted = {0};
    place_tape(&(struct tape_plan){&counted, text, n});
    return counted.memory.used + clip_transformer_tape_bytes(text->transformer, n);
}

/* --- embeddings --- */

/* The embedding of a token; NULL with error. */
static const float *embedding_of(struct text *text, size_t token, struct clip_error *error)
{
    size_t width = text->base.width;
    const float *row = text->embedding ? text->embedding + token * width : text->row;
    if (!text->embedding && clip_model_rows(text->model, clip_text_name(text->tower, CLIP_TEXT_TOKENS), token,
                                            1, width, text->row, error) != 0)
        return NULL;
    if (!text->rounds)
        return row;
    clip_f16_nearest(width, row, text->row);
    return text->row;
}

/* The factor of token embeddings. */
static float scale_of(const struct text *text)
{
    return text->tower->text.flags & CLIP_TEXT_SCALED ? sqrtf((float)text->base.width) : 1;
}

/* The row without a token that stands at `at` of a caption: its values and their gradient. */
static struct clip_values own_row(const struct text *text, const struct clip_caption *caption, size_t at)
{
    const struct clip_values *rows =
        &text->values[text->tower->class_row ? CLIP_TEXT_CLASS : CLIP_TEXT_REGISTERS];
    size_t first = (at - caption->count) * text->base.width;
    return (struct clip_values){rows->value + first, rows->gradient ? rows->gradient + first : NULL, NULL};
}

/* rows[n][width], before a norm, of the caption's tokens at text->places[n]. */
static int embed(struct text *text, const struct clip_caption *caption, size_t n, float *rows,
                 struct clip_error *error)
{
    size_t width = text->base.width;
    float scale = scale_of(text);
    const float *type = value_of(text, CLIP_TEXT_TYPE), *positions = value_of(text, CLIP_TEXT_POSITIONS);
    for (size_t i = 0; i < n; i++, rows += width) {
        size_t at = text->places[i].at;
        const float *row = at >= caption->count ? own_row(text, caption, at).value
                                                : embedding_of(text, (size_t)caption->tokens[at], error);
        if (!row)
            return -1;
        for (size_t c = 0; c < width; c++)
            rows[c] = row[c] * scale;
        if (positions)
            text->kernels->sum(width, rows, positions + text->places[i].position * width, rows);
        if (type)
            text->kernels->sum(width, rows, type, rows);
    }
    return 0;
}

/* x[n][width] = the norm of embedded[n][width], which may be x. */
static void norm_rows(const struct text *text, size_t n, const float *embedded, float *x)
{
    size_t width = text->base.width;
    for (size_t i = 0; i < n; i++)
        clip_block_norm(&text->norms, text->epsilon, width, embedded + i * width,
                        value_of(text, CLIP_TEXT_NORM_WEIGHT), value_of(text, CLIP_TEXT_NORM_BIAS),
                        CLIP_PRECISION_F32, x + i * width);
}

/* The gradient of the embedding of a token, or of a row of its own; NULL where it does not learn, as padding
 * does not in towers that know it. */
static float *embedding_gradient(const struct text *text, const struct clip_caption *caption, size_t at)
{
    if (at >= caption->count)
        return own_row(text, caption, at).gradient;
    if (caption->tokens[at] == text->tower->pad &&
        text->tower->text.flags & (CLIP_TEXT_HIDES_PADDING | CLIP_TEXT_GUARDED))
        return NULL;
    return text->parameter->gradient + (size_t)caption->tokens[at] * text->base.width;
}

/* The gradients of embeddings, of one caption's rows dx[n][width]. */
static void embed_backward(struct text *text, const struct clip_caption *caption, size_t n, const float *dx)
{
    size_t width = text->base.width;
    float scale = scale_of(text), *type = text->values[CLIP_TEXT_TYPE].gradient;
    float *positions = text->values[CLIP_TEXT_POSITIONS].gradient;
    for (size_t i = 0; i < n; i++, dx += width) {
        float *token = embedding_gradient(text, caption, text->places[i].at);
        float *position = positions ? positions + text->places[i].position * width : NULL;
        if (token && scale == 1)
            text->kernels->sum(width, token, dx, token);
        for (size_t c = 0; token && scale != 1 && c < width; c++)
            token[c] += dx[c] * scale;
        if (position)
            text->kernels->sum(width, position, dx, position);
        if (type)
            text->kernels->sum(width, type, dx, type);
    }
}

/* --- pools --- */

/* features[n][width] = tanh(W x + b) of x[n][width]; each by itself, so that a batch changes no byte. */
static void pooler_forward(const struct text *text, size_t n, const float *x, float *features)
{
    size_t width = text->base.width;
    for (size_t i = 0; i < n; i++, x += width, features += width) {
        clip_gemm(0, 1, 1, width, width, x, width, value_of(text, CLIP_TEXT_POOLER_WEIGHT), width, 0,
                  features, width);
        for (size_t c = 0; c < width; c++)
            features[c] = tanhf(features[c] + value_of(text, CLIP_TEXT_POOLER_BIAS)[c]);
    }
}

/* text->rows[n][width], the gradient of what it read. */
static void pooler_backward(struct text *text, size_t n, const float *x, const float *features,
                            const float *gradients)
{
    size_t width = text->base.width;
    for (size_t i = 0; i < n * width; i++)
        text->room[i] = gradients[i] * (1 - features[i] * features[i]);
    clip_gemm(0, 0, n, width, width, text->room, width, value_of(text, CLIP_TEXT_POOLER_WEIGHT), width, 0,
              text->rows, width);
    clip_gemm(1, 0, width, width, n, text->room, width, x, width, 1,
              text->values[CLIP_TEXT_POOLER_WEIGHT].gradient, width);
    text->kernels->column_sums(n, width, text->room, width, CLIP_PRECISION_F32,
                               text->values[CLIP_TEXT_POOLER_BIAS].gradient);
}

/* --- running --- */

/* Says of the n rows of caption s, which begin at `row`, where they stand and which a pool takes. */
static void note_rows(const struct text *text, const struct clip_caption *caption, size_t s, size_t row,
                      size_t n, const struct row_facts *facts)
{
    for (size_t i = 0; facts->positions && i < n; i++)
        facts->positions[row + i] = text->places[i].position;
    if (!facts->marks)
        return;
    facts->captions[s] = (struct clip_pooled){row, n};
    for (size_t i = 0; i < n; i++) {
        size_t at = text->places[i].at;
        facts->marks[row + i] = at < caption->count && !is_padding(text->tower, caption, at);
    }
}

/* The sequences of a batch, and their rows of the blocks. Positions that the features do not see are not
 * computed. */
static int embed_all(struct text *text, const union clip_item *items, size_t n,
                     struct clip_transformer_tape *tape, struct text_tape *kept, struct clip_error *error)
{
    size_t row = 0, width = text->base.width;
    const struct row_facts *facts = kept ? &kept->facts : &text->facts;
    tape->count = n;
    tape->positions = facts->positions;
    for (size_t s = 0; s < n; s++) {
        const struct clip_caption *caption = &items[s].caption;
        size_t keys, feature, length = list_rows(text->tower, caption, text->places, &keys, &feature);
        float *x = tape->layers[0].x + row * width,
              *embedded = kept && kept->embedded ? kept->embedded + row * width : x;
        if (kept)
            kept->captions[s] = *caption;
        note_rows(text, caption, s, row, length, facts);
        tape->sequences[s] = (struct clip_sequence){row, length, keys, feature};
        if (embed(text, caption, length, embedded, error) != 0)
            return -1;
        if (has_norm(text))
            norm_rows(text, length, embedded, x);
        row += length;
    }
    return 0;
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *features, struct clip_error *error)
{
    (void)again;
    struct text *text = (struct text *)base;
    struct text_tape *kept = (struct text_tape *)to;
    struct clip_transformer_tape *tape = kept ? &kept->transformer : &text->buffers;
    const struct row_facts *facts = kept ? &kept->facts : &text->facts;
    if (n == 0)
        return 0;
    float *rows = !text->pool && !has_pooler(text) ? features : kept ? kept->rows : text->rows;
    if (embed_all(text, items, n, tape, kept, error) != 0 ||
        clip_transformer_forward(text->transformer, tape, rows, error) != 0)
        return -1;
    if (text->pool &&
        clip_text_pool_forward(text->pool, n, facts->captions, rows, facts->marks, features, error) != 0)
        return -1;
    if (has_pooler(text))
        pooler_forward(text, n, rows, features);
    if (kept && kept->features)
        memcpy(kept->features, features, n * base->width * sizeof *features);
    return 0;
}

/* The gradient of what the blocks gave. NULL with error. */
static const float *features_backward(struct text *text, const struct text_tape *tape, const float *gradients,
                                      struct clip_error *error)
{
    size_t n = tape->transformer.count;
    if (has_pooler(text))
        pooler_backward(text, n, tape->rows, tape->features, gradients);
    if (text->pool && clip_text_pool_backward(text->pool, n, tape->facts.captions, tape->rows,
                                              tape->facts.marks, gradients, text->rows, error) != 0)
        return NULL;
    return text->rows ? text->rows : gradients;
}

/* The gradients of the embeddings, which are sums over rows, in their order. */
static int backward(struct clip_tower *base, struct clip_tape *from, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)input_gradients;
    struct text *text = (struct text *)base;
    const struct text_tape *tape = (const struct text_tape *)from;
    size_t width = base->width;
    const float *dx, *dout = features_backward(text, tape, gradients, error);
    if (!dout || clip_transformer_backward(text->transformer, &tape->transformer, dout, &dx, error) != 0)
        return -1;
    for (size_t s = 0; s < tape->transformer.count; s++) {
        const struct clip_caption *caption = &tape->captions[s];
        size_t keys, feature, n = list_rows(text->tower, caption, text->places, &keys, &feature);
        size_t at = tape->transformer.sequences[s].first * width;
        if (has_norm(text))
            memset(text->sums, 0, n * width * sizeof *text->sums);
        for (size_t i = 0; has_norm(text) && i < n; i++)
            clip_block_norm_backward(&text->norms, text->epsilon, width, tape->embedded + at + i * width,
                                     value_of(text, CLIP_TEXT_NORM_WEIGHT), dx + at + i * width,
                                     text->sums + i * width, text->values[CLIP_TEXT_NORM_WEIGHT].gradient,
                                     text->values[CLIP_TEXT_NORM_BIAS].gradient);
        embed_backward(text, caption, n, has_norm(text) ? text->sums : dx + at);
    }
    return 0;
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    fill_bias((struct text *)base);
    if (((struct text *)base)->pool)
        clip_text_pool_refresh(((struct text *)base)->pool);
    return clip_transformer_refresh(((struct text *)base)->transformer, error);
}

static size_t memory_bytes(const struct clip_tower *base)
{
    const struct text *text = (const struct text *)base;
    size_t pool = text->pool ? clip_text_pool_bytes(text->pool) : 0;
    return text->memory.size + pool + clip_transformer_bytes(text->transformer);
}

static const struct clip_tower_type type = {free_text,    forward,  backward,  refresh,
                                            memory_bytes, tape_new, tape_free, tape_bytes};

static struct clip_tower *open_text(const struct clip_tower_setup *setup, struct clip_error *error)
{
    struct text *text = calloc(1, sizeof *text);
    if (!text) {
        clip_fail_memory(error, "the text tower");
        return NULL;
    }
    text->base = (struct clip_tower){&type, (size_t)setup->arch->text.width, setup->batch};
    text->tower = &setup->arch->text;
    text->epsilon = clip_block_epsilon(&text->tower->block);
    text->model = setup->model;
    if (load_weights(text, setup, error) == 0)
        return &text->base;
    free_text(&text->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_text = {&clip_kind_text, 0, open_text};
const struct clip_tower_kind clip_tower_modern = {&clip_kind_modern, 0, open_text};
const struct clip_tower_kind clip_tower_hftext = {&clip_kind_hftext, 0, open_text};
