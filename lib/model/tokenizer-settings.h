/* Tokenizer settings in a model's configuration. */
#ifndef CLIP_MODEL_TOKENIZER_SETTINGS_H
#define CLIP_MODEL_TOKENIZER_SETTINGS_H

#include "base/error.h"
#include "base/json.h"
#include "text/settings.h"

#include <stdio.h>

/* Reads the members of open_clip's text_cfg (or NULL) that choose a tokenizer: hf_tokenizer_name,
 * tokenizer_kwargs, tokenizer_mode, tokenizer_type, tiktoken_name. `own`: as clip_put_tokenizer_settings
 * writes them. Removes them from text_cfg: the kinds of towers do not know them. */
int clip_read_tokenizer_settings(struct json_object *text_cfg, int own,
                                 struct clip_tokenizer_settings *settings, struct clip_error *error);

/* Writes them as lines of a text_cfg that end with a comma; nothing for OpenAI's tokenizer. `own`: also what
 * open_clip has no word for. */
void clip_put_tokenizer_settings(FILE *file, int own, const struct clip_tokenizer_settings *settings);

/* Reads them from the config.json and tokenizer_config.json of a Hugging Face folder. */
int clip_hf_tokenizer_settings(const char *folder, struct clip_tokenizer_settings *settings,
                               struct clip_error *error);

#endif
