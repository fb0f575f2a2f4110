/* The stream library against msgpack-c's own reading, and against bytes that are not what they claim. */
#include "check.h"
#include "stream/msgpack.h"
#include "stream/reader.h"
#include "stream/writer.h"

#include <msgpack.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>
#include <math.h>

static struct clip_record *sample_record(void)
{
    struct clip_error error;
    struct clip_record *record = clip_record_new();
    float values[] = {0, 1};
    struct clip_tensor tensor = {CLIP_F32, 2, {1, 2}, values};
    CHECK(clip_record_put_string(record, "__key__", "cat/7", 5, &error) == 0, "");
    CHECK(clip_record_put_bytes(record, "jpg", "\xff\xd8", 2, &error) == 0, "");
    CHECK(clip_record_put_integer(record, "cls", -300, &error) == 0, "");
    CHECK(clip_record_put_real(record, "lr", 0.1, &error) == 0, "");
    CHECK(clip_record_put_boolean(record, "save", 1, &error) == 0, "");
    CHECK(clip_record_put_tensor(record, "x", &tensor, &error) == 0, "");
    return record;
}

/* A pipe that holds `size` bytes, its other end closed. */
static int pipe_with(const void *data, size_t size)
{
    int fds[2];
    if (pipe(fds) != 0 || write(fds[1], data, size) != (ssize_t)size)
        abort();
    close(fds[1]);
    return fds[0];
}

static size_t written(uint8_t *out, size_t room)
{
    struct clip_error error;
    int fds[2];
    if (pipe(fds) != 0)
        abort();
    struct clip_writer *writer = clip_writer_new(fds[1], "pipe", &error);
    struct clip_record *record = sample_record(), *step = clip_record_new();
    CHECK(clip_record_put_integer(step, "__step__", 1, &error) == 0, "");
    CHECK(clip_writer_record(writer, record, &error) == 0, "");
    CHECK(clip_writer_record(writer, step, &error) == 0, "");
    CHECK(clip_writer_record(writer, record, &error) == 0, "");
    CHECK(clip_writer_end(writer, &error) == 0, "");
    CHECK(clip_writer_count(writer) == 2, "");
    clip_record_free(record);
    clip_record_free(step);
    clip_writer_free(writer);
    close(fds[1]);
    ssize_t n = read(fds[0], out, room);
    close(fds[0]);
    return (size_t)n;
}

static void test_round_trip(const uint8_t *stream, size_t size)
{
    struct clip_error error;
    struct clip_record *record;
    int fd = pipe_with(stream, size);
    struct clip_reader *reader = clip_reader_fd(fd, "pipe", 0, &error);
    CHECK(clip_reader_next(reader, &record, &error) == 1, "");
    struct clip_tensor tensor;
    size_t length;
    int64_t integer;
    double real;
    int boolean;
    CHECK(strncmp(clip_record_key(record, &length), "cat/7", 5) == 0 && length == 5, "");
    CHECK(clip_field_integer(clip_record_find(record, "cls"), &integer) == 0 && integer == -300, "");
    CHECK(clip_field_real(clip_record_find(record, "lr"), &real) == 0 && real == 0.1, "");
    CHECK(clip_field_boolean(clip_record_find(record, "save"), &boolean) == 0 && boolean == 1, "");
    CHECK(clip_record_tensor(record, "x", CLIP_F32, &tensor) == 0 && tensor.ndim == 2 && tensor.shape[1] == 2,
          "");
    CHECK(clip_tensor_value(&tensor, 1) == 1.0, "");
    CHECK(clip_record_tensor(record, "x", CLIP_I32, &tensor) == -1 && record->bad, "");
    CHECK(strcmp(record->error.text, "field 'x' is f4 [1, 2], not i4") == 0, "%s", record->error.text);
    clip_record_drop(record, "jpg");
    CHECK(!clip_record_find(record, "jpg") && record->count == 5, "");
    CHECK(clip_record_put_integer(record, "cls", 7, &error) == 0 && record->count == 5, "");
    clip_record_free(record);
    CHECK(clip_reader_next(reader, &record, &error) == 1 && !clip_record_key(record, &length), "");
    clip_record_free(record);
    CHECK(clip_reader_ready(reader) == 1, "");
    CHECK(clip_reader_next(reader, &record, &error) == 1, "");
    clip_record_free(record);
    CHECK(clip_reader_next(reader, &record, &error) == 0 && !record, "");
    CHECK(clip_reader_next(reader, &record, &error) == 0, "the end is final");
    CHECK(clip_reader_count(reader) == 2, "");
    clip_reader_free(reader);
    close(fd);
}

