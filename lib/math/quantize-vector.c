/* The functions of quantize.h: one source, compiled once for each level of the processor. */
#include "math/lanes.h"
#include "math/quantize.h"

#include <float.h>
#include <math.h>

typedef uint8_t bytes __attribute__((vector_size(LANES)));
typedef int8_t signed_bytes __attribute__((vector_size(LANES)));

/* Added to a number below 2^22, leaves the nearest integer, ties to even, in the low bits. */
#define ROUND 12582912.0f

/* What a range of numbers is, in lanes. */
struct range {
    vec least, most, strange; /* strange: 0, or NaN where one is not finite */
};

INLINE struct range widen(struct range range, vec v)
{
    return (struct range){min(v, range.least), max(v, range.most), range.strange + v * 0};
}

INLINE struct range join(struct range a, struct range b)
{
    return (struct range){min(a.least, b.least), max(a.most, b.most), a.strange + b.strange};
}

/* The range of x[n] and 0, in the first lanes. */
static struct range range_of(size_t n, const float *x)
{
    enum { CHAINS = 4 }; /* each waits for its last step */
    struct range range[CHAINS] = {0};
    size_t i = 0;
    for (; i + CHAINS * LANES <= n; i += CHAINS * LANES)
        UNROLL for (int c = 0; c < CHAINS; c++) range[c] = widen(range[c], load(x + i + c * LANES));
    for (; i + LANES <= n; i += LANES)
        range[0] = widen(range[0], load(x + i));
    if (i < n)
        range[0] = widen(range[0], load_part(n - i, x + i));
    struct range all = range[0];
    for (int c = 1; c < CHAINS; c++)
        all = join(all, range[c]);
    UNROLL for (int n = LANES / 2; n > 0; n /= 2)
    {
        struct range upper = {{0}, {0}, {0}};
        memcpy(&upper.least, (const float *)&all.least + n, (size_t)n * sizeof(float));
        memcpy(&upper.most, (const float *)&all.most + n, (size_t)n * sizeof(float));
        memcpy(&upper.strange, (const float *)&all.strange + n, (size_t)n * sizeof(float));
        all = join(all, upper);
    }
    return all;
}

/* The integers nearest to numbers of at most 8 bits. */
INLINE ivec nearest(vec v)
{
    return (ivec)(v + ROUND) - (ivec)splat(ROUND);
}

INLINE void row_part(size_t n, const float *x, float inverse, float zero, uint8_t *q)
{
    vec v = load_part(n, x) * inverse + zero;
    bytes part = __builtin_convertvector(nearest(max(min(v, splat(255)), (vec){0})), bytes);
    memcpy(q, &part, n);
}

static struct clip_int8_row quantize_row(size_t k, const float *x, uint8_t *q)
{
    struct range range = range_of(k, x);
    /* Each divided by itself: the difference of large numbers overflows. */
    float scale = range.most[0] / 255 - range.least[0] / 255;
    if (!(range.strange[0] == 0) || scale < FLT_MIN) {
        memset(q, 0, k);
        return (struct clip_int8_row){range.strange[0] == 0 ? 0 : NAN, 0};
    }
    float inverse = 1 / scale, zero = rintf(-range.least[0] * inverse);
    size_t i = 0;
    for (; i + LANES <= k; i += LANES)
        row_part(LANES, x + i, inverse, zero, q + i);
    if (i < k)
        row_part(k - i, x + i, inverse, zero, q + i);
    return (struct clip_int8_row){scale, zero};
}

INLINE void finish_part(size_t n, struct clip_int8_row row, const float *scales, const float *totals,
                        int32_t *y)
{
    ivec sums = {0};
    memcpy(&sums, y, n * sizeof *y);
    vec whole = __builtin_convertvector(sums, vec) - row.zero * load_part(n, totals);
    vec out = whole * (row.scale * load_part(n, scales));
    memcpy(y, &out, n * sizeof *y);
}

static void finish(size_t n, struct clip_int8_row row, const float *scales, const float *totals, int32_t *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        finish_part(LANES, row, scales + i, totals + i, y + i);
    if (i < n)
        finish_part(n - i, row, scales + i, totals + i, y + i);
}

INLINE void weights_part(size_t n, const float *w, float scale, int8_t *q)
{
    signed_bytes part = __builtin_convertvector(nearest(load_part(n, w) / scale), signed_bytes);
    memcpy(q, &part, n);
}

static float quantize_weights(size_t k, const float *w, int8_t *q)
{
    struct range range = range_of(k, w);
    float most = range.most[0] > -range.least[0] ? range.most[0] : -range.least[0], scale = most / 127;
    if (!(range.strange[0] == 0) || scale < FLT_MIN) {
        memset(q, 0, k);
        return range.strange[0] == 0 ? 0 : NAN;
    }
    size_t i = 0;
    for (; i + LANES <= k; i += LANES)
        weights_part(LANES, w + i, scale, q + i);
    if (i < k)
        weights_part(k - i, w + i, scale, q + i);
    return scale;
}

static int32_t total(size_t k, const int8_t *q)
{
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += q[i];
    return sum;
}

const struct clip_quantizers CLIP_LEVELED(clip_quantizers) = {quantize_row, finish, quantize_weights, total};
