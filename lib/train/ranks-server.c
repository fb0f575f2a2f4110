#include "train/ranks-server.h"

#include "base/threads.h"
#include "train/ranks-protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REGIONS = 64, CHANNELS = 64, FDS = 4, PACKETS = 1000 };

/* A stage of a page. */
struct peer {
    int fd;
    size_t page;
    struct channel *channel;
    struct region {
        char *data;
        size_t size;
    } regions[REGIONS];
    uint32_t region_count;
    int waiting; /* for the reply of `call` */
    int done;    /* said BYE */
    uint64_t calls;
    struct clip_ranks_call call;
};

/* The stages of one name. */
struct channel {
    char name[32];
    struct peer **peers; /* [pages]: NULL: not (or no longer) there */
    size_t waiting;
    int on_wire; /* the call of its one page is under way */
    void *wire_state;
};

struct door {
    int fd; /* -1: closed */
    int ended;
};

struct clip_ranks_server {
    size_t pages, first, size;
    const struct clip_ranks_wire *wire;
    struct clip_pool *pool; /* for sums here, while the stages wait; NULL with a wire */
    int epoll;
    struct door *doors; /* [pages] */
    struct channel channels[CHANNELS];
    size_t channel_count, busy;
    int finished; /* calls since the last run */
    int failed;
    struct clip_ranks_failure failure;
};

/* --- what a call is --- */

static const char *op_name(uint32_t op)
{
    switch (op) {
    case CLIP_RANKS_SUM:
        return "sums";
    case CLIP_RANKS_REDUCE:
        return "reduces";
    case CLIP_RANKS_GATHER:
        return "gathers";
    case CLIP_RANKS_BROADCAST:
        return "broadcasts";
    case CLIP_RANKS_BARRIER:
        return "waits for all";
    default:
        return "ends";
    }
}

static void describe_call(char out[80], const struct clip_ranks_header *header)
{
    static const char *const types[] = {"bytes", "bytes of floats", "bytes of doubles"};
    if (header->op == CLIP_RANKS_BARRIER || header->op == CLIP_RANKS_BYE)
        snprintf(out, 80, "%s", op_name(header->op));
    else
        snprintf(out, 80, "%s %llu %s", op_name(header->op), (unsigned long long)header->size,
                 types[header->type]);
}

int clip_ranks_compare(const struct clip_ranks_call *first, const struct clip_ranks_call *other, size_t rank,
                       struct clip_error *error)
{
    const struct clip_ranks_header *a = &first->header, *b = &other->header;
    char one[80], two[80];
    if (a->op == b->op && a->type == b->type && a->size == b->size && a->number == b->number)
        return 0;
    describe_call(one, a);
    describe_call(two, b);
    return clip_fail(error,
                     "call %llu: it %s, where rank 0 %s: the ranks' pipelines or data differ (rank %zu)",
                     (unsigned long long)b->number, two, one, rank);
}

int clip_ranks_tiled(uint32_t op)
{
    return op == CLIP_RANKS_REDUCE || op == CLIP_RANKS_GATHER;
}

int clip_ranks_check_tiles(const struct clip_ranks_tile *tiles, size_t size, uint64_t whole,
                           struct clip_error *error)
{
    uint64_t end = 0;
    for (size_t r = 0; r < size; r++) {
        if (tiles[r].begin != end || tiles[r].own > whole - end)
            return clip_fail(error, "the part of rank %zu does not follow the one before it", r);
        end += tiles[r].own;
    }
    return end == whole ? 0 : clip_fail(error, "the parts are less than the whole");
}

/* Vectors that the compiler maps to what the processor has; what they point at is aligned to its elements. */
typedef float floats __attribute__((vector_size(32), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(32), aligned(8), may_alias));

void clip_ranks_add(uint32_t type, void *sum, const void *x, size_t bytes)
{
    size_t whole = bytes / 32;
    if (type == CLIP_RANKS_FLOAT) {
        floats *a = sum;
        const floats *b = x;
        for (size_t i = 0; i < whole; i++)
            a[i] += b[i];
        for (size_t i = whole * 8; i < bytes / sizeof(float); i++)
            ((float *)sum)[i] += ((const float *)x)[i];
    } else {
        doubles *a = sum;
        const doubles *b = x;
        for (size_t i = 0; i < whole; i++)
            a[i] += b[i];
        for (size_t i = whole * 4; i < bytes / sizeof(double); i++)
            ((double *)sum)[i] += ((const double *)x)[i];
    }
}

/* --- failing --- */

