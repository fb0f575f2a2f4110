/* Weights in one file or, with an index, in several. */
#ifndef CLIP_MODEL_SHARDS_H
#define CLIP_MODEL_SHARDS_H

#include "base/error.h"
#include "base/file.h"
#include "model/forms.h"
#include "model/weight.h"

#include <stddef.h>

struct clip_shards {
    struct clip_mapping *files; /* mapped, for as long as the weights are used */
    size_t count;
    enum clip_form form;         /* of the first */
    struct clip_weights weights; /* of all, sorted, under the files' names */
};

/* Opens `path`: a file of any form, or an index {"weight_map": {tensor: file}} of files beside it, as
 * transformers writes it: every tensor must be in its file, and in no other. clip_shards_close afterwards,
 * also after an error, which names the file. */
int clip_shards_open(struct clip_shards *shards, const char *path, struct clip_error *error);
void clip_shards_close(struct clip_shards *shards);

#endif
