#include "image/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* Weights must be exact to the last bit: no fused multiply-adds (GCC's -std=c11 has none). */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#define PRECISION 22
#define ROWS 4   /* rows that a horizontal kernel processes at once */
#define STEP 4   /* taps that a SIMD kernel processes at once */
#define ALIGN 32 /* rows between the passes start at multiples of this, and may be overrun up to one */

/* Along one axis, output i is the sum over j < window of weights[i][j] times source pixel first[i] + j.
 * All windows have the same width, a multiple of STEP if the source is wide enough; they lie inside the
 * source, with zero weights for pixels that do not count. `halves` holds the weights again, for 16-bit
 * products, 4 taps to a group of 8: four low halves (signed), four high halves, weight = high * 65536 +
 * low. */
struct taps {
    int outputs, window;
    int *first;
    int32_t *weights; /* [outputs, window] */
    int16_t *halves;  /* [outputs, window / STEP, 2, STEP] */
};

struct kernels {
    /* out[r][x, c] from in[r] for r < rows <= ROWS; channels 1 or 4. */
    void (*horizontal)(uint8_t *const *out, const uint8_t *const *in, int rows, int channels,
                       const struct taps *taps);
    /* Output row i, `bytes` wide, from rows `stride` apart, the first of which is row 0. */
    void (*vertical)(uint8_t *out, const uint8_t *in, size_t stride, size_t bytes, const struct taps *taps,
                     int i);
};

const char *const clip_interpolation_names[CLIP_INTERPOLATIONS] = {"bicubic", "bilinear"};

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Parameters of an axis's weights. */
struct axis {
    enum clip_interpolation interpolation;
    int size;      /* of the source */
    double scale;  /* source pixels to an output pixel */
    double spread; /* width of the filter relative to its own: the scale, at least 1 */
    double reach;  /* source pixels from the filter's centre to its end */
};

static struct axis make_axis(enum clip_interpolation interpolation, int size, int new_size)
{
    double scale = (double)(float)size / new_size; /* Pillow's box is in float */
    double spread = scale < 1.0 ? 1.0 : scale;
    return (struct axis){interpolation, size, scale, spread,
                         (interpolation == CLIP_BILINEAR ? 1.0 : 2.0) * spread};
}

/* The source pixels [*from, *to) under the filter at output i. */
static void support(const struct axis *axis, int i, int *from, int *to)
{
    double center = (i + 0.5) * axis->scale;
    *from = (int)(center - axis->reach + 0.5);
    if (*from < 0)
        *from = 0;
    double end = center + axis->reach + 0.5;
    *to = end > axis->size ? axis->size : (int)end;
}

/* The weights of [from, to) at output i, in `weights`. */
static void fill_weights(const struct axis *axis, int i, int from, int to, double *scratch, int32_t *weights)
{
    double center = (i + 0.5) * axis->scale, inverse = 1.0 / axis->spread, sum = 0.0;
    for (int j = 0; j < to - from; j++) {
        double x = (j + from - center + 0.5) * inverse;
        scratch[j] = axis->interpolation == CLIP_BILINEAR ? bilinear(x) : bicubic(x);
        sum += scratch[j];
    }
    for (int j = 0; j < to - from; j++) {
        double weight = sum != 0.0 ? scratch[j] / sum : scratch[j];
        weights[j] = (int32_t)((weight < 0 ? -0.5 : 0.5) + weight * (1 << PRECISION));
    }
}

static void free_taps(struct taps *taps)
{
    free(taps->first);
    free(taps->weights);
    free(taps->halves);
}

static void split_weights(struct taps *taps)
{
    size_t groups = (size_t)taps->outputs * (size_t)(taps->window / STEP);
    for (size_t g = 0; g < groups; g++)
        for (int j = 0; j < STEP; j++) {
            int32_t weight = taps->weights[g * STEP + (size_t)j];
            int16_t low = (int16_t)(uint16_t)weight;
            taps->halves[g * 2 * STEP + (size_t)j] = low;
            taps->halves[g * 2 * STEP + STEP + (size_t)j] = (int16_t)((weight - low) / 65536);
        }
}

