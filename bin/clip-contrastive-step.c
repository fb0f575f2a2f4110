/* clip-contrastive-step: the loss of batches of pairs, in-batch accuracies, and the gradients of the
 * embeddings; in training, the last stage, which owns the logit scale. */
#include "base/cli.h"
#include "base/file.h"
#include "math/product.h"
#include "model/open.h"
#include "stream/print.h"
#include "stream/reader.h"
#include "stream/writer.h"
#include "score/pairs.h"
#include "train/fifo.h"
#include "train/log.h"
#include "train/trainee.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static const char *engines(void)
{
    static char text[200];
    return clip_engines(text, sizeof text);
}

static const struct clip_program program = {
    .name = "clip-contrastive-step",
    .operands = "[STREAM...]",
    .purpose = "Takes each step of a stream, or all of it, as one "
               "batch of pairs, and prints loss and accuracies as a line of JSON.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_STREAM,
    .engines = engines};

struct run {
    struct clip_reader *in;
    struct clip_pool *pool;
    FILE *out;                     /* standard output, or the log */
    int fd;                        /* of the gradients; -1: not (yet) open */
    struct clip_writer *gradients; /* or NULL */
    double logit_scale;            /* ln scale */
    double logit_bias;
    struct clip_pairs pairs;
    int64_t steps;                       /* step objects so far */
    struct clip_trainee *trainee;        /* or NULL */
    double begun, waited_in, waited_out; /* when the last step was done, and what was waited for until then */
};

/* --- what a step says --- */

static void print_number(FILE *out, const char *name, size_t size, double value)
{
    fprintf(out, ",\"%.*s\":", (int)size, name);
    clip_print_real(out, value);
}

/* 1 if the name is PART.WHAT. */
static int is_of(const struct clip_field *field, const char *part)
{
    size_t size = strlen(part);
    return field->name_size > size && memcmp(field->name, part, size) == 0 && field->name[size] == '.';
}

/* What the stages before put into the step object: numbers named PART.WHAT. */
static void print_reports(FILE *out, const struct clip_record *object)
{
    for (size_t i = 0; i < object->count; i++) {
        const struct clip_field *field = &object->fields[i];
        int known = is_of(field, CLIP_STEP_DATA);
        double value;
        for (size_t part = 0; part < CLIP_TRAIN_PARTS && !known; part++)
            known = is_of(field, clip_train_parts[part]);
        if (known && clip_field_real(field, &value) == 0)
            print_number(out, field->name, field->name_size, value);
    }
}

/* Rate and speed of the step, and the waiting since the last one. */
static void print_training(struct run *run, const struct clip_step *step, const struct clip_record *object)
{
    double now = clip_seconds(), in = clip_reader_waited(run->in);
    double out = run->gradients ? clip_writer_waited(run->gradients) : 0;
    print_number(run->out, "lr", 2, step->lr);
    print_number(run->out, "samples_per_s", 13, (double)run->pairs.n / (now - run->begun));
    print_reports(run->out, object);
    print_number(run->out, "loss.waited_input", 17, in - run->waited_in);
    print_number(run->out, "loss.waited_output", 18, out - run->waited_out);
    run->begun = now;
    run->waited_in = in;
    run->waited_out = out;
}

static int print_line(struct run *run, const struct clip_step *step, const struct clip_record *object,
                      const struct clip_contrast *contrast, struct clip_error *error)
{
    int sigmoid = loss == CLIP_LOSS_SIGMOID, gradients = gradients_path != NULL;
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
        {"logit_scale_gradient", contrast->logit_scale_gradient, gradients},
        {"logit_bias_gradient", contrast->logit_bias_gradient, sigmoid && gradients},
    };
    fprintf(run->out, "{\"step\":%lld,\"count\":%zu", (long long)step->number, run->pairs.n);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].shown)
            print_number(run->out, numbers[i].name, strlen(numbers[i].name), numbers[i].value);
    if (run->trainee)
        print_training(run, step, object);
    fputs("}\n", run->out);
    return fflush(run->out) == 0 ? 0 : clip_fail_errno(error, "%s", log_path ? log_path : "standard output");
}

/* --- a step --- */

