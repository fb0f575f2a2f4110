/* FastViT of MobileCLIP, for inference: a stem, stages of blocks, a last convolution and the mean of all
 * places.
 *
 * Branches of convolutions with batch norm that are summed are one convolution with a bias, and so is what is
 * added to its own input. What is left is a list of layers, which a picture goes through in one thread:
 * [side][side][channels] between them. */
#include "base/arena.h"
#include "base/crew.h"
#include "image/preprocess.h"
#include "math/depthwise.h"
#include "math/kernels.h"
#include "math/window.h"
#include "model/kind.h"
#include "tower/tower.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLORS = 3, HEAD = 32, FINAL = 2 };
#define EPSILON 1e-5 /* of batch norm, and of layer norm */

/* Any number of its inputs, a group each (depthwise), or all of them (dense); the floats are the tower's. */
struct convolution {
    size_t in, out, side, stride;
    float *weights; /* packed; or [out][inputs], which `matrix` may borrow */
    float *bias;    /* [out] */
    struct clip_matrix *matrix;
};

struct linear {
    struct clip_operand weight;
    struct clip_values bias; /* of qkv NULL */
};

enum operation {
    DENSE,     /* a convolution of all inputs, and a GELU */
    DEPTHWISE, /* and a GELU where `activates` */
    EXCITE,    /* squeeze and excitation, and a GELU */
    HIDDEN,    /* x + gamma fc2(gelu(fc1(conv(x)))) */
    ATTEND,    /* x + gamma proj(attention(norm(x))) */
};

struct layer {
    enum operation operation;
    size_t from, to; /* sides of the picture before and after */
    size_t channels; /* after */
    int activates;
    struct convolution conv;
    struct linear first, second; /* fc1 and fc2; qkv and proj */
    struct clip_values gamma;
    size_t hidden; /* of HIDDEN and EXCITE */
    struct clip_values squeeze, squeeze_bias, excite, excite_bias;
    float *scale, *shift; /* [channels]: batch norm before attention; NULL: a layer norm */
    struct clip_values norm_weight, norm_bias;
};

struct workspace {
    float *x, *y;      /* pictures between layers */
    float *framed;     /* a depthwise convolution's input */
    void *narrow;      /* [piece][the most inputs of a product] elements */
    float *wide;       /* [piece][the most outputs] */
    void *hidden;      /* [piece][the most of a hidden layer] elements */
    float *out;        /* [piece][channels] */
    float *qkv;        /* [pixels][3 channels] */
    void *attended;    /* [pixels][channels] elements */
    float *attention;  /* for the kernel */
    float *mean, *row; /* [channels] of excitation */
    void *scratch;     /* of products */
};

struct fastvit {
    struct clip_tower base;
    const struct clip_kernels *kernels;
    const struct clip_depthwise_kernels *depthwise;
    struct clip_engine *engine;
    struct clip_pool *pool;
    const struct clip_tower_setup *setup; /* while it is opened */
    enum clip_precision type;
    size_t size, piece, element;
    float levels[CLIP_PIXEL_LEVELS];
    struct layer *layers;
    size_t count, room;    /* of layers; allocated */
    size_t side, channels; /* after the layers so far */
    struct clip_arena arena;
    float *zeros;
    struct workspace *workspaces;
    struct clip_crew crew;
    /* the run that is under way */
    const union clip_item *items;
    float *features;
};

/* --- forward --- */

static size_t pixels_of(const struct layer *layer)
{
    return layer->to * layer->to;
}

static struct clip_depthwise depthwise_of(const struct layer *layer)
{
    size_t to = layer->to;
    return (struct clip_depthwise){to, to, layer->conv.out, layer->conv.side, layer->conv.stride};
}

