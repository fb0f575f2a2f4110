/* vocab.txt, BERT's WordPiece: a token a line, whose number, from 0, is its id. */
#include "base/array.h"
#include "text/kinds.h"

#include <json-c/json.h>
#include <string.h>
#include <unistr.h>

#define LARGEST_FILE ((size_t)64 << 20)

static int read_lines(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                      struct clip_error *error)
{
    struct clip_lexicon *lexicon = &tokenizer->pipeline->subwords.lexicon;
    const char *at = file->text, *end = at + file->size;
    if (file->size > LARGEST_FILE)
        return clip_fail(error, "too large for a vocabulary");
    const uint8_t *wrong = u8_check((const uint8_t *)at, file->size);
    if (wrong)
        return clip_fail(error, "invalid UTF-8 at byte %td", wrong - (const uint8_t *)at);
    for (int32_t id = 0; at < end; id++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        size_t n = (size_t)(stop - at);
        n -= n > 0 && at[n - 1] == '\r';
        if (clip_lexicon_add(lexicon, at, n, id, 0, error) != 0)
            return clip_fail_prefix(error, "line %ld", (long)id + 1);
        at = newline ? newline + 1 : end;
    }
    return 0;
}

/* The tokens that are found as they stand, by the names that BERT's have. */
static int add_special(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_config *config,
                       struct clip_error *error)
{
    const char *names[] = {"[PAD]",           "[UNK]",     "[CLS]",         "[SEP]",
                           "[MASK]",          config->pad, config->unknown, config->class_token,
                           config->separator, config->mask};
    if (clip_tokenizer_config_add(tokenizer->pipeline, config, error) != 0)
        return -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++) {
        size_t n = strlen(names[i]);
        struct clip_pipeline_token token = {.text = (char *)names[i], .length = n};
        token.id = n ? clip_lexicon_id(&tokenizer->pipeline->subwords.lexicon, names[i], n) : -1;
        if (token.id >= 0 && clip_pipeline_add(tokenizer->pipeline, &token, error) != 0)
            return -1;
    }
    return 0;
}

static int add_steps(struct clip_pipeline *pipeline, const struct clip_tokenizer_config *config,
                     struct clip_error *error)
{
    struct clip_normal_step *step = clip_normalizer_add(&pipeline->normalizer, CLIP_NORMAL_BERT, 0, error);
    if (!step || !clip_splitter_add(&pipeline->splitter, CLIP_SPLIT_SPACE, CLIP_SPLIT_REMOVED, error) ||
        !clip_splitter_add(&pipeline->splitter, CLIP_SPLIT_PUNCTUATION, CLIP_SPLIT_ISOLATED, error))
        return -1;
    step->clean = 1;
    step->chinese = config->chinese != 0;
    step->lower = config->lower != 0;
    step->accents = config->accents >= 0 ? config->accents : step->lower;
    return 0;
}

static int set_up(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_config *config,
                  struct clip_error *error)
{
    struct clip_subwords *subwords = &tokenizer->pipeline->subwords;
    const char *unknown = *config->unknown ? config->unknown : "[UNK]";
    subwords->encode = clip_encode_wordpiece;
    subwords->most_characters = 100;
    subwords->unknown = clip_lexicon_id(&subwords->lexicon, unknown, strlen(unknown));
    if (subwords->unknown < 0)
        return clip_fail(error, "it has no token '%s'", unknown);
    if (add_steps(tokenizer->pipeline, config, error) != 0 || add_special(tokenizer, config, error) != 0 ||
        clip_finish_wordpiece(subwords, "##", error) != 0)
        return -1;
    clip_frame_name(tokenizer, config);
    const struct clip_frame *frame = &tokenizer->frame;
    if (frame->class_token < 0 || frame->separator < 0)
        return clip_fail(error, "it has no token '[CLS]' or '[SEP]'");
    return clip_frame_put(&tokenizer->frame, 0, frame->class_token, error) != 0
               ? -1
               : clip_frame_put(&tokenizer->frame, 1, frame->separator, error);
}

static int open_wordpiece(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                          struct clip_error *error)
{
    struct clip_tokenizer_config config;
    if (clip_tokenizer_config_read(&config, file->folder, error) != 0)
        return -1;
    int status = read_lines(tokenizer, file, error);
    if (status == 0)
        status = set_up(tokenizer, &config, error);
    clip_tokenizer_config_free(&config);
    return status != 0 ? clip_fail_prefix(error, "%s", file->path) : 0;
}

/* One of the lines is BERT's unknown token; or the name says it, and the first line is one word. */
static int is_wordpiece(const struct clip_tokenizer_file *file,
                        const struct clip_tokenizer_settings *settings)
{
    (void)settings;
    const char *newline = memchr(file->text, '\n', file->size);
    size_t first = newline ? (size_t)(newline - file->text) : file->size;
    size_t n = file->size < 65536 ? file->size : 65536;
    return memmem(file->text, n, "\n[UNK]\n", 7) != NULL || memmem(file->text, n, "\n[UNK]\r\n", 8) != NULL ||
           (strcmp(file->name, "vocab.txt") == 0 && first > 0 && !memchr(file->text, ' ', first));
}

const struct clip_tokenizer_kind clip_kind_wordpiece = {
    .name = "vocab.txt", .is = is_wordpiece, .open = open_wordpiece, .run = clip_run_pipeline};
