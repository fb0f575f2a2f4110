#include "model/source.h"
#include "math/quantize.h"
#include "model/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- a model --- */

/* 1 if int8 rounds the matrix. */
static int is_rounded(const struct clip_model_source *source, const struct clip_slot *slot)
{
    if (slot->rounding != CLIP_ROUNDED_ROWS)
        return 0;
    int layers = clip_model_arch(source->model)->towers[slot->side].layers;
    return slot->block >= source->keep && slot->block + source->keep < layers;
}

static int model_type(const void *context, const struct clip_slot *slot)
{
    const struct clip_model_source *source = context;
    enum clip_weight_type type;
    if (clip_model_type(source->model, slot->name, &type) != 0)
        return -1;
    if (slot->integer)
        return (int)type;
    if (source->type == CLIP_WEIGHT_I8 && is_rounded(source, slot))
        return CLIP_WEIGHT_I8;
    if (source->type == CLIP_WEIGHT_I8 && slot->rounding == CLIP_ROUNDED_F16)
        return CLIP_WEIGHT_F16;
    if (source->type >= 0 && source->type != CLIP_WEIGHT_I8)
        return source->type;
    /* Of others' rounded matrices only those of blocks stay so. */
    if (type == CLIP_WEIGHT_I8 &&
        (source->type == CLIP_WEIGHT_I8 || !clip_model_is_rounded(source->model, slot->name)))
        return CLIP_WEIGHT_F32;
    return (int)type;
}

/* Numbers of one floating-point type as another, through f64, which holds them all. */
static int convert_type(enum clip_weight_type from, const unsigned char *in, enum clip_weight_type to,
                        size_t count, unsigned char *out)
{
    size_t size = clip_weight_size(from), out_size = clip_weight_size(to);
    for (size_t i = 0; i < count; i++) {
        double x = clip_weight_value(from, in + i * size);
        clip_weight_store(to, x, out + i * out_size);
        if (isfinite(x) && !isfinite(clip_weight_value(to, out + i * out_size)))
            return -1;
    }
    return 0;
}

/* Row `row` of a matrix as it is stored in I8, or rounded. */
static int round_row(const struct clip_model *model, const struct clip_slot *slot, size_t row, int8_t *q,
                     float *scale, struct clip_error *error)
{
    size_t columns = slot->shape[1];
    if (clip_model_is_rounded(model, slot->name))
        return clip_model_rounded(model, slot->name, row, 1, q, scale, error);
    float *w = reallocarray(NULL, columns, sizeof *w);
    int result = w ? clip_model_rows(model, slot->name, row, 1, columns, w, error)
                   : clip_fail_memory(error, "tensors");
    if (result == 0) {
        *scale = clip_quantizers(CLIP_PLAIN)->weights(columns, w, q);
        if (isnan(*scale))
            result = clip_fail(error, "%s: tensor %s holds a number that is not finite",
                               clip_model_path(model), slot->name);
    }
    free(w);
    return result;
}

static int fill_rounded(const struct clip_model *model, const struct clip_slot *slot, size_t first,
                        size_t count, int8_t *out, struct clip_error *error)
{
    size_t columns = slot->shape[1];
    int8_t *q = malloc(columns);
    float scale;
    int result = q ? 0 : clip_fail_memory(error, "tensors");
    for (size_t done = 0, n; done < count && result == 0; done += n) {
        size_t row = (first + done) / columns, at = (first + done) % columns;
        n = columns - at < count - done ? columns - at : count - done;
        result = round_row(model, slot, row, q, &scale, error);
        if (result == 0)
            memcpy(out + done, q + at, n);
    }
    free(q);
    return result;
}

static int model_scales(const void *context, const struct clip_slot *slot, size_t first, size_t count,
                        float *out, struct clip_error *error)
{
    const struct clip_model_source *source = context;
    int8_t *q = malloc(slot->shape[1]);
    int result = q ? 0 : clip_fail_memory(error, "tensors");
    for (size_t i = 0; i < count && result == 0; i++)
        result = round_row(source->model, slot, first + i, q, out + i, error);
    free(q);
    return result;
}

