/* The kernels of panels.h: one source, compiled once for each level of the processor. */
#include "math/lanes.h"
#include "math/panels.h"

/* A tile is TALL rows of a panel; its sums, a row of weights and a number of x fill the registers. */
#if defined __AVX512F__
enum { TALL = 12 };
#else
enum { TALL = 6 };
#endif
enum { VECTORS = 2, WIDTH = VECTORS * LANES };

/* --- packing --- */

/* Columns [first, first + columns) of w[n][k]: squares of rows of w, transposed. */
static void pack_columns(size_t columns, size_t k, const float *w, float *packed)
{
    for (size_t i = 0; i < k; i += LANES, packed += LANES * WIDTH) {
        size_t m = k - i < LANES ? k - i : LANES;
        for (size_t v = 0; v < VECTORS; v++) {
            vec square[LANES];
            for (size_t c = 0; c < LANES; c++) {
                const float *row = w + (v * LANES + c) * k + i;
                square[c] = v * LANES + c >= columns ? (vec){0} : m == LANES ? load(row) : load_part(m, row);
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
            pack_columns(columns, k, w + first * k, packed);
            continue;
        }
        memset(packed, 0, columns < WIDTH ? WIDTH * k * sizeof *packed : 0);
        for (size_t i = 0; i < k; i++)
            memcpy(packed + i * WIDTH, w + i * n + first, columns * sizeof *w);
    }
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

const struct clip_panel_kernels CLIP_LEVELED(clip_panel_kernels) = {WIDTH, pack, run};