/* In training FIFOs are opened when there is something for them: see train/fifo.h. Otherwise at once, so that
 * who waits at the other end of one sees it end. */
static int open_gradients(struct run *run, struct clip_error *error)
{
    if (run->trainee)
        run->fd = clip_fifo_writer(gradients_path, error);
    else if ((run->fd = open(gradients_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        clip_fail_errno(error, "%s", gradients_path);
    run->gradients = run->fd >= 0 ? clip_writer_new(run->fd, gradients_path, error) : NULL;
    return run->gradients ? 0 : -1;
}

/* The gradients, then the step object: what the stage before waits for. */
static int write_gradients(struct run *run, const struct clip_record *object, struct clip_error *error)
{
    if (!run->gradients && open_gradients(run, error) != 0)
        return -1;
    if (clip_pairs_write_gradients(&run->pairs, run->gradients, error) != 0)
        return -1;
    if (object && clip_writer_record(run->gradients, object, error) != 0)
        return -1;
    return clip_writer_flush(run->gradients, error);
}

/* The trained scale, and bias, as they are now. */
static void read_parameters(struct run *run)
{
    const struct clip_parameters *parameters = &run->trainee->parameters;
    run->logit_scale = (double)*clip_parameters_get(parameters, "logit_scale")->value;
    if (loss == CLIP_LOSS_SIGMOID)
        run->logit_bias = (double)*clip_parameters_get(parameters, "logit_bias")->value;
}

/* Updates the scale, which stays in [0, ln 100] (FACTS: training), and the bias. */
static int update(struct run *run, const struct clip_step *step, const struct clip_contrast *contrast,
                  struct clip_error *error)
{
    const struct clip_parameters *parameters = &run->trainee->parameters;
    struct clip_parameter *p = clip_parameters_get(parameters, "logit_scale");
    *p->gradient = (float)contrast->logit_scale_gradient;
    if (loss == CLIP_LOSS_SIGMOID)
        *clip_parameters_get(parameters, "logit_bias")->gradient = (float)contrast->logit_bias_gradient;
    if (clip_trainee_update(run->trainee, step, error) != 0)
        return -1;
    if (!train.freeze)
        *p->value = fminf(fmaxf(*p->value, 0), logf(100));
    read_parameters(run);
    /* The log of a checkpoint's steps is on disk before the checkpoint is. */
    if (step->save && log_path && clip_log_sync(run->out, log_path, error) != 0)
        return -1;
    return clip_trainee_save(run->trainee, step, error);
}

static int do_step(struct run *run, const struct clip_step *step, const struct clip_record *object,
                   struct clip_error *error)
{
    const struct clip_contrast_batch kind = {.loss = (enum clip_loss)loss,
                                             .scale = exp(run->logit_scale),
                                             .bias = loss == CLIP_LOSS_SIGMOID ? run->logit_bias : 0};
    struct clip_contrast contrast;
    int gradients = gradients_path != NULL;
    if (clip_pairs_loss(&run->pairs, &kind, gradients, run->pool, &contrast, error) != 0 ||
        print_line(run, step, object, &contrast, error) != 0 ||
        (gradients && write_gradients(run, object, error) != 0))
        return -1;
    clip_pairs_clear(&run->pairs);
    return run->trainee ? update(run, step, &contrast, error) : 0;
}

/* A step object ends a batch; other control objects mean nothing here. */
static int do_control(struct run *run, const struct clip_record *object, struct clip_error *error)
{
    struct clip_step step;
    int is_step = clip_step_read(&step, object, error);
    if (is_step <= 0)
        return is_step;
    if (run->trainee && clip_trainee_expect(run->trainee, &step, run->pairs.n, error) != 0)
        return -1;
    if (step.count >= 0 && (uint64_t)step.count != run->pairs.n)
        return clip_fail(error, "step %lld: its object does not count the %zu records that came",
                         (long long)step.number, run->pairs.n);
    run->steps++;
    if (do_step(run, &step, object, error) != 0)
        return clip_fail_prefix(error, "step %lld", (long long)step.number);
    return 0;
}

/* What follows the last step, or the whole stream, where it has none. */
static int do_rest(struct run *run, struct clip_error *error)
{
    const struct clip_step only = {.number = 1};
    if (run->trainee ? run->pairs.n == 0 : run->steps > 0 && run->pairs.n == 0)
        return 0;
    if (run->trainee || run->steps > 0)
        return clip_fail(error, "%zu records after the last step object", run->pairs.n);
    return do_step(run, &only, NULL, error);
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
    if (status == 0)
        status = do_rest(run, error);
    clip_progress_show(&progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in), 0, 1);
    return status;
}

/* --- the program --- */

static int check_bias(const struct clip_model *model, struct clip_error *error)
{
    if (loss != CLIP_LOSS_SIGMOID || clip_model_arch(model)->logit_bias)
        return 0;
    return clip_fail(error, "%s: the model has no logit_bias (init_logit_bias), which --loss sigmoid needs",
                     clip_model_path(model));
}

/* The logit scale and bias of the model. */
static int read_model(struct run *run, const struct clip_shared *shared, struct clip_error *error)
{
    float value = 0, value_bias = 0;
    struct clip_model *model = clip_open_model(shared, CLIP_SIDE_BOTH, error);
    int status = model && check_bias(model, error) == 0 ? clip_model_logit_scale(model, &value, error) : -1;
    if (status == 0 && loss == CLIP_LOSS_SIGMOID)
        status = clip_model_floats(model, "logit_bias", 0, NULL, &value_bias, error);
    run->logit_scale = (double)value;
    run->logit_bias = (double)value_bias;
    clip_model_close(model);
    return status;
}

/* The logit scale and bias: the run's, the model's, or those of the options. */
static int find_scale(struct run *run, const struct clip_shared *shared, struct clip_trainee *trainee,
                      struct clip_error *error)
{
    float value;
    run->logit_scale = log(scale);
    run->logit_bias = bias;
    if (shared->model)
        return read_model(run, shared, error);
    if (!train.dir)
        return 0;
    run->trainee = trainee;
    if (clip_trainee_open(trainee, &train, CLIP_PART_LOSS, CLIP_PRECISION_F32, (int)shared->threads, error) !=
            0 ||
        check_bias(trainee->compute.model, error) != 0 ||
        clip_model_logit_scale(trainee->compute.model, &value, error) != 0)
        return -1;
    read_parameters(run);
    if (log_path && !(run->out = clip_log_open(log_path, trainee->steps, error)))
        return -1;
    return 0;
}

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

static int run_all(struct run *run, const struct clip_shared *shared, char **operands, size_t n,
                   struct clip_error *error)
{
    if (!(run->pool = clip_pool_new((int)shared->threads, error)) ||
        (gradients_path && !run->trainee && open_gradients(run, error) != 0) ||
        !(run->in = clip_reader_new(operands, n, shared->max_record, error)))
        return -1;
    run->begun = clip_seconds();
    if (do_stream(run, shared, error) != 0)
        return -1;
    if (!run->gradients)
        return 0;
    return run->trainee ? clip_fifo_end(run->gradients, run->fd, error)
                        : clip_writer_end(run->gradients, error);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    struct clip_trainee trainee;
    struct run run = {.fd = -1, .out = stdout};
    int first = clip_start(&program, &shared, argc, argv);
    check_options(&shared);
    run.pairs.by = positives && strcmp(positives, "key") == 0 ? "__key__" : positives;
    struct clip_engine *engine =
        clip_engine_open("openblas", CLIP_PRECISION_F32, (int)shared.threads, &error);
    int status = engine ? find_scale(&run, &shared, &trainee, &error) : -1;
    if (status == 0)
        status = run_all(&run, &shared, argv + first, (size_t)(argc - first), &error);
    clip_writer_free(run.gradients);
    if (run.out && run.out != stdout && fclose(run.out) != 0 && status == 0)
        status = clip_fail_errno(&error, "%s", log_path);
    if (run.fd >= 0 && close(run.fd) != 0 && status == 0)
        status = clip_fail_errno(&error, "%s", gradients_path);
    if (status != 0)
        clip_message("%s", error.text);
    clip_pairs_free(&run.pairs);
    clip_reader_free(run.in);
    clip_pool_free(run.pool);
    if (run.trainee)
        clip_trainee_close(run.trainee);
    clip_engine_free(engine);
    return status != 0 ? 1 : clip_finish(0);
}
