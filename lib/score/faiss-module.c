#include <config.h>

#include "score/faiss-module.h"

#include "base/datadir.h"
#include "math/blas.h"

#include <dlfcn.h>
#include <stdlib.h>

#define MODULE "clip-faiss.so"

#ifdef HAVE_FAISS
/* OpenBLAS, which FAISS is linked with, is loaded before it, with one thread and room for `threads` callers
 * (math/blas.h). The module stays until the process ends. */
const struct clip_faiss *clip_faiss_load(int threads, struct clip_error *error)
{
    const struct clip_faiss *faiss = NULL;
    char *path = clip_module_path("/../lib/score/", MODULE, error);
    if (path && clip_blas_open(threads, error) == 0) {
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module)
            faiss = dlsym(module, "clip_faiss");
        if (!faiss)
            clip_fail(error, "FAISS cannot be loaded: %s", dlerror());
    }
    free(path);
    return faiss;
}
#else
const struct clip_faiss *clip_faiss_load(int threads, struct clip_error *error)
{
    (void)threads;
    clip_fail(error, "lists need FAISS, which this build lacks (Debian: libfaiss-dev)");
    return NULL;
}
#endif
