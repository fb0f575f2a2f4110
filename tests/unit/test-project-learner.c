/* The projections in training: gradients of weights, bias and features against differences, whatever the
 * number of threads. */
#include "check.h"

#include "model/kind.h"
#include "tower/project.h"

#include <math.h>
#include <string.h>

enum { N = 37, EMBED = 24, IMAGE = 64, TEXT = 20, ROW = IMAGE + TEXT };

/* Numbers in [-1, 1) that look random. */
static float number(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

static void add(struct clip_parameters *p, const char *name, size_t rows, size_t columns)
{
    struct clip_parameter *item = &p->items[p->count];
    unsigned state = (unsigned)++p->count;
    size_t bytes = (rows * columns * sizeof(float) + 63) / 64 * 64;
    *item = (struct clip_parameter){.slot = {.ndim = 2, .shape = {rows, columns}}, .count = rows * columns};
    snprintf(item->slot.name, sizeof item->slot.name, "%s", name);
    item->value = aligned_alloc(64, bytes);
    item->gradient = aligned_alloc(64, bytes);
    memset(item->gradient, 0, bytes);
    for (size_t i = 0; i < item->count; i++)
        item->value[i] = number(&state);
}

struct setting {
    struct clip_tower *learner;
    struct clip_tape *tape;
    union clip_item items[N];
    float *loss_gradients; /* [N][2][EMBED]: the loss is their product with the embeddings */
};

static double loss(struct setting *s)
{
    static float embeddings[N * 2 * EMBED];
    struct clip_error error = {""};
    double sum = 0;
    CHECK(s->learner->type->refresh(s->learner, &error) == 0 &&
              s->learner->type->forward(s->learner, s->items, N, 0, s->tape, embeddings, &error) == 0,
          "%s", error.text);
    for (int i = 0; i < N * 2 * EMBED; i++)
        sum += (double)embeddings[i] * s->loss_gradients[i];
    return sum;
}

/* The slope of the loss at one number. */
static double slope(struct setting *s, float *x)
{
    const float h = 0.01f, before = *x;
    *x = before + h;
    double above = loss(s);
    *x = before - h;
    double below = loss(s);
    *x = before;
    return (above - below) / (2 * (double)h);
}

static void check_slopes(struct setting *s, const char *name, float *x, const float *gradient, size_t n,
                         size_t stride)
{
    for (size_t i = 0; i < n; i += stride) {
        double expected = slope(s, x + i);
        CHECK(fabs(gradient[i] - expected) < 2e-3 * fmax(1, fabs(expected)), "%s[%zu]: %g, expected %g", name,
              i, gradient[i], expected);
    }
}

static void test_gradients(const struct clip_kind *kind, int threads)
{
    struct clip_arch arch = {.embed = EMBED,
                             .vision = {.kind = kind, .width = kind == &clip_kind_vit ? IMAGE : IMAGE / 32},
                             .text = {.kind = &clip_kind_text, .width = TEXT}};
    struct clip_parameter items[3];
    struct clip_parameters parameters = {.items = items};
    struct clip_error error = {""};
    static float features[N * ROW], gradients[N * 2 * EMBED], back[N * ROW];
    struct setting s = {.loss_gradients = gradients};
    unsigned state = 99;
    for (int i = 0; i < N * ROW; i++)
        features[i] = number(&state);
    for (int i = 0; i < N * 2 * EMBED; i++)
        gradients[i] = number(&state);
    for (int i = 0; i < N; i++)
        s.items[i].features = features + i * ROW;
    add(&parameters, "text_projection", TEXT, EMBED);
    if (kind == &clip_kind_vit) {
        add(&parameters, "visual.proj", IMAGE, EMBED);
    } else {
        add(&parameters, "visual.attnpool.c_proj.weight", EMBED, IMAGE);
        add(&parameters, "visual.attnpool.c_proj.bias", EMBED, 1);
    }
    struct clip_pool *pool = clip_pool_new(threads, &error);
    struct clip_engine *engine = clip_engine_open(NULL, CLIP_PRECISION_F32, 4, &error);
    const struct clip_tower_setup setup = {&arch, NULL, &parameters, engine, pool, N};
    s.learner = clip_projection_learner_open(&setup, &error);
    CHECK(s.learner, "%s", error.text);
    s.tape = s.learner->type->tape_new(s.learner, &error);
    loss(&s);
    CHECK(s.learner->type->backward(s.learner, s.tape, gradients, back, &error) == 0, "%s", error.text);
    for (size_t i = 0; i < parameters.count; i++)
        check_slopes(&s, items[i].slot.name, items[i].value, items[i].gradient, items[i].count, 7);
    check_slopes(&s, "features", features, back, N * ROW, 41);
    memset(features, 0, sizeof features);
    CHECK(kind == &clip_kind_resnet ||
              s.learner->type->forward(s.learner, s.items, N, 0, s.tape, back, &error) == -1,
          "a vector without direction");
    clip_tape_free(s.tape);
    clip_tower_free(s.learner);
    clip_engine_free(engine);
    clip_pool_free(pool);
    for (size_t i = 0; i < parameters.count; i++) {
        free(items[i].value);
        free(items[i].gradient);
    }
}

int main(void)
{
    test_gradients(&clip_kind_vit, 1);
    test_gradients(&clip_kind_vit, 2);
    test_gradients(&clip_kind_resnet, 2);
    return check_end();
}
