/* Lists of an index's embeddings, by the centroids that they are nearest to, which FAISS searches
 * (score/faiss.h): a search looks into some of them alone, and its candidates are scored again from the
 * embeddings as they are stored.
 *
 * The centroids and the ranges of the codes are learned once, when the index is built, and kept in
 * "%08u.centroids.safetensors": centroids f32 [lists][width], ranges f32 [2][width]. The lists of a segment
 * are
 * "%08u.lists.safetensors": offsets i64 [lists + 1], numbers i64 [n], codes u8 [n][width]. A segment without
 * lists is searched exactly. */
#ifndef CLIP_SCORE_STORE_LISTS_H
#define CLIP_SCORE_STORE_LISTS_H

#include "base/error.h"
#include "score/faiss.h"
#include "score/retrieval.h"
#include "score/store.h"

#include <stddef.h>

/* Smaller segments get no lists, unless they are asked for. */
enum { CLIP_STORE_LISTS_LEAST = 10000 };

/* Writes what lacks to the folder of the index `next`, and names it there. `wanted`: learns as many centroids
 * and makes lists of all segments; 0: makes those of segments that are new, if the index has centroids and
 * this build has FAISS. Needs memory for 256 embeddings for each list, and for four bytes for each embedding.
 * -1 with error. */
int clip_store_lists_make(const char *folder, struct clip_store_manifest *next, size_t wanted, int threads,
                          struct clip_error *error);

/* The lists of `count` embeddings (SIZE_MAX: any number) that data[size], aligned to 8 bytes, the file of an
 * index `manifest`, holds: views into it, each list within them. -1 with error. */
int clip_store_lists_read(struct clip_faiss_lists *lists, const struct clip_store_manifest *manifest,
                          size_t count, const unsigned char *data, size_t size, struct clip_error *error);

struct clip_store_lists;

/* Opens the lists of an index, which must stay. NULL with error: it has none, they are damaged, there is no
 * FAISS. */
struct clip_store_lists *clip_store_lists_open(const struct clip_store *index, int threads,
                                               struct clip_error *error);
void clip_store_lists_close(struct clip_store_lists *lists);

/* Adds part p of the index to the retrieval of `rows`, of which it wants the `top` best: of `probes` lists,
 * or all where the part has none. -1 with error. */
int clip_store_lists_search(struct clip_store_lists *lists, size_t p, struct clip_retrieval *retrieval,
                            const struct clip_vectors *rows, size_t top, size_t probes,
                            struct clip_error *error);

/* Embeddings, removed ones too, that are in lists. */
uint64_t clip_store_lists_count(const struct clip_store *index);

#endif
