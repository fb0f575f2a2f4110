/* Training of a FastViT: the branches of its steps, convolutions and their batch norms, forward and backward.
 */
#include "tower/fastvit-learner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct clip_fastvit_learner net_t;
typedef struct clip_fastvit_layer layer_t;
typedef struct clip_fastvit_filter filter_t;
typedef struct clip_fastvit_workspace workspace_t;

/* --- opening --- */

static int load_dense(net_t *net, filter_t *filter, const char *conv, int first, struct clip_error *error)
{
    char name[112];
    snprintf(name, sizeof name, "%s.weight", conv);
    const struct clip_operand_part part = {.name = name, .first_layer = first};
    if (clip_operand_load(&filter->operand, net->setup, net->piece, &part, error) != 0)
        return -1;
    filter->inputs = clip_matrix_inputs(filter->operand.forward);
    filter->outer = clip_outer_new(net->engine, filter->shape.channels, filter->inputs, error);
    return filter->outer ? 0 : -1;
}

static int load_filter(net_t *net, const layer_t *layer, const struct clip_fastvit_branch *branch,
                       filter_t *filter, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    filter->shape = (struct clip_depthwise){step->to, step->to, step->out, branch->side, step->stride};
    filter->norm.channels = step->out;
    filter->norm.subtracted = branch->subtracted;
    if (*branch->norm ? clip_norm_find(&filter->norm, net->setup->parameters, branch->norm, error) != 0
                      : clip_values_load(&filter->bias, net->setup, error, "%s.bias", branch->conv) != 0)
        return -1;
    if (!*branch->conv)
        return 0;
    if (step->dense) {
        filter->form = CLIP_FASTVIT_DENSE;
        return load_dense(net, filter, branch->conv, step == net->steps, error);
    }
    if (branch->side == 1 && *branch->norm) {
        filter->norm.factor = clip_parameters_get(net->setup->parameters, "%s.weight", branch->conv);
        return 0;
    }
    filter->form = CLIP_FASTVIT_DEPTHWISE;
    return clip_values_load(&filter->weight, net->setup, error, "%s.weight", branch->conv);
}

/* Elements of `rows` rows, rounded up to keep what follows aligned. */
static size_t aligned_rows(size_t rows, size_t width)
{
    return (rows * width + 63) / 64 * 64;
}

int clip_fastvit_filters_load(net_t *net, layer_t *layer, struct clip_error *error)
{
    const struct clip_fastvit_step *step = layer->step;
    size_t partial = 0, dout = 0, read = 0, rows = net->base.batch * clip_fastvit_pixels(step);
    for (size_t b = 0; b < step->branch_count; b++) {
        filter_t *filter = &layer->filters[b];
        if (load_filter(net, layer, &step->branches[b], filter, error) != 0)
            return -1;
        filter->partial = partial;
        filter->dout = dout;
        filter->read = read;
        if (filter->form == CLIP_FASTVIT_DEPTHWISE)
            partial += clip_depthwise_packed(step->out, filter->shape.side);
        if (filter->form == CLIP_FASTVIT_DENSE) {
            dout += aligned_rows(rows, step->out);
            read += aligned_rows(rows, filter->inputs);
        }
    }
    return 0;
}

void clip_fastvit_filters_free(layer_t *layer)
{
    for (size_t b = 0; b < CLIP_FASTVIT_BRANCHES; b++) {
        clip_values_free(&layer->filters[b].weight);
        clip_values_free(&layer->filters[b].bias);
        clip_operand_free(&layer->filters[b].operand);
        clip_outer_free(layer->filters[b].outer);
    }
}

void clip_fastvit_filters_place(layer_t *layer, struct clip_arena *arena)
{
    for (size_t b = 0; b < layer->step->branch_count; b++) {
        filter_t *filter = &layer->filters[b];
        clip_norm_place(&filter->norm, layer->step->out, arena);
        if (filter->form == CLIP_FASTVIT_DEPTHWISE) {
            size_t packed = clip_depthwise_packed(filter->shape.channels, filter->shape.side);
            filter->packed = clip_arena_take(arena, packed, sizeof(float));
            filter->flipped = clip_arena_take(arena, packed, sizeof(float));
        }
    }
}

