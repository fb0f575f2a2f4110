/* The kernels of dots.h: one source, compiled once for each level of the processor. */
#include "math/dots.h"
#include "math/lanes.h"

#include <math.h>

/* A tile of TALL by WIDE products keeps its sums, one vector each, in registers. PANEL bytes of a, which the
 * tiles share, stay in the L1 cache, and BLOCK bytes of b in L2. */
enum { TALL = 3, WIDE = 4, PANEL = 18 << 10, BLOCK = 256 << 10 };

typedef float quad __attribute__((vector_size(16)));

/* Adds the halves of a vector until four lanes are left. */
INLINE quad fold(vec v)
{
#if defined __AVX512F__
    typedef float oct __attribute__((vector_size(32)));
    oct w = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
            __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined __AVX2__
    vec w = v;
#endif
#if defined __AVX2__
    return __builtin_shufflevector(w, w, 0, 1, 2, 3) + __builtin_shufflevector(w, w, 4, 5, 6, 7);
#else
    return v;
#endif
}

/* The sums of four vectors, pair by pair. */
INLINE quad sums_of(const vec *v)
{
    quad a = fold(v[0]), b = fold(v[1]), c = fold(v[2]), d = fold(v[3]);
    quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

/* `tall` rows of a with four of b, which may be the same one. `rest` says that width is not a multiple of
 * LANES. */
INLINE void tile(const int tall, const int rest, size_t width, const float *a, const float *const *b,
                 float *out, size_t stride, size_t columns)
{
    vec sum[TALL][WIDE];
    size_t k = 0;
    UNROLL for (int i = 0; i < tall; i++) UNROLL for (int j = 0; j < WIDE; j++) sum[i][j] = (vec){0};
    for (; k + LANES <= width; k += LANES) {
        vec x[TALL];
        UNROLL for (int i = 0; i < tall; i++) x[i] = load(a + i * width + k);
        UNROLL for (int j = 0; j < WIDE; j++)
        {
            vec y = load(b[j] + k);
            UNROLL for (int i = 0; i < tall; i++) sum[i][j] += x[i] * y;
        }
    }
    UNROLL for (int i = 0; i < tall; i++)
    {
        quad four = sums_of(sum[i]);
        for (size_t j = k; rest && j < width; j++)
            four += a[i * width + j] * (quad){b[0][j], b[1][j], b[2][j], b[3][j]};
        memcpy(out + i * stride, &four, columns * sizeof *out);
    }
}

/* Prefetches into L2 the next panel's rows, in proportion: `done` of `all` columns are computed. */
INLINE void fetch(const float *next, size_t count, size_t done, size_t all)
{
    for (size_t i = count * done / all; i < count * (done + WIDE) / all; i += 64 / sizeof *next)
        __builtin_prefetch(next + i, 0, 2);
}

/* Multiplies rows of a, few enough to stay in the cache, by all of b. `after` rows follow them. */
INLINE void panel(const int rest, size_t width, size_t n, const float *a, size_t m, const float *b,
                  float *out, size_t stride, size_t after)
{
    for (size_t j = 0; j < m; j += WIDE) {
        size_t columns = m - j < WIDE ? m - j : WIDE, i = 0;
        const float *four[WIDE];
        for (size_t c = 0; c < WIDE; c++)
            four[c] = b + (j + (c < columns ? c : 0)) * width;
        if (after)
            fetch(a + n * width, after * width, j, m);
        for (; i + TALL <= n && columns == WIDE; i += TALL)
            tile(TALL, rest, width, a + i * width, four, out + i * stride + j, stride, WIDE);
        for (; i < n; i++)
            tile(1, rest, width, a + i * width, four, out + i * stride + j, stride, columns);
    }
}

/* Rows that fill so many bytes, a multiple of `step`. */
INLINE size_t rows_of(size_t bytes, size_t width, size_t step)
{
    size_t rows = bytes / (width * sizeof(float)) / step * step;
    return rows ? rows : step;
}

static void dots(size_t width, size_t n, const float *a, size_t m, const float *b, float *out, size_t stride)
{
    size_t tall = rows_of(PANEL, width, TALL), wide = rows_of(BLOCK, width, WIDE);
    for (size_t j = 0; j < m; j += wide)
        for (size_t i = 0; i < n; i += tall) {
            size_t rows = n - i < tall ? n - i : tall, columns = m - j < wide ? m - j : wide;
            size_t after = n - i - rows < tall ? n - i - rows : tall;
            if (width % LANES == 0)
                panel(0, width, rows, a + i * width, columns, b + j * width, out + i * stride + j, stride,
                      after);
            else
                panel(1, width, rows, a + i * width, columns, b + j * width, out + i * stride + j, stride,
                      after);
        }
}

INLINE vec higher(vec a, vec b)
{
    ivec greater = a > b; /* false where a is NaN */
    return (vec)((greater & (ivec)a) | (~greater & (ivec)b));
}

static float highest(size_t n, const float *x)
{
    enum { APART = 4 };
    vec most[APART];
    float lanes[LANES], found = -INFINITY;
    size_t i = 0;
    UNROLL for (int j = 0; j < APART; j++) most[j] = splat(-INFINITY);
    for (; i + APART * LANES <= n; i += APART * LANES)
        UNROLL for (int j = 0; j < APART; j++) most[j] = higher(load(x + i + j * LANES), most[j]);
    store(lanes, higher(higher(most[0], most[1]), higher(most[2], most[3])));
    for (int j = 0; j < LANES; j++)
        found = lanes[j] > found ? lanes[j] : found;
    for (; i < n; i++)
        found = x[i] > found ? x[i] : found;
    return found;
}

/* --- unit vectors --- */

/* Four sums of four at every level, so that all levels give the same. The square of a float is exact in
 * double. */
enum { FOUR = 4, SUMS = 4 };
typedef double wide __attribute__((vector_size(FOUR * sizeof(double))));

INLINE wide widen(const char *x)
{
    quad v;
    memcpy(&v, x, sizeof v);
    return __builtin_convertvector(v, wide);
}

INLINE float float_at(const char *x)
{
    float v;
    memcpy(&v, x, sizeof v);
    return v;
}

static double squares(size_t n, const void *x)
{
    const char *p = x;
    wide sum[SUMS] = {{0}};
    size_t i = 0;
    for (; i + SUMS * FOUR <= n; i += SUMS * FOUR)
        UNROLL for (int j = 0; j < SUMS; j++)
        {
            wide v = widen(p + (i + j * FOUR) * sizeof(float));
            sum[j] += v * v;
        }
    wide four = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    double total = (four[0] + four[1]) + (four[2] + four[3]);
    for (; i < n; i++) {
        double v = float_at(p + i * sizeof(float));
        total += v * v;
    }
    return total;
}

static void scale(size_t n, const void *x, double factor, float *out)
{
    const char *p = x;
    size_t i = 0;
    for (; i + FOUR <= n; i += FOUR) {
        quad v = __builtin_convertvector(widen(p + i * sizeof(float)) * factor, quad);
        memcpy(out + i, &v, sizeof v);
    }
    for (; i < n; i++)
        out[i] = (float)(float_at(p + i * sizeof(float)) * factor);
}

/* --- halves --- */

typedef uint16_t hvec __attribute__((vector_size(LANES * sizeof(uint16_t))));
typedef uint32_t uvec __attribute__((vector_size(LANES * sizeof(uint32_t))));

/* Read as a float, the shifted bits of a half without its sign are 2^-112 times its value; infinities and NaN
 * need the highest exponent too. */
INLINE vec widen_halves(const char *x, size_t n)
{
    hvec halves = {0};
    memcpy(&halves, x, n * sizeof(uint16_t));
    uvec bits = __builtin_convertvector(halves, uvec), magnitude = bits & 0x7fff;
    vec v = (vec)(magnitude << 13) * 0x1p112f;
    return (vec)((uvec)v | (bits & 0x8000) << 16 | ((uvec)(magnitude >= 0x7c00) & 0x7f800000u));
}

static void from_halves(size_t n, const void *x, float *out)
{
    const char *p = x;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(out + i, widen_halves(p + i * sizeof(uint16_t), LANES));
    if (i < n) {
        vec v = widen_halves(p + i * sizeof(uint16_t), n - i);
        memcpy(out + i, &v, (n - i) * sizeof *out);
    }
}

const struct clip_dot_kernels CLIP_LEVELED(clip_dot_kernels) = {dots, highest, squares, scale, from_halves};
