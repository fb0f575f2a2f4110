#include <config.h>

#include "train/ranks-mpi-module.h"

#include "base/datadir.h"

#include <dlfcn.h>

#ifdef HAVE_MPI
/* Open MPI's own modules look for its symbols among the global ones. */
const struct clip_ranks_mpi_calls *clip_ranks_mpi_load(struct clip_error *error)
{
    return clip_module_load("/../lib/train/", "clip-mpi.so", "clip_ranks_mpi", RTLD_NOW | RTLD_GLOBAL,
                            "MPI cannot be loaded (Debian: " CLIP_MPI_PACKAGE ")", error);
}
#else
const struct clip_ranks_mpi_calls *clip_ranks_mpi_load(struct clip_error *error)
{
    clip_fail(error, "this build has no MPI: give the number of ranks on this machine (-n R)");
    return NULL;
}
#endif
