/* A closed reader of pickles: the opcodes of protocol 2 that torch.save and TorchScript archives use, and the
 * few globals that tensors need. Nothing is ever called. What a checkpoint holds besides tensors (options,
 * NumPy's scalars, paths) becomes opaque objects; globals that only run code are refused by name.
 *
 * What is read is a graph of values in arrays of bounded size, strings pointing into the input. Values may be
 * shared, and a hostile graph may contain itself: callers that walk it must bound depth and steps. */
#ifndef CLIP_MODEL_PICKLE_H
#define CLIP_MODEL_PICKLE_H

#include "base/error.h"
#include "model/weight.h"

#include <stddef.h>
#include <stdint.h>

enum clip_pickle_kind {
    CLIP_PICKLE_NONE,
    CLIP_PICKLE_BOOL,
    CLIP_PICKLE_INTEGER,
    CLIP_PICKLE_REAL,
    CLIP_PICKLE_STRING,
    CLIP_PICKLE_TUPLE,
    CLIP_PICKLE_LIST,
    CLIP_PICKLE_DICT,   /* items: key, value, key, value ... in the order of the file */
    CLIP_PICKLE_MODULE, /* an object of a __torch__ class; items as of a dict: its attributes */
    CLIP_PICKLE_GLOBAL,
    CLIP_PICKLE_STORAGE,
    CLIP_PICKLE_TENSOR,
    CLIP_PICKLE_OBJECT /* what an unknown global would make; items: those set as in a dict. text: the global
                        */
};

struct clip_pickle_value {
    uint8_t kind;         /* enum clip_pickle_kind */
    uint8_t global;       /* which one; private to the reader. Of an object: 1 if it is a torch.nn.Module */
    uint8_t type;         /* of a storage class or dtype: enum clip_weight_type */
    uint32_t first, last; /* of items: cells, CLIP_PICKLE_END if there are none */
    uint32_t length;      /* of a string: bytes; of a tuple, list, dict or module: cells */
    union {
        int64_t integer; /* also: bool; a storage's or tensor's index */
        double real;
        const char *text; /* not terminated; of an object "module\nname\n", or NULL for a long number */
    };
};

struct clip_pickle_cell {
    uint32_t value, next;
};
#define CLIP_PICKLE_END UINT32_MAX

struct clip_pickle_storage {
    const char *key; /* not terminated */
    size_t length;
    enum clip_weight_type type;
    uint64_t bytes;
};

struct clip_pickle_tensor {
    uint32_t storage;
    enum clip_weight_type type;
    uint64_t offset; /* in elements */
    int ndim;
    size_t shape[CLIP_WEIGHT_DIMENSIONS], stride[CLIP_WEIGHT_DIMENSIONS];
};

struct clip_pickle {
    struct clip_pickle_value *values;
    struct clip_pickle_cell *cells;
    struct clip_pickle_storage *storages; /* as met: one may come again */
    struct clip_pickle_tensor *tensors;
    size_t value_count, value_room, cell_count, cell_room, storage_count, storage_room, tensor_count,
        tensor_room;
    uint32_t root;
    size_t used; /* bytes of the input up to the end of the pickle */
};

/* Reads the pickle at the start of data[size], which must outlive the result. clip_pickle_free afterwards,
 * also after an error. */
int clip_pickle_read(struct clip_pickle *pickle, const unsigned char *data, size_t size,
                     struct clip_error *error);
void clip_pickle_free(struct clip_pickle *pickle);

/* "module.name" of the global that makes an object, printable, into out[size]; returns out. */
const char *clip_pickle_maker(const struct clip_pickle_value *object, char *out, size_t size);

/* 1 if the value is the string `text`. */
int clip_pickle_is(const struct clip_pickle_value *value, const char *text);

#endif
