#include "tower/transformer.h"

#include "base/arena.h"
#include "tower/crew.h"
#include "tower/prepared.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sequences of a task of the last step, and rows of its products. */
enum { LAST_ROWS = 16 };

struct norm {
    float *weight, *bias; /* [width] */
};

struct block {
    struct norm ln_1, ln_2;
    /* attn.in_proj: all of it, or in the last block only keys and values, and queries apart */
    struct clip_prepared in, query;
    struct clip_prepared out, fc, proj;
    float *in_bias;              /* [3 width]: q, k, v */
    float *out_bias, *proj_bias; /* [width] */
    float *fc_bias;              /* [mlp] */
};

/* What a thread needs of its own, for a piece of at most `rows` rows. */
struct desk {
    void *narrow;     /* [rows][width] elements: the input of a product */
    float *mixed;     /* [rows][width]: the output of one */
    float *wide;      /* [rows][mlp]: the hidden layer before its activation */
    void *hidden;     /* [rows][mlp] elements, after it; in f32 the same memory */
    float *rows;      /* [LAST_ROWS][width]: the residual stream of features */
    float *queries;   /* [LAST_ROWS][width] */
    void *product;    /* for clip_product */
    float *attention; /* for clip_attention */
};

struct clip_transformer {
    struct clip_transformer_shape shape;
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct clip_pool *pool;
    size_t piece, element; /* rows of a piece; bytes of a product's input */
    struct block *blocks;  /* [layers] */
    struct norm norm;
    struct clip_arena parameters, buffers;
    float *x;        /* [rows][width]: the residual stream */
    float *qkv;      /* [rows][3 width]; of the last block k and v, [rows][2 width] */
    void *attended;  /* [rows][width] elements: the heads side by side */
    unsigned *steps; /* [pieces]: steps of a piece that are done */
    unsigned *heard; /* [sequences]: attentions of a sequence that are done */
    struct desk *desks;
    struct clip_crew crew;
    /* the run that is under way */
    const struct clip_sequence *sequences;
    size_t count, rows, pieces;
    size_t *first_sequence; /* [pieces]: the one that row 0 of the piece is of */
    float *features;
};

/* --- opening: memory --- */

static void *floats(struct clip_arena *arena, size_t n)
{
    return clip_arena_take(arena, n, sizeof(float));
}

static void place_norm(struct clip_transformer *t, struct norm *norm)
{
    norm->weight = floats(&t->parameters, t->shape.width);
    norm->bias = floats(&t->parameters, t->shape.width);
}

static void place_parameters(struct clip_transformer *t)
{
    size_t width = t->shape.width;
    t->blocks = clip_arena_take(&t->parameters, t->shape.layers, sizeof *t->blocks);
    place_norm(t, &t->norm);
    for (size_t i = 0; i < t->shape.layers; i++) {
        struct block block = {0};
        place_norm(t, &block.ln_1);
        place_norm(t, &block.ln_2);
        block.in_bias = floats(&t->parameters, 3 * width);
        block.out_bias = floats(&t->parameters, width);
        block.proj_bias = floats(&t->parameters, width);
        block.fc_bias = floats(&t->parameters, t->shape.mlp);
        if (t->blocks)
            t->blocks[i] = block;
    }
}

/* The most scratch that any product here needs. */
static size_t product_scratch(const struct clip_transformer *t)
{
    size_t most = 0;
    for (size_t i = 0; i < t->shape.layers; i++) {
        const struct block *b = &t->blocks[i];
        const struct clip_prepared *all[] = {&b->in, &b->query, &b->out, &b->fc, &b->proj};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            if (all[j]->matrix && clip_product_scratch(all[j]->matrix) > most)
                most = clip_product_scratch(all[j]->matrix);
    }
    return most;
}

