/* Shared by the readers of a vocabulary's files. */
#ifndef CLIP_TEXT_VOCABULARY_FORMS_H
#define CLIP_TEXT_VOCABULARY_FORMS_H

#include "base/error.h"
#include "base/json.h"
#include "text/vocabulary.h"

/* Reads the `added_tokens` of a tokenizer.json. Errors do not name the file. */
int clip_read_added_tokens(struct clip_vocabulary *vocabulary, struct json_object *tokenizer,
                           struct clip_error *error);

/* For a vocabulary without added tokens of its own: reads those in the first of tokenizer.json,
 * tokenizer_config.json and added_tokens.json that exists in `folder`. Errors name the file. */
int clip_read_added_beside(struct clip_vocabulary *vocabulary, const char *folder, struct clip_error *error);

/* Refuses by name every part of a tokenizer.json that CLIP's does not have: other models, normalizers,
 * pre_tokenizers, post_processors. */
int clip_check_tokenizer(struct json_object *tokenizer, struct clip_error *error);

#endif
