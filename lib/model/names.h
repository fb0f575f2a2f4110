/* What other projects call OpenAI's tensors. */
#ifndef CLIP_MODEL_NAMES_H
#define CLIP_MODEL_NAMES_H

#include "base/error.h"
#include "model/weight.h"

#include <stddef.h>

/* How many sets of a CLIP model's weights there are among the tensors of a file: a model may stand under keys
 * of a checkpoint ("state_dict", "model_ema"), and its names may have beginnings ("module.", "_orig_mod.").
 */
size_t clip_names_count(const struct clip_weights *weights);

/* Leaves one set of weights, and gives every tensor OpenAI's name and orientation: what stands before the
 * names is taken off, "text." before the text tower's too, and what torch.compile and data-parallel training
 * put between; of Hugging Face's, projections are transposed and q, k, v become parts of in_proj. Names that
 * nobody knows stay. The set is the one under `key`, whole or in part ("state_dict", "state_dict.model");
 * with key NULL, the one that is no moving average, and of those the one with both towers. An error that
 * lists the keys where that leaves several or none. Sorts afterwards. */
int clip_names_openai(struct clip_weights *weights, const char *key, struct clip_error *error);

/* Gives the tensors of one of Apple's own MobileCLIP files open_clip's names and orientation; leaves other
 * files as they are. clip_names_openai does this first. */
int clip_names_apple(struct clip_weights *weights, struct clip_error *error);

/* The same of big_vision's image-text models, in a NumPy archive or any other form. */
int clip_names_big_vision(struct clip_weights *weights, struct clip_error *error);

/* open_clip's name of OpenAI's tensor `name` into out[size]; `custom`: of the text tower of a CustomTextCLIP.
 */
void clip_names_open_clip(const char *name, int custom, char *out, size_t size);

/* How Hugging Face's model holds a tensor of ours. */
struct clip_hf_name {
    char name[128];
    int parts;      /* 1, or 3: this is one of q, k, v of ours */
    int transposed; /* of a matrix */
    int shape;      /* enum clip_name_shape (model/kind.h) */
};

/* Its name of OpenAI's tensor `name`; `part` 0, 1, 2 for q, k, v where there are 3 parts, else 0. -1 if it
 * has none there. */
struct clip_hf_model;
int clip_names_hf(const struct clip_hf_model *model, const char *name, int part, struct clip_hf_name *out);

/* 1 for what a file may hold beside the tensors of the model: sizes in OpenAI's archives, masks, position
 * ids, what a loss or metrics keep. */
int clip_names_ignored(const char *name);

#endif
