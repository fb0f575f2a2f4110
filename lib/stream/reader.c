#include "stream/reader.h"
#include "base/array.h"
#include "base/encoding.h"
#include "base/file.h"
#include "stream/msgpack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE ((size_t)65536)

enum progress { FAILED = -1, ENDED, PENDING, WOULD_WAIT };

struct clip_reader {
    char *const *paths;
    size_t paths_count, next_path;
    int fd; /* -1 between inputs */
    int owned;
    const char *source;
    size_t max_record;
    struct clip_writer *tied;
    const char *lines; /* the inputs are text, and their lines become this field */
    char key[24];      /* of a line, packed */
    struct clip_decoder decoder;
    uint8_t raw[READ_SIZE]; /* for text that may not be UTF-8: raw[raw_size] is not yet decoded */
    size_t raw_size;
    int damaged; /* the text after the buffer cannot be decoded: see `error` */

    uint8_t *buffer; /* buffer[begin..end) is read but not yet returned */
    size_t begin, end, room;
    uint64_t offset;         /* offset of `begin` in the input */
    struct clip_skim skim;   /* how far the object at `begin` is parsed */
    struct clip_marks marks; /* of its fields */
    int whole;               /* the object is complete, skim.at bytes */
    int eof;                 /* the input has no more bytes */
    int failed;              /* the bytes at `begin` are not an object, or cannot be read: see `error` */
    struct clip_error error;

    struct clip_record *pending; /* read ahead by clip_reader_ready */
    struct clip_record *lent;    /* each record in turn, if the reader lends; or NULL */
    int lends;
    enum progress progress;
    int known; /* `progress` is final: FAILED (as `outcome` says) or ENDED */
    struct clip_error outcome;

    int begun;             /* an object of this input was returned */
    int ended;             /* the last object was an end object */
    uint64_t stream_count; /* records since the last end object */
    uint64_t count;
    double waited;
};

static char *const standard_input[] = {"-"};

struct clip_reader *clip_reader_new(char *const *paths, size_t n, size_t max_record, struct clip_error *error)
{
    struct clip_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        clip_fail_memory(error, "a reader");
        return NULL;
    }
    reader->paths = n ? paths : standard_input;
    reader->paths_count = n ? n : 1;
    reader->max_record = max_record ? max_record : CLIP_MAX_RECORD;
    reader->fd = -1;
    reader->source = "standard input";
    return reader;
}

struct clip_reader *clip_reader_fd(int fd, const char *name, size_t max_record, struct clip_error *error)
{
    struct clip_reader *reader = clip_reader_new(NULL, 0, max_record, error);
    if (reader) {
        reader->next_path = reader->paths_count = 0;
        reader->fd = fd;
        reader->source = name;
    }
    return reader;
}

void clip_reader_free(struct clip_reader *reader)
{
    if (!reader)
        return;
    if (reader->owned)
        close(reader->fd);
    clip_record_free(reader->pending);
    if (reader->lent) {
        reader->lent->bytes = NULL;
        reader->lent->lent = 0;
    }
    clip_record_free(reader->lent);
    clip_marks_free(&reader->marks);
    free(reader->buffer);
    free(reader);
}

void clip_reader_tie(struct clip_reader *reader, struct clip_writer *writer)
{
    reader->tied = writer;
}

void clip_reader_lines(struct clip_reader *reader, const char *field)
{
    reader->lines = field;
    reader->lends = 1;
}

void clip_reader_lend(struct clip_reader *reader)
{
    reader->lends = 1;
}

/* Checks whether the line at `begin` is complete, with its newline. */
static void find_line(struct clip_reader *reader)
{
    const uint8_t *p = reader->buffer + reader->begin;
    size_t available = reader->end - reader->begin;
    const uint8_t *newline = memchr(p + reader->skim.at, '\n', available - reader->skim.at);
    reader->whole = newline != NULL;
    reader->skim.at = newline ? (size_t)(newline - p) + 1 : available;
    if (reader->skim.at > reader->max_record) {
        clip_fail(&reader->error, "a line of more than %zu bytes (see --max-record)", reader->max_record);
        reader->failed = 1;
    }
}

/* Files other than streams, also those that begin like a map (PNG), are recognised by their first bytes: a
 * stream begins with a map, and the map with a name. */
static int is_other_file(const uint8_t *p, size_t available)
{
    struct clip_head map, name;
    if (clip_head_read(&map, p, available) != 1)
        return 0;
    if (map.kind != CLIP_MAP)
        return 1;
    return map.length > 0 && clip_head_read(&name, p + map.head, available - map.head) == 1 &&
           name.kind != CLIP_STR;
}

