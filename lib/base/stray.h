/* Files that are not what their name says: what failed downloads leave. */
#ifndef CLIP_BASE_STRAY_H
#define CLIP_BASE_STRAY_H

#include <stddef.h>

/* What the begin data[size] of a file is, and what to do, where it is known not to be one of the files that
 * these programs read (a Git LFS pointer, a page of HTML); NULL otherwise. */
const char *clip_stray_text(const void *data, size_t size);

/* The same of a whole file in the place of weights: also what other libraries write, and text of any kind. */
const char *clip_stray_weights(const void *data, size_t size);

#endif
