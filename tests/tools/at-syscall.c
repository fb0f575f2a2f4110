/* at-syscall kill|fail N COMMAND [ARG...]: runs the command, and all processes that it starts, up to the N-th
 * system call that changes files, before which the process that makes it is killed, or which fails for want
 * of room on the disk. Writes that follow one another into the same file count once. At the end prints how
 * many such calls there were (in a second run there may be some more or less), and exits 0; 77 where it
 * cannot trace.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>

enum { MAX_PROCESSES = 4096, MAX_PATH = 64, SKIPPED = 77 };
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const int writing[] = {SYS_write, SYS_writev, SYS_pwrite64};
static const int changing[] = {SYS_ftruncate, SYS_fsync,    SYS_fdatasync, SYS_fchmod,    SYS_fchmodat,
                               SYS_renameat2, SYS_unlinkat, SYS_mkdirat,   SYS_symlinkat, SYS_mknodat,
#ifdef __x86_64__
                               SYS_chmod,     SYS_rename,   SYS_unlink,    SYS_rmdir,     SYS_mkdir,
                               SYS_symlink,   SYS_mknod
#endif
};

/* A traced thread, and the descriptor of its last call that counted, if that was a write; else -1. */
struct process {
    pid_t pid;
    long written_to;
};
static struct process processes[MAX_PROCESSES];
static size_t process_count;

static struct process *find(pid_t pid)
{
    for (size_t i = 0; i < process_count; i++)
        if (processes[i].pid == pid)
            return &processes[i];
    if (process_count == MAX_PROCESSES) {
        fputs("at-syscall: too many processes\n", stderr);
        exit(1);
    }
    processes[process_count] = (struct process){pid, -1};
    return &processes[process_count++];
}

/* Only these calls stop the processes; all others run at full speed. */
static int filter_calls(void)
{
    struct sock_filter filter[2 * (COUNT(writing) + COUNT(changing) + 2)];
    unsigned short n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < COUNT(writing) + COUNT(changing) + 1; i++) {
        int nr = i < COUNT(writing)                     ? writing[i]
                 : i < COUNT(writing) + COUNT(changing) ? changing[i - COUNT(writing)]
                                                        : SYS_openat;
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
               ? 0
               : -1;
}

static int is_file(pid_t pid, long fd)
{
    char path[MAX_PATH];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%d/fd/%ld", (int)pid, fd);
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* 1 if the call that the process is about to make is to be counted. */
static int counts(struct process *process, const struct ptrace_syscall_info *info)
{
    long fd = (long)info->seccomp.args[0], before = process->written_to;
    for (size_t i = 0; i < COUNT(writing); i++)
        if ((int)info->seccomp.nr == writing[i]) {
            if (!is_file(process->pid, fd))
                return 0;
            process->written_to = fd;
            return fd != before;
        }
    if ((int)info->seccomp.nr == SYS_openat && !(info->seccomp.args[2] & O_CREAT))
        return 0;
    process->written_to = -1;
    return 1;
}

/* The call is not made, and says that there is no room. */
static void fail_call(pid_t pid)
{
#ifdef __x86_64__
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L);
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), (long)-ENOSPC);
#else
    (void)pid;
#endif
}

/* Starts the command, traced and stopped. */
static pid_t start(char **command)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(SKIPPED);
        raise(SIGSTOP);
        if (filter_calls() != 0)
            _exit(SKIPPED);
        execvp(command[0], command);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, pid, 0,
               PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) != 0)
        exit(SKIPPED);
    ptrace(PTRACE_CONT, pid, 0, 0);
    return pid;
}

int main(int argc, char **argv)
{
    int kills = argc > 3 && strcmp(argv[1], "kill") == 0, status;
    long n = argc > 3 ? strtol(argv[2], NULL, 10) : 0, count = 0;
    struct ptrace_syscall_info info;
    pid_t pid;
    if (argc < 4 || (!kills && strcmp(argv[1], "fail") != 0)) {
        fputs("Usage: at-syscall kill|fail N COMMAND [ARG...]\n", stderr);
        return 2;
    }
#ifndef __x86_64__
    if (!kills)
        return SKIPPED;
#endif
    pid_t first = start(argv + 3);
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status)) {
            if (pid == first && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
                return SKIPPED;
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        struct process *process = find(pid);
        if (event == PTRACE_EVENT_SECCOMP && ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 &&
            counts(process, &info) && ++count == n) {
            if (kills)
                kill(pid, SIGKILL);
            else
                fail_call(pid);
        }
        if (event || signal == SIGSTOP)
            signal = 0; /* an event of tracing, or a new process */
        ptrace(PTRACE_CONT, pid, 0, signal);
    }
    printf("%ld\n", count);
    return 0;
}
