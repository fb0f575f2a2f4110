#include "train/run.h"
#include "base/array.h"

#include "base/file.h"
#include "train/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *const clip_train_parts[CLIP_TRAIN_PARTS] = {[CLIP_PART_IMAGE] = "image",
                                                        [CLIP_PART_TEXT] = "text",
                                                        [CLIP_PART_PROJECTION] = "projection",
                                                        [CLIP_PART_LOSS] = "loss"};

enum { WAIT_TRIES = 200, WAIT_MS = 50 }; /* ten seconds */

int clip_run_steps(const char *dir, uint64_t *steps, struct clip_error *error)
{
    char link[PATH_MAX], target[64];
    struct stat status;
    int end = 0;
    *steps = 0;
    if ((size_t)snprintf(link, sizeof link, "%s/latest", dir) >= sizeof link)
        return clip_fail(error, "%s: the name is too long", dir);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0 && errno == EINVAL)
        return clip_fail(error,
                         "%s: not a link to a checkpoint; if the run was copied with its links followed, "
                         "remove this folder and link it to the last one: ln -s step-NUMBER %s",
                         link, link);
    if (n < 0)
        return errno == ENOENT ? 0 : clip_fail_errno(error, "%s", link);
    target[n] = 0;
    if (sscanf(target, "step-%" SCNu64 "%n", steps, &end) != 1 || target[end])
        return clip_fail(error, "%s: links to '%s', which is not a checkpoint", link, target);
    if (stat(link, &status) != 0)
        return clip_fail_errno(error, "%s", link);
    return 0;
}

/* --- locks: byte i of DIR/.lock is part i's, the one after them is held by whoever makes a whole --- */

static int set_lock(int fd, int command, short type, int byte, int count)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = count};
    int result;
    do
        result = fcntl(fd, command, &lock);
    while (result != 0 && errno == EINTR);
    return result;
}

int clip_run_lock(const struct clip_run *run, struct clip_error *error)
{
    if (set_lock(run->lock, F_OFD_SETLKW, F_WRLCK, CLIP_TRAIN_PARTS, 1) == 0)
        return 0;
    return clip_fail_errno(error, "%s/.lock", run->dir);
}

void clip_run_unlock(const struct clip_run *run)
{
    set_lock(run->lock, F_OFD_SETLK, F_UNLCK, CLIP_TRAIN_PARTS, 1);
}

static int open_lock(struct clip_run *run, struct clip_error *error)
{
    char path[PATH_MAX];
    if (clip_path_print(path, error, "%s/.lock", run->dir) != 0)
        return -1;
    run->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return run->lock < 0 ? clip_fail_errno(error, "%s", path) : 0;
}

static int lock_part(struct clip_run *run, struct clip_error *error)
{
    int byte = 0, tries = 0;
    while (strcmp(clip_train_parts[byte], run->part) != 0)
        byte++;
    if (open_lock(run, error) != 0)
        return -1;
    while (set_lock(run->lock, F_OFD_SETLK, F_WRLCK, byte, 1) != 0) {
        if (errno != EAGAIN && errno != EACCES)
            return clip_fail_errno(error, "%s/.lock", run->dir);
        if (++tries > WAIT_TRIES)
            return clip_fail(error, "%s: another process trains its part '%s'", run->dir, run->part);
        nanosleep(&(struct timespec){0, WAIT_MS * 1000000L}, NULL);
    }
    return 0;
}

/* --- checkpoints that go --- */

struct checkpoints {
    uint64_t *numbers; /* up to the newest */
    size_t count, room;
    uint64_t newest;
};

