/* OpenBLAS, loaded when the first engine is opened.
 *
 * It is not linked. If it were, it would start a thread per processor before main; each thread maps a buffer
 * of 128 MiB and, under a memory limit, retries forever, so that not even exit() ends the process. Loaded
 * here, it starts no thread, and a buffer that cannot be allocated is an error.
 */
#ifndef CLIP_MATH_BLAS_H
#define CLIP_MATH_BLAS_H

#include "base/error.h"

#include <cblas.h>

/* Its functions, as cblas.h declares them. Set once by clip_blas_open. */
struct clip_blas {
    __typeof__(&cblas_sgemm) sgemm;
    __typeof__(&cblas_somatcopy) somatcopy;
    __typeof__(&openblas_get_config) get_config;
    __typeof__(&openblas_get_corename) get_corename;
};
extern struct clip_blas clip_blas;

/* Loads OpenBLAS unless it is loaded, and allocates buffers for `threads` concurrent callers. -1 with error
 * if it is not installed or there is no room for the buffers. */
int clip_blas_open(int threads, struct clip_error *error);

#endif
