/* The batch is worked through in bands of BAND rows (pictures); a band's logits in tiles of TILE columns
 * (captions), one thread each. Every sum runs in an order that these two alone fix.
 *
 * A rank that has a share of the batch does its rows against all captions, and then, transposed, its
 * captions' columns as rows against all pictures: no rank has all logits, and none waits for another within a
 * pass. */
#include "score/loss.h"
#include "base/arena.h"
#include "math/product.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

enum { BAND = 128, TILE = 256, CHUNK = 32 };

/* ln of a sum of exponentials, as max + ln sum. */
struct logsum {
    double max, sum;
};

/* What is known of a row or a column, or of a part of it. */
struct line {
    struct logsum all;      /* CLIP_LOSS_SOFTMAX: of its logits */
    double positive, other; /* its largest logit with a positive, and with none */
    double
        own; /* rows: what its loss falls by: the positives' mean logit; sigmoid: the sum of log sigmoids */
};

struct work {
    struct clip_contrast_batch batch;
    size_t tiles;
    struct clip_arena arena;
    const uint32_t *group; /* [n]: the batch's, or own_group */
    uint32_t *own_group;   /* [n]: each pair by itself */
    double *share;         /* [n]: a row's target mass on each of its positives */
    int columns_first;     /* rows are captions */
    size_t begin, end;     /* the rows that are done here */
    /* of the band */
    size_t first, rows;
    float *band;        /* [BAND][n]: cosines, then their gradient */
    struct line *parts; /* [BAND][tiles]: each row within a tile */
    /* of the batch */
    struct line *row, *column;        /* [n] */
    double *row_log, *column_log;     /* [n]: ln of the sums */
    double *scale_parts, *bias_parts; /* [tiles]: each tile's share of their gradients */
};

static const struct line nothing = {{-INFINITY, 0}, -INFINITY, -INFINITY, 0};

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

static void line_add(struct line *a, const struct line *b)
{
    logsum_add(&a->all, &b->all);
    a->positive = larger(a->positive, b->positive);
    a->other = larger(a->other, b->other);
    a->own += b->own;
}

static size_t tile_columns(const struct work *work, size_t tile)
{
    size_t left = work->batch.n - tile * TILE;
    return left < TILE ? left : TILE;
}

static double logit_of(const struct work *work, float cosine)
{
    return work->batch.scale * (double)cosine + work->batch.bias;
}

static const float *row_side(const struct work *work)
{
    return work->columns_first ? work->batch.text : work->batch.image;
}

static const float *column_side(const struct work *work)
{
    return work->columns_first ? work->batch.image : work->batch.text;
}

/* The cosines of the band's rows with the tile's columns. */
static void multiply_tile(const struct work *work, size_t tile)
{
    size_t n = work->batch.n, width = work->batch.width, column = tile * TILE;
    clip_gemm(0, 1, work->rows, tile_columns(work, tile), width, row_side(work) + work->first * width, width,
              column_side(work) + column * width, width, 0, work->band + column, n);
}

/* --- forward --- */

/* The largest logits of each of the tile's rows and columns (NULL: rows alone, here and below). */
static void find_largest(struct work *work, size_t tile, struct line *columns)
{
    size_t first = tile * TILE, count = tile_columns(work, tile);
    for (size_t r = 0; r < work->rows; r++) {
        const float *cosines = work->band + r * work->batch.n + first;
        uint32_t group = work->group[work->first + r];
        struct line row = nothing;
        for (size_t c = 0; c < count; c++) {
            double logit = logit_of(work, cosines[c]);
            if (group == work->group[first + c]) {
                row.positive = larger(row.positive, logit);
                if (columns)
                    columns[c].positive = larger(columns[c].positive, logit);
            } else {
                row.other = larger(row.other, logit);
                if (columns)
                    columns[c].other = larger(columns[c].other, logit);
            }
        }
        work->parts[r * work->tiles + tile] = row;
    }
}

