/* Reading msgpack in place: the head of one object, and where an object ends. Packing is msgpack-c's. */
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
    size_t head;     /* bytes of the head itself, scalars with their value */
    uint64_t length; /* STR, BIN, EXT: bytes that follow; ARRAY, MAP: entries */
    int64_t integer; /* BOOLEAN, INTEGER; NATURAL as its two's complement */
    double real;     /* REAL */
};

/* Reads the head at p[0..available). Returns 1; 0 if more bytes are needed; -1 if no object begins like this.
 */
int clip_head_read(struct clip_head *head, const uint8_t *p, size_t available);

/* Finds the end of one object whose bytes come piece by piece. Zero it to begin. */
struct clip_skim {
    size_t at;                           /* bytes of the object understood so far */
    int depth;                           /* containers open */
    uint64_t left[CLIP_MAX_NESTING + 1]; /* objects still to come in each */
};

/* Where each object begins that is directly in the outermost container, and that container's end. Zeroed, it
 * is empty. */
struct clip_marks {
    size_t *offsets;
    size_t count, room;
};
void clip_marks_free(struct clip_marks *marks);

/* Goes on with p[0..available), the object's bytes from its first, and adds to `marks`. Returns 1 when the
 * object is whole (skim->at bytes long), 0 if more bytes are needed, -1 with error, about the byte at
 * skim->at. `limit` bounds the bytes, and the entries of a container. */
int clip_skim_run(struct clip_skim *skim, const uint8_t *p, size_t available, size_t limit,
                  struct clip_marks *marks, struct clip_error *error);

#endif
