/* The chunks of a batch between forward and backward: kept with their tapes, or their inputs in a file. */
#ifndef CLIP_TRAIN_CHUNKS_H
#define CLIP_TRAIN_CHUNKS_H

#include "train/stage.h"

struct clip_chunks;

/* For a stage's work, with `memory` bytes for tapes, inputs and the work's own memory. Opens the tower of
 * the work. NULL with error. */
struct clip_chunks *clip_chunks_new(const struct clip_stage_work *work, size_t memory,
                                    struct clip_error *error);
void clip_chunks_free(struct clip_chunks *chunks);

/* The items of the chunk being gathered, to which inputs are added. NULL with error. */
struct clip_items *clip_chunks_items(struct clip_chunks *chunks, struct clip_error *error);

/* Runs the gathered chunk forward: out[its items][sum of the outputs' widths]. Then begins the next chunk. */
int clip_chunks_forward(struct clip_chunks *chunks, float *out, struct clip_error *error);

/* Chunks that went forward since the last clip_chunks_clear. */
size_t clip_chunks_count(const struct clip_chunks *chunks);

/* Runs chunk i backward, each chunk once, from 0 on: the first *n rows of `gradients` are its own. Input
 * gradients as in clip_tower_type.backward. */
int clip_chunks_backward(struct clip_chunks *chunks, size_t i, const float *gradients, float *input_gradients,
                         size_t *n, struct clip_error *error);

/* Reloads the parameters' values after each change. */
int clip_chunks_refresh(struct clip_chunks *chunks, struct clip_error *error);

/* Begins a batch. */
void clip_chunks_clear(struct clip_chunks *chunks);

#endif
