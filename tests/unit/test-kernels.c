/* The kernels of every level that this processor has, against plain loops in double. */
#include "check.h"
#include "math/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { MOST = 1100 };

static uint32_t state = 7;

/* Uniform in [-1, 1). */
static float noise(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1;
}

static void fill(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * noise();
}

static float bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Element i of an output in `type`. */
static float element(const void *out, size_t i, enum clip_precision type)
{
    if (type == CLIP_PRECISION_F32)
        return ((const float *)out)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)out)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Within `tolerance`, and half a unit of the last place more if it was rounded to bf16. */
static int near(const void *out, size_t i, enum clip_precision type, double want, double tolerance)
{
    if (type == CLIP_PRECISION_BF16)
        tolerance += fabs(want) / 256;
    return fabs(element(out, i, type) - want) <= tolerance;
}

static const size_t sizes[] = {1, 3, 4, 15, 16, 17, 20, 64, 80, 96, 100, 512, 768, 1024, 1027};
enum { SIZES = sizeof sizes / sizeof *sizes };
static const enum clip_precision types[] = {CLIP_PRECISION_F32, CLIP_PRECISION_BF16};

/* Elements after the last one stay as they were. */
static const unsigned char mark = 0xa5;

static int untouched(const void *out, size_t n, enum clip_precision type)
{
    size_t size = type == CLIP_PRECISION_F32 ? 4 : 2;
    const unsigned char *end = (const unsigned char *)out + n * size;
    for (size_t i = 0; i < 64; i++)
        if (end[i] != mark)
            return 0;
    return 1;
}

static void check_convert(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST], out[MOST + 16];
    fill(x, MOST, 1);
    x[0] = 1 + 1.0f / 256; /* a tie, to even: down */
    x[2] = 1 + 3.0f / 256; /* a tie, to even: up */
    for (size_t s = 0; s < SIZES; s++)
        for (int t = 0; t < 2; t++) {
            size_t n = sizes[s], wrong = 0;
            memset(out, mark, sizeof out);
            kernels->convert(n, x, types[t], out);
            for (size_t i = 0; i < n; i++)
                wrong += element(out, i, types[t]) != (t ? bf16(x[i]) : x[i]);
            CHECK(wrong == 0 && untouched(out, n, types[t]), "%s, n %zu, type %d", level, n, t);
        }
    x[0] = NAN;
    x[1] = INFINITY;
    uint32_t quiet = 0x7fffffff;
    memcpy(&x[2], &quiet, sizeof quiet);
    kernels->convert(3, x, CLIP_PRECISION_BF16, out);
    CHECK(isnan(element(out, 0, CLIP_PRECISION_BF16)) && isinf(element(out, 1, CLIP_PRECISION_BF16)) &&
              isnan(element(out, 2, CLIP_PRECISION_BF16)),
          "%s", level);
}

static void check_add(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST], y[MOST], bias[MOST], was[MOST];
    fill(was, MOST, 1), fill(y, MOST, 1), fill(bias, MOST, 1);
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], wrong = 0;
        memcpy(x, was, sizeof x);
        kernels->add(n, x, y, bias);
        for (size_t i = 0; i < n; i++)
            wrong += fabs((double)was[i] + y[i] + bias[i] - x[i]) > 3e-7;
        CHECK(wrong == 0 && x[n] == was[n], "%s, n %zu", level, n);
        kernels->sum(n, x, y, x);
        for (size_t i = 0; i < n; i++)
            wrong += fabs((double)was[i] + 2 * y[i] + bias[i] - x[i]) > 5e-7;
        CHECK(wrong == 0 && x[n] == was[n], "%s, sum, n %zu", level, n);
    }
}

static void check_layer_norm(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST], weight[MOST], bias[MOST], out[MOST + 16];
    fill(x, MOST, 2), fill(weight, MOST, 1), fill(bias, MOST, 1);
    for (size_t i = 0; i < MOST; i++)
        x[i] += 5;
    for (size_t s = 0; s < SIZES; s++)
        for (int t = 0; t < 2; t++) {
            size_t n = sizes[s], wrong = 0;
            double mean = 0, variance = 0;
            float epsilon = s % 2 ? 1e-5f : 1e-3f;
            for (size_t i = 0; i < n; i++)
                mean += (double)x[i] / (double)n;
            for (size_t i = 0; i < n; i++)
                variance += (x[i] - mean) * (x[i] - mean) / (double)n;
            memset(out, mark, sizeof out);
            kernels->layer_norm(n, epsilon, x, weight, bias, types[t], out);
            for (size_t i = 0; i < n; i++)
                wrong += !near(out, i, types[t],
                               (x[i] - mean) / sqrt(variance + (double)epsilon) * weight[i] + bias[i], 2e-6);
            CHECK(wrong == 0 && untouched(out, n, types[t]), "%s, n %zu, type %d", level, n, t);
        }
}

