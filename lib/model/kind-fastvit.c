/* FastViT of MobileCLIP (mci0 to mci4), as timm has it: blocks of convolutions with batch norms, whose
 * outputs are summed where several read the same input, and in the last stages blocks of attention. Names are
 * timm's.
 *
 * A model for inference may have these branches fused into one convolution with a bias, reparam_conv. */
#include "model/shapes.h"
#include "model/timm-config.h"

#include <string.h>

/* The width of a head of attention, and of the last convolution for each channel that it reads. */
enum { HEAD = 32, FINAL = 2 };

static size_t feature_width(const struct clip_tower_arch *tower)
{
    return FINAL * (size_t)tower->widths[tower->fastvit.stages - 1];
}

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    const struct clip_fastvit_arch *fastvit = &tower->fastvit;
    if (clip_check_bounds("image size", tower->image_size, CLIP_MAX_IMAGE, error) != 0)
        return -1;
    for (int i = 0; i < fastvit->stages; i++) {
        if (clip_check_bounds("vision layers", tower->blocks[i], CLIP_MAX_LAYERS, error) != 0 ||
            clip_check_bounds("vision width", tower->widths[i], CLIP_MAX_WIDTH / FINAL, error) != 0)
            return -1;
        if (i > 0 && tower->widths[i] % tower->widths[i - 1])
            return clip_fail(error, "a FastViT's width of %d is not a multiple of the %d before",
                             tower->widths[i], tower->widths[i - 1]);
        if (i >= fastvit->stages - fastvit->attending && tower->widths[i] % HEAD)
            return clip_fail(error, "a FastViT's width of %d cannot be split into heads of %d",
                             tower->widths[i], HEAD);
    }
    return 0;
}

/* --- tensors --- */

/* What timm draws for hidden layers and attention; it truncates at 2, which is 100 deviations. The rest is
 * drawn as PyTorch does by default. */
#define DRAWN clip_initial_normal(0.02)

/* Lists a convolution of shape [out, inputs of a group, side, side] without bias, and its batch norm. */
static void list_conv(struct clip_listing *listing, struct clip_initial initial, const size_t shape[4],
                      const char *format, const char *at)
{
    char name[96], norm[96];
    snprintf(name, sizeof name, format, at);
    clip_list_tensor(listing, initial, shape, "%s.conv.weight", name);
    snprintf(norm, sizeof norm, "%.90s.bn", name);
    clip_list_batch_norm(listing, shape[0], clip_initial_ones, norm);
}

/* The same, drawn as PyTorch does by default. */
static void list_branch(struct clip_listing *listing, size_t out, size_t inputs, size_t side,
                        const char *format, const char *at)
{
    list_conv(listing, clip_initial_fan_in(inputs * side * side), CLIP_SHAPE(out, inputs, side, side), format,
              at);
}

static void list_biased(struct clip_listing *listing, struct clip_initial initial,
                        struct clip_initial of_bias, const size_t shape[4], const char *format,
                        const char *at)
{
    char name[112];
    snprintf(name, sizeof name, format, at);
    clip_list_tensor(listing, initial, shape, "%s.weight", name);
    clip_list_tensor(listing, of_bias, CLIP_SHAPE(shape[0]), "%s.bias", name);
}

/* Lists a layer with bias, drawn as PyTorch does by default for n inputs. */
static void list_default(struct clip_listing *listing, size_t n, const size_t shape[4], const char *format,
                         const char *at)
{
    list_biased(listing, clip_initial_fan_in(n), clip_initial_fan_in(n), shape, format, at);
}

static void list_excitation(struct clip_listing *listing, size_t width, size_t hidden, const char *format,
                            const char *at)
{
    char name[96];
    snprintf(name, sizeof name, format, at);
    list_default(listing, width, CLIP_SHAPE(hidden, width, 1, 1), "%s.fc1", name);
    list_default(listing, hidden, CLIP_SHAPE(width, hidden, 1, 1), "%s.fc2", name);
}

/* Lists the convolution with bias that branches are fused into. */
static void list_fused(struct clip_listing *listing, size_t out, size_t inputs, size_t side,
                       const char *format, const char *at)
{
    list_default(listing, inputs * side * side, CLIP_SHAPE(out, inputs, side, side), format, at);
}

/* The branches of a MobileOne block beside its convolution; or that they are fused. */
enum { IDENTITY = 1, SCALE = 2, FUSED = 4 };

