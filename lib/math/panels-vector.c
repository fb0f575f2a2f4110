/* The kernels of panels.h: one source, compiled once for each level of the processor. */
#include "math/lanes.h"
#include "math/panels.h"

#if defined __F16C__ || defined __AVX512F__
#include <immintrin.h>
#endif

/* A tile is TALL rows of a panel; its sums, a row of weights and a number of x fill the registers. */
#if defined __AVX512F__
enum { TALL = 12 };
#else
enum { TALL = 6 };
#endif
enum { VECTORS = 2, WIDTH = VECTORS * LANES };

/* --- stored elements --- */

/* The first n <= LANES elements at x as floats, and zeros. */
INLINE vec load_stored(const enum clip_stored stored, size_t n, const void *x)
{
    typedef uint16_t halves __attribute__((vector_size(LANES * sizeof(uint16_t))));
    typedef uint32_t bits __attribute__((vector_size(LANES * sizeof(uint32_t))));
    halves half = {0};
    if (stored == CLIP_STORED_F32)
        return n == LANES ? load(x) : load_part(n, x);
    memcpy(&half, x, n * sizeof(uint16_t));
    if (stored == CLIP_STORED_BF16)
        return (vec)(__builtin_convertvector(half, bits) << 16);
#if defined __AVX512F__
    return (vec)_mm512_cvtph_ps((__m256i)half);
#elif defined __F16C__
    return (vec)_mm256_cvtph_ps((__m128i)half);
#else
    bits wide = __builtin_convertvector(half, bits), sign = (wide & 0x8000) << 16,
         rest = (wide & 0x7fff) << 13;
    bits special = (bits)(rest >= (31u << 23)); /* infinity, and NaN */
    return (vec)(sign | (special & (rest | 0x7f800000)) | (~special & (bits)((vec)rest * 0x1p112f)));
#endif
}

static size_t element_size(enum clip_stored stored)
{
    return stored == CLIP_STORED_F32 ? sizeof(float) : sizeof(uint16_t);
}

INLINE void floats_of(const enum clip_stored stored, size_t n, const void *x, float *y)
{
    size_t size = element_size(stored), i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load_stored(stored, LANES, (const char *)x + i * size));
    if (i < n)
        store_part(n - i, y + i, load_stored(stored, n - i, (const char *)x + i * size));
}

static void floats(size_t n, const void *x, enum clip_stored stored, float *y)
{
    if (stored == CLIP_STORED_F16)
        floats_of(CLIP_STORED_F16, n, x, y);
    else if (stored == CLIP_STORED_BF16)
        floats_of(CLIP_STORED_BF16, n, x, y);
    else
        memcpy(y, x, n * sizeof *y);
}

/* --- packing --- */

/* packed[depth][WIDTH] of rows [0, rows) of x, `stride` elements from one to the next; zeros after the last
 * row. Squares of x are transposed. */
INLINE void pack_rows(const enum clip_stored stored, size_t rows, size_t depth, const void *x, size_t stride,
                      float *packed)
{
    size_t size = element_size(stored);
    for (size_t i = 0; i < depth; i += LANES, packed += LANES * WIDTH) {
        size_t m = depth - i < LANES ? depth - i : LANES;
        for (size_t v = 0; v < VECTORS; v++) {
            vec square[LANES];
            for (size_t r = 0; r < LANES; r++) {
                const char *row = (const char *)x + ((v * LANES + r) * stride + i) * size;
                square[r] = v * LANES + r >= rows ? (vec){0}
                            : m == LANES          ? load_stored(stored, LANES, row)
                                                  : load_stored(stored, m, row);
            }
            transpose_square(square);
            for (size_t j = 0; j < m; j++)
                store(packed + j * WIDTH + v * LANES, square[j]);
        }
    }
}

static void pack(size_t n, size_t k, const float *w, int transposed, float *packed)
{
    for (size_t first = 0; first < n; first += WIDTH, packed += WIDTH * k) {
        size_t columns = n - first < WIDTH ? n - first : WIDTH;
        if (!transposed) {
            pack_rows(CLIP_STORED_F32, columns, k, w + first * k, k, packed);
            continue;
        }
        memset(packed, 0, columns < WIDTH ? WIDTH * k * sizeof *packed : 0);
        for (size_t i = 0; i < k; i++)
            memcpy(packed + i * WIDTH, w + i * n + first, columns * sizeof *w);
    }
}

INLINE void pack_panels(const enum clip_stored stored, size_t n, size_t k, const char *w, float *packed)
{
    for (size_t first = 0; first < n; first += WIDTH)
        pack_rows(stored, n - first < WIDTH ? n - first : WIDTH, k, w + first * k * element_size(stored), k,
                  packed + first * k);
}

