#include "text/vocabulary.h"
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Names contain no control characters (files spell bytes as printable ones), unless they were read from
 * JSON. */
static void put_escaped(FILE *file, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            putc(c, file);
    }
}

/* {"token": id, ...}, by id. */
static void put_tokens(FILE *file, const struct clip_vocabulary *vocabulary)
{
    const char *between = "{";
    for (size_t id = 0; id < vocabulary->size; id++) {
        const char *name = vocabulary->names[id];
        if (!name || clip_vocabulary_id(vocabulary, name, strlen(name)) != (int32_t)id)
            continue; /* unused, added, or a later id has the same name */
        fprintf(file, "%s\"", between);
        put_escaped(file, name);
        fprintf(file, "\": %zu", id);
        between = ", ";
    }
    putc('}', file);
}

static void write_vocab(FILE *file, const struct clip_vocabulary *vocabulary)
{
    put_tokens(file, vocabulary);
    putc('\n', file);
}

static void write_merges(FILE *file, const struct clip_vocabulary *vocabulary)
{
    fputs("#version: 0.2\n", file);
    for (size_t i = 0; i < vocabulary->merge_count; i++)
        fprintf(file, "%s %s\n", vocabulary->names[vocabulary->merges[i].left],
                vocabulary->names[vocabulary->merges[i].right]);
}

static const char *flag(int value)
{
    return value ? "true" : "false";
}

static void put_added_token(FILE *file, const struct clip_added_token *token, const char *tail)
{
    fprintf(file, "    {\"id\": %ld, \"content\": \"", (long)token->id);
    put_escaped(file, token->text);
    fprintf(
        file,
        "\", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": %s}%s\n",
        flag(token->single_word), flag(token->lstrip), flag(token->rstrip), flag(token->normalized),
        flag(token->special), tail);
}

/* The start and end tokens, then the others. */
static void put_added_tokens(FILE *file, const struct clip_vocabulary *vocabulary)
{
    const struct clip_added_token start = {.text = CLIP_START_TOKEN, .id = vocabulary->start, .special = 1};
    const struct clip_added_token end = {.text = CLIP_END_TOKEN, .id = vocabulary->end, .special = 1};
    size_t count = vocabulary->added_count;
    put_added_token(file, &start, ",");
    put_added_token(file, &end, count ? "," : "");
    for (size_t i = 0; i < count; i++)
        put_added_token(file, &vocabulary->added[i], i + 1 < count ? "," : "");
}

/* The added tokens, for programs that read vocab.json and merges.txt. */
static void write_added(FILE *file, const struct clip_vocabulary *vocabulary)
{
    for (size_t i = 0; i < vocabulary->added_count; i++) {
        fputs(i ? ", \"" : "{\"", file);
        put_escaped(file, vocabulary->added[i].text);
        fprintf(file, "\": %ld", (long)vocabulary->added[i].id);
    }
    fputs("}\n", file);
}

/* As transformers' conversion of CLIP's tokenizer: NFC, white space and case; OpenAI's pattern; start and
 * end. */
static void write_tokenizer(FILE *file, const struct clip_vocabulary *vocabulary)
{
    fputs(
        "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n",
        file);
    put_added_tokens(file, vocabulary);
    fputs("  ],\n"
          "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"},\n"
          "    {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"},\n"
          "    {\"type\": \"Lowercase\"}]},\n"
          "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\",\n"
          "    \"pattern\": {\"Regex\": \"'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|"
          "[^\\\\s\\\\p{L}\\\\p{N}]+\"},\n"
          "    \"behavior\": \"Removed\", \"invert\": true},\n"
          "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true}]},\n",
          file);
    fprintf(file,
            "  \"post_processor\": {\"type\": \"RobertaProcessing\", \"sep\": [\"%s\", %ld],\n"
            "    \"cls\": [\"%s\", %ld], \"trim_offsets\": false, \"add_prefix_space\": false},\n",
            CLIP_END_TOKEN, (long)vocabulary->end, CLIP_START_TOKEN, (long)vocabulary->start);
    fputs("  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true},\n"
          "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": \"" CLIP_END_TOKEN "\",\n"
          "    \"continuing_subword_prefix\": \"\", \"end_of_word_suffix\": \"</w>\", \"fuse_unk\": false,\n"
          "    \"vocab\": ",
          file);
    put_tokens(file, vocabulary);
    fputs(",\n    \"merges\": [", file);
    for (size_t i = 0; i < vocabulary->merge_count; i++) {
        fputs(i ? ", \"" : "\"", file);
        put_escaped(file, vocabulary->names[vocabulary->merges[i].left]);
        putc(' ', file);
        put_escaped(file, vocabulary->names[vocabulary->merges[i].right]);
        putc('"', file);
    }
    fputs("]\n  }\n}\n", file);
}

static int write_one(const struct clip_vocabulary *vocabulary, const char *folder, const char *name,
                     void (*write)(FILE *, const struct clip_vocabulary *), struct clip_error *error)
{
    struct clip_output output;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || n >= (int)sizeof path)
        return clip_fail(error, "%s: a name that is too long", folder);
    if (clip_output_open(&output, path, error) != 0)
        return -1;
    write(output.file, vocabulary);
    return clip_output_commit(&output, error);
}

int clip_vocabulary_write(const struct clip_vocabulary *vocabulary, const char *folder,
                          struct clip_error *error)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return clip_fail_errno(error, "%s", folder);
    if (write_one(vocabulary, folder, "vocab.json", write_vocab, error) != 0 ||
        write_one(vocabulary, folder, "merges.txt", write_merges, error) != 0 ||
        write_one(vocabulary, folder, "tokenizer.json", write_tokenizer, error) != 0)
        return -1;
    return vocabulary->added_count ? write_one(vocabulary, folder, "added_tokens.json", write_added, error)
                                   : 0;
}
