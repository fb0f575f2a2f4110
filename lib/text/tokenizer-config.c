/* The files beside a tokenizer: tokenizer_config.json, special_tokens_map.json and
 * added_tokens.json. */
#include "base/array.h"
#include "text/kinds.h"
#include "base/json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A token: "</s>", or {"content": "</s>", ...}. One that is too long for a name is none. */
static void take_name(struct json_object *json, const char *key, char *out, size_t size)
{
    struct json_object *member = clip_json_get(json, key);
    if (json_object_is_type(member, json_type_object))
        member = clip_json_get(member, "content");
    if (json_object_is_type(member, json_type_string) && (size_t)json_object_get_string_len(member) < size &&
        !*out)
        strcpy(out, json_object_get_string(member));
}

static void take_flag(struct json_object *json, const char *key, int *flag)
{
    struct json_object *member = clip_json_get(json, key);
    if (json_object_is_type(member, json_type_boolean) && *flag < 0)
        *flag = json_object_get_boolean(member);
}

static void take(struct clip_tokenizer_config *config, struct json_object *json)
{
    take_name(json, "tokenizer_class", config->class_name, sizeof config->class_name);
    take_name(json, "pad_token", config->pad, sizeof config->pad);
    take_name(json, "bos_token", config->start, sizeof config->start);
    take_name(json, "eos_token", config->end, sizeof config->end);
    take_name(json, "sep_token", config->separator, sizeof config->separator);
    take_name(json, "cls_token", config->class_token, sizeof config->class_token);
    take_name(json, "unk_token", config->unknown, sizeof config->unknown);
    take_name(json, "mask_token", config->mask, sizeof config->mask);
    take_flag(json, "do_lower_case", &config->lower);
    take_flag(json, "strip_accents", &config->accents);
    take_flag(json, "tokenize_chinese_chars", &config->chinese);
    take_flag(json, "add_bos_token", &config->add_start);
    take_flag(json, "add_eos_token", &config->add_end);
    struct json_object *additional = clip_json_get(json, "additional_special_tokens");
    if (json_object_is_type(additional, json_type_array) && !config->additional)
        config->additional = json_object_get(additional);
    struct json_object *decoder = clip_json_get(json, "added_tokens_decoder");
    if (json_object_is_type(decoder, json_type_object) && !config->decoder)
        config->decoder = json_object_get(decoder);
}

int clip_tokenizer_config_read(struct clip_tokenizer_config *config, const char *folder,
                               struct clip_error *error)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json"};
    *config = (struct clip_tokenizer_config){
        .lower = -1, .accents = -1, .chinese = -1, .add_start = -1, .add_end = -1};
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= (int)sizeof path ||
            access(path, F_OK) != 0)
            continue;
        struct json_object *json = clip_json_read(path, error);
        if (!json) {
            clip_tokenizer_config_free(config);
            return -1;
        }
        if (i < 2)
            take(config, json);
        else
            config->added = json_object_get(json);
        json_object_put(json);
    }
    return 0;
}

void clip_tokenizer_config_free(struct clip_tokenizer_config *config)
{
    json_object_put(config->additional);
    json_object_put(config->decoder);
    json_object_put(config->added);
    config->additional = config->decoder = config->added = NULL;
}

/* --- tokens that were added --- */

int clip_add_token_object(struct clip_pipeline *pipeline, struct json_object *object, int id,
                          struct clip_error *error)
{
    const char *where = "added_tokens";
    struct json_object *content = clip_json_get(object, "content");
    int special = 0;
    struct clip_pipeline_token token = {0};
    if (!json_object_is_type(content, json_type_string))
        return clip_fail(error, "added_tokens holds a token without content");
    if (clip_json_int(object, where, "id", 0, CLIP_MOST_IDS - 1, &id, error) != 0 ||
        clip_json_flag(object, where, "special", &special, error) != 0)
        return -1;
    token.normalized = !special;
    if (clip_json_flag(object, where, "normalized", &token.normalized, error) != 0 ||
        clip_json_flag(object, where, "single_word", &token.single_word, error) != 0 ||
        clip_json_flag(object, where, "lstrip", &token.lstrip, error) != 0 ||
        clip_json_flag(object, where, "rstrip", &token.rstrip, error) != 0)
        return -1;
    token.text = (char *)json_object_get_string(content);
    token.length = (size_t)json_object_get_string_len(content);
    token.id = id;
    return id < 0 ? clip_fail(error, "added_tokens holds a token without id")
                  : clip_pipeline_add(pipeline, &token, error);
}

/* An id as the name of a member: a whole number, or -1. */
static int id_of(const char *text)
{
    char *end;
    long id = strtol(text, &end, 10);
    return end == text || *end || id < 0 || id >= (long)CLIP_MOST_IDS ? -1 : (int)id;
}

/* What an additional special token is called: a string, or an object with its content. NULL: neither. */
static struct json_object *name_of(struct json_object *item)
{
    struct json_object *name =
        json_object_is_type(item, json_type_object) ? clip_json_get(item, "content") : item;
    return json_object_is_type(name, json_type_string) ? name : NULL;
}

