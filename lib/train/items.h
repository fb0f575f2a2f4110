/* A list of byte strings in one buffer: the inputs of a chunk, the keys of a batch. */
#ifndef CLIP_TRAIN_ITEMS_H
#define CLIP_TRAIN_ITEMS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with. */
struct clip_items {
    unsigned char *bytes;
    size_t used, room;
    struct clip_extent {
        size_t begin, size;
    } * extents;
    size_t count, places;
};

void clip_items_free(struct clip_items *items);

/* Removes the items, and keeps the memory for others. */
void clip_items_clear(struct clip_items *items);

/* Adds an item of `size` bytes and returns its address, aligned to 64 and valid until the next is added;
 * NULL with error. */
void *clip_items_add(struct clip_items *items, size_t size, struct clip_error *error);

/* Item i, aligned to 64. */
const void *clip_items_get(const struct clip_items *items, size_t i, size_t *size);

/* Writes the list to a file at *offset, and moves *offset past it; reads it back from `offset`. */
int clip_items_write(const struct clip_items *items, int fd, uint64_t *offset, struct clip_error *error);
int clip_items_read(struct clip_items *items, int fd, uint64_t offset, struct clip_error *error);

#endif
