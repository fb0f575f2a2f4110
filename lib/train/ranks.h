/* The ranks of a training run, as a stage sees them: each runs the same pipeline on its share of each batch,
 * and stages of the same part exchange what must be the whole batch's, through clip-ranks.
 *
 * NULL is one rank: every call takes it and succeeds without doing anything. Every rank must make the same
 * calls in the same order; a mismatch fails the run with a message. */
#ifndef CLIP_TRAIN_RANKS_H
#define CLIP_TRAIN_RANKS_H

#include "base/error.h"
#include "base/exchange.h"

#include <stddef.h>

struct clip_ranks;

/* Joins the run that the environment names (clip-ranks sets CLIP_RANKS, CLIP_RANK, CLIP_RANK_SIZE) as the
 * stage `part`; *ranks is NULL where it names none, or one rank alone. -1 with error. */
int clip_ranks_open(struct clip_ranks **ranks, const char *part, struct clip_error *error);

/* The stage has done its work, as all ranks' have: waits for them. Without it, closing fails the run. */
int clip_ranks_end(struct clip_ranks *ranks, struct clip_error *error);

/* The stage has failed: `text` is what the run fails of, on all ranks. */
void clip_ranks_fail(struct clip_ranks *ranks, const char *text);
void clip_ranks_close(struct clip_ranks *ranks);

/* This rank's number, from 0, and how many there are. */
size_t clip_ranks_rank(const struct clip_ranks *ranks);
size_t clip_ranks_size(const struct clip_ranks *ranks);

/* `bytes` zeroed bytes that clip-ranks maps too, aligned to a page, for calls that must not copy; they live
 * as long as `ranks`. NULL with error; not for NULL ranks. */
void *clip_ranks_memory(struct clip_ranks *ranks, size_t bytes, struct clip_error *error);

/* x[n] becomes the sum over ranks, in place, added in their order: the same bytes on all. */
int clip_ranks_sum(struct clip_ranks *ranks, float *x, size_t n, struct clip_error *error);
int clip_ranks_sum_real(struct clip_ranks *ranks, double *x, size_t n, struct clip_error *error);

/* `all`, in memory of clip_ranks_memory, holds sizes[rank] bytes of each rank, one after another: this rank's
 * come in place, and the others' are filled in. */
int clip_ranks_gather(struct clip_ranks *ranks, void *all, const size_t *sizes, struct clip_error *error);

/* The other way: of `all`, in such memory too and sizes as above, this rank's part becomes the sum over
 * ranks, added in their order; the rest is undefined. */
int clip_ranks_reduce(struct clip_ranks *ranks, float *all, const size_t *sizes, struct clip_error *error);

/* x becomes rank 0's. */
int clip_ranks_broadcast(struct clip_ranks *ranks, void *x, size_t bytes, struct clip_error *error);

/* Returns when all ranks have called it. */
int clip_ranks_barrier(struct clip_ranks *ranks, struct clip_error *error);

/* The same calls for floors below; NULL where ranks is. */
const struct clip_exchange *clip_ranks_exchange(const struct clip_ranks *ranks);

/* Of n items in order, those of a rank: how many, from *first on. Shares differ by at most 1. */
size_t clip_ranks_share(size_t n, size_t rank, size_t size, size_t *first);

#endif
