/* The attention pool of CLIP's ResNets.
 *
 * There is one query, so keys and values of single tokens are not computed (math/probe.h). A head is three
 * products of one row a picture (q; K' q, its probe; V z of its mix z) and two small ones with the pixels as
 * they are: a twentieth of the operations. */
#include "tower/attnpool.h"

#include "base/crew.h"
#include "math/conv-kernels.h"
#include "math/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pictures of one product. */
enum { ROWS = 32 };

/* Of a pool for inference: prepared products. */
struct head {
    struct clip_operand query, key, value; /* [head width, width]; key transposed */
};

/* A thread's scratch. */
struct workspace {
    float *in, *out; /* [ROWS][width] */
    void *elements;  /* [ROWS][width] in the engine's element */
    float *scores;   /* [heads][tokens] */
    void *product;   /* for clip_product */
};

/* The backward's gradients, of a pool that learns. */
struct back {
    float *dx;      /* [batch][tokens][width] */
    float *queries; /* [batch][width] */
    float *probes;  /* [heads][batch][width] */
    float *mixes;   /* [heads][batch][width] */
};

struct clip_attnpool {
    int learns;
    struct clip_engine *engine;
    struct clip_pool *pool;
    enum clip_precision type; /* the engine's */
    const struct clip_kernels *kernels;
    const struct clip_conv_kernels *conv_kernels;
    size_t tokens, width, heads, head_width; /* a token is a pixel; the first is their mean */
    size_t batch;                            /* where it does not learn a multiple of ROWS */
    struct clip_values positions;            /* [tokens][width] */
    struct projection {
        struct clip_values weight, bias; /* [width][width], where it learns; [width] */
    } query, key, value;
    struct head *head; /* [heads], where it does not learn */
    size_t product;    /* bytes for clip_product */
    struct clip_arena arena;
    float *x;                     /* [batch][tokens][width] */
    float *mixes;                 /* [batch / ROWS][heads][ROWS][width]: probes, then mixes */
    struct workspace *workspaces; /* [threads] */
    struct back back;
    struct clip_crew crew;
    /* the run that is under way */
    size_t count;
    const float *in;
    float *features, *out;
    const float *gradients;
    const struct clip_attnpool_tape *tape;
};

/* --- opening --- */

static void free_projection(struct projection *projection)
{
    clip_values_free(&projection->weight);
    clip_values_free(&projection->bias);
}

void clip_attnpool_free(struct clip_attnpool *attn)
{
    if (!attn)
        return;
    for (size_t h = 0; attn->head && h < attn->heads; h++) {
        clip_operand_free(&attn->head[h].query);
        clip_operand_free(&attn->head[h].key);
        clip_operand_free(&attn->head[h].value);
    }
    free(attn->head);
    clip_values_free(&attn->positions);
    free_projection(&attn->query);
    free_projection(&attn->key);
    free_projection(&attn->value);
    clip_arena_free(&attn->arena);
    clip_crew_destroy(&attn->crew);
    free(attn);
}

static int load_part(struct clip_attnpool *attn, struct clip_operand *operand,
                     const struct clip_tower_setup *setup, const char *name, size_t h, int transposed,
                     struct clip_error *error)
{
    struct clip_operand_part part = {
        .name = name, .first = h * attn->head_width, .count = attn->head_width, .transposed = transposed};
    if (clip_operand_load(operand, setup, ROWS, &part, error) != 0)
        return -1;
    size_t bytes = clip_operand_scratch(operand);
    attn->product = bytes > attn->product ? bytes : attn->product;
    return 0;
}

static int load_heads(struct clip_attnpool *attn, const struct clip_tower_setup *setup,
                      struct clip_error *error)
{
    attn->head = calloc(attn->heads, sizeof *attn->head);
    if (!attn->head)
        return clip_fail_memory(error, "the attention pool");
    for (size_t h = 0; h < attn->heads; h++) {
        struct head *head = &attn->head[h];
        if (load_part(attn, &head->query, setup, "visual.attnpool.q_proj.weight", h, 0, error) != 0 ||
            load_part(attn, &head->key, setup, "visual.attnpool.k_proj.weight", h, 1, error) != 0 ||
            load_part(attn, &head->value, setup, "visual.attnpool.v_proj.weight", h, 0, error) != 0)
            return -1;
    }
    return 0;
}

