/* clip-contrastive-step: the loss of batches of pairs, in-batch accuracies, and the gradients of the
 * embeddings. */
#include "base/cli.h"
#include "math/product.h"
#include "model/model.h"
#include "stream/print.h"
#include "stream/reader.h"
#include "stream/vector.h"
#include "stream/writer.h"
#include "tower/loss.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static double scale;
static const char *gradients_path;

static const struct clip_option options[] = {
    {"scale", 's', CLIP_NUMBER, &scale, "X", "factor of the cosines, instead of the model's exp(logit_scale)",
     1e-6, 1e6},
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

static const char *const fields[2] = {"image_embedding", "text_embedding"};

struct batch {
    size_t n, room, width;
    float *embeddings[2], *gradients[2]; /* [room][width] */
    struct clip_record **keys;           /* [room]: records of nothing but a key, for the gradients */
};

struct run {
    struct clip_reader *in;
    struct clip_pool *pool;
    struct clip_writer *gradients; /* or NULL */
    double logit_scale;            /* ln scale */
    struct batch batch;
    int64_t steps; /* step objects so far */
};

/* --- the batch --- */

static int grow(struct batch *batch, struct clip_error *error)
{
    size_t room = batch->room ? 2 * batch->room : 64;
    struct clip_record **keys = reallocarray(batch->keys, room, sizeof *keys);
    if (!keys)
        return clip_fail_memory(error, "a batch");
    batch->keys = keys;
    for (int side = 0; side < 2; side++) {
        float *rows = reallocarray(batch->embeddings[side], room, batch->width * sizeof *rows);
        if (!rows)
            return clip_fail_memory(error, "a batch");
        batch->embeddings[side] = rows;
    }
    batch->room = room;
    return 0;
}

static void empty(struct batch *batch)
{
    for (size_t i = 0; i < batch->n; i++)
        clip_record_free(batch->keys[i]);
    batch->n = 0;
}

static void free_batch(struct batch *batch)
{
    empty(batch);
    free(batch->keys);
    for (int side = 0; side < 2; side++) {
        free(batch->embeddings[side]);
        free(batch->gradients[side]);
    }
}

/* Puts a record's embeddings behind those of the batch; the record stays, for its key. */
static int take(struct batch *batch, struct clip_record *record, struct clip_error *error)
{
    char name[400];
    const void *data[2];
    for (int side = 0; side < 2; side++)
        if (clip_record_vector(record, fields[side], &batch->width, &data[side]) != 0)
            return clip_fail(error, "%s: %s", clip_record_name(record, name, sizeof name),
                             record->error.text);
    if (batch->n == batch->room && grow(batch, error) != 0)
        return -1;
    for (int side = 0; side < 2; side++)
        memcpy(batch->embeddings[side] + batch->n * batch->width, data[side], batch->width * sizeof(float));
    const struct clip_field *key = clip_record_find(record, "__key__");
    struct clip_record *only_key = clip_record_new();
    if (!only_key || clip_record_put_object(only_key, "__key__", key->value, key->size, error) != 0) {
        clip_record_free(only_key);
        return clip_fail_memory(error, "a batch");
    }
    batch->keys[batch->n++] = only_key;
    return 0;
}

/* --- a step --- */

static int print_line(const struct run *run, int64_t step, const struct clip_contrast *contrast,
                      struct clip_error *error)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"loss", contrast->loss},
                   {"loss_over_ln_n", contrast->loss / log((double)run->batch.n)},
                   {"top1_image", contrast->top1_image},
                   {"top1_text", contrast->top1_text},
                   {"logit_scale", run->logit_scale},
                   {"logit_scale_gradient", contrast->logit_scale_gradient}};
    printf("{\"step\":%lld,\"count\":%zu", (long long)step, run->batch.n);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers - !run->gradients; i++) {
        printf(",\"%s\":", numbers[i].name);
        clip_print_real(stdout, numbers[i].value);
    }
    puts("}");
    return fflush(stdout) == 0 ? 0 : clip_fail_errno(error, "standard output");
}

/* The gradients under the embeddings' names, then the step object: what the stage before waits for. */
static int write_gradients(struct run *run, const struct clip_record *object, struct clip_error *error)
{
    struct batch *batch = &run->batch;
    for (size_t i = 0; i < batch->n; i++) {
        for (int side = 0; side < 2; side++)
            if (clip_record_put_vector(batch->keys[i], fields[side],
                                       batch->gradients[side] + i * batch->width, batch->width, error) != 0)
                return -1;
        if (clip_writer_record(run->gradients, batch->keys[i], error) != 0)
            return -1;
        clip_record_free(batch->keys[i]);
        batch->keys[i] = NULL;
    }
    if (object && clip_writer_record(run->gradients, object, error) != 0)
        return -1;
    return clip_writer_flush(run->gradients, error);
}

static int do_step(struct run *run, int64_t step, const struct clip_record *object, struct clip_error *error)
{
    struct batch *batch = &run->batch;
    struct clip_contrast contrast;
    if (batch->n < 2)
        return clip_fail(error, "a batch of %zu: there is nothing to contrast", batch->n);
    for (int side = 0; run->gradients && side < 2; side++) {
        free(batch->gradients[side]);
        batch->gradients[side] = reallocarray(NULL, batch->n, batch->width * sizeof(float));
        if (!batch->gradients[side])
            return clip_fail_memory(error, "gradients");
    }
    if (clip_contrastive_loss(batch->n, batch->width, batch->embeddings[0], batch->embeddings[1],
                              exp(run->logit_scale), batch->gradients[0], batch->gradients[1], run->pool,
                              &contrast, error) != 0)
        return -1;
    if (print_line(run, step, &contrast, error) != 0)
        return -1;
    if (run->gradients && write_gradients(run, object, error) != 0)
        return -1;
    empty(batch);
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
        (clip_field_integer(count, &claimed) != 0 || claimed < 0 || (uint64_t)claimed != run->batch.n))
        return clip_fail(error, "step %lld: its object counts other records than the %zu that came",
                         (long long)number, run->batch.n);
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
                 : clip_record_find(record, "__key__") ? take(&run->batch, record, error)
                                                       : do_control(run, record, error);
        if (got > 0)
            clip_record_free(record);
        clip_progress_show(&progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in), 0, 0);
    }
    if (status == 0 && run->steps == 0)
        status = do_step(run, 1, NULL, error);
    else if (status == 0 && run->batch.n > 0)
        status = clip_fail(error, "%zu records behind the last step object", run->batch.n);
    clip_progress_show(&progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in), 0, 1);
    return status;
}

/* --- the program --- */

static int find_scale(const struct clip_shared *shared, double *logit_scale, struct clip_error *error)
{
    *logit_scale = log(scale);
    if (!shared->model)
        return 0;
    struct clip_model *model = clip_model_open(shared->model, shared->arch, error);
    float value = 0;
    int status = model ? clip_model_logit_scale(model, &value, error) : -1;
    *logit_scale = (double)value;
    clip_model_close(model);
    return status;
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
    if (!shared.model == (scale == 0))
        clip_usage(scale == 0 ? "where is the scale from? (-m or --scale)"
                              : "the scale is either -m's or --scale's");
    if (find_scale(&shared, &run.logit_scale, &error) != 0)
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
    free_batch(&run.batch);
    clip_writer_free(run.gradients);
    clip_reader_free(run.in);
    clip_pool_free(run.pool);
    clip_engine_free(engine);
    return status != 0 ? 1 : clip_finish(0);
}