static void place_desk(struct clip_transformer *t, struct desk *out)
{
    size_t width = t->shape.width, mlp = t->shape.mlp;
    struct desk desk = {
        .narrow = clip_arena_take(&t->buffers, t->piece * width, t->element),
        .mixed = floats(&t->buffers, t->piece * width),
        .wide = floats(&t->buffers, t->piece * mlp),
        .rows = floats(&t->buffers, LAST_ROWS * width),
        .queries = floats(&t->buffers, LAST_ROWS * width),
        .product = clip_arena_take(&t->buffers, product_scratch(t), 1),
        .attention = floats(&t->buffers, clip_attention_scratch(t->shape.longest, width / t->shape.heads)),
    };
    desk.hidden = t->element == sizeof(float) ? (void *)desk.wide
                                              : clip_arena_take(&t->buffers, t->piece * mlp, t->element);
    if (out)
        *out = desk;
}

static void place_buffers(struct clip_transformer *t)
{
    size_t width = t->shape.width, rows = t->pieces * t->piece;
    t->x = clip_arena_take(&t->buffers, rows, width * sizeof *t->x);
    t->qkv = clip_arena_take(&t->buffers, rows, 3 * width * sizeof *t->qkv);
    t->attended = clip_arena_take(&t->buffers, rows, width * t->element);
    t->steps = clip_arena_take(&t->buffers, t->pieces, sizeof *t->steps);
    t->first_sequence = clip_arena_take(&t->buffers, t->pieces, sizeof *t->first_sequence);
    t->heard = clip_arena_take(&t->buffers, t->shape.sequences, sizeof *t->heard);
    size_t threads = (size_t)clip_pool_threads(t->pool);
    t->desks = clip_arena_take(&t->buffers, threads, sizeof *t->desks);
    for (size_t i = 0; i < threads; i++)
        place_desk(t, t->desks ? &t->desks[i] : NULL);
}

static int allocate_buffers(struct clip_transformer *t, struct clip_error *error)
{
    size_t rows;
    if (__builtin_mul_overflow(t->shape.sequences, t->shape.longest, &rows) || rows > SIZE_MAX - t->piece)
        return clip_fail_memory(error, "a batch");
    t->pieces = (rows + t->piece - 1) / t->piece;
    place_buffers(t);
    if (clip_arena_allocate(&t->buffers, "a batch", error) != 0)
        return -1;
    place_buffers(t);
    return 0;
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
        snprintf(full, sizeof full, "%s%zu.%s", l->t->shape.blocks, i, name);
    return clip_model_floats(l->model, full, 1, &n, out, error);
}

/* Rows [first, first + n) of the [total, k] matrix `name` of block i. */
static int load_matrix(const struct loading *l, size_t i, const char *name, size_t total, size_t first,
                       size_t n, size_t k, size_t rows, struct clip_prepared *out, struct clip_error *error)
{
    char full[128];
    snprintf(full, sizeof full, "%s%zu.%s", l->t->shape.blocks, i, name);
    struct clip_prepared_part part = {full, 2, {total, k}, first, n, 0};
    return clip_prepared_load(out, l->model, l->t->engine, rows, &part, error);
}

static int load_vectors(const struct loading *l, size_t i, struct clip_error *error)
{
    struct block *b = &l->t->blocks[i];
    size_t width = l->t->shape.width;
    struct {
        const char *name;
        size_t n;
        float *out;
    } all[] = {{"ln_1.weight", width, b->ln_1.weight},         {"ln_1.bias", width, b->ln_1.bias},
               {"ln_2.weight", width, b->ln_2.weight},         {"ln_2.bias", width, b->ln_2.bias},
               {"attn.in_proj_bias", 3 * width, b->in_bias},   {"attn.out_proj.bias", width, b->out_bias},
               {"mlp.c_fc.bias", l->t->shape.mlp, b->fc_bias}, {"mlp.c_proj.bias", width, b->proj_bias}};
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
    size_t i = task / 4, width = l->t->shape.width, mlp = l->t->shape.mlp;
    struct block *b = &l->t->blocks[i];
    int last = i + 1 == l->t->shape.layers;
    size_t rows = last ? LAST_ROWS : 0; /* of the products that are for the features alone */
    switch (task % 4) {
    case 0:
        if (load_vectors(l, i, error) != 0 ||
            (last && load_matrix(l, i, "attn.in_proj_weight", 3 * width, 0, width, width, LAST_ROWS,
                                 &b->query, error) != 0))
            return -1;
        return load_matrix(l, i, "attn.in_proj_weight", 3 * width, last ? width : 0,
                           last ? 2 * width : 3 * width, width, 0, &b->in, error);
    case 1:
        return load_matrix(l, i, "attn.out_proj.weight", width, 0, width, width, rows, &b->out, error);
    case 2:
        return load_matrix(l, i, "mlp.c_fc.weight", mlp, 0, mlp, width, rows, &b->fc, error);
    default:
        return load_matrix(l, i, "mlp.c_proj.weight", width, 0, width, mlp, rows, &b->proj, error);
    }
}

