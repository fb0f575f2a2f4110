/* clip-contrastive-step: the loss of batches of pairs, in-batch accuracies, and the gradients of the
 * embeddings. */
#include "base/cli.h"
#include "math/product.h"
#include "model/model.h"
#include "stream/print.h"
#include "stream/reader.h"
#include "stream/writer.h"
#include "tower/pairs.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static double scale, bias;
static const char *gradients_path, *positives;
static int loss;

static const struct clip_option options[] = {
    {"scale", 's', CLIP_NUMBER, &scale, "X", "factor of the cosines, instead of the model's exp(logit_scale)",
     1e-6, 1e6},
    {"bias", 0, CLIP_NUMBER, &bias, "X", "sigmoid with --scale: what is added to the logits [0]", -1e6, 1e6},
    {"loss", 0, CLIP_CHOICE, &loss, "softmax|sigmoid", "CLIP's loss or SigLIP's [softmax]", 0, 0},
    {"positives", 0, CLIP_TEXT, &positives, "key|FIELD",
     "samples with the same key, or the same FIELD, match each other", 0, 0},
    {"grad-out", 0, CLIP_TEXT, &gradients_path, "FILE",
     "write the gradients of the embeddings to FILE, as a stream", 0, 0},
    {0}};

static const char *engines(void)
{
    static char text[200];
    return clip_engines(text, sizeof text);
}

static const struct clip_program program = {.name = "clip-contrastive-step",
                                            .operands = "[STREAM...]",
                                            .purpose = "Takes each step of a stream, or the whole, as one "
                                                       "batch of pairs: loss and accuracies as a JSON line.",
                                            .options = options,
                                            .shared =
                                                CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_STREAM,
                                            .engines = engines};

struct run {
    struct clip_reader *in;
    struct clip_pool *pool;
    struct clip_writer *gradients; /* or NULL */
    double logit_scale;            /* ln scale */
    double logit_bias;
    struct clip_pairs pairs;
    int64_t steps; /* step objects so far */
};

/* --- a step --- */

static int print_line(const struct run *run, int64_t step, const struct clip_contrast *contrast,
                      struct clip_error *error)
{
    int sigmoid = loss == CLIP_LOSS_SIGMOID;
    const struct {
        const char *name;
        double value;
        int shown;
    } numbers[] = {
        {"loss", contrast->loss, 1},
        {"loss_over_ln_n", contrast->loss / log((double)run->pairs.n), !sigmoid},
        {"top1_image", contrast->top1_image, 1},
        {"top1_text", contrast->top1_text, 1},
        {"logit_scale", run->logit_scale, 1},
        {"logit_bias", run->logit_bias, sigmoid},
        {"logit_scale_gradient", contrast->logit_scale_gradient, run->gradients != NULL},
        {"logit_bias_gradient", contrast->logit_bias_gradient, sigmoid && run->gradients},
    };
    printf("{\"step\":%lld,\"count\":%zu", (long long)step, run->pairs.n);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!numbers[i].shown)
            continue;
        printf(",\"%s\":", numbers[i].name);
        clip_print_real(stdout, numbers[i].value);
    }
    puts("}");
    return fflush(stdout) == 0 ? 0 : clip_fail_errno(error, "standard output");
}

/* The gradients, then the step object: what the stage before waits for. */
static int write_gradients(struct run *run, const struct clip_record *object, struct clip_error *error)
{
    if (clip_pairs_write_gradients(&run->pairs, run->gradients, error) != 0)
        return -1;
    if (object && clip_writer_record(run->gradients, object, error) != 0)
        return -1;
    return clip_writer_flush(run->gradients, error);
}

static int do_step(struct run *run, int64_t step, const struct clip_record *object, struct clip_error *error)
{
    const struct clip_contrast_batch kind = {.loss = (enum clip_loss)loss,
                                             .scale = exp(run->logit_scale),
                                             .bias = loss == CLIP_LOSS_SIGMOID ? run->logit_bias : 0};
    struct clip_contrast contrast;
    if (clip_pairs_loss(&run->pairs, &kind, run->gradients != NULL, run->pool, &contrast, error) != 0)
        return -1;
    if (print_line(run, step, &contrast, error) != 0)
        return -1;
    if (run->gradients && write_gradients(run, object, error) != 0)
        return -1;
    clip_pairs_clear(&run->pairs);
    return 0;
}

