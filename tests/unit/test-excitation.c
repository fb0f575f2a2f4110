/* Squeeze and excitation: its gate against a plain loop in f64, and its gradients against differences of
 * that. */
#include "check.h"

#include "math/excitation.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { PIXELS = 7, CHANNELS = 21, HIDDEN = 5 };

static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / (1 << 23) - 1);
}

/* All that the gate is made of. */
struct inputs {
    float mean[CHANNELS], w1[HIDDEN * CHANNELS], b1[HIDDEN], w2[CHANNELS * HIDDEN], b2[CHANNELS];
};

static void gate_of(const struct inputs *x, double *gate)
{
    double squeezed[HIDDEN];
    for (size_t i = 0; i < HIDDEN; i++) {
        squeezed[i] = x->b1[i];
        for (size_t c = 0; c < CHANNELS; c++)
            squeezed[i] += (double)x->w1[i * CHANNELS + c] * x->mean[c];
        squeezed[i] = fmax(squeezed[i], 0);
    }
    for (size_t c = 0; c < CHANNELS; c++) {
        double sum = x->b2[c];
        for (size_t i = 0; i < HIDDEN; i++)
            sum += (double)x->w2[c * HIDDEN + i] * squeezed[i];
        gate[c] = 1 / (1 + exp(-sum));
    }
}

/* The loss sum(dgate gate). */
static double loss_of(const struct inputs *x, const float *dgate)
{
    double gate[CHANNELS], loss = 0;
    gate_of(x, gate);
    for (size_t c = 0; c < CHANNELS; c++)
        loss += dgate[c] * gate[c];
    return loss;
}

/* gradient[n] is the loss's slope with value[n], which lies in x, on top of `before`. */
static void check_slopes(const char *name, struct inputs *x, const float *dgate, float *value, size_t n,
                         const float *gradient, float before)
{
    for (size_t k = 0; k < n; k++) {
        float old = value[k], high = old + 1e-3f, low = old - 1e-3f;
        value[k] = high;
        double slope = loss_of(x, dgate);
        value[k] = low;
        slope = (slope - loss_of(x, dgate)) / ((double)high - low);
        value[k] = old;
        CHECK(fabs(gradient[k] - before - slope) < 1e-5, "%s %zu: %g, not %g", name, k, gradient[k] - before,
              slope);
    }
}

static void test_excitation(void)
{
    struct inputs x, gradients;
    float *values = (float *)&x, *sums = (float *)&gradients, dgate[CHANNELS], spent[CHANNELS];
    float squeezed[HIDDEN], gate[CHANNELS], dsqueezed[HIDDEN], dmean[CHANNELS];
    double want[CHANNELS];
    for (size_t i = 0; i < sizeof x / sizeof *values; i++) {
        values[i] = draw();
        sums[i] = 0.25f; /* gradients are added to */
    }
    for (size_t c = 0; c < CHANNELS; c++)
        spent[c] = dgate[c] = draw();
    const struct clip_excitation e = {CHANNELS, HIDDEN, x.w1, x.b1, x.w2, x.b2};
    const struct clip_excitation_gradients to = {gradients.w1, gradients.b1, gradients.w2, gradients.b2};
    clip_excitation_gate(&e, x.mean, squeezed, gate);
    gate_of(&x, want);
    size_t cut = 0;
    for (size_t i = 0; i < HIDDEN; i++)
        cut += squeezed[i] == 0;
    CHECK(cut > 0 && cut < HIDDEN, "%zu of the hidden layer are cut off", cut);
    for (size_t c = 0; c < CHANNELS; c++)
        CHECK(fabs(gate[c] - want[c]) < 1e-6, "%zu: %g, not %g", c, gate[c], want[c]);
    clip_excitation_backward(&e, x.mean, squeezed, gate, spent, dsqueezed, &to, dmean);
    check_slopes("w1", &x, dgate, x.w1, HIDDEN * CHANNELS, gradients.w1, 0.25f);
    check_slopes("b1", &x, dgate, x.b1, HIDDEN, gradients.b1, 0.25f);
    check_slopes("w2", &x, dgate, x.w2, HIDDEN * CHANNELS, gradients.w2, 0.25f);
    check_slopes("b2", &x, dgate, x.b2, CHANNELS, gradients.b2, 0.25f);
    check_slopes("mean", &x, dgate, x.mean, CHANNELS, dmean, 0);
}

static void test_mean(enum clip_level level)
{
    float x[PIXELS * CHANNELS], mean[CHANNELS];
    for (size_t i = 0; i < PIXELS * CHANNELS; i++)
        x[i] = draw();
    clip_pixels_mean(clip_kernels(level), PIXELS, CHANNELS, x, mean);
    for (size_t c = 0; c < CHANNELS; c++) {
        double want = 0;
        for (size_t i = 0; i < PIXELS; i++)
            want += x[i * CHANNELS + c] / (double)PIXELS;
        CHECK(fabs(mean[c] - want) < 1e-6, "%zu: %g, not %g", c, mean[c], want);
    }
}

int main(void)
{
    test_excitation();
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++)
        test_mean(level);
    return check_end();
}
