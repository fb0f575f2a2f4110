/* Tokenizers of every kind against the reference libraries' own ids, and files that are broken. */
#include "check.h"
#include "json-text.h"
#include "text/clean.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"

#include <json-c/json.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char golden[4200];

static const char *path_of(const char *name)
{
    static char path[9000];
    snprintf(path, sizeof path, "%s/%s", golden, name);
    return path;
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

/* --- small files --- */

static char folder[] = "/tmp/test-tokenizers.XXXXXX";

static const char *put(const char *name, const void *data, size_t size)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
    return path;
}

static const char *put_text(const char *name, const char *text)
{
    return put(name, text, strlen(text));
}

/* The file is refused in one line that has these words. */
static void refuses(const char *path, const char *words)
{
    struct clip_error error = {""};
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(path, NULL, &error);
    CHECK(!tokenizer, "not refused: %s", words);
    CHECK(strstr(error.text, words) && strncmp(error.text, folder, strlen(folder)) == 0 &&
              !strchr(error.text, '\n'),
          "'%s' not in: %s", words, error.text);
    clip_tokenizer_free(tokenizer);
}

/* A tokenizer.json of these parts and one of BPE. */
static const char *put_json(const char *parts, const char *model)
{
    char text[4096];
    snprintf(text, sizeof text, "{%s%s\"model\": {%s}}", parts, *parts ? ", " : "", model);
    return put_text("tokenizer.json", text);
}

#define BPE "\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"_\": 3}, \"merges\": [\"a b\"]"

static void check_refused(void)
{
    static const char *const parts[][2] = {
        {"\"normalizer\": {\"type\": \"Nmt\"}", "normalizer: Nmt is not supported"},
        {"\"normalizer\": {\"type\": \"Sequence\"}", "normalizer.normalizers is not an array"},
        {"\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"?\"}", "is not base64"},
        /* 4 bytes of trie, whose unit leads to unit 8 */
        {"\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAgAABhAA==\"}",
         "points outside"},
        {"\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"/////w==\"}",
         "precompiled_charsmap"},
        {"\"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}",
         "pre_tokenizer: UnicodeScripts is not supported"},
        {"\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?<=a)b\"}, \"behavior\": "
         "\"Removed\"}",
         "a group is not supported"},
        {"\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a+?\"}, \"behavior\": "
         "\"Removed\"}",
         "a lazy quantifier is not supported"},
        {"\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}, \"behavior\": "
         "\"Merged\"}",
         "pre_tokenizer.behavior: \"Merged\""},
        {"\"post_processor\": {\"type\": \"Template\"}", "post_processor: Template is not supported"},
        {"\"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"a\", -1], \"sep\": [\"b\", 1]}",
         "token id -1 is out of range"},
        {"\"added_tokens\": [{\"id\": 5}]", "a token without content"},
        {"\"added_tokens\": [{\"id\": 99999999, \"content\": \"x\"}]", "added_tokens.id is 99999999"},
        {"\"added_tokens\": 7", "added_tokens is not an array"}};
    static const char *const models[][2] = {
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]", "merge 1: it has no token 'b'"},
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [[\"a\", \"b\"]]",
         "it has no token 'ab'"},
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []", "two tokens have id 0"},
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 1e9}, \"merges\": []", "token 'a' has no valid id"},
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]",
         "merge 1: not a merge of two tokens"},
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"dropout\": 0.1",
         "model.dropout is not supported"},
        {"\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"unk_token\": \"u\"",
         "it has no token 'u'"},
        {"\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}", "model.type: \"WordLevel\" is not supported"},
        {"\"type\": \"Unigram\", \"vocab\": [[\"a\", 0]], \"unk_id\": 4", "model.unk_id 4 is outside"},
        {"\"type\": \"Unigram\", \"vocab\": [[\"a\"]], \"unk_id\": 0",
         "vocab 0 is not a token and its score"},
        {"\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}", "model.unk_token is missing"},
        {"\"type\": \"BPE\"", "model has no vocab"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        refuses(put_json(parts[i][0], BPE), parts[i][1]);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        refuses(put_json("", models[i][0]), models[i][1]);
    refuses(put("x.model", "\x0a\x05\x0a\x01", 4), "it is cut, or a length is wrong");
    refuses(put("x.model",
                "\x0a\x03\x0a\x01"
                "a",
                5),
            "it has no unknown piece");
    refuses(put("x.model",
                "\x0b\x03\x0a\x01"
                "a",
                5),
            "wire type 3");
    refuses(put("x.model", "\x0a\x05\x0a\x01\xff\x18\x02", 7), "piece 0 has a wrong type, score or text");
    refuses(put_text("x.tiktoken", "YQ== 0\nYQ 1\n"), "line 2: not a token in base64 and its rank");
    refuses(put_text("x.tiktoken", "YQ== 0\n"), "it has no token of the byte 0");
    refuses(put_text("vocab.txt", "a\nb\n"), "it has no token '[UNK]'");
    refuses(put_text("vocab.json", "{\"a\": 0, \"b\": 1}"), "merges.txt");
}

