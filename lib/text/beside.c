/* What stands beside a tokenizer's file: tokenizer_config.json, special_tokens_map.json and
 * added_tokens.json. */
#include "text/kinds.h"
#include "base/json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A token: "</s>", or {"content": "</s>", ...}. One that is too long for a name is none. */
static void take_name(struct json_object *config, const char *key, char *out, size_t size)
{
    struct json_object *member = clip_json_get(config, key);
    if (json_object_is_type(member, json_type_object))
        member = clip_json_get(member, "content");
    if (json_object_is_type(member, json_type_string) && (size_t)json_object_get_string_len(member) < size &&
        !*out)
        strcpy(out, json_object_get_string(member));
}

static void take_flag(struct json_object *config, const char *key, int *flag)
{
    struct json_object *member = clip_json_get(config, key);
    if (json_object_is_type(member, json_type_boolean) && *flag < 0)
        *flag = json_object_get_boolean(member);
}

static void take(struct clip_beside *beside, struct json_object *config)
{
    take_name(config, "tokenizer_class", beside->class_name, sizeof beside->class_name);
    take_name(config, "pad_token", beside->pad, sizeof beside->pad);
    take_name(config, "bos_token", beside->start, sizeof beside->start);
    take_name(config, "eos_token", beside->end, sizeof beside->end);
    take_name(config, "sep_token", beside->separator, sizeof beside->separator);
    take_name(config, "cls_token", beside->class_token, sizeof beside->class_token);
    take_name(config, "unk_token", beside->unknown, sizeof beside->unknown);
    take_name(config, "mask_token", beside->mask, sizeof beside->mask);
    take_flag(config, "do_lower_case", &beside->lower);
    take_flag(config, "strip_accents", &beside->accents);
    take_flag(config, "tokenize_chinese_chars", &beside->chinese);
    take_flag(config, "add_bos_token", &beside->add_start);
    take_flag(config, "add_eos_token", &beside->add_end);
    struct json_object *additional = clip_json_get(config, "additional_special_tokens");
    if (json_object_is_type(additional, json_type_array) && !beside->additional)
        beside->additional = json_object_get(additional);
    struct json_object *decoder = clip_json_get(config, "added_tokens_decoder");
    if (json_object_is_type(decoder, json_type_object) && !beside->decoder)
        beside->decoder = json_object_get(decoder);
}

int clip_beside_read(struct clip_beside *beside, const char *folder, struct clip_error *error)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json"};
    *beside = (struct clip_beside){.lower = -1, .accents = -1, .chinese = -1, .add_start = -1, .add_end = -1};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= (int)sizeof path ||
            access(path, F_OK) != 0)
            continue;
        struct json_object *config = clip_json_read(path, error);
        if (!config) {
            clip_beside_free(beside);
            return -1;
        }
        if (i < 2)
            take(beside, config);
        else
            beside->added = json_object_get(config);
        json_object_put(config);
    }
    return 0;
}

void clip_beside_free(struct clip_beside *beside)
{
    json_object_put(beside->additional);
    json_object_put(beside->decoder);
    json_object_put(beside->added);
    beside->additional = beside->decoder = beside->added = NULL;
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

static int is_special(const struct clip_beside *beside, const char *name)
{
    const char *said[] = {beside->pad,         beside->start,   beside->end, beside->separator,
                          beside->class_token, beside->unknown, beside->mask};
    for (size_t i = 0; i < COUNT(said); i++)
        if (strcmp(said[i], name) == 0)
            return 1;
    for (size_t i = 0; beside->additional && i < json_object_array_length(beside->additional); i++) {
        struct json_object *other = name_of(json_object_array_get_idx(beside->additional, i));
        if (other && strcmp(json_object_get_string(other), name) == 0)
            return 1;
    }
    return 0;
}

/* added_tokens.json's {"<sks>": 49408}: tokens that are not special are looked for in normalized text. */
static int add_names(struct clip_pipeline *pipeline, const struct clip_beside *beside,
                     struct clip_error *error)
{
    json_object_object_foreach(beside->added, name, value)
    {
        int64_t id = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        char shown[80];
        if (id < 0 || id >= (int64_t)CLIP_MOST_IDS)
            return clip_fail(error, "added_tokens.json: token '%s' has no valid id",
                             clip_printable(shown, sizeof shown, name, strlen(name)));
        struct clip_pipeline_token token = {
            .text = name, .length = strlen(name), .id = (int32_t)id, .normalized = !is_special(beside, name)};
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

int clip_beside_add(struct clip_pipeline *pipeline, const struct clip_beside *beside,
                    struct clip_error *error)
{
    if (beside->decoder && add_decoder(pipeline, beside->decoder, error) != 0)
        return -1;
    if (!beside->decoder && beside->added && add_names(pipeline, beside, error) != 0)
        return -1;
    return add_additional(pipeline, beside->additional, error);
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

void clip_frame_name(struct clip_tokenizer *tokenizer, const struct clip_beside *beside)
{
    const struct clip_pipeline *pipeline = tokenizer->pipeline;
    struct clip_frame *frame = &tokenizer->frame;
    /* timm's SigLIP pads with its end token, SigLIP 2 and the others with a token of its own. */
    int siglip =
        (strncmp(tokenizer->settings.hf_name, "timm/", 5) == 0 &&
         strstr(tokenizer->settings.hf_name, "-SigLIP") && !strstr(tokenizer->settings.hf_name, "SigLIP2")) ||
        tokenizer->settings.family == CLIP_FAMILY_SIGLIP;
    const char *pads[] = {beside->pad, siglip ? "</s>" : "", NULL};
    const char *usual[] = {"<pad>", "[PAD]", "<|endoftext|>", NULL};
    const char *starts[] = {beside->start, "<s>", "<bos>", NULL};
    const char *ends[] = {beside->end, "</s>", "<eos>", NULL};
    const char *classes[] = {beside->class_token, "[CLS]", "<s>", NULL};
    const char *separators[] = {beside->separator, "[SEP]", "</s>", NULL};
    int32_t pad = find_name(pipeline, pads);
    if (pad < 0 && frame->pad < 0)
        pad = find_name(pipeline, usual);
    frame->pad = pad >= 0 ? pad : frame->pad;
    frame->start = find_name(pipeline, starts);
    frame->end = find_name(pipeline, ends);
    frame->class_token = find_name(pipeline, classes);
    frame->separator = find_name(pipeline, separators);
    /* Gemma's class makes the template of these, whatever the file has. */
    if (strncmp(beside->class_name, "Gemma", 5) != 0 || (beside->add_start < 0 && beside->add_end < 0))
        return;
    frame->before_n = beside->add_start != 0 && frame->start >= 0;
    frame->before[0] = frame->start;
    frame->after_n = beside->add_end > 0 && frame->end >= 0;
    frame->after[0] = frame->end;
}
