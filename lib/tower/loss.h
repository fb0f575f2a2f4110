/* The symmetric contrastive loss of a batch and its gradients (FACTS: training). */
#ifndef CLIP_TOWER_LOSS_H
#define CLIP_TOWER_LOSS_H

#include "base/error.h"
#include "base/threads.h"

#include <stddef.h>

struct clip_contrast {
    double loss;       /* (cross entropy of the rows + of the columns) / 2, the mean over the batch */
    double top1_image; /* share of pictures whose own caption is nearer than every other; a tie is none */
    double top1_text;  /* the same of captions */
    double logit_scale_gradient; /* of the loss, with respect to ln scale; 0 without gradients */
};

/* The loss of n >= 2 pairs: logits[i][j] = scale * image[i] · text[j], targets on the diagonal. image and
 * text are [n][width] and taken as they are, so unit if the logits are to be cosines; scale > 0. The
 * gradients, [n][width] each, are of the loss with respect to image and text; both NULL: the loss alone.
 * Nothing overlaps.
 *
 * Logits exist in bands of a fixed number of rows, never all at once: memory beyond the arguments is 512 n
 * bytes and some. Results do not depend on the pool's threads. An engine that lets clip_gemm run must be open
 * (math/product.h: "openblas"). -1 with error when out of memory or when the loss is not finite. */
int clip_contrastive_loss(size_t n, size_t width, const float *image, const float *text, double scale,
                          float *image_gradient, float *text_gradient, struct clip_pool *pool,
                          struct clip_contrast *result, struct clip_error *error);

#endif