/* ln sigmoid x, without overflow. */
static double log_sigmoid(double x)
{
    return (x < 0 ? x : 0) - log1p(exp(-fabs(x)));
}

static void sum_softmax(struct work *work, size_t tile, struct line *columns)
{
    size_t first = tile * TILE, count = tile_columns(work, tile);
    for (size_t c = 0; columns && c < count; c++)
        columns[c].all.max = larger(columns[c].positive, columns[c].other);
    for (size_t r = 0; r < work->rows; r++) {
        const float *cosines = work->band + r * work->batch.n + first;
        uint32_t group = work->group[work->first + r];
        struct line *row = &work->parts[r * work->tiles + tile];
        row->all.max = larger(row->positive, row->other);
        for (size_t c = 0; c < count; c++) {
            double logit = logit_of(work, cosines[c]);
            row->all.sum += exp(logit - row->all.max);
            if (columns)
                columns[c].all.sum += exp(logit - columns[c].all.max);
            if (group == work->group[first + c])
                row->own += logit * work->share[work->first + r];
        }
    }
}

static void sum_sigmoid(struct work *work, size_t tile)
{
    size_t first = tile * TILE, count = tile_columns(work, tile);
    for (size_t r = 0; r < work->rows; r++) {
        const float *cosines = work->band + r * work->batch.n + first;
        uint32_t group = work->group[work->first + r];
        struct line *row = &work->parts[r * work->tiles + tile];
        for (size_t c = 0; c < count; c++) {
            double logit = logit_of(work, cosines[c]);
            row->own += log_sigmoid(group == work->group[first + c] ? logit : -logit);
        }
    }
}

static void forward_tile(void *context, size_t tile, int thread)
{
    (void)thread;
    struct work *work = context;
    struct line of_tile[TILE], *columns = work->batch.share ? NULL : of_tile;
    for (size_t c = 0; c < TILE; c++)
        of_tile[c] = nothing;
    multiply_tile(work, tile);
    find_largest(work, tile, columns);
    if (work->batch.loss == CLIP_LOSS_SIGMOID)
        sum_sigmoid(work, tile);
    else
        sum_softmax(work, tile, columns);
    for (size_t c = 0; columns && c < tile_columns(work, tile); c++)
        line_add(&work->column[tile * TILE + c], &columns[c]);
}

static void finish_rows(struct work *work)
{
    struct line *lines = work->columns_first ? work->column : work->row;
    for (size_t r = 0; r < work->rows; r++)
        for (size_t tile = 0; tile < work->tiles; tile++)
            line_add(&lines[work->first + r], &work->parts[r * work->tiles + tile]);
}

static double log_of(const struct logsum *logsum)
{
    return logsum->max + log(logsum->sum);
}

/* Of the rows and columns that are done here: sums that are over all pairs. */
static void summarize(struct work *work, double *loss, double *hits_image, double *hits_text)
{
    for (size_t i = work->begin; i < work->end; i++) {
        const struct line *row = &work->row[i], *column = &work->column[i];
        double logs = 0;
        if (work->batch.loss == CLIP_LOSS_SOFTMAX) {
            work->row_log[i] = log_of(&row->all);
            work->column_log[i] = log_of(&column->all);
            logs = (work->row_log[i] + work->column_log[i]) / 2;
        }
        *loss += logs - row->own;
        *hits_image += row->positive > row->other;
        *hits_text += column->positive > column->other;
    }
}

/* --- backward --- */

/* The gradient of the loss, times n, with respect to the logit of row i and column j. */
static double logit_gradient(const struct work *work, size_t i, size_t j, double logit)
{
    const double *row_log = work->columns_first ? work->column_log : work->row_log;
    const double *column_log = work->columns_first ? work->row_log : work->column_log;
    int positive = work->group[i] == work->group[j];
    if (work->batch.loss == CLIP_LOSS_SIGMOID)
        return positive ? -1 / (1 + exp(logit)) : 1 / (1 + exp(-logit));
    double both = exp(logit - row_log[i]) + exp(logit - column_log[j]);
    return both / 2 - (positive ? work->share[i] : 0);
}

