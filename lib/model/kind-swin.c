/* Swin transformers, as timm has them: patches, stages of blocks whose attention is within windows, every
 * second time shifted, each stage but the first after four patches were merged into one. Names are timm's. */
#include "model/shapes.h"
#include "model/swin.h"
#include "model/timm-config.h"

#include <stdio.h>
#include <string.h>

#define EPSILON 1e-5f

static size_t feature_width(const struct clip_tower_arch *tower)
{
    return (size_t)tower->widths[tower->swin.stages - 1];
}

int clip_swin_side(const struct clip_tower_arch *tower, int stage)
{
    int side = tower->image_size / tower->patch;
    for (int i = 0; i < stage; i++)
        side = (side + 1) / 2;
    return side;
}

/* The same as timm counts it before it has seen a picture. */
static int planned_side(const struct clip_tower_arch *tower, int stage)
{
    return tower->image_size / tower->patch >> stage;
}

int clip_swin_window(const struct clip_tower_arch *tower, int stage)
{
    int side = planned_side(tower, stage), window = tower->swin.windows[stage];
    return side < window ? side : window;
}

int clip_swin_shift(const struct clip_tower_arch *tower, int stage)
{
    int window = tower->swin.windows[stage];
    return planned_side(tower, stage) > window ? window / 2 : 0;
}

/* --- checks --- */

static int windows_along(int side, int window)
{
    return (side + window - 1) / window;
}

static int check_stage(const struct clip_tower_arch *tower, int stage, struct clip_error *error)
{
    int window = clip_swin_window(tower, stage);
    if (clip_check_bounds("vision layers", tower->blocks[stage], CLIP_MAX_LAYERS, error) != 0 ||
        clip_check_bounds("vision width", tower->widths[stage], CLIP_MAX_WIDTH / 4, error) != 0 ||
        clip_check_bounds("vision mlp", tower->swin.hidden[stage], CLIP_MAX_MLP, error) != 0 ||
        clip_check_bounds("window size", tower->swin.windows[stage], CLIP_MAX_WINDOW, error) != 0 ||
        clip_check_heads("vision width", tower->widths[stage], tower->swin.heads[stage], error) != 0)
        return -1;
    if (window < 1)
        return clip_fail(error,
                         "image size %d is too small for %d stages of a Swin transformer: the least is %d",
                         tower->image_size, tower->swin.stages, tower->patch << (tower->swin.stages - 1));
    /* timm's masks are for what it planned. */
    if (clip_swin_shift(tower, stage) && windows_along(planned_side(tower, stage), window) !=
                                             windows_along(clip_swin_side(tower, stage), window))
        return clip_fail(error, "image size %d does not fit the windows of stage %d, which are of %d",
                         tower->image_size, stage, window);
    return 0;
}

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("patch size", tower->patch, tower->image_size, error) != 0)
        return -1;
    for (int stage = 0; stage < tower->swin.stages; stage++)
        if (check_stage(tower, stage, error) != 0)
            return -1;
    return 0;
}

/* Whether images of another size have windows of the same sides, for which there are tables. */
static int same_windows(const struct clip_tower_arch *tower, int image_size)
{
    struct clip_tower_arch other = *tower;
    other.image_size = image_size;
    for (int stage = 0; stage < tower->swin.stages; stage++)
        if (clip_swin_window(tower, stage) != clip_swin_window(&other, stage))
            return 0;
    return 1;
}

static int check_resize(const struct clip_tower_arch *tower, int image_size, struct clip_error *error)
{
    int least = tower->image_size, most = tower->image_size;
    if (same_windows(tower, image_size))
        return 0;
    while (least > 1 && same_windows(tower, least - 1))
        least--;
    while (most < CLIP_MAX_IMAGE && same_windows(tower, most + 1))
        most++;
    return clip_fail(
        error, "image size %d: the tables of the Swin transformer's windows are for sizes from %d to %d",
        image_size, least, most);
}

/* --- tensors --- */

/* Linear layers and biases by position: truncated at 2, which is 100 deviations. */
#define DRAWN clip_initial_normal(0.02)

static void list_norm(struct clip_listing *listing, size_t width, const char *at, const char *norm)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", at, norm);
    clip_list_norm(listing, width, name);
}

static void list_linear(struct clip_listing *listing, size_t out, size_t in, const char *at,
                        const char *linear)
{
    clip_list_tensor(listing, DRAWN, CLIP_SHAPE(out, in), "%s.%s.weight", at, linear);
    clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(out), "%s.%s.bias", at, linear);
}

