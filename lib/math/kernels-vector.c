/* The kernels of kernels.h, in GCC's vector extension: one source, compiled once for each level of the
 * processor. */
#include "math/kernels.h"

#include <math.h>
#include <string.h>

#if defined __AVX512F__
enum { LANES = 16, WIDE = 4 };
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LAST_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined __AVX2__
enum { LANES = 8, WIDE = 2 };
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
enum { LANES = 4, WIDE = 2 };
#define FIRST_HALVES 0, 4, 1, 5
#define LAST_HALVES 2, 6, 3, 7
#endif

/* Rows and vectors of a tile of a product: its sums fit into the registers. */
enum { TALL = 6 };

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t hvec __attribute__((vector_size(LANES * 2)));

/* --- vectors --- */

static inline vec load(const float *x)
{
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline void store(float *x, vec v)
{
    memcpy(x, &v, sizeof v);
}

/* The n < LANES floats at x, and zeros. */
static inline vec load_part(const float *x, size_t n)
{
    vec v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
}

static inline vec splat(float x)
{
    return x - (vec){0};
}

static inline vec choose(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

static inline vec max(vec a, vec b)
{
    return choose(a > b, a, b);
}

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

/* The upper halves, rounded to nearest even; NaN stays one. */
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

/* e^x for x <= 88; below -87 it is that of -87 (1e-38). Polynomial fitted to (e^r - 1 - r) / r² on
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
    put_part(out, i, load_part(x + i, n - i), n - i, type);
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

static float mean_of(size_t n, const float *x)
{
    vec sum = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum += load(x + i);
    return sum_of(sum + load_part(x + i, n - i)) / (float)n;
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

static void layer_norm(size_t n, const float *x, const float *weight, const float *bias,
                       enum clip_precision type, void *out)
{
    float mean = mean_of(n, x), scale = 1 / sqrtf(variance_of(n, x, mean) + 1e-5f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, (load(x + i) - mean) * scale * load(weight + i) + load(bias + i), type);
    size_t m = n - i;
    vec last = (load_part(x + i, m) - mean) * scale * load_part(weight + i, m) + load_part(bias + i, m);
    put_part(out, i, last, m, type);
}

/* --- activations --- */

static inline vec quick_gelu_of(vec x)
{
    /* e^x overflows above 88, and the quotient is 0 to f32 long before. */
    vec power = x * -1.702f;
    power = choose(power > 80.0f, splat(80), power);
    return x / (1 + exp_of(power));
}

/* x Phi(x) = x erfc(-x / sqrt 2) / 2. For z >= 0, erfc(z) = e^(-z²) t P(t), t = 1 / (1 + 0.3 z): P fitted for
 * the relative error, 2e-8 before rounding. */
static inline vec gelu_of(vec x)
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
    return x * choose(x > 0, 1 - upper, upper);
}

static void quick_gelu(size_t n, const float *x, const float *bias, enum clip_precision type, void *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, quick_gelu_of(load(x + i) + load(bias + i)), type);
    size_t m = n - i;
    put_part(out, i, quick_gelu_of(load_part(x + i, m) + load_part(bias + i, m)), m, type);
}

static void gelu(size_t n, const float *x, const float *bias, enum clip_precision type, void *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(out, i, gelu_of(load(x + i) + load(bias + i)), type);
    size_t m = n - i;
    put_part(out, i, gelu_of(load_part(x + i, m) + load_part(bias + i, m)), m, type);
}

/* --- small products, for attention --- */

/* c[rows][wide vectors] = a[rows][depth] · b[depth][...], summed in the order of depth; rows and wide are
 * constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(int rows, int wide, size_t depth, const float *a,
                                                       size_t lda, const float *b, size_t ldb, float *c,
                                                       size_t ldc)
{
    vec sum[TALL][WIDE];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int w = 0; w < wide; w++) sum[r][w] = (vec){0};
    for (size_t k = 0; k < depth; k++) {
        vec right[WIDE];
        UNROLL for (int w = 0; w < wide; w++) right[w] = load(b + k * ldb + w * LANES);
        UNROLL for (int r = 0; r < rows; r++)
        {
            vec left = splat(a[r * lda + k]);
            UNROLL for (int w = 0; w < wide; w++) sum[r][w] += left * right[w];
        }
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int w = 0; w < wide; w++)
        store(c + r * ldc + w * LANES, sum[r][w]);
}

/* c[rows][columns] = a[rows][depth] · b[depth][columns]; rows <= TALL, columns a multiple of LANES. */
static void small_product(size_t rows, size_t columns, size_t depth, const float *a, size_t lda,
                          const float *b, size_t ldb, float *c, size_t ldc)
{
    size_t j = 0;
    if (rows == TALL) {
        for (; j + WIDE * LANES <= columns; j += WIDE * LANES)
            tile(TALL, WIDE, depth, a, lda, b + j, ldb, c + j, ldc);
        for (; j < columns; j += LANES)
            tile(TALL, 1, depth, a, lda, b + j, ldb, c + j, ldc);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        for (j = 0; j + WIDE * LANES <= columns; j += WIDE * LANES)
            tile(1, WIDE, depth, a + r * lda, lda, b + j, ldb, c + r * ldc + j, ldc);
        for (; j < columns; j += LANES)
            tile(1, 1, depth, a + r * lda, lda, b + j, ldb, c + r * ldc + j, ldc);
    }
}

