/* The ResNet that learns: its layers, its memory, its tapes. */
#include "image/preprocess.h"
#include "tower/resnet-learner.h"

#include "tower/tower.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEM = 3, STAGES = 4, EXPANSION = 4 };

/* Floats of a unit's largest buffer, which should stay in the cache, and the most pictures of one. */
enum { UNIT = 48 << 10, PICTURES = 16 };

/* --- the layers --- */

static void find_tensors(const struct clip_resnet_learner *net, struct clip_resnet_layer *layer,
                         const char *weight, const char *norm)
{
    layer->weight = clip_parameters_get(net->parameters, "%s.weight", weight);
    layer->scale = clip_parameters_get(net->parameters, "%s.weight", norm);
    layer->shift = clip_parameters_get(net->parameters, "%s.bias", norm);
    layer->mean = clip_parameters_get(net->parameters, "%s.running_mean", norm);
    layer->variance = clip_parameters_get(net->parameters, "%s.running_var", norm);
    layer->batches = clip_parameters_get(net->parameters, "%s.num_batches_tracked", norm);
}

/* Floats of the largest buffer that a picture needs on its way through a layer. */
static size_t picture_floats(const struct clip_resnet_layer *layer)
{
    size_t pixels = layer->height * layer->width, frame = layer->side - 1;
    size_t wide = layer->in > layer->out ? layer->in : layer->out;
    size_t framed = (layer->height + frame) * (layer->width + frame) * wide;
    /* before pooling, which the first bottleneck's first layer does as well; pictures are smaller */
    size_t before = layer->halves || (layer->block && layer->block->before) ? 4 * pixels * layer->in : 0;
    return framed > before ? framed : before;
}

/* One layer more; its input is `from`, or `block`, or the pictures. */
static struct clip_resnet_layer *add_layer(struct clip_resnet_learner *net, struct clip_resnet_layer *from,
                                           struct clip_resnet_block *block, int halves, size_t height,
                                           size_t side, size_t inputs, size_t outputs)
{
    struct clip_resnet_layer *layer = &net->layers[net->layer_count++];
    *layer = (struct clip_resnet_layer){
        .height = height,
        .width = height,
        .side = side,
        .inputs = inputs,
        .outputs = outputs,
        .in = clip_conv_channels(inputs),
        .out = clip_conv_channels(outputs),
        .from = from,
        .block = block,
        .halves = halves,
    };
    size_t unit = UNIT / picture_floats(layer);
    layer->unit = unit < 1 ? 1 : unit > PICTURES ? PICTURES : unit;
    net->operations += height * height * side * side * layer->in * layer->out;
    return layer;
}

static struct clip_resnet_layer *add_stem(struct clip_resnet_learner *net, size_t width)
{
    /* The first layer's side of 3 lies in its patches. */
    const size_t side[STEM] = {1, 3, 3}, inputs[STEM] = {9 * CLIP_RESNET_COLORS, width / 2, width / 2},
                 outputs[STEM] = {width / 2, width / 2, width};
    struct clip_resnet_layer *layer = NULL;
    for (int i = 0; i < STEM; i++) {
        char weight[16], norm[16];
        snprintf(weight, sizeof weight, "visual.conv%d", i + 1);
        snprintf(norm, sizeof norm, "visual.bn%d", i + 1);
        layer = add_layer(net, layer, NULL, 0, net->size / 2, side[i], inputs[i], outputs[i]);
        find_tensors(net, layer, weight, norm);
    }
    return layer;
}

/* A bottleneck's layer `number`; 0: its downsample. */
static void name_layer(const struct clip_resnet_learner *net, struct clip_resnet_layer *layer,
                       const char *block, int number)
{
    char weight[64], norm[64];
    if (number) {
        snprintf(weight, sizeof weight, "%s.conv%d", block, number);
        snprintf(norm, sizeof norm, "%s.bn%d", block, number);
    } else {
        snprintf(weight, sizeof weight, "%s.downsample.0", block);
        snprintf(norm, sizeof norm, "%s.downsample.1", block);
    }
    find_tensors(net, layer, weight, norm);
}

