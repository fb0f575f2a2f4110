#include "tower/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- shared by all blocks --- */

/* The widest vector that may be absent: in_proj's bias. */
static size_t widest(const struct clip_block_shape *shape)
{
    size_t most = 3 * (shape->width > shape->inner ? shape->width : shape->inner);
    return most > shape->mlp ? most : shape->mlp;
}

/* Tensors whose gradients are summed in slots: all vectors but the biases of products. */
static int in_slots(enum clip_block_tensor tensor, const size_t shape[4])
{
    return !clip_block_is_relative(tensor) && tensor != CLIP_IN_BIAS && tensor != CLIP_Q_BIAS &&
           tensor != CLIP_K_BIAS && tensor != CLIP_V_BIAS && tensor != CLIP_OUT_BIAS &&
           tensor != CLIP_GATE_BIAS && tensor != CLIP_FC_BIAS && tensor != CLIP_JOINED_BIAS &&
           tensor != CLIP_PROJ_BIAS && tensor != CLIP_ATTN_GATE_BIAS && (!shape[1] || shape[1] == 1);
}

int clip_block_shape_init(struct clip_block_shape *shape, const struct clip_tower_arch *arch,
                          const struct clip_kernels *kernels, enum clip_precision type,
                          struct clip_error *error)
{
    unsigned flags = arch->block.flags;
    *shape = (struct clip_block_shape){
        .arch = arch,
        .kernels = kernels,
        .type = type,
        .width = (size_t)arch->width,
        .heads = (size_t)arch->heads,
        .head = clip_block_head(arch),
        .inner = (size_t)arch->heads * clip_block_head(arch),
        .mlp = (size_t)arch->mlp,
        .activation = arch->activation,
        .flags = flags,
        .epsilon = clip_block_epsilon(&arch->block),
        .joins = (flags & (CLIP_BLOCK_HEAD_SCALE | CLIP_BLOCK_INNER_NORM | CLIP_BLOCK_ATTN_GATE)) != 0,
        .ends = (flags & (CLIP_BLOCK_ATTN_NORM | CLIP_BLOCK_MLP_NORM | CLIP_BLOCK_LAYER_SCALE |
                          CLIP_BLOCK_NORM_AFTER)) != 0,
        .prepares_heads =
            (flags & (CLIP_BLOCK_QK_NORM | CLIP_BLOCK_COSINE | CLIP_BLOCK_VALUE_RESIDUAL)) != 0 ||
            arch->block.rotary.reference > 0 || arch->text.rotary > 0,
    };
    for (int tensor = 0; tensor < CLIP_BLOCK_TENSORS; tensor++) {
        size_t size[4];
        if (clip_block_shape(arch, tensor, size) && in_slots(tensor, size)) {
            shape->at[tensor] = shape->sums;
            shape->sums += size[0];
        }
    }
    shape->zeros = calloc(widest(shape), sizeof *shape->zeros);
    return shape->zeros ? 0 : clip_fail_memory(error, "a transformer");
}

void clip_block_shape_free(struct clip_block_shape *shape)
{
    free(shape->zeros);
    shape->zeros = NULL;
}

size_t clip_block_room(const struct clip_block_shape *shape)
{
    return 3 * widest(shape);
}

static int has_flag(const struct clip_block *block, unsigned flags)
{
    return (block->shape->flags & flags) != 0;
}

static const float *value_of(const struct clip_block *block, enum clip_block_tensor tensor)
{
    return block->values[tensor].value;
}

/* --- weights --- */

/* The biases of c_fc and c_gate, of one tensor. */
static void split_joined(struct clip_block *block)
{
    const struct clip_values *joined = &block->values[CLIP_JOINED_BIAS];
    size_t mlp = block->shape->mlp;
    if (!has_flag(block, CLIP_BLOCK_JOINED_GATE) || has_flag(block, CLIP_BLOCK_NO_MLP_BIAS))
        return;
    enum clip_block_tensor first = CLIP_FC_BIAS, second = CLIP_GATE_BIAS;
    if (has_flag(block, CLIP_BLOCK_GATE_FIRST)) {
        first = CLIP_GATE_BIAS;
        second = CLIP_FC_BIAS;
    }
    block->values[first] = (struct clip_values){joined->value, joined->gradient, NULL};
    block->values[second] =
        (struct clip_values){joined->value + mlp, joined->gradient ? joined->gradient + mlp : NULL, NULL};
}