int clip_fastvit_filters_refresh(layer_t *layer, struct clip_error *error)
{
    for (size_t b = 0; b < layer->step->branch_count; b++) {
        filter_t *filter = &layer->filters[b];
        const struct clip_depthwise *d = &filter->shape;
        if (filter->form == CLIP_FASTVIT_DENSE && clip_operand_refresh(&filter->operand, error) != 0)
            return -1;
        if (filter->form != CLIP_FASTVIT_DEPTHWISE)
            continue;
        clip_depthwise_pack(filter->weight.value, d->channels, d->side, filter->packed);
        clip_depthwise_pack_flipped(filter->weight.value, d->channels, d->side, filter->flipped);
    }
    return 0;
}

/* --- inputs --- */

/* Returns picture i as the layer reads it. */
static const float *input_of(const net_t *net, const layer_t *layer, const struct clip_fastvit_kept *kept,
                             size_t i, const workspace_t *workspace)
{
    const struct clip_fastvit_step *step = layer->step;
    if (kept->x)
        return clip_fastvit_picture(kept->x, i, step->from * step->from, step->in);
    clip_fastvit_read(&net->tape->items[i].image, net->size, net->levels, workspace->picture);
    return workspace->picture;
}

/* The input pixel that a filter of side 1 reads for output pixel `at`. */
static size_t pixel_under(const struct clip_fastvit_step *step, size_t at)
{
    return (at / step->to * step->from + at % step->to) * step->stride;
}

/* What filters of side 1 read for each output: x itself, or gathered in `points`. */
static const float *gather_points(const struct clip_fastvit_step *step, const float *x, float *points)
{
    size_t times = step->out / step->in, pixels = clip_fastvit_pixels(step);
    if (step->stride == 1 && times == 1)
        return x;
    for (size_t at = 0; at < pixels; at++) {
        const float *from = x + pixel_under(step, at) * step->in;
        for (size_t c = 0; c < step->out; c++)
            *points++ = from[c / times];
    }
    return points - pixels * step->out;
}

/* The backward of gather_points: adds to dx. */
static void scatter_points(const net_t *net, const struct clip_fastvit_step *step, const float *dpoints,
                           float *dx)
{
    size_t times = step->out / step->in, pixels = clip_fastvit_pixels(step);
    if (step->stride == 1 && times == 1) {
        net->kernels->sum(pixels * step->out, dx, dpoints, dx);
        return;
    }
    for (size_t at = 0; at < pixels; at++, dpoints += step->out) {
        float *to = dx + pixel_under(step, at) * step->in;
        for (size_t c = 0; c < step->out; c++)
            to[c / times] += dpoints[c];
    }
}

/* Returns the input of the branch's batch norm for picture i: the raw output of the filter, or the points. */
static const float *norm_input(const net_t *net, const layer_t *layer, const struct clip_fastvit_kept *kept,
                               size_t b, size_t i, const workspace_t *workspace)
{
    if (kept->raw[b])
        return clip_fastvit_picture(kept->raw[b], i, clip_fastvit_pixels(layer->step), layer->step->out);
    return gather_points(layer->step, input_of(net, layer, kept, i, workspace), workspace->points);
}

/* Rows [first, first + rows) of what a dense filter reads, as elements. */
static void read_rows(const net_t *net, const struct clip_fastvit_step *step, const filter_t *filter,
                      const float *x, size_t first, size_t rows, const workspace_t *workspace)
{
    const struct clip_window window = clip_fastvit_window(step, filter->shape.side);
    if (filter->inputs == step->in && step->stride == 1) {
        net->kernels->convert(rows * step->in, x + first * step->in, net->type, workspace->narrow);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        clip_window_cut(&window, x, first + r, workspace->row);
        net->kernels->convert(filter->inputs, workspace->row, net->type,
                              (char *)workspace->narrow + r * filter->inputs * net->element);
    }
}

/* --- forward --- */

static int run_dense(const net_t *net, const struct clip_fastvit_step *step, const filter_t *filter,
                     const float *x, float *raw, const workspace_t *workspace, struct clip_error *error)
{
    size_t pixels = clip_fastvit_pixels(step), out = step->out;
    for (size_t first = 0; first < pixels; first += net->piece) {
        size_t rows = pixels - first < net->piece ? pixels - first : net->piece;
        read_rows(net, step, filter, x, first, rows, workspace);
        if (clip_product_rows(filter->operand.forward, rows, workspace->narrow, workspace->wide,
                              workspace->scratch, error) != 0)
            return -1;
        memcpy(raw + first * out, workspace->wide, rows * out * sizeof *raw);
    }
    return 0;
}

