/* The vision transformer: patches, class embedding, positions, ln_pre, the blocks, ln_post of the class
 * token. */
#include "base/arena.h"
#include "math/kernels.h"
#include "base/crew.h"
#include "tower/patches.h"
#include "tower/tower.h"
#include "tower/transformer.h"
#include "tower/prepared.h"

#include <stdlib.h>
#include <string.h>

struct vit {
    struct clip_image_tower base;
    const struct clip_kernels *kernels;
    struct clip_engine *engine;
    struct clip_pool *pool;
    struct clip_transformer *transformer;
    struct clip_prepared conv1; /* [width] of [3, patch, patch] */
    struct clip_patches patches;
    size_t batch, width, piece, element;
    struct clip_arena arena;
    float *positions; /* [1 + grid²][width] */
    float *class;     /* [width]: the class token after ln_pre, the same for every picture */
    float *norm_weight, *norm_bias;
    struct desk {
        void *in;      /* [piece][3 patch²] elements */
        float *out;    /* [piece][width] */
        float *row;    /* [3 patch²] */
        void *product; /* for clip_product */
    } * desks;
    struct clip_sequence *sequences; /* [batch] */
    struct clip_crew crew;
    /* the run that is under way */
    const struct clip_image *pictures;
    size_t count;
};

static size_t tokens(const struct vit *vit)
{
    return 1 + clip_patch_count(&vit->patches);
}

static void free_vit(struct clip_image_tower *base)
{
    struct vit *vit = (struct vit *)base;
    clip_transformer_free(vit->transformer);
    clip_prepared_free(&vit->conv1);
    clip_arena_free(&vit->arena);
    clip_crew_destroy(&vit->crew);
    free(vit);
}

/* --- opening --- */

static void place(void *context)
{
    struct vit *vit = context;
    struct clip_arena *arena = &vit->arena;
    size_t threads = (size_t)clip_pool_threads(vit->pool);
    vit->positions = clip_arena_take(arena, tokens(vit), vit->width * sizeof(float));
    vit->class = clip_arena_take(arena, vit->width, sizeof(float));
    vit->norm_weight = clip_arena_take(arena, vit->width, sizeof(float));
    vit->norm_bias = clip_arena_take(arena, vit->width, sizeof(float));
    vit->sequences = clip_arena_take(arena, vit->batch, sizeof *vit->sequences);
    vit->desks = clip_arena_take(arena, threads, sizeof *vit->desks);
    for (size_t i = 0; i < threads; i++) {
        struct desk desk = {
            clip_arena_take(arena, vit->piece * clip_patch_floats(&vit->patches), vit->element),
            clip_arena_take(arena, vit->piece * vit->width, sizeof(float)),
            clip_arena_take(arena, clip_patch_floats(&vit->patches), sizeof(float)),
            clip_arena_take(arena, clip_product_scratch(vit->conv1.matrix), 1),
        };
        if (vit->desks)
            vit->desks[i] = desk;
    }
}

static int load(struct vit *vit, const struct clip_model *model, struct clip_error *error)
{
    size_t width = vit->width;
    struct clip_prepared_part conv1 = {
        "visual.conv1.weight", 4, {width, 3, vit->patches.patch, vit->patches.patch}, 0, width, 0};
    if (clip_prepared_load(&vit->conv1, model, vit->engine, 0, &conv1, error) != 0)
        return -1;
    if (clip_arena_build(&vit->arena, "the image tower", place, vit, error) != 0)
        return -1;
    float *class = vit->desks[0].out;
    if (clip_model_floats(model, "visual.positional_embedding", 2, (size_t[]){tokens(vit), width},
                          vit->positions, error) != 0 ||
        clip_model_floats(model, "visual.class_embedding", 1, &width, class, error) != 0 ||
        clip_model_floats(model, "visual.ln_pre.weight", 1, &width, vit->norm_weight, error) != 0 ||
        clip_model_floats(model, "visual.ln_pre.bias", 1, &width, vit->norm_bias, error) != 0)
        return -1;
    vit->kernels->sum(width, class, vit->positions, class);
    vit->kernels->layer_norm(width, class, vit->norm_weight, vit->norm_bias, CLIP_PRECISION_F32, vit->class);
    for (size_t i = 0; i < vit->batch; i++)
        vit->sequences[i] = (struct clip_sequence){i * tokens(vit), tokens(vit), 0};
    return 0;
}

