/* The parts of tokenizer.json other than the vocabulary and merges: added tokens, and checks that the rest
 * is CLIP's. */
#include "base/array.h"
#include "text/vocabulary-forms.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- added tokens --- */

/* {content, single_word, lstrip, rstrip, normalized, special}. A token that is not special is searched for
 * in clean text, unless it says otherwise. */
static int read_flags(struct json_object *object, struct clip_added_token *token, struct clip_error *error)
{
    const char *where = "added_tokens";
    if (clip_json_flag(object, where, "special", &token->special, error) != 0)
        return -1;
    token->normalized = !token->special;
    if (clip_json_flag(object, where, "normalized", &token->normalized, error) != 0 ||
        clip_json_flag(object, where, "single_word", &token->single_word, error) != 0 ||
        clip_json_flag(object, where, "lstrip", &token->lstrip, error) != 0)
        return -1;
    return clip_json_flag(object, where, "rstrip", &token->rstrip, error);
}

/* OpenAI's own pattern finds the start and end tokens; they must stand alone here. */
static int add_token(struct clip_vocabulary *vocabulary, const struct clip_added_token *token,
                     struct clip_error *error)
{
    size_t length = strlen(token->text);
    if (strcmp(token->text, CLIP_START_TOKEN) != 0 && strcmp(token->text, CLIP_END_TOKEN) != 0)
        return clip_vocabulary_add_added(vocabulary, token, error);
    if (clip_vocabulary_id(vocabulary, token->text, length) == token->id)
        return 0;
    return clip_vocabulary_add_token(vocabulary, token->id, token->text, length, error);
}

static int read_token(struct clip_vocabulary *vocabulary, struct json_object *object, int id,
                      struct clip_error *error)
{
    const char *text = NULL;
    struct clip_added_token token = {.id = id};
    if (!json_object_is_type(object, json_type_object))
        return clip_fail(error, "added_tokens holds something else");
    if (clip_json_string(object, "added_tokens", "content", &text, error) != 0 ||
        clip_json_int(object, "added_tokens", "id", 0, CLIP_MAX_TOKENS - 1, &token.id, error) != 0 ||
        read_flags(object, &token, error) != 0)
        return -1;
    if (!text || token.id < 0)
        return clip_fail(error, "an added token without content or id");
    if (strlen(text) != (size_t)json_object_get_string_len(clip_json_get(object, "content")))
        return clip_fail(error, "token %ld holds a zero byte", (long)token.id);
    token.text = (char *)text;
    return add_token(vocabulary, &token, error);
}

int clip_read_added_tokens(struct clip_vocabulary *vocabulary, struct json_object *tokenizer,
                           struct clip_error *error)
{
    struct json_object *added = clip_json_get(tokenizer, "added_tokens");
    if (added && !json_object_is_type(added, json_type_array))
        return clip_fail(error, "added_tokens is not an array");
    for (size_t i = 0; added && i < json_object_array_length(added); i++)
        if (read_token(vocabulary, json_object_array_get_idx(added, i), -1, error) != 0)
            return -1;
    return 0;
}

/* An id as the name of a member: a whole number, or -1. */
static int id_of(const char *text)
{
    char *end;
    long id = strtol(text, &end, 10);
    return end == text || *end || id < 0 || id >= (long)CLIP_MAX_TOKENS ? -1 : (int)id;
}

/* tokenizer_config.json's {"added_tokens_decoder": {"49408": {content ...}}}. */
static int read_decoder(struct clip_vocabulary *vocabulary, struct json_object *config,
                        struct clip_error *error)
{
    struct json_object *decoder = NULL;
    if (clip_json_object(config, "tokenizer_config", "added_tokens_decoder", &decoder, error) != 0)
        return -1;
    if (!decoder)
        return 0;
    json_object_object_foreach(decoder, id,
                               token) if (read_token(vocabulary, token, id_of(id), error) != 0) return -1;
    return 0;
}

/* added_tokens.json's {"<sks>": 49408}. */
static int read_names(struct clip_vocabulary *vocabulary, struct json_object *names, struct clip_error *error)
{
    json_object_object_foreach(names, text, value)
    {
        int64_t id = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        char shown[80];
        if (id < 0 || id >= CLIP_MAX_TOKENS)
            return clip_fail(error, "token '%s' has no valid id",
                             clip_printable(shown, sizeof shown, text, strlen(text)));
        struct clip_added_token token = {.text = text, .id = (int32_t)id, .normalized = 1};
        if (add_token(vocabulary, &token, error) != 0)
            return -1;
    }
    return 0;
}

