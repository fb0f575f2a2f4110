/* Learning rates against their formulas, AdamW against a plain one in double precision. */
#include "check.h"
#include "train/adamw.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

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
    const struct clip_adamw a = clip_adamw;
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

enum { SIZES = 2, LARGEST = 200000 };

/* Two parameters, one of several pieces of work, and their gradients of step t. */
static void set_gradients(struct clip_parameters *p, int t)
{
    for (size_t i = 0; i < p->count; i++)
        for (size_t j = 0; j < p->items[i].count; j++)
            p->items[i].gradient[j] = (float)sin((double)(j * (i + 1) + (size_t)t)) * 1e-2f;
}

static void make_parameters(struct clip_parameters *p, struct clip_parameter *items, float *memory)
{
    static const size_t counts[SIZES] = {LARGEST, 5};
    *p = (struct clip_parameters){.items = items, .count = SIZES};
    for (int i = 0; i < SIZES; i++) {
        items[i] =
            (struct clip_parameter){.count = counts[i], .value = memory, .gradient = memory + counts[i]};
        items[i].slot = (struct clip_slot){.ndim = 1, .shape = {counts[i]}};
        snprintf(items[i].slot.name, sizeof items[i].slot.name, "parameter%d", i);
        memset(memory, 0, counts[i] * sizeof *memory);
        memory += 2 * counts[i];
    }
}

/* Steps on one thread and on two, the latter written and read back between: the same bytes. */
static void test_optimizer(void)
{
    static float memory[2][2 * (LARGEST + 5)];
    struct clip_parameter items[2][SIZES];
    struct clip_parameters p[2];
    struct clip_optimizer *o[2];
    struct clip_pool *pools[2];
    struct clip_error error = {""};
    char path[] = "test-optimizer-XXXXXX";
    double norms[2];
    CHECK(close(mkstemp(path)) == 0, "");
    for (int k = 0; k < 2; k++) {
        make_parameters(&p[k], items[k], memory[k]);
        pools[k] = clip_pool_new(k + 1, &error);
        o[k] = clip_optimizer_new(&p[k], &clip_adamw, 1, pools[k], NULL, &error);
    }
    for (int t = 1; t <= 4; t++) {
        CHECK(clip_optimizer_write(o[1], path, &error) == 0, "%s", error.text);
        clip_optimizer_free(o[1]);
        o[1] = clip_optimizer_new(&p[1], &clip_adamw, 1, pools[1], NULL, &error);
        CHECK(clip_optimizer_read(o[1], path, &error) == 0, "%s", error.text);
        for (int k = 0; k < 2; k++) {
            set_gradients(&p[k], t);
            CHECK(clip_optimizer_step(o[k], 1e-3, &norms[k], &error) == 0, "%s", error.text);
        }
        CHECK(norms[0] == norms[1] && norms[0] > 1, "%g, %g", norms[0], norms[1]);
        CHECK(memcmp(memory[0], memory[1], sizeof memory[0]) == 0, "step %d", t);
    }
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < items[0][i].count; j++)
            CHECK(items[0][i].gradient[j] == 0, "%zu", j);
    memcpy(memory[1], memory[0], sizeof memory[0]);
    items[0][1].gradient[3] = NAN;
    CHECK(clip_optimizer_step(o[0], 1e-3, &norms[0], &error) == -1 &&
              strcmp(error.text, "the gradient of parameter1 is not finite") == 0,
          "%s", error.text);
    CHECK(memcmp(items[0][0].value, memory[1], LARGEST * sizeof(float)) == 0, "nothing is changed then");
    for (int k = 0; k < 2; k++) {
        clip_optimizer_free(o[k]);
        clip_pool_free(pools[k]);
    }
    unlink(path);
}

/* Clipping is a step with gradients that are scaled before it. */
static void test_clipping(void)
{
    static float memory[2][2 * (LARGEST + 5)];
    struct clip_parameter items[2][SIZES];
    struct clip_parameters p[2];
    struct clip_error error = {""};
    struct clip_pool *pool = clip_pool_new(1, &error);
    double norm, ignored;
    for (int k = 0; k < 2; k++) {
        make_parameters(&p[k], items[k], memory[k]);
        set_gradients(&p[k], 1);
    }
    struct clip_optimizer *clips = clip_optimizer_new(&p[0], &clip_adamw, 0.5, pool, NULL, &error),
                          *plain = clip_optimizer_new(&p[1], &clip_adamw, 0, pool, NULL, &error);
    CHECK(clip_optimizer_step(clips, 1e-3, &norm, &error) == 0 && norm > 1, "%g: %s", norm, error.text);
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < items[1][i].count; j++)
            items[1][i].gradient[j] *= (float)(0.5 / norm);
    CHECK(clip_optimizer_step(plain, 1e-3, &ignored, &error) == 0, "%s", error.text);
    CHECK(fabs(ignored - 0.5) < 1e-6, "the clipped gradient has length %g", ignored);
    CHECK(memcmp(memory[0], memory[1], sizeof memory[0]) == 0, "");
    clip_optimizer_free(clips);
    clip_optimizer_free(plain);
    clip_pool_free(pool);
}

int main(void)
{
    test_schedules();
    test_decay();
    test_adamw(0);
    test_adamw(1);
    test_optimizer();
    test_clipping();
    return check_end();
}