int clip_block_load_vectors(struct clip_block *block, const struct clip_tower_setup *setup, size_t i,
                            struct clip_error *error)
{
    for (int tensor = 0; tensor < CLIP_BLOCK_TENSORS; tensor++) {
        size_t shape[4];
        char name[sizeof((struct clip_slot *)NULL)->name];
        struct clip_values *values = &block->values[tensor];
        values->value = block->shape->zeros;
        if (!clip_block_shape(block->shape->arch, tensor, shape) || clip_block_is_matrix(tensor, shape) ||
            clip_block_is_relative(tensor) || (i == 0 && clip_block_is_later(tensor)))
            continue;
        clip_block_name(block->shape->arch, i, tensor, name, sizeof name);
        if (clip_values_load(values, setup, error, "%s", name) != 0)
            return -1;
    }
    split_joined(block);
    if (!has_flag(block, CLIP_BLOCK_SPLIT_BIAS))
        return 0;
    struct clip_values *joined = &block->values[CLIP_IN_BIAS];
    joined->value = joined->copy = calloc(3 * block->shape->inner, sizeof *joined->copy);
    if (!joined->copy)
        return clip_fail_memory(error, "a transformer");
    clip_block_refresh_vectors(block);
    return 0;
}

void clip_block_refresh_vectors(struct clip_block *block)
{
    size_t inner = block->shape->inner;
    float *joined = block->values[CLIP_IN_BIAS].copy;
    for (size_t i = 0; has_flag(block, CLIP_BLOCK_SPLIT_BIAS) && i < 3; i++)
        memcpy(joined + i * inner, value_of(block, CLIP_Q_BIAS + (enum clip_block_tensor)i),
               inner * sizeof *joined);
}

size_t clip_block_operands(struct clip_block *block, struct clip_operand *all[CLIP_BLOCK_OPERANDS])
{
    struct clip_operand *const operands[CLIP_BLOCK_OPERANDS] = {
        &block->in, &block->query, &block->out,           &block->gate,
        &block->fc, &block->proj,  &block->attention_gate};
    size_t n = 0;
    for (size_t i = 0; i < CLIP_BLOCK_OPERANDS; i++)
        if (operands[i]->forward)
            all[n++] = operands[i];
    return n;
}

void clip_block_free(struct clip_block *block)
{
    clip_operand_free(&block->in);
    clip_operand_free(&block->query);
    clip_operand_free(&block->out);
    clip_operand_free(&block->gate);
    clip_operand_free(&block->fc);
    clip_operand_free(&block->proj);
    clip_operand_free(&block->attention_gate);
    for (int tensor = 0; tensor < CLIP_BLOCK_TENSORS; tensor++)
        clip_values_free(&block->values[tensor]);
}

/* --- norms: named by the weight's tensor; the bias is the next tensor --- */

void clip_block_norm(const struct clip_block_shape *shape, float epsilon, size_t n, const float *x,
                     const float *weight, const float *bias, enum clip_precision type, void *out)
{
    if (shape->flags & CLIP_BLOCK_RMS)
        shape->kernels->rms_norm(n, epsilon, x, weight, type, out);
    else
        shape->kernels->layer_norm(n, epsilon, x, weight, bias, type, out);
}

void clip_block_norm_backward(const struct clip_block_shape *shape, float epsilon, size_t n, const float *x,
                              const float *weight, const float *dy, float *dx, float *dweight, float *dbias)
{
    if (shape->flags & CLIP_BLOCK_RMS)
        shape->kernels->rms_norm_backward(n, epsilon, x, weight, dy, dx, dweight);
    else
        shape->kernels->layer_norm_backward(n, epsilon, x, weight, dy, dx, dweight, dbias);
}

static void norm(const struct clip_block *block, enum clip_block_tensor weight, size_t n, const float *x,
                 enum clip_precision type, void *out)
{
    clip_block_norm(block->shape, block->shape->epsilon, n, x, value_of(block, weight),
                    value_of(block, weight + 1), type, out);
}

/* dx[n] += */
static void norm_backward(const struct clip_block *block, enum clip_block_tensor weight, size_t n,
                          const float *x, const float *dy, float *dx, float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    clip_block_norm_backward(shape, shape->epsilon, n, x, value_of(block, weight), dy, dx,
                             sums + shape->at[weight], sums + shape->at[weight + 1]);
}

