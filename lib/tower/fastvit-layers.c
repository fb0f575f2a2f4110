/* Training of a FastViT: what follows the branches of a step, forward and backward: layer scales, squeeze and
 * excitation, hidden layers, attention. */
#include "tower/fastvit-learner.h"

#include <math.h>
#include <string.h>

typedef struct clip_fastvit_learner net_t;
typedef struct clip_fastvit_layer layer_t;
typedef struct clip_fastvit_workspace workspace_t;
typedef struct clip_fastvit_kept kept_t;

static void *elements(const net_t *net, void *x, size_t i)
{
    return (char *)x + i * net->element;
}

/* Rows of the piece that begins at row `first` of a picture. */
static size_t piece_rows(const net_t *net, size_t pixels, size_t first)
{
    return pixels - first < net->piece ? pixels - first : net->piece;
}

static int product(const struct clip_matrix *matrix, size_t rows, const void *x, float *y,
                   const workspace_t *workspace, struct clip_error *error)
{
    return clip_product_rows(matrix, rows, x, y, workspace->scratch, error);
}

/* Returns the vectors of picture i in back.vectors. */
static float *vectors_of(const net_t *net, size_t i)
{
    return net->back.vectors + 3 * i * net->channels;
}

/* --- sums alone --- */

/* y = x + gamma y; without gamma, x + y. */
static void add_residual(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, float *y)
{
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step);
    const float *x = clip_fastvit_picture(kept->x, i, pixels, channels);
    for (size_t p = 0; p < pixels && layer->gamma.value; p++)
        net->kernels->multiply(channels, layer->gamma.value, y + p * channels, net->zeros, CLIP_PRECISION_F32,
                               y + p * channels);
    net->kernels->sum(pixels * channels, x, y, y);
}

/* Squeeze and excitation if the layer has it, then GELU, in place. */
static void activate(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, float *y)
{
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step);
    float *mean = kept->mean + i * channels, *gate = kept->gate + i * channels;
    if (layer->excitation.hidden) {
        clip_pixels_mean(net->kernels, pixels, channels, y, mean);
        clip_excitation_gate(&layer->excitation, mean, kept->squeezed + i * layer->excitation.hidden, gate);
    }
    for (size_t p = 0; p < pixels; p++, y += channels) {
        if (layer->excitation.hidden)
            net->kernels->multiply(channels, gate, y, net->zeros, CLIP_PRECISION_F32, y);
        net->kernels->activation[CLIP_GELU](channels, y, net->zeros, CLIP_PRECISION_F32, y);
    }
}

static void finish_sum(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, float *y,
                       const workspace_t *workspace)
{
    clip_fastvit_sum(net, layer, kept, i, 0, clip_fastvit_pixels(layer->step), workspace, y);
    if (layer->step->residual)
        add_residual(net, layer, kept, i, y);
    if (layer->step->activates)
        activate(net, layer, kept, i, y);
}

/* The backward of x + gamma s: sets ds, and the gradient of gamma in the vectors of the picture. */
static void residual_backward(const net_t *net, size_t i, const float *dy, float *ds,
                              const workspace_t *workspace)
{
    const layer_t *layer = net->layer;
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step);
    float *dgamma = vectors_of(net, i);
    if (!layer->gamma.value) {
        memcpy(ds, dy, pixels * channels * sizeof *ds);
        return;
    }
    clip_fastvit_sum(net, layer, net->kept, i, 0, pixels, workspace, workspace->a);
    for (size_t p = 0; p < pixels * channels; p += channels) {
        net->kernels->multiply(channels, dy + p, workspace->a + p, net->zeros, CLIP_PRECISION_F32,
                               workspace->a + p);
        net->kernels->multiply(channels, layer->gamma.value, dy + p, net->zeros, CLIP_PRECISION_F32, ds + p);
    }
    memset(dgamma, 0, channels * sizeof *dgamma);
    net->kernels->column_sums(pixels, channels, workspace->a, channels, CLIP_PRECISION_F32, dgamma);
}

/* The backward of gelu(gate s) with a constant gate: sets ds, and the gradient of the gate in the vectors of
 * the picture. */
