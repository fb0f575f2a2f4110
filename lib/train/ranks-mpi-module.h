/* MPI, loaded when it is needed. */
#ifndef CLIP_TRAIN_RANKS_MPI_MODULE_H
#define CLIP_TRAIN_RANKS_MPI_MODULE_H

#include "base/error.h"
#include "train/ranks-mpi.h"

/* The functions of MPI. NULL with error: this build has none, or it cannot be loaded. The module uses
 * functions of libclip, which the program must export (-rdynamic). */
const struct clip_ranks_mpi_calls *clip_ranks_mpi_load(struct clip_error *error);

#endif