/* The tokens of a text by a tokenizer.json, as "0 1 2". */
static const char *tokens_of(const char *path, const char *text)
{
    static char out[400];
    struct clip_error error = {""};
    const int32_t *ids;
    size_t count, n = 0;
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(path, NULL, &error);
    CHECK(tokenizer && clip_tokenize(tokenizer, text, strlen(text), &ids, &count, &error) == 0, "%s",
          error.text);
    *out = 0;
    for (size_t i = 0; tokenizer && i < count && n < 300; i++)
        n += (size_t)sprintf(out + n, "%s%d", i ? " " : "", ids[i]);
    clip_tokenizer_free(tokenizer);
    return out;
}

static void check_tokens_of(const char *parts, const char *model, const char *text, const char *want)
{
    const char *got = tokens_of(put_json(parts, model), text);
    CHECK(strcmp(got, want) == 0, "%s: '%s', not '%s'", parts, got, want);
}

/* What the published files do not show. Wanted: what the library's own rules say (FACTS). */
static void check_small(void)
{
#define SPLIT(pattern, how, inverted)                                                                        \
    "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": " pattern ", \"behavior\": \"" how                \
    "\", \"invert\": " inverted "}"
    check_tokens_of("", BPE, "abab_a?", "2 2 3 0"); /* what is unknown vanishes */
    check_tokens_of(SPLIT("{\"String\": \"_\"}", "Removed", "false"), BPE, "a_b_ab", "0 1 2");
    check_tokens_of(SPLIT("{\"Regex\": \"[^a]+\"}", "Isolated", "false"), BPE, "abba_b", "0 1 1 0 3 1");
    check_tokens_of(SPLIT("{\"Regex\": \"a|_\"}", "MergedWithNext", "false"), BPE, "aab_ab", "0 2 3 2");
    check_tokens_of(SPLIT("{\"Regex\": \"b(?!_)\"}", "MergedWithPrevious", "false"), BPE, "ab_ab", "2 3 2");
    check_tokens_of(SPLIT("{\"Regex\": \"(?i:A)b{1,2}\"}", "Removed", "true"), BPE, "_abb_a", "2 1");
    check_tokens_of(
        "\"added_tokens\": [{\"id\": 9, \"content\": \"ba\", \"single_word\": true, \"normalized\": false}]",
        BPE, "ba aba ba", "9 2 0 9");
    check_tokens_of(
        "\"added_tokens\": [{\"id\": 9, \"content\": \"B\", \"lstrip\": true, \"rstrip\": true}], "
        "\"normalizer\": {\"type\": \"Lowercase\"}, \"pre_tokenizer\": {\"type\": \"Digits\", "
        "\"individual_digits\": true}",
        BPE, "a \t b A", "0 9 0");
    check_tokens_of("\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"_\"}", BPE, "ab", "3 2");
    check_tokens_of("\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, "
                    "{\"type\": \"StripAccents\"}]}",
                    BPE,
                    "\xc3\xa1"
                    "b",
                    "2");
    /* the mark of a vowel (Mc) and a circle around (Me) go, too, but not in BertNormalizer */
    check_tokens_of("\"normalizer\": {\"type\": \"StripAccents\"}", BPE,
                    "a\xe0\xa4\xbe\xe2\x83\x9d"
                    "b",
                    "2");
    check_tokens_of("\"normalizer\": {\"type\": \"BertNormalizer\", \"strip_accents\": true}, "
                    "\"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}",
                    "\"type\": \"WordPiece\", \"unk_token\": \"u\", \"vocab\": {\"a\": 0, \"u\": 1}",
                    "a\xcc\x81 a\xe0\xa4\xbe a\xe0\xa3\x94",
                    "0 1 0"); /* the last is a mark since Unicode 9 */
    /* words are of letters, marks, digits of all scripts, and connectors; not of superscripts */
    check_tokens_of("\"pre_tokenizer\": {\"type\": \"Whitespace\"}",
                    "\"type\": \"WordPiece\", \"unk_token\": \"u\", \"vocab\": {\"a\xcc\x81\": 0, "
                    "\"a\xe2\x80\xbf\": 1, \"\xc2\xb2\": 2, \"a\": 3, \"\xe2\x93\x90\xd9\xa1\": 4, \"u\": 5}",
                    "a\xcc\x81 a\xe2\x80\xbf a\xc2\xb2 \xe2\x93\x90\xd9\xa1", "0 1 3 2 4");
    check_tokens_of(
        "\"added_tokens\": [{\"id\": 9, \"content\": \"ba\", \"single_word\": true, \"normalized\": false}]",
        BPE,
        "ba\xcc\x81 \xc2\xb2"
        "ba",
        "1 0 9");
    /* lowest rank first, then leftmost: bc before ab, and again where it became possible */
    check_tokens_of(
        "",
        "\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"bc\": 3, \"ab\": 4, \"abc\": 5}, "
        "\"merges\": [\"b c\", \"a b\", \"a bc\"]",
        "abcab", "5 4");
    check_tokens_of("",
                    "\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [], "
                    "\"ignore_merges\": true",
                    "ab", "2");
    check_tokens_of("",
                    "\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"u\": 1}, \"merges\": [], \"unk_token\": "
                    "\"u\", \"fuse_unk\": true",
                    "xxaxx", "1 0 1");
    check_tokens_of(
        "", "\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"u\": 1}, \"merges\": [], \"unk_token\": \"u\"", "xxa",
        "1 1 0");
    check_tokens_of("", "\"vocab\": [[\"a\", -1], [\"b\", -1], [\"ab\", -3], [\"u\", -9]], \"unk_id\": 3",
                    "abxyb", "0 1 3 1");
    check_tokens_of("\"pre_tokenizer\": {\"type\": \"Whitespace\"}",
                    "\"type\": \"WordPiece\", \"unk_token\": \"u\", \"vocab\": {\"a\": 0, \"##b\": 1, "
                    "\"##bb\": 2, \"u\": 3}",
                    "abbb abx a", "0 2 1 3 0");
}

