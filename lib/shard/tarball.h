/* Writing records as the members of a tar archive, laid out as by WebDataset's writer.
 *
 * The format is ustar, with PAX headers for names that do not fit. libarchive is not used, because it
 * converts names by the locale; here they are bytes. Mode 0444, owner and time 0: the same records give
 * the same bytes. */
#ifndef CLIP_SHARD_TARBALL_H
#define CLIP_SHARD_TARBALL_H

#include "base/error.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdio.h>

/* An archive being written; zero it, but for `file`, to begin. */
struct clip_tarball {
    FILE *file; /* not owned */
    char *key;  /* key of the last record */
    size_t key_size;
};

/* Adds a record's fields in the order of their extensions: bytes and text unchanged, numbers as decimal
 * text, tensors as EXT.npy. Names that begin with "_" are left out, as in WebDataset. A record that could
 * not be read back unchanged, or has no field to write, is marked as bad, and nothing of it is written. -1
 * with error if it cannot be written. */
int clip_tarball_add(struct clip_tarball *tarball, struct clip_record *record, struct clip_error *error);

/* Writes the two blocks that end an archive; without them it counts as cut. */
int clip_tarball_end(struct clip_tarball *tarball, struct clip_error *error);

void clip_tarball_free(struct clip_tarball *tarball);

#endif
