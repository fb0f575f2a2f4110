/* The safetensors reader on any bytes; every element of what it lists must be in the file. */
#include "model/forms.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_weights weights = {0};
    struct clip_error error = {""};
    volatile unsigned sum = 0;
    if (clip_safetensors_read(&weights, data, size, &error) == 0) {
        for (size_t i = 0; i < weights.count; i++) {
            const struct clip_weight *weight = &weights.items[i];
            size_t bytes = clip_weight_count(weight) * clip_weight_size(weight->type);
            for (size_t j = 0; j < bytes; j++)
                sum = sum + weight->data[j];
        }
    } else if (error.text[0] == '\0') {
        abort(); /* an error without a message */
    }
    clip_weights_free(&weights);
    return 0;
}
