/* An architecture as open_clip's JSON says it. */
#include "model/arch.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The options of its CLIPVisionCfg, CLIPTextCfg and PreprocessCfg. Where one token is taken, a norm before or
 * after taking it is the same: final_ln_after_pool. */
static const struct clip_json_option vision_options[] = {
    {"layers", CLIP_JSON_USED, NULL},
    {"width", CLIP_JSON_USED, NULL},
    {"head_width", CLIP_JSON_USED, NULL},
    {"mlp_ratio", CLIP_JSON_USED, NULL},
    {"patch_size", CLIP_JSON_USED, NULL},
    {"image_size", CLIP_JSON_USED, NULL},
    {"patch_dropout", CLIP_JSON_IGNORED, NULL},
    {"output_tokens", CLIP_JSON_IGNORED, NULL},
    {"final_ln_after_pool", CLIP_JSON_IGNORED, NULL},
    {"attn_pooler_queries", CLIP_JSON_IGNORED, NULL},
    {"attn_pooler_heads", CLIP_JSON_IGNORED, NULL},
    {"timm_model_pretrained", CLIP_JSON_IGNORED, NULL},
    {"timm_pool", CLIP_JSON_IGNORED, NULL},
    {"timm_proj", CLIP_JSON_IGNORED, NULL},
    {"timm_proj_bias", CLIP_JSON_IGNORED, NULL},
    {"timm_drop", CLIP_JSON_IGNORED, NULL},
    {"timm_drop_path", CLIP_JSON_IGNORED, NULL},
    {"pool_type", CLIP_JSON_ONLY, "tok"},
    {"pos_embed_type", CLIP_JSON_ONLY, "learnable"},
    {"block_type", CLIP_JSON_ONLY, "default"},
};

static const struct clip_json_option text_options[] = {
    {"context_length", CLIP_JSON_USED, NULL},
    {"vocab_size", CLIP_JSON_USED, NULL},
    {"width", CLIP_JSON_USED, NULL},
    {"heads", CLIP_JSON_USED, NULL},
    {"layers", CLIP_JSON_USED, NULL},
    {"mlp_ratio", CLIP_JSON_USED, NULL},
    {"pool_type", CLIP_JSON_USED, NULL},
    {"eos_id", CLIP_JSON_USED, NULL},
    {"bos_id", CLIP_JSON_IGNORED, NULL},
    {"pad_id", CLIP_JSON_IGNORED, NULL},
    {"hf_tokenizer_name", CLIP_JSON_IGNORED, NULL},
    {"tokenizer_mode", CLIP_JSON_IGNORED, NULL},
    {"tokenizer_kwargs", CLIP_JSON_IGNORED, NULL},
    {"hf_model_pretrained", CLIP_JSON_IGNORED, NULL},
    {"hf_proj_type", CLIP_JSON_IGNORED, NULL},
    {"hf_pooler_type", CLIP_JSON_IGNORED, NULL},
    {"output_tokens", CLIP_JSON_IGNORED, NULL},
    {"final_ln_after_pool", CLIP_JSON_IGNORED, NULL},
    {"text_arch", CLIP_JSON_ONLY, "clip"},
    {"proj_type", CLIP_JSON_ONLY, "linear"},
    {"block_type", CLIP_JSON_ONLY, "default"},
};

static const struct clip_json_option model_options[] = {
    {"embed_dim", CLIP_JSON_USED, NULL},         {"quick_gelu", CLIP_JSON_USED, NULL},
    {"vision_cfg", CLIP_JSON_USED, NULL},        {"text_cfg", CLIP_JSON_USED, NULL},
    {"init_logit_scale", CLIP_JSON_USED, NULL},  {"init_logit_bias", CLIP_JSON_USED, NULL},
    {"custom_text", CLIP_JSON_IGNORED, NULL},    {"nonscalar_logit_scale", CLIP_JSON_IGNORED, NULL},
    {"cast_dtype", CLIP_JSON_IGNORED, NULL},     {"output_dict", CLIP_JSON_IGNORED, NULL},
    {"preprocess_cfg", CLIP_JSON_IGNORED, NULL},
};

