/* Recognises files that are not what their name says, such as those that failed downloads leave. */
#ifndef CLIP_BASE_STRAY_H
#define CLIP_BASE_STRAY_H

#include <stddef.h>

/* If data[size], the beginning of a file, is known not to be a file that these programs read (a Git LFS
 * pointer, an HTML page): what it is and what to do. Otherwise NULL. */
const char *clip_stray_text(const void *data, size_t size);

/* The same for a whole file in the place of weights: recognises also files of other libraries, and text of
 * any kind. */
const char *clip_stray_weights(const void *data, size_t size);

#endif