/* [2][channels] of branch b and picture i: forward its moments, backward its sums. */
static double *moments_of(const net_t *net, size_t b, size_t i)
{
    return net->moments + 2 * (b * net->base.batch + i) * net->channels;
}

int clip_fastvit_branches(const net_t *net, size_t i, const workspace_t *workspace, struct clip_error *error)
{
    const layer_t *layer = net->layer;
    const struct clip_fastvit_step *step = layer->step;
    const struct clip_fastvit_kept *kept = net->kept;
    size_t pixels = clip_fastvit_pixels(step);
    const float *x = input_of(net, layer, kept, i, workspace);
    for (size_t b = 0; b < step->branch_count; b++) {
        const filter_t *filter = &layer->filters[b];
        const struct clip_depthwise *d = &filter->shape;
        float *raw = kept->raw[b] ? clip_fastvit_picture(kept->raw[b], i, pixels, step->out) : NULL;
        double *moments = moments_of(net, b, i);
        if (filter->form == CLIP_FASTVIT_DENSE && run_dense(net, step, filter, x, raw, workspace, error) != 0)
            return -1;
        if (filter->form == CLIP_FASTVIT_DEPTHWISE) {
            clip_fastvit_frame(step, d, x, workspace->framed);
            net->depthwise->run(d, workspace->framed, filter->packed, NULL, 0, 0, d->height, d->width, raw);
        }
        if (filter->norm.weight)
            net->norms->moments(pixels, step->out, raw ? raw : gather_points(step, x, workspace->points),
                                moments, moments + net->channels);
    }
    return 0;
}

/* Writes a bias as a norm that only shifts. */
static void set_bias(const filter_t *filter, struct clip_norm_record *record)
{
    for (size_t c = 0; c < filter->norm.channels; c++) {
        record->scale[c] = 1;
        record->shift[c] = filter->bias.value[c];
    }
}

int clip_fastvit_norms(const net_t *net, int again, struct clip_error *error)
{
    const struct clip_fastvit_step *step = net->layer->step;
    size_t pixels = clip_fastvit_pixels(step);
    for (size_t b = 0; b < step->branch_count; b++) {
        const filter_t *filter = &net->layer->filters[b];
        struct clip_norm_record *record = &net->kept->records[b];
        double *moments = moments_of(net, b, 0);
        if (!filter->norm.weight) {
            set_bias(filter, record);
            continue;
        }
        double count = clip_norm_moments(net->n, pixels, pixels, step->out, net->channels, moments);
        if (clip_norm_finish(&filter->norm, record, count, moments, moments + net->channels, again,
                             net->exchange, net->joined, error) != 0)
            return -1;
    }
    return 0;
}

void clip_fastvit_sum(const net_t *net, const layer_t *layer, const struct clip_fastvit_kept *kept, size_t i,
                      size_t first, size_t rows, const workspace_t *workspace, float *out)
{
    const struct clip_fastvit_step *step = layer->step;
    size_t channels = step->out;
    for (size_t b = 0; b < step->branch_count; b++) {
        const struct clip_batch_norm *norm = &kept->records[b].norm;
        const float *x = norm_input(net, layer, kept, b, i, workspace) + first * channels;
        for (size_t done = 0; done < rows; done += step->to) { /* as many as stay in the cache */
            size_t some = rows - done < step->to ? rows - done : step->to, floats = some * channels;
            float *to = out + done * channels;
            net->norms->normalize(some, channels, x + done * channels, norm, 0, b ? workspace->row : to);
            if (b)
                net->kernels->sum(floats, to, workspace->row, to);
        }
    }
}

/* --- backward --- */

/* back.sum of picture i. */
static float *sum_gradient(const net_t *net, size_t i)
{
    return clip_fastvit_picture(net->back.sum, i, clip_fastvit_pixels(net->layer->step),
                                net->layer->step->out);
}

void clip_fastvit_sums(const net_t *net, size_t i, const workspace_t *workspace)
{
    const layer_t *layer = net->layer;
    size_t pixels = clip_fastvit_pixels(layer->step);
    for (size_t b = 0; b < layer->step->branch_count; b++) {
        double *sums = moments_of(net, b, i);
        net->norms->sums(pixels, layer->step->out, sum_gradient(net, i),
                         norm_input(net, layer, net->kept, b, i, workspace), net->kept->records[b].mean, sums,
                         sums + net->channels);
    }
}

