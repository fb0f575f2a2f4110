/* An architecture as Hugging Face's folder says it: config.json (transformers' CLIPConfig). */
#include "base/json.h"
#include "model/arch.h"
#include "model/kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* transformers' default, where a configuration is silent. */
enum { DEFAULT_EMBED = 512 };

/* One tower's configuration. An old file's *_config_dict, completed by the defaults, overrides it whole. */
static int find_tower(struct json_object *config, const struct clip_hf_form *form, struct json_object *empty,
                      struct json_object **tower, struct clip_error *error)
{
    struct json_object *old = NULL;
    *tower = empty;
    if (clip_json_object(config, "config", form->key, tower, error) != 0 ||
        clip_json_object(config, "config", form->old_key, &old, error) != 0)
        return -1;
    if (old)
        *tower = old;
    return 0;
}

/* 1 if one of the `architectures` begins so. */
static int is_made_as(struct json_object *config, const char *start)
{
    struct json_object *list = clip_json_get(config, "architectures");
    for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list);
         i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(list, i));
        if (name && strncmp(name, start, strlen(start)) == 0)
            return 1;
    }
    return 0;
}

/* The kinds of the two towers that the form knows. */
static const struct clip_hf_form *form_of(enum clip_side side)
{
    return &clip_kind_of_hf(side)->hf;
}

/* 1 if the configurations of towers stand in one of the whole. */
static int is_nested(struct json_object *config)
{
    int nested = 0;
    for (int side = 0; side < CLIP_SIDES; side++)
        nested |= clip_json_get(config, form_of(side)->key) || clip_json_get(config, form_of(side)->old_key);
    return nested;
}

/* Which towers the model has, by its type or its class; `flat`: it is a tower's configuration. */
static int read_towers(struct json_object *config, int *flat, struct clip_arch *arch,
                       struct clip_error *error)
{
    const struct clip_hf_form *vision = form_of(CLIP_SIDE_IMAGE), *text = form_of(CLIP_SIDE_TEXT);
    const char *type = NULL;
    if (clip_json_string(config, "config", "model_type", &type, error) != 0)
        return -1;
    if (!type && !is_nested(config))
        return clip_fail(
            error, "not the configuration of a CLIP model: it has neither a model_type nor a text_config "
                   "and a vision_config");
    if (!type)
        type = "clip";
    *flat = strcmp(type, "clip") != 0;
    if (*flat && strcmp(type, vision->type) != 0 && strcmp(type, text->type) != 0)
        return clip_fail(
            error, "model_type: \"%.40s\" is not supported (only \"clip\", \"%s\", \"%s\" and \"siglip\")",
            type, vision->type, text->type);
    arch->text.absent = strcmp(type, vision->type) == 0 || is_made_as(config, vision->class);
    arch->vision.absent = strcmp(type, text->type) == 0 || is_made_as(config, text->class);
    return 0;
}

