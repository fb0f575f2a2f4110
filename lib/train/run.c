#include "train/run.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int clip_run_steps(const char *dir, uint64_t *steps, struct clip_error *error)
{
    char link[PATH_MAX], target[64];
    struct stat status;
    int end = 0;
    *steps = 0;
    if ((size_t)snprintf(link, sizeof link, "%s/latest", dir) >= sizeof link)
        return clip_fail(error, "%s: the name is too long", dir);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0)
        return errno == ENOENT ? 0 : clip_fail_errno(error, "%s", link);
    target[n] = 0;
    if (sscanf(target, "step-%" SCNu64 "%n", steps, &end) != 1 || target[end])
        return clip_fail(error, "%s: links to '%s', which is no checkpoint", link, target);
    if (stat(link, &status) != 0)
        return clip_fail_errno(error, "%s", link);
    return 0;
}