static void *element_at(const struct clip_block *block, const void *x, size_t n)
{
    return (char *)x + n * (block->shape->type == CLIP_PRECISION_F32 ? sizeof(float) : 2);
}

/* sums[n] += x[n] y[n]; room[n] */
static void add_products(const struct clip_block *block, size_t n, const float *x, const float *y,
                         float *room, float *sums)
{
    const struct clip_kernels *kernels = block->shape->kernels;
    kernels->multiply(n, x, y, block->shape->zeros, CLIP_PRECISION_F32, room);
    kernels->sum(n, sums, room, sums);
}

static void scale_row(const struct clip_block *block, size_t n, const float *x, const float *factors,
                      float *out)
{
    block->shape->kernels->multiply(n, x, factors, block->shape->zeros, CLIP_PRECISION_F32, out);
}

/* --- the input of a half --- */

static const enum clip_block_tensor input_norms[] = {
    [CLIP_HALF_ATTENTION] = CLIP_LN_1_WEIGHT, [CLIP_HALF_HIDDEN] = CLIP_LN_2_WEIGHT};

void clip_block_input(const struct clip_block *block, enum clip_half half, size_t rows, const float *x,
                      float *room, void *out)
{
    const struct clip_block_shape *shape = block->shape;
    size_t width = shape->width;
    int second = half == CLIP_HALF_HIDDEN && has_flag(block, CLIP_BLOCK_INPUT_NORM);
    if (has_flag(block, CLIP_BLOCK_NO_NORMS | CLIP_BLOCK_NORM_AFTER)) {
        shape->kernels->convert(rows * width, x, shape->type, out);
        return;
    }
    for (size_t r = 0; r < rows; r++, x += width) {
        void *to = element_at(block, out, r * width);
        norm(block, input_norms[half], width, x, second ? CLIP_PRECISION_F32 : shape->type,
             second ? room : to);
        if (second)
            norm(block, CLIP_INPUT_NORM_WEIGHT, width, room, shape->type, to);
    }
}

void clip_block_input_backward(const struct clip_block *block, enum clip_half half, size_t rows,
                               const float *x, const float *dy, float *dx, float *room, float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    size_t width = shape->width;
    int second = half == CLIP_HALF_HIDDEN && has_flag(block, CLIP_BLOCK_INPUT_NORM);
    if (has_flag(block, CLIP_BLOCK_NO_NORMS | CLIP_BLOCK_NORM_AFTER)) {
        shape->kernels->sum(rows * width, dx, dy, dx);
        return;
    }
    for (size_t r = 0; r < rows; r++, x += width, dy += width, dx += width) {
        float *between = room, *d = room + width;
        if (second) {
            norm(block, input_norms[half], width, x, CLIP_PRECISION_F32, between);
            memset(d, 0, width * sizeof *d);
            norm_backward(block, CLIP_INPUT_NORM_WEIGHT, width, between, dy, d, sums);
        }
        norm_backward(block, input_norms[half], width, x, second ? d : dy, dx, sums);
    }
}

/* --- heads --- */

/* out[head] = a head's row with its bias. */
static void add_head_bias(const struct clip_block *block, const struct clip_head_rows *d, const float *x,
                          float *out)
{
    const struct clip_block_shape *shape = block->shape;
    size_t n = shape->head, at = (d->key ? shape->inner : 0) + d->h * n;
    shape->kernels->sum(n, x, value_of(block, CLIP_IN_BIAS) + at, out);
}

static enum clip_block_tensor qk_norm_weight(const struct clip_head_rows *d)
{
    return d->key ? CLIP_KEY_NORM_WEIGHT : CLIP_QUERY_NORM_WEIGHT;
}

static float length_of(size_t n, const float *x)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return fmaxf(sqrtf(sum), 1e-12f); /* as torch.nn.functional.normalize */
}

/* A row's place in the table of rotary positions, times the size of a head. */
static size_t rotary_at(const struct clip_block_shape *shape, const struct clip_head_rows *d, size_t r)
{
    return (d->positions ? d->positions[r] : d->first + r) * shape->head;
}

