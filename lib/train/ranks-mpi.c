#include "train/ranks-mpi.h"

#include "train/ranks-protocol.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* A sum goes in pieces of this size, two of each part on their way at a time; other arrays in larger ones. */
enum { PIECE = 1 << 20, SLOTS = 2, LARGE = 1 << 30 };

/* The tags of a channel, and that of notices, below the least bound that MPI allows (32767). */
enum { HEADER, CONTRIBUTION, RESULT = CONTRIBUTION + SLOTS, DATA = RESULT + SLOTS, TAGS = 8 };
enum { CHANNELS = 4000, NOTICE = CHANNELS * TAGS };

/* What a rank says of its call. */
struct hello {
    struct clip_ranks_header header;
    struct clip_ranks_tile tile;
    char channel[32];
};

/* One of the two pieces of a part that are on their way. Pieces of a part are slot, slot + SLOTS, ... */
struct slot {
    size_t piece;
    int second; /* of the two directions: of another's part the result comes back; of one's own it goes out */
    size_t left; /* requests of one's own part */
};

struct call {
    const struct clip_ranks_call *call;
    int tag;
    int begun, stuck;          /* all hellos are there; they differ, which another rank says */
    struct hello own, *hellos; /* [size] */
    unsigned char *came;       /* [size]: the rank's hello */
    MPI_Request *requests;     /* [count]; MPI_REQUEST_NULL: none */
    int *done;                 /* [count], for MPI_Testsome */
    int count, active;
    struct slot *others; /* [size][SLOTS] */
    struct slot mine[SLOTS];
    char *buffers; /* [SLOTS][size][stride], of contributions to this rank's part */
    size_t stride; /* of its largest piece */
};

struct clip_ranks_mpi {
    int rank, size;
    struct clip_ranks_wire wire;
    unsigned char *ended; /* [size]: the rank's page */
    size_t left;          /* pages that have not ended */
    size_t moved;
    MPI_Request notice, *told;
    int notice_from;
};

/* --- parts and pieces --- */

/* Where the part of rank p that it adds up begins, in bytes: its own part, or shares of whole elements. */
static size_t part_begin(const struct clip_ranks_mpi *mpi, const struct call *state, int p)
{
    const struct clip_ranks_header *header = &state->call->header;
    if (header->op == CLIP_RANKS_REDUCE)
        return p < mpi->size ? state->hellos[p].tile.begin : header->size;
    size_t element = header->type == CLIP_RANKS_DOUBLE ? sizeof(double) : sizeof(float);
    return (size_t)((unsigned __int128)(header->size / element) * (unsigned)p / (unsigned)mpi->size) *
           element;
}

static size_t pieces_of(const struct clip_ranks_mpi *mpi, const struct call *state, int p)
{
    return (part_begin(mpi, state, p + 1) - part_begin(mpi, state, p) + PIECE - 1) / PIECE;
}

/* A piece of a part: where, and its bytes. */
static char *piece_of(const struct clip_ranks_mpi *mpi, const struct call *state, int p, size_t piece,
                      int *bytes)
{
    size_t begin = part_begin(mpi, state, p) + piece * PIECE;
    size_t left = part_begin(mpi, state, p + 1) - begin;
    *bytes = (int)(left < PIECE ? left : PIECE);
    return state->call->data + begin;
}

/* A piece of a sum takes two turns: contributions, then the result, which stays where it is when reducing. */
static void next_turn(const struct call *state, struct slot *slot)
{
    int done = slot->second || state->call->header.op == CLIP_RANKS_REDUCE;
    slot->piece += done ? SLOTS : 0;
    slot->second = !done;
}

/* --- requests --- */

static void send_bytes(struct call *state, int at, const void *data, int bytes, int to, int tag)
{
    MPI_Isend(data, bytes, MPI_BYTE, to, state->tag + tag, MPI_COMM_WORLD, &state->requests[at]);
    state->active++;
}

