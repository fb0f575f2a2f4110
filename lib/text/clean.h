/* Cleaning captions as OpenAI's simple_tokenizer does: ftfy.fix_text, html.unescape twice, white space, case.
 */
#ifndef CLIP_TEXT_CLEAN_H
#define CLIP_TEXT_CLEAN_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/settings.h"

#include <stddef.h>

#define CLIP_CLEAN_PADDING CLIP_TEXT_PADDING /* zeros after a cleaned text */

struct clip_cleaner;

/* Buffers for cleaning one text after another in one thread. NULL with error. */
struct clip_cleaner *clip_cleaner_new(struct clip_error *error);
void clip_cleaner_free(struct clip_cleaner *cleaner);

/* Cleans text[length]; bytes that are not UTF-8 are read as with Python's errors="replace". Sets
 * *clean[*clean_length], UTF-8, followed by CLIP_CLEAN_PADDING zeros; it belongs to the cleaner and is
 * valid until its next use. Fails only when out of memory. */
int clip_clean(struct clip_cleaner *cleaner, const char *text, size_t length, const char **clean,
               size_t *clean_length, struct clip_error *error);

/* The same with any of open_clip's clean functions; CLIP_CLEANING_DEFAULT is lower, CLIP_CLEANING_NONE the
 * text as it is. */
int clip_clean_as(struct clip_cleaner *cleaner, enum clip_cleaning cleaning, const char *text, size_t length,
                  const char **clean, size_t *clean_length, struct clip_error *error);

#endif
