/* peak FILE COMMAND...: runs the command and writes its peak resident memory, in kB, to FILE. Its exit status
 * is the command's; 125 where it cannot be run or was killed by a signal. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage;
    int status;
    if (argc < 3)
        return 125;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(125);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 125;
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%ld\n", usage.ru_maxrss) < 0 || fclose(file) != 0)
        return 125;
    if (WIFSIGNALED(status))
        fprintf(stderr, "peak: %s: killed by signal %d\n", argv[2], WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