static void receive_bytes(struct call *state, int at, void *data, int bytes, int from, int tag)
{
    MPI_Irecv(data, bytes, MPI_BYTE, from, state->tag + tag, MPI_COMM_WORLD, &state->requests[at]);
    state->active++;
}

/* Requests of a call's next phase, none of them active. */
static int make_requests(struct call *state, size_t count, struct clip_error *error)
{
    free(state->requests);
    free(state->done);
    state->requests = calloc(count + 1, sizeof *state->requests);
    state->done = calloc(count + 1, sizeof *state->done);
    if (!state->requests || !state->done)
        return clip_fail_memory(error, "a call");
    for (size_t i = 0; i < count; i++)
        state->requests[i] = MPI_REQUEST_NULL;
    state->count = (int)count;
    return 0;
}

/* --- sums --- */

/* The next step of a piece of rank p's part: what this rank has goes there, then the sum comes back. */
static void step_other(const struct clip_ranks_mpi *mpi, struct call *state, int p, int slot)
{
    struct slot *s = &state->others[p * SLOTS + slot];
    int at = p * SLOTS + slot, bytes;
    if (s->piece >= pieces_of(mpi, state, p))
        return;
    char *data = piece_of(mpi, state, p, s->piece, &bytes);
    if (!s->second)
        send_bytes(state, at, data, bytes, p, CONTRIBUTION + slot);
    else
        receive_bytes(state, at, data, bytes, p, RESULT + slot);
}

static char *buffer_of(const struct clip_ranks_mpi *mpi, const struct call *state, int slot, int from)
{
    return state->buffers + ((size_t)slot * (size_t)mpi->size + (size_t)from) * state->stride;
}

/* The next step of a piece of this rank's part: the others' contributions come, then the sum goes to them. */
static void step_mine(const struct clip_ranks_mpi *mpi, struct call *state, int slot)
{
    struct slot *s = &state->mine[slot];
    int bytes;
    if (s->piece >= pieces_of(mpi, state, mpi->rank))
        return;
    char *data = piece_of(mpi, state, mpi->rank, s->piece, &bytes);
    for (int p = 0; p < mpi->size; p++) {
        int at = (mpi->size + p) * SLOTS + slot;
        if (p == mpi->rank)
            continue;
        s->left++;
        if (!s->second)
            receive_bytes(state, at, buffer_of(mpi, state, slot, p), bytes, p, CONTRIBUTION + slot);
        else
            send_bytes(state, at, data, bytes, p, RESULT + slot);
    }
}

/* Adds up a piece whose contributions are there, in the order of ranks. */
static void add_piece(const struct clip_ranks_mpi *mpi, struct call *state, int slot)
{
    uint32_t type = state->call->header.type;
    int bytes;
    char *data = piece_of(mpi, state, mpi->rank, state->mine[slot].piece, &bytes);
    char *sum = mpi->rank == 0 ? data : buffer_of(mpi, state, slot, 0);
    for (int p = 1; p < mpi->size; p++)
        clip_ranks_add(type, sum, p == mpi->rank ? data : buffer_of(mpi, state, slot, p), (size_t)bytes);
    if (sum != data)
        memcpy(data, sum, (size_t)bytes);
}

/* Request `at` has come to its end. */
static void end_request(const struct clip_ranks_mpi *mpi, struct call *state, int at)
{
    int p = at / SLOTS, slot = at % SLOTS;
    if (p < mpi->size) {
        next_turn(state, &state->others[at]);
        step_other(mpi, state, p, slot);
        return;
    }
    struct slot *s = &state->mine[slot];
    if (--s->left > 0)
        return;
    if (!s->second)
        add_piece(mpi, state, slot);
    next_turn(state, s);
    step_mine(mpi, state, slot);
}

