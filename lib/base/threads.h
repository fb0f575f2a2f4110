/* A fixed set of threads among which numbered pieces of work are shared out. */
#ifndef CLIP_BASE_THREADS_H
#define CLIP_BASE_THREADS_H

#include "base/error.h"

#include <stddef.h>

struct clip_pool;

/* Number of processors that this process may run on, at least 1. */
int clip_processors(void);

/* `threads` workers, including the calling thread (1: no thread is created). NULL with error. */
struct clip_pool *clip_pool_new(int threads, struct clip_error *error);
void clip_pool_free(struct clip_pool *pool);
int clip_pool_threads(const struct clip_pool *pool);

/* Runs work(context, i, thread) for each i in [0, n), thread in [0, threads); returns when all are done.
 * Pieces start in the order of i, so that one may wait for earlier ones, and end in any order. One caller
 * at a time. The work must not depend on which thread runs it. */
void clip_pool_run(struct clip_pool *pool, size_t n, void (*work)(void *context, size_t i, int thread),
                   void *context);

#endif
