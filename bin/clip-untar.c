/* clip-untar: the samples of tar shards as a stream, once or in several epochs, in order or shuffled. */
#include "base/cli.h"
#include "image/field.h"
#include "shard/except.h"
#include "shard/index.h"
#include "shard/sample.h"
#include "shard/shards.h"
#include "shard/source.h"
#include "stream/mix.h"
#include "stream/reader.h"
#include "stream/skips.h"
#include "stream/writer.h"
#include "train/ranks.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *slice, *only, *loose, *except, *deal;
static long most = -1, seed = -1, epochs, buffer, expected = -1;
static int ignore_zeros, list;
static size_t max_member = (size_t)64 << 20;

static const struct clip_option options[] = {
    {"count", 'n', CLIP_COUNT, &most, "COUNT", "stop after COUNT samples", 0, 0},
    {"only", 0, CLIP_TEXT, &only, "EXT,...", "keep only members with these extensions", 0, 0},
    {"loose", 0, CLIP_TEXT, &loose, "EXT",
     "treat each member as a sample, with its name as key and its data in the field EXT", 0, 0},
    {"list", 't', CLIP_FLAG, &list, NULL, "print shard, tab and key of each sample instead", 0, 0},
    {"except", 0, CLIP_TEXT, &except, "FILE", "leave out the samples listed in FILE, as printed by --list", 0,
     0},
    {"samples", 0, CLIP_COUNT, &expected, "N", "with --shuffle: fail unless the shards hold N samples", 0, 0},
    {"slice", 0, CLIP_TEXT, &slice, "I/N", "read every N-th shard, starting with the I-th (1 to N)", 0, 0},
    {"deal", 0, CLIP_TEXT, &deal, "R/S:N",
     "of each N samples, in the order they come, write the share of rank R of S (0 to S - 1)", 0, 0},
    {"shuffle", 0, CLIP_COUNT, &seed, "SEED", "write the samples in random order, a different one per epoch",
     0, 0},
    {"shuffle-buffer", 0, CLIP_COUNT, &buffer, "N", "shuffle compressed shards and pipes, within N samples",
     1, 1 << 26},
    {"epochs", 0, CLIP_COUNT, &epochs, "E", "read the shards E times [1]", 1, UINT32_MAX},
    {"ignore-zeros", 'i', CLIP_FLAG, &ignore_zeros, NULL,
     "continue after the end of an archive, to read concatenated archives", 0, 0},
    {"max-member", 0, CLIP_BYTES, &max_member, "SIZE", "refuse members larger than SIZE [64M]", 1, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-untar",
    .operands = "[SHARD...]",
    .purpose = "Reads tar shards, possibly compressed, and writes their samples as a stream, grouped as by\n"
               "WebDataset. SHARD may be a list a::b and contain braces {000..123}. Without SHARD, reads "
               "standard input.",
    .options = options,
    .shared = CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct run {
    const struct clip_shared *shared;
    struct clip_sample_options options;
    struct clip_except except; /* --except */
    struct clip_writer *out;   /* NULL with --list */
    struct clip_index index;   /* index of the samples or, with --shuffle-buffer, of the shards */
    struct clip_mix mix;       /* --shuffle-buffer */
    struct deal {              /* --deal: of each `batch` samples those from `first` on */
        size_t batch, first, count;
    } deal;
    int dealt; /* a sample's turn is known before it is read */
    uint32_t epoch;
    struct clip_progress progress;
    uint64_t bytes;   /* of the files of all epochs, where progress is shown; 0: not known */
    uint64_t taken;   /* of them, those of shards that are finished */
    double waited;    /* seconds, in shards that are finished */
    uint64_t samples; /* whose turn came, also those dealt to other ranks */
    struct clip_skips bad_samples;
    uint64_t bad_shards;
    struct clip_passed passed; /* in the first epoch */
    int noted;                 /* that a sample holds several pictures */
};

/* --- options --- */

static void read_deal(struct deal *into)
{
    unsigned long rank, size, batch;
    int end = -1;
    if (!deal)
        return;
    if (sscanf(deal, "%8lu/%8lu:%15lu%n", &rank, &size, &batch, &end) != 3 || deal[end] || rank >= size ||
        batch < size || strspn(deal, "0123456789/:") != strlen(deal))
        clip_usage("--deal: '%s' is not R/S:N with R from 0 to S - 1 and N at least S", deal);
    into->batch = batch;
    into->count = clip_ranks_share(batch, rank, size, &into->first);
}

static void read_shards(struct clip_shards *shards, char **operands, size_t n)
{
    struct clip_error error;
    unsigned long i = 1, of = 1;
    int end = -1;
    static char *const standard_input[] = {"-"};
    if (slice && (sscanf(slice, "%8lu/%8lu%n", &i, &of, &end) != 2 || slice[end] || i < 1 || i > of ||
                  strspn(slice, "0123456789/") != strlen(slice)))
        clip_usage("--slice: '%s' is not I/N with I from 1 to N", slice);
    if (slice && n == 0)
        clip_usage("--slice: standard input is one shard; name the shards");
    char *const *names = n ? operands : standard_input;
    for (size_t k = 0; k < (n ? n : 1); k++)
        if (clip_shards_add(shards, names[k], &error) != 0)
            clip_usage("%s", error.text);
    for (size_t k = 0; epochs > 1 && k < shards->count; k++)
        if (strcmp(shards->names[k], "-") == 0)
            clip_usage("--epochs: standard input comes only once");
    size_t all = shards->count;
    clip_shards_slice(shards, i, of);
    if (shards->count == 0)
        clip_note("slice %s of %zu shards is empty", slice, all);
}

/* --- the run --- */

/* `taken` bytes and `waited` seconds are those of the open shard. */
static void show_progress(struct run *run, uint64_t taken, double waited, int last)
{
    double share = run->bytes ? (double)(run->taken + taken) / (double)run->bytes : 0;
    run->progress.share = share < 1 ? share : 1;
    uint64_t total = seed >= 0 && !buffer ? run->index.count * (uint64_t)(epochs ? epochs : 1) : 0;
    if (most > 0 && (total == 0 || (uint64_t)most < total))
        total = (uint64_t)most;
    clip_progress_show(&run->progress, run->samples, total, run->waited + waited,
                       run->out ? clip_writer_waited(run->out) : 0, last);
}

static int is_done(const struct run *run)
{
    return most >= 0 && run->samples >= (uint64_t)most;
}

/* The turn of a sample: 1 if it is to be written, 0 if it is dealt to another rank. */
static int deal_sample(struct run *run)
{
    const struct deal *d = &run->deal;
    uint64_t turn = run->samples++;
    return d->batch == 0 || (turn % d->batch >= d->first && turn % d->batch - d->first < d->count);
}

/* A bad sample ends the run, or is dropped; not after it was dealt, because other ranks do not see it. */
static int leave_out(struct run *run, const struct clip_record *record, struct clip_error *error)
{
    char name[400];
    if (!run->dealt || !run->deal.batch)
        return clip_skips_add(&run->bad_samples, record, error);
    clip_record_name(record, name, sizeof name);
    return clip_fail(error, "%s: %s (it cannot be left out, because it was dealt)", name, record->error.text);
}

/* Pictures whose names differ only after their first dot are members of one sample, where few expect it. */
static void note_pictures(struct run *run, const struct clip_record *record)
{
    char name[400];
    size_t count = run->noted ? 0 : clip_count_pictures(record);
    if (count < 2)
        return;
    clip_note("%s: holds %zu pictures, of which programs use one: names that differ only after the first dot "
              "are one sample (clip-files reads loose pictures one by one)",
              clip_record_name(record, name, sizeof name), count);
    run->noted = 1;
}

/* Writes a sample, which it takes. */
static int write_sample(struct run *run, struct clip_record *record, struct clip_error *error)
{
    int status = 0;
    note_pictures(run, record);
    if (list) {
        clip_sample_print(stdout, record);
        putchar('\n');
    } else {
        if (seed >= 0 || epochs)
            status = clip_record_put_integer(record, "__epoch__", run->epoch, error);
        if (status == 0)
            status = clip_writer_record(run->out, record, error);
    }
    clip_record_free(record);
    return status;
}

/* The same, if the sample is this rank's. */
static int write_own_sample(struct run *run, struct clip_record *record, struct clip_error *error)
{
    if (run->dealt || deal_sample(run))
        return write_sample(run, record, error);
    clip_record_free(record);
    return 0;
}

/* Writes a sample or, when shuffling, the one that comes out of the buffer for it. */
static int use_sample(struct run *run, struct clip_record *record, struct clip_error *error)
{
    if (record->bad) {
        int status = leave_out(run, record, error);
        clip_record_free(record);
        run->samples -= (uint64_t)run->dealt;
        return status;
    }
    if (buffer && !(record = clip_mix_put(&run->mix, record)))
        return 0;
    return write_own_sample(run, record, error);
}

/* --- shards in their order --- */

/* Returns 0; 1 with error where the shard is damaged; -1 with error where the run cannot go on. */
static int read_samples(struct run *run, struct clip_samples *samples, struct clip_error *error)
{
    struct clip_record *record;
    while (!is_done(run)) {
        int got = clip_samples_next(samples, &record, error);
        if (got <= 0)
            return got < 0;
        int left_out = clip_except_has(&run->except, record, error);
        if (left_out)
            clip_record_free(record);
        if (left_out < 0 || (!left_out && use_sample(run, record, error) != 0))
            return -1;
        show_progress(run, clip_samples_taken(samples), clip_samples_waited(samples), 0);
    }
    return 0;
}

/* Adds what was skipped in a shard to the counts for all, which are reported at the end. */
static void add_passed(struct run *run, const char *name, const struct clip_passed *passed)
{
    if (clip_passed_add(&run->passed, passed))
        clip_note(
            "%s: sample %s occurs in several places, each a sample of its own: the members of a sample must "
            "be adjacent (tar --sort=name orders them)",
            strcmp(name, "-") == 0 ? "standard input" : name, passed->scattered);
}

static int read_shard(struct run *run, const char *name, struct clip_error *error)
{
    struct clip_source *source = clip_source_open(name, run->out, error);
    struct clip_samples *samples = source ? clip_samples_new(source, name, &run->options, error) : NULL;
    if (!samples)
        return 1;
    int status = read_samples(run, samples, error);
    if (run->epoch == 1)
        add_passed(run, name, clip_samples_passed(samples));
    run->waited += clip_samples_waited(samples);
    clip_samples_free(samples);
    return status;
}

/* Handles the result of read_shard or index_shard: -1 ends the run; a damaged shard is named. */
static int use_status(struct run *run, int status, const struct clip_error *error)
{
    if (status < 0 || (status > 0 && !run->shared->skip_bad))
        return -1;
    if (status > 0) {
        clip_message("%s (the rest of the shard is skipped)", error->text);
        run->bad_shards++;
    }
    return 0;
}

/* An epoch of the shards one after another; with --shuffle-buffer in shuffled order. */
static int read_shards_through(struct run *run, const struct clip_shards *shards, struct clip_error *error)
{
    struct clip_record *record;
    if (buffer) {
        clip_index_shuffle(&run->index, (uint64_t)seed, run->epoch);
        clip_random_begin(&run->mix.random, (uint64_t)seed, clip_fnv1a("buffer", 6), run->epoch);
    }
    for (size_t i = 0; i < shards->count && !is_done(run); i++) {
        const char *name = shards->names[buffer ? run->index.entries[i].turn : i];
        clip_verbose("reading %s", name);
        if (use_status(run, read_shard(run, name, error), error) != 0)
            return -1;
        run->taken += run->bytes ? clip_shard_bytes(name) : 0;
    }
    while (!is_done(run) && (record = clip_mix_take(&run->mix)))
        if (write_own_sample(run, record, error) != 0)
            return -1;
    return 0;
}

/* --- shuffled samples --- */

/* Adds the shard's samples to the index. Returns as read_samples. */
static int index_shard(struct run *run, const char *name, uint32_t shard,
                       const struct clip_sample_options *options, struct clip_error *error)
{
    struct clip_record *record;
    struct clip_member_table *table = clip_index_table(&run->index, shard, error);
    if (!table)
        return -1;
    struct clip_samples *samples = clip_index_open(name, options, table, error);
    int got = -1, status = samples ? 0 : 1;
    while (status == 0 && (got = clip_samples_next(samples, &record, error)) > 0) {
        int left_out = clip_except_has(&run->except, record, error);
        status = left_out      ? (left_out < 0 ? -1 : 0)
                 : record->bad ? leave_out(run, record, error)
                               : clip_index_add(&run->index, shard, clip_samples_offset(samples), error);
        clip_record_free(record);
    }
    if (samples)
        add_passed(run, name, clip_samples_passed(samples));
    clip_samples_free(samples);
    return status == 0 ? got < 0 : status;
}

static int index_shards(struct run *run, const struct clip_shards *shards, struct clip_error *error)
{
    struct clip_sample_options options = run->options;
    options.headers_only = 1;
    for (size_t i = 0; i < shards->count; i++) {
        clip_verbose("indexing %s", shards->names[i]);
        int status = index_shard(run, shards->names[i], (uint32_t)i, &options, error);
        if (use_status(run, status, error) != 0)
            return -1;
    }
    clip_verbose("%zu samples", run->index.count);
    if (expected >= 0 && run->index.count != (size_t)expected)
        return clip_fail(error, "--samples %ld: the shards hold %zu samples", expected, run->index.count);
    return 0;
}

/* An epoch of the index's samples. */
static int read_index(struct run *run, struct clip_index_reader *reader, struct clip_error *error)
{
    struct clip_record *record;
    clip_index_shuffle(&run->index, (uint64_t)seed, run->epoch);
    run->dealt = 1;
    for (size_t i = 0; i < run->index.count && !is_done(run); i++) {
        if (!deal_sample(run))
            continue;
        if (clip_index_read(reader, i, &record, error) != 0 || use_sample(run, record, error) != 0)
            return -1;
        show_progress(run, 0, 0, 0);
    }
    return 0;
}

/* --- the run --- */

static int read_epochs(struct run *run, const struct clip_shards *shards, struct clip_error *error)
{
    struct clip_index_reader *reader = NULL;
    int status = 0;
    if (buffer)
        status = clip_mix_init(&run->mix, (size_t)buffer, error);
    for (size_t i = 0; buffer && status == 0 && i < shards->count; i++)
        status = clip_index_add(&run->index, (uint32_t)i, 0, error);
    if (seed >= 0 && !buffer &&
        (index_shards(run, shards, error) != 0 ||
         !(reader = clip_index_reader_new(&run->index, shards->names, &run->options, error))))
        status = -1;
    for (long i = 1; status == 0 && i <= (epochs ? epochs : 1) && !is_done(run); i++) {
        run->epoch = (uint32_t)i;
        status = reader ? read_index(run, reader, error) : read_shards_through(run, shards, error);
    }
    clip_index_reader_free(reader);
    return status;
}

static void note_passed(const struct run *run)
{
    const struct clip_passed *passed = &run->passed;
    char text[200];
    if (passed->unmatched > 0)
        clip_note("%llu samples had none of '%s'", (unsigned long long)passed->unmatched, only);
    if (clip_passed_describe(passed, text, sizeof text)[0])
        clip_note("left out: %s", text);
}

static int read_all(struct run *run, const struct clip_shards *shards, struct clip_error *error)
{
    if (read_epochs(run, shards, error) != 0)
        return -1;
    if (run->passed.unmatched > 0 && run->samples == 0)
        return clip_fail(error, "--only: no sample has a member '%s'", only);
    note_passed(run);
    return 0;
}

static int run_program(struct run *run, const struct clip_shards *shards)
{
    struct clip_error error;
    if (except && clip_except_read(&run->except, except, &error) != 0)
        clip_die("%s", error.text);
    run->out = list ? NULL : clip_writer_new(STDOUT_FILENO, "standard output", &error);
    if (!run->out && !list)
        clip_die("%s", error.text);
    clip_progress_start(&run->progress, run->shared, shards->count ? shards->names[0] : "shards");
    if (run->progress.on)
        run->bytes = clip_shards_bytes(shards) * (uint64_t)(epochs ? epochs : 1);
    int status = read_all(run, shards, &error);
    if (run->out)
        status = clip_writer_finish(run->out, status, &error);
    show_progress(run, 0, 0, 1);
    if (run->bad_samples.count + run->bad_shards > 0)
        clip_message("%llu bad samples and %llu bad shards skipped",
                     (unsigned long long)run->bad_samples.count, (unsigned long long)run->bad_shards);
    if (status != 0)
        clip_message("%s", error.text);
    clip_writer_free(run->out);
    clip_except_free(&run->except);
    clip_index_free(&run->index);
    clip_mix_free(&run->mix);
    return list ? clip_finish(status != 0) : status != 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_shards shards = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv);
    struct run run = {.shared = &shared, .bad_samples = {.shared = &shared}};
    if (buffer && seed < 0)
        clip_usage("--shuffle-buffer needs --shuffle SEED");
    read_shards(&shards, argv + first, (size_t)(argc - first));
    if (only && clip_only_read(&run.options, only, &error) != 0)
        clip_die("%s", error.text);
    read_deal(&run.deal);
    if (loose && (only || !*loose))
        clip_usage("--loose needs the name of a field, and cannot be combined with --only");
    if (list && (seed >= 0 || epochs))
        clip_usage("--list cannot be combined with --shuffle or --epochs");
    if (expected >= 0 && (seed < 0 || buffer))
        clip_usage("--samples needs --shuffle, without --shuffle-buffer");
    run.options.headers_only = list;
    run.options.ignore_zeros = ignore_zeros;
    run.options.loose = loose;
    run.options.max_member = max_member;
    run.options.max_record = shared.max_record ? shared.max_record : CLIP_MAX_RECORD;
    if (!list)
        clip_refuse_terminal();
    int status = run_program(&run, &shards);
    clip_shards_free(&shards);
    clip_only_free(&run.options);
    return status;
}
