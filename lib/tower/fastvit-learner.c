/* Training of a FastViT: forward and backward from step to step; memory, tapes, opening. */
#include "tower/fastvit-learner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct clip_fastvit_learner net_t;
typedef struct clip_fastvit_layer layer_t;
typedef struct clip_fastvit_workspace workspace_t;

/* --- forward --- */

/* Task: picture i through the end of the step before and the branches of net->layer; after the last step, to
 * its features. */
static int step_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const net_t *net = context;
    const workspace_t *workspace = &net->workspaces[thread];
    const layer_t *layer = net->layer;
    if (layer > net->layers) {
        const struct clip_fastvit_step *before = layer[-1].step;
        size_t pixels = clip_fastvit_pixels(before);
        float *x = clip_fastvit_picture(net->kept->x, i, pixels, before->out);
        if (clip_fastvit_finish(net, layer - 1, net->kept - 1, i, x, workspace, error) != 0)
            return -1;
        if (layer == net->layers + net->count) {
            clip_pixels_mean(net->kernels, pixels, before->out, x, net->features + i * net->base.width);
            return 0;
        }
    }
    return clip_fastvit_branches(net, i, workspace, error);
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *tape, float *features, struct clip_error *error)
{
    net_t *net = (net_t *)base;
    net->tape = (struct clip_fastvit_tape *)tape;
    net->n = net->tape->count = n;
    net->features = features;
    memcpy(net->tape->items, items, n * sizeof *items);
    for (size_t s = 0; s <= net->count; s++) {
        net->layer = &net->layers[s];
        net->kept = &net->tape->kept[s];
        if (clip_crew_run(&net->crew, net->pool, n, step_task, net, error) != 0 ||
            (s < net->count && clip_fastvit_norms(net, again, error) != 0))
            return -1;
    }
    return 0;
}

/* --- backward --- */

/* Task: spreads the gradient of a picture's features over its last pixels. */
static void features_task(void *context, size_t i, int thread)
{
    (void)thread;
    const net_t *net = context;
    const struct clip_fastvit_step *last = &net->steps[net->count - 1];
    size_t pixels = clip_fastvit_pixels(last), channels = last->out;
    float *dy = clip_fastvit_picture(net->dy, i, pixels, channels);
    for (size_t c = 0; c < channels; c++)
        dy[c] = net->gradients[i * channels + c] / (float)pixels;
    for (size_t p = 1; p < pixels; p++)
        memcpy(dy + p * channels, dy, channels * sizeof *dy);
}

/* Task: the gradient of the sum of a picture's branches, and the sums of it that their norms need. */
static int finish_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const net_t *net = context;
    const workspace_t *workspace = &net->workspaces[thread];
    if (clip_fastvit_finish_backward(net, i, workspace, error) != 0)
        return -1;
    if (!net->layer->excitation.hidden)
        clip_fastvit_sums(net, i, workspace);
    return 0;
}

/* Task: the same for a step with squeeze and excitation, once that has its own gradients. */
static void excitation_task(void *context, size_t i, int thread)
{
    const net_t *net = context;
    clip_fastvit_excitation_spread(net, i);
    clip_fastvit_sums(net, i, &net->workspaces[thread]);
}

/* Task: takes a group of pictures back through the branches. */
static int branches_task(void *context, size_t group, int thread, struct clip_error *error)
{
    const net_t *net = context;
    return clip_fastvit_branches_backward(net, group, &net->workspaces[thread], error);
}

/* Task: some of the gradients of weights and vectors. */
static int gradient_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const net_t *net = context;
    const workspace_t *workspace = &net->workspaces[thread];
    size_t tasks = clip_fastvit_layer_tasks(net->layer);
    return i < tasks ? clip_fastvit_layer_task(net, i, workspace, error)
                     : clip_fastvit_filter_task(net, i - tasks, workspace, error);
}

/* Turns net->dy from the gradient of the step's output into that of its input. */
static int step_backward(net_t *net, size_t s, struct clip_error *error)
{
    net->layer = &net->layers[s];
    net->kept = &net->tape->kept[s];
    float *other = net->back.stream[net->dy == net->back.stream[0]];
    net->dx = s == 0 ? NULL : net->layer->step->residual ? net->dy : other;
    if (clip_crew_run(&net->crew, net->pool, net->n, finish_task, net, error) != 0)
        return -1;
    if (net->layer->excitation.hidden) {
        clip_fastvit_excitation_backward(net);
        clip_pool_run(net->pool, net->n, excitation_task, net);
    }
    if (clip_fastvit_norms_backward(net, error) != 0 ||
        clip_crew_run(&net->crew, net->pool, net->groups, branches_task, net, error) != 0 ||
        clip_crew_run(&net->crew, net->pool,
                      clip_fastvit_layer_tasks(net->layer) + clip_fastvit_filter_tasks(net->layer),
                      gradient_task, net, error) != 0)
        return -1;
    net->dy = net->dx;
    return 0;
}

