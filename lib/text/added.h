/* Tokens that were added to a vocabulary: pieces of text that are a token each, found before it is cut into
 * words. */
#ifndef CLIP_TEXT_ADDED_H
#define CLIP_TEXT_ADDED_H

#include "base/error.h"
#include "text/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

/* Finds some of a vocabulary's added tokens in texts. Zeroed, it finds none. */
struct clip_finder {
    struct clip_found_token {
        char *text;
        size_t length;
        int32_t id;
        int single_word;
    } * tokens; /* by first byte, the longest first */
    size_t count, first[257];
};

/* A finder of the tokens that are looked for in clean text (`normalized`), where they are cleaned too, or in
 * the text as it came. clip_finder_free afterwards, also after an error. */
int clip_finder_make(struct clip_finder *finder, const struct clip_vocabulary *vocabulary, int normalized,
                     struct clip_error *error);
void clip_finder_free(struct clip_finder *finder);

/* The next token at or after `at`: the leftmost, of these the longest. Sets the part of the text that it
 * takes and its id; 0 where there is none. One that must stand by itself and does not is passed over. */
int clip_finder_next(const struct clip_finder *finder, const char *text, size_t length, size_t at,
                     size_t *begin, size_t *end, int32_t *id);

#endif
