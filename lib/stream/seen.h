/* Files that are in a stream already, by name, size and time, as clip-files wrote them. */
#ifndef CLIP_STREAM_SEEN_H
#define CLIP_STREAM_SEEN_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct clip_seen_file {
    char *key; /* not terminated; owned */
    size_t key_size;
    int64_t size; /* __size__ */
    double time;  /* __mtime__ */
};

/* Zeroed: none. */
struct clip_seen {
    struct clip_seen_file *files; /* sorted */
    size_t count, room;
    uint64_t without; /* records that do not say size and time */
};

/* Adds the records of a stream; `path` may be "-". -1 with error, which names the file; clip_seen_free also
 * then. */
int clip_seen_read(struct clip_seen *seen, const char *path, size_t max_record, struct clip_error *error);
void clip_seen_free(struct clip_seen *seen);

/* 1 if the file is among them, with this size and time. */
int clip_seen_has(const struct clip_seen *seen, const char *key, size_t key_size, int64_t size, double time);

#endif
