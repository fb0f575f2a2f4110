#include <config.h>

#include "train/ranks-mpi-module.h"

#include "base/datadir.h"

#include <dlfcn.h>
#include <stdlib.h>

#define MODULE "clip-mpi.so"

#ifdef HAVE_MPI
/* Open MPI's own modules look for its symbols among the global ones. The module stays until the process ends.
 */
const struct clip_ranks_mpi_calls *clip_ranks_mpi_load(struct clip_error *error)
{
    const struct clip_ranks_mpi_calls *mpi = NULL;
    char *path = clip_module_path("/../lib/train/", MODULE, error);
    if (path) {
        void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (module)
            mpi = dlsym(module, "clip_ranks_mpi");
        if (!mpi)
            clip_fail(error, "MPI cannot be loaded (Debian: %s): %s", CLIP_MPI_PACKAGE, dlerror());
    }
    free(path);
    return mpi;
}
#else
const struct clip_ranks_mpi_calls *clip_ranks_mpi_load(struct clip_error *error)
{
    clip_fail(error, "this build has no MPI: give the number of ranks on this machine (-n R)");
    return NULL;
}
#endif
