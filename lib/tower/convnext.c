/* ConvNeXt: a stem of patches and a norm; four stages of blocks, each but the first after a norm and a
 * convolution of side and stride 2; the mean of all places and a norm.
 *
 *     x += gamma fc2(gelu(fc1(norm(conv(x))))), conv depthwise
 *
 * Between layers pictures are [side][side][channels], padded with the zeros that the depthwise convolutions
 * read. All other layers act on single pixels, which go through the products in pieces: in strips of STRIP
 * columns, row by row, so that a piece is nearly square and its convolution reads few pixels around it. */
#include "base/arena.h"
#include "base/crew.h"
#include "math/depthwise.h"
#include "math/kernels.h"
#include "math/window.h"
#include "model/kind.h"
#include "tower/patches.h"
#include "tower/tower.h"

#include <stdlib.h>
#include <string.h>

/* Pictures that inference takes through the layers together: few enough for memory, enough to fill the pieces
 * of the last stage. */
enum { STAGES = 4, STRIP = 8, TOGETHER = 16 };

struct block {
    struct clip_values conv, conv_bias, gamma;
    float *packed, *flipped; /* conv's weights; flipped: where it learns */
    struct clip_norm norm;
    struct clip_dense fc1, fc2; /* to 4 channels; back */
};

struct stage {
    size_t side, channels, pixels;
    size_t piece;  /* pixels of a product */
    size_t framed; /* floats of a picture */
    size_t first;  /* its first block, of all */
    size_t count;  /* blocks */
    /* How the stage begins: the first with the patches' convolution and a norm, the others with a norm and a
     * convolution. */
    struct clip_dense join;
    struct clip_norm norm;
    size_t inputs;                          /* of join */
    struct clip_outer *of_join, *fc1, *fc2; /* gradients; NULL where nothing learns */
};

/* What a run keeps of a block, or (x alone) of the end of a stage: pixels in the order of pieces, whole
 * pieces. Without a backward, the x's share two buffers and the rest is NULL. */
struct kept {
    float *x;     /* [n] framed pictures: its input */
    float *depth; /* [pixels][channels]: after conv */
    float *wide;  /* [pixels][4 channels]: after fc1, without bias */
    float *out;   /* [pixels][channels]: after fc2, without bias */
};

/* What all of a run leaves. */
struct run {
    struct kept *kept; /* [blocks + STAGES]: those of stage s begin at first + s */
    float *stem;       /* [pixels][channels] of stage 0: before the norm; NULL: not kept */
    float *mean;       /* [n][channels] of the last stage */
};

struct workspace {
    float *row;    /* [the most inputs of join] */
    float *four;   /* [4][channels]: pixels under a join */
    float *depth;  /* [piece][channels] */
    void *narrow;  /* [piece][the most inputs of join, or channels] elements */
    float *wide;   /* [piece][4 channels] */
    void *hidden;  /* the same as elements; wide itself where that may be */
    float *out;    /* [piece][channels] */
    void *scratch; /* of products and gradients */
};

/* The backward's memory. Elements are those of products' operands. */
struct back {
    float *dx[2];   /* [pixels][channels]: gradients of the residual stream; two take turns at joins */
    void *dout;     /* [pixels][channels] elements: of what fc2 or join gave */
    void *hidden;   /* [pixels][4 channels] elements: what fc2 read; what join read */
    void *dwide;    /* [pixels][4 channels] elements: of what fc1 gave */
    void *normed;   /* [pixels][channels] elements: what fc1 read */
    float *dconv;   /* [n] framed pictures: of what conv gave */
    float *packed;  /* conv's gradient */
    float *partial; /* [pieces, or n][3][channels]: of vectors */
};

struct convnext {
    struct clip_tower base;
    const struct clip_kernels *kernels;
    const struct clip_depthwise_kernels *depthwise;
    struct clip_engine *engine;
    struct clip_pool *pool;
    const struct clip_tower_setup *setup; /* while it is opened */
    enum clip_precision type;             /* of products' inputs */
    int learns;
    float epsilon;
    size_t kernel, frame; /* side of conv, and zeros around pictures on each side */
    size_t most;          /* pictures of a run */
    size_t element;
    struct clip_patches patches;
    struct stage stages[STAGES];
    struct block *blocks; /* [count], of all stages */
    size_t count;
    struct clip_norm norm; /* of the features */
    float *zeros;          /* [the most channels] */
    struct clip_arena arena;
    struct workspace *workspaces; /* [threads] */
    struct run buffers;           /* of a tower that does not learn */
    struct back back;
    struct clip_crew crew;
    /* the run that is under way */
    const union clip_item *items;
    size_t n;
    struct run *run;
    const struct stage *stage;
    const struct block *block;
    const struct kept *kept;
    float *to;      /* framed pictures of the stage: what is written */
    float *dx;      /* of back.dx, the gradient of the residual stream */
    float *dbefore; /* the other one, of the stage before */
    const float *gradients;
    float *features;
};

struct convnext_tape {
    struct clip_tape base;
    struct clip_arena memory;
    size_t count;
    union clip_item *items; /* [batch] */
    struct run run;
};

/* --- pixels --- */

/* The place of a pixel in its picture, and how many columns of its strip's row follow, itself included. */
struct place {
    size_t row, column, rest;
};

static struct place place_of(const struct stage *stage, size_t pixel)
{
    size_t strip = pixel / (STRIP * stage->side), left = stage->side - strip * STRIP;
    size_t wide = left < STRIP ? left : STRIP;
    pixel -= strip * STRIP * stage->side;
    return (struct place){pixel / wide, strip * STRIP + pixel % wide, wide - pixel % wide};
}

/* The other way round. */
static size_t pixel_at(const struct stage *stage, size_t row, size_t column)
{
    size_t first = column / STRIP * STRIP, left = stage->side - first, wide = left < STRIP ? left : STRIP;
    return first * stage->side + row * wide + column - first;
}

