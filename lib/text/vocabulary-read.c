#include "base/array.h"
#include "text/vocabulary-forms.h"
#include "base/stray.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define OPENAI_MERGES (49152 - 256 - 2) /* the number of lines that OpenAI's code uses */
#define LONGEST_LINE 8192
#define LARGEST_TEXT ((size_t)256 << 20) /* unpacked */

/* --- merges --- */

static int no_token(const char *name, size_t length, struct clip_error *error)
{
    char shown[80];
    return clip_fail(error, "it has no token '%s'", clip_printable(shown, sizeof shown, name, length));
}

/* Adds the merge of two tokens. The token that they make exists or, as in OpenAI's file, gets the next id. */
static int add_merge(struct clip_vocabulary *vocabulary, const char *left, size_t left_length,
                     const char *right, size_t right_length, int is_new, struct clip_error *error)
{
    char whole[2 * LONGEST_LINE];
    size_t length = left_length + right_length;
    if (left_length > LONGEST_LINE || right_length > LONGEST_LINE)
        return clip_fail(error, "a token of more than %d bytes", LONGEST_LINE);
    memcpy(whole, left, left_length);
    memcpy(whole + left_length, right, right_length);
    struct clip_merge merge = {clip_vocabulary_id(vocabulary, left, left_length),
                               clip_vocabulary_id(vocabulary, right, right_length),
                               is_new ? (int32_t)vocabulary->size
                                      : clip_vocabulary_id(vocabulary, whole, length)};
    if (merge.left < 0)
        return no_token(left, left_length, error);
    if (merge.right < 0)
        return no_token(right, right_length, error);
    if (merge.result < 0)
        return no_token(whole, length, error);
    if (is_new && clip_vocabulary_add_token(vocabulary, merge.result, whole, length, error) != 0)
        return -1;
    return clip_vocabulary_add_merge(vocabulary, merge, error);
}

/* The same from "left right". */
static int read_merge(struct clip_vocabulary *vocabulary, const char *text, int is_new,
                      struct clip_error *error)
{
    static const char blanks[] = " \t\r\n";
    size_t left_length = strcspn(text, blanks);
    const char *right = text + left_length + strspn(text + left_length, blanks);
    size_t right_length = strcspn(right, blanks);
    if (left_length == 0 || right_length == 0 || right[right_length + strspn(right + right_length, blanks)])
        return clip_fail(error, "not a merge of two tokens");
    return add_merge(vocabulary, text, left_length, right, right_length, is_new, error);
}

/* --- texts with one merge a line, also compressed --- */

/* Reads to the end, so that a cut or damaged file is detected. */
static int drain(gzFile file, const char *path, struct clip_error *error)
{
    char skipped[16384];
    int n, code;
    for (size_t total = 0; (n = gzread(file, skipped, sizeof skipped)) > 0;)
        if ((total += (size_t)n) > LARGEST_TEXT)
            return clip_fail(error, "%s: more than %zu bytes of text", path, LARGEST_TEXT);
    const char *message = gzerror(file, &code);
    if (code == Z_ERRNO)
        return clip_fail_errno(error, "%s", path);
    return code == Z_OK || code == Z_STREAM_END ? 0 : clip_fail(error, "%s: %s", path, message);
}

static int read_lines(struct clip_vocabulary *vocabulary, gzFile file, const char *path, size_t most,
                      int is_new, struct clip_error *error)
{
    char line[LONGEST_LINE];
    size_t number = 0, merges = 0;
    while (merges < most && gzgets(file, line, sizeof line)) {
        size_t length = strlen(line); /* for a line with a zero byte, the part before it */
        number++;
        if (number == 1 && strstr(line, "#version"))
            continue;
        const char *stray = number == 1 ? clip_stray_text(line, length) : NULL;
        if (stray)
            return clip_fail(error, "%s: %s", path, stray);
        if (!gzeof(file) && (length == 0 || line[length - 1] != '\n'))
            return clip_fail(error, "%s: line %zu is too long, or not text", path, number);
        if (line[strspn(line, " \t\r\n")] == 0 && gzeof(file))
            break;
        if (read_merge(vocabulary, line, is_new, error) != 0)
            return clip_fail_prefix(error, "%s: line %zu", path, number);
        merges++;
    }
    return drain(file, path, error);
}

