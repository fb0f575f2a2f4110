/* The Swin transformer, for inference: patches, stages of blocks whose attention is within windows, the mean
 * of all places.
 *
 * A picture goes through it in one thread, [side][side][channels] between layers. Shifting is not done: a
 * window reads and writes its rows where they lie. Places that fill up windows have q, k and v of zeros, to
 * which the kernel adds biases, as it does to others; their results are dropped. */
#include "model/swin.h"

#include "base/arena.h"
#include "base/crew.h"
#include "math/kernels.h"
#include "model/kind.h"
#include "tower/patches.h"
#include "tower/tower.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MERGED = 4 };
#define EPSILON 1e-5f
#define APART (-100.0f) /* added to the scores of places that shifting brought side by side */

struct block {
    size_t shift;
    struct clip_norm norm1, norm2;
    struct clip_dense qkv, proj, fc1, fc2;
    float *bias; /* [heads][window²][window²] */
};

struct stage {
    size_t side, width, heads, hidden, window;
    struct clip_norm norm;       /* of four places that are merged; none in the first stage */
    struct clip_dense reduction; /* of them */
    struct block *blocks;
    size_t count;
};

struct workspace {
    float *x, *y;     /* [side][side][width] */
    float *row;       /* [the most inputs of a norm, or of a patch] */
    void *narrow;     /* [piece][the most inputs of a product] elements */
    float *wide;      /* [piece][the most outputs] */
    void *hidden;     /* [piece][the most of a hidden layer] elements */
    float *qkv;       /* [places][3 width] */
    void *attended;   /* [places][width] elements */
    float *window;    /* [window²][3 width] */
    void *seen;       /* [window²][width] elements */
    float *masked;    /* [window²][window²] */
    float *attention; /* for the kernel */
    void *scratch;    /* of products */
};

struct swin {
    struct clip_tower base;
    const struct clip_kernels *kernels;
    struct clip_pool *pool;
    enum clip_precision type;
    size_t piece, element, count; /* of stages */
    struct clip_patches patches;
    struct clip_dense patch;
    struct clip_norm patch_norm, norm;
    struct stage stages[CLIP_MAX_STAGES];
    struct clip_arena arena;
    struct workspace *workspaces;
    struct clip_crew crew;
    /* the run that is under way */
    const union clip_item *items;
    float *features;
};

/* --- parts --- */

static size_t places_of(const struct stage *stage)
{
    return stage->side * stage->side;
}

static void *element_at(const struct swin *swin, const void *x, size_t n)
{
    return (char *)x + n * swin->element;
}

static void norm_row(const struct swin *swin, const struct clip_norm *norm, size_t n, const float *x,
                     enum clip_precision type, void *out)
{
    swin->kernels->layer_norm(n, EPSILON, x, norm->weight.value, norm->bias.value, type, out);
}

static size_t outputs(const struct clip_dense *linear)
{
    return clip_matrix_outputs(linear->weight.forward);
}

static int product(const struct clip_dense *linear, size_t rows, const void *x, float *y,
                   const struct workspace *workspace, struct clip_error *error)
{
    return clip_product_rows(linear->weight.forward, rows, x, y, workspace->scratch, error);
}

/* narrow[rows][width] = the norm of rows of x, as elements. */
static void norm_rows(const struct swin *swin, const struct clip_norm *norm, size_t rows, size_t width,
                      const float *x, const struct workspace *workspace)
{
    for (size_t r = 0; r < rows; r++)
        norm_row(swin, norm, width, x + r * width, swin->type,
                 element_at(swin, workspace->narrow, r * width));
}

/* x[rows][width] += y + bias */
static void add_rows(const struct swin *swin, const struct clip_dense *linear, size_t rows, const float *y,
                     float *x)
{
    size_t width = outputs(linear);
    for (size_t r = 0; r < rows; r++)
        swin->kernels->add(width, x + r * width, y + r * width, linear->bias.value);
}

/* --- attention within windows --- */

