/* clip-encode-image: the image tower, from pixels to features. */
#include "base/cli.h"
#include "stream/filter.h"
#include "model/open.h"
#include "tower/fields.h"
#include "tower/compute.h"
#include "tower/tower.h"
#include "train/encoder.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int precision, keep;
static long chunk;
static struct clip_train_options train = CLIP_TRAIN_DEFAULTS;
static struct clip_stage_options training = CLIP_STAGE_DEFAULTS;
static const enum clip_precision precisions[] = {CLIP_PRECISION_F32, CLIP_PRECISION_BF16, CLIP_PRECISION_F32};

static const struct clip_option options[] = {
    {"precision", 0, CLIP_CHOICE, &precision, "f32|bf16|auto",
     "precision of the operands of matrix products [f32]", 0, 0},
    {"keep", 0, CLIP_FLAG, &keep, NULL, "keep the image", 0, 0},
    CLIP_TRAIN_OPTIONS(train),
    CLIP_FREEZE_OPTION(train),
    CLIP_STAGE_OPTIONS(training),
    {"chunk", 0, CLIP_COUNT, &chunk, "N", "with --train: compute N pictures at once [16; ResNet: the batch]",
     1, 1 << 20},
    {0}};

static const char *engines(void)
{
    static char text[128];
    return clip_engines(text, sizeof text);
}

static const struct clip_program program = {
    .name = "clip-encode-image",
    .operands = "[STREAM...]",
    .purpose =
        "Replaces the image of each record by the features that the model's image tower computes from it,\n"
        "image_features.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_BATCH | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP,
    .engines = engines};

struct encoder {
    struct clip_compute compute;
    struct clip_tower *tower;
    const struct clip_arch *arch;
    size_t width;
    /* of a batch: what is not bad */
    struct clip_record **records;
    union clip_item *items;
    float **copies; /* of floats that are not aligned, or NULL */
    float *features;
};

/* Sets image to the pixels of the record's image; its floats are copied where they are not aligned. -1 where
 * the record is bad. */
static int find_image(const struct encoder *encoder, struct clip_record *record, struct clip_image *image,
                      float **copy)
{
    struct clip_tensor tensor;
    *copy = NULL;
    if (clip_record_image(record, encoder->arch, &tensor) != 0)
        return -1;
    *image = (struct clip_image){.bytes = tensor.dtype == CLIP_U8 ? tensor.data : NULL};
    if (tensor.dtype == CLIP_U8)
        return 0;
    if ((uintptr_t)tensor.data % sizeof(float) != 0) {
        *copy = malloc(clip_tensor_bytes(&tensor));
        if (!*copy)
            return clip_record_fail(record, "image: out of memory");
        memcpy(*copy, tensor.data, clip_tensor_bytes(&tensor));
    }
    image->floats = *copy ? *copy : tensor.data;
    return 0;
}

/* Puts the features where they belong. */
static int put_features(const struct encoder *encoder, struct clip_record *record, const float *features,
                        struct clip_error *error)
{
    struct clip_tensor tensor = {CLIP_F32, 1, {encoder->width}, features};
    if (!keep)
        clip_record_drop(record, "image");
    return clip_record_put_tensor(record, "image_features", &tensor, error);
}

static int do_batch(void *context, struct clip_record **records, size_t n, struct clip_error *error)
{
    struct encoder *encoder = context;
    size_t good = 0;
    for (size_t i = 0; i < n; i++)
        if (find_image(encoder, records[i], &encoder->items[good].image, &encoder->copies[good]) == 0)
            encoder->records[good++] = records[i];
    if (good > 0)
        clip_note_guess(encoder->compute.model, CLIP_SIDE_IMAGE);
    int status = encoder->tower->type->forward(encoder->tower, encoder->items, good, 0, NULL,
                                               encoder->features, error);
    for (size_t i = 0; i < good; i++) {
        free(encoder->copies[i]);
        if (status == 0)
            status =
                put_features(encoder, encoder->records[i], encoder->features + i * encoder->width, error);
    }
    return status;
}

static void open_encoder(struct encoder *encoder, const struct clip_shared *shared)
{
    struct clip_error error;
    size_t batch = (size_t)shared->batch;
    if (!shared->model)
        clip_usage("give a model (-m)");
    if (clip_compute_begin(&encoder->compute, clip_open_model(shared, CLIP_SIDE_IMAGE, &error),
                           precisions[precision], (int)shared->threads, &error) != 0)
        clip_die("%s", error.text);
    clip_verbose("%s", clip_engine_text(encoder->compute.engine));
    encoder->arch = clip_model_arch(encoder->compute.model);
    encoder->width = clip_feature_width(encoder->arch, CLIP_SIDE_IMAGE);
    const struct clip_tower_setup setup = clip_compute_setup(&encoder->compute, NULL, batch);
    encoder->tower = clip_tower_open(CLIP_SIDE_IMAGE, &setup, &error);
    if (!encoder->tower)
        clip_die("%s: %s", shared->model, error.text);
    encoder->records = calloc(batch, sizeof *encoder->records);
    encoder->items = calloc(batch, sizeof *encoder->items);
    encoder->copies = calloc(batch, sizeof *encoder->copies);
    encoder->features = calloc(batch, encoder->width * sizeof *encoder->features);
    if (!encoder->records || !encoder->items || !encoder->copies || !encoder->features)
        clip_die("out of memory for a batch");
}

static void close_encoder(struct encoder *encoder)
{
    free(encoder->records);
    free(encoder->items);
    free(encoder->copies);
    free(encoder->features);
    clip_tower_free(encoder->tower);
    clip_compute_close(&encoder->compute);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 32};
    struct encoder encoder = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv);
    if (clip_train_check(&train, &shared, training.grad_in, &error) != 0)
        clip_usage("%s", error.text);
    if (train.dir)
        return clip_encoder_train(
            CLIP_SIDE_IMAGE,
            &(struct clip_encoder_options){&train, &training, precisions[precision], (size_t)chunk, keep},
            &shared, argv + first, (size_t)(argc - first));
    open_encoder(&encoder, &shared);
    struct clip_filter filter = {.process = do_batch, .context = &encoder, .batch = (size_t)shared.batch};
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    close_encoder(&encoder);
    return status;
}
