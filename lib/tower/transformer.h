/* The transformer that towers share: blocks of attention and a hidden layer over the rows of many sequences
 * (tower/block.h), and a layer norm of what they give.
 *
 * Sequences lie one after the other, whatever their lengths, and the rows of all of them are cut into the
 * engine's pieces. Where the features need one row of a sequence, only that is computed of the last block,
 * beside keys and values of all rows. */
#ifndef CLIP_TOWER_TRANSFORMER_H
#define CLIP_TOWER_TRANSFORMER_H

#include "base/arena.h"
#include "base/crew.h"
#include "math/kernels.h"
#include "tower/block.h"
#include "tower/weights.h"

#include <stddef.h>
#include <stdint.h>

/* Sequences of a task of the last step, and rows of its products. */
enum { CLIP_FEATURE_ROWS = 16 };

struct clip_transformer_shape {
    const struct clip_tower_arch *arch; /* its blocks and sizes */
    const char
        *norm[2];  /* weight and bias of the features' layer norm: "visual.ln_post.weight"; NULL: none */
    float epsilon; /* its epsilon */
    size_t layers;
    int causal;
    int all;                      /* the features are all rows, not one of each sequence */
    size_t longest;               /* most rows of a sequence */
    const float *cosines, *sines; /* rotary positions [longest][head] (clip_kernels.rotate), or NULL */
    /* What is added to the scores of row i of a sequence for its row j: [heads][longest][longest], or NULL.
     * Its gradient: from ds[rows][keys] of head h of a sequence from its row `first` on, sums[bias_sums] +=.
     * Where each block has its own, the one of the next is bias_step floats further, its sums sums_step of
     * the bias_sums of all; else both are 0. */
    const float *bias;
    size_t bias_sums, bias_step, sums_step;
    void (*bias_backward)(const void *context, size_t h, size_t first, size_t rows, size_t keys,
                          const float *ds, float *sums);
    const void *bias_context;
    float *bias_gradient; /* [bias_sums]: takes those of all blocks and sequences */
};

/* Rows [first, first + length) are a sequence, of which all see the first `keys` at most: all of them, or all
 * but the last. Row first + feature of them is the one that features need. */
struct clip_sequence {
    size_t first, length, keys, feature;
};

struct clip_transformer;

