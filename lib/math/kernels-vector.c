/* The kernels of kernels.h, in GCC's vector extension: one source, compiled once for each level of the
 * processor. */
#include "math/kernels.h"
#include "math/lanes.h"

#include <math.h>

#if defined __AVX512F__
enum { WIDE = 4 };
#define NEIGHBOURS 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#elif defined __AVX2__
enum { WIDE = 2 };
#define NEIGHBOURS 1, 0, 3, 2, 5, 4, 7, 6
#else
enum { WIDE = 2 };
#define NEIGHBOURS 1, 0, 3, 2
#endif

/* Rows and vectors of a tile of a product: its sums fit into the registers. */
enum { TALL = 6 };

typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t hvec __attribute__((vector_size(LANES * 2)));

/* --- vectors --- */

static inline float sum_of(vec v)
{
    float half[LANES];
    memcpy(half, &v, sizeof v);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            half[i] += half[i + n];
    return half[0];
}

static inline float max_of(vec v)
{
    float half[LANES];
    memcpy(half, &v, sizeof v);
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            half[i] = half[i] > half[i + n] ? half[i] : half[i + n];
    return half[0];
}

/* The upper halves, rounded to nearest even; NaN stays NaN. */
static inline hvec to_bf16(vec v)
{
    uvec bits = (uvec)v, rounded = bits + 0x7fff + (bits >> 16 & 1);
    uvec nan = (uvec)(v != v);
    return __builtin_convertvector(((nan & (bits | 0x400000)) | (~nan & rounded)) >> 16, hvec);
}

/* out[at...] = v in `type`. */
static inline void put(void *out, size_t at, vec v, enum clip_precision type)
{
    if (type == CLIP_PRECISION_F32) {
        store((float *)out + at, v);
    } else {
        hvec half = to_bf16(v);
        memcpy((uint16_t *)out + at, &half, sizeof half);
    }
}

static inline void put_part(void *out, size_t at, vec v, size_t n, enum clip_precision type)
{
    if (type == CLIP_PRECISION_F32) {
        memcpy((float *)out + at, &v, n * sizeof(float));
    } else {
        hvec half = to_bf16(v);
        memcpy((uint16_t *)out + at, &half, n * sizeof(uint16_t));
    }
}

/* e^x for x <= 88; x < -87 gives e^-87 (1e-38). Polynomial fitted to (e^r - 1 - r) / r² on
 * [-ln 2 / 2, ln 2 / 2], off by 3e-9 before rounding. */
static inline vec exp_of(vec x)
{
    x = max(x, splat(-87));
    /* Adding 1.5 2^23 leaves the nearest integer in the low bits. */
    vec shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = splat(1.381459878757596e-3f);
    p = p * r + 8.368716575205326e-3f;
    p = p * r + 4.166838899254799e-2f;
    p = p * r + 1.666652113199234e-1f;
    p = p * r + 4.999999403953552e-1f;
    p = p * r * r + r + 1;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

/* --- rows --- */

static void convert(size_t n, const float *x, enum clip_precision type, void *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, load(x + i), type);
    put_part(out, i, load_part(n - i, x + i), n - i, type);
}

static void sum(size_t n, const float *x, const float *y, float *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(out + i, load(x + i) + load(y + i));
    for (; i < n; i++)
        out[i] = x[i] + y[i];
}

static void add(size_t n, float *x, const float *y, const float *bias)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(x + i, load(x + i) + (load(y + i) + load(bias + i)));
    for (; i < n; i++)
        x[i] += y[i] + bias[i];
}

static void multiply(size_t n, const float *x, const float *y, const float *bias, enum clip_precision type,
                     void *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, load(x + i) * (load(y + i) + load(bias + i)), type);
    size_t m = n - i;
    put_part(out, i, load_part(m, x + i) * (load_part(m, y + i) + load_part(m, bias + i)), m, type);
}

