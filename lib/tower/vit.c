/* The vision transformer: patches, class embedding, registers, positions, ln_pre, the blocks, a norm, a pool
 * (model/vit.h). */
#include "base/array.h"
#include "base/arena.h"
#include "base/crew.h"
#include "math/kernels.h"
#include "math/resample.h"
#include "model/kind.h"
#include "tower/patches.h"
#include "tower/pooler.h"
#include "tower/relative.h"
#include "tower/stem-conv.h"
#include "tower/stem.h"
#include "tower/tower.h"
#include "tower/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct vit {
    struct clip_tower base;
    size_t width; /* of a token */
    int learns;
    const struct clip_kernels *kernels;
    struct clip_engine *engine;
    struct clip_pool *pool;
    struct clip_transformer *transformer;
    struct clip_transformer_tape buffers; /* of a tower that does not learn */
    struct clip_relative *relative;       /* NULL: no relative positions */
    struct clip_pooler *pooler;           /* NULL where one token is the features */
    struct clip_patches patches;
    size_t count;            /* of a picture's patches */
    size_t prefix, unplaced; /* tokens before those of patches; of these the ones without a position */
    struct clip_stem *stem;  /* NULL: a token is a product of its patch, by conv1 */
    struct clip_stem_learner *learner; /* in its place where it learns */
    struct clip_operand conv1;         /* [width] of [3, patch, patch] */
    struct clip_values class, registers, positions, bias;
    struct clip_grid grid;   /* from that of the positions to that of patches, where they are resampled */
    float *placed, *dplaced; /* [count][width]: the resampled positions, and the gradient; else NULL */
    struct clip_norm norm;   /* ln_pre; NULL: none */
    float *cosines, *sines;  /* rotary positions [tokens][head], or NULL */
    size_t piece, element;
    float epsilon; /* of layer norms */
    struct clip_arena arena;
    struct workspace {
        void *in;   /* [piece][3 patch²] elements */
        float *out; /* [piece][width] */
        float *row; /* [3 patch²] */
        void *scratch;
    } * workspaces;
    /* of the backward */
    struct clip_outer *outer; /* of conv1's gradient */
    void *cut;                /* [batch patches][3 patch²] elements: all patches */
    void *dpatches;           /* [batch patches][width] elements */
    float *dembedded;         /* [batch][tokens][width] */
    float *partial;           /* [batch][2][width]: dweight and dbias of ln_pre */
    float *drows;             /* [batch][tokens][width]: of what the pool read */
    struct clip_crew crew;
    /* the run that is under way */
    const union clip_item *items;
    struct clip_transformer_tape *run;
    float *rows;     /* [batch][tokens][width]: what the pool reads; of a tower that does not learn */
    float *embedded; /* [count][tokens][width]: before ln_pre; NULL: not kept */
    const float *dx; /* [count][tokens][width]: of the transformer's rows */
};

struct vit_tape {
    struct clip_tape base;
    struct clip_transformer_tape transformer;
    struct clip_stem_tape stem;
    struct clip_arena memory;
    union clip_item *items; /* [batch] */
    float *embedded;        /* [batch][tokens][width]; NULL where there is no ln_pre */
    float *rows;            /* [batch][tokens][width]: what the pool reads */
    struct clip_pooler_tape pooler;
};

static size_t token_count(const struct vit *vit)
{
    return vit->prefix + vit->count;
}

/* --- tapes --- */

/* A tape of n pictures. */
struct tape_plan {
    struct vit_tape *tape;
    const struct vit *vit;
    size_t n;
};

static void place_tape(void *context)
{
    const struct tape_plan *plan = context;
    struct vit_tape *tape = plan->tape;
    const struct vit *vit = plan->vit;
    tape->items = clip_arena_take(&tape->memory, plan->n, sizeof *tape->items);
    size_t rows = plan->n * token_count(vit), row = vit->width * sizeof(float);
    tape->embedded = vit->norm.weight.value ? clip_arena_take(&tape->memory, rows, row) : NULL;
    if (vit->learner)
        clip_stem_tape_place(vit->learner, plan->n, &tape->memory, &tape->stem);
    if (!vit->pooler)
        return;
    tape->rows = clip_arena_take(&tape->memory, rows, row);
    clip_pooler_tape_place(vit->pooler, plan->n, &tape->memory, &tape->pooler);
}

