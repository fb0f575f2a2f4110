#include "tower/transformer-learner.h"

#include <stdlib.h>

/* --- opening --- */

static struct clip_parameter *find(const struct clip_parameters *parameters, const char *prefix, size_t layer,
                                   const char *name)
{
    return clip_parameters_get(parameters, "%s%zu.%s", prefix, layer, name);
}

static void find_block(struct clip_transformer_learner *t, const struct clip_parameters *parameters, size_t i)
{
    struct clip_block_learner *layer = &t->layers[i];
    struct clip_block *block = &t->blocks.blocks[i];
    const struct {
        const char *name;
        struct clip_parameter **out;
        float **value; /* of vectors */
    } all[] = {{"ln_1.weight", &layer->ln_1[0], &block->ln_1.weight},
               {"ln_1.bias", &layer->ln_1[1], &block->ln_1.bias},
               {"ln_2.weight", &layer->ln_2[0], &block->ln_2.weight},
               {"ln_2.bias", &layer->ln_2[1], &block->ln_2.bias},
               {"attn.in_proj_weight", &layer->in[0], NULL},
               {"attn.in_proj_bias", &layer->in[1], &block->in_bias},
               {"attn.out_proj.weight", &layer->out[0], NULL},
               {"attn.out_proj.bias", &layer->out[1], &block->out_bias},
               {"mlp.c_fc.weight", &layer->fc[0], NULL},
               {"mlp.c_fc.bias", &layer->fc[1], &block->fc_bias},
               {"mlp.c_proj.weight", &layer->proj[0], NULL},
               {"mlp.c_proj.bias", &layer->proj[1], &block->proj_bias}};
    for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
        *all[j].out = find(parameters, t->blocks.shape.blocks, i, all[j].name);
        if (all[j].value)
            *all[j].value = (*all[j].out)->value;
    }
}

/* The products of a block: n outputs and k inputs, forward and backward, of `rows` rows. */
static int make_pair(struct clip_engine *engine, size_t rows, size_t n, size_t k,
                     struct clip_matrix **forward, struct clip_matrix **backward, struct clip_error *error)
{
    return (*forward = clip_matrix_new_rows(engine, rows, n, k, error)) &&
                   (*backward = clip_matrix_new_rows(engine, rows, k, n, error))
               ? 0
               : -1;
}

static int make_block(struct clip_transformer_learner *t, size_t i, struct clip_error *error)
{
    struct clip_engine *engine = t->blocks.engine;
    struct clip_block *b = &t->blocks.blocks[i];
    struct clip_block_learner *l = &t->layers[i];
    size_t width = t->blocks.shape.width, mlp = t->blocks.shape.mlp, all = clip_engine_rows(engine);
    int last = i + 1 == t->blocks.shape.layers;
    size_t rows = last ? CLIP_FEATURE_ROWS : all; /* of the products that are for the features alone */
    if (last && make_pair(engine, rows, width, width, &b->query, &l->query_back, error) != 0)
        return -1;
    if (make_pair(engine, all, last ? 2 * width : 3 * width, width, &b->in, &l->in_back, error) != 0 ||
        make_pair(engine, rows, width, width, &b->out, &l->out_back, error) != 0 ||
        make_pair(engine, rows, mlp, width, &b->fc, &l->fc_back, error) != 0 ||
        make_pair(engine, rows, width, mlp, &b->proj, &l->proj_back, error) != 0)
        return -1;
    return 0;
}

static int make_products(struct clip_transformer_learner *t, struct clip_error *error)
{
    struct clip_engine *engine = t->blocks.engine;
    size_t width = t->blocks.shape.width, mlp = t->blocks.shape.mlp;
    for (size_t i = 0; i < t->blocks.shape.layers; i++)
        if (make_block(t, i, error) != 0)
            return -1;
    return (t->square = clip_outer_new(engine, width, width, error)) &&
                   (t->in = clip_outer_new(engine, 3 * width, width, error)) &&
                   (t->kv = clip_outer_new(engine, 2 * width, width, error)) &&
                   (t->fc = clip_outer_new(engine, mlp, width, error)) &&
                   (t->proj = clip_outer_new(engine, width, mlp, error))
               ? 0
               : -1;
}

static void place_plan(void *context)
{
    struct clip_transformer_learner *t = context;
    t->blocks.blocks = clip_arena_take(&t->plan, t->blocks.shape.layers, sizeof *t->blocks.blocks);
    t->layers = clip_arena_take(&t->plan, t->blocks.shape.layers, sizeof *t->layers);
}

static int open_learner(struct clip_transformer_learner *t, const struct clip_parameters *parameters,
                        struct clip_error *error)
{
    if (clip_arena_build(&t->plan, "a transformer", place_plan, t, error) != 0)
        return -1;
    for (size_t i = 0; i < t->blocks.shape.layers; i++)
        find_block(t, parameters, i);
    t->norm[0] = clip_parameters_get(parameters, "%s.weight", t->blocks.shape.norm);
    t->norm[1] = clip_parameters_get(parameters, "%s.bias", t->blocks.shape.norm);
    t->blocks.norm = (struct clip_norm){t->norm[0]->value, t->norm[1]->value};
    if (make_products(t, error) != 0 || clip_blocks_allocate(&t->blocks, error) != 0)
        return -1;
    return clip_arena_build(&t->memory, "a batch's backward", clip_backward_place, t, error);
}

