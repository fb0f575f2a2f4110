/* FIFOs that carry gradients back. They are opened so that nothing waits for a process that does not
 * exist. */
#ifndef CLIP_TRAIN_FIFO_H
#define CLIP_TRAIN_FIFO_H

#include "base/error.h"
#include "stream/writer.h"

/* Opens a FIFO (or file) for reading at the start of a stage, whether or not anybody writes to it yet. If
 * the path does not exist, creates a FIFO. The descriptor, or -1 with error. */
int clip_fifo_reader(const char *path, struct clip_error *error);

/* Waits until `fd` has data or its writer has ended. -1 with error if meanwhile nobody reads descriptor
 * `out` any more: the stages that would have to answer have ended. */
int clip_fifo_await(int fd, int out, struct clip_error *error);

/* Opens a FIFO (or file) for writing when the first gradients are ready. The stage before, which sent
 * these records, has it open by then. The descriptor; -1 with error if after some seconds nobody has. */
int clip_fifo_writer(const char *path, struct clip_error *error);

/* Writes the end object of a stream of gradients to the FIFO `fd`. The stage that reads it may have ended:
 * after the last step it has all it needs, and waiting for the end object could be circular. So that is
 * not an error. */
int clip_fifo_end(struct clip_writer *writer, int fd, struct clip_error *error);

#endif
