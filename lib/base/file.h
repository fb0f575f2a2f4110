/* Small functions for files and time that libc lacks. */
#ifndef CLIP_BASE_FILE_H
#define CLIP_BASE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* Writes all of data[size] to fd, continuing after signals and short writes. */
int clip_write_all(int fd, const void *data, size_t size, const char *name, struct clip_error *error);

/* Seconds of the monotonic clock. */
double clip_seconds(void);
/* The same clock as of its last tick, some milliseconds ago at most, for a fifth of the time. */
double clip_coarse_seconds(void);

/* When the file was last changed, in seconds since 1970 (as Python's st_mtime). */
double clip_file_time(const struct stat *about);

/* A file mapped for reading. An empty file has data NULL and size 0. See base/fault.h for a file that is
 * truncated meanwhile. */
struct clip_mapping {
    const unsigned char *data;
    size_t size;
};
int clip_map_file(struct clip_mapping *mapping, const char *path, struct clip_error *error);
void clip_unmap_file(struct clip_mapping *mapping);

/* A file without a name, in $TMPDIR or /tmp, for data that does not fit into memory: its descriptor, or -1
 * with error. */
int clip_temporary_file(struct clip_error *error);

/* All of data[size] at `offset` of a file. Reading past its end is an error. */
int clip_pwrite_all(int fd, const void *data, size_t size, uint64_t offset, struct clip_error *error);
int clip_pread_all(int fd, void *data, size_t size, uint64_t offset, struct clip_error *error);

/* A file that appears under its name only when it is complete: it is written beside it under a temporary
 * name. A device or a FIFO is written directly; `temporary` is then NULL, and the output cannot be
 * rewound. */
struct clip_output {
    FILE *file;
    char *path, *temporary;
};
int clip_output_open(struct clip_output *output, const char *path, struct clip_error *error);
/* fflush, fsync, close and, for a file, rename; on error the temporary file is removed. */
int clip_output_commit(struct clip_output *output, struct clip_error *error);
void clip_output_abandon(struct clip_output *output);

/* fsync of a folder, so that the names in it are on disk. */
int clip_folder_sync(const char *path, struct clip_error *error);

/* Copies the file `from` to `to`, completely or not at all. */
int clip_copy_file(const char *from, const char *to, struct clip_error *error);

#endif