/* Of framed pictures. */
static float *framed_pixel(const struct convnext *net, const struct stage *stage, float *x, size_t picture,
                           size_t row, size_t column)
{
    size_t across = stage->side + 2 * net->frame;
    return x + picture * stage->framed +
           ((row + net->frame) * across + column + net->frame) * stage->channels;
}

/* The same for a pixel counted through all pictures. */
static float *pixel_of(const struct convnext *net, const struct stage *stage, float *x, size_t pixel)
{
    struct place place = place_of(stage, pixel % stage->pixels);
    return framed_pixel(net, stage, x, pixel / stage->pixels, place.row, place.column);
}

static size_t pieces_of(const struct stage *stage, size_t n)
{
    return (n * stage->pixels + stage->piece - 1) / stage->piece;
}

/* The number of pixels in a piece of the run. */
static size_t piece_rows(const struct convnext *net, const struct stage *stage, size_t first)
{
    size_t rest = net->n * stage->pixels - first;
    return rest < stage->piece ? rest : stage->piece;
}

/* What the run keeps of block i of a stage, or, for i = its number of blocks, of its end. */
static struct kept *kept_of(const struct convnext *net, const struct stage *stage, size_t i)
{
    return &net->run->kept[stage->first + (size_t)(stage - net->stages) + i];
}

/* out[rows][channels] = the convolution of pixels [first, first + rows) of framed pictures x. */
static void convolve(const struct convnext *net, const struct stage *stage, const float *x, const float *w,
                     const float *bias, size_t first, size_t rows, float *out)
{
    const struct clip_depthwise d = {stage->side, stage->side, stage->channels, net->kernel, 1};
    for (size_t done = 0, count; done < rows; done += count) {
        size_t picture = (first + done) / stage->pixels, pixel = (first + done) % stage->pixels;
        struct place place = place_of(stage, pixel);
        size_t left = rows - done, wide = left < place.rest ? left : place.rest, tall = 1;
        if (left > place.rest && place.column % STRIP == 0)
            tall = left / wide < stage->side - place.row ? left / wide : stage->side - place.row;
        count = wide * tall;
        net->depthwise->run(&d, x + picture * stage->framed, w, bias, place.row, place.column, tall, wide,
                            out + done * stage->channels);
    }
}

/* --- forward --- */

/* Zeros around picture i of the stage's x. */
static void clear_frame(const struct convnext *net, const struct stage *stage, float *x)
{
    size_t across = stage->side + 2 * net->frame, row = across * stage->channels;
    size_t side = net->frame * stage->channels;
    memset(x, 0, net->frame * row * sizeof *x);
    for (size_t i = net->frame; i < net->frame + stage->side; i++) {
        memset(x + i * row, 0, side * sizeof *x);
        memset(x + (i + 1) * row - side, 0, side * sizeof *x);
    }
    memset(x + (across - net->frame) * row, 0, net->frame * row * sizeof *x);
}

static void clear_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct convnext *net = context;
    clear_frame(net, net->stage, net->to + i * net->stage->framed);
}

/* out[rows] = x Wᵀ of a layer, x in elements. */
static int multiply(const struct clip_dense *linear, size_t rows, const void *x, float *out,
                    const struct workspace *workspace, struct clip_error *error)
{
    return clip_product_rows(linear->weight.forward, rows, x, out, workspace->scratch, error);
}

static void normalize(const struct convnext *net, const struct clip_norm *norm, size_t channels,
                      const float *x, enum clip_precision type, void *out)
{
    net->kernels->layer_norm(channels, net->epsilon, x, norm->weight.value, norm->bias.value, type, out);
}

/* Copies the patch under a pixel of the first stage, as elements. */
static void cut_patch(const struct convnext *net, size_t pixel, const struct workspace *workspace, void *out)
{
    const struct stage *stage = net->stages;
    struct place place = place_of(stage, pixel % stage->pixels);
    clip_patch_cut(&net->patches, &net->items[pixel / stage->pixels].image,
                   place.row * stage->side + place.column, workspace->row);
    net->kernels->convert(stage->inputs, workspace->row, net->type, out);
}

/* The pixel (2 row + tap / 2, 2 column + tap % 2) in the padded pictures x of the previous stage. */
static float *patch_pixel(const struct convnext *net, const struct stage *stage, float *x, size_t pixel,
                          size_t tap)
{
    struct place place = place_of(stage, pixel % stage->pixels);
    return framed_pixel(net, stage - 1, x, pixel / stage->pixels, 2 * place.row + tap / 2,
                        2 * place.column + tap % 2);
}

/* Interleaves a join's four pixels into the order of windows. */
static struct clip_window join_window(const struct stage *stage)
{
    size_t channels = stage[-1].channels;
    return (struct clip_window){2, 2, 2 * channels, channels, channels, 2, 2, 0};
}

/* A join's input at a pixel: the four normalised pixels under it, as elements. */
static void cut_join(const struct convnext *net, const struct stage *stage, float *x, size_t pixel,
                     const struct workspace *workspace, void *out)
{
    const struct clip_window window = join_window(stage);
    for (size_t tap = 0; tap < 4; tap++)
        normalize(net, &stage->norm, window.channels, patch_pixel(net, stage, x, pixel, tap),
                  CLIP_PRECISION_F32, workspace->four + tap * window.channels);
    clip_window_cut(&window, workspace->four, 0, workspace->row);
    net->kernels->convert(stage->inputs, workspace->row, net->type, out);
}

