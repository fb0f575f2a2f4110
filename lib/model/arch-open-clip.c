/* An architecture as open_clip's JSON says it. */
#include "base/array.h"
#include "base/json.h"
#include "model/arch.h"
#include "model/kind.h"
#include "model/place.h"
#include "model/tokenizer-settings.h"

#include <stdlib.h>
#include <string.h>

/* The options of its CLIP model and of its PreprocessCfg; each kind of tower has a table of its own. */
static const struct clip_json_option model_options[] = {
    {"embed_dim", CLIP_JSON_USED, NULL},
    {"quick_gelu", CLIP_JSON_USED, NULL},
    {"vision_cfg", CLIP_JSON_USED, NULL},
    {"text_cfg", CLIP_JSON_USED, NULL},
    {"init_logit_scale", CLIP_JSON_USED, NULL},
    {"init_logit_bias", CLIP_JSON_USED, NULL},
    {"custom_text", CLIP_JSON_USED, NULL},
    {"multimodal_cfg", CLIP_JSON_IGNORED, NULL},
    {"nonscalar_logit_scale", CLIP_JSON_IGNORED, NULL},
    {"cast_dtype", CLIP_JSON_IGNORED, NULL},
    {"output_dict", CLIP_JSON_IGNORED, NULL},
    {"preprocess_cfg", CLIP_JSON_IGNORED, NULL},
};

static const struct clip_json_option preprocess_options[] = {
    {"mean", CLIP_JSON_USED, NULL},          {"std", CLIP_JSON_USED, NULL},
    {"size", CLIP_JSON_IGNORED, NULL}, /* open_clip takes the tower's image size */
    {"fill_color", CLIP_JSON_USED, NULL},    {"mode", CLIP_JSON_ONLY, "RGB"},
    {"interpolation", CLIP_JSON_USED, NULL}, {"resize_mode", CLIP_JSON_USED, NULL},
};

static int read_resizing(struct json_object *object, const char *where,
                         struct clip_preprocess_arch *preprocess, struct clip_error *error)
{
    /* open_clip's "random" is for training only. */
    const char *interpolations[] = {clip_interpolation_names[CLIP_BICUBIC],
                                    clip_interpolation_names[CLIP_BILINEAR], "random"};
    int resize = (int)preprocess->resize, interpolation = (int)preprocess->interpolation;
    if (clip_json_choice(object, where, "resize_mode", clip_resize_names, CLIP_RESIZES, &resize, error) !=
            0 ||
        clip_json_choice(object, where, "interpolation", interpolations, CLIP_COUNT_OF(interpolations),
                         &interpolation, error) != 0 ||
        clip_json_int(object, where, "fill_color", 0, 255, &preprocess->fill_color, error) != 0)
        return -1;
    preprocess->resize = (enum clip_resize)resize;
    preprocess->interpolation = interpolation == CLIP_BILINEAR ? CLIP_BILINEAR : CLIP_BICUBIC;
    return 0;
}

/* Metadata (`own`) also says the order of the steps, which open_clip's form cannot. */
static int read_preprocess(struct json_object *object, int own, struct clip_preprocess_arch *preprocess,
                           struct clip_error *error)
{
    const char *where = "preprocess_cfg";
    if (own && clip_json_flag(object, where, "convert_first", &preprocess->convert_first, error) != 0)
        return -1;
    if (own)
        json_object_object_del(object, "convert_first");
    if (clip_json_options(object, where, preprocess_options, CLIP_COUNT_OF(preprocess_options), error) != 0 ||
        clip_json_channels(object, where, "mean", -1e6, 1e6, preprocess->mean, error) != 0 ||
        read_resizing(object, where, preprocess, error) != 0)
        return -1;
    return clip_json_channels(object, where, "std", 1e-6, 1e6, preprocess->std, error);
}

static int read_logit_scale(struct json_object *model, struct clip_arch *arch, struct clip_error *error)
{
    double scale = arch->init_logit_scale, bias = 0;
    if (clip_json_real(model, "model_cfg", "init_logit_scale", -100, 100, &scale, error) != 0 ||
        clip_json_real(model, "model_cfg", "init_logit_bias", -1000, 1000, &bias, error) != 0)
        return -1;
    arch->init_logit_scale = (float)scale;
    arch->logit_bias = clip_json_get(model, "init_logit_bias") != NULL;
    arch->init_logit_bias = (float)bias;
    return 0;
}

