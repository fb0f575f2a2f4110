/* Resampling of tables of positions: rows of vectors that lie on a grid, or on a line.
 *
 * Sources: torch.nn.functional.interpolate, mode "bicubic" with antialias (Pillow's bicubic filter, a = -0.5,
 * widened by n / m where it shrinks, its weights made to sum to 1), and mode "linear"; align_corners false.
 */
#ifndef CLIP_MATH_GRID_H
#define CLIP_MATH_GRID_H

#include "base/error.h"

#include <stddef.h>

/* out[to[0]][to[1]][width] from x[from[0]][from[1]][width], bicubic. -1 when out of memory. */
int clip_grid_resample(const size_t from[2], const size_t to[2], size_t width, const float *x, float *out,
                       struct clip_error *error);

/* out[to][width] from x[from][width], linear. */
void clip_line_resample(size_t from, size_t to, size_t width, const float *x, float *out);

#endif
