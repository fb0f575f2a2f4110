#include "train/ranks.h"

#include "train/ranks-protocol.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes through which what lies elsewhere is copied, a piece at a time. */
enum { SCRATCH = 1 << 18, REGIONS = 64 };

struct clip_ranks {
    int socket;
    size_t rank, size;
    struct clip_exchange exchange;
    struct region {
        char *data;
        size_t size;
    } regions[REGIONS]; /* the first is the scratch */
    uint32_t count;
};

size_t clip_ranks_rank(const struct clip_ranks *ranks)
{
    return ranks ? ranks->rank : 0;
}

size_t clip_ranks_size(const struct clip_ranks *ranks)
{
    return ranks ? ranks->size : 1;
}

const struct clip_exchange *clip_ranks_exchange(const struct clip_ranks *ranks)
{
    return ranks ? &ranks->exchange : NULL;
}

/* Where the share of `rank` begins: n rank / size, which may not fit before it is divided. */
static size_t share_begin(size_t n, size_t rank, size_t size)
{
    return (size_t)((unsigned __int128)n * rank / size);
}

size_t clip_ranks_share(size_t n, size_t rank, size_t size, size_t *first)
{
    *first = share_begin(n, rank, size);
    return share_begin(n, rank + 1, size) - *first;
}

/* --- packets --- */

