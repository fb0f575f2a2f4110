/* ConvNeXt, as timm has it: a stem of patches, four stages of blocks, each but the first after a convolution
 * of side and stride 2, the mean of all places, a norm. Names are timm's. */
#include "model/shapes.h"
#include "model/timm-config.h"

#include <math.h>
#include <string.h>

enum { STAGES = 4, PATCH = 4, KERNEL = 7, MAX_KERNEL = 63 };
#define EPSILON 1e-6f
#define LAYER_SCALE 1e-6f

static size_t feature_width(const struct clip_tower_arch *tower)
{
    return (size_t)tower->widths[STAGES - 1];
}

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("patch size", tower->patch, CLIP_MAX_IMAGE, error) != 0 ||
        clip_check_bounds("kernel size", tower->kernel, MAX_KERNEL, error) != 0)
        return -1;
    for (int i = 0; i < STAGES; i++)
        if (clip_check_bounds("vision layers", tower->blocks[i], CLIP_MAX_LAYERS, error) != 0 ||
            clip_check_bounds("vision width", tower->widths[i], CLIP_MAX_WIDTH, error) != 0)
            return -1;
    if (tower->kernel % 2 == 0)
        return clip_fail(error, "a ConvNeXt's kernel size of %d is even", tower->kernel);
    if (tower->image_size / tower->patch >> (STAGES - 1) == 0)
        return clip_fail(error, "an image size of %d is too small for a ConvNeXt: the least is %d",
                         tower->image_size, tower->patch << (STAGES - 1));
    return 0;
}

/* --- tensors --- */

/* timm's trunks: a normal truncated at 2, which is 100 standard deviations. */
#define DRAWN clip_initial_normal(0.02)

static void list_layer(struct clip_listing *listing, const size_t shape[4], const char *name)
{
    clip_list_tensor(listing, DRAWN, shape, "%s.weight", name);
    clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(shape[0]), "%s.bias", name);
}

static void list_block(struct clip_listing *listing, const struct clip_tower_arch *tower, int stage,
                       int block)
{
    size_t width = (size_t)tower->widths[stage], kernel = (size_t)tower->kernel;
    char at[48], name[64];
    snprintf(at, sizeof at, "visual.trunk.stages.%d.blocks.%d", stage, block);
    clip_list_tensor(listing, (struct clip_initial){CLIP_DRAW_CONSTANT, (double)tower->block.layer_scale},
                     CLIP_SHAPE(width), "%s.gamma", at);
    snprintf(name, sizeof name, "%s.conv_dw", at);
    list_layer(listing, CLIP_SHAPE(width, 1, kernel, kernel), name);
    snprintf(name, sizeof name, "%s.norm", at);
    clip_list_norm(listing, width, name);
    snprintf(name, sizeof name, "%s.mlp.fc1", at);
    list_layer(listing, CLIP_SHAPE(4 * width, width), name);
    snprintf(name, sizeof name, "%s.mlp.fc2", at);
    list_layer(listing, CLIP_SHAPE(width, 4 * width), name);
}

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    size_t patch = (size_t)tower->patch;
    char name[64];
    list_layer(listing, CLIP_SHAPE((size_t)tower->widths[0], 3, patch, patch), "visual.trunk.stem.0");
    clip_list_norm(listing, (size_t)tower->widths[0], "visual.trunk.stem.1");
    for (int stage = 0; stage < STAGES; stage++) {
        size_t width = (size_t)tower->widths[stage], before = stage ? (size_t)tower->widths[stage - 1] : 0;
        if (stage > 0) {
            snprintf(name, sizeof name, "visual.trunk.stages.%d.downsample.0", stage);
            clip_list_norm(listing, before, name);
            snprintf(name, sizeof name, "visual.trunk.stages.%d.downsample.1", stage);
            list_layer(listing, CLIP_SHAPE(width, before, 2, 2), name);
        }
        for (int block = 0; block < tower->blocks[stage]; block++)
            list_block(listing, tower, stage, block);
    }
    clip_list_norm(listing, feature_width(tower), "visual.trunk.head.norm");
    clip_list_projection(listing, tower, feature_width(tower), embed);
}