/* The bytes of FACTS: msgpack-numpy's map of <f4 [0, 1]. */
static void test_tensor_bytes(const uint8_t *stream, size_t size)
{
    static const uint8_t expected[] = {
        0x85, 0xc4, 2,   'n', 'd', 0xc3, 0xc4, 4,    't', 'y', 'p', 'e', 0xa3, '<', 'f',  '4', 0xc4,
        4,    'k',  'i', 'n', 'd', 0xc4, 0,    0xc4, 5,   's', 'h', 'a', 'p',  'e', 0x92, 1,   2,
        0xc4, 4,    'd', 'a', 't', 'a',  0xc4, 8,    0,   0,   0,   0,   0,    0,   0x80, 0x3f};
    CHECK(memmem(stream, size, expected, sizeof expected) != NULL, "");
}

/* Every cut is an error, after the records that were whole. */
static void test_cuts(const uint8_t *stream, size_t size)
{
    for (size_t cut = 0; cut < size; cut++) {
        struct clip_error error;
        struct clip_record *record;
        int got, fd = pipe_with(stream, cut);
        struct clip_reader *reader = clip_reader_fd(fd, "pipe", 0, &error);
        while ((got = clip_reader_next(reader, &record, &error)) == 1)
            clip_record_free(record);
        CHECK(got == -1 && strncmp(error.text, "pipe: ", 6) == 0, "cut at %zu: %s", cut, error.text);
        clip_reader_free(reader);
        close(fd);
    }
}

/* Lent, the records are the same, whole or cut, and one that was changed leaves nothing in the next. */
static void test_lent(const uint8_t *stream, size_t size)
{
    for (size_t cut = 0; cut <= size; cut++) {
        struct clip_error error;
        struct clip_record *given, *lent;
        int got, fds[2] = {pipe_with(stream, cut), pipe_with(stream, cut)};
        struct clip_reader *gives = clip_reader_fd(fds[0], "pipe", 0, &error);
        struct clip_reader *lends = clip_reader_fd(fds[1], "pipe", 0, &error);
        clip_reader_lend(lends);
        while ((got = clip_reader_next(gives, &given, &error)) == 1) {
            CHECK(clip_reader_ready(lends) && clip_reader_next(lends, &lent, &error) == 1, "cut at %zu", cut);
            CHECK(lent->count == given->count && !lent->bad, "cut at %zu", cut);
            for (size_t i = 0; i < given->count; i++)
                CHECK(lent->fields[i].size == given->fields[i].size &&
                          memcmp(lent->fields[i].value, given->fields[i].value, given->fields[i].size) == 0,
                      "cut at %zu, field %zu", cut, i);
            CHECK(clip_record_put_string(lent, "new", "text", 4, &error) == 0, "");
            clip_record_fail(lent, "bad");
            clip_record_free(lent);
            clip_record_free(given);
        }
        CHECK(clip_reader_next(lends, &lent, &error) == got, "cut at %zu", cut);
        clip_reader_free(gives);
        clip_reader_free(lends);
        close(fds[0]);
        close(fds[1]);
    }
}

