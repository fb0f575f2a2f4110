#include "model/weight.h"
#include "base/array.h"
#include "math/panels.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are mapped as they lie in the file, which is little-endian"
#endif

/* More tensors, or longer names, than any model's: what a hostile file may make us keep. */
enum { MAX_TENSORS = 1 << 16, MAX_NAME = 512 };
/* The most bytes by which a view's elements may overlap: a small file must not fill the memory. */
enum { MAX_REPEATED = 1 << 20 };

static const struct {
    const char *name;
    size_t size;
} types[CLIP_WEIGHT_TYPES] = {
    [CLIP_WEIGHT_F64] = {"F64", 8},   [CLIP_WEIGHT_F32] = {"F32", 4}, [CLIP_WEIGHT_F16] = {"F16", 2},
    [CLIP_WEIGHT_BF16] = {"BF16", 2}, [CLIP_WEIGHT_I64] = {"I64", 8}, [CLIP_WEIGHT_I32] = {"I32", 4},
    [CLIP_WEIGHT_I16] = {"I16", 2},   [CLIP_WEIGHT_I8] = {"I8", 1},   [CLIP_WEIGHT_U8] = {"U8", 1},
    [CLIP_WEIGHT_BOOL] = {"BOOL", 1},
};

size_t clip_weight_size(enum clip_weight_type type)
{
    return types[type].size;
}

const char *clip_weight_type_name(enum clip_weight_type type)
{
    return types[type].name;
}

int clip_weight_is_float(enum clip_weight_type type)
{
    return type <= CLIP_WEIGHT_BF16;
}

/* Bytes from element 0 to after the last one, and those of all elements by themselves; -1 if that does not
 * fit in a size_t. */
static int measure_span(const struct clip_weight *weight, size_t *bytes, size_t *apart)
{
    size_t last = 0, count = 1, size = clip_weight_size(weight->type);
    for (int i = 0; i < weight->ndim; i++) {
        size_t step;
        if (weight->shape[i] == 0) {
            *bytes = *apart = 0;
            return 0;
        }
        if (__builtin_mul_overflow(weight->shape[i] - 1, weight->stride[i], &step) ||
            __builtin_add_overflow(last, step, &last) ||
            __builtin_mul_overflow(count, weight->shape[i], &count) || count > SIZE_MAX / 16)
            return -1;
    }
    *apart = count * size;
    return __builtin_add_overflow(last, 1, &last) || __builtin_mul_overflow(last, size, bytes) ? -1 : 0;
}

/* C order's strides; -1 on overflow. */
static int set_strides(struct clip_weight *weight)
{
    size_t stride = 1;
    for (int i = weight->ndim - 1; i >= 0; i--) {
        weight->stride[i] = stride;
        if (weight->shape[i] && __builtin_mul_overflow(stride, weight->shape[i], &stride))
            return -1;
    }
    return 0;
}

/* Sets shape and strides, which must be of elements inside the `available` bytes. The message does not name
 * the tensor. */
static int set_shape(struct clip_weight *weight, const size_t *shape, const size_t *stride, size_t available,
                     struct clip_error *error)
{
    size_t bytes, apart, size = (size_t)weight->ndim * sizeof *shape;
    memcpy(weight->shape, shape, size);
    int bad = stride ? 0 : set_strides(weight);
    if (stride)
        memcpy(weight->stride, stride, size);
    if (bad || measure_span(weight, &bytes, &apart) != 0)
        return clip_fail(error, "its shape overflows");
    if (bytes > available)
        return clip_fail(error, "needs %zu bytes, the file has %zu for it", bytes, available);
    if (apart > bytes && apart > MAX_REPEATED)
        return clip_fail(error, "%zu bytes of elements lie in %zu of the file", apart, bytes);
    return 0;
}

int clip_weights_add(struct clip_weights *weights, const char *name, size_t length,
                     enum clip_weight_type type, int ndim, const size_t *shape, const size_t *stride,
                     const unsigned char *data, size_t available, struct clip_error *error)
{
    struct clip_weight weight = {.type = type, .ndim = ndim, .data = data, .parts = 1};
    char text[200];
    int status;
    if (length > MAX_NAME || memchr(name, 0, length))
        status = clip_fail(error, "a name of %zu bytes, or with a zero byte", length);
    else if (ndim < 0 || ndim > CLIP_WEIGHT_DIMENSIONS)
        status = clip_fail(error, "%d dimensions", ndim);
    else
        status = set_shape(&weight, shape, stride, available, error);
    if (status != 0)
        return clip_fail_prefix(error, "tensor %s", clip_printable(text, sizeof text, name, length));
    if (weights->count == MAX_TENSORS)
        return clip_fail(error, "more than %d tensors", MAX_TENSORS);
    if (CLIP_GROW(weights->items, weights->count, weights->room) != 0)
        return clip_fail_memory(error, "the list of tensors");
    weight.name = strndup(name, length);
    if (!weight.name)
        return clip_fail_memory(error, "a tensor's name");
    weights->items[weights->count++] = weight;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct clip_weight *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->part - y->part;
}

