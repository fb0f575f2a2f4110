/* One query a picture, as tower/attnpool.c says: with the query q of a head, made of the mean token, its
 * probe p = K' q, the weights a = softmax(x . p) over the tokens x, the mix z = sum a x and its features V z
 * + v.
 *
 * Backward, of the features' gradient dy: dV = dy z', dz = V' dy, da = x . dz, ds = a (da - sum a da),
 * dx = a dz + ds p, dp = sum ds x, dK = q dp', dq = K dp, and the query's own. The bias of the keys adds the
 * same to the scores of all tokens, so its gradient is 0. */
#include "tower/attnpool-learner.h"

#include "math/kernels.h"
#include "math/product.h"
#include "tower/attnpool.h"
#include "tower/tower.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pictures of one product behind the queries. */
enum { ROWS = 32 };

struct projection {
    struct clip_parameter *weight, *bias; /* [width][width], [width] */
};

struct clip_attnpool_learner {
    struct clip_pool *pool;
    const struct clip_kernels *kernels;
    size_t tokens, width, heads, head_width, chunk;
    struct projection query, key, value;
    struct clip_parameter *positions; /* [tokens][width] */
    struct clip_arena arena;
    float *dx;       /* [chunk][tokens][width] */
    float *queries;  /* [chunk][width]: their gradients, as are */
    float *probes;   /* [heads][chunk][width] */
    float *mixes;    /* [heads][chunk][width] */
    float **scores;  /* [threads][heads][tokens] */
    const float *in; /* the run that is under way */
    float *out;
    const float *gradients;
    const struct clip_attnpool_tape *tape;
    size_t count;
};

/* --- opening --- */

static void place(void *context)
{
    struct clip_attnpool_learner *attn = context;
    struct clip_arena *arena = &attn->arena;
    size_t row = attn->width * sizeof(float), threads = (size_t)clip_pool_threads(attn->pool);
    attn->dx = clip_arena_take(arena, attn->chunk, attn->tokens * row);
    attn->queries = clip_arena_take(arena, attn->chunk, row);
    attn->probes = clip_arena_take(arena, attn->chunk, attn->heads * row);
    attn->mixes = clip_arena_take(arena, attn->chunk, attn->heads * row);
    attn->scores = clip_arena_take(arena, threads, sizeof *attn->scores);
    for (size_t i = 0; i < threads; i++) {
        float *scores = clip_arena_take(arena, attn->heads, attn->tokens * sizeof *scores);
        if (attn->scores)
            attn->scores[i] = scores;
    }
}

static struct projection find(const struct clip_parameters *parameters, const char *name)
{
    return (struct projection){clip_parameters_get(parameters, "visual.attnpool.%s.weight", name),
                               clip_parameters_get(parameters, "visual.attnpool.%s.bias", name)};
}

struct clip_attnpool_learner *clip_attnpool_learner_open(const struct clip_arch *arch,
                                                         const struct clip_parameters *parameters,
                                                         struct clip_pool *pool, size_t pixels, size_t chunk,
                                                         struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_attnpool_learner *attn = calloc(1, sizeof *attn);
    if (!attn) {
        clip_fail_memory(error, "the attention pool");
        return NULL;
    }
    size_t width = clip_feature_width(arch, CLIP_SIDE_IMAGE), heads = (size_t)arch->vision.heads;
    *attn = (struct clip_attnpool_learner){
        .pool = pool,
        .kernels = clip_kernels(level),
        .tokens = pixels + 1,
        .width = width,
        .heads = heads,
        .head_width = width / heads,
        .chunk = chunk,
        .query = find(parameters, "q_proj"),
        .key = find(parameters, "k_proj"),
        .value = find(parameters, "v_proj"),
        .positions = clip_parameters_get(parameters, "visual.attnpool.positional_embedding"),
    };
    if (clip_arena_build(&attn->arena, "the attention pool", place, attn, error) == 0)
        return attn;
    clip_attnpool_learner_free(attn);
    return NULL;
}

void clip_attnpool_learner_free(struct clip_attnpool_learner *attn)
{
    if (!attn)
        return;
    clip_arena_free(&attn->arena);
    free(attn);
}

size_t clip_attnpool_learner_bytes(const struct clip_attnpool_learner *attn)
{
    return attn->arena.size;
}

void clip_attnpool_tape_place(const struct clip_attnpool_learner *attn, size_t n, struct clip_arena *arena,
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

/* --- forward --- */

/* A task: the tokens of a picture. */
static void tokens_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, pixels = attn->tokens - 1;
    float *tokens = attn->tape->x + i * attn->tokens * width;
    memcpy(tokens + width, attn->in + i * pixels * width, pixels * width * sizeof *tokens);
    clip_attnpool_tokens(attn->kernels, pixels, width, attn->positions->value, tokens);
}

/* A task: queries and probes of a head. */
static void probe_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count;
    float *queries = attn->tape->queries + h * dim, scale = 1 / sqrtf((float)dim);
    const float *bias = attn->query.bias->value + h * dim;
    clip_gemm(0, 1, n, dim, width, attn->tape->x, attn->tokens * width,
              attn->query.weight->value + h * dim * width, width, 0, queries, width);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++)
            queries[i * width + d] = scale * (queries[i * width + d] + bias[d]);
    clip_gemm(0, 0, n, width, dim, queries, width, attn->key.weight->value + h * dim * width, width, 0,
              attn->tape->probes + h * n * width, width);
}

/* A task: the mixes of a picture. */
static void mix_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    const struct clip_attnpool_tape *tape = attn->tape;
    size_t width = attn->width, tokens = attn->tokens, heads = attn->heads;
    clip_attnpool_mix(heads, tokens, width, tape->x + i * tokens * width, tape->probes + i * width,
                      attn->count * width, tape->weights + i * heads * tokens, tape->mixes + i * width);
}

