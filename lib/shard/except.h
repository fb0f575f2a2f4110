/* A list of samples to leave out: names in a file, one a line, as clip-untar --list prints them. */
#ifndef CLIP_SHARD_EXCEPT_H
#define CLIP_SHARD_EXCEPT_H

#include "base/error.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdio.h>

/* Zeroed: none. */
struct clip_except {
    char **lines; /* sorted */
    size_t count, room;
};

/* Prints the name of a sample: its shard, a tab, its key, as cells of a table; no newline. */
void clip_sample_print(FILE *out, const struct clip_record *sample);

/* Reads the list. -1 with error, which names the file; clip_except_free also then. */
int clip_except_read(struct clip_except *except, const char *path, struct clip_error *error);
void clip_except_free(struct clip_except *except);

/* 1 if the sample is on the list, 0 if it is not; -1 with error when out of memory. */
int clip_except_has(const struct clip_except *except, const struct clip_record *sample,
                    struct clip_error *error);

#endif
