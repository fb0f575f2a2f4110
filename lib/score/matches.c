#include "score/matches.h"
#include "base/file.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A sorted part of the file, and of it what is in memory. */
struct run {
    uint64_t next, end; /* pairs of the file that are not yet read */
    struct clip_pair *pairs;
    size_t at, count;
};

struct clip_matches {
    pthread_mutex_t lock;
    int (*compare)(const void *a, const void *b);
    size_t most, limit; /* of all; of the list */
    struct clip_pair *pairs;
    size_t count, room;
    float bar;
    int failed; /* and `error` says why: threads that go on for a while must not try again */
    struct clip_error error;
    int fd; /* or -1 */
    uint64_t written;
    struct run *runs;
    size_t runs_count;
    struct run **heap; /* of runs that have more, by their next pair */
    size_t heap_count;
    uint64_t given;
};

static int by_place(const struct clip_pair *a, const struct clip_pair *b)
{
    if (a->row != b->row)
        return a->row < b->row ? -1 : 1;
    return (a->column > b->column) - (a->column < b->column);
}

static int by_score(const void *a, const void *b)
{
    const struct clip_pair *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : by_place(x, y);
}

static int by_row(const void *a, const void *b)
{
    const struct clip_pair *x = a, *y = b;
    return x->row != y->row ? by_place(x, y) : by_score(x, y);
}

struct clip_matches *clip_matches_new(enum clip_matches_order order, size_t most, size_t memory,
                                      struct clip_error *error)
{
    struct clip_matches *matches = calloc(1, sizeof *matches);
    if (!matches) {
        clip_fail_memory(error, "matches");
        return NULL;
    }
    pthread_mutex_init(&matches->lock, NULL);
    matches->compare = order == CLIP_MATCHES_BY_SCORE ? by_score : by_row;
    matches->most = most;
    matches->limit = memory / sizeof *matches->pairs;
    matches->bar = -INFINITY;
    matches->fd = -1;
    return matches;
}

void clip_matches_free(struct clip_matches *matches)
{
    if (!matches)
        return;
    pthread_mutex_destroy(&matches->lock);
    if (matches->fd >= 0)
        close(matches->fd);
    free(matches->pairs);
    free(matches->runs);
    free(matches->heap);
    free(matches);
}

/* --- adding --- */

static int write_run(struct clip_matches *matches, struct clip_error *error)
{
    size_t size = sizeof *matches->pairs;
    struct run *runs = reallocarray(matches->runs, matches->runs_count + 1, sizeof *runs);
    if (!runs)
        return clip_fail_memory(error, "matches");
    matches->runs = runs;
    if (matches->fd < 0 && (matches->fd = clip_temporary_file(error)) < 0)
        return -1;
    if (clip_pwrite_all(matches->fd, matches->pairs, matches->count * size, matches->written * size, error) !=
        0)
        return -1;
    runs[matches->runs_count++] =
        (struct run){.next = matches->written, .end = matches->written + matches->count};
    matches->written += matches->count;
    matches->count = 0;
    return 0;
}

/* Makes room in the full list: what cannot be among the first any more goes, or all goes to the file. */
static int make_room(struct clip_matches *matches, struct clip_error *error)
{
    if (matches->room < matches->limit) {
        size_t room = matches->room ? 2 * matches->room : 1024;
        if (room > matches->limit)
            room = matches->limit;
        struct clip_pair *pairs = reallocarray(matches->pairs, room, sizeof *pairs);
        if (!pairs)
            return clip_fail_memory(error, "matches");
        matches->pairs = pairs;
        matches->room = room;
        return 0;
    }
    qsort(matches->pairs, matches->count, sizeof *matches->pairs, matches->compare);
    if (matches->most == 0 || matches->most > matches->limit / 2)
        return write_run(matches, error);
    matches->count = matches->most;
    if (matches->compare == by_score)
        matches->bar = matches->pairs[matches->count - 1].score;
    return 0;
}