/* The first cause stays; but a stage's own words are better than that its process ended. */
static void fail_run(struct clip_ranks_server *server, size_t page, int certain, const char *channel,
                     const char *text)
{
    size_t rank = server->first + page;
    if (server->failed && !(certain && !server->failure.certain && server->failure.rank == rank))
        return;
    server->failed = 1;
    server->failure.rank = rank;
    server->failure.certain = certain;
    snprintf(server->failure.text, sizeof server->failure.text, "%s%s%s", channel, *channel ? ": " : "",
             text);
}

static void free_peer(struct clip_ranks_server *server, struct peer *peer)
{
    struct channel *channel = peer->channel;
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, peer->fd, NULL);
    if (channel->on_wire) /* its memory is in use */
        return;
    close(peer->fd);
    for (uint32_t i = 0; i < peer->region_count; i++)
        munmap(peer->regions[i].data, peer->regions[i].size);
    channel->waiting -= (size_t)peer->waiting;
    channel->peers[peer->page] = NULL;
    free(peer);
}

static void fail_peer(struct clip_ranks_server *server, const struct peer *peer, int certain,
                      const char *text)
{
    fail_run(server, peer->page, certain, peer->channel->name, text);
}

/* --- replies --- */

static void send_reply(struct clip_ranks_server *server, struct peer *peer)
{
    const struct clip_ranks_reply reply = {.rank = (uint32_t)(server->first + peer->page),
                                           .size = (uint32_t)server->size};
    if (send(peer->fd, &reply, sizeof reply, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof reply)
        fail_peer(server, peer, 0, "its process has ended");
}

/* The channel's call is done on all ranks. */
static void finish_call(struct clip_ranks_server *server, struct channel *channel)
{
    for (size_t page = 0; page < server->pages; page++) {
        struct peer *peer = channel->peers[page];
        peer->done = peer->call.header.op == CLIP_RANKS_BYE;
        peer->waiting = 0;
        send_reply(server, peer);
    }
    channel->waiting = 0;
    server->finished++;
}

/* --- calls among the pages of this process --- */

enum { BLOCK = 16 << 10, TASK = 16 * BLOCK };

struct work {
    const struct clip_ranks_server *server;
    struct peer *const *peers;
};

/* The bytes of [begin, *end) in a rank's part: from the result up to *end. */
static size_t overlap(const struct clip_ranks_call *call, size_t begin, size_t *end)
{
    size_t last = call->begin + call->own;
    begin = begin > call->begin ? begin : call->begin;
    *end = *end < last ? *end : last;
    return begin;
}

/* A task: adds TASK bytes of each page's array, in order; each gets what is in its part. Blocks stay in the
 * cache. */
static void sum_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct work *work = context;
    _Alignas(64) char block[BLOCK];
    const struct clip_ranks_header *header = &work->peers[0]->call.header;
    size_t end = header->size - i * TASK < TASK ? header->size : (i + 1) * TASK;
    for (size_t done = i * TASK; done < end; done += BLOCK) {
        size_t bytes = end - done < BLOCK ? end - done : BLOCK;
        memcpy(block, work->peers[0]->call.data + done, bytes);
        for (size_t page = 1; page < work->server->pages; page++)
            clip_ranks_add(header->type, block, work->peers[page]->call.data + done, bytes);
        for (size_t page = 0; page < work->server->pages; page++) {
            const struct clip_ranks_call *call = &work->peers[page]->call;
            size_t to = done + bytes, from = overlap(call, done, &to);
            if (from < to)
                memcpy(call->data + from, block + (from - done), to - from);
        }
    }
}

/* A task: gives what TASK bytes have of each page's part to the others. */
static void gather_task(void *context, size_t i, int thread)
{
    (void)thread;
    const struct work *work = context;
    size_t size = work->peers[0]->call.header.size, last = size - i * TASK < TASK ? size : (i + 1) * TASK;
    for (size_t page = 0; page < work->server->pages; page++) {
        const struct clip_ranks_call *part = &work->peers[page]->call;
        size_t end = last, begin = overlap(part, i * TASK, &end);
        for (size_t other = 0; other < work->server->pages && begin < end; other++)
            if (other != page)
                memcpy(work->peers[other]->call.data + begin, part->data + begin, end - begin);
    }
}

static void run_tasks(const struct clip_ranks_server *server, const struct channel *channel,
                      void (*task)(void *, size_t, int))
{
    struct work work = {server, channel->peers};
    size_t size = channel->peers[0]->call.header.size;
    clip_pool_run(server->pool, (size + TASK - 1) / TASK, task, &work);
}