static void tape_free(struct clip_tape *base)
{
    struct vit_tape *tape = (struct vit_tape *)base;
    clip_transformer_tape_free(&tape->transformer);
    clip_arena_free(&tape->memory);
    free(tape);
}

static struct clip_tape *tape_new(const struct clip_tower *base, struct clip_error *error)
{
    const struct vit *vit = (const struct vit *)base;
    struct vit_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->base.type = base->type;
    struct tape_plan plan = {tape, vit, base->batch};
    if (clip_arena_build(&tape->memory, "a tape", place_tape, &plan, error) == 0 &&
        clip_transformer_tape_allocate(&tape->transformer, vit->transformer, error) == 0)
        return &tape->base;
    tape_free(&tape->base);
    return NULL;
}

static size_t tape_bytes(const struct clip_tower *base, size_t n)
{
    const struct vit *vit = (const struct vit *)base;
    struct vit_tape counted = {0};
    place_tape(&(struct tape_plan){&counted, vit, n});
    return counted.memory.used + clip_transformer_tape_bytes(vit->transformer, n);
}

/* --- forward --- */

/* The patch `i` of all pictures, as elements. */
static void copy_patch(const struct vit *vit, size_t i, struct workspace *workspace, void *out)
{
    size_t floats = clip_patch_floats(&vit->patches);
    clip_patch_cut(&vit->patches, &vit->items[i / vit->count].image, i % vit->count, workspace->row);
    vit->kernels->convert(floats, workspace->row, clip_engine_precision(vit->engine), out);
}

/* The token of a picture before ln_pre, of which `row` is all but the position; and its row of the blocks.
 * `room` is for the former where it is not kept; it may be `row`. */
static void embed(const struct vit *vit, size_t picture, size_t token, const float *row, float *room)
{
    size_t width = vit->width, at = (picture * token_count(vit) + token) * width;
    float *embedded = vit->embedded ? vit->embedded + at : room, *x = vit->run->layers[0].x + at;
    if (!vit->norm.weight.value)
        embedded = x;
    const float *positions = vit->placed ? vit->placed : vit->positions.value;
    if (positions && token >= vit->unplaced)
        vit->kernels->sum(width, row, positions + (token - vit->unplaced) * width, embedded);
    else
        memmove(embedded, row, width * sizeof *row);
    if (vit->norm.weight.value)
        vit->kernels->layer_norm(width, vit->epsilon, embedded, vit->norm.weight.value, vit->norm.bias.value,
                                 CLIP_PRECISION_F32, x);
}

/* The tokens of patches [first, first + n) of all pictures, without positions, into workspace->out. */
static int make_tokens(const struct vit *vit, size_t first, size_t n, int thread, struct clip_error *error)
{
    struct workspace *workspace = &vit->workspaces[thread];
    size_t bytes = clip_patch_floats(&vit->patches) * vit->element;
    if (vit->learner) { /* it has run */
        memcpy(workspace->out, vit->dembedded + first * vit->width, n * vit->width * sizeof *workspace->out);
        return 0;
    }
    if (vit->stem)
        return vit->stem->type->run(vit->stem, vit->items, first, n, thread, workspace->out, error);
    for (size_t r = 0; r < n; r++)
        copy_patch(vit, first + r, workspace, (char *)workspace->in + r * bytes);
    if (clip_product_rows(vit->conv1.forward, n, workspace->in, workspace->out, workspace->scratch, error) !=
        0)
        return -1;
    for (size_t r = 0; vit->bias.value && r < n; r++)
        vit->kernels->sum(vit->width, workspace->out + r * vit->width, vit->bias.value,
                          workspace->out + r * vit->width);
    return 0;
}