/* Adds to the gradient of a bias, and writes its backward as that of a norm. */
static void bias_backward(filter_t *filter, const struct clip_norm_record *record, const double *sums)
{
    struct clip_norm_learner *norm = &filter->norm;
    for (size_t c = 0; c < norm->channels; c++) {
        filter->bias.gradient[c] += (float)sums[c];
        norm->scale[c] = 1;
        norm->slope[c] = norm->shift[c] = 0;
    }
    norm->back = (struct clip_batch_norm_back){record->mean, norm->slope, norm->scale, norm->shift};
}

int clip_fastvit_norms_backward(net_t *net, struct clip_error *error)
{
    const struct clip_fastvit_step *step = net->layer->step;
    size_t channels = step->out;
    for (size_t b = 0; b < step->branch_count; b++) {
        filter_t *filter = (filter_t *)&net->layer->filters[b];
        const struct clip_norm_record *record = &net->kept->records[b];
        for (size_t c = 0; c < 2 * channels; c++) {
            size_t at = c < channels ? c : net->channels + c - channels;
            net->joined[c] = 0;
            for (size_t i = 0; i < net->n; i++)
                net->joined[c] += moments_of(net, b, i)[at];
        }
        if (!filter->norm.weight)
            bias_backward(filter, record, net->joined);
        else if (clip_norm_backward(&filter->norm, record, net->joined, net->exchange, error) != 0)
            return -1;
    }
    return 0;
}

/* From draw[pixels][out], the gradient of the filter's output: adds the gradient of the filter to the
 * group's, and that of the input to dx, unless dx is NULL. */
static void depthwise_backward(const net_t *net, const filter_t *filter, const float *x, const float *draw,
                               float *partial, float *dx, const workspace_t *workspace)
{
    const struct clip_fastvit_step *step = net->layer->step;
    const struct clip_depthwise *d = &filter->shape;
    size_t blocks = clip_depthwise_blocks(d->channels), border = d->side - 1, times = step->out / step->in;
    clip_fastvit_frame(step, d, x, workspace->framed);
    net->depthwise->weights(d, workspace->framed, draw, d->width * d->channels, 0, blocks,
                            partial + filter->partial);
    if (!dx)
        return;
    const struct clip_depthwise back = {(d->height - 1) * d->stride + d->side,
                                        (d->width - 1) * d->stride + d->side, d->channels, d->side, 1};
    size_t row = clip_depthwise_row(&back);
    memset(workspace->spread, 0, clip_depthwise_floats(&back) * sizeof *workspace->spread);
    for (size_t i = 0; i < d->height; i++)
        for (size_t j = 0; j < d->width; j++, draw += d->channels)
            memcpy(workspace->spread + (border + i * d->stride) * row +
                       (border + j * d->stride) * d->channels,
                   draw, d->channels * sizeof *draw);
    net->depthwise->run(&back, workspace->spread, filter->flipped, NULL, d->side / 2, d->side / 2, step->from,
                        step->from, workspace->b);
    size_t pixels = step->from * step->from;
    if (times == 1)
        net->kernels->sum(pixels * step->in, dx, workspace->b, dx);
    else
        for (size_t k = 0; k < pixels * step->out; k++)
            dx[k / times] += workspace->b[k];
}

static void *elements(const net_t *net, void *x, size_t i)
{
    return (char *)x + i * net->element;
}

/* The same for a dense filter, except that its gradient is left to clip_fastvit_filter_task: stores what that
 * reads. */
static int dense_backward(const net_t *net, const filter_t *filter, size_t i, const float *x,
                          const float *draw, float *dx, const workspace_t *workspace,
                          struct clip_error *error)
{
    const struct clip_fastvit_step *step = net->layer->step;
    size_t pixels = clip_fastvit_pixels(step), out = step->out, inputs = filter->inputs;
    for (size_t first = 0; first < pixels; first += net->piece) {
        size_t rows = pixels - first < net->piece ? pixels - first : net->piece, row = i * pixels + first;
        read_rows(net, step, filter, x, first, rows, workspace);
        memcpy(elements(net, net->back.read, filter->read + row * inputs), workspace->narrow,
               rows * inputs * net->element);
        net->kernels->convert(rows * out, draw + first * out, net->type, workspace->narrow);
        memcpy(elements(net, net->back.dout, filter->dout + row * out), workspace->narrow,
               rows * out * net->element);
        if (!dx)
            continue;
        if (clip_product_rows(filter->operand.backward, rows, workspace->narrow, workspace->wide,
                              workspace->scratch, error) != 0)
            return -1;
        net->kernels->sum(rows * inputs, dx + first * inputs, workspace->wide, dx + first * inputs);
    }
    return 0;
}

