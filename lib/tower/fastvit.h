/* What a FastViT computes, as a list of steps, which inference and training share. Only fastvit*.c include
 * this.
 *
 * Between steps a picture is [side][side][channels]. A step begins with branches: convolutions of the same
 * input, each with a batch norm, whose outputs are summed; or, where the weights are fused (timm's
 * inference_mode), with one convolution with a bias. Inference folds the branches into one convolution;
 * training runs each. The features are the mean of the last step's pixels. */
#ifndef CLIP_TOWER_FASTVIT_H
#define CLIP_TOWER_FASTVIT_H

#include "math/depthwise.h"
#include "math/window.h"
#include "tower/tower.h"

enum { CLIP_FASTVIT_COLORS = 3, CLIP_FASTVIT_HEAD = 32, CLIP_FASTVIT_BRANCHES = 4 };
#define CLIP_FASTVIT_EPSILON 1e-5 /* of batch norms and layer norms */

enum clip_fastvit_operation {
    CLIP_FASTVIT_SUM,    /* [x +] [gamma] s, then squeeze and excitation and GELU if it has them */
    CLIP_FASTVIT_HIDDEN, /* x + gamma (fc2 gelu(fc1 s)) */
    CLIP_FASTVIT_ATTEND  /* x + gamma (proj attention(qkv s)); without branches, s is a layer norm of x */
};

/* A convolution of stride `stride`, whose input is padded with side / 2 zeros on each side. */
struct clip_fastvit_branch {
    char conv[96]; /* its weights are conv.weight; "": the input itself */
    char norm[96]; /* its batch norm is norm.weight and so on; "": it has conv.bias instead */
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
    int residual;        /* the input is added */
    int activates;
    char gamma[96];             /* the layer scale is gamma.gamma; "": none */
    char norm[96];              /* of the layer norm before attention */
    char first[96], second[96]; /* fc1 and fc2, of squeeze and excitation, too; qkv and proj; "": none */
    size_t hidden;              /* outputs of `first` */
};

/* Lists the steps of setup->arch in *steps, from malloc. -1 with error. */
int clip_fastvit_steps(const struct clip_tower_setup *setup, struct clip_fastvit_step **steps, size_t *count,
                       struct clip_error *error);

/* Number of pixels of the step's output. */
size_t clip_fastvit_pixels(const struct clip_fastvit_step *step);

/* The windows that a dense filter of that side reads of the step's input. */
struct clip_window clip_fastvit_window(const struct clip_fastvit_step *step, size_t side);

/* Writes x[from][from][in], framed with zeros for a depthwise convolution of the step; each channel is
 * repeated for each output that reads it. */
void clip_fastvit_frame(const struct clip_fastvit_step *step, const struct clip_depthwise *d, const float *x,
                        float *framed);

/* x[size][size][3] = the picture's pixels as floats; bytes are looked up in levels (clip_pixel_levels). */
void clip_fastvit_read(const struct clip_image *image, size_t size, const float *levels, float *x);

/* Opens a FastViT for training, as clip_tower_kind.open does. */
struct clip_tower *clip_fastvit_learner_open(const struct clip_tower_setup *setup, struct clip_error *error);

#endif
