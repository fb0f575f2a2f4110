#include "score/similarity.h"
#include "math/product.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 256 }; /* vectors of a block: the columns of a tile */

/* --- vectors that are kept --- */

struct block {
    float *floats; /* [BLOCK][width], zeros after the last; NULL: in the file */
};

struct name {
    char *key, *label; /* label NULL: the key */
};

struct clip_vectors {
    size_t width, memory, count;
    struct block *blocks;
    size_t blocks_room;
    struct name *names;
    size_t names_room;
    FILE *file;    /* blocks past `memory`, each at its place as if all were there */
    float *filled; /* the block that is being filled, on its way into the file */
};

static size_t block_bytes(const struct clip_vectors *vectors)
{
    return BLOCK * vectors->width * sizeof(float);
}

static float *new_block(const struct clip_vectors *vectors)
{
    float *floats = aligned_alloc(64, block_bytes(vectors)); /* BLOCK floats are a multiple of 64 bytes */
    if (floats)
        memset(floats, 0, block_bytes(vectors));
    return floats;
}

struct clip_vectors *clip_vectors_new(size_t width, size_t memory, struct clip_error *error)
{
    struct clip_vectors *vectors = calloc(1, sizeof *vectors);
    if (!vectors) {
        clip_fail_memory(error, "vectors");
        return NULL;
    }
    vectors->width = width;
    vectors->memory = memory;
    return vectors;
}

void clip_vectors_clear(struct clip_vectors *vectors)
{
    for (size_t i = 0; i < vectors->count; i++) {
        free(vectors->names[i].key);
        free(vectors->names[i].label);
    }
    for (size_t b = 0; b * BLOCK < vectors->count; b++) {
        free(vectors->blocks[b].floats);
        vectors->blocks[b].floats = NULL;
    }
    vectors->count = 0;
}

void clip_vectors_free(struct clip_vectors *vectors)
{
    if (!vectors)
        return;
    clip_vectors_clear(vectors);
    free(vectors->blocks);
    free(vectors->names);
    free(vectors->filled);
    if (vectors->file)
        fclose(vectors->file);
    free(vectors);
}

/* Makes room for one more of `size` bytes each. */
static int grow(void **list, size_t *room, size_t count, size_t size)
{
    if (count < *room)
        return 0;
    size_t more = *room ? 2 * *room : 64;
    void *grown = reallocarray(*list, more, size);
    if (!grown)
        return -1;
    *list = grown;
    *room = more;
    return 0;
}

static int write_block(struct clip_vectors *vectors, size_t b, struct clip_error *error)
{
    size_t bytes = block_bytes(vectors);
    if (!vectors->file && !(vectors->file = tmpfile()))
        return clip_fail_errno(error, "a temporary file");
    if (pwrite(fileno(vectors->file), vectors->filled, bytes, (off_t)(b * bytes)) != (ssize_t)bytes)
        return clip_fail_errno(error, "a temporary file");
    memset(vectors->filled, 0, bytes);
    return 0;
}

/* The place of the vector to be added; a block past the memory that has been filled goes to the file. */
static float *next_place(struct clip_vectors *vectors, struct clip_error *error)
{
    size_t b = vectors->count / BLOCK, i = vectors->count % BLOCK;
    int in_memory = (b + 1) * block_bytes(vectors) <= vectors->memory || b == 0;
    if (i == 0) {
        if (b > 0 && !vectors->blocks[b - 1].floats && write_block(vectors, b - 1, error) != 0)
            return NULL;
        if (grow((void **)&vectors->blocks, &vectors->blocks_room, b, sizeof *vectors->blocks) != 0)
            goto full;
        vectors->blocks[b].floats = in_memory ? new_block(vectors) : NULL;
        if (in_memory && !vectors->blocks[b].floats)
            goto full;
        if (!in_memory && !vectors->filled && !(vectors->filled = new_block(vectors)))
            goto full;
    }
    return (in_memory ? vectors->blocks[b].floats : vectors->filled) + i * vectors->width;
full:
    clip_fail_memory(error, "vectors");
    return NULL;
}