/* A task: features of a head. */
static void value_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count;
    const float *bias = attn->value.bias->value + h * dim;
    float *out = attn->out + h * dim;
    clip_gemm(0, 1, n, dim, width, attn->tape->mixes + h * n * width, width,
              attn->value.weight->value + h * dim * width, width, 0, out, width);
    for (size_t i = 0; i < n; i++)
        attn->kernels->sum(dim, out + i * width, bias, out + i * width);
}

void clip_attnpool_learner_forward(struct clip_attnpool_learner *attn, size_t n, const float *x,
                                   const struct clip_attnpool_tape *tape, float *features)
{
    attn->count = n;
    attn->in = x;
    attn->tape = tape;
    attn->out = features;
    clip_pool_run(attn->pool, n, tokens_task, attn);
    clip_pool_run(attn->pool, attn->heads, probe_task, attn);
    clip_pool_run(attn->pool, n, mix_task, attn);
    clip_pool_run(attn->pool, attn->heads, value_task, attn);
}

/* --- backward --- */

/* bias[dim] += the sum of rows[n][dim], `width` apart. */
static void add_rows(const struct clip_attnpool_learner *attn, const float *rows, float *bias)
{
    for (size_t i = 0; i < attn->count; i++)
        attn->kernels->sum(attn->head_width, bias, rows + i * attn->width, bias);
}

/* A task: values of a head, and the gradient of its mixes. */
static void value_back_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count;
    const float *dy = attn->gradients + h * dim;
    clip_gemm(1, 0, dim, width, n, dy, width, attn->tape->mixes + h * n * width, width, 1,
              attn->value.weight->gradient + h * dim * width, width);
    add_rows(attn, dy, attn->value.bias->gradient + h * dim);
    clip_gemm(0, 0, n, width, dim, dy, width, attn->value.weight->value + h * dim * width, width, 0,
              attn->mixes + h * n * width, width);
}

/* A task: attention of a picture. */
static void mix_back_task(void *context, size_t i, int thread)
{
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, tokens = attn->tokens, heads = attn->heads, step = attn->count * width;
    const float *x = attn->tape->x + i * tokens * width, *weights = attn->tape->weights + i * heads * tokens;
    const float *mixes = attn->mixes + i * width;
    float *scores = attn->scores[thread], *dx = attn->dx + i * tokens * width;
    clip_gemm(0, 1, heads, tokens, width, mixes, step, x, width, 0, scores, tokens);
    for (size_t h = 0; h < heads; h++) {
        const float *a = weights + h * tokens;
        float *s = scores + h * tokens, mean = 0;
        for (size_t t = 0; t < tokens; t++)
            mean += a[t] * s[t];
        for (size_t t = 0; t < tokens; t++)
            s[t] = a[t] * (s[t] - mean);
    }
    clip_gemm(1, 0, tokens, width, heads, weights, tokens, mixes, step, 0, dx, width);
    clip_gemm(1, 0, tokens, width, heads, scores, tokens, attn->tape->probes + i * width, step, 1, dx, width);
    clip_gemm(0, 0, heads, width, tokens, scores, tokens, x, width, 0, attn->probes + i * width, step);
}

/* A task: keys and queries of a head. */
static void probe_back_task(void *context, size_t h, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, dim = attn->head_width, n = attn->count, at = h * dim * width;
    const float *probes = attn->probes + h * n * width;
    float *queries = attn->queries + h * dim, scale = 1 / sqrtf((float)dim);
    clip_gemm(1, 0, dim, width, n, attn->tape->queries + h * dim, width, probes, width, 1,
              attn->key.weight->gradient + at, width);
    clip_gemm(0, 1, n, dim, width, probes, width, attn->key.weight->value + at, width, 0, queries, width);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < dim; d++)
            queries[i * width + d] *= scale;
    add_rows(attn, queries, attn->query.bias->gradient + h * dim);
    clip_gemm(1, 0, dim, width, n, queries, width, attn->tape->x, attn->tokens * width, 1,
              attn->query.weight->gradient + at, width);
}

/* A task: of ROWS pictures the mean token, which the queries were made of, and then the pixels. */
static void pixels_back_task(void *context, size_t task, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width, tokens = attn->tokens, pixels = tokens - 1, first = task * ROWS;
    size_t count = attn->count - first < ROWS ? attn->count - first : ROWS;
    float *dx = attn->dx + first * tokens * width, *out = attn->out + first * pixels * width;
    clip_gemm(0, 0, count, width, width, attn->queries + first * width, width, attn->query.weight->value,
              width, 1, dx, tokens * width);
    for (size_t i = 0; i < count; i++, dx += tokens * width)
        for (size_t pixel = 1; pixel < tokens; pixel++, out += width)
            for (size_t c = 0; c < width; c++)
                out[c] = dx[pixel * width + c] + dx[c] / (float)pixels;
}

/* A task: the position of a token. */
static void position_back_task(void *context, size_t token, int thread)
{
    (void)thread;
    const struct clip_attnpool_learner *attn = context;
    size_t width = attn->width;
    float *gradient = attn->positions->gradient + token * width;
    for (size_t i = 0; i < attn->count; i++)
        attn->kernels->sum(width, gradient, attn->dx + (i * attn->tokens + token) * width, gradient);
}

void clip_attnpool_learner_backward(struct clip_attnpool_learner *attn, size_t n,
                                    const struct clip_attnpool_tape *tape, const float *gradients, float *dx)
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
