/* The parts of the FastViT that learns; only fastvit*.c include this.
 *
 * Batch norm needs the statistics of the whole chunk, so all pictures begin a step (fastvit-branches.c: raw
 * outputs of convolutions, their moments) before one of them finishes it (fastvit-layers.c). A picture is a
 * piece of work. Backward a step goes in two halves, too: to the gradient of the branches' sum, with the sums
 * that the norms need; then through the branches to its input.
 *
 * Branches of one input a channel and of side 1 are points: factors of the input itself, with which their
 * batch norm is one of the input, so their outputs need not be computed (tower/batch-norm.h). */
#ifndef CLIP_TOWER_FASTVIT_LEARNER_H
#define CLIP_TOWER_FASTVIT_LEARNER_H

#include "base/arena.h"
#include "base/crew.h"
#include "image/preprocess.h"
#include "math/depthwise.h"
#include "math/excitation.h"
#include "math/kernels.h"
#include "tower/batch-norm.h"
#include "tower/fastvit.h"

/* Groups into which the backward pass divides the pictures. Each sums up the filters' gradients of its own;
 * the sums are then added in order. */
enum { CLIP_FASTVIT_GROUPS = 8 };

enum clip_fastvit_form { CLIP_FASTVIT_POINTS, CLIP_FASTVIT_DEPTHWISE, CLIP_FASTVIT_DENSE };

struct clip_fastvit_filter {
    enum clip_fastvit_form form;
    struct clip_norm_learner norm; /* weight is NULL if it has a bias instead */
    struct clip_values bias;
    struct clip_values weight;   /* DEPTHWISE */
    struct clip_depthwise shape; /* its side is the branch's own */
    float *packed, *flipped;
    size_t partial;              /* offset of its gradient in back.partial, in floats */
    struct clip_operand operand; /* DENSE */
    struct clip_outer *outer;
    size_t inputs;     /* that an output reads */
    size_t dout, read; /* offsets of its rows in back.dout and back.read, in elements */
};

struct clip_fastvit_layer {
    const struct clip_fastvit_step *step;
    struct clip_fastvit_filter filters[CLIP_FASTVIT_BRANCHES];
    struct clip_values gamma;
    struct clip_dense first, second;               /* of HIDDEN and ATTEND */
    struct clip_outer *first_outer, *second_outer; /* their gradients; NULL in others */
    struct clip_norm norm;
    struct clip_excitation excitation; /* hidden 0: none */
    struct clip_excitation_gradients excitation_gradients;
};

/* What the forward pass keeps of a step. Rows are the pixels of all pictures. */
struct clip_fastvit_kept {
    float *x;                          /* [rows of the input][in]; NULL for the first step */
    float *raw[CLIP_FASTVIT_BRANCHES]; /* [rows][out], before the norm; NULL for points */
    struct clip_norm_record records[CLIP_FASTVIT_BRANCHES];
    float *mean, *squeezed, *gate; /* of squeeze and excitation, for each picture */
    float *wide;                   /* [rows][hidden]: the output of `first`, without bias */
    void *attended;                /* [rows][out] elements: the output of attention */
    float *out;                    /* [rows][out]: the output of `second`, without bias */
};

struct clip_fastvit_tape {
    struct clip_tape base;
    struct clip_arena arena;
    size_t count;                   /* pictures of the chunk */
    union clip_item *items;         /* [batch] */
    struct clip_fastvit_kept *kept; /* [steps + 1]; of the last one only x is set: what is averaged */
};

/* A thread's scratch. */
struct clip_fastvit_workspace {
    float *picture;        /* the first step's input */
    float *framed;         /* the framed input of a depthwise convolution */
    float *spread;         /* the gradient of its output, spread and framed */
    float *points;         /* [pixels][out] */
    float *a, *b;          /* [pixels][channels] */
    float *row, *gate;     /* what a dense filter reads, or a row of pixels; [channels] */
    void *narrow, *hidden; /* [piece][the most inputs of a product] elements */
    float *wide, *out;     /* [piece][the most outputs] */
    float *attention;      /* scratch of the kernels */
    void *scratch;         /* of products and gradients */
};

/* Buffers of the backward pass, for the rows of a chunk. Elements are those of products' operands. */
struct clip_fastvit_back {
    float *stream[2]; /* gradients between steps, used in turn */
    float *sum;       /* [out]: gradient of the sum of branches */
    void *dout;       /* [out] elements: gradient of the output of `second`, or of dense filters */
    void *read;       /* elements: the input of `second`, or of dense filters */
    void *dwide;      /* [hidden] elements: gradient of the output of `first` */
    void *normed;     /* [out] elements: the input of `first` */
    float *vectors;   /* [n][3][channels]: gradients of vectors for each picture */
    float *partial[CLIP_FASTVIT_GROUPS]; /* gradients of depthwise filters, packed */
};

