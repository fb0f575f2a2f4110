/* The stream's reader on any bytes; what it lets through must come out of the writer as it was. */
#include "stream/reader.h"
#include "stream/writer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_RECORD (1 << 20)

static int memory_file(const void *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || (size_t)write(fd, data, size) != size || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    return fd;
}

/* Every view of a field; sums keep the reads from being optimised away. */
static double look_at(const struct clip_field *field)
{
    struct clip_tensor tensor;
    struct clip_error error;
    const char *data;
    size_t size;
    int64_t integer;
    double real, sum = 0;
    int boolean;
    char text[200];
    if (clip_field_bytes(field, &data, &size) == 0)
        for (size_t i = 0; i < size; i++)
            sum += data[i];
    if (clip_field_integer(field, &integer) == 0)
        sum += (double)integer;
    if (clip_field_real(field, &real) == 0)
        sum += real;
    if (clip_field_boolean(field, &boolean) == 0)
        sum += boolean;
    if (clip_field_tensor(field, &tensor, &error) == 0) {
        clip_tensor_describe(&tensor, text, sizeof text);
        for (size_t i = 0; i < clip_tensor_count(&tensor); i++)
            sum += clip_tensor_value(&tensor, i);
    }
    return sum;
}

static void compare(const struct clip_record *a, const struct clip_record *b)
{
    if (a->count != b->count)
        abort();
    for (size_t i = 0; i < a->count; i++) {
        const struct clip_field *x = &a->fields[i], *y = &b->fields[i];
        if (x->name_size != y->name_size || memcmp(x->name, y->name, x->name_size) != 0)
            abort();
        if (x->size != y->size || memcmp(x->value, y->value, x->size) != 0)
            abort();
    }
}

/* Writes the record as a stream of its own and reads it back. */
static void round_trip(const struct clip_record *record)
{
    struct clip_error error;
    struct clip_record *again;
    int fd = memory_file("", 0);
    struct clip_writer *writer = clip_writer_new(fd, "copy", &error);
    if (!writer || clip_writer_record(writer, record, &error) != 0 || clip_writer_end(writer, &error) != 0)
        abort();
    clip_writer_free(writer);
    lseek(fd, 0, SEEK_SET);
    /* Heads are written in their shortest form, which is never longer. */
    struct clip_reader *reader = clip_reader_fd(fd, "copy", MAX_RECORD, &error);
    if (!reader || clip_reader_next(reader, &again, &error) != 1)
        abort();
    compare(record, again);
    clip_record_free(again);
    if (clip_reader_next(reader, &again, &error) != 0)
        abort();
    clip_reader_free(reader);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_error error;
    struct clip_record *record;
    char name[400];
    volatile double sum = 0;
    int fd = memory_file(data, size), got;
    struct clip_reader *reader = clip_reader_fd(fd, "fuzz", MAX_RECORD, &error);
    if (!reader)
        abort();
    while ((got = clip_reader_next(reader, &record, &error)) == 1) {
        clip_record_name(record, name, sizeof name);
        for (size_t i = 0; i < record->count; i++)
            sum = sum + look_at(&record->fields[i]);
        round_trip(record);
        clip_record_free(record);
    }
    if (got < 0 && error.text[0] == '\0')
        abort(); /* an error without a message */
    clip_reader_free(reader);
    close(fd);
    return 0;
}
