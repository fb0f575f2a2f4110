/* What the ranks of a training run exchange, for floors below train/, whose train/ranks.h is behind it. */
#ifndef CLIP_BASE_EXCHANGE_H
#define CLIP_BASE_EXCHANGE_H

#include "base/error.h"

#include <stddef.h>

/* A pointer to one may be NULL: one rank, nothing to exchange. Every rank makes the same calls in the same
 * order; what comes of them is the same bytes on all. */
struct clip_exchange {
    void *context;
    size_t rank, size;
    /* x[n] becomes the sum over ranks, added in their order. -1 with error. */
    int (*sum)(void *context, double *x, size_t n, struct clip_error *error);
};

#endif
