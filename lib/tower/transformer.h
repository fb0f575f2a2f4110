/* The transformer that towers share: blocks of attention and a hidden layer over the rows of many sequences,
 * and the layer norm of the one row of each sequence that is its feature.
 *
 * Sequences lie one after the other, whatever their lengths, and the rows of all of them are cut into the
 * engine's pieces. Of the last block only what the features need is computed: keys and values of all rows,
 * the rest for one row a sequence. */
#ifndef CLIP_TOWER_TRANSFORMER_H
#define CLIP_TOWER_TRANSFORMER_H

#include "base/arena.h"
#include "base/crew.h"
#include "math/kernels.h"
#include "tower/weights.h"

#include <stddef.h>

/* Sequences of a task of the last step, and rows of its products. */
enum { CLIP_FEATURE_ROWS = 16 };

struct clip_transformer_shape {
    const char *blocks; /* what comes before "0.ln_1.weight": "visual.transformer.resblocks." */
    const char *norm;   /* the layer norm of the features: "visual.ln_post" */
    size_t width, heads, layers, mlp;
    enum clip_activation activation;
    int causal;
    size_t longest; /* most rows of a sequence */
};

/* Rows [first, first + length) are a sequence; row first + feature of them is the one. Where the transformer
 * is causal, that is the last one. */
struct clip_sequence {
    size_t first, length, feature;
};

struct clip_transformer;

/* What a run leaves: of all blocks for its backward, or in buffers that blocks share. */
struct clip_transformer_tape {
    struct clip_arena memory;
    struct clip_block_rows *layers;  /* [layers]; the tower fills layers[0].x before a run */
    struct clip_sequence *sequences; /* [sequences], which it fills too; from row 0 without gaps */
    size_t count;                    /* of them in the run */
};

/* For up to setup->batch sequences. Loads the weights, on the pool's threads. What setup points at, and the
 * kernels, must outlive it. NULL with error. */
struct clip_transformer *clip_transformer_open(const struct clip_tower_setup *setup,
                                               const struct clip_kernels *kernels,
                                               const struct clip_transformer_shape *shape,
                                               struct clip_error *error);
void clip_transformer_free(struct clip_transformer *t);

/* As clip_tower_type.bytes. */
size_t clip_transformer_bytes(const struct clip_transformer *t);

/* As clip_tower_type.refresh. */
int clip_transformer_refresh(struct clip_transformer *t, struct clip_error *error);

/* The tape of a transformer that learns, or the one set of buffers of a model's. -1 with error;
 * clip_transformer_tape_free afterwards, also after an error. */
int clip_transformer_tape_allocate(struct clip_transformer_tape *tape, const struct clip_transformer *t,
                                   struct clip_error *error);
void clip_transformer_tape_free(struct clip_transformer_tape *tape);

/* Bytes of it that a run of n sequences uses at most. */
size_t clip_transformer_tape_bytes(const struct clip_transformer *t, size_t n);

/* features[count][width] of the tape's sequences, at least 1. */
int clip_transformer_forward(struct clip_transformer *t, struct clip_transformer_tape *tape, float *features,
                             struct clip_error *error);

/* Adds to the gradients of the parameters, and sets *dx to the gradient with respect to the rows
 * [rows][width] that the tower filled in, the transformer's memory until its next backward. */
int clip_transformer_backward(struct clip_transformer *t, const struct clip_transformer_tape *tape,
                              const float *gradients, const float **dx, struct clip_error *error);

/* --- for the two files of it: transformer.c, and transformer-blocks.c --- */

struct clip_norm {
    struct clip_values weight, bias; /* [width] */
};

struct clip_block {
    struct clip_norm ln_1, ln_2;
    /* attn.in_proj: all of it, or in the last block only keys and values, and queries apart */
    struct clip_operand in, query;
    struct clip_operand out, fc, proj;
    struct clip_values in_bias;             /* [3 width]: q, k, v */
    struct clip_values out_bias, proj_bias; /* [width] */
    struct clip_values fc_bias;             /* [mlp] */
};

