/* The pickle reader on any bytes, alone and as the files of torch.save before 1.6, which have no checksum in
 * the way: every element of every tensor must be in the file. */
#include "model/forms.h"
#include "model/names.h"
#include "model/pickle.h"
#include "model/shapes.h"

#include <stdlib.h>
#include <string.h>

/* Copies the first and last elements of a view, and some of its whole. */
static unsigned look_at(const struct clip_weight *weight)
{
    unsigned char bytes[64 * 8];
    size_t count = clip_weight_count(weight), n = count < 64 ? count : 64;
    unsigned sum = 0;
    memset(bytes, 0, sizeof bytes);
    clip_weight_copy(weight, 0, n, bytes);
    clip_weight_copy(weight, count - n, n, bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        sum += bytes[i];
    return sum;
}

static void read_legacy(const uint8_t *data, size_t size)
{
    struct clip_weights weights = {0};
    struct clip_error error = {""};
    struct clip_arch arch;
    enum clip_form form;
    volatile unsigned sum = 0;
    if (clip_form_read(&weights, &form, data, size, &error) == 0) {
        for (size_t i = 0; i < weights.count; i++)
            sum = sum + look_at(&weights.items[i]);
        if (clip_names_openai(&weights, NULL, &error) == 0)
            clip_arch_from_shapes(&arch, &weights, &error);
    } else if (error.text[0] == '\0') {
        abort(); /* an error without a message */
    }
    clip_weights_free(&weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_pickle pickle;
    struct clip_error error = {""};
    if (clip_pickle_read(&pickle, data, size, &error) != 0 && error.text[0] == '\0')
        abort();
    clip_pickle_free(&pickle);
    if (clip_torch_is_legacy(data, size))
        read_legacy(data, size);
    return 0;
}
