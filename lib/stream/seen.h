/* Files that were read before, by name, size and time, as clip-files wrote them. */
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
    char *why;    /* the field error of a rejected record: what is wrong with the file; or NULL. Owned */
};

/* Zeroed: none. */
struct clip_seen {
    struct clip_seen_file *files; /* sorted by clip_seen_sort */
    size_t count, room;
    uint64_t without; /* records that do not say size and time */
};

/* Adds the records of a stream; `path` may be "-". -1 with error, which names the file; clip_seen_free also
 * then. */
int clip_seen_read(struct clip_seen *seen, const char *path, size_t max_record, struct clip_error *error);
void clip_seen_free(struct clip_seen *seen);

/* Adds one file; why[why_size] may be NULL. -1 with error when out of memory. */
int clip_seen_add(struct clip_seen *seen, const char *key, size_t key_size, int64_t size, double time,
                  const char *why, size_t why_size, struct clip_error *error);

/* To be called once, when all are added. */
void clip_seen_sort(struct clip_seen *seen);

/* The file of this key, size and time, or NULL. */
const struct clip_seen_file *clip_seen_find(const struct clip_seen *seen, const char *key, size_t key_size,
                                            int64_t size, double time);

#endif
