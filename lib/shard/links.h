/* Resolves hard links in an archive: a link stands for the bytes of an earlier member.
 *
 * For an uncompressed file, the position of each member is remembered from the first link on, in 16 bytes
 * a member, and the member is read again. For any other source the bytes of the last members are kept in a
 * fixed amount of memory; a link to an earlier one is an error. */
#ifndef CLIP_SHARD_LINKS_H
#define CLIP_SHARD_LINKS_H

#include "base/error.h"
#include "shard/source.h"
#include "shard/tar.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_LINKS_KEPT ((size_t)8 << 20) /* bytes of members kept, if the source cannot be read again */

/* The positions of an archive's members, ordered by the hash of their names, then by position. Zero it to
 * begin. */
struct clip_member_table {
    struct clip_member_entry {
        uint64_t hash, offset;
    } * entries;
    size_t count, room;
    int whole; /* it was filled */
};
void clip_member_table_free(struct clip_member_table *table);

struct clip_links;

/* For the archive in `source`, which stays the caller's. NULL when out of memory, with error. */
struct clip_links *clip_links_new(struct clip_source *source, int ignore_zeros, struct clip_error *error);
void clip_links_free(struct clip_links *links);

/* Uses this table, which may outlive the reader, instead of one of its own. */
void clip_links_share(struct clip_links *links, struct clip_member_table *table);

/* Whether the member's bytes must be kept by clip_links_keep. Call it after its header was read. */
int clip_links_wants(struct clip_links *links, const struct clip_member *member);
/* Keeps a copy. -1 with error: out of memory. */
int clip_links_keep(struct clip_links *links, const struct clip_member *member, const void *data,
                    struct clip_error *error);

/* Finds the member that the hard link `member` points to: 1, and its size; 0 if no earlier member has that
 * name; -1 with error: it is no longer kept, or cannot be read. */
int clip_links_find(struct clip_links *links, const struct clip_member *member, uint64_t *size,
                    struct clip_error *error);

/* Reads the next `size` bytes of the member found last. */
int clip_links_read(struct clip_links *links, void *out, uint64_t size, struct clip_error *error);

#endif