void clip_block_prepare_head(const struct clip_block *block, const struct clip_head_rows *d, float *out)
{
    const struct clip_block_shape *shape = block->shape;
    size_t n = shape->head;
    for (size_t r = 0; r < d->rows; r++, out += n) {
        add_head_bias(block, d, d->x + r * d->stride, out);
        if (has_flag(block, CLIP_BLOCK_QK_NORM))
            norm(block, qk_norm_weight(d), n, out, CLIP_PRECISION_F32, out);
        if (has_flag(block, CLIP_BLOCK_COSINE)) {
            float length = length_of(n, out);
            for (size_t i = 0; i < n; i++)
                out[i] /= length;
        }
        if (shape->cosines)
            shape->kernels->rotate(n, out, shape->cosines + rotary_at(shape, d, r),
                                   shape->sines + rotary_at(shape, d, r), 0, out);
    }
}

/* y = x / |x|: dx = (dy - y (y . dy)) / |x|, in place. */
static void length_backward(size_t n, const float *x, float *dy)
{
    float length = length_of(n, x), along = 0;
    for (size_t i = 0; i < n; i++)
        along += x[i] / length * dy[i];
    for (size_t i = 0; i < n; i++)
        dy[i] = (dy[i] - x[i] / length * along) / length;
}

void clip_block_prepare_head_backward(const struct clip_block *block, const struct clip_head_rows *d,
                                      float *dy, void *dx, size_t dx_stride, float *room, float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    size_t n = shape->head;
    float *x = room, *under = room + n;
    for (size_t r = 0; r < d->rows; r++, dy += n) {
        const float *back = dy;
        add_head_bias(block, d, d->x + r * d->stride, x);
        if (shape->cosines)
            shape->kernels->rotate(n, dy, shape->cosines + rotary_at(shape, d, r),
                                   shape->sines + rotary_at(shape, d, r), 1, dy);
        if (has_flag(block, CLIP_BLOCK_COSINE))
            length_backward(n, x, dy);
        if (has_flag(block, CLIP_BLOCK_QK_NORM)) {
            memset(under, 0, n * sizeof *under);
            norm_backward(block, qk_norm_weight(d), n, x, dy, under, sums);
            back = under;
        }
        shape->kernels->convert(n, back, shape->type, element_at(block, dx, r * dx_stride));
    }
}

/* The largest logit of a cosine's scale: ln 100. */
#define MOST_COSINE_SCALE 4.6051702f

float clip_block_scale(const struct clip_block *block, size_t h)
{
    if (has_flag(block, CLIP_BLOCK_COSINE))
        return expf(fminf(value_of(block, CLIP_COSINE_SCALE)[h], MOST_COSINE_SCALE));
    return has_flag(block, CLIP_BLOCK_UNSCALED) ? 1 : 1 / sqrtf((float)block->shape->head);
}

/* Scores are s q . k with s = exp(logit): the gradient of the logit is the sum of q . dq, as dq has s. */
void clip_block_scale_backward(const struct clip_block *block, size_t h, size_t rows, const float *q,
                               const float *dq, float *sums)
{
    if (!has_flag(block, CLIP_BLOCK_COSINE) || value_of(block, CLIP_COSINE_SCALE)[h] > MOST_COSINE_SCALE)
        return;
    float sum = 0;
    for (size_t i = 0; i < rows * block->shape->head; i++)
        sum += q[i] * dq[i];
    sums[block->shape->at[CLIP_COSINE_SCALE] + h] += sum;
}

/* --- the heads side by side --- */

/* room[inner] = the sigmoid of a row's gate. */
static void gate_row(const struct clip_block *block, const float *gate, float *room)
{
    block->shape->kernels->activation[CLIP_SIGMOID](
        block->shape->inner, gate, value_of(block, CLIP_ATTN_GATE_BIAS), CLIP_PRECISION_F32, room);
}

/* A row times its gate, if there is one, in out[inner], or as it is. */
static const float *open_gate(const struct clip_block *block, const float *x, const float *gate, float *out)
{
    if (!gate)
        return x;
    gate_row(block, gate, out);
    scale_row(block, block->shape->inner, x, out, out);
    return out;
}

/* Multiplies a row's heads by their factors. */
static const float *join_scale(const struct clip_block *block, const float *x, float *out)
{
    size_t n = block->shape->head;
    if (!has_flag(block, CLIP_BLOCK_HEAD_SCALE))
        return x;
    for (size_t i = 0; i < block->shape->inner; i++)
        out[i] = x[i] * value_of(block, CLIP_HEAD_SCALE)[i / n];
    return out;
}

