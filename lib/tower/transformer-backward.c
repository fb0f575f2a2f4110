/* The backward of the transformer's blocks.
 *
 * A block's backward has an upper half, over pieces of rows: from the gradient of what the block gave through
 * the MLP to that of what attention gave; attention itself, over sequences; and a lower half, over pieces:
 * through the in-projection to the gradient of the block's input. From the last block on, whose upper half is
 * over groups of sequences, the tasks are, in this order: the upper half of a block; the gradients of the
 * weights of the block above, which need no one's waiting; its attention; its lower half. A task waits for
 * what it reads, and all but a few never do. Sums over rows are made in the order of rows, by piece, and
 * pieces are added up in order at the end. */
#include "tower/transformer-learner.h"

#include <string.h>

enum kind { UPPER, FEATURES, WEIGHTS, ATTENTION, QUERIES, LOWER, NORMS };

/* Vectors of a slot of partial sums. */
enum { LN_1 = 0, LN_2 = 2, PARTIALS = 4 };

static size_t groups_of(size_t n)
{
    return (n + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS;
}

static float *partial(const struct clip_transformer_learner *t, size_t layer, size_t slot, int vector)
{
    return t->partial + ((layer * t->slots + slot) * PARTIALS + (size_t)vector) * t->blocks.shape.width;
}

/* --- memory --- */

static size_t most_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The most scratch that any product of the backward needs. */
static size_t scratch_bytes(const struct clip_transformer_learner *t)
{
    const struct clip_outer *outers[] = {t->square, t->in, t->kv, t->fc, t->proj};
    size_t most = 0;
    for (size_t i = 0; i < sizeof outers / sizeof *outers; i++)
        most = most_of(most, clip_outer_scratch(outers[i]));
    for (size_t i = 0; i < t->blocks.shape.layers; i++) {
        const struct clip_block_learner *l = &t->layers[i];
        const struct clip_matrix *all[] = {l->in_back, l->query_back, l->out_back, l->fc_back, l->proj_back};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            if (all[j])
                most = most_of(most, clip_product_scratch(all[j]));
    }
    return most;
}

static struct clip_backward_rows place_rows(struct clip_transformer_learner *t, size_t rows, int attention)
{
    size_t width = t->blocks.shape.width * t->blocks.element, mlp = t->blocks.shape.mlp * t->blocks.element;
    return (struct clip_backward_rows){
        .dout = clip_arena_take(&t->memory, rows, width),
        .hidden = clip_arena_take(&t->memory, rows, mlp),
        .dwide = clip_arena_take(&t->memory, rows, mlp),
        .ln_2 = clip_arena_take(&t->memory, rows, width),
        .dmiddle = clip_arena_take(&t->memory, rows, width),
        .dqkv = attention ? clip_arena_take(&t->memory, rows, 3 * width) : NULL,
        .ln_1 = attention ? clip_arena_take(&t->memory, rows, width) : NULL,
    };
}

static void place_desks(struct clip_transformer_learner *t)
{
    const struct clip_transformer_shape *shape = &t->blocks.shape;
    size_t threads = (size_t)clip_pool_threads(t->blocks.pool), scratch = scratch_bytes(t);
    size_t attention = clip_attention_backward_scratch(shape->longest, shape->width / shape->heads);
    t->desks = clip_arena_take(&t->memory, threads, sizeof *t->desks);
    for (size_t i = 0; i < threads; i++) {
        struct clip_backward_desk desk = {clip_arena_take(&t->memory, attention, sizeof(float)),
                                          clip_arena_take(&t->memory, scratch, 1)};
        if (t->desks)
            t->desks[i] = desk;
    }
}

/* Tasks of the gradients of a block's weights. */
static size_t weight_tasks(const struct clip_transformer_learner *t, size_t layer)
{
    size_t in = layer + 1 == t->blocks.shape.layers ? clip_outer_panels(t->kv) + clip_outer_panels(t->square)
                                                    : clip_outer_panels(t->in);
    return in + clip_outer_panels(t->square) + clip_outer_panels(t->fc) + clip_outer_panels(t->proj);
}

static size_t most_tasks(const struct clip_transformer_learner *t, size_t pieces)
{
    size_t layers = t->blocks.shape.layers, n = t->blocks.shape.sequences;
    return layers * (2 * pieces + n + weight_tasks(t, 0) + weight_tasks(t, layers - 1) + 1) +
           2 * groups_of(n) + 1;
}

void clip_backward_place(void *context)
{
    struct clip_transformer_learner *t = context;
    struct clip_blocks *b = &t->blocks;
    struct clip_arena *memory = &t->memory;
    size_t width = b->shape.width, n = b->shape.sequences, groups = groups_of(n);
    size_t rows = clip_blocks_rows(b->engine, n * b->shape.longest), pieces = rows / b->piece;
    size_t features = groups * CLIP_FEATURE_ROWS;
    t->slots = most_of(pieces, groups);
    t->rows[0] = place_rows(t, rows, 1);
    t->rows[1] = place_rows(t, b->shape.layers > 1 ? rows : 0, 1);
    t->last = place_rows(t, features, 0);
    t->dqueries = clip_arena_take(memory, features, width * b->element);
    t->query_inputs = clip_arena_take(memory, features, width * b->element);
    t->dquery_inputs = clip_arena_take(memory, features, width * sizeof(float));
    t->dx = clip_arena_take(memory, rows, width * sizeof(float));
    t->dfeatures = clip_arena_take(memory, features, width * sizeof(float));
    t->dattended = clip_arena_take(memory, most_of(rows, features), width * sizeof(float));
    t->partial = clip_arena_take(memory, (b->shape.layers + 1) * t->slots, PARTIALS * width * sizeof(float));
    t->upper = clip_arena_take(memory, pieces, sizeof *t->upper);
    t->lower = clip_arena_take(memory, pieces, sizeof *t->lower);
    t->groups = clip_arena_take(memory, groups, sizeof *t->groups);
    t->asked = clip_arena_take(memory, groups, sizeof *t->asked);
    t->attended = clip_arena_take(memory, n, sizeof *t->attended);
    t->summed = clip_arena_take(memory, b->shape.layers, sizeof *t->summed);
    t->tasks = clip_arena_take(memory, most_tasks(t, pieces), sizeof *t->tasks);
    place_desks(t);
}

/* --- the halves of a block --- */

static int is_last(const struct clip_transformer_learner *t, size_t layer)
{
    return layer + 1 == t->blocks.shape.layers;
}

/* Blocks from the last one down to this: what counts must have reached once it is done. */
static unsigned turn_of(const struct clip_transformer_learner *t, size_t layer)
{
    return (unsigned)(t->blocks.shape.layers - layer);
}

static struct clip_backward_rows *rows_of(struct clip_transformer_learner *t, size_t layer)
{
    return &t->rows[layer % 2];
}

static void convert_rows(const struct clip_blocks *b, const float *x, size_t rows, void *out)
{
    b->kernels->convert(rows * b->shape.width, x, clip_engine_precision(b->engine), out);
}

/* dx[rows][width] += the gradient through a norm of x, given that of what the norm gave; its own parameters'
 * go to the slot. */
static void norm_backward(struct clip_transformer_learner *t, const struct clip_norm *norm, const float *x,
                          const float *dy, size_t rows, float *dx, float *sums)
{
    size_t width = t->blocks.shape.width;
    memset(sums, 0, 2 * width * sizeof *sums);
    for (size_t r = 0; r < rows; r++)
        t->blocks.kernels->layer_norm_backward(width, x + r * width, norm->weight, dy + r * width,
                                               dx + r * width, sums, sums + width);
}

/* From dx[rows][width], the gradient of what the block gave in rows [first, first + rows): dattended of them,
 * and in dx the gradient of the residual stream before the MLP. */
static int upper_half(struct clip_transformer_learner *t, size_t layer, size_t first, size_t rows,
                      size_t slot, float *dx, int thread, struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    struct clip_block_desk *desk = &b->desks[thread];
    const struct clip_block *block = &b->blocks[layer];
    const struct clip_block_learner *learner = &t->layers[layer];
    const struct clip_block_rows *kept = &b->layers[layer];
    const struct clip_backward_rows *out = is_last(t, layer) ? &t->last : rows_of(t, layer);
    size_t width = b->shape.width, mlp = b->shape.mlp;
    void *scratch = t->desks[thread].scratch, *dwide = clip_blocks_at(b, out->dwide, first * mlp);
    void *dmiddle = clip_blocks_at(b, out->dmiddle, first * width);
    void *dout = clip_blocks_at(b, out->dout, first * width);
    convert_rows(b, dx, rows, dout);
    if (clip_product_rows(learner->proj_back, rows, dout, desk->wide, scratch, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        (b->shape.activation == CLIP_QUICK_GELU ? b->kernels->quick_gelu_backward
                                                : b->kernels->gelu_backward)(
            mlp, kept->wide + (first + r) * mlp, block->fc_bias, desk->wide + r * mlp,
            clip_engine_precision(b->engine), clip_blocks_at(b, out->hidden, (first + r) * mlp),
            clip_blocks_at(b, dwide, r * mlp));
    if (clip_product_rows(learner->fc_back, rows, dwide, desk->middle, scratch, error) != 0)
        return -1;
    const float *middle = kept->middle + first * width;
    clip_blocks_norm(b, &block->ln_2, middle, rows, clip_blocks_at(b, out->ln_2, first * width));
    norm_backward(t, &block->ln_2, middle, desk->middle, rows, dx, partial(t, layer, slot, LN_2));
    convert_rows(b, dx, rows, dmiddle);
    return clip_product_rows(learner->out_back, rows, dmiddle, t->dattended + first * width, scratch, error);
}

static int upper_task(struct clip_transformer_learner *t, size_t layer, size_t piece, int thread,
                      struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    size_t first = piece * b->piece;
    /* What is written over must have been read: the weights' gradients two blocks above, and dattended. */
    if ((layer + 2 < b->shape.layers && clip_crew_wait(&b->crew, t->summed, layer + 2, layer + 2,
                                                       (unsigned)weight_tasks(t, layer + 2)) != 0) ||
        clip_crew_wait(&b->crew, t->attended, 0, b->count - 1, turn_of(t, layer) - 1) != 0 ||
        clip_crew_wait(&b->crew, t->lower, piece, piece, turn_of(t, layer) - 1) != 0 ||
        upper_half(t, layer, first, clip_blocks_piece(b, piece), piece, t->dx + first * b->shape.width,
                   thread, error) != 0)
        return -1;
    clip_crew_count(&b->crew, &t->upper[piece]);
    return 0;
}

static size_t group_size(const struct clip_blocks *b, size_t group)
{
    size_t rest = b->count - group * CLIP_FEATURE_ROWS;
    return rest < CLIP_FEATURE_ROWS ? rest : CLIP_FEATURE_ROWS;
}

/* The norm of the features and the upper half of the last block, of a group of sequences. */
static int features_task(struct clip_transformer_learner *t, size_t group, int thread,
                         struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    size_t width = b->shape.width, last = b->shape.layers - 1;
    size_t first = group * CLIP_FEATURE_ROWS, n = group_size(b, group);
    float *dx = t->dfeatures + first * width;
    memset(dx, 0, n * width * sizeof *dx);
    norm_backward(t, &b->norm, b->layers[last].out + first * width, t->gradients + first * width, n, dx,
                  partial(t, last + 1, group, LN_1));
    if (upper_half(t, last, first, n, group, dx, thread, error) != 0)
        return -1;
    clip_crew_count(&b->crew, &t->groups[group]);
    return 0;
}

static void attention_backward(struct clip_transformer_learner *t, size_t layer, size_t s, int thread)
{
    struct clip_blocks *b = &t->blocks;
    const struct clip_sequence *sequence = &b->sequences[s];
    int last = is_last(t, layer);
    size_t width = b->shape.width, stride = last ? 2 * width : 3 * width;
    void *dqkv = clip_blocks_at(b, rows_of(t, layer)->dqkv, sequence->first * stride);
    size_t row = last ? s : sequence->first;
    for (size_t h = 0; h < b->shape.heads; h++) {
        struct clip_attention forward = clip_blocks_attention(b, &b->layers[layer], layer, s, h);
        size_t at = h * forward.dim, k = last ? at : width + at;
        struct clip_attention_backward backward = {
            .forward = &forward,
            .dout = t->dattended + row * width + at,
            .dout_stride = width,
            .type = forward.type,
            .dq = last ? clip_blocks_at(b, t->dqueries, s * width + at) : clip_blocks_at(b, dqkv, at),
            .dk = clip_blocks_at(b, dqkv, k),
            .dv = clip_blocks_at(b, dqkv, width + k),
            .dq_stride = last ? width : stride,
            .dkv_stride = stride,
        };
        b->kernels->attention_backward(&backward, t->desks[thread].attention);
    }
}

/* The attention of a sequence, and the norm that its in-projection read. */
static int attention_task(struct clip_transformer_learner *t, size_t layer, size_t s, int thread)
{
    struct clip_blocks *b = &t->blocks;
    const struct clip_sequence *sequence = &b->sequences[s];
    size_t width = b->shape.width, first = sequence->first, end = first + sequence->length - 1;
    void *ln_1 = clip_blocks_at(b, rows_of(t, layer)->ln_1, first * width);
    int last = is_last(t, layer);
    size_t group = s / CLIP_FEATURE_ROWS;
    if ((last ? clip_crew_wait(&b->crew, t->groups, group, group, 1)
              : clip_crew_wait(&b->crew, t->upper, first / b->piece, end / b->piece,
                               turn_of(t, layer) - 1)) != 0)
        return -1;
    clip_blocks_norm(b, &b->blocks[layer].ln_1, b->layers[layer].x + first * width, sequence->length, ln_1);
    if (last)
        memcpy(clip_blocks_at(b, t->query_inputs, s * width),
               clip_blocks_at(b, ln_1, sequence->feature * width), width * b->element);
    attention_backward(t, layer, s, thread);
    clip_crew_count(&b->crew, &t->attended[s]);
    return 0;
}

/* Of the last block: the gradient of what the queries of a group were made of. */
static int queries_task(struct clip_transformer_learner *t, size_t group, int thread,
                        struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    size_t first = group * CLIP_FEATURE_ROWS, n = group_size(b, group), width = b->shape.width;
    if (clip_crew_wait(&b->crew, t->attended, first, first + n - 1, 1) != 0 ||
        clip_product_rows(t->layers[b->shape.layers - 1].query_back, n,
                          clip_blocks_at(b, t->dqueries, first * width), t->dquery_inputs + first * width,
                          t->desks[thread].scratch, error) != 0)
        return -1;
    clip_crew_count(&b->crew, &t->asked[group]);
    return 0;
}

/* Of the last block, for a piece: dx, 0 but for the rows of features, and what queries add to dy. */
static void spread_features(struct clip_transformer_learner *t, size_t piece, size_t last, float *dy)
{
    const struct clip_blocks *b = &t->blocks;
    size_t width = b->shape.width, first = piece * b->piece, rows = clip_blocks_piece(b, piece);
    memset(t->dx + first * width, 0, rows * width * sizeof *t->dx);
    for (size_t s = b->first_sequence[piece]; s <= last; s++) {
        size_t row = b->sequences[s].first + b->sequences[s].feature;
        if (row < first || row >= first + rows)
            continue;
        float *to = dy + (row - first) * width;
        memcpy(t->dx + row * width, t->dfeatures + s * width, width * sizeof *t->dx);
        b->kernels->sum(width, to, t->dquery_inputs + s * width, to);
    }
}

static int lower_task(struct clip_transformer_learner *t, size_t layer, size_t piece, int thread,
                      struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    const struct clip_block_learner *learner = &t->layers[layer];
    size_t width = b->shape.width, first = piece * b->piece, rows = clip_blocks_piece(b, piece);
    size_t last = piece + 1 < b->pieces ? b->first_sequence[piece + 1] : b->count - 1;
    float *dy = b->desks[thread].middle;
    void *dqkv = clip_blocks_at(b, rows_of(t, layer)->dqkv, first * clip_matrix_inputs(learner->in_back));
    if (clip_crew_wait(&b->crew, t->attended, b->first_sequence[piece], last, turn_of(t, layer)) != 0 ||
        (is_last(t, layer) && clip_crew_wait(&b->crew, t->asked, b->first_sequence[piece] / CLIP_FEATURE_ROWS,
                                             last / CLIP_FEATURE_ROWS, 1) != 0) ||
        clip_product_rows(learner->in_back, rows, dqkv, dy, t->desks[thread].scratch, error) != 0)
        return -1;
    if (is_last(t, layer))
        spread_features(t, piece, last, dy);
    norm_backward(t, &b->blocks[layer].ln_1, b->layers[layer].x + first * width, dy, rows,
                  t->dx + first * width, partial(t, layer, piece, LN_1));
    clip_crew_count(&b->crew, &t->lower[piece]);
    return 0;
}

/* --- gradients of parameters --- */

/* The gradient of a matrix and its bias: of da[rows][m] and b[rows][n]. */
struct part {
    const struct clip_outer *outer;
    const void *da, *b;
    size_t rows, m;
    float *weight, *bias; /* [m][n], [m] */
};

/* The matrices of a block; of the last block in five parts, in_proj's queries apart. */
enum { PARTS = 5 };

static size_t list_parts(struct clip_transformer_learner *t, size_t layer, struct part parts[PARTS])
{
    const struct clip_blocks *b = &t->blocks;
    const struct clip_block_learner *l = &t->layers[layer];
    const struct clip_backward_rows *all = rows_of(t, layer), *r = is_last(t, layer) ? &t->last : all;
    size_t width = b->shape.width, mlp = b->shape.mlp, rows = is_last(t, layer) ? b->count : b->rows;
    float *in = l->in[0]->gradient, *in_bias = l->in[1]->gradient;
    parts[0] =
        (struct part){t->proj, r->dout, r->hidden, rows, width, l->proj[0]->gradient, l->proj[1]->gradient};
    parts[1] = (struct part){t->fc, r->dwide, r->ln_2, rows, mlp, l->fc[0]->gradient, l->fc[1]->gradient};
    parts[2] = (struct part){t->square, r->dmiddle,          b->layers[layer].attended, rows,
                             width,     l->out[0]->gradient, l->out[1]->gradient};
    if (!is_last(t, layer)) {
        parts[3] = (struct part){t->in, all->dqkv, all->ln_1, rows, 3 * width, in, in_bias};
        return 4;
    }
    parts[3] =
        (struct part){t->kv, all->dqkv, all->ln_1, b->rows, 2 * width, in + width * width, in_bias + width};
    parts[4] = (struct part){t->square, t->dqueries, t->query_inputs, rows, width, in, in_bias};
    return 5;
}

static int weights_task(struct clip_transformer_learner *t, size_t layer, size_t index, size_t panel,
                        int thread, struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    struct part parts[PARTS];
    list_parts(t, layer, parts);
    const struct part *part = &parts[index];
    size_t first = clip_outer_first(part->outer, panel), end = clip_outer_first(part->outer, panel + 1);
    if (clip_crew_wait(&b->crew, t->attended, 0, b->count - 1, turn_of(t, layer)) != 0 ||
        clip_outer_add(part->outer, panel, part->rows, part->da, part->b, part->weight,
                       t->desks[thread].scratch, error) != 0)
        return -1;
    b->kernels->column_sums(part->rows, end - first, clip_blocks_at(b, part->da, first), part->m,
                            clip_engine_precision(b->engine), part->bias + first);
    clip_crew_count(&b->crew, &t->summed[layer]);
    return 0;
}

/* Adds up the slots of a norm, in order. */
static void sum_norm(struct clip_transformer_learner *t, size_t layer, int vector, size_t slots,
                     struct clip_parameter *const norm[2])
{
    size_t width = t->blocks.shape.width;
    for (size_t slot = 0; slot < slots; slot++)
        for (int i = 0; i < 2; i++)
            t->blocks.kernels->sum(width, norm[i]->gradient, partial(t, layer, slot, vector + i),
                                   norm[i]->gradient);
}

/* The norms of a block, or of the features (layer = layers). */
static int norms_task(struct clip_transformer_learner *t, size_t layer)
{
    struct clip_blocks *b = &t->blocks;
    size_t layers = b->shape.layers, groups = groups_of(b->count);
    if (clip_crew_wait(&b->crew, t->lower, 0, b->pieces - 1, (unsigned)layers) != 0)
        return -1;
    if (layer == layers) {
        sum_norm(t, layer, LN_1, groups, t->norm);
        return 0;
    }
    sum_norm(t, layer, LN_1, b->pieces, t->layers[layer].ln_1);
    sum_norm(t, layer, LN_2, is_last(t, layer) ? groups : b->pieces, t->layers[layer].ln_2);
    return 0;
}

/* --- running --- */

static size_t push(struct clip_transformer_learner *t, size_t at, int kind, size_t layer, size_t part,
                   size_t n)
{
    for (size_t i = 0; i < n; i++)
        t->tasks[at++] = (struct clip_backward_task){kind, layer, i, part};
    return at;
}

static size_t push_weights(struct clip_transformer_learner *t, size_t at, size_t layer)
{
    struct part parts[PARTS];
    size_t n = list_parts(t, layer, parts);
    for (size_t i = 0; i < n; i++)
        at = push(t, at, WEIGHTS, layer, i, clip_outer_panels(parts[i].outer));
    return at;
}

/* Writes down the tasks; returns how many. */
static size_t plan(struct clip_transformer_learner *t)
{
    const struct clip_blocks *b = &t->blocks;
    size_t layers = b->shape.layers, groups = groups_of(b->count), at = 0;
    for (size_t layer = layers; layer-- > 0;) {
        if (is_last(t, layer)) {
            at = push(t, at, FEATURES, layer, 0, groups);
        } else {
            at = push(t, at, UPPER, layer, 0, b->pieces);
            at = push_weights(t, at, layer + 1);
        }
        at = push(t, at, ATTENTION, layer, 0, b->count);
        if (is_last(t, layer))
            at = push(t, at, QUERIES, layer, 0, groups);
        at = push(t, at, LOWER, layer, 0, b->pieces);
    }
    at = push_weights(t, at, 0);
    for (size_t layer = 0; layer <= layers; layer++)
        at = push(t, at, NORMS, layer, 0, 1);
    return at;
}

static int run_task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_transformer_learner *t = context;
    const struct clip_backward_task *task = &t->tasks[i];
    switch ((enum kind)task->kind) {
    case UPPER:
        return upper_task(t, task->layer, task->index, thread, error);
    case FEATURES:
        return features_task(t, task->index, thread, error);
    case WEIGHTS:
        return weights_task(t, task->layer, task->part, task->index, thread, error);
    case ATTENTION:
        return attention_task(t, task->layer, task->index, thread);
    case QUERIES:
        return queries_task(t, task->index, thread, error);
    case LOWER:
        return lower_task(t, task->layer, task->index, thread, error);
    case NORMS:
        return norms_task(t, task->layer);
    }
    return 0;
}

int clip_transformer_learner_backward(struct clip_transformer_learner *t,
                                      const struct clip_transformer_tape *tape, const float *gradients,
                                      const float **dx, struct clip_error *error)
{
    struct clip_blocks *b = &t->blocks;
    clip_blocks_begin(b, tape->layers, tape->sequences, tape->count);
    t->gradients = gradients;
    memset(t->upper, 0, b->pieces * sizeof *t->upper);
    memset(t->lower, 0, b->pieces * sizeof *t->lower);
    memset(t->groups, 0, groups_of(b->count) * sizeof *t->groups);
    memset(t->asked, 0, groups_of(b->count) * sizeof *t->asked);
    memset(t->attended, 0, b->count * sizeof *t->attended);
    memset(t->summed, 0, b->shape.layers * sizeof *t->summed);
    *dx = t->dx;
    return clip_crew_run(&b->crew, b->pool, plan(t), run_task, t, error);
}
