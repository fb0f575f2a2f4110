/* A batch of pairs as a stream brings them: embeddings, and which samples are positives of each other. */
#ifndef CLIP_SCORE_PAIRS_H
#define CLIP_SCORE_PAIRS_H

#include "base/error.h"
#include "stream/record.h"
#include "stream/writer.h"
#include "text/hash.h"
#include "score/loss.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with, but for `by`. */
struct clip_pairs {
    const char
        *by; /* records whose field of this name holds the same are positives; NULL: each its own alone */
    size_t n, room, width;
    float *embeddings[2], *gradients[2]; /* [room][width] */
    struct clip_record **keys;           /* [room]: records of nothing but a key, for the gradients */
    uint32_t *group;                     /* [room]: see clip_contrast_batch; NULL without `by` */
    /* the values of `by`: a group is the number of its value */
    struct clip_pair_value {
        uint8_t *bytes;
        size_t size;
    } * values; /* [room] */
    size_t value_count;
    struct clip_slots table;
};

void clip_pairs_free(struct clip_pairs *pairs);

/* Puts a record's embeddings after those of the batch, copied; the record stays the caller's. -1 with error,
 * which names the record where it is bad: an embedding is missing, or of another width, or `by` is. */
int clip_pairs_take(struct clip_pairs *pairs, struct clip_record *record, struct clip_error *error);

/* The loss of the batch, of which `kind` gives loss, scale and bias; with `gradients` also those, in
 * pairs->gradients. Where the pairs are a share, `kind` also gives the whole batch. -1 with error: less than
 * two pairs, or see clip_contrastive_loss. */
int clip_pairs_loss(struct clip_pairs *pairs, const struct clip_contrast_batch *kind, int gradients,
                    struct clip_pool *pool, struct clip_contrast *contrast, struct clip_error *error);

/* The values of `by` of each pair in turn, for other ranks: their size and bytes. Returns the bytes of it
 * all; out NULL: that alone. */
size_t clip_pairs_pack_values(const struct clip_pairs *pairs, char *out);

/* The groups of n pairs whose values packed[bytes] holds. -1 with error. */
int clip_pairs_unpack_groups(const char *packed, size_t bytes, size_t n, uint32_t *group,
                             struct clip_error *error);

/* Writes the gradients, a record a pair, under the embeddings' names. */
int clip_pairs_write_gradients(struct clip_pairs *pairs, struct clip_writer *out, struct clip_error *error);

/* Begins the next batch; the width stays. */
void clip_pairs_clear(struct clip_pairs *pairs);

#endif
