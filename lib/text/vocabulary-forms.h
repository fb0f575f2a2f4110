/* What the readers of a vocabulary's files share. */
#ifndef CLIP_TEXT_VOCABULARY_FORMS_H
#define CLIP_TEXT_VOCABULARY_FORMS_H

#include "base/error.h"
#include "base/json.h"
#include "text/vocabulary.h"

/* The `added_tokens` of a tokenizer.json. Errors name what it knows, not the file. */
int clip_read_added_tokens(struct clip_vocabulary *vocabulary, struct json_object *tokenizer,
                           struct clip_error *error);

/* For a vocabulary that has none of its own: the tokens added in the first of tokenizer.json,
 * tokenizer_config.json and added_tokens.json that is in `folder`. Errors name the file. */
int clip_read_added_beside(struct clip_vocabulary *vocabulary, const char *folder, struct clip_error *error);

/* Refuses by name what a tokenizer.json asks for that CLIP's does not: other models, normalizers,
 * pre_tokenizers, post_processors. */
int clip_check_tokenizer(struct json_object *tokenizer, struct clip_error *error);

#endif