static int load_weights(struct clip_attnpool *attn, const struct clip_tower_setup *setup,
                        struct clip_error *error)
{
    if (clip_values_load(&attn->query.weight, setup, error, "visual.attnpool.q_proj.weight") != 0 ||
        clip_values_load(&attn->key.weight, setup, error, "visual.attnpool.k_proj.weight") != 0)
        return -1;
    return clip_values_load(&attn->value.weight, setup, error, "visual.attnpool.v_proj.weight");
}

static void place_run(struct clip_attnpool *attn)
{
    struct clip_arena *arena = &attn->arena;
    size_t threads = (size_t)clip_pool_threads(attn->pool), row = attn->width * sizeof(float);
    attn->x = clip_arena_take(arena, attn->batch, attn->tokens * row);
    attn->mixes = clip_arena_take(arena, attn->batch, attn->heads * row);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = {
            .in = clip_arena_take(arena, ROWS, row),
            .out = clip_arena_take(arena, ROWS, row),
            .elements = clip_arena_take(arena, ROWS, row),
            .scores = clip_arena_take(arena, attn->heads, attn->tokens * sizeof(float)),
            .product = clip_arena_take(arena, attn->product, 1),
        };
        if (attn->workspaces)
            attn->workspaces[i] = workspace;
    }
}

static void place_backward(struct clip_attnpool *attn)
{
    struct clip_arena *arena = &attn->arena;
    size_t threads = (size_t)clip_pool_threads(attn->pool), row = attn->width * sizeof(float);
    attn->back.dx = clip_arena_take(arena, attn->batch, attn->tokens * row);
    attn->back.queries = clip_arena_take(arena, attn->batch, row);
    attn->back.probes = clip_arena_take(arena, attn->batch, attn->heads * row);
    attn->back.mixes = clip_arena_take(arena, attn->batch, attn->heads * row);
    for (size_t i = 0; i < threads; i++) {
        float *scores = clip_arena_take(arena, attn->heads, attn->tokens * sizeof *scores);
        if (attn->workspaces)
            attn->workspaces[i] = (struct workspace){.scores = scores};
    }
}

static void place_buffers(void *context)
{
    struct clip_attnpool *attn = context;
    attn->workspaces =
        clip_arena_take(&attn->arena, (size_t)clip_pool_threads(attn->pool), sizeof *attn->workspaces);
    (attn->learns ? place_backward : place_run)(attn);
}

static int load_pool(struct clip_attnpool *attn, const struct clip_tower_setup *setup,
                     struct clip_error *error)
{
    if ((attn->learns ? load_weights : load_heads)(attn, setup, error) != 0 ||
        clip_values_load(&attn->positions, setup, error, "visual.attnpool.positional_embedding") != 0 ||
        clip_values_load(&attn->query.bias, setup, error, "visual.attnpool.q_proj.bias") != 0 ||
        clip_values_load(&attn->value.bias, setup, error, "visual.attnpool.v_proj.bias") != 0)
        return -1;
    return clip_arena_build(&attn->arena, "the attention pool", place_buffers, attn, error);
}

struct clip_attnpool *clip_attnpool_open(const struct clip_tower_setup *setup, size_t pixels,
                                         struct clip_error *error)
{
    enum clip_level level;
    size_t width = clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), batch = setup->batch;
    size_t heads = (size_t)setup->arch->vision.heads;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_attnpool *attn = calloc(1, sizeof *attn);
    if (!attn) {
        clip_fail_memory(error, "the attention pool");
        return NULL;
    }
    *attn = (struct clip_attnpool){
        .learns = setup->parameters != NULL,
        .engine = setup->engine,
        .pool = setup->pool,
        .type = clip_engine_precision(setup->engine),
        .kernels = clip_kernels(level),
        .conv_kernels = clip_conv_kernels(level),
        .tokens = pixels + 1,
        .width = width,
        .heads = heads,
        .head_width = width / heads,
        .batch = setup->parameters ? batch : (batch + ROWS - 1) / ROWS * ROWS,
    };
    clip_crew_init(&attn->crew);
    if (load_pool(attn, setup, error) == 0)
        return attn;
    clip_attnpool_free(attn);
    return NULL;
}

