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
    int result;
    if (size == 0)
        return clip_fail(error, "an empty file");
    if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0) {
        result = clip_torch_zip_read(weights, form, data, size, error);
    } else if (clip_torch_is_legacy(data, size)) {
        *form = CLIP_FORM_TORCH_LEGACY;
        result = clip_torch_legacy_read(weights, data, size, error);
    } else if (size > 8 && data[8] != '{') {
        return clip_fail(error, "neither safetensors nor a file of PyTorch");
    } else {
        *form = CLIP_FORM_SAFETENSORS;
        result = clip_safetensors_read(weights, data, size, error);
    }
    return result == 0 ? clip_weights_sort(weights, error) : -1;
}
