#include "stream/vector.h"

#include <math.h>
#include <string.h>

int clip_record_vector(struct clip_record *record, const char *name, size_t *width, const void **data)
{
    struct clip_tensor tensor;
    char text[120];
    if (clip_record_tensor(record, name, CLIP_F32, &tensor) != 0)
        return -1;
    if (tensor.ndim != 1 || tensor.shape[0] == 0)
        return clip_record_fail(record, "field '%s' is %s, no vector", name,
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
