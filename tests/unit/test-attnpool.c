/* The attention pool in training against one in f64 that computes all keys and values: its features, and its
 * gradients along random directions by finite differences. */
#include "check.h"

#include "math/product.h"
#include "model/kind.h"
#include "tower/attnpool.h"

#include <math.h>
#include <string.h>

enum { PICTURES = 35, PIXELS = 4, TOKENS = PIXELS + 1, WIDTH = 64, HEADS = 4, DIM = WIDTH / HEADS };

/* The parameters, then the pixels. */
enum { POSITIONS, QUERY, QUERY_BIAS, KEY, KEY_BIAS, VALUE, VALUE_BIAS, X, TENSORS };

static const struct {
    const char *name;
    size_t count;
    float scale;
} tensors[TENSORS] = {
    {"visual.attnpool.positional_embedding", TOKENS *WIDTH, 1},
    {"visual.attnpool.q_proj.weight", WIDTH *WIDTH, 0.4f},
    {"visual.attnpool.q_proj.bias", WIDTH, 1},
    {"visual.attnpool.k_proj.weight", WIDTH *WIDTH, 0.4f},
    {"visual.attnpool.k_proj.bias", WIDTH, 1},
    {"visual.attnpool.v_proj.weight", WIDTH *WIDTH, 0.4f},
    {"visual.attnpool.v_proj.bias", WIDTH, 1},
    {"x", PICTURES *PIXELS *WIDTH, 1},
};

static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / (1 << 23) - 1);
}

/* --- the plain one --- */

static void linear(const double *w, const double *bias, const double *x, double *y)
{
    for (size_t i = 0; i < WIDTH; i++) {
        y[i] = bias[i];
        for (size_t j = 0; j < WIDTH; j++)
            y[i] += w[i * WIDTH + j] * x[j];
    }
}

/* features[WIDTH] of one picture. */
static void plain(double *const *t, const double *x, double *features)
{
    double token[TOKENS][WIDTH] = {{0}}, q[WIDTH], k[TOKENS][WIDTH], v[TOKENS][WIDTH];
    for (size_t i = 0; i < PIXELS * WIDTH; i++) {
        token[1 + i / WIDTH][i % WIDTH] = x[i];
        token[0][i % WIDTH] += x[i] / PIXELS;
    }
    for (size_t i = 0; i < TOKENS; i++) {
        for (size_t c = 0; c < WIDTH; c++)
            token[i][c] += t[POSITIONS][i * WIDTH + c];
        linear(t[KEY], t[KEY_BIAS], token[i], k[i]);
        linear(t[VALUE], t[VALUE_BIAS], token[i], v[i]);
    }
    linear(t[QUERY], t[QUERY_BIAS], token[0], q);
    for (size_t h = 0; h < HEADS; h++) {
        double e[TOKENS], sum = 0;
        for (size_t i = 0; i < TOKENS; i++) {
            double score = 0;
            for (size_t c = h * DIM; c < (h + 1) * DIM; c++)
                score += q[c] * k[i][c] / sqrt(DIM);
            sum += e[i] = exp(score);
        }
        for (size_t c = h * DIM; c < (h + 1) * DIM; c++) {
            features[c] = 0;
            for (size_t i = 0; i < TOKENS; i++)
                features[c] += e[i] / sum * v[i][c];
        }
    }
}

/* sum(features weights), where tensor `moved` has gone `step` along its direction. */
static double loss(double *const *t, size_t moved, double step, const double *direction, const float *weights)
{
    double features[WIDTH], sum = 0;
    for (size_t i = 0; i < tensors[moved].count; i++)
        t[moved][i] += step * direction[i];
    for (size_t i = 0; i < PICTURES; i++) {
        plain(t, t[X] + i * PIXELS * WIDTH, features);
        for (size_t c = 0; c < WIDTH; c++)
            sum += features[c] * weights[i * WIDTH + c];
    }
    for (size_t i = 0; i < tensors[moved].count; i++)
        t[moved][i] -= step * direction[i];
    return sum;
}

/* --- */

struct tape {
    const struct clip_attnpool *attn;
    struct clip_arena arena;
    struct clip_attnpool_tape tape;
};

