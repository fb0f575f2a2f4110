/* Errors of the library: a return value plus a message in an object that the caller passes.
 *
 * Convention of every floor: a function that can fail takes a `struct clip_error *` as its last argument and
 * returns 0, or -1 with the message set (pointers: NULL). The message is one line without a full stop or
 * newline, and names what the function itself knows (its file, its field); callers put what they know in
 * front of it. */
#ifndef CLIP_BASE_ERROR_H
#define CLIP_BASE_ERROR_H

#include <stddef.h>

struct clip_error {
    char text[512];
};

/* Sets the message; always returns -1. */
int clip_fail(struct clip_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As clip_fail, with ": " and errno's text after it. */
int clip_fail_errno(struct clip_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " in front of the message that is there; always returns -1. */
int clip_fail_prefix(struct clip_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Out of memory for `what`; returns -1. */
int clip_fail_memory(struct clip_error *error, const char *what);

/* Makes a name from outside fit for a message: control characters and bytes outside UTF-8 as \xNN, cut to
 * fit. Returns `out`, which has room for `size` bytes. */
const char *clip_printable(char *out, size_t size, const char *text, size_t length);

#endif
