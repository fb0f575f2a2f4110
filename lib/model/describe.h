/* Descriptions of a model or an architecture, for people and for programs. */
#ifndef CLIP_MODEL_DESCRIBE_H
#define CLIP_MODEL_DESCRIBE_H

#include "base/error.h"
#include "model/model.h"

#include <stdio.h>

/* Each writes to `out` a description of `arch`, and of `model` if that is not NULL. */

/* A table, a line a subject. */
int clip_describe(FILE *out, const struct clip_arch *arch, const struct clip_model *model,
                  struct clip_error *error);

/* One JSON object, in one line (clip-model(1)). */
int clip_describe_json(FILE *out, const struct clip_arch *arch, const struct clip_model *model,
                       struct clip_error *error);

/* "NAME [SHAPE]" of each parameter, then "parameters: N". */
int clip_describe_shapes(FILE *out, const struct clip_arch *arch, const struct clip_model *model,
                         struct clip_error *error);

#endif