static void activate_backward(const net_t *net, size_t i, const float *dy, float *ds,
                              const workspace_t *workspace)
{
    const layer_t *layer = net->layer;
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step);
    int excites = layer->excitation.hidden > 0;
    float *dgate = vectors_of(net, i), *row = workspace->gate;
    const float *gate = net->kept->gate + i * channels;
    clip_fastvit_sum(net, layer, net->kept, i, 0, pixels, workspace, workspace->a);
    memset(dgate, 0, channels * sizeof *dgate);
    for (size_t p = 0; p < pixels * channels; p += channels) {
        float *s = workspace->a + p;
        if (excites)
            net->kernels->multiply(channels, gate, s, net->zeros, CLIP_PRECISION_F32, row);
        net->kernels->activation_backward[CLIP_GELU](channels, excites ? row : s, net->zeros, dy + p,
                                                     CLIP_PRECISION_F32, workspace->b, ds + p);
        if (!excites)
            continue;
        net->kernels->multiply(channels, ds + p, s, net->zeros, CLIP_PRECISION_F32, row);
        net->kernels->sum(channels, dgate, row, dgate);
        net->kernels->multiply(channels, gate, ds + p, net->zeros, CLIP_PRECISION_F32, ds + p);
    }
}

void clip_fastvit_excitation_backward(const net_t *net)
{
    const layer_t *layer = net->layer;
    size_t channels = layer->step->out, hidden = layer->excitation.hidden;
    for (size_t i = 0; i < net->n; i++) {
        float *vectors = vectors_of(net, i);
        clip_excitation_backward(&layer->excitation, net->kept->mean + i * channels,
                                 net->kept->squeezed + i * hidden, net->kept->gate + i * channels, vectors,
                                 vectors + net->channels, &layer->excitation_gradients,
                                 vectors + 2 * net->channels);
    }
}

void clip_fastvit_excitation_spread(const net_t *net, size_t i)
{
    size_t channels = net->layer->step->out, pixels = clip_fastvit_pixels(net->layer->step);
    float *ds = clip_fastvit_picture(net->back.sum, i, pixels, channels),
          *dmean = vectors_of(net, i) + 2 * net->channels;
    for (size_t c = 0; c < channels; c++)
        dmean[c] /= (float)pixels;
    for (size_t p = 0; p < pixels; p++, ds += channels)
        net->kernels->sum(channels, ds, dmean, ds);
}

/* --- x + gamma (second f(first)), in pieces --- */

/* y = x + gamma (second(input) + bias) for some rows of a picture; reads the input from workspace->hidden. */
static int run_second(const net_t *net, const layer_t *layer, const kept_t *kept, size_t row, size_t rows,
                      float *y, const workspace_t *workspace, struct clip_error *error)
{
    size_t channels = layer->step->out;
    const float *x = kept->x + row * channels;
    if (product(layer->second.weight.forward, rows, workspace->hidden, workspace->out, workspace, error) != 0)
        return -1;
    memcpy(kept->out + row * channels, workspace->out, rows * channels * sizeof *y);
    for (size_t r = 0; r < rows * channels; r += channels) {
        net->kernels->multiply(channels, layer->gamma.value, workspace->out + r, layer->second.bias.value,
                               CLIP_PRECISION_F32, y + r);
        net->kernels->sum(channels, x + r, y + r, y + r);
    }
    return 0;
}

/* Sets workspace->wide to the gradient of the input of `second` for some rows of a picture, and adds to
 * dgamma. */
static int second_backward(const net_t *net, size_t row, size_t rows, float *dgamma,
                           const workspace_t *workspace, struct clip_error *error)
{
    const layer_t *layer = net->layer;
    size_t channels = layer->step->out;
    const float *dy = net->dy + row * channels, *out = net->kept->out + row * channels;
    for (size_t r = 0; r < rows * channels; r += channels) {
        net->kernels->multiply(channels, dy + r, out + r, layer->second.bias.value, CLIP_PRECISION_F32,
                               workspace->out + r);
        net->kernels->multiply(channels, layer->gamma.value, dy + r, net->zeros, net->type,
                               elements(net, workspace->narrow, r));
    }
    net->kernels->column_sums(rows, channels, workspace->out, channels, CLIP_PRECISION_F32, dgamma);
    memcpy(elements(net, net->back.dout, row * channels), workspace->narrow, rows * channels * net->element);
    return product(layer->second.weight.backward, rows, workspace->narrow, workspace->wide, workspace, error);
}

