/* CLIP's ModifiedResNet: a stem of three convolutions and a pool, four stages of bottlenecks that halve the
 * picture by averaging (after the filter, and before the downsample convolution), an attention pool.
 *
 * A picture is one piece of work and goes from stem to last stage in one thread, in buffers that stay in the
 * cache as far as they fit. Batch norm in evaluation mode is part of the convolutions' weights. */
#include "base/arena.h"
#include "image/preprocess.h"
#include "math/conv-kernels.h"
#include "math/conv.h"
#include "math/kernels.h"
#include "tower/attnpool.h"
#include "base/crew.h"
#include "tower/tower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-5 /* of batch norm */

enum { COLORS = 3, STEM = 3, STAGES = 4, EXPANSION = 4 };

/* A convolution with its batch norm, and whose tensors they are. */
struct layer {
    struct clip_conv *conv;
    struct clip_conv_shape shape;
    char weight[80], norm[80]; /* "visual.layer1.0.conv1.weight", "visual.layer1.0.bn1" */
};

struct bottleneck {
    const struct layer *conv1, *conv2, *conv3; /* to planes; side 3; to 4 planes */
    const struct layer *downsample;            /* or NULL */
    int halves;                                /* the picture */
};

/* What a thread has of its own: pictures between layers, in the engine's element. */
struct desk {
    char *x, *other; /* between bottlenecks */
    char *a, *b;     /* inside of them, and in the stem */
    void *scratch;   /* for clip_conv_run */
};

struct resnet {
    struct clip_image_tower base;
    const struct clip_model *model; /* while it is opened */
    struct clip_engine *engine;
    struct clip_pool *pool;
    enum clip_precision type; /* the engine's */
    const struct clip_kernels *kernels;
    const struct clip_conv_kernels *conv_kernels;
    size_t size, side;    /* of a picture; of the last stage's */
    size_t width;         /* channels after the stem */
    struct layer *layers; /* [layer_count], in the order in which they run */
    size_t layer_count;
    struct bottleneck *bottlenecks;
    size_t bottleneck_count;
    struct clip_attnpool *attnpool;
    struct clip_arena arena;
    float *levels;       /* [3][256]: bytes, normalised */
    struct desk *desks;  /* [threads] */
    size_t outer, inner; /* bytes of the largest picture of x and other, of a and b */
    struct clip_crew crew;
    /* the run that is under way */
    const struct clip_image *pictures;
};

/* --- the layers --- */

/* Makes room for a picture among those of `largest`. clip_conv_new has bounded its elements. */
static void make_room(const struct resnet *net, size_t *largest, size_t side, size_t channels)
{
    size_t bytes = side * side * channels * clip_engine_element(net->engine);
    if (*largest < bytes)
        *largest = bytes;
}

static struct layer *add_layer(struct resnet *net, const struct clip_conv_shape *shape, int epilogue,
                               struct clip_error *error)
{
    struct layer *layer = &net->layers[net->layer_count];
    layer->shape = *shape;
    layer->conv = clip_conv_new(net->engine, shape, epilogue, error);
    if (!layer->conv)
        return NULL;
    net->layer_count++;
    return layer;
}

static int add_stem(struct resnet *net, struct clip_error *error)
{
    size_t width = net->width, side = net->size / 2;
    const struct clip_conv_shape shapes[STEM] = {{net->size, net->size, COLORS, width / 2, 3, 2},
                                                 {side, side, width / 2, width / 2, 3, 1},
                                                 {side, side, width / 2, width, 3, 1}};
    for (int i = 0; i < STEM; i++) {
        struct layer *layer = add_layer(net, &shapes[i], CLIP_LINEAR_RELU, error);
        if (!layer)
            return -1;
        snprintf(layer->weight, sizeof layer->weight, "visual.conv%d.weight", i + 1);
        snprintf(layer->norm, sizeof layer->norm, "visual.bn%d", i + 1);
    }
    make_room(net, &net->inner, net->size, 2 * COLORS); /* as f32 even where the element is bf16 */
    make_room(net, &net->inner, side, width);
    make_room(net, &net->outer, side / 2, width);
    return 0;
}

