/* ftfy.fix_text with its defaults (ftfy 6.3.1; Robyn Speer, github.com/rspeer/python-ftfy). */
#ifndef CLIP_TEXT_REPAIR_H
#define CLIP_TEXT_REPAIR_H

#include "text/unicode.h"

/* Buffers of clip_repair, reused from text to text. Zeroed, they are empty. */
struct clip_repair {
    struct clip_points segment, before, work;
};
void clip_repair_free(struct clip_repair *repair);

/* ftfy.fix_text(text) to `out`. `text` has no surrogates. */
int clip_repair(struct clip_repair *repair, const struct clip_points *text, struct clip_points *out,
                struct clip_error *error);

#endif
