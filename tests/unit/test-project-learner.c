/* The projections in training: gradients of weights, bias and features against differences, whatever the
 * number of threads. */
#include "check.h"

#include "model/kind.h"
#include "tower/project.h"

#include <math.h>
#include <string.h>

enum { N = 37, EMBED = 24, IMAGE = 64, TEXT = 20, ROW = IMAGE + EMBED, MOST = 2 * CLIP_HEAD_LAYERS };

/* Numbers in [-1, 1) that look random. */
static float number(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

static void add(struct clip_parameters *p, const struct clip_slot *slot)
{
    struct clip_parameter *item = &p->items[p->count];
    unsigned state = (unsigned)++p->count;
    *item = (struct clip_parameter){.slot = *slot, .count = (size_t)clip_slot_count(slot)};
    size_t bytes = (item->count * sizeof(float) + 63) / 64 * 64;
    item->value = aligned_alloc(64, bytes);
    item->gradient = aligned_alloc(64, bytes);
    memset(item->gradient, 0, bytes);
    for (size_t i = 0; i < item->count; i++)
        item->value[i] = number(&state);
}

/* The tensors of both heads. */
static void add_heads(struct clip_parameters *p, const struct clip_arch *arch)
{
    struct clip_slot slots[2 * MOST];
    struct clip_listing listing = {.slots = slots};
    for (int side = 0; side < CLIP_SIDES; side++)
        clip_list_head(&listing, &arch->towers[side], clip_feature_width(arch, side), EMBED);
    for (size_t i = 0; i < listing.count; i++)
        add(p, &slots[i]);
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

/* Of the image's head from IMAGE features, of the text's from TEXT; from EMBED where there is none. */
static void test_gradients(const struct clip_head *image, const struct clip_head *text, int threads)
{
    struct clip_arch arch = {
        .embed = EMBED,
        .vision = {.kind = &clip_kind_vit, .head = image, .width = clip_head_last(image) ? IMAGE : EMBED},
        .text = {.kind = &clip_kind_text, .head = text, .width = clip_head_last(text) ? TEXT : EMBED}};
    struct clip_parameter items[2 * MOST];
    struct clip_parameters parameters = {.items = items};
    int row = arch.vision.width + arch.text.width;
    struct clip_error error = {""};
    static float features[N * ROW], gradients[N * 2 * EMBED], back[N * ROW];
    struct setting s = {.loss_gradients = gradients};
    unsigned state = 99;
    for (int i = 0; i < N * ROW; i++)
        features[i] = number(&state);
    for (int i = 0; i < N * 2 * EMBED; i++)
        gradients[i] = number(&state);
    for (int i = 0; i < N; i++)
        s.items[i].features = features + i * row;
    add_heads(&parameters, &arch);
    struct clip_pool *pool = clip_pool_new(threads, &error);
    struct clip_engine *engine = clip_engine_open(NULL, CLIP_PRECISION_F32, 4, &error);
    const struct clip_tower_setup setup = {&arch, NULL, &parameters, engine, pool, N, NULL};
    s.learner = clip_projection_learner_open(&setup, &error);
    CHECK(s.learner, "%s", error.text);
    s.tape = s.learner->type->tape_new(s.learner, &error);
    loss(&s);
    CHECK(s.learner->type->backward(s.learner, s.tape, gradients, back, &error) == 0, "%s", error.text);
    for (size_t i = 0; i < parameters.count; i++)
        check_slopes(&s, items[i].slot.name, items[i].value, items[i].gradient, items[i].count, 7);
    check_slopes(&s, "features", features, back, (size_t)(N * row), 41);
    memset(features, 0, sizeof features);
    CHECK((clip_head_last(image) && clip_head_last(image)->bias) ||
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
    test_gradients(&clip_head_vit, &clip_head_text, 1);
    test_gradients(&clip_head_vit, &clip_head_text, 2);
    test_gradients(&clip_head_resnet, &clip_head_text, 2);
    test_gradients(&clip_head_timm_linear, &clip_head_text_linear, 1);
    test_gradients(&clip_head_timm_classifier_fc, &clip_head_none, 2);
    test_gradients(&clip_head_timm_mlp, &clip_head_text, 2);
    test_gradients(&clip_head_timm_mlp_bias, &clip_head_text_linear, 1);
    test_gradients(&clip_head_none, &clip_head_none, 2);
    return check_end();
}
