/* The two encoders as stages that train. */
#ifndef CLIP_TRAIN_ENCODER_H
#define CLIP_TRAIN_ENCODER_H

#include "base/error.h"
#include "train/stage.h"
#include "train/trainee.h"

#include <stddef.h>

#define CLIP_ENCODER_CHUNK 16

struct clip_encoder_stage;

/* The encoder of an opened trainee, whose part says which. `chunk`: pictures or captions at once; 0:
 * CLIP_ENCODER_CHUNK, or the whole batch where they mix (batch norm). `keep`: the input stays in the record.
 * Sets `work`, which is good as long as the encoder. NULL with error. */
struct clip_encoder_stage *clip_encoder_stage_open(struct clip_trainee *trainee, size_t chunk, int keep,
                                                   struct clip_stage_work *work, struct clip_error *error);
void clip_encoder_stage_free(struct clip_encoder_stage *encoder);

#endif
