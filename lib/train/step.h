/* Step objects: what ends a batch in a stream and says how to train on it (clip-stream(5)). */
#ifndef CLIP_TRAIN_STEP_H
#define CLIP_TRAIN_STEP_H

#include "base/error.h"
#include "stream/record.h"

#include <stdint.h>

struct clip_step {
    int64_t number; /* from 1 */
    int64_t count;  /* records of the batch; -1 where the object does not say */
    double lr;      /* NAN where it does not say */
    int save;       /* a checkpoint follows this step */
    int64_t keep;   /* number of newest checkpoints that are kept then; 0: all */
};

/* Reads a step object. 1; 0 if the object is another control object; -1 with error if it is malformed. */
int clip_step_read(struct clip_step *step, const struct clip_record *object, struct clip_error *error);

#define CLIP_STEP_DATA "data"

/* Puts a number of the stage `part` ("image"), or of CLIP_STEP_DATA, into a step object that passes
 * through, as the field "PART.NAME", for the last stage to log. */
int clip_step_report(struct clip_record *object, const char *part, const char *name, double value,
                     struct clip_error *error);

#endif
