/* Files that stand where others should: what people's downloads leave behind. */
#ifndef CLIP_BASE_STRAY_H
#define CLIP_BASE_STRAY_H

#include <stddef.h>

/* What the begin data[size] of a file is, and what to do, where it is known to be none of the files that
 * these programs read (a Git LFS pointer, a page of HTML); NULL otherwise. */
const char *clip_stray_text(const void *data, size_t size);

/* The same of a whole file in the place of weights: also what other libraries write, and text of any kind. */
const char *clip_stray_weights(const void *data, size_t size);

#endif