/* A task: a piece of the patches of all pictures. */
static int patch_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    const struct vit *vit = context;
    size_t first = piece * vit->piece, rest = vit->run->count * vit->count - first;
    size_t n = rest < vit->piece ? rest : vit->piece;
    if (make_tokens(vit, first, n, thread, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++) {
        float *out = vit->workspaces[thread].out + r * vit->width;
        embed(vit, (first + r) / vit->count, vit->prefix + (first + r) % vit->count, out, out);
    }
    return 0;
}

/* A token before those of patches, but for its position. */
static const float *prefix_token(const struct vit *vit, size_t token)
{
    if (!vit->class.value)
        return vit->registers.value + token * vit->width;
    return token ? vit->registers.value + (token - 1) * vit->width : vit->class.value;
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *to, float *features, struct clip_error *error)
{
    struct vit *vit = (struct vit *)base;
    struct vit_tape *tape = (struct vit_tape *)to;
    if (n == 0)
        return 0;
    vit->items = items;
    vit->run = tape ? &tape->transformer : &vit->buffers;
    vit->embedded = tape ? tape->embedded : NULL;
    vit->run->count = n;
    if (tape)
        memcpy(tape->items, items, n * sizeof *items);
    for (size_t i = 0; i < n; i++) {
        vit->run->sequences[i] =
            (struct clip_sequence){i * token_count(vit), token_count(vit), token_count(vit), 0};
        for (size_t token = 0; token < vit->prefix; token++)
            embed(vit, i, token, prefix_token(vit, token), vit->workspaces[0].out);
    }
    if (vit->learner &&
        clip_stem_learner_forward(vit->learner, items, n, again, &tape->stem, vit->dembedded, error) != 0)
        return -1;
    size_t pieces = (n * vit->count + vit->piece - 1) / vit->piece;
    if (clip_crew_run(&vit->crew, vit->pool, pieces, patch_task, vit, error) != 0)
        return -1;
    float *rows = tape ? tape->rows : vit->rows;
    if (clip_transformer_forward(vit->transformer, vit->run, vit->pooler ? rows : features, error) != 0)
        return -1;
    return vit->pooler
               ? clip_pooler_forward(vit->pooler, n, rows, tape ? &tape->pooler : NULL, features, error)
               : 0;
}

/* --- backward --- */

/* A task: a picture's tokens through ln_pre, and its patches cut anew. */
static int picture_task(void *context, size_t picture, int thread, struct clip_error *error)
{
    (void)error;
    const struct vit *vit = context;
    struct workspace *workspace = &vit->workspaces[thread];
    size_t width = vit->width, count = vit->count, first = picture * token_count(vit);
    size_t bytes = clip_patch_floats(&vit->patches) * vit->element;
    float *sums = vit->partial + picture * 2 * width, *rows = vit->dembedded + first * width;
    memset(sums, 0, 2 * width * sizeof *sums);
    memset(rows, 0, token_count(vit) * width * sizeof *rows);
    if (!vit->norm.weight.value)
        memcpy(rows, vit->dx + first * width, token_count(vit) * width * sizeof *rows);
    for (size_t i = 0; vit->norm.weight.value && i < token_count(vit); i++)
        vit->kernels->layer_norm_backward(width, vit->epsilon, vit->embedded + (first + i) * width,
                                          vit->norm.weight.value, vit->dx + (first + i) * width,
                                          rows + i * width, sums, sums + width);
    if (vit->learner)
        return 0;
    vit->kernels->convert(count * width, rows + vit->prefix * width, clip_engine_precision(vit->engine),
                          (char *)vit->dpatches + picture * count * width * vit->element);
    for (size_t i = picture * count; i < (picture + 1) * count; i++)
        copy_patch(vit, i, workspace, (char *)vit->cut + i * bytes);
    return 0;
}

