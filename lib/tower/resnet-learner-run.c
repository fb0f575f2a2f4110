/* Training of a ResNet: forward and backward.
 *
 * Batch norm needs the statistics of the whole chunk, so all pictures pass through a layer before the next
 * begins. A task takes a unit of pictures: forward it makes the layer's input, convolves it, and takes the
 * moments of the output while that is in the cache. Backward it makes the input again, and the gradient of
 * the output; it adds to the gradient of the weights, and computes the gradient of the input with the sums
 * that the norm before it needs. */
#include "image/preprocess.h"
#include "tower/resnet-learner.h"

#include <string.h>

/* Up to this many multiply-adds of a chunk, forward convolutions are summed in double, which then costs
 * little: norms over few pictures amplify rounding, and where that changes a sign, a ReLU changes the
 * gradient. */
#define FEW_OPERATIONS ((size_t)1 << 31)

typedef struct clip_resnet_learner net_t;
typedef struct clip_resnet_layer layer_t;
typedef struct clip_resnet_block block_t;
typedef struct clip_resnet_workspace workspace_t;

/* Pictures [first, first + count). */
struct unit {
    size_t index, first, count;
};

static size_t units_of(const net_t *net, const layer_t *layer)
{
    return (net->count + layer->unit - 1) / layer->unit;
}

static struct unit unit_of(const net_t *net, const layer_t *layer, size_t i)
{
    size_t first = i * layer->unit, left = net->count - first;
    return (struct unit){i, first, left < layer->unit ? left : layer->unit};
}

static struct clip_resnet_record *record_of(const net_t *net, const layer_t *layer)
{
    return &net->tape->records[layer - net->layers];
}

static size_t output_floats(const layer_t *layer)
{
    return layer->height * layer->width * layer->out;
}

/* The output of a layer before its norm, from picture `first` on. */
static float *raw_of(const net_t *net, const layer_t *layer, size_t first)
{
    return record_of(net, layer)->raw + first * output_floats(layer);
}

/* The input of bottleneck `index`, from picture `first` on. */
static float *input_of(const net_t *net, size_t index, size_t first)
{
    const block_t *last = &net->blocks[net->block_count - 1];
    size_t floats = index < net->block_count
                        ? net->blocks[index].height * net->blocks[index].width * net->blocks[index].channels
                        : output_floats(last->conv3);
    return net->tape->inputs[index] + first * floats;
}

/* --- the input of a layer --- */

static void make_patches(const net_t *net, const workspace_t *workspace, const struct unit *unit, float *x)
{
    const layer_t *layer = net->layers;
    for (size_t i = 0; i < unit->count; i++, x += layer->height * layer->width * layer->in) {
        const struct clip_image *picture = &net->tape->items[unit->first + i].image;
        if (picture->bytes)
            clip_pixels_normalize(picture->bytes, net->size * net->size, net->levels, workspace->a);
        clip_conv_color_patches(picture->bytes ? workspace->a : picture->floats, net->size, x);
    }
}

/* Sets the frame of one pixel around [height][width][channels] to zeros. */
static void clear_frame(size_t height, size_t width, size_t channels, float *framed)
{
    size_t row = (width + 2) * channels;
    memset(framed, 0, row * sizeof *framed);
    for (size_t i = 1; i <= height; i++) {
        memset(framed + i * row, 0, channels * sizeof *framed);
        memset(framed + (i + 1) * row - channels, 0, channels * sizeof *framed);
    }
    memset(framed + (height + 1) * row, 0, row * sizeof *framed);
}

/* The output of `from` after norm and ReLU, framed for a filter of side 3. */
static void make_framed(const net_t *net, const layer_t *from, const struct unit *unit, float *x)
{
    size_t height = from->height, width = from->width, channels = from->out, row = (width + 2) * channels;
    const float *raw = raw_of(net, from, unit->first);
    for (size_t i = 0; i < unit->count; i++, x += (height + 2) * row) {
        clear_frame(height, width, channels, x);
        for (size_t j = 0; j < height; j++, raw += width * channels)
            net->norm_kernels->normalize(width, channels, raw, &record_of(net, from)->norm.norm, 1,
                                         x + (j + 1) * row + channels);
    }
}

