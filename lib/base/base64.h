/* Base64 (RFC 4648, section 4). */
#ifndef CLIP_BASE_BASE64_H
#define CLIP_BASE_BASE64_H

#include <stddef.h>

/* Decodes text[n] to out[n / 4 * 3]; sets *size. -1 where it is not base64. */
int clip_base64_decode(const char *text, size_t n, void *out, size_t *size);

#endif
