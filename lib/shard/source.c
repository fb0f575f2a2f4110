#include "shard/source.h"
#include "base/array.h"
#include "base/file.h"

#include <archive.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE 65536
#define PIECE 8192 /* buffer for a file that is read at random positions */

struct clip_source {
    struct archive *archive;
    struct clip_writer *tied;
    int fd; /* -1: data[size] */
    const void *data;
    size_t size;
    int regular;        /* a file */
    uint64_t start;     /* where the archive begins in the file: standard input may have been read before */
    int seekable;       /* a file read without libarchive; `block` says which part of it is in `buffer` */
    uint64_t file_size; /* then */
    int begun, ended;
    int no_more;          /* the end of the file is reached */
    const uint8_t *block; /* libarchive's block, with `left` bytes not yet returned */
    size_t left;
    uint64_t offset, taken;
    double waited;
    uint8_t buffer[READ_SIZE];
};

/* libarchive's client: waits for input, after flushing the output. */
static la_ssize_t read_more(struct archive *archive, void *data, const void **buffer)
{
    struct clip_source *source = data;
    struct clip_error error;
    struct pollfd poll_fd = {.fd = source->fd, .events = POLLIN};
    ssize_t n;
    if (source->tied && poll(&poll_fd, 1, 0) == 0 && clip_writer_flush(source->tied, &error) != 0) {
        archive_set_error(archive, EIO, "%s", error.text);
        return ARCHIVE_FATAL;
    }
    double start = clip_seconds();
    do
        n = read(source->fd, source->buffer, sizeof source->buffer);
    while (n < 0 && errno == EINTR);
    source->waited += clip_seconds() - start;
    if (n < 0) {
        archive_set_error(archive, errno, "%s", strerror(errno));
        return ARCHIVE_FATAL;
    }
    source->no_more = n == 0;
    source->taken += (uint64_t)n;
    *buffer = source->buffer;
    return n;
}

/* The filters for which libarchive uses a library, not a separate program. libarchive could read tar, too,
 * but not by WebDataset's rules (shard/tar.h), so it only decompresses here. */
static struct clip_source *new_source(struct clip_error *error)
{
    static int (*const filters[])(struct archive *) = {
        archive_read_support_filter_gzip,    archive_read_support_filter_bzip2,
        archive_read_support_filter_xz,      archive_read_support_filter_lzma,
        archive_read_support_filter_zstd,    archive_read_support_filter_lz4,
        archive_read_support_filter_compress};
    struct clip_source *source = calloc(1, sizeof *source);
    if (!source || !(source->archive = archive_read_new())) {
        free(source);
        clip_fail_memory(error, "a shard");
        return NULL;
    }
    source->fd = -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(filters); i++)
        filters[i](source->archive);
    archive_read_support_format_raw(source->archive);
    archive_read_support_format_empty(source->archive);
    return source;
}

static int fail_archive(struct clip_source *source, struct clip_error *error)
{
    const char *text = archive_error_string(source->archive);
    return clip_fail(error, "%s%s", source->no_more ? "compressed data is cut short or damaged: " : "",
                     text ? text : "the last bytes are missing");
}

struct clip_source *clip_source_open(const char *path, struct clip_writer *tied, struct clip_error *error)
{
    struct clip_source *source = new_source(error);
    if (!source)
        return NULL;
    source->tied = tied;
    source->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0) {
        clip_fail_errno(error, "%s", path);
        clip_source_close(source);
        return NULL;
    }
    struct stat status;
    off_t start = lseek(source->fd, 0, SEEK_CUR);
    source->regular = start >= 0 && fstat(source->fd, &status) == 0 && S_ISREG(status.st_mode);
    source->start = source->regular ? (uint64_t)start : 0;
    return source;
}

struct clip_source *clip_source_memory(const void *data, size_t size, struct clip_error *error)
{
    struct clip_source *source = new_source(error);
    if (source) {
        source->data = data;
        source->size = size;
    }
    return source;
}

void clip_source_close(struct clip_source *source)
{
    if (!source)
        return;
    archive_read_free(source->archive);
    if (source->fd > STDIN_FILENO)
        close(source->fd);
    free(source);
}

/* Determines the compression from the first bytes; waits for input for the first time. */
static int begin_source(struct clip_source *source, struct clip_error *error)
{
    struct archive *archive = source->archive;
    struct archive_entry *entry;
    int status = source->fd >= 0 ? archive_read_open(archive, source, NULL, read_more, NULL)
                                 : archive_read_open_memory(archive, source->data, source->size);
    if (status == ARCHIVE_OK)
        status = archive_read_next_header(archive, &entry);
    source->begun = 1;
    source->ended = status == ARCHIVE_EOF;
    return status < ARCHIVE_WARN ? fail_archive(source, error) : 0;
}

static int next_block(struct clip_source *source, struct clip_error *error)
{
    const void *block;
    int64_t offset;
    int status = archive_read_data_block(source->archive, &block, &source->left, &offset);
    source->block = block;
    source->ended = status == ARCHIVE_EOF;
    if (status < ARCHIVE_WARN) {
        source->left = 0;
        return fail_archive(source, error);
    }
    return 0;
}