/* The same for a filter of side 1; and pooled. */
static void make_flat(const net_t *net, const layer_t *from, const struct unit *unit, float *x)
{
    net->norm_kernels->normalize(unit->count * from->height * from->width, from->out,
                                 raw_of(net, from, unit->first), &record_of(net, from)->norm.norm, 1, x);
}

static void make_halved(const net_t *net, const layer_t *from, const workspace_t *workspace,
                        const struct unit *unit, float *x)
{
    make_flat(net, from, unit, workspace->a);
    net->conv_kernels->pool(workspace->a, unit->count * from->height, from->width, from->out, x);
}

/* Computes the input of bottleneck `index` on the tape, from the outputs before it. */
static void make_block_input(const net_t *net, size_t index, const workspace_t *workspace,
                             const struct unit *unit)
{
    float *x = input_of(net, index, unit->first);
    if (index == 0) {
        make_halved(net, net->blocks->before, workspace, unit, x);
        return;
    }
    const block_t *before = &net->blocks[index - 1];
    const layer_t *conv3 = before->conv3, *down = before->downsample;
    const float *side = down ? raw_of(net, down, unit->first) : input_of(net, index - 1, unit->first);
    net->norm_kernels->join(unit->count * conv3->height * conv3->width, conv3->out,
                            raw_of(net, conv3, unit->first), &record_of(net, conv3)->norm.norm, side,
                            down ? &record_of(net, down)->norm.norm : NULL, x);
}

/* Returns the framed input of a layer, in the workspace or on the tape. */
static const float *make_input(const net_t *net, const layer_t *layer, const workspace_t *workspace,
                               const struct unit *unit)
{
    if (layer->block) {
        const float *input = input_of(net, layer->block->index, unit->first);
        if (!layer->halves)
            return input;
        net->conv_kernels->pool(input, unit->count * layer->block->height, layer->block->width, layer->in,
                                workspace->x);
    } else if (!layer->from) {
        make_patches(net, workspace, unit, workspace->x);
    } else if (layer->halves) {
        make_halved(net, layer->from, workspace, unit, workspace->x);
    } else if (layer->side == 1) {
        make_flat(net, layer->from, unit, workspace->x);
    } else {
        make_framed(net, layer->from, unit, workspace->x);
    }
    return workspace->x;
}

/* --- forward --- */

/* Task: a unit of a layer. */
static void forward_task(void *context, size_t i, int thread)
{
    const net_t *net = context;
    const layer_t *layer = net->layer;
    const workspace_t *workspace = &net->workspaces[thread];
    struct unit unit = unit_of(net, layer, i);
    struct clip_conv_plane plane = {unit.count, layer->height, layer->width,
                                    layer->in,  layer->out,    layer->side};
    if (layer->block && layer == layer->block->conv1)
        make_block_input(net, layer->block->index, workspace, &unit);
    const float *x = make_input(net, layer, workspace, &unit);
    float *raw = raw_of(net, layer, unit.first);
    double *moments = net->moments + 2 * i * net->channels;
    net->convolve(&plane, x, layer->packed, raw);
    net->norm_kernels->moments(unit.count * layer->height * layer->width, layer->out, raw, moments,
                               moments + net->channels);
}

/* Finishes the norm of a layer from the moments of all units. */
static int finish_forward(const net_t *net, const layer_t *layer, int again, struct clip_error *error)
{
    size_t units = units_of(net, layer), pixels = layer->height * layer->width;
    double count =
        clip_norm_moments(units, layer->unit * pixels, unit_of(net, layer, units - 1).count * pixels,
                          layer->outputs, net->channels, net->moments);
    return clip_norm_finish(&layer->norm, &record_of(net, layer)->norm, count, net->moments,
                            net->moments + net->channels, again, net->exchange, net->joined, error);
}