static int load(struct clip_transformer *t, const struct clip_model *model, struct clip_error *error)
{
    struct loading l = {t, model};
    char name[128];
    place_parameters(t);
    if (clip_arena_allocate(&t->parameters, "a transformer", error) != 0)
        return -1;
    place_parameters(t);
    snprintf(name, sizeof name, "%s.weight", t->shape.norm);
    if (load_vector(&l, SIZE_MAX, name, t->shape.width, t->norm.weight, error) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.bias", t->shape.norm);
    if (load_vector(&l, SIZE_MAX, name, t->shape.width, t->norm.bias, error) != 0)
        return -1;
    return clip_crew_run(&t->crew, t->pool, 4 * t->shape.layers, load_task, &l, error);
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
    t->shape = *shape;
    t->engine = engine;
    t->kernels = kernels;
    t->pool = pool;
    t->piece = clip_engine_rows(engine);
    t->element = clip_engine_element(engine);
    clip_crew_init(&t->crew);
    if (load(t, model, error) != 0 || allocate_buffers(t, error) != 0) {
        clip_transformer_free(t);
        return NULL;
    }
    return t;
}

void clip_transformer_free(struct clip_transformer *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->blocks && i < t->shape.layers; i++) {
        struct block *b = &t->blocks[i];
        clip_prepared_free(&b->in);
        clip_prepared_free(&b->query);
        clip_prepared_free(&b->out);
        clip_prepared_free(&b->fc);
        clip_prepared_free(&b->proj);
    }
    clip_arena_free(&t->parameters);
    clip_arena_free(&t->buffers);
    clip_crew_destroy(&t->crew);
    free(t);
}

float *clip_transformer_rows(struct clip_transformer *t)
{
    return t->x;
}

/* --- running ---
 *
 * The tasks of a run, in this order: step 0 of every piece of rows, which prepares the attention of block 0;
 * then for each block but the last the attention of every sequence, and the step of every piece that ends the
 * block and prepares the attention of the next; then the features of every LAST_ROWS sequences. A task waits
 * for what it reads, not for all that comes before it, so threads are busy to the end. */

static const void *elements(const struct clip_transformer *t, const void *x, size_t n)
{
    return (const char *)x + n * t->element;
}

/* Layer norm of `rows` rows of x into narrow, for block i's attention, and its in-projection for the piece
 * into qkv. */
static int prepare_attention(struct clip_transformer *t, size_t layer, size_t piece, size_t rows,
                             struct desk *desk, struct clip_error *error)
{
    size_t width = t->shape.width, first = piece * t->piece;
    const struct block *b = &t->blocks[layer];
    enum clip_precision type = clip_engine_precision(t->engine);
    for (size_t r = 0; r < rows; r++)
        t->kernels->layer_norm(width, t->x + (first + r) * width, b->ln_1.weight, b->ln_1.bias, type,
                               (void *)elements(t, desk->narrow, r * width));
    return clip_product_rows(b->in.matrix, rows, desk->narrow,
                             t->qkv + first * clip_matrix_outputs(b->in.matrix), desk->product, error);
}

/* The rest of a block for `rows` rows of the residual stream: x += out_proj(attended), x += mlp(ln_2(x)).
 * `attended` has as many rows as the products. */