static void pack_stored(size_t n, size_t k, const void *w, enum clip_stored stored, float *packed)
{
    if (stored == CLIP_STORED_F16)
        pack_panels(CLIP_STORED_F16, n, k, w, packed);
    else if (stored == CLIP_STORED_BF16)
        pack_panels(CLIP_STORED_BF16, n, k, w, packed);
    else
        pack(n, k, w, 0, packed);
}

/* --- products --- */

/* A block of k: a[rows][depth] at `row` floats from row to row, and where sums go. */
struct block {
    size_t rows, depth, row, n;
    const float *a;
    int add;
};

/* y[tall][columns] = or += a · b with b[depth][WIDTH]. Brings depth floats at `next` into the cache. */
INLINE void tile(const int tall, const struct block *block, const float *a, const float *b, const float *next,
                 size_t columns, float *y)
{
    vec sum[TALL][VECTORS];
    float part[TALL][WIDTH];
    UNROLL for (int r = 0; r < tall; r++) UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = (vec){0};
    if (block->add && columns == WIDTH) {
        UNROLL for (int r = 0; r < tall; r++) UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] =
            load(y + (size_t)r * block->n + v * LANES);
    } else if (block->add) {
        for (int r = 0; r < tall; r++)
            memcpy(part[r], y + (size_t)r * block->n, columns * sizeof *y);
        UNROLL for (int r = 0; r < tall; r++) UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] =
            load(part[r] + v * LANES);
    }
    for (size_t i = 0; i < block->depth; i++, b += WIDTH) {
        vec w[VECTORS];
        __builtin_prefetch(next + i, 0, 2);
        UNROLL for (int v = 0; v < VECTORS; v++) w[v] = load(b + v * LANES);
        UNROLL for (int r = 0; r < tall; r++)
        {
            vec x = splat(a[(size_t)r * block->row + i]);
            UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] += x * w[v];
        }
    }
    if (columns == WIDTH) {
        UNROLL for (int r = 0; r < tall; r++) UNROLL for (int v = 0; v < VECTORS; v++)
            store(y + (size_t)r * block->n + v * LANES, sum[r][v]);
        return;
    }
    UNROLL for (int r = 0; r < tall; r++) UNROLL for (int v = 0; v < VECTORS; v++)
        store(part[r] + v * LANES, sum[r][v]);
    for (int r = 0; r < tall; r++)
        memcpy(y + (size_t)r * block->n, part[r], columns * sizeof *y);
}

/* All rows with one panel; each tile brings a part of the next panel into the cache. */
static void run_panel(const struct block *block, const float *b, const float *next, size_t columns, float *y)
{
    const float *a = block->a;
    size_t left = block->rows, step = block->depth;
    for (; left >= TALL; left -= TALL, a += TALL * block->row, y += TALL * block->n, next += step)
        tile(TALL, block, a, b, next, columns, y);
    for (; left >= 4; left -= 4, a += 4 * block->row, y += 4 * block->n, next += step)
        tile(4, block, a, b, next, columns, y);
    for (; left >= 2; left -= 2, a += 2 * block->row, y += 2 * block->n, next += step)
        tile(2, block, a, b, next, columns, y);
    if (left)
        tile(1, block, a, b, next, columns, y);
}

static void run(size_t rows, size_t n, size_t k, const float *x, const float *packed, int add, float *y,
                float *scratch)
{
    for (size_t first = 0; first < k; first += CLIP_PANEL_DEPTH) {
        size_t depth = k - first < CLIP_PANEL_DEPTH ? k - first : CLIP_PANEL_DEPTH;
        struct block block = {rows, depth, k, n, x + first, add || first};
        /* Rows of a power of two or so would share the places of the cache. */
        if (k > CLIP_PANEL_DEPTH) {
            for (size_t r = 0; r < rows; r++)
                memcpy(scratch + r * depth, x + r * k + first, depth * sizeof *x);
            block.a = scratch;
            block.row = depth;
        }
        const float *b = packed + first * WIDTH;
        for (size_t c = 0; c < n; c += WIDTH, b += WIDTH * k) {
            size_t left = n - c;
            run_panel(&block, b, left > WIDTH ? b + WIDTH * k : b, left < WIDTH ? left : WIDTH, y + c);
        }
    }
}

/* --- products with weights as they lie ---
 *
 * The two operands change places: panels are made of rows of x, and rows of w are read as they lie. A sum is
 * of the same products in the same order, so its bytes are those of the packed weights. Sums are kept as they
 * come, a column of y side by side, and transposed GROUP columns at a time: whole lines of y. */
enum { GROUP = 8 * TALL };

/* A block of k. */
struct lying {
    size_t depth, panels; /* of x: [panels][depth][WIDTH] */
    const float *x;
    int add; /* sums continue those of the block before */
};

/* The sums of TALL outputs, rows of w at `row` floats, and of a panel of rows of x: kept[TALL][WIDTH]. Brings
 * depth floats at each of `next` into the cache. */
