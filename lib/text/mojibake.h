/* Mojibake: UTF-8 text that was decoded as something else, "âœ”" for "✔". The rules are those of ftfy
 * 6.3.1 (Robyn Speer, github.com/rspeer/python-ftfy). */
#ifndef CLIP_TEXT_MOJIBAKE_H
#define CLIP_TEXT_MOJIBAKE_H

#include "text/unicode.h"

/* ftfy.badness.is_bad: 1 if at[n] contains sequences that hardly anyone writes on purpose, else 0. */
int clip_is_mojibake(const uint32_t *at, size_t n);

/* ftfy.fix_encoding(text), in place: decodes text until it looks right. It never makes text longer. */
int clip_fix_encoding(struct clip_points *text, struct clip_error *error);

#endif