/* Bottleneck `number` of a stage (from 0), which takes pictures of `side` by `side` and `in` channels. */
static void add_bottleneck(struct clip_resnet_learner *net, int stage, int number, size_t side, size_t in,
                           size_t planes, struct clip_resnet_layer *before)
{
    struct clip_resnet_block *block = &net->blocks[net->block_count];
    int halves = stage > 0 && number == 0;
    size_t half = halves ? side / 2 : side, out = EXPANSION * planes;
    char name[48];
    snprintf(name, sizeof name, "visual.layer%d.%d", stage + 1, number);
    *block = (struct clip_resnet_block){
        .index = net->block_count++,
        .height = side,
        .width = side,
        .channels = clip_conv_channels(in),
        .before = before,
    };
    block->conv1 = add_layer(net, NULL, block, 0, side, 1, in, planes);
    name_layer(net, block->conv1, name, 1);
    block->conv2 = add_layer(net, block->conv1, NULL, 0, side, 3, planes, planes);
    name_layer(net, block->conv2, name, 2);
    block->conv3 = add_layer(net, block->conv2, NULL, halves, half, 1, planes, out);
    name_layer(net, block->conv3, name, 3);
    if (number == 0) {
        block->downsample = add_layer(net, NULL, block, halves, half, 1, in, out);
        name_layer(net, block->downsample, name, 0);
    }
}

static int add_layers(struct clip_resnet_learner *net, const struct clip_tower_arch *arch,
                      struct clip_error *error)
{
    size_t count = 0, width = (size_t)arch->width, side = net->size / 4, channels = width;
    for (int stage = 0; stage < STAGES; stage++)
        count += (size_t)arch->blocks[stage];
    net->layers = calloc(STEM + 3 * count + STAGES, sizeof *net->layers);
    net->blocks = calloc(count, sizeof *net->blocks);
    if (!net->layers || !net->blocks)
        return clip_fail_memory(error, "the image tower");
    struct clip_resnet_layer *before = add_stem(net, width);
    for (int stage = 0; stage < STAGES; stage++)
        for (int number = 0; number < arch->blocks[stage]; number++, before = NULL) {
            add_bottleneck(net, stage, number, side, channels, width << stage, before);
            if (stage > 0 && number == 0)
                side /= 2;
            channels = EXPANSION * width << stage;
        }
    net->out_height = net->out_width = side;
    return 0;
}

/* --- memory --- */

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The largest of what layers need. */
struct needs {
    size_t room;         /* floats of a desk's buffer */
    size_t weights;      /* floats of a layer's weights */
    size_t layer, block; /* floats a picture of a layer inside, of a bottleneck's output */
    size_t down;         /* and of a downsample's input */
};

static struct needs needs_of(struct clip_resnet_learner *net)
{
    struct needs needs = {.room = net->size * net->size * CLIP_RESNET_COLORS};
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct clip_resnet_layer *layer = &net->layers[i];
        size_t pixels = layer->height * layer->width;
        needs.room = most(needs.room, layer->unit * picture_floats(layer));
        needs.weights = most(needs.weights, layer->side * layer->side * layer->in * layer->out);
        needs.layer = most(needs.layer, pixels * layer->out);
        needs.down = most(needs.down, layer->block ? pixels * layer->in : 0);
        net->channels = most(net->channels, layer->out);
    }
    for (size_t i = 0; i < net->block_count; i++) {
        const struct clip_resnet_layer *conv3 = net->blocks[i].conv3;
        needs.block = most(needs.block, conv3->height * conv3->width * conv3->out);
    }
    return needs;
}

static void place_layers(struct clip_resnet_learner *net)
{
    for (size_t i = 0; i < net->layer_count; i++) {
        struct clip_resnet_layer *layer = &net->layers[i];
        size_t taps = layer->side * layer->side;
        layer->packed = clip_arena_take(&net->arena, taps * layer->in, layer->out * sizeof(float));
        if (layer->from || layer->block)
            layer->turned = clip_arena_take(&net->arena, taps * layer->in, layer->out * sizeof(float));
        layer->back_values = clip_arena_take(&net->arena, 3 * layer->out, sizeof(float));
        if (layer->back_values)
            layer->back =
                (struct clip_batch_norm_back){NULL, layer->back_values, layer->back_values + layer->out,
                                              layer->back_values + 2 * layer->out};
    }
}

