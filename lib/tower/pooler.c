/* Pools of vision transformers that read all tokens. */
#include "tower/pooler.h"
#include "base/array.h"

#include "base/crew.h"
#include "math/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A matrix or vector, part of a tensor. */
struct piece {
    const float *value;
    float *gradient;
};

/* What a chunk's backward keeps, besides the tape: rows [n queries][...] each. */
struct back {
    float *dprobes;        /* [n][queries heads][width] */
    float *dvalues, *dout; /* [n][queries][pool width] */
    float *dwide;          /* [n][mlp] */
    float *dmixes;         /* [n][queries heads][width] */
    float *norms;          /* [n][4][pool width]: of ln_post or of the pool's norm: weight, bias */
    float *room;           /* [n][pool width or mlp] */
    float *scores;         /* [n][queries heads][tokens] */
    float *sum;            /* [queries heads][width]: of dprobes */
};

/* A pooling: the features of picture i, and the gradient dout of what they were made of, out. */
struct pool_type {
    void (*forward)(const struct clip_pooler *p, size_t i, float *features);
    void (*backward)(const struct clip_pooler *p, size_t i, const float *gradient, float *dout);
    enum clip_vit_tensor norm; /* the last norm before the features */
    int rest;                  /* they are the mean of all queries but the first, not the first */
};

struct clip_pooler {
    const struct clip_tower_arch *arch;
    const struct pool_type *type;
    const struct clip_kernels *kernels;
    struct clip_pool *pool;
    enum clip_activation activation; /* of the pool's hidden layer */
    int learns;
    size_t batch, all;   /* `all`: tokens of a picture */
    size_t tokens, skip; /* those that the pool sees, after `skip` others */
    size_t width, out, heads, queries, mlp;
    float epsilon;
    struct clip_values tensors[CLIP_VIT_TENSORS]; /* of the pool, and ln_post where that is its */
    struct piece q, k, v;                         /* [out][out], [out][width], [out][width] */
    struct piece q_bias, v_bias;                  /* [out] */
    float *normed, *q_rows; /* [queries][out]: the queries' norm, and their projection */
    float *probes;          /* [queries][heads][width], scaled */
    struct clip_arena memory;
    struct clip_pooler_tape own; /* where it does not learn */
    struct back back;
    struct clip_crew crew;
    /* the run that is under way */
    const struct clip_pooler_tape *tape;
    const float *rows, *gradients;
    float *features, *drows;
};

static const struct pool_type types[CLIP_POOLINGS];

static int has_attention(const struct clip_pooler *p)
{
    return p->heads > 0;
}

static size_t groups(const struct clip_pooler *p)
{
    return p->queries * p->heads;
}

/* --- opening --- */

/* Parts of tensors: q, k and v may be three tensors, two, or one. */
static void find_pieces(struct clip_pooler *p)
{
    const struct clip_values *t = p->tensors;
    size_t square = p->out * p->out, wide = p->out * p->width;
    const struct {
        struct piece *to;
        enum clip_vit_tensor from[3]; /* whichever is there */
        size_t at[3];
    } all[] = {
        {&p->q, {CLIP_POOL_Q_WEIGHT, CLIP_POOL_IN_WEIGHT, CLIP_POOL_IN_WEIGHT}, {0, 0, 0}},
        {&p->k, {CLIP_POOL_KV_WEIGHT, CLIP_POOL_IN_WEIGHT, CLIP_POOL_K_WEIGHT}, {0, square, 0}},
        {&p->v, {CLIP_POOL_KV_WEIGHT, CLIP_POOL_IN_WEIGHT, CLIP_POOL_V_WEIGHT}, {wide, 2 * square, 0}},
        {&p->q_bias, {CLIP_POOL_Q_BIAS, CLIP_POOL_IN_BIAS, CLIP_POOL_IN_BIAS}, {0, 0, 0}},
        {&p->v_bias, {CLIP_POOL_KV_BIAS, CLIP_POOL_IN_BIAS, CLIP_POOL_IN_BIAS}, {p->out, 2 * p->out, 0}},
    };
    for (size_t i = 0; i < CLIP_COUNT_OF(all); i++)
        for (int j = 2; j >= 0; j--) {
            const struct clip_values *from = &t[all[i].from[j]];
            if (from->value && (j < 2 || all[i].from[2] != all[i].from[1]))
                *all[i].to = (struct piece){from->value + all[i].at[j],
                                            from->gradient ? from->gradient + all[i].at[j] : NULL};
        }
}