/* Taps of the outputs [start, start + outputs) of new_size. */
static int make_taps(struct taps *taps, enum clip_interpolation interpolation, int size, int new_size,
                     int start, int outputs, struct clip_error *error)
{
    struct axis axis = make_axis(interpolation, size, new_size);
    int from, to, window = 1;
    for (int i = 0; i < outputs; i++) {
        support(&axis, start + i, &from, &to);
        if (to - from > window)
            window = to - from;
    }
    window = (window + STEP - 1) / STEP * STEP;
    if (window > size)
        window = size;
    size_t n = (unsigned)outputs, width = (unsigned)window;
    *taps = (struct taps){.outputs = outputs, .window = window};
    taps->first = calloc(n, sizeof *taps->first);
    taps->weights = calloc(n, width * sizeof *taps->weights);
    taps->halves = calloc(n, 2 * width * sizeof *taps->halves);
    double *scratch = calloc(width, sizeof *scratch);
    if (!taps->first || !taps->weights || !taps->halves || !scratch) {
        free(scratch);
        free_taps(taps);
        return clip_fail_memory(error, "the weights of a resampling");
    }
    for (int i = 0; i < outputs; i++) {
        support(&axis, start + i, &from, &to);
        taps->first[i] = from + window > size ? size - window : from;
        fill_weights(&axis, start + i, from, to, scratch,
                     taps->weights + (size_t)i * width + (from - taps->first[i]));
    }
    free(scratch);
    if (window % STEP == 0)
        split_weights(taps);
    return 0;
}

/* --- plain kernels --- */

/* Sums wrap at 32 bits, as in Pillow. */
static uint8_t round_clip(uint32_t sum)
{
    int32_t value = (int32_t)sum >> PRECISION;
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

static inline void horizontal_row(uint8_t *out, const uint8_t *in, int channels, const struct taps *taps)
{
    const int32_t *weights = taps->weights;
    for (int i = 0; i < taps->outputs; i++, weights += taps->window) {
        const uint8_t *from = in + (size_t)taps->first[i] * (size_t)channels;
        uint32_t sum[4] = {1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1),
                           1 << (PRECISION - 1)};
        for (int j = 0; j < taps->window; j++)
            for (int c = 0; c < channels; c++)
                sum[c] += *from++ * (uint32_t)weights[j];
        for (int c = 0; c < channels; c++)
            *out++ = round_clip(sum[c]);
    }
}

static void horizontal_plain(uint8_t *const *out, const uint8_t *const *in, int rows, int channels,
                             const struct taps *taps)
{
    for (int r = 0; r < rows; r++)
        if (channels == 1)
            horizontal_row(out[r], in[r], 1, taps);
        else
            horizontal_row(out[r], in[r], 4, taps);
}

static void vertical_plain(uint8_t *out, const uint8_t *in, size_t stride, size_t bytes,
                           const struct taps *taps, int i)
{
    const int32_t *weights = taps->weights + (size_t)i * (size_t)taps->window;
    in += (size_t)taps->first[i] * stride;
    for (size_t x = 0; x < bytes; x++) {
        uint32_t sum = 1 << (PRECISION - 1);
        for (int j = 0; j < taps->window; j++)
            sum += in[(size_t)j * stride + x] * (uint32_t)weights[j];
        out[x] = round_clip(sum);
    }
}

static const struct kernels plain = {horizontal_plain, vertical_plain};

/* --- AVX2: pixels times halves of weights, two taps to a 16-bit multiply-add --- */

#ifdef __x86_64__

/* high * 65536 + low. */
__attribute__((target("avx2"))) static __m256i join_halves(__m256i low, __m256i high)
{
    return _mm256_add_epi32(low, _mm256_slli_epi32(high, 16));
}

/* Rounded, as 32-bit numbers, not yet clipped. */
__attribute__((target("avx2"))) static __m256i round_sums(__m256i sums)
{
    return _mm256_srai_epi32(_mm256_add_epi32(sums, _mm256_set1_epi32(1 << (PRECISION - 1))), PRECISION);
}

/* Adds the lanes of the sums of two rows; gives their pixels, row a's in the low lane. */
__attribute__((target("avx2"))) static __m256i join_lanes(__m256i low_a, __m256i high_a, __m256i low_b,
                                                          __m256i high_b)
{
    __m256i a = join_halves(low_a, high_a), b = join_halves(low_b, high_b);
    __m256i sum =
        _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
    return round_sums(sum);
}

