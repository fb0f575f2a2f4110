/* Growing arrays of what a tokenizer works on: bytes, and ids. Zeroed, they are empty. */
#ifndef CLIP_TEXT_BUFFER_H
#define CLIP_TEXT_BUFFER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_TEXT_PADDING 16 /* bytes that may be read after a text */

struct clip_buffer {
    char *at;
    size_t n, room;
};

/* Makes room for `more` bytes after those that are there, and for the padding. -1 when out of memory. */
static inline int clip_buffer_reserve(struct clip_buffer *buffer, size_t more, struct clip_error *error)
{
    size_t room = buffer->n + more + CLIP_TEXT_PADDING;
    if (room <= buffer->room)
        return 0;
    room += room / 2 + 256;
    char *at = realloc(buffer->at, room);
    if (!at)
        return clip_fail_memory(error, "a text");
    buffer->at = at;
    buffer->room = room;
    return 0;
}

/* Appends text[n], for which there is room. */
static inline void clip_buffer_put(struct clip_buffer *buffer, const char *text, size_t n)
{
    memcpy(buffer->at + buffer->n, text, n);
    buffer->n += n;
}

static inline int clip_buffer_add(struct clip_buffer *buffer, const char *text, size_t n,
                                  struct clip_error *error)
{
    if (clip_buffer_reserve(buffer, n, error) != 0)
        return -1;
    if (n > 0)
        clip_buffer_put(buffer, text, n);
    return 0;
}

static inline void clip_buffer_free(struct clip_buffer *buffer)
{
    free(buffer->at);
    *buffer = (struct clip_buffer){0};
}

struct clip_ids {
    int32_t *at;
    size_t n, room;
};

static inline int clip_ids_reserve(struct clip_ids *ids, size_t more, struct clip_error *error)
{
    if (ids->n + more <= ids->room)
        return 0;
    size_t room = ids->n + more + ids->room / 2 + 64;
    int32_t *at = reallocarray(ids->at, room, sizeof *at);
    if (!at)
        return clip_fail_memory(error, "tokens");
    ids->at = at;
    ids->room = room;
    return 0;
}

static inline int clip_ids_add(struct clip_ids *ids, int32_t id, struct clip_error *error)
{
    if (clip_ids_reserve(ids, 1, error) != 0)
        return -1;
    ids->at[ids->n++] = id;
    return 0;
}

static inline void clip_ids_free(struct clip_ids *ids)
{
    free(ids->at);
    *ids = (struct clip_ids){0};
}

#endif
