/* A transformer block as described by model/block.h: its operations on rows, forward and backward side by
 * side. tower/transformer.h runs the blocks.
 *
 * A block has two halves, attention and the MLP. Each reads rows of the residual stream (input), computes,
 * and adds to the stream (end). Rows are row-major and independent of each other. `type` is the element of
 * what products read. In the backward, `sums` (clip_block_shape.sums floats) takes what rows add to the
 * gradients of vectors, each at clip_block_shape.at; `room` is the thread's own, clip_block_room floats. */
#ifndef CLIP_TOWER_BLOCK_H
#define CLIP_TOWER_BLOCK_H

#include "math/kernels.h"
#include "model/arch.h"
#include "tower/weights.h"

#include <stddef.h>
#include <stdint.h>

enum clip_half { CLIP_HALF_ATTENTION, CLIP_HALF_HIDDEN };

/* What all blocks of a transformer share. */
struct clip_block_shape {
    const struct clip_tower_arch *arch;
    const struct clip_kernels *kernels;
    enum clip_precision type;
    size_t width, heads, head, inner, mlp; /* inner: heads side by side */
    enum clip_activation activation;
    unsigned flags; /* model/block.h */
    float epsilon;
    int joins, ends;    /* the joined heads need work before out_proj; the halves' ends are not plain sums */
    int prepares_heads; /* q and k need work before attention */
    const float *cosines, *sines; /* rotary positions, [longest][head] each (clip_kernels.rotate), or NULL */
    float *zeros;                 /* as many as the widest bias has */
    size_t at[CLIP_BLOCK_TENSORS], sums;
};

struct clip_block {
    const struct clip_block_shape *shape;
    /* in_proj: all of it, or in a last block of one row a sequence only keys and values, and queries apart */
    struct clip_operand in, query;
    struct clip_operand out, gate, fc, proj, attention_gate;
    struct clip_values values[CLIP_BLOCK_TENSORS]; /* of vectors; an absent bias is zeros */
};

/* Fills the shape; `zeros` is to be freed. -1 with error. */
int clip_block_shape_init(struct clip_block_shape *shape, const struct clip_tower_arch *arch,
                          const struct clip_kernels *kernels, enum clip_precision type,
                          struct clip_error *error);
void clip_block_shape_free(struct clip_block_shape *shape);

/* The shape's norm of a row of n, and its backward: dx[n] +=, dweight, dbias += (clip_kernels). */
void clip_block_norm(const struct clip_block_shape *shape, float epsilon, size_t n, const float *x,
                     const float *weight, const float *bias, enum clip_precision type, void *out);
void clip_block_norm_backward(const struct clip_block_shape *shape, float epsilon, size_t n, const float *x,
                              const float *weight, const float *dy, float *dx, float *dweight, float *dbias);

size_t clip_block_room(const struct clip_block_shape *shape);

/* Loads the vectors of block i. -1 with error; clip_block_free afterwards, also of a zeroed one. */
int clip_block_load_vectors(struct clip_block *block, const struct clip_tower_setup *setup, size_t i,
                            struct clip_error *error);
/* Refreshes vectors that are joined from several parameters. */
void clip_block_refresh_vectors(struct clip_block *block);
void clip_block_free(struct clip_block *block);

/* Lists the block's matrices in all[]; returns how many. */
enum { CLIP_BLOCK_OPERANDS = 7 };
size_t clip_block_operands(struct clip_block *block, struct clip_operand *all[CLIP_BLOCK_OPERANDS]);

/* out[rows][width] in `type`: the input of a half's product, from x. Backward: dx += the gradient, given that
 * of out. */
void clip_block_input(const struct clip_block *block, enum clip_half half, size_t rows, const float *x,
                      float *room, void *out);
void clip_block_input_backward(const struct clip_block *block, enum clip_half half, size_t rows,
                               const float *x, const float *dy, float *dx, float *room, float *sums);

/* Where shape->prepares_heads: one head's q or k (key 0 or 1), rows at x, `stride` floats from one to the
 * next, whose rotary positions are positions[rows], or NULL: first, first + 1 ...: out[rows][head], with
 * biases, norm, length and rotation. */
struct clip_head_rows {
    int key;
    size_t rows, h, first;
    const uint32_t *positions;
    const float *x;
    size_t stride;
};
void clip_block_prepare_head(const struct clip_block *block, const struct clip_head_rows *d, float *out);
/* dx[rows] in `type`, `dx_stride` elements from one to the next, of dy[rows][head], which is spoilt. */
void clip_block_prepare_head_backward(const struct clip_block *block, const struct clip_head_rows *d,
                                      float *dy, void *dx, size_t dx_stride, float *room, float *sums);

/* The factor of a head's scores. */
float clip_block_scale(const struct clip_block *block, size_t h);
/* Backward of a cosine's scale: from queries [rows][head] as prepared, and their gradient. */
void clip_block_scale_backward(const struct clip_block *block, size_t h, size_t rows, const float *q,
                               const float *dq, float *sums);

/* Where shape->joins: out[rows][inner] in `type`, out_proj's input, from attended[rows][inner] and, where
 * attention has a gate, gate[rows][inner]. Backward: dy[rows][inner] becomes the gradient with respect to
 * attended, dgate[rows][inner] in `type` that of the gate. */
void clip_block_join(const struct clip_block *block, size_t rows, const float *attended, const float *gate,
                     float *room, void *out);
void clip_block_join_backward(const struct clip_block *block, size_t rows, const float *attended,
                              const float *gate, float *dy, float *room, void *dgate, float *sums);

/* Where blocks have a value residual: values[rows][inner], what attention reads, from x[rows], v without its
 * bias, `stride` floats from one to the next, and first[rows][inner], the values of the first block; NULL:
 * it is this one. */
void clip_block_mix(const struct clip_block *block, size_t rows, const float *x, size_t stride,
                    const float *first, float *values);
/* Backward, of n channels of head h of a row: dv[n], the gradient of the values, becomes that of v; of
 * another block than the first `first` are its values, and dfirst[n] takes their gradient; of the first,
 * NULL, dfirst is added. */
void clip_block_mix_backward(const struct clip_block *block, size_t h, const float *x, const float *first,
                             float *dv, float *dfirst, float *sums);

/* out[rows][mlp] in `type`, c_proj's input, from wide[rows][mlp] and, where gated, gate[rows][mlp]; out may
 * be wide if `type` is f32. Backward: out again, dwide and dgate in `type` from the gradient of out. */
void clip_block_hidden(const struct clip_block *block, size_t rows, const float *wide, const float *gate,
                       float *room, void *out);
void clip_block_hidden_backward(const struct clip_block *block, size_t rows, const float *wide,
                                const float *gate, const float *dy, float *room, void *out, void *dwide,
                                void *dgate, float *sums);

/* y[rows][width], the half's last product, becomes the residual stream after the half; x is the stream before
 * it. Keeps for the backward, unless NULL: `branch`, the half's output; `sum`, the stream before a norm. */
void clip_block_end(const struct clip_block *block, enum clip_half half, size_t rows, const float *x,
                    float *y, float *branch, float *sum);
/* Backward: from dx, the gradient of the stream after the half, dy[rows][width] in `type`, that of the
 * product; dx becomes the gradient that bypasses the half. */
void clip_block_end_backward(const struct clip_block *block, enum clip_half half, size_t rows,
                             const float *branch, const float *sum, float *dx, float *room, void *dy,
                             float *sums);

/* Adds the sums of n slots, in order, to the gradients; `stride` floats from one slot to the next. */
void clip_block_add_sums(const struct clip_block *block, const float *slots, size_t n, size_t stride);

#endif
