/* Training of a ResNet: layers, memory, tapes. */
#include "image/preprocess.h"
#include "tower/resnet-learner.h"

#include <stdlib.h>

/* The largest buffer of a unit, in floats, which should stay in the cache; the most pictures of a unit. */
enum { UNIT = 48 << 10, PICTURES = 16 };

/* --- the layers --- */

static int find_tensors(const struct clip_resnet_learner *net, struct clip_resnet_layer *layer,
                        const struct clip_resnet_conv *names, struct clip_error *error)
{
    layer->weight = clip_parameters_get(net->parameters, "%s.weight", names->weight);
    return clip_norm_find(&layer->norm, net->parameters, names->norm, error);
}

/* Floats of the largest buffer that a layer needs for one picture. */
static size_t picture_floats(const struct clip_resnet_layer *layer)
{
    size_t pixels = layer->height * layer->width, frame = layer->side - 1;
    size_t wide = layer->in > layer->out ? layer->in : layer->out;
    size_t framed = (layer->height + frame) * (layer->width + frame) * wide;
    /* the input before pooling, which also precedes the first bottleneck; pictures are smaller */
    size_t before = layer->halves || (layer->block && layer->block->before) ? 4 * pixels * layer->in : 0;
    return framed > before ? framed : before;
}

/* Appends a layer whose input is that of `from`, of `block`, or the pictures. NULL with error. */
static struct clip_resnet_layer *add_layer(struct clip_resnet_learner *net,
                                           const struct clip_resnet_conv *names,
                                           struct clip_resnet_layer *from, struct clip_resnet_block *block,
                                           struct clip_error *error)
{
    struct clip_resnet_layer *layer = &net->layers[net->layer_count++];
    /* The first layer reads patches of 3 by 3, so its own side is 1. */
    int patches = !from && !block;
    *layer = (struct clip_resnet_layer){
        .height = names->to,
        .width = names->to,
        .side = patches ? 1 : names->side,
        .inputs = patches ? names->in * names->side * names->side : names->in,
        .outputs = names->out,
        .from = from,
        .block = block,
        .halves = names->halves,
    };
    layer->in = clip_conv_channels(layer->inputs);
    layer->out = clip_conv_channels(layer->outputs);
    size_t unit = UNIT / picture_floats(layer);
    layer->unit = unit < 1 ? 1 : unit > PICTURES ? PICTURES : unit;
    net->operations += layer->height * layer->width * layer->side * layer->side * layer->in * layer->out;
    return find_tensors(net, layer, names, error) == 0 ? layer : NULL;
}

/* Appends a bottleneck; `before`: the stem's last layer, for the first one. */
static struct clip_resnet_block *add_block(struct clip_resnet_learner *net,
                                           const struct clip_resnet_conv *names,
                                           struct clip_resnet_layer *before)
{
    struct clip_resnet_block *block = &net->blocks[net->block_count];
    *block = (struct clip_resnet_block){
        .index = net->block_count++,
        .height = names->from,
        .width = names->from,
        .channels = clip_conv_channels(names->in),
        .before = before,
    };
    return block;
}

static int add_layers(struct clip_resnet_learner *net, const struct clip_tower_arch *arch,
                      struct clip_error *error)
{
    struct clip_resnet_conv names = {0};
    struct clip_resnet_layer *layer = NULL;
    struct clip_resnet_block *block = NULL;
    net->layers = calloc(clip_resnet_convs(arch), sizeof *net->layers);
    net->blocks = calloc(clip_resnet_bottlenecks(arch), sizeof *net->blocks);
    if (!net->layers || !net->blocks)
        return clip_fail_memory(error, "the image tower");
    while (clip_resnet_next(arch, &names)) {
        if (names.stage < 0) {
            layer = add_layer(net, &names, layer, NULL, error);
            if (!layer)
                return -1;
            continue;
        }
        if (names.number == 1)
            block = add_block(net, &names, block ? NULL : layer);
        int takes_block = names.number == 1 || names.number == 0;
        layer = add_layer(net, &names, takes_block ? NULL : layer, takes_block ? block : NULL, error);
        if (!layer)
            return -1;
        struct clip_resnet_layer **places[] = {&block->downsample, &block->conv1, &block->conv2,
                                               &block->conv3};
        *places[names.number] = layer;
        net->out_height = net->out_width = names.to;
    }
    return 0;
}

