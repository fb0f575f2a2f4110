#include "tower/transformer.h"

#include "base/arena.h"
#include "tower/prepared.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The weights behind the matrices of a block. */
struct weights {
    struct clip_prepared in, query, out, fc, proj;
};

struct clip_transformer {
    struct clip_blocks blocks;
    struct weights *weights; /* [layers] */
    struct clip_arena parameters, buffers;
    struct clip_block_rows *layers; /* [layers] */
};

/* --- opening: memory --- */

static float *floats(struct clip_arena *arena, size_t n)
{
    return clip_arena_take(arena, n, sizeof(float));
}

static void place_norm(struct clip_transformer *t, struct clip_norm *norm)
{
    norm->weight = floats(&t->parameters, t->blocks.shape.width);
    norm->bias = floats(&t->parameters, t->blocks.shape.width);
}

static void place_parameters(void *context)
{
    struct clip_transformer *t = context;
    size_t width = t->blocks.shape.width, layers = t->blocks.shape.layers;
    t->blocks.blocks = clip_arena_take(&t->parameters, layers, sizeof *t->blocks.blocks);
    t->weights = clip_arena_take(&t->parameters, layers, sizeof *t->weights);
    place_norm(t, &t->blocks.norm);
    for (size_t i = 0; i < layers; i++) {
        struct clip_block block = {0};
        place_norm(t, &block.ln_1);
        place_norm(t, &block.ln_2);
        block.in_bias = floats(&t->parameters, 3 * width);
        block.out_bias = floats(&t->parameters, width);
        block.proj_bias = floats(&t->parameters, width);
        block.fc_bias = floats(&t->parameters, t->blocks.shape.mlp);
        if (t->blocks.blocks)
            t->blocks.blocks[i] = block;
    }
}

/* One set of buffers for all blocks, and those of the features for the last. */
static void place_buffers(void *context)
{
    struct clip_transformer *t = context;
    const struct clip_transformer_shape *shape = &t->blocks.shape;
    struct clip_arena *arena = &t->buffers;
    size_t width = shape->width, element = clip_engine_element(t->blocks.engine);
    size_t rows = clip_blocks_rows(t->blocks.engine, shape->sequences * shape->longest);
    size_t features = (shape->sequences + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS * CLIP_FEATURE_ROWS;
    struct clip_block_rows shared = {
        .x = clip_arena_take(arena, rows, width * sizeof(float)),
        .qkv = clip_arena_take(arena, rows, 3 * width * sizeof(float)),
        .attended = clip_arena_take(arena, rows, width * element),
    };
    shared.out = shared.x;
    struct clip_block_rows last = shared;
    last.queries = clip_arena_take(arena, features, width * sizeof(float));
    last.attended = clip_arena_take(arena, features, width * element);
    last.out = clip_arena_take(arena, features, width * sizeof(float));
    t->layers = clip_arena_take(arena, shape->layers, sizeof *t->layers);
    for (size_t i = 0; t->layers && i < shape->layers; i++)
        t->layers[i] = i + 1 == shape->layers ? last : shared;
}

static int allocate_buffers(struct clip_transformer *t, struct clip_error *error)
{
    size_t rows;
    if (__builtin_mul_overflow(t->blocks.shape.sequences, t->blocks.shape.longest, &rows) ||
        clip_blocks_rows(t->blocks.engine, rows) == 0)
        return clip_fail_memory(error, "a batch");
    return clip_arena_build(&t->buffers, "a batch", place_buffers, t, error);
}

/* --- opening: weights --- */

struct loading {
    struct clip_transformer *t;
    const struct clip_model *model;
};

/* The vector `name` + `suffix` of block i (or of no block, i = SIZE_MAX). */
static int load_vector(const struct loading *l, size_t i, const char *name, size_t n, float *out,
                       struct clip_error *error)
{
    char full[128];
    if (i == SIZE_MAX)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "%s%zu.%s", l->t->blocks.shape.blocks, i, name);
    return clip_model_floats(l->model, full, 1, &n, out, error);
}

/* Rows [first, first + n) of the [total, k] matrix `name` of block i. */
static int load_matrix(const struct loading *l, size_t i, const char *name, size_t total, size_t first,
                       size_t n, size_t k, size_t rows, struct clip_prepared *out, struct clip_error *error)
{
    char full[128];
    snprintf(full, sizeof full, "%s%zu.%s", l->t->blocks.shape.blocks, i, name);
    struct clip_prepared_part part = {full, 2, {total, k}, first, n, 0};
    return clip_prepared_load(out, l->model, l->t->blocks.engine, rows, &part, error);
}

