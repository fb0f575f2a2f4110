/* The blocks that both transformers share, forward: attention and a hidden layer over the rows of many
 * sequences, and the layer norm of the one row of each sequence that is its feature.
 *
 * Sequences lie one behind the other, whatever their lengths, and the rows of all of them are cut into the
 * engine's pieces. Of the last block only what the features need is computed: keys and values of all rows,
 * the rest for one row a sequence. */
#ifndef CLIP_TOWER_BLOCKS_H
#define CLIP_TOWER_BLOCKS_H

#include "base/arena.h"
#include "base/threads.h"
#include "math/kernels.h"
#include "math/product.h"
#include "model/arch.h"
#include "base/crew.h"

#include <stddef.h>

/* Sequences of a task of the last step, and rows of its products. */
enum { CLIP_FEATURE_ROWS = 16 };

struct clip_transformer_shape {
    const char *blocks; /* what comes before "0.ln_1.weight": "visual.transformer.resblocks." */
    const char *norm;   /* the layer norm of the features: "visual.ln_post" */
    size_t width, heads, layers, mlp;
    enum clip_activation activation;
    int causal;
    size_t sequences, longest; /* most that one run has, and most rows of one */
};

/* Those of an architecture's towers, for up to `sequences` items. */
struct clip_transformer_shape clip_image_transformer_shape(const struct clip_arch *arch, size_t sequences);
struct clip_transformer_shape clip_text_transformer_shape(const struct clip_arch *arch, size_t sequences);

/* Rows [first, first + length) are a sequence; row first + feature of them is the one. Where the transformer
 * is causal, that is the last one. */
struct clip_sequence {
    size_t first, length, feature;
};

struct clip_norm {
    float *weight, *bias; /* [width] */
};

struct clip_block {
    struct clip_norm ln_1, ln_2;
    /* attn.in_proj: all of it, or in the last block only keys and values, and queries apart */
    struct clip_matrix *in, *query;
    struct clip_matrix *out, *fc, *proj;
    float *in_bias;              /* [3 width]: q, k, v */
    float *out_bias, *proj_bias; /* [width] */
    float *fc_bias;              /* [mlp] */
};

/* What a run of a block reads and leaves, row-major. In the last block `attended` and all after it have one
 * row a sequence. Rows are those of whole pieces (clip_blocks_rows), or of whole CLIP_FEATURE_ROWS. */
struct clip_block_rows {
    float *x;       /* [rows][width]: the residual stream before the block */
    float *qkv;     /* [rows][3 width] without biases; of the last block k and v, [rows][2 width] */
    float *queries; /* of the last block: [sequences][width] */
    void *attended; /* [rows][width] elements: the heads side by side */
    float *middle;  /* [rows][width]: the residual stream after attention; NULL: not kept */
    float *wide;    /* [rows][mlp]: the hidden layer before bias and activation; NULL: not kept */
    float *out;     /* [rows][width]: the residual stream after the block; may be x */
};

/* What a thread needs of its own, for a piece. */
struct clip_block_desk {
    void *narrow;     /* [piece][width] elements: the input of a product */
    float *middle;    /* [piece][width] */
    float *wide;      /* [piece][mlp] */
    void *hidden;     /* [piece][mlp] elements: the hidden layer after its activation, where not in place */
    void *product;    /* for clip_product */
    float *attention; /* for the kernel */
};

/* clip_blocks_init, then the owner sets `blocks` and `norm`, then clip_blocks_allocate. */
struct clip_blocks {
    struct clip_transformer_shape shape;
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct clip_pool *pool;
    struct clip_block *blocks; /* [layers]; the owner's */
    struct clip_norm norm;     /* of the features */

    size_t piece, element; /* rows of a piece; bytes of a product's input */
    struct clip_arena arena;
    unsigned *steps;        /* [pieces]: steps of a piece that are done */
    unsigned *heard;        /* [sequences]: attentions of a sequence that are done */
    size_t *first_sequence; /* [pieces]: the one that row 0 of the piece is of */
    struct clip_block_desk *desks;
    struct clip_crew crew;
    /* the run that is under way */
    const struct clip_block_rows *layers;
    const struct clip_sequence *sequences;
    size_t count, rows, pieces;
    float *features;
};

/* Of a shape, without blocks. Engine, kernels and pool must outlive it. clip_blocks_destroy afterwards. */
void clip_blocks_init(struct clip_blocks *b, struct clip_engine *engine, const struct clip_kernels *kernels,
                      struct clip_pool *pool, const struct clip_transformer_shape *shape);

/* Makes room for runs. The blocks must have their matrices (those of the last block, but for `in`, of
 * CLIP_FEATURE_ROWS rows). */
int clip_blocks_allocate(struct clip_blocks *b, struct clip_error *error);
void clip_blocks_destroy(struct clip_blocks *b);

/* Rows of whole pieces that hold `rows` rows; 0 if there is no such number. */
size_t clip_blocks_rows(const struct clip_engine *engine, size_t rows);

/* features[n][width] of n sequences, at least 1, which lie without gaps from row 0 of layers[0].x. Where
 * layers share their memory, runs of one may overwrite what another left. */
int clip_blocks_run(struct clip_blocks *b, const struct clip_block_rows *layers,
                    const struct clip_sequence *sequences, size_t n, float *features,
                    struct clip_error *error);

/* Head h of the attention of sequence s in a block: `out` and its stride and type are as the run left them.
 */
struct clip_attention clip_blocks_attention(const struct clip_blocks *b, const struct clip_block_rows *rows,
                                            size_t layer, size_t s, size_t h);

/* out[rows][width] elements: the norm of x[rows][width]. */
void clip_blocks_norm(const struct clip_blocks *b, const struct clip_norm *norm, const float *x, size_t rows,
                      void *out);

/* The sequences that row 0 of each piece is of; sets what the run that is under way is of. */
void clip_blocks_begin(struct clip_blocks *b, const struct clip_block_rows *layers,
                       const struct clip_sequence *sequences, size_t n);

/* Within a task: waits until the pieces of sequences [first, last] have done `steps` steps. */
int clip_blocks_wait_rows(struct clip_blocks *b, size_t first, size_t last, size_t steps);

/* Rows of a piece of the run that is under way. */
size_t clip_blocks_piece(const struct clip_blocks *b, size_t piece);

/* Element n of x in the engine's element. */
void *clip_blocks_at(const struct clip_blocks *b, const void *x, size_t n);

#endif
