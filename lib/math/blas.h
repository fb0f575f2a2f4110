/* OpenBLAS, loaded when the first engine is opened.
 *
 * It is not linked: as it is loaded it would start a thread for each processor, of which each takes a buffer
 * of 128 MiB of address space and asks for it again and again where a limit denies it, so that not even
 * exit() ends the process. Loaded here it starts none, and its buffers are taken where a failure is an error.
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

/* Loads OpenBLAS where that is not done, and takes the buffers for `threads` threads that call it at once. -1
 * with error: it is not installed, or there is no room for them. */
int clip_blas_open(int threads, struct clip_error *error);

#endif
