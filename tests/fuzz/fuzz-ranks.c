/* Packets of any bytes to the server of ranks, as two pages would send them: HELLO through a door, then
 * requests on the stages' sockets, some with descriptors. The input is a list of actions. The server must
 * neither crash, which it does where it writes past the memory that a page has shared, nor hang, nor say what
 * is not text. */
#include "train/ranks-protocol.h"
#include "train/ranks-server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

enum { PAGES = 2, STAGES = 4, REGION = 4096 };

/* What is left of the input. */
struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t next(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

/* A number that is small, near a limit, or anything. */
static uint64_t number(struct input *in)
{
    static const uint64_t some[] = {0,         1,          4,          8,          64,        REGION - 8,
                                    REGION,    REGION + 8, 2 * REGION, UINT32_MAX, INT64_MAX, UINT64_MAX - 7,
                                    UINT64_MAX};
    uint8_t kind = next(in);
    uint64_t value = 0;
    if (kind < 200)
        return some[kind % (sizeof some / sizeof *some)];
    for (int i = 0; i < 8; i++)
        value = value << 8 | next(in);
    return value;
}

static int memory(size_t size, int seals)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | (seals ? MFD_ALLOW_SEALING : 0));
    CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

static void send_packet(int to, const void *data, size_t size, int fd)
{
    union {
        char data[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec bytes = {(void *)data, size};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.data;
        message.msg_controllen = sizeof control.data;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL); /* full or closed: nothing is sent */
}

static struct clip_ranks_request make_request(struct input *in)
{
    static const char *const names[] = {"image", "text", "", "image-encoder-of-a-long-name-it-is", "a/b"};
    struct clip_ranks_request request = {.version = CLIP_RANKS_VERSION};
    uint8_t op = next(in);
    request.op = op < 250 ? op % 10 : (uint32_t)number(in);
    request.type = next(in) % 5;
    request.region = next(in) % 4;
    request.offset = number(in);
    request.size = number(in);
    request.begin = number(in);
    request.own = number(in);
    strncpy(request.name, names[next(in) % 5], sizeof request.name - 1);
    if (next(in) == 255)
        memset(&request.name, 'x', sizeof request.name + sizeof request.text);
    if (next(in) == 255)
        request.version = next(in);
    return request;
}

/* A descriptor to go with a packet, or -1. */
static int make_descriptor(struct input *in)
{
    int pair[2];
    switch (next(in) % 8) {
    case 0:
        return memory(REGION, 1);
    case 1:
        return memory(2 * REGION, 1);
    case 2:
        return memory(REGION, 0);
    case 3:
        return memory(0, 1);
    case 4:
        return dup(0);
    case 5:
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        close(pair[1]);
        return pair[0];
    default:
        return -1;
    }
}

static void send_request(struct input *in, int to, int fd)
{
    struct clip_ranks_request request = make_request(in);
    size_t size = sizeof request;
    if (next(in) == 255)
        size = number(in) % (sizeof request + 1);
    send_packet(to, &request, size, fd);
    if (fd >= 0)
        close(fd);
}

/* A stage of a page that joins as it should; its socket. */
static int join(struct input *in, int door)
{
    struct clip_ranks_request hello = {.version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_HELLO};
    int pair[2];
    strcpy(hello.name, next(in) % 2 ? "image" : "text");
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    send_packet(door, &hello, sizeof hello, pair[1]);
    close(pair[1]);
    return pair[0];
}

static void act(struct input *in, struct clip_ranks_server *server, int *doors, int *stages)
{
    uint8_t action = next(in), page = next(in) % PAGES;
    int *stage = &stages[next(in) % STAGES];
    switch (action % 8) {
    case 0:
        if (*stage < 0 && doors[page] >= 0)
            *stage = join(in, doors[page]);
        break;
    case 1:
        if (doors[page] >= 0)
            send_request(in, doors[page], make_descriptor(in));
        break;
    case 2:
        if (*stage >= 0)
            close(*stage);
        *stage = -1;
        break;
    case 3: {
        struct clip_ranks_request request = {
            .version = CLIP_RANKS_VERSION, .op = CLIP_RANKS_MEMORY, .size = REGION};
        int fd = memory(REGION, 1);
        if (*stage >= 0)
            send_packet(*stage, &request, sizeof request, fd);
        close(fd);
        break;
    }
    case 4:
        clip_ranks_server_page_ended(server, page);
        break;
    default:
        if (*stage >= 0)
            send_request(in, *stage, make_descriptor(in));
    }
    if (action & 128)
        clip_ranks_server_run(server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct clip_error error;
    int pair[2], doors[PAGES], ends[PAGES], stages[STAGES];
    for (int i = 0; i < PAGES; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
        ends[i] = pair[0];
        doors[i] = pair[1];
    }
    for (int i = 0; i < STAGES; i++)
        stages[i] = -1;
    struct clip_ranks_server *server = clip_ranks_server_new(ends, PAGES, 0, PAGES, NULL, &error);
    CHECK(server);
    while (in.size > 0)
        act(&in, server, doors, stages);
    clip_ranks_server_run(server);
    for (int i = 0; i < STAGES; i++)
        if (stages[i] >= 0)
            close(stages[i]);
    for (int i = 0; i < PAGES; i++)
        close(doors[i]);
    clip_ranks_server_run(server);
    const struct clip_ranks_failure *failure = clip_ranks_server_failure(server);
    CHECK(!failure || (failure->rank < PAGES && memchr(failure->text, 0, sizeof failure->text)));
    clip_ranks_server_free(server);
    return 0;
}
