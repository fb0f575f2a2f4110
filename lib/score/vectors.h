/* Unit vectors that are kept, each with its key and its label. */
#ifndef CLIP_SCORE_VECTORS_H
#define CLIP_SCORE_VECTORS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

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

/* Vectors that lie elsewhere, data[count][width], and stay there: unit vectors of floats, aligned to 4 bytes,
 * or with `halves` IEEE halves, aligned to 2, which are made unit when they are read. Those whose bit is set
 * in removed[(count + 7) / 8] (NULL: none) are passed over. They have no names. */
struct clip_vectors *clip_vectors_map(size_t width, size_t count, const void *data, int halves,
                                      const uint8_t *removed, struct clip_error *error);

/* Whether vector i, or any, is passed over. */
int clip_vectors_removed(const struct clip_vectors *vectors, size_t i);
int clip_vectors_any_removed(const struct clip_vectors *vectors);

size_t clip_vectors_count(const struct clip_vectors *vectors);
/* Terminated, and valid until the next is added; a label that is the key is the same pointer. */
const char *clip_vectors_key(const struct clip_vectors *vectors, size_t i);
const char *clip_vectors_label(const struct clip_vectors *vectors, size_t i);

/* Vectors [first, first + n), [n][width], which must not reach from one block into another; `buffer`, of a
 * block's floats, is used where they lie in the file. NULL with error. */
const float *clip_vectors_floats(const struct clip_vectors *vectors, size_t first, size_t n, float *buffer,
                                 struct clip_error *error);

#endif
