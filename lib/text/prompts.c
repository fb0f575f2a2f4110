#include "text/prompts.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE "{c}"
enum { PLACE_SIZE = sizeof PLACE - 1 };

struct clip_prompts {
    char **lines;
    size_t count;
};

void clip_prompts_free(struct clip_prompts *prompts)
{
    if (!prompts)
        return;
    for (size_t i = 0; i < prompts->count; i++)
        free(prompts->lines[i]);
    free(prompts->lines);
    free(prompts);
}

/* Adds a line of `size` bytes, the newline among them. */
static int add(struct clip_prompts *prompts, const char *line, size_t size, struct clip_error *error)
{
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
        size--;
    if (size == 0)
        return 0;
    char **lines = reallocarray(prompts->lines, prompts->count + 1, sizeof *lines);
    if (!lines)
        return clip_fail_memory(error, "prompts");
    prompts->lines = lines;
    if (!(lines[prompts->count] = strndup(line, size)))
        return clip_fail_memory(error, "prompts");
    return strstr(lines[prompts->count++], PLACE)
               ? 0
               : clip_fail(error, "prompt %zu has no " PLACE " for its caption", prompts->count);
}

static int read_lines(struct clip_prompts *prompts, FILE *file, struct clip_error *error)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    int status = 0;
    while (status == 0 && (size = getline(&line, &room, file)) >= 0)
        status = add(prompts, line, (size_t)size, error);
    if (status == 0 && ferror(file))
        status = clip_fail_errno(error, "reading");
    if (status == 0 && prompts->count == 0)
        status = clip_fail(error, "there are no prompts");
    free(line);
    return status;
}

struct clip_prompts *clip_prompts_read(const char *path, struct clip_error *error)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        clip_fail_errno(error, "%s", path);
        return NULL;
    }
    struct clip_prompts *prompts = calloc(1, sizeof *prompts);
    int status = prompts ? read_lines(prompts, file, error) : clip_fail_memory(error, "prompts");
    fclose(file);
    if (status == 0)
        return prompts;
    clip_fail_prefix(error, "%s", path);
    clip_prompts_free(prompts);
    return NULL;
}

char *clip_prompts_fill(const struct clip_prompts *prompts, uint64_t seed, uint32_t epoch, const char *key,
                        size_t key_size, const char *caption, size_t size, size_t *filled)
{
    struct clip_random random;
    clip_random_begin(&random, seed, clip_fnv1a(key, key_size) ^ clip_fnv1a("prompt", 6), epoch);
    const char *at = prompts->lines[clip_random_below(&random, prompts->count)], *place;
    size_t room = strlen(at) + strlen(at) / PLACE_SIZE * size + 1;
    char *text = malloc(room), *to = text;
    if (!text)
        return NULL;
    for (; (place = strstr(at, PLACE)); at = place + PLACE_SIZE) {
        to = mempcpy(to, at, (size_t)(place - at));
        to = mempcpy(to, caption, size);
    }
    to = mempcpy(to, at, strlen(at));
    *filled = (size_t)(to - text);
    return text;
}
