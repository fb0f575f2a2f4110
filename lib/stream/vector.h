/* Float vectors of records, such as features and embeddings: f4 [width], every element finite. */
#ifndef CLIP_STREAM_VECTOR_H
#define CLIP_STREAM_VECTOR_H

#include "stream/record.h"

#include <stddef.h>

/* The tensor `name` of floats as f4. Where it is f2 or f8, as other programs write it, the record holds f4
 * afterwards. -1, and the record is marked as bad, where it is missing or of another type. */
int clip_record_floats(struct clip_record *record, const char *name, struct clip_tensor *tensor);

/* The record's vector `name` of *width elements, at least 1; if *width is 0, any number is accepted and
 * *width is set. *data is aligned to a byte only, and valid until the record changes. -1, and the record
 * is marked as bad, where the field is missing or is something else. */
int clip_record_vector(struct clip_record *record, const char *name, size_t *width, const void **data);

/* Sets a field to the vector value[width]. */
int clip_record_put_vector(struct clip_record *record, const char *name, const float *value, size_t width,
                           struct clip_error *error);

#endif