static double exact_activation(double x, int activation)
{
    switch (activation) {
    case CLIP_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    case CLIP_GELU:
        return x * erfc(-x / sqrt(2)) / 2;
    case CLIP_GELU_TANH:
        return x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) / 2;
    case CLIP_SILU:
        return x / (1 + exp(-x));
    case CLIP_RELU2:
        return fmax(x, 0) * fmax(x, 0);
    case CLIP_IDENTITY:
        return x;
    case CLIP_SIGMOID:
        return 1 / (1 + exp(-x));
    default: /* ReLU */
        return fmax(x, 0);
    }
}

static void check_multiply(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST], y[MOST], bias[MOST], out[MOST + 16];
    fill(x, MOST, 1), fill(y, MOST, 1), fill(bias, MOST, 1);
    for (size_t s = 0; s < SIZES; s++)
        for (int t = 0; t < 2; t++) {
            size_t n = sizes[s], wrong = 0;
            memset(out, mark, sizeof out);
            kernels->multiply(n, x, y, bias, types[t], out);
            for (size_t i = 0; i < n; i++)
                wrong += !near(out, i, types[t], x[i] * ((double)y[i] + bias[i]), 3e-7);
            CHECK(wrong == 0 && untouched(out, n, types[t]), "%s, n %zu, type %d", level, n, t);
        }
}

static void check_rotate(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST + 1], cosines[MOST], sines[MOST], out[MOST + 16];
    fill(x, MOST, 1);
    for (size_t i = 0; i < MOST; i++) {
        float angle = (float)(i / 2) * 0.37f;
        cosines[i] = cosf(angle);
        sines[i] = i % 2 ? sinf(angle) : -sinf(angle);
    }
    for (size_t n = 2; n <= 70; n += 2) {
        size_t wrong = 0;
        memset(out, mark, sizeof out);
        kernels->rotate(n, x, cosines, sines, 0, out);
        for (size_t i = 0; i < n; i += 2) {
            double angle = (float)(i / 2) * 0.37f, a = x[i], b = x[i + 1];
            wrong += fabs(out[i] - (a * cos(angle) - b * sin(angle))) > 3e-7;
            wrong += fabs(out[i + 1] - (b * cos(angle) + a * sin(angle))) > 3e-7;
        }
        CHECK(wrong == 0 && untouched(out, n, CLIP_PRECISION_F32), "%s, n %zu", level, n);
        kernels->rotate(n, out, cosines, sines, 1, out);
        for (size_t i = 0; i < n; i++)
            wrong += fabs((double)out[i] - x[i]) > 3e-7;
        CHECK(wrong == 0, "%s, back, n %zu", level, n);
    }
}

/* x[MOST] where it bends, far from there, and at 0. */
static void fill_gelu(float *x, float *bias)
{
    fill(bias, MOST, 0.1f);
    for (size_t i = 0; i < MOST; i++)
        x[i] = ((float)i - MOST / 2) / 40;
    x[0] = -1000, x[1] = 1000, x[2] = -60, x[3] = 60, x[4] = 0, bias[4] = 0;
}

static void check_activations(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST], bias[MOST], out[MOST + 16];
    fill_gelu(x, bias);
    for (int f = 0; f < CLIP_ACTIVATIONS; f++)
        for (size_t s = 0; s < SIZES; s++)
            for (int t = 0; t < 2; t++) {
                size_t n = sizes[s], wrong = 0;
                memset(out, mark, sizeof out);
                kernels->activation[f](n, x, bias, types[t], out);
                for (size_t i = 0; i < n; i++) {
                    double y = x[i] + bias[i], want = exact_activation(y, f);
                    wrong += !near(out, i, types[t], want, 2e-7 * fmax(fabs(want), 1) + 1e-7 * fabs(y));
                }
                CHECK(wrong == 0 && untouched(out, n, types[t]),
                      "%s, n %zu, type %d, activation %d: %zu wrong", level, n, t, f, wrong);
            }
}

enum { MOST_KEYS = 260 };

/* Of every third case of attention the bias of its scores. */
static const float *score_bias(size_t c)
{
    static float bias[MOST_KEYS * MOST_KEYS];
    fill(bias, MOST_KEYS * MOST_KEYS, 1);
    return c % 3 == 1 ? bias : NULL;
}