static void rotate(size_t n, const float *x, const float *cosines, const float *sines, int back, float *out)
{
    vec sign = splat(back ? -1 : 1);
    for (size_t i = 0; i < n; i += LANES) {
        size_t m = n - i < LANES ? n - i : LANES;
        vec row = load_part(m, x + i), swapped = __builtin_shufflevector(row, row, NEIGHBOURS);
        row = row * load_part(m, cosines + i) + swapped * load_part(m, sines + i) * sign;
        memcpy(out + i, &row, m * sizeof *out);
    }
}

static float mean_of(size_t n, const float *x)
{
    vec sum = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += load(x + i);
    return sum_of(sum + load_part(n - i, x + i)) / (float)n;
}

static float variance_of(size_t n, const float *x, float mean)
{
    vec sum = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec d = load(x + i) - mean;
        sum += d * d;
    }
    float tail = 0;
    for (; i < n; i++)
        tail += (x[i] - mean) * (x[i] - mean);
    return (sum_of(sum) + tail) / (float)n;
}

static void layer_norm(size_t n, float epsilon, const float *x, const float *weight, const float *bias,
                       enum clip_precision type, void *out)
{
    float mean = mean_of(n, x), scale = 1 / sqrtf(variance_of(n, x, mean) + epsilon);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, (load(x + i) - mean) * scale * load(weight + i) + load(bias + i), type);
    size_t m = n - i;
    vec last = (load_part(m, x + i) - mean) * scale * load_part(m, weight + i) + load_part(m, bias + i);
    put_part(out, i, last, m, type);
}

static void rms_norm(size_t n, float epsilon, const float *x, const float *weight, enum clip_precision type,
                     void *out)
{
    float scale = 1 / sqrtf(variance_of(n, x, 0) + epsilon);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, load(x + i) * scale * load(weight + i), type);
    size_t m = n - i;
    put_part(out, i, load_part(m, x + i) * scale * load_part(m, weight + i), m, type);
}

/* --- activations --- */

/* x sigmoid(beta x). e^-x overflows above 88, and the quotient is 0 to f32 long before. */
static inline vec swish_of(vec x, float beta)
{
    vec power = x * -beta;
    power = choose(power > 80.0f, splat(80), power);
    return x / (1 + exp_of(power));
}

/* Its slope: s (1 + beta x (1 - s)), s = sigmoid(beta x). */
static inline vec swish_slope(vec x, float beta)
{
    vec power = x * -beta;
    power = choose(power > 80.0f, splat(80), power);
    vec sigmoid = 1 / (1 + exp_of(power));
    return sigmoid * (1 + beta * x * (1 - sigmoid));
}

static inline vec quick_gelu_of(vec x)
{
    return swish_of(x, 1.702f);
}

static inline vec quick_gelu_slope(vec x)
{
    return swish_slope(x, 1.702f);
}

static inline vec silu_of(vec x)
{
    return swish_of(x, 1);
}

static inline vec silu_slope(vec x)
{
    return swish_slope(x, 1);
}

/* Phi(x) = erfc(-x / sqrt 2) / 2. For z >= 0, erfc(z) = e^(-z²) t P(t), t = 1 / (1 + 0.3 z): P fitted for the
 * relative error, 2e-8 before rounding. */
static inline vec phi_of(vec x)
{
    vec positive = max(x, -x), t = 1 / (1 + positive * (0.3f * 0.70710678f));
    vec p = splat(-0.12952274084091187f);
    p = p * t + 0.48556244373321533f;
    p = p * t - 0.5122764706611633f;
    p = p * t + 0.5477182269096375f;
    p = p * t - 0.09464948624372482f;
    p = p * t + 0.21492554247379303f;
    p = p * t + 0.14833930134773254f;
    p = p * t + 0.17071521282196045f;
    p = p * t + 0.1691880077123642f;
    vec upper = 0.5f * exp_of(x * x * -0.5f) * t * p; /* Phi(-|x|) */
    return choose(x > 0, 1 - upper, upper);
}

static inline vec gelu_of(vec x)
{
    return x * phi_of(x);
}

static inline vec gelu_slope(vec x)
{
    vec density = 0.39894228f * exp_of(x * x * -0.5f); /* e^(-x²/2) / sqrt(2 pi) */
    return phi_of(x) + x * density;
}