/* A window of a block: of which rows and columns it is the first, counted after shifting. */
struct window {
    const struct stage *stage;
    const struct block *block;
    size_t top, left, padded; /* side of the grid, filled up to whole windows */
};

/* The place of the picture at place `i` of a window; -1: there is none. */
static long place_of(const struct window *w, size_t i)
{
    size_t side = w->stage->side, y = w->top + i / w->stage->window, x = w->left + i % w->stage->window;
    if (y >= side || x >= side)
        return -1;
    return (long)((y + w->block->shift) % side * side + (x + w->block->shift) % side);
}

/* Which part of the shifted grid a row or column is of: 0, 1 or 2; attention does not pass from one to
 * another. */
static int region(const struct window *w, size_t at)
{
    return (at >= w->padded - w->stage->window) + (at >= w->padded - w->block->shift);
}

/* The biases of a head, and of places that do not see each other, into masked[window²][window²]. */
static const float *mask(const struct window *w, const float *bias, float *masked)
{
    size_t side = w->stage->window, n = side * side;
    int last = w->top + side == w->padded || w->left + side == w->padded;
    if (!w->block->shift || !last)
        return bias;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            int apart = region(w, w->top + i / side) != region(w, w->top + j / side) ||
                        region(w, w->left + i % side) != region(w, w->left + j % side);
            masked[i * n + j] = bias[i * n + j] + (apart ? APART : 0);
        }
    return masked;
}

static void attend(const struct swin *swin, const struct window *w, const struct workspace *workspace)
{
    const struct stage *stage = w->stage;
    size_t width = stage->width, dim = width / stage->heads, n = stage->window * stage->window;
    const float *bias = w->block->qkv.bias.value;
    for (size_t h = 0; h < stage->heads; h++) {
        size_t at = h * dim;
        const struct clip_attention head = {
            .queries = n,
            .keys = n,
            .dim = dim,
            .scale = 1 / sqrtf((float)dim),
            .q = workspace->window + at,
            .k = workspace->window + width + at,
            .v = workspace->window + 2 * width + at,
            .q_stride = 3 * width,
            .k_stride = 3 * width,
            .v_stride = 3 * width,
            .q_bias = bias + at,
            .k_bias = bias + width + at,
            .v_bias = bias + 2 * width + at,
            .bias = mask(w, w->block->bias + h * n * n, workspace->masked),
            .bias_stride = n,
            .type = swin->type,
            .out = element_at(swin, workspace->seen, at),
            .out_stride = width,
        };
        swin->kernels->attention(&head, workspace->attention);
    }
}

static void run_window(const struct swin *swin, const struct window *w, const struct workspace *workspace)
{
    size_t width = w->stage->width, n = w->stage->window * w->stage->window;
    for (size_t i = 0; i < n; i++) {
        long place = place_of(w, i);
        float *to = workspace->window + i * 3 * width;
        if (place < 0)
            memset(to, 0, 3 * width * sizeof *to);
        else
            memcpy(to, workspace->qkv + (size_t)place * 3 * width, 3 * width * sizeof *to);
    }
    attend(swin, w, workspace);
    for (size_t i = 0; i < n; i++) {
        long place = place_of(w, i);
        if (place >= 0)
            memcpy(element_at(swin, workspace->attended, (size_t)place * width),
                   element_at(swin, workspace->seen, i * width), width * swin->element);
    }
}

/* --- blocks --- */

/* x += proj(attention(norm1(x))) */
static int run_attention(const struct swin *swin, const struct stage *stage, const struct block *block,
                         float *x, const struct workspace *workspace, struct clip_error *error)
{
    size_t places = places_of(stage), width = stage->width;
    for (size_t first = 0; first < places; first += swin->piece) {
        size_t rows = places - first < swin->piece ? places - first : swin->piece;
        norm_rows(swin, &block->norm1, rows, width, x + first * width, workspace);
        if (product(&block->qkv, rows, workspace->narrow, workspace->qkv + first * 3 * width, workspace,
                    error) != 0)
            return -1;
    }
    struct window window = {.stage = stage, .block = block};
    window.padded = (stage->side + stage->window - 1) / stage->window * stage->window;
    for (window.top = 0; window.top < window.padded; window.top += stage->window)
        for (window.left = 0; window.left < window.padded; window.left += stage->window)
            run_window(swin, &window, workspace);
    for (size_t first = 0; first < places; first += swin->piece) {
        size_t rows = places - first < swin->piece ? places - first : swin->piece;
        if (product(&block->proj, rows, element_at(swin, workspace->attended, first * width), workspace->wide,
                    workspace, error) != 0)
            return -1;
        add_rows(swin, &block->proj, rows, workspace->wide, x + first * width);
    }
    return 0;
}