static void backward_tile(void *context, size_t tile, int thread)
{
    (void)thread;
    struct work *work = context;
    const struct clip_contrast_batch *batch = &work->batch;
    size_t n = batch->n, width = batch->width, column = tile * TILE, columns = tile_columns(work, tile);
    double scale_part = 0, bias_part = 0;
    multiply_tile(work, tile);
    for (size_t r = 0; r < work->rows; r++)
        for (size_t c = column; c < column + columns; c++) {
            float *cosine = &work->band[r * n + c];
            double logit = logit_of(work, *cosine);
            double gradient = logit_gradient(work, work->first + r, c, logit) / (double)n;
            scale_part += gradient * (logit - batch->bias);
            bias_part += gradient;
            *cosine = (float)(gradient * batch->scale);
        }
    if (!work->columns_first) {
        work->scale_parts[tile] += scale_part;
        work->bias_parts[tile] += bias_part;
    }
    if (batch->share) /* columns are rows of their own pass */
        return;
    clip_gemm(1, 0, columns, width, work->rows, work->band + column, n, batch->image + work->first * width,
              width, work->first > 0, batch->text_gradient + column * width, width);
}

static void backward_rows(void *context, size_t chunk, int thread)
{
    (void)thread;
    const struct work *work = context;
    size_t r = chunk * CHUNK, left = work->rows - r, n = work->batch.n, width = work->batch.width;
    float *gradient = work->columns_first ? work->batch.text_gradient : work->batch.image_gradient;
    clip_gemm(0, 0, left < CHUNK ? left : CHUNK, width, n, work->band + r * n, n, column_side(work), width, 0,
              gradient + (work->first - work->begin + r) * width, width);
}

/* --- the batch --- */

static void begin_bands(struct work *work, int columns_first)
{
    work->columns_first = columns_first;
    work->first = work->begin;
    work->rows = 0;
}

static int next_band(struct work *work)
{
    work->first += work->rows;
    size_t left = work->end - work->first;
    work->rows = left < BAND ? left : BAND;
    return left > 0;
}

static void run_forward(struct work *work, struct clip_pool *pool)
{
    for (size_t i = 0; i < work->batch.n; i++)
        work->row[i] = work->column[i] = nothing;
    for (int columns_first = 0; columns_first <= (work->batch.share != NULL); columns_first++)
        for (begin_bands(work, columns_first); next_band(work);) {
            clip_pool_run(pool, work->tiles, forward_tile, work);
            finish_rows(work);
        }
}

static void run_backward(struct work *work, struct clip_pool *pool)
{
    for (int columns_first = 0; columns_first <= (work->batch.share != NULL); columns_first++)
        for (begin_bands(work, columns_first); next_band(work);) {
            clip_pool_run(pool, work->tiles, backward_tile, work);
            clip_pool_run(pool, (work->rows + CHUNK - 1) / CHUNK, backward_rows, work);
        }
}

/* x[n] becomes the sum over the ranks that have a share, if there are any. */
static int sum_shares(const struct work *work, double *x, size_t n, struct clip_error *error)
{
    const struct clip_contrast_share *share = work->batch.share;
    return share ? share->exchange->sum(share->exchange->context, x, n, error) : 0;
}

/* The ln of the sums of all rows and columns, for the backward of any. */
static int gather_logs(struct work *work, struct clip_error *error)
{
    const struct clip_contrast_share *share = work->batch.share;
    if (!share || work->batch.loss == CLIP_LOSS_SIGMOID)
        return 0;
    for (size_t i = work->begin; i < work->end; i++) {
        share->row_log[i] = work->row_log[i];
        share->column_log[i] = work->column_log[i];
    }
    work->row_log = share->row_log;
    work->column_log = share->column_log;
    return share->gather(share->context, error);
}

