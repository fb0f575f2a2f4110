/* The transformer's weights, memory and tapes. */
#include "tower/transformer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* --- weights --- */

struct loading {
    struct clip_transformer *t;
    const struct clip_tower_setup *setup;
};

static int load_vectors(const struct loading *l, size_t i, struct clip_error *error)
{
    struct clip_block *b = &l->t->blocks[i];
    const struct {
        const char *name;
        struct clip_values *out;
    } all[] = {{"ln_1.weight", &b->ln_1.weight},   {"ln_1.bias", &b->ln_1.bias},
               {"ln_2.weight", &b->ln_2.weight},   {"ln_2.bias", &b->ln_2.bias},
               {"attn.in_proj_bias", &b->in_bias}, {"attn.out_proj.bias", &b->out_bias},
               {"mlp.c_fc.bias", &b->fc_bias},     {"mlp.c_proj.bias", &b->proj_bias}};
    for (size_t j = 0; j < sizeof all / sizeof *all; j++)
        if (clip_values_load(all[j].out, l->setup, error, "%s%zu.%s", l->t->shape.blocks, i, all[j].name) !=
            0)
            return -1;
    return 0;
}

/* Rows [first, first + n) of the matrix `name` of block i (n 0: all), for products of `rows` rows. */
static int load_matrix(const struct loading *l, size_t i, const char *name, size_t first, size_t n,
                       size_t rows, struct clip_operand *out, struct clip_error *error)
{
    char full[128];
    snprintf(full, sizeof full, "%s%zu.%s", l->t->shape.blocks, i, name);
    struct clip_operand_part part = {.name = full, .first = first, .count = n};
    return clip_operand_load(out, l->setup, rows, &part, error);
}

/* A task: matrix i % 4 of block i / 4, with the block's vectors beside the first. */
static int load_task(void *context, size_t task, int thread, struct clip_error *error)
{
    (void)thread;
    const struct loading *l = context;
    size_t i = task / 4, width = l->t->shape.width;
    struct clip_block *b = &l->t->blocks[i];
    int last = i + 1 == l->t->shape.layers;
    size_t rows = last ? CLIP_FEATURE_ROWS : 0; /* of the products that are for the features alone */
    switch (task % 4) {
    case 0:
        if (load_vectors(l, i, error) != 0 ||
            (last && load_matrix(l, i, "attn.in_proj_weight", 0, width, rows, &b->query, error) != 0))
            return -1;
        return load_matrix(l, i, "attn.in_proj_weight", last ? width : 0, last ? 2 * width : 0, 0, &b->in,
                           error);
    case 1:
        return load_matrix(l, i, "attn.out_proj.weight", 0, 0, rows, &b->out, error);
    case 2:
        return load_matrix(l, i, "mlp.c_fc.weight", 0, 0, rows, &b->fc, error);
    default:
        return load_matrix(l, i, "mlp.c_proj.weight", 0, 0, rows, &b->proj, error);
    }
}

static int load(struct clip_transformer *t, const struct clip_tower_setup *setup, struct clip_error *error)
{
    struct loading l = {t, setup};
    t->blocks = calloc(t->shape.layers, sizeof *t->blocks);
    if (!t->blocks)
        return clip_fail_memory(error, "a transformer");
    if (clip_values_load(&t->norm.weight, setup, error, "%s.weight", t->shape.norm) != 0 ||
        clip_values_load(&t->norm.bias, setup, error, "%s.bias", t->shape.norm) != 0)
        return -1;
    return clip_crew_run(&t->crew, t->pool, 4 * t->shape.layers, load_task, &l, error);
}

/* A task: matrix i % 5 of block i / 5. */
static int refresh_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread;
    const struct clip_transformer *t = context;
    struct clip_block *b = &t->blocks[i / 5];
    struct clip_operand *const all[] = {&b->in, &b->query, &b->out, &b->fc, &b->proj};
    return clip_operand_refresh(all[i % 5], error);
}

