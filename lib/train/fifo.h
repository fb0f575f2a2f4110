/* FIFOs that carry gradients back, opened so that nothing waits for a process that is not there. */
#ifndef CLIP_TRAIN_FIFO_H
#define CLIP_TRAIN_FIFO_H

#include "base/error.h"
#include "stream/writer.h"

/* Opens a FIFO (or file) for reading, at the start of a stage, whether or not anybody writes yet; where the
 * path does not exist, a FIFO is made. The descriptor, or -1 with error. */
int clip_fifo_reader(const char *path, struct clip_error *error);

/* Waits until something comes through `fd`, or its writer is gone. -1 with error where meanwhile nobody reads
 * descriptor `out` any more: the stages that would have to answer are gone. */
int clip_fifo_await(int fd, int out, struct clip_error *error);

/* Opens a FIFO (or file) for writing: when the first gradients are there, because by then the stage before,
 * whose records these are, has it open. The descriptor; -1 with error where after some seconds nobody has. */
int clip_fifo_writer(const char *path, struct clip_error *error);

/* Writes the end object of a stream of gradients to the FIFO `fd`. The stage that reads it does not wait for
 * the end: after the last step it has all it needs, and what it waited for might wait for its own end. So it
 * is not an error where it has gone. */
int clip_fifo_end(struct clip_writer *writer, int fd, struct clip_error *error);

#endif