/* A task: a piece of the first stage's pixels, from the pictures. */
static int stem_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct stage *stage = net->stage;
    size_t first = piece * net->stage->piece, rows = piece_rows(net, stage, first),
           channels = stage->channels;
    float *out = net->run->stem ? net->run->stem + first * channels : workspace->out;
    for (size_t r = 0; r < rows; r++)
        cut_patch(net, first + r, workspace, (char *)workspace->narrow + r * stage->inputs * net->element);
    if (multiply(&stage->join, rows, workspace->narrow, out, workspace, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++, out += channels) {
        net->kernels->sum(channels, out, stage->join.bias.value, out);
        normalize(net, &stage->norm, channels, out, CLIP_PRECISION_F32,
                  pixel_of(net, stage, net->to, first + r));
    }
    return 0;
}

/* The same for another stage, from the pixels of the previous one. */
static int join_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct stage *stage = net->stage;
    size_t first = piece * net->stage->piece, rows = piece_rows(net, stage, first),
           channels = stage->channels;
    for (size_t r = 0; r < rows; r++)
        cut_join(net, stage, net->kept->x, first + r, workspace,
                 (char *)workspace->narrow + r * stage->inputs * net->element);
    if (multiply(&stage->join, rows, workspace->narrow, workspace->out, workspace, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        net->kernels->sum(channels, workspace->out + r * channels, stage->join.bias.value,
                          pixel_of(net, stage, net->to, first + r));
    return 0;
}

/* A task: runs a piece of pixels through a block. */
static int block_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct block *block = net->block;
    const struct kept *kept = net->kept;
    size_t first = piece * net->stage->piece, rows = piece_rows(net, net->stage, first);
    size_t channels = net->stage->channels, hidden = 4 * channels;
    float *depth = kept->depth ? kept->depth + first * channels : workspace->depth;
    float *wide = kept->wide ? kept->wide + first * hidden : workspace->wide;
    float *out = kept->out ? kept->out + first * channels : workspace->out;
    convolve(net, net->stage, kept->x, block->packed, block->conv_bias.value, first, rows, depth);
    for (size_t r = 0; r < rows; r++)
        normalize(net, &block->norm, channels, depth + r * channels, net->type,
                  (char *)workspace->narrow + r * channels * net->element);
    if (multiply(&block->fc1, rows, workspace->narrow, wide, workspace, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        net->kernels->activation[CLIP_GELU](hidden, wide + r * hidden, block->fc1.bias.value, net->type,
                                            (char *)workspace->hidden + r * hidden * net->element);
    if (multiply(&block->fc2, rows, workspace->hidden, out, workspace, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++) {
        net->kernels->multiply(channels, block->gamma.value, out + r * channels, block->fc2.bias.value,
                               CLIP_PRECISION_F32, workspace->four);
        net->kernels->sum(channels, pixel_of(net, net->stage, kept->x, first + r), workspace->four,
                          pixel_of(net, net->stage, net->to, first + r));
    }
    return 0;
}

/* A task: the features of a picture. */
static void features_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct convnext *net = context;
    const struct stage *stage = net->stage;
    float *mean = net->run->mean + i * stage->channels;
    memset(mean, 0, stage->channels * sizeof *mean);
    for (size_t row = 0; row < stage->side; row++)
        net->kernels->column_sums(stage->side, stage->channels,
                                  framed_pixel(net, stage, net->kept->x, i, row, 0), stage->channels,
                                  CLIP_PRECISION_F32, mean);
    for (size_t c = 0; c < stage->channels; c++)
        mean[c] /= (float)stage->pixels;
    normalize(net, &net->norm, stage->channels, mean, CLIP_PRECISION_F32,
              net->features + i * stage->channels);
}

/* The next output: x number `i` of the stage. Where buffers are shared, the first two have another
 * stage's pixels around them. */
static void write_to(struct convnext *net, const struct stage *stage, size_t i)
{
    net->stage = stage;
    net->to = kept_of(net, stage, i)->x;
    if (!net->learns && i < 2)
        clip_pool_run(net->pool, net->n, clear_task, net);
}

static int run_stage(struct convnext *net, const struct stage *stage, struct clip_error *error)
{
    size_t pieces = pieces_of(stage, net->n);
    write_to(net, stage, 0);
    if (clip_crew_run(&net->crew, net->pool, pieces, stage == net->stages ? stem_task : join_task, net,
                      error) != 0)
        return -1;
    for (size_t i = 0; i < stage->count; i++) {
        net->block = &net->blocks[stage->first + i];
        net->kept = kept_of(net, stage, i);
        write_to(net, stage, i + 1);
        if (clip_crew_run(&net->crew, net->pool, pieces, block_task, net, error) != 0)
            return -1;
    }
    net->kept = kept_of(net, stage, stage->count);
    return 0;
}

static int run_all(struct convnext *net, const union clip_item *items, size_t n, struct run *run,
                   float *features, struct clip_error *error)
{
    net->items = items;
    net->n = n;
    net->run = run;
    net->features = features;
    for (const struct stage *stage = net->stages; stage < net->stages + STAGES; stage++)
        if (run_stage(net, stage, error) != 0)
            return -1;
    clip_pool_run(net->pool, n, features_task, net);
    return 0;
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *features, struct clip_error *error)
{
    (void)again;
    struct convnext *net = (struct convnext *)base;
    struct convnext_tape *tape = (struct convnext_tape *)to;
    if (tape) {
        tape->count = n;
        memcpy(tape->items, items, n * sizeof *items);
        return run_all(net, items, n, &tape->run, features, error);
    }
    for (size_t i = 0; i < n; i += net->most)
        if (run_all(net, items + i, n - i < net->most ? n - i : net->most, &net->buffers,
                    features + i * base->width, error) != 0)
            return -1;
    return 0;
}

/* --- backward --- */

/* Zeroed room for what a piece, or a picture, adds to the gradients of vectors. */
static float *partial_sums(const struct convnext *net, size_t i, size_t floats)
{
    float *sums = net->back.partial + i * floats;
    memset(sums, 0, floats * sizeof *sums);
    return sums;
}

/* Adds columns from `first` on of `count` such rooms to the gradient. */
static void add_partial(const struct convnext *net, size_t count, size_t floats, size_t first, size_t n,
                        float *gradient)
{
    net->kernels->column_sums(count, n, net->back.partial + first, floats, CLIP_PRECISION_F32, gradient);
}

static void *elements(const struct convnext *net, void *x, size_t i)
{
    return (char *)x + i * net->element;
}

/* A task: the gradient of a picture's pixels after the last block. */
static void features_back_task(void *context, size_t i, int thread)
{
    const struct convnext *net = context;
    const struct stage *stage = net->stage;
    size_t channels = stage->channels;
    float *sums = partial_sums(net, i, 2 * channels), *dmean = net->workspaces[thread].four;
    float *dx = net->dx + i * stage->pixels * channels;
    memset(dmean, 0, channels * sizeof *dmean);
    net->kernels->layer_norm_backward(channels, net->epsilon, net->run->mean + i * channels,
                                      net->norm.weight.value, net->gradients + i * channels, dmean, sums,
                                      sums + channels);
    for (size_t c = 0; c < channels; c++)
        dmean[c] /= (float)stage->pixels;
    for (size_t pixel = 0; pixel < stage->pixels; pixel++)
        memcpy(dx + pixel * channels, dmean, channels * sizeof *dx);
}

/* The gradients of fc2's input and output: of a piece's rows of the residual stream. */
static int fc2_back(const struct convnext *net, size_t first, size_t rows, const struct workspace *workspace,
                    float *dgamma, struct clip_error *error)
{
    const struct block *block = net->block;
    size_t channels = net->stage->channels, hidden = 4 * channels;
    for (size_t r = 0; r < rows; r++) {
        const float *dx = net->dx + (first + r) * channels;
        net->kernels->multiply(channels, dx, net->kept->out + (first + r) * channels, block->fc2.bias.value,
                               CLIP_PRECISION_F32, workspace->out + r * channels);
        net->kernels->multiply(channels, dx, block->gamma.value, net->zeros, net->type,
                               elements(net, net->back.dout, (first + r) * channels));
    }
    net->kernels->column_sums(rows, channels, workspace->out, channels, CLIP_PRECISION_F32, dgamma);
    if (clip_product_rows(block->fc2.weight.backward, rows, elements(net, net->back.dout, first * channels),
                          workspace->wide, workspace->scratch, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++) {
        size_t row = (first + r) * hidden;
        net->kernels->activation_backward[CLIP_GELU](
            hidden, net->kept->wide + row, block->fc1.bias.value, workspace->wide + r * hidden, net->type,
            elements(net, net->back.hidden, row), elements(net, net->back.dwide, row));
    }
    return 0;
}

/* A task: the backward of a piece of a block, from its end to conv's output. */
static int block_back_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct block *block = net->block;
    size_t first = piece * net->stage->piece, rows = piece_rows(net, net->stage, first);
    size_t channels = net->stage->channels;
    float *sums = partial_sums(net, piece, 3 * channels);
    if (fc2_back(net, first, rows, workspace, sums, error) != 0 ||
        clip_product_rows(block->fc1.weight.backward, rows,
                          elements(net, net->back.dwide, first * 4 * channels), workspace->out,
                          workspace->scratch, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++) {
        const float *depth = net->kept->depth + (first + r) * channels;
        float *dconv = pixel_of(net, net->stage, net->back.dconv, first + r);
        memset(dconv, 0, channels * sizeof *dconv);
        normalize(net, &block->norm, channels, depth, net->type,
                  elements(net, net->back.normed, (first + r) * channels));
        net->kernels->layer_norm_backward(channels, net->epsilon, depth, block->norm.weight.value,
                                          workspace->out + r * channels, dconv, sums + channels,
                                          sums + 2 * channels);
    }
    return 0;
}

/* The gradients of a block of channels, [first, first + n): of conv, of the vectors, and of biases; those of
 * fc1 are four times as many. */
static void channels_back(const struct convnext *net, size_t first, size_t n)
{
    const struct stage *stage = net->stage;
    const struct block *block = net->block;
    const struct clip_depthwise d = {stage->side, stage->side, stage->channels, net->kernel, 1};
    size_t channels = stage->channels, pixels = net->n * stage->pixels, pieces = pieces_of(stage, net->n);
    size_t frame = stage->framed / channels, area = net->kernel * net->kernel;
    float *packed = net->back.packed + first * area;
    memset(packed, 0, CLIP_DEPTHWISE_BLOCK * area * sizeof *packed);
    for (size_t i = 0; i < net->n; i++)
        net->depthwise->weights(&d, net->kept->x + i * stage->framed,
                                framed_pixel(net, stage, net->back.dconv, i, 0, 0), clip_depthwise_row(&d),
                                first / CLIP_DEPTHWISE_BLOCK, 1, net->back.packed);
    clip_depthwise_add(packed, n, net->kernel, block->conv.gradient + first * area);
    net->kernels->column_sums(net->n * frame, n, net->back.dconv + first, channels, CLIP_PRECISION_F32,
                              block->conv_bias.gradient + first);
    add_partial(net, pieces, 3 * channels, first, n, block->gamma.gradient + first);
    add_partial(net, pieces, 3 * channels, channels + first, n, block->norm.weight.gradient + first);
    add_partial(net, pieces, 3 * channels, 2 * channels + first, n, block->norm.bias.gradient + first);
    net->kernels->column_sums(pixels, n, elements(net, net->back.dout, first), channels, net->type,
                              block->fc2.bias.gradient + first);
    net->kernels->column_sums(pixels, 4 * n, elements(net, net->back.dwide, 4 * first), 4 * channels,
                              net->type, block->fc1.bias.gradient + 4 * first);
}

/* From the gradient of conv's output to that of its input: a piece of the residual stream. */
static void conv_back(const struct convnext *net, size_t piece, const struct workspace *workspace)
{
    size_t first = piece * net->stage->piece, rows = piece_rows(net, net->stage, first);
    size_t channels = net->stage->channels;
    convolve(net, net->stage, net->back.dconv, net->block->flipped, NULL, first, rows, workspace->depth);
    net->kernels->sum(rows * channels, net->dx + first * channels, workspace->depth,
                      net->dx + first * channels);
}

/* A task: a panel of fc1's gradient, of fc2's; a block of channels; a piece of the residual stream. */
static int gradient_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct stage *stage = net->stage;
    size_t pixels = net->n * stage->pixels, panels = clip_outer_panels(stage->fc1);
    size_t blocks = clip_depthwise_blocks(stage->channels);
    if (i < panels)
        return clip_outer_add(stage->fc1, i, pixels, net->back.dwide, net->back.normed,
                              net->block->fc1.weight.gradient, workspace->scratch, error);
    i -= panels;
    panels = clip_outer_panels(stage->fc2);
    if (i < panels)
        return clip_outer_add(stage->fc2, i, pixels, net->back.dout, net->back.hidden,
                              net->block->fc2.weight.gradient, workspace->scratch, error);
    i -= panels;
    if (i < blocks) {
        size_t first = i * CLIP_DEPTHWISE_BLOCK, left = stage->channels - first;
        channels_back(net, first, left < CLIP_DEPTHWISE_BLOCK ? left : CLIP_DEPTHWISE_BLOCK);
    } else {
        conv_back(net, i - blocks, workspace);
    }
    return 0;
}

static int block_back(struct convnext *net, const struct stage *stage, size_t i, struct clip_error *error)
{
    size_t pieces = pieces_of(stage, net->n);
    net->block = &net->blocks[stage->first + i];
    net->kept = kept_of(net, stage, i);
    if (clip_crew_run(&net->crew, net->pool, pieces, block_back_task, net, error) != 0)
        return -1;
    size_t tasks = clip_outer_panels(stage->fc1) + clip_outer_panels(stage->fc2) +
                   clip_depthwise_blocks(stage->channels) + pieces;
    return clip_crew_run(&net->crew, net->pool, tasks, gradient_task, net, error);
}

/* A task: a piece of the stem: its convolution's input again, and the gradient of its output. */
static int stem_back_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    (void)error;
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct stage *stage = net->stage;
    size_t first = piece * net->stage->piece, rows = piece_rows(net, stage, first),
           channels = stage->channels;
    float *sums = partial_sums(net, piece, 2 * channels), *dstem = workspace->four;
    for (size_t pixel = first; pixel < first + rows; pixel++) {
        memset(dstem, 0, channels * sizeof *dstem);
        net->kernels->layer_norm_backward(channels, net->epsilon, net->run->stem + pixel * channels,
                                          stage->norm.weight.value, net->dx + pixel * channels, dstem, sums,
                                          sums + channels);
        net->kernels->convert(channels, dstem, net->type, elements(net, net->back.dout, pixel * channels));
        cut_patch(net, pixel, workspace, elements(net, net->back.hidden, pixel * stage->inputs));
    }
    return 0;
}

/* Spreads the gradient of a join's window to the four pixels under it. */
static void join_backward(const struct convnext *net, size_t pixel, const float *dwindow, float *sums,
                          const struct workspace *workspace)
{
    const struct stage *stage = net->stage, *before = stage - 1;
    const struct clip_window window = join_window(stage);
    struct place place = place_of(stage, pixel % stage->pixels);
    float *dbefore = net->dbefore + pixel / stage->pixels * before->pixels * before->channels;
    memset(workspace->four, 0, 4 * window.channels * sizeof *workspace->four);
    clip_window_add(&window, dwindow, 0, workspace->four);
    for (size_t tap = 0; tap < 4; tap++)
        net->kernels->layer_norm_backward(
            window.channels, net->epsilon, patch_pixel(net, stage, net->kept->x, pixel, tap),
            stage->norm.weight.value, workspace->four + tap * window.channels,
            dbefore +
                pixel_at(before, 2 * place.row + tap / 2, 2 * place.column + tap % 2) * before->channels,
            sums, sums + window.channels);
}

/* A task: a piece of a join. */
static int join_back_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    const struct stage *stage = net->stage;
    size_t first = piece * net->stage->piece, rows = piece_rows(net, stage, first),
           channels = stage->channels;
    float *sums = partial_sums(net, piece, 2 * stage[-1].channels);
    void *dout = elements(net, net->back.dout, first * channels);
    net->kernels->convert(rows * channels, net->dx + first * channels, net->type, dout);
    if (clip_product_rows(stage->join.weight.backward, rows, dout, workspace->wide, workspace->scratch,
                          error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++) {
        cut_join(net, stage, net->kept->x, first + r, workspace,
                 elements(net, net->back.hidden, (first + r) * stage->inputs));
        join_backward(net, first + r, workspace->wide + r * stage->inputs, sums, workspace);
    }
    return 0;
}

/* A task: a panel of a join's gradient; the last: of its bias and its norm. */
static int join_gradient_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct convnext *net = context;
    const struct stage *stage = net->stage;
    size_t pixels = net->n * stage->pixels, pieces = pieces_of(stage, net->n);
    size_t normed = stage == net->stages ? stage->channels : stage[-1].channels;
    if (i < clip_outer_panels(stage->of_join))
        return clip_outer_add(stage->of_join, i, pixels, net->back.dout, net->back.hidden,
                              stage->join.weight.gradient, net->workspaces[thread].scratch, error);
    net->kernels->column_sums(pixels, stage->channels, net->back.dout, stage->channels, net->type,
                              stage->join.bias.gradient);
    add_partial(net, pieces, 2 * normed, 0, normed, stage->norm.weight.gradient);
    add_partial(net, pieces, 2 * normed, normed, normed, stage->norm.bias.gradient);
    return 0;
}

