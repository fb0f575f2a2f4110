/* The server of clip-ranks: stages of the same part, one of each page, meet on a channel and make the same
 * calls (train/ranks-protocol.h). Calls are done in the memory that the pages share with it, and with a wire,
 * between processes.
 *
 * It never waits: clip_ranks_server_run does what can be done now. Everything that comes from a page is
 * checked before it is used: one that says something else fails the run, and cannot make the server write
 * outside of that page's own memory. */
#ifndef CLIP_TRAIN_RANKS_SERVER_H
#define CLIP_TRAIN_RANKS_SERVER_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* A call as one rank makes it. Those of all ranks must agree in what `header` has. */
struct clip_ranks_call {
    struct clip_ranks_header {
        uint32_t op, type; /* enum clip_ranks_op, clip_ranks_type */
        uint64_t size;     /* bytes of the array */
        uint64_t number;   /* of the channel's calls */
    } header;
    uint64_t begin, own; /* the rank's bytes, where parts tile the array (clip_ranks_tiled) */
    char *data;          /* [size], aligned for the type; NULL where size is 0 */
};

/* 0, or -1 with error, which begins with neither channel nor rank: `other`, of rank `rank`, is another call
 * than rank 0's. */
int clip_ranks_compare(const struct clip_ranks_call *first, const struct clip_ranks_call *other, size_t rank,
                       struct clip_error *error);

/* sum[n] += x[n] of a type that has a sum; count in bytes. */
void clip_ranks_add(uint32_t type, void *sum, const void *x, size_t bytes);

/* 1 where each rank has a part of the array: the parts must tile it in the order of ranks. */
int clip_ranks_tiled(uint32_t op);

/* begin and own of each. */
struct clip_ranks_tile {
    uint64_t begin, own;
};
int clip_ranks_check_tiles(const struct clip_ranks_tile *tiles, size_t size, uint64_t whole,
                           struct clip_error *error);

/* How calls reach other processes; the server has one page then. */
struct clip_ranks_wire {
    void *context;
    /* Begins a call of a channel; `call` and what it points at stay until it is done. *state is the call's,
     * given back by the wire. -1 with error. */
    int (*begin)(void *context, const char *channel, const struct clip_ranks_call *call, void **state,
                 struct clip_error *error);
    /* 1 where the call is done and its state is gone, 0 where it is not yet; -1 with error. */
    int (*progress)(void *context, void *state, struct clip_error *error);
};

/* Why a run fails. */
struct clip_ranks_failure {
    size_t rank;
    int certain; /* the stage itself says so; else its process was seen to end */
    char text[560];
};

struct clip_ranks_server;

/* A server of `pages` pages, whose doors' ends these are (taken over); their ranks begin with `first`, of
 * `size` in all. wire NULL: pages == size. NULL with error. */
struct clip_ranks_server *clip_ranks_server_new(const int *doors, size_t pages, size_t first, size_t size,
                                                const struct clip_ranks_wire *wire, struct clip_error *error);
void clip_ranks_server_free(struct clip_ranks_server *server);

/* A descriptor that polls as readable when a page has said something. */
int clip_ranks_server_fd(const struct clip_ranks_server *server);

/* Does what can be done now. Returns the calls that came to their end since, or under way on the wire, for
 * the caller to know whether to wait; -1 once the run has failed. */
int clip_ranks_server_run(struct clip_ranks_server *server);

/* Calls that are under way on the wire. */
size_t clip_ranks_server_busy(const struct clip_ranks_server *server);

/* The page's processes have ended: calls of other ranks that would wait for it fail. */
void clip_ranks_server_page_ended(struct clip_ranks_server *server, size_t page);

/* Why the run has failed, or NULL. */
const struct clip_ranks_failure *clip_ranks_server_failure(const struct clip_ranks_server *server);

#endif