static int load_weights(struct clip_pooler *p, const struct clip_tower_setup *setup, struct clip_error *error)
{
    for (int tensor = CLIP_VIT_POST_WEIGHT; tensor < CLIP_VIT_TENSORS; tensor++) {
        size_t shape[4];
        int is_post = tensor == CLIP_VIT_POST_WEIGHT || tensor == CLIP_VIT_POST_BIAS;
        int is_tokens = p->type->norm != CLIP_VIT_POST_WEIGHT ||
                        (!has_attention(p) && !(p->arch->vit.flags & CLIP_VIT_NORM_AFTER_POOL));
        if ((is_post && is_tokens) || tensor == CLIP_POOL_LN_K_WEIGHT || tensor == CLIP_POOL_LN_K_BIAS)
            continue; /* the transformer's norm of each token */
        if (clip_vit_shape(p->arch, tensor, shape) &&
            clip_values_load(&p->tensors[tensor], setup, error, "%s", clip_vit_name(p->arch, tensor)) != 0)
            return -1;
    }
    find_pieces(p);
    return 0;
}

void clip_pooler_tape_place(const struct clip_pooler *p, size_t n, struct clip_arena *arena,
                            struct clip_pooler_tape *tape)
{
    size_t out = p->queries * p->out * sizeof(float), wide = p->mlp * sizeof(float);
    *tape = (struct clip_pooler_tape){
        .weights = clip_arena_take(arena, n, groups(p) * p->tokens * sizeof(float)),
        .mixes = clip_arena_take(arena, n, groups(p) * p->width * sizeof(float)),
        .values = clip_arena_take(arena, n, out),
        .out = clip_arena_take(arena, n, out),
        .normed = clip_arena_take(arena, n, out),
        .wide = clip_arena_take(arena, n, wide),
        .hidden = clip_arena_take(arena, n, wide),
    };
}

static void place_back(struct clip_pooler *p)
{
    struct clip_arena *arena = &p->memory;
    size_t n = p->batch, out = p->queries * p->out * sizeof(float), row = p->width * sizeof(float);
    size_t room = p->mlp > p->out ? p->mlp : p->out;
    p->back = (struct back){
        .dprobes = clip_arena_take(arena, n, groups(p) * row),
        .dvalues = clip_arena_take(arena, n, out),
        .dout = clip_arena_take(arena, n, out),
        .dwide = clip_arena_take(arena, n, p->mlp * sizeof(float)),
        .dmixes = clip_arena_take(arena, n, groups(p) * row),
        .norms = clip_arena_take(arena, n, 2 * p->out * sizeof(float)),
        .room = clip_arena_take(arena, n, room * sizeof(float)),
        .scores = clip_arena_take(arena, n, groups(p) * p->tokens * sizeof(float)),
        .sum = clip_arena_take(arena, groups(p), row),
    };
}

static void place_pooler(void *context)
{
    struct clip_pooler *p = context;
    size_t out = p->queries * p->out;
    p->normed = clip_arena_take(&p->memory, out, sizeof(float));
    p->q_rows = clip_arena_take(&p->memory, out, sizeof(float));
    p->probes = clip_arena_take(&p->memory, groups(p) * p->width, sizeof(float));
    if (p->learns)
        place_back(p);
    else
        clip_pooler_tape_place(p, p->batch, &p->memory, &p->own);
}

