/* NumPy's .npy files: one tensor, or an array of all records' tensors. Version 1.0 is written. */
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
 * that does not depend on shape[0]: like NumPy, it leaves room for the first dimension to grow. */
size_t clip_npy_header(char *out, enum clip_dtype dtype, int ndim, const uint64_t *shape);

/* An array in a file's bytes. */
struct clip_npy_array {
    enum clip_dtype dtype;
    int ndim;
    size_t shape[CLIP_MAX_DIMENSIONS];
    int fortran;  /* the first dimension varies fastest */
    int swapped;  /* big-endian */
    int bfloat16; /* the elements, which dtype calls CLIP_U16 */
    const uint8_t *data;
};

/* Reads the header of a file of `total` bytes, of which bytes[size] are available: all, or at least
 * CLIP_NPY_MOST. Accepts versions 1.0 to 3.0. Returns 1; 0 if the bytes are not a .npy file; -1 with error
 * if they are cut, are more than the array takes, or if the type is not one of tensors. With bfloat16, two
 * bytes without a type are taken, too: NumPy stores bfloat16 so. */
#define CLIP_NPY_MOST 65547
int clip_npy_read(struct clip_npy_array *array, const uint8_t *bytes, size_t size, uint64_t total,
                  int bfloat16, struct clip_error *error);

/* The array as a tensor in C order and little-endian. Its data are the file's bytes or, where these must
 * be converted, *owned, from malloc, else NULL. -1 with error when out of memory. */
int clip_npy_tensor(const struct clip_npy_array *array, struct clip_tensor *tensor, uint8_t **owned,
                    struct clip_error *error);

/* An array [records, ...] that grows; zero it, but for `file`, to begin. */
struct clip_npy {
    FILE *file; /* seekable; at its beginning; not owned */
    enum clip_dtype dtype;
    int ndim;
    uint64_t shape[CLIP_MAX_DIMENSIONS + 1]; /* shape[0]: records so far */
};

/* Adds the record's tensor `field`. A record that lacks it, or whose type or shape differs from the first
 * one's, is marked as bad, and nothing is added. -1 with error if it cannot be written. */
int clip_npy_add(struct clip_npy *npy, struct clip_record *record, const char *field,
                 struct clip_error *error);

/* Writes the header. -1 with error also if there was no record. */
int clip_npy_end(struct clip_npy *npy, struct clip_error *error);

#endif
