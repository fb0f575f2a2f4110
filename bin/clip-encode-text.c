/* clip-encode-text: the text tower, from tokens to features. */
#include "base/cli.h"
#include "stream/filter.h"
#include "model/open.h"
#include "tower/fields.h"
#include "tower/compute.h"
#include "tower/tower.h"
#include "train/encoder.h"

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
    {"keep", 0, CLIP_FLAG, &keep, NULL, "keep the tokens", 0, 0},
    CLIP_TRAIN_OPTIONS(train),
    CLIP_FREEZE_OPTION(train),
    CLIP_STAGE_OPTIONS(training),
    {"chunk", 0, CLIP_COUNT, &chunk, "N", "with --train: compute N captions at once [16]", 1, 1 << 20},
    {0}};

static const char *engines(void)
{
    static char text[128];
    return clip_engines(text, sizeof text);
}

static const struct clip_program program = {
    .name = "clip-encode-text",
    .operands = "[STREAM...]",
    .purpose =
        "Replaces the tokens of each record by the features that the model's text tower computes from them,\n"
        "text_features.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_BATCH | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP,
    .engines = engines};

struct encoder {
    struct clip_compute compute;
    const struct clip_arch *arch;
    struct clip_tower *tower;
    size_t context, width;
    /* of a batch: what is not bad */
    struct clip_record **records;
    union clip_item *items;
    int32_t *tokens; /* [batch][context] */
    float *features;
};

static int put_features(const struct encoder *encoder, struct clip_record *record, const float *features,
                        struct clip_error *error)
{
    struct clip_tensor tensor = {CLIP_F32, 1, {encoder->width}, features};
    if (!keep)
        clip_record_drop(record, "tokens");
    return clip_record_put_tensor(record, "text_features", &tensor, error);
}

static int do_batch(void *context, struct clip_record **records, size_t n, struct clip_error *error)
{
    struct encoder *encoder = context;
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t *tokens = encoder->tokens + good * encoder->context;
        if (clip_record_tokens(records[i], encoder->arch, tokens) != 0)
            continue;
        encoder->items[good].caption = (struct clip_caption){tokens, encoder->context};
        encoder->records[good++] = records[i];
    }
    if (good > 0)
        clip_note_guess(encoder->compute.model, CLIP_SIDE_TEXT);
    if (encoder->tower->type->forward(encoder->tower, encoder->items, good, 0, NULL, encoder->features,
                                      error) != 0)
        return -1;
    for (size_t i = 0; i < good; i++)
        if (put_features(encoder, encoder->records[i], encoder->features + i * encoder->width, error) != 0)
            return -1;
    return 0;
}

static void open_encoder(struct encoder *encoder, const struct clip_shared *shared)
{
    struct clip_error error;
    size_t batch = (size_t)shared->batch;
    if (!shared->model)
        clip_usage("give a model (-m)");
    if (clip_compute_begin(&encoder->compute, clip_open_model(shared, CLIP_SIDE_TEXT, &error),
                           precisions[precision], (int)shared->threads, &error) != 0)
        clip_die("%s", error.text);
    clip_verbose("%s", clip_engine_text(encoder->compute.engine));
    encoder->arch = clip_model_arch(encoder->compute.model);
    encoder->context = (size_t)encoder->arch->text.context;
    encoder->width = (size_t)encoder->arch->text.width;
    const struct clip_tower_setup setup = clip_compute_setup(&encoder->compute, NULL, batch);
    encoder->tower = clip_tower_open(CLIP_SIDE_TEXT, &setup, &error);
    if (!encoder->tower)
        clip_die("%s: %s", shared->model, error.text);
    encoder->records = calloc(batch, sizeof *encoder->records);
    encoder->items = calloc(batch, sizeof *encoder->items);
    encoder->tokens = calloc(batch, encoder->context * sizeof *encoder->tokens);
    encoder->features = calloc(batch, encoder->width * sizeof *encoder->features);
    if (!encoder->records || !encoder->items || !encoder->tokens || !encoder->features)
        clip_die("out of memory for a batch");
}

static void close_encoder(struct encoder *encoder)
{
    free(encoder->records);
    free(encoder->items);
    free(encoder->tokens);
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
            CLIP_SIDE_TEXT,
            &(struct clip_encoder_options){&train, &training, precisions[precision], (size_t)chunk, keep},
            &shared, argv + first, (size_t)(argc - first));
    open_encoder(&encoder, &shared);
    struct clip_filter filter = {.process = do_batch, .context = &encoder, .batch = (size_t)shared.batch};
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    close_encoder(&encoder);
    return status;
}