/* A step object ends a batch; other control objects mean nothing here. */
static int do_control(struct run *run, const struct clip_record *object, struct clip_error *error)
{
    const struct clip_field *step = clip_record_find(object, "__step__"),
                            *count = clip_record_find(object, "count");
    int64_t number, claimed;
    if (!step)
        return 0;
    if (clip_field_integer(step, &number) != 0)
        return clip_fail(error, "a step object whose __step__ is no whole number");
    if (count &&
        (clip_field_integer(count, &claimed) != 0 || claimed < 0 || (uint64_t)claimed != run->pairs.n))
        return clip_fail(error, "step %lld: its object counts other records than the %zu that came",
                         (long long)number, run->pairs.n);
    run->steps++;
    if (do_step(run, number, object, error) != 0)
        return clip_fail_prefix(error, "step %lld", (long long)number);
    return 0;
}

static int do_stream(struct run *run, const struct clip_shared *shared, struct clip_error *error)
{
    struct clip_progress progress;
    struct clip_record *record;
    int got, status = 0;
    clip_progress_start(&progress, shared, clip_reader_source(run->in));
    while (status == 0 && (got = clip_reader_next(run->in, &record, error)) != 0) {
        status = got < 0                               ? -1
                 : clip_record_find(record, "__key__") ? clip_pairs_take(&run->pairs, record, error)
                                                       : do_control(run, record, error);
        if (got > 0)
            clip_record_free(record);
        clip_progress_show(&progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in), 0, 0);
    }
    if (status == 0 && run->steps == 0)
        status = do_step(run, 1, NULL, error);
    else if (status == 0 && run->pairs.n > 0)
        status = clip_fail(error, "%zu records behind the last step object", run->pairs.n);
    clip_progress_show(&progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in), 0, 1);
    return status;
}

/* --- the program --- */

/* The logit scale and bias: the model's, or those of the options. */
static int find_scale(struct run *run, const struct clip_shared *shared, struct clip_error *error)
{
    run->logit_scale = log(scale);
    run->logit_bias = bias;
    if (!shared->model)
        return 0;
    struct clip_model *model = clip_model_open(shared->model, shared->arch, error);
    float value = 0, value_bias = 0;
    int status = model ? clip_model_logit_scale(model, &value, error) : -1;
    if (status == 0 && loss == CLIP_LOSS_SIGMOID && !clip_model_arch(model)->logit_bias)
        status =
            clip_fail(error, "%s: the model has no logit_bias (init_logit_bias), which --loss sigmoid needs",
                      clip_model_path(model));
    else if (status == 0 && loss == CLIP_LOSS_SIGMOID)
        status = clip_model_floats(model, "logit_bias", 0, NULL, &value_bias, error);
    run->logit_scale = (double)value;
    run->logit_bias = (double)value_bias;
    clip_model_close(model);
    return status;
}

static void check_options(const struct clip_shared *shared)
{
    if (!shared->model == (scale == 0))
        clip_usage(scale == 0 ? "where is the scale from? (-m or --scale)"
                              : "the scale is either -m's or --scale's");
    if (bias != 0 && (loss != CLIP_LOSS_SIGMOID || shared->model))
        clip_usage("--bias is for --loss sigmoid with --scale");
}

static int run_all(struct run *run, const struct clip_shared *shared, char **operands, size_t n,
                   int gradients, struct clip_error *error)
{
    run->in = clip_reader_new(operands, n, shared->max_record, error);
    if (!run->in || !(run->pool = clip_pool_new((int)shared->threads, error)))
        return -1;
    if (gradients >= 0 && !(run->gradients = clip_writer_new(gradients, gradients_path, error)))
        return -1;
    if (do_stream(run, shared, error) != 0)
        return -1;
    return run->gradients ? clip_writer_end(run->gradients, error) : 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    struct run run = {0};
    int first = clip_start(&program, &shared, argc, argv), gradients = -1;
    check_options(&shared);
    run.pairs.by = positives && strcmp(positives, "key") == 0 ? "__key__" : positives;
    if (find_scale(&run, &shared, &error) != 0)
        clip_die("%s", error.text);
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, &error);
    if (!engine)
        clip_die("%s", error.text);
    if (gradients_path &&
        (gradients = open(gradients_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        clip_die("%s: %s", gradients_path, strerror(errno));
    int status = run_all(&run, &shared, argv + first, (size_t)(argc - first), gradients, &error);
    if (gradients >= 0 && close(gradients) != 0 && status == 0)
        status = clip_fail_errno(&error, "%s", gradients_path);
    if (status != 0)
        clip_message("%s", error.text);
    clip_pairs_free(&run.pairs);
    clip_writer_free(run.gradients);
    clip_reader_free(run.in);
    clip_pool_free(run.pool);
    clip_engine_free(engine);
    return status != 0 ? 1 : clip_finish(0);
}