/* Elements in the type `to`, from another one: a rounded matrix by way of floats. */
static int fill_converted(const struct clip_model *model, const struct clip_slot *slot,
                          enum clip_weight_type from, enum clip_weight_type to, size_t first, size_t count,
                          void *out, struct clip_error *error)
{
    int scaled = !clip_weight_is_float(from);
    from = scaled ? CLIP_WEIGHT_F32 : from;
    unsigned char *in = reallocarray(NULL, count, clip_weight_size(from));
    if (!in)
        return clip_fail_memory(error, "tensors");
    int result = scaled ? clip_model_elements(model, slot->name, first, count, (float *)(void *)in, error)
                        : clip_model_copy(model, slot->name, first, count, in, error);
    if (result == 0 && convert_type(from, in, to, count, out) != 0)
        result = clip_fail(error, "%s: tensor %s holds numbers too large for %s", clip_model_path(model),
                           slot->name, clip_weight_type_name(to));
    free(in);
    return result;
}

static int model_fill(const void *context, const struct clip_slot *slot, size_t first, size_t count,
                      void *out, struct clip_error *error)
{
    const struct clip_model *model = ((const struct clip_model_source *)context)->model;
    enum clip_weight_type from, to = (enum clip_weight_type)model_type(context, slot);
    if (clip_model_type(model, slot->name, &from) != 0)
        return clip_fail(error, "%s: there is no tensor %s", clip_model_path(model), slot->name);
    int result;
    if (to == CLIP_WEIGHT_I8 && !slot->integer)
        result = fill_rounded(model, slot, first, count, out, error);
    else if (from == to)
        result = clip_model_copy(model, slot->name, first, count, out, error);
    else
        result = fill_converted(model, slot, from, to, first, count, out, error);
    if (first + count == clip_slot_count(slot)) /* the last ones */
        clip_model_release_pages(model, slot->name);
    return result;
}

struct clip_tensor_source clip_source_of_model(const struct clip_model_source *model)
{
    return (struct clip_tensor_source){model, model_type, model_fill, model_scales};
}

int clip_source_rounds(const struct clip_model_source *model)
{
    const struct clip_layout *layout = clip_model_layout(model->model);
    for (size_t i = 0; i < layout->count; i++)
        if (is_rounded(model, &layout->slots[i]))
            return 1;
    return 0;
}

/* --- a seed --- */

static int seed_type(const void *context, const struct clip_slot *slot)
{
    (void)context;
    return slot->integer ? CLIP_WEIGHT_I64 : CLIP_WEIGHT_F32;
}

enum { PIECE = 4096 };

struct drawing {
    uint64_t seed;
    const struct clip_slot *slot;
    size_t first, count;
    float *out;
};

static void draw_piece(void *context, size_t i, int thread)
{
    const struct drawing *drawing = context;
    size_t at = i * PIECE, left = drawing->count - at;
    (void)thread;
    clip_draw(drawing->seed, drawing->slot, drawing->first + at, left < PIECE ? left : PIECE,
              drawing->out + at);
}

static int seed_fill(const void *context, const struct clip_slot *slot, size_t first, size_t count, void *out,
                     struct clip_error *error)
{
    const struct clip_seed_source *source = context;
    (void)error;
    if (slot->integer) {
        memset(out, 0, count * sizeof(int64_t));
        return 0;
    }
    struct drawing drawing = {source->seed, slot, first, count, out};
    clip_pool_run(source->pool, (count + PIECE - 1) / PIECE, draw_piece, &drawing);
    return 0;
}

struct clip_tensor_source clip_source_of_seed(const struct clip_seed_source *seed)
{
    return (struct clip_tensor_source){seed, seed_type, seed_fill, NULL};
}
