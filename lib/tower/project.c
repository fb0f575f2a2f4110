#include "tower/project.h"

#include "base/arena.h"
#include "base/crew.h"
#include "math/kernels.h"
#include "math/unit.h"
#include "model/kind.h"

#include <stdlib.h>
#include <string.h>

/* A layer of a head, x Wᵀ + b, with the weights in place. */
struct layer {
    struct clip_operand weight;
    struct clip_values bias;
    size_t inputs, outputs;
};

static void free_layer(struct layer *layer)
{
    clip_operand_free(&layer->weight);
    clip_values_free(&layer->bias);
}

static int load_layer(struct layer *layer, const struct clip_tower_setup *setup,
                      const struct clip_head_layer *names, struct clip_error *error)
{
    struct clip_operand_part part = {.name = names->weight, .transposed = !names->rows};
    if (clip_operand_load(&layer->weight, setup, 0, &part, error) != 0)
        return -1;
    layer->inputs = clip_matrix_inputs(layer->weight.forward);
    layer->outputs = clip_matrix_outputs(layer->weight.forward);
    return names->bias ? clip_values_load(&layer->bias, setup, error, "%s", names->bias) : 0;
}

/* --- of a model: one side --- */

struct clip_projection {
    struct clip_engine *engine;
    const struct clip_kernels *kernels;
    struct layer layers[CLIP_HEAD_LAYERS];
    int count;
    enum clip_activation activation; /* between two */
    size_t inputs, outputs;
    size_t widest; /* of a layer's inputs */
    struct clip_arena arena;
    float *biases[CLIP_HEAD_LAYERS]; /* [outputs], zeros where the layer has none */
    void *in;                        /* [piece][widest] elements */
    float *out;                      /* [piece][the most outputs] */
    void *product;                   /* for clip_product */
};

void clip_projection_free(struct clip_projection *projection)
{
    if (!projection)
        return;
    for (int i = 0; i < projection->count; i++)
        free_layer(&projection->layers[i]);
    clip_arena_free(&projection->arena);
    free(projection);
}

size_t clip_projection_inputs(const struct clip_projection *projection)
{
    return projection->inputs;
}

size_t clip_projection_outputs(const struct clip_projection *projection)
{
    return projection->outputs;
}

static void place_buffers(void *context)
{
    struct clip_projection *p = context;
    size_t rows = clip_engine_rows(p->engine), out = 0, scratch = 0;
    for (int i = 0; i < p->count; i++) {
        out = clip_larger(out, p->layers[i].outputs);
        scratch = clip_larger(scratch, clip_operand_scratch(&p->layers[i].weight));
        p->biases[i] = clip_arena_take(&p->arena, p->layers[i].outputs, sizeof(float));
    }
    p->in = clip_arena_take(&p->arena, rows * p->widest, clip_engine_element(p->engine));
    p->out = clip_arena_take(&p->arena, rows * out, sizeof(float));
    p->product = clip_arena_take(&p->arena, scratch, 1);
}

static int load_weights(struct clip_projection *p, const struct clip_tower_setup *setup, enum clip_side side,
                        struct clip_error *error)
{
    const struct clip_head *head = clip_head_of(&setup->arch->towers[side]);
    p->activation = head->activation;
    p->inputs = p->outputs = clip_feature_width(setup->arch, side);
    for (; p->count < clip_head_layers(head); p->count++) {
        struct layer *layer = &p->layers[p->count];
        if (load_layer(layer, setup, &head->layers[p->count], error) != 0) {
            free_layer(layer);
            return -1;
        }
        p->widest = clip_larger(p->widest, layer->inputs);
        p->outputs = layer->outputs;
    }
    if (clip_arena_build(&p->arena, "the projection", place_buffers, p, error) != 0)
        return -1;
    for (int i = 0; i < p->count; i++)
        if (p->layers[i].bias.value)
            memcpy(p->biases[i], p->layers[i].bias.value, p->layers[i].outputs * sizeof(float));
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
    if (load_weights(projection, setup, side, error) != 0) {
        clip_projection_free(projection);
        return NULL;
    }
    return projection;
}

