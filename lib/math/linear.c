#include <config.h>

#include "math/engine.h"
#include "math/linear-type.h"

#include <stdlib.h>
#include <string.h>

static const struct clip_linear_type *type_of(const struct clip_engine *engine)
{
#ifdef HAVE_ONEDNN
    if (engine->type == &clip_onednn)
        return &clip_linear_onednn;
#endif
    return engine->type == &clip_native ? &clip_linear_native : &clip_linear_openblas;
}

struct clip_linear *clip_linear_new(struct clip_engine *engine, const struct clip_linear_shape *shape,
                                    int epilogue, struct clip_error *error)
{
    size_t weights;
    if (!clip_operand_fits(shape->rows, shape->n) || !clip_operand_fits(shape->rows, shape->k) ||
        !clip_operand_fits(shape->n, shape->k) || shape->count < 1 ||
        __builtin_mul_overflow(shape->n * shape->k, shape->count, &weights) || weights > SIZE_MAX / 16) {
        clip_fail(error, "%zu layers of %zu rows, %zu inputs and %zu outputs are out of bounds", shape->count,
                  shape->rows, shape->k, shape->n);
        return NULL;
    }
    enum clip_level level;
    const struct clip_linear_type *type = type_of(engine);
    struct clip_linear *linear =
        clip_level_choose(&level, error) >= 0 ? type->create(engine, shape, epilogue, error) : NULL;
    if (!linear)
        return NULL;
    linear->type = type;
    linear->kernels = clip_conv_kernels(level);
    linear->shape = *shape;
    linear->epilogue = epilogue;
    if (epilogue & CLIP_LINEAR_BIAS && !(linear->bias = calloc(shape->count * shape->n, sizeof(float)))) {
        clip_fail_memory(error, "biases");
        clip_linear_free(linear);
        return NULL;
    }
    return linear;
}

void clip_linear_free(struct clip_linear *linear)
{
    if (!linear)
        return;
    free(linear->bias);
    linear->type->free(linear);
}

size_t clip_linear_part(const struct clip_linear *linear)
{
    return linear->part ? linear->part : linear->shape.n;
}

int clip_linear_set(struct clip_linear *linear, size_t i, size_t first, size_t count, const float *w,
                    int transposed, const float *bias, struct clip_error *error)
{
    if (linear->bias)
        memcpy(linear->bias + i * linear->shape.n + first, bias, count * sizeof *bias);
    return linear->type->set(linear, i, first, count, w, transposed, error);
}

size_t clip_linear_scratch(const struct clip_linear *linear)
{
    return linear->scratch;
}

static void run_layer(const struct clip_linear *linear, size_t i, const float *x, float *y, float *scratch)
{
    size_t n = linear->shape.n, k = linear->shape.k, end = linear->shape.rows;
    const float *bias = linear->bias ? linear->bias + i * n : NULL;
    for (size_t row = 0; row < end; row += linear->piece) {
        size_t rows = end - row < linear->piece ? end - row : linear->piece;
        linear->type->product(linear, i, rows, x + row * k, y + row * n, scratch);
        if (linear->epilogue & (CLIP_LINEAR_BIAS | CLIP_LINEAR_RELU))
            linear->kernels->bias_relu(rows, n, bias, linear->epilogue & CLIP_LINEAR_RELU, y + row * n);
    }
}

int clip_linear_run(const struct clip_linear *linear, size_t first, size_t number, const void *x, void *y,
                    void *scratch, struct clip_error *error)
{
    const struct clip_linear_shape *shape = &linear->shape;
    if (linear->type->run)
        return linear->type->run(linear, first, number, x, y, scratch, error);
    for (size_t i = 0; i < number; i++)
        run_layer(linear, first + i, (const float *)x + i * shape->rows * shape->k,
                  (float *)y + i * shape->rows * shape->n, scratch);
    return 0;
}