int clip_vectors_add(struct clip_vectors *vectors, const float *x, const char *key, const char *label,
                     struct clip_error *error)
{
    float *place = next_place(vectors, error);
    if (!place)
        return -1;
    if (grow((void **)&vectors->names, &vectors->names_room, vectors->count, sizeof *vectors->names) != 0)
        return clip_fail_memory(error, "keys");
    struct name name = {strdup(key), label ? strdup(label) : NULL};
    if (!name.key || (label && !name.label)) {
        free(name.key);
        free(name.label);
        return clip_fail_memory(error, "keys");
    }
    memcpy(place, x, vectors->width * sizeof *x);
    vectors->names[vectors->count++] = name;
    return 0;
}

size_t clip_vectors_count(const struct clip_vectors *vectors)
{
    return vectors->count;
}

const char *clip_vectors_key(const struct clip_vectors *vectors, size_t i)
{
    return vectors->names[i].key;
}

const char *clip_vectors_label(const struct clip_vectors *vectors, size_t i)
{
    return vectors->names[i].label ? vectors->names[i].label : vectors->names[i].key;
}

/* Block b, [BLOCK][width]; `buffer`, of a block, is used where it lies in the file. */
static const float *get_block(const struct clip_vectors *vectors, size_t b, float *buffer,
                              struct clip_error *error)
{
    size_t bytes = block_bytes(vectors);
    if (vectors->blocks[b].floats)
        return vectors->blocks[b].floats;
    if (b == (vectors->count - 1) / BLOCK)
        return vectors->filled;
    if (pread(fileno(vectors->file), buffer, bytes, (off_t)(b * bytes)) != (ssize_t)bytes) {
        clip_fail_errno(error, "a temporary file");
        return NULL;
    }
    return buffer;
}

/* --- the products --- */

/* What each thread has of its own. */
struct bench {
    struct clip_matrix *matrix; /* a block of columns */
    float *rows;                /* [most rows][width], zeros after the last */
    float *cosines;             /* [most rows][BLOCK] */
    float *row_block, *column_block;
    void *scratch;
};

struct clip_similarity {
    struct clip_pool *pool;
    struct clip_engine *engine;
    size_t width, most_rows;
    struct bench *benches; /* one a thread */
    atomic_flag failed;    /* set by the task that says why in `error` */
    struct clip_error error;
    int status;
};

static int make_bench(struct clip_similarity *s, struct bench *bench, struct clip_error *error)
{
    bench->matrix = clip_matrix_new(s->engine, BLOCK, s->width, error);
    if (!bench->matrix)
        return -1;
    size_t scratch = (clip_product_scratch(bench->matrix) + 63) / 64 * 64 + 64;
    size_t row_bytes = (s->most_rows * s->width * sizeof(float) + 63) / 64 * 64;
    bench->rows = aligned_alloc(64, row_bytes);
    bench->cosines = aligned_alloc(64, s->most_rows * BLOCK * sizeof(float));
    bench->row_block = aligned_alloc(64, BLOCK * s->width * sizeof(float));
    bench->column_block = aligned_alloc(64, BLOCK * s->width * sizeof(float));
    bench->scratch = aligned_alloc(64, scratch);
    if (!bench->rows || !bench->cosines || !bench->row_block || !bench->column_block || !bench->scratch)
        return clip_fail_memory(error, "similarities");
    return 0;
}

struct clip_similarity *clip_similarity_new(struct clip_pool *pool, size_t width, struct clip_error *error)
{
    int threads = clip_pool_threads(pool);
    struct clip_similarity *s = calloc(1, sizeof *s);
    if (s)
        s->benches = calloc((size_t)threads, sizeof *s->benches);
    if (!s || !s->benches) {
        free(s);
        clip_fail_memory(error, "similarities");
        return NULL;
    }
    s->pool = pool;
    s->width = width;
    /* Columns come once each, so an engine that packs them would work more than it saves. */
    s->engine = clip_engine_open("openblas", CLIP_PRECISION_F32, threads, error);
    int status = s->engine ? 0 : -1;
    if (status == 0)
        s->most_rows = clip_engine_rows(s->engine);
    for (int t = 0; t < threads && status == 0; t++)
        status = make_bench(s, &s->benches[t], error);
    if (status != 0) {
        clip_similarity_free(s);
        return NULL;
    }
    return s;
}