/* The backward of a stage; afterwards dx is the gradient of the end of the previous one. */
static int stage_back(struct convnext *net, const struct stage *stage, struct clip_error *error)
{
    size_t pieces = pieces_of(stage, net->n);
    int stem = stage == net->stages;
    net->stage = stage;
    memset(net->back.dconv, 0, net->n * stage->framed * sizeof *net->back.dconv);
    for (size_t i = stage->count; i-- > 0;)
        if (block_back(net, stage, i, error) != 0)
            return -1;
    net->dbefore = net->back.dx[net->dx == net->back.dx[0]];
    if (!stem) {
        memset(net->dbefore, 0, net->n * stage[-1].pixels * stage[-1].channels * sizeof *net->dbefore);
        net->kept = kept_of(net, stage - 1, stage[-1].count);
    }
    if (clip_crew_run(&net->crew, net->pool, pieces, stem ? stem_back_task : join_back_task, net, error) !=
            0 ||
        clip_crew_run(&net->crew, net->pool, clip_outer_panels(stage->of_join) + 1, join_gradient_task, net,
                      error) != 0)
        return -1;
    net->dx = net->dbefore;
    return 0;
}

static int backward(struct clip_tower *base, struct clip_tape *from, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)input_gradients;
    struct convnext *net = (struct convnext *)base;
    struct convnext_tape *tape = (struct convnext_tape *)from;
    size_t width = base->width;
    net->items = tape->items;
    net->n = tape->count;
    net->run = &tape->run;
    net->gradients = gradients;
    net->dx = net->back.dx[0];
    net->stage = &net->stages[STAGES - 1];
    clip_pool_run(net->pool, net->n, features_back_task, net);
    add_partial(net, net->n, 2 * width, 0, width, net->norm.weight.gradient);
    add_partial(net, net->n, 2 * width, width, width, net->norm.bias.gradient);
    for (const struct stage *stage = net->stages + STAGES; stage-- > net->stages;)
        if (stage_back(net, stage, error) != 0)
            return -1;
    return 0;
}

