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

/* Adds those of the embeddings fields[n], n <= 2, f4 [width], that the record has, made unit, to the group
 * that its field `by` names (text or a whole number). -1 with error when out of memory; -1 with the record
 * marked as bad where it has no group, no embedding, or not that of its group: nothing of it is then added.
 */
int clip_groups_add(struct clip_groups *groups, struct clip_record *record, const char *by,
                    const char *const *fields, size_t n, struct clip_error *error);

/* Writes a record a group, in the order in which they first came: __key__ is the group's name, `by` its
 * value, and each embedding the mean of the unit vectors, made unit. -1 with error, also where a mean has no
 * direction. */
int clip_groups_write(struct clip_groups *groups, const char *by, struct clip_writer *out,
                      struct clip_error *error);

#endif