/* Puts the position in front of the message: byte `at` of the object at `begin`. */
static int fail_at(const struct clip_reader *reader, size_t at, struct clip_error *error)
{
    return clip_fail_prefix(error, "at byte %llu, after %llu records",
                            (unsigned long long)(reader->offset + at), (unsigned long long)reader->count);
}

/* Checks how far the object at `begin` reaches; sets `whole`, or fails. */
static void parse_object(struct clip_reader *reader)
{
    if (reader->lines) {
        find_line(reader);
        return;
    }
    struct clip_head head;
    const uint8_t *p = reader->buffer + reader->begin;
    size_t available = reader->end - reader->begin;
    if (!reader->begun && is_other_file(p, available)) {
        clip_fail(&reader->error, "not a stream (clip-untar reads tar archives, clip-tokenize --lines text)");
        reader->failed = 1;
        return;
    }
    if (reader->skim.at == 0 && clip_head_read(&head, p, available) == 1 && head.kind == CLIP_MAP &&
        head.length > CLIP_MAX_FIELDS) {
        clip_fail(&reader->error, "a map that claims %llu entries (at most %d)",
                  (unsigned long long)head.length, CLIP_MAX_FIELDS);
        fail_at(reader, 0, &reader->error);
        reader->failed = 1;
        return;
    }
    int state =
        clip_skim_run(&reader->skim, p, available, reader->max_record, &reader->marks, &reader->error);
    reader->whole = state == 1;
    reader->failed = state < 0;
    if (state < 0)
        fail_at(reader, reader->skim.at, &reader->error);
}

