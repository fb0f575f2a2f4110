/* Streams of gradients between stages: for each record of a batch, in order, a record with the same key
 * that holds, under the name of a field, the gradient with respect to it; then the step object
 * (clip-stream(5)). */
#ifndef CLIP_TRAIN_GRADIENTS_H
#define CLIP_TRAIN_GRADIENTS_H

#include "base/error.h"
#include "stream/record.h"
#include "train/items.h"
#include "train/step.h"

#include <stddef.h>

/* A vector field of a stage, its gradient's name and width. */
struct clip_vector_field {
    const char *name;
    size_t width;
};

struct clip_gradients_in;

/* Opens FIFO `path`, which must stay: see clip_fifo_reader. `out` is the descriptor to which the stage
 * writes. NULL with error. */
struct clip_gradients_in *clip_gradients_in_open(const char *path, int out, struct clip_error *error);
void clip_gradients_in_free(struct clip_gradients_in *in);

/* Reads a batch's gradients, rows[keys->count][sum of widths], of records with these keys, and the step
 * object. -1 with error: the stream is cut, holds something else, or a gradient is not finite. */
int clip_gradients_in_read(struct clip_gradients_in *in, const struct clip_items *keys,
                           const struct clip_vector_field *fields, size_t fields_count,
                           const struct clip_step *step, float *rows, struct clip_error *error);

/* Seconds waited so far. */
double clip_gradients_in_waited(const struct clip_gradients_in *in);

struct clip_gradients_out;

/* Writes to FIFO `path`, which must stay, and is opened with the first write: see clip_fifo_writer. NULL
 * with error. */
struct clip_gradients_out *clip_gradients_out_new(const char *path, struct clip_error *error);
void clip_gradients_out_free(struct clip_gradients_out *out);

/* Writes a record with key[size] and the gradient value[width] of field `name`. */
int clip_gradients_out_put(struct clip_gradients_out *out, const void *key, size_t size, const char *name,
                           const float *value, size_t width, struct clip_error *error);

/* Writes the step object after a batch, and flushes. */
int clip_gradients_out_step(struct clip_gradients_out *out, const struct clip_record *object,
                            struct clip_error *error);

/* Ends the stream; does nothing if nothing was written. */
int clip_gradients_out_end(struct clip_gradients_out *out, struct clip_error *error);

#endif