/* --- memory --- */

/* The most that a stage needs. */
struct needs {
    size_t channels, inputs;       /* channels; what a join reads at a pixel */
    size_t narrow, read, wide;     /* floats of a piece: channels; what products read; the hidden layer */
    size_t framed, stream, joined; /* floats of a run: pictures, pixels' channels, what joins read */
    size_t pieces;                 /* floats of partial sums */
    size_t scratch;
};

static struct needs needs_of(const struct convnext *net, size_t n)
{
    struct needs needs = {0};
    for (const struct stage *stage = net->stages; stage < net->stages + STAGES; stage++) {
        size_t pieces = pieces_of(stage, n), rows = pieces * stage->piece;
        needs.channels = clip_larger(needs.channels, stage->channels);
        needs.inputs = clip_larger(needs.inputs, stage->inputs);
        needs.narrow = clip_larger(needs.narrow, stage->piece * stage->channels);
        needs.read = clip_larger(needs.read, stage->piece * clip_larger(stage->inputs, stage->channels));
        needs.wide = clip_larger(needs.wide, stage->piece * clip_larger(4 * stage->channels, stage->inputs));
        needs.framed = clip_larger(needs.framed, n * stage->framed);
        needs.stream = clip_larger(needs.stream, rows * stage->channels);
        needs.joined = clip_larger(needs.joined, rows * stage->inputs);
        needs.pieces = clip_larger(needs.pieces, clip_larger(pieces, n) * 3 * stage->channels);
        needs.scratch = clip_larger(needs.scratch, clip_operand_scratch(&stage->join.weight));
        if (net->learns) {
            needs.scratch = clip_larger(needs.scratch, clip_outer_scratch(stage->of_join));
            needs.scratch = clip_larger(needs.scratch, clip_outer_scratch(stage->fc1));
            needs.scratch = clip_larger(needs.scratch, clip_outer_scratch(stage->fc2));
        }
    }
    for (size_t i = 0; i < net->count; i++) {
        needs.scratch = clip_larger(needs.scratch, clip_operand_scratch(&net->blocks[i].fc1.weight));
        needs.scratch = clip_larger(needs.scratch, clip_operand_scratch(&net->blocks[i].fc2.weight));
    }
    return needs;
}

