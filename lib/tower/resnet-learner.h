/* The parts of the ResNet that learns; only resnet*.c include this.
 *
 * The tape keeps of a convolution its output as it is, before batch norm, and the norm: its normalised ReLU
 * is made again whenever it is read, a few pictures at a time, in a buffer that stays in the cache. Only what
 * bottlenecks take, the sum of two, is kept as well. Pictures are padded as math/conv-train.h says. */
#ifndef CLIP_TOWER_RESNET_LEARNER_H
#define CLIP_TOWER_RESNET_LEARNER_H

#include "math/conv-kernels.h"
#include "math/conv-train.h"
#include "math/kernels.h"
#include "model/kind-resnet.h"
#include "tower/attnpool.h"
#include "tower/batch-norm.h"
#include "tower/tower.h"

/* Parts into which pictures are shared out backward, each with a sum of its own of the weights' gradient,
 * which are then added in order. */
enum { CLIP_RESNET_GROUPS = 8 };

/* A convolution and its batch norm. */
struct clip_resnet_layer {
    size_t height, width;            /* of the output */
    size_t side, inputs, outputs;    /* as the weights have them */
    size_t in, out;                  /* channels, padded */
    size_t unit;                     /* pictures that go through it together */
    struct clip_resnet_layer *from;  /* its input is the normalised ReLU of this one */
    struct clip_resnet_block *block; /* or what this bottleneck takes; both NULL: the pictures */
    int halves;                      /* its input is averaged 2 by 2 before */
    struct clip_parameter *weight;
    struct clip_norm_learner norm;
    float *packed, *turned; /* weights; turned NULL where nothing learns from the input */
    float *gradient;        /* [chunk][height][width][out]: of the norm's output */
};

struct clip_resnet_block {
    size_t index;
    size_t height, width, channels;                  /* of its input, padded */
    struct clip_resnet_layer *conv1, *conv2, *conv3; /* to planes; side 3; to 4 planes */
    struct clip_resnet_layer *downsample;            /* or NULL */
    float *gradient;                                 /* of its output, where that is not 0 */
    struct clip_resnet_layer *before;                /* of the first: the stem's last */
};

/* A thread's scratch. */
struct clip_resnet_workspace {
    float *x, *dy; /* framed input, and gradient of the output */
    float *a, *b;  /* between kernels */
};

/* Of a layer, for its backward. */
struct clip_resnet_record {
    float *raw; /* [n][height][width][out]: before the norm */
    struct clip_norm_record norm;
};

struct clip_resnet_tape {
    struct clip_tape base;
    struct clip_arena arena;
    size_t count;                       /* of the forward */
    union clip_item *items;             /* [chunk] */
    struct clip_resnet_record *records; /* [layers] */
    float **inputs;                     /* [blocks + 1]: of a bottleneck, and of the attention pool */
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
    size_t packed;                            /* bytes of it that are the layers' weights */
    float *levels;                            /* [3][256]: bytes, normalised */
    struct clip_resnet_workspace *workspaces; /* [threads] */
    float *down;                              /* gradient of a downsample's input */
    float *weights[CLIP_RESNET_GROUPS];       /* gradients, as clip_conv_train_kernels gives them */
    double *moments;                          /* [units][2][channels] */
    double *sums;   /* [units][3][channels]: of gradient, of its products with two layers */
    double *joined; /* [2 channels + 1]: what is summed over ranks */
    const struct clip_exchange *exchange;
    size_t channels; /* the most of a layer */
    /* the run that is under way */
    struct clip_resnet_tape *tape;
    const struct clip_resnet_layer *layer;
    size_t count, groups;
    void (*convolve)(const struct clip_conv_plane *plane, const float *x, const float *w, float *y);
};

/* As clip_tower_kind.open, of parameters. Products are f32 whatever the engine's precision. */
struct clip_tower *clip_resnet_learner_open(const struct clip_tower_setup *setup, struct clip_error *error);

/* As clip_tower_type's forward and backward. */
int clip_resnet_learner_forward(struct clip_tower *learner, const union clip_item *items, size_t n, int again,
                                struct clip_tape *tape, float *features, struct clip_error *error);
int clip_resnet_learner_backward(struct clip_tower *learner, struct clip_tape *tape, const float *gradients,
                                 float *input_gradients, struct clip_error *error);

#endif
