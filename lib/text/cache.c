#include "text/cache.h"
#include "base/pages.h"

struct clip_cache *clip_cache_new(struct clip_error *error)
{
    struct clip_cache *cache = clip_pages_new(sizeof *cache);
    if (!cache)
        clip_fail_memory(error, "a tokenizer");
    return cache;
}

void clip_cache_free(struct clip_cache *cache)
{
    clip_pages_free(cache, sizeof *cache);
}

void clip_cache_remember(struct clip_cache *cache, const struct clip_cache_place *place, const char *piece,
                         size_t n, const int32_t *ids, size_t count)
{
    struct clip_cached *slot = place->set;
    int is_long = n > CLIP_TEXT_PADDING, outside = is_long || count > CLIP_CACHED_IDS;
    size_t room = outside ? count + (is_long ? (n + sizeof *ids - 1) / sizeof *ids : 0) : 0;
    if (cache->used + room > CLIP_CACHE_ROOM) {
        memset(cache->sets, 0, sizeof cache->sets);
        cache->used = 0;
    }
    slot[1] = slot[0];
    slot->key[0] = place->key[0];
    slot->key[1] = place->key[1];
    slot->length = (uint16_t)n;
    slot->count = (uint16_t)count;
    if (!outside) {
        memcpy(slot->ids, ids, count * sizeof *ids);
        return;
    }
    slot->at = (uint32_t)cache->used;
    memcpy(cache->room + slot->at, ids, count * sizeof *ids);
    if (is_long)
        memcpy(cache->room + slot->at + count, piece, n);
    cache->used += room;
}
