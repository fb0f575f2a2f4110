#include "tower/project.h"

#include "base/arena.h"
#include "model/kind.h"
#include "math/kernels.h"
#include "math/unit.h"
#include "tower/tower.h"
#include "tower/prepared.h"

#include <stdlib.h>
#include <string.h>

struct clip_projection {
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct clip_prepared weights;
    struct clip_arena arena;
    float *bias;   /* [outputs], zeros where the model has none */
    void *in;      /* [piece][inputs] elements */
    float *out;    /* [piece][outputs] */
    void *product; /* for clip_product */
};

void clip_projection_free(struct clip_projection *projection)
{
    if (!projection)
        return;
    clip_prepared_free(&projection->weights);
    clip_arena_free(&projection->arena);
    free(projection);
}

size_t clip_projection_inputs(const struct clip_projection *projection)
{
    return clip_matrix_inputs(projection->weights.matrix);
}

size_t clip_projection_outputs(const struct clip_projection *projection)
{
    return clip_matrix_outputs(projection->weights.matrix);
}

static void place(void *context)
{
    struct clip_projection *p = context;
    size_t rows = clip_engine_rows(p->engine);
    p->bias = clip_arena_take(&p->arena, clip_projection_outputs(p), sizeof(float));
    p->in = clip_arena_take(&p->arena, rows * clip_projection_inputs(p), clip_engine_element(p->engine));
    p->out = clip_arena_take(&p->arena, rows * clip_projection_outputs(p), sizeof(float));
    p->product = clip_arena_take(&p->arena, clip_product_scratch(p->weights.matrix), 1);
}

static int load(struct clip_projection *p, const struct clip_model *model, enum clip_side side,
                struct clip_error *error)
{
    const struct clip_arch *arch = clip_model_arch(model);
    const struct clip_projection_names *names = &arch->towers[side].kind->projection;
    size_t embed = (size_t)arch->embed, width = clip_feature_width(arch, side);
    struct clip_prepared_part part = {names->weight, 2, {width, embed}, 0, width, 1};
    if (names->rows)
        part = (struct clip_prepared_part){names->weight, 2, {embed, width}, 0, embed, 0};
    if (clip_prepared_load(&p->weights, model, p->engine, 0, &part, error) != 0)
        return -1;
    if (clip_arena_build(&p->arena, "the projection", place, p, error) != 0)
        return -1;
    return names->bias ? clip_model_floats(model, names->bias, 1, &embed, p->bias, error) : 0;
}

struct clip_projection *clip_projection_open(const struct clip_model *model, struct clip_engine *engine,
                                             enum clip_side side, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_projection *projection = calloc(1, sizeof *projection);
    if (!projection) {
        clip_fail_memory(error, "the projection");
        return NULL;
    }
    projection->engine = engine;
    projection->kernels = clip_kernels(level);
    if (load(projection, model, side, error) != 0) {
        clip_projection_free(projection);
        return NULL;
    }
    return projection;
}

int clip_projection_run(struct clip_projection *p, const float *features, size_t n, float *embeddings,
                        struct clip_error *error)
{
    size_t inputs = clip_projection_inputs(p), outputs = clip_projection_outputs(p);
    size_t piece = clip_engine_rows(p->engine);
    struct clip_error none; /* a row without direction is the caller's to see */
    for (size_t first = 0; first < n; first += piece) {
        size_t rows = n - first < piece ? n - first : piece;
        p->kernels->convert(rows * inputs, features + first * inputs, clip_engine_precision(p->engine),
                            p->in);
        if (clip_product_rows(p->weights.matrix, rows, p->in, p->out, p->product, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++) {
            float *row = embeddings + (first + r) * outputs;
            p->kernels->sum(outputs, p->out + r * outputs, p->bias, row);
            (void)clip_unit_vector(outputs, row, row, &none);
        }
    }
    return 0;
}
