#include "train/adamw.h"

#include <math.h>
#include <string.h>

const struct clip_adamw clip_adamw = {0.9, 0.98, 1e-6, 0.2};

int clip_adamw_decays(const char *name, int ndim)
{
    static const char *const spared[] = {"bn", "ln", "bias", "logit_scale"};
    for (size_t i = 0; i < sizeof spared / sizeof *spared; i++)
        if (strstr(name, spared[i]))
            return 0;
    return ndim >= 2;
}

void clip_adamw_step(const struct clip_adamw *adamw, double lr, int decays, uint64_t t, size_t n, float *p,
                     const float *g, float *m, float *v)
{
    const float keep = decays ? (float)(1 - lr * adamw->weight_decay) : 1.f;
    const float beta1 = (float)adamw->beta1, beta2 = (float)adamw->beta2, eps = (float)adamw->eps;
    const float new1 = (float)(1 - adamw->beta1), new2 = (float)(1 - adamw->beta2);
    const float rate = (float)(lr / (1 - pow(adamw->beta1, (double)t)));
    const float root = (float)sqrt(1 - pow(adamw->beta2, (double)t));
    for (size_t i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + new1 * g[i];
        v[i] = beta2 * v[i] + new2 * g[i] * g[i];
        p[i] = p[i] * keep - rate * m[i] / (sqrtf(v[i]) / root + eps);
    }
}
