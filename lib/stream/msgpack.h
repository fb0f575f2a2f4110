/* Reading msgpack in place: the head of an object, and where an object ends. msgpack-c does the packing. */
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
int clip_head_read(struct clip_head *head, const uint8_t *p, size_t available);

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
