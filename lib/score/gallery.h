/* Thumbs of the pictures that a page shows, by key. */
#ifndef CLIP_SCORE_GALLERY_H
#define CLIP_SCORE_GALLERY_H

#include "base/error.h"
#include "base/level.h"
#include "score/results.h"
#include "stream/record.h"

#include <stddef.h>

struct clip_gallery_entry {
    const struct clip_result_name *key; /* the results' */
    char *data;                         /* WebP in base64, or NULL: its picture has not come */
    int width, height;
    int is_file; /* the key is the path of a file, as clip-files reads it */
};

/* Zeroed but for `side`, the most pixels of a side, and `level`. */
struct clip_gallery {
    int side;
    enum clip_level level;
    struct clip_gallery_entry *entries; /* sorted by key */
    size_t count, found;
};

/* The keys whose pictures are wanted: those of the rows and their matches, which must stay. -1 with error. */
int clip_gallery_want(struct clip_gallery *gallery, const struct clip_results *results,
                      struct clip_error *error);
void clip_gallery_free(struct clip_gallery *gallery);

/* Takes the record's picture, if it is wanted and none has come before. -1 with error: out of memory; -1 with
 * the record marked as bad. */
int clip_gallery_add(struct clip_gallery *gallery, struct clip_record *record, struct clip_error *error);

/* NULL where the key is not wanted. */
const struct clip_gallery_entry *clip_gallery_find(const struct clip_gallery *gallery,
                                                   const struct clip_result_name *key);

#endif