static struct clip_image_tower *open_vit(const struct clip_model *model, struct clip_engine *engine,
                                         struct clip_pool *pool, size_t batch, struct clip_error *error)
{
    enum clip_level level;
    struct vit *vit = calloc(1, sizeof *vit);
    if (!vit) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    vit->base.type = &clip_vit_type;
    vit->engine = engine;
    vit->pool = pool;
    vit->batch = batch;
    clip_patches_init(&vit->patches, clip_model_arch(model));
    vit->width = (size_t)clip_model_arch(model)->vision.width;
    vit->piece = clip_engine_rows(engine);
    vit->element = clip_engine_element(engine);
    clip_crew_init(&vit->crew);
    struct clip_transformer_shape shape = clip_image_transformer_shape(clip_model_arch(model), batch);
    if (clip_level_choose(&level, error) == 0) {
        vit->kernels = clip_kernels(level);
        if (load(vit, model, error) == 0)
            vit->transformer = clip_transformer_open(model, engine, vit->kernels, pool, &shape, error);
    }
    if (vit->transformer)
        return &vit->base;
    free_vit(&vit->base);
    return NULL;
}

/* --- running --- */

/* A task: a piece of the patches of all pictures, to their rows of the residual stream. */
static int patch_task(void *context, size_t piece, int thread, struct clip_error *error)
{
    struct vit *vit = context;
    struct desk *desk = &vit->desks[thread];
    size_t patches = clip_patch_count(&vit->patches), first = piece * vit->piece, width = vit->width;
    size_t rest = vit->count * patches - first, n = rest < vit->piece ? rest : vit->piece;
    for (size_t r = 0; r < n; r++) {
        size_t i = first + r;
        clip_patch_cut(&vit->patches, &vit->pictures[i / patches], i % patches, desk->row);
        vit->kernels->convert(clip_patch_floats(&vit->patches), desk->row, clip_engine_precision(vit->engine),
                              (char *)desk->in + r * clip_patch_floats(&vit->patches) * vit->element);
    }
    if (clip_product_rows(vit->conv1.matrix, n, desk->in, desk->out, desk->product, error) != 0)
        return -1;
    for (size_t r = 0; r < n; r++) {
        size_t picture = (first + r) / patches, token = 1 + (first + r) % patches;
        float *row = desk->out + r * width;
        vit->kernels->sum(width, row, vit->positions + token * width, row);
        vit->kernels->layer_norm(width, row, vit->norm_weight, vit->norm_bias, CLIP_PRECISION_F32,
                                 clip_transformer_rows(vit->transformer) +
                                     (picture * tokens(vit) + token) * width);
    }
    return 0;
}

static int run_vit(struct clip_image_tower *base, const struct clip_image *pictures, size_t n,
                   float *features, struct clip_error *error)
{
    struct vit *vit = (struct vit *)base;
    float *rows = clip_transformer_rows(vit->transformer);
    vit->pictures = pictures;
    vit->count = n;
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * tokens(vit) * vit->width, vit->class, vit->width * sizeof *rows);
    size_t pieces = (n * clip_patch_count(&vit->patches) + vit->piece - 1) / vit->piece;
    if (clip_crew_run(&vit->crew, vit->pool, pieces, patch_task, vit, error) != 0)
        return -1;
    return clip_transformer_run(vit->transformer, vit->sequences, n, features, error);
}

const struct clip_image_tower_type clip_vit_type = {open_vit, free_vit, run_vit};
