#include "model/timm-config.h"

#include <stdarg.h>
#include <string.h>

static const struct clip_json_option timm_options[] = {
    {"timm_model_name", CLIP_JSON_USED, NULL},
    {"timm_model_kwargs", CLIP_JSON_USED, NULL},
    {"timm_pool", CLIP_JSON_USED, NULL},
    {"timm_proj", CLIP_JSON_USED, NULL},
    {"timm_proj_bias", CLIP_JSON_USED, NULL},
    {"image_size", CLIP_JSON_USED, NULL},
    {"image_seq_len", CLIP_JSON_IGNORED, NULL}, /* of a loader of pictures of many sizes */
    {"timm_model_pretrained", CLIP_JSON_IGNORED, NULL},
    {"timm_drop", CLIP_JSON_IGNORED, NULL},
    {"timm_drop_path", CLIP_JSON_IGNORED, NULL},
    {"patch_dropout", CLIP_JSON_IGNORED, NULL},
    {"output_tokens", CLIP_JSON_IGNORED, NULL},
    /* open_clip's own towers' */
    {"layers", CLIP_JSON_IGNORED, NULL},
    {"width", CLIP_JSON_IGNORED, NULL},
    {"head_width", CLIP_JSON_IGNORED, NULL},
    {"mlp_ratio", CLIP_JSON_IGNORED, NULL},
    {"patch_size", CLIP_JSON_IGNORED, NULL},
};

int clip_check_timm_options(struct json_object *object, const char *where, struct clip_error *error)
{
    return clip_json_options(object, where, timm_options, CLIP_COUNT_OF(timm_options), error);
}

int clip_is_timm_named(struct json_object *object, const char *prefix)
{
    struct json_object *name = clip_json_get(object, "timm_model_name");
    return json_object_is_type(name, json_type_string) &&
           strncmp(json_object_get_string(name), prefix, strlen(prefix)) == 0;
}

int clip_fail_timm_name(struct json_object *object, const char *where, struct clip_error *error)
{
    return clip_fail(error, "%s.timm_model_name: \"%.60s\" is not supported", where,
                     json_object_get_string(clip_json_get(object, "timm_model_name")));
}

int clip_check_timm_average(struct json_object *object, const char *where,
                            const struct clip_tower_arch *tower, struct clip_error *error)
{
    const char *pool = json_object_object_get_ex(object, "timm_pool", NULL) ? "" : "avg";
    int of_head = tower->head == &clip_head_timm_classifier_fc || tower->head == &clip_head_none;
    if (clip_json_string(object, where, "timm_pool", &pool, error) != 0)
        return -1;
    if (strcmp(pool, "avg") == 0 || (!*pool && !of_head))
        return 0;
    return clip_fail(error, "%s.timm_pool: \"%.40s\" is not supported%s", where, pool,
                     *pool ? " (only \"avg\")" : " without a projection of open_clip's");
}

struct clip_kwargs clip_kwargs_begin(FILE *file, const char *name, const char *pool,
                                     const struct clip_tower_arch *tower)
{
    fprintf(file, "      \"timm_model_name\": \"%s\",\n      \"timm_model_pretrained\": false,\n", name);
    fprintf(file, "      \"timm_pool\": \"%s\",\n", pool);
    clip_put_timm_head(file, clip_head_of(tower));
    fputs("      \"timm_model_kwargs\": {", file);
    return (struct clip_kwargs){.file = file};
}

static void put_key(struct clip_kwargs *kwargs, const char *key)
{
    fprintf(kwargs->file, "%s\"%s\": ", kwargs->count++ ? ", " : "", key);
}

void clip_kwargs_put(struct clip_kwargs *kwargs, const char *key, const char *format, ...)
{
    va_list args;
    put_key(kwargs, key);
    va_start(args, format);
    vfprintf(kwargs->file, format, args);
    va_end(args);
}

void clip_kwargs_int(struct clip_kwargs *kwargs, const char *key, int value, int known)
{
    if (value != known)
        clip_kwargs_put(kwargs, key, "%d", value);
}

void clip_kwargs_real(struct clip_kwargs *kwargs, const char *key, double value, double known)
{
    if (value != known)
        clip_kwargs_put(kwargs, key, "%.9g", value);
}

void clip_kwargs_list(struct clip_kwargs *kwargs, const char *key, const int *value, int n, const int *known,
                      int known_n)
{
    if (n == known_n && memcmp(value, known, (size_t)n * sizeof *value) == 0)
        return;
    put_key(kwargs, key);
    for (int i = 0; i < n; i++)
        fprintf(kwargs->file, "%s%d", i ? ", " : "[", value[i]);
    fputs("]", kwargs->file);
}

void clip_kwargs_end(struct clip_kwargs *kwargs, const struct clip_tower_arch *tower)
{
    fprintf(kwargs->file, "},\n      \"image_size\": %d\n", tower->image_size);
}
