/* Binary batches of labelled pictures: records of fixed size without a header, each with some labels of a
 * byte, then the planes red, green and blue, as in the binary version of CIFAR-10
 * (https://www.cs.toronto.edu/~kriz/cifar.html). */
#ifndef CLIP_IMAGE_BINARY_H
#define CLIP_IMAGE_BINARY_H

#include "base/error.h"
#include "stream/record.h"

#include <stdio.h>

enum { CLIP_BINARY_MAX_SIDE = 4096, CLIP_BINARY_MAX_LABELS = 16, CLIP_BINARY_MAX_PREFIX = 300 };

struct clip_binary;

/* A reader of pictures [3, side, side] after `labels` bytes, within the bounds above. Keys are `prefix`,
 * which must stay, and a number from 0. NULL with error. clip_binary_free takes NULL. */
struct clip_binary *clip_binary_new(int side, int labels, const char *prefix, struct clip_error *error);
void clip_binary_free(struct clip_binary *binary);

/* Starts the next file, `name` in messages; both must stay until its end. The numbers continue. */
void clip_binary_begin(struct clip_binary *binary, FILE *file, const char *name);

/* Reads the file's next picture: a record, the caller's, of `__key__`, `cls` (the last label, if there is
 * one) and `png`. Returns 1; 0 at the end of the file; -1 with error, also if the file ends within a
 * record or before the first. */
int clip_binary_next(struct clip_binary *binary, struct clip_record **record, struct clip_error *error);

#endif
