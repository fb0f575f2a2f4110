#include "text/tokenizer.h"
#include "base/file.h"
#include "base/scan.h"
#include "base/stray.h"
#include "text/clean.h"
#include "text/kinds.h"
#include "text/openai.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const clip_cleaning_names[CLIP_CLEANINGS] = {
    "default", "none", "lower", "canonicalize", "whitespace", "whitespace_underscore"};

/* The kinds, in the order in which a file is asked for what it is; the last one takes all that is left. */
static const struct clip_tokenizer_kind *const kinds[] = {&clip_kind_json,          &clip_kind_roberta,
                                                          &clip_kind_sentencepiece, &clip_kind_tiktoken,
                                                          &clip_kind_wordpiece,     &clip_kind_openai};

const char *const clip_tokenizer_files[] = {"vocab.json",
                                            "merges.txt",
                                            "tokenizer.json",
                                            "vocab.txt",
                                            "spiece.model",
                                            "sentencepiece.bpe.model",
                                            "tokenizer.model",
                                            "*.tiktoken",
                                            "added_tokens.json",
                                            "tokenizer_config.json",
                                            "special_tokens_map.json",
                                            NULL};

/* --- what a file is --- */

enum clip_json_form clip_json_form(const struct clip_tokenizer_file *file)
{
    struct clip_scan scan;
    struct clip_error ignored;
    size_t members = 0, numbers = 0, size;
    int model = 0;
    const char *value, *text = file->text;
    size_t skipped = file->size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    clip_scan_start(&scan, text + skipped, file->size - skipped);
    if (clip_scan_type(&scan) != '{')
        return CLIP_JSON_NEITHER;
    while (members < 100 && clip_scan_member(&scan, &members, &ignored) > 0) {
        model |= strcmp(scan.string, "model") == 0;
        numbers += clip_scan_type(&scan) == '0';
        if (clip_scan_skip(&scan, &value, &size, &ignored) != 0)
            break;
    }
    clip_scan_free(&scan);
    return 2 * numbers > members ? CLIP_JSON_VOCABULARY : model ? CLIP_JSON_TOKENIZER : CLIP_JSON_NEITHER;
}

int clip_ends_words(const struct clip_tokenizer_file *file)
{
    static const char end[] = "</w>\"";
    return memmem(file->text, file->size, end, sizeof end - 1) != NULL;
}

/* --- where it is in a folder --- */

/* folder/name into path[PATH_MAX] if it is there; a name "*.x" is that of the one file of that ending. */
static int find_file(char *path, const char *folder, const char *name)
{
    if (*name != '*')
        return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX && access(path, F_OK) == 0;
    DIR *dir = opendir(folder);
    int found = 0;
    size_t ending = strlen(name + 1);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (length > ending && strcmp(entry->d_name + length - ending, name + 1) == 0 &&
            *entry->d_name != '.')
            found += snprintf(path, PATH_MAX, "%s/%s", folder, entry->d_name) < PATH_MAX;
    }
    if (dir)
        closedir(dir);
    return found == 1;
}

/* 1 if the file is a vocabulary whose words do not end with "</w>". */
static int is_other_vocabulary(const char *path)
{
    struct clip_error ignored;
    struct clip_mapping mapping;
    if (clip_map_file(&mapping, path, &ignored) != 0)
        return 0;
    const struct clip_tokenizer_file file = {.text = (const char *)mapping.data, .size = mapping.size};
    int result = clip_json_form(&file) == CLIP_JSON_VOCABULARY && !clip_ends_words(&file);
    clip_unmap_file(&mapping);
    return result;
}

char *clip_tokenizer_find(const char *folder, const struct clip_tokenizer_settings *settings)
{
    static const char *const openai[] = {"tokenizer.json", "bpe_simple_vocab_16e6.txt.gz",
                                         "bpe_simple_vocab_16e6.txt", "merges.txt", NULL};
    static const char *const hf[] = {"tokenizer.json", NULL}, *const slow[] = {"spiece.model",
                                                                               "tokenizer.json", NULL};
    static const char *const others[] = {
        "vocab.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "*.tiktoken", NULL};
    char path[PATH_MAX], named[64];
    snprintf(named, sizeof named, "%s.tiktoken", settings->tiktoken);
    if (*settings->tiktoken)
        return find_file(path, folder, named) || find_file(path, folder, "*.tiktoken") ? strdup(path) : NULL;
    int is_hf = *settings->hf_name || settings->family != CLIP_FAMILY_NONE;
    int merges = find_file(path, folder, "merges.txt"),
        vocab = merges && find_file(path, folder, "vocab.json");
    if (vocab && !is_hf && !is_other_vocabulary(path))
        return strdup(path);
    const char *const *lists[] = {settings->family == CLIP_FAMILY_SIGLIP ? slow
                                  : is_hf                                ? hf
                                                                         : openai,
                                  NULL, others};
    static const char *const roberta[] = {"vocab.json", NULL}, *const none[] = {NULL};
    lists[1] = vocab ? roberta : none;
    for (size_t i = 0; i < 3; i++)
        for (const char *const *name = lists[i]; *name; name++)
            if (find_file(path, folder, *name))
                return strdup(path);
    return NULL;
}

/* --- opening --- */

static struct clip_tokenizer *begin(const struct clip_tokenizer_settings *settings, struct clip_error *error)
{
    struct clip_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        clip_fail_memory(error, "a tokenizer");
        return NULL;
    }
    if (settings)
        tokenizer->settings = *settings;
    tokenizer->frame =
        (struct clip_frame){.pad = -1, .start = -1, .end = -1, .class_token = -1, .separator = -1};
    tokenizer->cleaner = clip_cleaner_new(error);
    if (tokenizer->cleaner)
        return tokenizer;
    clip_tokenizer_free(tokenizer);
    return NULL;
}

