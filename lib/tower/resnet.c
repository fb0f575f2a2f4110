/* CLIP's ModifiedResNet: a stem of three convolutions and a pool, four stages of bottlenecks that halve the
 * picture by averaging (after the filter, and before the downsample convolution), an attention pool.
 *
 * A picture is one piece of work and goes from stem to last stage in one thread, in buffers that stay in the
 * cache as far as they fit. Batch norm in evaluation mode is part of the convolutions' weights. */
#include "base/arena.h"
#include "base/crew.h"
#include "image/preprocess.h"
#include "math/conv-kernels.h"
#include "math/conv.h"
#include "math/kernels.h"
#include "model/kind-resnet.h"
#include "model/kind.h"
#include "tower/attnpool.h"
#include "tower/resnet-learner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-5 /* of batch norm */

/* A convolution with its batch norm. */
struct layer {
    struct clip_conv *conv;
    struct clip_conv_shape shape;
    struct clip_resnet_conv names;
};

struct bottleneck {
    const struct layer *conv1, *conv2, *conv3; /* to planes; side 3; to 4 planes */
    const struct layer *downsample;            /* or NULL */
    int halves;                                /* the picture */
};

/* What a thread has of its own: pictures between layers, in the engine's element. */
struct workspace {
    char *x, *other; /* between bottlenecks */
    char *a, *b;     /* inside of them, and in the stem */
    void *scratch;   /* for clip_conv_run */
};

struct resnet {
    struct clip_tower base;
    const struct clip_model *model; /* while it is opened */
    struct clip_engine *engine;
    struct clip_pool *pool;
    enum clip_precision type; /* the engine's */
    const struct clip_kernels *kernels;
    const struct clip_conv_kernels *conv_kernels;
    size_t size, side;    /* of a picture; of the last stage's */
    struct layer *layers; /* [layer_count], in the order in which they run */
    size_t layer_count;
    struct bottleneck *bottlenecks;
    size_t bottleneck_count;
    struct clip_attnpool *attnpool;
    struct clip_arena arena;
    float *levels;                /* [3][256]: bytes, normalised */
    struct workspace *workspaces; /* [threads] */
    size_t outer, inner;          /* bytes of the largest picture of x and other, of a and b */
    struct clip_crew crew;
    /* while it is opened: for each thread's layers, their weights as the file's floats, and clip_conv_set's
     * room */
    struct clip_arena opening;
    float **weights, **rooms; /* [threads] */
    /* the run that is under way */
    const union clip_item *items;
};

/* --- the layers --- */

/* Raises `largest` to a picture's size. clip_conv_new has bounded its elements. */
static void make_room(const struct resnet *net, size_t *largest, size_t side, size_t channels)
{
    size_t bytes = side * side * channels * clip_engine_element(net->engine);
    if (*largest < bytes)
        *largest = bytes;
}

static struct layer *add_layer(struct resnet *net, const struct clip_resnet_conv *names, int epilogue,
                               struct clip_error *error)
{
    struct layer *layer = &net->layers[net->layer_count];
    size_t stride = names->stage < 0 && names->number == 1 ? 2 : 1, side = names->to * stride;
    layer->names = *names;
    layer->shape = (struct clip_conv_shape){side, side, names->in, names->out, names->side, stride};
    layer->conv = clip_conv_new(net->engine, &layer->shape, epilogue, error);
    if (!layer->conv)
        return NULL;
    net->layer_count++;
    return layer;
}

/* Allocates the pictures between layers. */
static void size_buffers(struct resnet *net, const struct clip_resnet_conv *names)
{
    if (names->stage < 0) {
        make_room(net, &net->inner, net->size, 2 * CLIP_RESNET_COLORS); /* as f32 even where it is bf16 */
        make_room(net, &net->inner, names->to, names->out);
        make_room(net, &net->outer, names->to / 2, names->out);
    } else if (names->number == 1) {
        make_room(net, &net->inner, names->to, names->out);
        make_room(net, &net->outer, names->from, names->in);
    } else if (names->number == 3) {
        make_room(net, &net->outer, names->to, names->out);
        net->side = names->to;
    } else if (names->number == 0) {
        make_room(net, &net->inner, names->to, names->in);
    }
}

/* Stores a convolution in its bottleneck. */
static void set_place(struct resnet *net, const struct layer *layer)
{
    const struct clip_resnet_conv *names = &layer->names;
    if (names->number == 1)
        net->bottleneck_count++;
    struct bottleneck *block = &net->bottlenecks[net->bottleneck_count - 1];
    const struct layer **places[] = {&block->downsample, &block->conv1, &block->conv2, &block->conv3};
    *places[names->number] = layer;
    block->halves |= names->halves;
}