static const struct layer *add_conv(struct resnet *net, const char *block, int number,
                                    const struct clip_conv_shape *shape, int epilogue,
                                    struct clip_error *error)
{
    struct layer *layer = add_layer(net, shape, epilogue, error);
    if (!layer)
        return NULL;
    snprintf(layer->weight, sizeof layer->weight, "%s.conv%d.weight", block, number);
    snprintf(layer->norm, sizeof layer->norm, "%s.bn%d", block, number);
    return layer;
}

static const struct layer *add_downsample(struct resnet *net, const char *block,
                                          const struct clip_conv_shape *shape, struct clip_error *error)
{
    struct layer *layer = add_layer(net, shape, 0, error);
    if (!layer)
        return NULL;
    snprintf(layer->weight, sizeof layer->weight, "%s.downsample.0.weight", block);
    snprintf(layer->norm, sizeof layer->norm, "%s.downsample.1", block);
    return layer;
}

/* Bottleneck `number` of a stage (from 0), which takes pictures of side `side` and `in` channels. */
static int add_bottleneck(struct resnet *net, int stage, int number, size_t side, size_t in,
                          struct clip_error *error)
{
    struct bottleneck *block = &net->bottlenecks[net->bottleneck_count++];
    size_t planes = net->width << stage, out = EXPANSION * planes;
    char name[48];
    snprintf(name, sizeof name, "visual.layer%d.%d", stage + 1, number);
    block->halves = stage > 0 && number == 0;
    size_t half = block->halves ? side / 2 : side;
    block->conv1 = add_conv(net, name, 1, &(struct clip_conv_shape){side, side, in, planes, 1, 1},
                            CLIP_LINEAR_RELU, error);
    if (!block->conv1)
        return -1;
    block->conv2 = add_conv(net, name, 2, &(struct clip_conv_shape){side, side, planes, planes, 3, 1},
                            CLIP_LINEAR_RELU, error);
    if (!block->conv2)
        return -1;
    if (number == 0 && !(block->downsample = add_downsample(
                             net, name, &(struct clip_conv_shape){half, half, in, out, 1, 1}, error)))
        return -1;
    block->conv3 = add_conv(net, name, 3, &(struct clip_conv_shape){half, half, planes, out, 1, 1},
                            CLIP_LINEAR_ADD | CLIP_LINEAR_RELU, error);
    if (!block->conv3)
        return -1;
    make_room(net, &net->inner, side, planes);
    make_room(net, &net->inner, half, in);
    make_room(net, &net->outer, side, in);
    make_room(net, &net->outer, half, out);
    return 0;
}

/* All layers; leaves the side of the last picture. */
static int add_layers(struct resnet *net, const int *blocks, struct clip_error *error)
{
    size_t count = 0;
    for (int stage = 0; stage < STAGES; stage++)
        count += (size_t)blocks[stage];
    net->layers = calloc(STEM + 3 * count + STAGES, sizeof *net->layers);
    net->bottlenecks = calloc(count, sizeof *net->bottlenecks);
    if (!net->layers || !net->bottlenecks)
        return clip_fail_memory(error, "the image tower");
    if (add_stem(net, error) != 0)
        return -1;
    size_t channels = net->width;
    net->side = net->size / 4;
    for (int stage = 0; stage < STAGES; stage++)
        for (int number = 0; number < blocks[stage]; number++) {
            if (add_bottleneck(net, stage, number, net->side, channels, error) != 0)
                return -1;
            if (stage > 0 && number == 0)
                net->side /= 2;
            channels = EXPANSION * net->width << stage;
        }
    return 0;
}

/* --- weights --- */

/* Batch norm's four vectors as scale and shift, [2][n]. */
static float *read_norm(const struct resnet *net, const char *norm, size_t n, struct clip_error *error)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    float *buffer = reallocarray(NULL, 6 * n, sizeof *buffer);
    if (!buffer) {
        clip_fail_memory(error, norm);
        return NULL;
    }
    for (size_t i = 0; i < 4; i++) {
        char name[112];
        snprintf(name, sizeof name, "%s.%s", norm, parts[i]);
        if (clip_model_floats(net->model, name, 1, &n, buffer + (2 + i) * n, error) < 0) {
            free(buffer);
            return NULL;
        }
    }
    clip_batch_norm_fold(n, buffer + 2 * n, buffer + 3 * n, buffer + 4 * n, buffer + 5 * n, EPSILON, buffer,
                         buffer + n);
    return buffer;
}