/* Sets workspace->narrow to the input of `first`, as elements, for some rows of a picture. */
static void read_first(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, size_t first,
                       size_t rows, const workspace_t *workspace)
{
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step);
    if (layer->step->branch_count) {
        clip_fastvit_sum(net, layer, kept, i, first, rows, workspace, workspace->out);
        net->kernels->convert(rows * channels, workspace->out, net->type, workspace->narrow);
        return;
    }
    const float *x = clip_fastvit_picture(kept->x, i, pixels, channels) + first * channels;
    for (size_t r = 0; r < rows; r++)
        net->kernels->layer_norm(channels, (float)CLIP_FASTVIT_EPSILON, x + r * channels,
                                 layer->norm.weight.value, layer->norm.bias.value, net->type,
                                 elements(net, workspace->narrow, r * channels));
}

/* Reads the gradient of the output of `first` from workspace->hidden, and sets back.sum, or adds to dx the
 * gradient through the layer norm, whose own gradients it adds to `vectors`. */
static int first_backward(const net_t *net, size_t i, size_t first, size_t rows, float *vectors,
                          const workspace_t *workspace, struct clip_error *error)
{
    const layer_t *layer = net->layer;
    size_t channels = layer->step->out, row = i * clip_fastvit_pixels(layer->step) + first;
    memcpy(elements(net, net->back.dwide, row * layer->step->hidden), workspace->hidden,
           rows * layer->step->hidden * net->element);
    read_first(net, layer, net->kept, i, first, rows, workspace);
    memcpy(elements(net, net->back.normed, row * channels), workspace->narrow,
           rows * channels * net->element);
    if (product(layer->first.weight.backward, rows, workspace->hidden, workspace->out, workspace, error) != 0)
        return -1;
    if (layer->step->branch_count) {
        memcpy(net->back.sum + row * channels, workspace->out, rows * channels * sizeof *net->back.sum);
        return 0;
    }
    for (size_t r = 0; r < rows; r++)
        net->kernels->layer_norm_backward(channels, (float)CLIP_FASTVIT_EPSILON,
                                          net->kept->x + (row + r) * channels, layer->norm.weight.value,
                                          workspace->out + r * channels, net->dx + (row + r) * channels,
                                          vectors + net->channels, vectors + 2 * net->channels);
    return 0;
}

/* --- hidden layers --- */

static int finish_hidden(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, float *y,
                         const workspace_t *workspace, struct clip_error *error)
{
    size_t pixels = clip_fastvit_pixels(layer->step), hidden = layer->step->hidden;
    for (size_t first = 0, rows; first < pixels; first += rows) {
        size_t row = i * pixels + first;
        rows = piece_rows(net, pixels, first);
        read_first(net, layer, kept, i, first, rows, workspace);
        if (product(layer->first.weight.forward, rows, workspace->narrow, workspace->wide, workspace,
                    error) != 0)
            return -1;
        memcpy(kept->wide + row * hidden, workspace->wide, rows * hidden * sizeof *kept->wide);
        for (size_t r = 0; r < rows; r++)
            net->kernels->activation[CLIP_GELU](hidden, workspace->wide + r * hidden, layer->first.bias.value,
                                                net->type, elements(net, workspace->hidden, r * hidden));
        if (run_second(net, layer, kept, row, rows, y + first * layer->step->out, workspace, error) != 0)
            return -1;
    }
    return 0;
}