/* sum[n] += each of the `count` rows at x, `stride` floats from one to the next, in their order. */
static void add_rows(const struct vit *vit, const float *x, size_t count, size_t stride, float *sum)
{
    vit->kernels->column_sums(count, vit->width, x, stride, CLIP_PRECISION_F32, sum);
}

/* The gradients of what one token of each picture was made of: its position, and itself where it is learned.
 */
static void add_token(const struct vit *vit, size_t token)
{
    size_t width = vit->width, n = vit->run->count, stride = token_count(vit) * width,
           registers = vit->class.value != NULL;
    const float *rows = vit->dembedded + token * width;
    float *positions = vit->dplaced ? vit->dplaced : vit->positions.gradient;
    if (positions && token >= vit->unplaced)
        add_rows(vit, rows, n, stride, positions + (token - vit->unplaced) * width);
    if (token >= vit->prefix)
        return;
    if (token < registers)
        add_rows(vit, rows, n, stride, vit->class.gradient);
    else
        add_rows(vit, rows, n, stride, vit->registers.gradient + (token - registers) * width);
}

/* Panels of conv1's gradient. */
static size_t outer_panels(const struct vit *vit)
{
    return vit->outer ? clip_outer_panels(vit->outer) : 0;
}

/* A task: a panel of conv1's gradient; then a token; then ln_pre and conv1's bias. */
static int gradient_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct vit *vit = context;
    size_t width = vit->width, n = vit->run->count, panels = outer_panels(vit);
    if (i < panels)
        return clip_outer_add(vit->outer, i, n * vit->count, vit->dpatches, vit->cut, vit->conv1.gradient,
                              vit->workspaces[thread].scratch, error);
    if (i - panels < token_count(vit)) {
        add_token(vit, i - panels);
        return 0;
    }
    if (vit->norm.weight.value) {
        add_rows(vit, vit->partial, n, 2 * width, vit->norm.weight.gradient);
        add_rows(vit, vit->partial + width, n, 2 * width, vit->norm.bias.gradient);
    }
    for (size_t picture = 0; vit->bias.value && picture < n; picture++)
        add_rows(vit, vit->dembedded + (picture * token_count(vit) + vit->prefix) * width, vit->count, width,
                 vit->bias.gradient);
    return 0;
}

static int backward(struct clip_tower *base, struct clip_tape *from, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)input_gradients;
    struct vit *vit = (struct vit *)base;
    struct vit_tape *tape = (struct vit_tape *)from;
    vit->items = tape->items;
    vit->run = &tape->transformer;
    vit->embedded = tape->embedded;
    if (vit->pooler && clip_pooler_backward(vit->pooler, vit->run->count, tape->rows, &tape->pooler,
                                            gradients, vit->drows, error) != 0)
        return -1;
    if (vit->relative)
        clip_relative_begin(vit->relative);
    if (clip_transformer_backward(vit->transformer, vit->run, vit->pooler ? vit->drows : gradients, &vit->dx,
                                  error) != 0 ||
        clip_crew_run(&vit->crew, vit->pool, vit->run->count, picture_task, vit, error) != 0)
        return -1;
    if (vit->relative)
        clip_relative_backward(vit->relative);
    if (vit->dplaced)
        memset(vit->dplaced, 0, vit->count * vit->width * sizeof *vit->dplaced);
    if (clip_crew_run(&vit->crew, vit->pool, outer_panels(vit) + token_count(vit) + 1, gradient_task, vit,
                      error) != 0 ||
        (vit->learner && clip_stem_learner_backward(vit->learner, vit->items, vit->run->count, &tape->stem,
                                                    vit->dembedded + vit->prefix * vit->width,
                                                    token_count(vit) * vit->width, error) != 0))
        return -1;
    if (vit->dplaced)
        clip_grid_resample_backward(&vit->grid, vit->width, vit->dplaced, vit->positions.gradient);
    return 0;
}

/* Takes up the values of positions. */
static void place_positions(struct vit *vit)
{
    if (vit->placed)
        clip_grid_resample(&vit->grid, vit->width, vit->positions.value, vit->placed);
}