/* Frames x[from][from][in] for the layer's convolution, each channel as often as outputs read it. */
static void frame(const struct layer *layer, const float *x, float *framed)
{
    const struct clip_depthwise d = depthwise_of(layer);
    size_t row = clip_depthwise_row(&d), height = clip_depthwise_floats(&d) / row, width = row / d.channels;
    size_t padding = d.side / 2, times = layer->conv.out / layer->conv.in, in = layer->conv.in;
    for (size_t i = 0; i < height; i++, framed += row) {
        if (i < padding || i - padding >= layer->from) {
            memset(framed, 0, row * sizeof *framed);
            continue;
        }
        const float *from = x + (i - padding) * layer->from * in;
        size_t columns = width - padding < layer->from ? width - padding : layer->from;
        memset(framed, 0, padding * d.channels * sizeof *framed);
        memset(framed + (padding + columns) * d.channels, 0,
               (width - padding - columns) * d.channels * sizeof *framed);
        float *to = framed + padding * d.channels;
        if (times == 1)
            memcpy(to, from, columns * in * sizeof *to);
        else
            for (size_t c = 0; c < columns * d.channels; c++)
                to[c] = from[c / times];
    }
}

static void activate(const struct fastvit *net, size_t n, float *x)
{
    for (size_t done = 0; done < n; done += net->channels) {
        size_t some = n - done < net->channels ? n - done : net->channels;
        net->kernels->activation[CLIP_GELU](some, x + done, net->zeros, CLIP_PRECISION_F32, x + done);
    }
}

static void run_depthwise(const struct fastvit *net, const struct layer *layer, const float *x, float *y,
                          const struct workspace *workspace)
{
    const struct clip_depthwise d = depthwise_of(layer);
    frame(layer, x, workspace->framed);
    net->depthwise->run(&d, workspace->framed, layer->conv.weights, layer->conv.bias, 0, 0, d.height, d.width,
                        y);
    if (layer->activates)
        activate(net, pixels_of(layer) * d.channels, y);
}

/* A picture as floats, [size][size][3]. */
static void read_picture(const struct fastvit *net, const struct clip_image *image, float *x)
{
    size_t plane = net->size * net->size;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < COLORS; c++)
            *x++ = image->bytes ? net->levels[c * 256 + image->bytes[c * plane + i]]
                                : image->floats[c * plane + i];
}

