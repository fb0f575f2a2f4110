#include "text/captions.h"
#include "base/array.h"
#include "base/encoding.h"
#include "base/json.h"
#include "base/random.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

int clip_caption_place_read(struct clip_caption_place *place, const char *text, struct clip_error *error)
{
    const char *colon = strchrnul(text, ':');
    if (colon == text || (*colon && !colon[1]))
        return clip_fail(error, "'%s' is neither NAME nor NAME:PATH", text);
    *place = (struct clip_caption_place){strndup(text, (size_t)(colon - text)), *colon ? colon + 1 : NULL};
    return place->name ? 0 : clip_fail_memory(error, "a name");
}

void clip_captions_free(struct clip_captions *captions)
{
    free(captions->all);
    free(captions->owned);
    free(captions->joined);
    if (captions->object)
        json_object_put(captions->object);
    *captions = (struct clip_captions){0};
}

static int is_blank(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint32_t point;
        int bytes = clip_utf8_read(&point, (const uint8_t *)text + at, size - at);
        if (bytes < 0 || !clip_is_space(point))
            return 0;
        at += (size_t)bytes;
    }
    return 1;
}

static int add_caption(struct clip_captions *captions, const char *text, size_t size,
                       struct clip_error *error)
{
    if (is_blank(text, size))
        return 0;
    if (CLIP_GROW(captions->all, captions->count, captions->room) != 0)
        return clip_fail_memory(error, "captions");
    captions->all[captions->count++] = (struct clip_caption_text){text, size};
    return 0;
}

static int add_lines(struct clip_captions *captions, struct clip_error *error)
{
    const char *at = captions->whole.text, *end = at + captions->whole.size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        size_t size = (size_t)(stop - at);
        if (add_caption(captions, at, size - (size > 0 && at[size - 1] == '\r'), error) != 0)
            return -1;
        at = newline ? newline + 1 : end;
    }
    return 0;
}

/* --- JSON --- */

/* Adds the captions of `value` under `path`; an empty path means all of them. */
static int add_values(struct clip_captions *captions, struct json_object *value, const char *path,
                      struct clip_error *error)
{
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            if (add_values(captions, json_object_array_get_idx(value, i), path, error) != 0)
                return -1;
        return 0;
    }
    if (!*path) {
        if (!json_object_is_type(value, json_type_string))
            return clip_fail(error, "is not text");
        return add_caption(captions, json_object_get_string(value), (size_t)json_object_get_string_len(value),
                           error);
    }
    if (!json_object_is_type(value, json_type_object))
        return clip_fail(error, "is not there");
    struct json_object *member = clip_json_get(value, path);
    if (member)
        return add_values(captions, member, "", error);
    const char *dot = strchrnul(path, '.');
    char *key = strndup(path, (size_t)(dot - path));
    if (!key)
        return clip_fail_memory(error, "a name");
    member = clip_json_get(value, key);
    free(key);
    return member ? add_values(captions, member, *dot ? dot + 1 : dot, error)
                  : clip_fail(error, "is not there");
}

/* Joins all strings with newlines. */
static int join_strings(struct clip_captions *captions, struct clip_error *error)
{
    size_t size = 0;
    for (size_t i = 0; i < captions->count; i++)
        size += captions->all[i].size + 1;
    char *to = captions->joined = malloc(size + 1);
    if (!to)
        return clip_fail_memory(error, "captions");
    for (size_t i = 0; i < captions->count; i++) {
        if (i > 0)
            *to++ = '\n';
        to = mempcpy(to, captions->all[i].text, captions->all[i].size);
    }
    captions->whole = (struct clip_caption_text){captions->joined, (size_t)(to - captions->joined)};
    return 0;
}

static int read_json(struct clip_captions *captions, const char *name, const char *path, const char *text,
                     size_t size, struct clip_error *error)
{
    char shown[100];
    captions->object = clip_json_parse(text, size, error);
    if (!captions->object)
        return clip_fail_prefix(error, "field '%s'", name);
    if (add_values(captions, captions->object, path, error) != 0) {
        struct clip_error why = *error;
        return clip_fail(error, "field '%s': '%s' %.100s", name,
                         clip_printable(shown, sizeof shown, path, strlen(path)), why.text);
    }
    return join_strings(captions, error);
}

/* --- a field --- */

static const char *hint(const struct clip_record *record)
{
    return clip_record_find(record, "json")
               ? " (but there is a field 'json': give a path into it, such as json:caption)"
               : clip_record_hint(record);
}

int clip_captions_read(struct clip_captions *captions, const struct clip_record *record,
                       const struct clip_caption_place *place, int split, struct clip_error *error)
{
    const struct clip_field *field = clip_record_find(record, place->name);
    const char *text, *name = place->name;
    size_t size;
    *captions = (struct clip_captions){0};
    if (!field)
        return clip_fail(error, "no field '%s'%s", name, hint(record));
    if (clip_field_bytes(field, &text, &size) != 0)
        return clip_fail(error, "field '%s' is not text", name);
    int status;
    if (place->path) {
        status = read_json(captions, name, place->path, text, size, error);
    } else if (clip_text_decode(&text, &size, &captions->owned, error) != 0) {
        status = clip_fail_prefix(error, "field '%s'", name);
    } else {
        captions->whole = (struct clip_caption_text){text, size};
        status = split ? add_lines(captions, error) : 0;
    }
    if (status != 0)
        clip_captions_free(captions);
    return status;
}

const struct clip_caption_text *clip_captions_draw(const struct clip_captions *captions, uint64_t seed,
                                                   uint32_t epoch, const char *key, size_t key_size)
{
    struct clip_random random;
    clip_random_begin(&random, seed, clip_fnv1a(key, key_size) ^ clip_fnv1a("caption", 7), epoch);
    return &captions->all[clip_random_below(&random, captions->count)];
}