/* Gradients of what layers give: two buffers by turns inside of bottlenecks and in the stem, two between
 * them. */
static void place_gradients(struct clip_resnet_learner *net, const struct needs *needs)
{
    float *inner[2], *outer[2];
    for (int i = 0; i < 2; i++) {
        inner[i] = clip_arena_take(&net->arena, net->base.chunk, needs->layer * sizeof(float));
        outer[i] = clip_arena_take(&net->arena, net->base.chunk, needs->block * sizeof(float));
    }
    net->down = clip_arena_take(&net->arena, net->base.chunk, needs->down * sizeof(float));
    for (int i = 0; i < STEM; i++)
        net->layers[i].gradient = inner[i % 2];
    for (size_t i = 0; i < net->block_count; i++) {
        struct clip_resnet_block *block = &net->blocks[i];
        block->conv1->gradient = inner[1];
        block->conv2->gradient = inner[0];
        block->conv3->gradient = block->gradient = outer[i % 2];
        if (block->downsample)
            block->downsample->gradient = block->gradient;
    }
}

static void place(void *context)
{
    struct clip_resnet_learner *net = context;
    struct clip_arena *arena = &net->arena;
    struct needs needs = needs_of(net);
    size_t threads = (size_t)clip_pool_threads(net->pool), chunk = net->base.chunk;
    place_layers(net);
    net->packed = arena->used;
    place_gradients(net, &needs);
    net->levels = clip_arena_take(arena, CLIP_PIXEL_LEVELS, sizeof *net->levels);
    net->moments = clip_arena_take(arena, chunk, 2 * net->channels * sizeof *net->moments);
    net->sums = clip_arena_take(arena, chunk, 3 * net->channels * sizeof *net->sums);
    for (int i = 0; i < CLIP_RESNET_GROUPS; i++)
        net->weights[i] = clip_arena_take(arena, needs.weights, sizeof(float));
    net->desks = clip_arena_take(arena, threads, sizeof *net->desks);
    for (size_t i = 0; i < threads; i++) {
        struct clip_resnet_desk desk = {
            .x = clip_arena_take(arena, needs.room, sizeof(float)),
            .dy = clip_arena_take(arena, needs.room, sizeof(float)),
            .a = clip_arena_take(arena, needs.room, sizeof(float)),
            .b = clip_arena_take(arena, needs.room, sizeof(float)),
        };
        if (net->desks)
            net->desks[i] = desk;
    }
}

/* --- opening --- */

static void free_learner(struct clip_learner *learner)
{
    struct clip_resnet_learner *net = (struct clip_resnet_learner *)learner;
    clip_attnpool_learner_free(net->attn);
    clip_arena_free(&net->arena);
    free(net->layers);
    free(net->blocks);
    free(net);
}

static size_t bytes(const struct clip_learner *learner)
{
    const struct clip_resnet_learner *net = (const struct clip_resnet_learner *)learner;
    return net->arena.size - net->packed + clip_attnpool_learner_bytes(net->attn);
}

static void pack_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct clip_resnet_learner *net = context;
    const struct clip_resnet_layer *layer = &net->layers[i];
    const float *w = layer->weight->value;
    clip_conv_pack(w, layer->outputs, layer->inputs, layer->side, layer->packed);
    if (layer->turned)
        clip_conv_pack_turned(w, layer->outputs, layer->inputs, layer->side, layer->turned);
}

static int refresh(struct clip_learner *learner, struct clip_error *error)
{
    (void)error;
    struct clip_resnet_learner *net = (struct clip_resnet_learner *)learner;
    clip_pool_run(net->pool, net->layer_count, pack_task, net);
    return 0;
}

/* --- tapes --- */

