/* With one query the keys and values of all pixels need not be computed: of head h the score of pixel x is
 *     q . (K x + k) = (K' q) . x + q . k,
 * whose last term is the same for all pixels and drops out of the softmax, and the sum of the values is
 *     sum a (V x + v) = V (sum a x) + v.
 * So a head is three products of one row a picture (q; K' q, its "probe"; V z of the "mix" z = sum a x) and
 * two small ones with the pixels as they are: a twentieth of the operations.
 *
 * Backward needs the pixels, the probes, the weights a and the mixes: with dz = V' dy and
 * ds = a (x . dz - sum a x . dz), the gradient of x is a dz + ds K' q, that of K' q is sum ds x. */
#include "tower/attnpool.h"

#include "base/arena.h"
#include "math/conv-kernels.h"
#include "math/kernels.h"
#include "base/crew.h"
#include "tower/prepared.h"
#include "tower/tower.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pictures of one product. */
enum { ROWS = 32 };

struct head {
    struct clip_prepared query, key, value; /* [head width, width]; key the other way round */
};

/* What a thread has of its own. */
struct desk {
    float *in, *out; /* [ROWS][width] */
    void *elements;  /* [ROWS][width] in the engine's element */
    float *scores;   /* [heads][tokens] */
    void *product;   /* for clip_product */
};

struct clip_attnpool {
    struct clip_engine *engine;
    struct clip_pool *pool;
    enum clip_precision type; /* the engine's */
    const struct clip_kernels *kernels;
    const struct clip_conv_kernels *conv_kernels;
    size_t tokens, width, heads, head_width; /* a token is a pixel; the first is their mean */
    size_t batch;                            /* a multiple of ROWS */
    struct head *head;                       /* [heads] */
    size_t product;                          /* bytes for clip_product */
    struct clip_arena arena;
    float *positions;               /* [tokens][width] */
    float *query_bias, *value_bias; /* [width] */
    float *x;                       /* [batch][tokens][width] */
    float *mixes;                   /* [batch / ROWS][heads][ROWS][width]: probes, then mixes */
    struct desk *desks;             /* [threads] */
    struct clip_crew crew;
    /* the run that is under way */
    size_t count;
    float *features;
};

/* --- opening --- */

void clip_attnpool_free(struct clip_attnpool *attn)
{
    if (!attn)
        return;
    for (size_t h = 0; attn->head && h < attn->heads; h++) {
        clip_prepared_free(&attn->head[h].query);
        clip_prepared_free(&attn->head[h].key);
        clip_prepared_free(&attn->head[h].value);
    }
    free(attn->head);
    clip_arena_free(&attn->arena);
    clip_crew_destroy(&attn->crew);
    free(attn);
}

static int load_part(struct clip_attnpool *attn, struct clip_prepared *prepared,
                     const struct clip_model *model, const char *name, size_t h, int transposed,
                     struct clip_error *error)
{
    struct clip_prepared_part part = {
        name, 2, {attn->width, attn->width}, h * attn->head_width, attn->head_width, transposed};
    if (clip_prepared_load(prepared, model, attn->engine, ROWS, &part, error) != 0)
        return -1;
    size_t bytes = clip_product_scratch(prepared->matrix);
    attn->product = bytes > attn->product ? bytes : attn->product;
    return 0;
}

static int load_heads(struct clip_attnpool *attn, const struct clip_model *model, struct clip_error *error)
{
    attn->head = calloc(attn->heads, sizeof *attn->head);
    if (!attn->head)
        return clip_fail_memory(error, "the attention pool");
    for (size_t h = 0; h < attn->heads; h++) {
        struct head *head = &attn->head[h];
        if (load_part(attn, &head->query, model, "visual.attnpool.q_proj.weight", h, 0, error) != 0 ||
            load_part(attn, &head->key, model, "visual.attnpool.k_proj.weight", h, 1, error) != 0 ||
            load_part(attn, &head->value, model, "visual.attnpool.v_proj.weight", h, 0, error) != 0)
            return -1;
    }
    return 0;
}

