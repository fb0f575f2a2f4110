/* clip-files: pictures in files and folders to records, one each. */
#include "base/cli.h"
#include "base/file.h"
#include "base/walk.h"
#include "image/field.h"
#include "image/loose.h"
#include "score/store.h"
#include "stream/entries.h"
#include "stream/reader.h"
#include "stream/seen.h"
#include "stream/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MOST_PATTERNS = 256,
    MOST_EXCEPTED = 64,
    RECORD_HEAD = 100 /* bytes of a record besides key and file */
};

static const char *patterns[MOST_PATTERNS];
static char *excepted[MOST_EXCEPTED];
static struct clip_walk_options walking = {.exclude = patterns};
static size_t excepted_count;
static int null, ignore_others;

static int add_pattern(const char *argument, struct clip_error *error)
{
    if (walking.exclude_count == MOST_PATTERNS)
        return clip_fail(error, "given more than %d times", MOST_PATTERNS);
    patterns[walking.exclude_count++] = argument;
    return *argument ? 0 : clip_fail(error, "the pattern is empty");
}

static int add_excepted(const char *argument, struct clip_error *error)
{
    if (excepted_count == MOST_EXCEPTED)
        return clip_fail(error, "given more than %d times", MOST_EXCEPTED);
    excepted[excepted_count++] = (char *)argument;
    return 0;
}

