/* Tokenizers: captions to token ids, exactly as the reference of each kind. */
#ifndef CLIP_TEXT_TOKENIZER_H
#define CLIP_TEXT_TOKENIZER_H

#include "base/error.h"
#include "text/settings.h"
#include "text/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

struct clip_tokenizer;

/* Opens a tokenizer from `path`, a file of any kind of the table (tokenizer.c) or a folder with such files.
 * `settings` is what its model says, or NULL. NULL with error. */
struct clip_tokenizer *clip_tokenizer_open(const char *path, const struct clip_tokenizer_settings *settings,
                                           struct clip_error *error);

/* OpenAI's, of a vocabulary that must outlive it. NULL with error. */
struct clip_tokenizer *clip_tokenizer_new(const struct clip_vocabulary *vocabulary, struct clip_error *error);
void clip_tokenizer_free(struct clip_tokenizer *tokenizer);

/* Cleans text[length] and sets *ids[*count] to its tokens, without those of the template; they are the
 * tokenizer's until its next use. Fails when out of memory, and where the tokenizer has no token for a text.
 */
int clip_tokenize(struct clip_tokenizer *tokenizer, const char *text, size_t length, const int32_t **ids,
                  size_t *count, struct clip_error *error);

/* How many tokens the template adds. */
size_t clip_tokenizer_frame(const struct clip_tokenizer *tokenizer);

/* Puts ids[count] into the template, cut to what fits, and pads them: out[context], context >= the template's
 * tokens. */
void clip_tokenizer_lay(const struct clip_tokenizer *tokenizer, const int32_t *ids, size_t count,
                        int32_t *out, size_t context);

/* The largest id of the template and the padding. */
int32_t clip_tokenizer_largest(const struct clip_tokenizer *tokenizer);

/* Ids are below this. */
size_t clip_tokenizer_size(const struct clip_tokenizer *tokenizer);

/* The text of a token as its file spells it, not terminated; NULL where it has none. */
const char *clip_tokenizer_name(const struct clip_tokenizer *tokenizer, int32_t id, size_t *length);

/* The name that the tokenizer's file has in a model's folder. */
const char *clip_tokenizer_file_name(const struct clip_tokenizer *tokenizer);

/* The vocabulary of OpenAI's kind, or NULL. */
const struct clip_vocabulary *clip_tokenizer_vocabulary(const struct clip_tokenizer *tokenizer);

/* The file in a folder that a tokenizer is read from, from malloc; NULL where there is none, or out of
 * memory. */
char *clip_tokenizer_find(const char *folder, const struct clip_tokenizer_settings *settings);

/* The files of a folder that tokenizers are read from, and those that describe them: names, ended by NULL. */
extern const char *const clip_tokenizer_files[];

#endif