/* Task: the output of the last bottleneck for one picture. */
static void last_task(void *context, size_t i, int thread)
{
    const net_t *net = context;
    make_block_input(net, net->block_count, &net->workspaces[thread], &(struct unit){i, i, 1});
}

int clip_resnet_learner_forward(struct clip_tower *learner, const union clip_item *items, size_t n, int again,
                                struct clip_tape *tape, float *features, struct clip_error *error)
{
    net_t *net = (net_t *)learner;
    net->tape = (struct clip_resnet_tape *)tape;
    net->count = net->tape->count = n;
    net->convolve =
        n > FEW_OPERATIONS / net->operations ? net->train_kernels->run : net->train_kernels->run_double;
    memcpy(net->tape->items, items, n * sizeof *items);
    for (size_t i = 0; i < net->layer_count; i++) {
        net->layer = &net->layers[i];
        clip_pool_run(net->pool, units_of(net, net->layer), forward_task, net);
        if (finish_forward(net, net->layer, again, error) != 0)
            return -1;
    }
    clip_pool_run(net->pool, n, last_task, net);
    clip_attnpool_forward(net->attn, n, net->tape->inputs[net->block_count], &net->tape->attn, features);
    return 0;
}

/* --- backward --- */

/* Takes the sums of a unit that the backward of the norm of `layer` needs, and of `side` unless NULL, which
 * has the same gradient. */
static void take_sums(const net_t *net, const layer_t *layer, const layer_t *side, const struct unit *unit)
{
    size_t pixels = unit->count * layer->height * layer->width;
    const float *gradient = layer->gradient + unit->first * output_floats(layer);
    double *sums = net->sums + 3 * unit->index * net->channels;
    net->norm_kernels->sums(pixels, layer->out, gradient, raw_of(net, layer, unit->first),
                            record_of(net, layer)->norm.mean, sums, sums + net->channels);
    if (side)
        net->norm_kernels->sums(pixels, side->out, gradient, raw_of(net, side, unit->first),
                                record_of(net, side)->norm.mean, sums, sums + 2 * net->channels);
}

/* The backward of a layer's norm, from the sums of all units; `which` are its products. */
static int finish_sums(const net_t *net, layer_t *layer, size_t units, size_t which, struct clip_error *error)
{
    double *sums = net->joined, *products = sums + layer->outputs;
    for (size_t c = 0; c < layer->outputs; c++) {
        sums[c] = products[c] = 0;
        for (size_t i = 0; i < units; i++) {
            sums[c] += net->sums[3 * i * net->channels + c];
            products[c] += net->sums[(3 * i + which) * net->channels + c];
        }
    }
    return clip_norm_backward(&layer->norm, &record_of(net, layer)->norm, sums, net->exchange, error);
}

/* Computes the gradient of a layer's output before its norm, framed, in the workspace. */
static void make_gradient(const net_t *net, const layer_t *layer, const workspace_t *workspace,
                          const struct unit *unit)
{
    size_t height = layer->height, width = layer->width, channels = layer->out;
    const float *gradient = layer->gradient + unit->first * output_floats(layer);
    const float *raw = raw_of(net, layer, unit->first);
    float *dy = workspace->dy;
    if (layer->side == 1) {
        net->norm_kernels->backward(unit->count * height * width, channels, gradient, raw, &layer->norm.back,
                                    dy);
        return;
    }
    size_t row = width * channels, framed = row + 2 * channels;
    for (size_t i = 0; i < unit->count; i++, dy += (height + 2) * framed) {
        clear_frame(height, width, channels, dy);
        for (size_t j = 0; j < height; j++, gradient += row, raw += row)
            net->norm_kernels->backward(width, channels, gradient, raw, &layer->norm.back,
                                        dy + (j + 1) * framed + channels);
    }
}

/* Computes the gradient of a layer's input, from what make_gradient left in the workspace. */
static void run_back(const net_t *net, const layer_t *layer, const workspace_t *workspace,
                     const struct unit *unit, float *dx)
{
    struct clip_conv_plane plane = {unit->count, layer->height, layer->width,
                                    layer->out,  layer->in,     layer->side};
    net->train_kernels->run(&plane, workspace->dy, layer->flipped, dx);
}