static int read_layer(const struct resnet *net, const struct layer *layer, struct clip_error *error)
{
    size_t out = layer->shape.out, in = layer->shape.in, side = layer->shape.side;
    float *norm = read_norm(net, layer->norm, out, error);
    float *w = reallocarray(NULL, out * in, side * side * sizeof *w);
    int status = norm ? 0 : -1;
    if (norm && !w)
        status = clip_fail_memory(error, layer->weight);
    if (status == 0)
        status = clip_model_floats(net->model, layer->weight, 4, (size_t[]){out, in, side, side}, w, error);
    if (status == 0)
        status = clip_conv_set(layer->conv, w, norm, norm + out, error);
    free(w);
    clip_model_forget(net->model, layer->weight);
    free(norm);
    return status;
}

static int read_task(void *context, size_t i, int thread, struct clip_error *error)
{
    (void)thread;
    const struct resnet *net = context;
    return read_layer(net, &net->layers[i], error);
}

/* --- opening --- */

static void place(void *context)
{
    struct resnet *net = context;
    struct clip_arena *arena = &net->arena;
    size_t threads = (size_t)clip_pool_threads(net->pool), scratch = 0;
    for (size_t i = 0; i < net->layer_count; i++)
        if (clip_conv_scratch(net->layers[i].conv) > scratch)
            scratch = clip_conv_scratch(net->layers[i].conv);
    net->levels = clip_arena_take(arena, CLIP_PIXEL_LEVELS, sizeof *net->levels);
    net->desks = clip_arena_take(arena, threads, sizeof *net->desks);
    for (size_t i = 0; i < threads; i++) {
        struct desk desk = {
            .x = clip_arena_take(arena, net->outer, 1),
            .other = clip_arena_take(arena, net->outer, 1),
            .a = clip_arena_take(arena, net->inner, 1),
            .b = clip_arena_take(arena, net->inner, 1),
            .scratch = clip_arena_take(arena, scratch, 1),
        };
        if (net->desks)
            net->desks[i] = desk;
    }
}

static int load(struct resnet *net, size_t batch, struct clip_error *error)
{
    const struct clip_arch *arch = clip_model_arch(net->model);
    if (add_layers(net, arch->vision.blocks, error) != 0 ||
        clip_crew_run(&net->crew, net->pool, net->layer_count, read_task, net, error) != 0)
        return -1;
    if (clip_arena_build(&net->arena, "the image tower", place, net, error) != 0)
        return -1;
    clip_pixel_levels(arch->preprocess.mean, arch->preprocess.std, net->levels);
    net->attnpool =
        clip_attnpool_open(net->model, net->engine, net->pool, net->side * net->side, batch, error);
    return net->attnpool ? 0 : -1;
}

static void free_resnet(struct clip_image_tower *base)
{
    struct resnet *net = (struct resnet *)base;
    for (size_t i = 0; i < net->layer_count; i++)
        clip_conv_free(net->layers[i].conv);
    clip_attnpool_free(net->attnpool);
    clip_arena_free(&net->arena);
    clip_crew_destroy(&net->crew);
    free(net->layers);
    free(net->bottlenecks);
    free(net);
}

static struct clip_image_tower *open_resnet(const struct clip_model *model, struct clip_engine *engine,
                                            struct clip_pool *pool, size_t batch, struct clip_error *error)
{
    const struct clip_tower_arch *arch = &clip_model_arch(model)->vision;
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct resnet *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    *net = (struct resnet){
        .base = {&clip_resnet_type},
        .model = model,
        .engine = engine,
        .pool = pool,
        .type = clip_engine_precision(engine),
        .kernels = clip_kernels(level),
        .conv_kernels = clip_conv_kernels(level),
        .size = (size_t)arch->image_size,
        .width = (size_t)arch->width,
    };
    clip_crew_init(&net->crew);
    if (load(net, batch, error) == 0)
        return &net->base;
    free_resnet(&net->base);
    return NULL;
}

