/* The vision transformer in training. */
#include "base/arena.h"
#include "tower/learner.h"
#include "tower/patches.h"
#include "tower/transformer-learner.h"

#include <stdlib.h>
#include <string.h>

struct vit_learner {
    struct clip_learner base;
    const struct clip_kernels *kernels;
    struct clip_engine *engine;
    struct clip_pool *pool;
    struct clip_transformer_learner *transformer;
    struct clip_patches patches;
    struct clip_parameter *conv1, *class, *positions, *norm[2]; /* norm: ln_pre's weight and bias */
    struct clip_matrix *products;                               /* conv1: [width] of [3, patch, patch] */
    struct clip_outer *outer;                                   /* of conv1's gradient */
    size_t piece, element;
    struct clip_arena arena;
    struct desk {
        void *in;   /* [piece][3 patch²] elements */
        float *out; /* [piece][width] */
        float *row; /* [3 patch²] */
        void *scratch;
    } * desks;
    /* of the backward */
    void *cut;        /* [chunk grid²][3 patch²] elements: all patches */
    void *dpatches;   /* [chunk grid²][width] elements */
    float *dembedded; /* [chunk][tokens][width] */
    float *partial;   /* [chunk][2][width]: dweight and dbias of ln_pre */
    struct clip_crew crew;
    /* the run that is under way */
    struct vit_tape *tape;
    const float *dx; /* [count][tokens][width]: of the transformer's rows */
};

struct vit_tape {
    struct clip_tape base;
    struct clip_transformer_tape transformer;
    struct clip_arena memory;
    struct clip_image *pictures; /* [chunk] */
    float *embedded;             /* [chunk][tokens][width]: before ln_pre */
};

static size_t tokens(const struct vit_learner *vit)
{
    return 1 + clip_patch_count(&vit->patches);
}

static void free_learner(struct clip_learner *base)
{
    struct vit_learner *vit = (struct vit_learner *)base;
    clip_transformer_learner_free(vit->transformer);
    clip_matrix_free(vit->products);
    clip_outer_free(vit->outer);
    clip_arena_free(&vit->arena);
    clip_crew_destroy(&vit->crew);
    free(vit);
}

static size_t bytes(const struct clip_learner *base)
{
    const struct vit_learner *vit = (const struct vit_learner *)base;
    return vit->arena.size + clip_transformer_learner_bytes(vit->transformer);
}

static int refresh(struct clip_learner *base, struct clip_error *error)
{
    struct vit_learner *vit = (struct vit_learner *)base;
    return clip_matrix_set(vit->products, vit->conv1->value, 0, error) == 0
               ? clip_transformer_learner_refresh(vit->transformer, error)
               : -1;
}

/* --- tapes --- */

/* A tape of n pictures. */
struct tape_plan {
    struct vit_tape *tape;
    const struct vit_learner *vit;
    size_t n;
};

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    struct vit_tape *tape = plan->tape;
    const struct vit_learner *vit = plan->vit;
    tape->pictures = clip_arena_take(&tape->memory, plan->n, sizeof *tape->pictures);
    tape->embedded = clip_arena_take(&tape->memory, plan->n * tokens(vit), vit->base.width * sizeof(float));
}

static void tape_free(struct clip_tape *base)
{
    struct vit_tape *tape = (struct vit_tape *)base;
    clip_transformer_tape_free(&tape->transformer);
    clip_arena_free(&tape->memory);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_learner *base, struct clip_error *error)
{
    const struct vit_learner *vit = (const struct vit_learner *)base;
    struct vit_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    struct tape_plan plan = {tape, vit, base->chunk};
    if (clip_arena_build(&tape->memory, "a tape", place_tape, &plan, error) == 0 &&
        clip_transformer_tape_allocate(&tape->transformer, vit->transformer, error) == 0)
        return &tape->base;
    tape_free(&tape->base);
    return NULL;
}

static size_t tape_bytes(const struct clip_learner *base, size_t n)
{
    const struct vit_learner *vit = (const struct vit_learner *)base;
    struct vit_tape counted = {0};
    place_tape(&(struct tape_plan){&counted, vit, n});
    return counted.memory.used + clip_transformer_tape_bytes(vit->transformer, n);
}

/* --- forward --- */

/* The patch `i` of all pictures, as elements. */
static void cut(const struct vit_learner *vit, size_t i, struct desk *desk, void *out)
{
    size_t patches = clip_patch_count(&vit->patches), floats = clip_patch_floats(&vit->patches);
    clip_patch_cut(&vit->patches, &vit->tape->pictures[i / patches], i % patches, desk->row);
    vit->kernels->convert(floats, desk->row, clip_engine_precision(vit->engine), out);
}