/* A user-defined piece costs 0.1 and, as the highest score counts from FLT_MIN, nothing more. */
static void check_user_defined(void)
{
    static const char model[] = "\x0a\x09\x0a\x05<unk>\x18\x02"
                                "\x0a\x08\x0a\x01"
                                "a\x15\0\0\0\xbf" /* -0.5 */
                                "\x0a\x08\x0a\x01"
                                "b\x15\0\0\0\xbf"
                                "\x0a\x0b\x0a\x02"
                                "ab\x15\0\0\0\0\x18\x04"
                                "\x1a\x02\x18"; /* no dummy prefix; the string's end is the 0 */
    const char *got = tokens_of(put("x.model", model, sizeof model), "ababa");
    CHECK(strcmp(got, "3 3 1") == 0, "'%s', not '3 3 1'", got);
}

/* Time grows as the text does: runs of one character, of spaces, of what is unknown. */
static void check_linear(const char *path)
{
    static const char *const units[] = {"a",  " ", "  a", "\xe4\xb8\x80", "\xf0\x9f\x98\x80",
                                        "\n", "1", "!",   "e\xcc\x81"};
    struct clip_error error = {""};
    struct clip_tokenizer_settings settings = {.cleaning = CLIP_CLEANING_NONE};
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(path, &settings, &error);
    CHECK(tokenizer, "%s", error.text);
    for (size_t i = 0; tokenizer && i < sizeof units / sizeof *units; i++) {
        size_t unit = strlen(units[i]), n = (size_t)200000 / unit * unit, count;
        const int32_t *ids;
        char *text = malloc(n);
        for (size_t k = 0; k < n; k++)
            text[k] = units[i][k % unit];
        clock_t start = clock();
        CHECK(clip_tokenize(tokenizer, text, n, &ids, &count, &error) == 0, "%s", error.text);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        CHECK(seconds < 5, "%s: %.1f s for 200 kB of '%s'", path, seconds, units[i]);
        free(text);
    }
    clip_tokenizer_free(tokenizer);
}