static int list_checkpoint(const char *dir, const char *name, uint64_t number, void *context,
                           struct clip_error *error)
{
    (void)dir;
    (void)name;
    struct checkpoints *list = context;
    if (number > list->newest)
        return 0;
    if (CLIP_GROW(list->numbers, list->count, list->room) != 0)
        return clip_fail_memory(error, "a list of checkpoints");
    list->numbers[list->count++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Renames it first, so that a half-removed checkpoint is never seen. */
static int remove_checkpoint(const char *dir, uint64_t number, struct clip_error *error)
{
    char path[PATH_MAX], hidden[PATH_MAX];
    if (clip_path_print(path, error, "%s/step-%08" PRIu64, dir, number) != 0 ||
        clip_path_print(hidden, error, "%s/.step-%08" PRIu64 ".old", dir, number) != 0)
        return -1;
    if (rename(path, hidden) != 0)
        return clip_fail_errno(error, "%s", path);
    return clip_tree_remove(hidden, error);
}

int clip_run_remove_old(const char *dir, uint64_t newest, uint64_t keep, struct clip_error *error)
{
    struct checkpoints list = {.newest = newest};
    int status = clip_each_step(dir, "step-", 0, list_checkpoint, &list, error);
    if (list.count)
        qsort(list.numbers, list.count, sizeof *list.numbers, compare_numbers);
    for (size_t i = 0; i + keep < list.count && status == 0; i++)
        status = remove_checkpoint(dir, list.numbers[i], error);
    free(list.numbers);
    return status;
}

static int remove_unfinished(const char *dir, const char *name, uint64_t number, void *context,
                             struct clip_error *error)
{
    (void)number;
    (void)context;
    char path[PATH_MAX];
    if (clip_path_print(path, error, "%s/%s", dir, name) != 0)
        return -1;
    return clip_tree_remove(path, error);
}

int clip_run_clean(const char *dir, uint64_t keep, struct clip_error *error)
{
    struct clip_run run = {.dir = dir, .lock = -1};
    uint64_t newest;
    if (open_lock(&run, error) != 0)
        return -1;
    int status = set_lock(run.lock, F_OFD_SETLK, F_WRLCK, 0, CLIP_TRAIN_PARTS + 1);
    if (status != 0)
        status = errno == EAGAIN || errno == EACCES ? 0 : clip_fail_errno(error, "%s/.lock", dir);
    else if ((status = clip_each_step(dir, ".step-", 1, remove_unfinished, NULL, error)) == 0 &&
             (status = clip_run_steps(dir, &newest, error)) == 0)
        status = clip_run_remove_old(dir, newest, keep, error);
    clip_run_close(&run);
    return status;
}

/* --- where it starts --- */

/* The folder that a run of which `steps` are done starts from. */
static int find_model(struct clip_run *run, struct clip_error *error)
{
    char path[PATH_MAX];
    int status = run->steps ? clip_path_print(path, error, "%s/step-%08" PRIu64, run->dir, run->steps)
                            : clip_path_print(path, error, "%s/init", run->dir);
    if (status != 0)
        return -1;
    if (access(path, F_OK) != 0)
        return clip_fail(error, "%s: it has neither 'latest', a checkpoint, nor 'init', a model folder",
                         run->dir);
    run->model = strdup(path);
    return run->model ? 0 : clip_fail_memory(error, "a file name");
}

/* Before a stage has begun no part of a new checkpoint can be there: each step goes through every stage. So
 * what is there was left by a run that stopped, and goes. With the lock of the whole nobody finishes one
 * between this and the look at `latest`. */
static int find_start(struct clip_run *run, struct clip_error *error)
{
    if (clip_run_lock(run, error) != 0)
        return -1;
    int status = clip_each_step(run->dir, ".step-", 1, remove_unfinished, NULL, error);
    if (status == 0)
        status = clip_run_steps(run->dir, &run->steps, error);
    clip_run_unlock(run);
    return status == 0 ? find_model(run, error) : -1;
}

int clip_run_join(struct clip_run *run, const char *dir, const char *part, uint64_t steps,
                  struct clip_error *error)
{
    *run = (struct clip_run){.dir = dir, .part = part, .lock = -1, .steps = steps};
    return find_model(run, error);
}

/* --- files that checkpoints take over from DIR/init --- */

/* 1 for what a checkpoint makes anew. */
static int is_made(const char *name)
{
    static const char *const endings[] = {".safetensors", ".index.json", ".bin", ".pt", ".pth"};
    static const char *const configurations[] = {"open_clip_config.json", "config.json",
                                                 "preprocessor_config.json"};
    for (size_t i = 0; i < CLIP_COUNT_OF(endings); i++) {
        size_t length = strlen(endings[i]), all = strlen(name);
        if (all >= length && strcmp(name + all - length, endings[i]) == 0)
            return 1;
    }
    for (size_t i = 0; i < CLIP_COUNT_OF(configurations); i++)
        if (strcmp(name, configurations[i]) == 0)
            return 1;
    return 0;
}

static int add_extra(struct clip_extras *extras, const char *name, struct clip_error *error)
{
    char **names = reallocarray(extras->names, extras->count + 1, sizeof *names);
    if (!names)
        return clip_fail_memory(error, "a list of files");
    extras->names = names;
    names[extras->count] = strdup(name);
    return names[extras->count] ? (extras->count++, 0) : clip_fail_memory(error, "a list of files");
}

static int list_extras(struct clip_run *run, struct clip_error *error)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct stat status;
    struct dirent *entry;
    if (clip_path_print(folder, error, "%s/init", run->dir) != 0)
        return -1;
    DIR *directory = opendir(folder);
    if (!directory)
        return clip_fail_errno(error, "%s", folder);
    int result = 0;
    while (result == 0 && (errno = 0, entry = readdir(directory))) {
        if (entry->d_name[0] == '.' || is_made(entry->d_name))
            continue;
        result = clip_path_print(path, error, "%s/%s", folder, entry->d_name);
        if (result == 0 && stat(path, &status) != 0)
            result = clip_fail_errno(error, "%s", path);
        if (result == 0 && S_ISREG(status.st_mode))
            result = add_extra(&run->extras, entry->d_name, error);
    }
    if (result == 0 && errno)
        result = clip_fail_errno(error, "%s", folder);
    closedir(directory);
    return result;
}

int clip_run_copy_extras(const struct clip_run *run, const char *folder, struct clip_error *error)
{
    char from[PATH_MAX], to[PATH_MAX];
    for (size_t i = 0; i < run->extras.count; i++) {
        if (clip_path_print(from, error, "%s/init/%s", run->dir, run->extras.names[i]) != 0 ||
            clip_path_print(to, error, "%s/%s", folder, run->extras.names[i]) != 0)
            return -1;
        if (access(to, F_OK) != 0 && clip_copy_file(from, to, error) != 0)
            return -1;
    }
    return 0;
}

/* A checkpoint that lacks a file of DIR/init, which one of an older version may, gets it. */
static int complete_start(const struct clip_run *run, struct clip_error *error)
{
    if (run->steps == 0)
        return 0;
    if (clip_run_lock(run, error) != 0)
        return -1;
    int status = clip_run_copy_extras(run, run->model, error);
    clip_run_unlock(run);
    return status;
}

int clip_run_open(struct clip_run *run, const char *dir, const char *part, struct clip_error *error)
{
    *run = (struct clip_run){.dir = dir, .part = part, .lock = -1};
    if (lock_part(run, error) == 0 && find_start(run, error) == 0 && list_extras(run, error) == 0 &&
        complete_start(run, error) == 0)
        return 0;
    clip_run_close(run);
    return -1;
}

void clip_run_close(struct clip_run *run)
{
    free(run->model);
    for (size_t i = 0; i < run->extras.count; i++)
        free(run->extras.names[i]);
    free(run->extras.names);
    if (run->dir && run->lock >= 0)
        close(run->lock);
    *run = (struct clip_run){.lock = -1};
}
