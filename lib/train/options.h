/* The options of a stage that trains: the same in every program. */
#ifndef CLIP_TRAIN_OPTIONS_H
#define CLIP_TRAIN_OPTIONS_H

#include "base/cli.h"
#include "model/arch.h"
#include "model/layout.h"
#include "train/adamw.h"

#include <stddef.h>

/* Begin with CLIP_TRAIN_DEFAULTS. */
struct clip_train_options {
    const char *dir;                        /* folder of the run; NULL: the program does not train */
    double beta1, beta2, eps, weight_decay; /* below 0: CLIP's, which depend on the kind of the image tower */
    double clip_norm;                       /* 0: gradients are not clipped */
    int freeze;                             /* the stage's weights do not change */
    int (*frozen)(
        const struct clip_slot *slot); /* whether a parameter's weights do not change; NULL: no parameter's */
};
#define CLIP_TRAIN_DEFAULTS                                                                                  \
    {                                                                                                        \
        .beta1 = -1, .beta2 = -1, .eps = -1, .weight_decay = -1                                              \
    }

/* Their entries in a program's table; `o` is its struct clip_train_options. A program uses this --freeze,
 * or has one of its own. */
/* clang-format off */
#define CLIP_TRAIN_OPTIONS(o)                                                                                \
    {"train", 0, CLIP_TEXT, &(o).dir, "DIR", "train in the run DIR; replaces -m", 0, 0},         \
    {"beta1", 0, CLIP_NUMBER, &(o).beta1, "X", "AdamW: decay rate of the mean gradient [0.9]", 0, 0.999999},      \
    {"beta2", 0, CLIP_NUMBER, &(o).beta2, "X",                                                               \
     "AdamW: decay rate of the mean square [0.98; ResNet, ConvNeXt, FastViT 0.999]", 0, 0.999999999},                                \
    {"eps", 0, CLIP_NUMBER, &(o).eps, "X", "AdamW: epsilon [1e-6; ResNet, ConvNeXt, FastViT 1e-8]", 0, 1},                      \
    {"weight-decay", 0, CLIP_NUMBER, &(o).weight_decay, "X", "AdamW: weight decay [0.2]", 0, 100},           \
    {"clip-norm", 0, CLIP_NUMBER, &(o).clip_norm, "X",                                                       \
     "scale the gradient of the stage down to this norm [off]", 1e-30, 1e30}
#define CLIP_FREEZE_OPTION(o)                                                                                \
    {"freeze", 0, CLIP_FLAG, &(o).freeze, NULL, "do not change the weights of the stage", 0, 0}
/* clang-format on */

/* The optimizer's settings by the options. */
struct clip_adamw clip_train_adamw(const struct clip_train_options *options, const struct clip_arch *arch);

/* 0, or -1 with the reason why the options are wrong: some are only allowed with --train, or only without.
 * `grad_in`: the value of --grad-in, or "" for a program without it. */
int clip_train_check(const struct clip_train_options *options, const struct clip_shared *shared,
                     const char *grad_in, struct clip_error *error);

#endif