/* Heads are as short as msgpack-c's, and the same bytes. */
static void test_heads(void)
{
    static const uint32_t lengths[] = {0,   1,    15,    16,    31,       32,        255,
                                       256, 4096, 65535, 65536, 80 << 20, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int kind = 0; kind < 3; kind++) {
            static const enum clip_kind kinds[] = {CLIP_STR, CLIP_BIN, CLIP_MAP};
            char head[CLIP_HEAD];
            msgpack_sbuffer buffer;
            msgpack_packer packer;
            msgpack_sbuffer_init(&buffer);
            msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
            (kind == 0   ? msgpack_pack_str
             : kind == 1 ? msgpack_pack_bin
                         : msgpack_pack_map)(&packer, lengths[i]);
            size_t size = clip_head_write(head, kinds[kind], lengths[i]);
            CHECK(size == buffer.size && memcmp(head, buffer.data, size) == 0, "kind %d, length %u", kind,
                  lengths[i]);
            msgpack_sbuffer_destroy(&buffer);
        }
}

/* Lines of every kind of head; the first has nothing before it that its head could go over. */
static void test_lines(void)
{
    static const size_t sizes[] = {3, 0, 255, 256, 70000, 1, 0, 65535, 65536, 300000, 7};
    size_t total = 0, count = sizeof sizes / sizeof *sizes;
    for (size_t i = 0; i < count; i++)
        total += sizes[i] + 2;
    char *text = malloc(total), *at = text;
    for (size_t i = 0; i < count; i++) {
        memset(at, 'a' + (int)i, sizes[i]);
        memcpy(at + sizes[i], "\r\n", 2);
        at += sizes[i] + 2;
    }
    int fds[2];
    if (pipe(fds) != 0)
        abort();
    pid_t child = fork(); /* more than a pipe holds */
    if (child == 0)
        _exit(write(fds[1], text, total) != (ssize_t)total);
    close(fds[1]);
    struct clip_error error;
    struct clip_record *record;
    struct clip_reader *reader = clip_reader_fd(fds[0], "pipe", 0, &error);
    clip_reader_lines(reader, "txt");
    at = text;
    for (size_t i = 0; i < count; i++) {
        char number[8];
        const char *key = NULL, *line = NULL;
        size_t key_size = 0, size = 0;
        CHECK(clip_reader_next(reader, &record, &error) == 1 && record->count == 2, "line %zu", i);
        key = clip_record_key(record, &key_size);
        snprintf(number, sizeof number, "%zu", i + 1);
        CHECK(key && key_size == strlen(number) && memcmp(key, number, key_size) == 0, "line %zu", i);
        CHECK(clip_field_bytes(clip_record_find(record, "txt"), &line, &size) == 0, "line %zu", i);
        CHECK(size == sizes[i] && memcmp(line, at, size) == 0, "line %zu", i);
        CHECK(clip_record_put_string(record, "new", "text", 4, &error) == 0, "");
        at += sizes[i] + 2;
    }
    CHECK(clip_reader_next(reader, &record, &error) == 0, "");
    clip_reader_free(reader);
    waitpid(child, NULL, 0);
    close(fds[0]);
    free(text);
}

/* A head that the caller has, and elements that it writes, aligned. */
static void test_put_head(void)
{
    struct clip_error error;
    char head[CLIP_TENSOR_HEAD];
    int32_t values[] = {1, -2, 3};
    struct clip_tensor tensor = {CLIP_I32, 1, {3}, values}, got;
    struct clip_record *one = clip_record_new(), *other = clip_record_new();
    size_t size = clip_tensor_head(&tensor, head);
    for (int again = 0; again < 2; again++) { /* the second in place of the first */
        int32_t *to = clip_record_put_head(one, "tokens", head, size, sizeof values, &error);
        CHECK(to && (uintptr_t)to % 16 == 0, "");
        memcpy(to, values, sizeof values);
        CHECK(clip_record_tensor(one, "tokens", CLIP_I32, &got) == 0 && clip_tensor_value(&got, 1) == -2, "");
    }
    CHECK(clip_record_put_tensor(other, "tokens", &tensor, &error) == 0, "");
    CHECK(one->count == 1 && one->fields[0].size == other->fields[0].size &&
              memcmp(one->fields[0].value, other->fields[0].value, one->fields[0].size) == 0,
          "");
    clip_record_free(one);
    clip_record_free(other);
}