/* --- open_clip: timm_model_name and timm_model_kwargs --- */

/* What timm's names stand for. */
static const struct named {
    const char *name;
    float epsilon;
    int blocks[STAGES], widths[STAGES];
} names[] = {
    {"convnext_base", EPSILON, {3, 3, 27, 3}, {128, 256, 512, 1024}},
    {"convnext_tiny", EPSILON, {3, 3, 9, 3}, {96, 192, 384, 768}},
    {"convnext_small", EPSILON, {3, 3, 27, 3}, {96, 192, 384, 768}},
    {"convnext_large", EPSILON, {3, 3, 27, 3}, {192, 384, 768, 1536}},
    {"convnext_xlarge", EPSILON, {3, 3, 27, 3}, {256, 512, 1024, 2048}},
    {"convnext_xxlarge", 1e-5f, {3, 4, 30, 3}, {384, 768, 1536, 3072}},
};

static int is_open_clip(struct json_object *object)
{
    return clip_is_timm_named(object, "convnext");
}

static const struct clip_json_option kwargs[] = {
    {"depths", CLIP_JSON_USED, NULL},
    {"dims", CLIP_JSON_USED, NULL},
    {"patch_size", CLIP_JSON_USED, NULL},
    {"kernel_sizes", CLIP_JSON_USED, NULL},
    {"norm_eps", CLIP_JSON_USED, NULL},
    {"ls_init_value", CLIP_JSON_USED, NULL},
    {"drop_rate", CLIP_JSON_IGNORED, NULL},
    {"drop_path_rate", CLIP_JSON_IGNORED, NULL},
    {"head_init_scale", CLIP_JSON_IGNORED, NULL},
    {"stem_type", CLIP_JSON_ONLY, "patch"},
    {"act_layer", CLIP_JSON_ONLY, "gelu"},
};

static int read_kernel(struct json_object *object, const char *where, int *kernel, struct clip_error *error)
{
    int sides[STAGES] = {0};
    if (!json_object_is_type(clip_json_get(object, "kernel_sizes"), json_type_array))
        return clip_json_int(object, where, "kernel_sizes", 1, MAX_KERNEL, kernel, error);
    if (clip_read_list(object, where, "kernel_sizes", STAGES, MAX_KERNEL, sides, error) < 0)
        return -1;
    for (int i = 1; i < STAGES; i++)
        if (sides[i] != sides[0])
            return clip_fail(error, "%s.kernel_sizes: only equal ones are supported", where);
    *kernel = sides[0];
    return 0;
}

static int read_kwargs(struct json_object *object, struct clip_tower_arch *tower, struct clip_error *error)
{
    const char *where = "timm_model_kwargs";
    double epsilon = (double)tower->block.epsilon, scale = (double)LAYER_SCALE;
    struct json_object *null;
    if (clip_json_options(object, where, kwargs, CLIP_COUNT_OF(kwargs), error) != 0 ||
        clip_read_list(object, where, "depths", STAGES, CLIP_MAX_LAYERS, tower->blocks, error) < 0 ||
        clip_read_list(object, where, "dims", STAGES, CLIP_MAX_WIDTH, tower->widths, error) < 0 ||
        clip_json_int(object, where, "patch_size", 1, CLIP_MAX_IMAGE, &tower->patch, error) != 0 ||
        read_kernel(object, where, &tower->kernel, error) != 0 ||
        clip_json_real(object, where, "norm_eps", 1e-12, 1, &epsilon, error) != 0 ||
        clip_json_real(object, where, "ls_init_value", -1e6, 1e6, &scale, error) != 0)
        return -1;
    if (json_object_object_get_ex(object, "ls_init_value", &null) && !null)
        return clip_fail(error, "%s.ls_init_value: a ConvNeXt without layer scale is not supported", where);
    tower->block.epsilon = (float)epsilon;
    tower->block.layer_scale = (float)scale;
    return 0;
}