static int make_room(struct clip_reader *reader)
{
    size_t front = reader->lines ? CLIP_HEAD : 0; /* for the head of the first line */
    if (!reader->buffer) {
        reader->begin = reader->end = front;
    } else if (reader->begin > front) {
        memmove(reader->buffer + front, reader->buffer + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin - front;
        reader->begin = front;
    }
    if (reader->room >= reader->end + READ_SIZE)
        return 0;
    size_t room = reader->room ? reader->room + reader->room / 2 + READ_SIZE : 4 * READ_SIZE;
    uint8_t *buffer = realloc(reader->buffer, room);
    if (!buffer) {
        reader->failed = 1;
        return clip_fail_memory(&reader->error, "a record");
    }
    reader->buffer = buffer;
    reader->room = room;
    return 0;
}

/* Reads up to `size` bytes, waiting if none are available; sets eof, or failed. */
static size_t read_some(struct clip_reader *reader, uint8_t *to, size_t size)
{
    double start = clip_seconds();
    ssize_t n;
    do
        n = read(reader->fd, to, size);
    while (n < 0 && errno == EINTR);
    reader->waited += clip_seconds() - start;
    reader->eof = n == 0;
    if (n >= 0)
        return (size_t)n;
    clip_fail(&reader->error, "%s", strerror(errno));
    reader->failed = 1;
    return 0;
}

/* Reads text that may be in another encoding. */
static size_t read_text(struct clip_reader *reader)
{
    size_t used, decoded, half = sizeof reader->raw / 2 - 8; /* decoded, it fits into READ_SIZE */
    reader->raw_size += read_some(reader, reader->raw + reader->raw_size, half - reader->raw_size);
    if (reader->failed)
        return 0;
    reader->damaged = clip_decoder_run(&reader->decoder, reader->raw, reader->raw_size, reader->eof, &used,
                                       reader->buffer + reader->end, &decoded, &reader->error) != 0;
    reader->raw_size -= used;
    memmove(reader->raw, reader->raw + used, reader->raw_size);
    return decoded;
}

/* Reads the bytes that are available, waiting if there are none. */
static void fill_buffer(struct clip_reader *reader)
{
    if (make_room(reader) != 0)
        return;
    size_t n = reader->lines && reader->decoder.kind != CLIP_TEXT_BYTES
                   ? read_text(reader)
                   : read_some(reader, reader->buffer + reader->end, reader->room - reader->end);
    reader->end += n;
    if (n > 0)
        parse_object(reader);
}

/* The count in the end object at the end of a file; 0 where there is none. */
static uint64_t count_in_file(int fd)
{
    uint8_t tail[18]; /* a map of one, "__end__", and an integer of at most nine bytes */
    struct stat about;
    struct clip_head head;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return 0;
    size_t size = about.st_size < (off_t)sizeof tail ? (size_t)about.st_size : sizeof tail;
    if (pread(fd, tail, size, about.st_size - (off_t)size) != (ssize_t)size)
        return 0;
    for (size_t at = 0; at + 9 < size; at++)
        if (memcmp(tail + at, "\x81\xa7__end__", 9) == 0 &&
            clip_head_read(&head, tail + at + 9, size - at - 9) == 1 && head.kind == CLIP_INTEGER &&
            head.head == size - at - 9 && head.integer > 0)
            return (uint64_t)head.integer;
    return 0;
}

uint64_t clip_reader_total(const struct clip_reader *reader)
{
    uint64_t total = 0;
    for (size_t i = 0; i < reader->paths_count; i++) {
        int standard = strcmp(reader->paths[i], "-") == 0;
        int fd = standard ? STDIN_FILENO : open(reader->paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        uint64_t count = fd >= 0 ? count_in_file(fd) : 0;
        if (!standard && fd >= 0)
            close(fd);
        if (count == 0)
            return 0;
        total += count;
    }
    return total;
}

static int input_waits(const struct clip_reader *reader)
{
    struct pollfd poll_fd = {.fd = reader->fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 0;
}

/* Opens the next input. Returns 1; 0 when there is none; -1 with error. */
static int open_next(struct clip_reader *reader, struct clip_error *error)
{
    if (reader->next_path == reader->paths_count)
        return 0;
    const char *path = reader->paths[reader->next_path++];
    int standard = strcmp(path, "-") == 0;
    reader->source = standard ? "standard input" : path;
    int fd = standard ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return clip_fail_errno(error, "%s", path);
    reader->fd = fd;
    reader->owned = !standard;
    reader->eof = reader->begun = reader->ended = 0;
    reader->offset = reader->raw_size = 0;
    reader->decoder = (struct clip_decoder){0};
    return 1;
}

static int close_input(struct clip_reader *reader, struct clip_error *error)
{
    if (reader->lines)
        reader->ended = 1;
    if (reader->begin < reader->end)
        return clip_fail(error, "%s: cut short inside an object that begins at byte %llu, after %llu records",
                         reader->source, (unsigned long long)reader->offset,
                         (unsigned long long)reader->count);
    if (!reader->ended)
        return clip_fail(error, "%s: %s", reader->source,
                         reader->count ? "cut short: no end object" : "empty: no end object");
    if (reader->owned)
        close(reader->fd);
    reader->fd = -1;
    reader->owned = 0;
    return 0;
}

/* Takes the complete object at `begin` out of the buffer; a large object takes the buffer with it. */
static uint8_t *take_object(struct clip_reader *reader, size_t size)
{
    size_t rest = reader->end - reader->begin - size;
    uint8_t *bytes;
    if (reader->begin == 0 && size > READ_SIZE && rest <= READ_SIZE) {
        uint8_t *buffer = malloc(4 * READ_SIZE);
        if (!buffer)
            return NULL;
        memcpy(buffer, reader->buffer + size, rest);
        bytes = reader->buffer;
        reader->buffer = buffer;
        reader->room = 4 * READ_SIZE;
        reader->end = rest;
    } else {
        bytes = malloc(size);
        if (!bytes)
            return NULL;
        memcpy(bytes, reader->buffer + reader->begin, size);
        reader->begin += size;
    }
    return bytes;
}

/* An empty record for the object, which is to be lent or given. */
static struct clip_record *empty_record(struct clip_reader *reader)
{
    if (!reader->lends)
        return clip_record_new();
    if (!reader->lent && (reader->lent = clip_record_new()))
        reader->lent->lent = 1;
    return reader->lent;
}

/* The complete object at `begin`, and goes on to the next; lent, it stays in the buffer. */
static uint8_t *pass_object(struct clip_reader *reader, size_t size)
{
    uint8_t *bytes = reader->buffer + reader->begin;
    if (reader->lends)
        reader->begin += size;
    else
        bytes = take_object(reader, size);
    reader->offset += size;
    reader->whole = 0;
    reader->begun = 1;
    return bytes;
}

/* Looks at the object after the one that was taken. */
static void parse_next(struct clip_reader *reader)
{
    reader->skim.at = 0;
    reader->skim.depth = 0;
    reader->marks.count = 0;
    if (reader->begin < reader->end)
        parse_object(reader);
}

/* An end object is {"__end__": N} and nothing else. Returns 1, 0 where `record` is something else, -1 with
 * error. */
static int check_end(struct clip_reader *reader, const struct clip_record *record, struct clip_error *error)
{
    const struct clip_field *end = clip_record_find(record, "__end__");
    int64_t claimed;
    if (!end)
        return 0;
    if (record->count != 1 || clip_field_integer(end, &claimed) != 0)
        return clip_fail(error, "%s: malformed end object", reader->source);
    if (claimed < 0 || (uint64_t)claimed != reader->stream_count)
        return clip_fail(error, "%s: the end object counts %lld records, but %llu came", reader->source,
                         (long long)claimed, (unsigned long long)reader->stream_count);
    reader->stream_count = 0;
    return 1;
}

/* Makes a record of the line bytes[size], newline included. It stays in the buffer, and its head goes over
 * what was read before it. */
static int set_line(struct clip_reader *reader, struct clip_record *record, uint8_t *bytes, size_t size,
                    struct clip_error *error)
{
    char head[CLIP_HEAD], *first = reader->key + sizeof reader->key;
    for (uint64_t left = reader->count + 1; left > 0; left /= 10)
        *--first = (char)('0' + left % 10);
    size_t digits = (size_t)(reader->key + sizeof reader->key - first);
    first -= 1;
    clip_head_write(first, CLIP_STR, (uint32_t)digits);
    size -= size > 0 && bytes[size - 1] == '\n';
    size -= size > 0 && bytes[size - 1] == '\r';
    size_t head_size = clip_head_write(head, CLIP_BIN, (uint32_t)size);
    memcpy(bytes - head_size, head, head_size);
    const struct clip_field fields[] = {
        {.name = "__key__", .name_size = 7, .value = (const uint8_t *)first, .size = 1 + digits},
        {.name = reader->lines,
         .name_size = strlen(reader->lines),
         .value = bytes - head_size,
         .size = head_size + size}};
    return clip_record_set_fields(record, fields, CLIP_COUNT_OF(fields), error);
}

/* Makes a record of the complete object at `begin`: sets `pending`, except after an end object. */
static int take_record(struct clip_reader *reader, struct clip_error *error)
{
    size_t size = reader->skim.at;
    uint64_t offset = reader->offset;
    struct clip_record *record = empty_record(reader);
    uint8_t *bytes = record ? pass_object(reader, size) : NULL;
    if (!bytes) {
        clip_record_free(record);
        return clip_fail_memory(error, "a record");
    }
    int status = reader->lines ? set_line(reader, record, bytes, size, error)
                               : clip_record_set_marked(record, bytes, size, reader->marks.offsets,
                                                        reader->marks.count, error);
    parse_next(reader);
    if (status != 0)
        clip_fail_prefix(error, "%s: at byte %llu, after %llu records", reader->source,
                         (unsigned long long)offset, (unsigned long long)reader->count);
    else if (!reader->lines)
        status = check_end(reader, record, error);
    reader->ended = status == 1;
    if (status != 0) {
        clip_record_free(record);
        return status < 0 ? -1 : 0;
    }
    record->source = reader->source;
    if (clip_record_find(record, "__key__")) {
        reader->stream_count++;
        reader->count++;
    }
    reader->pending = record;
    return 0;
}

/* Continues until a record is pending or every input has ended; stops before it has to wait, unless
 * `wait`. */
static enum progress advance(struct clip_reader *reader, int wait, struct clip_error *error)
{
    while (!reader->pending) {
        if (reader->fd < 0) {
            int opened = open_next(reader, error);
            if (opened <= 0)
                return (enum progress)opened;
        }
        if (reader->failed) {
            clip_fail(error, "%s: %s", reader->source, reader->error.text);
            return FAILED;
        }
        if (reader->whole) {
            if (take_record(reader, error) != 0)
                return FAILED;
        } else if (reader->damaged) {
            reader->failed = 1;
        } else if (reader->eof && reader->lines && reader->begin < reader->end) {
            reader->whole = 1; /* a last line without a newline */
            reader->skim.at = reader->end - reader->begin;
        } else if (reader->eof) {
            if (close_input(reader, error) != 0)
                return FAILED;
        } else {
            if (input_waits(reader)) {
                if (!wait)
                    return WOULD_WAIT;
                if (reader->tied && clip_writer_flush(reader->tied, error) != 0)
                    return FAILED;
            }
            fill_buffer(reader);
        }
    }
    return PENDING;
}

int clip_reader_next(struct clip_reader *reader, struct clip_record **record, struct clip_error *error)
{
    if (!reader->known) {
        reader->progress = advance(reader, 1, &reader->outcome);
        reader->known = reader->progress != PENDING;
    }
    if (reader->progress == FAILED)
        *error = reader->outcome;
    *record = reader->pending;
    reader->pending = NULL;
    return (int)reader->progress;
}

int clip_reader_ready(struct clip_reader *reader)
{
    if (!reader->known) {
        reader->progress = advance(reader, 0, &reader->outcome);
        reader->known = reader->progress == FAILED || reader->progress == ENDED; /* both outcomes are final */
    }
    return reader->progress != WOULD_WAIT;
}

const char *clip_reader_source(const struct clip_reader *reader)
{
    return reader->source;
}

uint64_t clip_reader_count(const struct clip_reader *reader)
{
    return reader->count;
}

double clip_reader_waited(const struct clip_reader *reader)
{
    return reader->waited;
}