static int backward(struct clip_tower *base, struct clip_tape *tape, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)input_gradients;
    net_t *net = (net_t *)base;
    net->tape = (struct clip_fastvit_tape *)tape;
    net->n = net->tape->count;
    net->groups = net->n < CLIP_FASTVIT_GROUPS ? net->n : CLIP_FASTVIT_GROUPS;
    net->gradients = gradients;
    net->dy = net->back.stream[0];
    clip_pool_run(net->pool, net->n, features_task, net);
    for (size_t s = net->count; s-- > 0;)
        if (step_backward(net, s, error) != 0)
            return -1;
    return 0;
}

/* --- memory --- */

/* The most that a step needs, in floats or elements. */
struct needs {
    size_t framed, spread, picture, row; /* the pictures of a thread; a row of pixels */
    size_t narrow, hidden, wide, out;    /* a row of a product */
    size_t attention, scratch;           /* scratch in bytes */
    size_t stream, dwide, normed;        /* one picture, backward */
    size_t dout, read;                   /* all pictures, backward */
    size_t partial;                      /* packed filters */
};

static void need_filter(const net_t *net, const struct clip_fastvit_step *step,
                        const struct clip_fastvit_filter *filter, struct needs *needs)
{
    const struct clip_depthwise *d = &filter->shape;
    const struct clip_depthwise back = {(d->height - 1) * d->stride + d->side,
                                        (d->width - 1) * d->stride + d->side, d->channels, d->side, 1};
    size_t rows = net->base.batch * clip_fastvit_pixels(step);
    if (filter->form == CLIP_FASTVIT_DEPTHWISE) {
        needs->framed = clip_larger(needs->framed, clip_depthwise_floats(d));
        needs->spread = clip_larger(needs->spread, clip_depthwise_floats(&back));
        needs->partial =
            clip_larger(needs->partial, filter->partial + clip_depthwise_packed(step->out, d->side));
    }
    if (filter->form == CLIP_FASTVIT_DENSE) {
        needs->row = clip_larger(needs->row, filter->inputs);
        needs->narrow = clip_larger(needs->narrow, clip_larger(filter->inputs, step->out));
        needs->wide = clip_larger(needs->wide, clip_larger(filter->inputs, step->out));
        needs->dout = clip_larger(needs->dout, filter->dout + rows * step->out);
        needs->read = clip_larger(needs->read, filter->read + rows * filter->inputs);
        needs->scratch = clip_larger(needs->scratch, clip_operand_scratch(&filter->operand));
        needs->scratch = clip_larger(needs->scratch, clip_outer_scratch(filter->outer));
    }
}

static void need_linears(const net_t *net, const layer_t *layer, struct needs *needs)
{
    const struct clip_fastvit_step *step = layer->step;
    size_t pixels = clip_fastvit_pixels(step), inputs = clip_matrix_inputs(layer->second.weight.forward);
    const struct clip_operand *weights[] = {&layer->first.weight, &layer->second.weight};
    const struct clip_outer *outers[] = {layer->first_outer, layer->second_outer};
    needs->narrow = clip_larger(needs->narrow, step->out);
    needs->hidden = clip_larger(needs->hidden, step->hidden);
    needs->wide = clip_larger(needs->wide, step->hidden);
    needs->out = clip_larger(needs->out, step->out);
    needs->dout = clip_larger(needs->dout, net->base.batch * pixels * step->out);
    needs->normed = clip_larger(needs->normed, pixels * step->out);
    needs->read = clip_larger(needs->read, net->base.batch * pixels * inputs);
    needs->dwide = clip_larger(needs->dwide, pixels * step->hidden);
    for (int i = 0; i < 2; i++) {
        needs->scratch = clip_larger(needs->scratch, clip_operand_scratch(weights[i]));
        needs->scratch = clip_larger(needs->scratch, clip_outer_scratch(outers[i]));
    }
    if (step->operation == CLIP_FASTVIT_ATTEND) {
        needs->attention = clip_larger(needs->attention, clip_attention_scratch(pixels, CLIP_FASTVIT_HEAD));
        needs->attention =
            clip_larger(needs->attention, clip_attention_backward_scratch(pixels, CLIP_FASTVIT_HEAD));
    }
}

