#include "tower/relative.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AXES = 2, LAYERS = 4 };

struct clip_relative {
    const struct clip_tower_arch *arch;
    int learns;
    size_t tokens, prefix, rows, columns, heads, hidden, blocks;
    size_t places;                        /* relative positions: (2 rows - 1)(2 columns - 1) */
    struct clip_values (*values)[LAYERS]; /* [blocks]: weight and bias of fc1, and of fc2 */
    struct clip_arena memory;
    float *points;   /* [places][2]: s(dy), s(dx) */
    float *wide;     /* [places][hidden]: of a block: after relu */
    float *table;    /* [places][heads]: of a block */
    float *bias;     /* [blocks][heads][tokens][tokens] */
    float *gradient; /* [blocks][places][heads] */
};

static const enum clip_block_tensor tensors[LAYERS] = {CLIP_RELATIVE_FC1_WEIGHT, CLIP_RELATIVE_FC1_BIAS,
                                                       CLIP_RELATIVE_FC2_WEIGHT, CLIP_RELATIVE_FC2_BIAS};

/* The place of a query's patch relative to a key's. */
static size_t place_of(const struct clip_relative *r, size_t query, size_t key)
{
    size_t y = query / r->columns + r->rows - 1 - key / r->columns;
    size_t x = query % r->columns + r->columns - 1 - key % r->columns;
    return y * (2 * r->columns - 1) + x;
}

static float log_distance(size_t at, size_t side)
{
    double d = (double)at - (double)(side - 1);
    return (float)copysign(log1p(fabs(d)), d);
}

/* wide = relu(fc1(points)) of a block. */
static void run_hidden(struct clip_relative *r, size_t block)
{
    const struct clip_values *v = r->values[block];
    clip_gemm(0, 1, r->places, r->hidden, AXES, r->points, AXES, v[0].value, AXES, 0, r->wide, r->hidden);
    for (size_t i = 0; i < r->places * r->hidden; i++)
        r->wide[i] = fmaxf(r->wide[i] + v[1].value[i % r->hidden], 0);
}

void clip_relative_refresh(struct clip_relative *r)
{
    for (size_t block = 0; block < r->blocks; block++) {
        const struct clip_values *v = r->values[block];
        float *bias = r->bias + block * r->heads * r->tokens * r->tokens;
        run_hidden(r, block);
        clip_gemm(0, 1, r->places, r->heads, r->hidden, r->wide, r->hidden, v[2].value, r->hidden, 0,
                  r->table, r->heads);
        for (size_t h = 0; h < r->heads; h++)
            for (size_t i = r->prefix; i < r->tokens; i++)
                for (size_t j = r->prefix; j < r->tokens; j++)
                    bias[(h * r->tokens + i) * r->tokens + j] =
                        r->table[place_of(r, i - r->prefix, j - r->prefix) * r->heads + h] + v[3].value[h];
    }
}

/* As clip_transformer_shape.bias_backward. */
static void add_scores(const void *context, size_t h, size_t first, size_t rows, size_t keys, const float *ds,
                       float *sums)
{
    const struct clip_relative *r = context;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = r->prefix; first + i >= r->prefix && j < keys; j++)
            sums[place_of(r, first + i - r->prefix, j - r->prefix) * r->heads + h] += ds[i * keys + j];
}

void clip_relative_begin(struct clip_relative *r)
{
    memset(r->gradient, 0, r->blocks * r->places * r->heads * sizeof *r->gradient);
}

/* Of a block, from dtable[places][heads]: its four tensors. wide becomes its own gradient. */
static void block_backward(struct clip_relative *r, size_t block, const float *dtable)
{
    const struct clip_values *v = r->values[block];
    run_hidden(r, block);
    clip_gemm(1, 0, r->heads, r->hidden, r->places, dtable, r->heads, r->wide, r->hidden, 1, v[2].gradient,
              r->hidden);
    for (size_t i = 0; i < r->places * r->heads; i++)
        v[3].gradient[i % r->heads] += dtable[i];
    for (size_t p = 0; p < r->places; p++)
        for (size_t k = 0; k < r->hidden; k++) {
            float *at = &r->wide[p * r->hidden + k], sum = 0;
            for (size_t h = 0; *at > 0 && h < r->heads; h++)
                sum += dtable[p * r->heads + h] * v[2].value[h * r->hidden + k];
            *at = sum;
            v[1].gradient[k] += sum;
        }
    clip_gemm(1, 0, r->hidden, AXES, r->places, r->wide, r->hidden, r->points, AXES, 1, v[0].gradient, AXES);
}

