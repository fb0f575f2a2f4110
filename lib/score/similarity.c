#include "score/similarity.h"
#include "base/crew.h"
#include "math/dots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = CLIP_VECTORS_BLOCK, MOST_ROWS = 4096 }; /* rows of a tile */
#define TILE ((size_t)1 << 22)                         /* its elements */

struct clip_similarity {
    struct clip_pool *pool;
    struct clip_crew crew;
    const struct clip_dot_kernels *kernels;
    size_t width;
    float **buffers; /* [threads][2][BLOCK][width], for vectors that lie in a file */
    float *scores;   /* [TILE], made when it is needed */
};

struct clip_similarity *clip_similarity_new(struct clip_pool *pool, size_t width, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    int threads = clip_pool_threads(pool);
    struct clip_similarity *s = calloc(1, sizeof *s);
    if (s)
        s->buffers = calloc((size_t)threads, sizeof *s->buffers);
    if (!s || !s->buffers) {
        free(s);
        clip_fail_memory(error, "similarities");
        return NULL;
    }
    clip_crew_init(&s->crew);
    s->pool = pool;
    s->width = width;
    s->kernels = clip_dot_kernels(level);
    for (int t = 0; t < threads; t++)
        if (!(s->buffers[t] = reallocarray(NULL, width * sizeof(float), 2 * BLOCK))) {
            clip_similarity_free(s);
            clip_fail_memory(error, "similarities");
            return NULL;
        }
    return s;
}

void clip_similarity_free(struct clip_similarity *s)
{
    if (!s)
        return;
    for (int t = 0; t < clip_pool_threads(s->pool); t++)
        free(s->buffers[t]);
    free(s->buffers);
    free(s->scores);
    clip_crew_destroy(&s->crew);
    free(s);
}

/* --- a tile --- */

struct tile_task {
    struct clip_similarity *s;
    const struct clip_tile *tile;
    size_t across; /* pieces that the columns are cut into */
    float *out;
};

/* The part of [first, first + count) that lies in the i-th block that it touches. */
static size_t part_of_block(size_t first, size_t count, size_t i, size_t *n)
{
    size_t begin = i == 0 ? first : (first / BLOCK + i) * BLOCK;
    size_t end = (first / BLOCK + i + 1) * BLOCK;
    *n = (end < first + count ? end : first + count) - begin;
    return begin;
}

static size_t count_parts(size_t first, size_t count)
{
    return count ? (first + count - 1) / BLOCK - first / BLOCK + 1 : 0;
}

static int multiply_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct tile_task *task = context;
    const struct clip_tile *tile = task->tile;
    struct clip_similarity *s = task->s;
    size_t n, m, row = part_of_block(tile->row, tile->row_count, i / task->across, &n),
                 column = part_of_block(tile->column, tile->column_count, i % task->across, &m);
    float *buffer = s->buffers[thread];
    const float *a = clip_vectors_floats(tile->rows, row, n, buffer, error);
    const float *b =
        a ? clip_vectors_floats(tile->columns, column, m, buffer + BLOCK * s->width, error) : NULL;
    if (!b)
        return -1;
    s->kernels->dots(s->width, n, a, m, b,
                     task->out + (row - tile->row) * tile->column_count + (column - tile->column),
                     tile->column_count);
    return 0;
}

int clip_similarity_tile(struct clip_similarity *s, const struct clip_tile *tile, float *out,
                         struct clip_error *error)
{
    struct tile_task task = {s, tile, count_parts(tile->column, tile->column_count), out};
    return clip_crew_run(&s->crew, s->pool, count_parts(tile->row, tile->row_count) * task.across,
                         multiply_task, &task, error);
}

/* --- some of them --- */

struct listed_task {
    struct clip_similarity *s;
    const struct clip_vectors *rows, *columns;
    size_t first, most;
    const int64_t *numbers;
    float *out;
};

static int multiply_listed(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct listed_task *task = context;
    struct clip_similarity *s = task->s;
    const int64_t *numbers = task->numbers + i * task->most;
    float *out = task->out + i * task->most, *buffer = s->buffers[thread];
    const float *a = clip_vectors_floats(task->rows, task->first + i, 1, buffer, error);
    for (size_t j = 0; j < task->most && a; j++) {
        out[j] = NAN;
        if (numbers[j] < 0)
            continue;
        if ((uint64_t)numbers[j] >= clip_vectors_count(task->columns))
            return clip_fail(error, "there is no embedding %lld", (long long)numbers[j]);
        const float *b =
            clip_vectors_floats(task->columns, (size_t)numbers[j], 1, buffer + BLOCK * s->width, error);
        if (!b)
            return -1;
        s->kernels->dots(s->width, 1, a, 1, b, out + j, 1);
    }
    return a ? 0 : -1;
}

