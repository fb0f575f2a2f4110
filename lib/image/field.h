/* Which field of a record holds its picture. */
#ifndef CLIP_IMAGE_FIELD_H
#define CLIP_IMAGE_FIELD_H

#include "stream/record.h"

/* The record's first field whose name is, or behind its last dot is, jpg, jpeg, png or webp in any case; or
 * NULL. */
const struct clip_field *clip_find_picture(const struct clip_record *record);

#endif