static int begin_sum(const struct clip_ranks_mpi *mpi, struct call *state, struct clip_error *error)
{
    size_t size = (size_t)mpi->size,
           part = part_begin(mpi, state, mpi->rank + 1) - part_begin(mpi, state, mpi->rank);
    state->stride = part < PIECE ? (part + 63) / 64 * 64 : PIECE;
    state->others = calloc(size * SLOTS, sizeof *state->others);
    state->buffers = malloc(size * SLOTS * state->stride + 1);
    if (!state->others || !state->buffers)
        return clip_fail_memory(error, "a sum");
    if (make_requests(state, 2 * size * SLOTS, error) != 0)
        return -1;
    for (int slot = 0; slot < SLOTS; slot++) {
        state->mine[slot] = (struct slot){.piece = (size_t)slot};
        step_mine(mpi, state, slot);
        for (int p = 0; p < mpi->size; p++) {
            state->others[p * SLOTS + slot].piece = (size_t)slot;
            if (p != mpi->rank)
                step_other(mpi, state, p, slot);
        }
    }
    return 0;
}

/* --- arrays that are sent as they are --- */

/* Sends or receives data[bytes], as requests from *at on; without a state counts them. */
static void move_data(struct call *state, size_t *at, char *data, uint64_t bytes, int peer, int sends)
{
    for (uint64_t done = 0; done < bytes; done += LARGE, ++*at) {
        int piece = (int)(bytes - done < LARGE ? bytes - done : LARGE);
        if (state && sends)
            send_bytes(state, (int)*at, data + done, piece, peer, DATA);
        else if (state)
            receive_bytes(state, (int)*at, data + done, piece, peer, DATA);
    }
}

/* Each rank's part to all others; or all of rank 0's. */
static void move_all(const struct clip_ranks_mpi *mpi, struct call *state, const struct hello *hellos,
                     const struct clip_ranks_call *call, int really, size_t *at)
{
    int gathers = call->header.op == CLIP_RANKS_GATHER;
    for (int p = 0; p < mpi->size; p++) {
        if (p == mpi->rank)
            continue;
        if (gathers || mpi->rank == 0)
            move_data(really ? state : NULL, at, call->data + (gathers ? call->begin : 0),
                      gathers ? call->own : call->header.size, p, 1);
        if (gathers || p == 0)
            move_data(really ? state : NULL, at, call->data + (gathers ? hellos[p].tile.begin : 0),
                      gathers ? hellos[p].tile.own : call->header.size, p, 0);
    }
}

static int begin_moves(const struct clip_ranks_mpi *mpi, struct call *state, struct clip_error *error)
{
    size_t count = 0, at = 0;
    move_all(mpi, state, state->hellos, state->call, 0, &count);
    if (make_requests(state, count, error) != 0)
        return -1;
    move_all(mpi, state, state->hellos, state->call, 1, &at);
    return 0;
}

/* --- a call --- */

static void free_call(struct call *state)
{
    free(state->hellos);
    free(state->came);
    free(state->requests);
    free(state->done);
    free(state->others);
    free(state->buffers);
    free(state);
}

/* The same number on all ranks, whatever they open first. Hellos say the whole name. */
static int tag_of(const char *channel)
{
    uint32_t hash = 2166136261u;
    for (; *channel; channel++)
        hash = (hash ^ (unsigned char)*channel) * 16777619u;
    return (int)(hash % CHANNELS) * TAGS;
}

static int begin_call(void *context, const char *channel, const struct clip_ranks_call *call, void **out,
                      struct clip_error *error)
{
    struct clip_ranks_mpi *mpi = context;
    size_t size = (size_t)mpi->size;
    struct call *state = calloc(1, sizeof *state);
    if (!state)
        return clip_fail_memory(error, "a call");
    state->call = call;
    state->tag = tag_of(channel);
    state->hellos = calloc(size, sizeof *state->hellos);
    state->came = calloc(size, 1);
    if (!state->hellos || !state->came || make_requests(state, 2 * size, error) != 0) {
        free_call(state);
        return clip_fail_memory(error, "a call");
    }
    state->own.header = call->header;
    state->own.tile = (struct clip_ranks_tile){call->begin, call->own};
    snprintf(state->own.channel, sizeof state->own.channel, "%s", channel);
    state->hellos[mpi->rank] = state->own;
    for (int p = 0; p < mpi->size; p++) {
        if (p == mpi->rank)
            continue;
        receive_bytes(state, p, &state->hellos[p], sizeof(struct hello), p, HEADER);
        send_bytes(state, mpi->size + p, &state->own, sizeof(struct hello), p, HEADER);
    }
    *out = state;
    return 0;
}

