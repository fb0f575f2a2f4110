#include "shard/except.h"

#include "stream/print.h"

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

static int add(struct clip_except *except, const char *line, struct clip_error *error)
{
    if (except->count == except->room) {
        size_t room = 2 * except->room + 64;
        char **lines = reallocarray(except->lines, room, sizeof *lines);
        if (!lines)
            return clip_fail_memory(error, "a list of samples");
        except->lines = lines;
        except->room = room;
    }
    if (!(except->lines[except->count] = strdup(line)))
        return clip_fail_memory(error, "a list of samples");
    except->count++;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int clip_except_read(struct clip_except *except, const char *path, struct clip_error *error)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0, number = 1;
    ssize_t size;
    int status = 0;
    if (!file)
        return clip_fail_errno(error, "%s", path);
    for (; status == 0 && (size = getline(&line, &room, file)) > 0; number++) {
        if (line[size - 1] == '\n')
            line[size - 1] = 0;
        status = strchr(line, '\t')
                     ? add(except, line, error)
                     : clip_fail(error, "%s: line %zu is not a shard, a tab and a key", path, number);
    }
    if (status == 0 && ferror(file))
        status = clip_fail_errno(error, "%s", path);
    free(line);
    fclose(file);
    if (status == 0 && except->count)
        qsort(except->lines, except->count, sizeof *except->lines, compare);
    return status;
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
    int found = bsearch(&name, except->lines, except->count, sizeof name, compare) != NULL;
    free(name);
    return found;
}