void clip_relative_backward(struct clip_relative *r)
{
    for (size_t block = 0; block < r->blocks; block++)
        block_backward(r, block, r->gradient + block * r->places * r->heads);
}

void clip_relative_shape(struct clip_relative *r, struct clip_transformer_shape *shape)
{
    shape->bias = r->bias;
    shape->bias_step = r->heads * r->tokens * r->tokens;
    shape->sums_step = r->places * r->heads;
    shape->bias_sums = r->blocks * shape->sums_step;
    shape->bias_backward = add_scores;
    shape->bias_context = r;
    shape->bias_gradient = r->gradient;
}

/* --- opening --- */

size_t clip_relative_bytes(const struct clip_relative *r)
{
    return r->memory.size;
}

void clip_relative_free(struct clip_relative *r)
{
    if (!r)
        return;
    for (size_t block = 0; r->values && block < r->blocks; block++)
        for (size_t i = 0; i < LAYERS; i++)
            clip_values_free(&r->values[block][i]);
    free(r->values);
    clip_arena_free(&r->memory);
    free(r);
}

static void place_buffers(void *context)
{
    struct clip_relative *r = context;
    struct clip_arena *memory = &r->memory;
    r->points = clip_arena_take(memory, r->places, AXES * sizeof(float));
    r->wide = clip_arena_take(memory, r->places, r->hidden * sizeof(float));
    r->table = clip_arena_take(memory, r->places, r->heads * sizeof(float));
    r->bias = clip_arena_take(memory, r->blocks * r->heads * r->tokens, r->tokens * sizeof(float));
    if (r->learns)
        r->gradient = clip_arena_take(memory, r->blocks * r->places, r->heads * sizeof(float));
}

static int load_weights(struct clip_relative *r, const struct clip_tower_setup *setup,
                        struct clip_error *error)
{
    r->values = calloc(r->blocks, sizeof *r->values);
    if (!r->values)
        return clip_fail_memory(error, "relative positions");
    for (size_t block = 0; block < r->blocks; block++)
        for (size_t i = 0; i < LAYERS; i++) {
            char name[sizeof((struct clip_slot *)NULL)->name];
            clip_block_name(r->arch, block, tensors[i], name, sizeof name);
            if (clip_values_load(&r->values[block][i], setup, error, "%s", name) != 0)
                return -1;
        }
    return 0;
}

struct clip_relative *clip_relative_open(const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    struct clip_relative *r = calloc(1, sizeof *r);
    if (!r) {
        clip_fail_memory(error, "relative positions");
        return NULL;
    }
    *r = (struct clip_relative){
        .arch = arch,
        .learns = setup->parameters != NULL,
        .tokens = clip_vit_tokens(arch),
        .prefix = clip_vit_prefix(arch),
        .rows = clip_vit_rows(arch),
        .columns = clip_vit_columns(arch),
        .heads = (size_t)arch->heads,
        .hidden = (size_t)arch->block.relative,
        .blocks = (size_t)arch->layers,
    };
    r->places = (2 * r->rows - 1) * (2 * r->columns - 1);
    if (load_weights(r, setup, error) != 0 ||
        clip_arena_build(&r->memory, "relative positions", place_buffers, r, error) != 0) {
        clip_relative_free(r);
        return NULL;
    }
    for (size_t p = 0; p < r->places; p++) {
        r->points[p * AXES] = log_distance(p / (2 * r->columns - 1), r->rows);
        r->points[p * AXES + 1] = log_distance(p % (2 * r->columns - 1), r->columns);
    }
    clip_relative_refresh(r);
    return r;
}
