#include "base/crew.h"

void clip_crew_init(struct clip_crew *crew)
{
    *crew = (struct clip_crew){0};
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->changed, NULL);
}

void clip_crew_destroy(struct clip_crew *crew)
{
    pthread_mutex_destroy(&crew->lock);
    pthread_cond_destroy(&crew->changed);
}

static void run_task(void *context, size_t i, int thread)
{
    struct clip_crew *crew = context;
    struct clip_error error;
    if (crew->work(crew->context, i, thread, &error) == 0)
        return;
    pthread_mutex_lock(&crew->lock);
    if (!crew->failed)
        crew->error = error;
    crew->failed = 1;
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->lock);
}

int clip_crew_run(struct clip_crew *crew, struct clip_pool *pool, size_t n,
                  int (*work)(void *context, size_t i, int thread, struct clip_error *error), void *context,
                  struct clip_error *error)
{
    crew->failed = 0;
    crew->work = work;
    crew->context = context;
    clip_pool_run(pool, n, run_task, crew);
    if (crew->failed)
        *error = crew->error;
    return crew->failed ? -1 : 0;
}

static int reached(const unsigned *counts, size_t first, size_t last, unsigned least)
{
    for (size_t i = first; i <= last; i++)
        if (counts[i] < least)
            return 0;
    return 1;
}

int clip_crew_wait(struct clip_crew *crew, const unsigned *counts, size_t first, size_t last, unsigned least)
{
    pthread_mutex_lock(&crew->lock);
    crew->waiting++;
    while (!crew->failed && !reached(counts, first, last, least))
        pthread_cond_wait(&crew->changed, &crew->lock);
    crew->waiting--;
    int failed = crew->failed;
    pthread_mutex_unlock(&crew->lock);
    return failed ? -1 : 0;
}

void clip_crew_count(struct clip_crew *crew, unsigned *count)
{
    pthread_mutex_lock(&crew->lock);
    ++*count;
    if (crew->waiting > 0)
        pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->lock);
}
