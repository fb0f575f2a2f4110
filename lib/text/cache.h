/* A cache of pieces of text and their tokens, of bounded size. */
#ifndef CLIP_TEXT_CACHE_H
#define CLIP_TEXT_CACHE_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/eight.h"
#include "text/hash.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_CACHE_BITS 14      /* of the number of a set */
#define CLIP_CACHE_ROOM 1000000 /* words of four bytes; when it is full, the cache is emptied */
#define CLIP_CACHED_BYTES 1024  /* longer pieces are not cached */
#define CLIP_CACHED_IDS 3       /* tokens that a slot has room for */

/* A piece and its tokens: in the slot; or, if they are more or the piece is long, at cache->room + at, and
 * after them, if it is long, the piece. length 0: none yet. A piece of up to CLIP_TEXT_PADDING bytes is its
 * own key. */
struct clip_cached {
    uint64_t key[2]; /* the bytes of a short piece, then zeros; of a long one its hash */
    union {
        int32_t ids[CLIP_CACHED_IDS];
        uint32_t at;
    };
    uint16_t length, count;
};

struct clip_cache {
    struct clip_cached sets[1 << CLIP_CACHE_BITS][2]; /* of a set, in one line of the processor's cache, the
                                                    newer piece comes first */
    size_t used;
    int32_t room[CLIP_CACHE_ROOM + CLIP_CACHED_IDS];
};

/* A piece's place in the cache. */
struct clip_cache_place {
    uint64_t key[2];
    struct clip_cached *set;
};

struct clip_cache *clip_cache_new(struct clip_error *error);
void clip_cache_free(struct clip_cache *cache);

/* The first n bytes, n in [1, 8], of the 8 at `bytes`. */
static inline uint64_t clip_cache_load(const char *bytes, size_t n)
{
    return clip_eight_load(bytes) & UINT64_MAX >> (64 - 8 * n);
}

static inline int clip_is_cached(const struct clip_cache *cache, const struct clip_cached *slot,
                                 const uint64_t *key, const char *piece, size_t n)
{
    return slot->length == n && slot->key[0] == key[0] && slot->key[1] == key[1] &&
           (n <= CLIP_TEXT_PADDING || memcmp(cache->room + slot->at + slot->count, piece, n) == 0);
}

/* Looks piece[n] up, n in [1, CLIP_CACHED_BYTES], after which CLIP_TEXT_PADDING bytes may be read. 1 with its
 * tokens, which are the cache's until something is remembered, and after which as many may be read as make
 * CLIP_CACHED_IDS; 0 with the place for clip_cache_remember. */
static inline int clip_cache_find(const struct clip_cache *cache, const char *piece, size_t n,
                                  struct clip_cache_place *place, const int32_t **ids, size_t *count)
{
    uint64_t *key = place->key, hash;
    key[1] = 0;
    if (n <= 8) {
        hash = key[0] = clip_cache_load(piece, n);
    } else if (n <= CLIP_TEXT_PADDING) {
        key[0] = clip_eight_load(piece);
        key[1] = clip_cache_load(piece + 8, n - 8);
        hash = key[0] + key[1] * 0xc2b2ae3d27d4eb4f;
    } else {
        hash = key[0] = clip_hash(piece, n);
    }
    hash = (hash + n) * 0x9e3779b97f4a7c15; /* its top bits depend on all others */
    const struct clip_cached *slot = cache->sets[hash >> (64 - CLIP_CACHE_BITS)];
    place->set = (struct clip_cached *)slot;
    if (!clip_is_cached(cache, slot, key, piece, n) && !clip_is_cached(cache, ++slot, key, piece, n))
        return 0;
    *count = slot->count;
    *ids = n > CLIP_TEXT_PADDING || slot->count > CLIP_CACHED_IDS ? cache->room + slot->at : slot->ids;
    return 1;
}

/* Appends tokens that were found. There is room for CLIP_CACHED_IDS more than they are, so that it takes no
 * loop for most pieces. */
static inline void clip_cache_copy(struct clip_ids *out, const int32_t *ids, size_t count)
{
    int32_t *to = out->at + out->n;
    for (size_t i = 0; i < CLIP_CACHED_IDS; i++)
        to[i] = ids[i];
    for (size_t i = CLIP_CACHED_IDS; i < count; i++)
        to[i] = ids[i];
    out->n += count;
}

/* Remembers the piece with its tokens ids[count], count <= UINT16_MAX, in place of the older of its set. */
void clip_cache_remember(struct clip_cache *cache, const struct clip_cache_place *place, const char *piece,
                         size_t n, const int32_t *ids, size_t count);

#endif