static const char *const tower_keys[CLIP_SIDES] = {"vision_cfg", "text_cfg"};

/* A tower's configuration; NULL: there is no such tower. */
static int read_tower(struct json_object *object, enum clip_side side, int quick, struct clip_arch *arch,
                      struct clip_error *error)
{
    struct clip_tower_arch *tower = &arch->towers[side];
    *tower = (struct clip_tower_arch){.absent = !object, .unprojected = !arch->embed};
    if (!object)
        return 0;
    tower->kind = clip_kind_of_open_clip(side, object);
    arch->custom_text |= tower->kind->custom_text;
    tower->activation = quick ? CLIP_QUICK_GELU : CLIP_GELU;
    tower->vit.pool_width = arch->embed;
    if (tower->kind->read_open_clip(object, tower_keys[side], tower, error) != 0)
        return -1;
    arch->custom_text |= tower->text.variable;
    return 0;
}

/* `config` is {model_cfg, preprocess_cfg}, a model_cfg alone, or metadata that clip_arch_print wrote, in
 * which a tower may be absent. */
static int read_open_clip(struct json_object *config, int own, struct clip_arch *arch,
                          struct clip_error *error)
{
    struct json_object *model = config, *vision = NULL, *text = NULL, *preprocess = NULL;
    int quick = 0;
    if (clip_json_object(config, "configuration", "model_cfg", &model, error) != 0 ||
        clip_json_object(config, "configuration", "preprocess_cfg", &preprocess, error) != 0 ||
        clip_json_options(model, "model_cfg", model_options, CLIP_COUNT_OF(model_options), error) != 0 ||
        clip_json_object(model, "model_cfg", "vision_cfg", &vision, error) != 0 ||
        clip_json_object(model, "model_cfg", "text_cfg", &text, error) != 0 ||
        clip_json_int(model, "model_cfg", "embed_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0 ||
        clip_json_flag(model, "model_cfg", "quick_gelu", &quick, error) != 0 ||
        clip_json_flag(model, "model_cfg", "custom_text", &arch->custom_text, error) != 0)
        return -1;
    if ((!own || (!vision && !text)) && (!vision || !text || !arch->embed))
        return clip_fail(error, "not a model's configuration: it lacks %s",
                         !vision ? "vision_cfg"
                         : !text ? "text_cfg"
                                 : "embed_dim");
    if (clip_read_tokenizer_settings(text, own, &arch->tokenizer, error) != 0 ||
        read_tower(vision, CLIP_SIDE_IMAGE, quick, arch, error) != 0 ||
        read_tower(text, CLIP_SIDE_TEXT, quick, arch, error) != 0 ||
        read_logit_scale(model, arch, error) != 0)
        return -1;
    if (arch->text.class_row && !arch->custom_text)
        return clip_fail(error, "text_cfg.embed_cls: only models with custom_text have a class row");
    if (preprocess && read_preprocess(preprocess, own, &arch->preprocess, error) != 0)
        return -1;
    return clip_arch_check(arch, error);
}

/* The part of a path that names a configuration: its file without ".json", or its folder. */
static void config_name(const char *path, char *name, size_t size)
{
    const char *end = path + strlen(path), *base = end;
    while (base > path && base[-1] != '/')
        base--;
    if (strcmp(base, "open_clip_config.json") == 0 && base > path) {
        end = base - 1;
        base = end;
        while (base > path && base[-1] != '/')
            base--;
    } else if (end - base > 5 && strcmp(end - 5, ".json") == 0) {
        end -= 5;
    }
    snprintf(name, size, "%.*s", (int)(end - base), base);
}

int clip_arch_read_open_clip(struct clip_arch *arch, const char *path, struct clip_error *error)
{
    struct json_object *config = clip_json_read(path, error);
    if (!config)
        return -1;
    clip_arch_clear(arch);
    int result = read_open_clip(config, 0, arch, error);
    json_object_put(config);
    if (result != 0)
        return clip_fail_prefix(error, "%s", path);
    char name[sizeof arch->name];
    config_name(path, name, sizeof name);
    clip_arch_rename(arch, name);
    return 0;
}

int clip_arch_read(struct clip_arch *arch, const char *name_or_path, struct clip_error *error)
{
    if (clip_arch_published(arch, name_or_path))
        return 0;
    char *path = clip_arch_find(name_or_path);
    int result = clip_arch_read_open_clip(arch, path ? path : name_or_path, error);
    int known = path != NULL;
    free(path);
    if (result == 0 || known)
        return result;
    if (!strchr(name_or_path, '/') && !strchr(name_or_path, '.'))
        return clip_fail(error,
                         "%s: no such architecture (a name that 'clip-model list' prints, or an open_clip "
                         "JSON file)",
                         name_or_path);
    return -1;
}

int clip_arch_parse(struct clip_arch *arch, const char *text, struct clip_error *error)
{
    struct json_object *config = clip_json_parse(text, strlen(text), error);
    if (!config)
        return -1;
    clip_arch_clear(arch);
    int result = read_open_clip(config, 1, arch, error);
    json_object_put(config);
    return result;
}

/* open_clip's quick_gelu, which holds for all towers without an activation of their own. */
static int find_quick_gelu(const struct clip_arch *arch, int *quick, struct clip_error *error)
{
    int known = 0;
    *quick = 0;
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        if (tower->absent || tower->kind->own_activation)
            continue;
        if (known && *quick != (tower->activation == CLIP_QUICK_GELU))
            return clip_fail(error, "the towers' activations differ, which open_clip's form cannot express");
        *quick = tower->activation == CLIP_QUICK_GELU;
        known = 1;
    }
    return 0;
}