/* x += fc2(gelu(fc1(norm2(x)))) */
static int run_hidden(const struct swin *swin, const struct stage *stage, const struct block *block, float *x,
                      const struct workspace *workspace, struct clip_error *error)
{
    size_t places = places_of(stage), width = stage->width, hidden = stage->hidden;
    for (size_t first = 0; first < places; first += swin->piece) {
        size_t rows = places - first < swin->piece ? places - first : swin->piece;
        norm_rows(swin, &block->norm2, rows, width, x + first * width, workspace);
        if (product(&block->fc1, rows, workspace->narrow, workspace->wide, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++)
            swin->kernels->activation[CLIP_GELU](hidden, workspace->wide + r * hidden, block->fc1.bias.value,
                                                 swin->type, element_at(swin, workspace->hidden, r * hidden));
        if (product(&block->fc2, rows, workspace->hidden, workspace->wide, workspace, error) != 0)
            return -1;
        add_rows(swin, &block->fc2, rows, workspace->wide, x + first * width);
    }
    return 0;
}

/* row[4 width] = the places of x that are merged into place `at` of the next grid, column by column; those
 * beyond the grid are 0. */
static void merge(const struct stage *before, size_t side, size_t at, const float *x, float *row)
{
    size_t width = before->width, top = at / side * 2, left = at % side * 2;
    for (size_t i = 0; i < MERGED; i++, row += width) {
        size_t y = top + i % 2, z = left + i / 2;
        if (y < before->side && z < before->side)
            memcpy(row, x + (y * before->side + z) * width, width * sizeof *row);
        else
            memset(row, 0, width * sizeof *row);
    }
}

/* y, of the stage, from x of the one before. */
static int run_merging(const struct swin *swin, const struct stage *stage, const float *x, float *y,
                       const struct workspace *workspace, struct clip_error *error)
{
    const struct stage *before = stage - 1;
    size_t places = places_of(stage), in = MERGED * before->width, width = stage->width;
    for (size_t first = 0; first < places; first += swin->piece) {
        size_t rows = places - first < swin->piece ? places - first : swin->piece;
        for (size_t r = 0; r < rows; r++) {
            merge(before, stage->side, first + r, x, workspace->row);
            norm_row(swin, &stage->norm, in, workspace->row, swin->type,
                     element_at(swin, workspace->narrow, r * in));
        }
        if (product(&stage->reduction, rows, workspace->narrow, workspace->wide, workspace, error) != 0)
            return -1;
        memcpy(y + first * width, workspace->wide, rows * width * sizeof *y);
    }
    return 0;
}

/* --- forward --- */

/* x = the normed patches of a picture. */
static int run_patches(const struct swin *swin, const struct clip_image *image, float *x,
                       const struct workspace *workspace, struct clip_error *error)
{
    size_t patches = clip_patch_count(&swin->patches), floats = clip_patch_floats(&swin->patches);
    size_t width = swin->stages[0].width;
    for (size_t first = 0; first < patches; first += swin->piece) {
        size_t rows = patches - first < swin->piece ? patches - first : swin->piece;
        for (size_t r = 0; r < rows; r++) {
            clip_patch_cut(&swin->patches, image, first + r, workspace->row);
            swin->kernels->convert(floats, workspace->row, swin->type,
                                   element_at(swin, workspace->narrow, r * floats));
        }
        if (product(&swin->patch, rows, workspace->narrow, workspace->wide, workspace, error) != 0)
            return -1;
        for (size_t r = 0; r < rows; r++) {
            float *row = workspace->wide + r * width;
            swin->kernels->sum(width, row, swin->patch.bias.value, row);
            norm_row(swin, &swin->patch_norm, width, row, CLIP_PRECISION_F32, x + (first + r) * width);
        }
    }
    return 0;
}

/* The mean of the normed places of the last stage. */
static void pool(const struct swin *swin, const float *x, const struct workspace *workspace, float *features)
{
    const struct stage *last = &swin->stages[swin->count - 1];
    size_t width = last->width, places = places_of(last);
    memset(features, 0, width * sizeof *features);
    for (size_t i = 0; i < places; i++) {
        norm_row(swin, &swin->norm, width, x + i * width, CLIP_PRECISION_F32, workspace->row);
        swin->kernels->sum(width, features, workspace->row, features);
    }
    for (size_t c = 0; c < width; c++)
        features[c] /= (float)places;
}

/* A task: a picture. */
static int picture_task(void *context, size_t i, int thread, struct clip_error *error)
{
    const struct swin *swin = context;
    const struct workspace *workspace = &swin->workspaces[thread];
    float *x = workspace->x, *y = workspace->y;
    if (run_patches(swin, &swin->items[i].image, x, workspace, error) != 0)
        return -1;
    for (size_t s = 0; s < swin->count; s++) {
        const struct stage *stage = &swin->stages[s];
        if (s > 0) {
            float *was = x;
            if (run_merging(swin, stage, x, y, workspace, error) != 0)
                return -1;
            x = y;
            y = was;
        }
        for (const struct block *block = stage->blocks; block < stage->blocks + stage->count; block++)
            if (run_attention(swin, stage, block, x, workspace, error) != 0 ||
                run_hidden(swin, stage, block, x, workspace, error) != 0)
                return -1;
    }
    pool(swin, x, workspace, swin->features + i * swin->base.width);
    return 0;
}

static int forward(struct clip_tower *base, const union clip_item *items, size_t n, int again,
                   struct clip_tape *tape, float *features, struct clip_error *error)
{
    (void)again;
    (void)tape;
    struct swin *swin = (struct swin *)base;
    swin->items = items;
    swin->features = features;
    return clip_crew_run(&swin->crew, swin->pool, n, picture_task, swin, error);
}

/* --- weights --- */

/* The biases of a block from its table [(2 window - 1)²][heads]: by rows and columns from the key to the
 * query. */
static int spread_bias(const struct stage *stage, const float *table, float **bias, struct clip_error *error)
{
    size_t side = stage->window, n = side * side, heads = stage->heads;
    *bias = reallocarray(NULL, heads * n, n * sizeof **bias);
    if (!*bias)
        return clip_fail_memory(error, "the image tower");
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            size_t y = i / side + side - 1 - j / side, x = i % side + side - 1 - j % side;
            for (size_t h = 0; h < heads; h++)
                (*bias)[(h * n + i) * n + j] = table[(y * (2 * side - 1) + x) * heads + h];
        }
    return 0;
}

