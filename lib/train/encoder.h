/* The two encoders as stages that train. */
#ifndef CLIP_TRAIN_ENCODER_H
#define CLIP_TRAIN_ENCODER_H

#include "base/cli.h"
#include "math/product.h"
#include "tower/project.h"
#include "train/options.h"
#include "train/stage.h"

#include <stddef.h>

struct clip_encoder_options {
    const struct clip_train_options *train;
    const struct clip_stage_options *stage;
    enum clip_precision precision;
    size_t chunk; /* pictures or captions at once; 0: 16, or the whole batch where they mix (batch norm) */
    int keep;     /* the input stays in the record */
};

/* Trains the encoder of a side over the inputs operands[0..n), as clip_stage_run: the program's exit status.
 */
int clip_encoder_train(enum clip_side side, const struct clip_encoder_options *options,
                       const struct clip_shared *shared, char *const *operands, size_t n);

#endif
