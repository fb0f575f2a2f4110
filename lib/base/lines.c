#include "base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for the next decoded bytes and a zero. */
static int make_room(struct clip_lines *lines, struct clip_error *error)
{
    if (lines->begin > 0) {
        memmove(lines->text, lines->text + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    size_t need = lines->end + CLIP_DECODED_ROOM(sizeof lines->raw) + 1;
    if (need <= lines->room)
        return 0;
    char *text = realloc(lines->text, need + need / 2);
    if (!text)
        return clip_fail_memory(error, "a line");
    lines->text = text;
    lines->room = need + need / 2;
    return 0;
}

static int read_more(struct clip_lines *lines, struct clip_error *error)
{
    size_t used, decoded;
    if (make_room(lines, error) != 0)
        return -1;
    errno = 0;
    lines->raw_size +=
        fread(lines->raw + lines->raw_size, 1, sizeof lines->raw - lines->raw_size, lines->file);
    if (ferror(lines->file))
        return clip_fail(error, "%s", errno ? strerror(errno) : "cannot be read");
    lines->ended = feof(lines->file) != 0;
    int status = clip_decoder_run(&lines->decoder, lines->raw, lines->raw_size, lines->ended, &used,
                                  (uint8_t *)lines->text + lines->end, &decoded, error);
    lines->end += decoded;
    lines->raw_size -= used;
    memmove(lines->raw, lines->raw + used, lines->raw_size);
    return status;
}

int clip_lines_next(struct clip_lines *lines, char **line, size_t *size, struct clip_error *error)
{
    char *newline = NULL;
    for (size_t seen = 0;;) {
        size_t rest = lines->end - lines->begin;
        if (rest > seen)
            newline = memchr(lines->text + lines->begin + seen, '\n', rest - seen);
        if (newline || lines->ended)
            break;
        seen = rest;
        if (read_more(lines, error) != 0)
            return -1;
    }
    if (!newline && lines->begin == lines->end)
        return 0;
    *line = lines->text + lines->begin;
    *size = newline ? (size_t)(newline - *line) : lines->end - lines->begin;
    lines->begin += *size + (newline != NULL);
    lines->number++;
    if (newline && *size > 0 && (*line)[*size - 1] == '\r')
        (*size)--;
    (*line)[*size] = '\0'; /* the last line has room for it, too */
    return 1;
}

void clip_lines_free(struct clip_lines *lines)
{
    free(lines->text);
    lines->text = NULL;
    lines->begin = lines->end = lines->room = 0;
}
