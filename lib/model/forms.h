/* Readers of weights files: each lists the tensors of a mapped file, as views into it. What the file says is
 * checked against the file's size; memory is bounded whatever it claims. -1 with a message that does not name
 * the file. */
#ifndef CLIP_MODEL_FORMS_H
#define CLIP_MODEL_FORMS_H

#include "base/error.h"
#include "model/weight.h"

#include <stddef.h>

/* The key of a safetensors file's metadata that holds the architecture, as clip_arch_print writes it. */
#define CLIP_METADATA_ARCH "open_clip_config"

enum clip_form {
    CLIP_FORM_SAFETENSORS,
    CLIP_FORM_TORCHSCRIPT,  /* a zip whose pickle is a tree of modules: OpenAI's files */
    CLIP_FORM_TORCH_ZIP,    /* torch.save's zip of a state dict, or of a training checkpoint that holds one */
    CLIP_FORM_TORCH_LEGACY, /* torch.save before 1.6 */
    CLIP_FORM_NPZ           /* NumPy's zip of arrays, as big_vision writes it */
};

/* A form's name for people. */
const char *clip_form_name(enum clip_form form);

/* Tells the form by the first bytes and reads it; `weights` comes zeroed and is sorted by name. Names are the
 * file's; in a pickle of dicts in dicts, all keys with dots between them. */
int clip_form_read(struct clip_weights *weights, enum clip_form *form, const unsigned char *data, size_t size,
                   struct clip_error *error);

/* One reader each. */
int clip_safetensors_read(struct clip_weights *weights, const unsigned char *data, size_t size,
                          struct clip_error *error);
/* The string of a safetensors file's metadata under `key`, from malloc; NULL where there is none. The file
 * was read by clip_safetensors_read before. */
char *clip_safetensors_metadata(const unsigned char *data, size_t size, const char *key);
int clip_torch_zip_read(struct clip_weights *weights, enum clip_form *form, const unsigned char *data,
                        size_t size, struct clip_error *error);
int clip_torch_legacy_read(struct clip_weights *weights, const unsigned char *data, size_t size,
                           struct clip_error *error);
int clip_npz_read(struct clip_weights *weights, const unsigned char *data, size_t size,
                  struct clip_error *error);

/* 1 if the file begins as a zip whose first entry is an array. */
int clip_npz_is(const unsigned char *data, size_t size);
/* 1 if the file begins as torch.save's before 1.6. */
int clip_torch_is_legacy(const unsigned char *data, size_t size);

#endif