/* One bad input, and a word of the message it must give. */
static void refuse(const char *what, const void *data, size_t size, const char *word)
{
    struct clip_error error = {""};
    struct clip_record *record;
    int fd = pipe_with(data, size);
    struct clip_reader *reader = clip_reader_fd(fd, "pipe", 1 << 20, &error);
    int got;
    while ((got = clip_reader_next(reader, &record, &error)) == 1)
        clip_record_free(record);
    CHECK(got == -1 && strstr(error.text, word), "%s: %s", what, error.text);
    clip_reader_free(reader);
    close(fd);
}

static void test_hostile(void)
{
    static uint8_t deep[60000];
    memset(deep, 0x91, sizeof deep);
    deep[0] = 0x81, deep[1] = 0xa1, deep[2] = 'k';
    refuse("nesting", deep, sizeof deep, "nested");
    refuse("a map of 2^32-1", "\xdf\xff\xff\xff\xff", 5, "claims 4294967295 entries");
    refuse("an array of 2^32-1", "\x81\xa1k\xdd\xff\xff\xff\xff", 8, "limit");
    refuse("bin of 4 GB", "\x81\xa1k\xc6\xff\xff\xff\xff", 8, "limit");
    refuse("no map", "\x01", 1, "not a stream");
    refuse("no map after one", "\x80\x01", 2, "not a map");
    refuse("like a map, as PNG is", "\x81\x01\x01", 3, "not a stream");
    refuse("key is no string", "\x80\x81\x01\x01", 4, "not a string");
    refuse("an empty key twice", "\x82\xa0\x01\xa0\x02", 5, "twice");
    refuse("an empty key, once", "\x82\xa0\x01\xa1k\x02", 6, "no end object");
    refuse("key twice", "\x82\xa1k\x01\xa1k\x02", 7, "twice");
    refuse("__key__ is no string", "\x81\xa7__key__\x01", 10, "not a string");
    refuse("0xc1", "\x81\xa1k\xc1", 4, "0xc1");
    refuse("wrong count", "\x81\xa7__end__\x01", 10, "counts 1 records, but 0 came");
    refuse("malformed end", "\x81\xa7__end__\xff", 10, "counts -1");
    refuse("empty", "", 0, "empty: no end object");
}

/* Tensors that lie about themselves, each made from a right one by changing one byte. */
static void test_bad_tensors(void)
{
    struct clip_record *record = sample_record();
    const struct clip_field *field = clip_record_find(record, "x");
    uint8_t copy[64];
    int refused = 0, total = 0;
    for (size_t i = 0; i < field->size; i++)
        for (int value = 0; value < 256; value++) {
            struct clip_tensor tensor;
            struct clip_error error;
            memcpy(copy, field->value, field->size);
            copy[i] = (uint8_t)value;
            struct clip_field bad = {"x", 1, copy, field->size, NULL};
            total++;
            if (clip_field_tensor(&bad, &tensor, &error) != 0)
                refused++;
            else
                CHECK((const uint8_t *)tensor.data + clip_tensor_bytes(&tensor) == copy + field->size, "");
        }
    /* Only data bytes, other types of four bytes, and spellings of the same number may pass. */
    CHECK(refused > total * 3 / 4, "%d of %d", refused, total);
    struct clip_tensor half = {CLIP_F16, 1, {4}, "\x00\x3c\x00\xc0\x01\x00\x00\x7c"};
    CHECK(clip_tensor_value(&half, 0) == 1 && clip_tensor_value(&half, 1) == -2, "");
    CHECK(clip_tensor_value(&half, 2) == ldexp(1, -24) && isinf(clip_tensor_value(&half, 3)), "");
    clip_record_free(record);
}

