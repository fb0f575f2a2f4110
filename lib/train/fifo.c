#include "train/fifo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 250, PAUSE_MS = 20 }; /* five seconds */

/* Makes reads and writes wait again: only opening must not. */
static int make_blocking(int fd, const char *path, struct clip_error *error)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0)
        return fd;
    clip_fail_errno(error, "%s", path);
    close(fd);
    return -1;
}

int clip_fifo_reader(const char *path, struct clip_error *error)
{
    if (mkfifo(path, 0666) != 0 && errno != EEXIST)
        return clip_fail_errno(error, "%s", path);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 ? clip_fail_errno(error, "%s", path) : make_blocking(fd, path, error);
}

int clip_fifo_await(int fd, int out, struct clip_error *error)
{
    /* A FIFO that nobody has opened for writing yet gives no event; a pipe that nobody reads gives
     * POLLERR. */
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = out}};
    int n;
    do
        n = poll(fds, 2, -1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return clip_fail_errno(error, "waiting for gradients");
    if (!fds[0].revents && fds[1].revents & (POLLERR | POLLNVAL))
        return clip_fail(error, "the next stage ended before any gradient came");
    return 0;
}

int clip_fifo_writer(const char *path, struct clip_error *error)
{
    int fd = -1;
    for (int i = 0; i < TRIES; i++) {
        fd = open(path, O_WRONLY | O_NONBLOCK | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != ENXIO)
            break;
        nanosleep(&(struct timespec){0, PAUSE_MS * 1000000L}, NULL);
    }
    if (fd < 0 && errno == ENXIO)
        return clip_fail(error, "%s: nobody reads it: the stage before has ended", path);
    return fd < 0 ? clip_fail_errno(error, "%s", path) : make_blocking(fd, path, error);
}

int clip_fifo_end(struct clip_writer *writer, int fd, struct clip_error *error)
{
    struct sigaction before, ignore = {.sa_handler = SIG_IGN};
    struct pollfd reader = {.fd = fd};
    sigaction(SIGPIPE, &ignore, &before);
    int status = clip_writer_end(writer, error);
    if (status != 0 && poll(&reader, 1, 0) == 1 && reader.revents & POLLERR)
        status = 0;
    sigaction(SIGPIPE, &before, NULL);
    return status;
}