/* --- files that are read at any position --- */

/* From now on it is read by read_file. */
static int make_seekable(struct clip_source *source, struct clip_error *error)
{
    struct stat status;
    if (fstat(source->fd, &status) != 0)
        return clip_fail_errno(error, "a shard");
    archive_read_free(source->archive);
    source->archive = NULL;
    source->seekable = 1;
    source->file_size = (uint64_t)status.st_size - source->start;
    return 0;
}

int clip_source_is_plain_file(const struct clip_source *source)
{
    return source->seekable || (source->regular && source->begun &&
                                archive_filter_code(source->archive, 0) == ARCHIVE_FILTER_NONE);
}

struct clip_source *clip_source_again(const struct clip_source *source, struct clip_error *error)
{
    struct clip_source *again = new_source(error);
    if (!again)
        return NULL;
    again->regular = 1;
    again->start = source->start;
    again->fd = fcntl(source->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (again->fd >= 0 && make_seekable(again, error) == 0)
        return again;
    if (again->fd < 0)
        clip_fail_errno(error, "a shard");
    clip_source_close(again);
    return NULL;
}

struct clip_source *clip_source_open_file(const char *path, struct clip_error *error)
{
    struct clip_source *source = clip_source_open(path, NULL, error);
    if (!source)
        return NULL;
    if (!source->regular) {
        clip_fail(error, "%s: not a file, so it cannot be read in another order (see --shuffle-buffer)",
                  path);
    } else if (begin_source(source, error) != 0) {
        clip_fail_prefix(error, "%s", path);
    } else if (archive_filter_code(source->archive, 0) != ARCHIVE_FILTER_NONE) {
        clip_fail(error,
                  "%s: compressed, so it cannot be read in another order "
                  "(decompress it, as by zstd -d, or see --shuffle-buffer)",
                  path);
    } else if (lseek(source->fd, (off_t)source->start, SEEK_SET) < 0) {
        clip_fail_errno(error, "%s", path); /* standard input may be opened again, at its old position */
    } else if (make_seekable(source, error) != 0) {
        clip_fail_prefix(error, "%s", path);
    } else {
        return source;
    }
    clip_source_close(source);
    return NULL;
}

void clip_source_seek(struct clip_source *source, uint64_t offset)
{
    source->offset = offset;
    source->left = 0;
}

/* Reads up to `size` bytes at the offset. */
static int read_at(struct clip_source *source, void *out, size_t size, size_t *got, struct clip_error *error)
{
    ssize_t n;
    double start = clip_seconds();
    do
        n = pread(source->fd, out, size, (off_t)(source->start + source->offset));
    while (n < 0 && errno == EINTR);
    source->waited += clip_seconds() - start;
    *got = n < 0 ? 0 : (size_t)n;
    return n < 0 ? clip_fail_errno(error, "reading") : 0;
}

/* clip_source_read for such a file. What fits into the buffer is read through it: headers, small members. */
static int read_file(struct clip_source *source, uint8_t *to, uint64_t size, uint64_t *got,
                     struct clip_error *error)
{
    while (*got < size) {
        uint64_t wanted = size - *got;
        size_t n = source->left < wanted ? source->left : (size_t)wanted;
        if (n > 0) {
            if (to)
                memcpy(to + *got, source->block, n);
            source->block += n;
            source->left -= n;
        } else if (!to) {
            uint64_t rest = source->offset < source->file_size ? source->file_size - source->offset : 0;
            if (rest == 0)
                return 0;
            n = rest < wanted ? (size_t)rest : (size_t)wanted;
        } else if (wanted >= PIECE) {
            if (read_at(source, to + *got, (size_t)wanted, &n, error) != 0)
                return -1;
            if (n == 0)
                return 0;
        } else {
            if (read_at(source, source->buffer, PIECE, &source->left, error) != 0)
                return -1;
            if (source->left == 0)
                return 0;
            source->block = source->buffer;
        }
        source->offset += n;
        *got += n;
    }
    return 0;
}

int clip_source_read(struct clip_source *source, void *out, uint64_t size, uint64_t *got,
                     struct clip_error *error)
{
    uint8_t *to = out;
    *got = 0;
    if (source->seekable)
        return read_file(source, to, size, got, error);
    if (size > 0 && !source->begun && begin_source(source, error) != 0)
        return -1;
    while (*got < size) {
        if (source->left == 0) {
            if (source->ended)
                return 0;
            if (next_block(source, error) != 0)
                return -1;
            continue;
        }
        size_t n = source->left < size - *got ? source->left : (size_t)(size - *got);
        if (to)
            memcpy(to + *got, source->block, n);
        source->block += n;
        source->left -= n;
        source->offset += n;
        *got += n;
    }
    return 0;
}

uint64_t clip_source_offset(const struct clip_source *source)
{
    return source->offset;
}

uint64_t clip_source_taken(const struct clip_source *source)
{
    return source->taken;
}

double clip_source_waited(const struct clip_source *source)
{
    return source->waited;
}