/* A tape of n pictures. */
struct tape_plan {
    const struct clip_resnet_learner *net;
    size_t n;
    struct clip_resnet_tape *tape;
};

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    const struct clip_resnet_learner *net = plan->net;
    struct clip_resnet_tape *tape = plan->tape;
    struct clip_arena *arena = &tape->arena;
    size_t n = plan->n;
    tape->items = clip_arena_take(arena, n, sizeof *tape->items);
    tape->records = clip_arena_take(arena, net->layer_count, sizeof *tape->records);
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct clip_resnet_layer *layer = &net->layers[i];
        size_t row = layer->out * sizeof(float);
        struct clip_resnet_record record = {
            .raw = clip_arena_take(arena, n, layer->height * layer->width * row),
            .mean = clip_arena_take(arena, 1, row),
            .scale = clip_arena_take(arena, 1, row),
            .shift = clip_arena_take(arena, 1, row),
            .inverse = clip_arena_take(arena, 1, row),
        };
        record.norm = (struct clip_batch_norm){record.mean, record.scale, record.shift};
        if (tape->records)
            tape->records[i] = record;
    }
    tape->inputs = clip_arena_take(arena, net->block_count + 1, sizeof *tape->inputs);
    for (size_t i = 0; i <= net->block_count; i++) {
        const struct clip_resnet_block *block = &net->blocks[i];
        size_t floats = i < net->block_count ? block->height * block->width * block->channels
                                             : net->out_height * net->out_width * net->base.width;
        float *input = clip_arena_take(arena, n, floats * sizeof(float));
        if (tape->inputs)
            tape->inputs[i] = input;
    }
    clip_attnpool_tape_place(net->attn, n, arena, &tape->attn);
}

static void free_tape(struct clip_tape *base)
{
    struct clip_resnet_tape *tape = (struct clip_resnet_tape *)base;
    clip_arena_free(&tape->arena);
    free(tape);
}

static struct clip_tape *new_tape(const struct clip_learner *learner, struct clip_error *error)
{
    struct clip_resnet_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = learner->type;
    struct tape_plan plan = {(const struct clip_resnet_learner *)learner, learner->chunk, tape};
    if (clip_arena_build(&tape->arena, "a tape", place_tape, &plan, error) == 0)
        return &tape->base;
    free(tape);
    return NULL;
}

static size_t tape_bytes(const struct clip_learner *learner, size_t n)
{
    struct clip_resnet_tape tape = {0};
    place_tape(&(struct tape_plan){(const struct clip_resnet_learner *)learner, n, &tape});
    return tape.arena.overflow ? SIZE_MAX : tape.arena.used + sizeof tape;
}

static const struct clip_learner_type type = {
    free_learner,
    bytes,
    refresh,
    new_tape,
    free_tape,
    tape_bytes,
    clip_resnet_learner_forward,
    clip_resnet_learner_backward,
};

static int open_parts(struct clip_resnet_learner *net, const struct clip_arch *arch, struct clip_error *error)
{
    if (add_layers(net, &arch->vision, error) != 0)
        return -1;
    if (clip_arena_build(&net->arena, "the image tower", place, net, error) != 0)
        return -1;
    clip_pixel_levels(arch->preprocess.mean, arch->preprocess.std, net->levels);
    net->attn = clip_attnpool_learner_open(arch, net->parameters, net->pool, net->out_height * net->out_width,
                                           net->base.chunk, error);
    return net->attn ? 0 : -1;
}

/* Products are f32 whatever the engine's precision; it is there for the attention pool's. */
struct clip_learner *clip_resnet_learner_open(const struct clip_arch *arch,
                                              struct clip_parameters *parameters, struct clip_engine *engine,
                                              struct clip_pool *pool, size_t chunk, struct clip_error *error)
{
    (void)engine;
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_resnet_learner *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    *net = (struct clip_resnet_learner){
        .base = {&type, clip_feature_width(arch, CLIP_SIDE_IMAGE), chunk, 1},
        .parameters = parameters,
        .pool = pool,
        .kernels = clip_kernels(level),
        .conv_kernels = clip_conv_kernels(level),
        .train_kernels = clip_conv_train_kernels(level),
        .norm_kernels = clip_batch_norm_kernels(level),
        .size = (size_t)arch->vision.image_size,
    };
    if (open_parts(net, arch, error) == 0)
        return &net->base;
    free_learner(&net->base);
    return NULL;
}