int clip_transformer_refresh(struct clip_transformer *t, struct clip_error *error)
{
    return clip_crew_run(&t->crew, t->pool, 5 * t->shape.layers, refresh_task, t, error);
}

static void free_block(struct clip_block *b)
{
    struct clip_operand *const operands[] = {&b->in, &b->query, &b->out, &b->fc, &b->proj};
    struct clip_values *const values[] = {&b->ln_1.weight, &b->ln_1.bias, &b->ln_2.weight, &b->ln_2.bias,
                                          &b->in_bias,     &b->out_bias,  &b->fc_bias,     &b->proj_bias};
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++)
        clip_operand_free(operands[i]);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        clip_values_free(values[i]);
}

/* --- opening --- */

static int open_backward(struct clip_transformer *t, struct clip_error *error)
{
    size_t width = t->shape.width, mlp = t->shape.mlp;
    if (!(t->back.square = clip_outer_new(t->engine, width, width, error)) ||
        !(t->back.in = clip_outer_new(t->engine, 3 * width, width, error)) ||
        !(t->back.kv = clip_outer_new(t->engine, 2 * width, width, error)) ||
        !(t->back.fc = clip_outer_new(t->engine, mlp, width, error)) ||
        !(t->back.proj = clip_outer_new(t->engine, width, mlp, error)))
        return -1;
    return clip_arena_build(&t->back.memory, "a batch's backward", clip_place_backward, t, error);
}

static int open_transformer(struct clip_transformer *t, const struct clip_tower_setup *setup,
                            struct clip_error *error)
{
    size_t rows;
    if (load(t, setup, error) != 0)
        return -1;
    if (__builtin_mul_overflow(t->batch, t->shape.longest, &rows) ||
        (t->pieces = clip_transformer_rows(t, rows) / t->piece) == 0)
        return clip_fail_memory(error, "a batch");
    if (clip_arena_build(&t->arena, "a batch", clip_place_forward, t, error) != 0)
        return -1;
    return t->learns ? open_backward(t, error) : 0;
}

struct clip_transformer *clip_transformer_open(const struct clip_tower_setup *setup,
                                               const struct clip_kernels *kernels,
                                               const struct clip_transformer_shape *shape,
                                               struct clip_error *error)
{
    struct clip_transformer *t = calloc(1, sizeof *t);
    if (!t) {
        clip_fail_memory(error, "a transformer");
        return NULL;
    }
    *t = (struct clip_transformer){
        .shape = *shape,
        .batch = setup->batch,
        .learns = setup->parameters != NULL,
        .engine = setup->engine,
        .kernels = kernels,
        .pool = setup->pool,
        .piece = clip_engine_rows(setup->engine),
        .element = clip_engine_element(setup->engine),
    };
    clip_crew_init(&t->crew);
    if (open_transformer(t, setup, error) == 0)
        return t;
    clip_transformer_free(t);
    return NULL;
}

void clip_transformer_free(struct clip_transformer *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->blocks && i < t->shape.layers; i++)
        free_block(&t->blocks[i]);
    free(t->blocks);
    clip_values_free(&t->norm.weight);
    clip_values_free(&t->norm.bias);
    clip_outer_free(t->back.square);
    clip_outer_free(t->back.in);
    clip_outer_free(t->back.kv);
    clip_outer_free(t->back.fc);
    clip_outer_free(t->back.proj);
    clip_arena_free(&t->arena);
    clip_arena_free(&t->back.memory);
    clip_crew_destroy(&t->crew);
    free(t);
}

size_t clip_transformer_bytes(const struct clip_transformer *t)
{
    return t->back.memory.size + t->arena.size;
}

size_t clip_transformer_rows(const struct clip_transformer *t, size_t rows)
{
    return rows > SIZE_MAX - t->piece ? 0 : (rows + t->piece - 1) / t->piece * t->piece;
}