/* Keys of every other causal case: all but the last row's. */
static size_t shortened(size_t c, size_t keys, size_t queries)
{
    return queries == 0 && c % 2 && keys > 1 ? keys - 1 : keys;
}

/* out[dim] of one query. */
static void exact_attention(const struct clip_attention *a, size_t query, double *out)
{
    size_t keys = a->causal && query + 1 < a->keys ? query + 1 : a->keys;
    double weights[MOST], sum = 0, most = -INFINITY;
    for (size_t j = 0; j < keys; j++) {
        weights[j] = a->bias ? a->bias[query * a->bias_stride + j] : 0;
        for (size_t d = 0; d < a->dim; d++)
            weights[j] += ((double)a->q[query * a->q_stride + d] + a->q_bias[d]) *
                          ((double)a->k[j * a->k_stride + d] + a->k_bias[d]) * a->scale;
        most = fmax(most, weights[j]);
    }
    memset(out, 0, a->dim * sizeof *out);
    for (size_t j = 0; j < keys; j++) {
        weights[j] = exp(weights[j] - most);
        sum += weights[j];
        for (size_t d = 0; d < a->dim; d++)
            out[d] += weights[j] * ((double)a->v[j * a->v_stride + d] + a->v_bias[d]);
    }
    for (size_t d = 0; d < a->dim; d++)
        out[d] /= sum;
}

static void check_attention(const struct clip_kernels *kernels, const char *level)
{
    /* keys, dim, queries (0: as many, causal) */
    static const size_t cases[][3] = {{1, 64, 1},   {50, 64, 50}, {50, 64, 1},    {14, 64, 0},
                                      {77, 64, 0},  {16, 20, 0},  {17, 32, 17},   {7, 20, 0},
                                      {25, 32, 25}, {6, 5, 0},    {257, 64, 257}, {18, 100, 18}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int t = 0; t < 2; t++) {
            size_t keys = cases[c][0], dim = cases[c][1], stride = 3 * dim + 7, queries = cases[c][2];
            float *in = malloc(keys * stride * sizeof *in), bias[300], *out = malloc((keys * dim + 16) * 4),
                  *scratch = aligned_alloc(64, (clip_attention_scratch(keys, dim) * 4 + 63) / 64 * 64);
            double want[100];
            fill(in, keys * stride, 1), fill(bias, 300, 1);
            struct clip_attention a = {.queries = queries ? queries : keys,
                                       .keys = shortened(c, keys, queries),
                                       .dim = dim,
                                       .causal = queries == 0,
                                       .scale = c % 3 ? 1 / sqrtf((float)dim) : 0.3f,
                                       .q = in,
                                       .k = in + dim,
                                       .v = in + 2 * dim,
                                       .q_stride = stride,
                                       .k_stride = stride,
                                       .v_stride = stride,
                                       .q_bias = bias,
                                       .k_bias = bias + 100,
                                       .v_bias = bias + 200,
                                       .bias = score_bias(c),
                                       .bias_stride = MOST_KEYS,
                                       .type = types[t],
                                       .out = out,
                                       .out_stride = dim};
            memset(out, mark, (keys * dim + 16) * 4);
            kernels->attention(&a, scratch);
            size_t wrong = 0;
            for (size_t i = 0; i < a.queries; i++) {
                exact_attention(&a, i, want);
                for (size_t d = 0; d < dim; d++)
                    wrong += !near(out, i * dim + d, types[t], want[d], 2e-6);
            }
            CHECK(wrong == 0 && untouched(out, a.queries * dim, types[t]), "%s, case %zu, type %d: %zu wrong",
                  level, c, t, wrong);
            free(in), free(out), free(scratch);
        }
}

/* --- backward, against differences of the loss that has those gradients: sum of dy times what comes out ---
 */

#define STEP 1e-4 /* of a difference; its error is of the order of the square */

/* The loss of layer_norm over parameters [x, weight, bias][n]. */
static double norm_loss(size_t n, const double *in, const float *dy)
{
    const double *x = in, *weight = in + n, *bias = in + 2 * n;
    double mean = 0, variance = 0, loss = 0;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        loss += dy[i] * ((x[i] - mean) / sqrt(variance + 1e-5) * weight[i] + bias[i]);
    return loss;
}

