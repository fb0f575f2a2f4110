#include "stream/vector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int to_f4(struct clip_record *record, const char *name, struct clip_tensor *tensor)
{
    struct clip_error error;
    size_t count = clip_tensor_count(tensor);
    float *floats = reallocarray(NULL, count + 1, sizeof *floats);
    if (!floats)
        return clip_record_fail(record, "out of memory for field '%s'", name);
    for (size_t i = 0; i < count; i++)
        floats[i] = (float)clip_tensor_value(tensor, i);
    tensor->dtype = CLIP_F32;
    tensor->data = floats;
    int status = clip_record_put_tensor(record, name, tensor, &error);
    free(floats);
    if (status == 0)
        status = clip_field_tensor(clip_record_find(record, name), tensor, &error);
    return status == 0 ? 0 : clip_record_fail(record, "%s", error.text);
}

int clip_record_floats(struct clip_record *record, const char *name, struct clip_tensor *tensor)
{
    struct clip_error error;
    const struct clip_field *field = clip_record_find(record, name);
    int is = field && clip_field_is_tensor(field) && clip_field_tensor(field, tensor, &error) == 0;
    if (is && tensor->dtype == CLIP_F32)
        return 0;
    if (is && (tensor->dtype == CLIP_F16 || tensor->dtype == CLIP_F64))
        return to_f4(record, name, tensor);
    return clip_record_tensor(record, name, CLIP_F32, tensor);
}

int clip_record_vector(struct clip_record *record, const char *name, size_t *width, const void **data)
{
    struct clip_tensor tensor;
    char text[120];
    if (clip_record_floats(record, name, &tensor) != 0)
        return -1;
    if (tensor.ndim != 1 || tensor.shape[0] == 0)
        return clip_record_fail(record, "field '%s' is %s, not a vector", name,
                                clip_tensor_describe(&tensor, text, sizeof text));
    if (*width && tensor.shape[0] != *width)
        return clip_record_fail(record, "field '%s' has %zu elements where %zu are expected", name,
                                tensor.shape[0], *width);
    for (size_t i = 0; i < tensor.shape[0]; i++)
        if (!isfinite(clip_tensor_value(&tensor, i)))
            return clip_record_fail(record, "field '%s' has an element that is not finite", name);
    *width = tensor.shape[0];
    *data = tensor.data;
    return 0;
}

int clip_record_put_vector(struct clip_record *record, const char *name, const float *value, size_t width,
                           struct clip_error *error)
{
    struct clip_tensor tensor = {.dtype = CLIP_F32, .ndim = 1, .shape = {width}, .data = value};
    return clip_record_put_tensor(record, name, &tensor, error);
}