struct clip_tokenizer *clip_tokenizer_new(const struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    struct clip_tokenizer *tokenizer = begin(NULL, error);
    if (!tokenizer)
        return NULL;
    tokenizer->kind = &clip_kind_openai;
    tokenizer->frame.pad = 0;
    if (clip_openai_begin(tokenizer, vocabulary, error) == 0)
        return tokenizer;
    clip_tokenizer_free(tokenizer);
    return NULL;
}

void clip_tokenizer_free(struct clip_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    clip_cleaner_free(tokenizer->cleaner);
    clip_openai_free(tokenizer->openai);
    if (tokenizer->pipeline)
        clip_pipeline_free(tokenizer->pipeline);
    free(tokenizer->pipeline);
    clip_ids_free(&tokenizer->ids);
    free(tokenizer);
}

int clip_frame_put(struct clip_frame *frame, int after, int32_t id, struct clip_error *error)
{
    size_t *n = after ? &frame->after_n : &frame->before_n;
    if (*n == CLIP_MOST_TEMPLATE)
        return clip_fail(error, "a template of more than %d tokens", CLIP_MOST_TEMPLATE);
    (after ? frame->after : frame->before)[(*n)++] = id;
    return 0;
}

/* What the settings ask for beyond the files. */
static int apply_settings(struct clip_tokenizer *tokenizer, struct clip_error *error)
{
    const struct clip_tokenizer_settings *settings = &tokenizer->settings;
    struct clip_frame *frame = &tokenizer->frame;
    if (*settings->language && tokenizer->pipeline) {
        int32_t id = clip_pipeline_id(tokenizer->pipeline, settings->language, strlen(settings->language));
        if (id < 0)
            return clip_fail(error, "it has no token of the language '%s'", settings->language);
        if (frame->before_n == 1)
            frame->before[0] = id;
    }
    if (settings->clips && (frame->start < 0 || frame->end < 0 || frame->class_token < 0))
        return clip_fail(error, "it has no start, end or class token, which tokenizer_mode \"clips\" needs");
    if (settings->clips) {
        frame->before_n = frame->after_n = 1;
        frame->before[0] = frame->start;
        frame->after[0] = frame->end;
    }
    if (frame->pad < 0)
        frame->pad = 0;
    return 0;
}

/* What a family of models does to a text before its files' normalizers. */
static int add_family(struct clip_tokenizer *tokenizer, struct clip_error *error)
{
    static const enum clip_normal_kind steps[] = {
        [CLIP_FAMILY_SIGLIP] = CLIP_NORMAL_SIGLIP, [CLIP_FAMILY_SIGLIP2] = CLIP_NORMAL_LOWER};
    if (tokenizer->settings.family == CLIP_FAMILY_NONE || !tokenizer->pipeline)
        return 0;
    return clip_normalizer_add(&tokenizer->pipeline->normalizer, steps[tokenizer->settings.family], 1, error)
               ? 0
               : -1;
}

static int open_file(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                     struct clip_error *error)
{
    const char *stray = clip_stray_text(file->text, file->size);
    if (stray)
        return clip_fail(error, "%s: %s", file->path, stray);
    if (file->size == 0)
        return clip_fail(error, "%s: empty", file->path);
    size_t i = 0;
    while (!kinds[i]->is(file, &tokenizer->settings))
        i++;
    tokenizer->kind = kinds[i];
    if (tokenizer->kind != &clip_kind_openai &&
        !(tokenizer->pipeline = calloc(1, sizeof *tokenizer->pipeline)))
        return clip_fail_memory(error, "a tokenizer");
    if (tokenizer->kind->open(tokenizer, file, error) != 0)
        return -1;
    if (add_family(tokenizer, error) != 0 || apply_settings(tokenizer, error) != 0 ||
        (tokenizer->pipeline && clip_pipeline_finish(tokenizer->pipeline, error) != 0))
        return clip_fail_prefix(error, "%s", file->path);
    return 0;
}

/* Maps the file at `path` and opens what it is. */
static int open_path(struct clip_tokenizer *tokenizer, const char *path, int in_folder,
                     struct clip_error *error)
{
    struct clip_mapping mapping;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
    if (!folder)
        return clip_fail_memory(error, "a file name");
    int status = clip_map_file(&mapping, path, error);
    if (status == 0) {
        const struct clip_tokenizer_file file = {.path = path,
                                                 .folder = folder,
                                                 .name = slash ? slash + 1 : path,
                                                 .text = mapping.data ? (const char *)mapping.data : "",
                                                 .size = mapping.size,
                                                 .in_folder = in_folder};
        status = open_file(tokenizer, &file, error);
        clip_unmap_file(&mapping);
    }
    free(folder);
    return status;
}

