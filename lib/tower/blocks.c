#include "tower/blocks.h"

#include <stdint.h>
#include <string.h>

struct clip_transformer_shape clip_image_transformer_shape(const struct clip_arch *arch, size_t sequences)
{
    const struct clip_tower_arch *vision = &arch->vision;
    size_t grid = (size_t)(vision->image_size / vision->patch);
    return (struct clip_transformer_shape){
        .blocks = "visual.transformer.resblocks.",
        .norm = "visual.ln_post",
        .width = (size_t)vision->width,
        .heads = (size_t)vision->heads,
        .layers = (size_t)vision->layers,
        .mlp = (size_t)vision->mlp,
        .activation = vision->activation,
        .sequences = sequences,
        .longest = 1 + grid * grid,
    };
}

struct clip_transformer_shape clip_text_transformer_shape(const struct clip_arch *arch, size_t sequences)
{
    const struct clip_tower_arch *text = &arch->text;
    return (struct clip_transformer_shape){
        .blocks = "transformer.resblocks.",
        .norm = "ln_final",
        .width = (size_t)text->width,
        .heads = (size_t)text->heads,
        .layers = (size_t)text->layers,
        .mlp = (size_t)text->mlp,
        .activation = text->activation,
        .causal = 1,
        .sequences = sequences,
        .longest = (size_t)text->context,
    };
}

/* --- memory --- */

size_t clip_blocks_rows(const struct clip_engine *engine, size_t rows)
{
    size_t piece = clip_engine_rows(engine);
    return rows > SIZE_MAX - piece ? 0 : (rows + piece - 1) / piece * piece;
}

/* The most scratch that any product here needs. */
static size_t product_scratch(const struct clip_blocks *b)
{
    size_t most = 0;
    for (size_t i = 0; i < b->shape.layers; i++) {
        const struct clip_block *block = &b->blocks[i];
        const struct clip_matrix *all[] = {block->in, block->query, block->out, block->fc, block->proj};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            if (all[j] && clip_product_scratch(all[j]) > most)
                most = clip_product_scratch(all[j]);
    }
    return most;
}

static void place_desk(struct clip_blocks *b, struct clip_block_desk *out)
{
    size_t width = b->shape.width, mlp = b->shape.mlp;
    struct clip_block_desk desk = {
        .narrow = clip_arena_take(&b->arena, b->piece * width, b->element),
        .middle = clip_arena_take(&b->arena, b->piece * width, sizeof(float)),
        .wide = clip_arena_take(&b->arena, b->piece * mlp, sizeof(float)),
        .hidden = clip_arena_take(&b->arena, b->piece * mlp, b->element),
        .product = clip_arena_take(&b->arena, product_scratch(b), 1),
        .attention = clip_arena_take(
            &b->arena, clip_attention_scratch(b->shape.longest, width / b->shape.heads), sizeof(float)),
    };
    if (out)
        *out = desk;
}

static void place_run(void *context)
{
    struct clip_blocks *b = context;
    b->steps = clip_arena_take(&b->arena, b->pieces, sizeof *b->steps);
    b->first_sequence = clip_arena_take(&b->arena, b->pieces, sizeof *b->first_sequence);
    b->heard = clip_arena_take(&b->arena, b->shape.sequences, sizeof *b->heard);
    size_t threads = (size_t)clip_pool_threads(b->pool);
    b->desks = clip_arena_take(&b->arena, threads, sizeof *b->desks);
    for (size_t i = 0; i < threads; i++)
        place_desk(b, b->desks ? &b->desks[i] : NULL);
}

void clip_blocks_init(struct clip_blocks *b, struct clip_engine *engine, const struct clip_kernels *kernels,
                      struct clip_pool *pool, const struct clip_transformer_shape *shape)
{
    *b = (struct clip_blocks){
        .shape = *shape,
        .engine = engine,
        .kernels = kernels,
        .pool = pool,
        .piece = clip_engine_rows(engine),
        .element = clip_engine_element(engine),
    };
    clip_crew_init(&b->crew);
}

int clip_blocks_allocate(struct clip_blocks *b, struct clip_error *error)
{
    size_t rows;
    if (__builtin_mul_overflow(b->shape.sequences, b->shape.longest, &rows) ||
        (b->pieces = clip_blocks_rows(b->engine, rows) / b->piece) == 0)
        return clip_fail_memory(error, "a batch");
    return clip_arena_build(&b->arena, "a batch", place_run, b, error);
}

void clip_blocks_destroy(struct clip_blocks *b)
{
    clip_arena_free(&b->arena);
    clip_crew_destroy(&b->crew);
}

/* --- parts of a block --- */

void *clip_blocks_at(const struct clip_blocks *b, const void *x, size_t n)
{
    return (char *)x + n * b->element;
}

