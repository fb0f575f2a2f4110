/* Biases of the scores of attention by the relative position of patches, of each block its own: of head h,
 * for the row i of a query and the row j of a key, fc2(relu(fc1([s(dy), s(dx)])))[h], s(d) = sign(d) ln(1 +
 * |d|), dy and dx the rows and columns of the grid from the key to the query. Tokens before those of patches
 * have 0. */
#ifndef CLIP_TOWER_RELATIVE_H
#define CLIP_TOWER_RELATIVE_H

#include "tower/transformer.h"

struct clip_relative;

/* Of the image tower. NULL with error. What setup points at must outlive it. */
struct clip_relative *clip_relative_open(const struct clip_tower_setup *setup, struct clip_error *error);
void clip_relative_free(struct clip_relative *relative);

/* Sets what the transformer's shape says of biases. */
void clip_relative_shape(struct clip_relative *relative, struct clip_transformer_shape *shape);

/* Takes up the parameters' values. */
void clip_relative_refresh(struct clip_relative *relative);

/* Before a backward of the transformer, and after it: adds to the parameters' gradients. */
void clip_relative_begin(struct clip_relative *relative);
void clip_relative_backward(struct clip_relative *relative);

/* Bytes that it has for its runs. */
size_t clip_relative_bytes(const struct clip_relative *relative);

#endif
