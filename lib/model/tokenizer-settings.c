#include "model/tokenizer-settings.h"
#include "base/array.h"
#include "model/place.h"

#include <stdlib.h>
#include <string.h>

/* --- open_clip --- */

static const struct clip_json_option kwargs_options[] = {
    {"clean", CLIP_JSON_USED, NULL},       {"strip_sep_token", CLIP_JSON_USED, NULL},
    {"language", CLIP_JSON_USED, NULL},    {"add_bos", CLIP_JSON_USED, NULL},
    {"add_eos", CLIP_JSON_USED, NULL},     {"trust_remote_code", CLIP_JSON_IGNORED, NULL},
    {"use_fast", CLIP_JSON_IGNORED, NULL},
};

/* Copies a text member; `most` includes the zero. */
static int copy_text(struct json_object *object, const char *where, const char *key, char *out, size_t most,
                     struct clip_error *error)
{
    const char *text = "";
    if (clip_json_string(object, where, key, &text, error) != 0)
        return -1;
    if (strlen(text) >= most)
        return clip_fail(error, "%s.%s is too long", where, key);
    strcpy(out, text);
    return 0;
}

static int read_clean(struct json_object *kwargs, int own, struct clip_tokenizer_settings *settings,
                      struct clip_error *error)
{
    const char *name = NULL;
    if (clip_json_string(kwargs, "tokenizer_kwargs", "clean", &name, error) != 0)
        return -1;
    if (!name)
        return 0;
    for (int i = own ? CLIP_CLEANING_NONE : CLIP_CLEANING_LOWER; i < CLIP_CLEANINGS; i++)
        if (strcmp(name, clip_cleaning_names[i]) == 0) {
            settings->cleaning = (enum clip_cleaning)i;
            return 0;
        }
    return clip_fail(error, "tokenizer_kwargs.clean: \"%.40s\" is not supported", name);
}

static int read_kwargs(struct json_object *kwargs, int own, struct clip_tokenizer_settings *settings,
                       struct clip_error *error)
{
    const char *where = "tokenizer_kwargs";
    int start = 1, end = 1;
    if (clip_json_options(kwargs, where, kwargs_options, CLIP_COUNT_OF(kwargs_options), error) != 0 ||
        read_clean(kwargs, own, settings, error) != 0 ||
        clip_json_flag(kwargs, where, "strip_sep_token", &settings->strip_separators, error) != 0 ||
        copy_text(kwargs, where, "language", settings->language, sizeof settings->language, error) != 0 ||
        clip_json_flag(kwargs, where, "add_bos", &start, error) != 0)
        return -1;
    settings->no_start = !start;
    int status = clip_json_flag(kwargs, where, "add_eos", &end, error);
    settings->no_end = !end;
    return status;
}

static int read_settings(struct json_object *text_cfg, int own, struct clip_tokenizer_settings *settings,
                         struct clip_error *error)
{
    const char *where = "text_cfg", *type = "", *mode = "";
    struct json_object *kwargs = NULL;
    if (copy_text(text_cfg, where, "hf_tokenizer_name", settings->hf_name, sizeof settings->hf_name, error) !=
            0 ||
        clip_json_string(text_cfg, where, "tokenizer_type", &type, error) != 0 ||
        clip_json_string(text_cfg, where, "tokenizer_mode", &mode, error) != 0 ||
        clip_json_object(text_cfg, where, "tokenizer_kwargs", &kwargs, error) != 0 ||
        (kwargs && read_kwargs(kwargs, own, settings, error) != 0))
        return -1;
    if (*mode && strcmp(mode, "clips") != 0)
        return clip_fail(error, "text_cfg.tokenizer_mode: \"%.40s\" is not supported", mode);
    settings->clips = *mode != 0;
    if (*type && strcmp(type, "tiktoken") != 0)
        return clip_fail(error, "text_cfg.tokenizer_type: \"%.40s\" is not supported", type);
    if (*type) {
        strcpy(settings->tiktoken, "cl100k_base");
        settings->hf_name[0] = 0; /* does not count then */
        return clip_json_get(text_cfg, "tiktoken_name")
                   ? copy_text(text_cfg, where, "tiktoken_name", settings->tiktoken,
                               sizeof settings->tiktoken, error)
                   : 0;
    }
    if (*settings->hf_name && settings->cleaning == CLIP_CLEANING_DEFAULT)
        settings->cleaning = CLIP_CLEANING_WHITESPACE; /* open_clip's default for these */
    return 0;
}

int clip_read_tokenizer_settings(struct json_object *text_cfg, int own,
                                 struct clip_tokenizer_settings *settings, struct clip_error *error)
{
    static const char *const keys[] = {"hf_tokenizer_name", "tokenizer_type", "tiktoken_name",
                                       "tokenizer_mode", "tokenizer_kwargs"};
    *settings = (struct clip_tokenizer_settings){0};
    if (!text_cfg)
        return 0;
    int status = read_settings(text_cfg, own, settings, error);
    for (size_t i = 0; i < CLIP_COUNT_OF(keys); i++)
        json_object_object_del(text_cfg, keys[i]);
    return status;
}

