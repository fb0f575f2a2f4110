/* Tasks shared out among threads. A task may wait for earlier ones, and any task may fail. */
#ifndef CLIP_BASE_CREW_H
#define CLIP_BASE_CREW_H

#include "base/error.h"
#include "base/threads.h"

#include <pthread.h>
#include <stddef.h>

struct clip_crew {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int waiting; /* threads in clip_crew_wait */
    int failed;
    struct clip_error error; /* of the first that failed */
    int (*work)(void *context, size_t i, int thread, struct clip_error *error);
    void *context;
};

void clip_crew_init(struct clip_crew *crew);
void clip_crew_destroy(struct clip_crew *crew);

/* Runs work(context, i, thread) for each i in [0, n), started in the order of i (clip_pool_run). Once a
 * task has failed, the others stop waiting and their results are not used. -1 with the first error. */
int clip_crew_run(struct clip_crew *crew, struct clip_pool *pool, size_t n,
                  int (*work)(void *context, size_t i, int thread, struct clip_error *error), void *context,
                  struct clip_error *error);

/* Within a task: waits until counts[first..last] are all at least `least`, or a task has failed. A task
 * may wait only for tasks that started before it. 0, or -1 if one failed. */
int clip_crew_wait(struct clip_crew *crew, const unsigned *counts, size_t first, size_t last, unsigned least);

/* Within a task: adds one to *count and wakes the tasks that wait. */
void clip_crew_count(struct clip_crew *crew, unsigned *count);

#endif