/* Runs the layers on `rows` features in p->in; out gets the last one's results, with its bias. */
static int run_layers(struct clip_projection *p, size_t rows, float *out, struct clip_error *error)
{
    enum clip_precision type = clip_engine_precision(p->engine);
    size_t element = clip_engine_element(p->engine);
    for (int i = 0; i < p->count; i++) {
        size_t n = p->layers[i].outputs;
        if (clip_product_rows(p->layers[i].weight.forward, rows, p->in, p->out, p->product, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            if (i + 1 < p->count)
                p->kernels->activation[p->activation](n, p->out + r * n, p->biases[i], type,
                                                      (char *)p->in + r * n * element);
            else
                p->kernels->sum(n, p->out + r * n, p->biases[i], out + r * n);
    }
    return 0;
}

int clip_projection_run(struct clip_projection *p, const float *features, size_t n, float *embeddings,
                        struct clip_error *error)
{
    size_t piece = clip_engine_rows(p->engine);
    struct clip_error none; /* the caller must handle a row without direction */
    for (size_t first = 0; first < n; first += piece) {
        size_t rows = n - first < piece ? n - first : piece;
        const float *in = features + first * p->inputs;
        float *out = embeddings + first * p->outputs;
        if (p->count == 0)
            memcpy(out, in, rows * p->inputs * sizeof *out);
        else
            p->kernels->convert(rows * p->inputs, in, clip_engine_precision(p->engine), p->in);
        if (run_layers(p, rows, out, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++, out += p->outputs)
            (void)clip_unit_vector(p->outputs, out, out, &none);
    }
    return 0;
}

/* --- the projections that learn: both sides --- */

/* A layer that learns. */
struct learning {
    struct layer layer;
    struct clip_outer *outer; /* as the weights lie */
    float *x;                 /* [rows][inputs] */
    float *y, *dy;            /* [rows][outputs]: without bias, but of the last layer */
};

/* One side: its layers, with the head's activation between two. */
struct side {
    struct learning layers[CLIP_HEAD_LAYERS];
    int count;
    enum clip_activation activation;
    size_t inputs, at; /* width of its features, and where they begin among both sides' */
    float *y, *dy;     /* [rows][embed]: the last layer's; where there is none, the features and dx */
    float *e;          /* [rows][embed]: y, made unit */
    float *dx;         /* [rows][inputs of the widest layer]: in the end of the features */
};

struct pair {
    struct clip_tower base;
    struct clip_pool *pool;
    const struct clip_kernels *kernels;
    size_t embed, inputs; /* of both sides together */
    size_t piece, pieces; /* rows of a product, and products for a batch */
    struct side sides[CLIP_SIDES];
    float *zeros; /* where a layer has no bias: as many as the most outputs */
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
    for (int s = 0; s < CLIP_SIDES; s++)
        for (int i = 0; i < CLIP_HEAD_LAYERS; i++) {
            free_layer(&l->sides[s].layers[i].layer);
            clip_outer_free(l->sides[s].layers[i].outer);
        }
    clip_crew_destroy(&l->crew);
    clip_arena_free(&l->arena);
    free(l);
}

static void place_side(struct pair *l, struct side *side)
{
    size_t rows = l->pieces * l->piece, widest = side->inputs;
    for (int i = 0; i < side->count; i++) {
        struct learning *learning = &side->layers[i];
        widest = clip_larger(widest, learning->layer.inputs);
        learning->x = clip_arena_take(&l->arena, rows * learning->layer.inputs, sizeof(float));
        side->y = learning->y = clip_arena_take(&l->arena, rows * learning->layer.outputs, sizeof(float));
        side->dy = learning->dy = clip_arena_take(&l->arena, rows * learning->layer.outputs, sizeof(float));
    }
    side->e = clip_arena_take(&l->arena, rows * l->embed, sizeof(float));
    side->dx = clip_arena_take(&l->arena, rows * widest, sizeof(float));
    if (side->count == 0) {
        side->y = clip_arena_take(&l->arena, rows * l->embed, sizeof(float));
        side->dy = side->dx;
    }
}

static void place_learner(void *context)
{
    struct pair *l = context;
    size_t most = l->embed;
    for (int s = 0; s < CLIP_SIDES; s++) {
        place_side(l, &l->sides[s]);
        for (int i = 0; i < l->sides[s].count; i++)
            most = clip_larger(most, l->sides[s].layers[i].layer.outputs);
    }
    l->zeros = clip_arena_take(&l->arena, most, sizeof(float));
    l->scratch = clip_arena_take(&l->arena, (size_t)clip_pool_threads(l->pool), l->scratch_size);
}

static int open_layer(struct pair *l, const struct clip_tower_setup *setup, struct learning *learning,
                      const struct clip_head_layer *names, struct clip_error *error)
{
    struct layer *layer = &learning->layer;
    if (load_layer(layer, setup, names, error) != 0)
        return -1;
    learning->outer = layer->weight.transposed
                          ? clip_outer_new(setup->engine, layer->inputs, layer->outputs, error)
                          : clip_outer_new(setup->engine, layer->outputs, layer->inputs, error);
    if (!learning->outer)
        return -1;
    l->scratch_size = clip_larger(l->scratch_size, clip_larger(clip_operand_scratch(&layer->weight),
                                                               clip_outer_scratch(learning->outer)));
    return 0;
}

static int open_side(struct pair *l, const struct clip_tower_setup *setup, enum clip_side which,
                     struct clip_error *error)
{
    const struct clip_head *head = clip_head_of(&setup->arch->towers[which]);
    struct side *side = &l->sides[which];
    side->activation = head->activation;
    side->inputs = clip_feature_width(setup->arch, which);
    side->at = l->inputs;
    l->inputs += side->inputs;
    for (; side->count < clip_head_layers(head); side->count++)
        if (open_layer(l, setup, &side->layers[side->count], &head->layers[side->count], error) != 0)
            return -1;
    return 0;
}

static int open_learner(struct pair *l, const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if (clip_level_choose(&level, error) != 0)
        return -1;
    for (int side = 0; side < CLIP_SIDES; side++)
        if (open_side(l, setup, side, error) != 0)
            return -1;
    l->kernels = clip_kernels(level);
    l->scratch_size = (l->scratch_size + 63) / 64 * 64;
    return clip_arena_build(&l->arena, "the projection", place_learner, l, error);
}

/* --- the work of one thread: a piece of one side's rows --- */

static size_t piece_rows(const struct pair *l, size_t first)
{
    return l->n - first < l->piece ? l->n - first : l->piece;
}

static const float *bias_of(const struct pair *l, const struct learning *learning)
{
    return learning->layer.bias.value ? learning->layer.bias.value : l->zeros;
}

/* Runs rows [first, first + rows) of x through layer i of a side, into the next one's x or the side's y. */
static int run_layer(const struct pair *l, struct side *side, int i, size_t first, size_t rows, char *scratch,
                     struct clip_error *error)
{
    struct learning *learning = &side->layers[i];
    size_t n = learning->layer.outputs;
    if (clip_product_rows(learning->layer.weight.forward, rows, learning->x + first * learning->layer.inputs,
                          learning->y + first * n, scratch, error) != 0)
        return -1;
    for (size_t r = first; r < first + rows; r++)
        if (i + 1 < side->count)
            l->kernels->activation[side->activation](n, learning->y + r * n, bias_of(l, learning),
                                                     CLIP_PRECISION_F32, side->layers[i + 1].x + r * n);
        else
            l->kernels->sum(n, learning->y + r * n, bias_of(l, learning), learning->y + r * n);
    return 0;
}

/* Features to embeddings e. */
static int project_piece(void *context, size_t i, int thread, struct clip_error *error)
{
    struct pair *l = context;
    struct side *side = &l->sides[i % CLIP_SIDES];
    size_t first = i / CLIP_SIDES * l->piece, rows = piece_rows(l, first), embed = l->embed;
    char *scratch = l->scratch + (size_t)thread * l->scratch_size;
    float *x = side->count ? side->layers[0].x : side->y;
    for (size_t r = first; r < first + rows; r++)
        memcpy(x + r * side->inputs, l->items[r].features + side->at, side->inputs * sizeof(float));
    for (int layer = 0; layer < side->count; layer++)
        if (run_layer(l, side, layer, first, rows, scratch, error) != 0)
            return -1;
    for (size_t r = first; r < first + rows; r++)
        if (clip_unit_vector(embed, side->y + r * embed, side->e + r * embed, error) != 0)
            return clip_fail_prefix(error, "pair %zu of the chunk", r + 1);
    return 0;
}

/* From layer i's dy to its dx, which becomes the previous layer's dy; the activation's output is recomputed.
 */
static int return_layer(const struct pair *l, struct side *side, int i, size_t first, size_t rows,
                        char *scratch, struct clip_error *error)
{
    const struct learning *learning = &side->layers[i];
    size_t n = learning->layer.inputs;
    float *dx = side->dx + first * n;
    if (clip_product_rows(learning->layer.weight.backward, rows,
                          learning->dy + first * learning->layer.outputs, dx, scratch, error) != 0)
        return -1;
    for (size_t r = first; i > 0 && r < first + rows; r++, dx += n)
        l->kernels->activation_backward[side->activation](n, learning[-1].y + r * n, bias_of(l, learning - 1),
                                                          dx, CLIP_PRECISION_F32, learning->x + r * n,
                                                          learning[-1].dy + r * n);
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
    for (int layer = side->count; layer-- > 0;)
        if (return_layer(l, side, layer, first, rows, l->scratch + (size_t)thread * l->scratch_size, error) !=
            0)
            return -1;
    return 0;
}

/* A panel of a layer's weights' gradient. Panels are counted through all layers. */
static int add_panel(void *context, size_t i, int thread, struct clip_error *error)
{
    struct pair *l = context;
    struct learning *learning = NULL;
    for (int at = 0; at < CLIP_SIDES * CLIP_HEAD_LAYERS; at++) {
        learning = &l->sides[at / CLIP_HEAD_LAYERS].layers[at % CLIP_HEAD_LAYERS];
        size_t panels = learning->outer ? clip_outer_panels(learning->outer) : 0;
        if (i < panels)
            break;
        i -= panels;
    }
    const struct clip_operand *weight = &learning->layer.weight;
    const float *a = weight->transposed ? learning->x : learning->dy,
                *b = weight->transposed ? learning->dy : learning->x;
    return clip_outer_add(learning->outer, i, l->n, a, b, weight->gradient,
                          l->scratch + (size_t)thread * l->scratch_size, error);
}

/* --- its forward and backward --- */

/* The items, for which the forward is repeated. */
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

static size_t memory_bytes(const struct clip_tower *base)
{
    return ((const struct pair *)base)->arena.size;
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    struct pair *l = (struct pair *)base;
    for (int s = 0; s < CLIP_SIDES; s++)
        for (int i = 0; i < l->sides[s].count; i++)
            if (clip_operand_refresh(&l->sides[s].layers[i].layer.weight, error) != 0)
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

/* The gradients of a side's biases, and of its features into its part of input_gradients. */
static void finish_side(const struct pair *l, const struct side *side, float *input_gradients)
{
    for (size_t r = 0; r < l->n; r++)
        memcpy(input_gradients + r * l->inputs + side->at, side->dx + r * side->inputs,
               side->inputs * sizeof *input_gradients);
    for (int i = 0; i < side->count; i++) {
        const struct learning *learning = &side->layers[i];
        if (learning->layer.bias.gradient)
            l->kernels->column_sums(l->n, learning->layer.outputs, learning->dy, learning->layer.outputs,
                                    CLIP_PRECISION_F32, learning->layer.bias.gradient);
    }
}

static int backward(struct clip_tower *base, struct clip_tape *from, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    struct pair *l = (struct pair *)base;
    const struct pair_tape *tape = (const struct pair_tape *)from;
    size_t n = tape->count, panels = 0, tasks = CLIP_SIDES * ((n + l->piece - 1) / l->piece);
    for (int s = 0; s < CLIP_SIDES; s++)
        for (int i = 0; i < l->sides[s].count; i++)
            panels += clip_outer_panels(l->sides[s].layers[i].outer);
    if (project(l, tape->items, n, error) != 0)
        return -1;
    l->gradients = gradients;
    if (clip_crew_run(&l->crew, l->pool, tasks, return_piece, l, error) != 0 ||
        clip_crew_run(&l->crew, l->pool, panels, add_panel, l, error) != 0)
        return -1;
    for (int s = 0; s < CLIP_SIDES; s++)
        finish_side(l, &l->sides[s], input_gradients);
    return 0;
}

static const struct clip_tower_type type = {free_pair,    forward,  backward,  refresh,
                                            memory_bytes, tape_new, tape_free, tape_bytes};

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
