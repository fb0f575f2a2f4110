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

static int read_text(struct json_object *object, struct clip_text_arch *text, struct clip_error *error)
{
    const char *where = "text_config";
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

static int read_vision(struct json_object *object, struct clip_vision_arch *vision, struct clip_error *error)
{
    const char *where = "vision_config";
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

static int read_config(struct json_object *config, struct json_object *empty, struct clip_arch *arch,
                       struct clip_error *error)
{
    const char *type = "clip";
    struct json_object *text, *vision;
    double scale = arch->init_logit_scale;
    arch->embed = DEFAULT_EMBED;
    if (clip_json_string(config, "config", "model_type", &type, error) != 0)
        return -1;
    if (strcmp(type, "clip") != 0)
        return clip_fail(error, "model_type: \"%.40s\" is not supported (only \"clip\")", type);
    if (find_tower(config, "text_config", "text_config_dict", empty, &text, error) != 0 ||
        find_tower(config, "vision_config", "vision_config_dict", empty, &vision, error) != 0 ||
        clip_json_int(config, "config", "projection_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0 ||
        clip_json_real(config, "config", "logit_scale_init_value", -100, 100, &scale, error) != 0 ||
        read_text(text, &arch->text, error) != 0 || read_vision(vision, &arch->vision, error) != 0)
        return -1;
    /* transformers writes ln(1/0.07) rounded to 2.6592. */
    if (fabs(scale - arch->init_logit_scale) > 1e-4)
        arch->init_logit_scale = (float)scale;
    return clip_arch_check(arch, error);
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
        result = read_preprocessor_file(arch, preprocessor, error);
    free(config);
    free(preprocessor);
    return result;
}

/* --- writing them --- */

static void put_tower(FILE *file, int width, int mlp, int layers, int heads, enum clip_activation activation,
                      int embed)
{
    fprintf(file, "    \"hidden_size\": %d,\n    \"intermediate_size\": %d,\n", width, mlp);
    fprintf(file, "    \"num_hidden_layers\": %d,\n    \"num_attention_heads\": %d,\n", layers, heads);
    fprintf(file, "    \"hidden_act\": \"%s\",\n    \"layer_norm_eps\": 1e-05,\n",
            activation == CLIP_QUICK_GELU ? "quick_gelu" : "gelu");
    fprintf(file, "    \"projection_dim\": %d,\n", embed);
}

/* Where the end token is the largest id, OpenAI's folders say 2, and 0 and 1 for the others. */
static void put_text(FILE *file, const struct clip_arch *arch)
{
    const struct clip_text_arch *text = &arch->text;
    int end = text->end_token;
    fputs("  \"text_config\": {\n    \"model_type\": \"clip_text_model\",\n", file);
    put_tower(file, text->width, text->mlp, text->layers, text->heads, text->activation, arch->embed);
    fprintf(file, "    \"bos_token_id\": %d,\n    \"eos_token_id\": %d,\n    \"pad_token_id\": 1,\n",
            end > 0 ? end - 1 : 0, end >= 0 ? end : 2);
    fprintf(file, "    \"max_position_embeddings\": %d,\n    \"vocab_size\": %d\n  },\n", text->context,
            text->vocabulary);
}

static void put_vision(FILE *file, const struct clip_arch *arch)
{
    const struct clip_vision_arch *vision = &arch->vision;
    fputs("  \"vision_config\": {\n    \"model_type\": \"clip_vision_model\",\n", file);
    put_tower(file, vision->width, vision->mlp, vision->layers, vision->heads, vision->activation,
              arch->embed);
    fprintf(file, "    \"image_size\": %d,\n    \"patch_size\": %d,\n    \"num_channels\": 3\n  }\n",
            vision->image_size, vision->patch);
}

int clip_arch_write_hf(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    if (arch->vision.kind == CLIP_RESNET)
        return clip_fail(error, "Hugging Face's form has no ResNets");
    if (arch->logit_bias)
        return clip_fail(error, "Hugging Face's form has no bias of the logits");
    if (arch->text.end_token == 2)
        return clip_fail(error, "Hugging Face's form cannot have 2 as the end token");
    fputs("{\n  \"architectures\": [\"CLIPModel\"],\n  \"model_type\": \"clip\",\n", file);
    fprintf(file, "  \"projection_dim\": %d,\n  \"logit_scale_init_value\": %.9g,\n", arch->embed,
            (double)arch->init_logit_scale);
    put_text(file, arch);
    put_vision(file, arch);
    fputs("}\n", file);
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