/* (1 + tanh(u)) / 2 = 1 / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x³): e^-2u. */
static inline vec tanh_power(vec x)
{
    vec power = x * (x * x * 0.044715f + 1) * -1.5957691f;
    return exp_of(choose(power > 80.0f, splat(80), power));
}

static inline vec gelu_tanh_of(vec x)
{
    return x / (1 + tanh_power(x));
}

static inline vec gelu_tanh_slope(vec x)
{
    vec e = tanh_power(x), s = 1 / (1 + e);
    return s + x * s * (e * s) * 1.5957691f * (x * x * 0.134145f + 1);
}

static inline vec relu_of(vec x)
{
    return choose(x > 0, x, (vec){0});
}

static inline vec relu_slope(vec x)
{
    return choose(x > 0, splat(1), (vec){0});
}

static inline vec relu2_of(vec x)
{
    return relu_of(x) * relu_of(x);
}

static inline vec relu2_slope(vec x)
{
    return 2 * relu_of(x);
}

static inline vec sigmoid_of(vec x)
{
    return 1 / (1 + exp_of(choose(x < -80.0f, splat(80), -x)));
}

static inline vec sigmoid_slope(vec x)
{
    vec y = sigmoid_of(x);
    return y * (1 - y);
}

static inline vec identity_of(vec x)
{
    return x;
}

static inline vec identity_slope(vec x)
{
    (void)x;
    return splat(1);
}