/* What we write, msgpack-c reads. */
static void test_other_reader(const uint8_t *stream, size_t size)
{
    msgpack_unpacked result;
    size_t offset = 0, maps = 0;
    msgpack_unpacked_init(&result);
    while (msgpack_unpack_next(&result, (const char *)stream, size, &offset) == MSGPACK_UNPACK_SUCCESS)
        maps += result.data.type == MSGPACK_OBJECT_MAP;
    msgpack_unpacked_destroy(&result);
    CHECK(maps == 4 && offset == size, "%zu maps, %zu of %zu bytes", maps, offset, size);
}

/* A record whose bytes come one at a time is ready only when it is whole; an end object makes nothing ready.
 */
static void test_trickle(const uint8_t *stream, size_t size)
{
    struct clip_error error;
    struct clip_record *record;
    int fds[2];
    size_t records = 0;
    if (pipe(fds) != 0)
        abort();
    struct clip_reader *reader = clip_reader_fd(fds[0], "pipe", 0, &error);
    for (size_t i = 0; i < size; i++) {
        CHECK(clip_reader_ready(reader) == 0, "before byte %zu", i);
        if (write(fds[1], stream + i, 1) != 1)
            abort();
        if (clip_reader_ready(reader)) {
            CHECK(clip_reader_next(reader, &record, &error) == 1, "");
            clip_record_free(record);
            records++;
        }
    }
    CHECK(records == 3, "%zu", records);
    close(fds[1]);
    CHECK(clip_reader_ready(reader) == 1 && clip_reader_next(reader, &record, &error) == 0, "");
    clip_reader_free(reader);
    close(fds[0]);
}

/* Values of every size go out in order, whether they pass through the writer's buffer or not. */
static void test_sizes(void)
{
    static uint8_t data[200000];
    struct clip_error error;
    struct clip_record *record = clip_record_new(), *back;
    FILE *file = tmpfile();
    struct clip_writer *writer = clip_writer_new(fileno(file), "file", &error);
    size_t n = 0;
    for (size_t size = 1; size < sizeof data; size = size * 3 / 2 + 1, n++) {
        memset(data, (int)n, size);
        CHECK(clip_record_put_string(record, "__key__", "k", 1, &error) == 0, "");
        CHECK(clip_record_put_bytes(record, "x", data, size, &error) == 0, "");
        CHECK(clip_writer_record(writer, record, &error) == 0, "");
    }
    CHECK(clip_writer_end(writer, &error) == 0, "");
    clip_writer_free(writer);
    clip_record_free(record);
    rewind(file);
    struct clip_reader *reader = clip_reader_fd(fileno(file), "file", 0, &error);
    n = 0;
    for (size_t size = 1; size < sizeof data; size = size * 3 / 2 + 1, n++) {
        const char *bytes;
        size_t length;
        int got = clip_reader_next(reader, &back, &error);
        CHECK(got == 1, "%zu bytes: %s", size, got < 0 ? error.text : "the end");
        if (got != 1)
            break;
        CHECK(clip_field_bytes(clip_record_find(back, "x"), &bytes, &length) == 0 && length == size, "");
        CHECK((uint8_t)bytes[0] == n && (uint8_t)bytes[size - 1] == n, "");
        clip_record_free(back);
    }
    clip_reader_free(reader);
    fclose(file);
}

int main(void)
{
    test_sizes();
    uint8_t stream[4096];
    size_t size = written(stream, sizeof stream);
    test_round_trip(stream, size);
    test_tensor_bytes(stream, size);
    test_cuts(stream, size);
    test_lent(stream, size);
    test_heads();
    test_lines();
    test_put_head();
    test_hostile();
    test_bad_tensors();
    test_other_reader(stream, size);
    test_trickle(stream, size);
    return check_end();
}
