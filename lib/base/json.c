#include "base/json.h"
#include "base/encoding.h"
#include "base/stray.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#define MAX_FILE (64 << 20)

/* Reads the file into one string; NULL with error. */
static char *read_text(const char *path, size_t *length, struct clip_error *error)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        clip_fail_errno(error, "%s", path);
        return NULL;
    }
    char *text = NULL;
    size_t size = 0, room = 0;
    for (;;) {
        if (room - size < 2) {
            room = room ? 2 * room : 8192;
            char *more = room <= 2 * (size_t)MAX_FILE ? realloc(text, room) : NULL;
            if (!more) {
                clip_fail(error, "%s: too large for a JSON file", path);
                break;
            }
            text = more;
        }
        errno = 0;
        size_t n = fread(text + size, 1, room - size - 1, file);
        size += n;
        if (n == 0 && ferror(file)) {
            clip_fail_errno(error, "%s", path);
            break;
        }
        if (n == 0 && size <= MAX_FILE) {
            fclose(file);
            text[size] = 0;
            *length = size;
            return text;
        }
    }
    fclose(file);
    free(text);
    return NULL;
}

/* The UTF-8 text with \u escapes for everything outside ASCII, because json-c 0.18 in strict mode takes
 * those bytes for control characters. NULL when out of memory. */
static char *escape_non_ascii(const char *text, size_t size)
{
    const uint8_t *from = (const uint8_t *)text, *end = from + size;
    char *out = malloc(3 * size + 1), *to = out; /* six for two bytes, twelve for four */
    int escaped = 0;                             /* after a backslash */
    while (out && from < end) {
        ucs4_t c;
        from += u8_mbtouc(&c, from, (size_t)(end - from));
        if (c < 0x80 || escaped)
            *to++ = c < 0x80 ? (char)c : 'x'; /* \x is as invalid as the escape in the text */
        else if (c < 0x10000)
            to += sprintf(to, "\\u%04x", (unsigned)c);
        else
            to += sprintf(to, "\\u%04x\\u%04x", 0xd7c0 + (unsigned)(c >> 10), 0xdc00 + (unsigned)(c & 0x3ff));
        escaped = c == '\\' && !escaped;
    }
    if (out)
        *to = 0;
    return out;
}

