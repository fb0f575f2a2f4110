/* NumPy's .npy files, version 1.0: one tensor, or an array of all records' tensors. */
#ifndef CLIP_SHARD_NPY_H
#define CLIP_SHARD_NPY_H

#include "base/error.h"
#include "stream/record.h"
#include "stream/tensor.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLIP_NPY_HEADER 448 /* holds the header of CLIP_MAX_DIMENSIONS + 1 dimensions */

/* Writes the header of an array in C order to out[CLIP_NPY_HEADER] and returns its size, a multiple of 64
 * that does not depend on shape[0]: NumPy too leaves the first dimension room to grow. */
size_t clip_npy_header(char *out, enum clip_dtype dtype, int ndim, const uint64_t *shape);

/* An array [records, ...] that grows; zero it, but for `file`, to begin. */
struct clip_npy {
    FILE *file; /* can be seeked; at its begin; not owned */
    enum clip_dtype dtype;
    int ndim;
    uint64_t shape[CLIP_MAX_DIMENSIONS + 1]; /* shape[0]: records so far */
};

/* Adds the record's tensor `field`. A record that lacks it, or where its type or shape is another than in the
 * first one, is marked as bad, and nothing is added. -1 with error if it cannot be written. */
int clip_npy_add(struct clip_npy *npy, struct clip_record *record, const char *field,
                 struct clip_error *error);

/* Writes the header. It is an error if there was no record. */
int clip_npy_end(struct clip_npy *npy, struct clip_error *error);

#endif