void clip_blocks_norm(const struct clip_blocks *b, const struct clip_norm *norm, const float *x, size_t rows,
                      void *out)
{
    size_t width = b->shape.width;
    for (size_t r = 0; r < rows; r++)
        b->kernels->layer_norm(width, x + r * width, norm->weight, norm->bias,
                               clip_engine_precision(b->engine), clip_blocks_at(b, out, r * width));
}

struct clip_attention clip_blocks_attention(const struct clip_blocks *b, const struct clip_block_rows *rows,
                                            size_t layer, size_t s, size_t h)
{
    const struct clip_sequence *sequence = &b->sequences[s];
    int last = layer + 1 == b->shape.layers;
    size_t width = b->shape.width, dim = width / b->shape.heads, at = h * dim;
    size_t stride = last ? 2 * width : 3 * width;
    const float *qkv = rows->qkv + sequence->first * stride + at, *k = last ? qkv : qkv + width;
    const float *bias = b->blocks[layer].in_bias + at;
    return (struct clip_attention){
        .queries = last ? 1 : sequence->length,
        .keys = sequence->length,
        .dim = dim,
        .causal = b->shape.causal && !last, /* the feature's row sees all */
        .q = last ? rows->queries + s * width + at : qkv,
        .k = k,
        .v = k + width,
        .q_stride = last ? width : stride,
        .kv_stride = stride,
        .q_bias = bias,
        .k_bias = bias + width,
        .v_bias = bias + 2 * width,
        .type = clip_engine_precision(b->engine),
        .out = clip_blocks_at(b, rows->attended, (last ? s : sequence->first) * width + at),
        .out_stride = width,
    };
}

static void attend(struct clip_blocks *b, size_t layer, size_t s, struct clip_block_desk *desk)
{
    for (size_t h = 0; h < b->shape.heads; h++) {
        struct clip_attention attention = clip_blocks_attention(b, &b->layers[layer], layer, s, h);
        b->kernels->attention(&attention, desk->attention);
    }
}

/* The norm of `rows` rows of the piece for a block's attention, and its in-projection into qkv. */
static int prepare_attention(struct clip_blocks *b, size_t layer, size_t piece, size_t rows,
                             struct clip_block_desk *desk, struct clip_error *error)
{
    size_t first = piece * b->piece;
    const struct clip_block *block = &b->blocks[layer];
    clip_blocks_norm(b, &block->ln_1, b->layers[layer].x + first * b->shape.width, rows, desk->narrow);
    return clip_product_rows(block->in, rows, desk->narrow,
                             b->layers[layer].qkv + first * clip_matrix_outputs(block->in), desk->product,
                             error);
}

/* The rest of a block for `rows` rows from row `first` of what it leaves, from x[rows][width]:
 * middle = x + out_proj(attended), out = middle + mlp(ln_2(middle)). */
