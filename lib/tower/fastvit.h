/* What a FastViT computes, step by step, from its pictures to its last step, whose pixels are averaged; and
 * the one that learns. Only fastvit*.c include this.
 *
 * Between steps pictures are [side][side][channels]. A step begins with a sum of branches: convolutions of
 * the same input, each with a batch norm, or one with a bias where the weights are fused (timm's
 * inference_mode). Inference folds the branches into one convolution; the learner runs each. */
#ifndef CLIP_TOWER_FASTVIT_H
#define CLIP_TOWER_FASTVIT_H

#include "math/depthwise.h"
#include "math/window.h"
#include "tower/tower.h"

enum { CLIP_FASTVIT_COLORS = 3, CLIP_FASTVIT_HEAD = 32, CLIP_FASTVIT_BRANCHES = 4 };
#define CLIP_FASTVIT_EPSILON 1e-5 /* of batch norms and layer norms */

enum clip_fastvit_operation {
    CLIP_FASTVIT_SUM,    /* [x +] [gamma] s, then squeeze and excitation, then GELU, where it has them */
    CLIP_FASTVIT_HIDDEN, /* x + gamma (fc2 gelu(fc1 s)) */
    CLIP_FASTVIT_ATTEND  /* x + gamma (proj attention(qkv s)); s may be a layer norm of x */
};

/* A convolution with zeros around its input, side / 2 on each side. */
struct clip_fastvit_branch {
    char conv[96]; /* its tensor is conv.weight; "": the input itself */
    char norm[96]; /* the beginning of its batch norm's tensors; "": conv.bias instead of a norm */
    size_t side;
    int subtracted;
};

struct clip_fastvit_step {
    enum clip_fastvit_operation operation;
    size_t from, to; /* sides of the picture before and after */
    size_t in, out;  /* channels */
    size_t side, stride;
    int dense; /* branches read all channels; 0: output o reads channel o / (out / in) alone */
    struct clip_fastvit_branch branches[CLIP_FASTVIT_BRANCHES];
    size_t branch_count; /* 0: `norm` is a layer norm */
    int residual;        /* x is added */
    int activates;
    char gamma[96];             /* its tensor is gamma.gamma; "": none */
    char norm[96];              /* of ATTEND */
    char first[96], second[96]; /* fc1 and fc2; qkv and proj; of squeeze and excitation; "": none */
    size_t hidden;              /* outputs of `first` */
};

/* All steps of setup->arch, from malloc. -1 with error. */
int clip_fastvit_steps(const struct clip_tower_setup *setup, struct clip_fastvit_step **steps, size_t *count,
                       struct clip_error *error);

/* Pixels of the step's output. */
size_t clip_fastvit_pixels(const struct clip_fastvit_step *step);

/* What a dense branch of that side sees of the step's input. */
struct clip_window clip_fastvit_window(const struct clip_fastvit_step *step, size_t side);

/* Frames x[from][from][in] for a depthwise convolution of the step, each channel as often as outputs read it.
 */
void clip_fastvit_frame(const struct clip_fastvit_step *step, const struct clip_depthwise *d, const float *x,
                        float *framed);

/* The picture's pixels as floats, x[size][size][3]; bytes by the levels (clip_pixel_levels). */
void clip_fastvit_read(const struct clip_image *image, size_t size, const float *levels, float *x);

/* As clip_tower_kind.open, of parameters. */
struct clip_tower *clip_fastvit_learner_open(const struct clip_tower_setup *setup, struct clip_error *error);

#endif
