/* The transformer's weights, memory and tapes. */
#include "tower/transformer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* --- weights --- */

struct loading {
    struct clip_transformer *t;
    const struct clip_tower_setup *setup; /* with the engine of the block */
    int stored; /* the model has rounded matrices: they say which blocks int8 rounds */
};

/* 1 if int8 rounds the matrices of block i. */
static int is_rounded(const struct loading *l, size_t i)
{
    char name[sizeof((struct clip_slot *)NULL)->name];
    const struct clip_int8_setup *int8 = l->setup->int8;
    if (!int8 || i < int8->keep || i + int8->keep >= l->t->shape.layers)
        return 0;
    clip_block_name(l->t->shape.arch, i, CLIP_OUT_WEIGHT, name, sizeof name);
    return !l->stored || clip_model_is_rounded(l->setup->model, name);
}

/* Sets rows [first, first + n) of a matrix of block i (n 0: all), for products of `rows` rows, if blocks have
 * it. */
static int load_matrix(const struct loading *l, size_t i, enum clip_block_tensor tensor, size_t first,
                       size_t n, size_t rows, struct clip_operand *out, struct clip_error *error)
{
    char name[sizeof((struct clip_slot *)NULL)->name];
    size_t shape[4];
    if (!clip_block_shape(l->t->shape.arch, tensor, shape))
        return 0;
    clip_block_name(l->t->shape.arch, i, tensor, name, sizeof name);
    struct clip_operand_part part = {.name = name, .first = first, .count = n};
    return clip_operand_load(out, l->setup, rows ? rows : l->t->piece, &part, error);
}

/* The in-projection: of q, k and v, or of k and v with that of q apart. */
static int load_in(const struct loading *l, size_t i, struct clip_error *error)
{
    struct clip_block *b = &l->t->blocks[i];
    size_t width = l->t->block.inner; /* rows of q, of k and of v */
    int single = clip_transformer_single(l->t, i);
    if (l->t->block.flags & CLIP_BLOCK_SPLIT_QKV) {
        char names[3][sizeof((struct clip_slot *)NULL)->name];
        for (int j = 0; j < 3; j++)
            clip_block_name(l->t->shape.arch, i, CLIP_Q_WEIGHT + j, names[j], sizeof names[j]);
        struct clip_operand_part q = {.name = names[0]};
        struct clip_operand_part all = {.name = names[single],
                                        .more = {names[1 + single], single ? NULL : names[2]}};
        if (single && clip_operand_load(&b->query, l->setup, CLIP_FEATURE_ROWS, &q, error) != 0)
            return -1;
        return clip_operand_load(&b->in, l->setup, l->t->piece, &all, error);
    }
    if (single && load_matrix(l, i, CLIP_IN_WEIGHT, 0, width, CLIP_FEATURE_ROWS, &b->query, error) != 0)
        return -1;
    return load_matrix(l, i, CLIP_IN_WEIGHT, single ? width : 0, single ? 2 * width : 0, 0, &b->in, error);
}

/* c_fc or c_gate (gate 1), which may be rows of one tensor. */
static int load_hidden(const struct loading *l, size_t i, int gate, size_t rows, struct clip_operand *out,
                       struct clip_error *error)
{
    size_t mlp = l->t->block.mlp;
    if (l->t->block.flags & CLIP_BLOCK_JOINED_GATE)
        return load_matrix(l, i, CLIP_JOINED_WEIGHT,
                           gate == !(l->t->block.flags & CLIP_BLOCK_GATE_FIRST) ? mlp : 0, mlp, rows, out,
                           error);
    return load_matrix(l, i, gate ? CLIP_GATE_WEIGHT : CLIP_FC_WEIGHT, 0, 0, rows, out, error);
}

enum { MATRICES = 6 };