/* --- running --- */

/* The picture as [size][size][3] in the engine's element; `wide` is room for it in f32. */
static void normalize(const struct resnet *net, const struct clip_image *picture, float *wide, void *y)
{
    size_t n = net->size * net->size;
    float *out = net->type == CLIP_PRECISION_F32 ? y : wide;
    for (size_t c = 0; c < COLORS; c++)
        for (size_t i = 0; i < n; i++)
            out[COLORS * i + c] = picture->bytes ? net->levels[c * 256 + picture->bytes[c * n + i]]
                                                 : picture->floats[c * n + i];
    if (out == wide)
        net->kernels->convert(COLORS * n, wide, net->type, y);
}

static void halve(const struct resnet *net, const void *x, size_t side, size_t channels, void *y)
{
    if (net->type == CLIP_PRECISION_BF16)
        net->conv_kernels->pool_bf16(x, side, side, channels, y);
    else
        net->conv_kernels->pool(x, side, side, channels, y);
}

static int run_stem(const struct resnet *net, const struct desk *desk, const struct clip_image *picture,
                    struct clip_error *error)
{
    normalize(net, picture, (float *)desk->b, desk->a);
    if (clip_conv_run(net->layers[0].conv, desk->a, desk->b, desk->scratch, error) != 0 ||
        clip_conv_run(net->layers[1].conv, desk->b, desk->a, desk->scratch, error) != 0 ||
        clip_conv_run(net->layers[2].conv, desk->a, desk->b, desk->scratch, error) != 0)
        return -1;
    halve(net, desk->b, net->size / 2, net->width, desk->x);
    return 0;
}

/* Leaves in desk->other the downsample of desk->x, and exchanges the two. `room` is free. */
static int downsample(const struct resnet *net, struct desk *desk, const struct bottleneck *block, char *room,
                      struct clip_error *error)
{
    char *x = desk->x;
    const struct clip_conv_shape *shape = &block->conv1->shape;
    if (block->halves)
        halve(net, x, shape->height, shape->in, room);
    if (clip_conv_run(block->downsample->conv, block->halves ? room : x, desk->other, desk->scratch, error) !=
        0)
        return -1;
    desk->x = desk->other;
    desk->other = x;
    return 0;
}

/* Leaves in desk->x the sum of what it held, or the downsample of it, and what conv1 to conv3 made of it. */
static int run_bottleneck(const struct resnet *net, struct desk *desk, const struct bottleneck *block,
                          struct clip_error *error)
{
    const struct clip_conv_shape *shape = &block->conv2->shape;
    char *inner = desk->b, *room = desk->a;
    if (clip_conv_run(block->conv1->conv, desk->x, desk->a, desk->scratch, error) != 0 ||
        clip_conv_run(block->conv2->conv, desk->a, desk->b, desk->scratch, error) != 0)
        return -1;
    if (block->halves) {
        halve(net, desk->b, shape->height, shape->out, desk->a);
        inner = desk->a;
        room = desk->b;
    }
    if (block->downsample && downsample(net, desk, block, room, error) != 0)
        return -1;
    return clip_conv_run(block->conv3->conv, inner, desk->x, desk->scratch, error);
}

/* A task: a picture. */
static int picture_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct resnet *net = context;
    struct desk *desk = &net->desks[thread];
    if (run_stem(net, desk, &net->pictures[i], error) != 0)
        return -1;
    for (size_t block = 0; block < net->bottleneck_count; block++)
        if (run_bottleneck(net, desk, &net->bottlenecks[block], error) != 0)
            return -1;
    clip_attnpool_put(net->attnpool, i, desk->x);
    return 0;
}

static int run_resnet(struct clip_image_tower *base, const struct clip_image *pictures, size_t n,
                      float *features, struct clip_error *error)
{
    struct resnet *net = (struct resnet *)base;
    net->pictures = pictures;
    if (clip_crew_run(&net->crew, net->pool, n, picture_task, net, error) != 0)
        return -1;
    return clip_attnpool_run(net->attnpool, n, features, error);
}

const struct clip_image_tower_type clip_resnet_type = {open_resnet, free_resnet, run_resnet};
