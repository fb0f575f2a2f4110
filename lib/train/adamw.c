#include "train/adamw.h"
#include "base/array.h"
#include "math/lanes.h"

#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

const struct clip_adamw clip_adamw = {0.9, 0.98, 1e-6, 0.2};

int clip_adamw_decays(const char *name, int ndim)
{
    static const char *const spared[] = {"bn", "ln", "bias", "logit_scale"};
    for (size_t i = 0; i < CLIP_COUNT_OF(spared); i++)
        if (strstr(name, spared[i]))
            return 0;
    return ndim >= 2;
}

/* Four elements at a time: the compiler would take them one by one, because a square root may set errno. Each
 * operation rounds as that of one element does. */
static vec square_root(vec x)
{
#ifdef __SSE2__
    return (vec)_mm_sqrt_ps((__m128)x);
#else
    return (vec){sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])};
#endif
}

void clip_adamw_step(const struct clip_adamw *adamw, double lr, int decays, uint64_t t, size_t n, float *p,
                     const float *g, float *m, float *v)
{
    const float keep = decays ? (float)(1 - lr * adamw->weight_decay) : 1.f;
    const float beta1 = (float)adamw->beta1, beta2 = (float)adamw->beta2, eps = (float)adamw->eps;
    const float new1 = (float)(1 - adamw->beta1), new2 = (float)(1 - adamw->beta2);
    const float rate = (float)(lr / (1 - pow(adamw->beta1, (double)t)));
    const float root = (float)sqrt(1 - pow(adamw->beta2, (double)t));
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vec gradient = load(g + i);
        vec mean = beta1 * load(m + i) + new1 * gradient;
        vec square = beta2 * load(v + i) + new2 * gradient * gradient;
        store(m + i, mean);
        store(v + i, square);
        store(p + i, load(p + i) * keep - rate * mean / (square_root(square) / root + eps));
    }
    for (; i < n; i++) {
        m[i] = beta1 * m[i] + new1 * g[i];
        v[i] = beta2 * v[i] + new2 * g[i] * g[i];
        p[i] = p[i] * keep - rate * m[i] / (sqrtf(v[i]) / root + eps);
    }
}
