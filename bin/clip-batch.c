/* clip-batch: groups records into batches, each ended by a step object that says how to train on it. */
#include "base/cli.h"
#include "base/file.h"
#include "stream/reader.h"
#include "stream/writer.h"
#include "train/folder.h"
#include "train/ranks.h"
#include "train/run.h"
#include "train/schedule.h"
#include "train/step.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static long batch_size = 256, steps, warmup, cooldown, save_steps, keep, skipped;
static double lr = 5e-4, power = 1, end_lr, save_minutes;
static int kind = CLIP_COSINE;
static const char *run_dir;

static const struct clip_option options[] = {
    {"number", 'n', CLIP_COUNT, &batch_size, "N", "records in a batch, of all ranks [256]", 2, 1 << 24},
    {"steps", 's', CLIP_COUNT, &steps, "N", "stop after step N [at the end of the input]", 1, 1e15},
    {"lr", 0, CLIP_NUMBER, &lr, "X", "learning rate [5e-4]", 0, 1e3},
    {"schedule", 0, CLIP_CHOICE, &kind, "constant|cosine|cooldown",
     "learning rate after the warm-up [cosine]", 0, 0},
    {"warmup", 0, CLIP_COUNT, &warmup, "N", "steps in which the learning rate rises [0]", 0, 0},
    {"cooldown", 0, CLIP_COUNT, &cooldown, "N", "cooldown: number of steps at the end, in which it falls [0]",
     0, 0},
    {"power", 0, CLIP_NUMBER, &power, "X", "cooldown: exponent [1]", 0, 100},
    {"end-lr", 0, CLIP_NUMBER, &end_lr, "X", "cooldown: learning rate at the end [0]", 0, 1e3},
    {"save-steps", 0, CLIP_COUNT, &save_steps, "N", "save a checkpoint every N steps [only the last]", 1,
     1e15},
    {"save-minutes", 0, CLIP_NUMBER, &save_minutes, "X", "save a checkpoint every X minutes [only the last]",
     1e-3, 1e6},
    {"keep", 0, CLIP_COUNT, &keep, "N", "keep only the newest N checkpoints [all]", 1, 1e15},
    {"skipped", 0, CLIP_COUNT, &skipped, "N", "for the log: number of samples that were left out [0]", 0, 0},
    {"train", 0, CLIP_TEXT, &run_dir, "DIR",
     "continue after the last checkpoint of the run DIR; creating DIR/stop ends it after the next step", 0,
     0},
    {0}};

static const struct clip_program program = {
    .name = "clip-batch",
    .operands = "[STREAM...]",
    .purpose = "Groups records into batches of N, each followed by a step object with its learning rate.",
    .options = options,
    .shared = CLIP_TAKES_STREAM};

/* Without --steps a batch is held in a file until it is full, because the rest of the input must not be
 * passed on. Its step object is held until the next batch is full or the input ends, because the last step
 * is always saved. With --steps the last step is known, and an input that ends before it is an error, so
 * nothing is held.
 *
 * With several ranks, the input is this rank's share of each batch. Rank 0 decides where they start, when to
 * save and when to stop. */
struct batcher {
    struct clip_ranks *ranks;
    size_t share; /* records of a batch in this input */
    struct clip_reader *in;
    struct clip_writer *out;
    struct clip_schedule schedule;
    int file;                 /* the batch that is held, or -1 */
    struct clip_writer *held; /* into it */
    size_t records;           /* records of the batch so far */
    uint64_t step;            /* the last step whose records are complete */
    int step_open;            /* its step object is not yet written */
    int stopped;              /* DIR/stop was found */
    double saved;             /* time of the last mark */
};

/* What rank 0's clock and DIR/stop say of the step. */
static int broadcast_decisions(struct batcher *b, int *save, struct clip_error *error)
{
    int both[2] = {*save, b->stopped};
    if (clip_ranks_broadcast(b->ranks, both, sizeof both, error) != 0)
        return -1;
    *save = both[0];
    b->stopped = both[1];
    return 0;
}

