#include "tower/text-pool.h"

#include "base/crew.h"
#include "model/text.h"
#include "tower/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a thread needs of its own, for a caption of attention: rows that are taken, one after the other. */
struct workspace {
    float *x;      /* [longest][width] */
    float *kv;     /* [longest][2 width]: their projection */
    float *k;      /* [longest][width]: normed keys */
    float *scores; /* for the kernel */
    float *dkv;    /* [longest][2 width] */
    float *dx;     /* [longest][width] */
};

/* What the backward of a batch leaves for the gradients of the parameters. */
struct back {
    float *dkv;  /* [rows][2 width] */
    float *dq;   /* [n][width]: of the query as attention reads it */
    float *sums; /* [n][2 head]: of the norm of keys: weight, bias */
    float *room; /* [2 width] */
};

/* A pooling: the features of caption s, and the gradient of its rows. */
struct pool_type {
    void (*forward)(const struct clip_text_pool *p, size_t s, const struct workspace *w);
    void (*backward)(const struct clip_text_pool *p, size_t s, const struct workspace *w);
};

struct clip_text_pool {
    const struct pool_type *type;
    int attends; /* with one learned query */
    struct clip_pool *threads;
    struct clip_block_shape norms; /* of which the norms alone are used */
    int learns;
    size_t batch, longest, width, heads, head;
    float epsilon;
    struct clip_values tensors[CLIP_TEXT_TENSORS]; /* of the pool */
    float *zeros;                                  /* [2 width] */
    float *raw, *query;                            /* [width]: the query's projection; with its norm */
    struct workspace *workspaces;
    struct back back;
    struct clip_arena memory;
    struct clip_crew crew;
    /* the run that is under way */
    size_t count;
    const struct clip_pooled *captions;
    const float *rows, *gradients;
    const unsigned char *marks;
    float *features, *drows;
};

static const struct pool_type types[CLIP_POOLINGS];

/* --- opening --- */

static void place_memory(void *context)
{
    struct clip_text_pool *p = context;
    struct clip_arena *arena = &p->memory;
    size_t row = p->width * sizeof(float), threads = (size_t)clip_pool_threads(p->threads);
    size_t scores = clip_attention_scratch(p->longest, p->head),
           backward = clip_attention_backward_scratch(p->longest, p->head);
    p->zeros = clip_arena_take(arena, 2, row);
    p->raw = clip_arena_take(arena, 1, row);
    p->query = clip_arena_take(arena, 1, row);
    p->workspaces = clip_arena_take(arena, threads, sizeof *p->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = {
            .x = clip_arena_take(arena, p->longest, row),
            .kv = clip_arena_take(arena, p->longest, 2 * row),
            .k = clip_arena_take(arena, p->longest, row),
            .scores = clip_arena_take(arena, p->learns ? backward : scores, sizeof(float)),
            .dkv = p->learns ? clip_arena_take(arena, p->longest, 2 * row) : NULL,
            .dx = p->learns ? clip_arena_take(arena, p->longest, row) : NULL,
        };
        if (p->workspaces)
            p->workspaces[i] = workspace;
    }
    if (!p->learns)
        return;
    p->back = (struct back){
        .dkv = clip_arena_take(arena, p->batch * p->longest, 2 * row),
        .dq = clip_arena_take(arena, p->batch, row),
        .sums = clip_arena_take(arena, p->batch, 2 * p->head * sizeof(float)),
        .room = clip_arena_take(arena, 2, row),
    };
}

static int open_attention(struct clip_text_pool *p, const struct clip_tower_setup *setup,
                          struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->text;
    for (int tensor = CLIP_TEXT_QUERY; tensor < CLIP_TEXT_TENSORS; tensor++) {
        size_t shape[4];
        if (clip_text_shape(arch, tensor, shape) &&
            clip_values_load(&p->tensors[tensor], setup, error, "%s", clip_text_name(arch, tensor)) != 0)
            return -1;
    }
    if (clip_arena_build(&p->memory, "a pool", place_memory, p, error) != 0)
        return -1;
    clip_text_pool_refresh(p);
    return 0;
}

