/* cut-everywhere [-p WHOLE] INPUT COMMAND...: runs the command on the true beginnings of INPUT, from no byte
 * to all but one; of those that end within a long run of one byte, or within binary data of a record, only
 * the first and last few, because the others differ in nothing that a reader sees. Each run must exit with 1
 * and one line on stderr, and write no end object; with -p, what it writes must be a beginning of the file
 * WHOLE. Prints the first few that do not, and exits 1 if there was one.
 */
#include "base/cli.h"
#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 30
#define MOST_FAULTS 3
#define EDGE 4   /* cuts at each end of a stretch that are tried */
#define LEAST 16 /* bytes of a stretch */

struct output {
    char *data;
    size_t size;
};

static int memory_file(const void *data, size_t size)
{
    int fd = memfd_create("cut", MFD_CLOEXEC);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size) || lseek(fd, 0, SEEK_SET) != 0)
        clip_die("no memory file");
    return fd;
}

static struct output contents(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        clip_die("no memory file");
    struct output output = {calloc(1, (size_t)status.st_size + 1), (size_t)status.st_size};
    if (!output.data || pread(fd, output.data, output.size, 0) != (ssize_t)output.size)
        clip_die("no memory file");
    close(fd);
    return output;
}

/* The command's status as waitpid gives it; a run that hangs is ended by SIGALRM. */
static int run(char **command, int in, int out, int err)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        alarm(SECONDS);
        execvp(command[0], command);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        clip_die("%s cannot be run", command[0]);
    return status;
}

static const char *fault(int status, const struct output *out, const struct output *err,
                         const struct clip_mapping *whole)
{
    const char *newline = memchr(err->data, '\n', err->size);
    if (!WIFEXITED(status))
        return "was killed by a signal";
    if (WEXITSTATUS(status) != 1)
        return "did not exit with 1";
    if (!newline || newline != err->data + err->size - 1)
        return "did not write one line on stderr";
    if (memmem(out->data, out->size, "__end__", 7))
        return "wrote an end object";
    if (whole->data && (out->size > whole->size || memcmp(out->data, whole->data, out->size) != 0))
        return "wrote what is no beginning of the whole output";
    return NULL;
}

/* The end of the stretch that begins at `at`: of one byte repeated, or of MessagePack's bin 8; `at` if there
 * is none. */
static size_t stretch(const unsigned char *data, size_t size, size_t at)
{
    size_t end = at;
    while (end < size && data[end] == data[at])
        end++;
    if (end - at >= LEAST)
        return end;
    if (at >= 2 && data[at - 2] == 0xc4 && data[at - 1] >= LEAST && data[at - 1] <= size - at)
        return at + data[at - 1];
    return at;
}

int main(int argc, char **argv)
{
    struct clip_error error;
    struct clip_mapping input, whole = {0};
    size_t begin = 0, end = 0; /* of the stretch that the cut is in */
    int faults = 0;
    if (argc > 2 && strcmp(argv[1], "-p") == 0) {
        if (clip_map_file(&whole, argv[2], &error) != 0)
            clip_die("%s", error.text);
        argc -= 2;
        argv += 2;
    }
    if (argc < 3 || clip_map_file(&input, argv[1], &error) != 0)
        clip_die("wrong usage, or no input");
    for (size_t cut = 0; cut < input.size && faults < MOST_FAULTS; cut++) {
        if (cut >= end) {
            begin = cut;
            end = stretch(input.data, input.size, cut);
        } else if (cut == begin + EDGE && cut + EDGE < end) {
            cut = end - EDGE;
        }
        int in = memory_file(input.data, cut), out_fd = memory_file("", 0), err_fd = memory_file("", 0);
        int status = run(argv + 2, in, out_fd, err_fd);
        struct output out = contents(out_fd), err = contents(err_fd);
        const char *what = fault(status, &out, &err, &whole);
        if (what)
            printf("%s, cut at %zu of %zu: %s: %s\n", argv[2], cut, input.size, what, err.data);
        faults += what != NULL;
        free(out.data);
        free(err.data);
        close(in);
    }
    return faults > 0;
}