static void broadcast_here(const struct clip_ranks_server *server, const struct channel *channel)
{
    const struct clip_ranks_call *first = &channel->peers[0]->call;
    for (size_t page = 1; page < server->pages && first->header.size; page++)
        memcpy(channel->peers[page]->call.data, first->data, first->header.size);
}

static int check_here(struct clip_ranks_server *server, const struct channel *channel)
{
    const struct clip_ranks_call *first = &channel->peers[0]->call;
    struct clip_error error;
    for (size_t page = 1; page < server->pages; page++)
        if (clip_ranks_compare(first, &channel->peers[page]->call, page, &error) != 0) {
            fail_run(server, page, 1, channel->name, error.text);
            return -1;
        }
    if (!clip_ranks_tiled(first->header.op))
        return 0;
    struct clip_ranks_tile tiles[server->pages];
    for (size_t page = 0; page < server->pages; page++)
        tiles[page] =
            (struct clip_ranks_tile){channel->peers[page]->call.begin, channel->peers[page]->call.own};
    if (clip_ranks_check_tiles(tiles, server->pages, first->header.size, &error) == 0)
        return 0;
    fail_run(server, 0, 1, channel->name, error.text);
    return -1;
}

/* All pages have made their call. */
static void call_here(struct clip_ranks_server *server, struct channel *channel)
{
    if (check_here(server, channel) != 0)
        return;
    switch (channel->peers[0]->call.header.op) {
    case CLIP_RANKS_SUM:
    case CLIP_RANKS_REDUCE:
        run_tasks(server, channel, sum_task);
        break;
    case CLIP_RANKS_GATHER:
        run_tasks(server, channel, gather_task);
        break;
    case CLIP_RANKS_BROADCAST:
        broadcast_here(server, channel);
        break;
    default:
        break;
    }
    finish_call(server, channel);
}

/* --- calls on the wire --- */

static void call_on_wire(struct clip_ranks_server *server, struct channel *channel)
{
    struct clip_error error;
    if (server->wire->begin(server->wire->context, channel->name, &channel->peers[0]->call,
                            &channel->wire_state, &error) != 0) {
        fail_run(server, 0, 1, channel->name, error.text);
        return;
    }
    channel->on_wire = 1;
    server->busy++;
}

static void progress_wire(struct clip_ranks_server *server)
{
    struct clip_error error;
    for (size_t i = 0; i < server->channel_count && server->busy && !server->failed; i++) {
        struct channel *channel = &server->channels[i];
        if (!channel->on_wire)
            continue;
        int done = server->wire->progress(server->wire->context, channel->wire_state, &error);
        if (done < 0)
            fail_run(server, 0, 1, channel->name, error.text);
        if (done <= 0)
            continue;
        channel->on_wire = 0;
        server->busy--;
        if (channel->peers[0])
            finish_call(server, channel);
    }
}

/* --- requests --- */

/* A page that has ended makes no more calls. */
static void check_ended(struct clip_ranks_server *server, const struct channel *channel)
{
    for (size_t page = 0; page < server->pages && channel->waiting; page++)
        if (server->doors[page].ended && !channel->peers[page])
            fail_run(server, page, 0, channel->name, "its pipeline ended before that of other ranks");
}

static void take_call(struct clip_ranks_server *server, struct peer *peer)
{
    struct channel *channel = peer->channel;
    peer->waiting = 1;
    peer->call.header.number = ++peer->calls;
    channel->waiting++;
    if (server->failed)
        return;
    if (channel->waiting < server->pages)
        check_ended(server, channel);
    else if (server->wire)
        call_on_wire(server, channel);
    else
        call_here(server, channel);
}

/* The array of a call lies in the peer's memory, and the rank's part in the array. */
static int check_array(const struct peer *peer, const struct clip_ranks_request *request)
{
    static const uint64_t sizes[] = {1, sizeof(float), sizeof(double)};
    if (request->region >= peer->region_count || request->type >= sizeof sizes / sizeof *sizes)
        return -1;
    const struct region *region = &peer->regions[request->region];
    uint64_t element = sizes[request->type];
    if (request->offset > region->size || request->size > region->size - request->offset ||
        request->offset % element || request->size % element)
        return -1;
    if (request->begin > request->size || request->own > request->size - request->begin ||
        request->begin % element || request->own % element)
        return -1;
    int adds = request->op == CLIP_RANKS_SUM || request->op == CLIP_RANKS_REDUCE;
    return adds == (request->type == CLIP_RANKS_BYTES) ? -1 : 0;
}

/* Maps the memory that came with the request. It is sealed against being made shorter, which would end the
 * server where it touches what is gone. */
