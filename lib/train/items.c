#include "train/items.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

void clip_items_free(struct clip_items *items)
{
    free(items->bytes);
    free(items->extents);
    *items = (struct clip_items){0};
}

void clip_items_clear(struct clip_items *items)
{
    items->count = items->used = 0;
}

/* Makes room for `bytes` and `count` in all. It grows by half, so that little room is unused. */
static int reserve(struct clip_items *items, size_t bytes, size_t count, struct clip_error *error)
{
    if (bytes > items->room) {
        size_t room = items->room + items->room / 2;
        room = ((room > bytes ? room : bytes) + ALIGN - 1) / ALIGN * ALIGN;
        unsigned char *moved = aligned_alloc(ALIGN, room);
        if (!moved)
            return clip_fail_memory(error, "the inputs of a chunk");
        if (items->used)
            memcpy(moved, items->bytes, items->used);
        free(items->bytes);
        items->bytes = moved;
        items->room = room;
    }
    if (count > items->places) {
        size_t places = items->places * 2 + 16 > count ? items->places * 2 + 16 : count;
        void *extents = reallocarray(items->extents, places, sizeof *items->extents);
        if (!extents)
            return clip_fail_memory(error, "the inputs of a chunk");
        items->extents = extents;
        items->places = places;
    }
    return 0;
}

void *clip_items_add(struct clip_items *items, size_t size, struct clip_error *error)
{
    size_t begin = items->used;
    if (reserve(items, begin + (size + ALIGN - 1) / ALIGN * ALIGN, items->count + 1, error) != 0)
        return NULL;
    items->extents[items->count++] = (struct clip_extent){begin, size};
    items->used = begin + (size + ALIGN - 1) / ALIGN * ALIGN;
    return items->bytes + begin;
}

const void *clip_items_get(const struct clip_items *items, size_t i, size_t *size)
{
    *size = items->extents[i].size;
    return items->bytes + items->extents[i].begin;
}

int clip_items_write(const struct clip_items *items, int fd, uint64_t *offset, struct clip_error *error)
{
    const size_t head[2] = {items->count, items->used}, extents = items->count * sizeof *items->extents;
    if (clip_pwrite_all(fd, head, sizeof head, *offset, error) != 0 ||
        clip_pwrite_all(fd, items->extents, extents, *offset + sizeof head, error) != 0 ||
        clip_pwrite_all(fd, items->bytes, items->used, *offset + sizeof head + extents, error) != 0)
        return -1;
    *offset += sizeof head + extents + items->used;
    return 0;
}

int clip_items_read(struct clip_items *items, int fd, uint64_t offset, struct clip_error *error)
{
    size_t head[2];
    clip_items_clear(items);
    if (clip_pread_all(fd, head, sizeof head, offset, error) != 0 ||
        reserve(items, head[1], head[0], error) != 0)
        return -1;
    items->count = head[0];
    items->used = head[1];
    size_t extents = items->count * sizeof *items->extents;
    if (clip_pread_all(fd, items->extents, extents, offset + sizeof head, error) != 0)
        return -1;
    return clip_pread_all(fd, items->bytes, items->used, offset + sizeof head + extents, error);
}