struct clip_text_pool *clip_text_pool_open(const struct clip_tower_setup *setup,
                                           const struct clip_kernels *kernels, size_t longest,
                                           struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->text;
    struct clip_text_pool *p = calloc(1, sizeof *p);
    if (!p) {
        clip_fail_memory(error, "a pool");
        return NULL;
    }
    *p = (struct clip_text_pool){
        .type = &types[arch->pooling],
        .attends = clip_pooling_of(arch)->queries > 0,
        .threads = setup->pool,
        .norms = {.kernels = kernels, .flags = arch->block.flags},
        .learns = setup->parameters != NULL,
        .batch = setup->batch,
        .longest = longest,
        .width = (size_t)arch->width,
        .heads = (size_t)arch->heads,
        .head = clip_block_head(arch),
        .epsilon = clip_block_epsilon(&arch->block),
    };
    clip_crew_init(&p->crew);
    if (!p->attends || open_attention(p, setup, error) == 0)
        return p;
    clip_text_pool_free(p);
    return NULL;
}

void clip_text_pool_free(struct clip_text_pool *p)
{
    if (!p)
        return;
    for (int i = 0; i < CLIP_TEXT_TENSORS; i++)
        clip_values_free(&p->tensors[i]);
    clip_arena_free(&p->memory);
    clip_crew_destroy(&p->crew);
    free(p);
}

size_t clip_text_pool_bytes(const struct clip_text_pool *p)
{
    return p->memory.size;
}

/* --- mean and largest --- */

/* Sums, or the largest of each channel, of the rows that are taken; returns how many. */
static size_t pool_rows(const struct clip_text_pool *p, size_t s, int max)
{
    const struct clip_pooled *caption = &p->captions[s];
    size_t width = p->width, n = 0;
    float *features = p->features + s * width;
    for (size_t i = caption->first; i < caption->first + caption->length; i++) {
        const float *row = p->rows + i * width;
        if (!p->marks[i])
            continue;
        for (size_t c = 0; c < width; c++)
            features[c] = n == 0 ? row[c] : max ? fmaxf(features[c], row[c]) : features[c] + row[c];
        n++;
    }
    return n;
}

static void max_forward(const struct clip_text_pool *p, size_t s, const struct workspace *w)
{
    (void)w;
    pool_rows(p, s, 1);
}

static void mean_forward(const struct clip_text_pool *p, size_t s, const struct workspace *w)
{
    (void)w;
    size_t n = pool_rows(p, s, 0);
    for (size_t c = 0; c < p->width; c++)
        p->features[s * p->width + c] /= (float)n;
}

static size_t count_marks(const struct clip_text_pool *p, const struct clip_pooled *caption)
{
    size_t n = 0;
    for (size_t i = 0; i < caption->length; i++)
        n += p->marks[caption->first + i];
    return n;
}

static void mean_backward(const struct clip_text_pool *p, size_t s, const struct workspace *w)
{
    (void)w;
    const struct clip_pooled *caption = &p->captions[s];
    size_t width = p->width, n = count_marks(p, caption);
    for (size_t i = caption->first; i < caption->first + caption->length; i++)
        for (size_t c = 0; c < width; c++)
            p->drows[i * width + c] = p->marks[i] ? p->gradients[s * width + c] / (float)n : 0;
}

/* The first of the largest takes all. */
static void max_backward(const struct clip_text_pool *p, size_t s, const struct workspace *w)
{
    (void)w;
    const struct clip_pooled *caption = &p->captions[s];
    size_t width = p->width, end = caption->first + caption->length;
    memset(p->drows + caption->first * width, 0, caption->length * width * sizeof *p->drows);
    for (size_t c = 0; c < width; c++) {
        size_t most = end;
        for (size_t i = caption->first; i < end; i++)
            if (p->marks[i] && (most == end || p->rows[i * width + c] > p->rows[most * width + c]))
                most = i;
        p->drows[most * width + c] = p->gradients[s * width + c];
    }
}

