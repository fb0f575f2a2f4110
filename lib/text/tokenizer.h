/* OpenAI's tokenizer: captions to token ids, exactly as simple_tokenizer of CLIP with ftfy 6.3.1. */
#ifndef CLIP_TEXT_TOKENIZER_H
#define CLIP_TEXT_TOKENIZER_H

#include "base/error.h"
#include "text/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

struct clip_tokenizer;

/* A tokenizer for one thread: buffers, and a cache of pieces, of bounded size. The vocabulary must outlive
 * it. NULL with error. */
struct clip_tokenizer *clip_tokenizer_new(const struct clip_vocabulary *vocabulary, struct clip_error *error);
void clip_tokenizer_free(struct clip_tokenizer *tokenizer);

/* Cleans text[length] and sets *ids[*count] to its tokens, without start and end. The ids belong to the
 * tokenizer and are valid until its next use. Fails only when out of memory. */
int clip_tokenize(struct clip_tokenizer *tokenizer, const char *text, size_t length, const int32_t **ids,
                  size_t *count, struct clip_error *error);

#endif