static const struct clip_json_option preprocess_options[] = {
    {"mean", CLIP_JSON_USED, NULL},
    {"std", CLIP_JSON_USED, NULL},
    {"size", CLIP_JSON_IGNORED, NULL}, /* open_clip takes the tower's image size */
    {"fill_color", CLIP_JSON_IGNORED, NULL},
    {"mode", CLIP_JSON_ONLY, "RGB"},
    {"interpolation", CLIP_JSON_ONLY, "bicubic"},
    {"resize_mode", CLIP_JSON_ONLY, "shortest"},
};

/* The hidden layer's width as Python's int(width * ratio). */
static int read_mlp(struct json_object *object, const char *where, int width, int *mlp,
                    struct clip_error *error)
{
    double ratio = 4.0;
    if (clip_json_real(object, where, "mlp_ratio", 0, 1024, &ratio, error) != 0)
        return -1;
    *mlp = (int)(width * ratio);
    return 0;
}

/* image_size is a number or two equal ones. */
static int read_image_size(struct json_object *object, const char *where, int *size, struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, "image_size");
    *size = 224;
    if (!json_object_is_type(member, json_type_array))
        return clip_json_int(object, where, "image_size", 1, CLIP_MAX_IMAGE, size, error);
    int64_t height = json_object_get_int64(json_object_array_get_idx(member, 0));
    int64_t width = json_object_get_int64(json_object_array_get_idx(member, 1));
    if (json_object_array_length(member) != 2 || height != width || height < 1 || height > CLIP_MAX_IMAGE)
        return clip_fail(error, "%s.image_size: only squares of 1 to %d are supported", where,
                         CLIP_MAX_IMAGE);
    *size = (int)height;
    return 0;
}

/* `layers` is a number for a transformer, four for a ResNet. */
static int read_vision_layers(struct json_object *object, const char *where, struct clip_vision_arch *vision,
                              struct clip_error *error)
{
    struct json_object *layers = clip_json_get(object, "layers");
    vision->kind = json_object_is_type(layers, json_type_array) ? CLIP_RESNET : CLIP_VIT;
    if (vision->kind == CLIP_VIT) {
        vision->layers = 12;
        return clip_json_int(object, where, "layers", 1, CLIP_MAX_LAYERS, &vision->layers, error);
    }
    if (json_object_array_length(layers) != 4)
        return clip_fail(error, "%s.layers is not the four numbers of a ResNet", where);
    for (size_t i = 0; i < 4; i++) {
        int64_t n = json_object_get_int64(json_object_array_get_idx(layers, i));
        vision->blocks[i] = n < 1 || n > CLIP_MAX_LAYERS ? 0 : (int)n;
    }
    return 0;
}

static int read_vision(struct json_object *object, struct clip_vision_arch *vision, struct clip_error *error)
{
    const char *where = "vision_cfg";
    int head_width = 64, patch = 16;
    vision->width = 768;
    if (clip_json_options(object, where, vision_options, COUNT(vision_options), error) != 0 ||
        read_vision_layers(object, where, vision, error) != 0 ||
        read_image_size(object, where, &vision->image_size, error) != 0 ||
        clip_json_int(object, where, "width", 1, CLIP_MAX_WIDTH, &vision->width, error) != 0 ||
        clip_json_int(object, where, "head_width", 1, CLIP_MAX_WIDTH * 32, &head_width, error) != 0)
        return -1;
    if (vision->kind == CLIP_RESNET) {
        vision->heads = vision->width * 32 / head_width;
        return 0;
    }
    vision->heads = vision->width / head_width;
    if (clip_json_int(object, where, "patch_size", 1, CLIP_MAX_IMAGE, &patch, error) != 0)
        return -1;
    vision->patch = patch;
    return read_mlp(object, where, vision->width, &vision->mlp, error);
}

/* Which position's features are the text's: open_clip's pool_type and eos_id. */
static int read_pooling(struct json_object *object, const char *where, int *end_token,
                        struct clip_error *error)
{
    const char *pool = "argmax";
    if (clip_json_string(object, where, "pool_type", &pool, error) != 0)
        return -1;
    if (strcmp(pool, "argmax") == 0)
        return 0;
    if (strcmp(pool, "eos") != 0)
        return clip_fail(error, "%s.pool_type: \"%.40s\" is not supported", where, pool);
    if (!clip_json_get(object, "eos_id"))
        return clip_fail(error, "%s.pool_type \"eos\" needs an eos_id", where);
    return clip_json_int(object, where, "eos_id", 0, CLIP_MAX_VOCABULARY, end_token, error);
}

