/* Contact sheets: pictures in rows, each with a line of text under it. */
#ifndef CLIP_IMAGE_SHEET_H
#define CLIP_IMAGE_SHEET_H

#include "base/error.h"
#include "base/level.h"
#include "image/canvas.h"
#include "image/thumb.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdio.h>

enum { CLIP_SHEET_MOST_COLUMNS = 100 };

struct clip_sheet {
    int side;    /* pixels of the square that a picture is fitted into */
    int columns; /* 0: up to eight */
    enum clip_level level;
    const char *label; /* the field under a picture; NULL: `txt`, where there is none the key */
    const char *title; /* or NULL */
    /* zeroed to begin with: */
    struct clip_sheet_entry {
        struct clip_thumb thumb;
        char *label; /* UTF-8, one line; owned */
    } * entries;
    size_t count, room;
};

/* Adds a record. -1 with error: out of memory, or more than can be drawn; -1 with the record marked as bad:
 * it has no picture that can be decoded. */
int clip_sheet_add(struct clip_sheet *sheet, struct clip_record *record, struct clip_error *error);
void clip_sheet_free(struct clip_sheet *sheet);

/* Draws to `file`, which stays open; `missing` may be NULL. -1 with error: there are no pictures, or it
 * cannot be written. */
int clip_figure_sheet(const struct clip_sheet *sheet, enum clip_figure_format format, FILE *file,
                      struct clip_missing *missing, struct clip_error *error);

#endif
