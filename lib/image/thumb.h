/* Small copies of pictures for people to look at: whole, upright, on white. */
#ifndef CLIP_IMAGE_THUMB_H
#define CLIP_IMAGE_THUMB_H

#include "base/error.h"
#include "base/level.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with. */
struct clip_thumb {
    int width, height;
    uint8_t *pixels; /* [3, height, width], red, green, blue; owned */
};

/* Makes the thumb of a file data[size] of a kind that is read: no side longer than `side`, never larger than
 * the picture, rotated as its EXIF orientation says, transparency on white. -1 with error. */
int clip_thumb_make(struct clip_thumb *thumb, const void *data, size_t size, int side, enum clip_level level,
                    struct clip_error *error);

/* The same of a record: its picture, else its field `image`, u1 [3, S, S]. -1, the record marked as bad. */
int clip_thumb_of(struct clip_thumb *thumb, struct clip_record *record, int side, enum clip_level level);

void clip_thumb_free(struct clip_thumb *thumb);

#endif