static int write_step(struct batcher *b, int last, struct clip_error *error)
{
    struct clip_record *object = clip_record_new();
    int save = last || (save_steps && b->step % (uint64_t)save_steps == 0) ||
               (save_minutes > 0 && clip_seconds() - b->saved >= 60 * save_minutes);
    int status = object ? 0 : clip_fail_memory(error, "a step");
    if (status == 0)
        status = broadcast_decisions(b, &save, error);
    if (save)
        b->saved = clip_seconds();
    b->step_open = 0;
    if (status == 0)
        status = clip_record_put_integer(object, "__step__", (int64_t)b->step, error);
    if (status == 0)
        status = clip_record_put_integer(object, "count", (int64_t)b->share, error);
    if (status == 0)
        status = clip_record_put_real(object, "lr", clip_schedule_lr(&b->schedule, b->step - 1), error);
    if (status == 0)
        status = clip_record_put_boolean(object, "save", save, error);
    if (status == 0 && save && keep)
        status = clip_record_put_integer(object, "keep", keep, error);
    if (status == 0 && skipped)
        status = clip_step_report(object, CLIP_STEP_DATA, "skipped", (double)skipped, error);
    if (status == 0)
        status = clip_writer_record(b->out, object, error);
    if (status == 0)
        status = clip_writer_flush(b->out, error);
    clip_record_free(object);
    return status;
}

static int begin_held(struct batcher *b, struct clip_error *error)
{
    if (b->file < 0 && (b->file = clip_temporary_file(error)) < 0)
        return -1;
    if (ftruncate(b->file, 0) != 0 || lseek(b->file, 0, SEEK_SET) != 0)
        return clip_fail_errno(error, "a temporary file");
    clip_writer_free(b->held);
    b->held = clip_writer_new(b->file, "a temporary file", error);
    return b->held ? 0 : -1;
}

/* Passes on what is held. */
static int write_held(struct batcher *b, struct clip_error *error)
{
    struct clip_record *record;
    int got;
    if (clip_writer_end(b->held, error) != 0)
        return -1;
    if (lseek(b->file, 0, SEEK_SET) != 0)
        return clip_fail_errno(error, "a temporary file");
    struct clip_reader *reader = clip_reader_fd(b->file, "a temporary file", SIZE_MAX, error);
    if (!reader)
        return -1;
    while ((got = clip_reader_next(reader, &record, error)) > 0) {
        int status = clip_writer_record(b->out, record, error);
        clip_record_free(record);
        if (status != 0)
            break;
    }
    clip_reader_free(reader);
    return got == 0 ? begin_held(b, error) : -1;
}

/* Looks for DIR/stop, with which a user ends the run early, and removes it. */
static int check_stop_file(struct batcher *b, struct clip_error *error)
{
    char path[PATH_MAX];
    if (!run_dir || b->stopped || clip_ranks_rank(b->ranks) > 0)
        return 0;
    if (clip_path_print(path, error, "%s/stop", run_dir) != 0)
        return -1;
    if (unlink(path) == 0)
        b->stopped = 1;
    else if (errno != ENOENT)
        return clip_fail_errno(error, "%s", path);
    return 0;
}

/* The batch is full: passes it on, after the step object of the previous one. */
static int end_batch(struct batcher *b, struct clip_error *error)
{
    if (!steps && ((b->step_open && write_step(b, 0, error) != 0) || write_held(b, error) != 0))
        return -1;
    b->records = 0;
    b->step++;
    b->step_open = 1;
    if (check_stop_file(b, error) != 0)
        return -1;
    return steps ? write_step(b, b->stopped || b->step == (uint64_t)steps, error) : 0;
}

static int take_record(struct batcher *b, const struct clip_record *record, struct clip_error *error)
{
    if (!steps && !b->held && begin_held(b, error) != 0)
        return -1;
    if (clip_writer_record(steps ? b->out : b->held, record, error) != 0)
        return -1;
    b->records += clip_record_find(record, "__key__") != NULL;
    return b->records == b->share ? end_batch(b, error) : 0;
}

