/* clip-tar: records as a tar shard, or one field of them as an array of NumPy. */
#include "base/cli.h"
#include "base/file.h"
#include "shard/npy.h"
#include "shard/tarball.h"
#include "stream/reader.h"
#include "stream/skips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *output = "-", *npy_field, *keys;

static const struct clip_option options[] = {
    {"output", 'o', CLIP_TEXT, &output, "FILE", "write FILE, which appears only when it is complete [-]", 0,
     0},
    {"npy", 0, CLIP_TEXT, &npy_field, "FIELD", "write one .npy file: FIELD of all records, [records, ...]", 0,
     0},
    {"keys", 0, CLIP_TEXT, &keys, "FILE", "with --npy: write the keys to FILE, one per line", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-tar",
    .operands = "[STREAM...]",
    .purpose = "Writes the records of streams as a tar shard that WebDataset and clip-untar read,\n"
               "tensors as .npy; or one field of all records as one .npy file.",
    .options = options,
    .shared = CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct run {
    const struct clip_shared *shared;
    struct clip_reader *in;
    struct clip_output file, key_file; /* those of -o and --keys */
    FILE *final;                       /* standard output, or that of -o */
    FILE *spool;                       /* the array, for an output that cannot seek */
    FILE *out;                         /* where the archive, or the array, is written first */
    struct clip_tarball tarball;
    struct clip_npy npy;
    struct clip_skips skips;
};

/* The header of an array is known only at the end, and a pipe cannot seek back. */
static FILE *open_spool(struct clip_error *error)
{
    int fd = clip_temporary_file(error);
    FILE *file = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (fd >= 0 && !file) {
        clip_fail_errno(error, "a temporary file");
        close(fd);
    }
    return file;
}

static int open_files(struct run *run, struct clip_error *error)
{
    int to_stdout = strcmp(output, "-") == 0;
    if (!to_stdout && clip_output_open(&run->file, output, error) != 0)
        return -1;
    if (keys && clip_output_open(&run->key_file, keys, error) != 0)
        return -1;
    run->final = to_stdout ? stdout : run->file.file;
    if (npy_field && !run->file.temporary && !(run->spool = open_spool(error)))
        return -1;
    run->out = run->spool ? run->spool : run->final;
    run->tarball.file = run->npy.file = run->out;
    return 0;
}

static int write_key(struct run *run, const char *key, size_t size, struct clip_error *error)
{
    if (fwrite(key, 1, size, run->key_file.file) != size || putc('\n', run->key_file.file) == EOF)
        return clip_fail_errno(error, "%s", keys);
    return 0;
}

static int write_record(struct run *run, struct clip_record *record, struct clip_error *error)
{
    size_t size;
    const char *key = clip_record_key(record, &size);
    if (!npy_field)
        return clip_tarball_add(&run->tarball, record, error);
    if (keys && memchr(key, '\n', size)) {
        clip_record_fail(record, "a key with a newline cannot be a line of --keys");
        return 0;
    }
    if (clip_npy_add(&run->npy, record, npy_field, error) != 0)
        return -1;
    return record->bad || !keys ? 0 : write_key(run, key, size, error);
}

static int use_record(struct run *run, struct clip_record *record, struct clip_error *error)
{
    if (!clip_record_find(record, "__key__"))
        return 0;
    if (write_record(run, record, error) != 0)
        return clip_fail_prefix(error, "%s", strcmp(output, "-") == 0 ? "standard output" : output);
    return record->bad ? clip_skips_add(&run->skips, record, error) : 0;
}

static int read_records(struct run *run, struct clip_error *error)
{
    struct clip_progress progress;
    struct clip_record *record;
    int got, status = 0;
    uint64_t total = run->shared->progress ? clip_reader_total(run->in) : 0;
    clip_progress_start(&progress, run->shared, clip_reader_source(run->in));
    while (status == 0 && (got = clip_reader_next(run->in, &record, error)) != 0) {
        if (got < 0) {
            status = -1;
            break;
        }
        status = use_record(run, record, error);
        clip_record_free(record);
        if (status == 0 && run->out == stdout && !clip_reader_ready(run->in) && fflush(stdout) != 0)
            status = clip_fail_errno(error, "standard output");
        clip_progress_show(&progress, clip_reader_count(run->in), total, clip_reader_waited(run->in), 0, 0);
    }
    clip_progress_show(&progress, clip_reader_count(run->in), 0, clip_reader_waited(run->in), 0, 1);
    clip_skips_note(&run->skips);
    return status;
}

static int copy_spool(FILE *from, FILE *to, struct clip_error *error)
{
    char block[65536];
    size_t n;
    if (fflush(from) != 0 || fseeko(from, 0, SEEK_SET) != 0)
        return clip_fail_errno(error, "a temporary file");
    while ((n = fread(block, 1, sizeof block, from)) > 0)
        if (fwrite(block, 1, n, to) != n)
            return clip_fail_errno(error, "%s", to == stdout ? "standard output" : output);
    return ferror(from) ? clip_fail_errno(error, "a temporary file") : 0;
}

static int end_output(struct run *run, struct clip_error *error)
{
    if ((npy_field ? clip_npy_end(&run->npy, error) : clip_tarball_end(&run->tarball, error)) != 0)
        return -1;
    if (run->spool && copy_spool(run->spool, run->final, error) != 0)
        return -1;
    if (!run->file.file && fflush(stdout) != 0)
        return clip_fail_errno(error, "standard output");
    if (run->file.file && clip_output_commit(&run->file, error) != 0)
        return -1;
    return run->key_file.file ? clip_output_commit(&run->key_file, error) : 0;
}

static int run_program(struct run *run)
{
    struct clip_error error;
    int status = open_files(run, &error);
    if (status == 0)
        status = read_records(run, &error);
    if (status == 0)
        status = end_output(run, &error);
    if (run->spool)
        fclose(run->spool);          /* it will not be read again */
    clip_output_abandon(&run->file); /* does nothing if it was committed */
    clip_output_abandon(&run->key_file);
    if (status == 0)
        return clip_finish(0);
    clip_message("%s", error.text);
    return 1; /* complete members were written, and no end of the archive */
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv);
    struct run run = {.shared = &shared, .skips = {.shared = &shared}};
    if (keys && !npy_field)
        clip_usage("--keys needs --npy");
    if (strcmp(output, "-") == 0 && isatty(STDOUT_FILENO))
        clip_usage("standard output is a terminal; redirect it, or name a file with -o");
    run.in = clip_reader_new(argv + first, (size_t)(argc - first), shared.max_record, &error);
    if (!run.in)
        clip_die("%s", error.text);
    int status = run_program(&run);
    clip_reader_free(run.in);
    clip_tarball_free(&run.tarball);
    return status;
}
