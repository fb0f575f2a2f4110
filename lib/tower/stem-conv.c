/* A stem of three convolutions whose kernels are their strides (4, 2, 2), with batch norm and GELU between
 * them.
 *
 * A token depends on its own patch alone: 16 squares, in the order in which the next convolutions join them
 * by four, so that each convolution is a product of rows that lie side by side. */
#include "base/arena.h"
#include "math/conv.h"
#include "tower/patches.h"
#include "tower/stem-conv.h"
#include "tower/stem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = CLIP_STEM_LAYERS, SQUARE = CLIP_STEM_SQUARE };
#define EPSILON 1e-5f /* of batch norm */

const size_t clip_stem_rows[CLIP_STEM_LAYERS] = {16, 4, 1};

size_t clip_stem_square(const struct clip_patches *squares, size_t grid, size_t patch, size_t s)
{
    size_t y = patch / grid * 4 + s / 8 * 2 + s % 4 / 2, x = patch % grid * 4 + s / 4 % 2 * 2 + s % 2;
    return y * squares->grid + x;
}

struct layer {
    size_t inputs, outputs;
    struct clip_matrix *matrix;
    float *weights; /* [outputs][inputs], which the matrix may borrow */
    float *bias;    /* [outputs] */
};

struct workspace {
    float *row;       /* [inputs of the first layer] */
    void *in[LAYERS]; /* [piece rows][inputs] elements */
    float *wide;      /* [piece][the most outputs] */
    void *scratch;
};

struct conv_stem {
    struct clip_stem base;
    const struct clip_kernels *kernels;
    enum clip_precision type;
    size_t piece, element, threads;
    struct clip_patches squares;
    size_t grid, patches; /* patches in a row; of a picture */
    struct layer layers[LAYERS];
    struct clip_arena arena;
    struct workspace *workspaces;
};

/* --- forward --- */

/* Row `row` of the first product, of patches from `first` on. */
static void fill_row(const struct conv_stem *stem, const union clip_item *items, size_t first, size_t row,
                     const struct workspace *workspace)
{
    size_t patch = first + row / clip_stem_rows[0], inputs = stem->layers[0].inputs;
    clip_patch_cut(
        &stem->squares, &items[patch / stem->patches].image,
        clip_stem_square(&stem->squares, stem->grid, patch % stem->patches, row % clip_stem_rows[0]),
        workspace->row);
    stem->kernels->convert(inputs, workspace->row, stem->type,
                           (char *)workspace->in[0] + row * inputs * stem->element);
}