static int run_batches(struct batcher *b, struct clip_progress *progress, struct clip_error *error)
{
    uint64_t seen = b->step * b->share; /* records before the checkpoint */
    struct clip_record *record;
    int got = 1;
    while (!b->stopped && (!steps || b->step < (uint64_t)steps) &&
           (got = clip_reader_next(b->in, &record, error)) > 0) {
        int status = clip_reader_count(b->in) > seen ? take_record(b, record, error) : 0;
        clip_record_free(record);
        if (status != 0)
            return -1;
        clip_progress_show(progress, clip_reader_count(b->in), (uint64_t)steps * b->share,
                           clip_reader_waited(b->in), clip_writer_waited(b->out), 0);
    }
    if (got < 0)
        return -1;
    if (got == 0 && !b->stopped && steps && b->step < (uint64_t)steps)
        return clip_fail(error, "the input ended in step %" PRIu64 " of %ld", b->step + 1, steps);
    if (b->step == 0)
        return clip_fail(error, "%zu records, less than one batch of %zu", b->records, b->share);
    if (b->step_open && write_step(b, 1, error) != 0)
        return -1;
    if (b->stopped)
        clip_verbose("found %s/stop: ended after step %" PRIu64, run_dir, b->step);
    else if (got == 0 && b->records)
        clip_note("dropped %zu records after the last full batch", b->records);
    return clip_writer_end(b->out, error);
}

/* A run whose last step is saved has no stage that would remove older checkpoints, if it was killed then. */
static int clean_run(const struct batcher *b, struct clip_error *error)
{
    int done = steps && b->step >= (uint64_t)steps;
    return done && keep ? clip_run_clean(run_dir, (uint64_t)keep, error) : 0;
}

/* Joins the other ranks, if there are any, and finds where to start. */
static int begin(struct batcher *b, struct clip_error *error)
{
    size_t first;
    if (run_dir && clip_ranks_open(&b->ranks, "batch", error) != 0)
        return -1;
    if (b->ranks && !steps)
        return clip_fail(error, "several ranks need --steps");
    b->share =
        clip_ranks_share((size_t)batch_size, clip_ranks_rank(b->ranks), clip_ranks_size(b->ranks), &first);
    if (b->share == 0)
        return clip_fail(error, "--number %ld: less than one record for each of %zu ranks", batch_size,
                         clip_ranks_size(b->ranks));
    if (run_dir && clip_ranks_rank(b->ranks) == 0 &&
        (clip_run_steps(run_dir, &b->step, error) != 0 || clean_run(b, error) != 0))
        return -1;
    return clip_ranks_broadcast(b->ranks, &b->step, sizeof b->step, error);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    struct clip_progress progress;
    struct batcher b = {.saved = clip_seconds(), .file = -1};
    int status, first = clip_start(&program, &shared, argc, argv);
    b.schedule = (struct clip_schedule){(enum clip_schedule_kind)kind,
                                        lr,
                                        (uint64_t)warmup,
                                        (uint64_t)steps,
                                        (uint64_t)cooldown,
                                        power,
                                        end_lr};
    if (clip_schedule_check(&b.schedule, &error) != 0)
        clip_usage("%s", error.text);
    clip_refuse_terminal();
    if (begin(&b, &error) != 0) {
        clip_message("%s", error.text);
        clip_ranks_fail(b.ranks, error.text);
        exit(1);
    }
    if (steps && b.step >= (uint64_t)steps)
        clip_note("%s: all %ld steps are done", run_dir, steps);
    b.in = clip_reader_new(argv + first, (size_t)(argc - first), shared.max_record, &error);
    b.out = b.in ? clip_writer_new(STDOUT_FILENO, "standard output", &error) : NULL;
    if (!b.out)
        clip_die("%s", error.text);
    clip_reader_tie(b.in, b.out);
    clip_progress_start(&progress, &shared, clip_reader_source(b.in));
    status = run_batches(&b, &progress, &error);
    clip_progress_show(&progress, clip_reader_count(b.in), 0, clip_reader_waited(b.in),
                       clip_writer_waited(b.out), 1);
    if (status == 0 && close(STDOUT_FILENO) != 0)
        status = clip_fail_errno(&error, "standard output");
    if (status == 0)
        status = clip_ranks_end(b.ranks, &error);
    if (status != 0) {
        clip_message("%s", error.text);
        clip_ranks_fail(b.ranks, error.text);
    }
    clip_ranks_close(b.ranks);
    if (b.file >= 0)
        close(b.file);
    clip_writer_free(b.held);
    clip_reader_free(b.in);
    clip_writer_free(b.out);
    return status != 0;
}
