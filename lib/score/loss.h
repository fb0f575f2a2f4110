/* The contrastive losses of a batch and their gradients (FACTS: training). */
#ifndef CLIP_SCORE_LOSS_H
#define CLIP_SCORE_LOSS_H

#include "base/error.h"
#include "base/exchange.h"
#include "base/threads.h"

#include <stddef.h>
#include <stdint.h>

enum clip_loss {
    /* CLIP's: (cross entropy of the rows + of the columns) / 2, the mean over the batch. A row's target mass
     * is shared evenly by its positives. */
    CLIP_LOSS_SOFTMAX,
    /* SigLIP's: - sum over all pairs of log sigmoid(z logit), z = 1 of positives and -1 of others, over n. */
    CLIP_LOSS_SIGMOID
};

/* The part of a rank in a batch that several have: its pairs, whose rows and columns of the logits it does.
 */
struct clip_contrast_share {
    const struct clip_exchange *exchange; /* loss, accuracies and the gradients of scale and bias are sums */
    size_t first, count;                  /* its pairs, count >= 1 */
    double *row_log, *column_log;         /* [n] each: ln of the sums; its own are set, then */
    int (*gather)(void *context, struct clip_error *error); /* the others' are filled in. -1 with error */
    void *context;
};

/* A batch of n >= 2 pairs: logits[i][j] = scale * image[i] · text[j] + bias. */
struct clip_contrast_batch {
    size_t n, width;
    const float *image, *text; /* [n][width], taken as they are: unit if logits are to be cosines' */
    const uint32_t *group; /* [n], each below n: i and j are positives where group[i] == group[j]; NULL: i = j
                            */
    enum clip_loss loss;
    double scale;                            /* > 0 */
    double bias;                             /* CLIP_LOSS_SIGMOID; else 0 */
    float *image_gradient, *text_gradient;   /* [n][width] each, of the loss; both NULL: the loss alone */
    const struct clip_contrast_share *share; /* NULL: all of it is here; else gradients are [share->count] */
};

struct clip_contrast {
    double loss;
    double top1_image; /* share of pictures whose nearest positive caption is nearer than every other; a tie
                          with another is not one, a tie among positives does not matter */
    double top1_text;  /* the same of captions */
    double logit_scale_gradient; /* of the loss, with respect to ln scale; 0 without gradients */
    double logit_bias_gradient;  /* and to the bias; 0 also for CLIP_LOSS_SOFTMAX, which it does not change */
};

/* The loss of the batch and, where there is room for them, its gradients. Nothing overlaps.
 *
 * Logits exist in bands of a fixed number of rows, never all at once: memory beyond the batch's is 512 n
 * bytes and some. Results do not depend on the pool's threads. An engine that lets clip_gemm run must be open
 * (math/product.h: "openblas"). -1 with error when out of memory or when the loss is not finite. */
int clip_contrastive_loss(const struct clip_contrast_batch *batch, struct clip_pool *pool,
                          struct clip_contrast *result, struct clip_error *error);

#endif