/* --- attention --- */

static const float *value_of(const struct clip_text_pool *p, enum clip_text_tensor tensor)
{
    return p->tensors[tensor].value ? p->tensors[tensor].value : p->zeros;
}

static int has_norms(const struct clip_text_pool *p)
{
    return p->tensors[CLIP_TEXT_Q_NORM_WEIGHT].value != NULL;
}

/* A norm is its weight; its bias is the tensor after it. */
static void norm_heads(const struct clip_text_pool *p, enum clip_text_tensor weight, const float *x,
                       float *out)
{
    for (size_t h = 0; h < p->heads; h++)
        clip_block_norm(&p->norms, p->epsilon, p->head, x + h * p->head, value_of(p, weight),
                        value_of(p, weight + 1), CLIP_PRECISION_F32, out + h * p->head);
}

/* The query as attention reads it is the same for all captions. */
void clip_text_pool_refresh(struct clip_text_pool *p)
{
    size_t width = p->width;
    if (!p->attends)
        return;
    clip_gemm(0, 1, 1, width, width, value_of(p, CLIP_TEXT_QUERY), width, value_of(p, CLIP_TEXT_Q_WEIGHT),
              width, 0, p->raw, width);
    p->norms.kernels->sum(width, p->raw, value_of(p, CLIP_TEXT_Q_BIAS), p->raw);
    memcpy(p->query, p->raw, width * sizeof *p->query);
    if (has_norms(p))
        norm_heads(p, CLIP_TEXT_Q_NORM_WEIGHT, p->raw, p->query);
}

/* The rows that are taken, and their keys and values; returns how many. */
static size_t project_caption(const struct clip_text_pool *p, const struct clip_pooled *caption,
                              const struct workspace *w)
{
    size_t width = p->width, n = 0;
    for (size_t i = caption->first; i < caption->first + caption->length; i++)
        if (p->marks[i])
            memcpy(w->x + n++ * width, p->rows + i * width, width * sizeof *w->x);
    clip_gemm(0, 1, n, 2 * width, width, w->x, width, value_of(p, CLIP_TEXT_KV_WEIGHT), width, 0, w->kv,
              2 * width);
    for (size_t i = 0; i < n; i++) {
        float *kv = w->kv + i * 2 * width;
        p->norms.kernels->sum(2 * width, kv, value_of(p, CLIP_TEXT_KV_BIAS), kv);
        if (has_norms(p))
            norm_heads(p, CLIP_TEXT_K_NORM_WEIGHT, kv, w->k + i * width);
        else
            memcpy(w->k + i * width, kv, width * sizeof *w->k);
    }
    return n;
}

static struct clip_attention head_of(const struct clip_text_pool *p, const struct workspace *w, size_t n,
                                     size_t h, float *out)
{
    return (struct clip_attention){
        .queries = 1,
        .keys = n,
        .dim = p->head,
        .scale = 1 / sqrtf((float)p->head),
        .q = p->query + h * p->head,
        .k = w->k + h * p->head,
        .v = w->kv + p->width + h * p->head,
        .q_stride = p->width,
        .k_stride = p->width,
        .v_stride = 2 * p->width,
        .q_bias = p->zeros,
        .k_bias = p->zeros,
        .v_bias = p->zeros,
        .type = CLIP_PRECISION_F32,
        .out = out,
        .out_stride = p->width,
    };
}

static void attention_forward(const struct clip_text_pool *p, size_t s, const struct workspace *w)
{
    size_t n = project_caption(p, &p->captions[s], w);
    for (size_t h = 0; h < p->heads; h++) {
        struct clip_attention a = head_of(p, w, n, h, p->features + s * p->width + h * p->head);
        p->norms.kernels->attention(&a, w->scores);
    }
}

