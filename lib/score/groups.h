/* Embeddings averaged by group: prompt ensembles (CLIP's paper, section 3.1.4). */
#ifndef CLIP_SCORE_GROUPS_H
#define CLIP_SCORE_GROUPS_H

#include "base/error.h"
#include "stream/record.h"
#include "stream/writer.h"

#include <stddef.h>

struct clip_groups;

struct clip_groups *clip_groups_new(struct clip_error *error);
void clip_groups_free(struct clip_groups *groups);

/* Adds the embeddings fields[n], n <= 2, f4 [width], as far as the record has them, normalised to unit
 * length, to the group named by its field `by` (text or a whole number). -1 with error when out of memory;
 * -1 with the record marked as bad if it has no group, no embedding, or not those of its group: nothing of
 * it is added then. */
int clip_groups_add(struct clip_groups *groups, struct clip_record *record, const char *by,
                    const char *const *fields, size_t n, struct clip_error *error);

/* Writes one record a group, in order of first appearance: __key__ is the group's name, `by` its value,
 * and each embedding is the mean of the unit vectors, normalised to unit length. -1 with error, also if a
 * mean has no direction. */
int clip_groups_write(struct clip_groups *groups, const char *by, struct clip_writer *out,
                      struct clip_error *error);

#endif
