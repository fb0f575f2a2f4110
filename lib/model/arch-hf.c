/* An architecture as Hugging Face's folder says it: config.json of one of the models of model/kind.h. */
#include "base/json.h"
#include "model/arch.h"
#include "model/kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One tower's configuration. An old file's *_config_dict, completed by the defaults, overrides it whole. */
static int find_tower(struct json_object *config, const struct clip_hf_form *form, struct json_object *empty,
                      struct json_object **tower, struct clip_error *error)
{
    struct json_object *old = NULL;
    *tower = empty;
    if (clip_json_object(config, "config", form->key, tower, error) != 0 ||
        (form->old_key && clip_json_object(config, "config", form->old_key, &old, error) != 0))
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

/* The form that a model has of a tower. */
static const struct clip_hf_form *form_of(const struct clip_hf_model *model, enum clip_side side)
{
    return &clip_kind_of_hf(side, model->forms[side])->hf[model->forms[side]];
}

/* 1 if the configurations of towers stand in one of the whole. */
static int is_nested(struct json_object *config)
{
    int nested = 0;
    for (int side = 0; side < CLIP_SIDES; side++)
        nested |= clip_json_get(config, form_of(clip_hf_models, side)->key) ||
                  clip_json_get(config, form_of(clip_hf_models, side)->old_key);
    return nested;
}

/* "clip", "siglip" and the others, and the types of CLIP's towers alone. */
static int fail_type(const char *type, struct clip_error *error)
{
    char known[300] = "";
    size_t used = 0;
    for (const struct clip_hf_model *model = clip_hf_models; model->type; model++)
        used += (size_t)snprintf(known + used, sizeof known - used, "\"%s\", ", model->type);
    return clip_fail(error, "model_type: \"%.40s\" is not supported (only %s\"%s\" and \"%s\")", type, known,
                     clip_hf_models->tower_types[CLIP_SIDE_IMAGE],
                     clip_hf_models->tower_types[CLIP_SIDE_TEXT]);
}

/* Which model it is and which towers it has, by its type or its class; `flat`: it is a tower's configuration.
 * NULL with error. */
static const struct clip_hf_model *find_model(struct json_object *config, int *flat, struct clip_arch *arch,
                                              struct clip_error *error)
{
    const struct clip_hf_model *model = clip_hf_models;
    const char *type = NULL;
    *flat = 0;
    if (clip_json_string(config, "config", "model_type", &type, error) != 0)
        return NULL;
    if (!type && !is_nested(config)) {
        clip_fail(error,
                  "not the configuration of a CLIP model: it has neither a model_type nor a text_config "
                  "and a vision_config");
        return NULL;
    }
    for (int side = 0; side < CLIP_SIDES; side++) {
        struct clip_tower_arch *other = &arch->towers[!side];
        *flat |= type && strcmp(type, model->tower_types[side]) == 0;
        other->absent = (type && strcmp(type, model->tower_types[side]) == 0) ||
                        is_made_as(config, form_of(model, side)->class);
    }
    while (model->type && !*flat && type && strcmp(type, model->type) != 0)
        model++;
    if (model->type)
        return model;
    fail_type(type, error);
    return NULL;
}

/* The configuration of a tower: a part of the whole's, or the whole of a model of one tower. */
static int read_tower(struct json_object *config, const struct clip_hf_model *model, enum clip_side side,
                      int flat, struct json_object *empty, struct clip_arch *arch, struct clip_error *error)
{
    struct clip_tower_arch *tower = &arch->towers[side];
    struct json_object *object = config;
    if (tower->absent)
        return 0;
    tower->kind = clip_kind_of_hf(side, model->forms[side]);
    const struct clip_hf_form *form = form_of(model, side);
    const char *where = form->key;
    if ((!flat || clip_json_get(config, where)) && find_tower(config, form, empty, &object, error) != 0)
        return -1;
    if ((flat &&
         clip_json_int(object, where, "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0) ||
        (!model->embed &&
         clip_json_int(object, where, "projection_size", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0))
        return -1;
    if (object == config)
        where = "config";
    arch->custom_text |= tower->kind->custom_text;
    return form->read(object, where, tower, error);
}

/* SigLIP's logits have a bias, its pictures a preprocessing of their own. */
static void set_sigmoid(struct clip_arch *arch)
{
    arch->logit_bias = arch->custom_text = 1;
    arch->init_logit_bias = -10;
    if (!arch->embed)
        arch->embed = arch->text.width;
    arch->preprocess.resize = CLIP_SQUASH;
    for (int c = 0; c < 3; c++)
        arch->preprocess.mean[c] = arch->preprocess.std[c] = 0.5f;
}

static int read_config(struct json_object *config, struct json_object *empty, struct clip_arch *arch,
                       struct clip_error *error)
{
    int flat;
    double scale = arch->init_logit_scale;
    const struct clip_hf_model *model = find_model(config, &flat, arch, error);
    if (!model)
        return -1;
    arch->embed = model->embed;
    if ((model->embed &&
         clip_json_int(config, "config", "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0) ||
        clip_json_real(config, "config", "logit_scale_init_value", -100, 100, &scale, error) != 0 ||
        read_tower(config, model, CLIP_SIDE_TEXT, flat, empty, arch, error) != 0 ||
        read_tower(config, model, CLIP_SIDE_IMAGE, flat, empty, arch, error) != 0)
        return -1;
    if (model->sigmoid)
        set_sigmoid(arch);
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
    for (const struct clip_hf_model *model = clip_hf_models; type && model->type; model++)
        is |= strcmp(type, model->type) == 0;
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

static void put_tower(FILE *file, const char *in, const struct clip_arch *arch,
                      const struct clip_hf_model *model, enum clip_side side)
{
    fprintf(file, "%s\"model_type\": \"%s\",\n", in, model->tower_types[side]);
    form_of(model, side)->put(file, in, &arch->towers[side], arch->embed);
}

/* A model of one tower: the tower's configuration alone. */
static void put_one(FILE *file, const struct clip_arch *arch, const struct clip_hf_model *model,
                    enum clip_side side)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    fprintf(file, "{\n  \"architectures\": [\"%s%s\"],\n", form_of(model, side)->class,
            tower->unprojected ? "" : "WithProjection");
    put_tower(file, "  ", arch, model, side);
    fputs("}\n", file);
}

/* -1 where the model's form cannot say what the architecture is. */
static int refuse_form(const struct clip_arch *arch, const struct clip_hf_model *model,
                       struct clip_error *error)
{
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_tower_arch *tower = &arch->towers[side];
        const struct clip_hf_form *form = tower->absent ? NULL : form_of(model, side);
        if (form && form->refuse && form->refuse(tower, error) != 0)
            return -1;
        if (tower->absent && !form_of(model, !side)->class)
            return clip_fail(error, "Hugging Face's form of a %s has both towers", model->class);
    }
    if (arch->logit_bias != model->sigmoid)
        return clip_fail(error, "Hugging Face's form of a %s has %s logit bias", model->class,
                         model->sigmoid ? "a" : "no");
    return 0;
}

const struct clip_hf_model *clip_hf_model_of(const struct clip_arch *arch, struct clip_error *error)
{
    struct clip_error reason;
    int tried = 0;
    for (int side = 0; side < CLIP_SIDES; side++) {
        int known = arch->towers[side].absent;
        for (int form = 0; !known && form < CLIP_HF_FORMS; form++)
            known = arch->towers[side].kind->hf[form].put != NULL;
        if (!known) {
            clip_fail(error, "Hugging Face's form has no %ss", arch->towers[side].kind->title);
            return NULL;
        }
    }
    for (const struct clip_hf_model *model = clip_hf_models; model->type; model++) {
        int fits = 1;
        for (int side = 0; side < CLIP_SIDES; side++)
            fits &= arch->towers[side].absent || arch->towers[side].kind->hf[model->forms[side]].put;
        if (fits && refuse_form(arch, model, tried ? &reason : error) == 0)
            return model;
        tried |= fits;
    }
    if (!tried)
        clip_fail(error, "Hugging Face's form has no models of a %s and a %s", arch->vision.kind->title,
                  arch->text.kind->title);
    return NULL;
}

int clip_arch_write_hf(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    const struct clip_hf_model *model = clip_hf_model_of(arch, error);
    if (!model)
        return -1;
    if (clip_arch_side(arch) != CLIP_SIDE_BOTH) {
        put_one(file, arch, model, clip_arch_side(arch));
        return 0;
    }
    fprintf(file, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n", model->class,
            model->type);
    if (model->embed)
        fprintf(file, "  \"projection_dim\": %d,\n  \"logit_scale_init_value\": %.9g,\n", arch->embed,
                (double)arch->init_logit_scale);
    for (int side = CLIP_SIDES; side-- > 0;) {
        fprintf(file, "  \"%s\": {\n", form_of(model, side)->key);
        put_tower(file, "    ", arch, model, side);
        fputs(side ? "  },\n" : "  }\n", file);
    }
    fputs("}\n", file);
    return 0;
}
