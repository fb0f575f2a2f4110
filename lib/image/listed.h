/* Rows of a table as records: which columns are the key, the caption and the picture. */
#ifndef CLIP_IMAGE_LISTED_H
#define CLIP_IMAGE_LISTED_H

#include "base/error.h"
#include "image/loose.h"
#include "stream/record.h"
#include "text/listing.h"

#include <stddef.h>
#include <stdint.h>

/* The columns, by name or number (clip_row_find); NULL: none. */
struct clip_listed {
    const char *key;        /* NULL: the number that the caller gives */
    const char *caption;    /* becomes `txt` */
    const char *image;      /* a path, whose file becomes `jpg`, `png` or `webp` */
    const char *fields;     /* the others that are kept, commas between them; NULL: all */
    const char *root;       /* the folder that paths begin at */
    size_t max_record;      /* bytes of a record */
    struct clip_loose file; /* zeroed to begin with */
    /* What becomes of the columns, of a table set by clip_listed_check: places, or CLIP_NOWHERE. */
    struct clip_listed_plan {
        size_t key, caption, image;
        unsigned char kept[CLIP_MAX_FIELDS]; /* others that become fields */
    } plan;
};
#define CLIP_NOWHERE ((size_t)-1)

void clip_listed_free(struct clip_listed *listed);

/* Looks for the columns in a table, before its rows. -1 with error: one is not there, or two fields would
 * have one name. Not needed of JSON lines, where each row is its own. */
int clip_listed_check(struct clip_listed *listed, const struct clip_row *header, struct clip_error *error);

/* Makes *record, the caller's, of a row: __key__, the picture, txt, then the other columns: text, or what
 * JSON has; without those that are null. Returns 1; 0 where the row is not fit, with error, which names the
 * column; -1 with error: out of memory. */
int clip_listed_record(struct clip_listed *listed, const struct clip_row *row, const struct clip_row *header,
                       uint64_t number, struct clip_record **record, struct clip_error *error);

#endif
