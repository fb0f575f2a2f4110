/* Drawing of figures: a canvas in one of the formats, and text on it. */
#ifndef CLIP_IMAGE_CANVAS_H
#define CLIP_IMAGE_CANVAS_H

#include "base/error.h"

#include <cairo.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum clip_figure_format { CLIP_FIGURE_PNG, CLIP_FIGURE_SVG, CLIP_FIGURE_PDF };

/* The size in pixels of a text in one line, at most `width` wide (0: no limit), cut with an ellipsis if
 * needed. */
void clip_text_size(cairo_t *cairo, const char *text, double font, double width, double *w, double *h);

/* Draws the text with its box at (x, y); `across` and `down` are the shares of its size that lie before
 * that point. */
void clip_draw_text(cairo_t *cairo, const char *text, double font, double width, double x, double y,
                    double across, double down);

/* Draws pixels[3, rows, columns], planes in the order red, green, blue, with the upper left corner at (x, y),
 * `width` wide. */
void clip_draw_pixels(cairo_t *cairo, const uint8_t *pixels, int rows, int columns, double x, double y,
                      double width);

/* Scripts (of Unicode; of common characters, blocks) that were drawn, but are in no installed font. */
struct clip_missing {
    const char *names[12];
    size_t count; /* of those that have room */
};
/* "Han, Thai", into out[size]; returns it. */
const char *clip_missing_list(const struct clip_missing *missing, char *out, size_t size);

/* The libraries that read fonts crash when memory is denied: -1 with error if a limit leaves too little
 * for them. Call it before everything else here. */
int clip_drawing_room(struct clip_error *error);

/* A context to measure texts with before the size of the canvas is known; free it with cairo_destroy. */
cairo_t *clip_scratch_context(void);

/* A white canvas of `width` x `height` pixels (points in SVG and PDF) that is written to `file`. */
struct clip_canvas {
    cairo_t *cairo;
    cairo_surface_t *surface;
    enum clip_figure_format format;
    FILE *file;
    int number; /* errno of a write that failed */
};
/* `missing`, or NULL, collects the scripts of the texts drawn on it that have no font. The canvas must not
 * move until it is closed. */
void clip_canvas_open(struct clip_canvas *canvas, enum clip_figure_format format, double width, double height,
                      FILE *file, struct clip_missing *missing);
/* Writes the rest; `file` stays open. -1 with error if drawing or a write failed. */
int clip_canvas_close(struct clip_canvas *canvas, struct clip_error *error);

#endif