/* Sends a request, with descriptor `fd` unless -1. */
static int send_request(int socket, const struct clip_ranks_request *request, int fd,
                        struct clip_error *error)
{
    union {
        char data[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec data = {(void *)request, sizeof *request};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.data;
        message.msg_controllen = sizeof control.data;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *request ? 0 : clip_fail_errno(error, "clip-ranks");
}

static int read_reply(struct clip_ranks *ranks, struct clip_ranks_reply *reply, struct clip_error *error)
{
    ssize_t got;
    do
        got = recv(ranks->socket, reply, sizeof *reply, 0);
    while (got < 0 && errno == EINTR);
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return clip_fail(error, "clip-ranks has ended");
    if (got != (ssize_t)sizeof *reply)
        return got < 0 ? clip_fail_errno(error, "clip-ranks") : clip_fail(error, "clip-ranks: a short reply");
    if (reply->status != 0)
        return clip_fail(error, "%.*s", (int)sizeof reply->text, reply->text);
    return 0;
}

/* A request and its reply. */
static int call_server(struct clip_ranks *ranks, struct clip_ranks_request request, int fd,
                       struct clip_error *error)
{
    struct clip_ranks_reply reply;
    request.version = CLIP_RANKS_VERSION;
    return send_request(ranks->socket, &request, fd, error) == 0 ? read_reply(ranks, &reply, error) : -1;
}

/* --- memory --- */

static int add_region(struct clip_ranks *ranks, size_t bytes, struct clip_error *error)
{
    struct region *region = &ranks->regions[ranks->count];
    if (ranks->count == REGIONS)
        return clip_fail(error, "ranks: too many regions of shared memory");
    int fd = memfd_create("clip-ranks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || bytes > (size_t)LLONG_MAX || ftruncate(fd, (off_t)bytes) != 0) {
        clip_fail_errno(error, "%zu bytes of shared memory", bytes);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int status = data == MAP_FAILED
                     ? clip_fail_errno(error, "%zu bytes of shared memory", bytes)
                     : call_server(ranks, (struct clip_ranks_request){.op = CLIP_RANKS_MEMORY, .size = bytes},
                                   fd, error);
    close(fd);
    if (status == 0) {
        *region = (struct region){data, bytes};
        ranks->count++;
    } else if (data != MAP_FAILED) {
        munmap(data, bytes);
    }
    return status;
}

void *clip_ranks_memory(struct clip_ranks *ranks, size_t bytes, struct clip_error *error)
{
    return add_region(ranks, bytes ? bytes : 1, error) == 0 ? ranks->regions[ranks->count - 1].data : NULL;
}

/* Sets where data[bytes] is; 0 where it is not shared. */
static int find_region(const struct clip_ranks *ranks, const void *data, size_t bytes,
                       struct clip_ranks_request *request)
{
    uintptr_t at = (uintptr_t)data;
    for (uint32_t i = 0; i < ranks->count; i++) {
        uintptr_t begin = (uintptr_t)ranks->regions[i].data;
        if (at < begin || at - begin > ranks->regions[i].size ||
            bytes > ranks->regions[i].size - (at - begin))
            continue;
        request->region = i;
        request->offset = at - begin;
        request->size = bytes;
        return 1;
    }
    return 0;
}

/* The call on data[bytes], which is copied through the scratch where it is not shared. */
static int call_on(struct clip_ranks *ranks, enum clip_ranks_op op, enum clip_ranks_type type, void *data,
                   size_t bytes, struct clip_error *error)
{
    struct clip_ranks_request request = {.op = op, .type = type};
    if (find_region(ranks, data, bytes, &request))
        return call_server(ranks, request, -1, error);
    char *scratch = ranks->regions[0].data;
    for (size_t done = 0; done < bytes;) {
        size_t piece = bytes - done < SCRATCH ? bytes - done : SCRATCH;
        memcpy(scratch, (char *)data + done, piece);
        request.size = piece;
        if (call_server(ranks, request, -1, error) != 0)
            return -1;
        memcpy((char *)data + done, scratch, piece);
        done += piece;
    }
    return 0;
}

/* --- the calls --- */

int clip_ranks_sum(struct clip_ranks *ranks, float *x, size_t n, struct clip_error *error)
{
    return ranks ? call_on(ranks, CLIP_RANKS_SUM, CLIP_RANKS_FLOAT, x, n * sizeof *x, error) : 0;
}

int clip_ranks_sum_real(struct clip_ranks *ranks, double *x, size_t n, struct clip_error *error)
{
    return ranks ? call_on(ranks, CLIP_RANKS_SUM, CLIP_RANKS_DOUBLE, x, n * sizeof *x, error) : 0;
}

static int sum_exchanged(void *context, double *x, size_t n, struct clip_error *error)
{
    return clip_ranks_sum_real(context, x, n, error);
}

/* A call on parts of all[sum of sizes], in shared memory. */
static int call_on_parts(struct clip_ranks *ranks, struct clip_ranks_request request, void *all,
                         const size_t *sizes, struct clip_error *error)
{
    if (!ranks)
        return 0;
    size_t whole = 0;
    for (size_t r = 0; r < ranks->size; r++) {
        if (r == ranks->rank)
            request.begin = whole;
        whole += sizes[r];
    }
    request.own = sizes[ranks->rank];
    if (!find_region(ranks, all, whole, &request))
        return clip_fail(error, "ranks: the array is not in shared memory");
    return call_server(ranks, request, -1, error);
}

int clip_ranks_gather(struct clip_ranks *ranks, void *all, const size_t *sizes, struct clip_error *error)
{
    return call_on_parts(ranks, (struct clip_ranks_request){.op = CLIP_RANKS_GATHER}, all, sizes, error);
}

int clip_ranks_reduce(struct clip_ranks *ranks, float *all, const size_t *sizes, struct clip_error *error)
{
    return call_on_parts(ranks,
                         (struct clip_ranks_request){.op = CLIP_RANKS_REDUCE, .type = CLIP_RANKS_FLOAT}, all,
                         sizes, error);
}

int clip_ranks_broadcast(struct clip_ranks *ranks, void *x, size_t bytes, struct clip_error *error)
{
    return ranks ? call_on(ranks, CLIP_RANKS_BROADCAST, CLIP_RANKS_BYTES, x, bytes, error) : 0;
}

int clip_ranks_barrier(struct clip_ranks *ranks, struct clip_error *error)
{
    return ranks ? call_server(ranks, (struct clip_ranks_request){.op = CLIP_RANKS_BARRIER}, -1, error) : 0;
}

int clip_ranks_end(struct clip_ranks *ranks, struct clip_error *error)
{
    return ranks ? call_server(ranks, (struct clip_ranks_request){.op = CLIP_RANKS_BYE}, -1, error) : 0;
}

void clip_ranks_fail(struct clip_ranks *ranks, const char *text)
{
    struct clip_ranks_request request = {.version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_FAIL};
    struct clip_error ignored; /* the stage has failed already */
    if (!ranks)
        return;
    strncpy(request.text, text, sizeof request.text - 1);
    send_request(ranks->socket, &request, -1, &ignored);
}

/* --- opening --- */

/* The number in an environment variable, at most `most`. */
static int read_variable(const char *name, long most, long *value, struct clip_error *error)
{
    const char *text = getenv(name);
    char *end = NULL;
    errno = 0;
    *value = text ? strtol(text, &end, 10) : -1;
    if (!text || errno || end == text || *end || *value < 0 || *value > most)
        return clip_fail(error, "%s is '%s', which clip-ranks does not set", name, text ? text : "");
    return 0;
}

/* A pair of sockets, one end of which goes through the door. */
static int enter(struct clip_ranks *ranks, int door, const char *part, struct clip_error *error)
{
    struct clip_ranks_request hello = {.version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_HELLO};
    struct clip_ranks_reply reply;
    int pair[2];
    if (strlen(part) >= sizeof hello.name)
        return clip_fail(error, "ranks: '%s' is too long a name", part);
    strcpy(hello.name, part);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return clip_fail_errno(error, "ranks: a socket");
    ranks->socket = pair[0];
    int status = send_request(door, &hello, pair[1], error);
    close(pair[1]);
    if (status != 0 || read_reply(ranks, &reply, error) != 0)
        return -1;
    ranks->rank = reply.rank;
    ranks->size = reply.size;
    return 0;
}

int clip_ranks_open(struct clip_ranks **ranks, const char *part, struct clip_error *error)
{
    long door, size, rank;
    *ranks = NULL;
    if (!getenv("CLIP_RANKS"))
        return 0;
    if (read_variable("CLIP_RANKS", INT_MAX, &door, error) != 0 ||
        read_variable("CLIP_RANK_SIZE", INT_MAX, &size, error) != 0 ||
        read_variable("CLIP_RANK", size - 1, &rank, error) != 0)
        return -1;
    if (size == 1)
        return 0;
    struct clip_ranks *new = calloc(1, sizeof *new);
    if (!new)
        return clip_fail_memory(error, "the ranks");
    new->socket = -1;
    if (enter(new, (int)door, part, error) != 0 || add_region(new, SCRATCH, error) != 0) {
        clip_ranks_close(new);
        return -1;
    }
    new->exchange = (struct clip_exchange){new, new->rank, new->size, sum_exchanged};
    *ranks = new;
    return 0;
}

void clip_ranks_close(struct clip_ranks *ranks)
{
    if (!ranks)
        return;
    for (uint32_t i = 0; i < ranks->count; i++)
        munmap(ranks->regions[i].data, ranks->regions[i].size);
    if (ranks->socket >= 0)
        close(ranks->socket);
    free(ranks);
}
