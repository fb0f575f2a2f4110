/* The loss over ranks: the batch is all ranks' pairs, of which each does its own rows and columns. */
#ifndef CLIP_TRAIN_LOSS_RANKS_H
#define CLIP_TRAIN_LOSS_RANKS_H

#include "base/error.h"
#include "score/pairs.h"
#include "train/ranks.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with. */
struct clip_loss_ranks {
    struct clip_ranks *ranks;
    size_t *counts, *sizes; /* [ranks]: pairs of each; bytes of each, for the next gather */
    double *numbers;        /* [ranks] */
    float *embeddings[2];   /* [room][width], of the batch, in shared memory like the next two */
    double *logs;           /* [2][n] */
    char *values;           /* [values_room]: of positives */
    uint32_t *group;        /* [room] */
    size_t room, values_room;
    size_t n;
    struct clip_contrast_share share;
};

/* Sets n, image, text, group and share of `batch` to those of all ranks' pairs, of which `pairs` are this
 * rank's: at least one. NULL ranks: leaves it as it is. -1 with error. */
int clip_loss_gather(struct clip_loss_ranks *loss, struct clip_ranks *ranks, const struct clip_pairs *pairs,
                     struct clip_contrast_batch *batch, struct clip_error *error);
void clip_loss_ranks_free(struct clip_loss_ranks *loss);

#endif
