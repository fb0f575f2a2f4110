/* clip-contrastive-step: the loss of batches of pairs, in-batch accuracies, and the gradients of the
 * embeddings; in training, the last stage, which owns the logit scale. */
#include "base/cli.h"
#include "math/product.h"
#include "stream/reader.h"
#include "train/loss-stage.h"

#include <string.h>

static double scale, bias;
static const char *gradients_path, *positives, *log_path;
static int loss;
static struct clip_train_options train = CLIP_TRAIN_DEFAULTS;

static const struct clip_option options[] = {
    {"scale", 's', CLIP_NUMBER, &scale, "X", "scale of the cosines, instead of the model's exp(logit_scale)",
     1e-6, 1e6},
    {"bias", 0, CLIP_NUMBER, &bias, "X", "with --loss sigmoid and --scale: bias added to the logits [0]",
     -1e6, 1e6},
    {"loss", 0, CLIP_CHOICE, &loss, "softmax|sigmoid", "CLIP's loss or SigLIP's [softmax]", 0, 0},
    {"positives", 0, CLIP_TEXT, &positives, "key|FIELD",
     "samples with the same key, or the same FIELD, are positives of each other", 0, 0},
    {"grad-out", 0, CLIP_TEXT, &gradients_path, "FILE",
     "write the gradients of the embeddings to FILE, as a stream", 0, 0},
    {"log", 0, CLIP_TEXT, &log_path, "FILE", "with --train: append one line per step to FILE", 0, 0},
    CLIP_TRAIN_OPTIONS(train),
    CLIP_FREEZE_OPTION(train),
    {0}};

static const struct clip_program program = {
    .name = "clip-contrastive-step",
    .operands = "[STREAM...]",
    .purpose = "Takes each step of a stream, or all of it, as one "
               "batch of pairs, and prints loss and accuracies as a line of JSON.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_STREAM,
    .engines = clip_engines};

static void check_options(const struct clip_shared *shared)
{
    int sources = (shared->model != NULL) + (scale != 0) + (train.dir != NULL);
    if (sources == 0)
        clip_usage("give the scale (-m, --scale or --train)");
    if (sources > 1)
        clip_usage("-m, --scale and --train are mutually exclusive");
    if (bias != 0 && (loss != CLIP_LOSS_SIGMOID || scale == 0))
        clip_usage("--bias needs --loss sigmoid and --scale");
    if (log_path && !train.dir)
        clip_usage("--log needs --train");
    if (train.dir && !gradients_path)
        clip_usage("--train needs --grad-out");
}

/* All records, then the end. */
static int do_stream(struct clip_loss_stage *stage, struct clip_reader *in, const struct clip_shared *shared,
                     struct clip_error *error)
{
    struct clip_progress progress;
    struct clip_record *record;
    int got, status = 0;
    clip_progress_start(&progress, shared, clip_reader_source(in));
    while (status == 0 && (got = clip_reader_next(in, &record, error)) != 0) {
        status = got < 0 ? -1 : clip_loss_step(stage, record, clip_reader_waited(in), error);
        if (got > 0)
            clip_record_free(record);
        clip_progress_show(&progress, clip_reader_count(in), 0, clip_reader_waited(in), 0, 0);
    }
    if (status == 0)
        status = clip_loss_end(stage, error);
    clip_progress_show(&progress, clip_reader_count(in), 0, clip_reader_waited(in), 0, 1);
    return status;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    struct clip_loss_stage stage;
    struct clip_reader *in = NULL;
    int first = clip_start(&program, &shared, argc, argv), status = -1;
    check_options(&shared);
    const struct clip_loss_options loss_options = {
        .loss = (enum clip_loss)loss,
        .scale = scale,
        .bias = bias,
        .by = positives && strcmp(positives, "key") == 0 ? "__key__" : positives,
        .gradients = gradients_path,
        .log = log_path,
        .train = &train};
    if (clip_loss_begin(&stage, &loss_options, &shared, &error) == 0 &&
        (in = clip_reader_new(argv + first, (size_t)(argc - first), shared.max_record, &error)))
        status = do_stream(&stage, in, &shared, &error);
    if (status != 0) {
        clip_message("%s", error.text);
        clip_loss_fail(&stage, &error);
    }
    clip_reader_free(in);
    clip_loss_close(&stage);
    return status != 0 ? 1 : clip_finish(0);
}
