/* Where a model's vocabulary is. */
#ifndef CLIP_MODEL_VOCABULARY_H
#define CLIP_MODEL_VOCABULARY_H

#include "base/error.h"
#include "model/model.h"

/* A path for clip_tokenizer_open, from malloc: what the model's form holds; for a lone weights file of
 * OpenAI's vocabulary size bpe_simple_vocab_16e6.txt.gz beside it, in a folder of $CLIP_MODEL_PATH, or in
 * share/vocab. `path` is the model as the user named it. NULL with error. */
char *clip_find_vocabulary(const struct clip_model *model, const char *path, struct clip_error *error);

#endif
