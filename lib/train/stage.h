/* The loop of a stage that trains: a batch goes through, its gradients come back, the weights change.
 *
 * A batch is computed in chunks, which are a function of the batch and the options alone. Tapes of chunks are
 * kept as long as they fit; the other chunks go forward again before their backward, with inputs that waited
 * in a temporary file. Either way chunks go backward in order, so that the gradient has the same bytes. */
#ifndef CLIP_TRAIN_STAGE_H
#define CLIP_TRAIN_STAGE_H

#include "base/cli.h"
#include "base/error.h"
#include "stream/record.h"
#include "tower/tower.h"
#include "train/gradients.h"
#include "train/items.h"
#include "train/training.h"

#include <stddef.h>

#define CLIP_STAGE_FIELDS 2

/* What a stage computes. */
struct clip_stage_work {
    void *context;
    /* What it writes, and whose gradients it reads; what it drops of a record. Names NULL: fewer. */
    struct clip_vector_field outputs[CLIP_STAGE_FIELDS];
    const char *drops[CLIP_STAGE_FIELDS];
    /* What it reads from stages before, to whom it owes gradients. */
    struct clip_vector_field inputs[CLIP_STAGE_FIELDS];
    size_t chunk;      /* 0: the whole batch */
    int mixes;         /* results depend on what a chunk holds */
    int frozen;        /* there is no backward */
    size_t item_bytes; /* of a record's inputs, as a rule */

    /* Adds the record's inputs to the items. -1 where the record is bad (and marked), or with error. */
    int (*take)(void *context, struct clip_record *record, struct clip_items *items,
                struct clip_error *error);
    /* What computes, for chunks of up to n items; NULL with error. Where the stage is frozen it takes no
     * tapes. */
    struct clip_tower *(*open)(void *context, size_t n, struct clip_error *error);
    /* An item as it takes them, of what `take` added. */
    union clip_item (*item)(void *context, const void *data, size_t size);
};

struct clip_stage_options {
    const char *grad_in;
    const char *grad_out[CLIP_STAGE_FIELDS]; /* one for each input, or NULL: its stage is frozen */
    size_t memory;                           /* bytes for all of these; one tape is there in any case */
};

/* Begin with CLIP_STAGE_DEFAULTS. Their entries in a program's table; `s` is its struct clip_stage_options.
 */
/* clang-format off */
#define CLIP_STAGE_OPTIONS(s)                                                                                \
    {"grad-in", 0, CLIP_TEXT, &(s).grad_in, "FIFO", "read the gradients from FIFO", 0, 0},                   \
    {"memory", 0, CLIP_BYTES, &(s).memory, "SIZE",                                                           \
     "memory for activations; the rest is recomputed [64M]", 0, 0}
#define CLIP_STAGE_DEFAULTS {.memory = (size_t)64 << 20}
/* clang-format on */

/* Runs over the inputs operands[0..n) (none: standard input) to standard output. The program's exit status:
 * 0; 1 after a message. */
int clip_stage_run(const struct clip_stage_work *work, struct clip_training *training,
                   const struct clip_stage_options *options, const struct clip_shared *shared,
                   char *const *operands, size_t n);

#endif