static int read_text(struct json_object *object, struct clip_text_arch *text, struct clip_error *error)
{
    const char *where = "text_cfg";
    *text = (struct clip_text_arch){.unprojected = text->unprojected,
                                    .context = 77,
                                    .vocabulary = 49408,
                                    .width = 512,
                                    .heads = 8,
                                    .layers = 12,
                                    .end_token = -1};
    if (clip_json_options(object, where, text_options, COUNT(text_options), error) != 0 ||
        clip_json_int(object, where, "context_length", 1, CLIP_MAX_CONTEXT, &text->context, error) != 0 ||
        clip_json_int(object, where, "vocab_size", 1, CLIP_MAX_VOCABULARY, &text->vocabulary, error) != 0 ||
        clip_json_int(object, where, "width", 1, CLIP_MAX_WIDTH, &text->width, error) != 0 ||
        clip_json_int(object, where, "heads", 1, CLIP_MAX_WIDTH, &text->heads, error) != 0 ||
        clip_json_int(object, where, "layers", 1, CLIP_MAX_LAYERS, &text->layers, error) != 0)
        return -1;
    if (read_pooling(object, where, &text->end_token, error) != 0)
        return -1;
    return read_mlp(object, where, text->width, &text->mlp, error);
}

/* Of metadata (`own`) also the order of the steps, for which open_clip's form has no word. */
static int read_preprocess(struct json_object *object, int own, struct clip_preprocess_arch *preprocess,
                           struct clip_error *error)
{
    const char *where = "preprocess_cfg";
    if (own && clip_json_flag(object, where, "convert_first", &preprocess->convert_first, error) != 0)
        return -1;
    if (own)
        json_object_object_del(object, "convert_first");
    if (clip_json_options(object, where, preprocess_options, COUNT(preprocess_options), error) != 0 ||
        clip_json_channels(object, where, "mean", -1e6, 1e6, preprocess->mean, error) != 0)
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

/* `config` is {model_cfg, preprocess_cfg}, or a model_cfg alone; or a file's metadata of our own writing, in
 * which a tower may be absent. */
static int read_open_clip(struct json_object *config, int own, struct clip_arch *arch,
                          struct clip_error *error)
{
    struct json_object *model = config, *vision = NULL, *text = NULL, *preprocess = NULL;
    int quick = 0;
    if (clip_json_object(config, "configuration", "model_cfg", &model, error) != 0 ||
        clip_json_object(config, "configuration", "preprocess_cfg", &preprocess, error) != 0 ||
        clip_json_options(model, "model_cfg", model_options, COUNT(model_options), error) != 0 ||
        clip_json_object(model, "model_cfg", "vision_cfg", &vision, error) != 0 ||
        clip_json_object(model, "model_cfg", "text_cfg", &text, error) != 0 ||
        clip_json_int(model, "model_cfg", "embed_dim", 1, CLIP_MAX_WIDTH, &arch->embed, error) != 0 ||
        clip_json_flag(model, "model_cfg", "quick_gelu", &quick, error) != 0)
        return -1;
    if ((!own || (!vision && !text)) && (!vision || !text || !arch->embed))
        return clip_fail(error, "not a model's configuration: it lacks %s",
                         !vision ? "vision_cfg"
                         : !text ? "text_cfg"
                                 : "embed_dim");
    arch->vision.absent = !vision;
    arch->text.absent = !text;
    arch->vision.unprojected = arch->text.unprojected = !arch->embed;
    if ((vision && read_vision(vision, &arch->vision, error) != 0) ||
        (text && read_text(text, &arch->text, error) != 0) || read_logit_scale(model, arch, error) != 0)
        return -1;
    arch->vision.activation = arch->text.activation = quick ? CLIP_QUICK_GELU : CLIP_GELU;
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

/* The ratio that int(width * ratio) turns into mlp. */
static double mlp_ratio(int width, int mlp)
{
    double ratio = (double)mlp / width;
    return (int)(width * ratio) < mlp ? nextafter(ratio, INFINITY) : ratio;
}

static void put_vision(FILE *file, const struct clip_vision_arch *vision)
{
    fprintf(file, "    \"vision_cfg\": {\n      \"image_size\": %d,\n", vision->image_size);
    if (vision->kind == CLIP_RESNET) {
        const int *n = vision->blocks;
        fprintf(file, "      \"layers\": [%d, %d, %d, %d],\n", n[0], n[1], n[2], n[3]);
        fprintf(file, "      \"width\": %d,\n", vision->width);
        fprintf(file, "      \"head_width\": %d,\n", vision->width * 32 / vision->heads);
        fputs("      \"patch_size\": null\n    }", file);
        return;
    }
    fprintf(file, "      \"layers\": %d,\n      \"width\": %d,\n", vision->layers, vision->width);
    fprintf(file, "      \"head_width\": %d,\n", vision->width / vision->heads);
    fprintf(file, "      \"mlp_ratio\": %.17g,\n", mlp_ratio(vision->width, vision->mlp));
    fprintf(file, "      \"patch_size\": %d\n    }", vision->patch);
}

static void put_text(FILE *file, int own, const struct clip_text_arch *text)
{
    fprintf(file, "    \"text_cfg\": {\n      \"context_length\": %d,\n", text->context);
    fprintf(file, "      \"vocab_size\": %d,\n", text->vocabulary);
    fprintf(file, "      \"width\": %d,\n      \"heads\": %d,\n", text->width, text->heads);
    fprintf(file, "      \"layers\": %d,\n", text->layers);
    /* The largest id and the end token are one where the end token is the last: the way every open_clip
     * knows. */
    if (text->end_token >= 0 && (own || text->end_token != text->vocabulary - 1))
        fprintf(file, "      \"pool_type\": \"eos\",\n      \"eos_id\": %d,\n", text->end_token);
    fprintf(file, "      \"mlp_ratio\": %.17g\n    }", mlp_ratio(text->width, text->mlp));
}

/* The configuration; `own` with what a file's metadata says more. */
static int put_config(const struct clip_arch *arch, int own, FILE *file, struct clip_error *error)
{
    int quick = (arch->text.absent ? arch->vision.activation : arch->text.activation) == CLIP_QUICK_GELU;
    if (!arch->vision.absent && !arch->text.absent && arch->vision.kind == CLIP_VIT &&
        arch->vision.activation != arch->text.activation)
        return clip_fail(error, "the towers' activations differ, which open_clip's form cannot express");
    fputs("{\n  \"model_cfg\": {\n", file);
    if (arch->embed)
        fprintf(file, "    \"embed_dim\": %d,\n", arch->embed);
    fprintf(file, "    \"quick_gelu\": %s,\n", quick ? "true" : "false");
    if (arch->init_logit_scale != CLIP_INIT_LOGIT_SCALE)
        fprintf(file, "    \"init_logit_scale\": %.9g,\n", (double)arch->init_logit_scale);
    if (arch->logit_bias)
        fprintf(file, "    \"init_logit_bias\": %.9g,\n", (double)arch->init_logit_bias);
    if (!arch->vision.absent)
        put_vision(file, &arch->vision);
    if (!arch->vision.absent && !arch->text.absent)
        fputs(",\n", file);
    if (!arch->text.absent)
        put_text(file, own, &arch->text);
    fputs("\n  },\n  \"preprocess_cfg\": {\n", file);
    fputs("    \"mean\": ", file);
    clip_arch_put_channels(file, arch->preprocess.mean);
    fputs(",\n    \"std\": ", file);
    clip_arch_put_channels(file, arch->preprocess.std);
    if (own && arch->preprocess.convert_first)
        fputs(",\n    \"convert_first\": true", file);
    fputs(",\n    \"interpolation\": \"bicubic\",\n    \"resize_mode\": \"shortest\"\n  }\n}\n", file);
    return 0;
}

int clip_arch_write_open_clip(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    if (arch->vision.absent || arch->text.absent)
        return clip_fail(error, "open_clip's form has both towers, and the model has no %s tower",
                         arch->vision.absent ? "vision" : "text");
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
