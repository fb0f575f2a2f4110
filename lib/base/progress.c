#include "base/cli.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The stages of a pipeline share standard error and know nothing of each other. They agree by locks on its
 * file, which end with the process that holds them: of bytes that only their process group uses, one for the
 * stage that shows progress, as many as there are records for one that knows,
 * those of the share of the input that one has read, and one for each stage. */
#define GROUP ((off_t)getpgrp() << 40)
#define SHOWS GROUP
#define TOTAL (GROUP + 1)
#define STAGES (GROUP + ((off_t)1 << 39))
#define MOST_TOTAL ((uint64_t)1 << 38)
#define SHARE (GROUP + ((off_t)3 << 38))
#define WHOLE_SHARE 10000
#define MOST_PIDS ((off_t)1 << 30)

#define SECONDS_SHOWN 0.5 /* between two times that the line is written */
#define SECONDS_PIPED 2.0 /* that a stage before another waits for that to show progress */
#define SECONDS_LONG 60.0 /* of a run after which the line stays */

/* Returns 1 if the lock was taken, or cannot be had at all; 0 if another process has it. */
static int lock(off_t start, off_t length)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(STDERR_FILENO, F_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

static void unlock(off_t start, off_t length)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    fcntl(STDERR_FILENO, F_SETLK, &lock);
}

/* The bytes that another process has locked, of the first such lock in the range; 0: none. */
static off_t locked(off_t start, off_t length)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(STDERR_FILENO, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_len : 0;
}

/* Whether this stage is the one that shows progress, as soon as it may be. */
static int shows_here(struct clip_progress *progress, double elapsed)
{
    if (!progress->shows && (!progress->piped || elapsed >= SECONDS_PIPED))
        progress->shows = lock(SHOWS, 1);
    return progress->shows;
}

void clip_progress_start(struct clip_progress *progress, const struct clip_shared *shared,
                         const char *awaited)
{
    struct stat about;
    *progress = (struct clip_progress){.on = shared->progress,
                                       .verbose = shared->verbose && !shared->quiet,
                                       .forced = shared->progress_given,
                                       .start = clip_seconds()};
    progress->piped = fstat(STDOUT_FILENO, &about) == 0 && S_ISFIFO(about.st_mode);
    if (!progress->on)
        return;
    lock(STAGES + getpid(), 1);
    if (shows_here(progress, 0))
        clip_put_status("waiting for %.1000s", awaited);
}

/* "12 s", "3 min", "1 h 5 min" into out[size]. */
static const char *duration(char *out, size_t size, double seconds)
{
    if (seconds < 100)
        snprintf(out, size, "%.0f s", seconds);
    else if (seconds < 6000)
        snprintf(out, size, "%.0f min", seconds / 60);
    else
        snprintf(out, size, "%.0f h %d min", (double)(long)(seconds / 3600), (int)(seconds / 60) % 60);
    return out;
}

/* Tells the other stages, also a total that another announced: that stage may end before others listen.
 * Several may. */
static void announce_total(struct clip_progress *progress, uint64_t total)
{
    if (total == 0 || total >= MOST_TOTAL || total == progress->announced)
        return;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = TOTAL, .l_len = (off_t)total};
    if (progress->announced)
        unlock(TOTAL, (off_t)progress->announced);
    if (fcntl(STDERR_FILENO, F_SETLK, &lock) != 0 && errno == EBADF) { /* it cannot be read */
        lock.l_type = F_WRLCK;
        fcntl(STDERR_FILENO, F_SETLK, &lock);
    }
    progress->announced = total;
}

/* How many records there will be: what this stage knows, or what another has said; 0: not known. */
static uint64_t find_total(struct clip_progress *progress, uint64_t records, uint64_t total)
{
    off_t received = total ? 0 : locked(TOTAL, 1);
    if (received > 0)
        progress->received = (uint64_t)received; /* which stays when that stage has ended */
    total = total ? total : progress->received;
    announce_total(progress, total);
    return total >= records ? total : 0;
}

/* The share of the input that is read, as this stage knows, which tells the others, or as another says; 0:
 * not known. The lock grows with it, and is gone with the stage that read the input. */
static double find_share(const struct clip_progress *progress)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = SHARE};
    lock.l_len = (off_t)(WHOLE_SHARE * progress->share);
    if (lock.l_len == 0)
        return (double)locked(SHARE, 1) / WHOLE_SHARE;
    fcntl(STDERR_FILENO, F_SETLK, &lock);
    return progress->share;
}

static void put_progress(struct clip_progress *progress, uint64_t records, uint64_t total, double share,
                         const char *waited, double elapsed)
{
    char of[40] = "", part[40] = "", left[60] = "", time[40];
    double rate = elapsed > 0 ? (double)records / elapsed : 0;
    if (!shows_here(progress, elapsed))
        return;
    if (total)
        snprintf(of, sizeof of, " of %" PRIu64, total);
    else if (share > 0)
        snprintf(part, sizeof part, " %.0f %%,", 100 * share);
    if (total && records)
        share = (double)records / (double)total;
    if (share > 0 && elapsed > 1)
        snprintf(left, sizeof left, ", %s left", duration(time, sizeof time, elapsed * (1 - share) / share));
    clip_put_status("%" PRIu64 "%s records,%s %.*f/s%s%s", records, of, part,
                    rate < 10    ? 2
                    : rate < 100 ? 1
                                 : 0,
                    rate, left, waited);
}

/* What is left on the terminal: a line of what was done, or nothing. */
static void put_last(struct clip_progress *progress, uint64_t records, const char *waited, double elapsed)
{
    double rate = elapsed > 0 ? (double)records / elapsed : 0;
    int digits = rate < 10 ? 2 : rate < 100 ? 1 : 0, alone = 1;
    if (progress->on) {
        unlock(STAGES + getpid(), 1);
        alone = locked(STAGES, MOST_PIDS) == 0; /* a stage after this one ends later */
    }
    int stays =
        progress->verbose || (progress->on && (progress->forced || (elapsed >= SECONDS_LONG && alone)) &&
                              (progress->shows || lock(SHOWS, 1)));
    if (progress->shows)
        clip_clear_status();
    if (stays)
        clip_message("%" PRIu64 " records in %.*f s, %.*f/s%s", records, elapsed < 10, elapsed, digits, rate,
                     waited);
    if (progress->on)
        unlock(SHOWS, 1);
}

void clip_progress_show(struct clip_progress *progress, uint64_t records, uint64_t total, double waited_input,
                        double waited_output, int last)
{
    char waited[100] = "";
    if (!progress->on && !(last && progress->verbose))
        return;
    double now = clip_seconds(), elapsed = now - progress->start;
    if (!last && now - progress->shown < SECONDS_SHOWN)
        return;
    progress->shown = now;
    if (elapsed > 0)
        snprintf(waited, sizeof waited, ", waited %.0f %% for input, %.0f %% for output",
                 100 * waited_input / elapsed, 100 * waited_output / elapsed);
    if (last)
        put_last(progress, records, waited, elapsed);
    else
        put_progress(progress, records, find_total(progress, records, total), find_share(progress), waited,
                     elapsed);
}
