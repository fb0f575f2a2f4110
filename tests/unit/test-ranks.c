/* The server and the client of ranks, without MPI: each call, parts of unequal size, calls that differ, many
 * channels in any order, stages that end, and pages that lie. */
#include "check.h"
#include "train/ranks-protocol.h"
#include "train/ranks-server.h"
#include "train/ranks.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 5 };

/* What a rank does; its door is in the environment. Returns 0 if all was as it should be. */
typedef int work(size_t rank, size_t size);

static pid_t begin_rank(work *do_work, size_t rank, size_t size, int door, int others[MOST])
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    char text[3][24];
    for (size_t i = 0; i <= rank; i++)
        close(others[i]);
    snprintf(text[0], sizeof text[0], "%d", door);
    snprintf(text[1], sizeof text[1], "%zu", rank);
    snprintf(text[2], sizeof text[2], "%zu", size);
    setenv("CLIP_RANKS", text[0], 1);
    setenv("CLIP_RANK", text[1], 1);
    setenv("CLIP_RANK_SIZE", text[2], 1);
    alarm(60);
    _exit(do_work(rank, size));
}

/* Runs the work as `size` ranks against a server; *failed is how many of them did not return 0. What the run
 * failed of, or "". */
static const char *run(work *do_work, size_t size, int *failed)
{
    static char text[600];
    struct clip_error error = {""};
    int pair[2], doors[MOST];
    pid_t pids[MOST];
    for (size_t i = 0; i < size; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "");
        doors[i] = pair[0];
        pids[i] = begin_rank(do_work, i, size, pair[1], doors);
        close(pair[1]);
    }
    struct clip_ranks_server *server = clip_ranks_server_new(doors, size, 0, size, NULL, &error);
    CHECK(server, "%s", error.text);
    const struct clip_ranks_failure *failure = NULL;
    size_t left = size;
    *failed = 0;
    text[0] = '\0';
    while (left > 0) {
        struct pollfd ready = {.fd = clip_ranks_server_fd(server), .events = POLLIN};
        poll(&ready, 1, 20);
        clip_ranks_server_run(server);
        for (size_t i = 0; i < size; i++) {
            int status;
            if (pids[i] && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
                *failed += status != 0;
                pids[i] = 0;
                left--;
                clip_ranks_server_run(server);
                clip_ranks_server_page_ended(server, i);
            }
        }
        if (!failure && (failure = clip_ranks_server_failure(server))) {
            snprintf(text, sizeof text, "%zu: %s", failure->rank, failure->text);
            for (size_t i = 0; i < size; i++)
                if (pids[i])
                    kill(pids[i], SIGKILL);
        }
    }
    clip_ranks_server_free(server);
    return text;
}

#define NEED(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: rank %zu: %s: %s\n", __FILE__, __LINE__, rank, #condition, error.text);  \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

/* --- each call --- */

/* A number that only one order of adding gives. */
static float part_of(size_t rank, size_t i)
{
    return (float)(rank == 0 ? 1e8 : rank == 1 ? 0.3 : -1e8) + (float)i * 0.125f;
}