/* Of the norm of keys: dk[head] of a row becomes that before it. */
static void key_backward(const struct clip_text_pool *p, size_t s, const float *raw, float *dk, float *room)
{
    float *sums = p->back.sums + s * 2 * p->head;
    memset(room, 0, p->head * sizeof *room);
    clip_block_norm_backward(&p->norms, p->epsilon, p->head, raw, value_of(p, CLIP_TEXT_K_NORM_WEIGHT), dk,
                             room, sums, sums + p->head);
    memcpy(dk, room, p->head * sizeof *dk);
}

/* The gradient of a caption's rows, and what its parameters' need. */
static void attention_backward(const struct clip_text_pool *p, size_t s, const struct workspace *w)
{
    const struct clip_pooled *caption = &p->captions[s];
    size_t width = p->width, n = project_caption(p, caption, w), taken = 0;
    memset(p->back.sums + s * 2 * p->head, 0, 2 * p->head * sizeof *p->back.sums);
    for (size_t h = 0; h < p->heads; h++) {
        struct clip_attention forward = head_of(p, w, n, h, NULL);
        struct clip_attention_backward backward = {
            .forward = &forward,
            .dout = p->gradients + s * width + h * p->head,
            .dout_stride = width,
            .type = CLIP_PRECISION_F32,
            .dq = p->back.dq + s * width + h * p->head,
            .dk = w->dkv + h * p->head,
            .dv = w->dkv + width + h * p->head,
            .dq_stride = width,
            .dkv_stride = 2 * width,
        };
        p->norms.kernels->attention_backward(&backward, w->scores);
        for (size_t i = 0; has_norms(p) && i < n; i++)
            key_backward(p, s, w->kv + i * 2 * width + h * p->head, w->dkv + i * 2 * width + h * p->head,
                         w->dx);
    }
    clip_gemm(0, 0, n, width, 2 * width, w->dkv, 2 * width, value_of(p, CLIP_TEXT_KV_WEIGHT), width, 0, w->dx,
              width);
    for (size_t i = caption->first; i < caption->first + caption->length; i++) {
        float *dx = p->drows + i * width, *dkv = p->back.dkv + i * 2 * width;
        if (!p->marks[i]) {
            memset(dx, 0, width * sizeof *dx);
            memset(dkv, 0, 2 * width * sizeof *dkv);
            continue;
        }
        memcpy(dx, w->dx + taken * width, width * sizeof *dx);
        memcpy(dkv, w->dkv + taken++ * 2 * width, 2 * width * sizeof *dkv);
    }
}

/* Of the query, from the sum over captions of dq. */
static void query_backward(struct clip_text_pool *p)
{
    const struct clip_kernels *kernels = p->norms.kernels;
    struct clip_values *t = p->tensors;
    size_t width = p->width;
    float *dq = p->back.room, *raw = p->back.room + width;
    memset(dq, 0, 2 * width * sizeof *dq);
    for (size_t s = 0; s < p->count; s++)
        kernels->sum(width, dq, p->back.dq + s * width, dq);
    if (has_norms(p))
        for (size_t h = 0; h < p->heads; h++)
            clip_block_norm_backward(&p->norms, p->epsilon, p->head, p->raw + h * p->head,
                                     value_of(p, CLIP_TEXT_Q_NORM_WEIGHT), dq + h * p->head,
                                     raw + h * p->head, t[CLIP_TEXT_Q_NORM_WEIGHT].gradient,
                                     t[CLIP_TEXT_Q_NORM_BIAS].gradient);
    dq = has_norms(p) ? raw : dq;
    clip_gemm(1, 0, width, width, 1, dq, width, value_of(p, CLIP_TEXT_QUERY), width, 1,
              t[CLIP_TEXT_Q_WEIGHT].gradient, width);
    clip_gemm(0, 0, 1, width, width, dq, width, value_of(p, CLIP_TEXT_Q_WEIGHT), width, 1,
              t[CLIP_TEXT_QUERY].gradient, width);
    if (t[CLIP_TEXT_Q_BIAS].gradient)
        kernels->sum(width, t[CLIP_TEXT_Q_BIAS].gradient, dq, t[CLIP_TEXT_Q_BIAS].gradient);
    for (size_t s = 0; has_norms(p) && s < p->count; s++) {
        const float *sums = p->back.sums + s * 2 * p->head;
        kernels->sum(p->head, t[CLIP_TEXT_K_NORM_WEIGHT].gradient, sums, t[CLIP_TEXT_K_NORM_WEIGHT].gradient);
        if (t[CLIP_TEXT_K_NORM_BIAS].gradient)
            kernels->sum(p->head, t[CLIP_TEXT_K_NORM_BIAS].gradient, sums + p->head,
                         t[CLIP_TEXT_K_NORM_BIAS].gradient);
    }
}

