#include "stream/entries.h"

#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_more(struct clip_entries *entries, struct clip_error *error)
{
    memmove(entries->buffer, entries->buffer + entries->begin, entries->end - entries->begin);
    entries->end -= entries->begin;
    entries->begin = 0;
    if (entries->end > CLIP_MAX_ENTRY)
        return clip_fail(error, "entry %llu is longer than %zu bytes%s",
                         (unsigned long long)entries->number + 1, CLIP_MAX_ENTRY,
                         entries->separator ? "" : " (is the list separated by newlines?)");
    if (entries->tied && clip_writer_flush(entries->tied, error) != 0)
        return -1;
    double start = clip_seconds();
    ssize_t n;
    do /* a byte stays free for the end of the last entry */
        n = read(entries->fd, entries->buffer + entries->end, sizeof entries->buffer - 1 - entries->end);
    while (n < 0 && errno == EINTR);
    entries->waited += clip_seconds() - start;
    if (n < 0)
        return clip_fail_errno(error, "standard input");
    entries->ended = n == 0;
    entries->end += (size_t)n;
    return 0;
}

double clip_entries_share(const struct clip_entries *entries)
{
    struct stat about;
    off_t at = lseek(entries->fd, 0, SEEK_CUR);
    if (at < 0 || fstat(entries->fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size <= 0)
        return 0;
    double share = (double)(at - (off_t)(entries->end - entries->begin)) / (double)about.st_size;
    return share < 1 ? share : 1;
}

int clip_entries_next(struct clip_entries *entries, char **entry, struct clip_error *error)
{
    size_t size;
    do {
        char *end = NULL;
        for (;;) {
            size = entries->end - entries->begin;
            end = memchr(entries->buffer + entries->begin, entries->separator, size);
            if (end || entries->ended)
                break;
            if (read_more(entries, error) != 0)
                return -1;
        }
        if (!end && size == 0)
            return 0;
        *entry = entries->buffer + entries->begin;
        if (end)
            size = (size_t)(end - *entry);
        (*entry)[size] = '\0';
        entries->begin += size + (end != NULL);
        entries->number++;
    } while (size == 0);
    if (memchr(*entry, '\0', size))
        return clip_fail(error, "entry %llu has a NUL byte (is the list separated by them? -0)",
                         (unsigned long long)entries->number);
    return 1;
}