static int load_block(const struct stage *stage, struct block *block, const struct clip_tower_setup *setup,
                      const char *at, struct clip_error *error)
{
    struct clip_values table = {0};
    if (clip_norm_load(&block->norm1, setup, error, "%s.norm1", at) != 0 ||
        clip_norm_load(&block->norm2, setup, error, "%s.norm2", at) != 0 ||
        clip_dense_load(&block->qkv, setup, 0, 0, error, "%s.attn.qkv", at) != 0 ||
        clip_dense_load(&block->proj, setup, 0, 0, error, "%s.attn.proj", at) != 0 ||
        clip_dense_load(&block->fc1, setup, 0, 0, error, "%s.mlp.fc1", at) != 0 ||
        clip_dense_load(&block->fc2, setup, 0, 0, error, "%s.mlp.fc2", at) != 0)
        return -1;
    int status = clip_values_load(&table, setup, error, "%s.attn.relative_position_bias_table", at);
    if (status == 0)
        status = spread_bias(stage, table.value, &block->bias, error);
    clip_values_free(&table);
    return status;
}

static int load_stage(struct swin *swin, int s, const struct clip_tower_setup *setup,
                      struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    struct stage *stage = &swin->stages[s];
    char at[64];
    *stage = (struct stage){.side = (size_t)clip_swin_side(arch, s),
                            .width = (size_t)arch->widths[s],
                            .heads = (size_t)arch->swin.heads[s],
                            .hidden = (size_t)arch->swin.hidden[s],
                            .window = (size_t)clip_swin_window(arch, s),
                            .blocks = calloc((size_t)arch->blocks[s], sizeof *stage->blocks)};
    if (!stage->blocks)
        return clip_fail_memory(error, "the image tower");
    stage->count = (size_t)arch->blocks[s];
    snprintf(at, sizeof at, "visual.trunk.layers.%d.downsample", s);
    if (s > 0 && (clip_norm_load(&stage->norm, setup, error, "%s.norm", at) != 0 ||
                  clip_dense_load(&stage->reduction, setup, 0, 0, error, "%s.reduction", at) != 0))
        return -1;
    for (size_t i = 0; i < stage->count; i++) {
        stage->blocks[i].shift = i % 2 ? (size_t)clip_swin_shift(arch, s) : 0;
        snprintf(at, sizeof at, "visual.trunk.layers.%d.blocks.%zu", s, i);
        if (load_block(stage, &stage->blocks[i], setup, at, error) != 0)
            return -1;
    }
    return 0;
}