static int hidden_backward(const net_t *net, size_t i, const workspace_t *workspace, struct clip_error *error)
{
    const layer_t *layer = net->layer;
    size_t pixels = clip_fastvit_pixels(layer->step), hidden = layer->step->hidden;
    float *vectors = vectors_of(net, i);
    for (size_t first = 0, rows; first < pixels; first += rows) {
        size_t row = i * pixels + first;
        rows = piece_rows(net, pixels, first);
        if (second_backward(net, row, rows, vectors, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            net->kernels->activation_backward[CLIP_GELU](
                hidden, net->kept->wide + (row + r) * hidden, layer->first.bias.value,
                workspace->wide + r * hidden, net->type, elements(net, net->back.read, (row + r) * hidden),
                elements(net, workspace->hidden, r * hidden));
        if (first_backward(net, i, first, rows, vectors, workspace, error) != 0)
            return -1;
    }
    return 0;
}

/* --- attention --- */

/* The head of picture i whose channels begin at `at`. */
static struct clip_attention head_of(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i,
                                     size_t at)
{
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step);
    const float *qkv = clip_fastvit_picture(kept->wide, i, pixels, 3 * channels) + at;
    return (struct clip_attention){
        .queries = pixels,
        .keys = pixels,
        .dim = CLIP_FASTVIT_HEAD,
        .scale = 1 / sqrtf((float)CLIP_FASTVIT_HEAD),
        .q = qkv,
        .k = qkv + channels,
        .v = qkv + 2 * channels,
        .q_stride = 3 * channels,
        .k_stride = 3 * channels,
        .v_stride = 3 * channels,
        .q_bias = net->zeros,
        .k_bias = net->zeros,
        .v_bias = net->zeros,
        .type = net->type,
        .out = elements(net, kept->attended, i * pixels * channels + at),
        .out_stride = channels,
    };
}

static int finish_attention(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, float *y,
                            const workspace_t *workspace, struct clip_error *error)
{
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step), wide = 3 * channels;
    for (size_t first = 0, rows; first < pixels; first += rows) {
        rows = piece_rows(net, pixels, first);
        read_first(net, layer, kept, i, first, rows, workspace);
        if (product(layer->first.weight.forward, rows, workspace->narrow, workspace->wide, workspace,
                    error) != 0)
            return -1;
        memcpy(kept->wide + (i * pixels + first) * wide, workspace->wide, rows * wide * sizeof *kept->wide);
    }
    for (size_t at = 0; at < channels; at += CLIP_FASTVIT_HEAD) {
        const struct clip_attention head = head_of(net, layer, kept, i, at);
        net->kernels->attention(&head, workspace->attention);
    }
    for (size_t first = 0, rows; first < pixels; first += rows) {
        size_t row = i * pixels + first;
        rows = piece_rows(net, pixels, first);
        memcpy(workspace->hidden, elements(net, kept->attended, row * channels),
               rows * channels * net->element);
        if (run_second(net, layer, kept, row, rows, y + first * channels, workspace, error) != 0)
            return -1;
    }
    return 0;
}

/* Sets back.dwide to the gradients of q, k and v of picture i, from that of the attention's output in
 * workspace->a. */
static void heads_backward(const net_t *net, size_t i, const workspace_t *workspace)
{
    size_t channels = net->layer->step->out, wide = 3 * channels;
    char *dqkv = elements(net, net->back.dwide, i * clip_fastvit_pixels(net->layer->step) * wide);
    for (size_t at = 0; at < channels; at += CLIP_FASTVIT_HEAD) {
        const struct clip_attention head = head_of(net, net->layer, net->kept, i, at);
        const struct clip_attention_backward back = {
            .forward = &head,
            .dout = workspace->a + at,
            .dout_stride = channels,
            .type = net->type,
            .dq = elements(net, dqkv, at),
            .dk = elements(net, dqkv, channels + at),
            .dv = elements(net, dqkv, 2 * channels + at),
            .dq_stride = wide,
            .dkv_stride = wide,
        };
        net->kernels->attention_backward(&back, workspace->attention);
    }
}

static int attention_backward(const net_t *net, size_t i, const workspace_t *workspace,
                              struct clip_error *error)
{
    const layer_t *layer = net->layer;
    size_t channels = layer->step->out, pixels = clip_fastvit_pixels(layer->step), wide = 3 * channels;
    float *vectors = vectors_of(net, i);
    for (size_t first = 0, rows; first < pixels; first += rows) {
        size_t row = i * pixels + first;
        rows = piece_rows(net, pixels, first);
        if (second_backward(net, row, rows, vectors, workspace, error) != 0)
            return -1;
        memcpy(workspace->a + first * channels, workspace->wide, rows * channels * sizeof *workspace->a);
    }
    heads_backward(net, i, workspace);
    for (size_t first = 0, rows; first < pixels; first += rows) {
        rows = piece_rows(net, pixels, first);
        memcpy(workspace->hidden, elements(net, net->back.dwide, (i * pixels + first) * wide),
               rows * wide * net->element);
        if (first_backward(net, i, first, rows, vectors, workspace, error) != 0)
            return -1;
    }
    return 0;
}

