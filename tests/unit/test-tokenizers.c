/* Tokenizers of every kind against the reference libraries' own ids, and files that are broken. */
#include "check.h"
#include "text/clean.h"
#include "text/tokenizer.h"

#include <json-c/json.h>
#include <string.h>
#include <time.h>

static char golden[4200];

static const char *path_of(const char *name)
{
    static char path[9000];
    snprintf(path, sizeof path, "%s/%s", golden, name);
    return path;
}

/* The bytes of a line's `text` or `hex`; the caller frees them. */
static char *text_of(struct json_object *row, size_t *length)
{
    struct json_object *value;
    if (json_object_object_get_ex(row, "text", &value)) {
        *length = (size_t)json_object_get_string_len(value);
        return memcpy(malloc(*length + 1), json_object_get_string(value), *length + 1);
    }
    json_object_object_get_ex(row, "hex", &value);
    const char *hex = json_object_get_string(value);
    *length = strlen(hex) / 2;
    char *bytes = malloc(*length + 1);
    for (size_t i = 0; i < *length; i++)
        sscanf(hex + 2 * i, "%2hhx", (unsigned char *)bytes + i);
    return bytes;
}

static int same(struct json_object *want, const int32_t *ids, size_t count)
{
    int result = count == json_object_array_length(want);
    for (size_t i = 0; result && i < count; i++)
        result = ids[i] == json_object_get_int(json_object_array_get_idx(want, i));
    return result;
}

/* Each line of a golden file. */
typedef void check_row(struct clip_tokenizer *, struct json_object *, const char *line);

static void check_rows(struct clip_tokenizer *tokenizer, const char *name, size_t expected, check_row *check)
{
    FILE *file = fopen(path_of(name), "r");
    char *line = NULL;
    size_t room = 0, lines = 0;
    CHECK(file != NULL, "%s", name);
    while (file && getline(&line, &room, file) > 0) {
        struct json_object *row = json_tokener_parse(line);
        check(tokenizer, row, line);
        json_object_put(row);
        lines++;
    }
    CHECK(lines == expected, "%s: %zu lines", name, lines);
    free(line);
    if (file)
        fclose(file);
}

static void check_tokens(struct clip_tokenizer *tokenizer, struct json_object *row, const char *line)
{
    struct clip_error error = {""};
    const int32_t *ids = NULL;
    size_t count = 0, length;
    char *text = text_of(row, &length);
    CHECK(clip_tokenize(tokenizer, text, length, &ids, &count, &error) == 0, "%s", error.text);
    CHECK(same(json_object_object_get(row, "tokens"), ids, count), "%s", line);
    if (getenv("SHOW") && !same(json_object_object_get(row, "tokens"), ids, count))
        for (size_t i = 0; i < count; i++)
            printf("%d%s", ids[i], i + 1 < count ? "," : "\n");
    free(text);
}

/* In the template, cut and padded; `stripped` as open_clip's strip_sep_token leaves it. */
static const char *laid_as;

static void check_laid(struct clip_tokenizer *tokenizer, struct json_object *row, const char *line)
{
    struct clip_error error = {""};
    const int32_t *ids = NULL;
    int32_t out[64];
    size_t count = 0, length,
           context = (size_t)json_object_get_int(json_object_object_get(row, "context_length"));
    char *text = text_of(row, &length);
    CHECK(context <= 64 && clip_tokenize(tokenizer, text, length, &ids, &count, &error) == 0, "%s",
          error.text);
    clip_tokenizer_lay(tokenizer, ids, count, out, context);
    CHECK(same(json_object_object_get(row, laid_as), out, context), "%s: %s", laid_as, line);
    free(text);
}

static struct clip_tokenizer *open_as(const char *name, const struct clip_tokenizer_settings *settings)
{
    struct clip_error error = {""};
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(path_of(name), settings, &error);
    CHECK(tokenizer != NULL, "%s", error.text);
    return tokenizer;
}

/* A file and its golden lines; `name` as open_clip's configurations have it. */
static void check_file(const char *file, const char *lines, size_t expected, const char *padded,
                       const char *name)
{
    struct clip_tokenizer_settings settings = {.cleaning = CLIP_CLEANING_NONE};
    snprintf(settings.hf_name, sizeof settings.hf_name, "%s", name);
    struct clip_tokenizer *tokenizer = open_as(file, &settings);
    if (!tokenizer)
        return;
    check_rows(tokenizer, lines, expected, check_tokens);
    laid_as = "tokens";
    if (padded)
        check_rows(tokenizer, padded, 60, check_laid);
    clip_tokenizer_free(tokenizer);
}

