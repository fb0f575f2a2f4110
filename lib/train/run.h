/* The folder of a training run: DIR/init, DIR/step-00000100, DIR/latest (DESIGN: training). */
#ifndef CLIP_TRAIN_RUN_H
#define CLIP_TRAIN_RUN_H

#include "base/error.h"

#include <stdint.h>

/* The steps that the last whole checkpoint of run `dir` has behind it: 0 where there is none. -1 with error
 * where DIR/latest is no link to a checkpoint that is there. */
int clip_run_steps(const char *dir, uint64_t *steps, struct clip_error *error);

#endif