static int take_memory(struct clip_ranks_server *server, struct peer *peer, uint64_t size, int fd)
{
    struct stat status;
    if (peer->region_count == REGIONS || fd < 0 || size == 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0 ||
        fstat(fd, &status) != 0 || (uint64_t)status.st_size < size)
        return -1;
    char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return -1;
    peer->regions[peer->region_count++] = (struct region){data, size};
    send_reply(server, peer);
    return 0;
}

static void take_request(struct clip_ranks_server *server, struct peer *peer,
                         struct clip_ranks_request *request, int fd)
{
    request->text[sizeof request->text - 1] = '\0';
    if (request->version != CLIP_RANKS_VERSION) {
        fail_peer(server, peer, 1, "it is of another version than clip-ranks");
    } else if (request->op == CLIP_RANKS_FAIL) {
        char text[sizeof request->text];
        clip_printable(text, sizeof text, request->text, strlen(request->text));
        fail_peer(server, peer, 1, text);
    } else if (peer->waiting || peer->done) {
        fail_peer(server, peer, 1, "a request came before the reply to the one before it");
    } else if (request->op == CLIP_RANKS_MEMORY) {
        if (take_memory(server, peer, request->size, fd) != 0)
            fail_peer(server, peer, 1, "its shared memory cannot be mapped");
    } else if (request->op == CLIP_RANKS_BARRIER || request->op == CLIP_RANKS_BYE) {
        peer->call = (struct clip_ranks_call){.header = {.op = request->op}};
        take_call(server, peer);
    } else if (request->op < CLIP_RANKS_SUM || request->op > CLIP_RANKS_BROADCAST ||
               check_array(peer, request) != 0) {
        fail_peer(server, peer, 1, "a request that clip-ranks does not understand");
    } else {
        int tiled = clip_ranks_tiled(request->op);
        peer->call = (struct clip_ranks_call){{request->op, request->type, request->size, 0},
                                              tiled ? request->begin : 0,
                                              tiled ? request->own : request->size,
                                              peer->regions[request->region].data + request->offset};
        take_call(server, peer);
    }
}

/* --- packets --- */

/* The first of the descriptors that came with a packet, or -1; others are closed. */
static int take_descriptor(struct msghdr *message)
{
    int first = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (first < 0)
                first = fd;
            else
                close(fd);
        }
    }
    return first;
}

