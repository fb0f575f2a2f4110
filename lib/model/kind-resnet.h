/* The convolutions of CLIP's ModifiedResNet: a stem of three and a pool, then four stages of bottlenecks.
 * Stages halve the picture by average pooling: after the 3 x 3 convolution, and before the downsample. */
#ifndef CLIP_MODEL_KIND_RESNET_H
#define CLIP_MODEL_KIND_RESNET_H

#include "model/arch.h"

#include <stddef.h>

enum { CLIP_RESNET_COLORS = 3, CLIP_RESNET_STEM = 3, CLIP_RESNET_STAGES = 4, CLIP_RESNET_EXPANSION = 4 };

/* A convolution and its batch norm. */
struct clip_resnet_conv {
    char weight[64], norm[64]; /* "visual.layer1.0.conv1", "visual.layer1.0.bn1": before ".weight" ... */
    int stage, bottleneck;     /* from 0, the bottleneck within its stage; stage -1: the stem */
    int number;                /* conv1, conv2 ...; 0: the downsample */
    size_t in, out, side;      /* channels; side of the filter */
    size_t from, to;           /* side of the picture that the bottleneck or the stem takes; of the output */
    int halves;                /* the input is averaged 2 by 2 before */
};

/* Sets *conv to the convolution after it, in PyTorch's order; to the first one where it is zeroed. 0 where
 * there is none. */
int clip_resnet_next(const struct clip_tower_arch *tower, struct clip_resnet_conv *conv);

/* The numbers of bottlenecks and of convolutions. */
size_t clip_resnet_bottlenecks(const struct clip_tower_arch *tower);
size_t clip_resnet_convs(const struct clip_tower_arch *tower);

#endif
