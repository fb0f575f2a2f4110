/* The fields of records that towers read. Each function returns -1, and marks the record as bad, if the field
 * is missing or wrong. */
#ifndef CLIP_TOWER_FIELDS_H
#define CLIP_TOWER_FIELDS_H

#include "model/arch.h"
#include "stream/record.h"
#include "tower/tower.h"

#include <stdint.h>

/* By side: the field that its tower reads, and the field of its features. */
extern const char *const clip_input_fields[CLIP_SIDES];
extern const char *const clip_feature_fields[CLIP_SIDES];

/* image: u1 or f4 [3, H, W] of the architecture's height and width; f2 and f8 as clip_record_floats takes
 * them. A view, whose data need not be aligned. */
int clip_record_image(struct clip_record *record, const struct clip_arch *arch, struct clip_tensor *image);

/* tokens: i4 [context], or fewer where nothing sees padding after them: a caption that the text tower takes
 * (clip_caption_check); copied to tokens[context], padded. */
int clip_record_tokens(struct clip_record *record, const struct clip_arch *arch, int32_t *tokens);

/* Bytes of an item that a side's tower takes: of a picture's bytes, of a caption's ids. A picture of floats
 * has four times as many. */
size_t clip_item_bytes(const struct clip_arch *arch, enum clip_side side);

/* The item of data[size], which stays the caller's: pixels, aligned to 4 bytes if they are floats, or ids. */
union clip_item clip_item_of(const struct clip_arch *arch, enum clip_side side, const void *data,
                             size_t size);

#endif