int clip_matches_add(struct clip_matches *matches, const struct clip_pair *pairs, size_t n,
                     struct clip_error *error)
{
    pthread_mutex_lock(&matches->lock);
    while (n > 0 && !matches->failed) {
        matches->failed = matches->count == matches->room && make_room(matches, &matches->error) != 0;
        size_t room = matches->failed ? 0 : matches->room - matches->count, take = room < n ? room : n;
        if (take > 0)
            memcpy(matches->pairs + matches->count, pairs, take * sizeof *pairs);
        matches->count += take;
        pairs += take;
        n -= take;
    }
    int status = matches->failed ? -1 : 0;
    if (status != 0)
        *error = matches->error;
    pthread_mutex_unlock(&matches->lock);
    return status;
}

float clip_matches_bar(struct clip_matches *matches)
{
    pthread_mutex_lock(&matches->lock);
    float bar = matches->bar;
    pthread_mutex_unlock(&matches->lock);
    return bar;
}

/* --- giving back --- */

static void sift_down(struct clip_matches *matches, size_t i)
{
    struct run **heap = matches->heap, *run = heap[i];
    for (size_t child; (child = 2 * i + 1) < matches->heap_count; i = child) {
        if (child + 1 < matches->heap_count && matches->compare(&heap[child + 1]->pairs[heap[child + 1]->at],
                                                                &heap[child]->pairs[heap[child]->at]) < 0)
            child++;
        if (matches->compare(&heap[child]->pairs[heap[child]->at], &run->pairs[run->at]) >= 0)
            break;
        heap[i] = heap[child];
    }
    heap[i] = run;
}

/* Reads the run's next pairs into its slice of the list. */
static int refill(struct clip_matches *matches, struct run *run, struct clip_error *error)
{
    size_t slice = matches->limit / matches->runs_count, size = sizeof *run->pairs;
    uint64_t left = run->end - run->next;
    run->at = 0;
    run->count = left < slice ? (size_t)left : slice;
    if (clip_pread_all(matches->fd, run->pairs, run->count * size, run->next * size, error) != 0)
        return -1;
    run->next += run->count;
    return 0;
}

int clip_matches_sort(struct clip_matches *matches, struct clip_error *error)
{
    if (matches->count > 0)
        qsort(matches->pairs, matches->count, sizeof *matches->pairs, matches->compare);
    if (matches->runs_count == 0)
        return 0;
    if (write_run(matches, error) != 0)
        return -1;
    matches->heap = reallocarray(NULL, matches->runs_count, sizeof *matches->heap);
    if (!matches->heap)
        return clip_fail_memory(error, "matches");
    if (matches->limit < matches->runs_count)
        return clip_fail(error, "too many matches to be sorted in %zu bytes of memory",
                         matches->limit * sizeof *matches->pairs);
    for (size_t i = 0; i < matches->runs_count; i++) {
        matches->runs[i].pairs = matches->pairs + i * (matches->limit / matches->runs_count);
        if (refill(matches, &matches->runs[i], error) != 0)
            return -1;
        if (matches->runs[i].count > 0)
            matches->heap[matches->heap_count++] = &matches->runs[i];
    }
    for (size_t i = matches->heap_count / 2; i-- > 0;)
        sift_down(matches, i);
    return 0;
}

static int next_of_runs(struct clip_matches *matches, struct clip_pair *pair, struct clip_error *error)
{
    if (matches->heap_count == 0)
        return 0;
    struct run *run = matches->heap[0];
    *pair = run->pairs[run->at++];
    if (run->at == run->count && run->next < run->end && refill(matches, run, error) != 0)
        return -1;
    if (run->at == run->count)
        matches->heap[0] = matches->heap[--matches->heap_count];
    if (matches->heap_count > 0)
        sift_down(matches, 0);
    return 1;
}

int clip_matches_next(struct clip_matches *matches, struct clip_pair *pair, struct clip_error *error)
{
    if (matches->most && matches->given == matches->most)
        return 0;
    if (matches->runs_count > 0) {
        matches->given++;
        return next_of_runs(matches, pair, error);
    }
    if (matches->given == matches->count)
        return 0;
    *pair = matches->pairs[matches->given++];
    return 1;
}
