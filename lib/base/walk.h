/* Files by their names: operands, and what is in the folders among them, in sorted order. */
#ifndef CLIP_BASE_WALK_H
#define CLIP_BASE_WALK_H

#include "base/error.h"

#include <stddef.h>

struct clip_walk_options {
    const char *const *exclude; /* [exclude_count] patterns (is_excluded in walk.c) */
    size_t exclude_count;
    int hidden; /* take names that begin with a dot, below the operand too */
    int follow; /* follow symbolic links below the operand too */
};

enum clip_found_kind {
    CLIP_FOUND_FILE,       /* a regular file; an operand, also a FIFO or a device */
    CLIP_FOUND_LINK,       /* a symbolic link that is not followed, or leads nowhere */
    CLIP_FOUND_LOOP,       /* a folder that a link leads back to */
    CLIP_FOUND_OTHER,      /* a FIFO, a socket, a device */
    CLIP_FOUND_UNREADABLE, /* errno's number says why */
};

struct clip_found {
    enum clip_found_kind kind;
    const char *path; /* the operand, or below it, as find(1) prints it; valid until the next call */
    int named;        /* it is the operand itself, or a listed path where nothing is */
    int number;
};

struct clip_walk;

/* The options must stay. NULL with error. */
struct clip_walk *clip_walk_new(const struct clip_walk_options *options, struct clip_error *error);
void clip_walk_free(struct clip_walk *walk);

/* Begins with a path, which must stay until the end of its walk: an operand, which is followed where it is a
 * link; or one of a list, which is treated as what is found in a folder. -1 with error. */
int clip_walk_begin(struct clip_walk *walk, const char *path, int listed, struct clip_error *error);

/* Finds the path itself, or in a folder all that is not hidden, not excluded and not a folder, in the
 * order of the bytes of the paths. Returns 1; 0 at the end; -1 with error. */
int clip_walk_next(struct clip_walk *walk, struct clip_found *found, struct clip_error *error);

/* 1 if clip_walk_next went into a folder since clip_walk_begin. */
int clip_walk_is_folder(const struct clip_walk *walk);

#endif