/* What a run keeps: of all blocks for its backward, or in buffers that blocks share. */
struct clip_transformer_tape {
    struct clip_arena memory;
    struct clip_block_rows *layers;  /* [layers]; the tower fills layers[0].x before a run */
    struct clip_sequence *sequences; /* [sequences], which it fills too; from row 0 without gaps */
    size_t count;                    /* of them in the run */
    /* [rows]: of the rows in the table of rotary positions, the tower's memory; NULL: 0, 1 ... in each */
    const uint32_t *positions;
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

/* The most bytes of the tape that a run of n sequences uses. */
size_t clip_transformer_tape_bytes(const struct clip_transformer *t, size_t n);

/* features[count][width] of the tape's sequences, at least 1; of a transformer of all rows [rows][width]. */
int clip_transformer_forward(struct clip_transformer *t, struct clip_transformer_tape *tape, float *features,
                             struct clip_error *error);

/* Adds to the gradients of the parameters, and sets *dx to the gradient with respect to the rows
 * [rows][width] that the tower filled in, the transformer's memory until its next backward. */
int clip_transformer_backward(struct clip_transformer *t, const struct clip_transformer_tape *tape,
                              const float *gradients, const float **dx, struct clip_error *error);

/* --- for the two files of it: transformer.c, and transformer-blocks.c --- */

/* What a run of a block reads and writes, row-major. In a last block of one row a sequence, `opening` and
 * all members after it have one row a sequence. Rows are those of whole pieces (clip_transformer_rows), or of
 * whole CLIP_FEATURE_ROWS. What is for the backward alone is NULL where it is not kept, or not needed. */
struct clip_block_rows {
    float *x;       /* [rows][width]: the residual stream before the block */
    float *qkv;     /* [rows][3 inner] without biases; [rows][2 inner], k and v, where queries are apart */
    float *queries; /* [sequences][inner] */
    float *values;  /* [rows][inner]: what attention reads, where blocks have a value residual */
    float *opening; /* [rows][inner]: the gate of attention, before bias and sigmoid, where there is one */
    void *attended; /* [rows][inner]: the heads side by side; elements, or floats where blocks join or round
                       them */
    float *middle;  /* [rows][width]: the residual stream after attention */
    float *wide;    /* [rows][mlp]: the hidden layer before bias and activation */
    float *gate;    /* [rows][mlp]: its gate */
    float *branch[2], *sum[2]; /* [rows][width]: of the halves (clip_block_end) */
    float *out;                /* [rows][width]: the residual stream after the block; may be x */
};

/* A thread's scratch for a piece. */
struct clip_block_workspace {
    void *narrow;     /* [piece][the wider of width and inner] elements: the input of a product */
    float *middle;    /* [piece][width] */
    float *wide;      /* [piece][mlp] */
    float *gate;      /* [piece][mlp] */
    void *hidden;     /* [piece][mlp] elements: the hidden layer after its activation, where not in place */
    float *room;      /* for blocks */
    float *q, *k;     /* [longest][head]: of a head, prepared */
    void *product;    /* for clip_product */
    float *attention; /* for the kernel */
};

/* What the backward of one block keeps for its weights' gradients; two take turns. Elements; in a last block
 * of one row a sequence, all but dqkv and attention have one row a sequence. */
struct clip_backward_rows {
    void *dout;      /* [rows][width]: of c_proj's output */
    void *hidden;    /* [rows][mlp]: its input */
    void *dwide;     /* [rows][mlp]: of c_fc's output */
    void *dgate;     /* [rows][mlp]: of c_gate's */
    void *input;     /* [rows][width]: their input */
    void *dmiddle;   /* [rows][width]: of out_proj's output */
    void *joined;    /* [rows][inner]: its input, where that is not `attended` */
    void *dopening;  /* [rows][inner]: of the gate of attention */
    void *dqkv;      /* [rows][3 inner]; [rows][2 inner], k and v, where queries are apart */
    void *attention; /* [rows][width]: in_proj's input */
};

struct clip_backward_workspace {
    float *attention;    /* for the kernel */
    float *dq, *dk, *dv; /* [longest][head]: of a head, prepared */
    float *dbias;        /* [longest][longest]: of a head's scores */
    float *gate;         /* [piece][width], of a gate: what it adds to the gradient of its input */
    void *scratch;       /* for products and sums of outer products */
};

struct clip_backward_task {
    int kind;
    size_t layer, index, part;
};

/* The backward's memory, if the transformer learns. */
struct clip_transformer_backward {
    struct clip_outer *query, *in, *kv, *out, *fc, *proj; /* of their matrices; fc of the gate's, too */
    struct clip_arena memory;
    size_t slots;                            /* the most tasks of a run that sum in slots */
    struct clip_backward_rows rows[2], last; /* `last` has what of the last block is by sequence */
    void *dqueries, *query_inputs; /* of a last block of one row, elements: [sequences][inner], [width] */
    float *dquery_inputs;          /* [sequences][width]: of its ln_1, by the queries */
    float *dx;                     /* [rows][width]: of the residual stream */
    float *dfeatures;              /* [sequences][width]: the same of the last block */
    float *dattended;              /* [rows][inner] */
    float *dfirst;                 /* [rows][inner]: of the first block's values, by the others' */
    size_t sums, used;             /* floats of a slot; slots of the run that is under way */
    float *dbias;                  /* [batch][bias_sums]: of the sequences */
    float *partial; /* [layers + 1][slots][sums]: what blocks add up in slots; of the last norm */
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
    struct clip_block_shape block; /* of all */
    struct clip_block_shape kept;  /* the same of blocks that int8 does not round */
    size_t batch;                  /* most sequences of a run */
    int learns;
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct clip_pool *pool;
    struct clip_block *blocks; /* [layers] */
    struct clip_norm norm;     /* of the features */

    size_t piece, element;   /* rows of a piece; bytes of an element of a product's input */
    size_t attended_element; /* the same of `attended`: floats where blocks differ */
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
    const uint32_t *positions;
    size_t count, rows, pieces;
    size_t cut; /* rows of its pieces: `piece`, or less */
    float *features;
};

/* Rows of whole pieces that hold `rows` rows; 0 if there is no such number. */
size_t clip_transformer_rows(const struct clip_transformer *t, size_t rows);

/* 1 if only one row a sequence of this block is computed. */
int clip_transformer_single(const struct clip_transformer *t, size_t layer);

/* Each places the memory of a struct clip_transformer's runs, for clip_arena_build. */
void clip_place_forward(void *context);
void clip_place_backward(void *context);

#endif
