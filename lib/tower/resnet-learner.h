/* Training of a ResNet; only resnet*.c include this.
 *
 * For each convolution the tape keeps the output before batch norm, and the norm. What follows, norm and
 * ReLU, is computed again each time it is read, for a few pictures at a time in a buffer that stays in the
 * cache. The tape also keeps the inputs of bottlenecks, which are sums of two. Channels are padded as in
 * math/conv-train.h. */
#ifndef CLIP_TOWER_RESNET_LEARNER_H
#define CLIP_TOWER_RESNET_LEARNER_H

#include "math/conv-kernels.h"
#include "math/conv-train.h"
#include "math/kernels.h"
#include "model/kind-resnet.h"
#include "tower/attnpool.h"
#include "tower/batch-norm.h"
#include "tower/tower.h"

/* Groups into which the backward pass divides the pictures. Each sums up the weights' gradients of its own;
 * the sums are then added in order. */
enum { CLIP_RESNET_GROUPS = 8 };

/* A convolution and its batch norm. */
struct clip_resnet_layer {
    size_t height, width;            /* of the output */
    size_t side, inputs, outputs;    /* as the weights have them */
    size_t in, out;                  /* channels, padded */
    size_t unit;                     /* pictures that one task takes through it */
    struct clip_resnet_layer *from;  /* its input is the output of this layer, after norm and ReLU */
    struct clip_resnet_block *block; /* or the input of this bottleneck; both NULL: the pictures */
    int halves;                      /* its input is averaged 2 by 2 first */
    struct clip_parameter *weight;
    struct clip_norm_learner norm;
    float *packed, *flipped; /* weights, and flipped weights for the backward pass; NULL in the first layer */
    float *gradient;         /* [chunk][height][width][out]: of the norm's output */
};

struct clip_resnet_block {
    size_t index;
    size_t height, width, channels;                  /* of its input, padded */
    struct clip_resnet_layer *conv1, *conv2, *conv3; /* to planes; side 3; to 4 planes */
    struct clip_resnet_layer *downsample;            /* or NULL */
    float *gradient;                                 /* of its output, before the ReLU */
    struct clip_resnet_layer *before;                /* of the first bottleneck: the stem's last layer */
};

/* A thread's scratch. */
struct clip_resnet_workspace {
    float *x, *dy; /* framed input, and gradient of the output */
    float *a, *b;  /* between kernels */
};

/* What the forward pass keeps of a layer. */
struct clip_resnet_record {
    float *raw; /* [n][height][width][out]: before the norm */
    struct clip_norm_record norm;
};

struct clip_resnet_tape {
    struct clip_tape base;
    struct clip_arena arena;
    size_t count;                       /* pictures of the chunk */
    union clip_item *items;             /* [chunk] */
    struct clip_resnet_record *records; /* [layers] */
    float **inputs;                     /* [blocks + 1]: of each bottleneck, and of the attention pool */
    struct clip_attnpool_tape attn;
};

struct clip_resnet_learner {
    struct clip_tower base;
    struct clip_parameters *parameters;
    struct clip_pool *pool;
    const struct clip_kernels *kernels;
    const struct clip_conv_kernels *conv_kernels;
    const struct clip_conv_train_kernels *train_kernels;
    const struct clip_batch_norm_kernels *norm_kernels;
    size_t size;                      /* of a picture */
    size_t operations;                /* multiply-adds of a picture's convolutions, forward */
    struct clip_resnet_layer *layers; /* [layer_count], in the order in which they run */
    size_t layer_count;
    struct clip_resnet_block *blocks; /* [block_count] */
    size_t block_count;
    size_t out_height, out_width; /* of the last bottleneck's output */
    struct clip_attnpool *attn;
    struct clip_arena arena;
    size_t packed;                            /* bytes of the arena that hold the layers' weights */
    float *levels;                            /* [3][256]: clip_pixel_levels */
    struct clip_resnet_workspace *workspaces; /* [threads] */
    float *down;                              /* gradient of a downsample's input */
    float *weights[CLIP_RESNET_GROUPS];       /* gradients, packed */
    double *moments;                          /* [units][2][channels] */
    double *sums;   /* [units][3][channels]: of the gradient, and of its products with two layers */
    double *joined; /* [2 channels + 1]: what is summed over ranks */
    const struct clip_exchange *exchange;
    size_t channels; /* the most of any layer */
    /* of the current run */
    struct clip_resnet_tape *tape;
    const struct clip_resnet_layer *layer;
    size_t count, groups;
    void (*convolve)(const struct clip_conv_plane *plane, const float *x, const float *w, float *y);
};

/* Opens a ResNet for training, as clip_tower_kind.open does. Products are f32 whatever the engine's
 * precision. */
struct clip_tower *clip_resnet_learner_open(const struct clip_tower_setup *setup, struct clip_error *error);

/* As clip_tower_type's forward and backward. */
int clip_resnet_learner_forward(struct clip_tower *learner, const union clip_item *items, size_t n, int again,
                                struct clip_tape *tape, float *features, struct clip_error *error);
int clip_resnet_learner_backward(struct clip_tower *learner, struct clip_tape *tape, const float *gradients,
                                 float *input_gradients, struct clip_error *error);

#endif
