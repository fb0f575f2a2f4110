#include "train/stage.h"

#include "base/file.h"
#include "stream/reader.h"
#include "stream/vector.h"
#include "stream/writer.h"
#include "train/chunks.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
    const struct clip_stage_work *work;
    struct clip_training *training;
    const struct clip_shared *shared;
    struct clip_reader *in;
    struct clip_writer *out;
    struct clip_gradients_in *gradients_in;
    struct clip_gradients_out *gradients_out[CLIP_STAGE_FIELDS];
    size_t outputs, inputs;           /* fields */
    size_t output_width, input_width; /* their sum */
    struct clip_chunks *chunks;
    struct clip_record **records; /* of the chunk that is gathered */
    size_t n, room;
    float *features;        /* [room][output_width] */
    struct clip_items keys; /* of the batch */
    float *gradients;       /* [gradients_room][output_width], of the batch */
    float *input_gradients; /* [room][input_width], of a chunk */
    size_t gradients_room;
    double waited_in, waited_out, waited_gradients; /* when last reported */
    int noted;
    struct clip_progress progress;
};

static int fail_step(const struct run *run, struct clip_error *error)
{
    return clip_fail_prefix(error, "step %" PRIu64, run->training->steps + 1);
}

/* --- forward --- */

/* Room for one more record. */
static int make_room(struct run *run, struct clip_error *error)
{
    if (run->n < run->room)
        return 0;
    size_t room = run->work->chunk ? run->work->chunk : 2 * run->room + 64;
    struct clip_record **records = reallocarray(run->records, room, sizeof *records);
    if (records)
        run->records = records;
    float *features = reallocarray(run->features, room, run->output_width * sizeof *features);
    if (features)
        run->features = features;
    float *gradients =
        run->inputs ? reallocarray(run->input_gradients, room, run->input_width * sizeof *gradients) : NULL;
    if (gradients)
        run->input_gradients = gradients;
    if (!records || !features || (run->inputs && !gradients))
        return clip_fail_memory(error, "a chunk");
    run->room = room;
    return 0;
}

/* Takes the record, which then is the run's. */
static int take_record(struct run *run, struct clip_record *record, struct clip_error *error)
{
    struct clip_items *items = NULL;
    char name[400];
    size_t size;
    if (make_room(run, error) != 0 || !(items = clip_chunks_items(run->chunks, error))) {
        clip_record_free(record);
        return -1;
    }
    run->records[run->n++] = record;
    if (run->work->take(run->work->context, record, items, error) != 0)
        return record->bad ? clip_fail(error, "%s: %s", clip_record_name(record, name, sizeof name),
                                       record->error.text)
                           : -1;
    const char *key = clip_record_key(record, &size);
    void *place = clip_items_add(&run->keys, size, error);
    if (!place)
        return -1;
    memcpy(place, key, size);
    return 0;
}

static int check_finite(const struct clip_record *record, const char *field, const float *x, size_t n,
                        struct clip_error *error)
{
    char name[400];
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return clip_fail(error, "%s: %s is not finite", clip_record_name(record, name, sizeof name),
                             field);
    return 0;
}

static int pass_record(struct run *run, struct clip_record *record, const float *row,
                       struct clip_error *error)
{
    const struct clip_stage_work *work = run->work;
    for (size_t f = 0; f < CLIP_STAGE_FIELDS && work->drops[f]; f++)
        clip_record_drop(record, work->drops[f]);
    for (size_t f = 0; f < run->outputs; f++) {
        const struct clip_vector_field *field = &work->outputs[f];
        if (check_finite(record, field->name, row, field->width, error) != 0 ||
            clip_record_put_vector(record, field->name, row, field->width, error) != 0)
            return -1;
        row += field->width;
    }
    return clip_writer_record(run->out, record, error);
}

/* Batch norm over ranks is that of the whole batch: each rank's share is one chunk, so that all make the same
 * calls. */
static int check_chunk(const struct run *run, struct clip_error *error)
{
    if (!run->work->mixes || !run->training->ranks || clip_chunks_count(run->chunks) == 0)
        return 0;
    return clip_fail(error,
                     "--chunk %zu: batch norm over ranks needs a rank's share of the batch as one chunk",
                     run->work->chunk);
}

