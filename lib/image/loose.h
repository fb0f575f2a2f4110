/* Pictures in files of their own. */
#ifndef CLIP_IMAGE_LOOSE_H
#define CLIP_IMAGE_LOOSE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with; one after another can be read into it. */
struct clip_loose {
    int fd;
    int open;
    uint64_t file_size; /* what the file system says: 0 of a pipe */
    double time;        /* of the last change, seconds since 1970 (as Python's st_mtime) */
    uint8_t *data;      /* [size], after clip_loose_read; owned */
    size_t size, room;
    const char *extension; /* "jpg", "png" or "webp": what the content is */
};

/* Opens the file; -1 with error, which does not name it. */
int clip_loose_open(struct clip_loose *loose, const char *path, struct clip_error *error);

/* Reads it whole, at most `max` bytes, and closes it. Returns 1; 0 with error, which says what it is, where
 * it is not a picture, of which no more than the beginning is read; -1 with error: it cannot be read, or is
 * larger. */
int clip_loose_read(struct clip_loose *loose, size_t max, struct clip_error *error);

/* Closes it unread. */
void clip_loose_close(struct clip_loose *loose);

void clip_loose_free(struct clip_loose *loose);

#endif