int clip_weights_sort(struct clip_weights *weights, struct clip_error *error)
{
    if (weights->count == 0)
        return 0;
    qsort(weights->items, weights->count, sizeof *weights->items, compare_names);
    for (size_t i = 1; i < weights->count; i++) {
        const struct clip_weight *weight = &weights->items[i];
        char text[200];
        if (compare_names(weight - 1, weight) == 0)
            return clip_fail(error, "tensor %s occurs twice",
                             clip_printable(text, sizeof text, weight->name, strlen(weight->name)));
    }
    return 0;
}

void clip_weights_free(struct clip_weights *weights)
{
    for (size_t i = 0; i < weights->count; i++)
        free(weights->items[i].name);
    free(weights->items);
    *weights = (struct clip_weights){0};
}

void clip_weight_transpose(struct clip_weight *weight)
{
    size_t shape = weight->shape[0], stride = weight->stride[0];
    weight->shape[0] = weight->shape[1];
    weight->stride[0] = weight->stride[1];
    weight->shape[1] = shape;
    weight->stride[1] = stride;
}

size_t clip_weight_count(const struct clip_weight *weight)
{
    size_t count = 1;
    for (int i = 0; i < weight->ndim; i++)
        count *= weight->shape[i];
    return count;
}

int clip_weight_contiguous(const struct clip_weight *weight)
{
    size_t stride = 1;
    for (int i = weight->ndim - 1; i >= 0; i--) {
        if (weight->shape[i] != 1 && weight->stride[i] != stride)
            return 0;
        stride *= weight->shape[i];
    }
    return 1;
}

/* --- elements, a run at a time --- */

/* A walk over the elements in C order: `at` is the next one's offset from element 0, in elements. */
struct walk {
    const struct clip_weight *weight;
    size_t index[CLIP_WEIGHT_DIMENSIONS], at;
};

static void walk_start(struct walk *walk, const struct clip_weight *weight, size_t first)
{
    *walk = (struct walk){.weight = weight};
    for (int i = weight->ndim - 1; i >= 0; i--) {
        walk->index[i] = first % weight->shape[i];
        walk->at += walk->index[i] * weight->stride[i];
        first /= weight->shape[i];
    }
}

/* How many of the next `count` elements stand one stride of the last dimension apart. */
static size_t walk_run(const struct walk *walk, size_t count)
{
    int last = walk->weight->ndim - 1;
    size_t left = last < 0 ? 1 : walk->weight->shape[last] - walk->index[last];
    return count < left ? count : left;
}

/* Advances by `run` elements, at most to the end of a row. */
static void walk_on(struct walk *walk, size_t run)
{
    const struct clip_weight *weight = walk->weight;
    int i = weight->ndim - 1;
    if (i < 0)
        return;
    walk->index[i] += run;
    walk->at += run * weight->stride[i];
    for (; i > 0 && walk->index[i] == weight->shape[i]; i--) {
        walk->at -= walk->index[i] * weight->stride[i];
        walk->index[i] = 0;
        walk->index[i - 1]++;
        walk->at += weight->stride[i - 1];
    }
}

/* Calls each(data of a run's first element, step in bytes, elements, where they go) for every run. */
static void each_run(const struct clip_weight *weight, size_t first, size_t count, void *out, size_t out_size,
                     void (*each)(const struct clip_weight *, const unsigned char *, size_t, size_t, void *))
{
    size_t size = clip_weight_size(weight->type);
    if (count == 0)
        return;
    if (clip_weight_contiguous(weight)) {
        each(weight, weight->data + first * size, size, count, out);
        return;
    }
    struct walk walk;
    walk_start(&walk, weight, first);
    size_t step = weight->stride[weight->ndim - 1] * size;
    for (unsigned char *p = out; count > 0;) {
        size_t run = walk_run(&walk, count);
        each(weight, weight->data + walk.at * size, step, run, p);
        walk_on(&walk, run);
        p += run * out_size;
        count -= run;
    }
}

static void copy_run(const struct clip_weight *weight, const unsigned char *data, size_t step, size_t n,
                     void *out)
{
    size_t size = clip_weight_size(weight->type);
    unsigned char *p = out;
    if (step == size)
        memcpy(p, data, n * size);
    else
        for (size_t i = 0; i < n; i++)
            memcpy(p + i * size, data + i * step, size);
}

void clip_weight_copy(const struct clip_weight *weight, size_t first, size_t count, void *out)
{
    each_run(weight, first, count, out, clip_weight_size(weight->type), copy_run);
}