static int refresh(struct clip_tower *base, struct clip_error *error)
{
    struct vit *vit = (struct vit *)base;
    place_positions(vit);
    if (vit->relative)
        clip_relative_refresh(vit->relative);
    if (vit->pooler)
        clip_pooler_refresh(vit->pooler);
    if (vit->learner)
        return clip_stem_learner_refresh(vit->learner, error) == 0
                   ? clip_transformer_refresh(vit->transformer, error)
                   : -1;
    return clip_operand_refresh(&vit->conv1, error) == 0 ? clip_transformer_refresh(vit->transformer, error)
                                                         : -1;
}

static size_t memory_bytes(const struct clip_tower *base)
{
    const struct vit *vit = (const struct vit *)base;
    return vit->arena.size + clip_transformer_bytes(vit->transformer) +
           (vit->relative ? clip_relative_bytes(vit->relative) : 0) +
           (vit->learner ? clip_stem_learner_bytes(vit->learner) : 0) +
           (vit->pooler ? clip_pooler_bytes(vit->pooler) : 0);
}

/* --- opening --- */

static void free_vit(struct clip_tower *base)
{
    struct vit *vit = (struct vit *)base;
    clip_transformer_tape_free(&vit->buffers);
    clip_transformer_free(vit->transformer);
    clip_relative_free(vit->relative);
    clip_stem_learner_free(vit->learner);
    clip_pooler_free(vit->pooler);
    clip_operand_free(&vit->conv1);
    clip_outer_free(vit->outer);
    if (vit->stem)
        vit->stem->type->free(vit->stem);
    clip_values_free(&vit->class);
    clip_values_free(&vit->registers);
    clip_values_free(&vit->positions);
    clip_values_free(&vit->bias);
    clip_grid_free(&vit->grid);
    free(vit->cosines);
    free(vit->sines);
    clip_norm_free(&vit->norm);
    clip_arena_free(&vit->arena);
    clip_crew_destroy(&vit->crew);
    free(vit);
}

static void place_buffers(void *context)
{
    struct vit *vit = context;
    struct clip_arena *arena = &vit->arena;
    size_t threads = (size_t)clip_pool_threads(vit->pool), width = vit->width, batch = vit->base.batch;
    size_t floats = clip_patch_floats(&vit->patches), patches = batch * vit->count;
    size_t scratch = clip_operand_scratch(&vit->conv1);
    if (vit->outer) {
        vit->cut = clip_arena_take(arena, patches, floats * vit->element);
        vit->dpatches = clip_arena_take(arena, patches, width * vit->element);
        scratch = scratch > clip_outer_scratch(vit->outer) ? scratch : clip_outer_scratch(vit->outer);
    }
    if (vit->learns) {
        vit->dembedded = clip_arena_take(arena, batch * token_count(vit), width * sizeof(float));
        vit->partial = clip_arena_take(arena, batch, 2 * width * sizeof(float));
        if (vit->grid.rows)
            vit->dplaced = clip_arena_take(arena, vit->count, width * sizeof(float));
        if (vit->pooler)
            vit->drows = clip_arena_take(arena, batch * token_count(vit), width * sizeof(float));
    }
    if (vit->pooler && !vit->learns)
        vit->rows = clip_arena_take(arena, batch * token_count(vit), width * sizeof(float));
    if (vit->grid.rows)
        vit->placed = clip_arena_take(arena, vit->count, width * sizeof(float));
    vit->workspaces = clip_arena_take(arena, threads, sizeof *vit->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = {
            clip_arena_take(arena, vit->piece * floats, vit->element),
            clip_arena_take(arena, vit->piece * width, sizeof(float)),
            clip_arena_take(arena, floats, sizeof(float)),
            clip_arena_take(arena, scratch, 1),
        };
        if (vit->workspaces)
            vit->workspaces[i] = workspace;
    }
}

