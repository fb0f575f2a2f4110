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

/* The implementation and its version, for --version; into out[size], returns out. */
const char *clip_ranks_mpi_describe(char *out, size_t size);

/* MPI_Init. *sharing is how many ranks share the processors that this one may run on. NULL with error. */
struct clip_ranks_mpi *clip_ranks_mpi_open(size_t *rank, size_t *size, long *sharing,
                                           struct clip_error *error);

const struct clip_ranks_wire *clip_ranks_mpi_wire(const struct clip_ranks_mpi *mpi);

/* Looks which ranks' pages have ended. Returns how many have not, this one's included. */
size_t clip_ranks_mpi_look(struct clip_ranks_mpi *mpi);

/* A number that grows whenever something has moved. */
size_t clip_ranks_mpi_moved(const struct clip_ranks_mpi *mpi);

/* This rank's page has ended well. */
void clip_ranks_mpi_end(struct clip_ranks_mpi *mpi);

/* MPI_Finalize, when all pages have ended. */
void clip_ranks_mpi_close(struct clip_ranks_mpi *mpi);

/* Ends all ranks; does not return. */
void clip_ranks_mpi_abort(struct clip_ranks_mpi *mpi) __attribute__((noreturn));

#endif