struct clip_tokenizer *clip_tokenizer_open(const char *path, const struct clip_tokenizer_settings *settings,
                                           struct clip_error *error)
{
    static const struct clip_tokenizer_settings none;
    struct stat status;
    if (stat(path, &status) != 0) {
        clip_fail_errno(error, "%s", path);
        return NULL;
    }
    struct clip_tokenizer *tokenizer = begin(settings, error);
    if (!tokenizer)
        return NULL;
    int is_folder = S_ISDIR(status.st_mode), failed;
    char *found = is_folder ? clip_tokenizer_find(path, settings ? settings : &none) : NULL;
    if (is_folder && !found)
        failed = clip_fail(error, "%s: no vocabulary in this folder", path);
    else
        failed = open_path(tokenizer, found ? found : path, is_folder, error);
    free(found);
    if (!failed)
        return tokenizer;
    clip_tokenizer_free(tokenizer);
    return NULL;
}

/* --- using it --- */

int clip_run_pipeline(struct clip_tokenizer *tokenizer, const char *text, size_t length,
                      struct clip_error *error)
{
    enum clip_cleaning cleaning = tokenizer->settings.cleaning;
    if (cleaning != CLIP_CLEANING_DEFAULT && cleaning != CLIP_CLEANING_NONE &&
        clip_clean_as(tokenizer->cleaner, cleaning, text, length, &text, &length, error) != 0)
        return -1;
    return clip_pipeline_run(tokenizer->pipeline, text, length, &tokenizer->ids, error);
}

int clip_tokenize(struct clip_tokenizer *tokenizer, const char *text, size_t length, const int32_t **ids,
                  size_t *count, struct clip_error *error)
{
    tokenizer->ids.n = 0;
    if (tokenizer->kind->run(tokenizer, text, length, error) != 0 ||
        clip_ids_reserve(&tokenizer->ids, 1, error) != 0)
        return -1;
    *ids = tokenizer->ids.at;
    *count = tokenizer->ids.n;
    return 0;
}

size_t clip_tokenizer_frame(const struct clip_tokenizer *tokenizer)
{
    return tokenizer->frame.before_n + tokenizer->frame.after_n + (size_t)tokenizer->settings.clips;
}

void clip_tokenizer_lay(const struct clip_tokenizer *tokenizer, const int32_t *ids, size_t count,
                        int32_t *out, size_t context)
{
    const struct clip_frame *frame = &tokenizer->frame;
    size_t n = 0, most = context - clip_tokenizer_frame(tokenizer);
    for (size_t i = 0; i < frame->before_n; i++)
        out[n++] = frame->before[i];
    count = count < most ? count : most;
    memcpy(out + n, ids, count * sizeof *ids);
    n += count;
    for (size_t i = 0; i < frame->after_n; i++)
        out[n++] = frame->after[i];
    if (frame->pad == 0)
        memset(out + n, 0, (context - n) * sizeof *out);
    for (; frame->pad != 0 && n < context; n++)
        out[n] = frame->pad;
    if (tokenizer->settings.clips)
        out[context - 1] = frame->class_token;
    for (size_t i = 0; tokenizer->settings.strip_separators && i < context; i++)
        out[i] = out[i] == frame->separator ? frame->pad : out[i];
}

const char *clip_tokenizer_file_name(const struct clip_tokenizer *tokenizer)
{
    return tokenizer->kind->name;
}

int32_t clip_tokenizer_largest(const struct clip_tokenizer *tokenizer)
{
    const struct clip_frame *frame = &tokenizer->frame;
    int32_t largest = tokenizer->settings.clips ? frame->class_token : frame->pad;
    largest = largest > frame->pad ? largest : frame->pad;
    for (size_t i = 0; i < frame->before_n; i++)
        largest = frame->before[i] > largest ? frame->before[i] : largest;
    for (size_t i = 0; i < frame->after_n; i++)
        largest = frame->after[i] > largest ? frame->after[i] : largest;
    return largest;
}

size_t clip_tokenizer_size(const struct clip_tokenizer *tokenizer)
{
    return tokenizer->pipeline ? clip_pipeline_size(tokenizer->pipeline)
                               : clip_tokenizer_vocabulary(tokenizer)->size;
}

const char *clip_tokenizer_name(const struct clip_tokenizer *tokenizer, int32_t id, size_t *length)
{
    if (tokenizer->pipeline)
        return clip_pipeline_name(tokenizer->pipeline, id, length);
    const struct clip_vocabulary *vocabulary = clip_tokenizer_vocabulary(tokenizer);
    const char *name = id >= 0 && (size_t)id < vocabulary->size ? vocabulary->names[id] : NULL;
    *length = name ? strlen(name) : 0;
    return name;
}
