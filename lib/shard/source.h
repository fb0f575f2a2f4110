/* The bytes of a shard: a file, standard input or memory, decompressed. */
#ifndef CLIP_SHARD_SOURCE_H
#define CLIP_SHARD_SOURCE_H

#include "base/error.h"
#include "stream/writer.h"

#include <stddef.h>
#include <stdint.h>

struct clip_source;

/* Opens a file; "-" is descriptor 0. The compression (gzip, bzip2, xz, lzma, zstd, lz4, compress, or none)
 * is determined from its first bytes. `tied`, unless NULL, is flushed before each wait for input. Errors
 * name the file. */
struct clip_source *clip_source_open(const char *path, struct clip_writer *tied, struct clip_error *error);

/* Opens a file to be read at any position, by clip_source_seek. NULL with error if that is not possible:
 * it is not a file, or it is compressed, and the message says what to do then. */
struct clip_source *clip_source_open_file(const char *path, struct clip_error *error);

/* 1 if the source is an uncompressed regular file: clip_source_again can read it. */
int clip_source_is_plain_file(const struct clip_source *source);

/* A second reader of such a source, at any position, as clip_source_open_file; offsets are those of the
 * first. Both must be closed. NULL with error. */
struct clip_source *clip_source_again(const struct clip_source *source, struct clip_error *error);

/* Goes to an offset of such a file. */
void clip_source_seek(struct clip_source *source, uint64_t offset);

/* As clip_source_open, from data[size], which must stay. */
struct clip_source *clip_source_memory(const void *data, size_t size, struct clip_error *error);

void clip_source_close(struct clip_source *source);

/* Reads the next `size` bytes into `out`, or skips them if it is NULL. *got is the number of bytes: fewer
 * only at the end of the input. -1 with error: it cannot be read or decompressed. */
int clip_source_read(struct clip_source *source, void *out, uint64_t size, uint64_t *got,
                     struct clip_error *error);

/* The position: bytes read so far, decompressed; those of the file, which may be compressed, where it is read
 * in order; and seconds spent waiting for input. */
uint64_t clip_source_offset(const struct clip_source *source);
uint64_t clip_source_taken(const struct clip_source *source);
double clip_source_waited(const struct clip_source *source);

#endif
