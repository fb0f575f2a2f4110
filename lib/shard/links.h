/* What hard links in an archive mean: the bytes of an earlier member.
 *
 * Of a file that is not compressed, where each member begins is remembered from the first link on, 16 bytes a
 * member, and the member is read again. Of anything else the bytes of the last members are kept, in memory
 * that does not grow; a link to one before them is an error. */
#ifndef CLIP_SHARD_LINKS_H
#define CLIP_SHARD_LINKS_H

#include "base/error.h"
#include "shard/source.h"
#include "shard/tar.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_LINKS_KEPT ((size_t)8 << 20) /* bytes of members of what cannot be read again */

/* Where the members of an archive begin: by the hash of their names, then in their order. Zero it to begin.
 */
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

/* Fills and uses this table instead of one of its own, so that it outlives this reader. */
void clip_links_share(struct clip_links *links, struct clip_member_table *table);

/* Whether the member's bytes must be kept by clip_links_keep. Asked when its header was read. */
int clip_links_wants(struct clip_links *links, const struct clip_member *member);
/* Keeps a copy. -1 with error: out of memory. */
int clip_links_keep(struct clip_links *links, const struct clip_member *member, const void *data,
                    struct clip_error *error);

/* Finds what the hard link `member` means: 1, and its size; 0 where no earlier member has that name; -1 with
 * error: it is no longer kept, or cannot be read. */
int clip_links_find(struct clip_links *links, const struct clip_member *member, uint64_t *size,
                    struct clip_error *error);

/* Reads the next `size` bytes of what was found last. */
int clip_links_read(struct clip_links *links, void *out, uint64_t size, struct clip_error *error);

#endif