static int add_layers(struct resnet *net, const struct clip_tower_arch *arch, struct clip_error *error)
{
    struct clip_resnet_conv names = {0};
    net->layers = calloc(clip_resnet_convs(arch), sizeof *net->layers);
    net->bottlenecks = calloc(clip_resnet_bottlenecks(arch), sizeof *net->bottlenecks);
    if (!net->layers || !net->bottlenecks)
        return clip_fail_memory(error, "the image tower");
    while (clip_resnet_next(arch, &names)) {
        int last = names.stage >= 0 && names.number == 3, down = names.stage >= 0 && names.number == 0;
        struct layer *layer =
            add_layer(net, &names, (last ? CLIP_LINEAR_ADD : 0) | (down ? 0 : CLIP_LINEAR_RELU), error);
        if (!layer)
            return -1;
        size_buffers(net, &names);
        if (names.stage >= 0)
            set_place(net, layer);
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

static int read_layer(const struct resnet *net, const struct layer *layer, int thread,
                      struct clip_error *error)
{
    const size_t shape[] = {layer->shape.out, layer->shape.in, layer->shape.side, layer->shape.side};
    char name[sizeof layer->names.weight + 8];
    snprintf(name, sizeof name, "%s.weight", layer->names.weight);
    float *norm = read_norm(net, layer->names.norm, layer->shape.out, error);
    const float *w = NULL;
    int status = norm ? clip_model_mapped(net->model, name, 4, shape, &w, error) : -1;
    if (status == 0 && !w) {
        w = net->weights[thread];
        status = clip_model_floats(net->model, name, 4, shape, net->weights[thread], error);
    }
    if (status == 0)
        status = clip_conv_set(layer->conv, w, norm, norm + layer->shape.out, net->rooms[thread], error);
    clip_model_release_pages(net->model, name);
    free(norm);
    return status;
}

static int read_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct resnet *net = context;
    return read_layer(net, &net->layers[i], thread, error);
}

static void place_opening(void *context)
{
    struct resnet *net = context;
    struct clip_arena *arena = &net->opening;
    size_t threads = (size_t)clip_pool_threads(net->pool), weights = 0, room = 0;
    for (size_t i = 0; i < net->layer_count; i++) {
        const struct clip_conv_shape *shape = &net->layers[i].shape;
        weights = clip_larger(weights, shape->out * shape->in * shape->side * shape->side);
        room = clip_larger(room, clip_conv_room(net->layers[i].conv));
    }
    net->weights = clip_arena_take(arena, threads, sizeof *net->weights);
    net->rooms = clip_arena_take(arena, threads, sizeof *net->rooms);
    for (size_t i = 0; i < threads; i++) {
        float *w = clip_arena_take(arena, weights, sizeof *w), *u = clip_arena_take(arena, room, sizeof *u);
        if (net->weights) {
            net->weights[i] = w;
            net->rooms[i] = u;
        }
    }
}

static int read_layers(struct resnet *net, struct clip_error *error)
{
    int status = clip_arena_build(&net->opening, "the image tower", place_opening, net, error);
    if (status == 0)
        status = clip_crew_run(&net->crew, net->pool, net->layer_count, read_task, net, error);
    clip_arena_free(&net->opening);
    return status;
}

/* --- running --- */

/* The picture as [size][size][3] in the engine's element; `wide` is room for it in f32. */
static void normalize(const struct resnet *net, const struct clip_image *picture, float *wide, void *y)
{
    size_t n = net->size * net->size;
    float *out = net->type == CLIP_PRECISION_F32 ? y : wide;
    for (size_t c = 0; c < CLIP_RESNET_COLORS; c++)
        for (size_t i = 0; i < n; i++)
            out[CLIP_RESNET_COLORS * i + c] = picture->bytes
                                                  ? net->levels[c * 256 + picture->bytes[c * n + i]]
                                                  : picture->floats[c * n + i];
    if (out == wide)
        net->kernels->convert(CLIP_RESNET_COLORS * n, wide, net->type, y);
}

static void halve(const struct resnet *net, const void *x, size_t side, size_t channels, void *y)
{
    if (net->type == CLIP_PRECISION_BF16)
        net->conv_kernels->pool_bf16(x, side, side, channels, y);
    else
        net->conv_kernels->pool(x, side, side, channels, y);
}

static int run_stem(const struct resnet *net, const struct workspace *workspace,
                    const struct clip_image *picture, struct clip_error *error)
{
    normalize(net, picture, (float *)workspace->b, workspace->a);
    if (clip_conv_run(net->layers[0].conv, workspace->a, workspace->b, workspace->scratch, error) != 0 ||
        clip_conv_run(net->layers[1].conv, workspace->b, workspace->a, workspace->scratch, error) != 0 ||
        clip_conv_run(net->layers[2].conv, workspace->a, workspace->b, workspace->scratch, error) != 0)
        return -1;
    halve(net, workspace->b, net->size / 2, net->layers[2].shape.out, workspace->x);
    return 0;
}

/* Computes the downsample of workspace->x into workspace->other, and swaps the two. `room` is scratch. */
static int downsample(const struct resnet *net, struct workspace *workspace, const struct bottleneck *block,
                      char *room, struct clip_error *error)
{
    char *x = workspace->x;
    const struct clip_conv_shape *shape = &block->conv1->shape;
    if (block->halves)
        halve(net, x, shape->height, shape->in, room);
    if (clip_conv_run(block->downsample->conv, block->halves ? room : x, workspace->other, workspace->scratch,
                      error) != 0)
        return -1;
    workspace->x = workspace->other;
    workspace->other = x;
    return 0;
}

/* workspace->x = x, or its downsample, plus conv1 to conv3 of x. */
static int run_bottleneck(const struct resnet *net, struct workspace *workspace,
                          const struct bottleneck *block, struct clip_error *error)
{
    const struct clip_conv_shape *shape = &block->conv2->shape;
    char *inner = workspace->b, *room = workspace->a;
    if (clip_conv_run(block->conv1->conv, workspace->x, workspace->a, workspace->scratch, error) != 0 ||
        clip_conv_run(block->conv2->conv, workspace->a, workspace->b, workspace->scratch, error) != 0)
        return -1;
    if (block->halves) {
        halve(net, workspace->b, shape->height, shape->out, workspace->a);
        inner = workspace->a;
        room = workspace->b;
    }
    if (block->downsample && downsample(net, workspace, block, room, error) != 0)
        return -1;
    return clip_conv_run(block->conv3->conv, inner, workspace->x, workspace->scratch, error);
}

/* A task: a picture. */
static int picture_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct resnet *net = context;
    struct workspace *workspace = &net->workspaces[thread];
    if (run_stem(net, workspace, &net->items[i].image, error) != 0)
        return -1;
    for (size_t block = 0; block < net->bottleneck_count; block++)
        if (run_bottleneck(net, workspace, &net->bottlenecks[block], error) != 0)
            return -1;
    clip_attnpool_put(net->attnpool, i, workspace->x);
    return 0;
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *tape, float *features, struct clip_error *error)
{
    (void)again;
    (void)tape;
    struct resnet *net = (struct resnet *)base;
    net->items = items;
    if (clip_crew_run(&net->crew, net->pool, n, picture_task, net, error) != 0)
        return -1;
    return clip_attnpool_run(net->attnpool, n, features, error);
}

