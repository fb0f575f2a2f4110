#include "model/forms.h"

#include <string.h>

const char *clip_form_name(enum clip_form form)
{
    switch (form) {
    case CLIP_FORM_SAFETENSORS:
        return "safetensors";
    case CLIP_FORM_TORCHSCRIPT:
        return "TorchScript archive";
    case CLIP_FORM_TORCH_ZIP:
        return "PyTorch file";
    case CLIP_FORM_TORCH_LEGACY:
        return "PyTorch file (before 1.6)";
    }
    return "?";
}

int clip_form_read(struct clip_weights *weights, enum clip_form *form, const unsigned char *data, size_t size,
                   struct clip_error *error)
{
    if (size == 0)
        return clip_fail(error, "an empty file");
    *form = CLIP_FORM_SAFETENSORS;
    if (clip_safetensors_read(weights, data, size, error) != 0)
        return -1;
    return clip_weights_sort(weights, error);
}
