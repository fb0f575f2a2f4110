/* Added tokens of a vocabulary: pieces of text, each of which is one token, found before the text is cut
 * into words. */
#ifndef CLIP_TEXT_ADDED_H
#define CLIP_TEXT_ADDED_H

#include "base/error.h"
#include "text/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

/* A finder of some of a vocabulary's added tokens. Zeroed, it finds none. */
struct clip_finder {
    struct clip_found_token {
        char *text;
        size_t length;
        int32_t id;
        int single_word;
    } * tokens; /* by first byte, the longest first */
    size_t count, first[257];
};

/* A finder of the tokens that are searched for in clean text (`normalized`), where the tokens are cleaned,
 * too, or in the original text. clip_finder_free afterwards, also after an error. */
int clip_finder_make(struct clip_finder *finder, const struct clip_vocabulary *vocabulary, int normalized,
                     struct clip_error *error);
void clip_finder_free(struct clip_finder *finder);

/* The next token at or after `at`: the leftmost one, of several the longest. Sets its part of the text and
 * its id; 0 if there is none. A token that must stand alone, and does not, is skipped. */
int clip_finder_next(const struct clip_finder *finder, const char *text, size_t length, size_t at,
                     size_t *begin, size_t *end, int32_t *id);

#endif
