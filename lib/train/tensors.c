#include "train/tensors.h"

#include "model/forms.h"

#include <string.h>

int clip_tensors_open(struct clip_tensors *tensors, const char *path, struct clip_error *error)
{
    *tensors = (struct clip_tensors){0};
    if (clip_map_file(&tensors->mapping, path, error) != 0)
        return -1;
    if (clip_safetensors_read(&tensors->weights, tensors->mapping.data, tensors->mapping.size, error) == 0 &&
        clip_weights_sort(&tensors->weights, error) == 0)
        return 0;
    clip_tensors_close(tensors);
    return clip_fail_prefix(error, "%s", path);
}

void clip_tensors_close(struct clip_tensors *tensors)
{
    clip_weights_free(&tensors->weights);
    clip_unmap_file(&tensors->mapping);
}

const struct clip_weight *clip_tensors_find(const struct clip_tensors *tensors, const char *name)
{
    size_t low = 0, high = tensors->weights.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(tensors->weights.items[middle].name, name);
        if (order == 0)
            return &tensors->weights.items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