static void check_layer_norm_backward(const struct clip_kernels *kernels, const char *level)
{
    static float in[3 * MOST], dy[MOST], out[3 * MOST], was[3 * MOST];
    static double exact[3 * MOST];
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s], wrong = 0;
        fill(in, 3 * n, 2), fill(dy, n, 1), fill(was, 3 * n + 1, 1);
        for (size_t i = 0; i < 3 * n; i++)
            exact[i] = in[i] += i < n ? 3 : 0;
        memcpy(out, was, sizeof out);
        kernels->layer_norm_backward(n, 1e-5f, in, in + n, dy, out, out + n, out + 2 * n);
        for (size_t i = 0; i < 3 * n; i += 1 + n / 50) {
            exact[i] = in[i] + STEP;
            double up = norm_loss(n, exact, dy);
            exact[i] = in[i] - STEP;
            double slope = (up - norm_loss(n, exact, dy)) / (2 * STEP);
            exact[i] = in[i];
            /* Of one element the variance is 0, and rounding is magnified by 1 / sqrt(1e-5). */
            wrong += fabs(out[i] - was[i] - slope) > (n == 1 ? 1e-3 : 5e-6 * (1 + fabs(slope)));
        }
        CHECK(wrong == 0 && out[3 * n] == was[3 * n], "%s, n %zu: %zu wrong", level, n, wrong);
    }
}

static void check_activations_backward(const struct clip_kernels *kernels, const char *level)
{
    float x[MOST], bias[MOST], dy[MOST], out[MOST + 16], forward[MOST + 16], dx[MOST + 16];
    fill_gelu(x, bias), fill(dy, MOST, 1);
    for (int f = 0; f < CLIP_ACTIVATIONS; f++)
        for (size_t s = 0; s < SIZES; s++)
            for (int t = 0; t < 2; t++) {
                size_t n = sizes[s], wrong = 0;
                memset(out, mark, sizeof out), memset(forward, mark, sizeof out), memset(dx, mark, sizeof dx);
                kernels->activation[f](n, x, bias, types[t], forward);
                kernels->activation_backward[f](n, x, bias, dy, types[t], out, dx);
                for (size_t i = 0; i < n; i++) {
                    double y = x[i] + bias[i];
                    if ((f == CLIP_RELU || f == CLIP_RELU2) && fabs(y) < 2 * STEP)
                        continue; /* the kink */
                    double slope =
                        (exact_activation(y + STEP, f) - exact_activation(y - STEP, f)) / (2 * STEP);
                    wrong += !near(dx, i, types[t], dy[i] * slope, 1e-6 * fmax(1, fabs(slope)));
                }
                CHECK(wrong == 0 && untouched(dx, n, types[t]) && memcmp(out, forward, sizeof out) == 0,
                      "%s, n %zu, type %d, activation %d: %zu wrong", level, n, t, f, wrong);
            }
}

static void check_column_sums(const struct clip_kernels *kernels, const char *level)
{
    enum { ROWS = 37 };
    static float x[ROWS * (MOST + 9)], typed[ROWS * (MOST + 9)], sums[MOST], was[MOST];
    for (size_t s = 0; s < SIZES; s++)
        for (int t = 0; t < 2; t++) {
            size_t n = sizes[s], stride = n + 9, wrong = 0;
            fill(x, ROWS * stride, 1), fill(was, MOST, 1);
            memcpy(sums, was, sizeof sums);
            kernels->convert(ROWS * stride, x, types[t], typed);
            kernels->column_sums(ROWS, n, typed, stride, types[t], sums);
            for (size_t i = 0; i < n; i++) {
                double want = was[i];
                for (size_t r = 0; r < ROWS; r++)
                    want += element(typed, r * stride + i, types[t]);
                wrong += fabs(sums[i] - want) > 1e-5;
            }
            CHECK(wrong == 0 && sums[n] == was[n], "%s, n %zu, type %d", level, n, t);
        }
}

/* The loss of attention over rows [keys][3 dim] of q, k and v, in double, with the biases of `a`. */
static double attention_loss(const struct clip_attention *a, const double *in, const float *dout)
{
    double loss = 0;
    size_t dim = a->dim, stride = 3 * dim;
    for (size_t i = 0; i < a->queries; i++) {
        size_t keys = a->causal && i + 1 < a->keys ? i + 1 : a->keys;
        double scores[MOST], sum = 0, along = 0;
        for (size_t j = 0; j < keys; j++) {
            scores[j] = 0;
            for (size_t d = 0; d < dim; d++)
                scores[j] += (in[i * stride + d] + a->q_bias[d]) * (in[j * stride + dim + d] + a->k_bias[d]);
            scores[j] = scores[j] * a->scale + (a->bias ? a->bias[i * a->bias_stride + j] : 0);
        }
        for (size_t j = 0; j < keys; j++) {
            double value = 0, e = exp(scores[j]);
            for (size_t d = 0; d < dim; d++)
                value += dout[i * dim + d] * (in[j * stride + 2 * dim + d] + a->v_bias[d]);
            sum += e;
            along += e * value;
        }
        loss += along / sum;
    }
    return loss;
}

