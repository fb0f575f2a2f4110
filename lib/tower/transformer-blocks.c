/* The forward and the backward of the transformer's blocks. */
#include "tower/transformer.h"

#include <stdint.h>
#include <string.h>

/* --- memory of the forward --- */

/* The most scratch that any product here needs. */
static size_t product_scratch(const struct clip_transformer *t)
{
    size_t most = 0;
    for (size_t i = 0; i < t->shape.layers; i++) {
        const struct clip_block *block = &t->blocks[i];
        const struct clip_operand *all[] = {&block->in, &block->query, &block->out, &block->fc, &block->proj};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
            size_t bytes = clip_operand_scratch(all[j]);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

static void place_workspace(struct clip_transformer *t, struct clip_block_workspace *out)
{
    size_t width = t->shape.width, mlp = t->shape.mlp;
    struct clip_block_workspace workspace = {
        .narrow = clip_arena_take(&t->arena, t->piece * width, t->element),
        .middle = clip_arena_take(&t->arena, t->piece * width, sizeof(float)),
        .wide = clip_arena_take(&t->arena, t->piece * mlp, sizeof(float)),
        .hidden = clip_arena_take(&t->arena, t->piece * mlp, t->element),
        .product = clip_arena_take(&t->arena, product_scratch(t), 1),
        .attention = clip_arena_take(
            &t->arena, clip_attention_scratch(t->shape.longest, width / t->shape.heads), sizeof(float)),
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

static void norm_rows(const struct clip_transformer *t, const struct clip_norm *norm, const float *x,
                      size_t rows, void *out)
{
    size_t width = t->shape.width;
    for (size_t r = 0; r < rows; r++)
        t->kernels->layer_norm(width, 1e-5f, x + r * width, norm->weight.value, norm->bias.value,
                               clip_engine_precision(t->engine), element_at(t, out, r * width));
}

static struct clip_attention head_of(const struct clip_transformer *t, const struct clip_block_rows *rows,
                                     size_t layer, size_t s, size_t h)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    int last = layer + 1 == t->shape.layers;
    size_t width = t->shape.width, dim = width / t->shape.heads, at = h * dim;
    size_t stride = last ? 2 * width : 3 * width;
    const float *qkv = rows->qkv + sequence->first * stride + at, *k = last ? qkv : qkv + width;
    const float *bias = t->blocks[layer].in_bias.value + at;
    return (struct clip_attention){
        .queries = last ? 1 : sequence->length,
        .keys = sequence->length,
        .dim = dim,
        .causal = t->shape.causal && !last, /* the feature's row sees all */
        .q = last ? rows->queries + s * width + at : qkv,
        .k = k,
        .v = k + width,
        .q_stride = last ? width : stride,
        .kv_stride = stride,
        .q_bias = bias,
        .k_bias = bias + width,
        .v_bias = bias + 2 * width,
        .type = clip_engine_precision(t->engine),
        .out = element_at(t, rows->attended, (last ? s : sequence->first) * width + at),
        .out_stride = width,
    };
}

static void attend(struct clip_transformer *t, size_t layer, size_t s, struct clip_block_workspace *workspace)
{
    for (size_t h = 0; h < t->shape.heads; h++) {
        struct clip_attention attention = head_of(t, &t->layers[layer], layer, s, h);
        t->kernels->attention(&attention, workspace->attention);
    }
}

/* The norm of `rows` rows of the piece for a block's attention, and its in-projection into qkv. */
static int prepare_attention(struct clip_transformer *t, size_t layer, size_t piece, size_t rows,
                             struct clip_block_workspace *workspace, struct clip_error *error)
{
    size_t first = piece * t->piece;
    const struct clip_block *block = &t->blocks[layer];
    norm_rows(t, &block->ln_1, t->layers[layer].x + first * t->shape.width, rows, workspace->narrow);
    return clip_product_rows(block->in.forward, rows, workspace->narrow,
                             t->layers[layer].qkv + first * clip_matrix_outputs(block->in.forward),
                             workspace->product, error);
}

/* The rest of a block for `rows` rows from row `first` of what it leaves, from x[rows][width]:
 * middle = x + out_proj(attended), out = middle + mlp(ln_2(middle)). */
static int finish_block(struct clip_transformer *t, size_t layer, size_t first, size_t rows, const float *x,
                        struct clip_block_workspace *workspace, struct clip_error *error)
{
    size_t width = t->shape.width, mlp = t->shape.mlp;
    const struct clip_block *block = &t->blocks[layer];
    const struct clip_block_rows *kept = &t->layers[layer];
    float *middle = kept->middle ? kept->middle + first * width : workspace->middle;
    float *wide = kept->wide ? kept->wide + first * mlp : workspace->wide, *out = kept->out + first * width;
    void *hidden = kept->wide || t->element != sizeof(float) ? workspace->hidden : wide;
    if (clip_product_rows(block->out.forward, rows, element_at(t, kept->attended, first * width), middle,
                          workspace->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        t->kernels->add(width, middle + r * width, x + r * width, block->out_bias.value);
    norm_rows(t, &block->ln_2, middle, rows, workspace->narrow);
    if (clip_product_rows(block->fc.forward, rows, workspace->narrow, wide, workspace->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        (t->shape.activation == CLIP_QUICK_GELU ? t->kernels->quick_gelu : t->kernels->gelu)(
            mlp, wide + r * mlp, block->fc_bias.value, clip_engine_precision(t->engine),
            element_at(t, hidden, r * mlp));
    if (clip_product_rows(block->proj.forward, rows, hidden, out, workspace->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        t->kernels->add(width, out + r * width, middle + r * width, block->proj_bias.value);
    return 0;
}

/* --- running ---
 *
 * The tasks of a run, in this order: step 0 of every piece of rows, which prepares the attention of block 0;
 * then for each block but the last the attention of every sequence, and the step of every piece that ends the
 * block and prepares the attention of the next; then the features of every CLIP_FEATURE_ROWS sequences. A
 * task waits for what it reads, not for all that comes before it, so threads are busy to the end. */

static size_t piece_rows(const struct clip_transformer *t, size_t piece)
{
    size_t rest = t->rows - piece * t->piece;
    return rest < t->piece ? rest : t->piece;
}

/* Step `step` of a piece: the end of block step - 1, and the beginning of block `step`. */
static int piece_task(struct clip_transformer *t, size_t step, size_t piece,
                      struct clip_block_workspace *workspace, struct clip_error *error)
{
    size_t width = t->shape.width, first = piece * t->piece, rows = piece_rows(t, piece);
    if (step > 0) {
        /* Where layers share their memory, rows of the last block's k and v, narrower than those before, come
         * to lie over rows of sequences that stand earlier, which must have been attended to as well. */
        size_t over = step + 1 == t->shape.layers ? piece * 2 / 3 : piece;
        size_t last = piece + 1 < t->pieces ? t->first_sequence[piece + 1] : t->count - 1;
        if (clip_crew_wait(&t->crew, t->attended, t->first_sequence[over], last, (unsigned)step) != 0)
            return -1;
        if (finish_block(t, step - 1, first, rows, t->layers[step - 1].x + first * width, workspace, error) !=
            0)
            return -1;
    }
    if (prepare_attention(t, step, piece, rows, workspace, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->steps[piece]);
    return 0;
}

static int wait_rows(struct clip_transformer *t, size_t first, size_t last, size_t steps)
{
    const struct clip_sequence *end = &t->sequences[last];
    return clip_crew_wait(&t->crew, t->steps, t->sequences[first].first / t->piece,
                          (end->first + end->length - 1) / t->piece, (unsigned)steps);
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
    size_t width = t->shape.width, n = t->count - first, last = t->shape.layers - 1;
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
    norm_rows(t, &block->ln_1, out, n, workspace->narrow);
    if (clip_product_rows(block->query.forward, n, workspace->narrow, kept->queries + first * width,
                          workspace->product, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        attend(t, last, first + r, workspace);
    if (finish_block(t, last, first, n, out, workspace, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        t->kernels->layer_norm(width, 1e-5f, out + r * width, t->norm.weight.value, t->norm.bias.value,
                               CLIP_PRECISION_F32, t->features + (first + r) * width);
    return 0;
}

static int task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_transformer *t = context;
    struct clip_block_workspace *workspace = &t->workspaces[thread];
    size_t round = t->pieces + t->count, step = i / round, at = i % round;
    if (step + 1 < t->shape.layers || at < t->pieces)
        return at < t->pieces ? piece_task(t, step, at, workspace, error)
                              : attention_task(t, step, at - t->pieces, workspace);
    return feature_task(t, (at - t->pieces) * CLIP_FEATURE_ROWS, workspace, error);
}

static void begin_run(struct clip_transformer *t, const struct clip_block_rows *layers,
                      const struct clip_sequence *sequences, size_t n)
{
    t->layers = layers;
    t->sequences = sequences;
    t->count = n;
    t->rows = sequences[n - 1].first + sequences[n - 1].length;
    t->pieces = (t->rows + t->piece - 1) / t->piece;
    memset(t->steps, 0, t->pieces * sizeof *t->steps);
    memset(t->attended, 0, n * sizeof *t->attended);
    for (size_t piece = 0, s = 0; piece < t->pieces; piece++) {
        while (sequences[s].first + sequences[s].length <= piece * t->piece)
            s++;
        t->first_sequence[piece] = s;
    }
}

int clip_transformer_forward(struct clip_transformer *t, struct clip_transformer_tape *tape, float *features,
                             struct clip_error *error)
{
    begin_run(t, tape->layers, tape->sequences, tape->count);
    t->features = features;
    size_t groups = (t->count + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS;
    size_t tasks = (t->shape.layers - 1) * (t->pieces + t->count) + t->pieces + groups;
    return clip_crew_run(&t->crew, t->pool, tasks, task, t, error);
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

enum kind { UPPER, FEATURES, WEIGHTS, ATTENTION, QUERIES, LOWER, NORMS };

/* Vectors of a slot of partial sums. */
enum { LN_1 = 0, LN_2 = 2, PARTIALS = 4 };

static size_t groups_of(size_t n)
{
    return (n + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS;
}

static float *partial(const struct clip_transformer *t, size_t layer, size_t slot, int vector)
{
    return t->back.partial + ((layer * t->back.slots + slot) * PARTIALS + (size_t)vector) * t->shape.width;
}

/* --- memory of the backward --- */

static size_t most_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The most scratch that any product of the backward needs. */
static size_t backward_scratch(const struct clip_transformer *t)
{
    const struct clip_outer *outers[] = {t->back.square, t->back.in, t->back.kv, t->back.fc, t->back.proj};
    size_t most = product_scratch(t);
    for (size_t i = 0; i < sizeof outers / sizeof *outers; i++)
        most = most_of(most, clip_outer_scratch(outers[i]));
    return most;
}

static struct clip_backward_rows place_rows(struct clip_transformer *t, size_t rows, int attention)
{
    size_t width = t->shape.width * t->element, mlp = t->shape.mlp * t->element;
    return (struct clip_backward_rows){
        .dout = clip_arena_take(&t->back.memory, rows, width),
        .hidden = clip_arena_take(&t->back.memory, rows, mlp),
        .dwide = clip_arena_take(&t->back.memory, rows, mlp),
        .ln_2 = clip_arena_take(&t->back.memory, rows, width),
        .dmiddle = clip_arena_take(&t->back.memory, rows, width),
        .dqkv = attention ? clip_arena_take(&t->back.memory, rows, 3 * width) : NULL,
        .ln_1 = attention ? clip_arena_take(&t->back.memory, rows, width) : NULL,
    };
}

static void place_workspaces(struct clip_transformer *t)
{
    const struct clip_transformer_shape *shape = &t->shape;
    size_t threads = (size_t)clip_pool_threads(t->pool), scratch = backward_scratch(t);
    size_t attention = clip_attention_backward_scratch(shape->longest, shape->width / shape->heads);
    t->back.workspaces = clip_arena_take(&t->back.memory, threads, sizeof *t->back.workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct clip_backward_workspace workspace = {
            clip_arena_take(&t->back.memory, attention, sizeof(float)),
            clip_arena_take(&t->back.memory, scratch, 1)};
        if (t->back.workspaces)
            t->back.workspaces[i] = workspace;
    }
}

/* Tasks of the gradients of a block's weights. */
static size_t weight_tasks(const struct clip_transformer *t, size_t layer)
{
    size_t in = layer + 1 == t->shape.layers
                    ? clip_outer_panels(t->back.kv) + clip_outer_panels(t->back.square)
                    : clip_outer_panels(t->back.in);
    return in + clip_outer_panels(t->back.square) + clip_outer_panels(t->back.fc) +
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
    size_t width = t->shape.width, n = t->batch, groups = groups_of(n);
    size_t rows = clip_transformer_rows(t, n * t->shape.longest), pieces = rows / t->piece;
    size_t features = groups * CLIP_FEATURE_ROWS;
    t->back.slots = most_of(pieces, groups);
    t->back.rows[0] = place_rows(t, rows, 1);
    t->back.rows[1] = place_rows(t, t->shape.layers > 1 ? rows : 0, 1);
    t->back.last = place_rows(t, features, 0);
    t->back.dqueries = clip_arena_take(memory, features, width * t->element);
    t->back.query_inputs = clip_arena_take(memory, features, width * t->element);
    t->back.dquery_inputs = clip_arena_take(memory, features, width * sizeof(float));
    t->back.dx = clip_arena_take(memory, rows, width * sizeof(float));
    t->back.dfeatures = clip_arena_take(memory, features, width * sizeof(float));
    t->back.dattended = clip_arena_take(memory, most_of(rows, features), width * sizeof(float));
    t->back.partial =
        clip_arena_take(memory, (t->shape.layers + 1) * t->back.slots, PARTIALS * width * sizeof(float));
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

static int is_last(const struct clip_transformer *t, size_t layer)
{
    return layer + 1 == t->shape.layers;
}

/* Blocks from the last one down to this: what counts must have reached once it is done. */
static unsigned turn_of(const struct clip_transformer *t, size_t layer)
{
    return (unsigned)(t->shape.layers - layer);
}

static struct clip_backward_rows *rows_of(struct clip_transformer *t, size_t layer)
{
    return &t->back.rows[layer % 2];
}

static void convert_rows(const struct clip_transformer *t, const float *x, size_t rows, void *out)
{
    t->kernels->convert(rows * t->shape.width, x, clip_engine_precision(t->engine), out);
}

/* dx[rows][width] += the gradient through a norm of x, given that of what the norm gave; its own parameters'
 * go to the slot. */
static void norm_backward(struct clip_transformer *t, const struct clip_norm *norm, const float *x,
                          const float *dy, size_t rows, float *dx, float *sums)
{
    size_t width = t->shape.width;
    memset(sums, 0, 2 * width * sizeof *sums);
    for (size_t r = 0; r < rows; r++)
        t->kernels->layer_norm_backward(width, 1e-5f, x + r * width, norm->weight.value, dy + r * width,
                                        dx + r * width, sums, sums + width);
}

/* From dx[rows][width], the gradient of what the block gave in rows [first, first + rows): dattended of them,
 * and in dx the gradient of the residual stream before the MLP. */
static int upper_half(struct clip_transformer *t, size_t layer, size_t first, size_t rows, size_t slot,
                      float *dx, int thread, struct clip_error *error)
{
    struct clip_block_workspace *workspace = &t->workspaces[thread];
    const struct clip_block *block = &t->blocks[layer];
    const struct clip_block *learner = &t->blocks[layer];
    const struct clip_block_rows *kept = &t->layers[layer];
    const struct clip_backward_rows *out = is_last(t, layer) ? &t->back.last : rows_of(t, layer);
    size_t width = t->shape.width, mlp = t->shape.mlp;
    void *scratch = t->back.workspaces[thread].scratch, *dwide = element_at(t, out->dwide, first * mlp);
    void *dmiddle = element_at(t, out->dmiddle, first * width);
    void *dout = element_at(t, out->dout, first * width);
    convert_rows(t, dx, rows, dout);
    if (clip_product_rows(learner->proj.backward, rows, dout, workspace->wide, scratch, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        (t->shape.activation == CLIP_QUICK_GELU ? t->kernels->quick_gelu_backward
                                                : t->kernels->gelu_backward)(
            mlp, kept->wide + (first + r) * mlp, block->fc_bias.value, workspace->wide + r * mlp,
            clip_engine_precision(t->engine), element_at(t, out->hidden, (first + r) * mlp),
            element_at(t, dwide, r * mlp));
    if (clip_product_rows(learner->fc.backward, rows, dwide, workspace->middle, scratch, error) != 0)
        return -1;
    const float *middle = kept->middle + first * width;
    norm_rows(t, &block->ln_2, middle, rows, element_at(t, out->ln_2, first * width));
    norm_backward(t, &block->ln_2, middle, workspace->middle, rows, dx, partial(t, layer, slot, LN_2));
    convert_rows(t, dx, rows, dmiddle);
    return clip_product_rows(learner->out.backward, rows, dmiddle, t->back.dattended + first * width, scratch,
                             error);
}

static int upper_task(struct clip_transformer *t, size_t layer, size_t piece, int thread,
                      struct clip_error *error)
{
    size_t first = piece * t->piece;
    /* What is written over must have been read: the weights' gradients two blocks above, and dattended. */
    if ((layer + 2 < t->shape.layers && clip_crew_wait(&t->crew, t->back.summed, layer + 2, layer + 2,
                                                       (unsigned)weight_tasks(t, layer + 2)) != 0) ||
        clip_crew_wait(&t->crew, t->back.attended, 0, t->count - 1, turn_of(t, layer) - 1) != 0 ||
        clip_crew_wait(&t->crew, t->back.lower, piece, piece, turn_of(t, layer) - 1) != 0 ||
        upper_half(t, layer, first, piece_rows(t, piece), piece, t->back.dx + first * t->shape.width, thread,
                   error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->back.upper[piece]);
    return 0;
}

static size_t group_size(const struct clip_transformer *t, size_t group)
{
    size_t rest = t->count - group * CLIP_FEATURE_ROWS;
    return rest < CLIP_FEATURE_ROWS ? rest : CLIP_FEATURE_ROWS;
}

/* The norm of the features and the upper half of the last block, of a group of sequences. */
static int features_task(struct clip_transformer *t, size_t group, int thread, struct clip_error *error)
{
    size_t width = t->shape.width, last = t->shape.layers - 1;
    size_t first = group * CLIP_FEATURE_ROWS, n = group_size(t, group);
    float *dx = t->back.dfeatures + first * width;
    memset(dx, 0, n * width * sizeof *dx);
    norm_backward(t, &t->norm, t->layers[last].out + first * width, t->back.gradients + first * width, n, dx,
                  partial(t, last + 1, group, LN_1));
    if (upper_half(t, last, first, n, group, dx, thread, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->back.groups[group]);
    return 0;
}

static void attention_backward(struct clip_transformer *t, size_t layer, size_t s, int thread)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    int last = is_last(t, layer);
    size_t width = t->shape.width, stride = last ? 2 * width : 3 * width;
    void *dqkv = element_at(t, rows_of(t, layer)->dqkv, sequence->first * stride);
    size_t row = last ? s : sequence->first;
    for (size_t h = 0; h < t->shape.heads; h++) {
        struct clip_attention forward = head_of(t, &t->layers[layer], layer, s, h);
        size_t at = h * forward.dim, k = last ? at : width + at;
        struct clip_attention_backward backward = {
            .forward = &forward,
            .dout = t->back.dattended + row * width + at,
            .dout_stride = width,
            .type = forward.type,
            .dq = last ? element_at(t, t->back.dqueries, s * width + at) : element_at(t, dqkv, at),
            .dk = element_at(t, dqkv, k),
            .dv = element_at(t, dqkv, width + k),
            .dq_stride = last ? width : stride,
            .dkv_stride = stride,
        };
        t->kernels->attention_backward(&backward, t->back.workspaces[thread].attention);
    }
}

/* The attention of a sequence, and the norm that its in-projection read. */
static int attention_back_task(struct clip_transformer *t, size_t layer, size_t s, int thread)
{
    const struct clip_sequence *sequence = &t->sequences[s];
    size_t width = t->shape.width, first = sequence->first, end = first + sequence->length - 1;
    void *ln_1 = element_at(t, rows_of(t, layer)->ln_1, first * width);
    int last = is_last(t, layer);
    size_t group = s / CLIP_FEATURE_ROWS;
    if ((last ? clip_crew_wait(&t->crew, t->back.groups, group, group, 1)
              : clip_crew_wait(&t->crew, t->back.upper, first / t->piece, end / t->piece,
                               turn_of(t, layer) - 1)) != 0)
        return -1;
    norm_rows(t, &t->blocks[layer].ln_1, t->layers[layer].x + first * width, sequence->length, ln_1);
    if (last)
        memcpy(element_at(t, t->back.query_inputs, s * width), element_at(t, ln_1, sequence->feature * width),
               width * t->element);
    attention_backward(t, layer, s, thread);
    clip_crew_count(&t->crew, &t->back.attended[s]);
    return 0;
}

/* Of the last block: the gradient of what the queries of a group were made of. */
static int queries_task(struct clip_transformer *t, size_t group, int thread, struct clip_error *error)
{
    size_t first = group * CLIP_FEATURE_ROWS, n = group_size(t, group), width = t->shape.width;
    if (clip_crew_wait(&t->crew, t->back.attended, first, first + n - 1, 1) != 0 ||
        clip_product_rows(
            t->blocks[t->shape.layers - 1].query.backward, n, element_at(t, t->back.dqueries, first * width),
            t->back.dquery_inputs + first * width, t->back.workspaces[thread].scratch, error) != 0)
        return -1;
    clip_crew_count(&t->crew, &t->back.queried[group]);
    return 0;
}

/* Of the last block, for a piece: dx, 0 but for the rows of features, and what queries add to dy. */
static void spread_features(struct clip_transformer *t, size_t piece, size_t last, float *dy)
{
    size_t width = t->shape.width, first = piece * t->piece, rows = piece_rows(t, piece);
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
    const struct clip_block *learner = &t->blocks[layer];
    size_t width = t->shape.width, first = piece * t->piece, rows = piece_rows(t, piece);
    size_t last = piece + 1 < t->pieces ? t->first_sequence[piece + 1] : t->count - 1;
    float *dy = t->workspaces[thread].middle;
    void *dqkv = element_at(t, rows_of(t, layer)->dqkv, first * clip_matrix_inputs(learner->in.backward));
    if (clip_crew_wait(&t->crew, t->back.attended, t->first_sequence[piece], last, turn_of(t, layer)) != 0 ||
        (is_last(t, layer) &&
         clip_crew_wait(&t->crew, t->back.queried, t->first_sequence[piece] / CLIP_FEATURE_ROWS,
                        last / CLIP_FEATURE_ROWS, 1) != 0) ||
        clip_product_rows(learner->in.backward, rows, dqkv, dy, t->back.workspaces[thread].scratch, error) !=
            0)
        return -1;
    if (is_last(t, layer))
        spread_features(t, piece, last, dy);
    norm_backward(t, &t->blocks[layer].ln_1, t->layers[layer].x + first * width, dy, rows,
                  t->back.dx + first * width, partial(t, layer, piece, LN_1));
    clip_crew_count(&t->crew, &t->back.lower[piece]);
    return 0;
}

/* --- gradients of parameters --- */

/* The gradient of a matrix and its bias: of da[rows][m] and t[rows][n]. */
struct part {
    const struct clip_outer *outer;
    const void *da, *x;
    size_t rows, m;
    float *weight, *bias; /* [m][n], [m] */
};

/* The matrices of a block; of the last block in five parts, in_proj's queries apart. */
enum { PARTS = 5 };

static size_t list_parts(struct clip_transformer *t, size_t layer, struct part parts[PARTS])
{
    const struct clip_block *l = &t->blocks[layer];
    const struct clip_backward_rows *all = rows_of(t, layer), *r = is_last(t, layer) ? &t->back.last : all;
    size_t width = t->shape.width, mlp = t->shape.mlp, rows = is_last(t, layer) ? t->count : t->rows;
    float *in_bias = l->in_bias.gradient;
    parts[0] =
        (struct part){t->back.proj, r->dout, r->hidden, rows, width, l->proj.gradient, l->proj_bias.gradient};
    parts[1] = (struct part){t->back.fc, r->dwide, r->ln_2, rows, mlp, l->fc.gradient, l->fc_bias.gradient};
    parts[2] = (struct part){t->back.square, r->dmiddle,      t->layers[layer].attended, rows,
                             width,          l->out.gradient, l->out_bias.gradient};
    if (!is_last(t, layer)) {
        parts[3] = (struct part){t->back.in, all->dqkv, all->ln_1, rows, 3 * width, l->in.gradient, in_bias};
        return 4;
    }
    parts[3] =
        (struct part){t->back.kv, all->dqkv, all->ln_1, t->rows, 2 * width, l->in.gradient, in_bias + width};
    parts[4] = (struct part){t->back.square,    t->back.dqueries, t->back.query_inputs, rows, width,
                             l->query.gradient, in_bias};
    return 5;
}

static int weights_task(struct clip_transformer *t, size_t layer, size_t index, size_t panel, int thread,
                        struct clip_error *error)
{
    struct part parts[PARTS];
    list_parts(t, layer, parts);
    const struct part *part = &parts[index];
    size_t first = clip_outer_first(part->outer, panel), end = clip_outer_first(part->outer, panel + 1);
    if (clip_crew_wait(&t->crew, t->back.attended, 0, t->count - 1, turn_of(t, layer)) != 0 ||
        clip_outer_add(part->outer, panel, part->rows, part->da, part->x, part->weight,
                       t->back.workspaces[thread].scratch, error) != 0)
        return -1;
    t->kernels->column_sums(part->rows, end - first, element_at(t, part->da, first), part->m,
                            clip_engine_precision(t->engine), part->bias + first);
    clip_crew_count(&t->crew, &t->back.summed[layer]);
    return 0;
}

/* Adds up the slots of a norm, in order. */
static void sum_norm(struct clip_transformer *t, size_t layer, int vector, size_t slots,
                     const struct clip_norm *norm)
{
    size_t width = t->shape.width;
    float *const gradients[] = {norm->weight.gradient, norm->bias.gradient};
    for (size_t slot = 0; slot < slots; slot++)
        for (int i = 0; i < 2; i++)
            t->kernels->sum(width, gradients[i], partial(t, layer, slot, vector + i), gradients[i]);
}

/* The norms of a block, or of the features (layer = layers). */
static int norms_task(struct clip_transformer *t, size_t layer)
{
    size_t layers = t->shape.layers, groups = groups_of(t->count);
    if (clip_crew_wait(&t->crew, t->back.lower, 0, t->pieces - 1, (unsigned)layers) != 0)
        return -1;
    if (layer == layers) {
        sum_norm(t, layer, LN_1, groups, &t->norm);
        return 0;
    }
    sum_norm(t, layer, LN_1, t->pieces, &t->blocks[layer].ln_1);
    sum_norm(t, layer, LN_2, is_last(t, layer) ? groups : t->pieces, &t->blocks[layer].ln_2);
    return 0;
}

/* --- running --- */

static size_t push(struct clip_transformer *t, size_t at, int kind, size_t layer, size_t part, size_t n)
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
        at = push(t, at, WEIGHTS, layer, i, clip_outer_panels(parts[i].outer));
    return at;
}

/* Writes down the tasks; returns how many. */
static size_t plan(struct clip_transformer *t)
{
    size_t layers = t->shape.layers, groups = groups_of(t->count), at = 0;
    for (size_t layer = layers; layer-- > 0;) {
        if (is_last(t, layer)) {
            at = push(t, at, FEATURES, layer, 0, groups);
        } else {
            at = push(t, at, UPPER, layer, 0, t->pieces);
            at = push_weights(t, at, layer + 1);
        }
        at = push(t, at, ATTENTION, layer, 0, t->count);
        if (is_last(t, layer))
            at = push(t, at, QUERIES, layer, 0, groups);
        at = push(t, at, LOWER, layer, 0, t->pieces);
    }
    at = push_weights(t, at, 0);
    for (size_t layer = 0; layer <= layers; layer++)
        at = push(t, at, NORMS, layer, 0, 1);
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
    case NORMS:
        return norms_task(t, task->layer);
    }
    return 0;
}

int clip_transformer_backward(struct clip_transformer *t, const struct clip_transformer_tape *tape,
                              const float *gradients, const float **dx, struct clip_error *error)
{
    begin_run(t, tape->layers, tape->sequences, tape->count);
    t->back.gradients = gradients;
    memset(t->back.upper, 0, t->pieces * sizeof *t->back.upper);
    memset(t->back.lower, 0, t->pieces * sizeof *t->back.lower);
    memset(t->back.groups, 0, groups_of(t->count) * sizeof *t->back.groups);
    memset(t->back.queried, 0, groups_of(t->count) * sizeof *t->back.queried);
    memset(t->back.attended, 0, t->count * sizeof *t->back.attended);
    memset(t->back.summed, 0, t->shape.layers * sizeof *t->back.summed);
    *dx = t->back.dx;
    return clip_crew_run(&t->crew, t->pool, plan(t), run_task, t, error);
}