int clip_similarity_listed(struct clip_similarity *s, const struct clip_vectors *rows, size_t first, size_t n,
                           const struct clip_vectors *columns, const int64_t *numbers, size_t most,
                           float *out, struct clip_error *error)
{
    struct listed_task task = {s, rows, columns, first, most, numbers, out};
    return clip_crew_run(&s->crew, s->pool, n, multiply_listed, &task, error);
}

/* --- all of them --- */

float clip_score_of(struct clip_scoring scoring, float cosine)
{
    return (float)(scoring.scale * cosine + scoring.bias);
}

float clip_sigmoid(float score)
{
    return (float)(1 / (1 + exp(-(double)score)));
}

/* Halves the distance between a score that is too small and one that is not, until no float lies between. */
float clip_sigmoid_least(float p)
{
    float low = -200, high = 200; /* the sigmoid of the one is 0 in f32, of the other 1 */
    if (p <= clip_sigmoid(low))
        return -INFINITY;
    if (p > clip_sigmoid(high))
        return INFINITY;
    while (nextafterf(low, high) < high) {
        float middle = (float)(((double)low + (double)high) / 2);
        if (middle <= low || middle >= high)
            middle = nextafterf(low, high);
        if (clip_sigmoid(middle) >= p)
            high = middle;
        else
            low = middle;
    }
    return high;
}

int clip_fail_score(const char *row, const char *column, double scale, struct clip_error *error)
{
    char a[100], b[100];
    return clip_fail(error, "the score of %s and %s is not finite (the scale is %g)",
                     clip_printable(a, sizeof a, row, strlen(row)),
                     clip_printable(b, sizeof b, column, strlen(column)), scale);
}

struct take_task {
    const struct clip_rows_taker *taker;
    const struct clip_tile *tile;
    float *scores;
    int removed; /* some of the columns may be */
};

static int take_row(void *context, size_t r, int thread, struct clip_error *error)
{
    (void)thread;
    const struct take_task *task = context;
    size_t n = task->tile->column_count;
    float *scores = task->scores + r * n;
    int cosines = task->taker->scoring.scale == 1 && task->taker->scoring.bias == 0;
    for (size_t c = 0; c < n && !cosines; c++) {
        scores[c] = clip_score_of(task->taker->scoring, scores[c]);
        /* The scale may be so large that a score overflows a float. */
        if (isinf(scores[c]))
            return clip_fail_score(clip_vectors_label(task->tile->rows, task->tile->row + r),
                                   clip_vectors_label(task->tile->columns, task->tile->column + c),
                                   task->taker->scoring.scale, error);
    }
    for (size_t c = 0; c < n && task->removed; c++)
        if (clip_vectors_removed(task->tile->columns, task->tile->column + c))
            scores[c] = NAN;
    return task->taker->take(task->taker->context, task->tile, scores, r, error);
}

int clip_similarity_run(struct clip_similarity *s, const struct clip_vectors *rows,
                        const struct clip_vectors *columns, const struct clip_rows_taker *taker,
                        struct clip_error *error)
{
    size_t row_count = clip_vectors_count(rows), column_count = clip_vectors_count(columns);
    size_t tall = row_count < MOST_ROWS ? row_count : MOST_ROWS,
           wide = tall ? TILE / tall / BLOCK * BLOCK : 0;
    if (!s->scores && !(s->scores = malloc(TILE * sizeof *s->scores)))
        return clip_fail_memory(error, "a tile of the matrix");
    for (size_t r = 0; r < row_count; r += tall)
        for (size_t c = taker->upper ? r / BLOCK * BLOCK : 0; c < column_count; c += wide) {
            struct clip_tile tile = {.rows = rows, .columns = columns, .row = r, .column = c};
            tile.row_count = row_count - r < tall ? row_count - r : tall;
            tile.column_count = column_count - c < wide ? column_count - c : wide;
            struct take_task task = {taker, &tile, s->scores, clip_vectors_any_removed(columns)};
            if (clip_similarity_tile(s, &tile, s->scores, error) != 0 ||
                clip_crew_run(&s->crew, s->pool, tile.row_count, take_row, &task, error) != 0)
                return -1;
        }
    return 0;
}