struct clip_pooler *clip_pooler_open(const struct clip_tower_setup *setup, const struct clip_kernels *kernels,
                                     struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    int attends = clip_pooling_of(arch)->queries > 0;
    size_t hidden[4];
    struct clip_pooler *p = calloc(1, sizeof *p);
    if (!p) {
        clip_fail_memory(error, "a pool");
        return NULL;
    }
    *p = (struct clip_pooler){
        .arch = arch,
        .kernels = kernels,
        .pool = setup->pool,
        .type = &types[arch->pooling],
        .learns = setup->parameters != NULL,
        .batch = setup->batch,
        .all = clip_vit_tokens(arch),
        .width = (size_t)arch->width,
        .out = clip_vit_width(arch),
        .epsilon = clip_block_epsilon(&arch->block),
        .skip = !attends || arch->vit.flags & CLIP_VIT_POOL_PATCHES ? clip_vit_prefix(arch) : 0,
        .activation = arch->vit.flags & CLIP_VIT_POOL_GELU ? CLIP_GELU : arch->activation,
        .queries = attends ? (size_t)arch->vit.pool_queries : 1,
        .heads = attends ? (size_t)arch->vit.pool_heads : 0,
        .mlp = clip_vit_shape(arch, CLIP_POOL_FC_WEIGHT, hidden) ? hidden[0] : 0,
    };
    p->tokens = p->all - p->skip;
    clip_crew_init(&p->crew);
    if (load_weights(p, setup, error) == 0 &&
        clip_arena_build(&p->memory, "a pool", place_pooler, p, error) == 0) {
        clip_pooler_refresh(p);
        return p;
    }
    clip_pooler_free(p);
    return NULL;
}

void clip_pooler_free(struct clip_pooler *p)
{
    if (!p)
        return;
    for (int i = 0; i < CLIP_VIT_TENSORS; i++)
        clip_values_free(&p->tensors[i]);
    clip_arena_free(&p->memory);
    clip_crew_destroy(&p->crew);
    free(p);
}

size_t clip_pooler_bytes(const struct clip_pooler *p)
{
    return p->memory.size;
}

/* --- parts --- */

static const float *value_of(const struct clip_pooler *p, enum clip_vit_tensor tensor)
{
    return p->tensors[tensor].value;
}

static void norm(const struct clip_pooler *p, enum clip_vit_tensor weight, float epsilon, const float *x,
                 float *out)
{
    p->kernels->layer_norm(p->out, epsilon, x, value_of(p, weight), value_of(p, weight + 1),
                           CLIP_PRECISION_F32, out);
}

/* out[rows][n] = x[rows][k] w[n][k]' + bias[n] */
static void linear(const struct clip_pooler *p, size_t rows, size_t n, size_t k, const float *x,
                   const float *w, const float *bias, float *out)
{
    clip_gemm(0, 1, rows, n, k, x, k, w, k, 0, out, n);
    for (size_t r = 0; r < rows; r++)
        p->kernels->sum(n, out + r * n, bias, out + r * n);
}

static float scale_of(const struct clip_pooler *p)
{
    return 1 / sqrtf((float)(p->out / p->heads));
}

/* Computes the queries' part, which is the same for all pictures. */
void clip_pooler_refresh(struct clip_pooler *p)
{
    size_t head;
    if (!has_attention(p))
        return;
    head = p->out / p->heads;
    for (size_t i = 0; i < p->queries; i++) {
        const float *latent = value_of(p, CLIP_POOL_LATENT) + i * p->out;
        if (value_of(p, CLIP_POOL_LN_Q_WEIGHT))
            norm(p, CLIP_POOL_LN_Q_WEIGHT, CLIP_POOL_EPSILON, latent, p->normed + i * p->out);
        else
            memcpy(p->normed + i * p->out, latent, p->out * sizeof *latent);
    }
    linear(p, p->queries, p->out, p->out, p->normed, p->q.value, p->q_bias.value, p->q_rows);
    for (size_t h = 0; h < p->heads; h++)
        clip_gemm(0, 0, p->queries, p->width, head, p->q_rows + h * head, p->out,
                  p->k.value + h * head * p->width, p->width, 0, p->probes + h * p->width,
                  p->heads * p->width);
    for (size_t i = 0; i < groups(p) * p->width; i++)
        p->probes[i] *= scale_of(p);
}

