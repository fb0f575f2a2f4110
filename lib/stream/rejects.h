/* Records that --skip-bad drops, kept in a file: what they are of and why, without their data. */
#ifndef CLIP_STREAM_REJECTS_H
#define CLIP_STREAM_REJECTS_H

#include "base/error.h"
#include "stream/record.h"

struct clip_rejects;

/* The file appears under its name when it is committed, if anything was added. NULL with error. */
struct clip_rejects *clip_rejects_new(const char *path, struct clip_error *error);
/* What was not committed is lost. */
void clip_rejects_free(struct clip_rejects *rejects);

/* Writes __key__, __url__, __size__ and __mtime__ of a bad record, as far as it has them, and error, the
 * reason. -1 with error. */
int clip_rejects_add(struct clip_rejects *rejects, const struct clip_record *record,
                     struct clip_error *error);
int clip_rejects_commit(struct clip_rejects *rejects, struct clip_error *error);

#endif