static int finish_block(struct clip_transformer *t, const struct block *b, const void *attended, float *x,
                        size_t rows, struct desk *desk, struct clip_error *error)
{
    size_t width = t->shape.width, mlp = t->shape.mlp;
    enum clip_precision type = clip_engine_precision(t->engine);
    const struct clip_kernels *kernels = t->kernels;
    if (clip_product_rows(b->out.matrix, rows, attended, desk->mixed, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++) {
        kernels->add(width, x + r * width, desk->mixed + r * width, b->out_bias);
        kernels->layer_norm(width, x + r * width, b->ln_2.weight, b->ln_2.bias, type,
                            (void *)elements(t, desk->narrow, r * width));
    }
    if (clip_product_rows(b->fc.matrix, rows, desk->narrow, desk->wide, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        (t->shape.activation == CLIP_QUICK_GELU ? kernels->quick_gelu : kernels->gelu)(
            mlp, desk->wide + r * mlp, b->fc_bias, type, (void *)elements(t, desk->hidden, r * mlp));
    if (clip_product_rows(b->proj.matrix, rows, desk->hidden, desk->mixed, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        kernels->add(width, x + r * width, desk->mixed + r * width, b->proj_bias);
    return 0;
}

/* The attention of sequence s in a block before the last. */
static void attend(struct clip_transformer *t, size_t layer, size_t s, struct desk *desk)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    const struct block *b = &t->blocks[layer];
    size_t width = t->shape.width, dim = width / t->shape.heads;
    const float *qkv = t->qkv + sequence->first * 3 * width;
    for (size_t h = 0; h < t->shape.heads; h++) {
        size_t at = h * dim;
        t->kernels->attention(
            &(struct clip_attention){
                .queries = sequence->length,
                .keys = sequence->length,
                .dim = dim,
                .causal = t->shape.causal,
                .q = qkv + at,
                .k = qkv + width + at,
                .v = qkv + 2 * width + at,
                .q_stride = 3 * width,
                .kv_stride = 3 * width,
                .q_bias = b->in_bias + at,
                .k_bias = b->in_bias + width + at,
                .v_bias = b->in_bias + 2 * width + at,
                .type = clip_engine_precision(t->engine),
                .out = (void *)elements(t, t->attended, sequence->first * width + at),
                .out_stride = width,
            },
            desk->attention);
    }
}

/* The attention of sequence s in the last block, for the feature's query alone, into row r of narrow. */
static void attend_last(struct clip_transformer *t, size_t s, size_t r, struct desk *desk)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    const struct block *b = &t->blocks[t->shape.layers - 1];
    size_t width = t->shape.width, dim = width / t->shape.heads;
    const float *kv = t->qkv + sequence->first * 2 * width;
    for (size_t h = 0; h < t->shape.heads; h++) {
        size_t at = h * dim;
        t->kernels->attention(
            &(struct clip_attention){
                .queries = 1,
                .keys = sequence->length,
                .dim = dim,
                .q = desk->queries + r * width + at,
                .k = kv + at,
                .v = kv + width + at,
                .q_stride = width,
                .kv_stride = 2 * width,
                .q_bias = b->in_bias + at,
                .k_bias = b->in_bias + width + at,
                .v_bias = b->in_bias + 2 * width + at,
                .type = clip_engine_precision(t->engine),
                .out = (void *)elements(t, desk->narrow, r * width + at),
                .out_stride = width,
            },
            desk->attention);
    }
}

/* Step `step` of a piece: the end of block step - 1, and the beginning of block `step`. */
static int piece_task(struct clip_transformer *t, size_t step, size_t piece, struct desk *desk,
                      struct clip_error *error)
{
    size_t width = t->shape.width, first = piece * t->piece;
    size_t rows = t->rows - first < t->piece ? t->rows - first : t->piece;
    if (step > 0) {
        /* Rows of the last block's k and v are narrower than those before: they come to lie over rows of
         * sequences that stand earlier, which must have been attended to as well. */
        size_t over = step + 1 == t->shape.layers ? piece * 2 / 3 : piece;
        size_t last = piece + 1 < t->pieces ? t->first_sequence[piece + 1] : t->count - 1;
        if (clip_crew_wait(&t->crew, t->heard, t->first_sequence[over], last, (unsigned)step) != 0)
            return -1;
        if (finish_block(t, &t->blocks[step - 1], elements(t, t->attended, first * width),
                         t->x + first * width, rows, desk, error) != 0)
            return -1;
    }
    if (prepare_attention(t, step, piece, rows, desk, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->steps[piece]);
    return 0;
}

/* Waits until the pieces of sequences [first, last] have done `steps` steps. */
static int wait_for_rows(struct clip_transformer *t, size_t first, size_t last, size_t steps)
{
    const struct clip_sequence *end = &t->sequences[last];
    return clip_crew_wait(&t->crew, t->steps, t->sequences[first].first / t->piece,
                          (end->first + end->length - 1) / t->piece, (unsigned)steps);
}

static int attention_task(struct clip_transformer *t, size_t layer, size_t s, struct desk *desk)
{
    if (wait_for_rows(t, s, s, layer + 1) != 0)
        return -1;
    attend(t, layer, s, desk);
    clip_crew_count(&t->crew, &t->heard[s]);
    return 0;
}

/* The features of sequences [first, first + LAST_ROWS): the last block for one row of each. */
static int feature_task(struct clip_transformer *t, size_t first, struct desk *desk, struct clip_error *error)
{
    size_t width = t->shape.width, n = t->count - first < LAST_ROWS ? t->count - first : LAST_ROWS;
    const struct block *b = &t->blocks[t->shape.layers - 1];
    if (wait_for_rows(t, first, first + n - 1, t->shape.layers) != 0)
        return -1;
    for (size_t r = 0; r < n; r++) {
        const struct clip_sequence *sequence = &t->sequences[first + r];
        float *row = desk->rows + r * width;
        memcpy(row, t->x + (sequence->first + sequence->feature) * width, width * sizeof *row);
        t->kernels->layer_norm(width, row, b->ln_1.weight, b->ln_1.bias, clip_engine_precision(t->engine),
                               (void *)elements(t, desk->narrow, r * width));
    }
    if (clip_product_rows(b->query.matrix, n, desk->narrow, desk->queries, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        attend_last(t, first + r, r, desk);
    if (finish_block(t, b, desk->narrow, desk->rows, n, desk, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        t->kernels->layer_norm(width, desk->rows + r * width, t->norm.weight, t->norm.bias,
                               CLIP_PRECISION_F32, t->features + (first + r) * width);
    return 0;
}

static int task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_transformer *t = context;
    struct desk *desk = &t->desks[thread];
    size_t round = t->pieces + t->count, step = i / round, at = i % round;
    if (step + 1 < t->shape.layers || at < t->pieces)
        return at < t->pieces ? piece_task(t, step, at, desk, error)
                              : attention_task(t, step, at - t->pieces, desk);
    return feature_task(t, (at - t->pieces) * LAST_ROWS, desk, error);
}

int clip_transformer_run(struct clip_transformer *t, const struct clip_sequence *sequences, size_t n,
                         float *features, struct clip_error *error)
{
    if (n == 0)
        return 0;
    t->sequences = sequences;
    t->count = n;
    t->features = features;
    t->rows = sequences[n - 1].first + sequences[n - 1].length;
    t->pieces = (t->rows + t->piece - 1) / t->piece;
    memset(t->steps, 0, t->pieces * sizeof *t->steps);
    memset(t->heard, 0, n * sizeof *t->heard);
    for (size_t piece = 0, s = 0; piece < t->pieces; piece++) {
        while (sequences[s].first + sequences[s].length <= piece * t->piece)
            s++;
        t->first_sequence[piece] = s;
    }
    size_t groups = (n + LAST_ROWS - 1) / LAST_ROWS;
    size_t tasks = (t->shape.layers - 1) * (t->pieces + n) + t->pieces + groups;
    return clip_crew_run(&t->crew, t->pool, tasks, task, t, error);
}