/* --- forward --- */

/* The rows of a picture that the pool sees. */
static const float *rows_of(const struct clip_pooler *p, size_t i)
{
    return p->rows + (i * p->all + p->skip) * p->width;
}

static int has_post(const struct clip_pooler *p)
{
    return value_of(p, CLIP_VIT_POST_WEIGHT) != NULL;
}

/* The mean of a picture's rows, and its norm. */
static void mean_forward(const struct clip_pooler *p, size_t i, float *features)
{
    const float *rows = rows_of(p, i);
    float *mean = p->tape->out + i * p->out;
    memset(mean, 0, p->width * sizeof *mean);
    for (size_t t = 0; t < p->tokens; t++)
        p->kernels->sum(p->width, mean, rows + t * p->width, mean);
    for (size_t c = 0; c < p->width; c++)
        mean[c] /= (float)p->tokens;
    if (has_post(p))
        norm(p, CLIP_VIT_POST_WEIGHT, p->epsilon, mean, features);
    else
        memcpy(features, mean, p->out * sizeof *features);
}

static struct clip_probes probes_of(const struct clip_pooler *p, size_t i)
{
    return (struct clip_probes){
        .count = groups(p),
        .tokens = p->tokens,
        .width = p->width,
        .stride = p->width,
        .probes = p->probes,
        .x = rows_of(p, i),
        .weights = p->tape->weights + i * groups(p) * p->tokens,
    };
}

/* Attention of the queries to a picture's rows, and out_proj: out[queries][pool width]. */
static void attend(const struct clip_pooler *p, size_t i)
{
    const struct clip_pooler_tape *t = p->tape;
    size_t width = p->width, head = p->out / p->heads;
    float *mixes = t->mixes + i * groups(p) * width, *values = t->values + i * p->queries * p->out;
    struct clip_probes probes = probes_of(p, i);
    clip_probes_mix(&probes, mixes);
    for (size_t h = 0; h < p->heads; h++)
        clip_gemm(0, 1, p->queries, head, width, mixes + h * width, p->heads * width,
                  p->v.value + h * head * width, width, 0, values + h * head, p->out);
    for (size_t q = 0; q < p->queries; q++)
        p->kernels->sum(p->out, values + q * p->out, p->v_bias.value, values + q * p->out);
    linear(p, p->queries, p->out, p->out, values, value_of(p, CLIP_POOL_OUT_WEIGHT),
           value_of(p, CLIP_POOL_OUT_BIAS), t->out + i * p->queries * p->out);
}

/* features = y + mlp(norm(y)) */
static void map_forward(const struct clip_pooler *p, size_t i, float *features)
{
    const struct clip_pooler_tape *t = p->tape;
    const float *y = t->out + i * p->out;
    float *normed = t->normed + i * p->out, *wide = t->wide + i * p->mlp, *hidden = t->hidden + i * p->mlp;
    norm(p, CLIP_POOL_NORM_WEIGHT, p->epsilon, y, normed);
    clip_gemm(0, 1, 1, p->mlp, p->out, normed, p->out, value_of(p, CLIP_POOL_FC_WEIGHT), p->out, 0, wide,
              p->mlp);
    p->kernels->activation[p->activation](p->mlp, wide, value_of(p, CLIP_POOL_FC_BIAS), CLIP_PRECISION_F32,
                                          hidden);
    linear(p, 1, p->out, p->mlp, hidden, value_of(p, CLIP_POOL_PROJ_WEIGHT), value_of(p, CLIP_POOL_PROJ_BIAS),
           features);
    p->kernels->sum(p->out, features, y, features);
}

