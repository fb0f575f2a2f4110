/* Embeddings averaged by group: prompt ensembles (CLIP's paper, section 3.1.4), and sums of queries. */
#ifndef CLIP_SCORE_GROUPS_H
#define CLIP_SCORE_GROUPS_H

#include "base/error.h"
#include "stream/record.h"
#include "stream/writer.h"

#include <stddef.h>

struct clip_groups;

struct clip_groups *clip_groups_new(struct clip_error *error);
void clip_groups_free(struct clip_groups *groups);

/* What is averaged. The names belong to the caller and must stay. */
struct clip_grouping {
    const char *by;            /* the field that names the group: text or a whole number */
    const char *const *fields; /* [n], n <= 2: embeddings, f4 [width], of which a record has one or more */
    size_t n;
    const char *weight; /* the field of a record's weight, a number, also as text; NULL: all weigh 1 */
    const char *into;   /* all embeddings of a group are averaged together, into this field; or NULL */
};

/* Adds the record's embeddings, normalised to unit length and multiplied by its weight, to its group. -1 with
 * error when out of memory; -1 with the record marked as bad if it has no group, no weight, no embedding, or
 * not those of its group: nothing of it is added then. */
int clip_groups_add(struct clip_groups *groups, struct clip_record *record,
                    const struct clip_grouping *grouping, struct clip_error *error);

/* Writes one record a group, in order of first appearance: __key__ is the group's name, `by` its value,
 * and each embedding is the sum of the vectors, normalised to unit length. -1 with error, also if a
 * sum has no direction. */
int clip_groups_write(struct clip_groups *groups, const char *by, struct clip_writer *out,
                      struct clip_error *error);

#endif