static int all_calls(size_t rank, size_t size)
{
    struct clip_ranks *ranks;
    struct clip_error error;
    const size_t n = 100003;
    NEED(clip_ranks_open(&ranks, "image", &error) == 0);
    NEED(ranks && clip_ranks_rank(ranks) == rank && clip_ranks_size(ranks) == size);
    float *x = clip_ranks_memory(ranks, n * sizeof *x, &error), *own = malloc(n * sizeof *own);
    NEED(x && x[0] == 0 && x[n - 1] == 0 && (uintptr_t)x % 64 == 0);
    for (int i = 0; i < 2; i++) { /* shared memory, and memory that is copied in pieces */
        float *at = i == 0 ? x : own;
        for (size_t k = 0; k < n; k++)
            at[k] = part_of(rank, k);
        NEED(clip_ranks_sum(ranks, at, n, &error) == 0);
        for (size_t k = 0; k < n; k++) {
            float want = part_of(0, k);
            for (size_t r = 1; r < size; r++)
                want += part_of(r, k);
            NEED(at[k] == want);
        }
    }
    double real[3] = {(double)rank, 1e-9, (double)(rank * rank)};
    NEED(clip_ranks_sum_real(ranks, real, 3, &error) == 0);
    NEED(real[0] == (double)(size * (size - 1) / 2) && real[1] > 0.9e-9 * (double)size);
    const struct clip_exchange *exchange = clip_ranks_exchange(ranks);
    NEED(exchange->rank == rank && exchange->size == size);
    NEED(exchange->sum(exchange->context, real + 2, 1, &error) == 0);
    NEED(real[2] == (double)(size * (size * (size - 1) * (2 * size - 1) / 6)));
    /* parts of unequal size, one of them empty */
    size_t sizes[MOST], begin = 0, whole = 0;
    for (size_t r = 0; r < size; r++) {
        sizes[r] = r == 1 ? 0 : 1000 * r + 7;
        begin += r < rank ? sizes[r] : 0;
        whole += sizes[r];
    }
    char *all = clip_ranks_memory(ranks, whole, &error);
    NEED(all);
    memset(all + begin, 'a' + (int)rank, sizes[rank]);
    NEED(clip_ranks_gather(ranks, all, sizes, &error) == 0);
    for (size_t r = 0, at = 0; r < size; at += sizes[r++])
        for (size_t k = 0; k < sizes[r]; k++)
            NEED(all[at + k] == 'a' + (int)r);
    for (size_t r = 0; r < size; r++)
        sizes[r] = (r == 1 ? 0 : 20000 * r + 7) * sizeof *x; /* each rank's part of the sum */
    begin = whole = 0;
    for (size_t r = 0; r < size; r++) {
        begin += r < rank ? sizes[r] / sizeof *x : 0;
        whole += sizes[r] / sizeof *x;
    }
    NEED((x = clip_ranks_memory(ranks, whole * sizeof *x, &error)));
    for (size_t k = 0; k < whole; k++)
        x[k] = part_of(rank, k);
    NEED(clip_ranks_reduce(ranks, x, sizes, &error) == 0);
    for (size_t k = begin; k < begin + sizes[rank] / sizeof *x; k++) {
        float want = part_of(0, k);
        for (size_t r = 1; r < size; r++)
            want += part_of(r, k);
        NEED(x[k] == want);
    }
    uint64_t steps = rank == 0 ? 77 : 0;
    NEED(clip_ranks_broadcast(ranks, &steps, sizeof steps, &error) == 0 && steps == 77);
    NEED(clip_ranks_barrier(ranks, &error) == 0 && clip_ranks_end(ranks, &error) == 0);
    clip_ranks_close(ranks);
    free(own);
    return 0;
}

static void test_calls(void)
{
    int failed;
    for (size_t size = 2; size <= MOST; size++) {
        const char *text = run(all_calls, size, &failed);
        CHECK(failed == 0 && !text[0], "%zu ranks: %d failed: %s", size, failed, text);
    }
}

/* --- one rank --- */

static void test_one(void)
{
    struct clip_ranks *ranks = (struct clip_ranks *)&failures;
    struct clip_error error = {""};
    float x = 3;
    size_t first;
    unsetenv("CLIP_RANKS");
    CHECK(clip_ranks_open(&ranks, "image", &error) == 0 && !ranks, "%s", error.text);
    CHECK(clip_ranks_sum(NULL, &x, 1, &error) == 0 && x == 3, "");
    CHECK(clip_ranks_gather(NULL, &x, NULL, &error) == 0 && clip_ranks_barrier(NULL, &error) == 0, "");
    CHECK(clip_ranks_broadcast(NULL, &x, 4, &error) == 0 && clip_ranks_end(NULL, &error) == 0, "");
    CHECK(clip_ranks_size(NULL) == 1 && clip_ranks_rank(NULL) == 0 && !clip_ranks_exchange(NULL), "");
    clip_ranks_fail(NULL, "x");
    clip_ranks_close(NULL);
    size_t sum = 0;
    for (size_t r = 0; r < 7; r++) {
        size_t n = clip_ranks_share(100, r, 7, &first);
        CHECK(first == sum && (n == 14 || n == 15), "%zu", n);
        sum += n;
    }
    CHECK(sum == 100, "");
    CHECK(clip_ranks_share(SIZE_MAX, 1, 2, &first) == SIZE_MAX / 2 + 1 && first == SIZE_MAX / 2, "");
    setenv("CLIP_RANKS", "9", 1);
    setenv("CLIP_RANK_SIZE", "2", 1);
    setenv("CLIP_RANK", "2", 1);
    CHECK(clip_ranks_open(&ranks, "image", &error) != 0 && strstr(error.text, "CLIP_RANK is '2'"), "%s",
          error.text);
    setenv("CLIP_RANK_SIZE", "1", 1);
    setenv("CLIP_RANK", "0", 1);
    CHECK(clip_ranks_open(&ranks, "image", &error) == 0 && !ranks, "one rank needs no server");
    unsetenv("CLIP_RANKS");
}

/* --- many channels, in any order --- */

static const char *const names[] = {"batch", "image", "text", "projection", "loss", "extra"};