static int read_merges(struct clip_vocabulary *vocabulary, const char *path, size_t most, int is_new,
                       struct clip_error *error)
{
    errno = 0;
    gzFile file = gzopen(path, "rbe");
    if (!file)
        return errno ? clip_fail_errno(error, "%s", path) : clip_fail_memory(error, path);
    gzbuffer(file, 65536);
    int status = read_lines(vocabulary, file, path, most, is_new, error);
    gzclose_r(file);
    return status;
}

/* OpenAI's file: the tokens of bytes, those of the merges, the start and the end token. */
static int read_openai(struct clip_vocabulary *vocabulary, const char *path, struct clip_error *error)
{
    if (clip_vocabulary_add_bytes(vocabulary, error) != 0 ||
        read_merges(vocabulary, path, OPENAI_MERGES, 1, error) != 0)
        return -1;
    return clip_vocabulary_add_ends(vocabulary, error);
}

/* --- JSON --- */

/* {"token": id, ...} of a file named `path`. */
static int read_tokens(struct clip_vocabulary *vocabulary, struct json_object *tokens, const char *path,
                       struct clip_error *error)
{
    json_object_object_foreach(tokens, name, value)
    {
        char shown[80];
        int64_t id = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        if (id < 0 || id >= CLIP_MAX_TOKENS)
            return clip_fail(error, "%s: token '%s' has no valid id", path,
                             clip_printable(shown, sizeof shown, name, strlen(name)));
        if (clip_vocabulary_add_token(vocabulary, (int32_t)id, name, strlen(name), error) != 0)
            return clip_fail_prefix(error, "%s", path);
    }
    return 0;
}

/* A merge of tokenizer.json: "left right" or, written since 2024, ["left", "right"]. */
static int read_json_merge(struct clip_vocabulary *vocabulary, struct json_object *merge,
                           struct clip_error *error)
{
    if (json_object_is_type(merge, json_type_string))
        return read_merge(vocabulary, json_object_get_string(merge), 0, error);
    if (!json_object_is_type(merge, json_type_array) || json_object_array_length(merge) != 2)
        return clip_fail(error, "not a merge of two tokens");
    struct json_object *left = json_object_array_get_idx(merge, 0);
    struct json_object *right = json_object_array_get_idx(merge, 1);
    if (!json_object_is_type(left, json_type_string) || !json_object_is_type(right, json_type_string))
        return clip_fail(error, "not a merge of two tokens");
    return add_merge(vocabulary, json_object_get_string(left), (size_t)json_object_get_string_len(left),
                     json_object_get_string(right), (size_t)json_object_get_string_len(right), 0, error);
}

static int read_tokenizer(struct clip_vocabulary *vocabulary, struct json_object *json, const char *path,
                          struct clip_error *error)
{
    struct json_object *model = clip_json_get(json, "model"), *tokens = NULL;
    if (!json_object_is_type(model, json_type_object))
        return clip_fail(error, "%s: model is not an object", path);
    if (clip_json_object(model, "model", "vocab", &tokens, error) != 0)
        return clip_fail_prefix(error, "%s", path);
    struct json_object *merges = clip_json_get(model, "merges"), *type = clip_json_get(model, "type");
    if (type && strcmp(json_object_get_string(type), "BPE") != 0)
        return clip_fail(error, "%s: model.type: %s is not supported (only \"BPE\")", path,
                         json_object_to_json_string(type));
    if (!tokens || !json_object_is_type(merges, json_type_array))
        return clip_fail(error, "%s: model has no vocab or no merges; it is not byte-pair encoding", path);
    if (read_tokens(vocabulary, tokens, path, error) != 0)
        return -1;
    for (size_t i = 0; i < json_object_array_length(merges); i++)
        if (read_json_merge(vocabulary, json_object_array_get_idx(merges, i), error) != 0)
            return clip_fail_prefix(error, "%s: merge %zu", path, i + 1);
    if (clip_read_added_tokens(vocabulary, json, error) != 0 || clip_check_tokenizer(json, error) != 0)
        return clip_fail_prefix(error, "%s", path);
    return 0;
}

/* The form of a JSON object tells what it is: names and numbers are a vocabulary, whatever the names; a
 * tokenizer has `model` as an object. */
static int is_vocabulary(struct json_object *json)
{
    int members = 0, numbers = 0;
    json_object_object_foreach(json, name, value)
    {
        (void)name;
        members++;
        numbers += json_object_is_type(value, json_type_int);
    }
    return 2 * numbers > members;
}