static void list_mobile_one(struct clip_listing *listing, size_t out, size_t inputs, size_t side,
                            int branches, const char *at)
{
    char name[112];
    if (branches & FUSED) {
        list_fused(listing, out, inputs, side, "%s.reparam_conv", at);
        return;
    }
    snprintf(name, sizeof name, "%s.identity", at);
    if (branches & IDENTITY)
        clip_list_batch_norm(listing, out, clip_initial_ones, name);
    list_branch(listing, out, inputs, side, "%s.conv_kxk.0", at);
    if (branches & SCALE)
        list_branch(listing, out, inputs, 1, "%s.conv_scale", at);
}

static void list_mlp(struct clip_listing *listing, size_t width, size_t hidden, const char *at)
{
    list_conv(listing, DRAWN, CLIP_SHAPE(width, 1, 7, 7), "%s.mlp.conv", at);
    list_biased(listing, DRAWN, clip_initial_zeros, CLIP_SHAPE(hidden, width, 1, 1), "%s.mlp.fc1", at);
    list_biased(listing, DRAWN, clip_initial_zeros, CLIP_SHAPE(width, hidden, 1, 1), "%s.mlp.fc2", at);
}

static void list_scale(struct clip_listing *listing, size_t width, const char *format, const char *at)
{
    char name[96];
    snprintf(name, sizeof name, format, at);
    clip_list_tensor(listing, (struct clip_initial){CLIP_DRAW_CONSTANT, 1e-5}, CLIP_SHAPE(width, 1, 1),
                     "%s.gamma", name);
}

static void list_mixer(struct clip_listing *listing, const struct clip_fastvit_arch *fastvit, size_t width,
                       size_t hidden, const char *at)
{
    char name[96];
    list_scale(listing, width, "%s.layer_scale", at);
    if (fastvit->fused) {
        list_fused(listing, width, 1, 3, "%s.token_mixer.reparam_conv", at);
    } else {
        list_scale(listing, width, "%s.token_mixer.layer_scale", at);
        snprintf(name, sizeof name, "%s.token_mixer.norm.identity", at);
        clip_list_batch_norm(listing, width, clip_initial_ones, name);
        snprintf(name, sizeof name, "%s.token_mixer.mixer", at);
        list_mobile_one(listing, width, 1, 3, IDENTITY | SCALE, name);
    }
    list_mlp(listing, width, hidden, at);
}

static void list_attention(struct clip_listing *listing, const struct clip_fastvit_arch *fastvit,
                           size_t width, size_t hidden, const char *at)
{
    char name[96];
    snprintf(name, sizeof name, "%s.norm", at);
    if (fastvit->second)
        clip_list_norm(listing, width, name);
    else
        clip_list_batch_norm(listing, width, clip_initial_ones, name);
    clip_list_tensor(listing, DRAWN, CLIP_SHAPE(3 * width, width), "%s.token_mixer.qkv.weight", at);
    list_biased(listing, DRAWN, clip_initial_zeros, CLIP_SHAPE(width, width), "%s.token_mixer.proj", at);
    list_scale(listing, width, "%s.layer_scale_1", at);
    list_mlp(listing, width, hidden, at);
    list_scale(listing, width, "%s.layer_scale_2", at);
}

/* A quarter of the channels, rounded to a multiple of 8, but to no less than nine tenths of it (timm's
 * make_divisible). */
static size_t excitation_width(size_t width)
{
    size_t quarter = width / 4, rounded = (quarter + 4) / 8 * 8;
    rounded = rounded < 8 ? 8 : rounded;
    return 10 * rounded < 9 * quarter ? rounded + 8 : rounded;
}

static void list_downsample(struct clip_listing *listing, const struct clip_tower_arch *tower, int stage)
{
    size_t width = (size_t)tower->widths[stage];
    char at[64], name[96];
    snprintf(at, sizeof at, "visual.trunk.stages.%d.downsample.proj", stage);
    if (tower->fastvit.fused) {
        list_fused(listing, width, 1, 7, "%s.0.reparam_conv", at);
    } else {
        list_branch(listing, width, 1, 7, "%s.0.large_conv", at);
        list_branch(listing, width, 1, 3, "%s.0.small_conv", at);
    }
    if (!tower->fastvit.second && stage >= 2)
        list_excitation(listing, width, excitation_width(width), "%s.0.se", at);
    snprintf(name, sizeof name, "%s.1", at);
    list_mobile_one(listing, width, width, 1, tower->fastvit.fused ? FUSED : IDENTITY, name);
}

