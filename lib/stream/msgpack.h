/* Reading msgpack in place: the head of an object, and where an object ends. msgpack-c does the packing, but
 * for the heads that every record has. */
#ifndef CLIP_STREAM_MSGPACK_H
#define CLIP_STREAM_MSGPACK_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_MAX_NESTING 64

enum clip_kind {
    CLIP_NIL,
    CLIP_BOOLEAN,
    CLIP_INTEGER, /* in [-2^63, 2^63) */
    CLIP_NATURAL, /* in [2^63, 2^64) */
    CLIP_REAL,
    CLIP_STR,
    CLIP_BIN,
    CLIP_EXT,
    CLIP_ARRAY,
    CLIP_MAP
};

/* One object's head: what it is, and what follows it. */
struct clip_head {
    enum clip_kind kind;
    size_t head;     /* bytes of the head itself; for scalars including their value */
    uint64_t length; /* STR, BIN, EXT: bytes that follow; ARRAY, MAP: entries */
    int64_t integer; /* BOOLEAN, INTEGER; NATURAL as its two's complement */
    double real;     /* REAL */
};

/* Reads the head at p[0..available). Returns 1; 0 if more bytes are needed; -1 if no object begins with
 * these bytes. */
int clip_wide_head_read(struct clip_head *head, const uint8_t *p, size_t available); /* of 0xc0 to 0xdf */
static inline int clip_head_read(struct clip_head *head, const uint8_t *p, size_t available)
{
    if (available < 1)
        return 0;
    *head = (struct clip_head){.head = 1};
    if (p[0] < 0x80 || p[0] >= 0xe0) {
        head->kind = CLIP_INTEGER;
        head->integer = (int8_t)p[0];
    } else if (p[0] < 0x90) {
        head->kind = CLIP_MAP;
        head->length = p[0] & 15;
    } else if (p[0] < 0xa0) {
        head->kind = CLIP_ARRAY;
        head->length = p[0] & 15;
    } else if (p[0] < 0xc0) {
        head->kind = CLIP_STR;
        head->length = p[0] & 31;
    } else if (p[0] == 0xc4 && available > 1) { /* as most names in a tensor */
        head->kind = CLIP_BIN;
        head->head = 2;
        head->length = p[1];
    } else {
        return clip_wide_head_read(head, p, available);
    }
    return 1;
}

/* Writes the head of a string, of bytes or of a map, of that length, to out[CLIP_HEAD], in as few bytes as
 * msgpack-c; returns how many. */
#define CLIP_HEAD 5
static inline size_t clip_head_write(char *out, enum clip_kind kind, uint32_t length)
{
    uint8_t *to = (uint8_t *)out;
    size_t bytes = length < 256 && kind != CLIP_MAP ? 1 : length < 65536 ? 2 : 4;
    if ((kind == CLIP_STR && length < 32) || (kind == CLIP_MAP && length < 16)) {
        *to = (uint8_t)((kind == CLIP_STR ? 0xa0 : 0x80) | length);
        return 1;
    }
    *to = (uint8_t)((kind == CLIP_STR ? 0xd9 : kind == CLIP_MAP ? 0xdd : 0xc4) + bytes / 2);
    for (size_t i = bytes; i > 0; i--, length >>= 8)
        to[i] = (uint8_t)length;
    return 1 + bytes;
}

/* Finds the end of an object whose bytes arrive in pieces. Zero it to begin. */
struct clip_skim {
    size_t at;                           /* bytes of the object parsed so far */
    int depth;                           /* number of open containers */
    uint64_t left[CLIP_MAX_NESTING + 1]; /* objects that each still lacks */
};

/* Where each object begins that is directly in the outermost container, and that container's end. Zeroed, it
 * is empty. */
struct clip_marks {
    size_t *offsets;
    size_t count, room;
};
void clip_marks_free(struct clip_marks *marks);

/* Continues with p[0..available), the object's bytes from the first one on, and adds to `marks`. Returns 1
 * when the object is complete (skim->at bytes long), 0 if more bytes are needed, -1 with error, about the
 * byte at skim->at. `limit` bounds the bytes, and the entries of a container. */
int clip_skim_run(struct clip_skim *skim, const uint8_t *p, size_t available, size_t limit,
                  struct clip_marks *marks, struct clip_error *error);

#endif