static int is_special(const struct clip_tokenizer_config *config, const char *name)
{
    const char *said[] = {config->pad,         config->start,   config->end, config->separator,
                          config->class_token, config->unknown, config->mask};
    for (size_t i = 0; i < CLIP_COUNT_OF(said); i++)
        if (strcmp(said[i], name) == 0)
            return 1;
    for (size_t i = 0; config->additional && i < json_object_array_length(config->additional); i++) {
        struct json_object *other = name_of(json_object_array_get_idx(config->additional, i));
        if (other && strcmp(json_object_get_string(other), name) == 0)
            return 1;
    }
    return 0;
}

/* added_tokens.json's {"<sks>": 49408}: tokens that are not special are looked for in normalized text. */
static int add_names(struct clip_pipeline *pipeline, const struct clip_tokenizer_config *config,
                     struct clip_error *error)
{
    json_object_object_foreach(config->added, name, value)
    {
        int64_t id = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        char shown[80];
        if (id < 0 || id >= (int64_t)CLIP_MOST_IDS)
            return clip_fail(error, "added_tokens.json: token '%s' has no valid id",
                             clip_printable(shown, sizeof shown, name, strlen(name)));
        struct clip_pipeline_token token = {
            .text = name, .length = strlen(name), .id = (int32_t)id, .normalized = !is_special(config, name)};
        if (clip_pipeline_add(pipeline, &token, error) != 0)
            return -1;
    }
    return 0;
}

static int add_decoder(struct clip_pipeline *pipeline, struct json_object *decoder, struct clip_error *error)
{
    json_object_object_foreach(
        decoder, id, token) if (clip_add_token_object(pipeline, token, id_of(id), error) !=
                                0) return clip_fail_prefix(error,
                                                           "tokenizer_config.json: added_tokens_decoder");
    return 0;
}

static int add_additional(struct clip_pipeline *pipeline, struct json_object *additional,
                          struct clip_error *error)
{
    for (size_t i = 0; additional && i < json_object_array_length(additional); i++) {
        struct json_object *name = name_of(json_object_array_get_idx(additional, i));
        struct clip_pipeline_token token = {0};
        if (!name)
            continue;
        token.text = (char *)json_object_get_string(name);
        token.length = (size_t)json_object_get_string_len(name);
        token.id = clip_pipeline_id(pipeline, token.text, token.length);
        if (token.id < 0)
            token.id = (int32_t)clip_pipeline_size(pipeline);
        if (clip_pipeline_add(pipeline, &token, error) != 0)
            return -1;
    }
    return 0;
}

int clip_tokenizer_config_add(struct clip_pipeline *pipeline, const struct clip_tokenizer_config *config,
                              struct clip_error *error)
{
    if (config->decoder && add_decoder(pipeline, config->decoder, error) != 0)
        return -1;
    if (!config->decoder && config->added && add_names(pipeline, config, error) != 0)
        return -1;
    return add_additional(pipeline, config->additional, error);
}

/* --- the template's tokens --- */

/* The id of the first of these names that the tokenizer has, or -1. */
static int32_t find_name(const struct clip_pipeline *pipeline, const char *const *names)
{
    int32_t id = -1;
    for (; *names && id < 0; names++)
        id = **names ? clip_pipeline_id(pipeline, *names, strlen(*names)) : -1;
    return id;
}

void clip_frame_name(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_config *config)
{
    const struct clip_pipeline *pipeline = tokenizer->pipeline;
    struct clip_frame *frame = &tokenizer->frame;
    /* timm's SigLIP pads with its end token, SigLIP 2 and the others with a token of its own. */
    int siglip =
        (strncmp(tokenizer->settings.hf_name, "timm/", 5) == 0 &&
         strstr(tokenizer->settings.hf_name, "-SigLIP") && !strstr(tokenizer->settings.hf_name, "SigLIP2")) ||
        tokenizer->settings.family == CLIP_FAMILY_SIGLIP;
    const char *pads[] = {config->pad, siglip ? "</s>" : "", NULL};
    const char *usual[] = {"<pad>", "[PAD]", "<|endoftext|>", NULL};
    const char *starts[] = {config->start, "<s>", "<bos>", NULL};
    const char *ends[] = {config->end, "</s>", "<eos>", NULL};
    const char *classes[] = {config->class_token, "[CLS]", "<s>", NULL};
    const char *separators[] = {config->separator, "[SEP]", "</s>", NULL};
    int32_t pad = find_name(pipeline, pads);
    if (pad < 0 && frame->pad < 0)
        pad = find_name(pipeline, usual);
    frame->pad = pad >= 0 ? pad : frame->pad;
    frame->start = find_name(pipeline, starts);
    frame->end = find_name(pipeline, ends);
    frame->class_token = find_name(pipeline, classes);
    frame->separator = find_name(pipeline, separators);
    /* Gemma's class makes the template of these, whatever the file has. */
    if (strncmp(config->class_name, "Gemma", 5) != 0 || (config->add_start < 0 && config->add_end < 0))
        return;
    frame->before_n = config->add_start != 0 && frame->start >= 0;
    frame->before[0] = frame->start;
    frame->after_n = config->add_end > 0 && frame->end >= 0;
    frame->after[0] = frame->end;
}
