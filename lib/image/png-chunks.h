/* Internal to this floor: the chunks of a PNG file as Pillow's PngImagePlugin reads them.
 *
 * Pillow's own PNG reader accepts and refuses other files than libpng. It checks the checksums only of
 * chunks before the picture's data, lets the data end early at the end of a row, takes the first frame of
 * an animation for the picture if there is no other, and refuses malformed text, times and profiles,
 * before the data and after it. */
#ifndef CLIP_IMAGE_PNG_CHUNKS_H
#define CLIP_IMAGE_PNG_CHUNKS_H

#include "image/codec.h"

/* PNG's colour types. */
enum clip_png_colour {
    CLIP_PNG_GRAY = 0,
    CLIP_PNG_RGB = 2,
    CLIP_PNG_PALETTE = 3,
    CLIP_PNG_GRAY_ALPHA = 4,
    CLIP_PNG_RGB_ALPHA = 6,
};

/* A rectangle of the picture that the data fill: all of it, or the frame of an animation. */
struct clip_png_tile {
    uint32_t x, y, width, height;
};

struct clip_png {
    struct clip_bytes in;
    struct clip_error *error;

    /* from the chunks */
    int known; /* depth and colour are a valid combination */
    int depth, interlaced;
    enum clip_png_colour colour;
    uint32_t width, height;
    const uint8_t *palette; /* [palette_size], R G B */
    size_t palette_size;
    size_t text;                /* bytes of text so far */
    int animated;               /* a valid number of frames was read */
    uint32_t frames;            /* that count */
    int64_t sequence;           /* number of the last chunk of an animation, or -1 */
    struct clip_png_tile frame; /* of the last frame header */
    int has_frame;
    int more; /* frames follow the picture */

    /* of the picture's data */
    size_t start;  /* where they begin */
    uint32_t size; /* bytes in the first chunk of them */
    uint32_t left; /* bytes of the current chunk not yet read */
    int64_t first; /* `sequence` at the beginning of the data */
};

/* Reads the chunks up to the picture's data. `data`, a complete file with its signature, must stay. */
int clip_png_open(struct clip_png *png, const uint8_t *data, size_t size, struct clip_error *error);

/* Puts *block at the next bytes of compressed data, cut where Pillow cuts them. Returns how many; 0 where
 * they end; -1 with error. */
int clip_png_block(struct clip_png *png, const uint8_t **block);

/* Goes back to the beginning of the data. */
void clip_png_rewind(struct clip_png *png);

/* Reads the chunks after the last block, to the end or to the next frame. Nothing needs to be closed
 * afterwards. */
int clip_png_finish(struct clip_png *png);

/* Sets the error, "PNG file is broken or cut: what"; returns -1. */
int clip_png_broken(struct clip_png *png, const char *what);

#endif
