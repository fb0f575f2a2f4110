/* Changing an index (score/store.h): one writer at a time, who holds its lock. */
#ifndef CLIP_SCORE_STORE_WRITE_H
#define CLIP_SCORE_STORE_WRITE_H

#include "base/error.h"
#include "score/store.h"

#include <stddef.h>
#include <stdint.h>

struct clip_store_writer;

/* What becomes of an index that exists, or does not. */
enum clip_store_way {
    CLIP_STORE_CHANGE,  /* it is changed; it must exist */
    CLIP_STORE_CREATE,  /* it is changed, or made */
    CLIP_STORE_REPLACE, /* what is in it is replaced, or it is made */
};

/* Locks the index `path`. One that is made, or replaced, appears, or changes, when it is committed; its
 * embeddings are halves where `halves`. NULL with error: it is locked (the message says by whom), there is no
 * index, or something else of that name. */
struct clip_store_writer *clip_store_edit(const char *path, enum clip_store_way way, int halves,
                                          struct clip_error *error);

/* Gives the lock back; what was not committed is lost. */
void clip_store_writer_free(struct clip_store_writer *writer);

/* Makes `lists` lists of the embeddings when they are committed (0: none but those of the centroids that the
 * index has), with so many threads. */
void clip_store_writer_lists(struct clip_store_writer *writer, size_t lists, int threads);

/* The width of its embeddings; 0: not known yet. */
size_t clip_store_writer_width(const struct clip_store_writer *writer);

/* Adds unit[width] under entry->key (label "" or NULL: the key), which takes the place of what has that key
 * in the index. -1 with error; 1, adding nothing, where this writer added that key before. */
int clip_store_put(struct clip_store_writer *writer, const float *unit, size_t width,
                   const struct clip_store_entry *entry, struct clip_error *error);

/* Removes key[size], when it is committed. */
int clip_store_remove(struct clip_store_writer *writer, const char *key, size_t size,
                      struct clip_error *error);

/* The index as it was when it was last committed; NULL: there was none. */
const struct clip_store *clip_store_writer_index(const struct clip_store_writer *writer);

struct clip_store_changes {
    uint64_t added, replaced, removed;
};

/* Makes the index what was asked for, in one moment; *changes, since the last time. More may be asked for. */
int clip_store_commit(struct clip_store_writer *writer, struct clip_store_changes *changes,
                      struct clip_error *error);

#endif
