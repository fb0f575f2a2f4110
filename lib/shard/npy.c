#include "shard/npy.h"

#include <inttypes.h>
#include <string.h>

#define ALIGNMENT 64
#define MOST_DIGITS 21 /* NumPy's room for the first dimension */

size_t clip_npy_header(char *out, enum clip_dtype dtype, int ndim, const uint64_t *shape)
{
    char text[CLIP_NPY_HEADER];
    int used = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                        clip_dtype_name(dtype));
    int first = 0; /* digits of the first dimension */
    for (int i = 0; i < ndim; i++) {
        int n = snprintf(text + used, sizeof text - (size_t)used, i ? ", %" PRIu64 : "%" PRIu64, shape[i]);
        first = i ? first : n;
        used += n;
    }
    used += snprintf(text + used, sizeof text - (size_t)used, ndim == 1 ? ",), }" : "), }");
    size_t least = 10 + (size_t)used + (ndim ? (size_t)(MOST_DIGITS - first) : 0) + 1;
    size_t size = (least + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((size - 10) & 255);
    out[9] = (char)((size - 10) >> 8);
    memset(out + 10, ' ', size - 10);
    memcpy(out + 10, text, (size_t)used);
    out[size - 1] = '\n';
    return size;
}

static int write_header(struct clip_npy *npy, struct clip_error *error)
{
    char header[CLIP_NPY_HEADER];
    size_t size = clip_npy_header(header, npy->dtype, npy->ndim, npy->shape);
    return fwrite(header, 1, size, npy->file) == size ? 0 : clip_fail_errno(error, "writing an array");
}

/* The first record decides what all are. */
static int begin(struct clip_npy *npy, const struct clip_tensor *tensor, struct clip_error *error)
{
    npy->dtype = tensor->dtype;
    npy->ndim = tensor->ndim + 1;
    for (int i = 0; i < tensor->ndim; i++)
        npy->shape[i + 1] = tensor->shape[i];
    return write_header(npy, error);
}

static int is_alike(const struct clip_npy *npy, const struct clip_tensor *tensor)
{
    int alike = npy->dtype == tensor->dtype && npy->ndim == tensor->ndim + 1;
    for (int i = 0; alike && i < tensor->ndim; i++)
        alike = npy->shape[i + 1] == tensor->shape[i];
    return alike;
}

int clip_npy_add(struct clip_npy *npy, struct clip_record *record, const char *name, struct clip_error *error)
{
    const struct clip_field *field = clip_record_find(record, name);
    struct clip_tensor tensor;
    struct clip_error why;
    char text[200];
    if (!field)
        clip_record_fail(record, "no field '%s'", name);
    else if (clip_field_tensor(field, &tensor, &why) != 0)
        clip_record_fail(record, "%s", why.text);
    else if (npy->shape[0] > 0 && !is_alike(npy, &tensor))
        clip_record_fail(record, "field '%s' is %s, unlike the first record's", name,
                         clip_tensor_describe(&tensor, text, sizeof text));
    if (record->bad)
        return 0;
    if (npy->shape[0] == 0 && begin(npy, &tensor, error) != 0)
        return -1;
    size_t size = clip_tensor_bytes(&tensor);
    if (size && fwrite(tensor.data, 1, size, npy->file) != size)
        return clip_fail_errno(error, "writing an array");
    npy->shape[0]++;
    return 0;
}

int clip_npy_end(struct clip_npy *npy, struct clip_error *error)
{
    if (npy->shape[0] == 0)
        return clip_fail(error, "no record: an array without one has no shape");
    if (fflush(npy->file) != 0 || fseeko(npy->file, 0, SEEK_SET) != 0)
        return clip_fail_errno(error, "writing an array");
    return write_header(npy, error);
}
