/* The tokens of a vocabulary: names, which are any bytes, and ids. */
#ifndef CLIP_TEXT_LEXICON_H
#define CLIP_TEXT_LEXICON_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/hash.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_MOST_IDS (1u << 22) /* ids are below this */

/* Zeroed, it is empty. */
struct clip_lexicon {
    struct clip_buffer text;
    struct clip_word {
        uint32_t at, length; /* its name in `text` */
        int32_t id;
    } * words;
    size_t count, word_room;
    struct clip_slots slots; /* words by name */
    uint32_t *by_id;         /* the number of the word + 1, or 0 */
    size_t size, id_room;    /* ids are in [0, size) */
};

/* Adds a token. One name may have several ids, of which the first is found, unless `unique`; an id has one
 * name. */
int clip_lexicon_add(struct clip_lexicon *lexicon, const char *name, size_t length, int32_t id, int unique,
                     struct clip_error *error);
void clip_lexicon_free(struct clip_lexicon *lexicon);

/* The id of a name, or -1. */
int32_t clip_lexicon_id(const struct clip_lexicon *lexicon, const char *name, size_t length);

/* The name of an id, not terminated; NULL where it has none. */
const char *clip_lexicon_name(const struct clip_lexicon *lexicon, int32_t id, size_t *length);

#endif
