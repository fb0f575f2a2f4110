/* The fields of records that towers read. Each function returns -1, and marks the record as bad, if the field
 * is missing or wrong. */
#ifndef CLIP_TOWER_FIELDS_H
#define CLIP_TOWER_FIELDS_H

#include "model/arch.h"
#include "stream/record.h"

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

#endif
