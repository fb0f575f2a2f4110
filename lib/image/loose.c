#include "image/loose.h"

#include "base/file.h"
#include "image/picture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int clip_loose_open(struct clip_loose *loose, const char *path, struct clip_error *error)
{
    struct stat about;
    loose->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (loose->fd < 0)
        return clip_fail(error, "%m");
    loose->open = 1;
    if (fstat(loose->fd, &about) != 0) {
        clip_fail(error, "%m");
        clip_loose_close(loose);
        return -1;
    }
    loose->file_size = S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0;
    loose->time = clip_file_time(&about);
    return 0;
}

void clip_loose_close(struct clip_loose *loose)
{
    if (loose->open)
        close(loose->fd);
    loose->open = 0;
}

void clip_loose_free(struct clip_loose *loose)
{
    clip_loose_close(loose);
    free(loose->data);
    *loose = (struct clip_loose){0};
}

static int fail_large(size_t max, struct clip_error *error)
{
    return clip_fail(error, "larger than %zu bytes (see --max-record)", max);
}

/* Room for what the file is said to hold, and a byte more in which its end is seen. */
static int make_room(struct clip_loose *loose, size_t max, struct clip_error *error)
{
    size_t room = loose->file_size < max ? (size_t)loose->file_size + 1 : max + 1;
    if (room <= loose->size)
        room = loose->size < max / 2 ? 2 * loose->size + 4096 : max + 1;
    if (room <= loose->room)
        return 0;
    uint8_t *data = realloc(loose->data, room);
    if (!data)
        return clip_fail_memory(error, "a picture");
    loose->data = data;
    loose->room = room;
    return 0;
}

/* Reads up to `limit` bytes in all. */
static int read_up_to(struct clip_loose *loose, size_t limit, struct clip_error *error)
{
    ssize_t n = 1;
    while (n > 0 && loose->size < limit) {
        do
            n = read(loose->fd, loose->data + loose->size, limit - loose->size);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return clip_fail(error, "%m");
        loose->size += (size_t)n;
    }
    return n == 0;
}

static int read_all(struct clip_loose *loose, size_t max, struct clip_error *error)
{
    int ended = 0;
    size_t head = CLIP_PICTURE_HEAD < max ? CLIP_PICTURE_HEAD : max;
    loose->size = 0;
    if (loose->room < head) {
        free(loose->data);
        loose->room = 0;
        if (!(loose->data = malloc(head)))
            return clip_fail_memory(error, "a picture");
        loose->room = head;
    }
    if ((ended = read_up_to(loose, head, error)) < 0)
        return -1;
    if (!(loose->extension = clip_picture_extension(loose->data, loose->size, error)))
        return 0;
    if (loose->file_size > max)
        return fail_large(max, error);
    while (!ended) {
        if (loose->size > max)
            return fail_large(max, error);
        if (make_room(loose, max, error) != 0 ||
            (ended = read_up_to(loose, loose->room < max + 1 ? loose->room : max + 1, error)) < 0)
            return -1;
    }
    return loose->size > max ? fail_large(max, error) : 1;
}

int clip_loose_read(struct clip_loose *loose, size_t max, struct clip_error *error)
{
    int status = read_all(loose, max, error);
    clip_loose_close(loose);
    return status;
}
