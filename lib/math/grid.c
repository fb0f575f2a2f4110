#include "math/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double bicubic(double x)
{
    static const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* One axis: `lines` times n vectors of `width` floats, `between` floats from one to the next and `apart` from
 * a line to the next, become m; the same of out. */
struct axis {
    size_t n, m, width, lines;
    size_t in_between, in_apart, out_between, out_apart;
};

static void resample_axis(const struct axis *axis, const float *x, float *out, double *weights)
{
    double ratio = (double)axis->n / (double)axis->m, scale = ratio > 1 ? ratio : 1, support = 2 * scale;
    for (size_t j = 0; j < axis->m; j++) {
        double centre = ((double)j + 0.5) * ratio, sum = 0;
        long low = (long)(centre - support + 0.5), high = (long)(centre + support + 0.5);
        low = low > 0 ? low : 0;
        high = high < (long)axis->n ? high : (long)axis->n;
        for (long i = low; i < high; i++)
            sum += weights[i - low] = bicubic(((double)i - centre + 0.5) / scale);
        for (size_t line = 0; line < axis->lines; line++)
            for (size_t c = 0; c < axis->width; c++) {
                double value = 0;
                for (long i = low; i < high; i++)
                    value += weights[i - low] / sum *
                             (double)x[line * axis->in_apart + (size_t)i * axis->in_between + c];
                out[line * axis->out_apart + j * axis->out_between + c] = (float)value;
            }
    }
}

int clip_grid_resample(const size_t from[2], const size_t to[2], size_t width, const float *x, float *out,
                       struct clip_error *error)
{
    size_t most = from[0] > from[1] ? from[0] : from[1];
    float *rows = reallocarray(NULL, from[0] * to[1], width * sizeof *rows);
    double *weights = reallocarray(NULL, most + 1, sizeof *weights);
    int status = rows && weights ? 0 : clip_fail_memory(error, "positions");
    if (status == 0) {
        const struct axis columns = {from[1], to[1],           width, from[0],
                                     width,   from[1] * width, width, to[1] * width};
        const struct axis lines = {from[0], to[0], width, to[1], to[1] * width, width, to[1] * width, width};
        resample_axis(&columns, x, rows, weights);
        resample_axis(&lines, rows, out, weights);
    }
    free(rows);
    free(weights);
    return status;
}

void clip_line_resample(size_t from, size_t to, size_t width, const float *x, float *out)
{
    for (size_t j = 0; j < to; j++) {
        double at = ((double)j + 0.5) * (double)from / (double)to - 0.5;
        at = at > 0 ? at : 0;
        size_t low = (size_t)at, high = low + 1 < from ? low + 1 : low;
        double share = at - (double)low;
        for (size_t c = 0; c < width; c++)
            out[j * width + c] =
                (float)((1 - share) * (double)x[low * width + c] + share * (double)x[high * width + c]);
    }
}
