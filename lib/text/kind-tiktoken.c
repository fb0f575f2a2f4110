/* tiktoken's files: a token in base64 and its rank, which is its id, a line. */
#include "base/array.h"
#include "text/kinds.h"
#include "base/base64.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_LINE = 1024 };

/* The encodings by name: how they cut words, and how many special tokens they have after the ranks. */
static const struct encoding {
    const char *name;
    int special;
    const char *pattern;
} encodings[] = {
    {"cl100k_base", 21,
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {"r50k_base", 1, CLIP_GPT2_PATTERN}};

/* Of the settings, or of the file's name; open_clip's default is the first. */
static const struct encoding *find_encoding(const struct clip_tokenizer *tokenizer,
                                            const struct clip_tokenizer_file *file, struct clip_error *error)
{
    const char *name = tokenizer->settings.tiktoken;
    for (size_t i = 0; i < CLIP_COUNT_OF(encodings); i++)
        if (strcmp(*name ? name : "", encodings[i].name) == 0 ||
            (!*name && strncmp(file->name, encodings[i].name, strlen(encodings[i].name)) == 0))
            return &encodings[i];
    if (!*name)
        return &encodings[0];
    clip_fail(error, "tiktoken_name: \"%s\" is not supported", name);
    return NULL;
}

/* "aGVsbG8= 7" */
static int read_line(struct clip_lexicon *lexicon, const char *line, size_t n, struct clip_error *error)
{
    char bytes[LONGEST_LINE], number[12];
    size_t size;
    const char *space = memchr(line, ' ', n);
    size_t left = space ? (size_t)(space - line) : 0, right = space ? n - left - 1 : 0;
    if (left == 0 || n > LONGEST_LINE || right == 0 || right >= sizeof number)
        return clip_fail(error, "not a token in base64 and its rank");
    memcpy(number, space + 1, right);
    number[right] = 0;
    if (strspn(number, "0123456789") != right || clip_base64_decode(line, left, bytes, &size) != 0 ||
        size == 0)
        return clip_fail(error, "not a token in base64 and its rank");
    long rank = strtol(number, NULL, 10);
    return clip_lexicon_add(lexicon, bytes, size, rank < (long)CLIP_MOST_IDS ? (int32_t)rank : -1, 1, error);
}

static int read_lines(struct clip_lexicon *lexicon, const struct clip_tokenizer_file *file,
                      struct clip_error *error)
{
    const char *at = file->text, *end = at + file->size;
    for (size_t number = 1; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        size_t n = (size_t)(stop - at);
        n -= n > 0 && at[n - 1] == '\r';
        if (n > 0 && read_line(lexicon, at, n, error) != 0)
            return clip_fail_prefix(error, "line %zu", number);
        at = newline ? newline + 1 : end;
    }
    return 0;
}

/* open_clip's own tokens are beyond those of the encoding: end, padding, start. */
static int make_template(struct clip_tokenizer *tokenizer, const struct encoding *encoding,
                         struct clip_error *error)
{
    struct clip_frame *frame = &tokenizer->frame;
    int32_t base = (int32_t)tokenizer->pipeline->subwords.lexicon.size + encoding->special;
    frame->end = base;
    frame->pad = base + 1;
    frame->start = base + 2;
    if (!tokenizer->settings.no_start && clip_frame_put(frame, 0, frame->start, error) != 0)
        return -1;
    return tokenizer->settings.no_end ? 0 : clip_frame_put(frame, 1, frame->end, error);
}

static int set_up(struct clip_tokenizer *tokenizer, const struct encoding *encoding, struct clip_error *error)
{
    struct clip_pipeline *pipeline = tokenizer->pipeline;
    struct clip_split_step *step =
        clip_splitter_add(&pipeline->splitter, CLIP_SPLIT_PATTERN, CLIP_SPLIT_ISOLATED, error);
    if (!step || !(step->pattern = clip_pattern_new(encoding->pattern, strlen(encoding->pattern), error)))
        return -1;
    pipeline->subwords.encode = clip_encode_ranks;
    return clip_finish_ranks(&pipeline->subwords, error) != 0 ? -1
                                                              : make_template(tokenizer, encoding, error);
}

static int open_tiktoken(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                         struct clip_error *error)
{
    const struct encoding *encoding = find_encoding(tokenizer, file, error);
    if (!encoding || read_lines(&tokenizer->pipeline->subwords.lexicon, file, error) != 0 ||
        set_up(tokenizer, encoding, error) != 0)
        return clip_fail_prefix(error, "%s", file->path);
    return 0;
}

/* The first line is base64 and a number. (The first merge of OpenAI's text is of two bytes.) */
static int is_tiktoken(const struct clip_tokenizer_file *file, const struct clip_tokenizer_settings *settings)
{
    struct clip_lexicon lexicon = {0};
    struct clip_error ignored;
    const char *newline = memchr(file->text, '\n', file->size < LONGEST_LINE ? file->size : LONGEST_LINE);
    size_t n = strlen(file->name);
    if (*settings->tiktoken || (n > 9 && strcmp(file->name + n - 9, ".tiktoken") == 0))
        return 1;
    int result = newline && read_line(&lexicon, file->text, (size_t)(newline - file->text), &ignored) == 0;
    clip_lexicon_free(&lexicon);
    return result;
}

const struct clip_tokenizer_kind clip_kind_tiktoken = {
    .name = "cl100k_base.tiktoken", .is = is_tiktoken, .open = open_tiktoken, .run = clip_run_pipeline};