/* The token of a picture before ln_pre, of which `row` is all but the position; and its row of the blocks. */
static void embed(struct vit_learner *vit, size_t picture, size_t token, const float *row)
{
    size_t width = vit->base.width, at = (picture * tokens(vit) + token) * width;
    vit->kernels->sum(width, row, vit->positions->value + token * width, vit->tape->embedded + at);
    vit->kernels->layer_norm(width, vit->tape->embedded + at, vit->norm[0]->value, vit->norm[1]->value,
                             CLIP_PRECISION_F32, vit->tape->transformer.layers[0].x + at);
}

/* A task: a piece of the patches of all pictures. */
static int patch_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    struct vit_learner *vit = context;
    struct desk *desk = &vit->desks[thread];
    size_t patches = clip_patch_count(&vit->patches), first = piece * vit->piece;
    size_t rest = vit->tape->transformer.count * patches - first, n = rest < vit->piece ? rest : vit->piece;
    size_t bytes = clip_patch_floats(&vit->patches) * vit->element;
    for (size_t r = 0; r < n; r++)
        cut(vit, first + r, desk, (char *)desk->in + r * bytes);
    if (clip_product_rows(vit->products, n, desk->in, desk->out, desk->scratch, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++)
        embed(vit, (first + r) / patches, 1 + (first + r) % patches, desk->out + r * vit->base.width);
    return 0;
}

static int forward(struct clip_learner *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *features, struct clip_error *error)
{
    (void)again;
    struct vit_learner *vit = (struct vit_learner *)base;
    struct vit_tape *tape = vit->tape = (struct vit_tape *)to;
    tape->transformer.count = n;
    for (size_t i = 0; i < n; i++) {
        tape->pictures[i] = items[i].image;
        tape->transformer.sequences[i] = (struct clip_sequence){i * tokens(vit), tokens(vit), 0};
        embed(vit, i, 0, vit->class->value);
    }
    size_t pieces = (n * clip_patch_count(&vit->patches) + vit->piece - 1) / vit->piece;
    if (clip_crew_run(&vit->crew, vit->pool, pieces, patch_task, vit, error) != 0)
        return -1;
    return clip_transformer_learner_forward(vit->transformer, &tape->transformer, features, error);
}

/* --- backward --- */

/* A task: a picture's tokens through ln_pre, and its patches cut anew. */
static int picture_task(void *context, size_t picture, int thread, struct clip_error *error)
{
    (void)error;
    struct vit_learner *vit = context;
    struct desk *desk = &vit->desks[thread];
    size_t width = vit->base.width, count = clip_patch_count(&vit->patches), first = picture * tokens(vit);
    size_t bytes = clip_patch_floats(&vit->patches) * vit->element;
    float *sums = vit->partial + picture * 2 * width, *rows = vit->dembedded + first * width;
    memset(sums, 0, 2 * width * sizeof *sums);
    memset(rows, 0, tokens(vit) * width * sizeof *rows);
    for (size_t i = 0; i < tokens(vit); i++)
        vit->kernels->layer_norm_backward(width, vit->tape->embedded + (first + i) * width,
                                          vit->norm[0]->value, vit->dx + (first + i) * width,
                                          rows + i * width, sums, sums + width);
    vit->kernels->convert(count * width, rows + width, clip_engine_precision(vit->engine),
                          (char *)vit->dpatches + picture * count * width * vit->element);
    for (size_t i = picture * count; i < (picture + 1) * count; i++)
        cut(vit, i, desk, (char *)vit->cut + i * bytes);
    return 0;
}

/* sum[n] += each of the `count` rows at x, `stride` floats from one to the next, in their order. */
static void add_rows(const struct vit_learner *vit, const float *x, size_t count, size_t stride, float *sum)
{
    vit->kernels->column_sums(count, vit->base.width, x, stride, CLIP_PRECISION_F32, sum);
}

/* A task: a panel of conv1's gradient; then a token's position; then the class token and ln_pre. */
static int gradient_task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct vit_learner *vit = context;
    size_t width = vit->base.width, n = vit->tape->transformer.count, panels = clip_outer_panels(vit->outer);
    if (i < panels)
        return clip_outer_add(vit->outer, i, n * clip_patch_count(&vit->patches), vit->dpatches, vit->cut,
                              vit->conv1->gradient, vit->desks[thread].scratch, error);
    size_t token = i - panels, stride = tokens(vit) * width;
    if (token < tokens(vit)) {
        add_rows(vit, vit->dembedded + token * width, n, stride, vit->positions->gradient + token * width);
        return 0;
    }
    add_rows(vit, vit->dembedded, n, stride, vit->class->gradient);
    add_rows(vit, vit->partial, n, 2 * width, vit->norm[0]->gradient);
    add_rows(vit, vit->partial + width, n, 2 * width, vit->norm[1]->gradient);
    return 0;
}