/* Reads a packet: its bytes, 0 at the end, -1 where there is none now; *fd is the descriptor with it. */
static ssize_t read_packet(int from, struct clip_ranks_request *request, int *fd)
{
    union {
        char data[CMSG_SPACE(FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec data = {request, sizeof *request};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.data,
                             .msg_controllen = sizeof control.data};
    ssize_t got = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    *fd = got < 0 ? -1 : take_descriptor(&message);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : 0;
    return got;
}

static void read_peer(struct clip_ranks_server *server, struct peer *peer)
{
    struct clip_ranks_request request;
    int fd;
    ssize_t got = read_packet(peer->fd, &request, &fd);
    if (got == (ssize_t)sizeof request)
        take_request(server, peer, &request, fd);
    else if (got > 0)
        fail_peer(server, peer, 1, "a packet that clip-ranks does not understand");
    else if (got == 0 && !peer->done)
        fail_peer(server, peer, 0, "its process has ended");
    if (fd >= 0)
        close(fd);
    if (got == 0)
        free_peer(server, peer);
}

/* The channel of a name, a new one where there is none; NULL where there are too many. */
static struct channel *find_channel(struct clip_ranks_server *server, const char *name)
{
    for (size_t i = 0; i < server->channel_count; i++)
        if (strcmp(server->channels[i].name, name) == 0)
            return &server->channels[i];
    if (server->channel_count == CHANNELS)
        return NULL;
    struct channel *channel = &server->channels[server->channel_count];
    channel->peers = calloc(server->pages, sizeof *channel->peers);
    if (!channel->peers)
        return NULL;
    strcpy(channel->name, name);
    server->channel_count++;
    return channel;
}

/* Takes the socket of a stage. -1: it is not one, or its name is taken; the descriptor stays the caller's. */
static int take_stage(struct clip_ranks_server *server, size_t page, struct clip_ranks_request *hello, int fd)
{
    hello->name[sizeof hello->name - 1] = '\0';
    if (hello->version != CLIP_RANKS_VERSION || hello->op != CLIP_RANKS_HELLO || fd < 0 || !hello->name[0] ||
        strspn(hello->name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(hello->name))
        return -1;
    struct channel *channel = find_channel(server, hello->name);
    struct peer *peer = channel && !channel->peers[page] ? calloc(1, sizeof *peer) : NULL;
    if (!peer)
        return -1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(peer);
        return -1;
    }
    peer->fd = fd;
    peer->page = page;
    peer->channel = channel;
    channel->peers[page] = peer;
    send_reply(server, peer);
    return 0;
}

static void read_door(struct clip_ranks_server *server, size_t page)
{
    struct clip_ranks_request request;
    struct door *door = &server->doors[page];
    int fd;
    ssize_t got = read_packet(door->fd, &request, &fd);
    if (got == 0) { /* all processes of the page have ended */
        epoll_ctl(server->epoll, EPOLL_CTL_DEL, door->fd, NULL);
        close(door->fd);
        door->fd = -1;
    } else if (got > 0 && (got != (ssize_t)sizeof request || take_stage(server, page, &request, fd) != 0)) {
        if (fd >= 0)
            close(fd);
        fail_run(server, page, 1, "",
                 "a stage cannot join: it is of another version, or there are two of it");
    } else {
        return;
    }
    if (got == 0 && fd >= 0)
        close(fd);
}

/* --- the server --- */

/* A door is told from a stage by where its event points. */
static int door_of(const struct clip_ranks_server *server, const void *pointer, size_t *page)
{
    for (*page = 0; *page < server->pages; ++*page)
        if (pointer == &server->doors[*page])
            return 1;
    return 0;
}

int clip_ranks_server_run(struct clip_ranks_server *server)
{
    struct epoll_event event;
    server->finished = 0;
    /* One event at a time: what is done for one may free what another points at. */
    for (int i = 0; i < PACKETS && epoll_wait(server->epoll, &event, 1, 0) > 0; i++) {
        size_t page;
        if (door_of(server, event.data.ptr, &page))
            read_door(server, page);
        else
            read_peer(server, event.data.ptr);
    }
    if (server->wire)
        progress_wire(server);
    return server->failed ? -1 : server->finished;
}

size_t clip_ranks_server_busy(const struct clip_ranks_server *server)
{
    return server->busy;
}

void clip_ranks_server_page_ended(struct clip_ranks_server *server, size_t page)
{
    server->doors[page].ended = 1;
    for (size_t i = 0; i < server->channel_count; i++)
        check_ended(server, &server->channels[i]);
}

const struct clip_ranks_failure *clip_ranks_server_failure(const struct clip_ranks_server *server)
{
    return server->failed ? &server->failure : NULL;
}

int clip_ranks_server_fd(const struct clip_ranks_server *server)
{
    return server->epoll;
}

static int add_doors(struct clip_ranks_server *server, const int *doors, struct clip_error *error)
{
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll < 0)
        return clip_fail_errno(error, "epoll");
    for (size_t i = 0; i < server->pages; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server->doors[i]};
        server->doors[i].fd = doors[i];
        if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, doors[i], &event) != 0)
            return clip_fail_errno(error, "epoll");
    }
    return 0;
}

struct clip_ranks_server *clip_ranks_server_new(const int *doors, size_t pages, size_t first, size_t size,
                                                const struct clip_ranks_wire *wire, struct clip_error *error)
{
    struct clip_ranks_server *server = calloc(1, sizeof *server);
    if (!server || !(server->doors = calloc(pages, sizeof *server->doors))) {
        free(server);
        clip_fail_memory(error, "the server");
        return NULL;
    }
    server->pages = pages;
    server->first = first;
    server->size = size;
    server->wire = wire;
    for (size_t i = 0; i < pages; i++)
        server->doors[i].fd = -1;
    int threads = clip_processors() < (int)pages ? clip_processors() : (int)pages;
    if (add_doors(server, doors, error) == 0 && (wire || (server->pool = clip_pool_new(threads, error))))
        return server;
    clip_ranks_server_free(server);
    return NULL;
}

void clip_ranks_server_free(struct clip_ranks_server *server)
{
    if (!server)
        return;
    for (size_t i = 0; i < server->channel_count; i++) {
        server->channels[i].on_wire = 0;
        for (size_t page = 0; page < server->pages; page++)
            if (server->channels[i].peers[page])
                free_peer(server, server->channels[i].peers[page]);
        free(server->channels[i].peers);
    }
    for (size_t i = 0; i < server->pages; i++)
        if (server->doors[i].fd >= 0)
            close(server->doors[i].fd);
    if (server->epoll >= 0)
        close(server->epoll);
    clip_pool_free(server->pool);
    free(server->doors);
    free(server);
}
