#include "train/folder.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REMOVE_TRIES = 10 };

int clip_path_print(char path[PATH_MAX], struct clip_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(path, PATH_MAX, format, args);
    va_end(args);
    return n < PATH_MAX ? 0 : clip_fail(error, "%.200s...: the name is too long", path);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

/* Removes a folder and its contents; does nothing if it does not exist. */
int clip_tree_remove(const char *path, struct clip_error *error)
{
    /* Tries again if a process that is still ending writes into it meanwhile. */
    for (int i = 0; i < REMOVE_TRIES; i++) {
        nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        int code = errno;
        if (access(path, F_OK) != 0 && errno == ENOENT)
            return 0;
        errno = code;
    }
    return clip_fail_errno(error, "%s", path);
}

int clip_each_step(const char *dir, const char *prefix, int tail,
                   int (*each)(const char *dir, const char *name, uint64_t number, void *context,
                               struct clip_error *error),
                   void *context, struct clip_error *error)
{
    DIR *directory = opendir(dir);
    struct dirent *entry;
    int status = 0;
    if (!directory)
        return clip_fail_errno(error, "%s", dir);
    while (status == 0 && (entry = readdir(directory))) {
        size_t length = strlen(prefix);
        char *end;
        if (strncmp(entry->d_name, prefix, length) != 0 || strspn(entry->d_name + length, "0123456789") == 0)
            continue;
        uint64_t number = strtoull(entry->d_name + length, &end, 10);
        if (!*end || tail)
            status = each(dir, entry->d_name, number, context, error);
    }
    closedir(directory);
    return status;
}
