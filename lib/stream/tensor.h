/* Tensors as streams hold them: msgpack-numpy's map of five entries (clip-stream(5)). */
#ifndef CLIP_STREAM_TENSOR_H
#define CLIP_STREAM_TENSOR_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_MAX_DIMENSIONS 8

/* Element types, little-endian; CLIP_DTYPE_NAMES gives NumPy's names in this order. */
enum clip_dtype {
    CLIP_BOOL,
    CLIP_I8,
    CLIP_U8,
    CLIP_I16,
    CLIP_U16,
    CLIP_I32,
    CLIP_U32,
    CLIP_I64,
    CLIP_U64,
    CLIP_F16,
    CLIP_F32,
    CLIP_F64,
    CLIP_DTYPES
};

/* A view of elements in C order; it owns nothing. `data` need not be aligned. */
struct clip_tensor {
    enum clip_dtype dtype;
    int ndim;
    size_t shape[CLIP_MAX_DIMENSIONS];
    const void *data;
};

/* NumPy's name of a type ("<f4"), and its size in bytes. */
const char *clip_dtype_name(enum clip_dtype dtype);
size_t clip_dtype_size(enum clip_dtype dtype);

/* The type of NumPy's name text[size]; -1 where it is not supported (object arrays, structures,
 * big-endian). */
int clip_dtype_parse(const char *text, size_t size, enum clip_dtype *dtype);

/* Number of elements. It cannot overflow: tensors that the reader accepts fit into memory. */
size_t clip_tensor_count(const struct clip_tensor *tensor);
size_t clip_tensor_bytes(const struct clip_tensor *tensor);

/* Element i as a double. */
double clip_tensor_value(const struct clip_tensor *tensor, size_t i);

/* "f4 [3, 224, 224]" into out[size]; returns out. */
const char *clip_tensor_describe(const struct clip_tensor *tensor, char *out, size_t size);

#endif