/* Writes a pixel of each of four rows. */
__attribute__((target("avx2"))) static void put_pixels(uint8_t *const *out, size_t at,
                                                       const __m256i low[ROWS], const __m256i high[ROWS])
{
    __m256i words = _mm256_packs_epi32(join_lanes(low[0], high[0], low[1], high[1]),
                                       join_lanes(low[2], high[2], low[3], high[3]));
    __m256i bytes = _mm256_packus_epi16(words, words);
    uint64_t even = (uint64_t)_mm256_extract_epi64(bytes, 0), odd = (uint64_t)_mm256_extract_epi64(bytes, 2);
    const uint32_t pixels[ROWS] = {(uint32_t)even, (uint32_t)odd, (uint32_t)(even >> 32),
                                   (uint32_t)(odd >> 32)};
    for (int r = 0; r < ROWS; r++)
        memcpy(out[r] + at, &pixels[r], sizeof pixels[r]);
}

/* Four channels. A register holds taps 0 and 1 of each channel in its low lane, 2 and 3 in its high one. */
__attribute__((target("avx2"))) static void horizontal_four(uint8_t *const *out, const uint8_t *const *in,
                                                            const struct taps *taps)
{
    const __m256i pairs =
        _mm256_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1, /* taps 0 1 */
                         8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1);
    const __m256i low_weights = _mm256_setr_epi32(0x03020100, 0x03020100, 0x03020100, 0x03020100, 0x07060504,
                                                  0x07060504, 0x07060504, 0x07060504);
    const __m256i high_weights = _mm256_add_epi8(low_weights, _mm256_set1_epi8(8));
    const int16_t *halves = taps->halves;
    for (int i = 0; i < taps->outputs; i++) {
        size_t at = (size_t)taps->first[i] * 4;
        __m256i low[ROWS], high[ROWS];
        for (int r = 0; r < ROWS; r++)
            low[r] = high[r] = _mm256_setzero_si256();
        for (int j = 0; j < taps->window; j += STEP, at += 4 * STEP, halves += 2 * STEP) {
            __m256i weights = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)halves));
            __m256i weights_low = _mm256_shuffle_epi8(weights, low_weights);
            __m256i weights_high = _mm256_shuffle_epi8(weights, high_weights);
#pragma GCC unroll 4 /* else the sums are in memory */
            for (int r = 0; r < ROWS; r++) {
                __m256i pixels = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(in[r] + at)));
                pixels = _mm256_shuffle_epi8(pixels, pairs);
                low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, weights_low));
                high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, weights_high));
            }
        }
        put_pixels(out, (size_t)i * 4, low, high);
    }
}

__attribute__((target("avx2"))) static void horizontal_avx2(uint8_t *const *out, const uint8_t *const *in,
                                                            int rows, int channels, const struct taps *taps)
{
    if (rows == ROWS && channels == 4 && taps->window % STEP == 0)
        horizontal_four(out, in, taps);
    else
        horizontal_plain(out, in, rows, channels, taps);
}

/* Adds the products of 16 columns of two rows to the sums of columns 0-7 and 8-15. */
__attribute__((target("avx2"))) static inline void add_rows(const uint8_t *in, size_t stride,
                                                            __m256i weights_low, __m256i weights_high,
                                                            __m256i low[2], __m256i high[2])
{
    __m128i a = _mm_loadu_si128((const __m128i *)in), b = _mm_loadu_si128((const __m128i *)(in + stride));
    __m256i left = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
    __m256i right = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
    low[0] = _mm256_add_epi32(low[0], _mm256_madd_epi16(left, weights_low));
    low[1] = _mm256_add_epi32(low[1], _mm256_madd_epi16(right, weights_low));
    high[0] = _mm256_add_epi32(high[0], _mm256_madd_epi16(left, weights_high));
    high[1] = _mm256_add_epi32(high[1], _mm256_madd_epi16(right, weights_high));
}

__attribute__((target("avx2"))) static __m256i two_weights(const int16_t *halves)
{
    int32_t pair;
    memcpy(&pair, halves, sizeof pair);
    return _mm256_set1_epi32(pair);
}

