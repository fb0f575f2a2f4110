/* The members of a tar archive, by WebDataset's rules: those of Python's tarfile in stream mode, and
 * stricter.
 *
 * libarchive is not used, because it accepts what must be an error here, and differently by version: it
 * takes an archive without its end for complete, and unknown types for regular files. Here a wrong header,
 * cut data, and an archive that stops without its two blocks of zeros are errors that name the place. It
 * reads the old (v7), ustar, GNU and PAX forms, and sparse members in each of them. */
#ifndef CLIP_SHARD_TAR_H
#define CLIP_SHARD_TAR_H

#include "base/error.h"
#include "shard/source.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_TAR_BLOCK 512

struct clip_member {
    const char *name; /* terminated, but may contain NUL if a PAX header does; bytes of any encoding */
    size_t name_size;
    uint64_t size;   /* after extraction, including holes */
    uint64_t offset; /* offset of its first header in the archive */
    /* CLIP_MEMBER_LINK is a hard link; others are devices, FIFOs and unknown types. */
    enum {
        CLIP_MEMBER_FILE,
        CLIP_MEMBER_LINK,
        CLIP_MEMBER_SYMLINK,
        CLIP_MEMBER_FOLDER,
        CLIP_MEMBER_OTHER
    } kind;
    const char *link; /* target of a link, as `name` */
    size_t link_size;
};

struct clip_tar;

/* Reads from `source`, which stays the caller's. NULL when out of memory, with error. */
struct clip_tar *clip_tar_new(struct clip_source *source, struct clip_error *error);
void clip_tar_free(struct clip_tar *tar);

/* Whether to read on after blocks of zeros, to the end of the source, instead of ending the archive there. */
void clip_tar_ignore_zeros(struct clip_tar *tar, int ignore);

/* Goes to `offset`, that of a member's first header, if the source can (clip_source_open_file). */
void clip_tar_seek(struct clip_tar *tar, uint64_t offset);

/* 1 if a global header was read that names the members after it: they cannot be read without it. */
int clip_tar_renames(const struct clip_tar *tar);

/* Goes to the next member, skipping unread data of the last one. Returns 1, with *member valid until the
 * next call; 0 at the end of the archive, with nothing read after its two blocks; -1 with error. */
int clip_tar_next(struct clip_tar *tar, struct clip_member *member, struct clip_error *error);

/* Reads the next `size` bytes of the member, which must have that many left. */
int clip_tar_read(struct clip_tar *tar, void *out, uint64_t size, struct clip_error *error);

/* Puts "member NAME at offset N" in front of the message; always returns -1. */
int clip_member_fail(const struct clip_member *member, struct clip_error *error);

#endif
