#include "stream/writer.h"
#include "base/file.h"
#include "stream/msgpack.h"

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_SIZE 65536
#define FLUSH_SECONDS 0.010

struct clip_writer {
    int fd;
    char *name;
    uint64_t count;
    double waited, flushed; /* seconds in write(2); time of the last flush */
    size_t used;
    char buffer[BUFFER_SIZE];
};

struct clip_writer *clip_writer_new(int fd, const char *name, struct clip_error *error)
{
    struct clip_writer *writer = calloc(1, sizeof *writer);
    if (!writer || !(writer->name = strdup(name))) {
        free(writer);
        clip_fail_memory(error, "a writer");
        return NULL;
    }
    writer->fd = fd;
    writer->flushed = clip_seconds();
    return writer;
}

void clip_writer_free(struct clip_writer *writer)
{
    if (writer)
        free(writer->name);
    free(writer);
}

static int write_out(struct clip_writer *writer, const void *data, size_t size, struct clip_error *error)
{
    double start = clip_seconds();
    int status = clip_write_all(writer->fd, data, size, writer->name, error);
    writer->flushed = clip_seconds();
    writer->waited += writer->flushed - start;
    return status;
}

int clip_writer_flush(struct clip_writer *writer, struct clip_error *error)
{
    size_t used = writer->used;
    writer->used = 0;
    return used ? write_out(writer, writer->buffer, used, error) : 0;
}

static int append_large(struct clip_writer *writer, const void *data, size_t size, struct clip_error *error)
{
    int direct = size > BUFFER_SIZE / 2; /* too large to be worth a copy */
    if ((direct || writer->used + size > BUFFER_SIZE) && clip_writer_flush(writer, error) != 0)
        return -1;
    if (direct)
        return write_out(writer, data, size, error);
    memcpy(writer->buffer + writer->used, data, size);
    writer->used += size;
    return 0;
}

static inline int append_bytes(struct clip_writer *writer, const void *data, size_t size,
                               struct clip_error *error)
{
    if (size > BUFFER_SIZE / 2 || size > BUFFER_SIZE - writer->used)
        return append_large(writer, data, size, error);
    memcpy(writer->buffer + writer->used, data, size);
    writer->used += size;
    return 0;
}

static inline int append_head(struct clip_writer *writer, enum clip_kind kind, size_t length,
                              struct clip_error *error)
{
    if (BUFFER_SIZE - writer->used < CLIP_HEAD && clip_writer_flush(writer, error) != 0)
        return -1;
    writer->used += clip_head_write(writer->buffer + writer->used, kind, (uint32_t)length);
    return 0;
}

int clip_writer_record(struct clip_writer *writer, const struct clip_record *record, struct clip_error *error)
{
    if (append_head(writer, CLIP_MAP, record->count, error) != 0)
        return -1;
    for (size_t i = 0; i < record->count; i++) {
        const struct clip_field *field = &record->fields[i];
        if (append_head(writer, CLIP_STR, field->name_size, error) != 0 ||
            append_bytes(writer, field->name, field->name_size, error) != 0 ||
            append_bytes(writer, field->value, field->size, error) != 0)
            return -1;
    }
    if (clip_record_find(record, "__key__"))
        writer->count++;
    if (clip_coarse_seconds() - writer->flushed > FLUSH_SECONDS)
        return clip_writer_flush(writer, error);
    return 0;
}

/* msgpack-c's packer writes through this function. */
struct sink {
    struct clip_writer *writer;
    struct clip_error *error;
};

static int sink_write(void *data, const char *bytes, size_t size)
{
    struct sink *sink = data;
    return append_bytes(sink->writer, bytes, size, sink->error);
}

int clip_writer_end(struct clip_writer *writer, struct clip_error *error)
{
    struct sink sink = {writer, error};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &sink, sink_write);
    if (msgpack_pack_map(&packer, 1) != 0 || msgpack_pack_str(&packer, 7) != 0 ||
        msgpack_pack_str_body(&packer, "__end__", 7) != 0 || msgpack_pack_uint64(&packer, writer->count) != 0)
        return -1;
    return clip_writer_flush(writer, error);
}

int clip_writer_finish(struct clip_writer *writer, int status, struct clip_error *error)
{
    struct clip_error ignored;
    if (status != 0) {
        clip_writer_flush(writer, &ignored);
        return status;
    }
    if (clip_writer_end(writer, error) != 0)
        return -1;
    return close(writer->fd) == 0 ? 0 : clip_fail_errno(error, "%s", writer->name);
}

uint64_t clip_writer_count(const struct clip_writer *writer)
{
    return writer->count;
}

double clip_writer_waited(const struct clip_writer *writer)
{
    return writer->waited;
}