static int read_checked(struct clip_vocabulary *vocabulary, struct json_object *tokenizer,
                        struct clip_error *error)
{
    return clip_check_tokenizer(tokenizer, error) != 0 ? -1
                                                       : clip_read_added_tokens(vocabulary, tokenizer, error);
}

/* 1 if the configuration lists the added tokens, as those of recent years do. */
static int has_decoder(struct json_object *config)
{
    return clip_json_get(config, "added_tokens_decoder") != NULL;
}

static int is_object(struct json_object *object)
{
    (void)object;
    return 1;
}

int clip_read_added_beside(struct clip_vocabulary *vocabulary, const char *folder, struct clip_error *error)
{
    static const struct {
        const char *name;
        int (*says)(struct json_object *);
        int (*read)(struct clip_vocabulary *, struct json_object *, struct clip_error *);
    } files[] = {{"tokenizer.json", is_object, read_checked},
                 {"tokenizer_config.json", has_decoder, read_decoder},
                 {"added_tokens.json", is_object, read_names}};
    int done = 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(files) && !done; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        if (n < 0 || n >= (int)sizeof path || access(path, F_OK) != 0)
            continue;
        struct json_object *json = clip_json_read(path, error);
        if (!json)
            return -1;
        done = files[i].says(json);
        int result = done ? files[i].read(vocabulary, json, error) : 0;
        json_object_put(json);
        if (result != 0)
            return clip_fail_prefix(error, "%s", path);
    }
    return 0;
}

/* --- the parts that must be CLIP's --- */

static const char *type_of(struct json_object *part)
{
    const char *type = json_object_get_string(clip_json_get(part, "type"));
    return type ? type : "";
}

static int fail_part(const char *where, struct json_object *part, struct clip_error *error)
{
    char text[100];
    const char *type =
        json_object_is_type(part, json_type_object) ? type_of(part) : json_object_to_json_string(part);
    return clip_fail(error, "%s: %s is not supported: it is not CLIP's", where,
                     clip_printable(text, sizeof text, type, strlen(type)));
}

static int is_text(struct json_object *part, const char *key, const char *text)
{
    struct json_object *member = clip_json_get(part, key);
    return json_object_is_type(member, json_type_string) && strcmp(json_object_get_string(member), text) == 0;
}

/* The parts of a Sequence, or the part by itself. */
static size_t count_parts(struct json_object *part, const char *key)
{
    return strcmp(type_of(part), "Sequence") == 0 &&
                   json_object_is_type(clip_json_get(part, key), json_type_array)
               ? json_object_array_length(clip_json_get(part, key))
               : 1;
}

static struct json_object *part_at(struct json_object *part, const char *key, size_t i)
{
    return strcmp(type_of(part), "Sequence") == 0 &&
                   json_object_is_type(clip_json_get(part, key), json_type_array)
               ? json_object_array_get_idx(clip_json_get(part, key), i)
               : part;
}

/* NFC, white space to one blank, lower case, as OpenAI's cleaning does. Without the last it is a different
 * tokenizer. */
static int check_normalizer(struct json_object *normalizer, struct clip_error *error)
{
    int lower = 0;
    for (size_t i = 0; i < count_parts(normalizer, "normalizers"); i++) {
        struct json_object *part = part_at(normalizer, "normalizers", i);
        const char *type = type_of(part);
        int spaces = strcmp(type, "Replace") == 0 && is_text(part, "content", " ") &&
                     is_text(clip_json_get(part, "pattern"), "Regex", "\\s+");
        if (strcmp(type, "Lowercase") == 0)
            lower = 1;
        else if (!spaces && strcmp(type, "NFC") != 0 && strcmp(type, "Strip") != 0)
            return fail_part("normalizer", part, error);
    }
    return lower ? 0 : clip_fail(error, "normalizer: it does not make the text lower case, as CLIP's does");
}

/* OpenAI's pattern, with or without the two special tokens. */
#define PATTERN "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"