static void list_block(struct clip_listing *listing, const struct clip_tower_arch *tower, int stage,
                       int block)
{
    char at[64];
    size_t width = (size_t)tower->widths[stage], hidden = (size_t)tower->swin.hidden[stage];
    size_t places = 2 * (size_t)clip_swin_window(tower, stage) - 1;
    snprintf(at, sizeof at, "visual.trunk.layers.%d.blocks.%d", stage, block);
    list_norm(listing, width, at, "norm1");
    clip_list_tensor(listing, DRAWN, CLIP_SHAPE(places * places, (size_t)tower->swin.heads[stage]),
                     "%s.attn.relative_position_bias_table", at);
    list_linear(listing, 3 * width, width, at, "attn.qkv");
    list_linear(listing, width, width, at, "attn.proj");
    list_norm(listing, width, at, "norm2");
    list_linear(listing, hidden, width, at, "mlp.fc1");
    list_linear(listing, width, hidden, at, "mlp.fc2");
}

static void list_stage(struct clip_listing *listing, const struct clip_tower_arch *tower, int stage)
{
    char at[64];
    snprintf(at, sizeof at, "visual.trunk.layers.%d.downsample", stage);
    if (stage > 0) {
        size_t in = 4 * (size_t)tower->widths[stage - 1];
        list_norm(listing, in, at, "norm");
        clip_list_tensor(listing, DRAWN, CLIP_SHAPE((size_t)tower->widths[stage], in), "%s.reduction.weight",
                         at);
    }
    for (int block = 0; block < tower->blocks[stage]; block++)
        list_block(listing, tower, stage, block);
}

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    size_t width = (size_t)tower->widths[0], patch = (size_t)tower->patch;
    struct clip_initial initial = clip_initial_fan_in(3 * patch * patch);
    clip_list_tensor(listing, initial, CLIP_SHAPE(width, 3, patch, patch),
                     "visual.trunk.patch_embed.proj.weight");
    clip_list_tensor(listing, initial, CLIP_SHAPE(width), "visual.trunk.patch_embed.proj.bias");
    clip_list_norm(listing, width, "visual.trunk.patch_embed.norm");
    for (int stage = 0; stage < tower->swin.stages; stage++)
        list_stage(listing, tower, stage);
    clip_list_norm(listing, feature_width(tower), "visual.trunk.norm");
    clip_list_projection(listing, tower, feature_width(tower), embed);
}

/* --- open_clip: timm_model_name and timm_model_kwargs --- */

enum { PATCH = 4, STAGES = 4 };

static const struct named {
    const char *name;
    int image, width, blocks[STAGES], heads[STAGES], windows[STAGES];
} names[] = {
    {"swin_tiny_patch4_window7_224", 224, 96, {2, 2, 6, 2}, {3, 6, 12, 24}, {7, 7, 7, 7}},
    {"swin_small_patch4_window7_224", 224, 96, {2, 2, 18, 2}, {3, 6, 12, 24}, {7, 7, 7, 7}},
    {"swin_base_patch4_window7_224", 224, 128, {2, 2, 18, 2}, {4, 8, 16, 32}, {7, 7, 7, 7}},
    {"swin_base_patch4_window12_384", 384, 128, {2, 2, 18, 2}, {4, 8, 16, 32}, {12, 12, 12, 12}},
    {"swin_large_patch4_window7_224", 224, 192, {2, 2, 18, 2}, {6, 12, 24, 48}, {7, 7, 7, 7}},
    {"swin_large_patch4_window12_384", 384, 192, {2, 2, 18, 2}, {6, 12, 24, 48}, {12, 12, 12, 12}},
    {"swin_s3_tiny_224", 224, 96, {2, 2, 6, 2}, {3, 6, 12, 24}, {7, 7, 14, 7}},
    {"swin_s3_small_224", 224, 96, {2, 2, 18, 2}, {3, 6, 12, 24}, {14, 14, 14, 7}},
    {"swin_s3_base_224", 224, 96, {2, 2, 30, 2}, {3, 6, 12, 24}, {7, 7, 14, 7}},
};

static const struct named *find_named(struct json_object *object)
{
    struct json_object *name = clip_json_get(object, "timm_model_name");
    for (size_t i = 0; json_object_is_type(name, json_type_string) && i < CLIP_COUNT_OF(names); i++)
        if (strcmp(names[i].name, json_object_get_string(name)) == 0)
            return &names[i];
    return NULL;
}

static int is_open_clip(struct json_object *object)
{
    return find_named(object) != NULL;
}