static void place_tape(void *context)
{
    struct tape *tape = context;
    clip_attnpool_tape_place(tape->attn, PICTURES, &tape->arena, &tape->tape);
}

/* Runs the pool of the parameters on x: features, and their gradients. */
static void run(struct clip_parameters *parameters, const float *x, const float *weights, float *features,
                float *dx)
{
    struct clip_error error;
    struct clip_arch arch = {.vision = {.kind = &clip_kind_resnet, .width = WIDTH / 32, .heads = HEADS}};
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, 4, &error);
    struct clip_pool *pool = clip_pool_new(2, &error);
    const struct clip_tower_setup setup = {&arch, NULL, parameters, engine, pool, PICTURES + 1, NULL};
    struct clip_attnpool *attn = clip_attnpool_open(&setup, PIXELS, &error);
    CHECK(attn, "%s", error.text);
    struct tape tape = {.attn = attn};
    CHECK(clip_arena_build(&tape.arena, "a tape", place_tape, &tape, &error) == 0, "%s", error.text);
    clip_attnpool_forward(attn, PICTURES, x, &tape.tape, features);
    clip_attnpool_backward(attn, PICTURES, &tape.tape, weights, dx);
    clip_arena_free(&tape.arena);
    clip_attnpool_free(attn);
    clip_pool_free(pool);
    clip_engine_free(engine);
}

static void check_features(double *const *t, const float *features)
{
    double want[WIDTH];
    for (size_t i = 0; i < PICTURES; i++) {
        plain(t, t[X] + i * PIXELS * WIDTH, want);
        for (size_t c = 0; c < WIDTH; c++)
            CHECK(fabs(features[i * WIDTH + c] - want[c]) < 1e-5, "%zu, %zu: %g, not %g", i, c,
                  features[i * WIDTH + c], want[c]);
    }
}

/* The gradient along random directions; the keys' bias has none at all. */
static void check_gradient(double *const *t, size_t tensor, const float *gradient, const float *weights)
{
    size_t count = tensors[tensor].count;
    double *direction = malloc(count * sizeof *direction), step = 1e-4;
    for (int turn = 0; turn < 3; turn++) {
        double slope = 0, size = 0;
        for (size_t i = 0; i < count; i++) {
            direction[i] = draw() / sqrt((double)count);
            slope += gradient[i] * direction[i];
            size += (double)gradient[i] * gradient[i];
        }
        double want =
            (loss(t, tensor, step, direction, weights) - loss(t, tensor, -step, direction, weights)) /
            (2 * step);
        CHECK(fabs(slope - want) <= 1e-5 * sqrt(size) + 1e-9, "%s: %g, not %g", tensors[tensor].name, slope,
              want);
        CHECK(tensor != KEY_BIAS || size == 0, "");
    }
    free(direction);
}

int main(void)
{
    struct clip_parameter items[X] = {0};
    struct clip_parameters parameters = {.items = items, .count = X};
    float *values[TENSORS], *gradients[TENSORS], weights[PICTURES * WIDTH], features[PICTURES * WIDTH];
    double *t[TENSORS];
    for (size_t i = 0; i < TENSORS; i++) {
        size_t count = tensors[i].count;
        values[i] = malloc(count * sizeof *values[i]);
        gradients[i] = calloc(count, sizeof *gradients[i]);
        t[i] = malloc(count * sizeof *t[i]);
        for (size_t k = 0; k < count; k++)
            t[i][k] = values[i][k] = tensors[i].scale * draw();
        if (i == X)
            break;
        items[i] = (struct clip_parameter){.count = count, .value = values[i], .gradient = gradients[i]};
        snprintf(items[i].slot.name, sizeof items[i].slot.name, "%s", tensors[i].name);
    }
    for (size_t i = 0; i < PICTURES * WIDTH; i++)
        weights[i] = draw();
    run(&parameters, values[X], weights, features, gradients[X]);
    check_features(t, features);
    for (size_t i = 0; i < TENSORS; i++)
        check_gradient(t, i, gradients[i], weights);
    for (size_t i = 0; i < TENSORS; i++) {
        free(values[i]);
        free(gradients[i]);
        free(t[i]);
    }
    return check_end();
}