/* clip_json_parse for UTF-8 without a mark. */
static struct json_object *parse_tokens(const char *text, size_t size, struct clip_error *error)
{
    const char *zero = memchr(text, 0, size); /* json-c would take it for the end of the text */
    if (zero) {
        clip_fail(error, "not JSON: a zero at byte %td", zero - text);
        return NULL;
    }
    const uint8_t *wrong = u8_check((const uint8_t *)text, size);
    if (wrong) {
        clip_fail(error, "not JSON: invalid UTF-8 at byte %td", wrong - (const uint8_t *)text);
        return NULL;
    }
    char *ascii = escape_non_ascii(text, size);
    struct json_tokener *tokener = json_tokener_new();
    if (!ascii || !tokener) {
        free(ascii);
        if (tokener)
            json_tokener_free(tokener);
        clip_fail_memory(error, "JSON");
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    /* The terminating zero ends a number or a literal that is the whole text. */
    struct json_object *object = json_tokener_parse_ex(tokener, ascii, (int)strlen(ascii) + 1);
    enum json_tokener_error code = json_tokener_get_error(tokener);
    int bad = 0;
    if (code != json_tokener_success)
        bad = clip_fail(error, "not JSON: %s at byte %zu", json_tokener_error_desc(code),
                        json_tokener_get_parse_end(tokener));
    else if (!json_object_is_type(object, json_type_object))
        bad = clip_fail(error, "not a JSON object");
    json_tokener_free(tokener);
    free(ascii);
    if (!bad)
        return object;
    json_object_put(object);
    return NULL;
}

struct json_object *clip_json_parse(const char *text, size_t size, struct clip_error *error)
{
    char *owned;
    if (size > MAX_FILE) {
        clip_fail(error, "too large for a JSON object");
        return NULL;
    }
    if (clip_text_decode(&text, &size, &owned, error) != 0) {
        clip_fail_prefix(error, "not JSON");
        return NULL;
    }
    struct json_object *object = parse_tokens(text, size, error);
    free(owned);
    return object;
}

struct json_object *clip_json_read(const char *path, struct clip_error *error)
{
    size_t size;
    char *text = read_text(path, &size, error);
    if (!text)
        return NULL;
    const char *stray = clip_stray_text(text, size);
    struct json_object *object = stray ? NULL : clip_json_parse(text, size, error);
    if (stray)
        clip_fail(error, "%s: %s", path, stray);
    else if (!object)
        clip_fail_prefix(error, "%s", path);
    free(text);
    return object;
}

struct json_object *clip_json_get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

int clip_json_int(struct json_object *object, const char *where, const char *key, int low, int high,
                  int *value, struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    if (!member)
        return 0;
    if (!json_object_is_type(member, json_type_int))
        return clip_fail(error, "%s.%s is not a whole number", where, key);
    int64_t n = json_object_get_int64(member);
    if (n < low || n > high)
        return clip_fail(error, "%s.%s is %lld; it must lie between %d and %d", where, key, (long long)n, low,
                         high);
    *value = (int)n;
    return 0;
}

static int read_real(struct json_object *member, const char *where, const char *key, double low, double high,
                     double *value, struct clip_error *error)
{
    if (!json_object_is_type(member, json_type_double) && !json_object_is_type(member, json_type_int))
        return clip_fail(error, "%s.%s is not a number", where, key);
    double x = json_object_get_double(member);
    if (!(x >= low && x <= high))
        return clip_fail(error, "%s.%s is %g; it must lie between %g and %g", where, key, x, low, high);
    *value = x;
    return 0;
}

int clip_json_real(struct json_object *object, const char *where, const char *key, double low, double high,
                   double *value, struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    return member ? read_real(member, where, key, low, high, value, error) : 0;
}

int clip_json_flag(struct json_object *object, const char *where, const char *key, int *value,
                   struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    if (!member)
        return 0;
    if (!json_object_is_type(member, json_type_boolean))
        return clip_fail(error, "%s.%s is neither true nor false", where, key);
    *value = json_object_get_boolean(member);
    return 0;
}

int clip_json_string(struct json_object *object, const char *where, const char *key, const char **value,
                     struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    if (!member)
        return 0;
    if (!json_object_is_type(member, json_type_string))
        return clip_fail(error, "%s.%s is not a string", where, key);
    *value = json_object_get_string(member);
    return 0;
}

int clip_json_object(struct json_object *object, const char *where, const char *key,
                     struct json_object **value, struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    if (!member)
        return 0;
    if (!json_object_is_type(member, json_type_object))
        return clip_fail(error, "%s.%s is not an object", where, key);
    *value = member;
    return 0;
}

int clip_json_choice(struct json_object *object, const char *where, const char *key, const char *const *names,
                     int count, int *value, struct clip_error *error)
{
    const char *name = NULL;
    char text[100];
    if (clip_json_string(object, where, key, &name, error) != 0)
        return -1;
    for (int i = 0; name && i < count; i++)
        if (strcmp(name, names[i]) == 0) {
            *value = i;
            return 0;
        }
    return name ? clip_fail(error, "%s.%s: \"%s\" is not supported", where, key,
                            clip_printable(text, sizeof text, name, strlen(name)))
                : 0;
}

int clip_json_channels(struct json_object *object, const char *where, const char *key, double low,
                       double high, float value[3], struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    if (!member)
        return 0;
    int array = json_object_is_type(member, json_type_array);
    if (array && json_object_array_length(member) != 3)
        return clip_fail(error, "%s.%s does not hold three numbers", where, key);
    for (int i = 0; i < 3; i++) {
        struct json_object *item = array ? json_object_array_get_idx(member, (size_t)i) : member;
        double x;
        if (read_real(item, where, key, low, high, &x, error) != 0)
            return -1;
        value[i] = (float)x;
    }
    return 0;
}

static int is_off(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        return 1;
    case json_type_boolean:
        return !json_object_get_boolean(value);
    case json_type_int:
    case json_type_double:
        return json_object_get_double(value) == 0;
    case json_type_string:
        return json_object_get_string_len(value) == 0;
    case json_type_object:
        return json_object_object_length(value) == 0;
    case json_type_array:
        return json_object_array_length(value) == 0;
    }
    return 0;
}

static int is_allowed(struct json_object *value, const struct clip_json_option *option)
{
    switch (option ? option->rule : CLIP_JSON_OFF) {
    case CLIP_JSON_USED:
    case CLIP_JSON_IGNORED:
        return 1;
    case CLIP_JSON_ONLY:
        return !value || (json_object_is_type(value, json_type_string) &&
                          strcmp(json_object_get_string(value), option->only) == 0);
    case CLIP_JSON_OFF:
        break;
    }
    return is_off(value);
}

int clip_json_options(struct json_object *object, const char *where, const struct clip_json_option *options,
                      size_t count, struct clip_error *error)
{
    json_object_object_foreach(object, key, value)
    {
        const struct clip_json_option *option = NULL;
        for (size_t i = 0; i < count && !option; i++)
            if (strcmp(options[i].name, key) == 0)
                option = &options[i];
        if (!is_allowed(value, option)) {
            char name[100], text[100];
            const char *json = json_object_to_json_string_ext(value, JSON_C_TO_STRING_SPACED |
                                                                         JSON_C_TO_STRING_NOSLASHESCAPE);
            return clip_fail(error, "%s.%s: %s is not supported", where,
                             clip_printable(name, sizeof name, key, strlen(key)),
                             clip_printable(text, sizeof text, json, strlen(json)));
        }
    }
    return 0;
}
