/* The forward and the backward of the transformer's blocks. */
#include "base/array.h"
#include "tower/transformer.h"

#include <stdint.h>
#include <string.h>

/* --- memory of the forward --- */

/* The most scratch that any of the products needs. */
static size_t product_scratch(const struct clip_transformer *t)
{
    size_t most = 0;
    for (size_t i = 0; i < t->shape.layers; i++) {
        struct clip_operand *all[CLIP_BLOCK_OPERANDS];
        size_t n = clip_block_operands(&t->blocks[i], all);
        for (size_t j = 0; j < n; j++) {
            size_t bytes = clip_operand_scratch(all[j]);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

/* n floats if they are wanted. */
static float *take_floats(struct clip_arena *arena, int wanted, size_t n)
{
    return wanted ? clip_arena_take(arena, n, sizeof(float)) : NULL;
}

static void place_workspace(struct clip_transformer *t, struct clip_block_workspace *out)
{
    const struct clip_block_shape *block = &t->block;
    size_t width = block->width, mlp = block->mlp, head = t->shape.longest * block->head;
    struct clip_block_workspace workspace = {
        .narrow =
            clip_arena_take(&t->arena, t->piece * (width > block->inner ? width : block->inner), t->element),
        .middle = take_floats(&t->arena, 1, t->piece * width),
        .wide = take_floats(&t->arena, 1, t->piece * mlp),
        .gate = take_floats(&t->arena, (block->flags & CLIP_BLOCK_GATED) != 0, t->piece * mlp),
        .hidden = clip_arena_take(&t->arena, t->piece * mlp, t->element),
        .room = take_floats(&t->arena, 1, clip_block_room(block)),
        .q = take_floats(&t->arena, block->prepares_heads, head),
        .k = take_floats(&t->arena, block->prepares_heads, head),
        .product = clip_arena_take(&t->arena, product_scratch(t), 1),
        .attention = take_floats(&t->arena, 1, clip_attention_scratch(t->shape.longest, block->head)),
    };
    if (out)
        *out = workspace;
}

void clip_place_forward(void *context)
{
    struct clip_transformer *t = context;
    t->steps = clip_arena_take(&t->arena, t->pieces, sizeof *t->steps);
    t->first_sequence = clip_arena_take(&t->arena, t->pieces, sizeof *t->first_sequence);
    t->attended = clip_arena_take(&t->arena, t->batch, sizeof *t->attended);
    size_t threads = (size_t)clip_pool_threads(t->pool);
    t->workspaces = clip_arena_take(&t->arena, threads, sizeof *t->workspaces);
    for (size_t i = 0; i < threads; i++)
        place_workspace(t, t->workspaces ? &t->workspaces[i] : NULL);
}

/* --- parts of a block --- */

static void *element_at(const struct clip_transformer *t, const void *x, size_t n)
{
    return (char *)x + n * t->element;
}

static int is_single(const struct clip_transformer *t, size_t layer)
{
    return clip_transformer_single(t, layer);
}

/* The row of a sequence's first query. */
static size_t first_row(const struct clip_transformer *t, size_t layer, size_t s)
{
    return is_single(t, layer) ? t->sequences[s].feature : 0;
}

/* Head h of sequence s: its rows of the in-projection's output. */
static struct clip_attention head_of(const struct clip_transformer *t, const struct clip_block_rows *rows,
                                     size_t layer, size_t s, size_t h)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    int single = is_single(t, layer);
    size_t width = t->block.inner, dim = t->block.head, at = h * dim;
    size_t stride = single ? 2 * width : 3 * width;
    const float *qkv = rows->qkv + sequence->first * stride + at, *k = single ? qkv : qkv + width;
    const float *bias = t->blocks[layer].values[CLIP_IN_BIAS].value + at;
    const float *values = rows->values ? rows->values + sequence->first * width + at : NULL;
    return (struct clip_attention){
        .queries = single ? 1 : sequence->length,
        .keys = sequence->keys,
        .dim = dim,
        .causal = t->shape.causal && !single, /* the feature's row sees all */
        .scale = clip_block_scale(&t->blocks[layer], h),
        .q = single ? rows->queries + s * width + at : qkv,
        .k = k,
        .v = values ? values : k + width,
        .q_stride = single ? width : stride,
        .k_stride = stride,
        .v_stride = values ? width : stride,
        .q_bias = bias,
        .k_bias = bias + width,
        .v_bias = values ? t->block.zeros : bias + 2 * width,
        .bias = t->shape.bias ? t->shape.bias + layer * t->shape.bias_step +
                                    (h * t->shape.longest + first_row(t, layer, s)) * t->shape.longest
                              : NULL,
        .bias_stride = t->shape.longest,
        .type = t->attended_element == sizeof(float) ? CLIP_PRECISION_F32 : t->block.type,
        .out = (char *)rows->attended + ((single ? s : sequence->first) * width + at) * t->attended_element,
        .out_stride = width,
    };
}

/* Prepares the q (key 0) or the k of a head: what is done to it before attention reads it. */
static struct clip_head_rows head_rows_of(const struct clip_transformer *t, const struct clip_attention *a,
                                          size_t layer, size_t s, size_t h, int key)
{
    size_t first = key ? 0 : first_row(t, layer, s);
    return (struct clip_head_rows){
        .key = key,
        .rows = key ? a->keys : a->queries,
        .h = h,
        .first = first,
        .positions = t->positions ? t->positions + t->sequences[s].first + first : NULL,
        .x = key ? a->k : a->q,
        .stride = key ? a->k_stride : a->q_stride,
    };
}

/* Points attention at the prepared q and k in the workspace. */
static void prepare_head(const struct clip_transformer *t, struct clip_attention *a, size_t layer, size_t s,
                         size_t h, struct clip_block_workspace *workspace)
{
    struct clip_head_rows q = head_rows_of(t, a, layer, s, h, 0), k = head_rows_of(t, a, layer, s, h, 1);
    clip_block_prepare_head(&t->blocks[layer], &q, workspace->q);
    clip_block_prepare_head(&t->blocks[layer], &k, workspace->k);
    a->q = workspace->q;
    a->k = workspace->k;
    a->q_stride = a->k_stride = a->dim;
    a->q_bias = a->k_bias = t->block.zeros;
}

static void attend(struct clip_transformer *t, size_t layer, size_t s, struct clip_block_workspace *workspace)
{
    for (size_t h = 0; h < t->block.heads; h++) {
        struct clip_attention attention = head_of(t, &t->layers[layer], layer, s, h);
        if (t->block.prepares_heads)
            prepare_head(t, &attention, layer, s, h, workspace);
        t->kernels->attention(&attention, workspace->attention);
    }
}

/* Values of rows [first, first + rows) of a block, where they are mixed with those of the first. */
static void mix_values(struct clip_transformer *t, size_t layer, size_t first, size_t rows)
{
    const struct clip_block_rows *kept = &t->layers[layer];
    size_t inner = t->block.inner, stride = (is_single(t, layer) ? 2 : 3) * inner, at = first * inner;
    if (kept->values)
        clip_block_mix(&t->blocks[layer], rows, kept->qkv + (first + 1) * stride - inner, stride,
                       layer ? t->layers[0].values + at : NULL, kept->values + at);
}

/* What attention of `rows` rows of the piece reads: qkv; and its gate. */
static int prepare_attention(struct clip_transformer *t, size_t layer, size_t piece, size_t rows,
                             struct clip_block_workspace *workspace, struct clip_error *error)
{
    size_t first = piece * t->cut;
    const struct clip_block *block = &t->blocks[layer];
    clip_block_input(block, CLIP_HALF_ATTENTION, rows, t->layers[layer].x + first * t->block.width,
                     workspace->room, workspace->narrow);
    if (clip_product_rows(block->in.forward, rows, workspace->narrow,
                          t->layers[layer].qkv + first * clip_matrix_outputs(block->in.forward),
                          workspace->product, error) != 0 ||
        (block->attention_gate.forward && !is_single(t, layer) &&
         clip_product_rows(block->attention_gate.forward, rows, workspace->narrow,
                           t->layers[layer].opening + first * t->block.inner, workspace->product,
                           error) != 0))
        return -1;
    mix_values(t, layer, first, rows);
    return 0;
}

/* Rows from row `first` on of a kept buffer of n floats a row; NULL if it is not kept. */
static float *rows_at(float *kept, size_t first, size_t n)
{
    return kept ? kept + first * n : NULL;
}

static void *attended_at(const struct clip_transformer *t, const struct clip_block_rows *kept, size_t first)
{
    return (char *)kept->attended + first * t->block.inner * t->attended_element;
}

/* middle = the stream after attention, from x[rows][width] and rows [first, first + rows) of `attended`. */
static int finish_attention(struct clip_transformer *t, size_t layer, size_t first, size_t rows,
                            const float *x, float *middle, struct clip_block_workspace *workspace,
                            struct clip_error *error)
{
    const struct clip_block *block = &t->blocks[layer];
    const struct clip_block_rows *kept = &t->layers[layer];
    size_t width = t->block.width;
    const void *in = attended_at(t, kept, first);
    if (t->block.joins) {
        clip_block_join(block, rows, in, rows_at(kept->opening, first, t->block.inner), workspace->room,
                        workspace->narrow);
        in = workspace->narrow;
    } else if (block->shape->type != t->block.type) {
        t->kernels->convert(rows * t->block.inner, in, block->shape->type, workspace->narrow);
        in = workspace->narrow;
    }
    if (clip_product_rows(block->out.forward, rows, in, middle, workspace->product, error) != 0)
        return -1;
    clip_block_end(block, CLIP_HALF_ATTENTION, rows, x, middle, rows_at(kept->branch[0], first, width),
                   rows_at(kept->sum[0], first, width));
    return 0;
}

/* The rest of a block for `rows` rows from row `first` of its output, from x[rows][width]. */
static int finish_block(struct clip_transformer *t, size_t layer, size_t first, size_t rows, const float *x,
                        struct clip_block_workspace *workspace, struct clip_error *error)
{
    size_t width = t->block.width, mlp = t->block.mlp;
    const struct clip_block *block = &t->blocks[layer];
    const struct clip_block_rows *kept = &t->layers[layer];
    float *middle = kept->middle ? kept->middle + first * width : workspace->middle;
    float *wide = kept->wide ? kept->wide + first * mlp : workspace->wide, *out = kept->out + first * width;
    float *gate = kept->gate ? kept->gate + first * mlp : workspace->gate;
    void *hidden = kept->wide || block->shape->type != CLIP_PRECISION_F32 ? workspace->hidden : wide;
    if (finish_attention(t, layer, first, rows, x, middle, workspace, error) != 0)
        return -1;
    clip_block_input(block, CLIP_HALF_HIDDEN, rows, middle, workspace->room, workspace->narrow);
    if (clip_product_rows(block->fc.forward, rows, workspace->narrow, wide, workspace->product, error) != 0 ||
        (block->gate.forward && clip_product_rows(block->gate.forward, rows, workspace->narrow, gate,
                                                  workspace->product, error) != 0))
        return -1;
    clip_block_hidden(block, rows, wide, gate, workspace->room, hidden);
    if (clip_product_rows(block->proj.forward, rows, hidden, out, workspace->product, error) != 0)
        return -1;
    clip_block_end(block, CLIP_HALF_HIDDEN, rows, middle, out, rows_at(kept->branch[1], first, width),
                   rows_at(kept->sum[1], first, width));
    return 0;
}

/* The features of `rows` rows of the last block's output. */
static void norm_features(const struct clip_transformer *t, const float *x, size_t rows, float *features)
{
    size_t width = t->block.width;
    if (!t->shape.norm[0]) {
        memcpy(features, x, rows * width * sizeof *x);
        return;
    }
    for (size_t r = 0; r < rows; r++)
        clip_block_norm(&t->block, t->shape.epsilon, width, x + r * width, t->norm.weight.value,
                        t->norm.bias.value, CLIP_PRECISION_F32, features + r * width);
}

/* --- running ---
 *
 * The tasks of a run, in this order: step 0 of every piece of rows, which prepares the attention of block 0;
 * then for each block the attention of every sequence, and the step of every piece that ends the block and
 * prepares the attention of the next, or gives the features. Where these are one row a sequence, the last
 * block instead ends with the features of every CLIP_FEATURE_ROWS sequences. A task waits for what it reads,
 * not for all that comes before it, so threads are busy to the end. */

static size_t piece_rows(const struct clip_transformer *t, size_t piece)
{
    size_t rest = t->rows - piece * t->cut;
    return rest < t->cut ? rest : t->cut;
}

/* Step `step` of a piece: the end of block step - 1, and the beginning of block `step`, or after the last
 * the features. */
static int piece_task(struct clip_transformer *t, size_t step, size_t piece,
                      struct clip_block_workspace *workspace, struct clip_error *error)
{
    size_t width = t->block.width, first = piece * t->cut, rows = piece_rows(t, piece);
    if (step > 0) {
        /* If layers share memory, the last block's rows of k and v, which are narrower, overlap rows of
         * earlier sequences of the previous block, whose attention must be done as well. */
        size_t over = step < t->shape.layers && is_single(t, step) ? piece * 2 / 3 : piece;
        size_t last = piece + 1 < t->pieces ? t->first_sequence[piece + 1] : t->count - 1;
        if (clip_crew_wait(&t->crew, t->attended, t->first_sequence[over], last, (unsigned)step) != 0)
            return -1;
        if (finish_block(t, step - 1, first, rows, t->layers[step - 1].x + first * width, workspace, error) !=
            0)
            return -1;
    }
    if (step == t->shape.layers) {
        norm_features(t, t->layers[step - 1].out + first * width, rows, t->features + first * width);
        return 0;
    }
    if (prepare_attention(t, step, piece, rows, workspace, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->steps[piece]);
    return 0;
}

static int wait_rows(struct clip_transformer *t, size_t first, size_t last, size_t steps)
{
    const struct clip_sequence *end = &t->sequences[last];
    return clip_crew_wait(&t->crew, t->steps, t->sequences[first].first / t->cut,
                          (end->first + end->length - 1) / t->cut, (unsigned)steps);
}

static int attention_task(struct clip_transformer *t, size_t layer, size_t s,
                          struct clip_block_workspace *workspace)
{
    if (wait_rows(t, s, s, layer + 1) != 0)
        return -1;
    attend(t, layer, s, workspace);
    clip_crew_count(&t->crew, &t->attended[s]);
    return 0;
}

/* The features of sequences [first, first + CLIP_FEATURE_ROWS): the last block for one row of each. */
static int feature_task(struct clip_transformer *t, size_t first, struct clip_block_workspace *workspace,
                        struct clip_error *error)
{
    size_t width = t->block.width, n = t->count - first, last = t->shape.layers - 1;
    const struct clip_block *block = &t->blocks[last];
    const struct clip_block_rows *kept = &t->layers[last];
    float *out = kept->out + first * width;
    n = n < CLIP_FEATURE_ROWS ? n : CLIP_FEATURE_ROWS;
    if (wait_rows(t, first, first + n - 1, t->shape.layers) != 0)
        return -1;
    for (size_t r = 0; r < n; r++) {
        const struct clip_sequence *sequence = &t->sequences[first + r];
        memcpy(out + r * width, kept->x + (sequence->first + sequence->feature) * width, width * sizeof *out);
    }
    clip_block_input(block, CLIP_HALF_ATTENTION, n, out, workspace->room, workspace->narrow);
    if (clip_product_rows(block->query.forward, n, workspace->narrow, kept->queries + first * t->block.inner,
                          workspace->product, error) != 0 ||
        (block->attention_gate.forward &&
         clip_product_rows(block->attention_gate.forward, n, workspace->narrow,
                           kept->opening + first * t->block.inner, workspace->product, error) != 0))
        return -1;
    for (size_t r = 0; r < n; r++)
        attend(t, last, first + r, workspace);
    if (finish_block(t, last, first, n, out, workspace, error) != 0)
        return -1;
    norm_features(t, out, n, t->features + first * width);
    return 0;
}

static int block_task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_transformer *t = context;
    struct clip_block_workspace *workspace = &t->workspaces[thread];
    size_t round = t->pieces + t->count, step = i / round, at = i % round;
    if (t->shape.all || step + 1 < t->shape.layers || at < t->pieces)
        return at < t->pieces ? piece_task(t, step, at, workspace, error)
                              : attention_task(t, step, at - t->pieces, workspace);
    return feature_task(t, (at - t->pieces) * CLIP_FEATURE_ROWS, workspace, error);
}

static void begin_run(struct clip_transformer *t, const struct clip_transformer_tape *tape)
{
    const struct clip_sequence *sequences = tape->sequences;
    size_t n = tape->count;
    t->layers = tape->layers;
    t->sequences = sequences;
    t->positions = tape->positions;
    t->count = n;
    t->rows = sequences[n - 1].first + sequences[n - 1].length;
    t->cut = t->learns ? t->piece : clip_engine_piece(t->engine, t->rows, clip_pool_threads(t->pool));
    t->pieces = (t->rows + t->cut - 1) / t->cut;
    memset(t->steps, 0, t->pieces * sizeof *t->steps);
    memset(t->attended, 0, n * sizeof *t->attended);
    for (size_t piece = 0, s = 0; piece < t->pieces; piece++) {
        while (sequences[s].first + sequences[s].length <= piece * t->cut)
            s++;
        t->first_sequence[piece] = s;
    }
}

int clip_transformer_forward(struct clip_transformer *t, struct clip_transformer_tape *tape, float *features,
                             struct clip_error *error)
{
    begin_run(t, tape);
    t->features = features;
    size_t groups = (t->count + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS, round = t->pieces + t->count;
    size_t tasks = (t->shape.layers - 1) * round + t->pieces + (t->shape.all ? round : groups);
    return clip_crew_run(&t->crew, t->pool, tasks, block_task, t, error);
}

/* --- backward ---
 *
 * A block's backward has an upper half, over pieces of rows: from the gradient of what the block gave through
 * the MLP to that of what attention gave; attention itself, over sequences; and a lower half, over pieces:
 * through the in-projection to the gradient of the block's input. From the last block on, whose upper half is
 * over groups of sequences, the tasks are, in this order: the upper half of a block; the gradients of the
 * weights of the block above, which need no one's waiting; its attention; its lower half. A task waits for
 * what it reads, and all but a few never do. Sums over rows are made in the order of rows, by piece, and
 * pieces are added up in order at the end. */

enum kind { UPPER, FEATURES, WEIGHTS, ATTENTION, QUERIES, LOWER, SUMS };

static size_t groups_of(size_t n)
{
    return (n + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS;
}

/* A slot of a block, or, for layer = layers, of the norm of the features. */
static float *slot_sums(const struct clip_transformer *t, size_t layer, size_t slot)
{
    return t->back.partial + (layer * t->back.slots + slot) * t->back.sums;
}

/* --- memory of the backward --- */

/* The most scratch that any product of the backward needs. */
static size_t backward_scratch(const struct clip_transformer *t)
{
    const struct clip_outer *outers[] = {t->back.query, t->back.in, t->back.kv,
                                         t->back.out,   t->back.fc, t->back.proj};
    size_t most = product_scratch(t);
    for (size_t i = 0; i < CLIP_COUNT_OF(outers); i++)
        most = clip_larger(most, clip_outer_scratch(outers[i]));
    return most;
}

/* [rows][n] elements, if wanted. */
static void *take_elements(struct clip_transformer *t, int wanted, size_t rows, size_t n)
{
    return wanted ? clip_arena_take(&t->back.memory, rows, n * t->element) : NULL;
}

static struct clip_backward_rows place_rows(struct clip_transformer *t, size_t rows, int attention)
{
    size_t width = t->block.width, inner = t->block.inner, mlp = t->block.mlp;
    return (struct clip_backward_rows){
        .dout = take_elements(t, 1, rows, width),
        .hidden = take_elements(t, 1, rows, mlp),
        .dwide = take_elements(t, 1, rows, mlp),
        .dgate = take_elements(t, (t->block.flags & CLIP_BLOCK_GATED) != 0, rows, mlp),
        .input = take_elements(t, 1, rows, width),
        .dmiddle = take_elements(t, 1, rows, width),
        .joined = take_elements(t, t->block.joins, rows, inner),
        .dopening = take_elements(t, (t->block.flags & CLIP_BLOCK_ATTN_GATE) != 0, rows, inner),
        .dqkv = take_elements(t, attention, rows, 3 * inner),
        .attention = take_elements(t, attention, rows, width),
    };
}

static void place_workspaces(struct clip_transformer *t)
{
    struct clip_arena *memory = &t->back.memory;
    size_t threads = (size_t)clip_pool_threads(t->pool), scratch = backward_scratch(t);
    size_t head = t->shape.longest * t->block.head;
    int gated = (t->block.flags & (CLIP_BLOCK_GATED | CLIP_BLOCK_ATTN_GATE)) != 0;
    t->back.workspaces = clip_arena_take(memory, threads, sizeof *t->back.workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct clip_backward_workspace workspace = {
            .attention =
                take_floats(memory, 1, clip_attention_backward_scratch(t->shape.longest, t->block.head)),
            .dq = take_floats(memory, t->block.prepares_heads, head),
            .dk = take_floats(memory, t->block.prepares_heads, head),
            .dv = take_floats(memory, t->block.prepares_heads, head),
            .dbias = take_floats(memory, t->shape.bias != NULL, t->shape.longest * t->shape.longest),
            .gate = take_floats(memory, gated, clip_larger(t->piece, CLIP_FEATURE_ROWS) * t->block.width),
            .scratch = clip_arena_take(memory, scratch, 1),
        };
        if (t->back.workspaces)
            t->back.workspaces[i] = workspace;
    }
}

/* The number of tasks for the gradients of a block's weights. */
static size_t weight_tasks(const struct clip_transformer *t, size_t layer)
{
    size_t in = is_single(t, layer) ? clip_outer_panels(t->back.kv) + clip_outer_panels(t->back.query)
                                    : clip_outer_panels(t->back.in);
    size_t wide = t->block.flags & CLIP_BLOCK_GATED ? 2 : 1;
    if (t->block.flags & CLIP_BLOCK_ATTN_GATE)
        in += clip_outer_panels(t->back.query);
    return in + clip_outer_panels(t->back.out) + wide * clip_outer_panels(t->back.fc) +
           clip_outer_panels(t->back.proj);
}

static size_t most_tasks(const struct clip_transformer *t, size_t pieces)
{
    size_t layers = t->shape.layers, n = t->batch;
    return layers * (2 * pieces + n + weight_tasks(t, 0) + weight_tasks(t, layers - 1) + 1) +
           2 * groups_of(n) + 1;
}

void clip_place_backward(void *context)
{
    struct clip_transformer *t = context;
    struct clip_arena *memory = &t->back.memory;
    size_t width = t->block.width, n = t->batch, groups = groups_of(n);
    size_t rows = clip_transformer_rows(t, n * t->shape.longest), pieces = rows / t->piece;
    size_t features = groups * CLIP_FEATURE_ROWS;
    t->back.slots = clip_larger(clip_larger(pieces, groups), t->block.prepares_heads ? n : 0);
    t->back.sums = clip_larger(t->block.sums, 2 * width);
    t->back.rows[0] = place_rows(t, rows, 1);
    t->back.rows[1] = place_rows(t, t->shape.layers > 1 ? rows : 0, 1);
    t->back.last = place_rows(t, features, 0);
    t->back.dqueries = clip_arena_take(memory, features, t->block.inner * t->element);
    t->back.query_inputs = clip_arena_take(memory, features, width * t->element);
    t->back.dquery_inputs = clip_arena_take(memory, features, width * sizeof(float));
    t->back.dx = clip_arena_take(memory, rows, width * sizeof(float));
    t->back.dfeatures = clip_arena_take(memory, features, width * sizeof(float));
    t->back.dattended = clip_arena_take(memory, clip_larger(rows, features), t->block.inner * sizeof(float));
    t->back.dfirst =
        take_floats(memory, (t->block.flags & CLIP_BLOCK_VALUE_RESIDUAL) != 0, rows * t->block.inner);
    t->back.dbias = clip_arena_take(memory, n, t->shape.bias_sums * sizeof(float));
    t->back.partial =
        clip_arena_take(memory, (t->shape.layers + 1) * t->back.slots, t->back.sums * sizeof(float));
    t->back.upper = clip_arena_take(memory, pieces, sizeof *t->back.upper);
    t->back.lower = clip_arena_take(memory, pieces, sizeof *t->back.lower);
    t->back.groups = clip_arena_take(memory, groups, sizeof *t->back.groups);
    t->back.queried = clip_arena_take(memory, groups, sizeof *t->back.queried);
    t->back.attended = clip_arena_take(memory, n, sizeof *t->back.attended);
    t->back.summed = clip_arena_take(memory, t->shape.layers, sizeof *t->back.summed);
    t->back.tasks = clip_arena_take(memory, most_tasks(t, pieces), sizeof *t->back.tasks);
    place_workspaces(t);
}

/* --- the halves of a block --- */

/* The number of blocks from the last one down to this: the count of those done when this one is. */
static unsigned blocks_done(const struct clip_transformer *t, size_t layer)
{
    return (unsigned)(t->shape.layers - layer);
}

static struct clip_backward_rows *rows_of(struct clip_transformer *t, size_t layer)
{
    return &t->back.rows[layer % 2];
}

/* The count of pieces, of this block and those above, when this block's upper half is done. */
static unsigned upper_halves_done(const struct clip_transformer *t, size_t layer)
{
    return blocks_done(t, layer) - (t->shape.all ? 0 : 1);
}

/* Of the norm of the features: dx[rows][width], from the gradient of them. */
static void features_backward(const struct clip_transformer *t, const float *x, const float *dy, size_t rows,
                              size_t slot, float *dx)
{
    size_t width = t->block.width;
    float *sums = slot_sums(t, t->shape.layers, slot);
    if (!t->shape.norm[0]) {
        memcpy(dx, dy, rows * width * sizeof *dx);
        return;
    }
    memset(dx, 0, rows * width * sizeof *dx);
    for (size_t r = 0; r < rows; r++)
        clip_block_norm_backward(&t->block, t->shape.epsilon, width, x + r * width, t->norm.weight.value,
                                 dy + r * width, dx + r * width, sums, sums + width);
}

/* The operands of a task of a block's upper half: rows [first, first + rows) of the block's output. */
struct half_rows {
    size_t layer, first, rows;
    float *dx, *sums;
    int thread;
};

/* The MLP: dx, the gradient of the block's output, becomes that of the stream before the MLP. */
static int hidden_backward(struct clip_transformer *t, const struct half_rows *h, struct clip_error *error)
{
    struct clip_block_workspace *workspace = &t->workspaces[h->thread];
    struct clip_backward_workspace *back = &t->back.workspaces[h->thread];
    const struct clip_block *block = &t->blocks[h->layer];
    const struct clip_block_rows *kept = &t->layers[h->layer];
    const struct clip_backward_rows *out = is_single(t, h->layer) ? &t->back.last : rows_of(t, h->layer);
    size_t width = t->block.width, mlp = t->block.mlp, first = h->first, rows = h->rows;
    const float *middle = kept->middle + first * width, *gate = rows_at(kept->gate, first, mlp);
    void *dwide = element_at(t, out->dwide, first * mlp), *dout = element_at(t, out->dout, first * width);
    void *dgate = out->dgate ? element_at(t, out->dgate, first * mlp) : NULL;
    clip_block_end_backward(block, CLIP_HALF_HIDDEN, rows, rows_at(kept->branch[1], first, width),
                            rows_at(kept->sum[1], first, width), h->dx, workspace->room, dout, h->sums);
    if (clip_product_rows(block->proj.backward, rows, dout, workspace->wide, back->scratch, error) != 0)
        return -1;
    clip_block_hidden_backward(block, rows, kept->wide + first * mlp, gate, workspace->wide, workspace->room,
                               element_at(t, out->hidden, first * mlp), dwide, dgate, h->sums);
    if (clip_product_rows(block->fc.backward, rows, dwide, workspace->middle, back->scratch, error) != 0 ||
        (dgate &&
         clip_product_rows(block->gate.backward, rows, dgate, back->gate, back->scratch, error) != 0))
        return -1;
    if (dgate)
        t->kernels->sum(rows * width, workspace->middle, back->gate, workspace->middle);
    clip_block_input(block, CLIP_HALF_HIDDEN, rows, middle, workspace->room,
                     element_at(t, out->input, first * width));
    clip_block_input_backward(block, CLIP_HALF_HIDDEN, rows, middle, workspace->middle, h->dx,
                              workspace->room, h->sums);
    return 0;
}

/* From dx[rows][width], the gradient of what the block gave: dattended of the rows, and in dx the gradient of
 * the residual stream that goes past attention. */
static int upper_half(struct clip_transformer *t, const struct half_rows *h, struct clip_error *error)
{
    struct clip_block_workspace *workspace = &t->workspaces[h->thread];
    const struct clip_block *block = &t->blocks[h->layer];
    const struct clip_block_rows *kept = &t->layers[h->layer];
    const struct clip_backward_rows *out = is_single(t, h->layer) ? &t->back.last : rows_of(t, h->layer);
    size_t width = t->block.width, inner = t->block.inner, first = h->first, rows = h->rows;
    float *dattended = t->back.dattended + first * inner;
    void *dmiddle = element_at(t, out->dmiddle, first * width);
    if (hidden_backward(t, h, error) != 0)
        return -1;
    clip_block_end_backward(block, CLIP_HALF_ATTENTION, rows, rows_at(kept->branch[0], first, width),
                            rows_at(kept->sum[0], first, width), h->dx, workspace->room, dmiddle, h->sums);
    if (clip_product_rows(block->out.backward, rows, dmiddle, dattended,
                          t->back.workspaces[h->thread].scratch, error) != 0)
        return -1;
    if (t->block.joins) {
        const float *attended = attended_at(t, kept, first), *opening = rows_at(kept->opening, first, inner);
        clip_block_join(block, rows, attended, opening, workspace->room,
                        element_at(t, out->joined, first * inner));
        clip_block_join_backward(block, rows, attended, opening, dattended, workspace->room,
                                 opening ? element_at(t, out->dopening, first * inner) : NULL, h->sums);
    }
    return 0;
}

static int upper_task(struct clip_transformer *t, size_t layer, size_t piece, int thread,
                      struct clip_error *error)
{
    size_t width = t->block.width, first = piece * t->piece;
    struct half_rows h = {
        layer, first, piece_rows(t, piece), t->back.dx + first * width, slot_sums(t, layer, piece), thread};
    /* Waits until what is overwritten was read: by the weights' gradients two blocks above, and dattended. */
    if ((layer + 2 < t->shape.layers && clip_crew_wait(&t->crew, t->back.summed, layer + 2, layer + 2,
                                                       (unsigned)weight_tasks(t, layer + 2)) != 0) ||
        clip_crew_wait(&t->crew, t->back.attended, 0, t->count - 1, blocks_done(t, layer) - 1) != 0 ||
        clip_crew_wait(&t->crew, t->back.lower, piece, piece, blocks_done(t, layer) - 1) != 0)
        return -1;
    if (layer + 1 == t->shape.layers)
        features_backward(t, t->layers[layer].out + first * width, t->back.gradients + first * width, h.rows,
                          piece, h.dx);
    if (upper_half(t, &h, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->back.upper[piece]);
    return 0;
}

static size_t group_size(const struct clip_transformer *t, size_t group)
{
    size_t rest = t->count - group * CLIP_FEATURE_ROWS;
    return rest < CLIP_FEATURE_ROWS ? rest : CLIP_FEATURE_ROWS;
}

/* For a group of sequences of one row each: the norm of the features, and the last block's upper half. */
static int features_task(struct clip_transformer *t, size_t group, int thread, struct clip_error *error)
{
    size_t width = t->block.width, last = t->shape.layers - 1, first = group * CLIP_FEATURE_ROWS;
    struct half_rows h = {
        last,  first, group_size(t, group), t->back.dfeatures + first * width, slot_sums(t, last, group),
        thread};
    features_backward(t, t->layers[last].out + first * width, t->back.gradients + first * width, h.rows,
                      group, h.dx);
    if (upper_half(t, &h, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->back.groups[group]);
    return 0;
}

/* Row `row` of dv[head], the gradient of the values of head h, becomes that of v. */
static void values_backward(struct clip_transformer *t, size_t layer, size_t row, size_t h, float *dv,
                            float *sums)
{
    const struct clip_block_rows *kept = &t->layers[layer];
    size_t inner = t->block.inner, stride = (is_single(t, layer) ? 2 : 3) * inner, at = h * t->block.head;
    if (kept->values)
        clip_block_mix_backward(&t->blocks[layer], h, kept->qkv + (row + 1) * stride - inner + at,
                                layer ? t->layers[0].values + row * inner + at : NULL, dv,
                                t->back.dfirst + row * inner + at, sums);
}

/* The backward of a head with prepared q and k. */
static void prepared_head_backward(struct clip_transformer *t, size_t layer, size_t s, size_t h,
                                   struct clip_attention *forward, struct clip_attention_backward *backward,
                                   int thread)
{
    const struct clip_block *block = &t->blocks[layer];
    struct clip_backward_workspace *back = &t->back.workspaces[thread];
    struct clip_block_workspace *workspace = &t->workspaces[thread];
    struct clip_head_rows q = head_rows_of(t, forward, layer, s, h, 0);
    struct clip_head_rows k = head_rows_of(t, forward, layer, s, h, 1);
    struct clip_attention_backward to = *backward;
    float *sums = slot_sums(t, layer, s);
    prepare_head(t, forward, layer, s, h, workspace);
    backward->type = CLIP_PRECISION_F32;
    backward->dq = back->dq;
    backward->dk = back->dk;
    backward->dv = back->dv;
    backward->dq_stride = backward->dkv_stride = forward->dim;
    t->kernels->attention_backward(backward, back->attention);
    clip_block_scale_backward(block, h, forward->queries, workspace->q, back->dq, sums);
    clip_block_prepare_head_backward(block, &q, back->dq, to.dq, to.dq_stride, workspace->room, sums);
    clip_block_prepare_head_backward(block, &k, back->dk, to.dk, to.dkv_stride, workspace->room, sums);
    for (size_t r = 0; r < forward->keys; r++) {
        float *dv = back->dv + r * forward->dim;
        values_backward(t, layer, t->sequences[s].first + r, h, dv, sums);
        t->kernels->convert(forward->dim, dv, t->block.type, element_at(t, to.dv, r * to.dkv_stride));
    }
}

static void attention_backward(struct clip_transformer *t, size_t layer, size_t s, int thread)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    int single = is_single(t, layer);
    size_t width = t->block.inner, stride = single ? 2 * width : 3 * width;
    void *dqkv = element_at(t, rows_of(t, layer)->dqkv, sequence->first * stride);
    size_t row = single ? s : sequence->first;
    if (sequence->keys < sequence->length) /* the last row is nobody's key */
        memset(element_at(t, dqkv, sequence->keys * stride), 0, stride * t->element);
    for (size_t h = 0; h < t->block.heads; h++) {
        struct clip_attention forward = head_of(t, &t->layers[layer], layer, s, h);
        size_t at = h * forward.dim, k = single ? at : width + at;
        struct clip_attention_backward backward = {
            .forward = &forward,
            .dout = t->back.dattended + row * width + at,
            .dout_stride = width,
            .type = t->block.type,
            .dq = single ? element_at(t, t->back.dqueries, s * width + at) : element_at(t, dqkv, at),
            .dk = element_at(t, dqkv, k),
            .dv = element_at(t, dqkv, width + k),
            .dq_stride = single ? width : stride,
            .dkv_stride = stride,
        };
        if (t->shape.bias)
            backward.dbias = t->back.workspaces[thread].dbias;
        if (t->block.prepares_heads)
            prepared_head_backward(t, layer, s, h, &forward, &backward, thread);
        else
            t->kernels->attention_backward(&backward, t->back.workspaces[thread].attention);
        if (t->shape.bias)
            t->shape.bias_backward(t->shape.bias_context, h, first_row(t, layer, s), forward.queries,
                                   forward.keys, backward.dbias,
                                   t->back.dbias + s * t->shape.bias_sums + layer * t->shape.sums_step);
    }
}

/* The attention of a sequence, and the input of its in-projection. */
static int attention_back_task(struct clip_transformer *t, size_t layer, size_t s, int thread)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    size_t width = t->block.width, first = sequence->first, end = first + sequence->length - 1;
    void *in = element_at(t, rows_of(t, layer)->attention, first * width);
    int single = is_single(t, layer);
    size_t group = s / CLIP_FEATURE_ROWS;
    if ((single ? clip_crew_wait(&t->crew, t->back.groups, group, group, 1)
                : clip_crew_wait(&t->crew, t->back.upper, first / t->piece, end / t->piece,
                                 upper_halves_done(t, layer))) != 0)
        return -1;
    clip_block_input(&t->blocks[layer], CLIP_HALF_ATTENTION, sequence->length,
                     t->layers[layer].x + first * width, t->workspaces[thread].room, in);
    if (single)
        memcpy(element_at(t, t->back.query_inputs, s * width), element_at(t, in, sequence->feature * width),
               width * t->element);
    attention_backward(t, layer, s, thread);
    clip_crew_count(&t->crew, &t->back.attended[s]);
    return 0;
}

/* dx[n][width] += what the gate of attention adds to the gradient of its input, of dopening[n][inner]. */
static int gate_backward(struct clip_transformer *t, size_t layer, size_t n, const void *dopening, float *dx,
                         int thread, struct clip_error *error)
{
    struct clip_backward_workspace *back = &t->back.workspaces[thread];
    const struct clip_operand *gate = &t->blocks[layer].attention_gate;
    if (!gate->forward)
        return 0;
    if (clip_product_rows(gate->backward, n, dopening, back->gate, back->scratch, error) != 0)
        return -1;
    t->kernels->sum(n * t->block.width, dx, back->gate, dx);
    return 0;
}

static const void *dopening_at(const struct clip_transformer *t, const struct clip_backward_rows *rows,
                               size_t first)
{
    return rows->dopening ? element_at(t, rows->dopening, first * t->block.inner) : NULL;
}

/* Of a last block of one row each: the gradient of what the queries of a group were made of. */
static int queries_task(struct clip_transformer *t, size_t group, int thread, struct clip_error *error)
{
    size_t first = group * CLIP_FEATURE_ROWS, n = group_size(t, group), last = t->shape.layers - 1;
    float *dx = t->back.dquery_inputs + first * t->block.width;
    if (clip_crew_wait(&t->crew, t->back.attended, first, first + n - 1, 1) != 0 ||
        clip_product_rows(t->blocks[last].query.backward, n,
                          element_at(t, t->back.dqueries, first * t->block.inner), dx,
                          t->back.workspaces[thread].scratch, error) != 0 ||
        gate_backward(t, last, n, dopening_at(t, &t->back.last, first), dx, thread, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->back.queried[group]);
    return 0;
}

/* Of the same, for a piece: dx, 0 but for the rows of features, and what queries add to dy. */
static void spread_features(struct clip_transformer *t, size_t piece, size_t last, float *dy)
{
    size_t width = t->block.width, first = piece * t->piece, rows = piece_rows(t, piece);
    memset(t->back.dx + first * width, 0, rows * width * sizeof *t->back.dx);
    for (size_t s = t->first_sequence[piece]; s <= last; s++) {
        size_t row = t->sequences[s].first + t->sequences[s].feature;
        if (row < first || row >= first + rows)
            continue;
        float *to = dy + (row - first) * width;
        memcpy(t->back.dx + row * width, t->back.dfeatures + s * width, width * sizeof *t->back.dx);
        t->kernels->sum(width, to, t->back.dquery_inputs + s * width, to);
    }
}

static int lower_task(struct clip_transformer *t, size_t layer, size_t piece, int thread,
                      struct clip_error *error)
{
    const struct clip_block *block = &t->blocks[layer];
    size_t width = t->block.width, first = piece * t->piece, rows = piece_rows(t, piece);
    size_t last = piece + 1 < t->pieces ? t->first_sequence[piece + 1] : t->count - 1;
    float *dy = t->workspaces[thread].middle;
    void *dqkv = element_at(t, rows_of(t, layer)->dqkv, first * clip_matrix_inputs(block->in.backward));
    if (clip_crew_wait(&t->crew, t->back.attended, t->first_sequence[piece], last, blocks_done(t, layer)) !=
            0 ||
        (is_single(t, layer) &&
         clip_crew_wait(&t->crew, t->back.queried, t->first_sequence[piece] / CLIP_FEATURE_ROWS,
                        last / CLIP_FEATURE_ROWS, 1) != 0) ||
        clip_product_rows(block->in.backward, rows, dqkv, dy, t->back.workspaces[thread].scratch, error) != 0)
        return -1;
    if (is_single(t, layer))
        spread_features(t, piece, last, dy);
    else if (gate_backward(t, layer, rows, dopening_at(t, rows_of(t, layer), first), dy, thread, error) != 0)
        return -1;
    clip_block_input_backward(block, CLIP_HALF_ATTENTION, rows, t->layers[layer].x + first * width, dy,
                              t->back.dx + first * width, t->workspaces[thread].room,
                              slot_sums(t, layer, piece));
    clip_crew_count(&t->crew, &t->back.lower[piece]);
    return 0;
}

/* --- gradients of parameters --- */

/* The gradient of a matrix and its bias: of da[rows][m] and x[rows][n]. */
struct part {
    const struct clip_outer *outer;
    const void *da, *x;
    size_t rows, m;
    float *weight;  /* [m][n] */
    size_t each;    /* columns of each bias */
    float *bias[3]; /* NULL: there is none */
};

/* The most matrices of a block; in_proj's queries may be apart. */
enum { PARTS = 7 };

static size_t list_parts(struct clip_transformer *t, size_t layer, struct part parts[PARTS])
{
    const struct clip_block *b = &t->blocks[layer];
    const struct clip_values *v = b->values;
    int single = is_single(t, layer);
    const struct clip_backward_rows *all = rows_of(t, layer), *r = single ? &t->back.last : all;
    size_t width = t->block.width, inner = t->block.inner, mlp = t->block.mlp,
           rows = single ? t->count : t->rows, n = 0;
    float *in = v[CLIP_IN_BIAS].gradient,
          *bias[3] = {v[CLIP_Q_BIAS].gradient, v[CLIP_K_BIAS].gradient, v[CLIP_V_BIAS].gradient};
    for (size_t i = 0; in && i < 3; i++)
        bias[i] = in + i * inner;
    if (!t->block.prepares_heads)
        bias[1] =
            NULL; /* it adds the same to all scores of a query: the gradient is 0, its sum only rounding */
    const void *joined = r->joined ? r->joined : t->layers[layer].attended;
    parts[n++] = (struct part){t->back.proj, r->dout,          r->hidden, rows,
                               width,        b->proj.gradient, width,     {v[CLIP_PROJ_BIAS].gradient}};
    parts[n++] = (struct part){t->back.fc, r->dwide,       r->input, rows,
                               mlp,        b->fc.gradient, mlp,      {v[CLIP_FC_BIAS].gradient}};
    if (r->dgate)
        parts[n++] = (struct part){t->back.fc, r->dgate,         r->input, rows,
                                   mlp,        b->gate.gradient, mlp,      {v[CLIP_GATE_BIAS].gradient}};
    parts[n++] = (struct part){t->back.out, r->dmiddle,      joined, rows,
                               width,       b->out.gradient, width,  {v[CLIP_OUT_BIAS].gradient}};
    if (r->dopening)
        parts[n++] = (struct part){t->back.query,
                                   r->dopening,
                                   single ? t->back.query_inputs : all->attention,
                                   rows,
                                   inner,
                                   b->attention_gate.gradient,
                                   inner,
                                   {v[CLIP_ATTN_GATE_BIAS].gradient}};
    if (!single) {
        parts[n++] = (struct part){t->back.in, all->dqkv,      all->attention, rows,
                                   3 * inner,  b->in.gradient, inner,          {bias[0], bias[1], bias[2]}};
        return n;
    }
    parts[n++] = (struct part){t->back.kv, all->dqkv,      all->attention, t->rows,
                               2 * inner,  b->in.gradient, inner,          {bias[1], bias[2]}};
    parts[n++] =
        (struct part){t->back.query, t->back.dqueries, t->back.query_inputs, rows, inner, b->query.gradient,
                      inner,         {bias[0]}};
    return n;
}

/* Adds the sums of columns [first, end) to the gradient of a bias. */
static void sum_bias(const struct clip_transformer *t, const struct part *part, size_t first, size_t end)
{
    for (size_t at = first, to; at < end; at = to) {
        float *bias = part->bias[at / part->each];
        to = (at / part->each + 1) * part->each;
        to = to < end ? to : end;
        if (bias)
            t->kernels->column_sums(part->rows, to - at, element_at(t, part->da, at), part->m, t->block.type,
                                    bias + at % part->each);
    }
}

static int weights_task(struct clip_transformer *t, size_t layer, size_t index, size_t panel, int thread,
                        struct clip_error *error)
{
    struct part parts[PARTS];
    list_parts(t, layer, parts);
    const struct part *part = &parts[index];
    size_t first = clip_outer_first(part->outer, panel), end = clip_outer_first(part->outer, panel + 1);
    if (clip_crew_wait(&t->crew, t->back.attended, 0, t->count - 1, blocks_done(t, layer)) != 0 ||
        clip_outer_add(part->outer, panel, part->rows, part->da, part->x, part->weight,
                       t->back.workspaces[thread].scratch, error) != 0)
        return -1;
    sum_bias(t, part, first, end);
    clip_crew_count(&t->crew, &t->back.summed[layer]);
    return 0;
}

/* Adds up the slots of a block or (layer = layers) of the norm of the features. */
static int sums_task(struct clip_transformer *t, size_t layer)
{
    size_t layers = t->shape.layers, width = t->block.width;
    if (clip_crew_wait(&t->crew, t->back.lower, 0, t->pieces - 1, (unsigned)layers) != 0)
        return -1;
    if (layer < layers) {
        clip_block_add_sums(&t->blocks[layer], slot_sums(t, layer, 0), t->back.used, t->back.sums);
        return 0;
    }
    for (size_t s = 0; t->shape.bias && s < t->count; s++)
        t->kernels->sum(t->shape.bias_sums, t->shape.bias_gradient, t->back.dbias + s * t->shape.bias_sums,
                        t->shape.bias_gradient);
    for (size_t slot = 0; t->shape.norm[0] && slot < t->back.used; slot++) {
        const float *sums = slot_sums(t, layer, slot);
        t->kernels->sum(width, t->norm.weight.gradient, sums, t->norm.weight.gradient);
        if (t->norm.bias.gradient)
            t->kernels->sum(width, t->norm.bias.gradient, sums + width, t->norm.bias.gradient);
    }
    return 0;
}

/* --- running --- */

static size_t push_task(struct clip_transformer *t, size_t at, int kind, size_t layer, size_t part, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t->back.tasks[at++] = (struct clip_backward_task){kind, layer, i, part};
    return at;
}

static size_t push_weights(struct clip_transformer *t, size_t at, size_t layer)
{
    struct part parts[PARTS];
    size_t n = list_parts(t, layer, parts);
    for (size_t i = 0; i < n; i++)
        at = push_task(t, at, WEIGHTS, layer, i, clip_outer_panels(parts[i].outer));
    return at;
}

/* Lists the tasks; returns how many. */
static size_t plan_tasks(struct clip_transformer *t)
{
    size_t layers = t->shape.layers, groups = groups_of(t->count), at = 0;
    for (size_t layer = layers; layer-- > 0;) {
        at = is_single(t, layer) ? push_task(t, at, FEATURES, layer, 0, groups)
                                 : push_task(t, at, UPPER, layer, 0, t->pieces);
        if (layer + 1 < layers)
            at = push_weights(t, at, layer + 1);
        at = push_task(t, at, ATTENTION, layer, 0, t->count);
        if (is_single(t, layer))
            at = push_task(t, at, QUERIES, layer, 0, groups);
        at = push_task(t, at, LOWER, layer, 0, t->pieces);
    }
    at = push_weights(t, at, 0);
    for (size_t layer = 0; layer <= layers; layer++)
        at = push_task(t, at, SUMS, layer, 0, 1);
    return at;
}

static int run_task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_transformer *t = context;
    const struct clip_backward_task *task = &t->back.tasks[i];
    switch ((enum kind)task->kind) {
    case UPPER:
        return upper_task(t, task->layer, task->index, thread, error);
    case FEATURES:
        return features_task(t, task->index, thread, error);
    case WEIGHTS:
        return weights_task(t, task->layer, task->part, task->index, thread, error);
    case ATTENTION:
        return attention_back_task(t, task->layer, task->index, thread);
    case QUERIES:
        return queries_task(t, task->index, thread, error);
    case LOWER:
        return lower_task(t, task->layer, task->index, thread, error);
    case SUMS:
        return sums_task(t, task->layer);
    }
    return 0;
}

int clip_transformer_backward(struct clip_transformer *t, const struct clip_transformer_tape *tape,
                              const float *gradients, const float **dx, struct clip_error *error)
{
    begin_run(t, tape);
    t->back.gradients = gradients;
    memset(t->back.upper, 0, t->pieces * sizeof *t->back.upper);
    memset(t->back.lower, 0, t->pieces * sizeof *t->back.lower);
    memset(t->back.groups, 0, groups_of(t->count) * sizeof *t->back.groups);
    memset(t->back.queried, 0, groups_of(t->count) * sizeof *t->back.queried);
    memset(t->back.attended, 0, t->count * sizeof *t->back.attended);
    memset(t->back.summed, 0, t->shape.layers * sizeof *t->back.summed);
    t->back.used =
        clip_larger(clip_larger(t->pieces, groups_of(t->count)), t->block.prepares_heads ? t->count : 0);
    for (size_t layer = 0; layer <= t->shape.layers; layer++)
        memset(slot_sums(t, layer, 0), 0, t->back.used * t->back.sums * sizeof(float));
    if (t->back.dfirst)
        memset(t->back.dfirst, 0, t->rows * t->block.inner * sizeof *t->back.dfirst);
    memset(t->back.dbias, 0, t->count * t->shape.bias_sums * sizeof *t->back.dbias);
    *dx = t->back.dx;
    return clip_crew_run(&t->crew, t->pool, plan_tasks(t), run_task, t, error);
}