static struct workspace place_workspace(struct clip_arena *arena, const struct convnext *net,
                                        const struct needs *needs)
{
    struct workspace workspace = {
        .row = clip_arena_take(arena, needs->inputs, sizeof(float)),
        .four = clip_arena_take(arena, 4 * needs->channels, sizeof(float)),
        .depth = clip_arena_take(arena, needs->narrow, sizeof(float)),
        .narrow = clip_arena_take(arena, needs->read, net->element),
        .wide = clip_arena_take(arena, needs->wide, sizeof(float)),
        .out = clip_arena_take(arena, needs->narrow, sizeof(float)),
        .scratch = clip_arena_take(arena, needs->scratch, 1),
    };
    workspace.hidden = workspace.wide;
    if (net->learns || net->type != CLIP_PRECISION_F32)
        workspace.hidden = clip_arena_take(arena, needs->wide, net->element);
    return workspace;
}

static void place_back(struct clip_arena *arena, const struct convnext *net, const struct needs *needs,
                       struct back *back)
{
    size_t packed = clip_depthwise_packed(needs->channels, net->kernel);
    *back = (struct back){
        .dx = {clip_arena_take(arena, needs->stream, sizeof(float)),
               clip_arena_take(arena, needs->stream, sizeof(float))},
        .dout = clip_arena_take(arena, needs->stream, net->element),
        .hidden = clip_arena_take(arena, clip_larger(4 * needs->stream, needs->joined), net->element),
        .dwide = clip_arena_take(arena, 4 * needs->stream, net->element),
        .normed = clip_arena_take(arena, needs->stream, net->element),
        .dconv = clip_arena_take(arena, needs->framed, sizeof(float)),
        .packed = clip_arena_take(arena, packed, sizeof(float)),
        .partial = clip_arena_take(arena, needs->pieces, sizeof(float)),
    };
}