size_t clip_attnpool_bytes(const struct clip_attnpool *attn)
{
    return attn->arena.size;
}

/* --- shared by both forwards --- */

static void make_tokens(const struct clip_kernels *kernels, size_t pixels, size_t width,
                        const float *positions, float *tokens)
{
    memset(tokens, 0, width * sizeof *tokens);
    for (size_t pixel = 1; pixel <= pixels; pixel++)
        kernels->sum(width, tokens, tokens + pixel * width, tokens);
    for (size_t c = 0; c < width; c++)
        tokens[c] /= (float)pixels;
    kernels->sum((pixels + 1) * width, tokens, positions, tokens);
}

/* --- forward without a tape --- */

void clip_attnpool_put(struct clip_attnpool *attn, size_t i, const void *x)
{
    size_t width = attn->width, pixels = attn->tokens - 1;
    float *tokens = attn->x + i * attn->tokens * width;
    if (attn->type == CLIP_PRECISION_BF16)
        attn->conv_kernels->widen(x, pixels * width, tokens + width);
    else
        memcpy(tokens + width, x, pixels * width * sizeof *tokens);
    make_tokens(attn->kernels, pixels, width, attn->positions.value, tokens);
}

/* x[n] in the engine's element: x itself, or a copy in the workspace. */
static const void *elements(const struct clip_attnpool *attn, const float *x, size_t n,
                            const struct workspace *workspace)
{
    if (attn->type == CLIP_PRECISION_F32)
        return x;
    attn->kernels->convert(n, x, attn->type, workspace->elements);
    return workspace->elements;
}

/* A task: the probes of one head, for ROWS pictures. */
static int probe_task(void *context, size_t task, int thread, struct clip_error *error)
{
    struct clip_attnpool *attn = context;
    const struct workspace *workspace = &attn->workspaces[thread];
    size_t first = task / attn->heads * ROWS, h = task % attn->heads;
    size_t width = attn->width, head_width = attn->head_width;
    const float *bias = attn->query.bias.value + h * head_width;
    float *q = workspace->out, scale = 1 / sqrtf((float)head_width);
    for (size_t row = 0; row < ROWS; row++)
        if (first + row < attn->count)
            memcpy(workspace->in + row * width, attn->x + (first + row) * attn->tokens * width,
                   width * sizeof *q);
        else
            memset(workspace->in + row * width, 0, width * sizeof *q);
    if (clip_product(attn->head[h].query.forward, elements(attn, workspace->in, ROWS * width, workspace), q,
                     workspace->product, error) != 0)
        return -1;
    for (size_t i = 0; i < ROWS * head_width; i++)
        q[i] = scale * (q[i] + bias[i % head_width]);
    return clip_product(attn->head[h].key.forward, elements(attn, q, ROWS * head_width, workspace),
                        attn->mixes + task * ROWS * width, workspace->product, error);
}

/* A task: the probes of a picture become its mixes. */
static int mix_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)error;
    struct clip_attnpool *attn = context;
    size_t width = attn->width, tokens = attn->tokens;
    float *mixes = attn->mixes + (i / ROWS * attn->heads * ROWS + i % ROWS) * width;
    struct clip_probes probes = {
        .count = attn->heads,
        .tokens = tokens,
        .width = width,
        .stride = ROWS * width,
        .probes = mixes,
        .x = attn->x + i * tokens * width,
        .weights = attn->workspaces[thread].scores,
    };
    clip_probes_mix(&probes, mixes);
    return 0;
}

/* A task: the features of one head, for ROWS pictures. */
static int value_task(void *context, size_t task, int thread, struct clip_error *error)
{
    struct clip_attnpool *attn = context;
    const struct workspace *workspace = &attn->workspaces[thread];
    size_t first = task / attn->heads * ROWS, h = task % attn->heads;
    size_t width = attn->width, head_width = attn->head_width;
    const float *mixes = attn->mixes + task * ROWS * width;
    const float *bias = attn->value.bias.value + h * head_width;
    if (clip_product(attn->head[h].value.forward, elements(attn, mixes, ROWS * width, workspace),
                     workspace->out, workspace->product, error) != 0)
        return -1;
    for (size_t row = 0; row < ROWS && first + row < attn->count; row++)
        attn->kernels->sum(head_width, workspace->out + row * head_width, bias,
                           attn->features + (first + row) * width + h * head_width);
    return 0;
}