/* A task: matrix i % MATRICES of block i / MATRICES, with the block's vectors beside the first. */
static int load_task(void *context, size_t task, int thread, struct clip_error *error)
{
    (void)thread;
    const struct loading *all = context;
    size_t i = task / MATRICES;
    int rounded = is_rounded(all, i);
    struct clip_tower_setup setup = *all->setup;
    if (setup.int8)
        setup.engine = rounded ? setup.int8->engine : setup.int8->kept;
    const struct loading own = {all->t, &setup, all->stored}, *l = &own;
    struct clip_block *b = &l->t->blocks[i];
    /* Of the products that are for the features alone. */
    size_t rows = clip_transformer_single(l->t, i) ? CLIP_FEATURE_ROWS : 0;
    switch (task % MATRICES) {
    case 0:
        b->shape = setup.int8 && !rounded ? &l->t->kept : &l->t->block;
        return clip_block_load_vectors(b, l->setup, i, error) == 0 ? load_in(l, i, error) : -1;
    case 1:
        return load_matrix(l, i, CLIP_OUT_WEIGHT, 0, 0, rows, &b->out, error);
    case 2:
        return load_hidden(l, i, 0, rows, &b->fc, error);
    case 3:
        return load_hidden(l, i, 1, rows, &b->gate, error);
    case 4:
        return load_matrix(l, i, CLIP_ATTN_GATE_WEIGHT, 0, 0, rows, &b->attention_gate, error);
    default:
        return load_matrix(l, i, CLIP_PROJ_WEIGHT, 0, 0, rows, &b->proj, error);
    }
}

static int load_weights(struct clip_transformer *t, const struct clip_tower_setup *setup,
                        struct clip_error *error)
{
    enum clip_side side = t->shape.arch == &setup->arch->text ? CLIP_SIDE_TEXT : CLIP_SIDE_IMAGE;
    struct loading l = {t, setup, setup->int8 && clip_model_is_int8(setup->model, side)};
    t->blocks = calloc(t->shape.layers, sizeof *t->blocks);
    if (!t->blocks)
        return clip_fail_memory(error, "a transformer");
    if (t->shape.norm[0] &&
        (clip_values_load(&t->norm.weight, setup, error, "%s", t->shape.norm[0]) != 0 ||
         (t->shape.norm[1] && clip_values_load(&t->norm.bias, setup, error, "%s", t->shape.norm[1]) != 0)))
        return -1;
    return clip_crew_run(&t->crew, t->pool, MATRICES * t->shape.layers, load_task, &l, error);
}

/* A task: a matrix of a block. */
static int refresh_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread;
    const struct clip_transformer *t = context;
    struct clip_operand *all[CLIP_BLOCK_OPERANDS];
    size_t layer = i / CLIP_BLOCK_OPERANDS, at = i % CLIP_BLOCK_OPERANDS;
    size_t n = clip_block_operands(&t->blocks[layer], all);
    if (at == 0)
        clip_block_refresh_vectors(&t->blocks[layer]);
    return at < n ? clip_operand_refresh(all[at], error) : 0;
}

int clip_transformer_refresh(struct clip_transformer *t, struct clip_error *error)
{
    return clip_crew_run(&t->crew, t->pool, CLIP_BLOCK_OPERANDS * t->shape.layers, refresh_task, t, error);
}

/* --- opening --- */

static int open_backward(struct clip_transformer *t, struct clip_error *error)
{
    size_t width = t->block.width, inner = t->block.inner, mlp = t->block.mlp;
    if (!(t->back.query = clip_outer_new(t->engine, inner, width, error)) ||
        !(t->back.in = clip_outer_new(t->engine, 3 * inner, width, error)) ||
        !(t->back.kv = clip_outer_new(t->engine, 2 * inner, width, error)) ||
        !(t->back.out = clip_outer_new(t->engine, width, inner, error)) ||
        !(t->back.fc = clip_outer_new(t->engine, mlp, width, error)) ||
        !(t->back.proj = clip_outer_new(t->engine, width, mlp, error)))
        return -1;
    return clip_arena_build(&t->back.memory, "a batch's backward", clip_place_backward, t, error);
}

