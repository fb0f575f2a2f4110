/* A cache of pieces of text and their tokens, of bounded size. */
#ifndef CLIP_TEXT_CACHE_H
#define CLIP_TEXT_CACHE_H

#include "text/buffer.h"
#include "text/hash.h"

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CLIP_CACHE_SLOTS 32768  /* a power of two */
#define CLIP_CACHE_ROOM 1000000 /* words of four bytes; when it is full, the cache is emptied */
#define CLIP_CACHED_BYTES 1024  /* longer pieces are not cached */

/* A piece and its tokens: count ids at cache->room + at; after them, if it is long, the piece. length 0:
 * none yet. A piece of up to CLIP_TEXT_PADDING bytes is its own key. */
struct clip_cached {
    uint64_t key[2]; /* the bytes of a short piece, then zeros; of a long one its hash */
    uint32_t at;
    uint16_t length, count;
};

struct clip_cache {
    struct clip_cached slots[CLIP_CACHE_SLOTS];
    size_t used;
    int32_t room[CLIP_CACHE_ROOM];
};

/* A piece's place in the cache. */
struct clip_cache_place {
    uint64_t key[2];
    struct clip_cached *slot;
};

/* The first n bytes, n in [1, 8], of the 8 at `bytes`. */
static inline uint64_t clip_cache_load(const char *bytes, size_t n)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return le64toh(word) & UINT64_MAX >> (64 - 8 * n);
}

/* Looks piece[n] up, n in [1, CLIP_CACHED_BYTES], after which CLIP_TEXT_PADDING bytes may be read. 1 with its
 * tokens, which are the cache's until something is remembered; 0 with the place for clip_cache_remember. */
static inline int clip_cache_find(struct clip_cache *cache, const char *piece, size_t n,
                                  struct clip_cache_place *place, const int32_t **ids, size_t *count)
{
    uint64_t *key = place->key;
    key[0] = n > CLIP_TEXT_PADDING ? clip_hash(piece, n) : clip_cache_load(piece, n < 8 ? n : 8);
    key[1] = n > CLIP_TEXT_PADDING || n <= 8 ? 0 : clip_cache_load(piece + 8, n - 8);
    uint64_t hash = (key[0] + key[1] * 0xc2b2ae3d27d4eb4f + n) * 0x9e3779b97f4a7c15;
    struct clip_cached *slot = place->slot = &cache->slots[hash >> 32 & (CLIP_CACHE_SLOTS - 1)];
    const int32_t *known = cache->room + slot->at;
    *ids = known;
    *count = slot->count;
    return slot->length == n && slot->key[0] == key[0] && slot->key[1] == key[1] &&
           (n <= CLIP_TEXT_PADDING || memcmp(known + slot->count, piece, n) == 0);
}

/* Remembers the piece with its tokens ids[count], count <= UINT16_MAX. */
void clip_cache_remember(struct clip_cache *cache, const struct clip_cache_place *place, const char *piece,
                         size_t n, const int32_t *ids, size_t count);

#endif