/* Queries [*first, *end) are those whose mean the features are. */
static void features_of(const struct clip_pooler *p, size_t *first, size_t *end)
{
    *first = p->type->rest ? 1 : 0;
    *end = p->type->rest ? p->queries : 1;
}

static void query_forward(const struct clip_pooler *p, size_t i, float *features)
{
    size_t first, end;
    features_of(p, &first, &end);
    memset(features, 0, p->out * sizeof *features);
    for (size_t q = first; q < end; q++) {
        float *normed = p->tape->normed + (i * p->queries + q) * p->out;
        norm(p, CLIP_VIT_POST_WEIGHT, p->epsilon, p->tape->out + (i * p->queries + q) * p->out, normed);
        p->kernels->sum(p->out, features, normed, features);
    }
    for (size_t c = 0; c < p->out; c++)
        features[c] /= (float)(end - first);
}

/* A task: a picture. */
static int forward_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread, (void)error;
    const struct clip_pooler *p = context;
    if (has_attention(p))
        attend(p, i);
    p->type->forward(p, i, p->features + i * p->out);
    return 0;
}

int clip_pooler_forward(struct clip_pooler *p, size_t n, const float *rows,
                        const struct clip_pooler_tape *tape, float *features, struct clip_error *error)
{
    p->tape = tape ? tape : &p->own;
    p->rows = rows;
    p->features = features;
    return clip_crew_run(&p->crew, p->pool, n, forward_task, p, error);
}

/* --- backward --- */

/* dx[out] += through a norm; the parameters' gradients go to the picture's place. */
static void norm_backward(const struct clip_pooler *p, size_t i, enum clip_vit_tensor weight, const float *x,
                          const float *dy, float *dx)
{
    float *sums = p->back.norms + i * 2 * p->out;
    p->kernels->layer_norm_backward(p->out, p->epsilon, x, value_of(p, weight), dy, dx, sums, sums + p->out);
}

static void mean_backward(const struct clip_pooler *p, size_t i, const float *gradient, float *dout)
{
    if (has_post(p))
        norm_backward(p, i, CLIP_VIT_POST_WEIGHT, p->tape->out + i * p->out, gradient, dout);
    else
        memcpy(dout, gradient, p->out * sizeof *dout);
}

static void map_backward(const struct clip_pooler *p, size_t i, const float *gradient, float *dout)
{
    const struct clip_pooler_tape *t = p->tape;
    float *dwide = p->back.dwide + i * p->mlp, *room = p->back.room + i * (p->mlp > p->out ? p->mlp : p->out);
    memcpy(dout, gradient, p->out * sizeof *dout);
    clip_gemm(0, 0, 1, p->mlp, p->out, gradient, p->out, value_of(p, CLIP_POOL_PROJ_WEIGHT), p->mlp, 0, room,
              p->mlp);
    p->kernels->activation_backward[p->activation](p->mlp, t->wide + i * p->mlp,
                                                   value_of(p, CLIP_POOL_FC_BIAS), room, CLIP_PRECISION_F32,
                                                   t->hidden + i * p->mlp, dwide);
    clip_gemm(0, 0, 1, p->out, p->mlp, dwide, p->mlp, value_of(p, CLIP_POOL_FC_WEIGHT), p->out, 0, room,
              p->out);
    norm_backward(p, i, CLIP_POOL_NORM_WEIGHT, t->out + i * p->out, room, dout);
}

static void query_backward(const struct clip_pooler *p, size_t i, const float *gradient, float *dout)
{
    size_t first, end;
    float *share = p->back.room + i * p->out;
    features_of(p, &first, &end);
    for (size_t c = 0; c < p->out; c++)
        share[c] = gradient[c] / (float)(end - first);
    for (size_t q = first; q < end; q++)
        norm_backward(p, i, CLIP_VIT_POST_WEIGHT, p->tape->out + (i * p->queries + q) * p->out, share,
                      dout + q * p->out);
}

