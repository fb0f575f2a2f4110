/* Tensors as a weights file holds them: named views into the mapped file, whatever the form. */
#ifndef CLIP_MODEL_WEIGHT_H
#define CLIP_MODEL_WEIGHT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_WEIGHT_DIMENSIONS 8

/* Element types, little-endian. */
enum clip_weight_type {
    CLIP_WEIGHT_F64,
    CLIP_WEIGHT_F32,
    CLIP_WEIGHT_F16,
    CLIP_WEIGHT_BF16,
    CLIP_WEIGHT_I64,
    CLIP_WEIGHT_I32,
    CLIP_WEIGHT_I16,
    CLIP_WEIGHT_I8,
    CLIP_WEIGHT_U8,
    CLIP_WEIGHT_BOOL,
    CLIP_WEIGHT_TYPES
};

/* Bytes of an element, safetensors' name of the type ("F32"), and whether it is a floating-point one. */
size_t clip_weight_size(enum clip_weight_type type);
const char *clip_weight_type_name(enum clip_weight_type type);
int clip_weight_is_float(enum clip_weight_type type);

/* A view: element (i, j ...) stands at data + (i * stride[0] + j * stride[1] ...) * clip_weight_size(type).
 * `data` need not be aligned. */
struct clip_weight {
    char *name;
    enum clip_weight_type type;
    int ndim;
    size_t shape[CLIP_WEIGHT_DIMENSIONS], stride[CLIP_WEIGHT_DIMENSIONS]; /* in elements */
    const unsigned char *data;
    uint32_t holder, key; /* in a pickle: the dict that holds it; where in the name its key there begins */
    int part, parts; /* which part of the tensor of that name this is, along its first dimension: 0 of 1 */
};

/* The tensors of a file. */
struct clip_weights {
    struct clip_weight *items;
    size_t count, room;
};

/* Adds a view of name[length] whose element 0 stands at data, of which `available` bytes may be used.
 * `stride` NULL: C order. The name and shape are checked, that each element lies inside, and that no more
 * than a MiB of them lies over one another. */
int clip_weights_add(struct clip_weights *weights, const char *name, size_t length,
                     enum clip_weight_type type, int ndim, const size_t *shape, const size_t *stride,
                     const unsigned char *data, size_t available, struct clip_error *error);

/* Sorts by name, then part; -1 if one occurs twice. */
int clip_weights_sort(struct clip_weights *weights, struct clip_error *error);
void clip_weights_free(struct clip_weights *weights);

/* Exchanges the two dimensions of a matrix. */
void clip_weight_transpose(struct clip_weight *weight);

/* Elements of a view. */
size_t clip_weight_count(const struct clip_weight *weight);

/* 1 if its elements lie in C order without gaps. */
int clip_weight_contiguous(const struct clip_weight *weight);

/* Copies elements [first, first + count), in C order, into out, each in its own type. `out` need not be
 * aligned. */
void clip_weight_copy(const struct clip_weight *weight, size_t first, size_t count, void *out);

/* The same as f32; only of floating-point types. */
void clip_weight_floats(const struct clip_weight *weight, size_t first, size_t count, float *out);

/* The same of a matrix of I8 whose rows, or columns, have a scale each: scales[rows][1] or [1][columns]. */
void clip_weight_scaled(const struct clip_weight *weight, const struct clip_weight *scales, size_t first,
                        size_t count, float *out);

/* out[n] = x[n] rounded to f16 and back; out may be x. */
void clip_f16_nearest(size_t n, const float *x, float *out);

/* Numbers as bits: f16 (IEEE half) and bf16 to f32, exactly; from f64 rounded once, to nearest even. */
float clip_f16_float(uint16_t bits);
float clip_bf16_float(uint16_t bits);
uint16_t clip_f16_round(double x);
uint16_t clip_bf16_round(double x);

/* One number of a floating-point type at p, which need not be aligned. Storing rounds once, to nearest even.
 */
double clip_weight_value(enum clip_weight_type type, const void *p);
void clip_weight_store(enum clip_weight_type type, double x, void *p);

/* "[3, 224, 224]" into out[size]; returns out. */
const char *clip_shape_describe(int ndim, const size_t *shape, char *out, size_t size);

#endif
