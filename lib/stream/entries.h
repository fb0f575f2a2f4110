/* A list that comes through a descriptor: file names, each ended by a newline or a NUL. */
#ifndef CLIP_STREAM_ENTRIES_H
#define CLIP_STREAM_ENTRIES_H

#include "base/error.h"
#include "stream/writer.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_MAX_ENTRY ((size_t)65536)

/* Zero it, but for the first three, to begin. */
struct clip_entries {
    int fd;                   /* the caller's */
    char separator;           /* '\n' or '\0' */
    struct clip_writer *tied; /* flushed before a wait for more; or NULL */
    uint64_t number;          /* of the entry last read, from 1 */
    double waited;            /* seconds spent waiting */
    size_t begin, end;
    int ended;
    char buffer[CLIP_MAX_ENTRY + 4096]; /* [begin, end) is not yet given out */
};

/* Reads the next entry that is not empty, terminated, without its separator, which the last may lack; valid
 * until the next call. Returns 1; 0 at the end; -1 with error: it cannot be read, is longer than
 * CLIP_MAX_ENTRY, or holds a NUL. */
int clip_entries_next(struct clip_entries *entries, char **entry, struct clip_error *error);

/* The share of a list in a file that was given out, from 0 to 1; 0 where it is not a file. */
double clip_entries_share(const struct clip_entries *entries);

#endif