/* Writes PreprocessCfg; with `own`, also the order of the steps. */
static void put_preprocess(const struct clip_preprocess_arch *preprocess, int own, FILE *file)
{
    fputs("  \"preprocess_cfg\": {\n    \"mean\": ", file);
    clip_arch_put_channels(file, preprocess->mean);
    fputs(",\n    \"std\": ", file);
    clip_arch_put_channels(file, preprocess->std);
    if (own && preprocess->convert_first)
        fputs(",\n    \"convert_first\": true", file);
    fprintf(file, ",\n    \"interpolation\": \"%s\",\n    \"resize_mode\": \"%s\"",
            clip_interpolation_names[preprocess->interpolation], clip_resize_names[preprocess->resize]);
    if (preprocess->fill_color)
        fprintf(file, ",\n    \"fill_color\": %d", preprocess->fill_color);
    fputs("\n  }\n", file);
}

/* Writes the configuration; with `own`, also what only a file's metadata says. */
static int put_config(const struct clip_arch *arch, int own, FILE *file, struct clip_error *error)
{
    int quick;
    if (find_quick_gelu(arch, &quick, error) != 0)
        return -1;
    fputs("{\n  \"model_cfg\": {\n", file);
    if (arch->embed)
        fprintf(file, "    \"embed_dim\": %d,\n", arch->embed);
    fprintf(file, "    \"quick_gelu\": %s,\n", quick ? "true" : "false");
    if (arch->custom_text)
        fputs("    \"custom_text\": true,\n", file);
    if (arch->init_logit_scale != CLIP_INIT_LOGIT_SCALE)
        fprintf(file, "    \"init_logit_scale\": %.9g,\n", (double)arch->init_logit_scale);
    if (arch->logit_bias)
        fprintf(file, "    \"init_logit_bias\": %.9g,\n", (double)arch->init_logit_bias);
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        if (tower->absent)
            continue;
        fprintf(file, "    \"%s\": {\n", tower_keys[side]);
        if (side == CLIP_SIDE_TEXT)
            clip_put_tokenizer_settings(file, own, &arch->tokenizer);
        tower->kind->put_open_clip(file, own, tower);
        fputs(side == CLIP_SIDE_IMAGE && !arch->text.absent ? "    },\n" : "    }\n", file);
    }
    fputs("  },\n", file);
    put_preprocess(&arch->preprocess, own, file);
    fputs("}\n", file);
    return 0;
}

int clip_arch_write_open_clip(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    if (clip_arch_side(arch) != CLIP_SIDE_BOTH)
        return clip_fail(error, "open_clip's form has both towers, and the model has no %s tower",
                         clip_side_names[!clip_arch_side(arch)]);
    return put_config(arch, 0, file, error);
}

char *clip_arch_print(const struct clip_arch *arch, struct clip_error *error)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    int result = file ? put_config(arch, 1, file, error) : clip_fail_memory(error, "a configuration");
    if (file && fclose(file) != 0 && result == 0)
        result = clip_fail_memory(error, "a configuration");
    if (result == 0)
        return text;
    free(text);
    return NULL;
}
