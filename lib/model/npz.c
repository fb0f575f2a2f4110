/* NumPy's archives: a zip of .npy files, one an array, which np.savez stores as they are. */
#include "model/forms.h"
#include "model/zip.h"
#include "shard/npy.h"

#include <string.h>

#define ENDING ".npy"

/* The name of an array, without its ending; 0 if the entry is something else. */
static int is_array(const char *name, size_t length, size_t *without)
{
    size_t ending = strlen(ENDING);
    if (length <= ending || memcmp(name + length - ending, ENDING, ending) != 0)
        return 0;
    *without = length - ending;
    return 1;
}

int clip_npz_is(const unsigned char *data, size_t size)
{
    enum { LOCAL = 30 }; /* bytes of a local header; at 26, the length of the name after it */
    size_t without;
    if (size < LOCAL || memcmp(data, "PK\3\4", 4) != 0)
        return 0;
    size_t length = (size_t)(data[26] | data[27] << 8);
    return length <= size - LOCAL && is_array((const char *)data + LOCAL, length, &without);
}

/* The type of weights; -1 if they have none such. */
static int type_of(const struct clip_npy_array *array)
{
    static const signed char types[CLIP_DTYPES] = {[CLIP_BOOL] = CLIP_WEIGHT_BOOL,
                                                   [CLIP_I8] = CLIP_WEIGHT_I8,
                                                   [CLIP_U8] = CLIP_WEIGHT_U8,
                                                   [CLIP_I16] = CLIP_WEIGHT_I16,
                                                   [CLIP_U16] = -1,
                                                   [CLIP_I32] = CLIP_WEIGHT_I32,
                                                   [CLIP_U32] = -1,
                                                   [CLIP_I64] = CLIP_WEIGHT_I64,
                                                   [CLIP_U64] = -1,
                                                   [CLIP_F16] = CLIP_WEIGHT_F16,
                                                   [CLIP_F32] = CLIP_WEIGHT_F32,
                                                   [CLIP_F64] = CLIP_WEIGHT_F64};
    return array->bfloat16 ? CLIP_WEIGHT_BF16 : types[array->dtype];
}

/* In Fortran order the first dimension varies fastest. */
static void set_fortran_strides(const struct clip_npy_array *array, size_t *stride)
{
    size_t step = 1;
    for (int i = 0; i < array->ndim; i++) {
        stride[i] = step;
        step *= array->shape[i];
    }
}

static int add_array(struct clip_weights *weights, const struct clip_zip_entry *entry, const char *name,
                     size_t length, struct clip_error *error)
{
    struct clip_npy_array array;
    size_t stride[CLIP_WEIGHT_DIMENSIONS];
    if (entry->method != 0)
        return clip_fail(error, "compressed, so that it cannot be mapped: save it with np.savez");
    int got = clip_npy_read(&array, entry->data, entry->stored, entry->stored, 1, error);
    if (got < 0)
        return -1;
    if (got == 0)
        return clip_fail(error, "not an array");
    if (array.swapped)
        return clip_fail(error, "its numbers are not little-endian");
    int type = type_of(&array);
    if (type < 0)
        return clip_fail(error, "unsigned integers are not weights");
    set_fortran_strides(&array, stride);
    return clip_weights_add(weights, name, length, (enum clip_weight_type)type, array.ndim, array.shape,
                            array.fortran ? stride : NULL, array.data,
                            entry->stored - (size_t)(array.data - entry->data), error);
}

static int add_all(struct clip_weights *weights, const struct clip_zip *zip, struct clip_error *error)
{
    for (size_t i = 0; i < zip->count; i++) {
        const struct clip_zip_entry *entry = &zip->entries[i];
        char text[200];
        size_t length = 0;
        int status = is_array(entry->name, entry->length, &length)
                         ? add_array(weights, entry, entry->name, length, error)
                         : clip_fail(error, "not an array");
        if (status != 0)
            return clip_fail_prefix(error, "entry %s of the NumPy archive",
                                    clip_printable(text, sizeof text, entry->name, entry->length));
    }
    return 0;
}

int clip_npz_read(struct clip_weights *weights, const unsigned char *data, size_t size,
                  struct clip_error *error)
{
    struct clip_zip zip;
    int result = clip_zip_read(&zip, data, size, error);
    if (result == 0)
        result = add_all(weights, &zip, error);
    clip_zip_free(&zip);
    return result;
}
