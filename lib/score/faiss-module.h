/* FAISS, loaded when it is needed. */
#ifndef CLIP_SCORE_FAISS_MODULE_H
#define CLIP_SCORE_FAISS_MODULE_H

#include "base/error.h"
#include "score/faiss.h"

/* Its functions, for up to `threads` threads. NULL with error: this build has none, or it cannot be loaded.
 */
const struct clip_faiss *clip_faiss_load(int threads, struct clip_error *error);

#endif
