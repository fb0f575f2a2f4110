#include "math/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double bicubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* weights[to][from] of an axis. */
static void axis_weights(size_t from, size_t to, double *weights)
{
    double scale = (double)from / (double)to, spread = scale > 1 ? scale : 1;
    for (size_t i = 0; i < to; i++, weights += from) {
        double center = ((double)i + 0.5) * scale, sum = 0;
        for (size_t j = 0; j < from; j++)
            sum += weights[j] = bicubic(((double)j + 0.5 - center) / spread);
        for (size_t j = 0; j < from; j++)
            weights[j] /= sum;
    }
}

int clip_grid_init(struct clip_grid *grid, size_t from_rows, size_t from_columns, size_t rows, size_t columns,
                   struct clip_error *error)
{
    *grid = (struct clip_grid){.from_rows = from_rows,
                               .from_columns = from_columns,
                               .rows = rows,
                               .columns = columns,
                               .row_weights = reallocarray(NULL, rows * from_rows, sizeof(double)),
                               .column_weights = reallocarray(NULL, columns * from_columns, sizeof(double))};
    if (!grid->row_weights || !grid->column_weights)
        return clip_fail_memory(error, "positions");
    axis_weights(from_rows, rows, grid->row_weights);
    axis_weights(from_columns, columns, grid->column_weights);
    return 0;
}

void clip_grid_free(struct clip_grid *grid)
{
    free(grid->row_weights);
    free(grid->column_weights);
    *grid = (struct clip_grid){0};
}

/* y[n] += weight x[n] */
static void add(size_t n, double weight, const float *x, float *y)
{
    float w = (float)weight;
    for (size_t c = 0; c < n; c++)
        y[c] += w * x[c];
}

/* Calls add with each pair of places that have to do with each other, in order: from x to y where `forward`.
 */
static void add_pairs(const struct clip_grid *grid, size_t n, int forward, const float *x, float *y)
{
    for (size_t i = 0; i < grid->rows * grid->columns; i++) {
        const double *row = grid->row_weights + i / grid->columns * grid->from_rows;
        const double *column = grid->column_weights + i % grid->columns * grid->from_columns;
        for (size_t a = 0; a < grid->from_rows; a++)
            for (size_t b = 0; b < grid->from_columns && row[a] != 0; b++) {
                size_t from = (a * grid->from_columns + b) * n, to = i * n;
                if (column[b] != 0)
                    add(n, row[a] * column[b], x + (forward ? from : to), y + (forward ? to : from));
            }
    }
}

void clip_grid_resample(const struct clip_grid *grid, size_t n, const float *x, float *out)
{
    memset(out, 0, grid->rows * grid->columns * n * sizeof *out);
    add_pairs(grid, n, 1, x, out);
}

void clip_grid_resample_backward(const struct clip_grid *grid, size_t n, const float *dout, float *dx)
{
    add_pairs(grid, n, 0, dout, dx);
}

void clip_line_resample(size_t from, size_t to, size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < to; i++) {
        double at = ((double)i + 0.5) * (double)from / (double)to - 0.5;
        at = at > 0 ? at : 0;
        size_t low = (size_t)at, high = low + 1 < from ? low + 1 : low;
        double share = at - (double)low;
        for (size_t c = 0; c < n; c++)
            out[i * n + c] = (float)((1 - share) * (double)x[low * n + c] + share * (double)x[high * n + c]);
    }
}