static int forward(struct run *run, struct clip_error *error)
{
    if (run->n == 0 || check_chunk(run, error) != 0)
        return run->n == 0 ? 0 : -1;
    if (clip_chunks_forward(run->chunks, run->features, error) != 0)
        return -1;
    int status = 0;
    for (size_t i = 0; i < run->n; i++) {
        if (status == 0)
            status = pass_record(run, run->records[i], run->features + i * run->output_width, error);
        clip_record_free(run->records[i]);
    }
    run->n = 0;
    return status;
}

/* --- backward --- */

static int read_gradients(struct run *run, const struct clip_step *step, struct clip_error *error)
{
    size_t n = run->keys.count;
    if (n > run->gradients_room) {
        float *gradients = reallocarray(run->gradients, n, run->output_width * sizeof *gradients);
        if (!gradients)
            return clip_fail_memory(error, "gradients");
        run->gradients = gradients;
        run->gradients_room = n;
    }
    return clip_gradients_in_read(run->gradients_in, &run->keys, run->work->outputs, run->outputs, step,
                                  run->gradients, error);
}

/* Writes what is owed for records [first, first + n) of the batch. */
static int send_gradients(struct run *run, size_t first, size_t n, struct clip_error *error)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = run->input_gradients + i * run->input_width;
        size_t size;
        const void *key = clip_items_get(&run->keys, first + i, &size);
        for (size_t f = 0; f < run->inputs; f++) {
            const struct clip_vector_field *field = &run->work->inputs[f];
            if (run->gradients_out[f] && clip_gradients_out_put(run->gradients_out[f], key, size, field->name,
                                                                row, field->width, error) != 0)
                return -1;
            row += field->width;
        }
    }
    return 0;
}

static int backward(struct run *run, const struct clip_record *object, struct clip_error *error)
{
    size_t first = 0, n;
    for (size_t c = 0; c < clip_chunks_count(run->chunks); c++, first += n)
        if (clip_chunks_backward(run->chunks, c, run->gradients + first * run->output_width,
                                 run->input_gradients, &n, error) != 0 ||
            send_gradients(run, first, n, error) != 0)
            return -1;
    for (size_t f = 0; f < run->inputs; f++)
        if (run->gradients_out[f] && clip_gradients_out_step(run->gradients_out[f], object, error) != 0)
            return -1;
    return 0;
}

/* --- steps --- */

/* Batch norm over less than the batch is another arithmetic: that is said, and goes into the log. */
static int report_chunk(struct run *run, struct clip_record *object, struct clip_error *error)
{
    size_t chunk = run->work->chunk;
    if (!run->work->mixes || !chunk || chunk >= run->keys.count || run->training->ranks)
        return 0;
    if (!run->noted)
        clip_note("batch norm statistics are per chunk of %zu records, not per batch of %zu", chunk,
                  run->keys.count);
    run->noted = 1;
    return clip_step_report(object, run->training->run.part, "batch_norm_chunk", (double)chunk, error);
}

/* What the last stage is to log: of the step before, because of this one nothing is known yet. */
static int read_report(struct run *run, struct clip_record *object, struct clip_error *error)
{
    const struct clip_training *training = run->training;
    const char *part = training->run.part;
    double in = clip_reader_waited(run->in), out = clip_writer_waited(run->out);
    double gradients = clip_gradients_in_waited(run->gradients_in);
    if (report_chunk(run, object, error) != 0)
        return -1;
    if (training->steps > training->run.steps &&
        ((!training->frozen &&
          clip_step_report(object, part, "gradient_norm", training->gradient_norm, error) != 0) ||
         clip_step_report(object, part, "waited_gradients", gradients - run->waited_gradients, error) != 0))
        return -1;
    if (clip_step_report(object, part, "waited_input", in - run->waited_in, error) != 0 ||
        clip_step_report(object, part, "waited_output", out - run->waited_out, error) != 0)
        return -1;
    run->waited_in = in;
    run->waited_out = out;
    run->waited_gradients = gradients;
    return 0;
}

static int do_step(struct run *run, struct clip_record *object, const struct clip_step *step,
                   struct clip_error *error)
{
    if (clip_training_expect(run->training, step, run->keys.count, error) != 0)
        return -1;
    if (read_report(run, object, error) != 0 || clip_writer_record(run->out, object, error) != 0 ||
        clip_writer_flush(run->out, error) != 0)
        return -1;
    if (read_gradients(run, step, error) != 0 || backward(run, object, error) != 0)
        return fail_step(run, error);
    clip_chunks_clear(run->chunks);
    clip_items_clear(&run->keys);
    if (clip_training_update(run->training, step, error) != 0)
        return -1;
    if (!run->training->frozen && clip_chunks_refresh(run->chunks, error) != 0)
        return -1;
    return clip_training_save(run->training, step, error);
}