struct clip_fastvit_learner {
    struct clip_tower base;
    const struct clip_kernels *kernels;
    const struct clip_depthwise_kernels *depthwise;
    const struct clip_batch_norm_kernels *norms;
    struct clip_engine *engine;
    struct clip_pool *pool;
    const struct clip_tower_setup *setup; /* only while the tower is opened */
    const struct clip_exchange *exchange;
    enum clip_precision type;
    size_t size, piece, element;
    size_t channels; /* the most of a step */
    float levels[CLIP_PIXEL_LEVELS];
    struct clip_fastvit_step *steps;
    struct clip_fastvit_layer *layers; /* [count] */
    size_t count;
    struct clip_arena arena;
    float *zeros;                              /* [channels] */
    double *moments;                           /* [branches][batch][2][channels]; backward: sums */
    double *joined;                            /* [2 channels + 1] */
    struct clip_fastvit_workspace *workspaces; /* [threads] */
    struct clip_fastvit_back back;
    struct clip_crew crew;
    /* of the current run */
    struct clip_fastvit_tape *tape;
    size_t n, groups;
    const struct clip_fastvit_layer *layer;
    struct clip_fastvit_kept *kept; /* what `layer` keeps */
    float *dy, *dx;                 /* gradients of its output and input; the same buffer if it is residual */
    const float *gradients;
    float *features;
};

/* Returns picture i of x[n][pixels][channels]. */
static inline float *clip_fastvit_picture(float *x, size_t i, size_t pixels, size_t channels)
{
    return x + i * pixels * channels;
}

/* --- fastvit-branches.c --- */

/* Loads the filters and norms of a layer from net->setup. */
int clip_fastvit_filters_load(struct clip_fastvit_learner *net, struct clip_fastvit_layer *layer,
                              struct clip_error *error);
void clip_fastvit_filters_free(struct clip_fastvit_layer *layer);
void clip_fastvit_filters_place(struct clip_fastvit_layer *layer, struct clip_arena *arena);
int clip_fastvit_filters_refresh(struct clip_fastvit_layer *layer, struct clip_error *error);

/* Runs the branches of net->layer for picture i, up to their norms, and takes the moments; then, once for all
 * pictures, finishes the norms. */
int clip_fastvit_branches(const struct clip_fastvit_learner *net, size_t i,
                          const struct clip_fastvit_workspace *workspace, struct clip_error *error);
int clip_fastvit_norms(const struct clip_fastvit_learner *net, int again, struct clip_error *error);

/* out[rows][out] = the sum of the layer's branches at pixels [first, first + rows) of picture i. */
void clip_fastvit_sum(const struct clip_fastvit_learner *net, const struct clip_fastvit_layer *layer,
                      const struct clip_fastvit_kept *kept, size_t i, size_t first, size_t rows,
                      const struct clip_fastvit_workspace *workspace, float *out);

/* The backward pass from back.sum: takes the sums of picture i; then, once for all pictures, finishes the
 * norms; then takes the pictures of a group through the filters to dx. Tasks [0, clip_fastvit_filter_tasks)
 * then sum up the filters' gradients. */
void clip_fastvit_sums(const struct clip_fastvit_learner *net, size_t i,
                       const struct clip_fastvit_workspace *workspace);
int clip_fastvit_norms_backward(struct clip_fastvit_learner *net, struct clip_error *error);
int clip_fastvit_branches_backward(const struct clip_fastvit_learner *net, size_t group,
                                   const struct clip_fastvit_workspace *workspace, struct clip_error *error);
size_t clip_fastvit_filter_tasks(const struct clip_fastvit_layer *layer);
int clip_fastvit_filter_task(const struct clip_fastvit_learner *net, size_t i,
                             const struct clip_fastvit_workspace *workspace, struct clip_error *error);

/* --- fastvit-layers.c --- */

/* Computes the rest of `layer` for picture i: from its branches to y, the input of the next layer. */
int clip_fastvit_finish(const struct clip_fastvit_learner *net, const struct clip_fastvit_layer *layer,
                        const struct clip_fastvit_kept *kept, size_t i, float *y,
                        const struct clip_fastvit_workspace *workspace, struct clip_error *error);

/* The backward pass of that: from net->dy to back.sum for picture i, and through a layer norm to net->dx. */
int clip_fastvit_finish_backward(const struct clip_fastvit_learner *net, size_t i,
                                 const struct clip_fastvit_workspace *workspace, struct clip_error *error);

/* The backward pass of squeeze and excitation, which comes next: for all pictures, to the gradients of their
 * means; then for picture i from there to back.sum. */
void clip_fastvit_excitation_backward(const struct clip_fastvit_learner *net);
void clip_fastvit_excitation_spread(const struct clip_fastvit_learner *net, size_t i);

/* Tasks [0, clip_fastvit_layer_tasks) sum up the gradients of linear layers and vectors. */
size_t clip_fastvit_layer_tasks(const struct clip_fastvit_layer *layer);
int clip_fastvit_layer_task(const struct clip_fastvit_learner *net, size_t i,
                            const struct clip_fastvit_workspace *workspace, struct clip_error *error);

#endif
