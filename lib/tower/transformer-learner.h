/* The transformer that both towers share, in training: the blocks of tower/blocks.h over parameters, a tape
 * of what their forward left, and their backward. */
#ifndef CLIP_TOWER_TRANSFORMER_LEARNER_H
#define CLIP_TOWER_TRANSFORMER_LEARNER_H

#include "model/parameters.h"
#include "tower/blocks.h"

#include <stddef.h>

/* What a run left. */
struct clip_transformer_tape {
    struct clip_arena memory;
    struct clip_block_rows *layers;  /* [layers]; the tower fills layers[0].x before a run */
    struct clip_sequence *sequences; /* [sequences], which it fills too; from row 0 without gaps */
    size_t count;                    /* of them in the run */
};

struct clip_transformer_learner;

/* Parameters, engine, kernels and pool must outlive it. NULL with error. */
struct clip_transformer_learner *
clip_transformer_learner_open(const struct clip_parameters *parameters, struct clip_engine *engine,
                              const struct clip_kernels *kernels, struct clip_pool *pool,
                              const struct clip_transformer_shape *shape, struct clip_error *error);
void clip_transformer_learner_free(struct clip_transformer_learner *t);

/* As clip_learner_bytes. */
size_t clip_transformer_learner_bytes(const struct clip_transformer_learner *t);

/* As clip_learner_refresh. */
int clip_transformer_learner_refresh(struct clip_transformer_learner *t, struct clip_error *error);

/* -1 with error; clip_transformer_tape_free afterwards, also after an error. */
int clip_transformer_tape_allocate(struct clip_transformer_tape *tape,
                                   const struct clip_transformer_learner *t, struct clip_error *error);
void clip_transformer_tape_free(struct clip_transformer_tape *tape);

/* Bytes of it that a run of n sequences uses at most. */
size_t clip_transformer_tape_bytes(const struct clip_transformer_learner *t, size_t n);

/* features[count][width] of the tape's sequences. */
int clip_transformer_learner_forward(struct clip_transformer_learner *t, struct clip_transformer_tape *tape,
                                     float *features, struct clip_error *error);

/* Adds to the gradients of the parameters, and sets *dx to the gradient with respect to the rows
 * [rows][width] that the tower filled in, the learner's memory until its next backward. */
int clip_transformer_learner_backward(struct clip_transformer_learner *t,
                                      const struct clip_transformer_tape *tape, const float *gradients,
                                      const float **dx, struct clip_error *error);

/* --- for the two files of it (transformer-learner.c, transformer-backward.c) --- */

/* The tensors of a block, and the products of its backward. */
struct clip_block_learner {
    struct clip_parameter *ln_1[2], *ln_2[2]; /* weight, bias */
    struct clip_parameter *in[2], *out[2], *fc[2], *proj[2];
    struct clip_matrix *in_back, *query_back, *out_back, *fc_back, *proj_back;
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

struct clip_backward_desk {
    float *attention; /* for the kernel */
    void *scratch;    /* for products and sums of outer products */
};

struct clip_backward_task {
    int kind;
    size_t layer, index, part;
};

struct clip_transformer_learner {
    struct clip_blocks blocks;
    struct clip_block_learner *layers; /* [layers] */
    struct clip_parameter *norm[2];
    struct clip_outer *square, *in, *kv, *fc, *proj; /* [width, width], [3 width, width] ... */
    struct clip_arena plan;                          /* blocks and layers */
    struct clip_arena memory;                        /* of the backward */
    size_t slots;                                    /* most pieces, or groups of sequences, of a run */
    struct clip_backward_rows rows[2], last;         /* `last` has what of the last block is by sequence */
    void *dqueries, *query_inputs;                   /* of the last block, elements: [sequences][width] */
    float *dquery_inputs;                            /* [sequences][width]: of its ln_1, by the queries */
    float *dx;                                       /* [rows][width]: of the residual stream */
    float *dfeatures;                                /* [sequences][width]: the same of the last block */
    float *dattended;                                /* [rows][width] */
    float *partial; /* [layers + 1][slots][4][width]: dweight, dbias of ln_1 and ln_2; of the last norm */
    struct clip_backward_desk *desks;
    struct clip_backward_task *tasks;
    unsigned *upper, *lower;  /* [pieces]: halves of blocks that are done, MLP's and attention's */
    unsigned *groups, *asked; /* [groups]: of the last block: MLP's half; queries */
    unsigned *attended;       /* [sequences]: blocks whose attention is done */
    unsigned *summed;         /* [layers]: tasks of the gradients of its weights that are done */
    const float *gradients;   /* of the run that is under way */
};

/* Takes the backward's memory of a struct clip_transformer_learner, for clip_arena_build. */
void clip_backward_place(void *context);

#endif
