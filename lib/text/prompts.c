#include "text/prompts.h"
#include "base/lines.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct clip_prompts {
    char **lines;
    size_t count;
};

/* --- lists of lines --- */

static void free_lines(char **lines, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(lines[i]);
    free(lines);
}

static int append_line(char ***lines, size_t *count, const char *text, struct clip_error *error)
{
    char **more = reallocarray(*lines, *count + 1, sizeof *more);
    if (more)
        *lines = more;
    char *copy = more ? strdup(text) : NULL;
    if (!copy)
        return clip_fail_memory(error, "a line");
    more[(*count)++] = copy;
    return 0;
}

/* Calls use(context, line, number) for each line of a file. */
static int read_lines(const char *path, int (*use)(void *, const char *, uint64_t, struct clip_error *),
                      void *context, struct clip_error *error)
{
    int standard = strcmp(path, "-") == 0, got, status = 0;
    struct clip_lines lines = {.file = standard ? stdin : fopen(path, "re")};
    const char *name = standard ? "standard input" : path;
    char *line;
    size_t size;
    if (!lines.file)
        return clip_fail_errno(error, "%s", name);
    while (status == 0 && (got = clip_lines_next(&lines, &line, &size, error)) > 0) {
        if (strlen(line) != size)
            status = clip_fail(error, "a zero in the text");
        else
            status = use(context, line, lines.number, error);
        if (status != 0)
            clip_fail_prefix(error, "line %llu", (unsigned long long)lines.number);
    }
    clip_lines_free(&lines);
    if (!standard)
        fclose(lines.file);
    return status != 0 || got < 0 ? clip_fail_prefix(error, "%s", name) : 0;
}

/* --- prompts --- */

void clip_prompts_free(struct clip_prompts *prompts)
{
    if (!prompts)
        return;
    free_lines(prompts->lines, prompts->count);
    free(prompts);
}

/* The first placeholder and its length; NULL if there is none. */
static const char *find_place(const char *text, size_t *size)
{
    for (const char *at = strchr(text, '{'); at; at = strchr(at + 1, '{')) {
        *size = at[1] == '}' ? 2 : at[1] == 'c' && at[2] == '}' ? 3 : 0;
        if (*size)
            return at;
    }
    return NULL;
}

/* Prompts are also published as Python and as JSON: a line of a list is a string in quotes, or a lambda. */
static int is_code(const char *line)
{
    line += strspn(line, " \t");
    size_t size = strlen(line);
    while (size > 0 && strchr(" \t", line[size - 1]))
        size--;
    if (strncmp(line, "lambda ", 7) == 0)
        return 1;
    return size > 1 && strchr("'\"[", line[0]) && strchr(",]", line[size - 1]) && strcspn(line, "'\"") < size;
}

static int add_prompt(void *context, const char *line, uint64_t number, struct clip_error *error)
{
    struct clip_prompts *prompts = context;
    size_t size;
    char shown[100];
    (void)number;
    if (!line[strspn(line, " \t\r")])
        return 0;
    if (is_code(line))
        return clip_fail(error, "a line of code instead of a prompt: %s",
                         clip_printable(shown, sizeof shown, line, strlen(line)));
    if (!find_place(line, &size))
        return clip_fail(error, "the prompt has neither {c} nor {} for its caption: %s",
                         clip_printable(shown, sizeof shown, line, strlen(line)));
    return append_line(&prompts->lines, &prompts->count, line, error);
}

struct clip_prompts *clip_prompts_read(const char *path, struct clip_error *error)
{
    struct clip_prompts *prompts = calloc(1, sizeof *prompts);
    int status = prompts ? read_lines(path, add_prompt, prompts, error) : clip_fail_memory(error, "prompts");
    if (status == 0 && prompts->count == 0)
        status = clip_fail(error, "%s: there are no prompts", path);
    if (status == 0)
        return prompts;
    clip_prompts_free(prompts);
    return NULL;
}

size_t clip_prompts_count(const struct clip_prompts *prompts)
{
    return prompts->count;
}

char *clip_prompts_fill(const struct clip_prompts *prompts, size_t i, const char *caption, size_t size,
                        size_t *filled)
{
    const char *at = prompts->lines[i], *place;
    size_t length, room = strlen(at) + strlen(at) / 2 * size + 1; /* a placeholder has at least two bytes */
    char *text = malloc(room), *to = text;
    if (!text)
        return NULL;
    for (; (place = find_place(at, &length)); at = place + length) {
        to = mempcpy(to, at, (size_t)(place - at));
        to = mempcpy(to, caption, size);
    }
    to = mempcpy(to, at, strlen(at));
    *filled = (size_t)(to - text);
    return text;
}

size_t clip_prompts_draw(const struct clip_prompts *prompts, uint64_t seed, uint32_t epoch, const char *key,
                         size_t key_size)
{
    struct clip_random random;
    clip_random_begin(&random, seed, clip_fnv1a(key, key_size) ^ clip_fnv1a("prompt", 6), epoch);
    return (size_t)clip_random_below(&random, prompts->count);
}

/* --- classes --- */

struct class_lines {
    struct clip_classes *classes;
    uint64_t empty; /* the first of the empty lines at the end, or 0 */
};

static int add_class(void *context, const char *line, uint64_t number, struct clip_error *error)
{
    struct class_lines *lines = context;
    if (!line[strspn(line, " \t\r")]) {
        lines->empty = lines->empty ? lines->empty : number;
        return 0;
    }
    if (lines->empty)
        return clip_fail(error, "a class after an empty line, line %llu", (unsigned long long)lines->empty);
    return append_line(&lines->classes->names, &lines->classes->count, line, error);
}

int clip_classes_read(struct clip_classes *classes, const char *path, struct clip_error *error)
{
    struct class_lines lines = {.classes = classes};
    if (read_lines(path, add_class, &lines, error) != 0)
        return -1;
    if (classes->count == 0)
        return clip_fail(error, "%s: there are no classes", strcmp(path, "-") == 0 ? "standard input" : path);
    return 0;
}

void clip_classes_free(struct clip_classes *classes)
{
    free_lines(classes->names, classes->count);
    *classes = (struct clip_classes){0};
}