static void place(void *context)
{
    struct clip_attnpool *attn = context;
    struct clip_arena *arena = &attn->arena;
    size_t threads = (size_t)clip_pool_threads(attn->pool), row = attn->width * sizeof(float);
    attn->positions = clip_arena_take(arena, attn->tokens, row);
    attn->query_bias = clip_arena_take(arena, 1, row);
    attn->value_bias = clip_arena_take(arena, 1, row);
    attn->x = clip_arena_take(arena, attn->batch, attn->tokens * row);
    attn->mixes = clip_arena_take(arena, attn->batch, attn->heads * row);
    attn->desks = clip_arena_take(arena, threads, sizeof *attn->desks);
    for (size_t i = 0; i < threads; i++) {
        struct desk desk = {
            .in = clip_arena_take(arena, ROWS, row),
            .out = clip_arena_take(arena, ROWS, row),
            .elements = clip_arena_take(arena, ROWS, row),
            .scores = clip_arena_take(arena, attn->heads, attn->tokens * sizeof(float)),
            .product = clip_arena_take(arena, attn->product, 1),
        };
        if (attn->desks)
            attn->desks[i] = desk;
    }
}

static int load(struct clip_attnpool *attn, const struct clip_model *model, struct clip_error *error)
{
    size_t width = attn->width;
    if (load_heads(attn, model, error) != 0)
        return -1;
    if (clip_arena_build(&attn->arena, "the attention pool", place, attn, error) != 0)
        return -1;
    if (clip_model_floats(model, "visual.attnpool.positional_embedding", 2, (size_t[]){attn->tokens, width},
                          attn->positions, error) != 0 ||
        clip_model_floats(model, "visual.attnpool.q_proj.bias", 1, &width, attn->query_bias, error) != 0)
        return -1;
    return clip_model_floats(model, "visual.attnpool.v_proj.bias", 1, &width, attn->value_bias, error);
}

struct clip_attnpool *clip_attnpool_open(const struct clip_model *model, struct clip_engine *engine,
                                         struct clip_pool *pool, size_t pixels, size_t batch,
                                         struct clip_error *error)
{
    const struct clip_arch *arch = clip_model_arch(model);
    enum clip_level level;
    size_t width = clip_feature_width(arch, CLIP_SIDE_IMAGE), heads = (size_t)arch->vision.heads;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_attnpool *attn = calloc(1, sizeof *attn);
    if (!attn) {
        clip_fail_memory(error, "the attention pool");
        return NULL;
    }
    *attn = (struct clip_attnpool){
        .engine = engine,
        .pool = pool,
        .type = clip_engine_precision(engine),
        .kernels = clip_kernels(level),
        .conv_kernels = clip_conv_kernels(level),
        .tokens = pixels + 1,
        .width = width,
        .heads = heads,
        .head_width = width / heads,
        .batch = (batch + ROWS - 1) / ROWS * ROWS,
    };
    clip_crew_init(&attn->crew);
    if (load(attn, model, error) == 0)
        return attn;
    clip_attnpool_free(attn);
    return NULL;
}

/* --- for both forms of it --- */

void clip_attnpool_tokens(const struct clip_kernels *kernels, size_t pixels, size_t width,
                          const float *positions, float *tokens)
{
    memset(tokens, 0, width * sizeof *tokens);
    for (size_t pixel = 1; pixel <= pixels; pixel++)
        kernels->sum(width, tokens, tokens + pixel * width, tokens);
    for (size_t c = 0; c < width; c++)
        tokens[c] /= (float)pixels;
    kernels->sum((pixels + 1) * width, tokens, positions, tokens);
}

static void softmax(float *x, size_t n)
{
    float most = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        most = fmaxf(most, x[i]);
    for (size_t i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - most);
    for (size_t i = 0; i < n; i++)
        x[i] /= sum;
}

