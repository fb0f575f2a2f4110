/* Paths and folders below a run's. */
#ifndef CLIP_TRAIN_FOLDER_H
#define CLIP_TRAIN_FOLDER_H

#include "base/error.h"

#include <limits.h>
#include <stdint.h>

/* Prints a path; -1 with error where it is too long. */
int clip_path_print(char path[PATH_MAX], struct clip_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Removes a folder and its contents; does nothing if it does not exist. */
int clip_tree_remove(const char *path, struct clip_error *error);

/* Calls each(dir, name, number, context) for every entry of `dir` whose name is `prefix` and a number,
 * followed by nothing or, with `tail`, by anything, until one call does not return 0. */
int clip_each_step(const char *dir, const char *prefix, int tail,
                   int (*each)(const char *dir, const char *name, uint64_t number, void *context,
                               struct clip_error *error),
                   void *context, struct clip_error *error);

#endif