/* --- */

int clip_fastvit_finish(const net_t *net, const layer_t *layer, const kept_t *kept, size_t i, float *y,
                        const workspace_t *workspace, struct clip_error *error)
{
    switch (layer->step->operation) {
    case CLIP_FASTVIT_HIDDEN:
        return finish_hidden(net, layer, kept, i, y, workspace, error);
    case CLIP_FASTVIT_ATTEND:
        return finish_attention(net, layer, kept, i, y, workspace, error);
    case CLIP_FASTVIT_SUM:
        break;
    }
    finish_sum(net, layer, kept, i, y, workspace);
    return 0;
}

int clip_fastvit_finish_backward(const net_t *net, size_t i, const workspace_t *workspace,
                                 struct clip_error *error)
{
    const struct clip_fastvit_step *step = net->layer->step;
    size_t pixels = clip_fastvit_pixels(step);
    const float *dy = clip_fastvit_picture(net->dy, i, pixels, step->out);
    float *ds = clip_fastvit_picture(net->back.sum, i, pixels, step->out);
    if (step->operation != CLIP_FASTVIT_SUM) {
        memset(vectors_of(net, i), 0, 3 * net->channels * sizeof *net->back.vectors);
        return (step->operation == CLIP_FASTVIT_HIDDEN ? hidden_backward
                                                       : attention_backward)(net, i, workspace, error);
    }
    if (step->activates)
        activate_backward(net, i, dy, ds, workspace);
    else
        residual_backward(net, i, dy, ds, workspace);
    return 0;
}

/* --- gradients of linear layers and vectors --- */

size_t clip_fastvit_layer_tasks(const layer_t *layer)
{
    return 1 + (layer->first_outer
                    ? clip_outer_panels(layer->first_outer) + clip_outer_panels(layer->second_outer)
                    : 0);
}

/* Adds vector `which` of all pictures, in order, to the gradient, unless that is NULL. */
static void add_vector(const net_t *net, size_t which, float *gradient)
{
    if (gradient)
        net->kernels->column_sums(net->n, net->layer->step->out, net->back.vectors + which * net->channels,
                                  3 * net->channels, CLIP_PRECISION_F32, gradient);
}

static void add_vectors(const net_t *net)
{
    const layer_t *layer = net->layer;
    size_t rows = net->n * clip_fastvit_pixels(layer->step), out = layer->step->out;
    if (layer->gamma.value)
        add_vector(net, 0, layer->gamma.gradient);
    add_vector(net, 1, layer->norm.weight.gradient);
    add_vector(net, 2, layer->norm.bias.gradient);
    if (layer->second.bias.gradient)
        net->kernels->column_sums(rows, out, net->back.dout, out, net->type, layer->second.bias.gradient);
    if (layer->first.bias.gradient)
        net->kernels->column_sums(rows, layer->step->hidden, net->back.dwide, layer->step->hidden, net->type,
                                  layer->first.bias.gradient);
}

int clip_fastvit_layer_task(const net_t *net, size_t i, const workspace_t *workspace,
                            struct clip_error *error)
{
    const layer_t *layer = net->layer;
    size_t rows = net->n * clip_fastvit_pixels(layer->step);
    if (i == 0) {
        add_vectors(net);
        return 0;
    }
    i--;
    size_t panels = clip_outer_panels(layer->first_outer);
    if (i < panels)
        return clip_outer_add(layer->first_outer, i, rows, net->back.dwide, net->back.normed,
                              layer->first.weight.gradient, workspace->scratch, error);
    return clip_outer_add(layer->second_outer, i - panels, rows, net->back.dout,
                          layer->step->operation == CLIP_FASTVIT_ATTEND ? net->kept->attended
                                                                        : net->back.read,
                          layer->second.weight.gradient, workspace->scratch, error);
}