static int compute_loss(struct work *work, struct clip_pool *pool, struct clip_contrast *result,
                        struct clip_error *error)
{
    double n = (double)work->batch.n, sums[3] = {0}, gradients[2] = {0};
    run_forward(work, pool);
    summarize(work, &sums[0], &sums[1], &sums[2]);
    if (sum_shares(work, sums, 3, error) != 0)
        return -1;
    *result =
        (struct clip_contrast){.loss = sums[0] / n, .top1_image = sums[1] / n, .top1_text = sums[2] / n};
    if (!work->batch.image_gradient)
        return 0;
    if (gather_logs(work, error) != 0)
        return -1;
    run_backward(work, pool);
    for (size_t tile = 0; tile < work->tiles; tile++) {
        gradients[0] += work->scale_parts[tile];
        if (work->batch.loss == CLIP_LOSS_SIGMOID) /* a softmax's is 0 but for rounding */
            gradients[1] += work->bias_parts[tile];
    }
    if (sum_shares(work, gradients, 2, error) != 0)
        return -1;
    result->logit_scale_gradient = gradients[0];
    result->logit_bias_gradient = gradients[1];
    return 0;
}

/* Groups where there are none, and how many each has. */
static void share_out(struct work *work)
{
    size_t n = work->batch.n;
    for (size_t i = 0; i < n; i++)
        work->own_group[i] = (uint32_t)i;
    work->group = work->batch.group ? work->batch.group : work->own_group;
    double *counts = work->row_log; /* not yet in use */
    for (size_t i = 0; i < n; i++)
        counts[i] = 0;
    for (size_t i = 0; i < n; i++)
        counts[work->group[i]]++;
    for (size_t i = 0; i < n; i++)
        work->share[i] = 1 / counts[work->group[i]];
}

static void place_buffers(void *context)
{
    struct work *work = context;
    struct clip_arena *arena = &work->arena;
    size_t n = work->batch.n;
    work->band = clip_arena_take(arena, n, BAND * sizeof *work->band);
    work->parts = clip_arena_take(arena, work->tiles, BAND * sizeof *work->parts);
    work->row = clip_arena_take(arena, n, sizeof *work->row);
    work->column = clip_arena_take(arena, n, sizeof *work->column);
    work->share = clip_arena_take(arena, n, sizeof *work->share);
    work->row_log = clip_arena_take(arena, n, sizeof *work->row_log);
    work->column_log = clip_arena_take(arena, n, sizeof *work->column_log);
    work->scale_parts = clip_arena_take(arena, work->tiles, sizeof *work->scale_parts);
    work->bias_parts = clip_arena_take(arena, work->tiles, sizeof *work->bias_parts);
    work->own_group = clip_arena_take(arena, n, sizeof *work->own_group);
}

int clip_contrastive_loss(const struct clip_contrast_batch *batch, struct clip_pool *pool,
                          struct clip_contrast *result, struct clip_error *error)
{
    const struct clip_contrast_share *share = batch->share;
    struct work work = {.batch = *batch,
                        .tiles = (batch->n + TILE - 1) / TILE,
                        .begin = share ? share->first : 0,
                        .end = share ? share->first + share->count : batch->n};
    if (batch->n < 2 || batch->n > INT_MAX || batch->width < 1 || batch->width > INT_MAX)
        return clip_fail(error, "no contrastive loss of %zu pairs of width %zu", batch->n, batch->width);
    if (clip_arena_build(&work.arena, "a batch's logits", place_buffers, &work, error) != 0)
        return -1;
    share_out(&work);
    int status = compute_loss(&work, pool, result, error);
    clip_arena_free(&work.arena);
    if (status != 0)
        return -1;
    if (!isfinite(result->loss) || !isfinite(result->logit_scale_gradient))
        return clip_fail(error, "the loss is not finite");
    return 0;
}
