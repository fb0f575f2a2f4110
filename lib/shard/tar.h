/* The members of a tar archive, on WebDataset's terms: those of Python's tarfile in stream mode, and
 * stricter.
 *
 * libarchive is not asked, because it forgives what must be an error here, by version in its own way: it
 * takes an archive without its end for whole and unknown types for regular files. A header that is wrong,
 * data that is cut, and an archive that stops without its two blocks of zeros are errors that name the place.
 * Read are the old (v7), ustar, GNU and PAX forms, sparse members in each of theirs. */
#ifndef CLIP_SHARD_TAR_H
#define CLIP_SHARD_TAR_H

#include "base/error.h"
#include "shard/source.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_TAR_BLOCK 512

struct clip_member {
    const char *name; /* terminated, but may hold NUL where a PAX header does; bytes of any encoding */
    size_t name_size;
    uint64_t size;   /* as extracted, holes and all */
    uint64_t offset; /* of its first header in the archive */
    /* A link is a hard one; others are devices, FIFOs and types that are not known. */
    enum {
        CLIP_MEMBER_FILE,
        CLIP_MEMBER_LINK,
        CLIP_MEMBER_SYMLINK,
        CLIP_MEMBER_FOLDER,
        CLIP_MEMBER_OTHER
    } kind;
    const char *link; /* what a link is to, as `name` */
    size_t link_size;
};

struct clip_tar;

/* Reads from `source`, which stays the caller's. NULL when out of memory, with error. */
struct clip_tar *clip_tar_new(struct clip_source *source, struct clip_error *error);
void clip_tar_free(struct clip_tar *tar);

/* Whether blocks of zeros do not end the archive: those after them are read too, to the end of the source.
 */
void clip_tar_ignore_zeros(struct clip_tar *tar, int ignore);

/* Goes to `offset` of a source that can (clip_source_open_file): that of a member's first header. */
void clip_tar_seek(struct clip_tar *tar, uint64_t offset);

/* 1 if a global header was read that names the members after it: they cannot be read without it. */
int clip_tar_renames(const struct clip_tar *tar);

/* Goes to the next member, past what was not read of the last one. Returns 1, with *member valid until the
 * next call; 0 at the end of the archive, after whose two blocks nothing was read; -1 with error. */
int clip_tar_next(struct clip_tar *tar, struct clip_member *member, struct clip_error *error);

/* Reads the next `size` bytes of the member, which must have that many left. */
int clip_tar_read(struct clip_tar *tar, void *out, uint64_t size, struct clip_error *error);

/* Puts "member NAME at offset N" in front of the message; always returns -1. */
int clip_member_fail(const struct clip_member *member, struct clip_error *error);

#endif