/* drows of a picture, and what its attention leaves for the gradients of parameters, of dout. */
static void attend_backward(const struct clip_pooler *p, size_t i, const float *dout, float *drows)
{
    size_t width = p->width, head = p->out / p->heads, n = groups(p);
    float *dvalues = p->back.dvalues + i * p->queries * p->out, *dmixes = p->back.dmixes + i * n * width;
    struct clip_probes probes = probes_of(p, i);
    clip_gemm(0, 0, p->queries, p->out, p->out, dout, p->out, value_of(p, CLIP_POOL_OUT_WEIGHT), p->out, 0,
              dvalues, p->out);
    for (size_t h = 0; h < p->heads; h++)
        clip_gemm(0, 0, p->queries, width, head, dvalues + h * head, p->out, p->v.value + h * head * width,
                  width, 0, dmixes + h * width, p->heads * width);
    clip_probes_mix_backward(&probes, dmixes, p->back.scores + i * n * p->tokens, drows,
                             p->back.dprobes + i * n * width);
}

/* drows of a picture, of the mean of its rows. */
static void spread_mean(const struct clip_pooler *p, float *dout, float *drows)
{
    for (size_t c = 0; c < p->width; c++)
        dout[c] /= (float)p->tokens;
    for (size_t t = 0; t < p->tokens; t++)
        memcpy(drows + t * p->width, dout, p->width * sizeof *dout);
}

static const struct pool_type types[CLIP_POOLINGS] = {
    [CLIP_POOL_PATCHES] = {mean_forward, mean_backward, CLIP_VIT_POST_WEIGHT, 0},
    [CLIP_POOL_MAP] = {map_forward, map_backward, CLIP_POOL_NORM_WEIGHT, 0},
    [CLIP_POOL_QUERY] = {query_forward, query_backward, CLIP_VIT_POST_WEIGHT, 0},
    [CLIP_POOL_QUERIES_MEAN] = {query_forward, query_backward, CLIP_VIT_POST_WEIGHT, 1},
};

/* A task: a picture. */
static int backward_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread, (void)error;
    const struct clip_pooler *p = context;
    const float *gradient = p->gradients + i * p->out;
    float *drows = p->drows + i * p->all * p->width, *dout = p->back.dout + i * p->queries * p->out;
    memset(drows, 0, p->skip * p->width * sizeof *drows);
    drows += p->skip * p->width;
    memset(p->back.norms + i * 2 * p->out, 0, 2 * p->out * sizeof *dout);
    memset(dout, 0, p->queries * p->out * sizeof *dout);
    p->type->backward(p, i, gradient, dout);
    if (has_attention(p))
        attend_backward(p, i, dout, drows);
    else
        spread_mean(p, dout, drows);
    return 0;
}

/* Adds a linear layer's gradients to those of w[m][k] and bias[m], from dy[rows][m] and x[rows][k]. */
static void add_linear(const struct clip_pooler *p, size_t rows, size_t m, size_t k, const float *dy,
                       const float *x, float *w, float *bias)
{
    clip_gemm(1, 0, m, k, rows, dy, m, x, k, 1, w, k);
    p->kernels->column_sums(rows, m, dy, m, CLIP_PRECISION_F32, bias);
}