static const struct clip_json_option kwargs[] = {
    {"img_size", CLIP_JSON_USED, NULL},          {"patch_size", CLIP_JSON_USED, NULL},
    {"embed_dim", CLIP_JSON_USED, NULL},         {"depths", CLIP_JSON_USED, NULL},
    {"num_heads", CLIP_JSON_USED, NULL},         {"window_size", CLIP_JSON_USED, NULL},
    {"mlp_ratio", CLIP_JSON_USED, NULL},         {"drop_rate", CLIP_JSON_IGNORED, NULL},
    {"drop_path_rate", CLIP_JSON_IGNORED, NULL}, {"proj_drop_rate", CLIP_JSON_IGNORED, NULL},
    {"attn_drop_rate", CLIP_JSON_IGNORED, NULL},
};

/* A side for all stages, or one for each. */
static int read_windows(struct json_object *more, const char *where, struct clip_swin_arch *swin,
                        struct clip_error *error)
{
    int n, all = 0;
    if (!json_object_is_type(clip_json_get(more, "window_size"), json_type_array)) {
        if (clip_json_int(more, where, "window_size", 1, CLIP_MAX_WINDOW, &all, error) != 0)
            return -1;
        for (int i = 0; i < CLIP_MAX_STAGES && all; i++)
            swin->windows[i] = all;
        return 0;
    }
    n = clip_read_list(more, where, "window_size", 0, CLIP_MAX_WINDOW, swin->windows, error);
    if (n < 0)
        return -1;
    if (n == 2 && swin->windows[0] == swin->windows[1]) { /* height and width */
        for (int i = 2; i < CLIP_MAX_STAGES; i++)
            swin->windows[i] = swin->windows[0];
        return 0;
    }
    return n == swin->stages && n != 2
               ? 0
               : clip_fail(error, "%s.window_size is not a square for each of the %d stages", where,
                           swin->stages);
}

/* Numbers of stages, and of heads, which are as many. */
static int read_stages(struct json_object *more, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    struct clip_swin_arch *swin = &tower->swin;
    int depths = clip_read_list(more, where, "depths", 0, CLIP_MAX_LAYERS, tower->blocks, error);
    int heads =
        depths < 0 ? -1 : clip_read_list(more, where, "num_heads", 0, CLIP_MAX_WIDTH, swin->heads, error);
    if (heads < 0)
        return -1;
    if (depths)
        swin->stages = depths;
    if ((heads ? heads : STAGES) < swin->stages)
        return clip_fail(error, "%s.num_heads: there are %d stages", where, swin->stages);
    return read_windows(more, where, swin, error);
}

/* What is beyond the last stage is 0, and so compares the same. */
static void end_stages(struct clip_tower_arch *tower)
{
    struct clip_swin_arch *swin = &tower->swin;
    for (int i = swin->stages; i < CLIP_MAX_STAGES; i++)
        tower->blocks[i] = tower->widths[i] = swin->heads[i] = swin->hidden[i] = swin->windows[i] = 0;
}