static void put_text(FILE *file, const char *key, const char *value)
{
    fprintf(file, "      \"%s\": %s,\n", key, value);
}

/* A text as JSON. */
static void put_string(FILE *file, const char *key, const char *text)
{
    struct json_object *string = json_object_new_string(text);
    put_text(file, key, json_object_to_json_string_ext(string, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(string);
}

static void put_kwargs(FILE *file, int own, const struct clip_tokenizer_settings *settings)
{
    struct json_object *kwargs = json_object_new_object();
    enum clip_cleaning cleaning = settings->cleaning;
    if (settings->family != CLIP_FAMILY_NONE)
        cleaning =
            settings->family == CLIP_FAMILY_SIGLIP || !own ? CLIP_CLEANING_CANONICALIZE : CLIP_CLEANING_LOWER;
    int usual = *settings->hf_name ? CLIP_CLEANING_WHITESPACE : CLIP_CLEANING_DEFAULT;
    if ((int)cleaning != usual && cleaning != CLIP_CLEANING_DEFAULT &&
        (cleaning != CLIP_CLEANING_NONE || own))
        json_object_object_add(kwargs, "clean", json_object_new_string(clip_cleaning_names[cleaning]));
    if (settings->strip_separators)
        json_object_object_add(kwargs, "strip_sep_token", json_object_new_boolean(1));
    if (*settings->language)
        json_object_object_add(kwargs, "language", json_object_new_string(settings->language));
    if (settings->no_start)
        json_object_object_add(kwargs, "add_bos", json_object_new_boolean(0));
    if (settings->no_end)
        json_object_object_add(kwargs, "add_eos", json_object_new_boolean(0));
    if (json_object_object_length(kwargs) > 0)
        put_text(file, "tokenizer_kwargs", json_object_to_json_string_ext(kwargs, JSON_C_TO_STRING_SPACED));
    json_object_put(kwargs);
}

void clip_put_tokenizer_settings(FILE *file, int own, const struct clip_tokenizer_settings *settings)
{
    if (*settings->hf_name)
        put_string(file, "hf_tokenizer_name", settings->hf_name);
    if (*settings->tiktoken) {
        put_string(file, "tokenizer_type", "tiktoken");
        put_string(file, "tiktoken_name", settings->tiktoken);
    }
    if (settings->clips)
        put_string(file, "tokenizer_mode", "clips");
    put_kwargs(file, own, settings);
}

/* --- Hugging Face --- */

/* Model types whose tokenizer is not CLIP's, and the name that open_clip's form gives it. No cleaning, but
 * for SigLIP's own. */
static const struct {
    const char *type, *name;
    int family;
} types[] = {{"siglip", "timm/ViT-B-16-SigLIP", CLIP_FAMILY_SIGLIP},
             {"siglip2", "timm/ViT-B-16-SigLIP2", CLIP_FAMILY_SIGLIP2},
             {"chinese_clip", "OFA-Sys/chinese-clip-vit-base-patch16", CLIP_FAMILY_NONE},
             {"altclip", "BAAI/AltCLIP", CLIP_FAMILY_NONE},
             {"metaclip_2", "facebook/metaclip-2-worldwide-huge-quickgelu", CLIP_FAMILY_NONE}};

/* The member of a JSON file of the folder, or "" where there is none. */
static int read_member(const char *folder, const char *name, const char *key, char *out, size_t size,
                       struct clip_error *error)
{
    char *path = clip_existing(folder, name);
    const char *text = "";
    *out = 0;
    if (!path)
        return 0;
    struct json_object *config = clip_json_read(path, error);
    free(path);
    if (!config)
        return -1;
    int status = clip_json_string(config, name, key, &text, error);
    if (status == 0)
        snprintf(out, size, "%s", text);
    json_object_put(config);
    return status;
}

int clip_hf_tokenizer_settings(const char *folder, struct clip_tokenizer_settings *settings,
                               struct clip_error *error)
{
    char type[64], class[64];
    *settings = (struct clip_tokenizer_settings){0};
    if (read_member(folder, "config.json", "model_type", type, sizeof type, error) != 0 ||
        read_member(folder, "tokenizer_config.json", "tokenizer_class", class, sizeof class, error) != 0)
        return -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(types); i++) {
        if (strcmp(type, types[i].type) != 0)
            continue;
        strcpy(settings->hf_name, types[i].name);
        settings->family = types[i].family;
        settings->cleaning = CLIP_CLEANING_NONE;
    }
    /* SigLIP 2 of a fixed size is of the type siglip, too; its tokenizer is Gemma's. */
    if (settings->family == CLIP_FAMILY_SIGLIP && strncmp(class, "Gemma", 5) == 0) {
        strcpy(settings->hf_name, types[1].name);
        settings->family = CLIP_FAMILY_SIGLIP2;
    }
    return 0;
}
