/* Inside the image floor: the chunks of a PNG file as Pillow's PngImagePlugin reads them.
 *
 * Pillow has its own PNG reader, which takes and refuses other files than libpng: it checks the checksums of
 * chunks in front of the picture's data only, lets the data end early at the end of a row, takes the first
 * frame of an animation for the picture where there is no other, and minds malformed text, times and
 * profiles, before the data and after it. */
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
    int known; /* depth and colour are of a kind that exists */
    int depth, interlaced;
    enum clip_png_colour colour;
    uint32_t width, height;
    const uint8_t *palette; /* [palette_size], R G B */
    size_t palette_size;
    size_t text;                /* bytes of text so far */
    int animated;               /* there is a valid count of frames */
    uint32_t frames;            /* that count */
    int64_t sequence;           /* number of the last chunk of an animation, or -1 */
    struct clip_png_tile frame; /* of the last frame header */
    int has_frame;
    int more; /* frames follow the picture */

    /* of the picture's data */
    size_t start;  /* where they begin */
    uint32_t size; /* bytes in the first chunk of them */
    uint32_t left; /* bytes not yet read of the chunk at hand */
    int64_t first; /* `sequence` there */
};

/* Reads the chunks up to the picture's data. `data`, a whole file with its signature, must stay. */
int clip_png_open(struct clip_png *png, const uint8_t *data, size_t size, struct clip_error *error);

/* Puts *block at the next bytes of compressed data, cut where Pillow cuts them. Returns how many; 0 where
 * they end; -1 with error. */
int clip_png_block(struct clip_png *png, const uint8_t **block);

/* Back to the beginning of the data. */
void clip_png_rewind(struct clip_png *png);

/* Reads what follows the last block, to the end or to the next frame. Nothing is to be closed after it. */
int clip_png_finish(struct clip_png *png);

/* Sets the error, "PNG file is broken or cut: what"; returns -1. */
int clip_png_broken(struct clip_png *png, const char *what);

#endif