void clip_similarity_free(struct clip_similarity *s)
{
    if (!s)
        return;
    for (int t = 0; t < clip_pool_threads(s->pool); t++) {
        clip_matrix_free(s->benches[t].matrix);
        free(s->benches[t].rows);
        free(s->benches[t].cosines);
        free(s->benches[t].row_block);
        free(s->benches[t].column_block);
        free(s->benches[t].scratch);
    }
    free(s->benches);
    if (s->engine)
        clip_engine_free(s->engine);
    free(s);
}

size_t clip_similarity_most_rows(const struct clip_similarity *s)
{
    return s->most_rows;
}

/* Rows [first, first + n) into the bench, padded with zeros. */
static int lay_rows(const struct clip_similarity *s, struct bench *bench, const struct clip_vectors *rows,
                    size_t first, size_t n, struct clip_error *error)
{
    memset(bench->rows + n * s->width, 0, (s->most_rows - n) * s->width * sizeof(float));
    for (size_t done = 0; done < n;) {
        size_t b = (first + done) / BLOCK, i = (first + done) % BLOCK;
        size_t take = BLOCK - i < n - done ? BLOCK - i : n - done;
        const float *block = get_block(rows, b, bench->row_block, error);
        if (!block)
            return -1;
        memcpy(bench->rows + done * s->width, block + i * s->width, take * s->width * sizeof(float));
        done += take;
    }
    return 0;
}

/* The bench's rows against block b of the columns, into its cosines. */
static int multiply(struct bench *bench, const struct clip_vectors *columns, size_t b,
                    struct clip_error *error)
{
    const float *block = get_block(columns, b, bench->column_block, error);
    if (!block || clip_matrix_set(bench->matrix, block, 0, error) != 0)
        return -1;
    return clip_product(bench->matrix, bench->rows, bench->cosines, bench->scratch, error);
}

/* A task of several that run at once failed: the first to say so is heard. */
static void task_failed(struct clip_similarity *s, const struct clip_error *error)
{
    if (!atomic_flag_test_and_set(&s->failed)) {
        s->error = *error;
        s->status = -1;
    }
}

struct rows_task {
    struct clip_similarity *s;
    const struct clip_vectors *rows, *columns;
    size_t first, n;
    float *out;
};

static void rows_by_block(void *context, size_t b, int thread)
{
    struct rows_task *task = context;
    struct bench *bench = &task->s->benches[thread];
    size_t count = task->columns->count, here = count - b * BLOCK < BLOCK ? count - b * BLOCK : BLOCK;
    struct clip_error error;
    if (lay_rows(task->s, bench, task->rows, task->first, task->n, &error) != 0 ||
        multiply(bench, task->columns, b, &error) != 0) {
        task_failed(task->s, &error);
        return;
    }
    for (size_t r = 0; r < task->n; r++)
        memcpy(task->out + r * count + b * BLOCK, bench->cosines + r * BLOCK, here * sizeof(float));
}

static int run_tasks(struct clip_similarity *s, size_t n, void (*work)(void *, size_t, int), void *task,
                     struct clip_error *error)
{
    atomic_flag_clear(&s->failed);
    s->status = 0;
    clip_pool_run(s->pool, n, work, task);
    if (s->status != 0)
        *error = s->error;
    return s->status;
}

int clip_similarity_rows(struct clip_similarity *s, const struct clip_vectors *rows, size_t first, size_t n,
                         const struct clip_vectors *columns, float *out, struct clip_error *error)
{
    struct rows_task task = {s, rows, columns, first, n, out};
    return run_tasks(s, (columns->count + BLOCK - 1) / BLOCK, rows_by_block, &task, error);
}

/* --- the best of a row --- */

int clip_ranking_init(struct clip_ranking *ranking, size_t most, struct clip_error *error)
{
    *ranking = (struct clip_ranking){.most = most, .highest = -INFINITY};
    ranking->matches = most ? calloc(most, sizeof *ranking->matches) : NULL;
    return most && !ranking->matches ? clip_fail_memory(error, "the best matches") : 0;
}

void clip_ranking_free(struct clip_ranking *ranking)
{
    for (size_t i = 0; i < ranking->count; i++) {
        free(ranking->matches[i].key);
        free(ranking->matches[i].label);
    }
    free(ranking->matches);
    *ranking = (struct clip_ranking){0};
}

