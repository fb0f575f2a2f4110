#include <config.h>

#include "score/faiss-module.h"

#include "base/datadir.h"
#include "math/blas.h"

#include <dlfcn.h>

#ifdef HAVE_FAISS
/* OpenBLAS, which FAISS is linked with, is loaded before it, with one thread and room for `threads` callers
 * (math/blas.h). */
const struct clip_faiss *clip_faiss_load(int threads, struct clip_error *error)
{
    if (clip_blas_open(threads, error) != 0)
        return NULL;
    return clip_module_load("/../lib/score/", "clip-faiss.so", "clip_faiss", RTLD_NOW | RTLD_LOCAL,
                            "FAISS cannot be loaded", error);
}
#else
const struct clip_faiss *clip_faiss_load(int threads, struct clip_error *error)
{
    (void)threads;
    clip_fail(error, "lists need FAISS, which this build lacks (Debian: libfaiss-dev)");
    return NULL;
}
#endif