/* A layer of the rows of n patches: into the next one's input, or out. */
static int run_layer(const struct conv_stem *stem, size_t layer, size_t n, const struct workspace *workspace,
                     float *out, struct clip_error *error)
{
    const struct layer *l = &stem->layers[layer];
    size_t all = n * clip_stem_rows[layer], bytes = l->inputs * stem->element;
    for (size_t first = 0; first < all; first += stem->piece) {
        size_t rows = all - first < stem->piece ? all - first : stem->piece;
        float *wide = layer + 1 < LAYERS ? workspace->wide : out + first * l->outputs;
        if (clip_product_rows(l->matrix, rows, (char *)workspace->in[layer] + first * bytes, wide,
                              workspace->scratch, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++, wide += l->outputs)
            if (layer + 1 < LAYERS)
                stem->kernels->activation[CLIP_GELU](l->outputs, wide, l->bias, stem->type,
                                                     (char *)workspace->in[layer + 1] +
                                                         (first + r) * l->outputs * stem->element);
            else
                stem->kernels->sum(l->outputs, wide, l->bias, wide);
    }
    return 0;
}

static int run_stem(const struct clip_stem *base, const union clip_item *items, size_t first, size_t n,
                    int thread, float *out, struct clip_error *error)
{
    const struct conv_stem *stem = (const struct conv_stem *)base;
    const struct workspace *workspace = &stem->workspaces[thread];
    for (size_t row = 0; row < n * clip_stem_rows[0]; row++)
        fill_row(stem, items, first, row, workspace);
    for (size_t layer = 0; layer < LAYERS; layer++)
        if (run_layer(stem, layer, n, workspace, out, error) != 0)
            return -1;
    return 0;
}

/* --- opening --- */

/* bias[n] of a layer, and its factors scale[n]: batch norm, or a bias of its own. */
static int load_bias(size_t i, size_t n, const struct clip_tower_setup *setup, float *scale, float *bias,
                     struct clip_error *error)
{
    static const char *const parts[] = {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"};
    const char *name = "visual.trunk.patch_embed.backbone.%zu.%s";
    struct clip_values values[4] = {{0}};
    int status = 0;
    if (i + 1 == LAYERS) {
        status = clip_values_load(&values[0], setup, error, name, i, "conv.bias");
        for (size_t c = 0; c < n && status == 0; c++) {
            scale[c] = 1;
            bias[c] = values[0].value[c];
        }
    } else {
        for (size_t j = 0; j < 4 && status == 0; j++)
            status = clip_values_load(&values[j], setup, error, name, i, parts[j]);
        if (status == 0)
            clip_batch_norm_fold(n, values[0].value, values[1].value, values[2].value, values[3].value,
                                 EPSILON, scale, bias);
    }
    for (size_t j = 0; j < 4; j++)
        clip_values_free(&values[j]);
    return status;
}

/* weights[outputs][inputs] from w[outputs][channels][places], scaled; the rows of a layer after the first lie
 * place by place. */
static void arrange(const struct layer *layer, size_t i, const float *w, const float *scale)
{
    size_t places = i ? CLIP_STEM_PLACES : 1, channels = layer->inputs / places;
    for (size_t o = 0; o < layer->outputs; o++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < places; p++)
                layer->weights[o * layer->inputs + p * channels + c] = *w++ * scale[o];
}

static int load_layer(struct conv_stem *stem, size_t i, const struct clip_tower_setup *setup,
                      struct clip_error *error)
{
    struct layer *layer = &stem->layers[i];
    struct clip_values weight = {0};
    size_t count = layer->outputs * layer->inputs;
    layer->bias = calloc(layer->outputs, sizeof *layer->bias);
    layer->weights = reallocarray(NULL, count, sizeof *layer->weights);
    float *scale = calloc(layer->outputs, sizeof *scale);
    int status = layer->bias && layer->weights && scale
                     ? load_bias(i, layer->outputs, setup, scale, layer->bias, error)
                     : clip_fail_memory(error, "the image tower");
    if (status == 0)
        status =
            clip_values_load(&weight, setup, error, "visual.trunk.patch_embed.backbone.%zu.conv.weight", i);
    if (status == 0) {
        arrange(layer, i, weight.value, scale);
        layer->matrix = clip_matrix_new(setup->engine, stem->piece, layer->outputs, layer->inputs, error);
        status = layer->matrix ? clip_matrix_set(layer->matrix, layer->weights, 0, error) : -1;
    }
    clip_values_free(&weight);
    free(scale);
    return status;
}

static void place_buffers(void *context)
{
    struct conv_stem *stem = context;
    struct clip_arena *arena = &stem->arena;
    size_t scratch = 0, wide = 0;
    for (size_t i = 0; i < LAYERS; i++) {
        const struct layer *layer = &stem->layers[i];
        size_t bytes = clip_product_scratch(layer->matrix);
        scratch = bytes > scratch ? bytes : scratch;
        wide = layer->outputs > wide ? layer->outputs : wide;
    }
    stem->workspaces = clip_arena_take(arena, stem->threads, sizeof *stem->workspaces);
    for (size_t t = 0; t < stem->threads; t++) {
        struct workspace workspace = {
            .row = clip_arena_take(arena, stem->layers[0].inputs, sizeof(float)),
            .wide = clip_arena_take(arena, stem->piece * wide, sizeof(float)),
            .scratch = clip_arena_take(arena, scratch, 1),
        };
        for (size_t i = 0; i < LAYERS; i++)
            workspace.in[i] = clip_arena_take(arena, stem->piece * clip_stem_rows[i],
                                              stem->layers[i].inputs * stem->element);
        if (stem->workspaces)
            stem->workspaces[t] = workspace;
    }
}

static void free_stem(struct clip_stem *base)
{
    struct conv_stem *stem = (struct conv_stem *)base;
    for (size_t i = 0; i < LAYERS; i++) {
        clip_matrix_free(stem->layers[i].matrix);
        free(stem->layers[i].weights);
        free(stem->layers[i].bias);
    }
    clip_arena_free(&stem->arena);
    free(stem);
}

static struct clip_stem *open_stem(const struct clip_tower_setup *setup, const struct clip_kernels *kernels,
                                   struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    struct conv_stem *stem = calloc(1, sizeof *stem);
    if (!stem) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    size_t channels = clip_stem_width(arch), inputs = 3 * SQUARE * SQUARE;
    stem->kernels = kernels;
    stem->type = clip_engine_precision(setup->engine);
    stem->element = clip_engine_element(setup->engine);
    stem->piece = clip_engine_rows(setup->engine);
    stem->threads = (size_t)clip_pool_threads(setup->pool);
    stem->base = (struct clip_stem){&clip_stem_conv, stem->piece};
    stem->grid = clip_vit_columns(arch);
    stem->patches = clip_vit_patches(arch);
    clip_patches_init(&stem->squares, setup->arch);
    stem->squares.patch = SQUARE;
    stem->squares.grid = stem->squares.width / SQUARE;
    for (size_t i = 0; i < LAYERS; i++) {
        stem->layers[i].inputs = inputs;
        stem->layers[i].outputs = i + 1 < LAYERS ? channels : (size_t)arch->width;
        inputs = 4 * channels;
        if (load_layer(stem, i, setup, error) != 0) {
            free_stem(&stem->base);
            return NULL;
        }
    }
    if (clip_arena_build(&stem->arena, "the image tower", place_buffers, stem, error) == 0)
        return &stem->base;
    free_stem(&stem->base);
    return NULL;
}

const struct clip_stem_type clip_stem_conv = {open_stem, free_stem, run_stem};
