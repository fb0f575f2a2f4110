/* An architecture as Hugging Face's folder says it: config.json and preprocessor_config.json (transformers'
 * CLIPConfig and CLIPImageProcessor). */
#include "model/arch.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* transformers' defaults, where a configuration is silent. */
enum { DEFAULT_EMBED = 512, DEFAULT_END_TOKEN = 49407 };

/* What both towers' configurations have in common. */
struct tower {
    int width, mlp, layers, heads;
    enum clip_activation activation;
};

static int read_tower(struct json_object *object, const char *where, struct tower *tower,
                      struct clip_error *error)
{
    const char *activation = "quick_gelu";
    double epsilon = 1e-5;
    if (clip_json_int(object, where, "hidden_size", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(object, where, "intermediate_size", 1, CLIP_MAX_MLP, &tower->mlp, error) != 0 ||
        clip_json_int(object, where, "num_hidden_layers", 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0 ||
        clip_json_int(object, where, "num_attention_heads", 1, CLIP_MAX_WIDTH, &tower->heads, error) != 0 ||
        clip_json_real(object, where, "layer_norm_eps", 0, 1, &epsilon, error) != 0 ||
        clip_json_string(object, where, "hidden_act", &activation, error) != 0)
        return -1;
    if (fabs(epsilon - 1e-5) > 1e-9)
        return clip_fail(error, "%s.layer_norm_eps: %g is not supported (only 1e-05)", where, epsilon);
    if (strcmp(activation, "quick_gelu") == 0)
        tower->activation = CLIP_QUICK_GELU;
    else if (strcmp(activation, "gelu") == 0)
        tower->activation = CLIP_GELU;
    else
        return clip_fail(error, "%s.hidden_act: \"%.40s\" is not supported", where, activation);
    return 0;
}

static int read_text(struct json_object *object, const char *where, struct clip_text_arch *text,
                     struct clip_error *error)
{
    struct tower tower = {.width = 512, .mlp = 2048, .layers = 12, .heads = 8};
    text->context = 77;
    text->vocabulary = 49408;
    int end = DEFAULT_END_TOKEN;
    if (read_tower(object, where, &tower, error) != 0 ||
        clip_json_int(object, where, "max_position_embeddings", 1, CLIP_MAX_CONTEXT, &text->context, error) !=
            0 ||
        clip_json_int(object, where, "vocab_size", 1, CLIP_MAX_VOCABULARY, &text->vocabulary, error) != 0 ||
        clip_json_int(object, where, "eos_token_id", 0, CLIP_MAX_VOCABULARY, &end, error) != 0)
        return -1;
    /* 2 was once written by mistake everywhere; transformers takes it as "the largest id". */
    text->end_token = end == 2 || (end == DEFAULT_END_TOKEN && end >= text->vocabulary) ? -1 : end;
    text->width = tower.width;
    text->mlp = tower.mlp;
    text->layers = tower.layers;
    text->heads = tower.heads;
    text->activation = tower.activation;
    return 0;
}

static int read_vision(struct json_object *object, const char *where, struct clip_vision_arch *vision,
                       struct clip_error *error)
{
    struct tower tower = {.width = 768, .mlp = 3072, .layers = 12, .heads = 12};
    int channels = 3;
    vision->kind = CLIP_VIT;
    vision->image_size = 224;
    vision->patch = 32;
    if (read_tower(object, where, &tower, error) != 0 ||
        clip_json_int(object, where, "image_size", 1, CLIP_MAX_IMAGE, &vision->image_size, error) != 0 ||
        clip_json_int(object, where, "patch_size", 1, CLIP_MAX_IMAGE, &vision->patch, error) != 0 ||
        clip_json_int(object, where, "num_channels", 3, 3, &channels, error) != 0)
        return -1;
    vision->width = tower.width;
    vision->mlp = tower.mlp;
    vision->layers = tower.layers;
    vision->heads = tower.heads;
    vision->activation = tower.activation;
    return 0;
}

/* One tower's configuration. An old file's *_config_dict, completed by the defaults, overrides it whole. */
static int find_tower(struct json_object *config, const char *key, const char *old_key,
                      struct json_object *empty, struct json_object **tower, struct clip_error *error)
{
    struct json_object *old = NULL;
    *tower = empty;
    if (clip_json_object(config, "config", key, tower, error) != 0 ||
        clip_json_object(config, "config", old_key, &old, error) != 0)
        return -1;
    if (old)
        *tower = old;
    return 0;
}

/* Model types, and the classes of models of one tower. */
static const char vision_type[] = "clip_vision_model", text_type[] = "clip_text_model";

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

/* Which towers the model has, by its type or its class. */
static int read_towers(struct json_object *config, const char **type, struct clip_arch *arch,
                       struct clip_error *error)
{
    int nested = clip_json_get(config, "text_config") || clip_json_get(config, "vision_config") ||
                 clip_json_get(config, "text_config_dict") || clip_json_get(config, "vision_config_dict");
    *type = NULL;
    if (clip_json_string(config, "config", "model_type", type, error) != 0)
        return -1;
    if (!*type && !nested)
        return clip_fail(
            error, "not the configuration of a CLIP model: it has neither a model_type nor a text_config "
                   "and a vision_config");
    if (!*type)
        *type = "clip";
    if (strcmp(*type, "clip") != 0 && strcmp(*type, vision_type) != 0 && strcmp(*type, text_type) != 0)
        return clip_fail(error, "model_type: \"%.40s\" is not supported (only \"clip\", \"%s\" and \"%s\")",
                         *type, vision_type, text_type);
    arch->text.absent = strcmp(*type, vision_type) == 0 || is_made_as(config, "CLIPVisionModel");
    arch->vision.absent = strcmp(*type, text_type) == 0 || is_made_as(config, "CLIPTextModel");
    return 0;
}

/* The configuration of a tower: a part of the whole's, or the whole of a model of one tower. */
static int read_tower_of(struct json_object *config, int text, int flat, struct json_object *empty,
                         struct clip_arch *arch, struct clip_error *error)
{
    const char *key = text ? "text_config" : "vision_config";
    struct json_object *tower = config;
    if ((text ? arch->text.absent : arch->vision.absent))
        return 0;
    if ((!flat || clip_json_get(config, key)) &&
        find_tower(config, key, text ? "text_config_dict" : "vision_config_dict", empty, &tower, error) != 0)
        return -1;
    if (flat && clip_json_int(tower, key, "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0)
        return -1;
    if (tower == config)
        key = "config";
    return text ? read_text(tower, key, &arch->text, error) : read_vision(tower, key, &arch->vision, error);
}

static int read_config(struct json_object *config, struct json_object *empty, struct clip_arch *arch,
                       struct clip_error *error)
{
    const char *type;
    double scale = arch->init_logit_scale;
    arch->embed = DEFAULT_EMBED;
    if (read_towers(config, &type, arch, error) != 0)
        return -1;
    int flat = strcmp(type, "clip") != 0;
    if (clip_json_int(config, "config", "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0 ||
        clip_json_real(config, "config", "logit_scale_init_value", -100, 100, &scale, error) != 0 ||
        read_tower_of(config, 1, flat, empty, arch, error) != 0 ||
        read_tower_of(config, 0, flat, empty, arch, error) != 0)
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
        config && (type ? strncmp(type, "clip", 4) == 0
                        : clip_json_get(config, "text_config") || clip_json_get(config, "vision_config"));
    json_object_put(config);
    return is;
}

/* --- preprocessor_config.json --- */

static const struct clip_json_option preprocessor_options[] = {
    {"image_mean", CLIP_JSON_USED, NULL},
    {"image_std", CLIP_JSON_USED, NULL},
    {"size", CLIP_JSON_USED, NULL},
    {"crop_size", CLIP_JSON_USED, NULL},
    {"resample", CLIP_JSON_USED, NULL},
    {"rescale_factor", CLIP_JSON_USED, NULL},
    {"do_resize", CLIP_JSON_USED, NULL},
    {"do_center_crop", CLIP_JSON_USED, NULL},
    {"do_normalize", CLIP_JSON_USED, NULL},
    {"do_rescale", CLIP_JSON_USED, NULL},
    {"do_convert_rgb", CLIP_JSON_USED, NULL},
    {"image_processor_type", CLIP_JSON_IGNORED, NULL},
    {"feature_extractor_type", CLIP_JSON_IGNORED, NULL},
    {"processor_class", CLIP_JSON_IGNORED, NULL},
    {"auto_map", CLIP_JSON_IGNORED, NULL},
    {"return_tensors", CLIP_JSON_IGNORED, NULL},
    {"data_format", CLIP_JSON_IGNORED, NULL},
    {"input_data_format", CLIP_JSON_IGNORED, NULL},
    {"device", CLIP_JSON_IGNORED, NULL},
    {"_valid_processor_keys", CLIP_JSON_IGNORED, NULL},
    {"use_square_size", CLIP_JSON_OFF, NULL},
};

/* `key` must be the tower's image size: a number, {first: N} or, if second is given, {first: N, second: N}.
 */
static int check_size(struct json_object *object, const char *key, const char *first, const char *second,
                      int image_size, struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    int a = image_size, b = image_size;
    if (json_object_is_type(member, json_type_object)) {
        if (!clip_json_get(member, first))
            return clip_fail(error, "%s without %s is not supported", key, first);
        if (clip_json_int(member, key, first, 1, CLIP_MAX_IMAGE, &a, error) != 0 ||
            (second && clip_json_int(member, key, second, 1, CLIP_MAX_IMAGE, &b, error) != 0))
            return -1;
    } else if (clip_json_int(object, "preprocessor", key, 1, CLIP_MAX_IMAGE, &a, error) != 0) {
        return -1;
    }
    if (a != image_size || b != image_size)
        return clip_fail(error, "%s: %d is not the model's image size, %d", key, a != image_size ? a : b,
                         image_size);
    return 0;
}

/* The steps that make CLIP's input must all be on. */
static int check_steps(struct json_object *object, struct clip_error *error)
{
    static const char *const steps[] = {"do_resize", "do_center_crop", "do_normalize", "do_rescale",
                                        "do_convert_rgb"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int on = 1;
        if (clip_json_flag(object, "preprocessor", steps[i], &on, error) != 0)
            return -1;
        if (!on)
            return clip_fail(error, "%s: false is not supported", steps[i]);
    }
    return 0;
}

static int read_preprocessor(struct json_object *object, struct clip_arch *arch, struct clip_error *error)
{
    const char *where = "preprocessor";
    int resample = 3, image_size = arch->vision.image_size;
    double factor = 1 / 255.;
    if (clip_json_options(object, where, preprocessor_options,
                          sizeof preprocessor_options / sizeof *preprocessor_options, error) != 0 ||
        clip_json_channels(object, where, "image_mean", -1e6, 1e6, arch->preprocess.mean, error) != 0 ||
        clip_json_channels(object, where, "image_std", 1e-6, 1e6, arch->preprocess.std, error) != 0 ||
        clip_json_int(object, where, "resample", 0, 5, &resample, error) != 0 ||
        clip_json_real(object, where, "rescale_factor", 0, 1, &factor, error) != 0 ||
        check_size(object, "size", "shortest_edge", NULL, image_size, error) != 0 ||
        check_size(object, "crop_size", "height", "width", image_size, error) != 0 ||
        check_steps(object, error) != 0)
        return -1;
    if (resample != 3)
        return clip_fail(error, "resample: %d is not supported (only 3, bicubic)", resample);
    if (fabs(factor * 255 - 1) > 1e-6)
        return clip_fail(error, "rescale_factor: %g is not supported (only 1/255)", factor);
    return 0;
}

static int read_preprocessor_file(struct clip_arch *arch, const char *path, struct clip_error *error)
{
    if (access(path, F_OK) != 0)
        return 0;
    struct json_object *object = clip_json_read(path, error);
    if (!object)
        return -1;
    int result = read_preprocessor(object, arch, error);
    json_object_put(object);
    return result == 0 ? 0 : clip_fail_prefix(error, "%s", path);
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
        result = arch->vision.absent ? 0 : read_preprocessor_file(arch, preprocessor, error);
    free(config);
    free(preprocessor);
    return result;
}

/* --- writing them --- */

/* Each of these puts the members of a tower, `in` before each, a comma behind all. */
static void put_tower(FILE *file, const char *in, int width, int mlp, int layers, int heads,
                      enum clip_activation activation, int embed)
{
    fprintf(file, "%s\"hidden_size\": %d,\n%s\"intermediate_size\": %d,\n", in, width, in, mlp);
    fprintf(file, "%s\"num_hidden_layers\": %d,\n%s\"num_attention_heads\": %d,\n", in, layers, in, heads);
    fprintf(file, "%s\"hidden_act\": \"%s\",\n%s\"layer_norm_eps\": 1e-05,\n", in,
            activation == CLIP_QUICK_GELU ? "quick_gelu" : "gelu", in);
    if (embed)
        fprintf(file, "%s\"projection_dim\": %d,\n", in, embed);
}

/* Where the end token is the largest id, OpenAI's folders say 2, and 0 and 1 for the others. */
static void put_text(FILE *file, const char *in, const struct clip_arch *arch)
{
    const struct clip_text_arch *text = &arch->text;
    int end = text->end_token;
    fprintf(file, "%s\"model_type\": \"%s\",\n", in, text_type);
    put_tower(file, in, text->width, text->mlp, text->layers, text->heads, text->activation, arch->embed);
    fprintf(file, "%s\"bos_token_id\": %d,\n%s\"eos_token_id\": %d,\n%s\"pad_token_id\": 1,\n", in,
            end > 0 ? end - 1 : 0, in, end >= 0 ? end : 2, in);
    fprintf(file, "%s\"max_position_embeddings\": %d,\n%s\"vocab_size\": %d\n", in, text->context, in,
            text->vocabulary);
}

static void put_vision(FILE *file, const char *in, const struct clip_arch *arch)
{
    const struct clip_vision_arch *vision = &arch->vision;
    fprintf(file, "%s\"model_type\": \"%s\",\n", in, vision_type);
    put_tower(file, in, vision->width, vision->mlp, vision->layers, vision->heads, vision->activation,
              arch->embed);
    fprintf(file, "%s\"image_size\": %d,\n%s\"patch_size\": %d,\n%s\"num_channels\": 3\n", in,
            vision->image_size, in, vision->patch, in);
}

/* A model of one tower: the tower's configuration alone. */
static void put_one(FILE *file, const struct clip_arch *arch)
{
    int text = arch->vision.absent, projected = !(text ? arch->text.unprojected : arch->vision.unprojected);
    fprintf(file, "{\n  \"architectures\": [\"%s%s\"],\n", text ? "CLIPTextModel" : "CLIPVisionModel",
            projected ? "WithProjection" : "");
    (text ? put_text : put_vision)(file, "  ", arch);
    fputs("}\n", file);
}

int clip_arch_write_hf(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    if (!arch->vision.absent && arch->vision.kind == CLIP_RESNET)
        return clip_fail(error, "Hugging Face's form has no ResNets");
    if (arch->logit_bias)
        return clip_fail(error, "Hugging Face's form has no logit bias");
    if (!arch->text.absent && arch->text.end_token == 2)
        return clip_fail(error, "Hugging Face's form cannot have 2 as the end token");
    if (arch->vision.absent || arch->text.absent) {
        put_one(file, arch);
        return 0;
    }
    fputs("{\n  \"architectures\": [\"CLIPModel\"],\n  \"model_type\": \"clip\",\n", file);
    fprintf(file, "  \"projection_dim\": %d,\n  \"logit_scale_init_value\": %.9g,\n", arch->embed,
            (double)arch->init_logit_scale);
    fputs("  \"text_config\": {\n", file);
    put_text(file, "    ", arch);
    fputs("  },\n  \"vision_config\": {\n", file);
    put_vision(file, "    ", arch);
    fputs("  }\n}\n", file);
    return 0;
}

int clip_arch_write_hf_preprocessor(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    (void)error;
    int size = arch->vision.image_size;
    fputs("{\n  \"image_processor_type\": \"CLIPImageProcessor\",\n  \"do_convert_rgb\": true,\n"
          "  \"do_resize\": true,\n  \"do_center_crop\": true,\n  \"do_rescale\": true,\n"
          "  \"do_normalize\": true,\n  \"resample\": 3,\n  \"rescale_factor\": 0.00392156862745098,\n",
          file);
    fputs("  \"image_mean\": ", file);
    clip_arch_put_channels(file, arch->preprocess.mean);
    fputs(",\n  \"image_std\": ", file);
    clip_arch_put_channels(file, arch->preprocess.std);
    fprintf(file,
            ",\n  \"size\": {\"shortest_edge\": %d},\n  \"crop_size\": {\"height\": %d, \"width\": %d}\n}\n",
            size, size, size);
    return 0;
}
