/* clip-table: rows of a table to records, with captions and the pictures that they name. */
#include "base/cli.h"
#include "image/listed.h"
#include "stream/reader.h"
#include "stream/writer.h"
#include "text/listing.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct clip_listing_options reading;
static struct clip_listed listed;
static const char *root;
static int format;

static int set_delimiter(const char *argument, struct clip_error *error)
{
    if (strcmp(argument, "\\t") == 0 || strcmp(argument, "tab") == 0)
        argument = "\t";
    reading.delimiter = argument[0];
    return strlen(argument) == 1 && !strchr("\"\r\n", argument[0])
               ? 0
               : clip_fail(error, "'%s' is not a character that can stand between cells", argument);
}

static const struct clip_option options[] = {
    {"caption", 'c', CLIP_TEXT, &listed.caption, "COLUMN", "the column of captions, which become txt", 0, 0},
    {"image", 'i', CLIP_TEXT, &listed.image, "COLUMN",
     "the column of picture files, which become jpg, png or webp", 0, 0},
    {"key", 'k', CLIP_TEXT, &listed.key, "COLUMN", "the column of keys [the number of the row]", 0, 0},
    {"fields", 0, CLIP_TEXT, &listed.fields, "COLUMN,...", "the other columns to keep as fields [all]", 0, 0},
    {"root", 0, CLIP_TEXT, &root, "DIR", "the folder of the picture files [that of the table]", 0, 0},
    {"format", 0, CLIP_CHOICE, &format, "auto|csv|tsv|jsonl", "the format of the tables [auto]", 0, 0},
    {"delimiter", 'd', CLIP_CALLBACK, set_delimiter, "CHAR",
     "the character between cells [tab, comma or semicolon, by the first row]", 0, 0},
    {"no-header", 'H', CLIP_FLAG, &reading.no_header, NULL, "the first row is data; columns have numbers", 0,
     0},
    {"no-quotes", 0, CLIP_FLAG, &reading.no_quotes, NULL, "quotes are ordinary characters", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-table",
    .operands = "[FILE...]",
    .purpose =
        "Reads tables, as CSV, TSV or JSON lines, and writes a record for each row. COLUMN is the name\n"
        "of a column or its number. Without FILE, reads standard input.",
    .options = options,
    .shared = CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct run {
    const struct clip_shared *shared;
    struct clip_writer *out;
    struct clip_progress progress;
    double waited;            /* for tables that are done */
    uint64_t number, skipped; /* of rows */
};

static int write_row(struct run *run, const struct clip_row *row, const struct clip_row *header,
                     struct clip_error *error)
{
    struct clip_record *record;
    int status = clip_listed_record(&listed, row, header, run->number, &record, error);
    if (status > 0) {
        status = clip_writer_record(run->out, record, error) == 0 ? 1 : -1;
        clip_record_free(record);
    }
    return status;
}

/* A row becomes a record; one that is not fit ends the run, or is left out. */
static int use_row(struct run *run, const struct clip_row *row, const struct clip_row *header,
                   const char *name, struct clip_error *error)
{
    int status = 0;
    run->number++;
    if (row->bad)
        *error = row->error;
    else
        status = write_row(run, row, header, error);
    if (status != 0)
        return status > 0 ? 0 : -1;
    if (!run->shared->skip_bad)
        return clip_fail_prefix(error, "%s: line %" PRIu64, name, row->line);
    clip_message("%s: line %" PRIu64 ": %s (skipped)", name, row->line, error->text);
    run->skipped++;
    return 0;
}

static int use_rows(struct run *run, struct clip_listing *listing, const char *name, struct clip_error *error)
{
    struct clip_row *row;
    int got;
    if (clip_listing_begin(listing, error) != 0)
        return clip_fail_prefix(error, "%s", name);
    const struct clip_row *header = clip_listing_header(listing);
    if (header && clip_listed_check(&listed, header, error) != 0)
        return clip_fail_prefix(error, "%s: line %" PRIu64, name, header->line);
    while ((got = clip_listing_next(listing, &row, error)) > 0) {
        if (use_row(run, row, header, name, error) != 0)
            return -1;
        clip_progress_show(&run->progress, clip_writer_count(run->out), 0,
                           run->waited + clip_listing_waited(listing), clip_writer_waited(run->out), 0);
    }
    return got == 0 ? 0 : clip_fail_prefix(error, "%s", name);
}

/* The folder that the table is in, from malloc; NULL: the working folder. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : NULL;
}

static int use_table(struct run *run, const char *path, struct clip_error *error)
{
    int standard = strcmp(path, "-") == 0, fd = standard ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return clip_fail_errno(error, "%s", path);
    char *folder = standard ? NULL : folder_of(path);
    listed.root = root ? root : folder;
    struct clip_listing *listing = clip_listing_new(fd, &reading, run->out, error);
    int status = listing ? use_rows(run, listing, standard ? "standard input" : path, error) : -1;
    run->waited += listing ? clip_listing_waited(listing) : 0;
    clip_listing_free(listing);
    free(folder);
    if (!standard)
        close(fd);
    return status;
}

static int use_tables(struct run *run, char **paths, size_t n, struct clip_error *error)
{
    if (n == 0)
        return use_table(run, "-", error);
    for (size_t i = 0; i < n; i++)
        if (use_table(run, paths[i], error) != 0)
            return -1;
    return 0;
}

static int run_program(struct run *run, char **paths, size_t n)
{
    struct clip_error error;
    run->out = clip_writer_new(STDOUT_FILENO, "standard output", &error);
    if (!run->out)
        clip_die("%s", error.text);
    clip_progress_start(&run->progress, run->shared, n ? paths[0] : "standard input");
    int status = use_tables(run, paths, n, &error);
    status = clip_writer_finish(run->out, status, &error);
    clip_progress_show(&run->progress, clip_writer_count(run->out), 0, run->waited,
                       clip_writer_waited(run->out), 1);
    if (run->skipped)
        clip_message("%" PRIu64 " bad rows skipped", run->skipped);
    if (status != 0)
        clip_message("%s", error.text);
    clip_writer_free(run->out);
    clip_listed_free(&listed);
    return status != 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    int first = clip_start(&program, &shared, argc, argv);
    struct run run = {.shared = &shared};
    if (format == CLIP_LISTING_JSONL && (reading.delimiter || reading.no_header || reading.no_quotes))
        clip_usage("--delimiter, --no-header and --no-quotes are not about JSON lines");
    if (root && (!listed.image || !*root))
        clip_usage("--root needs the name of a folder, and --image");
    reading.format = (enum clip_listing_format)format;
    listed.max_record = shared.max_record ? shared.max_record : CLIP_MAX_RECORD;
    reading.max_row = listed.max_record;
    clip_refuse_terminal();
    return run_program(&run, argv + first, (size_t)(argc - first));
}