static const float *row_of(const float *rows, size_t r, size_t n)
{
    return rows ? rows + r * n : NULL;
}

void clip_block_join(const struct clip_block *block, size_t rows, const float *attended, const float *gate,
                     float *room, void *out)
{
    const struct clip_block_shape *shape = block->shape;
    size_t width = shape->inner;
    for (size_t r = 0; r < rows; r++) {
        const float *x = open_gate(block, attended + r * width, row_of(gate, r, width), room);
        x = join_scale(block, x, room);
        void *to = element_at(block, out, r * width);
        if (has_flag(block, CLIP_BLOCK_INNER_NORM))
            norm(block, CLIP_INNER_NORM_WEIGHT, width, x, shape->type, to);
        else
            shape->kernels->convert(width, x, shape->type, to);
    }
}

/* dy[inner], the gradient of a gated row, becomes that of the row x. room[2 inner] */
static void open_gate_backward(const struct clip_block *block, const float *x, const float *gate, float *dy,
                               float *room, void *dgate)
{
    const struct clip_block_shape *shape = block->shape;
    size_t width = shape->inner;
    float *product = room + width;
    scale_row(block, width, x, dy, product);
    /* The sigmoid comes with its backward. */
    shape->kernels->activation_backward[CLIP_SIGMOID](width, gate, value_of(block, CLIP_ATTN_GATE_BIAS),
                                                      product, shape->type, room, dgate);
    gate_row(block, gate, room);
    scale_row(block, width, dy, room, dy);
}

void clip_block_join_backward(const struct clip_block *block, size_t rows, const float *attended,
                              const float *gate, float *dy, float *room, void *dgate, float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    size_t width = shape->inner;
    float *d = room + width, *scaled = room + 2 * width;
    for (size_t r = 0; r < rows; r++, attended += width, dy += width) {
        const float *x = open_gate(block, attended, row_of(gate, r, width), room);
        if (has_flag(block, CLIP_BLOCK_INNER_NORM)) {
            memset(d, 0, width * sizeof *d);
            norm_backward(block, CLIP_INNER_NORM_WEIGHT, width, join_scale(block, x, scaled), dy, d, sums);
            memcpy(dy, d, width * sizeof *d);
        }
        for (size_t i = 0; has_flag(block, CLIP_BLOCK_HEAD_SCALE) && i < width; i++) {
            sums[shape->at[CLIP_HEAD_SCALE] + i / shape->head] += x[i] * dy[i];
            dy[i] *= value_of(block, CLIP_HEAD_SCALE)[i / shape->head];
        }
        if (gate)
            open_gate_backward(block, attended, row_of(gate, r, width), dy, room,
                               element_at(block, dgate, r * width));
    }
}

/* --- the residual of values --- */

void clip_block_mix(const struct clip_block *block, size_t rows, const float *x, size_t stride,
                    const float *first, float *values)
{
    size_t inner = block->shape->inner;
    const float *bias = value_of(block, CLIP_IN_BIAS) + 2 * inner;
    for (size_t r = 0; r < rows; r++, x += stride, values += inner) {
        block->shape->kernels->sum(inner, x, bias, values);
        if (!first)
            continue;
        float share = *value_of(block, CLIP_VALUE_RESIDUAL);
        for (size_t i = 0; i < inner; i++)
            values[i] = first[r * inner + i] + share * (values[i] - first[r * inner + i]);
    }
}

void clip_block_mix_backward(const struct clip_block *block, size_t h, const float *x, const float *first,
                             float *dv, float *dfirst, float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    size_t n = shape->head;
    const float *bias = value_of(block, CLIP_IN_BIAS) + 2 * shape->inner + h * n;
    if (!first) {
        shape->kernels->sum(n, dv, dfirst, dv);
        return;
    }
    float share = *value_of(block, CLIP_VALUE_RESIDUAL), sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += dv[i] * (x[i] + bias[i] - first[i]);
        dfirst[i] += (1 - share) * dv[i];
        dv[i] *= share;
    }
    sums[shape->at[CLIP_VALUE_RESIDUAL]] += sum;
}

/* --- the hidden layer --- */

