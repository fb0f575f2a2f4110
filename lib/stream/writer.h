/* Writing clip-stream(5): records and control objects to one stream. */
#ifndef CLIP_STREAM_WRITER_H
#define CLIP_STREAM_WRITER_H

#include "base/error.h"
#include "stream/record.h"

#include <stdint.h>

struct clip_writer;

/* Writes to descriptor `fd`, which stays the caller's; `name` is for messages ("standard output"). */
struct clip_writer *clip_writer_new(int fd, const char *name, struct clip_error *error);
void clip_writer_free(struct clip_writer *writer);

/* Writes a record or a control object. Its bytes may stay in the writer's buffer for 10 ms of further
 * writing, to a tick of the clock; a reader tied to the writer flushes the buffer before it waits
 * (clip_reader_tie). */
int clip_writer_record(struct clip_writer *writer, const struct clip_record *record,
                       struct clip_error *error);

/* Writes the end object, which holds the number of records, and flushes. A stream without it was cut. */
int clip_writer_end(struct clip_writer *writer, struct clip_error *error);

int clip_writer_flush(struct clip_writer *writer, struct clip_error *error);

/* Ends a program's stream: after a run of status 0 writes the end object and closes the descriptor; after one
 * that failed writes what is left, without an end, and *error stays. Returns the status, -1 with error. */
int clip_writer_finish(struct clip_writer *writer, int status, struct clip_error *error);

/* Records written so far (control objects not counted), and seconds spent in write(2). */
uint64_t clip_writer_count(const struct clip_writer *writer);
double clip_writer_waited(const struct clip_writer *writer);

#endif