/* What a run of a block reads and leaves, row-major. In the last block `attended` and all after it have one
 * row a sequence. Rows are those of whole pieces (clip_transformer_rows), or of whole CLIP_FEATURE_ROWS. */
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
struct clip_block_workspace {
    void *narrow;     /* [piece][width] elements: the input of a product */
    float *middle;    /* [piece][width] */
    float *wide;      /* [piece][mlp] */
    void *hidden;     /* [piece][mlp] elements: the hidden layer after its activation, where not in place */
    void *product;    /* for clip_product */
    float *attention; /* for the kernel */
};

/* What the backward of one block leaves for the gradients of its weights; two take turns. Elements; in the
 * last block all but dqkv and ln_1 have one row a sequence. */
struct clip_backward_rows {
    void *dout;    /* [rows][width]: of what the block gave */
    void *hidden;  /* [rows][mlp] */
    void *dwide;   /* [rows][mlp] */
    void *ln_2;    /* [rows][width] */
    void *dmiddle; /* [rows][width] */
    void *dqkv;    /* [rows][3 width]; of the last block k and v, [rows][2 width] */
    void *ln_1;    /* [rows][width] */
};

struct clip_backward_workspace {
    float *attention; /* for the kernel */
    void *scratch;    /* for products and sums of outer products */
};

struct clip_backward_task {
    int kind;
    size_t layer, index, part;
};

/* What the backward needs, where the transformer learns. */
struct clip_transformer_backward {
    struct clip_outer *square, *in, *kv, *fc, *proj; /* [width, width], [3 width, width] ... */
    struct clip_arena memory;
    size_t slots;                            /* most pieces, or groups of sequences, of a run */
    struct clip_backward_rows rows[2], last; /* `last` has what of the last block is by sequence */
    void *dqueries, *query_inputs;           /* of the last block, elements: [sequences][width] */
    float *dquery_inputs;                    /* [sequences][width]: of its ln_1, by the queries */
    float *dx;                               /* [rows][width]: of the residual stream */
    float *dfeatures;                        /* [sequences][width]: the same of the last block */
    float *dattended;                        /* [rows][width] */
    float *partial; /* [layers + 1][slots][4][width]: dweight, dbias of ln_1 and ln_2; of the last norm */
    struct clip_backward_workspace *workspaces;
    struct clip_backward_task *tasks;
    unsigned *upper, *lower;    /* [pieces]: halves of blocks that are done, MLP's and attention's */
    unsigned *groups, *queried; /* [groups]: of the last block: MLP's half; queries */
    unsigned *attended;         /* [sequences]: blocks whose attention is done */
    unsigned *summed;           /* [layers]: tasks of the gradients of its weights that are done */
    const float *gradients;     /* of the run that is under way */
};

struct clip_transformer {
    struct clip_transformer_shape shape;
    size_t batch; /* most sequences of a run */
    int learns;
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct clip_pool *pool;
    struct clip_block *blocks; /* [layers] */
    struct clip_norm norm;     /* of the features */

    size_t piece, element; /* rows of a piece; bytes of a product's input */
    struct clip_arena arena;
    unsigned *steps;        /* [pieces]: steps of a piece that are done */
    unsigned *attended;     /* [sequences]: attentions of a sequence that are done */
    size_t *first_sequence; /* [pieces]: the one that row 0 of the piece is of */
    struct clip_block_workspace *workspaces;
    struct clip_crew crew;
    struct clip_transformer_backward back;
    /* the run that is under way */
    const struct clip_block_rows *layers;
    const struct clip_sequence *sequences;
    size_t count, rows, pieces;
    float *features;
};

/* Rows of whole pieces that hold `rows` rows; 0 if there is no such number. */
size_t clip_transformer_rows(const struct clip_transformer *t, size_t rows);

/* Each takes what a struct clip_transformer needs for its runs, for clip_arena_build. */
void clip_place_forward(void *context);
void clip_place_backward(void *context);

#endif