/* The tokens added beside a vocab.json. */
static int read_added(struct clip_vocabulary *vocabulary, const char *path, struct clip_error *error)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
    int status =
        folder ? clip_read_added_beside(vocabulary, folder, error) : clip_fail_memory(error, "a file name");
    free(folder);
    return status;
}

/* vocab.json or tokenizer.json; for the former, `merges` is the file of the merges. */
static int read_json(struct clip_vocabulary *vocabulary, const char *path, const char *merges,
                     struct clip_error *error)
{
    struct json_object *json = clip_json_read(path, error);
    if (!json)
        return -1;
    int status;
    if (is_vocabulary(json)) {
        status = read_tokens(vocabulary, json, path, error);
        if (status == 0)
            status = read_merges(vocabulary, merges, SIZE_MAX, 0, error);
        if (status == 0)
            status = read_added(vocabulary, path, error);
    } else if (clip_json_get(json, "model")) {
        status = read_tokenizer(vocabulary, json, path, error);
    } else {
        status = clip_fail(
            error, "%s: neither a vocabulary (tokens and their ids) nor a tokenizer (with a model)", path);
    }
    json_object_put(json);
    return status;
}

/* --- telling the forms apart --- */

/* "folder/name" into out[PATH_MAX]; folder is that of the file `path` or, if is_folder, `path` itself. */
static int beside(char *out, const char *path, int is_folder, const char *name, struct clip_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t length = is_folder ? strlen(path) : slash ? (size_t)(slash - path) + 1 : 0;
    int n = snprintf(out, PATH_MAX, "%.*s%s%s", (int)length, path, is_folder ? "/" : "", name);
    return n < 0 || n >= PATH_MAX ? clip_fail(error, "%s: a name that is too long", path) : 0;
}

/* The first character of a file tells most about its form. */
static int first_character(const char *path, int *first, struct clip_error *error)
{
    char text[512];
    FILE *file = fopen(path, "re");
    if (!file)
        return clip_fail_errno(error, "%s", path);
    size_t size = fread(text, 1, sizeof text, file), at = 0;
    int failed = ferror(file);
    if (failed)
        clip_fail_errno(error, "%s", path);
    fclose(file);
    if (failed)
        return -1;
    const char *stray = clip_stray_text(text, size);
    if (stray)
        return clip_fail(error, "%s: %s", path, stray);
    while (at < size && memchr(" \t\n\v\f\r", text[at], 6))
        at++;
    *first = at < size ? text[at] : ' ';
    return size ? 0 : clip_fail(error, "%s: empty", path);
}

static int read_file(struct clip_vocabulary *vocabulary, const char *path, struct clip_error *error)
{
    char vocab[PATH_MAX], merges[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    int first;
    if (first_character(path, &first, error) != 0 || beside(vocab, path, 0, "vocab.json", error) != 0 ||
        beside(merges, path, 0, "merges.txt", error) != 0)
        return -1;
    size_t length = strlen(name);
    if (first == '{' || (length > 5 && strcmp(name + length - 5, ".json") == 0))
        return read_json(vocabulary, path, merges, error);
    if (strcmp(name, "merges.txt") == 0 && access(vocab, F_OK) == 0)
        return read_json(vocabulary, vocab, merges, error);
    return read_openai(vocabulary, path, error);
}

static int read_folder(struct clip_vocabulary *vocabulary, const char *path, struct clip_error *error)
{
    static const char *const names[] = {"vocab.json", "tokenizer.json", "bpe_simple_vocab_16e6.txt.gz",
                                        "bpe_simple_vocab_16e6.txt", "merges.txt"};
    char file[PATH_MAX];
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++) {
        if (beside(file, path, 1, names[i], error) != 0)
            return -1;
        if (access(file, F_OK) == 0)
            return read_file(vocabulary, file, error);
    }
    return clip_fail(error, "%s: no vocabulary in this folder", path);
}

struct clip_vocabulary *clip_vocabulary_open(const char *path, struct clip_error *error)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        clip_fail_errno(error, "%s", path);
        return NULL;
    }
    struct clip_vocabulary *vocabulary = clip_vocabulary_new(error);
    if (!vocabulary)
        return NULL;
    int failed =
        S_ISDIR(status.st_mode) ? read_folder(vocabulary, path, error) : read_file(vocabulary, path, error);
    if (!failed && (failed = clip_vocabulary_finish(vocabulary, error)) != 0)
        clip_fail_prefix(error, "%s", path);
    if (failed) {
        clip_vocabulary_free(vocabulary);
        return NULL;
    }
    return vocabulary;
}
