/* HTML's character references. Both functions return 1 if the text had some, 0 if it had none, -1 with error.
 */
#ifndef CLIP_TEXT_ENTITIES_H
#define CLIP_TEXT_ENTITIES_H

#include "text/unicode.h"

/* Python's html.unescape(text), in place: HTML 5's rules, also for references without their semicolon and
 * numbers that are not characters. `work` is overwritten. */
int clip_unescape(struct clip_points *text, struct clip_points *work, struct clip_error *error);

/* ftfy's unescape_html(text), in place: only references that end with a semicolon, some also in capitals. */
int clip_unescape_strict(struct clip_points *text, struct clip_points *work, struct clip_error *error);

#endif