static int one_channel(size_t rank, size_t size, const char *name, unsigned seed)
{
    struct clip_ranks *ranks;
    struct clip_error error;
    srandom(seed);
    usleep((unsigned)random() % 3000);
    NEED(clip_ranks_open(&ranks, name, &error) == 0);
    for (int call = 0; call < 60; call++) {
        double x[2] = {(double)rank + call, 1};
        usleep((unsigned)random() % 400);
        NEED(clip_ranks_sum_real(ranks, x, 2, &error) == 0);
        NEED(x[1] == (double)size && x[0] == (double)(size * (size - 1) / 2 + size * (size_t)call));
    }
    NEED(clip_ranks_end(ranks, &error) == 0);
    clip_ranks_close(ranks);
    return 0;
}

static int six_channels(size_t rank, size_t size)
{
    pid_t pids[6];
    int failed = 0, status;
    for (size_t i = 0; i < 6; i++) {
        size_t c = rank % 2 ? i : 5 - i;
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(one_channel(rank, size, names[c], (unsigned)(7 * rank + c)));
    }
    for (size_t i = 0; i < 6; i++)
        failed += waitpid(pids[i], &status, 0) < 0 || status != 0;
    return failed;
}

static void test_channels(void)
{
    int failed;
    const char *text = run(six_channels, 3, &failed);
    CHECK(failed == 0 && !text[0], "%d failed: %s", failed, text);
}

/* --- calls that differ --- */

static size_t odd_rank;
static int odd_call;

static int differ(size_t rank, size_t size)
{
    struct clip_ranks *ranks;
    struct clip_error error;
    float x[4] = {0};
    double real[2] = {0};
    size_t sizes[MOST];
    (void)size;
    NEED(clip_ranks_open(&ranks, "text", &error) == 0);
    char *all = clip_ranks_memory(ranks, 100, &error);
    NEED(all && clip_ranks_barrier(ranks, &error) == 0);
    if (rank != odd_rank)
        return clip_ranks_sum(ranks, x, 4, &error) == 0;
    for (size_t r = 0; r < MOST; r++)
        sizes[r] = 4;
    switch (odd_call) {
    case 0:
        return clip_ranks_sum(ranks, x, 3, &error) == 0;
    case 1:
        return clip_ranks_sum_real(ranks, real, 2, &error) == 0;
    case 2:
        return clip_ranks_barrier(ranks, &error) == 0;
    case 3:
        return clip_ranks_gather(ranks, all, sizes, &error) == 0;
    case 4:
        return clip_ranks_end(ranks, &error) == 0;
    case 5:
        clip_ranks_fail(ranks, "step 7: no room");
        return 1;
    case 6:
        clip_ranks_close(ranks);
        return 0;
    case 7:
        raise(SIGKILL);
    }
    return 0;
}

static void test_mismatches(void)
{
    static const char *const wants[] = {
        "2: text: call 2: it sums 12 bytes of floats, where rank 0 sums 16 bytes of floats: ",
        "2: text: call 2: it sums 16 bytes of doubles, where rank 0 sums 16 bytes of floats: ",
        "2: text: call 2: it waits for all, where rank 0 sums 16 bytes of floats: ",
        "2: text: call 2: it gathers 12 bytes, where rank 0 sums 16 bytes of floats: ",
        "2: text: call 2: it ends, where rank 0 sums 16 bytes of floats: ",
        "2: text: step 7: no room",
        "2: text: its process has ended",
        "2: text: its process has ended",
    };
    int failed;
    odd_rank = 2;
    for (odd_call = 0; odd_call < (int)(sizeof wants / sizeof *wants); odd_call++) {
        const char *text = run(differ, 3, &failed);
        CHECK(failed >= 1 && strncmp(text, wants[odd_call], strlen(wants[odd_call])) == 0, "%d: %s", odd_call,
              text);
    }
}

static int bad_tiles(size_t rank, size_t size)
{
    struct clip_ranks *ranks;
    struct clip_error error;
    (void)size;
    size_t sizes[2] = {rank == 0 ? 4 : 6, rank == 0 ? 6 : 4}; /* they do not agree who has what */
    NEED(clip_ranks_open(&ranks, "loss", &error) == 0);
    char *all = clip_ranks_memory(ranks, 10, &error);
    NEED(all);
    return clip_ranks_gather(ranks, all, sizes, &error) == 0;
}

/* Only rank 0 has the stage; the other's page ends well. */
static int one_lacks(size_t rank, size_t size)
{
    struct clip_ranks *ranks;
    struct clip_error error;
    (void)size;
    if (rank == 1)
        return 0;
    NEED(clip_ranks_open(&ranks, "image", &error) == 0);
    return clip_ranks_barrier(ranks, &error) == 0;
}

static int two_of_it(size_t rank, size_t size)
{
    struct clip_ranks *one, *two;
    struct clip_error error;
    (void)size;
    NEED(clip_ranks_open(&one, "image", &error) == 0);
    if (rank == 0)
        return clip_ranks_open(&two, "image", &error) == 0;
    return clip_ranks_barrier(one, &error) == 0;
}

