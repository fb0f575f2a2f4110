/* Dot products, unit vectors and halves, at every level that this processor has, against plain loops in
 * double. */
#include "check.h"
#include "math/dots.h"
#include "math/unit.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { ROWS = 29, COLUMNS = 70, WIDTH = 1030 };

static float a[ROWS * WIDTH], b[COLUMNS * WIDTH], all[ROWS * COLUMNS], part[ROWS * COLUMNS];

static void fill(float *x, size_t n, uint32_t state)
{
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / (float)(1 << 23) - 1;
    }
}

/* Each product is right, and the same bytes alone, either way round, and wherever it stands. */
static void test_dots(const struct clip_dot_kernels *kernels, size_t width)
{
    kernels->dots(width, ROWS, a, COLUMNS, b, all, COLUMNS);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLUMNS; j++) {
            double want = 0, size = 0;
            float alone, swapped;
            for (size_t k = 0; k < width; k++) {
                want += (double)a[i * width + k] * b[j * width + k];
                size += fabs((double)a[i * width + k] * b[j * width + k]);
            }
            CHECK(fabs(all[i * COLUMNS + j] - want) <= 1e-6 * size, "width %zu: %g, not %g", width,
                  all[i * COLUMNS + j], want);
            kernels->dots(width, 1, a + i * width, 1, b + j * width, &alone, 1);
            kernels->dots(width, 1, b + j * width, 1, a + i * width, &swapped, 1);
            CHECK(memcmp(&alone, &all[i * COLUMNS + j], sizeof alone) == 0 &&
                      memcmp(&swapped, &alone, sizeof alone) == 0,
                  "width %zu, row %zu, column %zu", width, i, j);
        }
    for (size_t n = 1; n <= 5; n++)
        for (size_t m = 1; m <= 6; m++) {
            memset(part, 0, sizeof part);
            kernels->dots(width, n, a + 3 * width, m, b + 5 * width, part, 9);
            for (size_t i = 0; i < n; i++)
                CHECK(memcmp(part + i * 9, all + (3 + i) * COLUMNS + 5, m * sizeof *part) == 0 &&
                          part[i * 9 + m] == 0,
                      "width %zu, %zu by %zu", width, n, m);
        }
}

static void test_unit(const struct clip_dot_kernels *kernels, size_t n)
{
    static char bytes[WIDTH * sizeof(float) + 1];
    float out[WIDTH], other[WIDTH];
    double want = 0;
    struct clip_error error;
    for (size_t i = 0; i < n; i++)
        want += (double)a[i] * a[i];
    memcpy(bytes + 1, a, n * sizeof *a);
    double squares = kernels->squares(n, bytes + 1);
    CHECK(fabs(squares - want) <= 1e-13 * want, "%zu: %.17g, not %.17g", n, squares, want);
    CHECK(squares == clip_dot_kernels(CLIP_PLAIN)->squares(n, a), "%zu: another at another level", n);
    CHECK(clip_unit_vector(n, bytes + 1, out, &error) == 0, "%zu", n);
    kernels->scale(n, bytes + 1, 1 / sqrt(squares), other);
    CHECK(memcmp(out, other, n * sizeof *out) == 0, "%zu", n);
    for (size_t i = 0; i < n; i++)
        CHECK(fabs(out[i] - a[i] / sqrt(want)) <= 6e-8 * fabs(out[i]), "%zu: %g", n, out[i]);
}

static void test_highest(const struct clip_dot_kernels *kernels)
{
    float x[70];
    for (size_t n = 0; n <= 70; n++)
        for (size_t at = 0; at < n; at += 7) {
            for (size_t i = 0; i < n; i++)
                x[i] = i % 3 == 1 ? NAN : -1;
            x[at] = 2;
            CHECK(kernels->highest(n, x) == 2, "%zu of %zu", at, n);
        }
    CHECK(kernels->highest(0, x) == -INFINITY, "");
}

static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(fraction + 1024, exponent - 25);
    return half & 0x8000 ? -value : value;
}

static void test_halves(const struct clip_dot_kernels *kernels)
{
    static uint16_t halves[65536 + 3];
    static float out[65536 + 3];
    for (size_t i = 0; i < 65536 + 3; i++)
        halves[i] = (uint16_t)i;
    kernels->from_halves(65536 + 3, halves, out);
    for (size_t i = 0; i < 65536 + 3; i++) {
        double want = half_value(halves[i]);
        CHECK(isnan(want) ? isnan(out[i]) : out[i] == want, "0x%zx: %g, not %g", i, out[i], want);
    }
}

int main(void)
{
    static const size_t widths[] = {1, 2, 7, 8, 15, 16, 17, 64, 100, 512, 1030};
    fill(a, ROWS * WIDTH, 1);
    fill(b, COLUMNS * WIDTH, 2);
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++) {
        const struct clip_dot_kernels *kernels = clip_dot_kernels((enum clip_level)level);
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            test_dots(kernels, widths[i]);
            test_unit(kernels, widths[i]);
        }
        test_highest(kernels);
        test_halves(kernels);
    }
    return check_end();
}