static const struct clip_option options[] = {
    {"null", '0', CLIP_FLAG, &null, NULL, "the list on standard input is separated by NUL bytes", 0, 0},
    {"exclude", 0, CLIP_CALLBACK, add_pattern, "GLOB",
     "leave out files and folders that match; may be repeated", 0, 0},
    {"hidden", 0, CLIP_FLAG, &walking.hidden, NULL, "read names that begin with a dot, too", 0, 0},
    {"follow", 0, CLIP_FLAG, &walking.follow, NULL, "follow symbolic links in folders", 0, 0},
    {"except", 0, CLIP_CALLBACK, add_excepted, "STREAM|INDEX",
     "leave out files that are there with the same size and time; may be repeated", 0, 0},
    {"ignore-others", 0, CLIP_FLAG, &ignore_others, NULL,
     "report files that are not pictures only if their name says that they are", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-files",
    .operands = "[PATH...]",
    .purpose =
        "Reads pictures from files, and from folders and all that is in them, and writes a record for\n"
        "each, whose key is the path. Without PATH, reads a list of paths from standard input.",
    .options = options,
    .shared = CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct run {
    const struct clip_shared *shared;
    size_t max_record;
    struct clip_walk *walk;
    struct clip_writer *out;
    struct clip_entries *list; /* while it is read */
    struct clip_seen seen;
    struct clip_loose file;
    struct clip_progress progress;
    uint64_t found; /* files to read, of operands; 0: not known */
    uint64_t bad, unchanged, rejected, others, ignored, unreadable, links, special;
    char *folder, *previous; /* of the list: the last that was walked, and the last entry */
};

/* --- a file --- */

/* Counts what is left out, and names it with -v. */
static void leave_out(uint64_t *count, const char *path, const char *why)
{
    char shown[400];
    ++*count;
    clip_verbose("%s: %s (left out)", clip_printable(shown, sizeof shown, path, strlen(path)), why);
}

/* A path that was asked for and cannot be read ends the run, or is left out. */
static int use_bad(struct run *run, const char *path, const char *why, struct clip_error *error)
{
    char shown[400];
    clip_printable(shown, sizeof shown, path, strlen(path));
    if (!run->shared->skip_bad)
        return clip_fail(error, "%s: %s", shown, why);
    clip_message("%s: %s (skipped)", shown, why);
    run->bad++;
    return 0;
}

static int write_picture(struct run *run, const char *path, struct clip_error *error)
{
    const struct clip_loose *file = &run->file;
    struct clip_record *record = clip_record_new();
    int status = record ? 0 : clip_fail_memory(error, "a record");
    if (status == 0 && (clip_record_put_string(record, "__key__", path, strlen(path), error) != 0 ||
                        clip_record_put_bytes(record, file->extension, file->data, file->size, error) != 0 ||
                        clip_record_put_integer(record, "__size__", (int64_t)file->size, error) != 0 ||
                        clip_record_put_real(record, "__mtime__", file->time, error) != 0))
        status = -1;
    if (status == 0)
        status = clip_writer_record(run->out, record, error);
    clip_record_free(record);
    return status;
}

static int use_unreadable(struct run *run, const char *path, int named, const char *why,
                          struct clip_error *error)
{
    if (named)
        return use_bad(run, path, why, error);
    leave_out(&run->unreadable, path, why);
    return 0;
}

/* A file that has not changed since it was read, or rejected. */
static void use_seen(struct run *run, const struct clip_seen_file *seen, const char *path)
{
    if (seen->why)
        leave_out(&run->rejected, path, seen->why);
    else
        run->unchanged++;
}

/* With --ignore-others, a file that is not a picture, if its name does not say that it is one. */
static int is_ignored(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return ignore_others && !clip_is_picture_name(name, strlen(name));
}

static int use_file(struct run *run, const char *path, int named, struct clip_error *error)
{
    struct clip_error why;
    size_t key_size = strlen(path);
    if (clip_loose_open(&run->file, path, &why) != 0)
        return use_unreadable(run, path, named, why.text, error);
    const struct clip_seen_file *seen =
        clip_seen_find(&run->seen, path, key_size, (int64_t)run->file.file_size, run->file.time);
    if (seen) {
        clip_loose_close(&run->file);
        use_seen(run, seen, path);
        return 0;
    }
    size_t around = key_size + RECORD_HEAD;
    int got = clip_loose_read(&run->file, run->max_record > around ? run->max_record - around : 0, &why);
    if (got == 0)
        leave_out(is_ignored(path) ? &run->ignored : &run->others, path, why.text);
    if (got < 0)
        return use_bad(run, path, why.text, error);
    return got == 0 ? 0 : write_picture(run, path, error);
}

static int use_found(struct run *run, const struct clip_found *found, struct clip_error *error)
{
    switch (found->kind) {
    case CLIP_FOUND_LINK:
        leave_out(&run->links, found->path, "a symbolic link");
        return 0;
    case CLIP_FOUND_LOOP:
        leave_out(&run->links, found->path, "a symbolic link to a folder that it is in");
        return 0;
    case CLIP_FOUND_OTHER:
        leave_out(&run->special, found->path, "not a regular file");
        return 0;
    case CLIP_FOUND_UNREADABLE:
        return use_unreadable(run, found->path, found->named, strerror(found->number), error);
    case CLIP_FOUND_FILE:
        break;
    }
    return use_file(run, found->path, found->named, error);
}

/* --- operands and the list --- */

static void show_progress(struct run *run, int last)
{
    uint64_t gone = run->others + run->ignored + run->unreadable + run->bad;
    run->progress.share = run->list && run->progress.on ? clip_entries_share(run->list) : 0;
    clip_progress_show(&run->progress, clip_writer_count(run->out), run->found > gone ? run->found - gone : 0,
                       run->list ? run->list->waited : 0, clip_writer_waited(run->out), last);
}

static int use_path(struct run *run, const char *path, int listed, struct clip_error *error)
{
    struct clip_found found;
    int got;
    if (clip_walk_begin(run->walk, path, listed, error) != 0)
        return -1;
    while ((got = clip_walk_next(run->walk, &found, error)) > 0) {
        if (use_found(run, &found, error) != 0)
            return -1;
        show_progress(run, 0);
    }
    return got;
}

static int lies_in(const char *path, const char *folder)
{
    size_t size = folder ? strlen(folder) : 0;
    return size > 0 && path && strncmp(path, folder, size) == 0 &&
           (path[size] == '/' || folder[size - 1] == '/');
}

static int keep(char **name, const char *text, struct clip_error *error)
{
    free(*name);
    return (*name = strdup(text)) ? 0 : clip_fail_memory(error, "a name");
}

/* An entry of the list. What find(1) prints of a folder, and of all that is in it, is not read twice. */
static int use_entry(struct run *run, const char *path, struct clip_error *error)
{
    int read = lies_in(path, run->folder) || lies_in(run->previous, path);
    if (!read && use_path(run, path, 1, error) != 0)
        return -1;
    if (!read && clip_walk_is_folder(run->walk) && keep(&run->folder, path, error) != 0)
        return -1;
    return keep(&run->previous, path, error);
}

static int use_list(struct run *run, struct clip_error *error)
{
    char *entry;
    int got;
    run->list = calloc(1, sizeof *run->list);
    if (!run->list)
        return clip_fail_memory(error, "a list");
    run->list->fd = STDIN_FILENO;
    run->list->separator = null ? '\0' : '\n';
    run->list->tied = run->out;
    while ((got = clip_entries_next(run->list, &entry, error)) > 0)
        if (use_entry(run, entry, error) != 0)
            return -1;
    return got < 0 ? clip_fail_prefix(error, "standard input") : 0;
}

static int use_all(struct run *run, char **operands, size_t n, struct clip_error *error)
{
    if (n == 0)
        return use_list(run, error);
    for (size_t i = 0; i < n; i++) {
        int status =
            strcmp(operands[i], "-") == 0 ? use_list(run, error) : use_path(run, operands[i], 0, error);
        if (status != 0)
            return -1;
    }
    return 0;
}

/* Whether what was found is a file that must be read. */
static int is_new(const struct run *run, const struct clip_found *found)
{
    struct stat about;
    enum clip_found_kind what = found->kind;
    if (what != CLIP_FOUND_FILE)
        return 0;
    return !run->seen.count || stat(found->path, &about) != 0 ||
           !clip_seen_find(&run->seen, found->path, strlen(found->path), about.st_size,
                           clip_file_time(&about));
}

/* How many files of the operands must be read; a list is not read for that. */
static int count_files(struct run *run, char **operands, size_t n, struct clip_error *error)
{
    struct clip_found found;
    int got;
    for (size_t i = 0; i < n; i++)
        if (strcmp(operands[i], "-") == 0)
            return 0;
    for (size_t i = 0; i < n; i++) {
        if (clip_walk_begin(run->walk, operands[i], 0, error) != 0)
            return -1;
        while ((got = clip_walk_next(run->walk, &found, error)) > 0)
            run->found += (uint64_t)is_new(run, &found);
        if (got < 0)
            return -1;
    }
    show_progress(run, 0);
    return 0;
}

/* --- the run --- */

static void add_count(char *text, size_t size, uint64_t count, const char *what)
{
    size_t used = strlen(text);
    if (count)
        snprintf(text + used, size - used, "%s%s: %llu", used ? ", " : "", what, (unsigned long long)count);
}

static void note_left_out(const struct run *run)
{
    char text[200] = "";
    add_count(text, sizeof text, run->others, "files that are not pictures");
    add_count(text, sizeof text, run->rejected, "pictures that were rejected before");
    add_count(text, sizeof text, run->unreadable, "unreadable");
    add_count(text, sizeof text, run->links, "symbolic links");
    add_count(text, sizeof text, run->special, "devices and the like");
    if (text[0])
        clip_note("left out: %s%s", text, run->shared->verbose ? "" : " (-v names them)");
    if (excepted_count)
        clip_verbose("unchanged: %llu", (unsigned long long)run->unchanged);
    if (run->bad)
        clip_message("%llu bad files skipped", (unsigned long long)run->bad);
}

/* The files of an index, as clip-index list has them. */
static int read_index(struct clip_seen *seen, const char *path, struct clip_error *error)
{
    struct clip_store_entry entry;
    uint64_t number = 0;
    int got = -1;
    struct clip_store *index = clip_store_open(path, error);
    while (index && (got = clip_store_next(index, &number, &entry, error)) > 0) {
        if (entry.size < 0)
            seen->without++;
        else if (clip_seen_add(seen, entry.key, strlen(entry.key), entry.size, entry.time, NULL, 0, error) !=
                 0)
            got = -1;
        if (got < 0)
            break;
    }
    clip_store_close(index);
    return got;
}

static int read_excepted(struct run *run, const char *path, struct clip_error *error)
{
    struct stat about;
    if (strcmp(path, "-") != 0 && stat(path, &about) == 0 && S_ISDIR(about.st_mode))
        return read_index(&run->seen, path, error);
    return clip_seen_read(&run->seen, path, run->max_record, error);
}

static int open_run(struct run *run, struct clip_error *error)
{
    for (size_t i = 0; i < excepted_count; i++)
        if (read_excepted(run, excepted[i], error) != 0)
            return -1;
    clip_seen_sort(&run->seen);
    if (run->seen.without)
        clip_note("--except: %llu records have no __size__ and __mtime__, and are not compared",
                  (unsigned long long)run->seen.without);
    run->walk = clip_walk_new(&walking, error);
    run->out = run->walk ? clip_writer_new(STDOUT_FILENO, "standard output", error) : NULL;
    return run->out ? 0 : -1;
}

static void close_run(struct run *run)
{
    clip_seen_free(&run->seen);
    clip_loose_free(&run->file);
    clip_walk_free(run->walk);
    clip_writer_free(run->out);
    free(run->list);
    free(run->folder);
    free(run->previous);
}

static int run_program(struct run *run, char **operands, size_t n)
{
    struct clip_error error;
    if (open_run(run, &error) != 0)
        clip_die("%s", error.text);
    clip_progress_start(&run->progress, run->shared, n ? operands[0] : "a list of files");
    int status = run->shared->progress ? count_files(run, operands, n, &error) : 0;
    if (status == 0)
        status = use_all(run, operands, n, &error);
    status = clip_writer_finish(run->out, status, &error);
    note_left_out(run);
    show_progress(run, 1);
    if (status != 0)
        clip_message("%s", error.text);
    close_run(run);
    return status != 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    int first = clip_start(&program, &shared, argc, argv), lists = first == argc;
    struct run run = {.shared = &shared,
                      .max_record = shared.max_record ? shared.max_record : CLIP_MAX_RECORD};
    for (int i = first; i < argc; i++) {
        if (!*argv[i])
            clip_usage("the name of a file is empty");
        lists += strcmp(argv[i], "-") == 0;
    }
    if (null && !lists)
        clip_usage("-0 is about a list on standard input, which is read without PATH");
    for (size_t i = 0; i < excepted_count; i++)
        lists += strcmp(excepted[i], "-") == 0;
    if (lists > 1)
        clip_usage("standard input is used twice");
    clip_refuse_terminal();
    return run_program(&run, argv + first, (size_t)(argc - first));
}