/* Computes the gradient of the output of the layer before, through pooling if there is any, and ReLU. */
static void back_to_layer(const net_t *net, const layer_t *layer, const workspace_t *workspace,
                          const struct unit *unit)
{
    const layer_t *from = layer->from;
    float *gradient = from->gradient + unit->first * output_floats(from);
    if (layer->halves) {
        run_back(net, layer, workspace, unit, workspace->a);
        memset(gradient, 0, unit->count * output_floats(from) * sizeof *gradient);
        net->norm_kernels->pool_backward(workspace->a, unit->count * from->height, from->width, from->out,
                                         gradient);
    } else {
        run_back(net, layer, workspace, unit, gradient);
    }
    net->norm_kernels->gate_norm(unit->count * from->height * from->width, from->out,
                                 raw_of(net, from, unit->first), &record_of(net, from)->norm.norm, gradient);
    take_sums(net, from, NULL, unit);
}

/* Adds the gradient of the residual connection to x, the gradient of a bottleneck's input. */
static void add_side(const net_t *net, const block_t *block, const struct unit *unit, float *x)
{
    const layer_t *down = block->downsample;
    size_t floats = block->height * block->width * block->channels;
    if (!down)
        net->kernels->sum(unit->count * floats, x, block->gradient + unit->first * floats, x);
    else if (down->halves)
        net->norm_kernels->pool_backward(net->down + unit->first * (floats / 4), unit->count * block->height,
                                         block->width, block->channels, x);
    else
        net->kernels->sum(unit->count * floats, x, net->down + unit->first * floats, x);
}

/* The backward of the ReLU before bottleneck `index`, and the sums. */
static void gate_block(const net_t *net, size_t index, const struct unit *unit)
{
    const block_t *before = &net->blocks[index - 1];
    size_t floats = output_floats(before->conv3);
    net->norm_kernels->gate(unit->count * floats, input_of(net, index, unit->first),
                            before->gradient + unit->first * floats);
    take_sums(net, before->conv3, before->downsample, unit);
}

/* From the first layer of a bottleneck to what comes before the bottleneck. */
static void back_to_block(const net_t *net, const layer_t *layer, const workspace_t *workspace,
                          const struct unit *unit)
{
    const block_t *block = layer->block;
    if (block->index > 0) {
        const block_t *before = block - 1;
        float *gradient = before->gradient + unit->first * output_floats(before->conv3);
        run_back(net, layer, workspace, unit, gradient);
        add_side(net, block, unit, gradient);
        gate_block(net, block->index, unit);
        return;
    }
    const layer_t *stem = block->before;
    float *gradient = stem->gradient + unit->first * output_floats(stem);
    run_back(net, layer, workspace, unit, workspace->a);
    add_side(net, block, unit, workspace->a);
    memset(gradient, 0, unit->count * output_floats(stem) * sizeof *gradient);
    net->norm_kernels->pool_backward(workspace->a, unit->count * stem->height, stem->width, stem->out,
                                     gradient);
    net->norm_kernels->gate_norm(unit->count * stem->height * stem->width, stem->out,
                                 raw_of(net, stem, unit->first), &record_of(net, stem)->norm.norm, gradient);
    take_sums(net, stem, NULL, unit);
}

static void backward_unit(const net_t *net, const workspace_t *workspace, const struct unit *unit,
                          float *weights)
{
    const layer_t *layer = net->layer;
    struct clip_conv_plane plane = {unit->count, layer->height, layer->width,
                                    layer->in,   layer->out,    layer->side};
    const float *x = make_input(net, layer, workspace, unit);
    make_gradient(net, layer, workspace, unit);
    net->train_kernels->weights(&plane, x, workspace->dy, weights);
    if (layer->from)
        back_to_layer(net, layer, workspace, unit);
    else if (layer->block && layer == layer->block->conv1)
        back_to_block(net, layer, workspace, unit);
    else if (layer->block)
        run_back(net, layer, workspace, unit,
                 net->down + unit->first * layer->height * layer->width * layer->in);
}

