/* Figures, drawn with cairo and pango. */
#ifndef CLIP_IMAGE_FIGURE_H
#define CLIP_IMAGE_FIGURE_H

#include "base/error.h"
#include "image/canvas.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A picture for an edge of the matrix: bytes [3, size, size], planes in the order red, green, blue. Not
 * owned. */
struct clip_thumbnail {
    const uint8_t *pixels;
    int size;
};

/* A matrix of similarities, as in the figures of CLIP's paper and notebook: coloured cells, with their
 * values where these fit, labels along both edges, and pictures between labels and cells. Owns nothing. */
struct clip_matrix_figure {
    size_t rows, columns;
    const double *values;              /* [rows, columns]; values that are not finite are drawn grey */
    const char *const *row_labels;     /* UTF-8 */
    const char *const *column_labels;  /* UTF-8 */
    const struct clip_thumbnail *left; /* one a row, or NULL */
    const struct clip_thumbnail *top;  /* one a column, or NULL */
    const char *title;                 /* or NULL */
    int digits;                        /* decimals of the values */
    int show_values;                   /* 0: never, even where they fit */
};

/* Draws to `file`, which stays open; `missing` (image/canvas.h) may be NULL. -1 where it cannot be written,
 * or the figure would be too large to draw.
 */
int clip_figure_matrix(const struct clip_matrix_figure *figure, enum clip_figure_format format, FILE *file,
                       struct clip_missing *missing, struct clip_error *error);

#endif