static void test_pages(void)
{
    int failed;
    const char *text = run(bad_tiles, 2, &failed);
    CHECK(strstr(text, "the part of rank 1 does not follow the one before it"), "%s", text);
    text = run(one_lacks, 2, &failed);
    CHECK(strcmp(text, "1: image: its pipeline ended before that of other ranks") == 0, "%s", text);
    text = run(two_of_it, 2, &failed);
    CHECK(strncmp(text, "0: a stage cannot join: ", 24) == 0, "%s", text);
}

/* --- pages that lie --- */

/* A request sent past the client: -1 where the server did not answer with status 0. */
static int raw_call(int socket, struct clip_ranks_request request, int fd)
{
    union {
        char data[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct clip_ranks_reply reply;
    struct iovec data = {&request, sizeof request};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.data;
        message.msg_controllen = sizeof control.data;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        return -1;
    return recv(socket, &reply, sizeof reply, 0) == (ssize_t)sizeof reply ? reply.status : -1;
}

static int memory(size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd >= 0 && ftruncate(fd, (off_t)size) == 0 ? fd : -1;
}

static struct clip_ranks_request lie;
static int lie_memory; /* 0: memory of one page; 1: less than it says; 2: not a memfd; 3: none at all */

static int lying(size_t rank, size_t size)
{
    struct clip_ranks_request hello = {
        .version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_HELLO, .name = "image"};
    struct clip_error error = {""};
    int pair[2], null = open("/dev/null", O_RDWR);
    (void)size;
    NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    struct clip_ranks_request need = {.version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_MEMORY, .size = 4096};
    char door[2] = {0};
    (void)door;
    /* HELLO goes through the door, its reply comes on the pair. */
    union {
        char data[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec data = {&hello, sizeof hello};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.data,
                             .msg_controllen = sizeof control.data};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &pair[1], sizeof(int));
    struct clip_ranks_reply reply;
    NEED(sendmsg(atoi(getenv("CLIP_RANKS")), &message, 0) > 0);
    close(pair[1]);
    NEED(recv(pair[0], &reply, sizeof reply, 0) == (ssize_t)sizeof reply);
    int fd = lie_memory == 2 ? null : lie_memory == 3 ? -1 : memory(lie_memory == 1 ? 4095 : 4096);
    if (raw_call(pair[0], need, rank == 0 ? memory(4096) : fd) != 0)
        return 1;
    struct clip_ranks_request call = {
        .version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_SUM, .type = 1, .size = 64};
    if (rank == 1)
        call = lie;
    NEED(rank == 0 || lie_memory || ftruncate(fd, 16) != 0); /* it cannot be made shorter under the server */
    return raw_call(pair[0], call, -1) == 0;
}

static void test_lies(void)
{
    const struct clip_ranks_request good = {
        .version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_SUM, .type = CLIP_RANKS_FLOAT, .size = 64};
    struct clip_ranks_request lies[14];
    int failed;
    for (size_t i = 0; i < 14; i++)
        lies[i] = good;
    lies[0].size = 4100;
    lies[1].offset = 4096;
    lies[2].offset = UINT64_MAX - 60;
    lies[3].size = UINT64_MAX - 3;
    lies[4].region = 1;
    lies[5].type = 3;
    lies[6].type = CLIP_RANKS_BYTES;
    lies[7].op = 99;
    lies[8].offset = 2;
    lies[9].version = 9;
    lies[10] = (struct clip_ranks_request){
        .version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_GATHER, .size = 64, .begin = 32, .own = 33};
    lies[11] = (struct clip_ranks_request){.version = CLIP_RANKS_VERSION,
                                           .op = CLIP_RANKS_GATHER,
                                           .size = 64,
                                           .begin = 65,
                                           .own = UINT64_MAX - 10};
    lies[12].op = CLIP_RANKS_HELLO;
    lies[13] =
        (struct clip_ranks_request){.version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_MEMORY, .size = 1 << 20};
    lie_memory = 0;
    for (size_t i = 0; i < 14; i++) {
        lie = lies[i];
        const char *text = run(lying, 2, &failed);
        CHECK(strncmp(text, "1: image: ", 10) == 0, "%zu: %s", i, text);
    }
    lie = good;
    for (lie_memory = 1; lie_memory <= 3; lie_memory++) {
        const char *text = run(lying, 2, &failed);
        CHECK(strcmp(text, "1: image: its shared memory cannot be mapped") == 0, "%d: %s", lie_memory, text);
    }
}

int main(void)
{
    test_one();
    test_calls();
    test_channels();
    test_mismatches();
    test_pages();
    test_lies();
    return check_end();
}
