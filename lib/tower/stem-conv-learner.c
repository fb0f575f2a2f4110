/* The stem of convolutions, forward and backward in training. A picture is a piece of work; all begin a layer
 * before one begins the next, as batch norms need all of them. */
#include "base/crew.h"
#include "model/kind.h"
#include "tower/stem-conv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct layer {
    size_t inputs, outputs;
    struct clip_operand weight;
    struct clip_outer *outer;
    struct clip_norm_learner norm; /* but for the last layer, which has a bias */
    struct clip_values bias;
};

struct workspace {
    float *row;       /* [the most inputs] */
    float *act, *der; /* [places][channels]: four rows after GELU, and their gradient before it */
    void *narrow;     /* [piece][the most inputs] elements */
    float *wide;      /* [piece][the most outputs, or inputs] */
    void *scratch;
};

struct clip_stem_learner {
    const struct clip_kernels *kernels;
    const struct clip_batch_norm_kernels *norms;
    struct clip_engine *engine;
    struct clip_pool *pool;
    const struct clip_exchange *exchange;
    enum clip_precision type;
    size_t piece, element, batch, channels;
    struct clip_patches squares;
    size_t grid, patches; /* patches in a row; of a picture */
    struct layer layers[CLIP_STEM_LAYERS];
    struct clip_arena arena;
    float *zeros;             /* [places][channels] */
    double *moments, *joined; /* [batch][2][channels]: of pictures, backward sums; [2 channels + 1] */
    struct workspace *workspaces;
    void *read, *dout;            /* [rows][inputs], [rows][outputs] elements: of the layer's gradient */
    float *dact[CLIP_STEM_NORMS]; /* [rows][channels]: of what batch norms gave, then of their input */
    struct clip_crew crew;
    /* the run that is under way */
    size_t at; /* layer */
    size_t n, stride;
    const union clip_item *items;
    struct clip_stem_tape *tape;
    float *tokens;
    const float *gradients;
};

typedef struct clip_stem_learner learner_t;

static const struct layer *layer_of(const learner_t *l)
{
    return &l->layers[l->at];
}

/* Rows of a picture in a layer. */
static size_t rows_of(const learner_t *l, size_t layer)
{
    return l->patches * clip_stem_rows[layer];
}

static void *element_at(const learner_t *l, void *x, size_t n)
{
    return (char *)x + n * l->element;
}

/* Four rows of layer `layer` of a picture, from row `row` on, after batch norm: act[places][channels]. */
static void norm_rows(const learner_t *l, size_t layer, size_t picture, size_t row, float *act)
{
    const float *raw = l->tape->raw[layer] + (picture * rows_of(l, layer) + row) * l->channels;
    l->norms->normalize(CLIP_STEM_PLACES, l->channels, raw, &l->tape->records[layer].norm, 0, act);
}

/* Input row `row` of a picture in the run's layer, as elements. */
static void read_row(const learner_t *l, size_t picture, size_t row, const struct workspace *workspace,
                     void *out)
{
    size_t inputs = layer_of(l)->inputs, channels = l->channels;
    if (l->at == 0)
        clip_patch_cut(
            &l->squares, &l->items[picture].image,
            clip_stem_square(&l->squares, l->grid, row / clip_stem_rows[0], row % clip_stem_rows[0]),
            workspace->row);
    else {
        float *act = workspace->act;
        norm_rows(l, l->at - 1, picture, row * CLIP_STEM_PLACES, act);
        l->kernels->activation[CLIP_GELU](inputs, act, l->zeros, CLIP_PRECISION_F32, act);
        for (size_t p = 0; p < CLIP_STEM_PLACES; p++)
            for (size_t c = 0; c < channels; c++)
                workspace->row[c * CLIP_STEM_PLACES + p] = act[p * channels + c];
    }
    l->kernels->convert(inputs, workspace->row, l->type, out);
}

/* --- forward --- */