struct clip_transformer_learner *
clip_transformer_learner_open(const struct clip_parameters *parameters, struct clip_engine *engine,
                              const struct clip_kernels *kernels, struct clip_pool *pool,
                              const struct clip_transformer_shape *shape, struct clip_error *error)
{
    struct clip_transformer_learner *t = calloc(1, sizeof *t);
    if (!t) {
        clip_fail_memory(error, "a transformer");
        return NULL;
    }
    clip_blocks_init(&t->blocks, engine, kernels, pool, shape);
    if (open_learner(t, parameters, error) == 0)
        return t;
    clip_transformer_learner_free(t);
    return NULL;
}

void clip_transformer_learner_free(struct clip_transformer_learner *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->layers && i < t->blocks.shape.layers; i++) {
        const struct clip_block *b = &t->blocks.blocks[i];
        const struct clip_block_learner *l = &t->layers[i];
        struct clip_matrix *all[] = {b->in,      b->query,      b->out,      b->fc,      b->proj,
                                     l->in_back, l->query_back, l->out_back, l->fc_back, l->proj_back};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            clip_matrix_free(all[j]);
    }
    clip_outer_free(t->square);
    clip_outer_free(t->in);
    clip_outer_free(t->kv);
    clip_outer_free(t->fc);
    clip_outer_free(t->proj);
    clip_blocks_destroy(&t->blocks);
    clip_arena_free(&t->plan);
    clip_arena_free(&t->memory);
    free(t);
}

size_t clip_transformer_learner_bytes(const struct clip_transformer_learner *t)
{
    return t->memory.size + t->blocks.arena.size;
}

/* --- new values --- */

/* A task: matrix i % 10 of block i / 10. */
static int refresh_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread;
    struct clip_transformer_learner *t = context;
    size_t layer = i / 10, width = t->blocks.shape.width;
    const struct clip_block *b = &t->blocks.blocks[layer];
    const struct clip_block_learner *l = &t->layers[layer];
    /* In the last block the queries' part of the in-projection stands apart. */
    const float *in = l->in[0]->value, *kv = b->query ? in + width * width : in;
    const struct {
        struct clip_matrix *matrix;
        const float *w;
    } all[] = {{b->in, kv},
               {l->in_back, kv},
               {b->query, in},
               {l->query_back, in},
               {b->out, l->out[0]->value},
               {l->out_back, l->out[0]->value},
               {b->fc, l->fc[0]->value},
               {l->fc_back, l->fc[0]->value},
               {b->proj, l->proj[0]->value},
               {l->proj_back, l->proj[0]->value}};
    size_t j = i % 10;
    return all[j].matrix ? clip_matrix_set(all[j].matrix, all[j].w, j % 2 != 0, error) : 0;
}

int clip_transformer_learner_refresh(struct clip_transformer_learner *t, struct clip_error *error)
{
    return clip_crew_run(&t->blocks.crew, t->blocks.pool, 10 * t->blocks.shape.layers, refresh_task, t,
                         error);
}

/* --- tapes --- */

/* A tape of n sequences. */
struct tape_plan {
    struct clip_transformer_tape *tape;
    const struct clip_blocks *blocks;
    size_t n;
};

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    struct clip_transformer_tape *tape = plan->tape;
    const struct clip_blocks *b = plan->blocks;
    struct clip_arena *memory = &tape->memory;
    size_t n = plan->n;
    size_t width = b->shape.width, layers = b->shape.layers, mlp = b->shape.mlp;
    size_t all = clip_blocks_rows(b->engine, n * b->shape.longest);
    size_t features = (n + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS * CLIP_FEATURE_ROWS;
    tape->layers = clip_arena_take(memory, layers, sizeof *tape->layers);
    tape->sequences = clip_arena_take(memory, n, sizeof *tape->sequences);
    float *x = clip_arena_take(memory, all, width * sizeof *x);
    for (size_t i = 0; i < layers; i++) {
        int last = i + 1 == layers;
        size_t rows = last ? features : all;
        struct clip_block_rows layer = {
            .x = x,
            .qkv = clip_arena_take(memory, all, (last ? 2 : 3) * width * sizeof(float)),
            .queries = last ? clip_arena_take(memory, rows, width * sizeof(float)) : NULL,
            .attended = clip_arena_take(memory, rows, width * b->element),
            .middle = clip_arena_take(memory, rows, width * sizeof(float)),
            .wide = clip_arena_take(memory, rows, mlp * sizeof(float)),
            .out = clip_arena_take(memory, rows, width * sizeof(float)),
        };
        x = layer.out;
        if (tape->layers)
            tape->layers[i] = layer;
    }
}

int clip_transformer_tape_allocate(struct clip_transformer_tape *tape,
                                   const struct clip_transformer_learner *t, struct clip_error *error)
{
    struct tape_plan plan = {tape, &t->blocks, t->blocks.shape.sequences};
    *tape = (struct clip_transformer_tape){0};
    return clip_arena_build(&tape->memory, "a tape", place_tape, &plan, error);
}

void clip_transformer_tape_free(struct clip_transformer_tape *tape)
{
    clip_arena_free(&tape->memory);
}

size_t clip_transformer_tape_bytes(const struct clip_transformer_learner *t, size_t n)
{
    struct clip_transformer_tape counted = {0};
    place_tape(&(struct tape_plan){&counted, &t->blocks, n});
    return counted.memory.used;
}

int clip_transformer_learner_forward(struct clip_transformer_learner *t, struct clip_transformer_tape *tape,
                                     float *features, struct clip_error *error)
{
    return clip_blocks_run(&t->blocks, tape->layers, tape->sequences, tape->count, features, error);
}
