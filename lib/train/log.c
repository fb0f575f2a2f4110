#include "train/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* Sets *end to the offset after the last line of a step up to `done`. */
static int find_end(FILE *log, const char *path, uint64_t done, off_t *end, struct clip_error *error)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    uint64_t step = 0;
    int status = 0;
    *end = 0;
    for (size_t number = 1; (size = getline(&line, &room, log)) > 0 && line[size - 1] == '\n'; number++) {
        if (sscanf(line, "{\"step\":%" SCNu64 ",", &step) != 1) {
            status = clip_fail(error, "%s: line %zu is not a line of a training log", path, number);
            break;
        }
        if (step > done)
            break;
        *end += size;
    }
    if (status == 0 && ferror(log))
        status = clip_fail_errno(error, "%s", path);
    free(line);
    return status;
}

FILE *clip_log_open(const char *path, uint64_t done, struct clip_error *error)
{
    off_t end;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    FILE *log = fd >= 0 ? fdopen(fd, "r+") : NULL;
    if (!log) {
        clip_fail_errno(error, "%s", path);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    int status = find_end(log, path, done, &end, error);
    if (status == 0 && (ftruncate(fd, end) != 0 || fseeko(log, end, SEEK_SET) != 0))
        status = clip_fail_errno(error, "%s", path);
    if (status == 0)
        return log;
    fclose(log);
    return NULL;
}

int clip_log_sync(FILE *log, const char *path, struct clip_error *error)
{
    if (fflush(log) == 0 && fdatasync(fileno(log)) == 0)
        return 0;
    return clip_fail_errno(error, "%s", path);
}