__attribute__((target("avx2"))) static void vertical_avx2(uint8_t *out, const uint8_t *in, size_t stride,
                                                          size_t bytes, const struct taps *taps, int i)
{
    if (taps->window % STEP != 0) {
        vertical_plain(out, in, stride, bytes, taps, i);
        return;
    }
    in += (size_t)taps->first[i] * stride;
    for (size_t x = 0; x < bytes; x += 16) {
        const int16_t *halves = taps->halves + (size_t)i * (size_t)taps->window * 2;
        __m256i low[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, high[2] = {low[0], low[0]};
        for (int j = 0; j < taps->window; j += STEP, halves += 2 * STEP) {
            const uint8_t *rows = in + (size_t)j * stride + x;
            add_rows(rows, stride, two_weights(halves), two_weights(halves + STEP), low, high);
            add_rows(rows + 2 * stride, stride, two_weights(halves + 2), two_weights(halves + STEP + 2), low,
                     high);
        }
        __m256i words = _mm256_packs_epi32(round_sums(join_halves(low[0], high[0])),
                                           round_sums(join_halves(low[1], high[1])));
        words = _mm256_permute4x64_epi64(words, 0xd8); /* packing goes lane by lane */
        __m128i pixels = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        if (bytes - x >= 16)
            _mm_storeu_si128((__m128i *)(out + x), pixels);
        else
            memcpy(out + x, &pixels, bytes - x);
    }
}

static const struct kernels avx2 = {horizontal_avx2, vertical_avx2};
#endif

/* There are none for AVX-512: rows are too short to gain by it. */
static const struct kernels *choose_kernels(enum clip_level level)
{
#ifdef __x86_64__
    if (level >= CLIP_AVX2)
        return &avx2;
#endif
    (void)level;
    return &plain;
}

/* --- the two passes --- */

/* Source rows [first, first + rows) through the horizontal taps into between[rows, stride]. */
static int pass_rows(const struct clip_rows *in, int first, int rows, const struct taps *taps,
                     const struct kernels *kernels, uint8_t *between, size_t stride, struct clip_error *error)
{
    size_t bytes = (size_t)in->width * (size_t)in->channels;
    uint8_t *scratch = calloc(ROWS, bytes);
    if (!scratch)
        return clip_fail_memory(error, "rows of a picture");
    for (int y = 0; y < rows; y += ROWS) {
        const uint8_t *from[ROWS];
        uint8_t *to[ROWS];
        int n = rows - y < ROWS ? rows - y : ROWS;
        for (int r = 0; r < n; r++) {
            from[r] = in->row(in->context, first + y + r, scratch + (size_t)r * bytes);
            to[r] = between + (size_t)(y + r) * stride;
        }
        kernels->horizontal(to, from, n, in->channels, taps);
    }
    free(scratch);
    return 0;
}

static int resample(const struct clip_rows *in, const struct taps *across, struct taps *down,
                    const struct kernels *kernels, uint8_t *out, struct clip_error *error)
{
    /* From one output to the next, windows never begin earlier or end earlier. */
    int first = down->first[0], rows = down->first[down->outputs - 1] + down->window - first;
    for (int i = 0; i < down->outputs; i++)
        down->first[i] -= first;
    size_t bytes = (size_t)across->outputs * (size_t)in->channels,
           stride = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    uint8_t *between = reallocarray(NULL, (size_t)rows, stride);
    if (!between)
        return clip_fail_memory(error, "a picture between two passes");
    int status = pass_rows(in, first, rows, across, kernels, between, stride, error);
    for (int i = 0; status == 0 && i < down->outputs; i++)
        kernels->vertical(out + (size_t)i * bytes, between, stride, bytes, down, i);
    free(between);
    return status;
}

int clip_resample(const struct clip_rows *in, int new_width, int new_height, const struct clip_box *box,
                  enum clip_interpolation interpolation, uint8_t *out, enum clip_level level,
                  struct clip_error *error)
{
    struct taps across, down;
    if (make_taps(&across, interpolation, in->width, new_width, box->x, box->width, error) < 0)
        return -1;
    if (make_taps(&down, interpolation, in->height, new_height, box->y, box->height, error) < 0) {
        free_taps(&across);
        return -1;
    }
    int status = resample(in, &across, &down, choose_kernels(level), out, error);
    free_taps(&across);
    free_taps(&down);
    return status;
}