static int read_name(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                     struct clip_error *error)
{
    const char *name = json_object_get_string(clip_json_get(object, "timm_model_name"));
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (strcmp(names[i].name, name) == 0) {
            memcpy(tower->blocks, names[i].blocks, sizeof names[i].blocks);
            memcpy(tower->widths, names[i].widths, sizeof names[i].widths);
            tower->block.epsilon = names[i].epsilon;
            return 0;
        }
    return clip_fail_timm_name(object, where, error);
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    struct json_object *more = NULL;
    tower->activation = CLIP_GELU;
    tower->patch = PATCH;
    tower->kernel = KERNEL;
    tower->block.layer_scale = LAYER_SCALE;
    if (clip_check_timm_options(object, where, error) != 0 || read_name(object, where, tower, error) != 0 ||
        clip_json_object(object, where, "timm_model_kwargs", &more, error) != 0 ||
        (more && read_kwargs(more, tower, error) != 0) ||
        clip_read_image_size(object, where, &tower->image_size, error) != 0 ||
        clip_read_timm_head(object, where, &clip_head_timm_classifier_fc, tower, error) != 0)
        return -1;
    return clip_check_timm_average(object, where, tower, error);
}

/* The name with these sizes; else the first with the same epsilon, else the first. */
static const struct named *find_name(const struct clip_tower_arch *tower)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (memcmp(tower->blocks, names[i].blocks, sizeof names[i].blocks) == 0 &&
            memcmp(tower->widths, names[i].widths, sizeof names[i].widths) == 0 &&
            tower->block.epsilon == names[i].epsilon)
            return &names[i];
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (tower->block.epsilon == names[i].epsilon)
            return &names[i];
    return names;
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const struct named *named = find_name(tower);
    struct clip_kwargs kwargs = clip_kwargs_begin(file, named->name, "avg", tower);
    clip_kwargs_list(&kwargs, "depths", tower->blocks, STAGES, named->blocks, STAGES);
    clip_kwargs_list(&kwargs, "dims", tower->widths, STAGES, named->widths, STAGES);
    clip_kwargs_int(&kwargs, "patch_size", tower->patch, PATCH);
    clip_kwargs_int(&kwargs, "kernel_sizes", tower->kernel, KERNEL);
    clip_kwargs_real(&kwargs, "norm_eps", (double)tower->block.epsilon, (double)named->epsilon);
    clip_kwargs_real(&kwargs, "ls_init_value", (double)tower->block.layer_scale, (double)LAYER_SCALE);
    clip_kwargs_end(&kwargs, tower);
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {
    {"visual.trunk.stem.0.weight", 0, 0, "", 0}, {"trunk.stem.0.weight", 0, 0, "visual.", 0}, {0}};

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    const int *n = tower->blocks, *w = tower->widths;
    fprintf(out,
            "image %d, ConvNeXt of %d %d %d %d blocks, widths %d %d %d %d, norm epsilon %g, projection %s\n",
            tower->image_size, n[0], n[1], n[2], n[3], w[0], w[1], w[2], w[3], (double)tower->block.epsilon,
            clip_head_of(tower)->title);
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_image(object, tower);
    clip_add_list(object, "layers", tower->blocks, STAGES);
    clip_add_list(object, "widths", tower->widths, STAGES);
    clip_add_int(object, "patch_size", (uint64_t)tower->patch);
    clip_add_int(object, "kernel_size", (uint64_t)tower->kernel);
    clip_add_ends(object, tower);
}

const struct clip_kind clip_kind_convnext = {
    .name = "convnext",
    .title = "ConvNeXt",
    .side = CLIP_SIDE_IMAGE,
    .beta2 = 0.999,
    .epsilon = 1e-8,
    .own_activation = 1,
    .head = &clip_head_timm_linear,
    .width = feature_width,
    .check = check_arch,
    .list = list_tensors,
    .prefixes = clip_image_prefixes,
    .is_open_clip = is_open_clip,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .anchors = anchors,
    .first_tensors = {"visual.trunk.stem.0.weight"},
    .shapes_lack = "a ConvNeXt do not say its image size",
    .describe = describe_tower,
    .describe_json = describe_json,
};
