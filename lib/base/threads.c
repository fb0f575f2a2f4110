#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct clip_pool {
    int threads;
    pthread_t *ids; /* threads - 1 of them */
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    unsigned long round; /* counts calls of clip_pool_run */
    int busy;            /* workers still in this round */
    int quit;
    void (*work)(void *, size_t, int);
    void *context;
    size_t n;
    atomic_size_t next;
};

struct worker {
    struct clip_pool *pool;
    int thread;
};

int clip_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return CPU_COUNT(&set);
}

static void take_pieces(struct clip_pool *pool, int thread)
{
    size_t i;
    while ((i = atomic_fetch_add(&pool->next, 1)) < pool->n)
        pool->work(pool->context, i, thread);
}

static void *worker_main(void *argument)
{
    struct worker worker = *(struct worker *)argument;
    struct clip_pool *pool = worker.pool;
    free(argument);
    unsigned long seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == seen && !pool->quit)
            pthread_cond_wait(&pool->start, &pool->lock);
        if (pool->quit)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->lock);
        take_pieces(pool, worker.thread);
        pthread_mutex_lock(&pool->lock);
        if (--pool->busy == 0)
            pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct clip_pool *clip_pool_new(int threads, struct clip_error *error)
{
    struct clip_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        clip_fail_memory(error, "threads");
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = 1;
    pool->ids = calloc((size_t)threads, sizeof *pool->ids);
    while (pool->ids && pool->threads < threads) {
        struct worker *worker = malloc(sizeof *worker);
        if (!worker)
            break;
        *worker = (struct worker){pool, pool->threads};
        if (pthread_create(&pool->ids[pool->threads - 1], NULL, worker_main, worker) != 0) {
            free(worker);
            break;
        }
        pool->threads++;
    }
    if (pool->threads < threads) {
        clip_fail(error, "cannot start %d threads", threads);
        clip_pool_free(pool);
        return NULL;
    }
    return pool;
}

void clip_pool_free(struct clip_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->quit = 1;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i + 1 < pool->threads; i++)
        pthread_join(pool->ids[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->start);
    pthread_cond_destroy(&pool->done);
    free(pool->ids);
    free(pool);
}

int clip_pool_threads(const struct clip_pool *pool)
{
    return pool->threads;
}

void clip_pool_run(struct clip_pool *pool, size_t n, void (*work)(void *, size_t, int), void *context)
{
    if (pool->threads == 1 || n <= 1) {
        for (size_t i = 0; i < n; i++)
            work(context, i, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->work = work;
    pool->context = context;
    pool->n = n;
    atomic_store(&pool->next, 0);
    pool->busy = pool->threads - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    take_pieces(pool, 0);
    pthread_mutex_lock(&pool->lock);
    while (pool->busy > 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
