#include "base/file.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int clip_write_all(int fd, const void *data, size_t size, const char *name, struct clip_error *error)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return clip_fail_errno(error, "%s", name);
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

int clip_temporary_file(struct clip_error *error)
{
    const char *folder = getenv("TMPDIR");
    char *path;
    if (!folder || !*folder)
        folder = "/tmp";
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    if (asprintf(&path, "%s/clip-XXXXXX", folder) < 0)
        return clip_fail_memory(error, "a file name");
    fd = mkostemp(path, O_CLOEXEC); /* not every file system has files without names */
    if (fd < 0)
        clip_fail_errno(error, "a temporary file in %s", folder);
    else
        unlink(path);
    free(path);
    return fd;
}

int clip_pwrite_all(int fd, const void *data, size_t size, uint64_t offset, struct clip_error *error)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = pwrite(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return clip_fail_errno(error, "a temporary file");
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

int clip_pread_all(int fd, void *data, size_t size, uint64_t offset, struct clip_error *error)
{
    char *p = data;
    while (size > 0) {
        ssize_t n = pread(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? clip_fail_errno(error, "a temporary file")
                         : clip_fail(error, "a temporary file: shorter than what was written");
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

double clip_file_time(const struct stat *about)
{
    return (double)about->st_mtim.tv_sec + 1e-9 * (double)about->st_mtim.tv_nsec;
}

static double read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double clip_seconds(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double clip_coarse_seconds(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

int clip_map_file(struct clip_mapping *mapping, const char *path, struct clip_error *error)
{
    struct stat status;
    *mapping = (struct clip_mapping){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a FIFO must not wait */
    if (fd < 0)
        return clip_fail_errno(error, "%s", path);
    if (fstat(fd, &status) != 0) {
        clip_fail_errno(error, "%s", path);
    } else if (!S_ISREG(status.st_mode)) {
        clip_fail(error, "%s: not a regular file", path);
    } else {
        void *data = NULL;
        if (status.st_size > 0)
            data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data != MAP_FAILED) {
            close(fd);
            *mapping = (struct clip_mapping){data, (size_t)status.st_size};
            clip_fault_add(data, (size_t)status.st_size, path);
            return 0;
        }
        clip_fail_errno(error, "%s", path);
    }
    close(fd);
    return -1;
}

void clip_unmap_file(struct clip_mapping *mapping)
{
    if (mapping->data) {
        clip_fault_remove(mapping->data);
        munmap((void *)mapping->data, mapping->size);
    }
    *mapping = (struct clip_mapping){0};
}

/* Devices, FIFOs and sockets: a rename would replace them by a file. */
static int is_special(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

/* The target of a symbolic link, so that the link stays. */
static char *behind_link(const char *path)
{
    struct stat status;
    char *real = lstat(path, &status) == 0 && S_ISLNK(status.st_mode) ? realpath(path, NULL) : NULL;
    return real ? real : strdup(path);
}

static FILE *open_temporary(struct clip_output *output)
{
    int fd = mkostemp(output->temporary, O_CLOEXEC);
    if (fd < 0) {
        free(output->temporary);
        output->temporary = NULL;
        return NULL;
    }
    mode_t mask = umask(0);
    umask(mask);
    FILE *file = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        close(fd);
    return file;
}

int clip_output_open(struct clip_output *output, const char *path, struct clip_error *error)
{
    int special = is_special(path);
    *output = (struct clip_output){.path = special ? strdup(path) : behind_link(path)};
    if (!output->path || (!special && asprintf(&output->temporary, "%s.XXXXXX", output->path) < 0)) {
        output->temporary = NULL;
        clip_output_abandon(output);
        return clip_fail_memory(error, "a file name");
    }
    output->file = special ? fopen(path, "we") : open_temporary(output);
    if (output->file)
        return 0;
    clip_fail_errno(error, "%s", path);
    clip_output_abandon(output);
    return -1;
}

int clip_output_commit(struct clip_output *output, struct clip_error *error)
{
    int bad = fflush(output->file) != 0 || ferror(output->file) ||
              (output->temporary && fsync(fileno(output->file)) != 0);
    if (bad)
        clip_fail_errno(error, "%s", output->path);
    if (fclose(output->file) != 0 && !bad)
        bad = clip_fail_errno(error, "%s", output->path);
    output->file = NULL;
    if (!bad && output->temporary && rename(output->temporary, output->path) != 0)
        bad = clip_fail_errno(error, "%s", output->path);
    if (!bad) {
        free(output->temporary);
        output->temporary = NULL;
    }
    clip_output_abandon(output);
    return bad ? -1 : 0;
}

void clip_output_abandon(struct clip_output *output)
{
    if (output->file)
        fclose(output->file);
    if (output->temporary)
        unlink(output->temporary);
    free(output->temporary);
    free(output->path);
    *output = (struct clip_output){0};
}

int clip_folder_sync(const char *path, struct clip_error *error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        clip_fail_errno(error, "%s", path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

int clip_copy_file(const char *from, const char *to, struct clip_error *error)
{
    struct clip_mapping mapping;
    struct clip_output output;
    if (clip_map_file(&mapping, from, error) != 0)
        return -1;
    int result = clip_output_open(&output, to, error);
    if (result == 0) {
        if (mapping.size)
            fwrite(mapping.data, 1, mapping.size, output.file);
        result = clip_output_commit(&output, error);
    }
    clip_unmap_file(&mapping);
    return result;
}
