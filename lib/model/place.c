#include "model/place.h"
#include "base/datadir.h"
#include "model/model.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *clip_existing(const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return NULL;
    if (access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

char *clip_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* --- by name --- */

/* Looks `name` up in a folder of models, as it is or with '-' for each '/'. */
static char *find_in(const char *folder, const char *name)
{
    char plain[256];
    if ((size_t)snprintf(plain, sizeof plain, "%s", name) >= sizeof plain || !*name || *name == '.' ||
        *name == '/')
        return NULL;
    for (char *p = plain; (p = strchr(p, '/'));)
        *p = '-';
    return clip_existing(folder, plain);
}

/* `name` in $CLIP_MODEL_PATH, then in share/models. */
static char *find_by_name(const char *name)
{
    const char *folders = getenv("CLIP_MODEL_PATH");
    while (folders && *folders) {
        size_t length = strcspn(folders, ":");
        char *folder = strndup(folders, length), *path = folder && length ? find_in(folder, name) : NULL;
        free(folder);
        if (path)
            return path;
        folders += length + (folders[length] == ':');
    }
    struct clip_error ignored;
    char *models = clip_data_path("models", &ignored), *path = models ? find_in(models, name) : NULL;
    free(models);
    return path;
}

char *clip_model_find(const char *name, struct clip_error *error)
{
    char *path = access(name, F_OK) == 0 ? strdup(name) : find_by_name(name);
    if (!path)
        clip_fail(error,
                  "%s: no such model: neither a file or folder, nor a name in $CLIP_MODEL_PATH or "
                  "share/models",
                  name);
    return path;
}

/* --- architectures --- */

#define ARCHITECTURES "architectures"

char *clip_arch_find(const char *name)
{
    struct clip_error ignored;
    char *folder = clip_data_path(ARCHITECTURES, &ignored), *file = NULL, *path = NULL;
    if (folder && asprintf(&file, "%s.json", name) >= 0)
        path = find_in(folder, file);
    free(file);
    free(folder);
    return path;
}

static int is_json(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && dot > entry->d_name && strcmp(dot, ".json") == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int clip_arch_names(char ***names, size_t *count, struct clip_error *error)
{
    char *folder = clip_data_path(ARCHITECTURES, error);
    struct dirent **entries = NULL;
    int n = folder ? scandir(folder, &entries, is_json, NULL) : -1;
    if (folder && n < 0)
        clip_fail(error, "%s: %s", folder, strerror(errno));
    free(folder);
    *names = n >= 0 ? calloc((size_t)n + 1, sizeof **names) : NULL;
    *count = 0;
    for (int i = 0; i < n; i++) {
        char *dot = strrchr(entries[i]->d_name, '.');
        if (*names && ((*names)[*count] = strndup(entries[i]->d_name, (size_t)(dot - entries[i]->d_name))))
            ++*count;
        free(entries[i]);
    }
    free(entries);
    if (n < 0)
        return -1;
    if (*names && *count == (size_t)n) {
        qsort(*names, *count, sizeof **names, by_name);
        return 0;
    }
    clip_arch_names_free(*names, *count);
    return clip_fail_memory(error, "names");
}

void clip_arch_names_free(char **names, size_t count)
{
    for (size_t i = 0; names && i < count; i++)
        free(names[i]);
    free(names);
}

/* --- in a folder --- */

/* By open_clip's preference. */
static const char *const open_clip_weights[] = {"open_clip_model.safetensors",
                                                "open_clip_pytorch_model.safetensors",
                                                "open_clip_pytorch_model.bin",
                                                "open_clip_pytorch_model.pth",
                                                "model.safetensors",
                                                "pytorch_model.bin",
                                                "pytorch_model.pth",
                                                "model.pth",
                                                NULL};
static const char *const hf_weights[] = {"model.safetensors", "pytorch_model.bin", NULL};

char *clip_find_weights(const char *folder, int hf, struct clip_error *error)
{
    const char *const *names = hf ? hf_weights : open_clip_weights;
    char *path = NULL, index[64];
    for (const char *const *name = names; *name && !path; name++) {
        snprintf(index, sizeof index, "%s.index.json", *name);
        path = clip_existing(folder, *name);
        if (!path)
            path = clip_existing(folder, index);
    }
    if (!path)
        clip_fail(error, "%s: no weights there: %s or %s", folder, names[0], names[1]);
    return path;
}

int clip_is_shard(const char *path)
{
    const char *dot = strrchr(path, '.');
    int number, count, end = 0;
    if (!dot || dot - path < 15)
        return 0;
    return sscanf(dot - 15, "-%5d-of-%5d%n", &number, &count, &end) == 2 && end == 15 && count > 1;
}