int clip_attnpool_run(struct clip_attnpool *attn, size_t n, float *features, struct clip_error *error)
{
    size_t tasks = (n + ROWS - 1) / ROWS * attn->heads;
    attn->count = n;
    attn->features = features;
    if (clip_crew_run(&attn->crew, attn->pool, tasks, probe_task, attn, error) != 0 ||
        clip_crew_run(&attn->crew, attn->pool, n, mix_task, attn, error) != 0)
        return -1;
    return clip_crew_run(&attn->crew, attn->pool, tasks, value_task, attn, error);
}

void clip_attnpool_tape_place(const struct clip_attnpool *attn, size_t n, struct clip_arena *arena,
                              struct clip_attnpool_tape *tape)
{
    size_t row = attn->width * sizeof(float);
    *tape = (struct clip_attnpool_tape){
        .x = clip_arena_take(arena, n, attn->tokens * row),
        .queries = clip_arena_take(arena, n, row),
        .probes = clip_arena_take(arena, n, attn->heads * row),
        .weights = clip_arena_take(arena, n, attn->heads * attn->tokens * sizeof(float)),
        .mixes = clip_arena_take(arena, n, attn->heads * row),
    };
}

/* --- forward with a tape --- */

/* A task: the tokens of a picture. */
static void tokens_chunk_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width, pixels = attn->tokens - 1;
    float *tokens = attn->tape->x + i * attn->tokens * width;
    memcpy(tokens + width, attn->in + i * pixels * width, pixels * width * sizeof *tokens);
    make_tokens(attn->kernels, pixels, width, attn->positions.value, tokens);
}

/* A task: queries and probes of a head. */
static void probe_chunk_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count;
    float *queries = attn->tape->queries + h * dim, scale = 1 / sqrtf((float)dim);
    const float *bias = attn->query.bias.value + h * dim;
    clip_gemm(0, 1, n, dim, width, attn->tape->x, attn->tokens * width,
              attn->query.weight.value + h * dim * width, width, 0, queries, width);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++)
            queries[i * width + d] = scale * (queries[i * width + d] + bias[d]);
    clip_gemm(0, 0, n, width, dim, queries, width, attn->key.weight.value + h * dim * width, width, 0,
              attn->tape->probes + h * n * width, width);
}

/* The probes of picture i of the tape. */
static struct clip_probes probes_of(const struct clip_attnpool *attn, size_t i)
{
    const struct clip_attnpool_tape *tape = attn->tape;
    size_t width = attn->width, tokens = attn->tokens;
    return (struct clip_probes){
        .count = attn->heads,
        .tokens = tokens,
        .width = width,
        .stride = attn->count * width,
        .probes = tape->probes + i * width,
        .x = tape->x + i * tokens * width,
        .weights = tape->weights + i * attn->heads * tokens,
    };
}

/* A task: the mixes of a picture. */
static void mix_chunk_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    struct clip_probes probes = probes_of(attn, i);
    clip_probes_mix(&probes, attn->tape->mixes + i * attn->width);
}

/* A task: features of a head. */
static void value_chunk_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count;
    const float *bias = attn->value.bias.value + h * dim;
    float *out = attn->out + h * dim;
    clip_gemm(0, 1, n, dim, width, attn->tape->mixes + h * n * width, width,
              attn->value.weight.value + h * dim * width, width, 0, out, width);
    for (size_t i = 0; i < n; i++)
        attn->kernels->sum(dim, out + i * width, bias, out + i * width);
}

void clip_attnpool_forward(struct clip_attnpool *attn, size_t n, const float *x,
                           const struct clip_attnpool_tape *tape, float *features)
{
    attn->count = n;
    attn->in = x;
    attn->tape = tape;
    attn->out = features;
    clip_pool_run(attn->pool, n, tokens_chunk_task, attn);
    clip_pool_run(attn->pool, attn->heads, probe_chunk_task, attn);
    clip_pool_run(attn->pool, n, mix_chunk_task, attn);
    clip_pool_run(attn->pool, attn->heads, value_chunk_task, attn);
}

