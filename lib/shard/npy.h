/* NumPy's .npy files: one tensor, or an array of all records' tensors. Written is version 1.0. */
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

/* An array in a file's bytes. */
struct clip_npy_array {
    enum clip_dtype dtype;
    int ndim;
    size_t shape[CLIP_MAX_DIMENSIONS];
    int fortran; /* the first dimension varies fastest */
    int swapped; /* big-endian */
    const uint8_t *data;
};

/* Reads the header of a file of `total` bytes, of which bytes[size] are there: all, or CLIP_NPY_MOST at
 * least. Versions are 1.0 to 3.0. Returns 1; 0 where the bytes are not a .npy file; -1 with error where they
 * are cut or more than their array takes, or it is of a type that tensors do not have. */
#define CLIP_NPY_MOST 65547
int clip_npy_read(struct clip_npy_array *array, const uint8_t *bytes, size_t size, uint64_t total,
                  struct clip_error *error);

/* The array as a tensor: in C order and little-endian, in the file's bytes or, where these are not so, in
 * *owned, from malloc, else NULL. -1 with error: out of memory. */
int clip_npy_tensor(const struct clip_npy_array *array, struct clip_tensor *tensor, uint8_t **owned,
                    struct clip_error *error);

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
