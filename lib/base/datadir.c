#include "base/datadir.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* folder + between + name, if that exists; else NULL. */
static char *existing(const char *folder, const char *between, const char *name)
{
    char *path;
    if (asprintf(&path, "%s%s%s", folder, between, name) < 0)
        return NULL;
    if (access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

/* The folder of the running program, into folder[size]; -1 where the system does not say. */
static int program_folder(char *folder, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", folder, size - 1);
    if (n <= 0 || (size_t)n >= size - 1)
        return -1;
    folder[n] = 0;
    char *slash = strrchr(folder, '/');
    if (!slash)
        return -1;
    *slash = 0;
    return 0;
}

char *clip_data_path(const char *name, struct clip_error *error)
{
    char folder[PATH_MAX], *path = NULL;
    const char *set = getenv("CLIP_DATADIR");
    if (set && *set) {
        path = existing(set, "/", name);
        if (!path)
            clip_fail(error, "%s is not in $CLIP_DATADIR, %s", name, set);
        return path;
    }
    if (program_folder(folder, sizeof folder) == 0) {
        path = existing(folder, "/../share/clip-tools/", name);
        if (!path)
            path = existing(folder, "/../share/", name);
    }
    if (!path)
        path = existing(PKGDATADIR, "/", name);
    if (!path)
        clip_fail(error, "%s is neither in share/ beside the program nor in %s", name, PKGDATADIR);
    return path;
}

/* Where the program is installed in $DESTDIR, that is what its folder begins with. */
static char *path_in_destdir(const char *folder, const char *name)
{
    char destdir[PATH_MAX];
    size_t size = strlen(folder), end = strlen(BINDIR);
    if (size < end || strcmp(folder + size - end, BINDIR) != 0)
        return NULL;
    snprintf(destdir, sizeof destdir, "%.*s", (int)(size - end), folder);
    return existing(destdir, PKGLIBDIR "/", name);
}

static char *module_path(const char *built, const char *name, struct clip_error *error)
{
    char folder[PATH_MAX], *path = NULL;
    if (program_folder(folder, sizeof folder) == 0) {
        path = existing(folder, built, name);
        if (!path)
            path = path_in_destdir(folder, name);
        if (!path)
            path = existing(folder, "/../lib/clip-tools/", name);
    }
    if (!path)
        path = existing(PKGLIBDIR, "/", name);
    if (!path)
        clip_fail(error, "%s is not in %s", name, PKGLIBDIR);
    return path;
}

const void *clip_module_load(const char *built, const char *name, const char *symbol, int flags,
                             const char *failure, struct clip_error *error)
{
    const void *table = NULL;
    char *path = module_path(built, name, error);
    if (path) {
        void *module = dlopen(path, flags);
        if (module)
            table = dlsym(module, symbol);
        if (!table)
            clip_fail(error, "%s: %s", failure, dlerror());
    }
    free(path);
    return table;
}