static int finish_block(struct clip_blocks *b, size_t layer, size_t first, size_t rows, const float *x,
                        struct clip_block_desk *desk, struct clip_error *error)
{
    size_t width = b->shape.width, mlp = b->shape.mlp;
    const struct clip_block *block = &b->blocks[layer];
    const struct clip_block_rows *kept = &b->layers[layer];
    float *middle = kept->middle ? kept->middle + first * width : desk->middle;
    float *wide = kept->wide ? kept->wide + first * mlp : desk->wide, *out = kept->out + first * width;
    void *hidden = kept->wide || b->element != sizeof(float) ? desk->hidden : wide;
    if (clip_product_rows(block->out, rows, clip_blocks_at(b, kept->attended, first * width), middle,
                          desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        b->kernels->add(width, middle + r * width, x + r * width, block->out_bias);
    clip_blocks_norm(b, &block->ln_2, middle, rows, desk->narrow);
    if (clip_product_rows(block->fc, rows, desk->narrow, wide, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        (b->shape.activation == CLIP_QUICK_GELU ? b->kernels->quick_gelu : b->kernels->gelu)(
            mlp, wide + r * mlp, block->fc_bias, clip_engine_precision(b->engine),
            clip_blocks_at(b, hidden, r * mlp));
    if (clip_product_rows(block->proj, rows, hidden, out, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        b->kernels->add(width, out + r * width, middle + r * width, block->proj_bias);
    return 0;
}

/* --- running ---
 *
 * The tasks of a run, in this order: step 0 of every piece of rows, which prepares the attention of block 0;
 * then for each block but the last the attention of every sequence, and the step of every piece that ends the
 * block and prepares the attention of the next; then the features of every CLIP_FEATURE_ROWS sequences. A
 * task waits for what it reads, not for all that comes before it, so threads are busy to the end. */

size_t clip_blocks_piece(const struct clip_blocks *b, size_t piece)
{
    size_t rest = b->rows - piece * b->piece;
    return rest < b->piece ? rest : b->piece;
}

/* Step `step` of a piece: the end of block step - 1, and the beginning of block `step`. */
static int piece_task(struct clip_blocks *b, size_t step, size_t piece, struct clip_block_desk *desk,
                      struct clip_error *error)
{
    size_t width = b->shape.width, first = piece * b->piece, rows = clip_blocks_piece(b, piece);
    if (step > 0) {
        /* Where layers share their memory, rows of the last block's k and v, narrower than those before, come
         * to lie over rows of sequences that stand earlier, which must have been attended to as well. */
        size_t over = step + 1 == b->shape.layers ? piece * 2 / 3 : piece;
        size_t last = piece + 1 < b->pieces ? b->first_sequence[piece + 1] : b->count - 1;
        if (clip_crew_wait(&b->crew, b->heard, b->first_sequence[over], last, (unsigned)step) != 0)
            return -1;
        if (finish_block(b, step - 1, first, rows, b->layers[step - 1].x + first * width, desk, error) != 0)
            return -1;
    }
    if (prepare_attention(b, step, piece, rows, desk, error) != 0)
        return -1;
    clip_crew_count(&b->crew, &b->steps[piece]);
    return 0;
}

int clip_blocks_wait_rows(struct clip_blocks *b, size_t first, size_t last, size_t steps)
{
    const struct clip_sequence *end = &b->sequences[last];
    return clip_crew_wait(&b->crew, b->steps, b->sequences[first].first / b->piece,
                          (end->first + end->length - 1) / b->piece, (unsigned)steps);
}

static int attention_task(struct clip_blocks *b, size_t layer, size_t s, struct clip_block_desk *desk)
{
    if (clip_blocks_wait_rows(b, s, s, layer + 1) != 0)
        return -1;
    attend(b, layer, s, desk);
    clip_crew_count(&b->crew, &b->heard[s]);
    return 0;
}

/* The features of sequences [first, first + CLIP_FEATURE_ROWS): the last block for one row of each. */
static int feature_task(struct clip_blocks *b, size_t first, struct clip_block_desk *desk,
                        struct clip_error *error)
{
    size_t width = b->shape.width, n = b->count - first, last = b->shape.layers - 1;
    const struct clip_block *block = &b->blocks[last];
    const struct clip_block_rows *kept = &b->layers[last];
    float *out = kept->out + first * width;
    n = n < CLIP_FEATURE_ROWS ? n : CLIP_FEATURE_ROWS;
    if (clip_blocks_wait_rows(b, first, first + n - 1, b->shape.layers) != 0)
        return -1;
    for (size_t r = 0; r < n; r++) {
        const struct clip_sequence *sequence = &b->sequences[first + r];
        memcpy(out + r * width, kept->x + (sequence->first + sequence->feature) * width, width * sizeof *out);
    }
    clip_blocks_norm(b, &block->ln_1, out, n, desk->narrow);
    if (clip_product_rows(block->query, n, desk->narrow, kept->queries + first * width, desk->product,
                          error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        attend(b, last, first + r, desk);
    if (finish_block(b, last, first, n, out, desk, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        b->kernels->layer_norm(width, out + r * width, b->norm.weight, b->norm.bias, CLIP_PRECISION_F32,
                               b->features + (first + r) * width);
    return 0;
}

static int task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_blocks *b = context;
    struct clip_block_desk *desk = &b->desks[thread];
    size_t round = b->pieces + b->count, step = i / round, at = i % round;
    if (step + 1 < b->shape.layers || at < b->pieces)
        return at < b->pieces ? piece_task(b, step, at, desk, error)
                              : attention_task(b, step, at - b->pieces, desk);
    return feature_task(b, (at - b->pieces) * CLIP_FEATURE_ROWS, desk, error);
}

void clip_blocks_begin(struct clip_blocks *b, const struct clip_block_rows *layers,
                       const struct clip_sequence *sequences, size_t n)
{
    b->layers = layers;
    b->sequences = sequences;
    b->count = n;
    b->rows = sequences[n - 1].first + sequences[n - 1].length;
    b->pieces = (b->rows + b->piece - 1) / b->piece;
    memset(b->steps, 0, b->pieces * sizeof *b->steps);
    memset(b->heard, 0, n * sizeof *b->heard);
    for (size_t piece = 0, s = 0; piece < b->pieces; piece++) {
        while (sequences[s].first + sequences[s].length <= piece * b->piece)
            s++;
        b->first_sequence[piece] = s;
    }
}

int clip_blocks_run(struct clip_blocks *b, const struct clip_block_rows *layers,
                    const struct clip_sequence *sequences, size_t n, float *features,
                    struct clip_error *error)
{
    clip_blocks_begin(b, layers, sequences, n);
    b->features = features;
    size_t groups = (n + CLIP_FEATURE_ROWS - 1) / CLIP_FEATURE_ROWS;
    size_t tasks = (b->shape.layers - 1) * (b->pieces + n) + b->pieces + groups;
    return clip_crew_run(&b->crew, b->pool, tasks, task, b, error);
}