/* --- memory --- */

/* The most that a layer needs. */
struct needs {
    size_t room;         /* floats of a workspace's buffer */
    size_t weights;      /* floats of a layer's weights */
    size_t layer, block; /* floats for one picture: of a layer's output, of a bottleneck's */
    size_t down;         /* floats for one picture of a downsample's input */
};

static struct needs needs_of(struct clip_resnet_learner *net)
{
    struct needs needs = {.room = net->size * net->size * CLIP_RESNET_COLORS};
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct clip_resnet_layer *layer = &net->layers[i];
        size_t pixels = layer->height * layer->width;
        needs.room = clip_larger(needs.room, layer->unit * picture_floats(layer));
        needs.weights = clip_larger(needs.weights, layer->side * layer->side * layer->in * layer->out);
        needs.layer = clip_larger(needs.layer, pixels * layer->out);
        needs.down = clip_larger(needs.down, layer->block ? pixels * layer->in : 0);
        net->channels = clip_larger(net->channels, layer->out);
    }
    for (size_t i = 0; i < net->block_count; i++) {
        const struct clip_resnet_layer *conv3 = net->blocks[i].conv3;
        needs.block = clip_larger(needs.block, conv3->height * conv3->width * conv3->out);
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
            layer->flipped = clip_arena_take(&net->arena, taps * layer->in, layer->out * sizeof(float));
        clip_norm_place(&layer->norm, layer->out, &net->arena);
    }
}

/* Gradients of the layers' outputs: two buffers used in turn within bottlenecks and the stem, two between
 * bottlenecks. */
static void place_gradients(struct clip_resnet_learner *net, const struct needs *needs)
{
    float *inner[2], *outer[2];
    for (int i = 0; i < 2; i++) {
        inner[i] = clip_arena_take(&net->arena, net->base.batch, needs->layer * sizeof(float));
        outer[i] = clip_arena_take(&net->arena, net->base.batch, needs->block * sizeof(float));
    }
    net->down = clip_arena_take(&net->arena, net->base.batch, needs->down * sizeof(float));
    for (int i = 0; i < CLIP_RESNET_STEM; i++)
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

static void place_buffers(void *context)
{
    struct clip_resnet_learner *net = context;
    struct clip_arena *arena = &net->arena;
    struct needs needs = needs_of(net);
    size_t threads = (size_t)clip_pool_threads(net->pool), chunk = net->base.batch;
    place_layers(net);
    net->packed = arena->used;
    place_gradients(net, &needs);
    net->levels = clip_arena_take(arena, CLIP_PIXEL_LEVELS, sizeof *net->levels);
    net->moments = clip_arena_take(arena, chunk, 2 * net->channels * sizeof *net->moments);
    net->sums = clip_arena_take(arena, chunk, 3 * net->channels * sizeof *net->sums);
    net->joined = clip_arena_take(arena, 2 * net->channels + 1, sizeof *net->joined);
    for (int i = 0; i < CLIP_RESNET_GROUPS; i++)
        net->weights[i] = clip_arena_take(arena, needs.weights, sizeof(float));
    net->workspaces = clip_arena_take(arena, threads, sizeof *net->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct clip_resnet_workspace workspace = {
            .x = clip_arena_take(arena, needs.room, sizeof(float)),
            .dy = clip_arena_take(arena, needs.room, sizeof(float)),
            .a = clip_arena_take(arena, needs.room, sizeof(float)),
            .b = clip_arena_take(arena, needs.room, sizeof(float)),
        };
        if (net->workspaces)
            net->workspaces[i] = workspace;
    }
}

/* --- opening --- */

static void free_learner(struct clip_tower *learner)
{
    struct clip_resnet_learner *net = (struct clip_resnet_learner *)learner;
    clip_attnpool_free(net->attn);
    clip_arena_free(&net->arena);
    free(net->layers);
    free(net->blocks);
    free(net);
}

static size_t memory_bytes(const struct clip_tower *learner)
{
    const struct clip_resnet_learner *net = (const struct clip_resnet_learner *)learner;
    return net->arena.size - net->packed + clip_attnpool_bytes(net->attn);
}

static void pack_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct clip_resnet_learner *net = context;
    const struct clip_resnet_layer *layer = &net->layers[i];
    const float *w = layer->weight->value;
    clip_conv_pack(w, layer->outputs, layer->inputs, layer->side, layer->packed);
    if (layer->flipped)
        clip_conv_pack_flipped(w, layer->outputs, layer->inputs, layer->side, layer->flipped);
}

