/* Which field of a record holds its picture. */
#ifndef CLIP_IMAGE_FIELD_H
#define CLIP_IMAGE_FIELD_H

#include "stream/record.h"

/* The names that pictures have, in the order in which they are looked for. */
#define CLIP_PICTURE_NAMES "jpg, jpeg, png, webp, jfif, jpe"

/* The record's field whose name is one of these, in any case; of several, the first in their order. If
 * there is none, the field whose name ends in a dot and one of them, such as canny.png. Else NULL. */
const struct clip_field *clip_find_picture(const struct clip_record *record);

/* Whether name[size] is one of these, or ends in a dot and one of them. */
int clip_is_picture_name(const char *name, size_t size);

/* How many fields have one of these names, or a name that ends in a dot and one of them. */
size_t clip_count_pictures(const struct clip_record *record);

/* The field of the first name in `list`, separated by commas, that exists; or NULL. */
const struct clip_field *clip_find_picture_in(const struct clip_record *record, const char *list);

#endif
