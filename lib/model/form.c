#include "model/forms.h"
#include "base/stray.h"

#include <stdint.h>
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
    case CLIP_FORM_NPZ:
        return "NumPy archive";
    }
    return "?";
}

/* 1 if the file begins with the length of a header that fits into it, and the header. */
static int is_safetensors(const unsigned char *data, size_t size)
{
    uint64_t length;
    if (size <= sizeof length || data[sizeof length] != '{')
        return 0;
    memcpy(&length, data, sizeof length);
    return length <= size - sizeof length;
}

/* A file of another form is named by what it is. */
static int fail_form(const unsigned char *data, size_t size, struct clip_error *error)
{
    const char *what = clip_stray_weights(data, size);
    if (what)
        return clip_fail(error, "%s", what);
    if (size > 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5)
        return clip_fail(error, "a bare pickle: save the state_dict() with torch.save or as safetensors");
    return clip_fail(error, "neither safetensors nor a file of PyTorch");
}

int clip_form_read(struct clip_weights *weights, enum clip_form *form, const unsigned char *data, size_t size,
                   struct clip_error *error)
{
    int result;
    if (size == 0)
        return clip_fail(error, "an empty file");
    if (clip_npz_is(data, size)) {
        *form = CLIP_FORM_NPZ;
        result = clip_npz_read(weights, data, size, error);
    } else if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0) {
        result = clip_torch_zip_read(weights, form, data, size, error);
    } else if (clip_torch_is_legacy(data, size)) {
        *form = CLIP_FORM_TORCH_LEGACY;
        result = clip_torch_legacy_read(weights, data, size, error);
    } else if (!is_safetensors(data, size) &&
               (clip_stray_weights(data, size) || (size > 8 && data[8] != '{'))) {
        return fail_form(data, size, error);
    } else {
        *form = CLIP_FORM_SAFETENSORS;
        result = clip_safetensors_read(weights, data, size, error);
    }
    return result == 0 ? clip_weights_sort(weights, error) : -1;
}