static int picture_backward(const net_t *net, size_t i, float *partial, const workspace_t *workspace,
                            struct clip_error *error)
{
    const layer_t *layer = net->layer;
    const struct clip_fastvit_step *step = layer->step;
    size_t pixels = clip_fastvit_pixels(step), before = step->from * step->from;
    const float *x = input_of(net, layer, net->kept, i, workspace);
    float *dx = net->dx ? clip_fastvit_picture(net->dx, i, before, step->in) : NULL;
    if (dx && !step->residual)
        memset(dx, 0, before * step->in * sizeof *dx);
    for (size_t b = 0; b < step->branch_count; b++) {
        const filter_t *filter = &layer->filters[b];
        net->norms->backward(pixels, step->out, sum_gradient(net, i),
                             norm_input(net, layer, net->kept, b, i, workspace), &filter->norm.back,
                             workspace->a);
        if (filter->form == CLIP_FASTVIT_POINTS)
            scatter_points(net, step, workspace->a, dx);
        else if (filter->form == CLIP_FASTVIT_DEPTHWISE)
            depthwise_backward(net, filter, x, workspace->a, partial, dx, workspace);
        else if (dense_backward(net, filter, i, x, workspace->a, dx, workspace, error) != 0)
            return -1;
    }
    return 0;
}

/* Floats of a group's partial gradients. */
static size_t partial_floats(const layer_t *layer)
{
    size_t floats = 0;
    for (size_t b = 0; b < layer->step->branch_count; b++)
        if (layer->filters[b].form == CLIP_FASTVIT_DEPTHWISE)
            floats += clip_depthwise_packed(layer->step->out, layer->filters[b].shape.side);
    return floats;
}

int clip_fastvit_branches_backward(const net_t *net, size_t group, const workspace_t *workspace,
                                   struct clip_error *error)
{
    float *partial = net->back.partial[group];
    memset(partial, 0, partial_floats(net->layer) * sizeof *partial);
    for (size_t i = group * net->n / net->groups; i < (group + 1) * net->n / net->groups; i++)
        if (picture_backward(net, i, partial, workspace, error) != 0)
            return -1;
    return 0;
}

/* --- the filters' gradients --- */

/* One task for each panel of the dense filters, and one for all depthwise filters. */
size_t clip_fastvit_filter_tasks(const layer_t *layer)
{
    size_t tasks = 1;
    for (size_t b = 0; b < layer->step->branch_count; b++)
        if (layer->filters[b].outer)
            tasks += clip_outer_panels(layer->filters[b].outer);
    return tasks;
}

static void add_partials(const net_t *net)
{
    const layer_t *layer = net->layer;
    size_t floats = partial_floats(layer);
    float *sum = net->back.partial[0];
    for (size_t group = 1; group < net->groups; group++)
        net->kernels->sum(floats, sum, net->back.partial[group], sum);
    for (size_t b = 0; b < layer->step->branch_count; b++) {
        const filter_t *filter = &layer->filters[b];
        if (filter->form == CLIP_FASTVIT_DEPTHWISE)
            clip_depthwise_add(sum + filter->partial, filter->shape.channels, filter->shape.side,
                               filter->weight.gradient);
    }
}

int clip_fastvit_filter_task(const net_t *net, size_t i, const workspace_t *workspace,
                             struct clip_error *error)
{
    const layer_t *layer = net->layer;
    size_t rows = net->n * clip_fastvit_pixels(layer->step);
    for (size_t b = 0; b < layer->step->branch_count; b++) {
        const filter_t *filter = &layer->filters[b];
        size_t panels = filter->outer ? clip_outer_panels(filter->outer) : 0;
        if (i < panels)
            return clip_outer_add(filter->outer, i, rows, elements(net, net->back.dout, filter->dout),
                                  elements(net, net->back.read, filter->read), filter->operand.gradient,
                                  workspace->scratch, error);
        i -= panels;
    }
    add_partials(net);
    return 0;
}