static int open_transformer(struct clip_transformer *t, const struct clip_tower_setup *setup,
                            struct clip_error *error)
{
    size_t rows;
    if (clip_block_shape_init(&t->block, t->shape.arch, t->kernels, clip_engine_element_type(t->engine),
                              error) != 0)
        return -1;
    t->block.cosines = t->shape.cosines;
    t->block.sines = t->shape.sines;
    t->kept = t->block;
    if (setup->int8)
        t->kept.type = clip_engine_element_type(setup->int8->kept);
    t->attended_element = t->block.joins ? sizeof(float) : t->element;
    if (load_weights(t, setup, error) != 0)
        return -1;
    if (__builtin_mul_overflow(t->batch, t->shape.longest, &rows) ||
        (t->pieces = clip_transformer_rows(t, rows) / t->piece) == 0)
        return clip_fail_memory(error, "a batch");
    t->pieces = clip_larger(t->pieces, (size_t)clip_pool_threads(t->pool));
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
    struct clip_engine *engine = setup->int8 ? setup->int8->engine : setup->engine;
    *t = (struct clip_transformer){
        .shape = *shape,
        .batch = setup->batch,
        .learns = setup->parameters != NULL,
        .engine = engine,
        .kernels = kernels,
        .pool = setup->pool,
        .piece = clip_engine_rows(engine),
        .element = clip_engine_element(engine),
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
        clip_block_free(&t->blocks[i]);
    free(t->blocks);
    clip_block_shape_free(&t->block);
    clip_norm_free(&t->norm);
    clip_outer_free(t->back.query);
    clip_outer_free(t->back.out);
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

int clip_transformer_single(const struct clip_transformer *t, size_t layer)
{
    return !t->shape.all && layer + 1 == t->shape.layers;
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

/* [rows][n] floats, if wanted. */
static float *take_rows(struct clip_arena *memory, int wanted, size_t rows, size_t n)
{
    return wanted ? clip_arena_take(memory, rows, n * sizeof(float)) : NULL;
}

/* What each block keeps for the backward. */
static void place_layers(const struct tape_plan *plan)
{
    struct clip_transformer_tape *tape = plan->tape;
    const struct clip_transformer *t = plan->t;
    struct clip_arena *memory = &tape->memory;
    size_t width = t->block.width, inner = t->block.inner, mlp = t->block.mlp;
    size_t all = clip_transformer_rows(t, plan->n * t->shape.longest), features = feature_rows(plan->n);
    unsigned flags = t->block.flags, scaled = flags & CLIP_BLOCK_LAYER_SCALE;
    int after = (flags & CLIP_BLOCK_NORM_AFTER) != 0;
    float *x = clip_arena_take(memory, all, width * sizeof *x);
    for (size_t i = 0; i < t->shape.layers; i++) {
        int single = clip_transformer_single(t, i);
        size_t rows = single ? features : all;
        struct clip_block_rows layer = {
            .x = x,
            .qkv = clip_arena_take(memory, all, (single ? 2 : 3) * inner * sizeof(float)),
            .queries = take_rows(memory, single, rows, inner),
            .values = take_rows(memory, (flags & CLIP_BLOCK_VALUE_RESIDUAL) != 0, all, inner),
            .opening = take_rows(memory, (flags & CLIP_BLOCK_ATTN_GATE) != 0, rows, inner),
            .attended = clip_arena_take(memory, rows, inner * t->attended_element),
            .middle = take_rows(memory, 1, rows, width),
            .wide = take_rows(memory, 1, rows, mlp),
            .gate = take_rows(memory, (flags & CLIP_BLOCK_GATED) != 0, rows, mlp),
            .branch = {take_rows(memory, scaled || (flags & CLIP_BLOCK_ATTN_NORM), rows, width),
                       take_rows(memory, scaled || (flags & CLIP_BLOCK_MLP_NORM), rows, width)},
            .sum = {take_rows(memory, after, rows, width), take_rows(memory, after, rows, width)},
            .out = take_rows(memory, 1, rows, width),
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
    size_t width = t->block.width, inner = t->block.inner, layers = t->shape.layers;
    size_t rows = clip_transformer_rows(t, plan->n * t->shape.longest), features = feature_rows(plan->n);
    int gated = (t->block.flags & CLIP_BLOCK_ATTN_GATE) != 0;
    int mixes = (t->block.flags & CLIP_BLOCK_VALUE_RESIDUAL) != 0;
    struct clip_block_rows shared = {
        .x = clip_arena_take(memory, rows, width * sizeof(float)),
        .qkv = clip_arena_take(memory, rows, 3 * inner * sizeof(float)),
        .values = take_rows(memory, mixes, rows, inner),
        .opening = take_rows(memory, gated, rows, inner),
        .attended = clip_arena_take(memory, rows, inner * t->attended_element),
    };
    float *first_values = take_rows(memory, mixes, rows, inner);
    shared.out = shared.x;
    struct clip_block_rows last = shared;
    if (!t->shape.all) {
        last.queries = clip_arena_take(memory, features, inner * sizeof(float));
        last.opening = take_rows(memory, gated, features, inner);
        last.attended = clip_arena_take(memory, features, inner * t->attended_element);
        last.out = clip_arena_take(memory, features, width * sizeof(float));
    }
    for (size_t i = 0; tape->layers && i < layers; i++)
        tape->layers[i] = i + 1 == layers ? last : shared;
    if (tape->layers)
        tape->layers[0].values = first_values;
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