/* Task: a group of a layer's units. */
static void backward_task(void *context, size_t group, int thread)
{
    const net_t *net = context;
    const layer_t *layer = net->layer;
    size_t units = units_of(net, layer);
    float *weights = net->weights[group];
    memset(weights, 0, layer->side * layer->side * layer->in * layer->out * sizeof *weights);
    for (size_t i = group * units / net->groups; i < (group + 1) * units / net->groups; i++) {
        struct unit unit = unit_of(net, layer, i);
        backward_unit(net, &net->workspaces[thread], &unit, weights);
    }
}

/* Task: the gradient of the weights of CLIP_CHANNELS outputs, summed over groups in order. */
static void gradient_task(void *context, size_t i, int thread)
{
    (void)thread;
    const net_t *net = context;
    const layer_t *layer = net->layer;
    size_t floats = layer->side * layer->side * layer->in * CLIP_CHANNELS;
    float *sum = net->weights[0] + i * floats;
    for (size_t group = 1; group < net->groups; group++)
        net->kernels->sum(floats, sum, net->weights[group] + i * floats, sum);
    clip_conv_add_gradient(sum, layer->outputs, layer->inputs, layer->side, i * CLIP_CHANNELS,
                           layer->weight->gradient);
}

/* The backward of a layer whose norm is finished; finishes the norm of the layer before. */
static int backward_layer(net_t *net, layer_t *layer, struct clip_error *error)
{
    size_t units = units_of(net, layer);
    net->layer = layer;
    net->groups = units < CLIP_RESNET_GROUPS ? units : CLIP_RESNET_GROUPS;
    clip_pool_run(net->pool, net->groups, backward_task, net);
    clip_pool_run(net->pool, layer->out / CLIP_CHANNELS, gradient_task, net);
    return layer->from ? finish_sums(net, layer->from, units, 1, error) : 0;
}

/* Finishes the norms of the two layers whose sum is a bottleneck's output. */
static int finish_block(const net_t *net, const block_t *block, size_t units, struct clip_error *error)
{
    if (finish_sums(net, block->conv3, units, 1, error) != 0)
        return -1;
    return block->downsample ? finish_sums(net, block->downsample, units, 2, error) : 0;
}

static int backward_block(net_t *net, const block_t *block, struct clip_error *error)
{
    if (backward_layer(net, block->conv3, error) != 0 ||
        (block->downsample && backward_layer(net, block->downsample, error) != 0) ||
        backward_layer(net, block->conv2, error) != 0 || backward_layer(net, block->conv1, error) != 0)
        return -1;
    if (block->index > 0)
        return finish_block(net, block - 1, units_of(net, block->conv1), error);
    return finish_sums(net, block->before, units_of(net, block->conv1), 1, error);
}

/* Task: the backward of the ReLU after the last bottleneck for one picture. */
static void last_back_task(void *context, size_t i, int thread)
{
    (void)thread;
    const net_t *net = context;
    gate_block(net, net->block_count, &(struct unit){i, i, 1});
}

int clip_resnet_learner_backward(struct clip_tower *learner, struct clip_tape *tape, const float *gradients,
                                 float *input_gradients, struct clip_error *error)
{
    (void)input_gradients;
    net_t *net = (net_t *)learner;
    const block_t *last = &net->blocks[net->block_count - 1];
    net->tape = (struct clip_resnet_tape *)tape;
    net->count = net->tape->count;
    clip_attnpool_backward(net->attn, net->count, &net->tape->attn, gradients, last->gradient);
    clip_pool_run(net->pool, net->count, last_back_task, net);
    if (finish_block(net, last, net->count, error) != 0)
        return -1;
    for (size_t i = net->block_count; i > 0; i--)
        if (backward_block(net, &net->blocks[i - 1], error) != 0)
            return -1;
    for (layer_t *layer = net->blocks->before; layer; layer = layer->from)
        if (backward_layer(net, layer, error) != 0)
            return -1;
    return 0;
}
