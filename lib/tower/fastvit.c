/* Inference of a FastViT (tower/fastvit.h). The branches of each step, their batch norms, and where nothing
 * follows them the layer scale and the residual connection, are folded into one convolution with a bias. One
 * thread takes a picture through all layers. */
#include "base/arena.h"
#include "base/crew.h"
#include "image/preprocess.h"
#include "math/depthwise.h"
#include "math/excitation.h"
#include "math/kernels.h"
#include "model/kind.h"
#include "tower/fastvit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The convolution that the branches of a step are folded into. */
struct convolution {
    float *weights; /* depthwise: packed; dense: [out][inputs], which `matrix` may borrow */
    float *bias;    /* [out] */
    struct clip_matrix *matrix;
};

struct layer {
    const struct clip_fastvit_step *step;
    struct convolution conv;
    struct clip_dense first, second; /* of HIDDEN and ATTEND */
    struct clip_values gamma;
    struct clip_excitation excitation;
    struct clip_values excitation_values[4]; /* the tensors of excitation */
    float *scale;          /* [out]: of the batch norm before attention, whose shift is conv.bias */
    struct clip_norm norm; /* of a layer norm there */
};

struct workspace {
    float *x, *y;      /* pictures between layers */
    float *framed;     /* the framed input of a depthwise convolution */
    void *narrow;      /* [piece][the most inputs of a product] elements */
    float *wide;       /* [piece][the most outputs] */
    void *hidden;      /* [piece][the most of a hidden layer] elements */
    float *out;        /* [piece][channels] */
    float *qkv;        /* [pixels][3 channels] */
    void *attended;    /* [pixels][channels] elements */
    float *attention;  /* scratch of the kernel */
    float *mean, *row; /* [channels], of squeeze and excitation */
    void *scratch;     /* of products */
};

struct fastvit {
    struct clip_tower base;
    const struct clip_kernels *kernels;
    const struct clip_depthwise_kernels *depthwise;
    struct clip_engine *engine;
    struct clip_pool *pool;
    const struct clip_tower_setup *setup; /* only while the tower is opened */
    enum clip_precision type;
    size_t size, piece, element;
    float levels[CLIP_PIXEL_LEVELS];
    struct clip_fastvit_step *steps;
    struct layer *layers; /* [count], one for each step */
    size_t count;
    struct clip_arena arena;
    float *zeros;
    struct workspace *workspaces;
    struct clip_crew crew;
    /* of the current run */
    const union clip_item *items;
    float *features;
};

/* --- forward --- */

static size_t pixels_of(const struct layer *layer)
{
    return clip_fastvit_pixels(layer->step);
}

static struct clip_depthwise depthwise_of(const struct layer *layer)
{
    const struct clip_fastvit_step *step = layer->step;
    return (struct clip_depthwise){step->to, step->to, step->out, step->side, step->stride};
}

static void run_depthwise(const struct fastvit *net, const struct layer *layer, const float *x, float *y,
                          const struct workspace *workspace)
{
    const struct clip_depthwise d = depthwise_of(layer);
    clip_fastvit_frame(layer->step, &d, x, workspace->framed);
    net->depthwise->run(&d, workspace->framed, layer->conv.weights, layer->conv.bias, 0, 0, d.height, d.width,
                        y);
}

/* Rows [first, first + rows) of what a dense convolution reads, as elements. */
static void read_rows(const struct fastvit *net, const struct layer *layer, const float *x, size_t first,
                      size_t rows, const struct workspace *workspace)
{
    const struct clip_fastvit_step *step = layer->step;
    size_t in = step->in, floats = in * step->side * step->side;
    const struct clip_window window = clip_fastvit_window(step, step->side);
    if (step->side == 1 && step->stride == 1) {
        net->kernels->convert(rows * in, x + first * in, net->type, workspace->narrow);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        clip_window_cut(&window, x, first + r, workspace->row);
        net->kernels->convert(floats, workspace->row, net->type,
                              (char *)workspace->narrow + r * floats * net->element);
    }
}