/* An activation and its backward. */
#define ACTIVATION(name)                                                                                     \
    static void name(size_t n, const float *x, const float *bias, enum clip_precision type, void *out)       \
    {                                                                                                        \
        size_t i = 0;                                                                                        \
        for (; i + LANES <= n; i += LANES)                                                                   \
            put(out, i, name##_of(load(x + i) + load(bias + i)), type);                                      \
        size_t m = n - i;                                                                                    \
        put_part(out, i, name##_of(load_part(m, x + i) + load_part(m, bias + i)), m, type);                  \
    }                                                                                                        \
    static void name##_backward(size_t n, const float *x, const float *bias, const float *dy,                \
                                enum clip_precision type, void *out, void *dx)                               \
    {                                                                                                        \
        size_t i = 0;                                                                                        \
        for (; i + LANES <= n; i += LANES) {                                                                 \
            vec y = load(x + i) + load(bias + i);                                                            \
            put(out, i, name##_of(y), type);                                                                 \
            put(dx, i, load(dy + i) * name##_slope(y), type);                                                \
        }                                                                                                    \
        size_t m = n - i;                                                                                    \
        vec y = load_part(m, x + i) + load_part(m, bias + i);                                                \
        put_part(out, i, name##_of(y), m, type);                                                             \
        put_part(dx, i, load_part(m, dy + i) * name##_slope(y), m, type);                                    \
    }
ACTIVATION(quick_gelu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)
ACTIVATION(silu)
ACTIVATION(relu)
ACTIVATION(relu2)
ACTIVATION(sigmoid)
ACTIVATION(identity)

/* --- small products, for attention --- */

/* A left operand a[rows][depth], plain or transposed: the strides of a row and of depth, in floats. */
struct left {
    const float *a;
    size_t row, step;
};

/* c[rows][wide vectors] = or, where `more`, += a[rows][depth] · b[depth][...], summed in the order of depth;
 * rows, wide and more are constants where this is inlined. */
INLINE void tile(int rows, int wide, int more, size_t depth, struct left left, const float *b, size_t ldb,
                 float *c, size_t ldc)
{
    vec sum[TALL][WIDE];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int w = 0; w < wide; w++) sum[r][w] =
        more ? load(c + r * ldc + w * LANES) : (vec){0};
    for (size_t k = 0; k < depth; k++) {
        vec right[WIDE];
        UNROLL for (int w = 0; w < wide; w++) right[w] = load(b + k * ldb + w * LANES);
        UNROLL for (int r = 0; r < rows; r++)
        {
            vec one = splat(left.a[r * left.row + k * left.step]);
            UNROLL for (int w = 0; w < wide; w++) sum[r][w] += one * right[w];
        }
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int w = 0; w < wide; w++)
        store(c + r * ldc + w * LANES, sum[r][w]);
}

/* c[rows][columns] = or += a[rows][depth] · b[depth][columns]; columns a multiple of LANES. `more` is a
 * constant where this is inlined, and so is `row` or `step` of the left operand: 1. */
INLINE void product(int more, size_t rows, size_t columns, size_t depth, struct left left, const float *b,
                    size_t ldb, float *c, size_t ldc)
{
    for (; rows >= TALL; rows -= TALL, left.a += TALL * left.row, c += TALL * ldc) {
        size_t j = 0;
        for (; j + WIDE * LANES <= columns; j += WIDE * LANES)
            tile(TALL, WIDE, more, depth, left, b + j, ldb, c + j, ldc);
        for (; j < columns; j += LANES)
            tile(TALL, 1, more, depth, left, b + j, ldb, c + j, ldc);
    }
    for (; rows > 0; rows--, left.a += left.row, c += ldc) {
        size_t j = 0;
        for (; j + WIDE * LANES <= columns; j += WIDE * LANES)
            tile(1, WIDE, more, depth, left, b + j, ldb, c + j, ldc);
        for (; j < columns; j += LANES)
            tile(1, 1, more, depth, left, b + j, ldb, c + j, ldc);
    }
}

/* c = a · b, as above. */
static void small_product(size_t rows, size_t columns, size_t depth, const float *a, size_t lda,
                          const float *b, size_t ldb, float *c, size_t ldc)
{
    product(0, rows, columns, depth, (struct left){a, lda, 1}, b, ldb, c, ldc);
}

/* c += aᵀ · b with a[depth][rows]. */
static void add_transposed_product(size_t rows, size_t columns, size_t depth, const float *a, size_t lda,
                                   const float *b, size_t ldb, float *c, size_t ldc)
{
    product(1, rows, columns, depth, (struct left){a, 1, lda}, b, ldb, c, ldc);
}

/* --- attention --- */

static size_t padded(size_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* transposed[dim][padded(rows)] = the transpose of x[rows][dim] with its bias; zeros after the last row. */
static void transpose_rows(size_t rows, size_t dim, const float *x, size_t stride, const float *bias,
                           float *transposed)
{
    size_t columns = padded(rows);
    for (size_t j = 0; j < rows; j += LANES)
        for (size_t d = 0; d < dim; d += LANES) {
            size_t m = dim - d < LANES ? dim - d : LANES;
            vec square[LANES], added = load_part(m, bias + d);
            for (size_t i = 0; i < LANES; i++) {
                const float *row = x + (j + i) * stride + d;
                square[i] = j + i >= rows ? (vec){0} : (m == LANES ? load(row) : load_part(m, row)) + added;
            }
            transpose_square(square);
            for (size_t i = 0; i < m; i++)
                store(transposed + (d + i) * columns + j, square[i]);
        }
}

/* out[rows][padded(dim)] = (x[rows][dim] + bias[dim]) * scale, then zeros; without a bias where NULL. */
static void copy_rows(size_t rows, size_t dim, const float *x, size_t stride, const float *bias, float scale,
                      float *out)
{
    for (size_t r = 0; r < rows; r++, x += stride, out += padded(dim))
        for (size_t d = 0; d < dim; d += LANES) {
            size_t m = dim - d < LANES ? dim - d : LANES;
            vec row = m == LANES ? load(x + d) : load_part(m, x + d);
            vec added = !bias ? (vec){0} : m == LANES ? load(bias + d) : load_part(m, bias + d);
            store(out + d, (row + added) * scale);
        }
}

/* s[n] = e^(s - max s), then zeros up to s[columns], a multiple of LANES; returns the sum. */
static float exponentials(float *s, size_t n, size_t columns)
{
    for (size_t j = n; j < columns; j++)
        s[j] = -INFINITY;
    vec most = load(s);
    for (size_t j = LANES; j < columns; j += LANES)
        most = max(most, load(s + j));
    vec sum = {0}, largest = splat(max_of(most));
    for (size_t j = 0; j < columns; j += LANES) {
        vec x = load(s + j), e = exp_of(x - largest);
        e = choose(x == -INFINITY, (vec){0}, e);
        store(s + j, e);
        sum += e;
    }
    return sum_of(sum);
}

/* out[at...] = x[n] * scale in `type`; x is readable up to padded(n). */
static void put_row(size_t n, const float *x, float scale, void *out, size_t at, enum clip_precision type)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, at + i, load(x + i) * scale, type);
    if (i < n)
        put_part(out, at + i, load(x + i) * scale, n - i, type);
}

/* The number of keys that query i sees. */
static size_t seen_by(const struct clip_attention *a, size_t i)
{
    return a->causal && i + 1 < a->keys ? i + 1 : a->keys;
}

/* s[n] += the bias of the scores of query i. */
static void add_bias(const struct clip_attention *a, size_t i, size_t n, float *s)
{
    if (a->bias)
        sum(n, s, a->bias + i * a->bias_stride, s);
}

static void attention(const struct clip_attention *a, float *scratch)
{
    size_t columns = padded(a->keys), dim = padded(a->dim);
    float *keys = scratch, *values = keys + a->dim * columns, *queries = values + a->keys * dim,
          *scores = queries + TALL * dim, *mixed = scores + TALL * columns;
    transpose_rows(a->keys, a->dim, a->k, a->k_stride, a->k_bias, keys);
    copy_rows(a->keys, a->dim, a->v, a->v_stride, a->v_bias, 1, values);
    for (size_t first = 0; first < a->queries; first += TALL) {
        size_t rows = a->queries - first < TALL ? a->queries - first : TALL;
        size_t seen = seen_by(a, first + rows - 1);
        float sums[TALL];
        copy_rows(rows, a->dim, a->q + first * a->q_stride, a->q_stride, a->q_bias, a->scale, queries);
        small_product(rows, padded(seen), a->dim, queries, dim, keys, columns, scores, columns);
        for (size_t r = 0; r < rows; r++) {
            size_t n = seen_by(a, first + r);
            add_bias(a, first + r, n, scores + r * columns);
            sums[r] = exponentials(scores + r * columns, n, padded(seen));
        }
        small_product(rows, dim, seen, scores, columns, values, dim, mixed, dim);
        for (size_t r = 0; r < rows; r++)
            put_row(a->dim, mixed + r * dim, 1 / sums[r], a->out, (first + r) * a->out_stride, a->type);
    }
}

/* --- backward --- */

/* With xhat = (x - mean) scale and g = dy weight: dx = scale (g - mean(g) - xhat mean(g xhat)). */
static void layer_norm_backward(size_t n, float epsilon, const float *x, const float *weight, const float *dy,
                                float *dx, float *dweight, float *dbias)
{
    float mean = mean_of(n, x), scale = 1 / sqrtf(variance_of(n, x, mean) + epsilon);
    vec sum = {0}, along = {0};
    float tail = 0, tail_along = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec hat = (load(x + i) - mean) * scale, y = load(dy + i), g = y * load(weight + i);
        sum += g;
        along += g * hat;
        store(dweight + i, load(dweight + i) + y * hat);
        store(dbias + i, load(dbias + i) + y);
    }
    for (; i < n; i++) {
        float hat = (x[i] - mean) * scale, g = dy[i] * weight[i];
        tail += g;
        tail_along += g * hat;
        dweight[i] += dy[i] * hat;
        dbias[i] += dy[i];
    }
    float mean_g = (sum_of(sum) + tail) / (float)n, mean_along = (sum_of(along) + tail_along) / (float)n;
    for (i = 0; i + LANES <= n; i += LANES) {
        vec hat = (load(x + i) - mean) * scale, g = load(dy + i) * load(weight + i);
        store(dx + i, load(dx + i) + scale * (g - mean_g - hat * mean_along));
    }
    for (; i < n; i++) {
        float hat = (x[i] - mean) * scale;
        dx[i] += scale * (dy[i] * weight[i] - mean_g - hat * mean_along);
    }
}

/* With xhat = x scale and g = dy weight: dx = scale (g - xhat mean(g xhat)). */
static void rms_norm_backward(size_t n, float epsilon, const float *x, const float *weight, const float *dy,
                              float *dx, float *dweight)
{
    float scale = 1 / sqrtf(variance_of(n, x, 0) + epsilon), tail = 0;
    vec along = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec hat = load(x + i) * scale, y = load(dy + i);
        along += y * load(weight + i) * hat;
        store(dweight + i, load(dweight + i) + y * hat);
    }
    for (; i < n; i++) {
        tail += dy[i] * weight[i] * x[i] * scale;
        dweight[i] += dy[i] * x[i] * scale;
    }
    float mean = (sum_of(along) + tail) / (float)n;
    for (i = 0; i + LANES <= n; i += LANES)
        store(dx + i, load(dx + i) + scale * (load(dy + i) * load(weight + i) - load(x + i) * scale * mean));
    for (; i < n; i++)
        dx[i] += scale * (dy[i] * weight[i] - x[i] * scale * mean);
}

/* m <= LANES elements at x[at...], and zeros. */
static inline vec get(const void *x, size_t at, size_t m, enum clip_precision type)
{
    if (type == CLIP_PRECISION_F32)
        return m == LANES ? load((const float *)x + at) : load_part(m, (const float *)x + at);
    hvec half = {0};
    memcpy(&half, (const uint16_t *)x + at, m == LANES ? sizeof half : m * sizeof(uint16_t));
    return (vec)(__builtin_convertvector(half, uvec) << 16);
}

static void column_sums(size_t rows, size_t n, const void *x, size_t stride, enum clip_precision type,
                        float *sums)
{
    size_t i = 0;
    for (; i + WIDE * LANES <= n; i += WIDE * LANES) {
        vec sum[WIDE];
        UNROLL for (int w = 0; w < WIDE; w++) sum[w] = load(sums + i + w * LANES);
        for (size_t r = 0; r < rows; r++)
            UNROLL for (int w = 0; w < WIDE; w++) sum[w] += get(x, r * stride + i + w * LANES, LANES, type);
        UNROLL for (int w = 0; w < WIDE; w++) store(sums + i + w * LANES, sum[w]);
    }
    for (; i < n; i += LANES) {
        size_t m = n - i < LANES ? n - i : LANES;
        vec sum = load_part(m, sums + i);
        for (size_t r = 0; r < rows; r++)
            sum += get(x, r * stride + i, m, type);
        memcpy(sums + i, &sum, m * sizeof *sums);
    }
}

/* The scratch of attention_backward. */
struct attention_room {
    float *k_transposed, *v_transposed; /* [dim][padded keys] */
    float *k, *dk, *dv;                 /* [keys][padded dim] */
    float *q, *dout, *dq;               /* [CLIP_ATTENTION_QUERIES][padded dim]; q is scaled */
    float *p, *ds;                      /* [CLIP_ATTENTION_QUERIES][padded keys] */
};

static struct attention_room lay_out(const struct clip_attention *a, float *scratch)
{
    size_t keys = padded(a->keys), dim = padded(a->dim), queries = CLIP_ATTENTION_QUERIES;
    struct attention_room room;
    float **const places[] = {&room.k_transposed, &room.v_transposed, &room.k, &room.dk, &room.dv, &room.q,
                              &room.dout,         &room.dq,           &room.p, &room.ds};
    const size_t sizes[] = {dim * keys,    dim * keys,    keys * dim,    keys * dim,     keys * dim,
                            queries * dim, queries * dim, queries * dim, queries * keys, queries * keys};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *places[i] = scratch;
        scratch += sizes[i];
    }
    return room;
}

