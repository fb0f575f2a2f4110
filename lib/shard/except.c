#include "shard/except.h"
#include "base/array.h"

#include "base/lines.h"
#include "stream/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void clip_sample_print(FILE *out, const struct clip_record *sample)
{
    const struct clip_field *url = clip_record_find(sample, "__url__");
    size_t size;
    const char *text;
    if (url && clip_field_bytes(url, &text, &size) == 0)
        clip_print_cell(out, text, size);
    putc('\t', out);
    text = clip_record_key(sample, &size);
    clip_print_cell(out, text, size);
}

static int add_line(struct clip_except *except, const char *line, struct clip_error *error)
{
    if (CLIP_GROW(except->lines, except->count, except->room) != 0)
        return clip_fail_memory(error, "a list of samples");
    if (!(except->lines[except->count] = strdup(line)))
        return clip_fail_memory(error, "a list of samples");
    except->count++;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int clip_except_read(struct clip_except *except, const char *path, struct clip_error *error)
{
    struct clip_lines lines = {.file = fopen(path, "re")};
    char *line;
    size_t size;
    int got;
    if (!lines.file)
        return clip_fail_errno(error, "%s", path);
    while ((got = clip_lines_next(&lines, &line, &size, error)) > 0) {
        if (!strchr(line, '\t'))
            got = clip_fail(error, "line %" PRIu64 " is not a shard, a tab and a key", lines.number);
        else
            got = add_line(except, line, error);
        if (got != 0)
            break;
    }
    clip_lines_free(&lines);
    fclose(lines.file);
    if (got != 0)
        return clip_fail_prefix(error, "%s", path);
    if (except->count)
        qsort(except->lines, except->count, sizeof *except->lines, compare_names);
    return 0;
}

void clip_except_free(struct clip_except *except)
{
    for (size_t i = 0; i < except->count; i++)
        free(except->lines[i]);
    free(except->lines);
    *except = (struct clip_except){0};
}

int clip_except_has(const struct clip_except *except, const struct clip_record *sample,
                    struct clip_error *error)
{
    char *name = NULL;
    size_t size;
    if (except->count == 0)
        return 0;
    FILE *memory = open_memstream(&name, &size);
    if (memory)
        clip_sample_print(memory, sample);
    if (!memory || fclose(memory) != 0) {
        free(name);
        return clip_fail_memory(error, "a sample's name");
    }
    int found = bsearch(&name, except->lines, except->count, sizeof name, compare_names) != NULL;
    free(name);
    return found;
}