void clip_attnpool_mix(size_t heads, size_t tokens, size_t width, const float *x, const float *probes,
                       size_t step, float *weights, float *mixes)
{
    clip_gemm(0, 1, heads, tokens, width, probes, step, x, width, 0, weights, tokens);
    for (size_t h = 0; h < heads; h++)
        softmax(weights + h * tokens, tokens);
    clip_gemm(0, 0, heads, width, tokens, weights, tokens, x, width, 0, mixes, step);
}

/* --- running --- */

void clip_attnpool_put(struct clip_attnpool *attn, size_t i, const void *x)
{
    size_t width = attn->width, pixels = attn->tokens - 1;
    float *tokens = attn->x + i * attn->tokens * width;
    if (attn->type == CLIP_PRECISION_BF16)
        attn->conv_kernels->widen(x, pixels * width, tokens + width);
    else
        memcpy(tokens + width, x, pixels * width * sizeof *tokens);
    clip_attnpool_tokens(attn->kernels, pixels, width, attn->positions, tokens);
}

/* x[n] in the engine's element: x itself, or made on the desk. */
static const void *elements(const struct clip_attnpool *attn, const float *x, size_t n,
                            const struct desk *desk)
{
    if (attn->type == CLIP_PRECISION_F32)
        return x;
    attn->kernels->convert(n, x, attn->type, desk->elements);
    return desk->elements;
}

/* A task: probes of one head, of ROWS pictures. */
static int probe_task(void *context, size_t task, int thread, struct clip_error *error)
{
    struct clip_attnpool *attn = context;
    const struct desk *desk = &attn->desks[thread];
    size_t first = task / attn->heads * ROWS, h = task % attn->heads;
    size_t width = attn->width, head_width = attn->head_width;
    const float *bias = attn->query_bias + h * head_width;
    float *q = desk->out, scale = 1 / sqrtf((float)head_width);
    for (size_t row = 0; row < ROWS; row++)
        if (first + row < attn->count)
            memcpy(desk->in + row * width, attn->x + (first + row) * attn->tokens * width, width * sizeof *q);
        else
            memset(desk->in + row * width, 0, width * sizeof *q);
    if (clip_product(attn->head[h].query.matrix, elements(attn, desk->in, ROWS * width, desk), q,
                     desk->product, error) != 0)
        return -1;
    for (size_t i = 0; i < ROWS * head_width; i++)
        q[i] = scale * (q[i] + bias[i % head_width]);
    return clip_product(attn->head[h].key.matrix, elements(attn, q, ROWS * head_width, desk),
                        attn->mixes + task * ROWS * width, desk->product, error);
}

/* A task: the probes of a picture become its mixes. */
static int mix_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)error;
    struct clip_attnpool *attn = context;
    size_t width = attn->width, tokens = attn->tokens;
    float *mixes = attn->mixes + (i / ROWS * attn->heads * ROWS + i % ROWS) * width;
    clip_attnpool_mix(attn->heads, tokens, width, attn->x + i * tokens * width, mixes, ROWS * width,
                      attn->desks[thread].scores, mixes);
    return 0;
}

/* A task: features of one head, of ROWS pictures. */
static int value_task(void *context, size_t task, int thread, struct clip_error *error)
{
    struct clip_attnpool *attn = context;
    const struct desk *desk = &attn->desks[thread];
    size_t first = task / attn->heads * ROWS, h = task % attn->heads;
    size_t width = attn->width, head_width = attn->head_width;
    const float *mixes = attn->mixes + task * ROWS * width;
    const float *bias = attn->value_bias + h * head_width;
    if (clip_product(attn->head[h].value.matrix, elements(attn, mixes, ROWS * width, desk), desk->out,
                     desk->product, error) != 0)
        return -1;
    for (size_t row = 0; row < ROWS && first + row < attn->count; row++)
        attn->kernels->sum(head_width, desk->out + row * head_width, bias,
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
