#include "train/loss-stage.h"
#include "base/array.h"

#include "base/file.h"
#include "model/open.h"
#include "stream/print.h"
#include "train/fifo.h"
#include "train/log.h"
#include "train/step.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static int trains(const struct clip_loss_stage *stage)
{
    return stage->options->train->dir != NULL;
}

static int is_sigmoid(const struct clip_loss_stage *stage)
{
    return stage->options->loss == CLIP_LOSS_SIGMOID;
}

/* Rank 0 does. */
static int prints(const struct clip_loss_stage *stage)
{
    return clip_ranks_rank(stage->training.ranks) == 0;
}

/* --- opening --- */

static int check_bias(const struct clip_loss_stage *stage, const struct clip_model *model,
                      struct clip_error *error)
{
    if (!is_sigmoid(stage) || clip_model_arch(model)->logit_bias)
        return 0;
    return clip_fail(error, "%s: the model has no logit_bias (init_logit_bias), which --loss sigmoid needs",
                     clip_model_path(model));
}

static int read_model(struct clip_loss_stage *stage, const struct clip_shared *shared,
                      struct clip_error *error)
{
    float scale = 0, bias = 0;
    struct clip_model *model = clip_open_scalars(shared, error);
    int status =
        model && check_bias(stage, model, error) == 0 ? clip_model_logit_scale(model, &scale, error) : -1;
    if (status == 0 && is_sigmoid(stage))
        status = clip_model_floats(model, "logit_bias", 0, NULL, &bias, error);
    stage->logit_scale = (double)scale;
    stage->logit_bias = (double)bias;
    clip_model_close(model);
    return status;
}

/* The trained scale, and bias, as they are now. */
static void read_parameters(struct clip_loss_stage *stage)
{
    const struct clip_parameters *parameters = &stage->training.parameters;
    stage->logit_scale = (double)*clip_parameters_get(parameters, "logit_scale")->value;
    if (is_sigmoid(stage))
        stage->logit_bias = (double)*clip_parameters_get(parameters, "logit_bias")->value;
}

static int open_training(struct clip_loss_stage *stage, const struct clip_shared *shared,
                         struct clip_error *error)
{
    const char *path = stage->options->log;
    float value;
    if (clip_training_open(&stage->training, stage->options->train, CLIP_PART_LOSS, CLIP_PRECISION_F32,
                           (int)shared->threads, error) != 0 ||
        check_bias(stage, stage->training.compute.model, error) != 0 ||
        clip_model_logit_scale(stage->training.compute.model, &value, error) != 0)
        return -1;
    read_parameters(stage);
    if (!prints(stage))
        return 0;
    return !path || (stage->log = clip_log_open(path, stage->training.steps, error)) ? 0 : -1;
}

/* In training FIFOs are opened when there is something for them: see train/fifo.h. Otherwise at once, so that
 * who waits at the other end of one sees it end. */