/* A pattern that would be quadratic is an error of the text. */
static void check_steps(void)
{
    struct clip_error error = {""};
    const int32_t *ids;
    size_t count, n = 100000;
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(
        put_json(SPLIT("{\"Regex\": \"\\\\s+x\"}", "Removed", "false"), BPE), NULL, &error);
    char *text = malloc(n);
    memset(text, ' ', n);
    CHECK(tokenizer && clip_tokenize(tokenizer, text, n, &ids, &count, &error) != 0, "%s", error.text);
    CHECK(strstr(error.text, "takes the tokenizer's pattern too long"), "%s", error.text);
    free(text);
    clip_tokenizer_free(tokenizer);
}

static void check_shared_data(const char *shared)
{
    static const char *const files[] = {
        "t5-unigram/tokenizer.json",   "gemma-bpe/tokenizer.json",         "gemma-bpe/tokenizer.model",
        "mt5-unigram/spiece.model",    "nllb-bpe/sentencepiece.bpe.model", "bert-wordpiece/vocab.txt",
        "roberta-bpe/vocab.json",      "tiktoken/small.tiktoken",          "clip-bpe/tokenizer.json",
        "mt5-unigram/tokenizer.json",  "nllb-bpe/tokenizer.json",          "gemma-bpe-siglip2/tokenizer.json",
        "xlmr-unigram/tokenizer.json", "t5-unigram-old/tokenizer.json"};
    struct clip_error error;
    snprintf(golden, sizeof golden, "%s/golden/text/tokenizers", shared);
    check_golden();
    check_others();
    cleaner = clip_cleaner_new(&error);
    check_rows(NULL, "clean.jsonl", 300, check_clean);
    clip_cleaner_free(cleaner);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        check_linear(path_of(files[i]));
}

/* SentencePiece's map takes the longest text that it has, also where that is two characters of ASCII: a map
 * of "ab", which becomes "x", and of "d", which becomes "yz". */
static void check_charsmap(void)
{
    enum { UNITS = 1024 };
    static const char texts[] = "x\0yz";
    static const char *const lines[][2] = {{"ab", "x"},
                                           {"a", "a"},
                                           {"b", "b"},
                                           {"aab", "ax"},
                                           {"aba", "xa"},
                                           {"ac", "ac"},
                                           {"abab", "xx"},
                                           {"d", "yz"},
                                           {"add", "ayzyz"},
                                           {"dab", "yzx"},
                                           {"a\303\251", "a\303\251"}};
    uint32_t map[1 + UNITS + 2] = {UNITS * 4};
    uint32_t *units =
        map + 1; /* label, offset << 10, and 256 where a text ends; its leaf: 1 << 31, the place */
    units[0] = 256u << 10;
    units[256 ^ 'a'] = (256 ^ 'a' ^ 512) << 10 | 'a';
    units[512 ^ 'b'] = (512 ^ 'b' ^ 700) << 10 | 256 | 'b';
    units[700] = 1u << 31;
    units[256 ^ 'd'] = (256 ^ 'd' ^ 701) << 10 | 256 | 'd';
    units[701] = 1u << 31 | 2;
    memcpy(units + UNITS, texts, sizeof texts);
    struct clip_error error = {""};
    struct clip_normalizer normalizer = {0};
    struct clip_normal_work work = {0};
    struct clip_normal_step *step = clip_normalizer_add(&normalizer, CLIP_NORMAL_SENTENCEPIECE, 0, &error);
    CHECK(step && clip_charsmap_read(&step->map, map, 4 + 4 * UNITS + sizeof texts, &error) == 0, "%s",
          error.text);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *out = NULL;
        size_t n = 0;
        CHECK(clip_normalize(&normalizer, &work, lines[i][0], strlen(lines[i][0]), &out, &n, &error) == 0,
              "%s", error.text);
        CHECK(n == strlen(lines[i][1]) && memcmp(out, lines[i][1], n) == 0, "%s: %.*s", lines[i][0], (int)n,
              out);
    }
    clip_normal_work_free(&work);
    clip_normalizer_free(&normalizer);
}

int main(void)
{
    static const char *const made[] = {"tokenizer.json", "x.model", "x.tiktoken", "vocab.txt", "vocab.json"};
    if (!mkdtemp(folder))
        abort();
    check_refused();
    check_small();
    check_user_defined();
    check_steps();
    check_charsmap();
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        unlink(put(made[i], "", 0));
    rmdir(folder);
    const char *shared = check_shared();
    if (shared)
        check_shared_data(shared);
    return check_end();
}
