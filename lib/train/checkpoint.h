/* Checkpoints of a run: each stage writes a part, and the last stage to write combines the parts.
 *
 * DIR/.step-00000100/{weights,optimizer}.PART.safetensors become DIR/step-00000100, a model folder with
 * optimizer/PART.safetensors beside the weights, by one rename; another rename moves the link DIR/latest
 * to it. So a folder without the dot is complete, whenever the machine or a process stops. */
#ifndef CLIP_TRAIN_CHECKPOINT_H
#define CLIP_TRAIN_CHECKPOINT_H

#include "base/error.h"
#include "model/model.h"
#include "model/parameters.h"
#include "train/optimizer.h"
#include "train/run.h"

#include <stdint.h>

/* Reads the optimizer's state from the checkpoint that the run starts from, if that has done a step. */
int clip_run_restore(const struct clip_run *run, struct clip_optimizer *optimizer, struct clip_error *error);

/* Writes the stage's part of the checkpoint of step `number`. If all parts exist then, combines them, in
 * the form of `model`'s folder and with the extra files of DIR/init, and moves DIR/latest. With `keep`
 * above 0, removes all but the newest `keep` checkpoints up to this one. */
int clip_run_save(const struct clip_run *run, const struct clip_model *model,
                  const struct clip_parameters *parameters, const struct clip_optimizer *optimizer,
                  uint64_t number, uint64_t keep, struct clip_error *error);

#endif