static int load_weights(struct swin *swin, const struct clip_tower_setup *setup, struct clip_error *error)
{
    if (clip_dense_load(&swin->patch, setup, 0, 0, error, "visual.trunk.patch_embed.proj") != 0 ||
        clip_norm_load(&swin->patch_norm, setup, error, "visual.trunk.patch_embed.norm") != 0 ||
        clip_norm_load(&swin->norm, setup, error, "visual.trunk.norm") != 0)
        return -1;
    for (int s = 0; s < setup->arch->vision.swin.stages; s++, swin->count++)
        if (load_stage(swin, s, setup, error) != 0) {
            swin->count++; /* to be freed */
            return -1;
        }
    return 0;
}

/* --- opening --- */

/* The most that a layer needs: floats, but scratch. */
struct needs {
    size_t x, row, narrow, wide, hidden, qkv, attended, window, seen, masked, attention, scratch;
};

static void need_product(struct needs *needs, const struct clip_dense *linear)
{
    if (linear->weight.forward)
        needs->scratch = clip_larger(needs->scratch, clip_operand_scratch(&linear->weight));
}

static void need_stage(struct needs *needs, const struct swin *swin, const struct stage *stage)
{
    size_t places = places_of(stage), width = stage->width, n = stage->window * stage->window;
    size_t rows = (places + swin->piece - 1) / swin->piece * swin->piece;
    needs->x = clip_larger(needs->x, places * width);
    needs->row = clip_larger(needs->row, MERGED * width);
    needs->narrow = clip_larger(needs->narrow, MERGED * width);
    needs->wide = clip_larger(needs->wide, clip_larger(width, stage->hidden));
    needs->hidden = clip_larger(needs->hidden, stage->hidden);
    needs->qkv = clip_larger(needs->qkv, rows * 3 * width);
    needs->attended = clip_larger(needs->attended, rows * width);
    needs->window = clip_larger(needs->window, n * 3 * width);
    needs->seen = clip_larger(needs->seen, n * width);
    needs->masked = clip_larger(needs->masked, n * n);
    needs->attention = clip_larger(needs->attention, clip_attention_scratch(n, width / stage->heads));
    need_product(needs, &stage->reduction);
    for (const struct block *block = stage->blocks; block < stage->blocks + stage->count; block++) {
        need_product(needs, &block->qkv);
        need_product(needs, &block->proj);
        need_product(needs, &block->fc1);
        need_product(needs, &block->fc2);
    }
}

