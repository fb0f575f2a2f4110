/* Resampling of tables of positions: vectors on a grid, or on a line.
 *
 * A grid, along each axis from n to m: Pillow's bicubic filter (a = -0.5), widened by n / m when shrinking,
 * with centers (i + 0.5) n / m and weights that sum to 1. That is PyTorch's interpolate(mode="bicubic",
 * antialias=True, align_corners=False). */
#ifndef CLIP_MATH_RESAMPLE_H
#define CLIP_MATH_RESAMPLE_H

#include "base/error.h"

#include <stddef.h>

/* From [from_rows][from_columns][n] to [rows][columns][n]. */
struct clip_grid {
    size_t from_rows, from_columns, rows, columns;
    double *row_weights, *column_weights; /* [rows][from_rows], [columns][from_columns] */
};

/* Computes the weights. -1 with error; clip_grid_free afterwards, also of a zeroed one. */
int clip_grid_init(struct clip_grid *grid, size_t from_rows, size_t from_columns, size_t rows, size_t columns,
                   struct clip_error *error);
void clip_grid_free(struct clip_grid *grid);

/* out = the resampled x. Backward: dx += the gradient, from dout. */
void clip_grid_resample(const struct clip_grid *grid, size_t n, const float *x, float *out);
void clip_grid_resample_backward(const struct clip_grid *grid, size_t n, const float *dout, float *dx);

/* out[to][n] from x[from][n] on a line: PyTorch's interpolate(mode="linear", align_corners=False). */
void clip_line_resample(size_t from, size_t to, size_t n, const float *x, float *out);

#endif
