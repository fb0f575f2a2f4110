/* What clip-index asks of FAISS, which is C++: the one symbol of the module clip-faiss.so (score/faiss.cc),
 * which is loaded when it is needed (score/lists.h). The index is an IndexIVFScalarQuantizer of 8-bit codes
 * of residuals, for inner products. */
#ifndef CLIP_SCORE_FAISS_H
#define CLIP_SCORE_FAISS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The lists of a part of the index: views, which must stay while they are searched. */
struct clip_faiss_lists {
    uint64_t count;         /* embeddings */
    const int64_t *offsets; /* [lists + 1]: list i has entries [offsets[i], offsets[i + 1]) */
    const int64_t
        *numbers;         /* [count]: the embeddings of the entries; those from `count` on are passed over */
    const uint8_t *codes; /* [count][width] */
    const uint8_t *removed; /* [(count + 7) / 8] bits of embeddings to pass over; NULL: none */
};

/* Functions return 0, or -1 with the reason in why[why_size]. Vectors are unit, [n][width]. */
struct clip_faiss {
    /* Learns centroids[lists][width] and ranges[2][width], of the codes, from sample[n][width], n >= lists.
     */
    int (*train)(const float *sample, size_t n, size_t width, size_t lists, int threads, float *centroids,
                 float *ranges, char *why, size_t why_size);

    /* An index of these, which are copied; NULL with the reason. */
    void *(*open)(size_t width, size_t lists, const float *centroids, const float *ranges, int threads,
                  char *why, size_t why_size);
    void (*close)(void *index);

    /* The list that each vector belongs to, into list_of[n]. */
    int (*assign)(void *index, size_t n, const float *x, int64_t *list_of, char *why, size_t why_size);
    /* Its code there, into codes[n][width]. */
    int (*encode)(void *index, size_t n, const float *x, const int64_t *list_of, uint8_t *codes, char *why,
                  size_t why_size);

    /* The `most` embeddings nearest to each vector, of the `probes` lists whose centroids are, into
     * found[n][most]; -1 where there are fewer. */
    int (*search)(void *index, const struct clip_faiss_lists *lists, size_t n, const float *x, size_t most,
                  size_t probes, int64_t *found, char *why, size_t why_size);
};

extern const struct clip_faiss clip_faiss __attribute__((visibility("default")));

#ifdef __cplusplus
}
#endif

#endif
