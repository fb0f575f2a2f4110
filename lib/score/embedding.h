/* What of a record is scored: its embedding, made unit, and what it is called. */
#ifndef CLIP_SCORE_EMBEDDING_H
#define CLIP_SCORE_EMBEDDING_H

#include "score/vectors.h"
#include "stream/record.h"

#include <stddef.h>

/* The fields of a picture's embedding and of a caption's (enum clip_side). */
extern const char *const clip_embedding_fields[2];

/* The first of the two fields (the second may be NULL) that the record has, made unit, into *unit, [*width],
 * the caller's; where it is NULL it is allocated, and where *width is 0 it is set. -1 with the record marked
 * as bad. */
int clip_embedding_read(struct clip_record *record, const char *const fields[2], size_t *width, float **unit);

struct clip_record_text {
    const char *data; /* not terminated; NULL: there is none */
    size_t size;
    char number[24];
};

/* The record's key, up to a zero byte. */
void clip_key_read(struct clip_record_text *key, const struct clip_record *record);

/* What `label` says names the record: "caption" (its txt), "key", or a field, text or a whole number (""
 * where it is missing). Nothing where that is its key. */
void clip_label_read(struct clip_record_text *text, const struct clip_record *record, const char *label);

/* Adds the record's embedding, unit vector unit[width], under its key and label. */
int clip_embedding_keep(struct clip_vectors *vectors, const float *unit, const struct clip_record *record,
                        const char *label, struct clip_error *error);

#endif
