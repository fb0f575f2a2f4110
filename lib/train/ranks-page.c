#include "train/ranks-page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* After SIGTERM, before SIGKILL; and after that, before the guardian gives up. */
enum { PATIENCE_MS = 1500, LAST_MS = 500 };

/* What the guardian is told: rank, size, threads; what it says: the page's group, then its status. */
struct order {
    long rank, size, threads;
};
struct notice {
    pid_t group;
    int ended, status;
};

extern char **environ;

/* The guardian lives until its page has ended. */
static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};

/* --- the page --- */

static int is_launchers(const char *variable)
{
    static const char *const prefixes[] = {"OMPI_",     "PMIX_",   "PMI_",  "PMI2_", "PRTE_",
                                           "HYDI_",     "HYDRA_",  "MPIR_", "ORTE_", "OPAL_",
                                           "MPI_LOCAL", "MPIEXEC", "PMI=",  "I_MPI", "CLIP_RANK"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    return 0;
}

static void clean_environment(void)
{
    char **to = environ;
    for (char **from = environ; *from; from++)
        if (!is_launchers(*from))
            *to++ = *from;
    *to = NULL;
}

static void set_number(const char *name, long value)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", value);
    setenv(name, text, 1);
}

/* In the child that becomes the page. */
static void run_command(char *const *command, const struct order *order, int door, int messages)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    clean_environment();
    set_number("CLIP_RANKS", door);
    set_number("CLIP_RANK", order->rank);
    set_number("CLIP_RANK_SIZE", order->size);
    set_number("CLIP_RANK_THREADS", order->threads);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(messages, STDERR_FILENO) >= 0 &&
        fcntl(door, F_SETFD, 0) == 0) {
        if (null > STDERR_FILENO)
            close(null);
        execvp(command[0], command);
    }
    dprintf(messages, "clip-ranks: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* --- the guardian --- */

struct guardian {
    char *const *command;
    int control, door, messages, signals;
    int orders_ended;
    pid_t page;
    int status, ended;  /* of the page's own process */
    int killed;         /* 1: SIGTERM was sent, 2: SIGKILL */
    long long deadline; /* in ms, of the next step */
};

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void report_status(const struct guardian *g, int ended)
{
    const struct notice notice = {g->page, ended, g->status};
    /* clip-ranks may be gone, which is why the page then ends. */
    if (send(g->control, &notice, sizeof notice, MSG_NOSIGNAL) < 0)
        return;
}

static void begin_page(struct guardian *g, const struct order *order)
{
    g->page = fork();
    if (g->page == 0)
        run_command(g->command, order, g->door, g->messages);
    if (g->page < 0) {
        dprintf(g->messages, "clip-ranks: fork: %s\n", strerror(errno));
        g->page = 0;
        g->status = 1 << 8;
        g->ended = 1;
    } else {
        setpgid(g->page, g->page);
    }
    close(g->door);
    close(g->messages);
    report_status(g, 0);
}

/* The next step of ending the page. */
static void kill_page(struct guardian *g)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    if (g->killed == 2 || !g->page)
        _exit(1);
    kill(-g->page, signals[g->killed]);
    g->deadline = now_ms() + (g->killed == 0 ? PATIENCE_MS : LAST_MS);
    g->killed++;
}

/* Takes the children that ended, its own and what these left. 1 when none is left. */
static int reap(struct guardian *g)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;
    while (read(g->signals, &info, sizeof info) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == g->page) {
            g->status = status;
            g->ended = 1;
        }
    return pid < 0;
}

static void read_order(struct guardian *g)
{
    struct order order;
    ssize_t got = recv(g->control, &order, sizeof order, 0);
    if (got == (ssize_t)sizeof order && !g->page)
        begin_page(g, &order);
    else if (g->killed == 0)
        kill_page(g);
    g->orders_ended = got <= 0;
}

static void supervise_page(struct guardian *g)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = g->orders_ended ? -1 : g->control, .events = POLLIN},
                                {.fd = g->signals, .events = POLLIN}};
        long long left = g->deadline - now_ms();
        poll(fds, 2, g->killed == 0 ? -1 : left > 0 ? (int)left : 0);
        if (fds[0].revents)
            read_order(g);
        int none = reap(g);
        if (g->page && none) {
            report_status(g, 1);
            _exit(0);
        }
        if (g->ended && g->killed == 0)
            kill_page(g); /* what it left */
        else if (g->killed > 0 && now_ms() >= g->deadline)
            kill_page(g);
    }
}

/* Files of clip-ranks that would keep other pages' ends open: those that an exec would close. */
static void close_others(const struct guardian *g)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (fd > STDERR_FILENO && fd != dirfd(dir) && fd != g->control && fd != g->door &&
            fd != g->messages && fcntl(fd, F_GETFD) == FD_CLOEXEC)
            close(fd);
    }
    closedir(dir);
}

static void begin_guard(struct guardian *g)
{
    sigset_t child;
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "clip-ranks-page");
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    close_others(g);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    g->signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    if (g->signals < 0)
        _exit(1);
    supervise_page(g);
}

/* --- clip-ranks' side --- */

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

int clip_ranks_page_new(struct clip_ranks_page *page, char *const *command, struct clip_error *error)
{
    int door[2] = {-1, -1}, control[2] = {-1, -1}, messages[2] = {-1, -1};
    *page = (struct clip_ranks_page){.door = -1, .messages = -1, .control = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, door) == 0 &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0 &&
        pipe2(messages, O_CLOEXEC) == 0 && (page->guardian = fork()) >= 0) {
        if (page->guardian == 0) {
            struct guardian g = {
                .command = command, .control = control[1], .door = door[1], .messages = messages[1]};
            begin_guard(&g);
        }
        page->door = door[0];
        page->control = control[0];
        page->messages = messages[0];
        close(door[1]);
        close(control[1]);
        close(messages[1]);
        return 0;
    }
    clip_fail_errno(error, "the pipeline of a rank");
    close_pair(door);
    close_pair(control);
    close_pair(messages);
    return -1;
}

int clip_ranks_page_start(struct clip_ranks_page *page, size_t rank, size_t size, long threads,
                          struct clip_error *error)
{
    const struct order order = {(long)rank, (long)size, threads};
    if (send(page->control, &order, sizeof order, MSG_NOSIGNAL) != (ssize_t)sizeof order)
        return clip_fail_errno(error, "the pipeline of rank %zu", rank);
    return 0;
}

static void close_control(struct clip_ranks_page *page)
{
    close(page->control);
    page->control = -1;
}

/* The guardian was killed: its work is done here. */
static void end_orphans(struct clip_ranks_page *page)
{
    page->status = SIGKILL;
    if (!page->group)
        return;
    kill(-page->group, SIGTERM);
    for (int i = 0; i < PATIENCE_MS / 50 && kill(-page->group, 0) == 0; i++)
        nanosleep(&(struct timespec){0, 50 * 1000000L}, NULL);
    kill(-page->group, SIGKILL);
}

void clip_ranks_page_look(struct clip_ranks_page *page)
{
    struct notice notice;
    ssize_t got = recv(page->control, &notice, sizeof notice, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got == (ssize_t)sizeof notice && !notice.ended) {
        page->group = notice.group;
        return;
    }
    if (got == (ssize_t)sizeof notice)
        page->status = notice.status;
    else
        end_orphans(page);
    close_control(page);
    waitpid(page->guardian, NULL, 0);
}

void clip_ranks_page_stop(struct clip_ranks_page *page)
{
    if (page->control >= 0)
        shutdown(page->control, SHUT_WR);
}
