/* What stands beside a tokenizer's file: tokenizer_config.json and special_tokens_map.json. */
#include "text/kinds.h"
#include "base/json.h"

#include <limits.h>
#include <stdio.h>
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
    struct json_object *additional = clip_json_get(config, "additional_special_tokens");
    if (json_object_is_type(additional, json_type_array) && !beside->additional)
        beside->additional = json_object_get(additional);
    struct json_object *decoder = clip_json_get(config, "added_tokens_decoder");
    if (json_object_is_type(decoder, json_type_object) && !beside->decoder)
        beside->decoder = json_object_get(decoder);
}

int clip_beside_read(struct clip_beside *beside, const char *folder, struct clip_error *error)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json"};
    *beside = (struct clip_beside){.lower = -1, .accents = -1, .chinese = -1};
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
        take(beside, config);
        json_object_put(config);
    }
    return 0;
}

void clip_beside_free(struct clip_beside *beside)
{
    json_object_put(beside->additional);
    json_object_put(beside->decoder);
    beside->additional = beside->decoder = NULL;
}

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
}