static void place_buffers(void *context)
{
    struct swin *swin = context;
    struct clip_arena *arena = &swin->arena;
    size_t threads = (size_t)clip_pool_threads(swin->pool), floats = clip_patch_floats(&swin->patches);
    struct needs needs = {.row = floats, .narrow = floats};
    need_product(&needs, &swin->patch);
    for (size_t s = 0; s < swin->count; s++)
        need_stage(&needs, swin, &swin->stages[s]);
    swin->workspaces = clip_arena_take(arena, threads, sizeof *swin->workspaces);
    for (size_t i = 0; i < threads; i++) {
        struct workspace workspace = {
            .x = clip_arena_take(arena, needs.x, sizeof(float)),
            .y = clip_arena_take(arena, needs.x, sizeof(float)),
            .row = clip_arena_take(arena, needs.row, sizeof(float)),
            .narrow = clip_arena_take(arena, swin->piece * needs.narrow, swin->element),
            .wide = clip_arena_take(arena, swin->piece * needs.wide, sizeof(float)),
            .hidden = clip_arena_take(arena, swin->piece * needs.hidden, swin->element),
            .qkv = clip_arena_take(arena, needs.qkv, sizeof(float)),
            .attended = clip_arena_take(arena, needs.attended, swin->element),
            .window = clip_arena_take(arena, needs.window, sizeof(float)),
            .seen = clip_arena_take(arena, needs.seen, swin->element),
            .masked = clip_arena_take(arena, needs.masked, sizeof(float)),
            .attention = clip_arena_take(arena, needs.attention, sizeof(float)),
            .scratch = clip_arena_take(arena, needs.scratch, 1),
        };
        if (swin->workspaces)
            swin->workspaces[i] = workspace;
    }
}

static void free_stage(struct stage *stage)
{
    for (size_t i = 0; i < stage->count; i++) {
        struct block *block = &stage->blocks[i];
        clip_norm_free(&block->norm1);
        clip_norm_free(&block->norm2);
        clip_dense_free(&block->qkv);
        clip_dense_free(&block->proj);
        clip_dense_free(&block->fc1);
        clip_dense_free(&block->fc2);
        free(block->bias);
    }
    clip_norm_free(&stage->norm);
    clip_dense_free(&stage->reduction);
    free(stage->blocks);
}

static void free_swin(struct clip_tower *base)
{
    struct swin *swin = (struct swin *)base;
    for (size_t s = 0; s < swin->count; s++)
        free_stage(&swin->stages[s]);
    clip_dense_free(&swin->patch);
    clip_norm_free(&swin->patch_norm);
    clip_norm_free(&swin->norm);
    clip_arena_free(&swin->arena);
    clip_crew_destroy(&swin->crew);
    free(swin);
}

static const struct clip_tower_type type = {.free = free_swin, .forward = forward};

static struct clip_tower *open_swin(const struct clip_tower_setup *setup, struct clip_error *error)
{
    enum clip_level level;
    if ((setup->parameters && clip_tower_need_training(setup->arch, CLIP_SIDE_IMAGE, error) != 0) ||
        clip_level_choose(&level, error) != 0)
        return NULL;
    struct swin *swin = calloc(1, sizeof *swin);
    if (!swin) {
        clip_fail_memory(error, "the image tower");
        return NULL;
    }
    swin->base = (struct clip_tower){&type, clip_feature_width(setup->arch, CLIP_SIDE_IMAGE), setup->batch};
    swin->kernels = clip_kernels(level);
    swin->pool = setup->pool;
    swin->type = clip_engine_precision(setup->engine);
    swin->piece = clip_engine_rows(setup->engine);
    swin->element = clip_engine_element(setup->engine);
    clip_patches_init(&swin->patches, setup->arch);
    clip_crew_init(&swin->crew);
    if (load_weights(swin, setup, error) == 0 &&
        clip_arena_build(&swin->arena, "the image tower", place_buffers, swin, error) == 0)
        return &swin->base;
    free_swin(&swin->base);
    return NULL;
}

const struct clip_tower_kind clip_tower_swin = {&clip_kind_swin, 0, open_swin};