/* --- backward --- */

/* bias[dim] += the sum of rows[n][dim], `width` apart. */
static void add_rows(const struct clip_attnpool *attn, const float *rows, float *bias)
{
    for (size_t i = 0; i < attn->count; i++)
        attn->kernels->sum(attn->head_width, bias, rows + i * attn->width, bias);
}

/* A task: the gradients of a head's values and of its mixes. */
static void value_back_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count;
    const float *dy = attn->gradients + h * dim;
    clip_gemm(1, 0, dim, width, n, dy, width, attn->tape->mixes + h * n * width, width, 1,
              attn->value.weight.gradient + h * dim * width, width);
    add_rows(attn, dy, attn->value.bias.gradient + h * dim);
    clip_gemm(0, 0, n, width, dim, dy, width, attn->value.weight.value + h * dim * width, width, 0,
              attn->back.mixes + h * n * width, width);
}

/* A task: the backward of a picture's attention. */
static void mix_back_task(void *context, size_t i, int thread)
{
    const struct clip_attnpool *attn = context;
    struct clip_probes probes = probes_of(attn, i);
    clip_probes_mix_backward(&probes, attn->back.mixes + i * attn->width, attn->workspaces[thread].scores,
                             attn->back.dx + i * attn->tokens * attn->width,
                             attn->back.probes + i * attn->width);
}

/* A task: the gradients of a head's keys and queries. */
static void probe_back_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count, at = h * dim * width;
    const float *probes = attn->back.probes + h * n * width;
    float *queries = attn->back.queries + h * dim, scale = 1 / sqrtf((float)dim);
    clip_gemm(1, 0, dim, width, n, attn->tape->queries + h * dim, width, probes, width, 1,
              attn->key.weight.gradient + at, width);
    clip_gemm(0, 1, n, dim, width, probes, width, attn->key.weight.value + at, width, 0, queries, width);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++)
            queries[i * width + d] *= scale;
    add_rows(attn, queries, attn->query.bias.gradient + h * dim);
    clip_gemm(1, 0, dim, width, n, queries, width, attn->tape->x, attn->tokens * width, 1,
              attn->query.weight.gradient + at, width);
}

/* A task: for ROWS pictures the gradient of the mean token, from which the queries came, and then of the
 * pixels. */
static void pixels_back_task(void *context, size_t task, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width, tokens = attn->tokens, pixels = tokens - 1, first = task * ROWS;
    size_t count = attn->count - first < ROWS ? attn->count - first : ROWS;
    float *dx = attn->back.dx + first * tokens * width, *out = attn->out + first * pixels * width;
    clip_gemm(0, 0, count, width, width, attn->back.queries + first * width, width, attn->query.weight.value,
              width, 1, dx, tokens * width);
    for (size_t i = 0; i < count; i++, dx += tokens * width)
        for (size_t pixel = 1; pixel < tokens; pixel++, out += width)
            for (size_t c = 0; c < width; c++)
                out[c] = dx[pixel * width + c] + dx[c] / (float)pixels;
}

/* A task: the gradient of a token's position. */
static void position_back_task(void *context, size_t token, int thread)
{
    (void)thread;
    const struct clip_attnpool *attn = context;
    size_t width = attn->width;
    float *gradient = attn->positions.gradient + token * width;
    for (size_t i = 0; i < attn->count; i++)
        attn->kernels->sum(width, gradient, attn->back.dx + (i * attn->tokens + token) * width, gradient);
}

void clip_attnpool_backward(struct clip_attnpool *attn, size_t n, const struct clip_attnpool_tape *tape,
                            const float *gradients, float *dx)
{
    attn->count = n;
    attn->tape = tape;
    attn->gradients = gradients;
    attn->out = dx;
    clip_pool_run(attn->pool, attn->heads, value_back_task, attn);
    clip_pool_run(attn->pool, n, mix_back_task, attn);
    clip_pool_run(attn->pool, attn->heads, probe_back_task, attn);
    clip_pool_run(attn->pool, (n + ROWS - 1) / ROWS, pixels_back_task, attn);
    clip_pool_run(attn->pool, attn->tokens, position_back_task, attn);
}
