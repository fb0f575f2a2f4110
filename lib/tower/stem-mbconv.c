/* The stem of ViTamin: two convolutions, two stages of inverted bottlenecks (MBConv) with layer norms, and a
 * convolution that gives the tokens. A picture goes through it in one thread, [height][width][channels]
 * between layers.
 *
 * A block is y = shrink(gelu(depthwise(gelu(expand(norm(x)))))), added to x or, where it halves the sides, to
 * a mean of three by three that may have more channels. Its hidden layer, four times as wide, is computed in
 * bands of rows, each row once. */
#include "base/array.h"
#include "base/arena.h"
#include "image/preprocess.h"
#include "math/depthwise.h"
#include "math/window.h"
#include "model/kind.h"
#include "tower/stem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLORS = 3, SIDE = 3, STAGES = 2, BAND_FLOATS = 1 << 18 };
#define EPSILON 1e-6f
#define BACKBONE "visual.trunk.patch_embed.backbone."

/* A map's sides. */
struct sides {
    size_t height, width;
};

/* A convolution that is a product; none where `forward` is NULL. */
struct block {
    size_t in, hidden, out, stride;
    struct sides from, to;
    size_t band; /* rows of the output that are computed at once */
    struct clip_norm norm;
    struct clip_dense expand, shrink, shortcut;
    float *depthwise; /* packed */
    struct clip_values depthwise_bias;
};

struct workspace {
    float *picture; /* [height][width][3] */
    float *x, *y;   /* maps */
    float *framed;  /* [rows of a band's input][width and frame][hidden] */
    float *deep;    /* [rows of a band][width][hidden]: after the depthwise convolution */
    float *row;     /* [the most inputs of a product, or channels] */
    void *narrow;   /* [piece][the most inputs] elements */
    float *wide;    /* [piece][the most outputs] */
    void *scratch;
};

struct mbconv {
    struct clip_stem base;
    const struct clip_kernels *kernels;
    const struct clip_depthwise_kernels *depthwise;
    enum clip_precision type;
    size_t piece, element, threads, channels;
    struct sides picture;
    float levels[CLIP_PIXEL_LEVELS];
    struct clip_dense first, second, last;
    struct clip_norm first_norm, last_norm;
    struct block *blocks;
    size_t count;
    struct clip_arena arena;
    float *zeros; /* [the most channels] */
    struct workspace *workspaces;
};

static size_t half(size_t n)
{
    return (n + 1) / 2;
}

static struct sides halves(struct sides from)
{
    return (struct sides){half(from.height), half(from.width)};
}

/* --- parts --- */

static void norm_row(const struct mbconv *stem, const struct clip_norm *norm, size_t n, const float *x,
                     enum clip_precision type, void *out)
{
    stem->kernels->layer_norm(n, EPSILON, x, norm->weight.value, norm->bias.value, type, out);
}

static void activate(const struct mbconv *stem, size_t n, const float *x, enum clip_precision type, void *out)
{
    stem->kernels->activation[CLIP_GELU](n, x, stem->zeros, type, out);
}

static int product(const struct clip_dense *conv, size_t rows, const struct workspace *workspace,
                   struct clip_error *error)
{
    return clip_product_rows(conv->weight.forward, rows, workspace->narrow, workspace->wide,
                             workspace->scratch, error);
}

static size_t outputs(const struct clip_dense *conv)
{
    return clip_matrix_outputs(conv->weight.forward);
}

static void *narrow_at(const struct mbconv *stem, const struct workspace *workspace, size_t n)
{
    return (char *)workspace->narrow + n * stem->element;
}

