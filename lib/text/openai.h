/* OpenAI's kind of tokenizer, for tokenizer.c. */
#ifndef CLIP_TEXT_OPENAI_H
#define CLIP_TEXT_OPENAI_H

#include "base/error.h"
#include "text/kinds.h"
#include "text/vocabulary.h"

/* Makes tokenizer->openai and the template of a vocabulary that must outlive it. */
int clip_openai_begin(struct clip_tokenizer *tokenizer, const struct clip_vocabulary *vocabulary,
                      struct clip_error *error);
void clip_openai_free(struct clip_openai *openai);

#endif
