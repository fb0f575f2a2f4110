/* The stream of clip-stream(5)'s example, made by the library: its bytes, or with -x the dump of the page. */
#include "base/cli.h"
#include "stream/msgpack.h"
#include "stream/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES_A_LINE 14

static size_t write_example(uint8_t *out, size_t room)
{
    static const int32_t tokens[] = {49406, 320, 2368, 49407};
    struct clip_tensor tensor = {CLIP_I32, 1, {4}, tokens};
    struct clip_error error;
    int fds[2];
    if (pipe(fds) != 0)
        return 0;
    struct clip_record *record = clip_record_new();
    struct clip_writer *writer = clip_writer_new(fds[1], "pipe", &error);
    int failed = clip_record_put_string(record, "__key__", "cat/7", 5, &error) ||
                 clip_record_put_bytes(record, "txt", "a cat", 5, &error) ||
                 clip_record_put_tensor(record, "tokens", &tensor, &error) ||
                 clip_writer_record(writer, record, &error) || clip_writer_end(writer, &error);
    ssize_t n = failed ? 0 : read(fds[0], out, room);
    clip_record_free(record);
    clip_writer_free(writer);
    return n > 0 ? (size_t)n : 0;
}

static const char *meaning(const struct clip_head *head, const uint8_t *content, char *out, size_t size)
{
    int text = 1;
    for (size_t i = 0; i < head->length; i++)
        text = text && content[i] >= ' ' && content[i] < 127;
    switch (head->kind) {
    case CLIP_MAP:
        snprintf(out, size, "map of %d", (int)head->length);
        break;
    case CLIP_ARRAY:
        snprintf(out, size, "array of %d", (int)head->length);
        break;
    case CLIP_BOOLEAN:
        snprintf(out, size, "%s", head->integer ? "true" : "false");
        break;
    case CLIP_INTEGER:
        snprintf(out, size, "%d", (int)head->integer);
        break;
    default:
        if (!text)
            snprintf(out, size, "bin, %d bytes in C order", (int)head->length);
        else
            snprintf(out, size, "%s \"%.*s\"", head->kind == CLIP_STR ? "str" : "bin", (int)head->length,
                     (const char *)content);
    }
    return out;
}

static void print_line(const uint8_t *p, size_t size, int depth, const char *text)
{
    for (size_t i = 0; i < size; i += BYTES_A_LINE) {
        int column = 0;
        for (size_t k = i; k < size && k < i + BYTES_A_LINE; k++)
            column += printf(k > i ? " %02x" : "%02x", p[k]);
        if (i == 0)
            printf("%*s%s", 3 * BYTES_A_LINE - column + 2 * depth, "", text);
        putchar('\n');
    }
}

static void print_dump(const uint8_t *p, size_t size)
{
    size_t left[CLIP_MAX_NESTING + 1] = {size};
    int depth = 0;
    for (size_t at = 0; at < size;) {
        struct clip_head head;
        char text[80];
        while (left[depth] == 0)
            depth--;
        if (clip_head_read(&head, p + at, size - at) != 1)
            exit(1);
        int container = head.kind == CLIP_MAP || head.kind == CLIP_ARRAY;
        size_t length = head.head + (container ? 0 : head.length);
        print_line(p + at, length, depth, meaning(&head, p + at + head.head, text, sizeof text));
        left[depth]--;
        at += length;
        if (container)
            left[++depth] = head.kind == CLIP_MAP ? 2 * head.length : head.length;
    }
}

int main(int argc, char **argv)
{
    uint8_t stream[4096];
    size_t size = write_example(stream, sizeof stream);
    if (size == 0)
        return 1;
    if (argc > 1 && strcmp(argv[1], "-x") == 0)
        print_dump(stream, size);
    else
        fwrite(stream, 1, size, stdout);
    return clip_finish(0);
}