static int worse(const struct clip_match *a, const struct clip_match *b)
{
    return a->score != b->score ? a->score < b->score : a->column > b->column;
}

static void swap(struct clip_match *a, struct clip_match *b)
{
    struct clip_match c = *a;
    *a = *b;
    *b = c;
}

static void sift_up(struct clip_match *heap, size_t i)
{
    for (; i > 0 && worse(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&heap[i], &heap[(i - 1) / 2]);
}

static void sift_down(struct clip_match *heap, size_t n)
{
    for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(&heap[child + 1], &heap[child]))
            child++;
        if (!worse(&heap[child], &heap[i]))
            break;
        swap(&heap[i], &heap[child]);
    }
}

int clip_ranking_add(struct clip_ranking *ranking, float score, uint64_t column, const char *key,
                     const char *label, struct clip_error *error)
{
    struct clip_match match = {score, column, NULL, NULL};
    if (score > ranking->highest) {
        ranking->sum = ranking->sum * exp(ranking->highest - score) + 1;
        ranking->highest = score;
    } else {
        ranking->sum += exp(score - ranking->highest);
    }
    if (ranking->most == 0 || (ranking->count == ranking->most && !worse(&ranking->matches[0], &match)))
        return 0;
    match.key = strdup(key);
    match.label = strdup(label);
    if (!match.key || !match.label) {
        free(match.key);
        free(match.label);
        return clip_fail_memory(error, "the best matches");
    }
    if (ranking->count < ranking->most) {
        ranking->matches[ranking->count++] = match;
        sift_up(ranking->matches, ranking->count - 1);
    } else {
        free(ranking->matches[0].key);
        free(ranking->matches[0].label);
        ranking->matches[0] = match;
        sift_down(ranking->matches, ranking->count);
    }
    return 0;
}

void clip_ranking_sort(struct clip_ranking *ranking)
{
    for (size_t n = ranking->count; n > 1; n--) {
        swap(&ranking->matches[0], &ranking->matches[n - 1]);
        sift_down(ranking->matches, n - 1);
    }
}

float clip_ranking_softmax(const struct clip_ranking *ranking, float score)
{
    return (float)(exp(score - ranking->highest) / ranking->sum);
}

float clip_score_of(struct clip_scoring scoring, float cosine)
{
    return (float)(scoring.scale * cosine + scoring.bias);
}

struct rank_task {
    struct clip_similarity *s;
    const struct clip_vectors *rows, *columns;
    struct clip_scoring scoring;
    uint64_t first_column;
    struct clip_ranking *rankings;
};

static int rank_rows(const struct rank_task *task, size_t tile, struct bench *bench, struct clip_error *error)
{
    size_t first = tile * task->s->most_rows, left = task->rows->count - first;
    size_t n = left < task->s->most_rows ? left : task->s->most_rows, count = task->columns->count;
    if (lay_rows(task->s, bench, task->rows, first, n, error) != 0)
        return -1;
    for (size_t b = 0; b * BLOCK < count; b++) {
        if (multiply(bench, task->columns, b, error) != 0)
            return -1;
        for (size_t r = 0; r < n; r++)
            for (size_t c = 0; c < BLOCK && b * BLOCK + c < count; c++) {
                size_t column = b * BLOCK + c;
                float score = clip_score_of(task->scoring, bench->cosines[r * BLOCK + c]);
                if (clip_ranking_add(&task->rankings[first + r], score, task->first_column + column,
                                     clip_vectors_key(task->columns, column),
                                     clip_vectors_label(task->columns, column), error) != 0)
                    return -1;
            }
    }
    return 0;
}

static void rank_tile(void *context, size_t tile, int thread)
{
    struct rank_task *task = context;
    struct clip_error error;
    if (rank_rows(task, tile, &task->s->benches[thread], &error) != 0)
        task_failed(task->s, &error);
}

int clip_similarity_rank(struct clip_similarity *s, const struct clip_vectors *rows,
                         const struct clip_vectors *columns, struct clip_scoring scoring,
                         uint64_t first_column, struct clip_ranking *rankings, struct clip_error *error)
{
    struct rank_task task = {s, rows, columns, scoring, first_column, rankings};
    return run_tasks(s, (rows->count + s->most_rows - 1) / s->most_rows, rank_tile, &task, error);
}
