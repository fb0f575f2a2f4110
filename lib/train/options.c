#include "train/options.h"

#include "model/kind.h"

struct clip_adamw clip_train_adamw(const struct clip_train_options *options, const struct clip_arch *arch)
{
    const struct clip_kind *kind = (arch->vision.absent ? &arch->text : &arch->vision)->kind;
    struct clip_adamw adamw = clip_adamw;
    adamw.beta2 = kind->beta2;
    adamw.eps = kind->epsilon;
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

int clip_train_check(const struct clip_train_options *o, const struct clip_shared *shared,
                     const char *grad_in, struct clip_error *error)
{
    int given = o->beta1 >= 0 || o->beta2 >= 0 || o->eps >= 0 || o->weight_decay >= 0 || o->clip_norm > 0 ||
                o->freeze || o->frozen;
    if (!o->dir)
        return given ? clip_fail(error, "the options of the optimizer and --freeze need --train") : 0;
    if (shared->model || shared->arch || shared->weights)
        return clip_fail(error,
                         "--train uses the model of the run: -m, --arch and --weights are not allowed");
    if (shared->skip_bad)
        return clip_fail(error, "--train and --skip-bad are mutually exclusive");
    if (!grad_in)
        return clip_fail(error, "--train needs --grad-in");
    return 0;
}
