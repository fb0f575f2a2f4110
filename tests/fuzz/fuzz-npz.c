/* NumPy's archives of any bytes, whose tensors then get the names of open_clip's: every element of a view
 * must be in the file. */
#include "model/forms.h"
#include "model/names.h"

#include <stdlib.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

/* Both corners of a view, the numbers of which lie between. */
static unsigned corners(const struct clip_weight *weight)
{
    const unsigned char *last = weight->data;
    if (clip_weight_count(weight) == 0)
        return 0;
    for (int i = 0; i < weight->ndim; i++)
        last += (weight->shape[i] - 1) * weight->stride[i] * clip_weight_size(weight->type);
    return weight->data[0] + last[clip_weight_size(weight->type) - 1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_weights weights = {0};
    struct clip_error error = {""};
    volatile unsigned sum = 0;
    int result = clip_npz_read(&weights, data, size, &error);
    for (size_t i = 0; result == 0 && i < weights.count; i++)
        sum = sum + corners(&weights.items[i]);
    if (result == 0)
        result = clip_names_big_vision(&weights, &error);
    for (size_t i = 0; result == 0 && i < weights.count; i++) {
        unsigned char first[8];
        sum = sum + corners(&weights.items[i]);
        if (clip_weight_count(&weights.items[i]) > 0)
            clip_weight_copy(&weights.items[i], 0, 1, first);
    }
    CHECK(result == 0 || error.text[0]);
    clip_weights_free(&weights);
    return 0;
}
