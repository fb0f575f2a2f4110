#include "model/vocabulary.h"
#include "base/datadir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPENAI_FILE "bpe_simple_vocab_16e6.txt.gz"
enum { OPENAI_SIZE = 49408 };

/* FOLDER/OPENAI_FILE if it can be read, else NULL. */
static char *in_folder(const char *folder, size_t size)
{
    char *path;
    if (asprintf(&path, "%.*s/" OPENAI_FILE, (int)size, folder) < 0)
        return NULL;
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static char *path_beside(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? in_folder(path, (size_t)(slash - path)) : in_folder(".", 1);
}

static char *in_model_path(void)
{
    const char *folders = getenv("CLIP_MODEL_PATH");
    char *found = NULL;
    while (folders && *folders && !found) {
        size_t size = strcspn(folders, ":");
        if (size > 0)
            found = in_folder(folders, size);
        folders += size + (folders[size] == ':');
    }
    return found;
}

/* What a configuration names is not in the folder: says which file to get. */
static char *fail_named(const struct clip_tokenizer_settings *settings, const char *path,
                        struct clip_error *error)
{
    if (*settings->tiktoken)
        clip_fail(error,
                  "%s: it has no vocabulary; put %s.tiktoken of "
                  "https://openaipublic.blob.core.windows.net/encodings/ beside it, or name one with --vocab",
                  path, settings->tiktoken);
    else
        clip_fail(error,
                  "%s: it has no vocabulary; put tokenizer.json and tokenizer_config.json of "
                  "https://huggingface.co/%s beside it, or name one with --vocab",
                  path, settings->hf_name);
    return NULL;
}

char *clip_find_vocabulary(const struct clip_model *model, const char *path, struct clip_error *error)
{
    struct clip_error ignored; /* of share/, where it need not be */
    const char *own = clip_model_vocabulary(model);
    char *found = own ? strdup(own) : NULL;
    if (own) {
        if (!found)
            clip_fail_memory(error, "a file name");
        return found;
    }
    const struct clip_tokenizer_settings *settings = &clip_model_arch(model)->tokenizer;
    if (*settings->hf_name || *settings->tiktoken)
        return fail_named(settings, path, error);
    if (clip_model_arch(model)->text.vocabulary == OPENAI_SIZE) {
        found = path_beside(path);
        if (!found)
            found = in_model_path();
        if (!found)
            found = clip_data_path("vocab/" OPENAI_FILE, &ignored);
        if (!found)
            clip_fail(error,
                      "%s: it has no vocabulary; put " OPENAI_FILE " beside it, or name one with --vocab",
                      path);
    } else {
        clip_fail(error, "%s: it has no vocabulary; name one with --vocab", path);
    }
    return found;
}
