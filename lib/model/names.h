/* What other projects call OpenAI's tensors. */
#ifndef CLIP_MODEL_NAMES_H
#define CLIP_MODEL_NAMES_H

#include "base/error.h"
#include "model/weight.h"

#include <stddef.h>

/* Gives every tensor OpenAI's name and orientation: "module." before all names and "text." before the text
 * tower's are taken off; of Hugging Face's, projections are turned and q, k, v become parts of in_proj. Names
 * that nobody knows stay. Sorts afterwards. */
int clip_names_openai(struct clip_weights *weights, struct clip_error *error);

/* Hugging Face's name of OpenAI's tensor `name` into out[size]; `part` 0, 1, 2 for q, k, v where *parts is 3,
 * else 0. Sets *transposed. -1 if it has none there. */
int clip_names_hf(const char *name, int part, char *out, size_t size, int *parts, int *transposed);

/* 1 for what a file may hold beside the tensors of the model: sizes in OpenAI's archives, masks, position
 * ids. */
int clip_names_ignored(const char *name);

#endif
