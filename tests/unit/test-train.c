/* Learning rates against their formulas, AdamW against a plain one in double precision. */
#include "check.h"
#include "train/adamw.h"
#include "train/schedule.h"

#include <math.h>

static int near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fmax(1, fabs(b));
}

static void test_schedules(void)
{
    struct clip_error error;
    struct clip_schedule s = {.kind = CLIP_COSINE, .lr = 5e-4, .warmup = 10, .steps = 110};
    CHECK(clip_schedule_check(&s, &error) == 0, "");
    CHECK(near(clip_schedule_lr(&s, 0), 5e-5) && near(clip_schedule_lr(&s, 9), 5e-4), "");
    CHECK(near(clip_schedule_lr(&s, 10), 5e-4) && near(clip_schedule_lr(&s, 60), 2.5e-4), "");
    CHECK(near(clip_schedule_lr(&s, 85), 5e-4 * .5 * (1 + cos(M_PI * .75))), "");
    CHECK(near(clip_schedule_lr(&s, 110), 0) && near(clip_schedule_lr(&s, 500), 0), "past the end");
    s.kind = CLIP_CONSTANT;
    CHECK(near(clip_schedule_lr(&s, 4), 2.5e-4) && near(clip_schedule_lr(&s, 1000000), 5e-4), "");
    s = (struct clip_schedule){CLIP_COOLDOWN, 1e-3, 0, 100, 50, 2, 1e-4};
    CHECK(clip_schedule_check(&s, &error) == 0, "");
    CHECK(near(clip_schedule_lr(&s, 49), 1e-3) && near(clip_schedule_lr(&s, 50), 1e-3), "");
    CHECK(near(clip_schedule_lr(&s, 75), 1e-4 + 9e-4 * .25) && near(clip_schedule_lr(&s, 100), 1e-4), "");
    s.warmup = 51;
    CHECK(clip_schedule_check(&s, &error) == -1, "warm-up and cool-down overlap");
    s.cooldown = UINT64_MAX;
    CHECK(clip_schedule_check(&s, &error) == -1, "");
    s = (struct clip_schedule){.kind = CLIP_COSINE, .lr = 1};
    CHECK(clip_schedule_check(&s, &error) == -1, "no steps");
}

static void test_decay(void)
{
    CHECK(clip_adamw_decays("visual.proj", 2) && clip_adamw_decays("token_embedding.weight", 2), "");
    CHECK(!clip_adamw_decays("visual.class_embedding", 1) && !clip_adamw_decays("ln_final.weight", 1), "");
    CHECK(!clip_adamw_decays("transformer.resblocks.0.attn.in_proj_bias", 1), "");
    CHECK(!clip_adamw_decays("logit_scale", 0) && !clip_adamw_decays("visual.bn1.weight", 1), "");
}

static void test_adamw(int decays)
{
    enum { N = 37, STEPS = 20 };
    float p[N], m[N] = {0}, v[N] = {0}, g[N];
    double p2[N], m2[N] = {0}, v2[N] = {0}, lr = 1e-2;
    const struct clip_adamw a = clip_adamw_vit;
    for (int i = 0; i < N; i++)
        p2[i] = p[i] = (float)sin(i);
    for (int t = 1; t <= STEPS; t++) {
        for (int i = 0; i < N; i++) {
            g[i] = (float)(cos(i * t) * pow(10, i % 5 - 4));
            p2[i] -= decays ? lr * a.weight_decay * p2[i] : 0;
            m2[i] = a.beta1 * m2[i] + (1 - a.beta1) * g[i];
            v2[i] = a.beta2 * v2[i] + (1 - a.beta2) * g[i] * g[i];
            p2[i] -= lr * (m2[i] / (1 - pow(a.beta1, t))) / (sqrt(v2[i] / (1 - pow(a.beta2, t))) + a.eps);
        }
        clip_adamw_step(&a, lr, decays, (uint64_t)t, N, p, g, m, v);
    }
    for (int i = 0; i < N; i++)
        CHECK(fabs(p[i] - p2[i]) < 2e-6, "element %d: %g, expected %g", i, p[i], p2[i]);
}

int main(void)
{
    test_schedules();
    test_decay();
    test_adamw(0);
    test_adamw(1);
    return check_end();
}
