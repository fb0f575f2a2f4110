#include "tower/encoder.h"

#include "model/open.h"
#include "tower/fields.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The precision that a model is stored for; where the processor lacks it, says so. */
static enum clip_precision stored_precision(const struct clip_model *model, enum clip_side side)
{
    struct clip_error reason;
    if (!clip_model_is_int8(model, side))
        return CLIP_PRECISION_F32;
    if (clip_engine_can(CLIP_PRECISION_INT8, &reason) == 0)
        return CLIP_PRECISION_INT8;
    clip_note("%s: the weights are rounded to 8 bits, but %s: products are computed in f32",
              clip_model_path(model), reason.text);
    return CLIP_PRECISION_F32;
}

int clip_encoder_open(struct clip_encoder *encoder, enum clip_side side, const struct clip_shared *shared,
                      const enum clip_precision *precision, size_t int8_keep, int keep,
                      struct clip_error *error)
{
    size_t batch = (size_t)shared->batch;
    *encoder = (struct clip_encoder){.side = side, .keep = keep};
    struct clip_model *model = clip_open_model(shared, side, error);
    if (!model ||
        clip_compute_begin(&encoder->compute, model, precision ? *precision : stored_precision(model, side),
                           (int)shared->threads, error) != 0)
        return -1;
    encoder->compute.int8.keep = int8_keep;
    const struct clip_tower_setup setup = clip_compute_setup(&encoder->compute, NULL, batch);
    encoder->tower = clip_tower_open(side, &setup, error);
    if (!encoder->tower)
        return clip_fail_prefix(error, "%s", shared->model);
    encoder->records = calloc(batch, sizeof *encoder->records);
    encoder->items = calloc(batch, sizeof *encoder->items);
    encoder->copies = calloc(batch, sizeof *encoder->copies);
    encoder->features = calloc(batch, encoder->tower->width * sizeof *encoder->features);
    if (!encoder->records || !encoder->items || !encoder->copies || !encoder->features)
        return clip_fail_memory(error, "a batch");
    return 0;
}

void clip_encoder_close(struct clip_encoder *encoder)
{
    free(encoder->records);
    free(encoder->items);
    free(encoder->copies);
    free(encoder->features);
    clip_tower_free(encoder->tower);
    clip_compute_close(&encoder->compute);
}

/* The pixels of the record's image; floats are copied if they are not aligned. -1 if the record is bad. */
static int find_image(const struct clip_arch *arch, struct clip_record *record, union clip_item *item,
                      void **copy)
{
    struct clip_tensor tensor;
    if (clip_record_image(record, arch, &tensor) != 0)
        return -1;
    size_t size = clip_tensor_bytes(&tensor);
    if (tensor.dtype != CLIP_U8 && (uintptr_t)tensor.data % sizeof(float) != 0) {
        *copy = malloc(size);
        if (!*copy)
            return clip_record_fail(record, "image: out of memory");
        memcpy(*copy, tensor.data, size);
    }
    *item = clip_item_of(arch, CLIP_SIDE_IMAGE, *copy ? *copy : tensor.data, size);
    return 0;
}

/* A copy of the record's token ids. -1 if the record is bad. */
static int find_tokens(const struct clip_arch *arch, struct clip_record *record, union clip_item *item,
                       void **copy)
{
    size_t size = clip_item_bytes(arch, CLIP_SIDE_TEXT);
    void *tokens = malloc(size);
    if (!tokens)
        return clip_record_fail(record, "tokens: out of memory");
    if (clip_record_tokens(record, arch, tokens) != 0) {
        free(tokens);
        return -1;
    }
    *copy = tokens;
    *item = clip_item_of(arch, CLIP_SIDE_TEXT, tokens, size);
    return 0;
}

static int put_features(const struct clip_encoder *encoder, struct clip_record *record, const float *features,
                        struct clip_error *error)
{
    const struct clip_tensor tensor = {CLIP_F32, 1, {encoder->tower->width}, features};
    if (!encoder->keep)
        clip_record_drop(record, clip_input_fields[encoder->side]);
    return clip_record_put_tensor(record, clip_feature_fields[encoder->side], &tensor, error);
}

int clip_encoder_batch(void *context, struct clip_record **records, size_t n, struct clip_error *error)
{
    struct clip_encoder *encoder = context;
    const struct clip_arch *arch = clip_model_arch(encoder->compute.model);
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        encoder->copies[good] = NULL;
        if ((encoder->side == CLIP_SIDE_TEXT ? find_tokens : find_image)(
                arch, records[i], &encoder->items[good], &encoder->copies[good]) == 0)
            encoder->records[good++] = records[i];
    }
    if (good > 0)
        clip_note_guess(encoder->compute.model, encoder->side);
    int status = encoder->tower->type->forward(encoder->tower, encoder->items, good, 0, NULL,
                                               encoder->features, error);
    for (size_t i = 0; i < good; i++) {
        free(encoder->copies[i]);
        if (status == 0)
            status = put_features(encoder, encoder->records[i], encoder->features + i * encoder->tower->width,
                                  error);
    }
    return status;
}