/* For a row that sees n keys: p = softmax(scores), ds = p (dp - sum p dp); both are padded with 0 up to
 * columns. */
static void softmax_backward(size_t n, size_t columns, float *p, float *ds)
{
    vec scale = splat(1 / exponentials(p, n, columns)), sum = {0};
    for (size_t j = 0; j < columns; j += LANES) {
        vec x = load(p + j) * scale;
        store(p + j, x);
        sum += x * load(ds + j);
    }
    float mean = sum_of(sum);
    for (size_t j = 0; j < columns; j += LANES)
        store(ds + j, load(p + j) * (load(ds + j) - mean));
}

/* For queries [first, first + rows): computes dq, and adds to dk and dv. */
static void backward_queries(const struct clip_attention_backward *b, const struct attention_room *room,
                             size_t first, size_t rows)
{
    const struct clip_attention *a = b->forward;
    size_t keys = padded(a->keys), dim = padded(a->dim), seen = seen_by(a, first + rows - 1);
    size_t columns = padded(seen);
    copy_rows(rows, a->dim, a->q + first * a->q_stride, a->q_stride, a->q_bias, a->scale, room->q);
    copy_rows(rows, a->dim, b->dout + first * b->dout_stride, b->dout_stride, NULL, 1, room->dout);
    small_product(rows, columns, a->dim, room->q, dim, room->k_transposed, keys, room->p, keys);
    small_product(rows, columns, a->dim, room->dout, dim, room->v_transposed, keys, room->ds, keys);
    for (size_t r = 0; r < rows; r++) {
        size_t n = seen_by(a, first + r);
        add_bias(a, first + r, n, room->p + r * keys);
        softmax_backward(n, columns, room->p + r * keys, room->ds + r * keys);
        if (b->dbias)
            memcpy(b->dbias + (first + r) * a->keys, room->ds + r * keys, a->keys * sizeof *b->dbias);
    }
    small_product(rows, dim, seen, room->ds, keys, room->k, dim, room->dq, dim);
    for (size_t r = 0; r < rows; r++)
        put_row(a->dim, room->dq + r * dim, a->scale, b->dq, (first + r) * b->dq_stride, b->type);
    add_transposed_product(seen, dim, rows, room->ds, keys, room->q, dim, room->dk, dim);
    add_transposed_product(seen, dim, rows, room->p, keys, room->dout, dim, room->dv, dim);
}