static struct needs needs_of(const net_t *net)
{
    struct needs needs = {0};
    for (const layer_t *layer = net->layers; layer < net->layers + net->count; layer++) {
        const struct clip_fastvit_step *step = layer->step;
        size_t pixels = clip_fastvit_pixels(step);
        needs.stream = clip_larger(needs.stream, pixels * step->out);
        needs.picture = clip_larger(needs.picture, clip_larger(pixels, step->from * step->from) * step->out);
        needs.row = clip_larger(needs.row, step->to * step->out);
        for (size_t b = 0; b < step->branch_count; b++)
            need_filter(net, step, &layer->filters[b], &needs);
        if (layer->first_outer)
            need_linears(net, layer, &needs);
    }
    return needs;
}

static workspace_t place_workspace(net_t *net, const struct needs *needs)
{
    struct clip_arena *arena = &net->arena;
    return (workspace_t){
        .picture = clip_arena_take(arena, net->size * net->size, CLIP_FASTVIT_COLORS * sizeof(float)),
        .framed = clip_arena_take(arena, needs->framed, sizeof(float)),
        .spread = clip_arena_take(arena, needs->spread, sizeof(float)),
        .points = clip_arena_take(arena, needs->picture, sizeof(float)),
        .a = clip_arena_take(arena, needs->picture, sizeof(float)),
        .b = clip_arena_take(arena, needs->picture, sizeof(float)),
        .row = clip_arena_take(arena, needs->row, sizeof(float)),
        .gate = clip_arena_take(arena, net->channels, sizeof(float)),
        .narrow = clip_arena_take(arena, net->piece * needs->narrow, net->element),
        .hidden = clip_arena_take(arena, net->piece * needs->hidden, net->element),
        .wide = clip_arena_take(arena, net->piece * needs->wide, sizeof(float)),
        .out = clip_arena_take(arena, net->piece * needs->out, sizeof(float)),
        .attention = clip_arena_take(arena, needs->attention, sizeof(float)),
        .scratch = clip_arena_take(arena, needs->scratch, 1),
    };
}

static void place_back(net_t *net, const struct needs *needs)
{
    struct clip_arena *arena = &net->arena;
    size_t n = net->base.batch;
    net->back = (struct clip_fastvit_back){
        .stream = {clip_arena_take(arena, n, needs->stream * sizeof(float)),
                   clip_arena_take(arena, n, needs->stream * sizeof(float))},
        .sum = clip_arena_take(arena, n, needs->stream * sizeof(float)),
        .dout = clip_arena_take(arena, needs->dout, net->element),
        .read = clip_arena_take(arena, needs->read, net->element),
        .dwide = clip_arena_take(arena, n, needs->dwide * net->element),
        .normed = clip_arena_take(arena, n, needs->normed * net->element),
        .vectors = clip_arena_take(arena, n, 3 * net->channels * sizeof(float)),
    };
    for (int group = 0; group < CLIP_FASTVIT_GROUPS; group++)
        net->back.partial[group] = clip_arena_take(arena, needs->partial, sizeof(float));
}

static void place_buffers(void *context)
{
    net_t *net = context;
    struct clip_arena *arena = &net->arena;
    struct needs needs = needs_of(net);
    size_t threads = (size_t)clip_pool_threads(net->pool);
    for (size_t s = 0; s < net->count; s++)
        clip_fastvit_filters_place(&net->layers[s], arena);
    net->zeros = clip_arena_take(arena, net->channels, sizeof(float));
    net->moments = clip_arena_take(arena, CLIP_FASTVIT_BRANCHES * net->base.batch,
                                   2 * net->channels * sizeof *net->moments);
    net->joined = clip_arena_take(arena, 2 * net->channels + 1, sizeof *net->joined);
    net->workspaces = clip_arena_take(arena, threads, sizeof *net->workspaces);
    for (size_t i = 0; i < threads; i++) {
        workspace_t workspace = place_workspace(net, &needs);
        if (net->workspaces)
            net->workspaces[i] = workspace;
    }
    place_back(net, &needs);
}