void clip_block_hidden(const struct clip_block *block, size_t rows, const float *wide, const float *gate,
                       float *room, void *out)
{
    const struct clip_block_shape *shape = block->shape;
    const struct clip_kernels *kernels = shape->kernels;
    size_t mlp = shape->mlp;
    int gated = has_flag(block, CLIP_BLOCK_GATED), normed = has_flag(block, CLIP_BLOCK_HIDDEN_NORM);
    enum clip_precision type = normed ? CLIP_PRECISION_F32 : shape->type;
    for (size_t r = 0; r < rows; r++) {
        void *to = element_at(block, out, r * mlp), *made = normed ? room : to;
        if (gated) {
            kernels->activation[shape->activation](mlp, gate + r * mlp, value_of(block, CLIP_GATE_BIAS),
                                                   CLIP_PRECISION_F32, room);
            kernels->multiply(mlp, room, wide + r * mlp, value_of(block, CLIP_FC_BIAS), type, made);
        } else {
            kernels->activation[shape->activation](mlp, wide + r * mlp, value_of(block, CLIP_FC_BIAS), type,
                                                   made);
        }
        if (normed)
            norm(block, CLIP_HIDDEN_NORM_WEIGHT, mlp, room, shape->type, to);
    }
}

/* A row of a hidden layer with a gate or a norm. */
static void hidden_row_backward(const struct clip_block *block, const float *wide, const float *gate,
                                const float *dy, float *room, void *out, void *dwide, void *dgate,
                                float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    const struct clip_kernels *kernels = shape->kernels;
    size_t mlp = shape->mlp;
    const float *bias = value_of(block, CLIP_FC_BIAS), *gate_bias = value_of(block, CLIP_GATE_BIAS);
    float *active = room, *hidden = room + mlp, *dhidden = room + 2 * mlp;
    int gated = has_flag(block, CLIP_BLOCK_GATED);
    kernels->activation[shape->activation](mlp, gated ? gate : wide, gated ? gate_bias : bias,
                                           CLIP_PRECISION_F32, active);
    if (gated)
        kernels->multiply(mlp, active, wide, bias, CLIP_PRECISION_F32, hidden);
    else
        hidden = active;
    if (has_flag(block, CLIP_BLOCK_HIDDEN_NORM)) {
        norm(block, CLIP_HIDDEN_NORM_WEIGHT, mlp, hidden, shape->type, out);
        memset(dhidden, 0, mlp * sizeof *dhidden);
        norm_backward(block, CLIP_HIDDEN_NORM_WEIGHT, mlp, hidden, dy, dhidden, sums);
        dy = dhidden;
    } else {
        kernels->convert(mlp, hidden, shape->type, out);
    }
    if (gated) {
        kernels->multiply(mlp, active, dy, shape->zeros, shape->type, dwide);
        kernels->multiply(mlp, dy, wide, bias, CLIP_PRECISION_F32, hidden);
    }
    /* The kernel recomputes the activation's output, which is not needed here. */
    kernels->activation_backward[shape->activation](mlp, gated ? gate : wide, gated ? gate_bias : bias,
                                                    gated ? hidden : dy, shape->type, active,
                                                    gated ? dgate : dwide);
}

void clip_block_hidden_backward(const struct clip_block *block, size_t rows, const float *wide,
                                const float *gate, const float *dy, float *room, void *out, void *dwide,
                                void *dgate, float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    size_t mlp = shape->mlp;
    int plain = !has_flag(block, CLIP_BLOCK_GATED | CLIP_BLOCK_HIDDEN_NORM);
    for (size_t r = 0; r < rows; r++) {
        void *to = element_at(block, out, r * mlp), *d = element_at(block, dwide, r * mlp);
        if (plain)
            shape->kernels->activation_backward[shape->activation](
                mlp, wide + r * mlp, value_of(block, CLIP_FC_BIAS), dy + r * mlp, shape->type, to, d);
        else
            hidden_row_backward(block, wide + r * mlp, gate ? gate + r * mlp : NULL, dy + r * mlp, room, to,
                                d, dgate ? element_at(block, dgate, r * mlp) : NULL, sums);
    }
}

/* --- the end of a half --- */