static int is_split(struct json_object *part)
{
    struct json_object *pattern = clip_json_get(part, "pattern");
    return is_text(part, "behavior", "Removed") && json_object_get_boolean(clip_json_get(part, "invert")) &&
           (is_text(pattern, "Regex", PATTERN) ||
            is_text(pattern, "Regex", "<\\|startoftext\\|>|<\\|endoftext\\|>|" PATTERN));
}

/* Split by the pattern, then bytes; the first converted files have the bytes alone. */
static int check_pre_tokenizer(struct json_object *pre_tokenizer, struct clip_error *error)
{
    int bytes = 0;
    for (size_t i = 0; i < count_parts(pre_tokenizer, "pretokenizers"); i++) {
        struct json_object *part = part_at(pre_tokenizer, "pretokenizers", i);
        if (strcmp(type_of(part), "ByteLevel") == 0 &&
            !json_object_get_boolean(clip_json_get(part, "add_prefix_space")))
            bytes = 1;
        else if (strcmp(type_of(part), "Split") != 0 || !is_split(part))
            return fail_part("pre_tokenizer", part, error);
    }
    return bytes ? 0 : clip_fail(error, "pre_tokenizer: it has no ByteLevel, as CLIP's has");
}

/* ["<|endoftext|>", 49407] */
static int is_pair(struct json_object *post_processor, const char *key, const char *name)
{
    struct json_object *pair = clip_json_get(post_processor, key);
    const char *text = json_object_is_type(pair, json_type_array)
                           ? json_object_get_string(json_object_array_get_idx(pair, 0))
                           : NULL;
    return text && strcmp(text, name) == 0;
}

/* The start token, the text, the end token. */
static int is_template(struct json_object *post_processor)
{
    static const char *const members[] = {"SpecialToken", "Sequence", "SpecialToken"};
    static const char *const ids[] = {CLIP_START_TOKEN, "A", CLIP_END_TOKEN};
    struct json_object *single = clip_json_get(post_processor, "single");
    if (!json_object_is_type(single, json_type_array) ||
        json_object_array_length(single) != CLIP_COUNT_OF(ids))
        return 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(ids); i++)
        if (!is_text(clip_json_get(json_object_array_get_idx(single, i), members[i]), "id", ids[i]))
            return 0;
    return 1;
}

static int check_post_processor(struct json_object *post_processor, struct clip_error *error)
{
    const char *type = type_of(post_processor);
    if (!post_processor || strcmp(type, "ByteLevel") == 0 ||
        (strcmp(type, "RobertaProcessing") == 0 && is_pair(post_processor, "cls", CLIP_START_TOKEN) &&
         is_pair(post_processor, "sep", CLIP_END_TOKEN)) ||
        (strcmp(type, "TemplateProcessing") == 0 && is_template(post_processor)))
        return 0;
    return fail_part("post_processor", post_processor, error);
}

static int check_model(struct json_object *model, struct clip_error *error)
{
    static const struct clip_json_option options[] = {
        {"vocab", CLIP_JSON_USED, NULL},
        {"merges", CLIP_JSON_USED, NULL},
        {"unk_token", CLIP_JSON_IGNORED, NULL}, /* every byte has a token */
        {"fuse_unk", CLIP_JSON_IGNORED, NULL},
        {"type", CLIP_JSON_ONLY, "BPE"},
        {"end_of_word_suffix", CLIP_JSON_ONLY, "</w>"},
    };
    if (clip_json_options(model, "model", options, CLIP_COUNT_OF(options), error) != 0)
        return -1;
    if (!clip_json_get(model, "end_of_word_suffix"))
        return clip_fail(error,
                         "model.end_of_word_suffix: without it the vocabulary is not CLIP's (\"</w>\")");
    return 0;
}

int clip_check_tokenizer(struct json_object *tokenizer, struct clip_error *error)
{
    struct json_object *model = NULL;
    if (clip_json_object(tokenizer, "tokenizer", "model", &model, error) != 0)
        return -1;
    if ((model && check_model(model, error) != 0) ||
        check_normalizer(clip_json_get(tokenizer, "normalizer"), error) != 0 ||
        check_pre_tokenizer(clip_json_get(tokenizer, "pre_tokenizer"), error) != 0)
        return -1;
    return check_post_processor(clip_json_get(tokenizer, "post_processor"), error);
}
