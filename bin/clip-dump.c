/* clip-dump: a stream's records and control objects as lines of JSON. */
#include "base/cli.h"
#include "stream/print.h"
#include "stream/reader.h"

#include <stdio.h>
#include <string.h>

static int whole, only_keys;
static const char *columns;

static const struct clip_option options[] = {
    {"values", 0, CLIP_FLAG, &whole, NULL, "print all elements of tensors and all bytes of members", 0, 0},
    {"keys", 0, CLIP_FLAG, &only_keys, NULL, "print only the keys of the records, one per line", 0, 0},
    {"tsv", 0, CLIP_TEXT, &columns, "FIELD,...", "print a table of these fields, one line per record", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-dump",
    .operands = "[STREAM...]",
    .purpose = "Prints streams as JSON, one line per record, with shapes and "
               "first values of tensors and sizes of members.",
    .options = options,
    .shared = CLIP_TAKES_STREAM};

/* Prints the record's fields `columns`, separated by tabs; the cell of a missing field is empty. */
static void print_cells(const struct clip_record *record)
{
    for (const char *name = columns, *comma; name; name = comma ? comma + 1 : NULL) {
        comma = strchr(name, ',');
        const struct clip_field *field =
            clip_record_field(record, name, comma ? (size_t)(comma - name) : strlen(name));
        const char *text;
        size_t size;
        if (field && clip_field_bytes(field, &text, &size) == 0)
            clip_print_cell(stdout, text, size);
        else if (field)
            clip_print_value(stdout, field->value, field->size, whole);
        putchar(comma ? '\t' : '\n');
    }
}

static void print_record(const struct clip_record *record)
{
    size_t size;
    if (columns) {
        if (clip_record_key(record, &size))
            print_cells(record);
        return;
    }
    for (size_t i = 0; i < record->count; i++) {
        const struct clip_field *field = &record->fields[i];
        putchar(i ? ',' : '{');
        clip_print_string(stdout, field->name, field->name_size);
        putchar(':');
        clip_print_value(stdout, field->value, field->size, whole);
    }
    fputs(record->count ? "}\n" : "{}\n", stdout);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    struct clip_progress progress;
    struct clip_record *record;
    int first = clip_start(&program, &shared, argc, argv), got;
    if (only_keys && columns)
        clip_usage("--keys and --tsv are mutually exclusive");
    if (only_keys)
        columns = "__key__";
    struct clip_reader *in = clip_reader_new(argv + first, (size_t)(argc - first), shared.max_record, &error);
    if (!in)
        clip_die("%s", error.text);
    uint64_t total = shared.progress ? clip_reader_total(in) : 0;
    clip_progress_start(&progress, &shared, "input");
    while ((got = clip_reader_next(in, &record, &error)) > 0 && !ferror(stdout)) {
        print_record(record);
        clip_record_free(record);
        if (!clip_reader_ready(in))
            fflush(stdout);
        clip_progress_show(&progress, clip_reader_count(in), total, clip_reader_waited(in), 0, 0);
    }
    clip_progress_show(&progress, clip_reader_count(in), 0, clip_reader_waited(in), 0, 1);
    if (got > 0)
        clip_record_free(record);
    if (got < 0)
        clip_message("%s", error.text);
    clip_reader_free(in);
    return clip_finish(got < 0);
}
