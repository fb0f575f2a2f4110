/* SentencePiece's precompiled character maps: a double-array trie (Darts) of texts and what they become. */
#ifndef CLIP_TEXT_CHARSMAP_H
#define CLIP_TEXT_CHARSMAP_H

#include "base/error.h"
#include "text/buffer.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed, it maps nothing. */
struct clip_charsmap {
    uint32_t *units; /* [count] */
    size_t count;
    char *texts; /* [size], each ended by a zero */
    size_t size;
    char ascii[128]; /* what a character becomes by itself, if that is one byte; else 0 */
    char plain[128]; /* the same, if the map has nothing of it and another one of ASCII after it; else 0 */
};

/* Reads data[size]: u32 bytes of the trie, the trie, the texts; all little-endian. -1 with error where these
 * do not fit. clip_charsmap_free afterwards. */
int clip_charsmap_read(struct clip_charsmap *map, const void *data, size_t size, struct clip_error *error);
void clip_charsmap_free(struct clip_charsmap *map);

/* What the longest or, if `shortest`, the shortest prefix of text[n] that the map has becomes; *length is
 * that of the prefix. NULL where there is none. */
const char *clip_charsmap_find(const struct clip_charsmap *map, const char *text, size_t n, int shortest,
                               size_t *length);

/* Appends text[n], UTF-8, mapped as Hugging Face's tokenizers do: by grapheme clusters, of which one under
 * six bytes is looked up whole, its shortest mapped prefix standing for all of it; others by characters. */
int clip_charsmap_apply(const struct clip_charsmap *map, const char *text, size_t n, struct clip_buffer *out,
                        struct clip_error *error);

#endif
