/* Rounding to 8 bits (math/quantize.h), at each level that this processor has. */
#include "check.h"
#include "math/quantize.h"
#include "noise.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 200 };

/* Every number comes back within half a step, whatever the range; 0 comes back exactly. */
static void check_row(const struct clip_quantizers *quantizers, size_t k, const float *x)
{
    uint8_t q[MOST + 1];
    q[k] = 77;
    struct clip_int8_row row = quantizers->row(k, x, q);
    CHECK(q[k] == 77, "%zu numbers: one more is written", k);
    CHECK(row.zero >= 0 && row.zero <= 255 && row.zero == rintf(row.zero), "zero %g", (double)row.zero);
    for (size_t i = 0; i < k; i++) {
        double back = (double)row.scale * ((double)q[i] - (double)row.zero);
        CHECK(fabs(back - (double)x[i]) <= 1.001 * (double)row.scale, "%zu of %zu: %g became %g, step %g", i,
              k, (double)x[i], back, (double)row.scale);
        CHECK(x[i] != 0 || back == 0, "0 became %g", back);
    }
}

static void check_rows(const struct clip_quantizers *quantizers)
{
    static const float shifts[] = {0, 0.5f, -0.5f, 3, -3, 1e30f, 1e-30f, 3e38f},
                       sizes[] = {1, 1e-3f, 1e30f, 2e38f};
    float x[MOST];
    for (size_t k = 1; k <= MOST; k = k < 40 ? k + 1 : k + 53)
        for (size_t s = 0; s < sizeof shifts / sizeof *shifts; s++)
            for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++) {
                for (size_t i = 0; i < k; i++)
                    x[i] = i % 7 == 3 ? 0 : noise() * sizes[z] + shifts[s] * 0.1f;
                if (isfinite(shifts[s] * 0.1f + sizes[z]))
                    check_row(quantizers, k, x);
            }
}

/* Rows that the range does not describe. */
static void check_strange(const struct clip_quantizers *quantizers)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float x[MOST] = {0}, scales[MOST], totals[MOST];
    uint8_t q[MOST];
    int32_t y[MOST] = {0};
    for (size_t i = 0; i < MOST; i++)
        scales[i] = 1, totals[i] = 5;
    struct clip_int8_row row = quantizers->row(MOST, x, q);
    quantizers->finish(MOST, row, scales, totals, y);
    for (size_t i = 0; i < MOST; i++)
        CHECK(y[i] == 0, "a row of zeros gives %d", (int)y[i]);
    for (size_t at = 0; at < MOST; at += 33)
        for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
            for (size_t i = 0; i < MOST; i++)
                x[i] = noise();
            x[at] = bad[b];
            row = quantizers->row(MOST, x, q);
            memset(y, 0, sizeof y);
            quantizers->finish(MOST, row, scales, totals, y);
            float out[MOST];
            memcpy(out, y, sizeof out);
            for (size_t i = 0; i < MOST; i++)
                CHECK(isnan(out[i]), "a row with %g gives %g", (double)bad[b], (double)out[i]);
        }
    for (size_t i = 0; i < MOST; i++)
        x[i] = 1e-40f * (float)i; /* below what a scale can be */
    row = quantizers->row(MOST, x, q);
    CHECK(row.scale == 0 && q[MOST - 1] == 0, "tiny numbers: scale %g", (double)row.scale);
}

static void check_weights(const struct clip_quantizers *quantizers)
{
    float w[MOST];
    int8_t q[MOST], plain[MOST];
    for (size_t k = 1; k <= MOST; k++) {
        for (size_t i = 0; i < k; i++)
            w[i] = noise() * 0.05f;
        float scale = quantizers->weights(k, w, q), same = clip_quantizers_plain.weights(k, w, plain);
        int32_t total = 0;
        CHECK(scale == same && memcmp(q, plain, k) == 0, "%zu weights: this level's differ", k);
        int most = 0;
        for (size_t i = 0; i < k; i++) {
            CHECK(fabs((double)scale * q[i] - (double)w[i]) <= 0.5001 * (double)scale, "%g", (double)w[i]);
            most = abs(q[i]) > most ? abs(q[i]) : most;
            total += q[i];
        }
        CHECK(most == 127, "%zu weights: the largest is %d", k, most);
        CHECK(quantizers->total(k, q) == total, "%zu", k);
    }
    memset(w, 0, sizeof w);
    CHECK(quantizers->weights(MOST, w, q) == 0 && q[7] == 0, "zeros");
    w[9] = INFINITY;
    CHECK(isnan(quantizers->weights(MOST, w, q)), "an infinity");
}

int main(void)
{
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++) {
        const struct clip_quantizers *quantizers = clip_quantizers((enum clip_level)level);
        check_rows(quantizers);
        check_strange(quantizers);
        check_weights(quantizers);
    }
    return check_end();
}
