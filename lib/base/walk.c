#include "base/walk.h"

#include <errno.h>
#include <fnmatch.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct clip_walk {
    const struct clip_walk_options *options;
    FTS *tree;
    int listed; /* the path is one of a list */
    int folder;
};

struct clip_walk *clip_walk_new(const struct clip_walk_options *options, struct clip_error *error)
{
    struct clip_walk *walk = calloc(1, sizeof *walk);
    if (walk)
        walk->options = options;
    else
        clip_fail_memory(error, "a walk through folders");
    return walk;
}

static void close_tree(struct clip_walk *walk)
{
    if (walk->tree)
        fts_close(walk->tree);
    walk->tree = NULL;
}

void clip_walk_free(struct clip_walk *walk)
{
    if (walk)
        close_tree(walk);
    free(walk);
}

/* The byte of a path at place `i` of the entry's name: after that of a folder comes a slash. */
static unsigned char path_byte(const FTSENT *entry, size_t i)
{
    if (i < entry->fts_namelen)
        return (unsigned char)entry->fts_name[i];
    return i == entry->fts_namelen && (entry->fts_info == FTS_D || entry->fts_info == FTS_DC) ? '/' : 0;
}

/* The order of the paths that will come of two entries of a folder. */
static int compare_entries(const FTSENT **a, const FTSENT **b)
{
    for (size_t i = 0;; i++) {
        int x = path_byte(*a, i), y = path_byte(*b, i);
        if (x != y || x == 0)
            return x - y;
    }
}

int clip_walk_begin(struct clip_walk *walk, const char *path, int listed, struct clip_error *error)
{
    char *const paths[] = {(char *)path, NULL};
    int how = walk->options->follow ? FTS_LOGICAL : FTS_PHYSICAL | (listed ? 0 : FTS_COMFOLLOW);
    close_tree(walk);
    walk->folder = 0;
    walk->listed = listed;
    walk->tree = fts_open(paths, how | FTS_NOCHDIR, compare_entries);
    return walk->tree ? 0 : clip_fail_errno(error, "'%s'", path);
}

/* fnmatch(3) of a pattern without the slash at its end. */
static int matches(const char *pattern, size_t size, const char *text)
{
    char *copy = strndup(pattern, size);
    int found = copy && fnmatch(copy, text, 0) == 0;
    free(copy);
    return found;
}

/* 1 if one of the patterns (as of the shell; "*" matches slashes too) matches: one without a slash, the name;
 * with a slash, the path or a part of it that begins after a slash and reaches to its end. A slash at the end
 * of a pattern does not count. */
static int is_excluded(const struct clip_walk_options *options, const char *path, const char *name)
{
    for (size_t i = 0; i < options->exclude_count; i++) {
        const char *pattern = options->exclude[i];
        size_t size = strlen(pattern);
        while (size > 1 && pattern[size - 1] == '/')
            size--;
        if (!memchr(pattern, '/', size)) {
            if (matches(pattern, size, name))
                return 1;
            continue;
        }
        for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
            if (matches(pattern, size, part))
                return 1;
    }
    return 0;
}

/* What the entry is, in `found`. Returns 1; 0 for what is not found: folders. */
static int classify_entry(const struct clip_walk *walk, const FTSENT *entry, struct clip_found *found)
{
    int root = entry->fts_level == FTS_ROOTLEVEL,
        absent = entry->fts_errno == ENOENT || entry->fts_errno == ENOTDIR;
    *found = (struct clip_found){.path = entry->fts_path, .named = root && !walk->listed};
    switch (entry->fts_info) {
    case FTS_D:
    case FTS_DP:
    case FTS_DOT:
        return 0;
    case FTS_F:
        found->kind = CLIP_FOUND_FILE;
        break;
    case FTS_DC:
        found->kind = CLIP_FOUND_LOOP;
        break;
    case FTS_SL:
        found->kind = CLIP_FOUND_LINK;
        break;
    case FTS_SLNONE:
        found->kind = found->named ? CLIP_FOUND_UNREADABLE : CLIP_FOUND_LINK;
        found->number = ENOENT;
        break;
    case FTS_DEFAULT:
        found->kind = found->named ? CLIP_FOUND_FILE : CLIP_FOUND_OTHER;
        break;
    default: /* FTS_DNR, FTS_ERR, FTS_NS */
        found->kind = CLIP_FOUND_UNREADABLE;
        found->number = entry->fts_errno;
        found->named = found->named || (root && absent);
        break;
    }
    return 1;
}

int clip_walk_next(struct clip_walk *walk, struct clip_found *found, struct clip_error *error)
{
    FTSENT *entry;
    while (errno = 0, (entry = fts_read(walk->tree)) != NULL) {
        int root = entry->fts_level == FTS_ROOTLEVEL, folder = entry->fts_info == FTS_D;
        if (folder && root)
            walk->folder = 1;
        if ((!root && !walk->options->hidden && entry->fts_name[0] == '.') ||
            (!(root && folder) && is_excluded(walk->options, entry->fts_path, entry->fts_name))) {
            if (folder && !root)
                fts_set(walk->tree, entry, FTS_SKIP);
            continue;
        }
        if (classify_entry(walk, entry, found))
            return 1;
    }
    return errno ? clip_fail_errno(error, "a walk through folders") : 0;
}

int clip_walk_is_folder(const struct clip_walk *walk)
{
    return walk->folder;
}