static void list_stage(struct clip_listing *listing, const struct clip_tower_arch *tower, int stage)
{
    const struct clip_fastvit_arch *fastvit = &tower->fastvit;
    size_t width = (size_t)tower->widths[stage], hidden = (size_t)fastvit->ratio * width;
    int attends = stage >= fastvit->stages - fastvit->attending;
    char at[64];
    if (stage > 0)
        list_downsample(listing, tower, stage);
    snprintf(at, sizeof at, "visual.trunk.stages.%d", stage);
    if (attends)
        list_default(listing, 49, CLIP_SHAPE(width, 1, 7, 7),
                     fastvit->fused ? "%s.pos_emb.reparam_conv" : "%s.pos_emb.pos_enc", at);
    for (int block = 0; block < tower->blocks[stage]; block++) {
        snprintf(at, sizeof at, "visual.trunk.stages.%d.blocks.%d", stage, block);
        if (attends)
            list_attention(listing, fastvit, width, hidden, at);
        else
            list_mixer(listing, fastvit, width, hidden, at);
    }
}

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    size_t width = (size_t)tower->widths[0], last = (size_t)tower->widths[tower->fastvit.stages - 1];
    int fused = tower->fastvit.fused ? FUSED : 0, scale = fused | (tower->fastvit.second ? 0 : SCALE);
    list_mobile_one(listing, width, 3, 3, scale, "visual.trunk.stem.0");
    list_mobile_one(listing, width, 1, 3, scale, "visual.trunk.stem.1");
    list_mobile_one(listing, width, width, 1, fused | IDENTITY, "visual.trunk.stem.2");
    for (int stage = 0; stage < tower->fastvit.stages; stage++)
        list_stage(listing, tower, stage);
    list_excitation(listing, FINAL * last, FINAL * last / 16, "%s", "visual.trunk.final_conv.se");
    list_mobile_one(listing, FINAL * last, 1, 3, fused | SCALE, "visual.trunk.final_conv");
    clip_list_projection(listing, tower, FINAL * last, embed);
}

/* --- open_clip: timm_model_name and timm_model_kwargs --- */

static const struct named {
    const char *name;
    struct clip_fastvit_arch fastvit;
    int blocks[CLIP_MAX_STAGES], widths[CLIP_MAX_STAGES];
} names[] = {
    {"fastvit_mci0", {4, 1, 3, 0, 0}, {2, 6, 10, 2}, {64, 128, 256, 512}},
    {"fastvit_mci1", {4, 1, 3, 0, 0}, {4, 12, 20, 4}, {64, 128, 256, 512}},
    {"fastvit_mci2", {4, 1, 3, 0, 0}, {4, 12, 24, 4}, {80, 160, 320, 640}},
    {"fastvit_mci3", {5, 2, 4, 1, 0}, {2, 12, 24, 4, 2}, {96, 192, 384, 768, 1536}},
    {"fastvit_mci4", {5, 2, 4, 1, 0}, {2, 12, 24, 4, 4}, {128, 256, 512, 1024, 2048}},
};

static int is_open_clip(struct json_object *object)
{
    return clip_is_timm_named(object, "fastvit");
}

static const struct clip_json_option kwargs[] = {{"layers", CLIP_JSON_USED, NULL},
                                                 {"embed_dims", CLIP_JSON_USED, NULL},
                                                 {"inference_mode", CLIP_JSON_USED, NULL},
                                                 {"drop_rate", CLIP_JSON_IGNORED, NULL},
                                                 {"drop_path_rate", CLIP_JSON_IGNORED, NULL}};

static int read_kwargs(struct json_object *object, struct clip_tower_arch *tower, struct clip_error *error)
{
    static const char where[] = "timm_model_kwargs";
    int stages = tower->fastvit.stages;
    if (clip_json_options(object, where, kwargs, CLIP_COUNT_OF(kwargs), error) != 0 ||
        clip_json_flag(object, where, "inference_mode", &tower->fastvit.fused, error) != 0 ||
        clip_read_list(object, where, "layers", stages, CLIP_MAX_LAYERS, tower->blocks, error) < 0 ||
        clip_read_list(object, where, "embed_dims", stages, CLIP_MAX_WIDTH, tower->widths, error) < 0)
        return -1;
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
            tower->fastvit = names[i].fastvit;
            return 0;
        }
    return clip_fail_timm_name(object, where, error);
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    struct json_object *more = NULL;
    const char *pool = json_object_object_get_ex(object, "timm_pool", NULL) ? "" : "avg";
    tower->activation = CLIP_GELU;
    if (clip_check_timm_options(object, where, error) != 0 || read_name(object, where, tower, error) != 0 ||
        clip_json_object(object, where, "timm_model_kwargs", &more, error) != 0 ||
        (more && read_kwargs(more, tower, error) != 0) ||
        clip_read_image_size(object, where, &tower->image_size, error) != 0 ||
        clip_read_timm_head(object, where, &clip_head_timm_classifier_fc, tower, error) != 0 ||
        clip_json_string(object, where, "timm_pool", &pool, error) != 0)
        return -1;
    return strcmp(pool, "avg") == 0
               ? 0
               : clip_fail(error, "%s.timm_pool: \"%.40s\" is not supported (only \"avg\")", where, pool);
}

