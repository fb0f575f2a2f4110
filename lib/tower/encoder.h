/* A model's tower over the records of a stream: image to image_features, or tokens to text_features. */
#ifndef CLIP_TOWER_ENCODER_H
#define CLIP_TOWER_ENCODER_H

#include "base/cli.h"
#include "base/error.h"
#include "stream/record.h"
#include "tower/compute.h"
#include "tower/tower.h"

#include <stddef.h>

struct clip_encoder {
    enum clip_side side;
    int keep; /* the input stays in the record */
    struct clip_compute compute;
    struct clip_tower *tower;
    /* of a batch, [shared->batch] each: the good records, the tower's items, memory of items that are not the
     * record's own, and the features, [width] */
    struct clip_record **records;
    union clip_item *items;
    void **copies;
    float *features;
};

/* Opens the tower of shared->model for batches of shared->batch. `precision` NULL: int8 where the model's
 * tower is stored so and the processor has it, which is noted where it has not, else f32; int8_keep: blocks
 * at either end that int8 does not round. -1 with error; close it also then. */
int clip_encoder_open(struct clip_encoder *encoder, enum clip_side side, const struct clip_shared *shared,
                      const enum clip_precision *precision, size_t int8_keep, int keep,
                      struct clip_error *error);
void clip_encoder_close(struct clip_encoder *encoder);

/* Replaces each record's input by its features: a filter's `process` (stream/filter.h), whose context is the
 * encoder. */
int clip_encoder_batch(void *context, struct clip_record **records, size_t n, struct clip_error *error);

#endif
