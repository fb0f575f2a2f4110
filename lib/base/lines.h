/* The lines of a text file, decoded (base/encoding.h). */
#ifndef CLIP_BASE_LINES_H
#define CLIP_BASE_LINES_H

#include "base/encoding.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Zero it, but for `file`, to begin. */
struct clip_lines {
    FILE *file;      /* not owned */
    uint64_t number; /* number of the last line read, from 1 */
    struct clip_decoder decoder;
    char *text; /* text[begin..end) is decoded but not yet returned; owned */
    size_t begin, end, room;
    uint8_t raw[4096]; /* raw[raw_size] is not yet decoded */
    size_t raw_size;
    int ended;
};

/* Reads the next line, without "\n" or "\r\n", terminated; it may be changed, and is valid until the next
 * call. Returns 1; 0 at the end of the file; -1 with error: out of memory, cannot be read, or (with the
 * line's number) cannot be decoded. */
int clip_lines_next(struct clip_lines *lines, char **line, size_t *size, struct clip_error *error);

void clip_lines_free(struct clip_lines *lines);

#endif
