#include "train/options.h"

struct clip_adamw clip_train_adamw(const struct clip_train_options *options, const struct clip_arch *arch)
{
    struct clip_adamw adamw = arch->vision.kind == CLIP_VIT ? clip_adamw_vit : clip_adamw_resnet;
    if (options->beta1 >= 0)
        adamw.beta1 = options->beta1;
    if (options->beta2 >= 0)
        adamw.beta2 = options->beta2;
    if (options->eps >= 0)
        adamw.eps = options->eps;
    if (options->weight_decay >= 0)
        adamw.weight_decay = options->weight_decay;
    return adamw;
}