/* Allocates what a run of n pictures keeps for its backward. */
static void place_run(struct clip_arena *arena, const struct convnext *net, size_t n, struct run *run)
{
    const struct stage *last = &net->stages[STAGES - 1];
    struct kept *next = run->kept = clip_arena_take(arena, net->count + STAGES, sizeof *run->kept);
    for (const struct stage *stage = net->stages; stage <= last; stage++) {
        size_t rows = pieces_of(stage, n) * stage->piece * stage->channels;
        for (size_t i = 0; i <= stage->count; i++) {
            struct kept kept = {.x = clip_arena_take(arena, n * stage->framed, sizeof(float))};
            if (i < stage->count) {
                kept.depth = clip_arena_take(arena, rows, sizeof(float));
                kept.wide = clip_arena_take(arena, rows, 4 * sizeof(float));
                kept.out = clip_arena_take(arena, rows, sizeof(float));
            }
            if (run->kept)
                *next++ = kept;
        }
    }
    run->stem = clip_arena_take(arena, pieces_of(net->stages, n) * net->stages->piece * net->stages->channels,
                                sizeof(float));
    run->mean = clip_arena_take(arena, n * last->channels, sizeof(float));
}

/* The same without a backward. */
static void place_inference(struct clip_arena *arena, const struct convnext *net, const struct needs *needs,
                            struct run *run)
{
    float *x[2] = {clip_arena_take(arena, needs->framed, sizeof(float)),
                   clip_arena_take(arena, needs->framed, sizeof(float))};
    run->kept = clip_arena_take(arena, net->count + STAGES, sizeof *run->kept);
    for (size_t i = 0; run->kept && i < net->count + STAGES; i++)
        run->kept[i] = (struct kept){.x = x[i % 2]};
    run->mean = clip_arena_take(arena, net->most * net->stages[STAGES - 1].channels, sizeof(float));
}

static void place_buffers(void *context)
{
    struct convnext *net = context;
    struct clip_arena *arena = &net->arena;
    struct needs needs = needs_of(net, net->most);
    size_t threads = (size_t)clip_pool_threads(net->pool);
    for (struct stage *stage = net->stages; stage < net->stages + STAGES; stage++)
        for (size_t i = stage->first; i < stage->first + stage->count; i++) {
            size_t packed = clip_depthwise_packed(stage->channels, net->kernel);
            net->blocks[i].packed = clip_arena_take(arena, packed, sizeof(float));
            if (net->learns)
                net->blocks[i].flipped = clip_arena_take(arena, packed, sizeof(float));
        }
    net->zeros = clip_arena_take(arena, needs.channels, sizeof(float));
    net->workspaces = clip_arena_take(arena, threads, sizeof *net->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = place_workspace(arena, net, &needs);
        if (net->workspaces)
            net->workspaces[i] = workspace;
    }
    if (net->learns)
        place_back(arena, net, &needs, &net->back);
    else
        place_inference(arena, net, &needs, &net->buffers);
}

/* --- tapes --- */

struct tape_plan {
    const struct convnext *net;
    size_t n;
    struct convnext_tape *tape;
};

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    plan->tape->items = clip_arena_take(&plan->tape->memory, plan->n, sizeof *plan->tape->items);
    place_run(&plan->tape->memory, plan->net, plan->n, &plan->tape->run);
}

static void tape_free(struct clip_tape *base)
{
    struct convnext_tape *tape = (struct convnext_tape *)base;
    clip_arena_free(&tape->memory);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_tower *base, struct clip_error *error)
{
    struct convnext_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    struct tape_plan plan = {(const struct convnext *)base, base->batch, tape};
    if (clip_arena_build(&tape->memory, "a tape", place_tape, &plan, error) == 0)
        return &tape->base;
    free(tape);
    return NULL;
}

static size_t tape_bytes(const struct clip_tower *base, size_t n)
{
    struct convnext_tape tape = {0};
    place_tape(&(struct tape_plan){(const struct convnext *)base, n, &tape});
    return tape.memory.overflow ? SIZE_MAX : tape.memory.used + sizeof tape;
}

static size_t memory_bytes(const struct clip_tower *base)
{
    return ((const struct convnext *)base)->arena.size;
}

/* --- opening --- */

static int load_stage(struct convnext *net, size_t i, struct clip_error *error)
{
    struct stage *stage = &net->stages[i];
    char join[64], norm[64];
    snprintf(join, sizeof join, i ? "visual.trunk.stages.%zu.downsample.1" : "visual.trunk.stem.0", i);
    snprintf(norm, sizeof norm, i ? "visual.trunk.stages.%zu.downsample.0" : "visual.trunk.stem.1", i);
    if (clip_dense_load(&stage->join, net->setup, stage->piece, i == 0, error, "%s", join) != 0 ||
        clip_norm_load(&stage->norm, net->setup, error, "%s", norm) != 0)
        return -1;
    if (!net->learns)
        return 0;
    stage->of_join = clip_outer_new(net->engine, stage->channels, stage->inputs, error);
    if (stage->of_join)
        stage->fc1 = clip_outer_new(net->engine, 4 * stage->channels, stage->channels, error);
    if (stage->fc1)
        stage->fc2 = clip_outer_new(net->engine, stage->channels, 4 * stage->channels, error);
    return stage->fc2 ? 0 : -1;
}