static void lying_tile(const struct lying *block, const float *w, size_t row, const float *x,
                       const float *const next[2], float *kept)
{
    enum { STEP = 8 };
    vec sum[TALL][VECTORS] = {{{0}}};
    if (block->add)
        UNROLL for (int r = 0; r < TALL; r++) UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] =
            load(kept + r * WIDTH + v * LANES);
    for (size_t i = 0; i < block->depth;) {
        size_t end = block->depth - i < STEP ? block->depth : i + STEP;
        __builtin_prefetch(next[0] + i, 0, 2);
        __builtin_prefetch(next[1] + i, 0, 2);
        for (; i < end; i++, x += WIDTH) {
            vec rows[VECTORS];
            UNROLL for (int v = 0; v < VECTORS; v++) rows[v] = load(x + v * LANES);
            UNROLL for (int r = 0; r < TALL; r++)
            {
                vec weight = splat(w[(size_t)r * row + i]);
                UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] += rows[v] * weight;
            }
        }
    }
    UNROLL for (int r = 0; r < TALL; r++) UNROLL for (int v = 0; v < VECTORS; v++)
        store(kept + r * WIDTH + v * LANES, sum[r][v]);
}

/* The sums of TALL outputs of all panels, kept[panels][TALL][WIDTH]; w as above, `next` rows follow. */
static void lying_outputs(const struct lying *block, const float *w, size_t row, const float *next,
                          float *kept)
{
    for (size_t p = 0; p < block->panels; p++) {
        const float *ahead[] = {next + 2 * p % TALL * row, next + (2 * p + 1) % TALL * row};
        lying_tile(block, w, row, block->x + p * WIDTH * block->depth, ahead, kept + p * TALL * WIDTH);
    }
}

/* y[rows][n], n <= GROUP, `row` floats from row to row, of the sums of n outputs:
 * kept[][panels][TALL][WIDTH]. */
static void put_sums(size_t rows, size_t n, const float *kept, size_t panels, float *y, size_t row)
{
    for (size_t first = 0; first < rows; first += LANES)
        for (size_t c = 0; c < n; c += LANES) {
            const float *sums = kept + first / WIDTH * TALL * WIDTH + first % WIDTH;
            size_t count = n - c < LANES ? n - c : LANES;
            vec square[LANES];
            for (size_t i = 0; i < LANES; i++)
                square[i] = i < count
                                ? load(sums + (c + i) / TALL * panels * TALL * WIDTH + (c + i) % TALL * WIDTH)
                                : (vec){0};
            transpose_square(square);
            for (size_t r = 0; r < LANES && first + r < rows; r++)
                if (count == LANES)
                    store(y + (first + r) * row + c, square[r]);
                else
                    store_part(count, y + (first + r) * row + c, square[r]);
        }
}

static void run_lying(size_t rows, size_t n, size_t k, const float *x, const void *w, enum clip_stored stored,
                      float *y, size_t row, float *scratch)
{
    size_t most = k < CLIP_PANEL_DEPTH ? k : CLIP_PANEL_DEPTH, panels = (rows + WIDTH - 1) / WIDTH;
    size_t group = k > most ? (n + TALL - 1) / TALL * TALL : GROUP; /* outputs whose sums are kept */
    float *spare = scratch + panels * WIDTH * most, *kept = spare + TALL * most;
    for (size_t first = 0; first < k; first += most) {
        size_t depth = k - first < most ? k - first : most;
        const struct lying block = {depth, panels, scratch, first > 0};
        for (size_t p = 0; p < panels; p++)
            pack_rows(CLIP_STORED_F32, rows - p * WIDTH, depth, x + p * WIDTH * k + first, k,
                      scratch + p * WIDTH * depth);
        for (size_t c = 0; c < n; c += TALL) {
            const char *lie = (const char *)w + (c * k + first) * element_size(stored);
            float *sums = kept + c % group * panels * WIDTH;
            size_t count = n - c < TALL ? n - c : TALL, end = c + count, begin = c / GROUP * GROUP;
            if (stored == CLIP_STORED_F32 && count == TALL) {
                const float *floating = (const void *)lie;
                lying_outputs(&block, floating, k, n - c >= 2 * TALL ? floating + TALL * k : floating, sums);
            } else { /* the last rows of the last may be of no output */
                for (size_t r = 0; r < count; r++)
                    floats(depth, lie + r * k * element_size(stored), stored, spare + r * depth);
                lying_outputs(&block, spare, depth, spare, sums);
            }
            if (first + depth == k && (end == n || end % GROUP == 0))
                put_sums(rows, end - begin, kept + begin % group * panels * WIDTH, panels, y + begin, row);
        }
    }
}

const struct clip_panel_kernels CLIP_LEVELED(clip_panel_kernels) = {
    WIDTH, TALL, GROUP, floats, pack, pack_stored, run, run_lying,
};
