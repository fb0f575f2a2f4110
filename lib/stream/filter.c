#include "stream/filter.h"
#include "stream/skips.h"

#include <stdlib.h>
#include <unistd.h>

struct run {
    const struct clip_filter *filter;
    const struct clip_shared *shared;
    struct clip_reader *in;
    struct clip_writer *out;
    struct clip_record **batch;
    size_t n;
    struct clip_record *control; /* control object that came after the batch */
    struct clip_skips skips;
    struct clip_progress progress;
    uint64_t total;
};

/* Takes records as they arrive: waits for the first, then takes only those that are there already. Returns
 * clip_reader_next's last answer. A control object ends the batch. */
static int gather(struct run *run, struct clip_error *error)
{
    int got = 1;
    while (run->n < run->filter->batch && !run->control) {
        struct clip_record *record;
        if (run->n > 0 && !clip_reader_ready(run->in))
            break;
        if ((got = clip_reader_next(run->in, &record, error)) <= 0)
            break;
        if (clip_record_find(record, "__key__"))
            run->batch[run->n++] = record;
        else
            run->control = record;
    }
    return got;
}

/* Writes the batch in order. */
static int write_batch(struct run *run, struct clip_error *error)
{
    for (size_t i = 0; i < run->n; i++) {
        struct clip_record *record = run->batch[i];
        if (record->bad) {
            if (clip_skips_add(&run->skips, record, error) != 0)
                return -1;
        } else if (run->filter->write) {
            if (run->filter->write(run->filter->context, record, run->out, error) != 0)
                return -1;
        } else if (!run->filter->no_output && clip_writer_record(run->out, record, error) != 0) {
            return -1;
        }
    }
    return 0;
}

static int do_batch(struct run *run, struct clip_error *error)
{
    const struct clip_filter *filter = run->filter;
    int status = 0;
    if (run->n > 0)
        status = filter->process(filter->context, run->batch, run->n, error);
    if (status == 0)
        status = write_batch(run, error);
    for (size_t i = 0; i < run->n; i++)
        clip_record_free(run->batch[i]);
    run->n = 0;
    if (run->control && status == 0 && !filter->no_output)
        status = clip_writer_record(run->out, run->control, error);
    if (run->control && status == 0 && filter->control)
        status = filter->control(filter->context, run->control, error);
    clip_record_free(run->control);
    run->control = NULL;
    return status;
}

static void show_progress(struct run *run, int last)
{
    if (!last && !run->progress.on)
        return;
    clip_progress_show(&run->progress, clip_reader_count(run->in), run->total, clip_reader_waited(run->in),
                       clip_writer_waited(run->out), last);
}

static int run_all(struct run *run, struct clip_error *error)
{
    int got;
    do {
        struct clip_error input_error;
        got = gather(run, &input_error);
        show_progress(run, 0); /* and hears the total while the first stage is there, before others ask */
        if (do_batch(run, error) != 0)
            return -1;
        if (got < 0) { /* what came before the cut is written, without an end object */
            *error = input_error;
            return -1;
        }
    } while (got > 0);
    if (run->filter->finish && run->filter->finish(run->filter->context, run->out, error) != 0)
        return -1;
    return run->skips.rejects ? clip_rejects_commit(run->skips.rejects, error) : 0;
}

static int open_rejects(struct run *run, struct clip_error *error)
{
    if (!run->filter->rejects)
        return 0;
    run->skips.rejects = clip_rejects_new(run->filter->rejects, error);
    return run->skips.rejects ? 0 : -1;
}

int clip_filter_run(const struct clip_filter *filter, const struct clip_shared *shared, char *const *operands,
                    size_t n)
{
    struct clip_error error;
    struct run run = {.filter = filter, .shared = shared, .skips = {.shared = shared}};
    int status = -1;
    clip_refuse_terminal();
    run.batch = calloc(filter->batch, sizeof(struct clip_record *));
    if (!run.batch)
        clip_fail_memory(&error, "a batch");
    if (run.batch && open_rejects(&run, &error) == 0)
        run.in = clip_reader_new(operands, n, shared->max_record, &error);
    run.out = run.in ? clip_writer_new(STDOUT_FILENO, "standard output", &error) : NULL;
    if (run.out) {
        if (filter->lines)
            clip_reader_lines(run.in, filter->lines);
        if (filter->batch == 1) /* a record is written before the next one is read */
            clip_reader_lend(run.in);
        clip_reader_tie(run.in, run.out);
        run.total = shared->progress && !filter->lines ? clip_reader_total(run.in) : 0;
        clip_progress_start(&run.progress, shared, clip_reader_source(run.in));
        status = run_all(&run, &error);
        status = clip_writer_finish(run.out, status, &error);
        show_progress(&run, 1);
        clip_skips_note(&run.skips);
    }
    if (status != 0)
        clip_message("%s", error.text);
    clip_reader_free(run.in);
    clip_writer_free(run.out);
    clip_rejects_free(run.skips.rejects);
    free(run.batch);
    return status != 0;
}