/* Gradients of the queries, their norm and projection, and of keys, from the sum of the probes' gradients. */
static void add_probes(struct clip_pooler *p, size_t n)
{
    size_t width = p->width, head = p->out / p->heads, all = groups(p) * width;
    float *sum = p->back.sum, *dq = p->back.dvalues, *dlatent = p->back.dout; /* which are spent */
    memset(sum, 0, all * sizeof *sum);
    for (size_t i = 0; i < n; i++)
        p->kernels->sum(all, sum, p->back.dprobes + i * all, sum);
    for (size_t i = 0; i < all; i++)
        sum[i] *= scale_of(p);
    for (size_t h = 0; h < p->heads; h++) {
        const float *dprobe = sum + h * width;
        clip_gemm(1, 0, head, width, p->queries, p->q_rows + h * head, p->out, dprobe, p->heads * width, 1,
                  p->k.gradient + h * head * width, width);
        clip_gemm(0, 1, p->queries, head, width, dprobe, p->heads * width, p->k.value + h * head * width,
                  width, 0, dq + h * head, p->out);
    }
    add_linear(p, p->queries, p->out, p->out, dq, p->normed, p->q.gradient, p->q_bias.gradient);
    clip_gemm(0, 0, p->queries, p->out, p->out, dq, p->out, p->q.value, p->out, 0, dlatent, p->out);
    for (size_t q = 0; q < p->queries; q++) {
        float *to = p->tensors[CLIP_POOL_LATENT].gradient + q * p->out;
        if (value_of(p, CLIP_POOL_LN_Q_WEIGHT))
            p->kernels->layer_norm_backward(
                p->out, CLIP_POOL_EPSILON, value_of(p, CLIP_POOL_LATENT) + q * p->out,
                value_of(p, CLIP_POOL_LN_Q_WEIGHT), dlatent + q * p->out, to,
                p->tensors[CLIP_POOL_LN_Q_WEIGHT].gradient, p->tensors[CLIP_POOL_LN_Q_BIAS].gradient);
        else
            p->kernels->sum(p->out, to, dlatent + q * p->out, to);
    }
}

/* The gradients of parameters: sums over the pictures, in their order. */
static void add_gradients(struct clip_pooler *p, size_t n)
{
    const struct clip_pooler_tape *t = p->tape;
    struct clip_values *v = p->tensors;
    enum clip_vit_tensor weight = p->type->norm;
    size_t out = p->out, width = p->width, head = p->heads ? out / p->heads : 0, rows = n * p->queries;
    if (v[weight].value) {
        p->kernels->column_sums(n, out, p->back.norms, 2 * out, CLIP_PRECISION_F32, v[weight].gradient);
        p->kernels->column_sums(n, out, p->back.norms + out, 2 * out, CLIP_PRECISION_F32,
                                v[weight + 1].gradient);
    }
    if (!has_attention(p))
        return;
    if (p->mlp) {
        add_linear(p, n, out, p->mlp, p->gradients, t->hidden, v[CLIP_POOL_PROJ_WEIGHT].gradient,
                   v[CLIP_POOL_PROJ_BIAS].gradient);
        add_linear(p, n, p->mlp, out, p->back.dwide, t->normed, v[CLIP_POOL_FC_WEIGHT].gradient,
                   v[CLIP_POOL_FC_BIAS].gradient);
    }
    add_linear(p, rows, out, out, p->back.dout, t->values, v[CLIP_POOL_OUT_WEIGHT].gradient,
               v[CLIP_POOL_OUT_BIAS].gradient);
    for (size_t h = 0; h < p->heads; h++)
        clip_gemm(1, 0, head, width, rows, p->back.dvalues + h * head, out, t->mixes + h * width,
                  p->heads * width, 1, p->v.gradient + h * head * width, width);
    p->kernels->column_sums(rows, out, p->back.dvalues, out, CLIP_PRECISION_F32, p->v_bias.gradient);
    add_probes(p, n);
}

int clip_pooler_backward(struct clip_pooler *p, size_t n, const float *rows,
                         const struct clip_pooler_tape *tape, const float *gradients, float *drows,
                         struct clip_error *error)
{
    p->tape = tape;
    p->rows = rows;
    p->gradients = gradients;
    p->drows = drows;
    if (clip_crew_run(&p->crew, p->pool, n, backward_task, p, error) != 0)
        return -1;
    add_gradients(p, n);
    return 0;
}
