/* What a stage and clip-ranks say to each other: packets on a SOCK_SEQPACKET socket, in the host's byte
 * order.
 *
 * The page's processes inherit one socket, the door, whose number is in CLIP_RANKS. A stage makes a pair of
 * its own and sends one end through the door with HELLO. From then on it sends one request at a time and
 * waits for its reply. Sums and the like happen in memory that both map: MEMORY sends its descriptor. */
#ifndef CLIP_TRAIN_RANKS_PROTOCOL_H
#define CLIP_TRAIN_RANKS_PROTOCOL_H

#include <stdint.h>

#define CLIP_RANKS_VERSION 2

enum clip_ranks_op {
    CLIP_RANKS_HELLO = 1, /* name: the channel; with the descriptor of the stage's socket; through the door */
    CLIP_RANKS_MEMORY,    /* size; with the descriptor of a memfd of that size: the next region */
    CLIP_RANKS_SUM,       /* type; region, offset, size: added in place, in the order of ranks */
    CLIP_RANKS_REDUCE,    /* the same; begin, own: the bytes that become the sum, others are undefined */
    CLIP_RANKS_GATHER,    /* region, offset, size of the whole; begin, own: this rank's bytes; in place */
    CLIP_RANKS_BROADCAST, /* region, offset, size: rank 0's bytes */
    CLIP_RANKS_BARRIER,
    CLIP_RANKS_BYE, /* the end of a channel; an end of file without it fails the run */
    CLIP_RANKS_FAIL /* text: the stage's last words; no reply */
};

enum clip_ranks_type { CLIP_RANKS_BYTES, CLIP_RANKS_FLOAT, CLIP_RANKS_DOUBLE };

/* Strings are terminated. */
struct clip_ranks_request {
    uint32_t version, op, type, region;
    uint64_t offset, size, begin, own; /* bytes */
    char name[32], text[200];
};

struct clip_ranks_reply {
    int32_t status; /* 0, or -1 with text */
    uint32_t rank, size;
    char text[244];
};

#endif
