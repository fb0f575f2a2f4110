#include "tower/project-learner.h"

#include "base/arena.h"
#include "model/kind.h"
#include "math/unit.h"
#include "base/crew.h"
#include "tower/tower.h"

#include <stdlib.h>
#include <string.h>

/* One side: y = x Wᵀ + b, W [embed][inputs], or [inputs][embed] as it lies where `turned`. */
struct side {
    struct clip_parameter *weight, *bias; /* bias: or NULL */
    int turned;
    size_t inputs, at; /* width of its features, and where they begin among both sides' */
    struct clip_matrix *forward, *backward;
    struct clip_outer *outer;   /* as the weights lie */
    float *x, *y, *e, *dy, *dx; /* [rows][inputs or embed] */
};

struct clip_projection_learner {
    struct clip_pool *pool;
    size_t embed, inputs;        /* of both sides together */
    size_t chunk, piece, pieces; /* pairs at once; rows of a product, and products for a chunk */
    struct side sides[CLIP_SIDES];
    struct clip_arena arena;
    char *scratch; /* [threads][scratch_size] */
    size_t scratch_size;
    struct clip_crew crew;
    /* of a call */
    const float *const *features;
    size_t n;
    const float *gradients;
};

void clip_projection_learner_free(struct clip_projection_learner *learner)
{
    if (!learner)
        return;
    for (int s = 0; s < CLIP_SIDES; s++) {
        clip_matrix_free(learner->sides[s].forward);
        clip_matrix_free(learner->sides[s].backward);
        clip_outer_free(learner->sides[s].outer);
    }
    clip_crew_destroy(&learner->crew);
    clip_arena_free(&learner->arena);
    free(learner);
}