static int do_control(struct run *run, struct clip_record *object, struct clip_error *error)
{
    struct clip_step step;
    int kind = clip_step_read(&step, object, error);
    if (kind < 0)
        return -1;
    if (kind == 0)
        return clip_writer_record(run->out, object, error);
    if (forward(run, error) != 0)
        return fail_step(run, error);
    return do_step(run, object, &step, error);
}

static int run_all(struct run *run, struct clip_error *error)
{
    struct clip_record *record;
    int got;
    while ((got = clip_reader_next(run->in, &record, error)) > 0) {
        int status;
        if (clip_record_find(record, "__key__")) {
            status = take_record(run, record, error);
            if (status == 0 && run->n == run->work->chunk)
                status = forward(run, error);
            if (status != 0)
                return fail_step(run, error);
        } else {
            status = do_control(run, record, error);
            clip_record_free(record);
            if (status != 0)
                return -1;
        }
        clip_progress_show(&run->progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in),
                           clip_writer_waited(run->out), 0);
    }
    if (got < 0)
        return -1;
    if (run->keys.count)
        return clip_fail(error, "%zu records after the last step object", run->keys.count);
    if (clip_writer_finish(run->out, 0, error) != 0)
        return -1;
    for (size_t f = 0; f < run->inputs; f++)
        if (run->gradients_out[f] && clip_gradients_out_end(run->gradients_out[f], error) != 0)
            return -1;
    return clip_training_end(run->training, error);
}

/* --- opening --- */

static size_t count_fields(const struct clip_vector_field *fields, size_t *width)
{
    size_t n = 0;
    while (n < CLIP_STAGE_FIELDS && fields[n].name)
        *width += fields[n++].width;
    return n;
}

static int open_run(struct run *run, const struct clip_stage_options *options, char *const *operands,
                    size_t n, struct clip_error *error)
{
    const struct clip_stage_work *work = run->work;
    run->outputs = count_fields(work->outputs, &run->output_width);
    run->inputs = count_fields(work->inputs, &run->input_width);
    run->gradients_in = clip_gradients_in_open(options->grad_in, STDOUT_FILENO, error);
    if (!run->gradients_in)
        return -1;
    for (size_t f = 0; f < run->inputs; f++)
        if (options->grad_out[f] &&
            !(run->gradients_out[f] = clip_gradients_out_new(options->grad_out[f], error)))
            return -1;
    run->chunks = clip_chunks_new(work, options->memory, error);
    if (!run->chunks)
        return -1;
    run->in = clip_reader_new(operands, n, run->shared->max_record, error);
    run->out = run->in ? clip_writer_new(STDOUT_FILENO, "standard output", error) : NULL;
    if (!run->out)
        return -1;
    clip_reader_tie(run->in, run->out);
    clip_progress_start(&run->progress, run->shared, clip_reader_source(run->in));
    return 0;
}

static void close_run(struct run *run)
{
    for (size_t i = 0; i < run->n; i++)
        clip_record_free(run->records[i]);
    for (size_t f = 0; f < CLIP_STAGE_FIELDS; f++)
        clip_gradients_out_free(run->gradients_out[f]);
    clip_gradients_in_free(run->gradients_in);
    clip_chunks_free(run->chunks);
    clip_reader_free(run->in);
    clip_writer_free(run->out);
    clip_items_free(&run->keys);
    free(run->records);
    free(run->features);
    free(run->gradients);
    free(run->input_gradients);
}

int clip_stage_run(const struct clip_stage_work *work, struct clip_training *training,
                   const struct clip_stage_options *options, const struct clip_shared *shared,
                   char *const *operands, size_t n)
{
    struct clip_error error, flush_error;
    struct run run = {.work = work, .training = training, .shared = shared};
    clip_refuse_terminal();
    int status = open_run(&run, options, operands, n, &error);
    if (status == 0) {
        status = run_all(&run, &error);
        if (status != 0)
            clip_writer_flush(run.out, &flush_error); /* the run has failed already; `error` says how */
        clip_progress_show(&run.progress, clip_reader_count(run.in), 0, clip_reader_waited(run.in),
                           clip_writer_waited(run.out), 1);
    }
    if (status != 0) {
        clip_message("%s", error.text);
        clip_training_fail(training, &error);
    }
    close_run(&run);
    return status != 0;
}
