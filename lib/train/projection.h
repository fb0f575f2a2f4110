/* The projections as a stage that trains. */
#ifndef CLIP_TRAIN_PROJECTION_H
#define CLIP_TRAIN_PROJECTION_H

#include "base/error.h"
#include "train/stage.h"
#include "train/training.h"

struct clip_projector;

/* The projections of an opened training, whose part is "projection". `keep`: the features stay in the
 * record. Sets `work`, which is valid as long as the projector. NULL with error. */
struct clip_projector *clip_projector_open(struct clip_training *training, int keep,
                                           struct clip_stage_work *work, struct clip_error *error);
void clip_projector_free(struct clip_projector *projector);

#endif