/* --- tapes --- */

/* A tape for n pictures. */
struct tape_plan {
    const net_t *net;
    size_t n;
    struct clip_fastvit_tape *tape;
};

static struct clip_fastvit_kept place_kept(const net_t *net, size_t s, size_t n, struct clip_arena *arena)
{
    const layer_t *layer = &net->layers[s];
    const struct clip_fastvit_step *step = layer->step;
    size_t pixels = clip_fastvit_pixels(step), out = pixels * step->out;
    struct clip_fastvit_kept kept = {0};
    if (s > 0)
        kept.x = clip_arena_take(arena, n, step->from * step->from * step->in * sizeof(float));
    for (size_t b = 0; b < step->branch_count; b++) {
        if (layer->filters[b].form != CLIP_FASTVIT_POINTS)
            kept.raw[b] = clip_arena_take(arena, n, out * sizeof(float));
        clip_norm_record_place(&kept.records[b], step->out, arena);
    }
    if (layer->excitation.hidden) {
        kept.mean = clip_arena_take(arena, n, step->out * sizeof(float));
        kept.squeezed = clip_arena_take(arena, n, step->hidden * sizeof(float));
        kept.gate = clip_arena_take(arena, n, step->out * sizeof(float));
    }
    if (layer->first_outer) {
        kept.wide = clip_arena_take(arena, n, pixels * step->hidden * sizeof(float));
        kept.out = clip_arena_take(arena, n, out * sizeof(float));
    }
    if (step->operation == CLIP_FASTVIT_ATTEND)
        kept.attended = clip_arena_take(arena, n, out * net->element);
    return kept;
}

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    const net_t *net = plan->net;
    struct clip_fastvit_tape *tape = plan->tape;
    const struct clip_fastvit_step *last = &net->steps[net->count - 1];
    tape->items = clip_arena_take(&tape->arena, plan->n, sizeof *tape->items);
    tape->kept = clip_arena_take(&tape->arena, net->count + 1, sizeof *tape->kept);
    for (size_t s = 0; s < net->count; s++) {
        struct clip_fastvit_kept kept = place_kept(net, s, plan->n, &tape->arena);
        if (tape->kept)
            tape->kept[s] = kept;
    }
    float *x = clip_arena_take(&tape->arena, plan->n, clip_fastvit_pixels(last) * last->out * sizeof(float));
    if (tape->kept)
        tape->kept[net->count].x = x;
}

static void tape_free(struct clip_tape *base)
{
    struct clip_fastvit_tape *tape = (struct clip_fastvit_tape *)base;
    clip_arena_free(&tape->arena);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_tower *base, struct clip_error *error)
{
    struct clip_fastvit_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    struct tape_plan plan = {(const net_t *)base, base->batch, tape};
    if (clip_arena_build(&tape->arena, "a tape", place_tape, &plan, error) == 0)
        return &tape->base;
    free(tape);
    return NULL;
}

static size_t tape_bytes(const struct clip_tower *base, size_t n)
{
    struct clip_fastvit_tape tape = {0};
    place_tape(&(struct tape_plan){(const net_t *)base, n, &tape});
    return tape.arena.overflow ? SIZE_MAX : tape.arena.used + sizeof tape;
}

static size_t memory_bytes(const struct clip_tower *base)
{
    return ((const net_t *)base)->arena.size;
}

/* --- opening --- */

static int load_linear(net_t *net, struct clip_dense *linear, struct clip_outer **outer, const char *name,
                       struct clip_error *error)
{
    if (clip_dense_load(linear, net->setup, net->piece, 0, error, "%s", name) != 0)
        return -1;
    *outer = clip_outer_new(net->engine, clip_matrix_outputs(linear->weight.forward),
                            clip_matrix_inputs(linear->weight.forward), error);
    return *outer ? 0 : -1;
}

static int load_excitation(const net_t *net, layer_t *layer, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    struct clip_values w1, b1, w2, b2;
    if (clip_values_load(&w1, net->setup, error, "%s.weight", step->first) != 0 ||
        clip_values_load(&b1, net->setup, error, "%s.bias", step->first) != 0 ||
        clip_values_load(&w2, net->setup, error, "%s.weight", step->second) != 0 ||
        clip_values_load(&b2, net->setup, error, "%s.bias", step->second) != 0)
        return -1;
    layer->excitation =
        (struct clip_excitation){step->out, step->hidden, w1.value, b1.value, w2.value, b2.value};
    layer->excitation_gradients =
        (struct clip_excitation_gradients){w1.gradient, b1.gradient, w2.gradient, b2.gradient};
    return 0;
}

