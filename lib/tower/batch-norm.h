/* A batch norm that learns, with the statistics of a chunk, or of all ranks' chunks: what towers do once a
 * chunk. What is done pixel by pixel is in math/batch-norm.h.
 *
 * Forward: the moments of units of pixels are joined (clip_norm_moments), then clip_norm_finish makes the
 * norm of them. Backward: clip_norm_backward takes the sums of the gradient and makes norm->back. */
#ifndef CLIP_TOWER_BATCH_NORM_H
#define CLIP_TOWER_BATCH_NORM_H

#include "base/arena.h"
#include "base/error.h"
#include "base/exchange.h"
#include "math/batch-norm.h"
#include "model/parameters.h"

#include <stddef.h>

struct clip_norm_learner {
    size_t channels;                                             /* without padding */
    struct clip_parameter *weight, *bias;                        /* [channels] */
    struct clip_parameter *running_mean, *running_var, *batches; /* num_batches_tracked */
    /* [channels]: factors of the input, as of a depthwise convolution of side 1 before the norm, whose output
     * is then not computed; NULL: none. */
    struct clip_parameter *factor;
    int subtracted; /* y is minus the norm */
    struct clip_batch_norm_back back;
    float *slope, *scale, *shift; /* [padded channels]: what `back` points at */
};

/* Of a norm's forward, for its backward; [padded channels] each, zeros in the padding. */
struct clip_norm_record {
    struct clip_batch_norm norm;
    float *mean, *scale, *shift; /* what norm points at */
    float *inverse;              /* 1 / sqrt(variance + epsilon) */
    double count;                /* values a channel, of all ranks */
};

/* Sets the parameters of the norm whose tensors begin with `name`: -1 with error where one is missing. */
int clip_norm_find(struct clip_norm_learner *norm, const struct clip_parameters *parameters, const char *name,
                   struct clip_error *error);

/* Memory of a norm and of a record, of `padded` channels. */
void clip_norm_place(struct clip_norm_learner *norm, size_t padded, struct clip_arena *arena);
void clip_norm_record_place(struct clip_norm_record *record, size_t padded, struct clip_arena *arena);

/* Joins, in order, the moments[units][2][stride] of units of `each` pixels, the last one of `last`, into
 * those of the first unit. Returns the pixels of all. */
double clip_norm_moments(size_t units, size_t each, size_t last, size_t channels, size_t stride,
                         double *moments);

/* The norm of `count` pixels a channel with mean[channels] and squares[channels] about it, which are changed:
 * joined with those of the other ranks. Running statistics are updated unless `again`. joined[channels + 1]
 * is scratch. -1 with error: fewer than two values, or of the exchange, which may be NULL. */
int clip_norm_finish(const struct clip_norm_learner *norm, struct clip_norm_record *record, double count,
                     double *mean, double *squares, int again, const struct clip_exchange *exchange,
                     double *joined, struct clip_error *error);

/* From sums[2][channels], of this rank: of the gradient of y, and of its products with the input's distance
 * from the mean. Adds to the gradients of the norm's own parameters, of this rank, and sets norm->back, of
 * all ranks. The sums are changed. -1 with error of the exchange. */
int clip_norm_backward(struct clip_norm_learner *norm, const struct clip_norm_record *record, double *sums,
                       const struct clip_exchange *exchange, struct clip_error *error);

#endif
