#include "text/cache.h"

void clip_cache_remember(struct clip_cache *cache, const struct clip_cache_place *place, const char *piece,
                         size_t n, const int32_t *ids, size_t count)
{
    struct clip_cached *slot = place->slot;
    size_t room = count + (n > CLIP_TEXT_PADDING ? (n + sizeof *ids - 1) / sizeof *ids : 0);
    if (cache->used + room > CLIP_CACHE_ROOM) {
        memset(cache->slots, 0, sizeof cache->slots);
        cache->used = 0;
    }
    *slot = (struct clip_cached){
        {place->key[0], place->key[1]}, (uint32_t)cache->used, (uint16_t)n, (uint16_t)count};
    memcpy(cache->room + slot->at, ids, count * sizeof *ids);
    if (n > CLIP_TEXT_PADDING)
        memcpy(cache->room + slot->at + count, piece, n);
    cache->used += room;
}
