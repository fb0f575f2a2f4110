#include "model/source.h"
#include "model/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- a model --- */

static int model_type(const void *context, const struct clip_slot *slot)
{
    const struct clip_model_source *source = context;
    enum clip_weight_type type;
    if (clip_model_type(source->model, slot->name, &type) != 0)
        return -1;
    return source->type >= 0 && clip_weight_is_float(type) ? source->type : (int)type;
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

/* Elements as they are in the file; once the last ones are taken, the tensor's pages are given back. */
static int copy_elements(const struct clip_model *model, const struct clip_slot *slot, size_t first,
                         size_t count, void *out, struct clip_error *error)
{
    int result = clip_model_copy(model, slot->name, first, count, out, error);
    if (first + count == clip_slot_count(slot))
        clip_model_release_pages(model, slot->name);
    return result;
}

static int model_fill(const void *context, const struct clip_slot *slot, size_t first, size_t count,
                      void *out, struct clip_error *error)
{
    const struct clip_model_source *source = context;
    enum clip_weight_type from, to = (enum clip_weight_type)model_type(context, slot);
    if (clip_model_type(source->model, slot->name, &from) != 0)
        return clip_fail(error, "%s: there is no tensor %s", clip_model_path(source->model), slot->name);
    if (from == to)
        return copy_elements(source->model, slot, first, count, out, error);
    unsigned char *in = reallocarray(NULL, count, clip_weight_size(from));
    if (!in)
        return clip_fail_memory(error, "tensors");
    int result = copy_elements(source->model, slot, first, count, in, error);
    if (result == 0 && convert_type(from, in, to, count, out) != 0)
        result = clip_fail(error, "%s: tensor %s holds numbers too large for %s",
                           clip_model_path(source->model), slot->name, clip_weight_type_name(to));
    free(in);
    return result;
}

struct clip_tensor_source clip_source_of_model(const struct clip_model_source *model)
{
    return (struct clip_tensor_source){model, model_type, model_fill};
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
    return (struct clip_tensor_source){seed, seed_type, seed_fill};
}