/* The configuration of a tower: a part of the whole's, or the whole of a model of one tower. */
static int read_tower(struct json_object *config, enum clip_side side, int flat, struct json_object *empty,
                      struct clip_arch *arch, struct clip_error *error)
{
    struct clip_tower_arch *tower = &arch->towers[side];
    struct json_object *object = config;
    if (tower->absent)
        return 0;
    tower->kind = clip_kind_of_hf(side);
    const struct clip_hf_form *form = &tower->kind->hf;
    const char *where = form->key;
    if ((!flat || clip_json_get(config, where)) && find_tower(config, form, empty, &object, error) != 0)
        return -1;
    if (flat && clip_json_int(object, where, "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0)
        return -1;
    if (object == config)
        where = "config";
    return form->read(object, where, tower, error);
}

/* A SiglipModel: its towers, the scale and the bias of its logits. */
static int read_siglip(struct json_object *config, struct json_object *empty, struct clip_arch *arch,
                       struct clip_error *error)
{
    int embed = 0;
    for (int side = 0; side < CLIP_SIDES; side++) {
        struct clip_tower_arch *tower = &arch->towers[side];
        struct json_object *object = empty;
        tower->kind = clip_kind_of_siglip(side);
        const struct clip_hf_form *form = &tower->kind->siglip;
        if (clip_json_object(config, "config", form->key, &object, error) != 0 ||
            form->read(object, form->key, tower, error) != 0 ||
            clip_json_int(object, form->key, "projection_size", 1, CLIP_MAX_WIDTH, &embed, error) != 0)
            return -1;
    }
    arch->embed = embed ? embed : arch->text.width;
    arch->logit_bias = arch->custom_text = 1;
    arch->init_logit_bias = -10;
    return clip_arch_check(arch, error);
}

static int read_config(struct json_object *config, struct json_object *empty, struct clip_arch *arch,
                       struct clip_error *error)
{
    const char *type = NULL;
    if (clip_json_string(config, "config", "model_type", &type, error) != 0)
        return -1;
    if (type && strcmp(type, "siglip") == 0)
        return read_siglip(config, empty, arch, error);

    int flat;
    double scale = arch->init_logit_scale;
    arch->embed = DEFAULT_EMBED;
    if (read_towers(config, &flat, arch, error) != 0)
        return -1;
    if (clip_json_int(config, "config", "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0 ||
        clip_json_real(config, "config", "logit_scale_init_value", -100, 100, &scale, error) != 0 ||
        read_tower(config, CLIP_SIDE_TEXT, flat, empty, arch, error) != 0 ||
        read_tower(config, CLIP_SIDE_IMAGE, flat, empty, arch, error) != 0)
        return -1;
    /* transformers writes ln(1/0.07) rounded to 2.6592. */
    if (fabs(scale - arch->init_logit_scale) > 1e-4)
        arch->init_logit_scale = (float)scale;
    return clip_arch_check(arch, error);
}

int clip_arch_is_hf(const char *folder)
{
    struct clip_error ignored;
    char *path;
    if (asprintf(&path, "%s/config.json", folder) < 0)
        return 0;
    struct json_object *config = clip_json_read(path, &ignored);
    free(path);
    const char *type = config ? json_object_get_string(clip_json_get(config, "model_type")) : NULL;
    int is =
        config && (type ? strncmp(type, "clip", 4) == 0 || strncmp(type, "siglip", 6) == 0
                        : clip_json_get(config, "text_config") || clip_json_get(config, "vision_config"));
    json_object_put(config);
    return is;
}

static int read_config_file(struct clip_arch *arch, const char *path, struct clip_error *error)
{
    struct json_object *config = clip_json_read(path, error);
    if (!config)
        return -1;
    struct json_object *empty = json_object_new_object();
    int result = empty ? read_config(config, empty, arch, error) : clip_fail_memory(error, "JSON");
    json_object_put(empty);
    json_object_put(config);
    return result == 0 ? 0 : clip_fail_prefix(error, "%s", path);
}

int clip_arch_read_hf(struct clip_arch *arch, const char *folder, struct clip_error *error)
{
    char *config = NULL, *preprocessor = NULL;
    int result;
    clip_arch_clear(arch);
    arch->preprocess.convert_first = 1;
    if (asprintf(&config, "%s/config.json", folder) < 0 ||
        asprintf(&preprocessor, "%s/preprocessor_config.json", folder) < 0)
        result = clip_fail_memory(error, "a file name");
    else if ((result = read_config_file(arch, config, error)) == 0)
        result = arch->vision.absent ? 0 : clip_arch_read_hf_preprocessor(arch, preprocessor, error);
    free(config);
    free(preprocessor);
    return result;
}

/* --- writing them --- */

static void put_tower(FILE *file, const char *in, const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    fprintf(file, "%s\"model_type\": \"%s\",\n", in, tower->kind->hf.type);
    tower->kind->hf.put(file, in, tower, arch->embed);
}

/* A model of one tower: the tower's configuration alone. */
static void put_one(FILE *file, const struct clip_arch *arch)
{
    enum clip_side side = arch->vision.absent ? CLIP_SIDE_TEXT : CLIP_SIDE_IMAGE;
    const struct clip_tower_arch *tower = &arch->towers[side];
    fprintf(file, "{\n  \"architectures\": [\"%s%s\"],\n", tower->kind->hf.class,
            tower->unprojected ? "" : "WithProjection");
    put_tower(file, "  ", arch, side);
    fputs("}\n", file);
}

int clip_arch_refuse_hf(const struct clip_arch *arch, struct clip_error *error)
{
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        if (!tower->absent && !tower->kind->hf.put)
            return clip_fail(error, "Hugging Face's form has no %ss", tower->kind->title);
    }
    if (arch->logit_bias)
        return clip_fail(error, "Hugging Face's form has no logit bias");
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        if (!tower->absent && tower->kind->hf.refuse && tower->kind->hf.refuse(tower, error) != 0)
            return -1;
    }
    return 0;
}

int clip_arch_write_hf(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    if (clip_arch_refuse_hf(arch, error) != 0)
        return -1;
    if (arch->vision.absent || arch->text.absent) {
        put_one(file, arch);
        return 0;
    }
    fputs("{\n  \"architectures\": [\"CLIPModel\"],\n  \"model_type\": \"clip\",\n", file);
    fprintf(file, "  \"projection_dim\": %d,\n  \"logit_scale_init_value\": %.9g,\n", arch->embed,
            (double)arch->init_logit_scale);
    for (int side = CLIP_SIDES; side-- > 0;) {
        fprintf(file, "  \"%s\": {\n", arch->towers[side].kind->hf.key);
        put_tower(file, "    ", arch, side);
        fputs(side ? "  },\n" : "  }\n", file);
    }
    fputs("}\n", file);
    return 0;
}
