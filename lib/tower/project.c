#include "tower/project.h"

#include "base/arena.h"
#include "base/crew.h"
#include "math/kernels.h"
#include "math/unit.h"
#include "model/kind.h"

#include <stdlib.h>
#include <string.h>

/* The weights of a side, [embed][width] or as they lie, and its bias, where it has one. */
static int load_side(const struct clip_tower_setup *setup, enum clip_side side, struct clip_operand *operand,
                     struct clip_values *bias, struct clip_error *error)
{
    const struct clip_projection_names *names = &setup->arch->towers[side].kind->projection;
    struct clip_operand_part part = {.name = names->weight, .transposed = !names->rows};
    if (clip_operand_load(operand, setup, 0, &part, error) != 0)
        return -1;
    return names->bias ? clip_values_load(bias, setup, error, "%s", names->bias) : 0;
}

/* --- of a model: one side --- */

struct clip_projection {
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct clip_operand weights;
    struct clip_values own; /* bias, where the model has one */
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
    clip_operand_free(&projection->weights);
    clip_values_free(&projection->own);
    clip_arena_free(&projection->arena);
    free(projection);
}

size_t clip_projection_inputs(const struct clip_projection *projection)
{
    return clip_matrix_inputs(projection->weights.forward);
}

size_t clip_projection_outputs(const struct clip_projection *projection)
{
    return clip_matrix_outputs(projection->weights.forward);
}

static void place(void *context)
{
    struct clip_projection *p = context;
    size_t rows = clip_engine_rows(p->engine);
    p->bias = clip_arena_take(&p->arena, clip_projection_outputs(p), sizeof(float));
    p->in = clip_arena_take(&p->arena, rows * clip_projection_inputs(p), clip_engine_element(p->engine));
    p->out = clip_arena_take(&p->arena, rows * clip_projection_outputs(p), sizeof(float));
    p->product = clip_arena_take(&p->arena, clip_product_scratch(p->weights.forward), 1);
}

static int load(struct clip_projection *p, const struct clip_tower_setup *setup, enum clip_side side,
                struct clip_error *error)
{
    if (load_side(setup, side, &p->weights, &p->own, error) != 0 ||
        clip_arena_build(&p->arena, "the projection", place, p, error) != 0)
        return -1;
    if (p->own.value)
        memcpy(p->bias, p->own.value, clip_projection_outputs(p) * sizeof *p->bias);
    return 0;
}