static int backward(struct clip_learner *base, struct clip_tape *from, const float *gradients,
                    struct clip_error *error)
{
    struct vit_learner *vit = (struct vit_learner *)base;
    vit->tape = (struct vit_tape *)from;
    size_t n = vit->tape->transformer.count;
    if (clip_transformer_learner_backward(vit->transformer, &vit->tape->transformer, gradients, &vit->dx,
                                          error) != 0 ||
        clip_crew_run(&vit->crew, vit->pool, n, picture_task, vit, error) != 0)
        return -1;
    return clip_crew_run(&vit->crew, vit->pool, clip_outer_panels(vit->outer) + tokens(vit) + 1,
                         gradient_task, vit, error);
}

static const struct clip_learner_type type = {
    free_learner, bytes, refresh, tape_new, tape_free, tape_bytes, forward, backward,
};

/* --- opening --- */

static void place(void *context)
{
    struct vit_learner *vit = context;
    struct clip_arena *arena = &vit->arena;
    size_t threads = (size_t)clip_pool_threads(vit->pool), width = vit->base.width, chunk = vit->base.chunk;
    size_t floats = clip_patch_floats(&vit->patches), patches = chunk * clip_patch_count(&vit->patches);
    size_t forward = clip_product_scratch(vit->products), backward = clip_outer_scratch(vit->outer);
    vit->cut = clip_arena_take(arena, patches, floats * vit->element);
    vit->dpatches = clip_arena_take(arena, patches, width * vit->element);
    vit->dembedded = clip_arena_take(arena, chunk * tokens(vit), width * sizeof(float));
    vit->partial = clip_arena_take(arena, chunk, 2 * width * sizeof(float));
    vit->desks = clip_arena_take(arena, threads, sizeof *vit->desks);
    for (size_t i = 0; i < threads; i++) {
        struct desk desk = {
            clip_arena_take(arena, vit->piece * floats, vit->element),
            clip_arena_take(arena, vit->piece * width, sizeof(float)),
            clip_arena_take(arena, floats, sizeof(float)),
            clip_arena_take(arena, forward > backward ? forward : backward, 1),
        };
        if (vit->desks)
            vit->desks[i] = desk;
    }
}

static int open_learner(struct vit_learner *vit, const struct clip_arch *arch,
                        struct clip_parameters *parameters, struct clip_error *error)
{
    enum clip_level level;
    struct clip_transformer_shape shape = clip_image_transformer_shape(arch, vit->base.chunk);
    size_t width = vit->base.width, floats;
    clip_patches_init(&vit->patches, arch);
    floats = clip_patch_floats(&vit->patches);
    vit->conv1 = clip_parameters_get(parameters, "visual.conv1.weight");
    vit->class = clip_parameters_get(parameters, "visual.class_embedding");
    vit->positions = clip_parameters_get(parameters, "visual.positional_embedding");
    vit->norm[0] = clip_parameters_get(parameters, "visual.ln_pre.weight");
    vit->norm[1] = clip_parameters_get(parameters, "visual.ln_pre.bias");
    vit->piece = clip_engine_rows(vit->engine);
    vit->element = clip_engine_element(vit->engine);
    if (clip_level_choose(&level, error) != 0)
        return -1;
    vit->kernels = clip_kernels(level);
    if (!(vit->products = clip_matrix_new(vit->engine, width, floats, error)) ||
        !(vit->outer = clip_outer_new(vit->engine, width, floats, error)))
        return -1;
    /* The transformer first: it checks the sizes. */
    vit->transformer =
        clip_transformer_learner_open(parameters, vit->engine, vit->kernels, vit->pool, &shape, error);
    if (!vit->transformer)
        return -1;
    return clip_arena_build(&vit->arena, "the image tower", place, vit, error);
}

struct clip_learner *clip_vit_learner_open(const struct clip_arch *arch, struct clip_parameters *parameters,
                                           struct clip_engine *engine, struct clip_pool *pool, size_t chunk,
                                           struct clip_error *error)
{
    struct vit_learner *vit = calloc(1, sizeof *vit);
    if (!vit) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    vit->base = (struct clip_learner){&type, (size_t)arch->vision.width, chunk, 0};
    vit->engine = engine;
    vit->pool = pool;
    clip_crew_init(&vit->crew);
    if (open_learner(vit, arch, parameters, error) == 0)
        return &vit->base;
    free_learner(&vit->base);
    return NULL;
}