/* Rows [first, first + rows) of what a dense convolution reads, as elements. */
static void read_rows(const struct fastvit *net, const struct layer *layer, const float *x, size_t first,
                      size_t rows, const struct workspace *workspace)
{
    size_t in = layer->conv.in, floats = in * layer->conv.side * layer->conv.side;
    const struct clip_window window = {layer->from,      layer->from,        layer->from * in,    in, in,
                                       layer->conv.side, layer->conv.stride, layer->conv.side / 2};
    if (layer->conv.side == 1) {
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
    size_t pixels = pixels_of(layer), out = layer->conv.out;
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

/* b + the sum of w[n] x[n]. */
static float weigh(size_t n, const float *w, const float *x, float b)
{
    double sum = (double)b;
    for (size_t k = 0; k < n; k++)
        sum += (double)w[k] * (double)x[k];
    return (float)sum;
}

static void excite(const struct fastvit *net, const struct layer *layer, float *x,
                   const struct workspace *workspace)
{
    size_t channels = layer->channels, pixels = pixels_of(layer);
    float *mean = workspace->mean, *row = workspace->row;
    memset(mean, 0, channels * sizeof *mean);
    net->kernels->column_sums(pixels, channels, x, channels, CLIP_PRECISION_F32, mean);
    for (size_t c = 0; c < channels; c++)
        mean[c] /= (float)pixels;
    for (size_t i = 0; i < layer->hidden; i++)
        row[i] = fmaxf(
            weigh(channels, layer->squeeze.value + i * channels, mean, layer->squeeze_bias.value[i]), 0);
    for (size_t c = 0; c < channels; c++)
        mean[c] = 1 / (1 + expf(-weigh(layer->hidden, layer->excite.value + c * layer->hidden, row,
                                       layer->excite_bias.value[c])));
    for (size_t i = 0; i < pixels; i++, x += channels) {
        net->kernels->multiply(channels, mean, x, net->zeros, CLIP_PRECISION_F32, x);
        net->kernels->activation[CLIP_GELU](channels, x, net->zeros, CLIP_PRECISION_F32, x);
    }
}

/* x[rows] += gamma (y + bias), rows of the layer's channels. */
static void add_scaled(const struct fastvit *net, const struct layer *layer, size_t rows, float *y, float *x)
{
    size_t channels = layer->channels;
    for (size_t r = 0; r < rows; r++, x += channels, y += channels) {
        net->kernels->multiply(channels, layer->gamma.value, y, layer->second.bias.value, CLIP_PRECISION_F32,
                               y);
        net->kernels->sum(channels, x, y, x);
    }
}

static int product(const struct linear *linear, size_t rows, const void *x, float *y,
                   const struct workspace *workspace, struct clip_error *error)
{
    return clip_product_rows(linear->weight.forward, rows, x, y, workspace->scratch, error);
}

/* The hidden layer of a block, into x; y is for its convolution. */
static int run_hidden(const struct fastvit *net, const struct layer *layer, float *x, float *y,
                      const struct workspace *workspace, struct clip_error *error)
{
    size_t pixels = pixels_of(layer), channels = layer->channels, hidden = layer->hidden;
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

/* out[channels] = the norm before attention of a pixel, as elements. */
static void normalize(const struct fastvit *net, const struct layer *layer, const float *x, float *row,
                      void *out)
{
    size_t channels = layer->channels;
    if (!layer->scale) {
        net->kernels->layer_norm(channels, (float)EPSILON, x, layer->norm_weight.value,
                                 layer->norm_bias.value, net->type, out);
        return;
    }
    for (size_t c = 0; c < channels; c++)
        row[c] = x[c] * layer->scale[c] + layer->shift[c];
    net->kernels->convert(channels, row, net->type, out);
}

/* All heads over all pixels. */
static void attend(const struct fastvit *net, const struct layer *layer, const struct workspace *workspace)
{
    size_t channels = layer->channels, pixels = pixels_of(layer);
    for (size_t at = 0; at < channels; at += HEAD) {
        const struct clip_attention head = {
            .queries = pixels,
            .keys = pixels,
            .dim = HEAD,
            .scale = 1 / sqrtf((float)HEAD),
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
    size_t pixels = pixels_of(layer), channels = layer->channels;
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

/* From *x to *y, which are then exchanged, or in place. */
static int run_layer(const struct fastvit *net, const struct layer *layer, float **x, float **y,
                     const struct workspace *workspace, struct clip_error *error)
{
    int status = 0;
    switch (layer->operation) {
    case EXCITE:
        excite(net, layer, *x, workspace);
        return 0;
    case HIDDEN:
        return run_hidden(net, layer, *x, *y, workspace, error);
    case ATTEND:
        return run_attention(net, layer, *x, workspace, error);
    case DEPTHWISE:
        run_depthwise(net, layer, *x, *y, workspace);
        break;
    case DENSE:
        status = run_dense(net, layer, *x, *y, workspace, error);
        break;
    }
    float *was = *x;
    *x = *y;
    *y = was;
    return status;
}

/* A task: a picture. */
static int picture_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct fastvit *net = context;
    const struct workspace *workspace = &net->workspaces[thread];
    float *x = workspace->x, *y = workspace->y, *features = net->features + i * net->base.width;
    const struct layer *last = &net->layers[net->count - 1];
    read_picture(net, &net->items[i].image, x);
    for (const struct layer *layer = net->layers; layer <= last; layer++)
        if (run_layer(net, layer, &x, &y, workspace, error) != 0)
            return -1;
    memset(features, 0, net->base.width * sizeof *features);
    net->kernels->column_sums(pixels_of(last), last->channels, x, last->channels, CLIP_PRECISION_F32,
                              features);
    for (size_t c = 0; c < last->channels; c++)
        features[c] /= (float)pixels_of(last);
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

/* --- sums of branches --- */

/* A convolution that is summed up of its branches, w[out][inputs][side][side] and b[out]. */
struct sum {
    size_t out, inputs, side;
    double *w, *b;
};

static int sum_begin(struct sum *sum, size_t out, size_t inputs, size_t side, struct clip_error *error)
{
    *sum = (struct sum){out, inputs, side, calloc(out * inputs * side * side, sizeof *sum->w),
                        calloc(out, sizeof *sum->b)};
    return sum->w && sum->b ? 0 : clip_fail_memory(error, "a convolution");
}

static void sum_free(struct sum *sum)
{
    free(sum->w);
    free(sum->b);
}

static int has(const struct fastvit *net, const char *format, const char *at)
{
    char name[128];
    snprintf(name, sizeof name, format, at);
    return clip_model_slot(net->setup->model, name) != NULL;
}

/* A batch norm in evaluation mode as factors and addends, [n] each, from malloc; -1 with error. */
static int fold_norm(const struct fastvit *net, const char *name, size_t n, double **scale, double **shift,
                     struct clip_error *error)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    struct clip_values values[4] = {{0}};
    int status = 0;
    *scale = calloc(n, sizeof **scale);
    *shift = calloc(n, sizeof **shift);
    if (!*scale || !*shift)
        status = clip_fail_memory(error, "batch norm");
    for (int i = 0; i < 4 && status == 0; i++)
        status = clip_values_load(&values[i], net->setup, error, "%s.%s", name, parts[i]);
    for (size_t c = 0; c < n && status == 0; c++) {
        (*scale)[c] = (double)values[0].value[c] / sqrt((double)values[3].value[c] + EPSILON);
        (*shift)[c] = (double)values[1].value[c] - (double)values[2].value[c] * (*scale)[c];
    }
    for (int i = 0; i < 4; i++)
        clip_values_free(&values[i]);
    return status;
}

/* Adds a convolution of an odd side up to the sum's, and its norm. */
static int add_branch(const struct fastvit *net, struct sum *sum, const char *format, const char *at,
                      size_t side, struct clip_error *error)
{
    char name[112], norm[128];
    struct clip_values weight = {0};
    double *scale = NULL, *shift = NULL;
    snprintf(name, sizeof name, format, at);
    snprintf(norm, sizeof norm, "%s.bn", name);
    int status = fold_norm(net, norm, sum->out, &scale, &shift, error);
    if (status == 0)
        status = clip_values_load(&weight, net->setup, error, "%s.conv.weight", name);
    size_t rim = (sum->side - side) / 2, area = sum->side * sum->side;
    for (size_t i = 0; i < sum->out * sum->inputs * side * side && status == 0; i++) {
        size_t tap = i % (side * side), channels = i / (side * side);
        sum->w[channels * area + (tap / side + rim) * sum->side + tap % side + rim] +=
            (double)weight.value[i] * scale[channels / sum->inputs];
    }
    for (size_t o = 0; o < sum->out && status == 0; o++)
        sum->b[o] += shift[o];
    clip_values_free(&weight);
    free(scale);
    free(shift);
    return status;
}

/* Adds `sign` times the input itself, through its norm. */
static int add_identity(const struct fastvit *net, struct sum *sum, const char *format, const char *at,
                        double sign, struct clip_error *error)
{
    char name[112];
    double *scale = NULL, *shift = NULL;
    size_t area = sum->side * sum->side;
    snprintf(name, sizeof name, format, at);
    int status = fold_norm(net, name, sum->out, &scale, &shift, error);
    for (size_t o = 0; o < sum->out && status == 0; o++) {
        sum->w[(o * sum->inputs + (sum->inputs > 1 ? o : 0)) * area + area / 2] += sign * scale[o];
        sum->b[o] += sign * shift[o];
    }
    free(scale);
    free(shift);
    return status;
}

/* All branches of a MobileOne block. */
static int add_mobile_one(const struct fastvit *net, struct sum *sum, const char *at,
                          struct clip_error *error)
{
    if (add_branch(net, sum, "%s.conv_kxk.0", at, sum->side, error) != 0 ||
        (has(net, "%s.conv_scale.conv.weight", at) &&
         add_branch(net, sum, "%s.conv_scale", at, 1, error) != 0))
        return -1;
    return has(net, "%s.identity.weight", at) ? add_identity(net, sum, "%s.identity", at, 1, error) : 0;
}

/* --- layers --- */

/* A layer more, after those so far. */
static struct layer *add_layer(struct fastvit *net, enum operation operation, size_t channels, size_t stride)
{
    struct layer *layer = &net->layers[net->count++];
    size_t to = (net->side - 1) / stride + 1;
    *layer = (struct layer){.operation = operation, .from = net->side, .to = to, .channels = channels};
    layer->conv = (struct convolution){.in = net->channels, .out = channels, .side = 1, .stride = stride};
    net->side = to;
    net->channels = channels;
    return layer;
}

/* The floats of a sum, for the layer; the sum is spent. */
static int set_convolution(const struct fastvit *net, struct layer *layer, struct sum *sum, int status,
                           struct clip_error *error)
{
    struct convolution *conv = &layer->conv;
    size_t count = sum->out * sum->inputs * sum->side * sum->side;
    conv->side = sum->side;
    float *w = status == 0 ? reallocarray(NULL, count, sizeof *w) : NULL;
    conv->bias = status == 0 ? reallocarray(NULL, sum->out, sizeof *conv->bias) : NULL;
    if (status == 0 && (!w || !conv->bias))
        status = clip_fail_memory(error, "a convolution");
    for (size_t i = 0; i < count && status == 0; i++)
        w[i] = (float)sum->w[i];
    for (size_t o = 0; o < sum->out && status == 0; o++)
        conv->bias[o] = (float)sum->b[o];
    sum_free(sum);
    if (status == 0 && layer->operation == DENSE) {
        conv->matrix = clip_matrix_new_rows(net->engine, net->piece, conv->out, count / conv->out, error);
        status = conv->matrix ? clip_matrix_set(conv->matrix, w, 0, error) : -1;
        conv->weights = w;
        return status;
    }
    if (status == 0) {
        conv->weights =
            aligned_alloc(64, (clip_depthwise_packed(conv->out, conv->side) * sizeof(float) + 63) / 64 * 64);
        if (conv->weights)
            clip_depthwise_pack(w, conv->out, conv->side, conv->weights);
        else
            status = clip_fail_memory(error, "a convolution");
    }
    free(w);
    return status;
}

/* A MobileOne block of all its inputs, or of one a channel. */
static int add_block(struct fastvit *net, const char *at, enum operation operation, size_t channels,
                     size_t side, size_t stride, struct clip_error *error)
{
    struct sum sum;
    struct layer *layer = add_layer(net, operation, channels, stride);
    layer->activates = 1;
    int status = sum_begin(&sum, channels, operation == DENSE ? layer->conv.in : 1, side, error);
    if (status == 0)
        status = add_mobile_one(net, &sum, at, error);
    return set_convolution(net, layer, &sum, status, error);
}

static int load_linear(const struct fastvit *net, struct linear *linear, const char *name,
                       struct clip_error *error)
{
    char weight[112];
    snprintf(weight, sizeof weight, "%s.weight", name);
    struct clip_operand_part part = {.name = weight};
    if (clip_operand_load(&linear->weight, net->setup, net->piece, &part, error) != 0)
        return -1;
    return has(net, "%s.bias", name) ? clip_values_load(&linear->bias, net->setup, error, "%s.bias", name)
                                     : 0;
}

static int add_excitation(struct fastvit *net, const char *at, struct clip_error *error)
{
    struct layer *layer = add_layer(net, EXCITE, net->channels, 1);
    char name[128];
    snprintf(name, sizeof name, "%s.fc1.bias", at);
    layer->hidden = clip_model_slot(net->setup->model, name)->shape[0];
    if (clip_values_load(&layer->squeeze, net->setup, error, "%s.fc1.weight", at) != 0 ||
        clip_values_load(&layer->squeeze_bias, net->setup, error, "%s.fc1.bias", at) != 0 ||
        clip_values_load(&layer->excite, net->setup, error, "%s.fc2.weight", at) != 0)
        return -1;
    return clip_values_load(&layer->excite_bias, net->setup, error, "%s.fc2.bias", at);
}

static int add_downsample(struct fastvit *net, int stage, size_t channels, struct clip_error *error)
{
    struct sum sum;
    char at[64], name[96];
    struct layer *layer = add_layer(net, DEPTHWISE, channels, 2);
    snprintf(at, sizeof at, "visual.trunk.stages.%d.downsample.proj", stage);
    layer->activates = !has(net, "%s.0.se.fc1.weight", at);
    int status = sum_begin(&sum, channels, 1, 7, error);
    if (status == 0)
        status = add_branch(net, &sum, "%s.0.large_conv", at, 7, error);
    if (status == 0)
        status = add_branch(net, &sum, "%s.0.small_conv", at, 3, error);
    if (set_convolution(net, layer, &sum, status, error) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.0.se", at);
    if (!layer->activates && add_excitation(net, name, error) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.1", at);
    return add_block(net, name, DENSE, channels, 1, 1, error);
}

/* x += a convolution with bias of x. */
static int add_positions(struct fastvit *net, int stage, struct clip_error *error)
{
    struct sum sum;
    struct clip_values weight = {0}, bias = {0};
    struct layer *layer = add_layer(net, DEPTHWISE, net->channels, 1);
    const char *name = "visual.trunk.stages.%d.pos_emb.pos_enc.%s";
    int status = sum_begin(&sum, net->channels, 1, 7, error);
    if (status == 0)
        status = clip_values_load(&weight, net->setup, error, name, stage, "weight");
    if (status == 0)
        status = clip_values_load(&bias, net->setup, error, name, stage, "bias");
    for (size_t i = 0; i < sum.out * 49 && status == 0; i++)
        sum.w[i] = (double)weight.value[i] + (i % 49 == 24);
    for (size_t o = 0; o < sum.out && status == 0; o++)
        sum.b[o] = (double)bias.value[o];
    clip_values_free(&weight);
    clip_values_free(&bias);
    return set_convolution(net, layer, &sum, status, error);
}

/* x += gamma (mixer(x) - norm(x)). */
static int add_mixer(struct fastvit *net, const char *at, struct clip_error *error)
{
    struct sum sum;
    struct clip_values gamma = {0};
    char name[96];
    struct layer *layer = add_layer(net, DEPTHWISE, net->channels, 1);
    snprintf(name, sizeof name, "%s.token_mixer.mixer", at);
    int status = sum_begin(&sum, net->channels, 1, 3, error);
    if (status == 0)
        status = add_mobile_one(net, &sum, name, error);
    if (status == 0)
        status = add_identity(net, &sum, "%s.token_mixer.norm.identity", at, -1, error);
    if (status == 0)
        status = clip_values_load(&gamma, net->setup, error, "%s.token_mixer.layer_scale.gamma", at);
    for (size_t i = 0; i < sum.out * 9 && status == 0; i++)
        sum.w[i] = sum.w[i] * (double)gamma.value[i / 9] + (i % 9 == 4);
    for (size_t o = 0; o < sum.out && status == 0; o++)
        sum.b[o] *= (double)gamma.value[o];
    clip_values_free(&gamma);
    return set_convolution(net, layer, &sum, status, error);
}

static int add_hidden(struct fastvit *net, const char *at, const char *gamma, struct clip_error *error)
{
    struct sum sum;
    char name[96];
    struct layer *layer = add_layer(net, HIDDEN, net->channels, 1);
    int status = sum_begin(&sum, net->channels, 1, 7, error);
    if (status == 0)
        status = add_branch(net, &sum, "%s.mlp.conv", at, 7, error);
    if (set_convolution(net, layer, &sum, status, error) != 0 ||
        clip_values_load(&layer->gamma, net->setup, error, "%s.%s.gamma", at, gamma) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.mlp.fc1", at);
    if (load_linear(net, &layer->first, name, error) != 0)
        return -1;
    layer->hidden = clip_matrix_outputs(layer->first.weight.forward);
    snprintf(name, sizeof name, "%s.mlp.fc2", at);
    return load_linear(net, &layer->second, name, error);
}

static int load_norm(const struct fastvit *net, struct layer *layer, const char *at, struct clip_error *error)
{
    char name[96];
    double *scale = NULL, *shift = NULL;
    snprintf(name, sizeof name, "%s.norm", at);
    if (!has(net, "%s.running_mean", name))
        return clip_values_load(&layer->norm_weight, net->setup, error, "%s.weight", name) == 0
                   ? clip_values_load(&layer->norm_bias, net->setup, error, "%s.bias", name)
                   : -1;
    int status = fold_norm(net, name, layer->channels, &scale, &shift, error);
    layer->scale = status == 0 ? reallocarray(NULL, layer->channels, sizeof *layer->scale) : NULL;
    layer->shift = status == 0 ? reallocarray(NULL, layer->channels, sizeof *layer->shift) : NULL;
    if (status == 0 && (!layer->scale || !layer->shift))
        status = clip_fail_memory(error, "batch norm");
    for (size_t c = 0; c < layer->channels && status == 0; c++) {
        layer->scale[c] = (float)scale[c];
        layer->shift[c] = (float)shift[c];
    }
    free(scale);
    free(shift);
    return status;
}

static int add_attention(struct fastvit *net, const char *at, struct clip_error *error)
{
    char name[96];
    struct layer *layer = add_layer(net, ATTEND, net->channels, 1);
    if (load_norm(net, layer, at, error) != 0 ||
        clip_values_load(&layer->gamma, net->setup, error, "%s.layer_scale_1.gamma", at) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.token_mixer.qkv", at);
    if (load_linear(net, &layer->first, name, error) != 0)
        return -1;
    snprintf(name, sizeof name, "%s.token_mixer.proj", at);
    return load_linear(net, &layer->second, name, error);
}

static int add_stage(struct fastvit *net, const struct clip_tower_arch *arch, int stage,
                     struct clip_error *error)
{
    int attends = stage >= arch->fastvit.stages - arch->fastvit.attending;
    if ((stage > 0 && add_downsample(net, stage, (size_t)arch->widths[stage], error) != 0) ||
        (attends && add_positions(net, stage, error) != 0))
        return -1;
    for (int i = 0; i < arch->blocks[stage]; i++) {
        char at[64];
        snprintf(at, sizeof at, "visual.trunk.stages.%d.blocks.%d", stage, i);
        if ((attends ? add_attention(net, at, error) : add_mixer(net, at, error)) != 0 ||
            add_hidden(net, at, attends ? "layer_scale_2" : "layer_scale", error) != 0)
            return -1;
    }
    return 0;
}

static int add_layers(struct fastvit *net, const struct clip_tower_arch *arch, struct clip_error *error)
{
    size_t stem = (size_t)arch->widths[0];
    net->room = 5; /* stem, final_conv */
    for (int i = 0; i < arch->fastvit.stages; i++)
        net->room += 4 + 2 * (size_t)arch->blocks[i];
    net->layers = calloc(net->room, sizeof *net->layers);
    if (!net->layers)
        return clip_fail_memory(error, "the image tower");
    net->side = net->size;
    net->channels = COLORS;
    if (add_block(net, "visual.trunk.stem.0", DENSE, stem, 3, 2, error) != 0 ||
        add_block(net, "visual.trunk.stem.1", DEPTHWISE, stem, 3, 2, error) != 0 ||
        add_block(net, "visual.trunk.stem.2", DENSE, stem, 1, 1, error) != 0)
        return -1;
    for (int i = 0; i < arch->fastvit.stages; i++)
        if (add_stage(net, arch, i, error) != 0)
            return -1;
    if (add_block(net, "visual.trunk.final_conv", DEPTHWISE, FINAL * net->channels, 3, 1, error) != 0)
        return -1;
    net->layers[net->count - 1].activates = 0; /* but after excitation */
    return add_excitation(net, "visual.trunk.final_conv.se", error);
}

/* --- opening --- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The most that a layer needs: floats, but scratch. */
struct needs {
    size_t picture, framed, narrow, wide, out, hidden, qkv, attended, attention, row, scratch;
};

static struct needs needs_of(const struct fastvit *net)
{
    struct needs needs = {.picture = net->size * net->size * COLORS};
    for (const struct layer *layer = net->layers; layer < net->layers + net->count; layer++) {
        const struct clip_depthwise d = depthwise_of(layer);
        size_t channels = layer->channels, pixels = pixels_of(layer);
        size_t rows = (pixels + net->piece - 1) / net->piece * net->piece;
        size_t read = layer->conv.in * layer->conv.side * layer->conv.side;
        needs.picture = larger(needs.picture, pixels * channels);
        needs.row = larger(needs.row, larger(channels, larger(layer->hidden, read)));
        if (layer->operation == DEPTHWISE || layer->operation == HIDDEN)
            needs.framed = larger(needs.framed, clip_depthwise_floats(&d));
        if (layer->operation == DENSE) {
            needs.narrow = larger(needs.narrow, read);
            needs.wide = larger(needs.wide, channels);
            needs.scratch = larger(needs.scratch, clip_product_scratch(layer->conv.matrix));
        }
        if (layer->operation == HIDDEN) {
            needs.wide = larger(needs.wide, layer->hidden);
            needs.hidden = larger(needs.hidden, layer->hidden);
        }
        if (layer->operation == ATTEND) {
            needs.qkv = larger(needs.qkv, rows * 3 * channels);
            needs.attended = larger(needs.attended, rows * channels);
            needs.attention = larger(needs.attention, clip_attention_scratch(pixels, HEAD));
        }
        if (layer->operation == HIDDEN || layer->operation == ATTEND) {
            needs.narrow = larger(needs.narrow, channels);
            needs.out = larger(needs.out, channels);
            needs.scratch = larger(needs.scratch, clip_operand_scratch(&layer->first.weight));
            needs.scratch = larger(needs.scratch, clip_operand_scratch(&layer->second.weight));
        }
    }
    return needs;
}

static void place(void *context)
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
    struct clip_values *values[] = {&layer->first.bias,  &layer->second.bias,  &layer->gamma,
                                    &layer->norm_weight, &layer->norm_bias,    &layer->squeeze,
                                    &layer->excite,      &layer->squeeze_bias, &layer->excite_bias};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        clip_values_free(values[i]);
    clip_operand_free(&layer->first.weight);
    clip_operand_free(&layer->second.weight);
    clip_matrix_free(layer->conv.matrix);
    free(layer->conv.weights);
    free(layer->conv.bias);
    free(layer->scale);
    free(layer->shift);
}

static void free_fastvit(struct clip_tower *base)
{
    struct fastvit *net = (struct fastvit *)base;
    for (size_t i = 0; i < net->count; i++)
        free_layer(&net->layers[i]);
    clip_arena_free(&net->arena);
    clip_crew_destroy(&net->crew);
    free(net->layers);
    free(net);
}

static const struct clip_tower_type type = {.free = free_fastvit, .forward = forward};

static struct clip_tower *open_fastvit(const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if ((setup->parameters && clip_tower_need_training(setup->arch, CLIP_SIDE_IMAGE, error) != 0) ||
        clip_level_choose(&level, error) != 0)
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
    if (add_layers(net, &setup->arch->vision, error) == 0 &&
        clip_arena_build(&net->arena, "the image tower", place, net, error) == 0) {
        net->setup = NULL;
        return &net->base;
    }
    free_fastvit(&net->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_fastvit = {&clip_kind_fastvit, 0, open_fastvit};