/* y[pixels][outputs] = a convolution of three by three, with bias, of x[from][channels]. */
static int run_convolution(const struct mbconv *stem, const struct clip_dense *conv, struct sides from,
                           size_t channels, size_t stride, const float *x, float *y,
                           const struct workspace *workspace, struct clip_error *error)
{
    const struct clip_window window = {
        from.height, from.width, from.width * channels, channels, channels, SIDE, stride, SIDE / 2};
    size_t pixels = clip_window_height(&window) * clip_window_width(&window), n = outputs(conv);
    size_t inputs = channels * SIDE * SIDE;
    for (size_t first = 0; first < pixels; first += stem->piece) {
        size_t rows = pixels - first < stem->piece ? pixels - first : stem->piece;
        for (size_t r = 0; r < rows; r++) {
            clip_window_cut(&window, x, first + r, workspace->row);
            stem->kernels->convert(inputs, workspace->row, stem->type,
                                   narrow_at(stem, workspace, r * inputs));
        }
        if (product(conv, rows, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            stem->kernels->sum(n, workspace->wide + r * n, conv->bias.value, y + (first + r) * n);
    }
    return 0;
}

/* --- blocks --- */

static struct clip_depthwise depthwise_of(const struct block *block)
{
    return (struct clip_depthwise){block->band, block->to.width, block->hidden, SIDE, block->stride};
}

/* The hidden layer of `count` rows of x from row `first` on, each framed, at `framed`; rows outside are 0. */
static int expand_rows(const struct mbconv *stem, const struct block *block, const float *x, long first,
                       size_t count, float *framed, const struct workspace *workspace,
                       struct clip_error *error)
{
    const struct clip_depthwise d = depthwise_of(block);
    size_t stride = clip_depthwise_row(&d), width = block->from.width, hidden = block->hidden, in = block->in;
    for (size_t i = 0; i < count; i++, framed += stride) {
        long at = first + (long)i;
        if (at < 0 || (size_t)at >= block->from.height) {
            memset(framed, 0, stride * sizeof *framed);
            continue;
        }
        memset(framed, 0, hidden * sizeof *framed);
        memset(framed + (1 + width) * hidden, 0, (stride - (1 + width) * hidden) * sizeof *framed);
        for (size_t begin = 0; begin < width; begin += stem->piece) {
            size_t rows = width - begin < stem->piece ? width - begin : stem->piece;
            for (size_t r = 0; r < rows; r++)
                norm_row(stem, &block->norm, in, x + ((size_t)at * width + begin + r) * in, stem->type,
                         narrow_at(stem, workspace, r * in));
            if (product(&block->expand, rows, workspace, error) != 0)
                return -1;
            for (size_t r = 0; r < rows; r++)
                stem->kernels->activation[CLIP_GELU](hidden, workspace->wide + r * hidden,
                                                     block->expand.bias.value, CLIP_PRECISION_F32,
                                                     framed + (1 + begin + r) * hidden);
        }
    }
    return 0;
}

/* The mean of the three by three of x around what output pixel (i, j) sees, of those that there are. */
static void pool_pixel(const struct mbconv *stem, const struct block *block, const float *x, size_t i,
                       size_t j, float *out)
{
    size_t n = block->in, count = 0, top = i * 2, left = j * 2;
    memset(out, 0, n * sizeof *out);
    for (size_t y = top ? top - 1 : 0; y < top + 2 && y < block->from.height; y++)
        for (size_t z = left ? left - 1 : 0; z < left + 2 && z < block->from.width; z++, count++)
            stem->kernels->sum(n, out, x + (y * block->from.width + z) * n, out);
    for (size_t c = 0; c < n; c++)
        out[c] /= (float)count;
}

/* y = what a block that halves the sides is added to: `rows` pixels from pixel `first` on. */
static int run_shortcut(const struct mbconv *stem, const struct block *block, const float *x, size_t first,
                        size_t rows, float *y, const struct workspace *workspace, struct clip_error *error)
{
    size_t in = block->in, out = block->out, width = block->to.width;
    for (size_t r = 0; r < rows; r++) {
        float *to = block->shortcut.weight.forward ? workspace->row : y + r * out;
        pool_pixel(stem, block, x, (first + r) / width, (first + r) % width, to);
        if (block->shortcut.weight.forward)
            stem->kernels->convert(in, to, stem->type, narrow_at(stem, workspace, r * in));
    }
    if (!block->shortcut.weight.forward)
        return 0;
    if (product(&block->shortcut, rows, workspace, error) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        stem->kernels->sum(out, workspace->wide + r * out, block->shortcut.bias.value, y + r * out);
    return 0;
}

/* y += shrink(gelu(deep)) of `count` pixels from pixel `first` on; where the sides are halved y is set first.
 */
static int shrink_rows(const struct mbconv *stem, const struct block *block, const float *x, size_t first,
                       size_t count, float *y, const struct workspace *workspace, struct clip_error *error)
{
    size_t hidden = block->hidden, out = block->out;
    for (size_t begin = 0; begin < count; begin += stem->piece) {
        size_t rows = count - begin < stem->piece ? count - begin : stem->piece;
        float *to = y + (first + begin) * out;
        if (block->stride > 1 && run_shortcut(stem, block, x, first + begin, rows, to, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            activate(stem, hidden, workspace->deep + (begin + r) * hidden, stem->type,
                     narrow_at(stem, workspace, r * hidden));
        if (product(&block->shrink, rows, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            stem->kernels->add(out, to + r * out, workspace->wide + r * out, block->shrink.bias.value);
    }
    return 0;
}

/* From x to y, which is x where the sides stay as they are: a row of x is read before it is written. */
static int run_block(const struct mbconv *stem, const struct block *block, const float *x, float *y,
                     const struct workspace *workspace, struct clip_error *error)
{
    const struct clip_depthwise d = depthwise_of(block);
    size_t stride = clip_depthwise_row(&d), kept = SIDE - block->stride;
    for (size_t row = 0; row < block->to.height; row += block->band) {
        size_t rest = block->to.height - row, rows = rest < block->band ? rest : block->band;
        size_t reads = (rows - 1) * block->stride + SIDE, held = row ? kept : 0;
        if (held) /* the last rows of a full band before */
            memmove(workspace->framed, workspace->framed + block->band * block->stride * stride,
                    held * stride * sizeof(float));
        if (expand_rows(stem, block, x, (long)(row * block->stride + held) - 1, reads - held,
                        workspace->framed + held * stride, workspace, error) != 0)
            return -1;
        stem->depthwise->run(&d, workspace->framed, block->depthwise, block->depthwise_bias.value, 0, 0, rows,
                             block->to.width, workspace->deep);
        if (shrink_rows(stem, block, x, row * block->to.width, rows * block->to.width, y, workspace, error) !=
            0)
            return -1;
    }
    return 0;
}

/* --- forward --- */

/* A picture as floats, [height][width][3]. */
static void read_picture(const struct mbconv *stem, const struct clip_image *image, float *x)
{
    size_t plane = stem->picture.height * stem->picture.width;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < COLORS; c++)
            *x++ = image->bytes ? stem->levels[c * 256 + image->bytes[c * plane + i]]
                                : image->floats[c * plane + i];
}

/* Norms each of `pixels` rows of x in place, and activates it. */
static void norm_map(const struct mbconv *stem, const struct clip_norm *norm, size_t pixels, size_t n,
                     int activates, float *x)
{
    for (size_t i = 0; i < pixels; i++, x += n) {
        norm_row(stem, norm, n, x, CLIP_PRECISION_F32, x);
        if (activates)
            activate(stem, n, x, CLIP_PRECISION_F32, x);
    }
}

static int run_stem(const struct clip_stem *base, const union clip_item *items, size_t first, size_t n,
                    int thread, float *out, struct clip_error *error)
{
    const struct mbconv *stem = (const struct mbconv *)base;
    const struct workspace *workspace = &stem->workspaces[thread];
    struct sides sides = halves(stem->picture);
    float *x = workspace->x, *y = workspace->y;
    size_t channels = stem->channels;
    (void)n;
    read_picture(stem, &items[first / base->rows].image, workspace->picture);
    if (run_convolution(stem, &stem->first, stem->picture, COLORS, 2, workspace->picture, y, workspace,
                        error) != 0)
        return -1;
    norm_map(stem, &stem->first_norm, sides.height * sides.width, channels, 1, y);
    if (run_convolution(stem, &stem->second, sides, channels, 1, y, x, workspace, error) != 0)
        return -1;
    for (const struct block *block = stem->blocks; block < stem->blocks + stem->count; block++) {
        float *to = block->stride > 1 ? y : x;
        if (run_block(stem, block, x, to, workspace, error) != 0)
            return -1;
        y = to == y ? x : y;
        x = to;
        sides = block->to;
        channels = block->out;
    }
    norm_map(stem, &stem->last_norm, sides.height * sides.width, channels, 0, x);
    return run_convolution(stem, &stem->last, sides, channels, 2, x, out, workspace, error);
}

/* --- opening --- */

static int load_depthwise(struct block *block, const struct clip_tower_setup *setup, const char *at,
                          struct clip_error *error)
{
    struct clip_values weight = {0};
    size_t bytes = clip_depthwise_packed(block->hidden, SIDE) * sizeof(float);
    if (clip_values_load(&block->depthwise_bias, setup, error, BACKBONE "%s.conv2_kxk.bias", at) != 0 ||
        clip_values_load(&weight, setup, error, BACKBONE "%s.conv2_kxk.weight", at) != 0)
        return -1;
    block->depthwise = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (block->depthwise)
        clip_depthwise_pack(weight.value, block->hidden, SIDE, block->depthwise);
    clip_values_free(&weight);
    return block->depthwise ? 0 : clip_fail_memory(error, "the image tower");
}

static int load_block(struct block *block, const struct clip_tower_setup *setup, int stage, int i,
                      struct clip_error *error)
{
    char at[32];
    snprintf(at, sizeof at, "stages.%d.%d", stage, i);
    struct {
        const char *name;
        struct clip_dense *to;
    } all[] = {
        {"conv1_1x1", &block->expand}, {"conv3_1x1", &block->shrink}, {"shortcut.expand", &block->shortcut}};
    if (clip_norm_load(&block->norm, setup, error, BACKBONE "%s.pre_norm", at) != 0 ||
        load_depthwise(block, setup, at, error) != 0)
        return -1;
    for (size_t k = 0; k < CLIP_COUNT_OF(all) - (block->in == block->out); k++)
        if (clip_dense_load(all[k].to, setup, 0, 0, error, BACKBONE "%s.%s", at, all[k].name) != 0)
            return -1;
    return 0;
}

/* The blocks' sizes and weights. */
static int load_blocks(struct mbconv *stem, const struct clip_tower_setup *setup, struct clip_error *error)
{
    size_t in = stem->channels;
    struct sides sides = halves(stem->picture);
    for (int stage = 0; stage < STAGES; stage++)
        for (int i = 0; i < clip_stem_blocks[stage]; i++) {
            struct block *block = &stem->blocks[stem->count++];
            size_t out = stem->channels << stage;
            *block =
                (struct block){.in = in, .hidden = 4 * out, .out = out, .stride = i ? 1 : 2, .from = sides};
            block->to = sides = i ? sides : halves(sides);
            size_t band = BAND_FLOATS / ((block->from.width + 2) * block->hidden * block->stride);
            block->band = band < 2 ? 2 : band < block->to.height ? band : block->to.height;
            in = out;
            if (load_block(block, setup, stage, i, error) != 0)
                return -1;
        }
    return 0;
}

static int load_weights(struct mbconv *stem, const struct clip_tower_setup *setup, struct clip_error *error)
{
    if (clip_dense_load(&stem->first, setup, 0, 0, error, BACKBONE "stem.conv1") != 0 ||
        clip_norm_load(&stem->first_norm, setup, error, BACKBONE "stem.norm1") != 0 ||
        clip_dense_load(&stem->second, setup, 0, 0, error, BACKBONE "stem.conv2") != 0 ||
        load_blocks(stem, setup, error) != 0 ||
        clip_norm_load(&stem->last_norm, setup, error, BACKBONE "pool.norm") != 0)
        return -1;
    return clip_dense_load(&stem->last, setup, 0, 0, error, BACKBONE "pool.proj");
}

/* The most that a layer needs: floats, but scratch. */
struct needs {
    size_t map, framed, deep, inputs, outputs, scratch;
};

static void need_convolution(struct needs *needs, const struct clip_dense *conv)
{
    if (!conv->weight.forward)
        return;
    needs->inputs = clip_larger(needs->inputs, clip_matrix_inputs(conv->weight.forward));
    needs->outputs = clip_larger(needs->outputs, outputs(conv));
    needs->scratch = clip_larger(needs->scratch, clip_operand_scratch(&conv->weight));
}

static struct needs needs_of(const struct mbconv *stem)
{
    struct sides sides = halves(stem->picture);
    struct needs needs = {.map = sides.height * sides.width * stem->channels};
    need_convolution(&needs, &stem->first);
    need_convolution(&needs, &stem->second);
    need_convolution(&needs, &stem->last);
    for (const struct block *block = stem->blocks; block < stem->blocks + stem->count; block++) {
        const struct clip_depthwise d = depthwise_of(block);
        need_convolution(&needs, &block->expand);
        need_convolution(&needs, &block->shrink);
        need_convolution(&needs, &block->shortcut);
        needs.framed = clip_larger(needs.framed, clip_depthwise_floats(&d));
        needs.deep = clip_larger(needs.deep, block->band * block->to.width * block->hidden);
        needs.map = clip_larger(needs.map, block->to.height * block->to.width * block->out);
    }
    return needs;
}

static void place_buffers(void *context)
{
    struct mbconv *stem = context;
    struct clip_arena *arena = &stem->arena;
    struct needs needs = needs_of(stem);
    size_t picture = stem->picture.height * stem->picture.width * COLORS;
    stem->zeros = clip_arena_take(arena, needs.inputs, sizeof(float));
    stem->workspaces = clip_arena_take(arena, stem->threads, sizeof *stem->workspaces);
    for (size_t i = 0; i < stem->threads; i++) {
        struct workspace workspace = {
            .picture = clip_arena_take(arena, picture, sizeof(float)),
            .x = clip_arena_take(arena, needs.map, sizeof(float)),
            .y = clip_arena_take(arena, needs.map, sizeof(float)),
            .framed = clip_arena_take(arena, needs.framed, sizeof(float)),
            .deep = clip_arena_take(arena, needs.deep, sizeof(float)),
            .row = clip_arena_take(arena, needs.inputs, sizeof(float)),
            .narrow = clip_arena_take(arena, stem->piece * needs.inputs, stem->element),
            .wide = clip_arena_take(arena, stem->piece * needs.outputs, sizeof(float)),
            .scratch = clip_arena_take(arena, needs.scratch, 1),
        };
        if (stem->workspaces)
            stem->workspaces[i] = workspace;
    }
}

static void free_stem(struct clip_stem *base)
{
    struct mbconv *stem = (struct mbconv *)base;
    clip_dense_free(&stem->first);
    clip_dense_free(&stem->second);
    clip_dense_free(&stem->last);
    clip_norm_free(&stem->first_norm);
    clip_norm_free(&stem->last_norm);
    for (size_t i = 0; i < stem->count; i++) {
        struct block *block = &stem->blocks[i];
        clip_norm_free(&block->norm);
        clip_dense_free(&block->expand);
        clip_dense_free(&block->shrink);
        clip_dense_free(&block->shortcut);
        clip_values_free(&block->depthwise_bias);
        free(block->depthwise);
    }
    clip_arena_free(&stem->arena);
    free(stem->blocks);
    free(stem);
}

static struct clip_stem *open_stem(const struct clip_tower_setup *setup, const struct clip_kernels *kernels,
                                   struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    enum clip_level level;
    struct mbconv *stem = calloc(1, sizeof *stem);
    if (!stem) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    *stem = (struct mbconv){
        .base = {&clip_stem_mbconv, clip_vit_patches(arch)},
        .kernels = kernels,
        .type = clip_engine_precision(setup->engine),
        .piece = clip_engine_rows(setup->engine),
        .element = clip_engine_element(setup->engine),
        .threads = (size_t)clip_pool_threads(setup->pool),
        .channels = clip_stem_width(arch),
        .picture = {(size_t)arch->image_size, (size_t)clip_image_width(arch)},
        .blocks = calloc((size_t)(clip_stem_blocks[0] + clip_stem_blocks[1]), sizeof *stem->blocks),
    };
    clip_pixel_levels(setup->arch->preprocess.mean, setup->arch->preprocess.std, stem->levels);
    if (!stem->blocks)
        clip_fail_memory(error, "the image tower");
    if (stem->blocks && clip_level_choose(&level, error) == 0) {
        stem->depthwise = clip_depthwise_kernels(level);
        if (load_weights(stem, setup, error) == 0 &&
            clip_arena_build(&stem->arena, "the image tower", place_buffers, stem, error) == 0)
            return &stem->base;
    }
    free_stem(&stem->base);
    return NULL;
}

const struct clip_stem_type clip_stem_mbconv = {open_stem, free_stem, run_stem};
