#include "stream/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[CLIP_DTYPES] = {
    [CLIP_BOOL] = {"|b1", 1}, [CLIP_I8] = {"|i1", 1},  [CLIP_U8] = {"|u1", 1},  [CLIP_I16] = {"<i2", 2},
    [CLIP_U16] = {"<u2", 2},  [CLIP_I32] = {"<i4", 4}, [CLIP_U32] = {"<u4", 4}, [CLIP_I64] = {"<i8", 8},
    [CLIP_U64] = {"<u8", 8},  [CLIP_F16] = {"<f2", 2}, [CLIP_F32] = {"<f4", 4}, [CLIP_F64] = {"<f8", 8},
};

const char *clip_dtype_name(enum clip_dtype dtype)
{
    return types[dtype].name;
}

size_t clip_dtype_size(enum clip_dtype dtype)
{
    return types[dtype].size;
}

int clip_dtype_parse(const char *text, size_t size, enum clip_dtype *dtype)
{
    if (size != 3)
        return -1;
    for (int i = 0; i < CLIP_DTYPES; i++)
        if (memcmp(types[i].name, text, 3) == 0) {
            *dtype = (enum clip_dtype)i;
            return 0;
        }
    for (int i = 0; i < CLIP_DTYPES; i++) {
        /* Byte order does not matter for single bytes. */
        int order = types[i].size == 1 && strchr("|<>=", text[0]) != NULL;
        if (order && memcmp(types[i].name + 1, text + 1, 2) == 0) {
            *dtype = (enum clip_dtype)i;
            return 0;
        }
    }
    return -1;
}

size_t clip_tensor_count(const struct clip_tensor *tensor)
{
    size_t count = 1;
    for (int i = 0; i < tensor->ndim; i++)
        count *= tensor->shape[i];
    return count;
}

size_t clip_tensor_bytes(const struct clip_tensor *tensor)
{
    return clip_tensor_count(tensor) * clip_dtype_size(tensor->dtype);
}

static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -value : value;
}

#define VALUE(type)                                                                                          \
    {                                                                                                        \
        type v;                                                                                              \
        memcpy(&v, p, sizeof v);                                                                             \
        return (double)v;                                                                                    \
    }

double clip_tensor_value(const struct clip_tensor *tensor, size_t i)
{
    const char *p = (const char *)tensor->data + i * clip_dtype_size(tensor->dtype);
    switch (tensor->dtype) {
    case CLIP_BOOL:
    case CLIP_U8:
        VALUE(uint8_t)
    case CLIP_I8:
        VALUE(int8_t)
    case CLIP_I16:
        VALUE(int16_t)
    case CLIP_U16:
        VALUE(uint16_t)
    case CLIP_I32:
        VALUE(int32_t)
    case CLIP_U32:
        VALUE(uint32_t)
    case CLIP_I64:
        VALUE(int64_t)
    case CLIP_U64:
        VALUE(uint64_t)
    case CLIP_F16: {
        uint16_t h;
        memcpy(&h, p, sizeof h);
        return half_value(h);
    }
    case CLIP_F32:
        VALUE(float)
    default:
        VALUE(double)
    }
}

const char *clip_tensor_describe(const struct clip_tensor *tensor, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s [", clip_dtype_name(tensor->dtype) + 1);
    for (int i = 0; i < tensor->ndim && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, i ? ", %zu" : "%zu", tensor->shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
    return out;
}
