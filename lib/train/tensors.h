/* The tensors of a part of a checkpoint: a safetensors file, by name. */
#ifndef CLIP_TRAIN_TENSORS_H
#define CLIP_TRAIN_TENSORS_H

#include "base/error.h"
#include "base/file.h"
#include "model/weight.h"

struct clip_tensors {
    struct clip_mapping mapping;
    struct clip_weights weights; /* sorted by name; views into the mapping */
};

/* Maps the file and lists its tensors. -1 with error, and nothing is open. */
int clip_tensors_open(struct clip_tensors *tensors, const char *path, struct clip_error *error);
void clip_tensors_close(struct clip_tensors *tensors);

/* The tensor of that name, or NULL. */
const struct clip_weight *clip_tensors_find(const struct clip_tensors *tensors, const char *name);

#endif