static int load_weights(struct vit *vit, const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    struct clip_operand_part conv1 = {.name = clip_vit_name(arch, CLIP_VIT_CONV), .first_layer = 1};
    int cuts = clip_vit_shape(arch, CLIP_VIT_CONV, (size_t[4]){0});
    const struct {
        enum clip_vit_tensor tensor;
        struct clip_values *to;
    } all[] = {{CLIP_VIT_CLASS, &vit->class},
               {CLIP_VIT_REGISTERS, &vit->registers},
               {CLIP_VIT_POSITIONS, &vit->positions},
               {CLIP_VIT_CONV_BIAS, &vit->bias},
               {CLIP_VIT_PRE_WEIGHT, &vit->norm.weight},
               {CLIP_VIT_PRE_BIAS, &vit->norm.bias}};
    size_t shape[4];
    if (cuts && clip_operand_load(&vit->conv1, setup, 0, &conv1, error) != 0)
        return -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(all); i++)
        if (clip_vit_shape(arch, all[i].tensor, shape) &&
            clip_values_load(all[i].to, setup, error, "%s", clip_vit_name(arch, all[i].tensor)) != 0)
            return -1;
    return 0;
}

/* Rotary positions, computed in f32 as timm does (model/block.h). */
static int make_rotary(struct vit *vit, const struct clip_tower_arch *arch, struct clip_error *error)
{
    const struct clip_rotary *rotary = &arch->block.rotary;
    size_t head = (size_t)arch->width / (size_t)arch->heads, grid = vit->patches.grid,
           n = token_count(vit) * head;
    if (!rotary->reference)
        return 0;
    vit->cosines = malloc(n * sizeof *vit->cosines);
    vit->sines = malloc(n * sizeof *vit->sines);
    if (!vit->cosines || !vit->sines)
        return clip_fail_memory(error, "the image tower");
    for (size_t i = 0; i < n; i++) {
        size_t token = i / head, c = i % head, band = c % (head / 2) / 2, patch = token - vit->prefix;
        size_t place = (c < head / 2) == rotary->columns_first ? patch % grid : patch / grid;
        float t = (float)(place + (size_t)rotary->offset) / (float)grid * (float)rotary->reference;
        float base = (float)(1 / pow(10000, (double)((float)band / (float)(head / 4))));
        float angle = token < vit->prefix ? 0 : t * base;
        vit->cosines[i] = cosf(angle);
        vit->sines[i] = c % 2 ? sinf(angle) : -sinf(angle);
    }
    return 0;
}

/* The norm of what the blocks give, and its epsilon. */
static void choose_norm(const struct vit *vit, const struct clip_tower_arch *arch,
                        struct clip_transformer_shape *shape)
{
    enum clip_vit_tensor weight = CLIP_VIT_POST_WEIGHT;
    size_t size[4];
    shape->epsilon = vit->epsilon;
    if (clip_pooling_of(arch)->coca) {
        weight = CLIP_POOL_LN_K_WEIGHT;
        shape->epsilon = CLIP_POOL_EPSILON;
    }
    if (arch->vit.flags & CLIP_VIT_NORM_AFTER_POOL || !clip_vit_shape(arch, weight, size))
        return;
    shape->norm[0] = clip_vit_name(arch, weight);
    shape->norm[1] = clip_vit_name(arch, weight + 1);
}

/* Positions that were learned for another grid than the picture's are resampled. */
static int open_grid(struct vit *vit, const struct clip_tower_arch *arch, struct clip_error *error)
{
    size_t rows = clip_vit_rows(arch), columns = clip_vit_columns(arch);
    size_t from_rows = (size_t)arch->vit.grid_height, from_columns = (size_t)arch->vit.grid_width;
    if (!vit->positions.value || !from_rows || (from_rows == rows && from_columns == columns))
        return 0;
    return clip_grid_init(&vit->grid, from_rows, from_columns, rows, columns, error);
}

