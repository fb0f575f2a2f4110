/* Unit vectors that are kept, each with its key and its label. */
#ifndef CLIP_SCORE_VECTORS_H
#define CLIP_SCORE_VECTORS_H

#include "base/error.h"

#include <stddef.h>

/* Vectors of a block, which is what they are read by. */
enum { CLIP_VECTORS_BLOCK = 256 };

struct clip_vectors;

/* Vectors of [width]. Past `memory` bytes they are kept in a temporary file, which has no name. */
struct clip_vectors *clip_vectors_new(size_t width, size_t memory, struct clip_error *error);
void clip_vectors_free(struct clip_vectors *vectors);

/* Adds unit vector x[width]; key[key_size] and label[label_size] are copied (label NULL: the key). */
int clip_vectors_add(struct clip_vectors *vectors, const float *x, const char *key, size_t key_size,
                     const char *label, size_t label_size, struct clip_error *error);
/* Makes it empty, keeping its memory. */
void clip_vectors_clear(struct clip_vectors *vectors);

size_t clip_vectors_count(const struct clip_vectors *vectors);
size_t clip_vectors_width(const struct clip_vectors *vectors);
/* Terminated, and valid until the next is added; a label that is the key is the same pointer. */
const char *clip_vectors_key(const struct clip_vectors *vectors, size_t i);
const char *clip_vectors_label(const struct clip_vectors *vectors, size_t i);

/* Vectors [first, first + n), [n][width], which must not reach from one block into another; `buffer`, of a
 * block's floats, is used where they lie in the file. NULL with error. */
const float *clip_vectors_floats(const struct clip_vectors *vectors, size_t first, size_t n, float *buffer,
                                 struct clip_error *error);

#endif
