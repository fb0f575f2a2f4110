/* The log of a run: a line of JSON for each step, {"step":N, ...}, in order. */
#ifndef CLIP_TRAIN_LOG_H
#define CLIP_TRAIN_LOG_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

/* Opens the log at `path`, creating it if it does not exist, to append the lines of the steps after
 * `done`. Removes lines of later steps, which will be repeated, and a last line without a newline, which a
 * crash left. NULL with error, and nothing changed, if the file holds other lines. */
FILE *clip_log_open(const char *path, uint64_t done, struct clip_error *error);

/* Makes sure that the lines so far are on disk. */
int clip_log_sync(FILE *log, const char *path, struct clip_error *error);

#endif
