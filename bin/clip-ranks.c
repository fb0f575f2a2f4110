/* clip-ranks: runs one command as several ranks of a training run, and exchanges what they sum and gather. */
#include "base/cli.h"
#include "base/file.h"
#include "train/ranks-mpi-module.h"
#include "train/ranks-page.h"
#include "train/ranks-server.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static long local, expected;

static const struct clip_option options[] = {
    {"local", 'n', CLIP_COUNT, &local, "R", "run R ranks on this machine, without MPI", 1, 1024},
    {"expect", 0, CLIP_COUNT, &expected, "R", "fail unless there are R ranks", 1, 1e6},
    {0}};

static const char *engines(char *text, size_t size)
{
    struct clip_error error;
    const struct clip_ranks_mpi_calls *mpi = clip_ranks_mpi_load(&error);
    if (mpi)
        return mpi->describe(text, size);
    snprintf(text, size, "one host, without MPI (%s)", error.text);
    return text;
}

static const struct clip_program program = {
    .name = "clip-ranks",
    .operands = "COMMAND [ARGUMENT...]",
    .purpose =
        "Runs COMMAND as each rank of a training run, and sums and gathers for its stages over all ranks:\n"
        "under mpirun or srun as one rank, or with -n as all of them.",
    .options = options,
    .engines = engines,
    .command = 1};

/* What a page has written to its standard error since the last whole line. */
struct words {
    char text[4096];
    size_t size;
};

struct run {
    size_t pages, first, size;
    struct clip_ranks_page *page; /* [pages] */
    struct words *words;          /* [pages] */
    struct clip_ranks_server *server;
    struct clip_ranks_mpi *mpi; /* NULL: all ranks are here */
    const struct clip_ranks_mpi_calls *calls;
    struct utsname host;
    int *seen;       /* [pages]: that it ended */
    int silent;      /* why the run fails was said; what pages say after that is of no use */
    double failed;   /* when it did, or 0 */
    char cause[480]; /* of a page that ended with a status, or "" */
    size_t cause_rank;
};

/* --- what pages say --- */

/* A line of a page, in one write. */
static void pass_line(const struct run *run, size_t i, const char *text, size_t size)
{
    char line[4096 + 200];
    struct clip_error error;
    int n =
        run->size == 1 ? 0 : snprintf(line, 200, "rank %zu on %.64s: ", run->first + i, run->host.nodename);
    if (run->silent)
        return;
    memcpy(line + n, text, size);
    line[(size_t)n + size] = '\n';
    clip_write_all(STDERR_FILENO, line, (size_t)n + size + 1, "standard error",
                   &error); /* where to say it? */
}

static void pass_words(const struct run *run, size_t i, int rest)
{
    struct words *words = &run->words[i];
    char *begin = words->text, *end;
    while ((end = memchr(begin, '\n', words->size - (size_t)(begin - words->text)))) {
        pass_line(run, i, begin, (size_t)(end - begin));
        begin = end + 1;
    }
    words->size -= (size_t)(begin - words->text);
    memmove(words->text, begin, words->size);
    if (words->size && (rest || words->size == sizeof words->text)) {
        pass_line(run, i, words->text, words->size);
        words->size = 0;
    }
}

/* Reads what is there now. */
static void read_words(struct run *run, size_t i)
{
    struct words *words = &run->words[i];
    struct pollfd ready = {.fd = run->page[i].messages, .events = POLLIN};
    while (run->page[i].messages >= 0 && poll(&ready, 1, 0) > 0) {
        ssize_t got =
            read(run->page[i].messages, words->text + words->size, sizeof words->text - words->size);
        if (got > 0)
            words->size += (size_t)got;
        pass_words(run, i, got <= 0);
        if (got <= 0) {
            close(run->page[i].messages);
            run->page[i].messages = -1;
        }
    }
}

/* --- failing --- */

static const char *describe_status(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "the pipeline was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "the pipeline has failed with status %d", WEXITSTATUS(status));
    return out;
}

/* Says why the run fails, when the page that it fails of has said all, and ends the pages. */
static void report(struct run *run)
{
    const struct clip_ranks_failure *failure = clip_ranks_server_failure(run->server);
    for (size_t i = 0; i < run->pages; i++)
        read_words(run, i);
    if (run->size == 1 && !failure && WIFEXITED(run->page[0].status))
        ; /* the command has said it */
    else if (failure)
        clip_message("rank %zu on %s: stages have failed: %s", failure->rank, run->host.nodename,
                     failure->text);
    else
        clip_message("rank %zu on %s: %s", run->cause_rank, run->host.nodename, run->cause);
    run->silent = 1;
    for (size_t i = 0; i < run->pages; i++)
        clip_ranks_page_stop(&run->page[i]);
}