static int read_kwargs(struct json_object *more, struct clip_tower_arch *tower, double *ratio,
                       struct clip_error *error)
{
    const char *where = "timm_model_kwargs";
    if (clip_json_options(more, where, kwargs, CLIP_COUNT_OF(kwargs), error) != 0 ||
        clip_json_int(more, where, "img_size", 1, CLIP_MAX_IMAGE, &tower->image_size, error) != 0 ||
        clip_json_int(more, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0 ||
        clip_json_int(more, where, "embed_dim", 1, CLIP_MAX_WIDTH >> CLIP_MAX_STAGES, &tower->width, error) !=
            0 ||
        clip_json_real(more, where, "mlp_ratio", 0, 1024, ratio, error) != 0)
        return -1;
    return read_stages(more, where, tower, error);
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    const struct named *named = find_named(object);
    struct json_object *more = NULL;
    double ratio = 4;
    int image;
    tower->activation = CLIP_GELU;
    tower->image_size = named->image;
    tower->patch = PATCH;
    tower->width = named->width;
    tower->block.epsilon = EPSILON;
    tower->swin = (struct clip_swin_arch){.stages = STAGES};
    memcpy(tower->blocks, named->blocks, sizeof named->blocks);
    memcpy(tower->swin.heads, named->heads, sizeof named->heads);
    memcpy(tower->swin.windows, named->windows, sizeof named->windows);
    tower->swin.windows[STAGES] = named->windows[STAGES - 1];
    if (clip_check_timm_options(object, where, error) != 0 ||
        clip_json_object(object, where, "timm_model_kwargs", &more, error) != 0 ||
        (more && read_kwargs(more, tower, &ratio, error) != 0) ||
        clip_read_image_size(object, where, &image, error) != 0 ||
        clip_read_timm_head(object, where, &clip_head_timm_classifier_fc, tower, error) != 0)
        return -1;
    for (int i = 0; i < tower->swin.stages; i++) {
        tower->widths[i] = tower->width << i;
        tower->swin.hidden[i] = (int)(tower->widths[i] * ratio);
    }
    end_stages(tower);
    if (image != tower->image_size)
        return clip_fail(error, "%s.image_size is %d, but the pictures of %s are of %d", where, image,
                         named->name, tower->image_size);
    return clip_check_timm_average(object, where, tower, error);
}

static int same_list(const int *value, int n, const int known[STAGES])
{
    return n == STAGES && memcmp(value, known, STAGES * sizeof *value) == 0;
}

/* The name of these sizes; else the first, whose sizes are overridden. */
static const struct named *find_name(const struct clip_tower_arch *tower)
{
    const struct clip_swin_arch *swin = &tower->swin;
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (tower->image_size == names[i].image && tower->width == names[i].width &&
            same_list(tower->blocks, swin->stages, names[i].blocks) &&
            same_list(swin->heads, swin->stages, names[i].heads) &&
            same_list(swin->windows, swin->stages, names[i].windows))
            return &names[i];
    return names;
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const struct clip_swin_arch *swin = &tower->swin;
    const struct named *named = find_name(tower);
    struct clip_kwargs kwargs = clip_kwargs_begin(file, named->name, "avg", tower);
    int n = swin->stages, same = 1;
    for (int i = 1; i < n; i++)
        same &= swin->windows[i] == swin->windows[0];
    clip_kwargs_int(&kwargs, "img_size", tower->image_size, named->image);
    clip_kwargs_int(&kwargs, "patch_size", tower->patch, PATCH);
    clip_kwargs_int(&kwargs, "embed_dim", tower->width, named->width);
    clip_kwargs_list(&kwargs, "depths", tower->blocks, n, named->blocks, STAGES);
    clip_kwargs_list(&kwargs, "num_heads", swin->heads, n, named->heads, STAGES);
    if (same)
        clip_kwargs_int(&kwargs, "window_size", swin->windows[0], named->windows[0]);
    else
        clip_kwargs_list(&kwargs, "window_size", swin->windows, n, named->windows, STAGES);
    if (swin->hidden[n - 1] != 4 * tower->widths[n - 1]) {
        /* That of the widest stage gives those of the others. */
        struct clip_tower_arch last = {.width = tower->widths[n - 1], .mlp = swin->hidden[n - 1]};
        clip_kwargs_put(&kwargs, "mlp_ratio", "%.17g", clip_mlp_ratio(&last));
    }
    clip_kwargs_end(&kwargs, tower);
}

/* --- shapes --- */

#define FIRST_TENSOR "visual.trunk.layers.0.blocks.0.attn.relative_position_bias_table"

static const struct clip_anchor anchors[] = {
    {FIRST_TENSOR, 0, 0, "", 0},
    {"trunk.layers.0.blocks.0.attn.relative_position_bias_table", 0, 0, "visual.", 0},
    {0}};

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    int stages = tower->swin.stages;
    fprintf(out, "image %d, Swin transformer of", tower->image_size);
    for (int i = 0; i < stages; i++)
        fprintf(out, " %d", tower->blocks[i]);
    fputs(" blocks, widths", out);
    for (int i = 0; i < stages; i++)
        fprintf(out, " %d", tower->widths[i]);
    fputs(", windows", out);
    for (int i = 0; i < stages; i++)
        fprintf(out, " %d", clip_swin_window(tower, i));
    fprintf(out, ", projection %s\n", clip_head_of(tower)->title);
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    int stages = tower->swin.stages;
    clip_add_image(object, tower);
    clip_add_int(object, "patch_size", (uint64_t)tower->patch);
    clip_add_list(object, "layers", tower->blocks, stages);
    clip_add_list(object, "widths", tower->widths, stages);
    clip_add_list(object, "heads", tower->swin.heads, stages);
    clip_add_list(object, "windows", tower->swin.windows, stages);
    clip_add_list(object, "mlp", tower->swin.hidden, stages);
    clip_add_ends(object, tower);
}

const struct clip_kind clip_kind_swin = {
    .name = "swin",
    .title = "Swin transformer",
    .side = CLIP_SIDE_IMAGE,
    .untrained = 1,
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .own_activation = 1,
    .head = &clip_head_timm_linear,
    .width = feature_width,
    .check = check_arch,
    .check_resize = check_resize,
    .list = list_tensors,
    .prefixes = clip_image_prefixes,
    .is_open_clip = is_open_clip,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .anchors = anchors,
    .first_tensors = {FIRST_TENSOR},
    .shapes_lack = "a Swin transformer do not say its image size",
    .describe = describe_tower,
    .describe_json = describe_json,
};
