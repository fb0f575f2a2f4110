#include "model/draw.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

/* A fused multiply-add rounds once where this rounds twice: GCC with -std=c11 makes none, Clang must be told.
 */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* ln x for a normal x > 0: 2^e m with m about 1, and ln m = 2 artanh((m - 1) / (m + 1)), |.| < 0.1716. */
static double natural_log(double x)
{
    int e;
    double m = frexp(x, &e); /* exact */
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1), t = s * s, sum = 0;
    for (int n = 23; n >= 1; n -= 2)
        sum = sum * t + 1.0 / n;
    return 2 * s * sum + e * 0.69314718055994531;
}

/* c[0] + c[1] x + ... + c[7] x^7 */
static double polynomial(const double c[8], double x)
{
    double sum = c[7];
    for (int i = 6; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

double clip_normal_quantile(double p)
{
    static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1,
                                4.2313330701600911252e+1,
                                6.8718700749205790830e+2,
                                5.3941960214247511077e+3,
                                2.1213794301586595867e+4,
                                3.9307895800092710610e+4,
                                2.8729085735721942674e+4,
                                5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                5.76949722146069140550e0,  3.64784832476320460504e0,
                                1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                1.78482653991729133580e0,  2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1,
                                5.99832206555887937690e-1,
                                1.36929880922735805310e-1,
                                1.48753612908506148525e-2,
                                7.86869131145613259100e-4,
                                1.84631831751005468180e-5,
                                1.42151175831644588870e-7,
                                2.04426310338993978564e-15};
    double q = p - 0.5;
    if (q >= -0.425 && q <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(a, r) / polynomial(b, r);
    }
    double r = sqrt(-natural_log(q < 0 ? p : 1 - p));
    double z = r <= 5 ? polynomial(c, r - 1.6) / polynomial(d, r - 1.6)
                      : polynomial(e, r - 5) / polynomial(f, r - 5);
    return q < 0 ? -z : z;
}

/* 52 bits as a number in the open interval (0, 1), symmetric about 1/2. */
static double open_unit(uint32_t low, uint32_t high)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 12;
    return ((double)bits + 0.5) * 0x1p-52;
}

/* What is drawn, of scale 1, from u in (0, 1). */
static double shaped(enum clip_draw draw, double u)
{
    const double below = 0.02275013194817921; /* of the normal distribution, what lies below -2 */
    if (draw == CLIP_DRAW_UNIFORM)
        return 2 * u - 1;
    return clip_normal_quantile(draw == CLIP_DRAW_TRUNCATED ? below + u * (1 - 2 * below) : u);
}

void clip_draw(uint64_t seed, const struct clip_slot *slot, uint64_t first, size_t count, float *out)
{
    if (slot->draw == CLIP_DRAW_CONSTANT) {
        for (size_t i = 0; i < count; i++)
            out[i] = (float)slot->scale;
        return;
    }
    uint64_t hash = clip_fnv1a(slot->name, strlen(slot->name));
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4];
    for (size_t i = 0; i < count; i++) {
        uint64_t at = first + i, block = at / 2;
        if (i == 0 || at % 2 == 0)
            clip_philox((const uint32_t[]){(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)hash,
                                           (uint32_t)(hash >> 32)},
                        key, bits);
        double u = open_unit(bits[at % 2 * 2], bits[at % 2 * 2 + 1]);
        out[i] = (float)(slot->scale * shaped(slot->draw, u));
    }
}