static void check_attention_backward(const struct clip_kernels *kernels, const char *level)
{
    /* keys, dim, queries (0: as many, causal) */
    static const size_t cases[][3] = {{1, 64, 1}, {50, 64, 50}, {50, 64, 1}, {14, 64, 0},   {77, 16, 0},
                                      {7, 20, 0}, {17, 32, 17}, {6, 5, 0},   {101, 8, 101}, {103, 8, 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int t = 0; t < 2; t++) {
            size_t keys = cases[c][0], dim = cases[c][1], stride = 3 * dim, n = keys * stride;
            size_t queries = cases[c][2] ? cases[c][2] : keys, wrong = 0;
            float *in = malloc(n * sizeof *in), bias[300], *dout = malloc(keys * dim * sizeof *dout),
                  *out = malloc((n + 16) * 4), *scratch;
            scratch = aligned_alloc(64, (clip_attention_backward_scratch(keys, dim) * 4 + 63) / 64 * 64);
            double *exact = malloc(n * sizeof *exact);
            fill(in, n, 1), fill(bias, 300, 1), fill(dout, keys * dim, 1);
            for (size_t i = 0; i < n; i++)
                exact[i] = in[i];
            struct clip_attention a = {.queries = queries,
                                       .keys = shortened(c, keys, cases[c][2]),
                                       .dim = dim,
                                       .causal = cases[c][2] == 0,
                                       .scale = c % 3 ? 1 / sqrtf((float)dim) : 0.3f,
                                       .bias = score_bias(c),
                                       .bias_stride = MOST_KEYS,
                                       .q = in,
                                       .k = in + dim,
                                       .v = in + 2 * dim,
                                       .q_stride = stride,
                                       .k_stride = stride,
                                       .v_stride = stride,
                                       .q_bias = bias,
                                       .k_bias = bias + 100,
                                       .v_bias = bias + 200};
            size_t size = types[t] == CLIP_PRECISION_F32 ? 4 : 2;
            struct clip_attention_backward b = {
                &a,     dout,   dim, types[t], out, (char *)out + dim * size, (char *)out + 2 * dim * size,
                stride, stride, NULL};
            memset(out, mark, (n + 16) * 4);
            kernels->attention_backward(&b, scratch);
            for (size_t i = 0; i < n; i += 1 + n / 200) {
                if (i % stride < dim ? i / stride >= queries : i / stride >= a.keys)
                    continue;
                exact[i] = in[i] + STEP;
                double up = attention_loss(&a, exact, dout);
                exact[i] = in[i] - STEP;
                double slope = (up - attention_loss(&a, exact, dout)) / (2 * STEP);
                exact[i] = in[i];
                wrong += !near(out, i, types[t], slope, 3e-6);
            }
            /* Rows that are not keys have a query alone: what comes after it is not touched. */
            size_t end = a.keys < keys ? (keys - 1) * stride + dim : n;
            CHECK(wrong == 0 && untouched(out, end, types[t]), "%s, case %zu, type %d: %zu wrong", level, c,
                  t, wrong);
            free(in), free(dout), free(out), free(scratch), free(exact);
        }
}

static void check_choice(void)
{
    struct clip_error error = {""};
    enum clip_level level = CLIP_AVX512;
    unsetenv("CLIP_CPU");
    CHECK(clip_level_choose(&level, &error) == 0 && level == clip_level(), "%s", error.text);
    setenv("CLIP_CPU", "x86-64-v9", 1);
    CHECK(clip_level_choose(&level, &error) == -1 && strstr(error.text, "x86-64-v9"), "%s", error.text);
    setenv("CLIP_CPU", "x86-64", 1);
    CHECK(clip_level_choose(&level, &error) == 0 && level == CLIP_PLAIN, "%s", error.text);
}

int main(void)
{
    check_choice();
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++) {
        const struct clip_kernels *kernels = clip_kernels(level);
        const char *name = clip_level_name(level);
        printf("%s\n", name);
        check_convert(kernels, name);
        check_add(kernels, name);
        check_layer_norm(kernels, name);
        check_layer_norm_backward(kernels, name);
        check_multiply(kernels, name);
        check_rotate(kernels, name);
        check_activations_backward(kernels, name);
        check_column_sums(kernels, name);
        check_attention_backward(kernels, name);
        check_activations(kernels, name);
        check_attention(kernels, name);
    }
    return check_end();
}