static const struct end {
    enum clip_block_tensor bias, norm, scale, after;
    unsigned has_norm;
} half_ends[] = {
    [CLIP_HALF_ATTENTION] = {CLIP_OUT_BIAS, CLIP_ATTN_NORM_WEIGHT, CLIP_LAYER_SCALE_1, CLIP_LN_1_WEIGHT,
                             CLIP_BLOCK_ATTN_NORM},
    [CLIP_HALF_HIDDEN] = {CLIP_PROJ_BIAS, CLIP_MLP_NORM_WEIGHT, CLIP_LAYER_SCALE_2, CLIP_LN_2_WEIGHT,
                          CLIP_BLOCK_MLP_NORM},
};

void clip_block_end(const struct clip_block *block, enum clip_half half, size_t rows, const float *x,
                    float *y, float *branch, float *sum)
{
    const struct clip_kernels *kernels = block->shape->kernels;
    const struct end *end = &half_ends[half];
    const float *bias = value_of(block, end->bias);
    size_t width = block->shape->width;
    for (size_t r = 0; r < rows; r++, x += width, y += width) {
        if (!block->shape->ends) {
            kernels->add(width, y, x, bias);
            continue;
        }
        kernels->sum(width, y, bias, y);
        if (branch)
            memcpy(branch + r * width, y, width * sizeof *y);
        if (has_flag(block, end->has_norm))
            norm(block, end->norm, width, y, CLIP_PRECISION_F32, y);
        if (has_flag(block, CLIP_BLOCK_LAYER_SCALE))
            scale_row(block, width, y, value_of(block, end->scale), y);
        kernels->sum(width, x, y, y);
        if (sum)
            memcpy(sum + r * width, y, width * sizeof *y);
        if (has_flag(block, CLIP_BLOCK_NORM_AFTER))
            norm(block, end->after, width, y, CLIP_PRECISION_F32, y);
    }
}

/* For a row: d[width], the gradient of the half's output, becomes that of its product. room[2 width] */
static void branch_backward(const struct clip_block *block, const struct end *end, const float *branch,
                            float *d, float *room, float *sums)
{
    size_t width = block->shape->width;
    int normed = has_flag(block, end->has_norm);
    if (has_flag(block, CLIP_BLOCK_LAYER_SCALE)) {
        const float *given = branch;
        if (normed) {
            norm(block, end->norm, width, branch, CLIP_PRECISION_F32, room);
            given = room;
        }
        add_products(block, width, given, d, room + width, sums + block->shape->at[end->scale]);
        scale_row(block, width, d, value_of(block, end->scale), d);
    }
    if (normed) {
        memset(room, 0, width * sizeof *room);
        norm_backward(block, end->norm, width, branch, d, room, sums);
        memcpy(d, room, width * sizeof *d);
    }
}

void clip_block_end_backward(const struct clip_block *block, enum clip_half half, size_t rows,
                             const float *branch, const float *sum, float *dx, float *room, void *dy,
                             float *sums)
{
    const struct clip_block_shape *shape = block->shape;
    const struct end *end = &half_ends[half];
    size_t width = shape->width;
    float *d = room;
    if (!shape->ends) {
        shape->kernels->convert(rows * width, dx, shape->type, dy);
        return;
    }
    for (size_t r = 0; r < rows; r++, dx += width) {
        if (has_flag(block, CLIP_BLOCK_NORM_AFTER)) {
            memset(d, 0, width * sizeof *d);
            norm_backward(block, end->after, width, sum + r * width, dx, d, sums);
            memcpy(dx, d, width * sizeof *d);
        }
        memcpy(d, dx, width * sizeof *d);
        if (has_flag(block, end->has_norm | CLIP_BLOCK_LAYER_SCALE))
            branch_backward(block, end, branch + r * width, d, room + width, sums);
        shape->kernels->convert(width, d, shape->type, element_at(block, dy, r * width));
    }
}

void clip_block_add_sums(const struct clip_block *block, const float *slots, size_t n, size_t stride)
{
    const struct clip_block_shape *shape = block->shape;
    for (size_t slot = 0; slot < n; slot++, slots += stride)
        for (int tensor = 0; tensor < CLIP_BLOCK_TENSORS; tensor++) {
            size_t size[4];
            float *gradient = block->values[tensor].gradient;
            if (gradient && clip_block_shape(shape->arch, tensor, size) && in_slots(tensor, size))
                shape->kernels->sum(size[0], gradient, slots + shape->at[tensor], gradient);
        }
}