/* A page of which the run fails ends by itself, stage after stage: it has this long to say why. */
#define PATIENCE 0.7

static void look_at_failure(struct run *run)
{
    const struct clip_ranks_failure *failure = clip_ranks_server_failure(run->server);
    if (!failure && !run->cause[0])
        return;
    if (run->failed == 0)
        run->failed = clip_seconds();
    size_t i = (failure ? failure->rank : run->cause_rank) - run->first;
    if (!run->silent && (run->page[i].control < 0 || clip_seconds() > run->failed + PATIENCE))
        report(run);
}

/* --- the loop --- */

static void look_at_page(struct run *run, size_t i)
{
    struct clip_ranks_page *page = &run->page[i];
    if (page->control >= 0)
        clip_ranks_page_look(page);
    if (page->control >= 0 || run->seen[i])
        return;
    run->seen[i] = 1;
    clip_ranks_server_run(run->server); /* the last words of its stages */
    if (page->status != 0 && !run->cause[0]) {
        run->cause_rank = run->first + i;
        describe_status(page->status, run->cause, sizeof run->cause);
    }
    clip_ranks_server_page_ended(run->server, i);
}

static size_t pages_left(const struct run *run)
{
    size_t left = 0;
    for (size_t i = 0; i < run->pages; i++)
        left += run->page[i].control >= 0;
    return left;
}

/* One look at everything, after a wait of at most `wait` ms (-1: until something comes). */
static int look(struct run *run, struct pollfd *fds, int wait, struct clip_error *error)
{
    nfds_t n = 0;
    fds[n++] = (struct pollfd){.fd = clip_ranks_server_fd(run->server), .events = POLLIN};
    for (size_t i = 0; i < run->pages; i++) {
        fds[n++] = (struct pollfd){.fd = run->page[i].control, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = run->page[i].messages, .events = POLLIN};
    }
    if (poll(fds, n, wait) < 0 && errno != EINTR)
        return clip_fail_errno(error, "poll");
    for (size_t i = 0; i < run->pages; i++)
        read_words(run, i);
    clip_ranks_server_run(run->server);
    for (size_t i = 0; i < run->pages; i++)
        look_at_page(run, i);
    look_at_failure(run);
    return 0;
}

static int serve(struct run *run, struct pollfd *fds, struct clip_error *error)
{
    while (pages_left(run) > 0)
        if (look(run, fds, run->failed != 0 ? 50 : -1, error) != 0)
            return -1;
    return 0;
}

/* What is under way on the wire gives no event: it is looked at without a pause for a while, because an array
 * moves only then, and with longer ones when a slower rank is waited for. */
enum { SPINS = 200, SHORT_US = 50, LONG_US = 400, IDLE_MS = 50 };

static int pause_ms(const struct run *run, unsigned idle)
{
    if (clip_ranks_server_busy(run->server) == 0)
        return IDLE_MS;
    if (idle < SPINS)
        sched_yield();
    else
        usleep(idle < 4 * SPINS ? SHORT_US : LONG_US);
    return 0;
}

static int serve_wire(struct run *run, struct pollfd *fds, struct clip_error *error)
{
    int told = 0;
    size_t moved = 0, before;
    for (unsigned idle = 0; run->calls->look(run->mpi) > 0; idle++) {
        before = moved;
        if (look(run, fds, pause_ms(run, idle), error) != 0)
            return -1;
        moved = run->calls->moved(run->mpi);
        if (moved != before)
            idle = 0;
        if (run->silent && pages_left(run) == 0)
            return 0;
        if (!told && pages_left(run) == 0 && run->failed == 0) {
            run->calls->end(run->mpi);
            told = 1;
        }
    }
    return 0;
}

static int serve_all(struct run *run, struct clip_error *error)
{
    struct pollfd *fds = calloc(1 + 2 * run->pages, sizeof *fds);
    int status = fds ? 0 : clip_fail_memory(error, "the pages");
    if (status == 0)
        status = run->mpi ? serve_wire(run, fds, error) : serve(run, fds, error);
    free(fds);
    for (size_t i = 0; i < run->pages; i++)
        read_words(run, i);
    if (status == 0 && run->failed != 0 && !run->silent)
        report(run);
    return status;
}