size_t clip_projection_learner_inputs(const struct clip_projection_learner *learner, enum clip_side side)
{
    return learner->sides[side].inputs;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place(void *context)
{
    struct clip_projection_learner *l = context;
    size_t rows = l->pieces * l->piece;
    for (int s = 0; s < CLIP_SIDES; s++) {
        struct side *side = &l->sides[s];
        side->x = clip_arena_take(&l->arena, rows * side->inputs, sizeof(float));
        side->y = clip_arena_take(&l->arena, rows * l->embed, sizeof(float));
        side->e = clip_arena_take(&l->arena, rows * l->embed, sizeof(float));
        side->dy = clip_arena_take(&l->arena, rows * l->embed, sizeof(float));
        side->dx = clip_arena_take(&l->arena, rows * side->inputs, sizeof(float));
    }
    l->scratch = clip_arena_take(&l->arena, (size_t)clip_pool_threads(l->pool), l->scratch_size);
}

static int open_side(struct clip_projection_learner *l, struct side *side, struct clip_engine *engine,
                     struct clip_error *error)
{
    side->forward = clip_matrix_new(engine, l->embed, side->inputs, error);
    side->backward = side->forward ? clip_matrix_new(engine, side->inputs, l->embed, error) : NULL;
    if (side->backward)
        side->outer = side->turned ? clip_outer_new(engine, side->inputs, l->embed, error)
                                   : clip_outer_new(engine, l->embed, side->inputs, error);
    if (!side->outer)
        return -1;
    size_t scratch = larger(clip_product_scratch(side->forward), clip_product_scratch(side->backward));
    l->scratch_size = larger(l->scratch_size, larger(scratch, clip_outer_scratch(side->outer)));
    return 0;
}

struct clip_projection_learner *clip_projection_learner_open(const struct clip_arch *arch,
                                                             struct clip_parameters *parameters,
                                                             struct clip_engine *engine,
                                                             struct clip_pool *pool, size_t chunk,
                                                             struct clip_error *error)
{
    struct clip_projection_learner *l = calloc(1, sizeof *l);
    if (!l) {
        clip_fail_memory(error, "the projection");
        return NULL;
    }
    clip_crew_init(&l->crew);
    l->pool = pool;
    l->embed = (size_t)arch->embed;
    l->chunk = chunk;
    l->piece = clip_engine_rows(engine);
    l->pieces = (chunk + l->piece - 1) / l->piece;
    for (int s = 0; s < CLIP_SIDES; s++) {
        const struct clip_projection_names *names = &arch->towers[s].kind->projection;
        l->sides[s] =
            (struct side){.turned = !names->rows, .inputs = clip_feature_width(arch, s), .at = l->inputs};
        l->sides[s].weight = clip_parameters_get(parameters, "%s", names->weight);
        if (names->bias)
            l->sides[s].bias = clip_parameters_get(parameters, "%s", names->bias);
        l->inputs += l->sides[s].inputs;
    }
    if (open_side(l, &l->sides[0], engine, error) == 0 && open_side(l, &l->sides[1], engine, error) == 0) {
        l->scratch_size = (l->scratch_size + 63) / 64 * 64;
        if (clip_arena_build(&l->arena, "the projection", place, l, error) == 0)
            return l;
    }
    clip_projection_learner_free(l);
    return NULL;
}

int clip_projection_learner_refresh(struct clip_projection_learner *l, struct clip_error *error)
{
    for (int s = 0; s < CLIP_SIDES; s++) {
        struct side *side = &l->sides[s];
        if (clip_matrix_set(side->forward, side->weight->value, side->turned, error) != 0 ||
            clip_matrix_set(side->backward, side->weight->value, !side->turned, error) != 0)
            return -1;
    }
    return 0;
}

/* --- the work of one thread: a piece of one side's rows --- */

static size_t piece_rows(const struct clip_projection_learner *l, size_t first)
{
    return l->n - first < l->piece ? l->n - first : l->piece;
}

/* Features to embeddings e. */
static int project_piece(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_projection_learner *l = context;
    struct side *side = &l->sides[i % CLIP_SIDES];
    size_t first = i / CLIP_SIDES * l->piece, rows = piece_rows(l, first), embed = l->embed;
    char *scratch = l->scratch + (size_t)thread * l->scratch_size;
    for (size_t r = first; r < first + rows; r++)
        memcpy(side->x + r * side->inputs, l->features[r] + side->at, side->inputs * sizeof(float));
    if (clip_product_rows(side->forward, rows, side->x + first * side->inputs, side->y + first * embed,
                          scratch, error) != 0)
        return -1;
    for (size_t r = first; r < first + rows; r++) {
        float *y = side->y + r * embed;
        for (size_t j = 0; side->bias && j < embed; j++)
            y[j] += side->bias->value[j];
        if (clip_unit_vector(embed, y, side->e + r * embed, error) != 0)
            return clip_fail_prefix(error, "pair %zu of the chunk", r + 1);
    }
    return 0;
}

/* Gradients of the embeddings to those of y, and of the features. */
static int return_piece(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_projection_learner *l = context;
    size_t s = i % CLIP_SIDES, first = i / CLIP_SIDES * l->piece, rows = piece_rows(l, first),
           embed = l->embed;
    struct side *side = &l->sides[s];
    for (size_t r = first; r < first + rows; r++)
        clip_unit_vector_backward(embed, side->y + r * embed, side->e + r * embed,
                                  l->gradients + (r * CLIP_SIDES + s) * embed, side->dy + r * embed);
    return clip_product_rows(side->backward, rows, side->dy + first * embed, side->dx + first * side->inputs,
                             l->scratch + (size_t)thread * l->scratch_size, error);
}

/* The weights' gradients: a panel of one side's. */
static int add_panel(void *context, size_t i, int thread, struct clip_error *error)
{
    struct clip_projection_learner *l = context;
    size_t panels = clip_outer_panels(l->sides[0].outer);
    struct side *side = &l->sides[i >= panels];
    const float *a = side->turned ? side->x : side->dy, *b = side->turned ? side->dy : side->x;
    return clip_outer_add(side->outer, i >= panels ? i - panels : i, l->n, a, b, side->weight->gradient,
                          l->scratch + (size_t)thread * l->scratch_size, error);
}

/* --- calls --- */

static int project(struct clip_projection_learner *l, const float *const *features, size_t n,
                   struct clip_error *error)
{
    l->features = features;
    l->n = n;
    return clip_crew_run(&l->crew, l->pool, CLIP_SIDES * ((n + l->piece - 1) / l->piece), project_piece, l,
                         error);
}

int clip_projection_learner_forward(struct clip_projection_learner *l, const float *const *features, size_t n,
                                    float *embeddings, struct clip_error *error)
{
    if (project(l, features, n, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        for (size_t s = 0; s < CLIP_SIDES; s++)
            memcpy(embeddings + (r * CLIP_SIDES + s) * l->embed, l->sides[s].e + r * l->embed,
                   l->embed * sizeof *embeddings);
    return 0;
}

int clip_projection_learner_backward(struct clip_projection_learner *l, const float *const *features,
                                     size_t n, const float *gradients, float *feature_gradients,
                                     struct clip_error *error)
{
    size_t panels = clip_outer_panels(l->sides[0].outer) + clip_outer_panels(l->sides[1].outer);
    if (project(l, features, n, error) != 0)
        return -1;
    l->gradients = gradients;
    if (clip_crew_run(&l->crew, l->pool, CLIP_SIDES * ((n + l->piece - 1) / l->piece), return_piece, l,
                      error) != 0 ||
        clip_crew_run(&l->crew, l->pool, panels, add_panel, l, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        for (size_t s = 0; s < CLIP_SIDES; s++) {
            const struct side *side = &l->sides[s];
            memcpy(feature_gradients + r * l->inputs + side->at, side->dx + r * side->inputs,
                   side->inputs * sizeof *feature_gradients);
            for (size_t j = 0; side->bias && j < l->embed; j++)
                side->bias->gradient[j] += side->dy[r * l->embed + j];
        }
    return 0;
}