/* 0 where all ranks make this call; 1 where they do not, which another rank says; -1 with error. */
static int check_call(const struct clip_ranks_mpi *mpi, const struct call *state, struct clip_error *error)
{
    const struct clip_ranks_call first = {.header = state->hellos[0].header};
    struct clip_ranks_tile tiles[mpi->size];
    int differ = 0;
    if (strcmp(state->hellos[0].channel, state->own.channel) != 0)
        return clip_fail(error, "the channel has the number of '%.31s'", state->hellos[0].channel);
    if (clip_ranks_compare(&first, state->call, (size_t)mpi->rank, error) != 0)
        return -1;
    for (int p = 0; p < mpi->size; p++) {
        const struct clip_ranks_header *header = &state->hellos[p].header;
        tiles[p] = state->hellos[p].tile;
        differ |= memcmp(header, &first.header, sizeof *header) != 0;
    }
    if (differ || !clip_ranks_tiled(first.header.op))
        return differ;
    if (clip_ranks_check_tiles(tiles, (size_t)mpi->size, first.header.size, error) == 0)
        return 0;
    return mpi->rank == 0 ? -1 : 1;
}

static int begin_data(const struct clip_ranks_mpi *mpi, struct call *state, struct clip_error *error)
{
    int differ = check_call(mpi, state, error);
    if (differ < 0)
        return -1;
    state->begun = 1;
    state->stuck = differ;
    switch (state->stuck ? CLIP_RANKS_BARRIER : state->call->header.op) {
    case CLIP_RANKS_SUM:
    case CLIP_RANKS_REDUCE:
        return begin_sum(mpi, state, error);
    case CLIP_RANKS_GATHER:
    case CLIP_RANKS_BROADCAST:
        return begin_moves(mpi, state, error);
    default:
        return 0;
    }
}

/* A rank whose page has ended makes no more calls. (Its notice comes after all that it sent before.) */
static int check_ended(const struct clip_ranks_mpi *mpi, const struct call *state, struct clip_error *error)
{
    for (int p = 0; p < mpi->size; p++)
        if (p != mpi->rank && mpi->ended[p] && !state->came[p])
            return clip_fail(error, "the pipeline of rank %d ended before that of other ranks", p);
    return 0;
}

static int progress_call(void *context, void *of, struct clip_error *error)
{
    struct clip_ranks_mpi *mpi = context;
    struct call *state = of;
    int n = 0;
    if (state->active > 0)
        MPI_Testsome(state->count, state->requests, &n, state->done, MPI_STATUSES_IGNORE);
    mpi->moved += (size_t)n;
    for (int i = 0; i < n; i++) {
        int at = state->done[i];
        state->active--;
        if (!state->begun && at < mpi->size)
            state->came[at] = 1;
        else if (state->begun && state->others)
            end_request(mpi, state, at);
    }
    if (state->active > 0)
        return state->begun ? 0 : check_ended(mpi, state, error);
    if (!state->begun)
        return begin_data(mpi, state, error);
    if (state->stuck)
        return 0;
    free_call(state);
    return 1;
}

/* --- ends --- */

/* Other ranks whose pages have not ended. */
static size_t others_left(const struct clip_ranks_mpi *mpi)
{
    return mpi->left - (size_t)!mpi->ended[mpi->rank];
}

size_t clip_ranks_mpi_look(struct clip_ranks_mpi *mpi)
{
    int came = 1;
    while (came && others_left(mpi) > 0) {
        if (mpi->notice == MPI_REQUEST_NULL)
            MPI_Irecv(&mpi->notice_from, 1, MPI_INT, MPI_ANY_SOURCE, NOTICE, MPI_COMM_WORLD, &mpi->notice);
        MPI_Test(&mpi->notice, &came, MPI_STATUS_IGNORE);
        if (came) {
            mpi->ended[mpi->notice_from] = 1;
            mpi->left--;
        }
    }
    return mpi->left;
}

