/* The wire of clip-ranks between processes: MPI, of which this process is one rank and the only one of its
 * kind that any of the pages' processes knows.
 *
 * No collectives and no threads, because MPI's spin while they wait for the slowest rank: everything is sent
 * and received without waiting, and looked at again later. A channel is eight tags, so that calls of one
 * channel match in their order and those of others do not matter. */
#ifndef CLIP_TRAIN_RANKS_MPI_H
#define CLIP_TRAIN_RANKS_MPI_H

#include "base/error.h"
#include "train/ranks-server.h"

#include <stddef.h>

struct clip_ranks_mpi;

/* What clip-ranks asks of MPI: the one symbol of the module clip-mpi.so (train/ranks-mpi.c), which is loaded
 * when it is needed (train/ranks-mpi-module.h). */
struct clip_ranks_mpi_calls {
    /* The implementation and its version, for --version; into out[size], returns out. */
    const char *(*describe)(char *out, size_t size);

    /* MPI_Init. *sharing is how many ranks share the processors that this one may run on. NULL with error. */
    struct clip_ranks_mpi *(*open)(size_t *rank, size_t *size, long *sharing, struct clip_error *error);

    const struct clip_ranks_wire *(*wire)(const struct clip_ranks_mpi *mpi);

    /* Looks which ranks' pages have ended. Returns how many have not, this one's included. */
    size_t (*look)(struct clip_ranks_mpi *mpi);

    /* A number that grows whenever something has moved. */
    size_t (*moved)(const struct clip_ranks_mpi *mpi);

    /* This rank's page has ended well. */
    void (*end)(struct clip_ranks_mpi *mpi);

    /* MPI_Finalize, when all pages have ended. */
    void (*close)(struct clip_ranks_mpi *mpi);

    /* Ends all ranks; does not return. */
    void (*abort)(struct clip_ranks_mpi *mpi);
};

extern const struct clip_ranks_mpi_calls clip_ranks_mpi __attribute__((visibility("default")));

#endif
