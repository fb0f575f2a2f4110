/* The last stage of the pipeline: records gather to a batch of pairs; a step gives its loss, a line of the
 * log and the gradients of the embeddings, and in training a new logit scale and bias. */
#ifndef CLIP_TRAIN_LOSS_STAGE_H
#define CLIP_TRAIN_LOSS_STAGE_H

#include "base/cli.h"
#include "base/error.h"
#include "base/threads.h"
#include "math/product.h"
#include "score/pairs.h"
#include "stream/writer.h"
#include "train/loss-ranks.h"
#include "train/options.h"
#include "train/training.h"

#include <stdint.h>
#include <stdio.h>

struct clip_loss_options {
    enum clip_loss loss;
    double scale, bias; /* without shared->model and train->dir */
    const char *by; /* records whose field of this name holds the same are positives; NULL: each its own */
    const char *gradients; /* file or FIFO for the gradients; NULL: none. Needed to train */
    const char *log;       /* in training: file for the log, which rank 0 writes; NULL: standard output */
    const struct clip_train_options *train; /* dir NULL: nothing is trained */
};

struct clip_loss_stage {
    const struct clip_loss_options *options;
    struct clip_engine *engine; /* of the products of clip_contrastive_loss */
    struct clip_pool *pool;
    struct clip_training training; /* open if options->train->dir */
    double logit_scale;            /* ln scale */
    double logit_bias;             /* 0 for CLIP_LOSS_SOFTMAX */
    struct clip_pairs pairs;       /* of the batch so far */
    struct clip_loss_ranks ranks;
    uint64_t steps; /* step objects so far */
    FILE *log;      /* standard output, or the file */
    int fd;         /* of the gradients; -1: not (yet) open */
    struct clip_writer *gradients;
    double begun, waited_in, waited_out; /* when the last step was done, and seconds waited until then */
};

/* Opens what the stage needs: the scale and bias of shared->model, of the run, or of the options. The options
 * must stay. -1 with error; close it also then. */
int clip_loss_begin(struct clip_loss_stage *stage, const struct clip_loss_options *options,
                    const struct clip_shared *shared, struct clip_error *error);

/* Takes what the stream brings; the record stays the caller's. A sample joins the batch; a step object ends
 * the batch: its line is printed, its gradients are written, the scale and bias change; other control objects
 * are ignored. `waited` is the seconds waited for input so far, for the log. -1 with error. */
int clip_loss_step(struct clip_loss_stage *stage, struct clip_record *record, double waited,
                   struct clip_error *error);

/* Ends the stream: without any step object, unless in training, all of it is one batch. Then the end of the
 * gradients and the log are written. -1 with error, also where records follow the last step object. */
int clip_loss_end(struct clip_loss_stage *stage, struct clip_error *error);

/* The stage has failed, which other ranks are told. */
void clip_loss_fail(struct clip_loss_stage *stage, const struct clip_error *error);
void clip_loss_close(struct clip_loss_stage *stage);

#endif
