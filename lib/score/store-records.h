/* Records and the embeddings of an index (score/store.h): from one to the other, and which are out of date.
 */
#ifndef CLIP_SCORE_STORE_RECORDS_H
#define CLIP_SCORE_STORE_RECORDS_H

#include "base/error.h"
#include "score/store-write.h"
#include "stream/record.h"

#include <stddef.h>

/* Puts the record's embedding, unit[width], under its key, with what clip_label_read says is its label, and
 * with the size and time of its file if it has __size__ and __mtime__. -1 with error; -1 with the record
 * marked as bad if this writer put its key before. */
int clip_store_put_record(struct clip_store_writer *writer, const float *unit, size_t width,
                          struct clip_record *record, const char *label, struct clip_error *error);

/* The record of an entry: __key__, label unless it is the key, __size__ and __mtime__ where they are known.
 * The caller frees it; NULL with error. */
struct clip_record *clip_store_entry_record(const struct clip_store_entry *entry, struct clip_error *error);

/* Removes the embeddings whose key is not the path of a file and, with `changed`, those whose file has
 * another size or time. */
int clip_store_remove_outdated(struct clip_store_writer *writer, int changed, struct clip_error *error);

#endif