enum { PANEL = 64 }; /* rows of a task of the gradient of a weight */

/* Rows of the gradients of keys' and values' projection. */
static int weights_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread, (void)error;
    const struct clip_text_pool *p = context;
    const struct clip_pooled *last = &p->captions[p->count - 1];
    size_t first = i * PANEL, wide = 2 * p->width, m = wide - first < PANEL ? wide - first : PANEL;
    size_t begin = p->captions[0].first, rows = last->first + last->length - begin;
    const float *dkv = p->back.dkv + begin * wide + first;
    float *bias = p->tensors[CLIP_TEXT_KV_BIAS].gradient;
    clip_gemm(1, 0, m, p->width, rows, dkv, wide, p->rows + begin * p->width, p->width, 1,
              p->tensors[CLIP_TEXT_KV_WEIGHT].gradient + first * p->width, p->width);
    if (bias)
        p->norms.kernels->column_sums(rows, m, dkv, wide, CLIP_PRECISION_F32, bias + first);
    return 0;
}

/* --- running --- */

static const struct pool_type types[CLIP_POOLINGS] = {
    [CLIP_POOL_MEAN] = {mean_forward, mean_backward},
    [CLIP_POOL_MAX] = {max_forward, max_backward},
    [CLIP_POOL_ATTEND] = {attention_forward, attention_backward},
};

static int forward_task(void *context, size_t s, int thread, struct clip_error *error)
{
    (void)error;
    const struct clip_text_pool *p = context;
    p->type->forward(p, s, p->attends ? &p->workspaces[thread] : NULL);
    return 0;
}

static int backward_task(void *context, size_t s, int thread, struct clip_error *error)
{
    (void)error;
    const struct clip_text_pool *p = context;
    p->type->backward(p, s, p->attends ? &p->workspaces[thread] : NULL);
    return 0;
}

int clip_text_pool_forward(struct clip_text_pool *p, size_t n, const struct clip_pooled *captions,
                           const float *rows, const unsigned char *marks, float *features,
                           struct clip_error *error)
{
    p->count = n;
    p->captions = captions;
    p->rows = rows;
    p->marks = marks;
    p->features = features;
    return clip_crew_run(&p->crew, p->threads, n, forward_task, p, error);
}

int clip_text_pool_backward(struct clip_text_pool *p, size_t n, const struct clip_pooled *captions,
                            const float *rows, const unsigned char *marks, const float *gradients,
                            float *drows, struct clip_error *error)
{
    p->count = n;
    p->captions = captions;
    p->rows = rows;
    p->marks = marks;
    p->gradients = gradients;
    p->drows = drows;
    if (clip_crew_run(&p->crew, p->threads, n, backward_task, p, error) != 0)
        return -1;
    if (!p->attends)
        return 0;
    query_backward(p);
    return clip_crew_run(&p->crew, p->threads, (2 * p->width + PANEL - 1) / PANEL, weights_task, p, error);
}
