#include "train/gradients.h"

#include "base/file.h"
#include "stream/reader.h"
#include "stream/vector.h"
#include "stream/writer.h"
#include "train/fifo.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- in --- */

struct clip_gradients_in {
    const char *path;
    int fd, out;
    struct clip_reader *reader;
    int begun;
    double awaited; /* seconds until the first gradients came */
};

struct clip_gradients_in *clip_gradients_in_open(const char *path, int out, struct clip_error *error)
{
    struct clip_gradients_in *in = calloc(1, sizeof *in);
    if (!in) {
        clip_fail_memory(error, "a reader");
        return NULL;
    }
    *in = (struct clip_gradients_in){.path = path, .out = out, .fd = clip_fifo_reader(path, error)};
    if (in->fd >= 0)
        in->reader = clip_reader_fd(in->fd, path, 0, error);
    if (in->reader)
        return in;
    clip_gradients_in_free(in);
    return NULL;
}

void clip_gradients_in_free(struct clip_gradients_in *in)
{
    if (!in)
        return;
    clip_reader_free(in->reader);
    if (in->fd >= 0)
        close(in->fd);
    free(in);
}

double clip_gradients_in_waited(const struct clip_gradients_in *in)
{
    return in->awaited + clip_reader_waited(in->reader);
}

/* Reads the next record or step object; other control objects are ignored. */
static int next_record(struct clip_gradients_in *in, struct clip_record **record, struct clip_step *step,
                       struct clip_error *error)
{
    for (;;) {
        int got = clip_reader_next(in->reader, record, error);
        if (got == 0)
            return clip_fail(error, "%s: the gradients ended within a step", in->path);
        if (got < 0)
            return -1;
        if (clip_record_find(*record, "__key__"))
            return 0;
        int kind = clip_step_read(step, *record, error);
        clip_record_free(*record);
        *record = NULL;
        if (kind < 0)
            return clip_fail_prefix(error, "%s", in->path);
        if (kind > 0)
            return 0;
    }
}

static int read_row(struct clip_gradients_in *in, const void *key, size_t size,
                    const struct clip_vector_field *fields, size_t fields_count, float *row,
                    struct clip_error *error)
{
    struct clip_record *record;
    struct clip_step step;
    char wanted[100], name[400];
    clip_printable(wanted, sizeof wanted, key, size);
    if (next_record(in, &record, &step, error) != 0)
        return -1;
    if (!record)
        return clip_fail(error, "%s: the gradients of step %" PRId64 " end before that of sample %s",
                         in->path, step.number, wanted);
    int status = 0;
    size_t length;
    const char *found = clip_record_key(record, &length);
    if (length != size || memcmp(found, key, size) != 0)
        status = clip_fail(error, "%s: the gradient of sample %s came where that of %s belongs", in->path,
                           clip_printable(name, sizeof name, found, length), wanted);
    for (size_t f = 0; f < fields_count && status == 0; f++) {
        size_t width = fields[f].width;
        const void *data;
        if (clip_record_vector(record, fields[f].name, &width, &data) != 0)
            status =
                clip_fail(error, "%s: the gradient of sample %s: %s", in->path, wanted, record->error.text);
        else
            memcpy(row, data, width * sizeof *row);
        row += width;
    }
    clip_record_free(record);
    return status;
}

static int read_step(struct clip_gradients_in *in, const struct clip_step *step, struct clip_error *error)
{
    struct clip_record *record;
    struct clip_step found;
    if (next_record(in, &record, &found, error) != 0)
        return -1;
    if (record) {
        char name[400];
        clip_fail(error, "%s: %s: a gradient more than the step has records", in->path,
                  clip_record_name(record, name, sizeof name));
        clip_record_free(record);
        return -1;
    }
    if (found.number != step->number)
        return clip_fail(error, "%s: the gradients are of step %" PRId64, in->path, found.number);
    return 0;
}

int clip_gradients_in_read(struct clip_gradients_in *in, const struct clip_items *keys,
                           const struct clip_vector_field *fields, size_t fields_count,
                           const struct clip_step *step, float *rows, struct clip_error *error)
{
    size_t width = 0;
    for (size_t f = 0; f < fields_count; f++)
        width += fields[f].width;
    if (!in->begun) {
        double start = clip_seconds();
        if (clip_fifo_await(in->fd, in->out, error) != 0)
            return -1;
        in->awaited = clip_seconds() - start;
        in->begun = 1;
    }
    for (size_t i = 0; i < keys->count; i++) {
        size_t size;
        const void *key = clip_items_get(keys, i, &size);
        if (read_row(in, key, size, fields, fields_count, rows + i * width, error) != 0)
            return -1;
    }
    return read_step(in, step, error);
}

/* --- out --- */

struct clip_gradients_out {
    const char *path;
    int fd;
    struct clip_writer *writer; /* NULL before the first write */
};

struct clip_gradients_out *clip_gradients_out_new(const char *path, struct clip_error *error)
{
    struct clip_gradients_out *out = calloc(1, sizeof *out);
    if (!out)
        clip_fail_memory(error, "a writer");
    else
        *out = (struct clip_gradients_out){path, -1, NULL};
    return out;
}

void clip_gradients_out_free(struct clip_gradients_out *out)
{
    if (!out)
        return;
    clip_writer_free(out->writer);
    if (out->fd >= 0)
        close(out->fd);
    free(out);
}

static int begin_stream(struct clip_gradients_out *out, struct clip_error *error)
{
    if (out->writer)
        return 0;
    out->fd = clip_fifo_writer(out->path, error);
    out->writer = out->fd >= 0 ? clip_writer_new(out->fd, out->path, error) : NULL;
    return out->writer ? 0 : -1;
}

int clip_gradients_out_put(struct clip_gradients_out *out, const void *key, size_t size, const char *name,
                           const float *value, size_t width, struct clip_error *error)
{
    struct clip_record *record = clip_record_new();
    if (!record)
        return clip_fail_memory(error, "a gradient");
    int status = begin_stream(out, error);
    if (status == 0)
        status = clip_record_put_string(record, "__key__", key, size, error);
    if (status == 0)
        status = clip_record_put_vector(record, name, value, width, error);
    if (status == 0)
        status = clip_writer_record(out->writer, record, error);
    clip_record_free(record);
    return status;
}

int clip_gradients_out_step(struct clip_gradients_out *out, const struct clip_record *object,
                            struct clip_error *error)
{
    if (begin_stream(out, error) != 0 || clip_writer_record(out->writer, object, error) != 0)
        return -1;
    return clip_writer_flush(out->writer, error);
}

int clip_gradients_out_end(struct clip_gradients_out *out, struct clip_error *error)
{
    if (!out->writer)
        return 0;
    if (clip_fifo_end(out->writer, out->fd, error) != 0)
        return -1;
    int fd = out->fd;
    out->fd = -1;
    return close(fd) == 0 ? 0 : clip_fail_errno(error, "%s", out->path);
}