/* The stem, where a token is more than a product of its patch. */
static int open_stem(struct vit *vit, const struct clip_tower_setup *setup, struct clip_error *error)
{
    static const struct clip_stem_type *const types[] = {
        [CLIP_STEM_CONV] = &clip_stem_conv, [CLIP_STEM_MBCONV] = &clip_stem_mbconv};
    enum clip_vit_stem stem = setup->arch->vision.vit.stem;
    if (stem == CLIP_STEM_PATCHES || stem == CLIP_STEM_LINEAR)
        return 0;
    if (vit->learns)
        return (vit->learner = clip_stem_learner_open(setup, vit->kernels, error)) ? 0 : -1;
    vit->stem = types[stem]->open(setup, vit->kernels, error);
    if (!vit->stem)
        return -1;
    vit->piece = vit->stem->rows;
    return 0;
}

static int open_parts(struct vit *vit, const struct clip_tower_setup *setup, struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    enum clip_level level;
    struct clip_transformer_shape shape = {
        .arch = arch,
        .layers = (size_t)arch->layers,
        .all = clip_pooling_of(arch)->all,
        .longest = token_count(vit),
    };
    choose_norm(vit, arch, &shape);
    if ((setup->parameters && clip_tower_need_training(setup->arch, CLIP_SIDE_IMAGE, error) != 0) ||
        clip_level_choose(&level, error) != 0)
        return -1;
    vit->kernels = clip_kernels(level);
    if (load_weights(vit, setup, error) != 0 || open_stem(vit, setup, error) != 0 ||
        open_grid(vit, arch, error) != 0 || make_rotary(vit, arch, error) != 0)
        return -1;
    shape.cosines = vit->cosines;
    shape.sines = vit->sines;
    if (arch->block.flags & CLIP_BLOCK_RELATIVE) {
        vit->relative = clip_relative_open(setup, error);
        if (!vit->relative)
            return -1;
        clip_relative_shape(vit->relative, &shape);
    }
    if (vit->learns && !vit->learner &&
        !(vit->outer = clip_outer_new(vit->engine, vit->width, clip_patch_floats(&vit->patches), error)))
        return -1;
    /* The transformer first: it checks the sizes. */
    vit->transformer = clip_transformer_open(setup, vit->kernels, &shape, error);
    if (!vit->transformer || (shape.all && !(vit->pooler = clip_pooler_open(setup, vit->kernels, error))) ||
        clip_arena_build(&vit->arena, "the image tower", place_buffers, vit, error) != 0)
        return -1;
    place_positions(vit);
    return setup->parameters ? 0 : clip_transformer_tape_allocate(&vit->buffers, vit->transformer, error);
}

static const struct clip_tower_type type = {free_vit,     forward,  backward,  refresh,
                                            memory_bytes, tape_new, tape_free, tape_bytes};

static struct clip_tower *open_vit(const struct clip_tower_setup *setup, struct clip_error *error)
{
    struct vit *vit = calloc(1, sizeof *vit);
    if (!vit) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    const struct clip_tower_arch *arch = &setup->arch->vision;
    vit->base = (struct clip_tower){&type, clip_vit_width(arch), setup->batch};
    vit->width = (size_t)arch->width;
    vit->epsilon = clip_block_epsilon(&arch->block);
    vit->learns = setup->parameters != NULL;
    vit->count = clip_vit_patches(arch);
    vit->prefix = clip_vit_prefix(arch);
    vit->unplaced = clip_vit_unplaced(arch);
    vit->engine = setup->engine;
    vit->pool = setup->pool;
    vit->piece = clip_engine_rows(setup->engine);
    vit->element = clip_engine_element(setup->engine);
    clip_patches_init(&vit->patches, setup->arch);
    clip_crew_init(&vit->crew);
    if (open_parts(vit, setup, error) == 0)
        return &vit->base;
    free_vit(&vit->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_vit = {&clip_kind_vit, 0, open_vit};
const struct clip_tower_kind clip_tower_hybrid = {&clip_kind_hybrid, 1, open_vit};
const struct clip_tower_kind clip_tower_vitamin = {&clip_kind_vitamin, 0, open_vit};
const struct clip_tower_kind clip_tower_timm = {&clip_kind_timm, 0, open_vit};