/* --- opening --- */

static void place_buffers(void *context)
{
    struct resnet *net = context;
    struct clip_arena *arena = &net->arena;
    size_t threads = (size_t)clip_pool_threads(net->pool), scratch = 0;
    for (size_t i = 0; i < net->layer_count; i++)
        if (clip_conv_scratch(net->layers[i].conv) > scratch)
            scratch = clip_conv_scratch(net->layers[i].conv);
    net->levels = clip_arena_take(arena, CLIP_PIXEL_LEVELS, sizeof *net->levels);
    net->workspaces = clip_arena_take(arena, threads, sizeof *net->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = {
            .x = clip_arena_take(arena, net->outer, 1),
            .other = clip_arena_take(arena, net->outer, 1),
            .a = clip_arena_take(arena, net->inner, 1),
            .b = clip_arena_take(arena, net->inner, 1),
            .scratch = clip_arena_take(arena, scratch, 1),
        };
        if (net->workspaces)
            net->workspaces[i] = workspace;
    }
}

static int load_weights(struct resnet *net, const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_arch *arch = setup->arch;
    if (add_layers(net, &arch->vision, error) != 0 || read_layers(net, error) != 0)
        return -1;
    if (clip_arena_build(&net->arena, "the image tower", place_buffers, net, error) != 0)
        return -1;
    clip_pixel_levels(arch->preprocess.mean, arch->preprocess.std, net->levels);
    net->attnpool = clip_attnpool_open(setup, net->side * net->side, error);
    return net->attnpool ? 0 : -1;
}

static void free_resnet(struct clip_tower *base)
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

static const struct clip_tower_type type = {.free = free_resnet, .forward = forward};

/* Opens a ResNet with folded norms and prepared filters, or one that learns. */
static struct clip_tower *open_resnet(const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if (setup->parameters)
        return clip_resnet_learner_open(setup, error);
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct resnet *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    *net = (struct resnet){
        .base = {&type, clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), setup->batch},
        .model = setup->model,
        .engine = setup->engine,
        .pool = setup->pool,
        .type = clip_engine_precision(setup->engine),
        .kernels = clip_kernels(level),
        .conv_kernels = clip_conv_kernels(level),
        .size = (size_t)setup->arch->vision.image_size,
    };
    clip_crew_init(&net->crew);
    if (load_weights(net, setup, error) == 0)
        return &net->base;
    free_resnet(&net->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_resnet = {&clip_kind_resnet, 1, open_resnet};
