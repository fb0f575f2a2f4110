/* vocab.json and merges.txt, GPT-2's and RoBERTa's byte-pair encoding. */
#include "base/array.h"
#include "text/kinds.h"
#include "base/file.h"
#include "base/scan.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unistr.h>

#define LARGEST_FILE ((size_t)64 << 20)

static int check_text(const struct clip_mapping *mapping, struct clip_error *error)
{
    if (mapping->size > LARGEST_FILE)
        return clip_fail(error, "too large for a vocabulary");
    const uint8_t *wrong = u8_check(mapping->data, mapping->size);
    return wrong ? clip_fail(error, "invalid UTF-8 at byte %td", wrong - mapping->data) : 0;
}

/* {"token": id, ...} */
static int read_names(struct clip_lexicon *lexicon, const struct clip_mapping *mapping,
                      struct clip_error *error)
{
    struct clip_scan scan;
    size_t count = 0;
    int more = check_text(mapping, error);
    clip_scan_start(&scan, (const char *)mapping->data, mapping->size);
    while (more == 0 && (more = clip_scan_member(&scan, &count, error)) > 0) {
        double id = -1;
        more = clip_scan_number(&scan, &id, error);
        if (more == 0)
            more = clip_lexicon_add(
                lexicon, scan.string, scan.length,
                id >= 0 && id < CLIP_MOST_IDS && id == (double)(int32_t)id ? (int32_t)id : -1, 1, error);
    }
    if (more == 0)
        more = clip_scan_end(&scan, error);
    clip_scan_free(&scan);
    return more;
}

/* A merge a line, after "#version". */
static int read_merges(struct clip_subwords *subwords, const struct clip_mapping *mapping,
                       struct clip_error *error)
{
    const char *at = (const char *)mapping->data, *end = at + mapping->size;
    if (check_text(mapping, error) != 0)
        return -1;
    for (size_t number = 1; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        size_t n = (size_t)(stop - at);
        n -= n > 0 && at[n - 1] == '\r';
        const char *space = memchr(at, ' ', n);
        int version = number == 1 && n >= 8 && memcmp(at, "#version", 8) == 0;
        if (n > 0 && !version) {
            size_t left = space ? (size_t)(space - at) : 0;
            if (left == 0 || left + 1 == n || memchr(space + 1, ' ', n - left - 1))
                return clip_fail(error, "line %zu: not a merge of two tokens", number);
            if (clip_subwords_add_merge(subwords, at, left, space + 1, n - left - 1, error) != 0)
                return clip_fail_prefix(error, "line %zu", number);
        }
        at = newline ? newline + 1 : end;
    }
    return 0;
}

/* Maps a file and reads it by one of these. */
static int read_file(struct clip_subwords *subwords, const char *path, int merges, struct clip_error *error)
{
    struct clip_mapping mapping;
    if (clip_map_file(&mapping, path, error) != 0)
        return -1;
    int status =
        merges ? read_merges(subwords, &mapping, error) : read_names(&subwords->lexicon, &mapping, error);
    clip_unmap_file(&mapping);
    return status != 0 ? clip_fail_prefix(error, "%s", path) : 0;
}

/* RoBERTa's tokens, of which the mask takes the white space before it. */
static int add_special(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_config *config,
                       struct clip_error *error)
{
    const char *names[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};
    const char *said[] = {config->start, config->pad, config->end, config->unknown, config->mask};
    if (clip_tokenizer_config_add(tokenizer->pipeline, config, error) != 0)
        return -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++) {
        const char *name = *said[i] ? said[i] : names[i];
        struct clip_pipeline_token token = {
            .text = (char *)name, .length = strlen(name), .normalized = i < 4, .lstrip = i == 4};
        token.id = clip_lexicon_id(&tokenizer->pipeline->subwords.lexicon, name, token.length);
        if (token.id >= 0 && clip_pipeline_add(tokenizer->pipeline, &token, error) != 0)
            return -1;
    }
    return 0;
}

static int set_up(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_config *config,
                  struct clip_error *error)
{
    struct clip_pipeline *pipeline = tokenizer->pipeline;
    struct clip_split_step *step =
        clip_splitter_add(&pipeline->splitter, CLIP_SPLIT_PATTERN, CLIP_SPLIT_ISOLATED, error);
    if (!step || !(step->pattern = clip_pattern_new(CLIP_GPT2_PATTERN, strlen(CLIP_GPT2_PATTERN), error)) ||
        add_special(tokenizer, config, error) != 0 || clip_finish_merges(&pipeline->subwords, error) != 0)
        return -1;
    clip_frame_name(tokenizer, config);
    const struct clip_frame *frame = &tokenizer->frame;
    if (frame->class_token < 0 || frame->separator < 0)
        return clip_fail(error, "it has no token '<s>' or '</s>'");
    return clip_frame_put(&tokenizer->frame, 0, frame->class_token, error) != 0
               ? -1
               : clip_frame_put(&tokenizer->frame, 1, frame->separator, error);
}

static int open_roberta(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                        struct clip_error *error)
{
    struct clip_subwords *subwords = &tokenizer->pipeline->subwords;
    struct clip_tokenizer_config config;
    char vocab[PATH_MAX], merges[PATH_MAX];
    int is_merges = strcmp(file->name, "merges.txt") == 0;
    if (snprintf(vocab, sizeof vocab, "%s/%s", file->folder, is_merges ? "vocab.json" : file->name) >=
            (int)sizeof vocab ||
        snprintf(merges, sizeof merges, "%s/merges.txt", file->folder) >= (int)sizeof merges)
        return clip_fail(error, "%s: a name that is too long", file->path);
    if (clip_tokenizer_config_read(&config, file->folder, error) != 0)
        return -1;
    subwords->encode = clip_encode_merges;
    subwords->byte_level = 1;
    subwords->unknown = -1;
    int status = read_file(subwords, vocab, 0, error);
    if (status == 0)
        status = read_file(subwords, merges, 1, error);
    if (status == 0 && (status = set_up(tokenizer, &config, error)) != 0)
        clip_fail_prefix(error, "%s", file->path);
    clip_tokenizer_config_free(&config);
    return status;
}

/* A vocabulary of names and ids whose words do not end with "</w>", or the merges of one. */
static int is_roberta(const struct clip_tokenizer_file *file, const struct clip_tokenizer_settings *settings)
{
    struct clip_error ignored;
    struct clip_mapping mapping;
    char vocab[PATH_MAX];
    (void)settings;
    if (strcmp(file->name, "merges.txt") != 0)
        return clip_json_form(file) == CLIP_JSON_VOCABULARY && !clip_ends_words(file);
    if (snprintf(vocab, sizeof vocab, "%s/vocab.json", file->folder) >= (int)sizeof vocab ||
        access(vocab, R_OK) != 0 || clip_map_file(&mapping, vocab, &ignored) != 0)
        return 0;
    const struct clip_tokenizer_file other = {.text = (const char *)mapping.data, .size = mapping.size};
    int result = clip_json_form(&other) == CLIP_JSON_VOCABULARY && !clip_ends_words(&other);
    clip_unmap_file(&mapping);
    return result;
}

const struct clip_tokenizer_kind clip_kind_roberta = {
    .name = "vocab.json", .is = is_roberta, .open = open_roberta, .run = clip_run_pipeline};