static int load_vectors(const struct loading *l, size_t i, struct clip_error *error)
{
    struct clip_block *b = &l->t->blocks.blocks[i];
    size_t width = l->t->blocks.shape.width;
    struct {
        const char *name;
        size_t n;
        float *out;
    } all[] = {{"ln_1.weight", width, b->ln_1.weight},
               {"ln_1.bias", width, b->ln_1.bias},
               {"ln_2.weight", width, b->ln_2.weight},
               {"ln_2.bias", width, b->ln_2.bias},
               {"attn.in_proj_bias", 3 * width, b->in_bias},
               {"attn.out_proj.bias", width, b->out_bias},
               {"mlp.c_fc.bias", l->t->blocks.shape.mlp, b->fc_bias},
               {"mlp.c_proj.bias", width, b->proj_bias}};
    for (size_t j = 0; j < sizeof all / sizeof *all; j++)
        if (load_vector(l, i, all[j].name, all[j].n, all[j].out, error) != 0)
            return -1;
    return 0;
}

/* A task: matrix i % 4 of block i / 4, with the block's vectors beside the first. */
static int load_task(void *context, size_t task, int thread, struct clip_error *error)
{
    (void)thread;
    const struct loading *l = context;
    size_t i = task / 4, width = l->t->blocks.shape.width, mlp = l->t->blocks.shape.mlp;
    struct weights *w = &l->t->weights[i];
    int last = i + 1 == l->t->blocks.shape.layers;
    size_t rows = last ? CLIP_FEATURE_ROWS : 0; /* of the products that are for the features alone */
    switch (task % 4) {
    case 0:
        if (load_vectors(l, i, error) != 0 ||
            (last && load_matrix(l, i, "attn.in_proj_weight", 3 * width, 0, width, width, CLIP_FEATURE_ROWS,
                                 &w->query, error) != 0))
            return -1;
        return load_matrix(l, i, "attn.in_proj_weight", 3 * width, last ? width : 0,
                           last ? 2 * width : 3 * width, width, 0, &w->in, error);
    case 1:
        return load_matrix(l, i, "attn.out_proj.weight", width, 0, width, width, rows, &w->out, error);
    case 2:
        return load_matrix(l, i, "mlp.c_fc.weight", mlp, 0, mlp, width, rows, &w->fc, error);
    default:
        return load_matrix(l, i, "mlp.c_proj.weight", width, 0, width, mlp, rows, &w->proj, error);
    }
}

static int load(struct clip_transformer *t, const struct clip_model *model, struct clip_error *error)
{
    struct loading l = {t, model};
    char name[128];
    if (clip_arena_build(&t->parameters, "a transformer", place_parameters, t, error) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.weight", t->blocks.shape.norm);
    if (load_vector(&l, SIZE_MAX, name, t->blocks.shape.width, t->blocks.norm.weight, error) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.bias", t->blocks.shape.norm);
    if (load_vector(&l, SIZE_MAX, name, t->blocks.shape.width, t->blocks.norm.bias, error) != 0)
        return -1;
    if (clip_crew_run(&t->blocks.crew, t->blocks.pool, 4 * t->blocks.shape.layers, load_task, &l, error) != 0)
        return -1;
    for (size_t i = 0; i < t->blocks.shape.layers; i++) {
        struct clip_block *b = &t->blocks.blocks[i];
        const struct weights *w = &t->weights[i];
        b->in = w->in.matrix;
        b->query = w->query.matrix;
        b->out = w->out.matrix;
        b->fc = w->fc.matrix;
        b->proj = w->proj.matrix;
    }
    return 0;
}

struct clip_transformer *clip_transformer_open(const struct clip_model *model, struct clip_engine *engine,
                                               const struct clip_kernels *kernels, struct clip_pool *pool,
                                               const struct clip_transformer_shape *shape,
                                               struct clip_error *error)
{
    struct clip_transformer *t = calloc(1, sizeof *t);
    if (!t) {
        clip_fail_memory(error, "a transformer");
        return NULL;
    }
    clip_blocks_init(&t->blocks, engine, kernels, pool, shape);
    if (load(t, model, error) != 0 || allocate_buffers(t, error) != 0 ||
        clip_blocks_allocate(&t->blocks, error) != 0) {
        clip_transformer_free(t);
        return NULL;
    }
    return t;
}

void clip_transformer_free(struct clip_transformer *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->weights && i < t->blocks.shape.layers; i++) {
        struct weights *w = &t->weights[i];
        clip_prepared_free(&w->in);
        clip_prepared_free(&w->query);
        clip_prepared_free(&w->out);
        clip_prepared_free(&w->fc);
        clip_prepared_free(&w->proj);
    }
    clip_blocks_destroy(&t->blocks);
    clip_arena_free(&t->parameters);
    clip_arena_free(&t->buffers);
    free(t);
}

float *clip_transformer_rows(struct clip_transformer *t)
{
    return t->layers->x;
}

int clip_transformer_run(struct clip_transformer *t, const struct clip_sequence *sequences, size_t n,
                         float *features, struct clip_error *error)
{
    return n == 0 ? 0 : clip_blocks_run(&t->blocks, t->layers, sequences, n, features, error);
}