size_t clip_ranks_mpi_moved(const struct clip_ranks_mpi *mpi)
{
    return mpi->moved;
}

void clip_ranks_mpi_end(struct clip_ranks_mpi *mpi)
{
    mpi->ended[mpi->rank] = 1;
    mpi->left--;
    for (int p = 0; p < mpi->size; p++)
        if (p != mpi->rank)
            MPI_Isend(&mpi->rank, 1, MPI_INT, p, NOTICE, MPI_COMM_WORLD, &mpi->told[p]);
}

void clip_ranks_mpi_close(struct clip_ranks_mpi *mpi)
{
    MPI_Waitall(mpi->size, mpi->told, MPI_STATUSES_IGNORE);
    MPI_Finalize();
    free(mpi->ended);
    free(mpi->told);
    free(mpi);
}

void clip_ranks_mpi_abort(struct clip_ranks_mpi *mpi)
{
    (void)mpi;
    MPI_Abort(MPI_COMM_WORLD, 1);
    _Exit(1);
}

/* --- opening --- */

const char *clip_ranks_mpi_describe(char *out, size_t size)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(version, &length);
    snprintf(out, size, "%.*s", (int)strcspn(version, ",\n"), version);
    return out;
}

const struct clip_ranks_wire *clip_ranks_mpi_wire(const struct clip_ranks_mpi *mpi)
{
    return &mpi->wire;
}

/* Where a rank runs. */
struct home {
    char host[64];
    cpu_set_t processors;
};

/* Ranks of this host that may run on the same processors: a launcher may have given each its own. */
static long count_sharing(const struct clip_ranks_mpi *mpi, struct clip_error *error)
{
    struct home own = {{0}, {{0}}}, *all = calloc((size_t)mpi->size, sizeof *all);
    struct utsname name;
    long count = 0;
    if (!all)
        return clip_fail_memory(error, "the ranks");
    uname(&name);
    snprintf(own.host, sizeof own.host, "%.63s", name.nodename);
    sched_getaffinity(0, sizeof own.processors, &own.processors);
    MPI_Allgather(&own, sizeof own, MPI_BYTE, all, sizeof own, MPI_BYTE, MPI_COMM_WORLD);
    for (int p = 0; p < mpi->size; p++)
        count += memcmp(&own, &all[p], sizeof own) == 0;
    free(all);
    return count;
}

static struct clip_ranks_mpi *new_mpi(int rank, int size)
{
    struct clip_ranks_mpi *mpi = calloc(1, sizeof *mpi);
    if (!mpi)
        return NULL;
    *mpi = (struct clip_ranks_mpi){.rank = rank,
                                   .size = size,
                                   .wire = {mpi, begin_call, progress_call},
                                   .ended = calloc((size_t)size, 1),
                                   .left = (size_t)size,
                                   .notice = MPI_REQUEST_NULL,
                                   .told = calloc((size_t)size, sizeof *mpi->told)};
    if (mpi->ended && mpi->told)
        return mpi;
    free(mpi->ended);
    free(mpi->told);
    free(mpi);
    return NULL;
}

struct clip_ranks_mpi *clip_ranks_mpi_open(size_t *rank, size_t *size, long *sharing,
                                           struct clip_error *error)
{
    int provided, own, all;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) {
        clip_fail(error, "MPI cannot be started");
        return NULL;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    MPI_Comm_size(MPI_COMM_WORLD, &all);
    *rank = (size_t)own;
    *size = (size_t)all;
    struct clip_ranks_mpi *mpi = new_mpi(own, all);
    if (!mpi)
        clip_fail_memory(error, "the ranks");
    if (!mpi || (*sharing = count_sharing(mpi, error)) < 0)
        return NULL;
    for (int p = 0; p < all; p++)
        mpi->told[p] = MPI_REQUEST_NULL;
    return mpi;
}
