/* clip-cmp: two streams, field by field: how far apart they are. */
#include "base/cli.h"
#include "stream/compare.h"
#include "stream/print.h"
#include "stream/reader.h"

#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct clip_comparison comparison;
static int by_key;
static struct clip_progress progress;

static const struct clip_option options[] = {
    {"tolerance", 't', CLIP_NUMBER, &comparison.tolerance, "X", "allow an absolute difference of X [0]", 0,
     1e300},
    {"relative", 'r', CLIP_NUMBER, &comparison.relative_tolerance, "X",
     "allow a difference of X relative to the norm of the values [0]", 0, 1e300},
    {"fields", 'f', CLIP_TEXT, &comparison.only, "NAME,...", "compare only these fields and the keys", 0, 0},
    {"by-key", 'k', CLIP_FLAG, &by_key, NULL, "match records by key, not by order; B is held in memory", 0,
     0},
    {0}};

static const struct clip_program program = {
    .name = "clip-cmp",
    .operands = "A B",
    .purpose =
        "Compares two streams field by field and prints the largest absolute and relative differences.",
    .options = options,
    .shared = CLIP_TAKES_STREAM};

/* Reads the next record or, if they are compared in order, the next record or control object. */
static int next(struct clip_reader *in, struct clip_record **record, struct clip_error *error)
{
    int got;
    *record = NULL;
    while ((got = clip_reader_next(in, record, error)) > 0 && by_key &&
           !clip_record_find(*record, "__key__")) {
        clip_record_free(*record);
        *record = NULL;
    }
    clip_progress_show(&progress, clip_reader_count(in), 0, clip_reader_waited(in), 0, 0);
    return got;
}

/* Compares the first with the first, the second with the second, and so on. */
static int compare_in_order(struct clip_reader *a, struct clip_reader *b, struct clip_error *error)
{
    int more = 1;
    while (more > 0) {
        struct clip_record *x = NULL, *y = NULL;
        int got_x = next(a, &x, error), got_y = got_x < 0 ? -1 : next(b, &y, error);
        more = got_x < 0 || got_y < 0 ? -1 : got_x > 0 || got_y > 0;
        if (more > 0 && clip_compare_records(&comparison, x, y, error) != 0)
            more = -1;
        clip_record_free(x);
        clip_record_free(y);
    }
    return more;
}

/* --- by key --- */

static int compare_keys(const void *left, const void *right)
{
    size_t x_size, y_size;
    const char *x = clip_record_key(left, &x_size), *y = clip_record_key(right, &y_size);
    int order = memcmp(x, y, x_size < y_size ? x_size : y_size);
    return order ? order : (x_size > y_size) - (x_size < y_size);
}

static void free_held(void *record)
{
    clip_record_free(record);
}

static int hold(struct clip_reader *in, void **held, struct clip_error *error)
{
    struct clip_record *record;
    char name[400];
    int got;
    while ((got = next(in, &record, error)) > 0) {
        void *node = tsearch(record, held, compare_keys);
        if (!node || *(struct clip_record **)node != record) {
            if (node)
                clip_fail(error, "%s: occurs twice", clip_record_name(record, name, sizeof name));
            else
                clip_fail_memory(error, "a record");
            clip_record_free(record);
            return -1;
        }
    }
    return got;
}

static int compare_by_key(struct clip_reader *a, struct clip_reader *b, struct clip_error *error)
{
    void *held = NULL;
    struct clip_record *record;
    int got = hold(b, &held, error), status = got;
    while (status == 0 && (got = next(a, &record, error)) > 0) {
        void *node = tfind(record, &held, compare_keys);
        struct clip_record *match = node ? *(struct clip_record **)node : NULL;
        status = clip_compare_records(&comparison, record, match, error);
        if (match)
            tdelete(match, &held, compare_keys);
        clip_record_free(match);
        clip_record_free(record);
    }
    while (status == 0 && got == 0 && held) { /* records that A did not have */
        struct clip_record *rest = *(struct clip_record **)held;
        status = clip_compare_records(&comparison, NULL, rest, error);
        tdelete(rest, &held, compare_keys);
        clip_record_free(rest);
    }
    tdestroy(held, free_held);
    return got < 0 ? -1 : status;
}

/* --- the table --- */

static void print_difference(const struct clip_field_comparison *field, double value)
{
    if (field->numeric)
        printf("\t%.3g", value);
    else
        fputs("\t-", stdout);
}

static void print_table(void)
{
    puts("field\tboth\tonly A\tonly B\tunequal\tabsolute\trelative\tat");
    for (size_t i = 0; i < comparison.count; i++) {
        const struct clip_field_comparison *field = &comparison.fields[i];
        clip_print_cell(stdout, field->name, field->name_size);
        printf("\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64, field->both, field->only_a, field->only_b,
               field->unequal);
        print_difference(field, field->absolute);
        print_difference(field, field->relative);
        printf("\t%s\n", field->at[0] ? field->at : "-");
    }
}

/* A misspelt field name must not count as equality. */
static int names_are_known(struct clip_error *error)
{
    for (const char *name = comparison.only; name; name = strchr(name, ',') ? strchr(name, ',') + 1 : NULL) {
        size_t size = strcspn(name, ","), i = 0;
        while (i < comparison.count &&
               (comparison.fields[i].name_size != size || memcmp(comparison.fields[i].name, name, size) != 0))
            i++;
        if (i == comparison.count)
            return clip_fail(error, "no record has a field '%.*s'", (int)size, name);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv), status = -1;
    if (argc - first != 2)
        clip_usage("two streams are needed, but %d were given", argc - first);
    if (strcmp(argv[first], "-") == 0 && strcmp(argv[first + 1], "-") == 0)
        clip_usage("standard input cannot be both streams");
    struct clip_reader *a = clip_reader_new(argv + first, 1, shared.max_record, &error);
    struct clip_reader *b = a ? clip_reader_new(argv + first + 1, 1, shared.max_record, &error) : NULL;
    clip_progress_start(&progress, &shared, argv[first]);
    if (b)
        status = by_key ? compare_by_key(a, b, &error) : compare_in_order(a, b, &error);
    if (status == 0)
        status = names_are_known(&error);
    clip_progress_show(&progress, b ? clip_reader_count(b) : 0, 0, 0, 0, 1);
    if (!shared.quiet && b)
        print_table();
    if (status != 0)
        clip_message("%s", error.text);
    int differs = clip_comparison_differs(&comparison);
    clip_reader_free(a);
    clip_reader_free(b);
    clip_comparison_free(&comparison);
    return clip_finish(status != 0 || differs);
}