/* --- tapes --- */

/* A tape of n sequences. */
struct tape_plan {
    struct clip_transformer_tape *tape;
    const struct clip_transformer *t;
    size_t n;
};

static size_t feature_rows(size_t n)
{
    return (n + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS * CLIP_FEATURE_ROWS;
}

/* What each block leaves, for the backward. */
static void place_layers(const struct tape_plan *plan)
{
    struct clip_transformer_tape *tape = plan->tape;
    const struct clip_transformer *t = plan->t;
    struct clip_arena *memory = &tape->memory;
    size_t width = t->shape.width, layers = t->shape.layers, mlp = t->shape.mlp;
    size_t all = clip_transformer_rows(t, plan->n * t->shape.longest), features = feature_rows(plan->n);
    float *x = clip_arena_take(memory, all, width * sizeof *x);
    for (size_t i = 0; i < layers; i++) {
        int last = i + 1 == layers;
        size_t rows = last ? features : all;
        struct clip_block_rows layer = {
            .x = x,
            .qkv = clip_arena_take(memory, all, (last ? 2 : 3) * width * sizeof(float)),
            .queries = last ? clip_arena_take(memory, rows, width * sizeof(float)) : NULL,
            .attended = clip_arena_take(memory, rows, width * t->element),
            .middle = clip_arena_take(memory, rows, width * sizeof(float)),
            .wide = clip_arena_take(memory, rows, mlp * sizeof(float)),
            .out = clip_arena_take(memory, rows, width * sizeof(float)),
        };
        x = layer.out;
        if (tape->layers)
            tape->layers[i] = layer;
    }
}

/* One set of buffers for all blocks, and those of the features for the last. */
static void place_buffers(const struct tape_plan *plan)
{
    struct clip_transformer_tape *tape = plan->tape;
    const struct clip_transformer *t = plan->t;
    struct clip_arena *memory = &tape->memory;
    size_t width = t->shape.width, layers = t->shape.layers;
    size_t rows = clip_transformer_rows(t, plan->n * t->shape.longest), features = feature_rows(plan->n);
    struct clip_block_rows shared = {
        .x = clip_arena_take(memory, rows, width * sizeof(float)),
        .qkv = clip_arena_take(memory, rows, 3 * width * sizeof(float)),
        .attended = clip_arena_take(memory, rows, width * t->element),
    };
    shared.out = shared.x;
    struct clip_block_rows last = shared;
    last.queries = clip_arena_take(memory, features, width * sizeof(float));
    last.attended = clip_arena_take(memory, features, width * t->element);
    last.out = clip_arena_take(memory, features, width * sizeof(float));
    for (size_t i = 0; tape->layers && i < layers; i++)
        tape->layers[i] = i + 1 == layers ? last : shared;
}

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    struct clip_transformer_tape *tape = plan->tape;
    tape->layers = clip_arena_take(&tape->memory, plan->t->shape.layers, sizeof *tape->layers);
    tape->sequences = clip_arena_take(&tape->memory, plan->n, sizeof *tape->sequences);
    (plan->t->learns ? place_layers : place_buffers)(plan);
}

int clip_transformer_tape_allocate(struct clip_transformer_tape *tape, const struct clip_transformer *t,
                                   struct clip_error *error)
{
    struct tape_plan plan = {tape, t, t->batch};
    *tape = (struct clip_transformer_tape){0};
    return clip_arena_build(&tape->memory, t->learns ? "a tape" : "a batch", place_tape, &plan, error);
}

void clip_transformer_tape_free(struct clip_transformer_tape *tape)
{
    clip_arena_free(&tape->memory);
}

size_t clip_transformer_tape_bytes(const struct clip_transformer *t, size_t n)
{
    struct clip_transformer_tape counted = {0};
    place_tape(&(struct tape_plan){&counted, t, n});
    return counted.memory.used;
}