/* Finds the name with these sizes, or else the first name of the same variant. */
static const struct named *find_name(const struct clip_tower_arch *tower)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (memcmp(tower->blocks, names[i].blocks, sizeof names[i].blocks) == 0 &&
            memcmp(tower->widths, names[i].widths, sizeof names[i].widths) == 0)
            return &names[i];
    const struct named *named = names;
    while (named->fastvit.second != tower->fastvit.second)
        named++;
    return named;
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const struct named *named = find_name(tower);
    struct clip_kwargs kwargs = clip_kwargs_begin(file, named->name, "avg", tower);
    int stages = tower->fastvit.stages,
        same = memcmp(tower->blocks, named->blocks, sizeof named->blocks) == 0 &&
               memcmp(tower->widths, named->widths, sizeof named->widths) == 0;
    if (tower->fastvit.fused)
        clip_kwargs_put(&kwargs, "inference_mode", "true");
    if (!same) {
        clip_kwargs_list(&kwargs, "layers", tower->blocks, stages, NULL, 0);
        clip_kwargs_list(&kwargs, "embed_dims", tower->widths, stages, NULL, 0);
    }
    clip_kwargs_end(&kwargs, tower);
}

/* --- shapes --- */

#define FIRST "visual.trunk.stem.0.conv_kxk.0.conv.weight"
#define FIRST_FUSED "visual.trunk.stem.0.reparam_conv.weight"

static const struct clip_anchor anchors[] = {{FIRST, 0, 0, "", 0},
                                             {"trunk.stem.0.conv_kxk.0.conv.weight", 0, 0, "visual.", 0},
                                             {FIRST_FUSED, 0, 0, "", 0},
                                             {"trunk.stem.0.reparam_conv.weight", 0, 0, "visual.", 0},
                                             {0}};

static void fit_weights(struct clip_tower_arch *tower, const struct clip_weights *weights)
{
    tower->fastvit.fused = !clip_weights_find(weights, FIRST) && clip_weights_find(weights, FIRST_FUSED);
}

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    int stages = tower->fastvit.stages;
    fprintf(out, "image %d, FastViT of", tower->image_size);
    for (int i = 0; i < stages; i++)
        fprintf(out, " %d", tower->blocks[i]);
    fprintf(out, " blocks, of attention in the last %d of %d stages, widths", tower->fastvit.attending,
            stages);
    for (int i = 0; i < stages; i++)
        fprintf(out, " %d", tower->widths[i]);
    fprintf(out, "%s, projection %s\n", tower->fastvit.fused ? ", fused branches" : "",
            clip_head_of(tower)->title);
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_image(object, tower);
    clip_add_list(object, "layers", tower->blocks, tower->fastvit.stages);
    clip_add_list(object, "widths", tower->widths, tower->fastvit.stages);
    clip_add_int(object, "attention_stages", (uint64_t)tower->fastvit.attending);
    clip_add_int(object, "mlp_ratio", (uint64_t)tower->fastvit.ratio);
    json_object_object_add(object, "fused", json_object_new_boolean(tower->fastvit.fused));
    clip_add_ends(object, tower);
}

const struct clip_kind clip_kind_fastvit = {
    .name = "fastvit",
    .title = "FastViT",
    .side = CLIP_SIDE_IMAGE,
    .beta2 = 0.999,
    .epsilon = 1e-8,
    .own_activation = 1,
    .head = &clip_head_timm_classifier_fc,
    .width = feature_width,
    .check = check_arch,
    .list = list_tensors,
    .prefixes = clip_image_prefixes,
    .is_open_clip = is_open_clip,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .anchors = anchors,
    .first_tensors = {FIRST, FIRST_FUSED},
    .shapes_lack = "a FastViT do not say its image size",
    .fit = fit_weights,
    .describe = describe_tower,
    .describe_json = describe_json,
};