/* --- the program --- */

static int open_pages(struct run *run, char **command, struct clip_error *error)
{
    run->page = calloc(run->pages, sizeof *run->page);
    run->words = calloc(run->pages, sizeof *run->words);
    run->seen = calloc(run->pages, sizeof *run->seen);
    if (!run->page || !run->words || !run->seen)
        return clip_fail_memory(error, "the pages");
    for (size_t i = 0; i < run->pages; i++)
        if (clip_ranks_page_new(&run->page[i], command, error) != 0)
            return -1;
    return 0;
}

static int open_server(struct run *run, struct clip_error *error)
{
    int *doors = calloc(run->pages, sizeof *doors);
    if (!doors)
        return clip_fail_memory(error, "the pages");
    for (size_t i = 0; i < run->pages; i++)
        doors[i] = run->page[i].door;
    run->server = clip_ranks_server_new(doors, run->pages, run->first, run->size,
                                        run->mpi ? run->calls->wire(run->mpi) : NULL, error);
    free(doors);
    return run->server ? 0 : -1;
}

static int start_pages(struct run *run, long threads, struct clip_error *error)
{
    for (size_t i = 0; i < run->pages; i++)
        if (clip_ranks_page_start(&run->page[i], run->first + i, run->size, threads, error) != 0)
            return -1;
    return 0;
}

static void close_run(struct run *run)
{
    clip_ranks_server_free(run->server);
    free(run->page);
    free(run->words);
    free(run->seen);
}

static long share_threads(long processors, long ranks)
{
    return processors / ranks > 1 ? processors / ranks : 1;
}

static int run_local(char **command, long processors, struct clip_error *error)
{
    struct run run = {.pages = (size_t)local, .size = (size_t)local};
    uname(&run.host);
    int status = open_pages(&run, command, error);
    if (status == 0 &&
        (open_server(&run, error) != 0 || start_pages(&run, share_threads(processors, local), error) != 0 ||
         serve_all(&run, error) != 0))
        status = -1;
    int failed = run.failed == 0                             ? 0
                 : local == 1 && WIFEXITED(run.page->status) ? WEXITSTATUS(run.page->status)
                                                             : 1;
    close_run(&run);
    return status == 0 ? failed : -1;
}

/* 0; 1 where the run has failed, -1 with error. */
static int run_rank(struct run *run, long threads, struct clip_error *error)
{
    if (open_server(run, error) != 0 || start_pages(run, threads, error) != 0 || serve_all(run, error) != 0)
        return -1;
    return run->failed != 0;
}

/* Each rank of a launcher that is not this MPI's would be a run of its own. All see that, and end. */
static int check_size(const struct run *run)
{
    if (!expected || run->size == (size_t)expected)
        return 0;
    char mpi[200];
    if (run->first == 0)
        clip_message("--expect %ld: the launcher has started %zu: it must be the mpirun or srun of %s",
                     expected, run->size, engines(mpi, sizeof mpi));
    return 1;
}

/* The guardian is forked before MPI has anything open. */
static int run_wire(char **command, long processors, struct clip_error *error)
{
    struct run run = {.pages = 1};
    long sharing;
    uname(&run.host);
    if (open_pages(&run, command, error) != 0 || !(run.calls = clip_ranks_mpi_load(error)) ||
        !(run.mpi = run.calls->open(&run.first, &run.size, &sharing, error)))
        clip_die("%s", error->text);
    int differ = check_size(&run), status = differ;
    if (!differ && (status = run_rank(&run, share_threads(processors, sharing), error)) < 0)
        clip_message("%s", error->text);
    if (status != 0 && !differ)
        run.calls->abort(run.mpi);
    run.calls->close(run.mpi);
    close_run(&run);
    return status != 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv), status;
    if (first == argc)
        clip_usage("give the command that each rank runs");
    if (local && expected && local != expected)
        clip_usage("--expect %ld and -n %ld are different numbers of ranks", expected, local);
    if (!local)
        return run_wire(argv + first, shared.threads, &error);
    status = run_local(argv + first, shared.threads, &error);
    if (status < 0)
        clip_die("%s", error.text);
    return status;
}