struct clip_projection *clip_projection_open(enum clip_side side, const struct clip_tower_setup *setup,
                                             struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return NULL;
    struct clip_projection *projection = calloc(1, sizeof *projection);
    if (!projection) {
        clip_fail_memory(error, "the projection");
        return NULL;
    }
    projection->engine = setup->engine;
    projection->kernels = clip_kernels(level);
    if (load(projection, setup, side, error) != 0) {
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
        if (clip_product_rows(p->weights.forward, rows, p->in, p->out, p->product, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++) {
            float *row = embeddings + (first + r) * outputs;
            p->kernels->sum(outputs, p->out + r * outputs, p->bias, row);
            (void)clip_unit_vector(outputs, row, row, &none);
        }
    }
    return 0;
}

/* --- that learn: both sides --- */

/* One side: y = x Wᵀ + b. */
struct side {
    struct clip_operand weight;
    struct clip_values bias;
    size_t inputs, at;          /* width of its features, and where they begin among both sides' */
    struct clip_outer *outer;   /* as the weights lie */
    float *x, *y, *e, *dy, *dx; /* [rows][inputs or embed] */
};

struct pair {
    struct clip_tower base;
    struct clip_pool *pool;
    size_t embed, inputs; /* of both sides together */
    size_t piece, pieces; /* rows of a product, and products for a batch */
    struct side sides[CLIP_SIDES];
    struct clip_arena arena;
    char *scratch; /* [threads][scratch_size] */
    size_t scratch_size;
    struct clip_crew crew;
    /* of a call */
    const union clip_item *items;
    size_t n;
    const float *gradients;
};

static void free_pair(struct clip_tower *base)
{
    struct pair *l = (struct pair *)base;
    for (int s = 0; s < CLIP_SIDES; s++) {
        clip_operand_free(&l->sides[s].weight);
        clip_values_free(&l->sides[s].bias);
        clip_outer_free(l->sides[s].outer);
    }
    clip_crew_destroy(&l->crew);
    clip_arena_free(&l->arena);
    free(l);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_learner(void *context)
{
    struct pair *l = context;
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

static int open_side(struct pair *l, const struct clip_tower_setup *setup, enum clip_side side,
                     struct clip_error *error)
{
    struct side *s = &l->sides[side];
    s->inputs = clip_feature_width(setup->arch, side);
    s->at = l->inputs;
    l->inputs += s->inputs;
    if (load_side(setup, side, &s->weight, &s->bias, error) != 0)
        return -1;
    s->outer = s->weight.transposed ? clip_outer_new(setup->engine, s->inputs, l->embed, error)
                                    : clip_outer_new(setup->engine, l->embed, s->inputs, error);
    if (!s->outer)
        return -1;
    l->scratch_size =
        larger(l->scratch_size, larger(clip_operand_scratch(&s->weight), clip_outer_scratch(s->outer)));
    return 0;
}

static int open_learner(struct pair *l, const struct clip_tower_setup *setup, struct clip_error *error)
{
    if (open_side(l, setup, CLIP_SIDE_IMAGE, error) != 0 || open_side(l, setup, CLIP_SIDE_TEXT, error) != 0)
        return -1;
    l->scratch_size = (l->scratch_size + 63) / 64 * 64;
    return clip_arena_build(&l->arena, "the projection", place_learner, l, error);
}

/* --- the work of one thread: a piece of one side's rows --- */

static size_t piece_rows(const struct pair *l, size_t first)
{
    return l->n - first < l->piece ? l->n - first : l->piece;
}

/* Features to embeddings e. */
static int project_piece(void *context, size_t i, int thread, struct clip_error *error)
{
    struct pair *l = context;
    struct side *side = &l->sides[i % CLIP_SIDES];
    size_t first = i / CLIP_SIDES * l->piece, rows = piece_rows(l, first), embed = l->embed;
    char *scratch = l->scratch + (size_t)thread * l->scratch_size;
    for (size_t r = first; r < first + rows; r++)
        memcpy(side->x + r * side->inputs, l->items[r].features + side->at, side->inputs * sizeof(float));
    if (clip_product_rows(side->weight.forward, rows, side->x + first * side->inputs, side->y + first * embed,
                          scratch, error) != 0)
        return -1;
    for (size_t r = first; r < first + rows; r++) {
        float *y = side->y + r * embed;
        for (size_t j = 0; side->bias.value && j < embed; j++)
            y[j] += side->bias.value[j];
        if (clip_unit_vector(embed, y, side->e + r * embed, error) != 0)
            return clip_fail_prefix(error, "pair %zu of the chunk", r + 1);
    }
    return 0;
}

/* Gradients of the embeddings to those of y, and of the features. */
static int return_piece(void *context, size_t i, int thread, struct clip_error *error)
{
    struct pair *l = context;
    size_t s = i % CLIP_SIDES, first = i / CLIP_SIDES * l->piece, rows = piece_rows(l, first),
           embed = l->embed;
    struct side *side = &l->sides[s];
    for (size_t r = first; r < first + rows; r++)
        clip_unit_vector_backward(embed, side->y + r * embed, side->e + r * embed,
                                  l->gradients + (r * CLIP_SIDES + s) * embed, side->dy + r * embed);
    return clip_product_rows(side->weight.backward, rows, side->dy + first * embed,
                             side->dx + first * side->inputs, l->scratch + (size_t)thread * l->scratch_size,
                             error);
}

/* The weights' gradients: a panel of one side's. */
static int add_panel(void *context, size_t i, int thread, struct clip_error *error)
{
    struct pair *l = context;
    size_t panels = clip_outer_panels(l->sides[0].outer);
    struct side *side = &l->sides[i >= panels];
    const float *a = side->weight.transposed ? side->x : side->dy,
                *b = side->weight.transposed ? side->dy : side->x;
    return clip_outer_add(side->outer, i >= panels ? i - panels : i, l->n, a, b, side->weight.gradient,
                          l->scratch + (size_t)thread * l->scratch_size, error);
}

/* --- its forward and backward --- */

/* The items, of which the forward is made again. */
struct pair_tape {
    struct clip_tape base;
    size_t count;
    union clip_item items[];
};

static struct clip_tape *tape_new(const struct clip_tower *base, struct clip_error *error)
{
    struct pair_tape *tape = calloc(1, sizeof *tape + base->batch * sizeof *tape->items);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    return &tape->base;
}

static void tape_free(struct clip_tape *tape)
{
    free(tape);
}

static size_t tape_bytes(const struct clip_tower *base, size_t n)
{
    (void)base;
    return sizeof(struct pair_tape) + n * sizeof(union clip_item);
}

static size_t bytes(const struct clip_tower *base)
{
    return ((const struct pair *)base)->arena.size;
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    struct pair *l = (struct pair *)base;
    for (int s = 0; s < CLIP_SIDES; s++)
        if (clip_operand_refresh(&l->sides[s].weight, error) != 0)
            return -1;
    return 0;
}

static int project(struct pair *l, const union clip_item *items, size_t n, struct clip_error *error)
{
    l->items = items;
    l->n = n;
    return clip_crew_run(&l->crew, l->pool, CLIP_SIDES * ((n + l->piece - 1) / l->piece), project_piece, l,
                         error);
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *embeddings, struct clip_error *error)
{
    (void)again;
    struct pair *l = (struct pair *)base;
    struct pair_tape *tape = (struct pair_tape *)to;
    if (project(l, items, n, error) != 0)
        return -1;
    tape->count = n;
    memcpy(tape->items, items, n * sizeof *items);
    for (size_t r = 0; r < n; r++)
        for (size_t s = 0; s < CLIP_SIDES; s++)
            memcpy(embeddings + (r * CLIP_SIDES + s) * l->embed, l->sides[s].e + r * l->embed,
                   l->embed * sizeof *embeddings);
    return 0;
}

static int backward(struct clip_tower *base, struct clip_tape *from, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    struct pair *l = (struct pair *)base;
    const struct pair_tape *tape = (const struct pair_tape *)from;
    size_t panels = clip_outer_panels(l->sides[0].outer) + clip_outer_panels(l->sides[1].outer);
    size_t n = tape->count, tasks = CLIP_SIDES * ((n + l->piece - 1) / l->piece);
    if (project(l, tape->items, n, error) != 0)
        return -1;
    l->gradients = gradients;
    if (clip_crew_run(&l->crew, l->pool, tasks, return_piece, l, error) != 0 ||
        clip_crew_run(&l->crew, l->pool, panels, add_panel, l, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        for (size_t s = 0; s < CLIP_SIDES; s++) {
            const struct side *side = &l->sides[s];
            memcpy(input_gradients + r * l->inputs + side->at, side->dx + r * side->inputs,
                   side->inputs * sizeof *input_gradients);
            for (size_t j = 0; side->bias.value && j < l->embed; j++)
                side->bias.gradient[j] += side->dy[r * l->embed + j];
        }
    return 0;
}

static const struct clip_tower_type type = {free_pair, forward,  backward,  refresh,
                                            bytes,     tape_new, tape_free, tape_bytes};

struct clip_tower *clip_projection_learner_open(const struct clip_tower_setup *setup,
                                                struct clip_error *error)
{
    struct pair *l = calloc(1, sizeof *l);
    if (!l) {
        clip_fail_memory(error, "the projection");
        return NULL;
    }
    clip_crew_init(&l->crew);
    l->pool = setup->pool;
    l->embed = (size_t)setup->arch->embed;
    l->base = (struct clip_tower){&type, CLIP_SIDES * l->embed, setup->batch};
    l->piece = clip_engine_rows(setup->engine);
    l->pieces = (setup->batch + l->piece - 1) / l->piece;
    if (open_learner(l, setup, error) == 0)
        return &l->base;
    free_pair(&l->base);
    return NULL;
}