/* --- attention --- */

static size_t padded(size_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* Turns a square of vectors: each round deals the first and last halves of the rows i and i + LANES / 2 out
 * alternately, and after log2(LANES) rounds rows are columns. */
static inline __attribute__((always_inline)) void turn(vec square[LANES])
{
    UNROLL for (int round = 1; round < LANES; round *= 2)
    {
        vec dealt[LANES];
        UNROLL for (int i = 0; i < LANES / 2; i++)
        {
            dealt[2 * i] = __builtin_shufflevector(square[i], square[i + LANES / 2], FIRST_HALVES);
            dealt[2 * i + 1] = __builtin_shufflevector(square[i], square[i + LANES / 2], LAST_HALVES);
        }
        UNROLL for (int i = 0; i < LANES; i++) square[i] = dealt[i];
    }
}

/* turned[dim][padded(keys)] = the transpose of k[keys][dim] with its bias; zeros behind the last key. */
static void turn_keys(const struct clip_attention *a, float *turned)
{
    size_t columns = padded(a->keys);
    for (size_t j = 0; j < a->keys; j += LANES)
        for (size_t d = 0; d < a->dim; d += LANES) {
            size_t m = a->dim - d < LANES ? a->dim - d : LANES;
            vec square[LANES], bias = load_part(a->k_bias + d, m);
            for (size_t i = 0; i < LANES; i++) {
                const float *k = a->k + (j + i) * a->kv_stride + d;
                square[i] = j + i >= a->keys ? (vec){0} : (m == LANES ? load(k) : load_part(k, m)) + bias;
            }
            turn(square);
            for (size_t i = 0; i < m; i++)
                store(turned + (d + i) * columns + j, square[i]);
        }
}

/* out[rows][padded(dim)] = (x[rows][dim] + bias[dim]) * scale, zeros behind. */
static void copy_rows(size_t rows, size_t dim, const float *x, size_t stride, const float *bias, float scale,
                      float *out)
{
    for (size_t r = 0; r < rows; r++, x += stride, out += padded(dim)) {
        size_t d = 0;
        for (; d + LANES <= dim; d += LANES)
            store(out + d, (load(x + d) + load(bias + d)) * scale);
        if (d < dim)
            store(out + d, (load_part(x + d, dim - d) + load_part(bias + d, dim - d)) * scale);
    }
}

/* s[n] = e^(s - its largest), zeros up to s[columns], a multiple of LANES; returns their sum. */
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

static void attention(const struct clip_attention *a, float *scratch)
{
    size_t columns = padded(a->keys), dim = padded(a->dim);
    float *keys = scratch, *values = keys + a->dim * columns, *queries = values + a->keys * dim,
          *scores = queries + TALL * dim, *mixed = scores + TALL * columns;
    float scale = 1 / sqrtf((float)a->dim);
    turn_keys(a, keys);
    copy_rows(a->keys, a->dim, a->v, a->kv_stride, a->v_bias, 1, values);
    for (size_t first = 0; first < a->queries; first += TALL) {
        size_t rows = a->queries - first < TALL ? a->queries - first : TALL;
        size_t seen = a->causal ? first + rows : a->keys; /* by the last of these queries */
        float sums[TALL];
        copy_rows(rows, a->dim, a->q + first * a->q_stride, a->q_stride, a->q_bias, scale, queries);
        small_product(rows, padded(seen), a->dim, queries, dim, keys, columns, scores, columns);
        for (size_t r = 0; r < rows; r++)
            sums[r] = exponentials(scores + r * columns, a->causal ? first + r + 1 : a->keys, padded(seen));
        small_product(rows, dim, seen, scores, columns, values, dim, mixed, dim);
        for (size_t r = 0; r < rows; r++) {
            size_t at = (first + r) * a->out_stride, d = 0;
            float part = 1 / sums[r];
            for (; d + LANES <= a->dim; d += LANES)
                put(a->out, at + d, load(mixed + r * dim + d) * part, a->type);
            if (d < a->dim)
                put_part(a->out, at + d, load(mixed + r * dim + d) * part, a->dim - d, a->type);
        }
    }
}

const struct clip_kernels CLIP_LEVELED(clip_kernels) = {
    convert, sum, add, layer_norm, quick_gelu, gelu, attention,
};