static int run_dense(const struct fastvit *net, const struct layer *layer, const float *x, float *y,
                     const struct workspace *workspace, struct clip_error *error)
{
    size_t pixels = pixels_of(layer), out = layer->step->out;
    for (size_t first = 0; first < pixels; first += net->piece) {
        size_t rows = pixels - first < net->piece ? pixels - first : net->piece;
        read_rows(net, layer, x, first, rows, workspace);
        if (clip_product_rows(layer->conv.matrix, rows, workspace->narrow, workspace->wide,
                              workspace->scratch, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            net->kernels->activation[CLIP_GELU](out, workspace->wide + r * out, layer->conv.bias,
                                                CLIP_PRECISION_F32, y + (first + r) * out);
    }
    return 0;
}

/* Squeeze and excitation if the layer has it, then GELU, in place. */
static void finish_depthwise(const struct fastvit *net, const struct layer *layer, float *x,
                             const struct workspace *workspace)
{
    size_t channels = layer->step->out, pixels = pixels_of(layer);
    float *mean = workspace->mean;
    if (layer->excitation.hidden) {
        clip_pixels_mean(net->kernels, pixels, channels, x, mean);
        clip_excitation_gate(&layer->excitation, mean, workspace->row, mean);
    }
    for (size_t i = 0; i < pixels && layer->step->activates; i++, x += channels) {
        if (layer->excitation.hidden)
            net->kernels->multiply(channels, mean, x, net->zeros, CLIP_PRECISION_F32, x);
        net->kernels->activation[CLIP_GELU](channels, x, net->zeros, CLIP_PRECISION_F32, x);
    }
}

/* x[rows] += gamma (y + bias), rows of the layer's channels. */
static void add_scaled(const struct fastvit *net, const struct layer *layer, size_t rows, float *y, float *x)
{
    size_t channels = layer->step->out;
    for (size_t r = 0; r < rows; r++, x += channels, y += channels) {
        net->kernels->multiply(channels, layer->gamma.value, y, layer->second.bias.value, CLIP_PRECISION_F32,
                               y);
        net->kernels->sum(channels, x, y, x);
    }
}

static int product(const struct clip_dense *linear, size_t rows, const void *x, float *y,
                   const struct workspace *workspace, struct clip_error *error)
{
    return clip_product_rows(linear->weight.forward, rows, x, y, workspace->scratch, error);
}

/* x += gamma fc2(gelu(fc1(conv(x)))); y is scratch. */
static int run_hidden(const struct fastvit *net, const struct layer *layer, float *x, float *y,
                      const struct workspace *workspace, struct clip_error *error)
{
    size_t pixels = pixels_of(layer), channels = layer->step->out, hidden = layer->step->hidden;
    run_depthwise(net, layer, x, y, workspace);
    for (size_t first = 0; first < pixels; first += net->piece) {
        size_t rows = pixels - first < net->piece ? pixels - first : net->piece;
        net->kernels->convert(rows * channels, y + first * channels, net->type, workspace->narrow);
        if (product(&layer->first, rows, workspace->narrow, workspace->wide, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            net->kernels->activation[CLIP_GELU](hidden, workspace->wide + r * hidden, layer->first.bias.value,
                                                net->type,
                                                (char *)workspace->hidden + r * hidden * net->element);
        if (product(&layer->second, rows, workspace->hidden, workspace->out, workspace, error) != 0)
            return -1;
        add_scaled(net, layer, rows, workspace->out, x + first * channels);
    }
    return 0;
}

/* out[channels] = the norm of a pixel before attention, as elements. */
static void normalize(const struct fastvit *net, const struct layer *layer, const float *x, float *row,
                      void *out)
{
    size_t channels = layer->step->out;
    if (!layer->scale) {
        net->kernels->layer_norm(channels, (float)CLIP_FASTVIT_EPSILON, x, layer->norm.weight.value,
                                 layer->norm.bias.value, net->type, out);
        return;
    }
    for (size_t c = 0; c < channels; c++)
        row[c] = x[c] * layer->scale[c] + layer->conv.bias[c];
    net->kernels->convert(channels, row, net->type, out);
}

/* Runs all heads over all pixels. */
static void attend(const struct fastvit *net, const struct layer *layer, const struct workspace *workspace)
{
    size_t channels = layer->step->out, pixels = pixels_of(layer);
    for (size_t at = 0; at < channels; at += CLIP_FASTVIT_HEAD) {
        const struct clip_attention head = {
            .queries = pixels,
            .keys = pixels,
            .dim = CLIP_FASTVIT_HEAD,
            .scale = 1 / sqrtf((float)CLIP_FASTVIT_HEAD),
            .q = workspace->qkv + at,
            .k = workspace->qkv + channels + at,
            .v = workspace->qkv + 2 * channels + at,
            .q_stride = 3 * channels,
            .k_stride = 3 * channels,
            .v_stride = 3 * channels,
            .q_bias = net->zeros,
            .k_bias = net->zeros,
            .v_bias = net->zeros,
            .type = net->type,
            .out = (char *)workspace->attended + at * net->element,
            .out_stride = channels,
        };
        net->kernels->attention(&head, workspace->attention);
    }
}

static int run_attention(const struct fastvit *net, const struct layer *layer, float *x,
                         const struct workspace *workspace, struct clip_error *error)
{
    size_t pixels = pixels_of(layer), channels = layer->step->out;
    for (size_t first = 0; first < pixels; first += net->piece) {
        size_t rows = pixels - first < net->piece ? pixels - first : net->piece;
        for (size_t r = 0; r < rows; r++)
            normalize(net, layer, x + (first + r) * channels, workspace->row,
                      (char *)workspace->narrow + r * channels * net->element);
        if (product(&layer->first, rows, workspace->narrow, workspace->qkv + first * 3 * channels, workspace,
                    error) != 0)
            return -1;
    }
    attend(net, layer, workspace);
    for (size_t first = 0; first < pixels; first += net->piece) {
        size_t rows = pixels - first < net->piece ? pixels - first : net->piece;
        if (product(&layer->second, rows, (char *)workspace->attended + first * channels * net->element,
                    workspace->out, workspace, error) != 0)
            return -1;
        add_scaled(net, layer, rows, workspace->out, x + first * channels);
    }
    return 0;
}

/* Runs a layer on *x: in place, or into *y, and then exchanges the two. */
static int run_layer(const struct fastvit *net, const struct layer *layer, float **x, float **y,
                     const struct workspace *workspace, struct clip_error *error)
{
    float *was = *x;
    switch (layer->step->operation) {
    case CLIP_FASTVIT_HIDDEN:
        return run_hidden(net, layer, *x, *y, workspace, error);
    case CLIP_FASTVIT_ATTEND:
        return run_attention(net, layer, *x, workspace, error);
    case CLIP_FASTVIT_SUM:
        break;
    }
    *x = *y;
    *y = was;
    if (layer->step->dense)
        return run_dense(net, layer, was, *x, workspace, error);
    run_depthwise(net, layer, was, *x, workspace);
    finish_depthwise(net, layer, *x, workspace);
    return 0;
}

/* Task: the features of one picture. */
static int picture_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct fastvit *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    float *x = workspace->x, *y = workspace->y, *features = net->features + i * net->base.width;
    const struct layer *last = &net->layers[net->count - 1];
    clip_fastvit_read(&net->items[i].image, net->size, net->levels, x);
    for (const struct layer *layer = net->layers; layer <= last; layer++)
        if (run_layer(net, layer, &x, &y, workspace, error) != 0)
            return -1;
    clip_pixels_mean(net->kernels, pixels_of(last), last->step->out, x, features);
    return 0;
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *tape, float *features, struct clip_error *error)
{
    (void)again;
    (void)tape;
    struct fastvit *net = (struct fastvit *)base;
    net->items = items;
    net->features = features;
    return clip_crew_run(&net->crew, net->pool, n, picture_task, net, error);
}

/* --- folding branches --- */

/* The convolution that a step's branches are folded into, w[out][inputs][side][side] and b[out]. */
struct fold {
    size_t out, inputs, side;
    double *w, *b;
};

/* scale[n] and shift[n] of a batch norm in evaluation mode, or of a bias. */
static int read_norm(const struct fastvit *net, const struct clip_fastvit_branch *branch, size_t n,
                     double *scale, double *shift, struct clip_error *error)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    struct clip_values values[4] = {{0}};
    int status = *branch->norm ? 0 : clip_values_load(&values[1], net->setup, error, "%s.bias", branch->conv);
    for (int i = 0; i < 4 && *branch->norm && status == 0; i++)
        status = clip_values_load(&values[i], net->setup, error, "%s.%s", branch->norm, parts[i]);
    for (size_t c = 0; c < n && status == 0; c++) {
        scale[c] = 1;
        shift[c] = (double)values[1].value[c];
        if (*branch->norm) {
            scale[c] = (double)values[0].value[c] / sqrt((double)values[3].value[c] + CLIP_FASTVIT_EPSILON);
            shift[c] -= (double)values[2].value[c] * scale[c];
        }
    }
    for (int i = 0; i < 4; i++)
        clip_values_free(&values[i]);
    return status;
}

/* Adds the branch's filter, times scale[out], at the centre of the fold's. The input itself counts as a
 * filter of side 1. */
static int fold_filter(const struct fastvit *net, const struct clip_fastvit_branch *branch, struct fold *fold,
                       const double *scale, struct clip_error *error)
{
    size_t side = branch->side, margin = (fold->side - side) / 2, area = fold->side * fold->side;
    struct clip_values weight = {0};
    if (!*branch->conv) {
        for (size_t o = 0; o < fold->out; o++)
            fold->w[(o * fold->inputs + (fold->inputs > 1 ? o : 0)) * area + area / 2] += scale[o];
        return 0;
    }
    int status = clip_values_load(&weight, net->setup, error, "%s.weight", branch->conv);
    for (size_t i = 0; i < fold->out * fold->inputs * side * side && status == 0; i++) {
        size_t tap = i % (side * side), channels = i / (side * side);
        fold->w[channels * area + (tap / side + margin) * fold->side + tap % side + margin] +=
            (double)weight.value[i] * scale[channels / fold->inputs];
    }
    clip_values_free(&weight);
    return status;
}

static int fold_branch(const struct fastvit *net, const struct clip_fastvit_branch *branch, struct fold *fold,
                       struct clip_error *error)
{
    double *scale = calloc(2 * fold->out, sizeof *scale), *shift = scale + fold->out;
    if (!scale)
        return clip_fail_memory(error, "batch norm");
    int status = read_norm(net, branch, fold->out, scale, shift, error);
    double sign = branch->subtracted ? -1 : 1;
    for (size_t o = 0; o < fold->out; o++) {
        scale[o] *= sign;
        fold->b[o] += sign * shift[o];
    }
    if (status == 0)
        status = fold_filter(net, branch, fold, scale, error);
    free(scale);
    return status;
}

/* Folds x + gamma s into the convolution of s. */
static int fold_residual(const struct fastvit *net, const struct clip_fastvit_step *step, struct fold *fold,
                         struct clip_error *error)
{
    struct clip_values gamma = {0};
    size_t area = fold->side * fold->side;
    if (*step->gamma && clip_values_load(&gamma, net->setup, error, "%s.gamma", step->gamma) != 0)
        return -1;
    for (size_t i = 0; i < fold->out * area; i++)
        fold->w[i] = fold->w[i] * (gamma.value ? (double)gamma.value[i / area] : 1) + (i % area == area / 2);
    for (size_t o = 0; o < fold->out && gamma.value; o++)
        fold->b[o] *= (double)gamma.value[o];
    clip_values_free(&gamma);
    return 0;
}

/* Stores the convolution in the form that the layer runs: a matrix, packed filters, or two vectors for
 * ATTEND. */
static int set_convolution(const struct fastvit *net, struct layer *layer, const struct fold *fold,
                           struct clip_error *error)
{
    size_t inputs = fold->inputs * fold->side * fold->side,
           packed = clip_depthwise_packed(fold->out, fold->side);
    struct convolution *conv = &layer->conv;
    float *w = reallocarray(NULL, fold->out * inputs, sizeof *w);
    conv->bias = reallocarray(NULL, fold->out, sizeof *conv->bias);
    if (w && conv->bias) {
        for (size_t i = 0; i < fold->out * inputs; i++)
            w[i] = (float)fold->w[i];
        for (size_t o = 0; o < fold->out; o++)
            conv->bias[o] = (float)fold->b[o];
    }
    if (layer->step->operation == CLIP_FASTVIT_ATTEND) {
        layer->scale = w;
    } else if (layer->step->dense) {
        conv->weights = w;
        conv->matrix = w ? clip_matrix_new(net->engine, net->piece, fold->out, inputs, error) : NULL;
        return conv->matrix ? clip_matrix_set(conv->matrix, w, 0, error) : -1;
    } else {
        conv->weights = w ? aligned_alloc(64, (packed * sizeof(float) + 63) / 64 * 64) : NULL;
        if (conv->weights)
            clip_depthwise_pack(w, fold->out, fold->side, conv->weights);
        free(w);
    }
    return conv->bias && (conv->weights || layer->scale) ? 0 : clip_fail_memory(error, "a convolution");
}

static int load_branches(const struct fastvit *net, struct layer *layer, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    struct fold fold = {step->out, step->dense ? step->in : 1, step->side, NULL, NULL};
    fold.w = calloc(fold.out * fold.inputs * fold.side * fold.side, sizeof *fold.w);
    fold.b = calloc(fold.out, sizeof *fold.b);
    int status = fold.w && fold.b ? 0 : clip_fail_memory(error, "a convolution");
    for (size_t i = 0; i < step->branch_count && status == 0; i++)
        status = fold_branch(net, &step->branches[i], &fold, error);
    if (status == 0 && step->operation == CLIP_FASTVIT_SUM && step->residual)
        status = fold_residual(net, step, &fold, error);
    if (status == 0)
        status = set_convolution(net, layer, &fold, error);
    free(fold.w);
    free(fold.b);
    return status;
}

/* --- the other weights --- */

static int load_excitation(const struct fastvit *net, struct layer *layer, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    struct clip_values *values = layer->excitation_values;
    if (clip_values_load(&values[0], net->setup, error, "%s.weight", step->first) != 0 ||
        clip_values_load(&values[1], net->setup, error, "%s.bias", step->first) != 0 ||
        clip_values_load(&values[2], net->setup, error, "%s.weight", step->second) != 0 ||
        clip_values_load(&values[3], net->setup, error, "%s.bias", step->second) != 0)
        return -1;
    layer->excitation = (struct clip_excitation){step->out,       step->hidden,    values[0].value,
                                                 values[1].value, values[2].value, values[3].value};
    return 0;
}

static int load_layer(const struct fastvit *net, struct layer *layer, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    if (step->branch_count) {
        if (load_branches(net, layer, error) != 0)
            return -1;
    } else if (clip_norm_load(&layer->norm, net->setup, error, "%s", step->norm) != 0) {
        return -1;
    }
    if (step->operation == CLIP_FASTVIT_SUM)
        return *step->first ? load_excitation(net, layer, error) : 0;
    if (clip_values_load(&layer->gamma, net->setup, error, "%s.gamma", step->gamma) != 0 ||
        clip_dense_load(&layer->first, net->setup, net->piece, 0, error, "%s", step->first) != 0)
        return -1;
    return clip_dense_load(&layer->second, net->setup, net->piece, 0, error, "%s", step->second);
}

/* Task: loads one layer. */
static int load_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread;
    const struct fastvit *net = context;
    return load_layer(net, &net->layers[i], error);
}

static int load_layers(struct fastvit *net, struct clip_error *error)
{
    size_t count;
    if (clip_fastvit_steps(net->setup, &net->steps, &count, error) != 0)
        return -1;
    net->layers = calloc(count, sizeof *net->layers);
    if (!net->layers)
        return clip_fail_memory(error, "the image tower");
    net->count = count;
    for (size_t i = 0; i < count; i++)
        net->layers[i].step = &net->steps[i];
    return clip_crew_run(&net->crew, net->pool, count, load_task, net, error);
}

/* --- opening --- */

/* The most that a layer needs, in floats; scratch in bytes. */
struct needs {
    size_t picture, framed, narrow, wide, out, hidden, qkv, attended, attention, row, scratch;
};

static void need_convolution(const struct layer *layer, struct needs *needs)
{
    const struct clip_fastvit_step *step = layer->step;
    const struct clip_depthwise d = depthwise_of(layer);
    size_t read = step->in * step->side * step->side;
    if (layer->conv.matrix) {
        needs->row = clip_larger(needs->row, read);
        needs->narrow = clip_larger(needs->narrow, read);
        needs->wide = clip_larger(needs->wide, step->out);
        needs->scratch = clip_larger(needs->scratch, clip_product_scratch(layer->conv.matrix));
    } else if (layer->conv.weights) {
        needs->framed = clip_larger(needs->framed, clip_depthwise_floats(&d));
    }
}

static void need_linears(const struct fastvit *net, const struct layer *layer, struct needs *needs)
{
    const struct clip_fastvit_step *step = layer->step;
    size_t channels = step->out, pixels = pixels_of(layer);
    size_t rows = (pixels + net->piece - 1) / net->piece * net->piece;
    needs->narrow = clip_larger(needs->narrow, channels);
    needs->out = clip_larger(needs->out, channels);
    needs->scratch = clip_larger(needs->scratch, clip_operand_scratch(&layer->first.weight));
    needs->scratch = clip_larger(needs->scratch, clip_operand_scratch(&layer->second.weight));
    if (step->operation == CLIP_FASTVIT_HIDDEN) {
        needs->wide = clip_larger(needs->wide, step->hidden);
        needs->hidden = clip_larger(needs->hidden, step->hidden);
        return;
    }
    needs->qkv = clip_larger(needs->qkv, rows * 3 * channels);
    needs->attended = clip_larger(needs->attended, rows * channels);
    needs->attention = clip_larger(needs->attention, clip_attention_scratch(pixels, CLIP_FASTVIT_HEAD));
}

static struct needs needs_of(const struct fastvit *net)
{
    struct needs needs = {.picture = net->size * net->size * CLIP_FASTVIT_COLORS};
    for (const struct layer *layer = net->layers; layer < net->layers + net->count; layer++) {
        const struct clip_fastvit_step *step = layer->step;
        needs.picture = clip_larger(needs.picture, pixels_of(layer) * step->out);
        needs.row = clip_larger(needs.row, clip_larger(step->out, step->hidden));
        need_convolution(layer, &needs);
        if (step->operation != CLIP_FASTVIT_SUM)
            need_linears(net, layer, &needs);
    }
    return needs;
}

static void place_buffers(void *context)
{
    struct fastvit *net = context;
    struct clip_arena *arena = &net->arena;
    struct needs needs = needs_of(net);
    size_t threads = (size_t)clip_pool_threads(net->pool), piece = net->piece;
    net->zeros = clip_arena_take(arena, needs.row, sizeof(float));
    net->workspaces = clip_arena_take(arena, threads, sizeof *net->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = {
            .x = clip_arena_take(arena, needs.picture, sizeof(float)),
            .y = clip_arena_take(arena, needs.picture, sizeof(float)),
            .framed = clip_arena_take(arena, needs.framed, sizeof(float)),
            .narrow = clip_arena_take(arena, piece * needs.narrow, net->element),
            .wide = clip_arena_take(arena, piece * needs.wide, sizeof(float)),
            .hidden = clip_arena_take(arena, piece * needs.hidden, net->element),
            .out = clip_arena_take(arena, piece * needs.out, sizeof(float)),
            .qkv = clip_arena_take(arena, needs.qkv, sizeof(float)),
            .attended = clip_arena_take(arena, needs.attended, net->element),
            .attention = clip_arena_take(arena, needs.attention, sizeof(float)),
            .mean = clip_arena_take(arena, needs.row, sizeof(float)),
            .row = clip_arena_take(arena, needs.row, sizeof(float)),
            .scratch = clip_arena_take(arena, needs.scratch, 1),
        };
        if (net->workspaces)
            net->workspaces[i] = workspace;
    }
}

static void free_layer(struct layer *layer)
{
    clip_dense_free(&layer->first);
    clip_dense_free(&layer->second);
    clip_norm_free(&layer->norm);
    clip_values_free(&layer->gamma);
    for (size_t i = 0; i < 4; i++)
        clip_values_free(&layer->excitation_values[i]);
    clip_matrix_free(layer->conv.matrix);
    free(layer->conv.weights);
    free(layer->conv.bias);
    free(layer->scale);
}

static void free_fastvit(struct clip_tower *base)
{
    struct fastvit *net = (struct fastvit *)base;
    for (size_t i = 0; i < net->count; i++)
        free_layer(&net->layers[i]);
    clip_arena_free(&net->arena);
    clip_crew_destroy(&net->crew);
    free(net->layers);
    free(net->steps);
    free(net);
}

static const struct clip_tower_type type = {.free = free_fastvit, .forward = forward};

static struct clip_tower *open_fastvit(const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if (setup->parameters)
        return clip_fastvit_learner_open(setup, error);
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct fastvit *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    net->base = (struct clip_tower){&type, clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), setup->batch};
    net->kernels = clip_kernels(level);
    net->depthwise = clip_depthwise_kernels(level);
    net->engine = setup->engine;
    net->pool = setup->pool;
    net->setup = setup;
    net->type = clip_engine_precision(setup->engine);
    net->size = (size_t)setup->arch->vision.image_size;
    net->piece = clip_engine_rows(setup->engine);
    net->element = clip_engine_element(setup->engine);
    clip_pixel_levels(setup->arch->preprocess.mean, setup->arch->preprocess.std, net->levels);
    clip_crew_init(&net->crew);
    if (load_layers(net, error) == 0 &&
        clip_arena_build(&net->arena, "the image tower", place_buffers, net, error) == 0) {
        net->setup = NULL;
        return &net->base;
    }
    free_fastvit(&net->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_fastvit = {&clip_kind_fastvit, 1, open_fastvit};