/* A task: a block's weights; then a stage's. */
static int load_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread;
    struct convnext *net = context;
    const struct stage *stage = net->stages;
    char at[64];
    if (i >= net->count)
        return load_stage(net, i - net->count, error);
    while (i >= stage->first + stage->count)
        stage++;
    struct block *block = &net->blocks[i];
    snprintf(at, sizeof at, "visual.trunk.stages.%zu.blocks.%zu", (size_t)(stage - net->stages),
             i - stage->first);
    if (clip_values_load(&block->gamma, net->setup, error, "%s.gamma", at) != 0 ||
        clip_values_load(&block->conv, net->setup, error, "%s.conv_dw.weight", at) != 0 ||
        clip_values_load(&block->conv_bias, net->setup, error, "%s.conv_dw.bias", at) != 0 ||
        clip_norm_load(&block->norm, net->setup, error, "%s.norm", at) != 0 ||
        clip_dense_load(&block->fc1, net->setup, stage->piece, 0, error, "%s.mlp.fc1", at) != 0)
        return -1;
    return clip_dense_load(&block->fc2, net->setup, stage->piece, 0, error, "%s.mlp.fc2", at);
}

static void pack_blocks(const struct convnext *net)
{
    for (const struct stage *stage = net->stages; stage < net->stages + STAGES; stage++)
        for (size_t i = stage->first; i < stage->first + stage->count; i++) {
            const struct block *block = &net->blocks[i];
            clip_depthwise_pack(block->conv.value, stage->channels, net->kernel, block->packed);
            if (block->flipped)
                clip_depthwise_pack_flipped(block->conv.value, stage->channels, net->kernel, block->flipped);
        }
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    struct convnext *net = (struct convnext *)base;
    for (int i = 0; i < STAGES; i++)
        if (clip_operand_refresh(&net->stages[i].join.weight, error) != 0)
            return -1;
    for (size_t i = 0; i < net->count; i++)
        if (clip_operand_refresh(&net->blocks[i].fc1.weight, error) != 0 ||
            clip_operand_refresh(&net->blocks[i].fc2.weight, error) != 0)
            return -1;
    pack_blocks(net);
    return 0;
}

static void free_convnext(struct clip_tower *base)
{
    struct convnext *net = (struct convnext *)base;
    for (struct stage *stage = net->stages; stage < net->stages + STAGES; stage++) {
        clip_dense_free(&stage->join);
        clip_norm_free(&stage->norm);
        clip_outer_free(stage->of_join);
        clip_outer_free(stage->fc1);
        clip_outer_free(stage->fc2);
    }
    for (size_t i = 0; net->blocks && i < net->count; i++) {
        struct block *block = &net->blocks[i];
        clip_values_free(&block->conv);
        clip_values_free(&block->conv_bias);
        clip_values_free(&block->gamma);
        clip_norm_free(&block->norm);
        clip_dense_free(&block->fc1);
        clip_dense_free(&block->fc2);
    }
    clip_norm_free(&net->norm);
    clip_arena_free(&net->arena);
    clip_crew_destroy(&net->crew);
    free(net->blocks);
    free(net);
}

/* Pixels of a product. An engine that packs the weights for each product packs less often if products are
 * larger, but one picture should fill a product. */
static size_t piece_of(struct clip_engine *engine, size_t pixels)
{
    size_t rows = clip_engine_rows(engine);
    if (!clip_engine_borrows(engine) || pixels < 2 * rows)
        return rows;
    return pixels < 4 * rows ? 2 * rows : 4 * rows;
}

/* Sizes of the stages; -1 where pictures are too large to be counted. */
static int set_stages(struct convnext *net, const struct clip_tower_arch *arch, struct clip_error *error)
{
    size_t side = net->patches.grid;
    for (size_t i = 0; i < STAGES; i++) {
        struct stage *stage = &net->stages[i];
        size_t channels = (size_t)arch->widths[i], across = side + 2 * net->frame;
        *stage = (struct stage){
            .side = side,
            .channels = channels,
            .pixels = side * side,
            .piece = piece_of(net->engine, side * side),
            .framed = across * across * channels,
            .first = net->count,
            .count = (size_t)arch->blocks[i],
            .inputs = i ? 4 * (size_t)arch->widths[i - 1] : clip_patch_floats(&net->patches),
        };
        net->count += stage->count;
        side /= 2;
        if (stage->framed > SIZE_MAX / sizeof(float) / 64 / net->most)
            return clip_fail(error, "pictures of %zu by %zu places and %zu channels are out of bounds",
                             stage->side, stage->side, channels);
    }
    net->blocks = calloc(net->count, sizeof *net->blocks);
    return net->blocks ? 0 : clip_fail_memory(error, "the image tower");
}

static int open_parts(struct convnext *net, const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0 || set_stages(net, &setup->arch->vision, error) != 0)
        return -1;
    net->kernels = clip_kernels(level);
    net->depthwise = clip_depthwise_kernels(level);
    net->setup = setup;
    if (clip_crew_run(&net->crew, net->pool, net->count + STAGES, load_task, net, error) != 0 ||
        clip_norm_load(&net->norm, net->setup, error, "visual.trunk.head.norm") != 0 ||
        clip_arena_build(&net->arena, "the image tower", place_buffers, net, error) != 0)
        return -1;
    net->setup = NULL;
    pack_blocks(net);
    return 0;
}

static const struct clip_tower_type type = {free_convnext, forward,  backward,  refresh,
                                            memory_bytes,  tape_new, tape_free, tape_bytes};

static struct clip_tower *open_convnext(const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    struct convnext *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    net->base = (struct clip_tower){&type, clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), setup->batch};
    net->engine = setup->engine;
    net->pool = setup->pool;
    net->type = clip_engine_precision(setup->engine);
    net->learns = setup->parameters != NULL;
    net->epsilon = arch->block.epsilon;
    net->kernel = (size_t)arch->kernel;
    net->frame = net->kernel / 2;
    net->most = net->learns || setup->batch < TOGETHER ? setup->batch : TOGETHER;
    net->element = clip_engine_element(setup->engine);
    clip_patches_init(&net->patches, setup->arch);
    clip_crew_init(&net->crew);
    if (open_parts(net, setup, error) == 0)
        return &net->base;
    free_convnext(&net->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_convnext = {&clip_kind_convnext, 0, open_convnext};