static int load_layer(net_t *net, layer_t *layer, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    if (clip_fastvit_filters_load(net, layer, error) != 0)
        return -1;
    if (step->branch_count == 0 && clip_norm_load(&layer->norm, net->setup, error, "%s", step->norm) != 0)
        return -1;
    if (*step->gamma && clip_values_load(&layer->gamma, net->setup, error, "%s.gamma", step->gamma) != 0)
        return -1;
    if (step->operation == CLIP_FASTVIT_SUM)
        return *step->first ? load_excitation(net, layer, error) : 0;
    return load_linear(net, &layer->first, &layer->first_outer, step->first, error) == 0
               ? load_linear(net, &layer->second, &layer->second_outer, step->second, error)
               : -1;
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    net_t *net = (net_t *)base;
    for (size_t s = 0; s < net->count; s++) {
        layer_t *layer = &net->layers[s];
        if (clip_fastvit_filters_refresh(layer, error) != 0 ||
            clip_operand_refresh(&layer->first.weight, error) != 0 ||
            clip_operand_refresh(&layer->second.weight, error) != 0)
            return -1;
    }
    return 0;
}

static void free_learner(struct clip_tower *base)
{
    net_t *net = (net_t *)base;
    for (size_t s = 0; net->layers && s < net->count; s++) {
        clip_fastvit_filters_free(&net->layers[s]);
        clip_dense_free(&net->layers[s].first);
        clip_dense_free(&net->layers[s].second);
        clip_outer_free(net->layers[s].first_outer);
        clip_outer_free(net->layers[s].second_outer);
    }
    clip_arena_free(&net->arena);
    clip_crew_destroy(&net->crew);
    free(net->layers);
    free(net->steps);
    free(net);
}

/* Fails if the sizes of a chunk overflow. */
static int check_step(const net_t *net, const struct clip_fastvit_step *step, struct clip_error *error)
{
    size_t channels = clip_larger(64, clip_larger(step->out, step->hidden));
    if (clip_fastvit_pixels(step) <= SIZE_MAX / 64 / channels / net->base.batch)
        return 0;
    return clip_fail(error, "%zu pictures of %zu by %zu pixels and %zu channels are out of bounds",
                     net->base.batch, step->to, step->to, channels);
}

static int open_parts(net_t *net, const struct clip_tower_setup *setup, struct clip_error *error)
{
    net->setup = setup;
    if (clip_fastvit_steps(setup, &net->steps, &net->count, error) != 0)
        return -1;
    net->layers = calloc(net->count + 1, sizeof *net->layers);
    if (!net->layers)
        return clip_fail_memory(error, "the image tower");
    for (size_t s = 0; s < net->count; s++) {
        net->layers[s].step = &net->steps[s];
        net->channels = clip_larger(net->channels, net->steps[s].out);
        if (check_step(net, &net->steps[s], error) != 0 || load_layer(net, &net->layers[s], error) != 0)
            return -1;
    }
    net->setup = NULL;
    return clip_arena_build(&net->arena, "the image tower", place_buffers, net, error) == 0
               ? refresh(&net->base, error)
               : -1;
}

static const struct clip_tower_type type = {free_learner, forward,  backward,  refresh,
                                            memory_bytes, tape_new, tape_free, tape_bytes};

struct clip_tower *clip_fastvit_learner_open(const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    net_t *net = calloc(1, sizeof *net);
    if (!net) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    net->base = (struct clip_tower){&type, clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), setup->batch};
    net->kernels = clip_kernels(level);
    net->depthwise = clip_depthwise_kernels(level);
    net->norms = clip_batch_norm_kernels(level);
    net->engine = setup->engine;
    net->pool = setup->pool;
    net->exchange = setup->exchange;
    net->type = clip_engine_precision(setup->engine);
    net->size = (size_t)setup->arch->vision.image_size;
    net->piece = clip_engine_rows(setup->engine);
    net->element = clip_engine_element(setup->engine);
    clip_pixel_levels(setup->arch->preprocess.mean, setup->arch->preprocess.std, net->levels);
    clip_crew_init(&net->crew);
    if (open_parts(net, setup, error) == 0)
        return &net->base;
    free_learner(&net->base);
    return NULL;
}