static void float_run(const struct clip_weight *weight, const unsigned char *data, size_t step, size_t n,
                      void *result)
{
    float *out = result;
    uint16_t half;
    double wide;
    if (step == sizeof half && (weight->type == CLIP_WEIGHT_F16 || weight->type == CLIP_WEIGHT_BF16)) {
        enum clip_stored stored = weight->type == CLIP_WEIGHT_F16 ? CLIP_STORED_F16 : CLIP_STORED_BF16;
        clip_panel_kernels(clip_level())->floats(n, data, stored, out);
        return;
    }
    switch (weight->type) {
    case CLIP_WEIGHT_F32:
        copy_run(weight, data, step, n, out);
        break;
    case CLIP_WEIGHT_F16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, data + i * step, sizeof half);
            out[i] = clip_f16_float(half);
        }
        break;
    case CLIP_WEIGHT_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, data + i * step, sizeof half);
            out[i] = clip_bf16_float(half);
        }
        break;
    default: /* F64: the caller gives floating-point types only */
        for (size_t i = 0; i < n; i++) {
            memcpy(&wide, data + i * step, sizeof wide);
            out[i] = (float)wide;
        }
        break;
    }
}

void clip_weight_floats(const struct clip_weight *weight, size_t first, size_t count, float *out)
{
    each_run(weight, first, count, out, sizeof *out, float_run);
}

void clip_weight_scaled(const struct clip_weight *weight, const struct clip_weight *scales, size_t first,
                        size_t count, float *out)
{
    size_t columns = weight->shape[1], by_column = scales->shape[0] == 1 && weight->shape[0] != 1;
    while (count > 0) {
        size_t row = first / columns, at = first % columns, n = columns - at < count ? columns - at : count;
        int8_t q[256];
        float scale[256];
        n = n < sizeof q ? n : sizeof q;
        clip_weight_copy(weight, first, n, q);
        clip_weight_floats(scales, by_column ? at : row, by_column ? n : 1, scale);
        for (size_t i = 0; i < n; i++)
            out[i] = scale[by_column ? i : 0] * q[i];
        first += n;
        out += n;
        count -= n;
    }
}

/* --- numbers as bits --- */

static float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float clip_bf16_float(uint16_t bits)
{
    return bits_float((uint32_t)bits << 16);
}

float clip_f16_float(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31)
        return bits_float(sign | 0x7f800000 | fraction << 13);
    if (exponent)
        return bits_float(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return sign ? -small : small;
}

/* The bits of x in a format of `digits` binary digits whose smallest number is 2^least. */
static uint16_t round_bits(double x, int digits, int least, unsigned infinity)
{
    unsigned sign = signbit(x) ? 0x8000 : 0;
    if (isnan(x))
        return (uint16_t)(sign | infinity | 1u << (digits - 2));
    if (isinf(x))
        return (uint16_t)(sign | infinity);
    int exponent;
    frexp(x, &exponent); /* |x| in [2^(exponent-1), 2^exponent) */
    int unit = x == 0 || exponent - digits < least ? least : exponent - digits;
    /* The scaling is exact; nearbyint's, to nearest even, is the one rounding. A carry out of the fraction
     * goes on into the exponent, and from the largest number into infinity. */
    double bits = nearbyint(ldexp(fabs(x), -unit)) + (double)(unit - least) * (double)(1u << (digits - 1));
    return (uint16_t)(sign | (bits >= infinity ? infinity : (unsigned)bits));
}

uint16_t clip_f16_round(double x)
{
    return round_bits(x, 11, -24, 0x7c00);
}

void clip_f16_nearest(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits, sign;
        float magnitude = fabsf(x[i]), small = magnitude + 0.5f - 0.5f; /* to a multiple of 2^-24 */
        memcpy(&bits, &magnitude, sizeof bits);
        memcpy(&sign, &x[i], sizeof sign);
        bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
        float large = bits_float(bits) > 65504 ? INFINITY : bits_float(bits);
        float rounded = magnitude < 0x1p-14f ? small : magnitude <= FLT_MAX ? large : magnitude;
        out[i] = sign >> 31 ? -rounded : rounded;
    }
}

uint16_t clip_bf16_round(double x)
{
    return round_bits(x, 8, -133, 0x7f80);
}

double clip_weight_value(enum clip_weight_type type, const void *p)
{
    uint16_t half;
    float single;
    double wide;
    switch (type) {
    case CLIP_WEIGHT_F16:
        memcpy(&half, p, sizeof half);
        return (double)clip_f16_float(half);
    case CLIP_WEIGHT_BF16:
        memcpy(&half, p, sizeof half);
        return (double)clip_bf16_float(half);
    case CLIP_WEIGHT_F32:
        memcpy(&single, p, sizeof single);
        return (double)single;
    default: /* F64 */
        memcpy(&wide, p, sizeof wide);
        return wide;
    }
}

void clip_weight_store(enum clip_weight_type type, double x, void *p)
{
    uint16_t half;
    float single;
    switch (type) {
    case CLIP_WEIGHT_F16:
        half = clip_f16_round(x);
        memcpy(p, &half, sizeof half);
        break;
    case CLIP_WEIGHT_BF16:
        half = clip_bf16_round(x);
        memcpy(p, &half, sizeof half);
        break;
    case CLIP_WEIGHT_F32:
        single = (float)x;
        memcpy(p, &single, sizeof single);
        break;
    default: /* F64 */
        memcpy(p, &x, sizeof x);
        break;
    }
}

const char *clip_shape_describe(int ndim, const size_t *shape, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, i ? ", %zu" : "%zu", shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
    return out;
}