/* A task: a picture through the layer. */
static int forward_task(void *context, size_t picture, int thread, struct clip_error *error)
{
    const learner_t *l = context;
    const struct layer *layer = layer_of(l);
    const struct workspace *workspace = &l->workspaces[thread];
    size_t all = rows_of(l, l->at), outputs = layer->outputs, last = l->at + 1 == CLIP_STEM_LAYERS;
    float *to = (last ? l->tokens : l->tape->raw[l->at]) + picture * all * outputs;
    for (size_t first = 0; first < all; first += l->piece) {
        size_t rows = all - first < l->piece ? all - first : l->piece;
        for (size_t r = 0; r < rows; r++)
            read_row(l, picture, first + r, workspace, element_at(l, workspace->narrow, r * layer->inputs));
        if (clip_product_rows(layer->weight.forward, rows, workspace->narrow, workspace->wide,
                              workspace->scratch, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            if (last)
                l->kernels->sum(outputs, workspace->wide + r * outputs, layer->bias.value,
                                to + (first + r) * outputs);
            else
                memcpy(to + (first + r) * outputs, workspace->wide + r * outputs, outputs * sizeof *to);
    }
    double *moments = l->moments + picture * 2 * l->channels;
    if (!last)
        l->norms->moments(all, outputs, to, moments, moments + l->channels);
    return 0;
}

int clip_stem_learner_forward(learner_t *l, const union clip_item *items, size_t n, int again,
                              struct clip_stem_tape *tape, float *tokens, struct clip_error *error)
{
    l->items = items;
    l->n = n;
    l->tape = tape;
    l->tokens = tokens;
    for (l->at = 0; l->at < CLIP_STEM_LAYERS; l->at++) {
        if (clip_crew_run(&l->crew, l->pool, n, forward_task, l, error) != 0)
            return -1;
        if (l->at + 1 == CLIP_STEM_LAYERS)
            break;
        size_t pixels = rows_of(l, l->at);
        double count = clip_norm_moments(n, pixels, pixels, l->channels, l->channels, l->moments);
        if (clip_norm_finish(&l->layers[l->at].norm, &tape->records[l->at], count, l->moments,
                             l->moments + l->channels, again, l->exchange, l->joined, error) != 0)
            return -1;
    }
    return 0;
}

/* --- backward --- */

/* From din[inputs] of an input row: the gradients of the four rows before, as they left their batch norm. */
static void read_backward(const learner_t *l, size_t picture, size_t row, const float *din,
                          const struct workspace *workspace)
{
    size_t before = l->at - 1, channels = l->channels, n = CLIP_STEM_PLACES * channels;
    float *dact = l->dact[before] + (picture * rows_of(l, before) + row * CLIP_STEM_PLACES) * channels;
    for (size_t p = 0; p < CLIP_STEM_PLACES; p++)
        for (size_t c = 0; c < channels; c++)
            workspace->der[p * channels + c] = din[c * CLIP_STEM_PLACES + p];
    norm_rows(l, before, picture, row * CLIP_STEM_PLACES, workspace->act);
    l->kernels->activation_backward[CLIP_GELU](n, workspace->act, l->zeros, workspace->der,
                                               CLIP_PRECISION_F32, workspace->row, dact);
}

/* The gradient of rows [first, first + rows) of what the layer's convolution gave, as elements. */
static void output_gradient(const learner_t *l, size_t picture, size_t first, size_t rows)
{
    size_t all = rows_of(l, l->at), outputs = layer_of(l)->outputs, at = (picture * all + first) * outputs;
    const float *from = l->gradients + picture * l->stride + first * outputs;
    if (l->at + 1 < CLIP_STEM_LAYERS) {
        float *dact = l->dact[l->at] + at;
        l->norms->backward(rows, outputs, dact, l->tape->raw[l->at] + at, &layer_of(l)->norm.back, dact);
        from = dact;
    }
    l->kernels->convert(rows * outputs, from, l->type, element_at(l, l->dout, at));
}

/* A task: a picture, back through the layer. */
static int backward_task(void *context, size_t picture, int thread, struct clip_error *error)
{
    const learner_t *l = context;
    const struct layer *layer = layer_of(l);
    const struct workspace *workspace = &l->workspaces[thread];
    size_t all = rows_of(l, l->at), begin = picture * all;
    for (size_t first = 0; first < all; first += l->piece) {
        size_t rows = all - first < l->piece ? all - first : l->piece;
        output_gradient(l, picture, first, rows);
        for (size_t r = first; r < first + rows; r++)
            read_row(l, picture, r, workspace, element_at(l, l->read, (begin + r) * layer->inputs));
        if (l->at == 0)
            continue;
        memcpy(workspace->narrow, element_at(l, l->dout, (begin + first) * layer->outputs),
               rows * layer->outputs * l->element);
        if (clip_product_rows(layer->weight.backward, rows, workspace->narrow, workspace->wide,
                              workspace->scratch, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            read_backward(l, picture, first + r, workspace->wide + r * layer->inputs, workspace);
    }
    if (l->at > 0) {
        size_t before = l->at - 1, pixels = rows_of(l, before), row = picture * pixels * l->channels;
        double *sums = l->moments + picture * 2 * l->channels;
        l->norms->sums(pixels, l->channels, l->dact[before] + row, l->tape->raw[before] + row,
                       l->tape->records[before].mean, sums, sums + l->channels);
    }
    return 0;
}

/* A task: a panel of the gradient of the layer's weights; then its bias. */
static int weights_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const learner_t *l = context;
    const struct layer *layer = layer_of(l);
    if (i < clip_outer_panels(layer->outer))
        return clip_outer_add(layer->outer, i, l->n * rows_of(l, l->at), l->dout, l->read,
                              layer->weight.gradient, l->workspaces[thread].scratch, error);
    for (size_t picture = 0; layer->bias.gradient && picture < l->n; picture++)
        l->kernels->column_sums(l->patches, layer->outputs, l->gradients + picture * l->stride,
                                layer->outputs, CLIP_PRECISION_F32, layer->bias.gradient);
    return 0;
}

/* The norm before the layer, whose sums pictures left. */
static int norm_backward(learner_t *l, struct clip_error *error)
{
    size_t before = l->at - 1;
    memset(l->joined, 0, 2 * l->channels * sizeof *l->joined);
    for (size_t picture = 0; picture < l->n; picture++)
        for (size_t c = 0; c < 2 * l->channels; c++)
            l->joined[c] += l->moments[picture * 2 * l->channels + c];
    return clip_norm_backward(&l->layers[before].norm, &l->tape->records[before], l->joined, l->exchange,
                              error);
}

int clip_stem_learner_backward(learner_t *l, const union clip_item *items, size_t n,
                               struct clip_stem_tape *tape, const float *gradients, size_t stride,
                               struct clip_error *error)
{
    l->items = items;
    l->n = n;
    l->tape = tape;
    l->gradients = gradients;
    l->stride = stride;
    for (size_t at = CLIP_STEM_LAYERS; at-- > 0;) {
        l->at = at;
        if (clip_crew_run(&l->crew, l->pool, n, backward_task, l, error) != 0 ||
            clip_crew_run(&l->crew, l->pool, clip_outer_panels(layer_of(l)->outer) + 1, weights_task, l,
                          error) != 0 ||
            (at > 0 && norm_backward(l, error) != 0))
            return -1;
    }
    return 0;
}

/* --- memory --- */

void clip_stem_tape_place(const learner_t *l, size_t n, struct clip_arena *arena, struct clip_stem_tape *tape)
{
    for (size_t i = 0; i < CLIP_STEM_NORMS; i++) {
        tape->raw[i] = clip_arena_take(arena, n * rows_of(l, i), l->channels * sizeof(float));
        clip_norm_record_place(&tape->records[i], l->channels, arena);
    }
}

size_t clip_stem_learner_bytes(const learner_t *l)
{
    return l->arena.size;
}

static void place_buffers(void *context)
{
    learner_t *l = context;
    struct clip_arena *arena = &l->arena;
    size_t read = 0, dout = 0, inputs = 0, wide = 0, scratch = 0,
           threads = (size_t)clip_pool_threads(l->pool);
    for (size_t i = 0; i < CLIP_STEM_LAYERS; i++) {
        const struct layer *layer = &l->layers[i];
        read = clip_larger(read, rows_of(l, i) * layer->inputs);
        dout = clip_larger(dout, rows_of(l, i) * layer->outputs);
        inputs = clip_larger(inputs, clip_larger(layer->inputs, layer->outputs));
        wide = clip_larger(wide, clip_larger(layer->inputs, layer->outputs));
        scratch = clip_larger(
            scratch, clip_larger(clip_operand_scratch(&layer->weight), clip_outer_scratch(layer->outer)));
    }
    for (size_t i = 0; i < CLIP_STEM_NORMS; i++) {
        clip_norm_place(&l->layers[i].norm, l->channels, arena);
        l->dact[i] = clip_arena_take(arena, l->batch * rows_of(l, i), l->channels * sizeof(float));
    }
    l->zeros = clip_arena_take(arena, CLIP_STEM_PLACES, l->channels * sizeof(float));
    l->moments = clip_arena_take(arena, l->batch, 2 * l->channels * sizeof(double));
    l->joined = clip_arena_take(arena, 2 * l->channels + 1, sizeof(double));
    l->read = clip_arena_take(arena, l->batch, read * l->element);
    l->dout = clip_arena_take(arena, l->batch, dout * l->element);
    l->workspaces = clip_arena_take(arena, threads, sizeof *l->workspaces);
    for (size_t t = 0; t < threads; t++) {
        struct workspace workspace = {
            .row = clip_arena_take(arena, inputs, sizeof(float)),
            .act = clip_arena_take(arena, CLIP_STEM_PLACES, l->channels * sizeof(float)),
            .der = clip_arena_take(arena, CLIP_STEM_PLACES, l->channels * sizeof(float)),
            .narrow = clip_arena_take(arena, l->piece * inputs, l->element),
            .wide = clip_arena_take(arena, l->piece * wide, sizeof(float)),
            .scratch = clip_arena_take(arena, scratch, 1),
        };
        if (l->workspaces)
            l->workspaces[t] = workspace;
    }
}

/* --- opening --- */

int clip_stem_learner_refresh(learner_t *l, struct clip_error *error)
{
    for (size_t i = 0; i < CLIP_STEM_LAYERS; i++)
        if (clip_operand_refresh(&l->layers[i].weight, error) != 0)
            return -1;
    return 0;
}

void clip_stem_learner_free(learner_t *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < CLIP_STEM_LAYERS; i++) {
        clip_operand_free(&l->layers[i].weight);
        clip_outer_free(l->layers[i].outer);
        clip_values_free(&l->layers[i].bias);
    }
    clip_arena_free(&l->arena);
    clip_crew_destroy(&l->crew);
    free(l);
}

static int load_layer(learner_t *l, size_t i, const struct clip_tower_setup *setup, struct clip_error *error)
{
    struct layer *layer = &l->layers[i];
    char weight[64], norm[64];
    snprintf(weight, sizeof weight, "visual.trunk.patch_embed.backbone.%zu.conv.weight", i);
    snprintf(norm, sizeof norm, "visual.trunk.patch_embed.backbone.%zu.bn", i);
    struct clip_operand_part part = {.name = weight, .first_layer = i == 0};
    if (clip_operand_load(&layer->weight, setup, 0, &part, error) != 0 ||
        !(layer->outer = clip_outer_new(l->engine, layer->outputs, layer->inputs, error)))
        return -1;
    return i < CLIP_STEM_NORMS ? clip_norm_find(&layer->norm, setup->parameters, norm, error)
                               : clip_values_load(&layer->bias, setup, error,
                                                  "visual.trunk.patch_embed.backbone.%zu.conv.bias", i);
}

learner_t *clip_stem_learner_open(const struct clip_tower_setup *setup, const struct clip_kernels *kernels,
                                  struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    learner_t *l = calloc(1, sizeof *l);
    if (!l) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    l->kernels = kernels;
    l->norms = clip_batch_norm_kernels(level);
    l->engine = setup->engine;
    l->pool = setup->pool;
    l->exchange = setup->exchange;
    l->type = clip_engine_precision(setup->engine);
    l->piece = clip_engine_rows(setup->engine);
    l->element = clip_engine_element(setup->engine);
    l->batch = setup->batch;
    l->channels = clip_stem_width(arch);
    l->grid = clip_vit_columns(arch);
    l->patches = clip_vit_patches(arch);
    clip_patches_init(&l->squares, setup->arch);
    l->squares.patch = CLIP_STEM_SQUARE;
    l->squares.grid = l->squares.width / CLIP_STEM_SQUARE;
    clip_crew_init(&l->crew);
    int status = 0;
    for (size_t i = 0; i < CLIP_STEM_LAYERS && status == 0; i++) {
        l->layers[i].inputs = i ? CLIP_STEM_PLACES * l->channels : 3 * CLIP_STEM_SQUARE * CLIP_STEM_SQUARE;
        l->layers[i].outputs = i < CLIP_STEM_NORMS ? l->channels : (size_t)arch->width;
        status = load_layer(l, i, setup, error);
    }
    if (status == 0 && clip_arena_build(&l->arena, "the image tower", place_buffers, l, error) == 0)
        return l;
    clip_stem_learner_free(l);
    return NULL;
}
