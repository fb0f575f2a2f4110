/* The batch is worked through in bands of BAND rows (pictures); a band's logits in tiles of TILE columns
 * (captions), one thread each. Every sum runs in an order that these two alone fix. */
#include "tower/loss.h"
#include "math/product.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

enum { BAND = 128, TILE = 256, CHUNK = 32 };

/* ln of a sum of exponentials, as max + ln sum. */
struct logsum {
    double max, sum;
};

struct batch {
    size_t n, width, tiles;
    const float *image, *text;
    double scale;
    float *image_gradient, *text_gradient;
    /* of the band */
    size_t first, rows;
    float *band;          /* [BAND][n]: cosines, then their gradient */
    struct logsum *parts; /* [BAND][tiles]: each row's sum within a tile */
    double *nearest;      /* [BAND][tiles]: each row's largest logit within a tile but its own pair's */
    /* of the batch */
    struct logsum *row, *column;      /* [n] */
    double *own;                      /* [n]: logits of the pairs */
    double *row_other, *column_other; /* [n]: the largest logit but the pair's */
    double *row_log, *column_log;     /* [n]: ln of the sums */
    double *scale_parts;              /* [tiles]: each tile's share of the scale's gradient */
};

static const struct logsum nothing = {-INFINITY, 0};

static void logsum_add(struct logsum *a, const struct logsum *b)
{
    if (b->sum == 0)
        return;
    if (b->max > a->max) {
        a->sum = a->sum * exp(a->max - b->max) + b->sum;
        a->max = b->max;
    } else {
        a->sum += b->sum * exp(b->max - a->max);
    }
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static size_t tile_columns(const struct batch *batch, size_t tile)
{
    size_t left = batch->n - tile * TILE;
    return left < TILE ? left : TILE;
}

/* The cosines of the band's rows with the tile's columns. */
static void multiply_tile(const struct batch *batch, size_t tile)
{
    size_t width = batch->width, column = tile * TILE;
    clip_gemm(0, 1, batch->rows, tile_columns(batch, tile), width, batch->image + batch->first * width, width,
              batch->text + column * width, width, 0, batch->band + column, batch->n);
}

/* --- forward --- */

/* The largest logit of each of the tile's rows and columns, and the largest but the pairs'. */
static void find_largest(struct batch *batch, size_t tile, struct logsum *columns, double *others)
{
    size_t first = tile * TILE, count = tile_columns(batch, tile);
    for (size_t r = 0; r < batch->rows; r++) {
        const float *cosines = batch->band + r * batch->n + first;
        struct logsum *row = &batch->parts[r * batch->tiles + tile];
        double *other = &batch->nearest[r * batch->tiles + tile];
        *row = nothing;
        *other = -INFINITY;
        for (size_t c = 0; c < count; c++) {
            double logit = batch->scale * (double)cosines[c];
            row->max = larger(row->max, logit);
            columns[c].max = larger(columns[c].max, logit);
            if (batch->first + r != first + c) {
                *other = larger(*other, logit);
                others[c] = larger(others[c], logit);
            }
        }
    }
}

static void sum_up(struct batch *batch, size_t tile, struct logsum *columns)
{
    size_t first = tile * TILE, count = tile_columns(batch, tile);
    for (size_t r = 0; r < batch->rows; r++) {
        const float *cosines = batch->band + r * batch->n + first;
        struct logsum *row = &batch->parts[r * batch->tiles + tile];
        for (size_t c = 0; c < count; c++) {
            double logit = batch->scale * (double)cosines[c];
            row->sum += exp(logit - row->max);
            columns[c].sum += exp(logit - columns[c].max);
        }
    }
}

static void forward_tile(void *context, size_t tile, int thread)
{
    (void)thread;
    struct batch *batch = context;
    struct logsum columns[TILE];
    double others[TILE];
    for (size_t c = 0; c < TILE; c++) {
        columns[c] = nothing;
        others[c] = -INFINITY;
    }
    multiply_tile(batch, tile);
    find_largest(batch, tile, columns, others);
    sum_up(batch, tile, columns);
    for (size_t c = 0; c < tile_columns(batch, tile); c++) {
        logsum_add(&batch->column[tile * TILE + c], &columns[c]);
        batch->column_other[tile * TILE + c] = larger(batch->column_other[tile * TILE + c], others[c]);
    }
}

static void finish_rows(struct batch *batch)
{
    for (size_t r = 0; r < batch->rows; r++) {
        size_t i = batch->first + r;
        for (size_t tile = 0; tile < batch->tiles; tile++) {
            logsum_add(&batch->row[i], &batch->parts[r * batch->tiles + tile]);
            batch->row_other[i] = larger(batch->row_other[i], batch->nearest[r * batch->tiles + tile]);
        }
        batch->own[i] = batch->scale * (double)batch->band[r * batch->n + i];
    }
}

static void summarize(struct batch *batch, struct clip_contrast *result)
{
    double loss = 0;
    size_t hits_image = 0, hits_text = 0;
    for (size_t i = 0; i < batch->n; i++) {
        batch->row_log[i] = batch->row[i].max + log(batch->row[i].sum);
        batch->column_log[i] = batch->column[i].max + log(batch->column[i].sum);
        loss += (batch->row_log[i] + batch->column_log[i]) / 2 - batch->own[i];
        hits_image += batch->own[i] > batch->row_other[i];
        hits_text += batch->own[i] > batch->column_other[i];
    }
    double n = (double)batch->n;
    *result = (struct clip_contrast){loss / n, (double)hits_image / n, (double)hits_text / n, 0};
}

/* --- backward --- */

static void backward_tile(void *context, size_t tile, int thread)
{
    (void)thread;
    struct batch *batch = context;
    size_t n = batch->n, width = batch->width, column = tile * TILE, columns = tile_columns(batch, tile);
    double scale_part = 0;
    multiply_tile(batch, tile);
    for (size_t r = 0; r < batch->rows; r++) {
        size_t i = batch->first + r;
        for (size_t c = column; c < column + columns; c++) {
            float *cosine = &batch->band[r * n + c];
            double logit = batch->scale * (double)*cosine;
            double both = exp(logit - batch->row_log[i]) + exp(logit - batch->column_log[c]);
            double gradient = (both / 2 - (i == c)) / (double)n;
            scale_part += gradient * logit;
            *cosine = (float)(gradient * batch->scale);
        }
    }
    batch->scale_parts[tile] += scale_part;
    clip_gemm(1, 0, columns, width, batch->rows, batch->band + column, n, batch->image + batch->first * width,
              width, batch->first > 0, batch->text_gradient + column * width, width);
}

static void backward_rows(void *context, size_t chunk, int thread)
{
    (void)thread;
    const struct batch *batch = context;
    size_t r = chunk * CHUNK, left = batch->rows - r, width = batch->width;
    clip_gemm(0, 0, left < CHUNK ? left : CHUNK, width, batch->n, batch->band + r * batch->n, batch->n,
              batch->text, width, 0, batch->image_gradient + (batch->first + r) * width, width);
}

/* --- the batch --- */

static int next_band(struct batch *batch)
{
    batch->first += batch->rows;
    size_t left = batch->n - batch->first;
    batch->rows = left < BAND ? left : BAND;
    return left > 0;
}

static void run(struct batch *batch, struct clip_pool *pool, struct clip_contrast *result)
{
    for (size_t i = 0; i < batch->n; i++) {
        batch->row[i] = batch->column[i] = nothing;
        batch->row_other[i] = batch->column_other[i] = -INFINITY;
    }
    for (batch->first = batch->rows = 0; next_band(batch);) {
        clip_pool_run(pool, batch->tiles, forward_tile, batch);
        finish_rows(batch);
    }
    summarize(batch, result);
    if (!batch->image_gradient)
        return;
    for (batch->first = batch->rows = 0; next_band(batch);) {
        clip_pool_run(pool, batch->tiles, backward_tile, batch);
        clip_pool_run(pool, (batch->rows + CHUNK - 1) / CHUNK, backward_rows, batch);
    }
    for (size_t tile = 0; tile < batch->tiles; tile++)
        result->logit_scale_gradient += batch->scale_parts[tile];
}

int clip_contrastive_loss(size_t n, size_t width, const float *image, const float *text, double scale,
                          float *image_gradient, float *text_gradient, struct clip_pool *pool,
                          struct clip_contrast *result, struct clip_error *error)
{
    struct batch batch = {.n = n,
                          .width = width,
                          .tiles = (n + TILE - 1) / TILE,
                          .image = image,
                          .text = text,
                          .scale = scale,
                          .image_gradient = image_gradient,
                          .text_gradient = text_gradient};
    if (n < 2 || n > INT_MAX || width < 1 || width > INT_MAX)
        return clip_fail(error, "no contrastive loss of %zu pairs of width %zu", n, width);
    batch.band = reallocarray(NULL, n, BAND * sizeof *batch.band);
    batch.parts = reallocarray(NULL, batch.tiles, BAND * sizeof *batch.parts);
    batch.nearest = reallocarray(NULL, batch.tiles, BAND * sizeof *batch.nearest);
    batch.row = reallocarray(NULL, n, 2 * sizeof *batch.row);
    batch.own = reallocarray(NULL, n, 5 * sizeof *batch.own);
    batch.scale_parts = calloc(batch.tiles, sizeof *batch.scale_parts);
    int status = 0;
    if (!batch.band || !batch.parts || !batch.nearest || !batch.row || !batch.own || !batch.scale_parts) {
        status = clip_fail_memory(error, "a batch's logits");
    } else {
        batch.column = batch.row + n;
        batch.row_other = batch.own + n;
        batch.column_other = batch.own + 2 * n;
        batch.row_log = batch.own + 3 * n;
        batch.column_log = batch.own + 4 * n;
        run(&batch, pool, result);
        if (!isfinite(result->loss) || !isfinite(result->logit_scale_gradient))
            status = clip_fail(error, "the loss is not finite");
    }
    free(batch.band);
    free(batch.parts);
    free(batch.nearest);
    free(batch.row);
    free(batch.own);
    free(batch.scale_parts);
    return status;
}