static int open_gradients(struct clip_loss_stage *stage, struct clip_error *error)
{
    const char *path = stage->options->gradients;
    if (trains(stage))
        stage->fd = clip_fifo_writer(path, error);
    else if ((stage->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0)
        clip_fail_errno(error, "%s", path);
    stage->gradients = stage->fd >= 0 ? clip_writer_new(stage->fd, path, error) : NULL;
    return stage->gradients ? 0 : -1;
}

int clip_loss_begin(struct clip_loss_stage *stage, const struct clip_loss_options *options,
                    const struct clip_shared *shared, struct clip_error *error)
{
    int threads = (int)shared->threads;
    *stage = (struct clip_loss_stage){.options = options, .log = stdout, .fd = -1, .pairs.by = options->by};
    if (!(stage->engine = clip_engine_open("openblas", CLIP_PRECISION_F32, threads, error)) ||
        !(stage->pool = clip_pool_new(threads, error)))
        return -1;
    int status = 0;
    if (shared->model)
        status = read_model(stage, shared, error);
    else if (trains(stage))
        status = open_training(stage, shared, error);
    else {
        stage->logit_scale = log(options->scale);
        stage->logit_bias = options->bias;
    }
    if (status == 0 && options->gradients && !trains(stage))
        status = open_gradients(stage, error);
    stage->begun = clip_seconds();
    return status;
}

/* --- the line of a step --- */

static void print_number(FILE *out, const char *name, size_t size, double value)
{
    fprintf(out, ",\"%.*s\":", (int)size, name);
    clip_print_real(out, value);
}

/* 1 if the name is PART.WHAT. */
static int belongs_to(const struct clip_field *field, const char *part)
{
    size_t size = strlen(part);
    return field->name_size > size && memcmp(field->name, part, size) == 0 && field->name[size] == '.';
}

/* What the stages before put into the step object: numbers named PART.WHAT. */
static void print_reports(FILE *out, const struct clip_record *object)
{
    for (size_t i = 0; i < object->count; i++) {
        const struct clip_field *field = &object->fields[i];
        int known = belongs_to(field, CLIP_STEP_DATA);
        double value;
        for (size_t part = 0; part < CLIP_TRAIN_PARTS && !known; part++)
            known = belongs_to(field, clip_train_parts[part]);
        if (known && clip_field_real(field, &value) == 0)
            print_number(out, field->name, field->name_size, value);
    }
}

/* Rate and speed of the step of n pairs, and the waiting since the last one. */
static void print_training(struct clip_loss_stage *stage, const struct clip_step *step,
                           const struct clip_record *object, size_t n, double waited_in)
{
    double now = clip_seconds();
    double waited_out = stage->gradients ? clip_writer_waited(stage->gradients) : 0;
    print_number(stage->log, "lr", 2, step->lr);
    print_number(stage->log, "samples_per_s", 13, (double)n / (now - stage->begun));
    print_reports(stage->log, object);
    print_number(stage->log, "loss.waited_input", 17, waited_in - stage->waited_in);
    print_number(stage->log, "loss.waited_output", 18, waited_out - stage->waited_out);
    stage->begun = now;
    stage->waited_in = waited_in;
    stage->waited_out = waited_out;
}

static int print_line(struct clip_loss_stage *stage, const struct clip_step *step,
                      const struct clip_record *object, const struct clip_contrast *contrast, size_t n,
                      double waited_in, struct clip_error *error)
{
    int sigmoid = is_sigmoid(stage), gradients = stage->options->gradients != NULL;
    const struct {
        const char *name;
        double value;
        int shown;
    } numbers[] = {
        {"loss", contrast->loss, 1},
        {"loss_over_ln_n", contrast->loss / log((double)n), !sigmoid},
        {"top1_image", contrast->top1_image, 1},
        {"top1_text", contrast->top1_text, 1},
        {"logit_scale", stage->logit_scale, 1},
        {"logit_bias", stage->logit_bias, sigmoid},
        {"logit_scale_gradient", contrast->logit_scale_gradient, gradients},
        {"logit_bias_gradient", contrast->logit_bias_gradient, sigmoid && gradients},
    };
    if (!prints(stage))
        return 0;
    fprintf(stage->log, "{\"step\":%" PRId64 ",\"count\":%zu", step->number, n);
    for (size_t i = 0; i < CLIP_COUNT_OF(numbers); i++)
        if (numbers[i].shown)
            print_number(stage->log, numbers[i].name, strlen(numbers[i].name), numbers[i].value);
    if (trains(stage))
        print_training(stage, step, object, n, waited_in);
    fputs("}\n", stage->log);
    if (fflush(stage->log) == 0)
        return 0;
    return clip_fail_errno(error, "%s", stage->log == stdout ? "standard output" : stage->options->log);
}

/* --- a step --- */

/* The gradients, then the step object: what the stage before waits for. */
static int write_gradients(struct clip_loss_stage *stage, const struct clip_record *object,
                           struct clip_error *error)
{
    if (!stage->gradients && open_gradients(stage, error) != 0)
        return -1;
    if (clip_pairs_write_gradients(&stage->pairs, stage->gradients, error) != 0)
        return -1;
    if (object && clip_writer_record(stage->gradients, object, error) != 0)
        return -1;
    return clip_writer_flush(stage->gradients, error);
}

/* Updates the scale, which stays in [0, ln 100] (FACTS: training), and the bias. */
static int update(struct clip_loss_stage *stage, const struct clip_step *step,
                  const struct clip_contrast *contrast, struct clip_error *error)
{
    struct clip_training *training = &stage->training;
    struct clip_parameter *p = clip_parameters_get(&training->parameters, "logit_scale");
    *p->gradient = (float)contrast->logit_scale_gradient;
    if (is_sigmoid(stage))
        *clip_parameters_get(&training->parameters, "logit_bias")->gradient =
            (float)contrast->logit_bias_gradient;
    if (clip_training_update(training, step, error) != 0)
        return -1;
    if (!training->frozen)
        *p->value = fminf(fmaxf(*p->value, 0), logf(100));
    read_parameters(stage);
    /* The log of a checkpoint's steps is on disk before the checkpoint is. */
    if (step->save && stage->log != stdout && clip_log_sync(stage->log, stage->options->log, error) != 0)
        return -1;
    return clip_training_save(training, step, error);
}

/* What is done with a whole batch; object NULL: nothing goes with the gradients. */
static int do_batch(struct clip_loss_stage *stage, const struct clip_step *step,
                    const struct clip_record *object, double waited, struct clip_error *error)
{
    struct clip_contrast_batch kind = {.loss = stage->options->loss,
                                       .scale = exp(stage->logit_scale),
                                       .bias = is_sigmoid(stage) ? stage->logit_bias : 0};
    struct clip_contrast contrast;
    int gradients = stage->options->gradients != NULL;
    if (clip_loss_gather(&stage->ranks, stage->training.ranks, &stage->pairs, &kind, error) != 0 ||
        clip_pairs_loss(&stage->pairs, &kind, gradients, stage->pool, &contrast, error) != 0 ||
        print_line(stage, step, object, &contrast, kind.share ? kind.n : stage->pairs.n, waited, error) !=
            0 ||
        (gradients && write_gradients(stage, object, error) != 0))
        return -1;
    clip_pairs_clear(&stage->pairs);
    return trains(stage) ? update(stage, step, &contrast, error) : 0;
}

int clip_loss_step(struct clip_loss_stage *stage, struct clip_record *record, double waited,
                   struct clip_error *error)
{
    struct clip_step step;
    if (clip_record_find(record, "__key__"))
        return clip_pairs_take(&stage->pairs, record, error);
    int is_step = clip_step_read(&step, record, error);
    if (is_step <= 0)
        return is_step;
    if (trains(stage) && clip_training_expect(&stage->training, &step, stage->pairs.n, error) != 0)
        return -1;
    if (step.count >= 0 && (uint64_t)step.count != stage->pairs.n)
        return clip_fail(error, "step %" PRId64 ": its object does not count the %zu records that came",
                         step.number, stage->pairs.n);
    stage->steps++;
    if (do_batch(stage, &step, record, waited, error) != 0)
        return clip_fail_prefix(error, "step %" PRId64, step.number);
    return 0;
}

/* --- the end --- */

/* What follows the last step, or the whole stream, where it has none. */
static int end_batch(struct clip_loss_stage *stage, struct clip_error *error)
{
    const struct clip_step only = {.number = 1};
    if (!trains(stage) && stage->steps == 0)
        return do_batch(stage, &only, NULL, 0, error);
    if (stage->pairs.n > 0)
        return clip_fail(error, "%zu records after the last step object", stage->pairs.n);
    return 0;
}

static int close_outputs(struct clip_loss_stage *stage, struct clip_error *error)
{
    int fd = stage->fd;
    FILE *log = stage->log;
    stage->fd = -1;
    stage->log = stdout;
    int status = 0;
    if (fd >= 0 && close(fd) != 0)
        status = clip_fail_errno(error, "%s", stage->options->gradients);
    if (log != stdout && fclose(log) != 0)
        status = clip_fail_errno(error, "%s", stage->options->log);
    return status;
}

int clip_loss_end(struct clip_loss_stage *stage, struct clip_error *error)
{
    int status = end_batch(stage, error);
    if (status == 0 && stage->gradients)
        status = trains(stage) ? clip_fifo_end(stage->gradients, stage->fd, error)
                               : clip_writer_end(stage->gradients, error);
    if (status == 0)
        status = close_outputs(stage, error);
    return status == 0 ? clip_training_end(&stage->training, error) : status;
}

void clip_loss_fail(struct clip_loss_stage *stage, const struct clip_error *error)
{
    clip_training_fail(&stage->training, error);
}

void clip_loss_close(struct clip_loss_stage *stage)
{
    clip_writer_free(stage->gradients);
    if (stage->fd >= 0)
        close(stage->fd);
    if (stage->log && stage->log != stdout)
        fclose(stage->log);
    clip_pairs_free(&stage->pairs);
    clip_loss_ranks_free(&stage->ranks);
    clip_training_close(&stage->training);
    clip_pool_free(stage->pool);
    clip_engine_free(stage->engine);
}