static int refresh(struct clip_tower *learner, struct clip_error *error)
{
    (void)error;
    struct clip_resnet_learner *net = (struct clip_resnet_learner *)learner;
    clip_pool_run(net->pool, net->layer_count, pack_task, net);
    return 0;
}

/* --- tapes --- */

/* A tape for n pictures. */
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
        struct clip_resnet_record record = {
            .raw = clip_arena_take(arena, n, layer->height * layer->width * layer->out * sizeof(float)),
        };
        clip_norm_record_place(&record.norm, layer->out, arena);
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

static struct clip_tape *new_tape(const struct clip_tower *learner, struct clip_error *error)
{
    struct clip_resnet_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = learner->type;
    struct tape_plan plan = {(const struct clip_resnet_learner *)learner, learner->batch, tape};
    if (clip_arena_build(&tape->arena, "a tape", place_tape, &plan, error) == 0)
        return &tape->base;
    free(tape);
    return NULL;
}

static size_t tape_bytes(const struct clip_tower *learner, size_t n)
{
    struct clip_resnet_tape tape = {0};
    place_tape(&(struct tape_plan){(const struct clip_resnet_learner *)learner, n, &tape});
    return tape.arena.overflow ? SIZE_MAX : tape.arena.used + sizeof tape;
}

static const struct clip_tower_type type = {
    free_learner,
    clip_resnet_learner_forward,
    clip_resnet_learner_backward,
    refresh,
    memory_bytes,
    new_tape,
    free_tape,
    tape_bytes,
};

static int open_parts(struct clip_resnet_learner *net, const struct clip_tower_setup *setup,
                      struct clip_error *error)
{
    const struct clip_arch *arch = setup->arch;
    if (add_layers(net, &arch->vision, error) != 0 ||
        clip_arena_build(&net->arena, "the image tower", place_buffers, net, error) != 0)
        return -1;
    clip_pixel_levels(arch->preprocess.mean, arch->preprocess.std, net->levels);
    net->attn = clip_attnpool_open(setup, net->out_height * net->out_width, error);
    return net->attn ? refresh(&net->base, error) : -1;
}

struct clip_tower *clip_resnet_learner_open(const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_resnet_learner *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    *net = (struct clip_resnet_learner){
        .base = {&type, clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), setup->batch},
        .parameters = setup->parameters,
        .pool = setup->pool,
        .kernels = clip_kernels(level),
        .conv_kernels = clip_conv_kernels(level),
        .train_kernels = clip_conv_train_kernels(level),
        .norm_kernels = clip_batch_norm_kernels(level),
        .size = (size_t)setup->arch->vision.image_size,
        .exchange = setup->exchange,
    };
    if (open_parts(net, setup, error) == 0)
        return &net->base;
    free_learner(&net->base);
    return NULL;
}