static void check_golden(void)
{
    static const struct {
        const char *folder, *model, *name;
    } folders[] = {{"t5-unigram", "spiece.model", "timm/ViT-B-16-SigLIP"},
                   {"t5-unigram-old", NULL, "timm/ViT-B-16-SigLIP"},
                   {"mt5-unigram", "spiece.model", "google/mt5-base"},
                   {"xlmr-unigram", "sentencepiece.bpe.model", "xlm-roberta-base"},
                   {"xlmr-unigram-old", NULL, "xlm-roberta-base"},
                   {"nllb-bpe", "sentencepiece.bpe.model", "facebook/nllb-200-distilled-600M"},
                   {"gemma-bpe", "tokenizer.model", "timm/ViT-B-16-SigLIP2"},
                   {"gemma-bpe-siglip2", NULL, "timm/ViT-B-16-SigLIP2"},
                   {"bert-wordpiece", NULL, "bert-base-uncased"},
                   {"bert-wordpiece-cased", NULL, "bert-base-cased"},
                   {"roberta-bpe", NULL, "roberta-base"},
                   {"clip-bpe", NULL, ""}};
    char file[100], lines[100], padded[100];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(file, sizeof file, "%s/tokenizer.json", folders[i].folder);
        snprintf(lines, sizeof lines, "%s/lines.jsonl", folders[i].folder);
        snprintf(padded, sizeof padded, "%s/padded.jsonl", folders[i].folder);
        check_file(file, lines, 300, padded, folders[i].name);
        if (!folders[i].model)
            continue;
        snprintf(file, sizeof file, "%s/%s", folders[i].folder, folders[i].model);
        snprintf(lines, sizeof lines, "%s/lines.spm.jsonl", folders[i].folder);
        check_file(file, lines, 315, NULL, "");
    }
    check_file("bert-wordpiece/vocab.txt", "bert-wordpiece/lines.jsonl", 300, "bert-wordpiece/padded.jsonl",
               "");
    check_file("roberta-bpe/vocab.json", "roberta-bpe/lines.jsonl", 300, "roberta-bpe/padded.jsonl", "");
    check_file("roberta-bpe/merges.txt", "roberta-bpe/lines.jsonl", 300, "roberta-bpe/padded.jsonl", "");
}

static void check_others(void)
{
    struct clip_tokenizer_settings settings = {.strip_separators = 1};
    struct clip_tokenizer *tokenizer = open_as("bert-wordpiece/tokenizer.json", &settings);
    laid_as = "stripped";
    if (tokenizer)
        check_rows(tokenizer, "bert-wordpiece/padded.jsonl", 60, check_laid);
    clip_tokenizer_free(tokenizer);
    static const char *const encodings[] = {"r50k", "cl100k"};
    for (int i = 0; i < 2; i++) {
        char lines[60];
        settings = (struct clip_tokenizer_settings){0};
        snprintf(settings.tiktoken, sizeof settings.tiktoken, "%s_base", encodings[i]);
        snprintf(lines, sizeof lines, "tiktoken/lines.%s.jsonl", encodings[i]);
        tokenizer = open_as("tiktoken/small.tiktoken", &settings);
        if (tokenizer)
            check_rows(tokenizer, lines, 300, check_tokens);
        clip_tokenizer_free(tokenizer);
    }
}

/* open_clip's cleaning functions, and that of OpenAI. */
static struct clip_cleaner *cleaner;

static void check_clean(struct clip_tokenizer *ignored, struct json_object *row, const char *line)
{
    size_t length, n;
    const char *clean = NULL;
    struct clip_error error = {""};
    char *text = text_of(row, &length);
    (void)ignored;
    for (int i = CLIP_CLEANING_LOWER; i < CLIP_CLEANINGS; i++) {
        struct json_object *want = json_object_object_get(row, clip_cleaning_names[i]);
        CHECK(clip_clean_as(cleaner, (enum clip_cleaning)i, text, length, &clean, &n, &error) == 0, "");
        CHECK(n == (size_t)json_object_get_string_len(want) &&
                  memcmp(clean, json_object_get_string(want), n) == 0,
              "%s '%.*s': %s", clip_cleaning_names[i], (int)n, clean, line);
    }
    free(text);
}

int main(void)
{
    struct clip_error error;
    const char *shared = check_shared();
    if (!shared)
        check_skip("there is no shared data");
    snprintf(golden, sizeof golden, "%s/golden/text/tokenizers", shared);
    check_golden();
    check_others();
    cleaner = clip_cleaner_new(&error);
    FILE *file = fopen(path_of("clean.jsonl"), "r");
    size_t lines = 0;
    for (int c; file && (c = getc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    CHECK(lines >= 300, "%zu", lines);
    check_rows(NULL, "clean.jsonl", lines, check_clean);
    clip_cleaner_free(cleaner);
    return check_end();
}