static void attention_backward(const struct clip_attention_backward *b, float *scratch)
{
    const struct clip_attention *a = b->forward;
    struct attention_room room = lay_out(a, scratch);
    size_t dim = padded(a->dim);
    transpose_rows(a->keys, a->dim, a->k, a->k_stride, a->k_bias, room.k_transposed);
    transpose_rows(a->keys, a->dim, a->v, a->v_stride, a->v_bias, room.v_transposed);
    copy_rows(a->keys, a->dim, a->k, a->k_stride, a->k_bias, 1, room.k);
    memset(room.dk, 0, a->keys * dim * sizeof *room.dk);
    memset(room.dv, 0, a->keys * dim * sizeof *room.dv);
    for (size_t first = 0; first < a->queries; first += CLIP_ATTENTION_QUERIES) {
        size_t rest = a->queries - first;
        backward_queries(b, &room, first, rest < CLIP_ATTENTION_QUERIES ? rest : CLIP_ATTENTION_QUERIES);
    }
    for (size_t r = 0; r < a->keys; r++) {
        put_row(a->dim, room.dk + r * dim, 1, b->dk, r * b->dkv_stride, b->type);
        put_row(a->dim, room.dv + r * dim, 1, b->dv, r * b->dkv_stride, b->type);
    }
}

const struct clip_kernels CLIP_LEVELED(clip_kernels) = {
    .convert = convert,
    .sum = sum,
    .add = add,
    .multiply = multiply,
    .rotate = rotate,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .activation = {[CLIP_QUICK_GELU] = quick_gelu, gelu, gelu_tanh, silu, relu, relu2, sigmoid, identity},
    .attention = attention,
    .layer_norm_backward = layer_norm_backward,
    .activation_backward = {[CLIP_QUICK_GELU] = quick_gelu_backward,
                            gelu_backward,
                            gelu_tanh_backward,
                            silu_backward,
                            relu_backward,
                            relu2_backward,
                            sigmoid_backward,
                            identity_backward},
    .column_sums = column_sums,
    .attention_backward = attention_backward,
};
