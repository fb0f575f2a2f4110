/* Texts of golden results, which are lines of JSON. */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The bytes of a line's `text` or `hex`; the caller frees them. */
static inline char *text_of(struct json_object *row, size_t *length)
{
    struct json_object *value;
    if (json_object_object_get_ex(row, "text", &value)) {
        *length = (size_t)json_object_get_string_len(value);
        return memcpy(malloc(*length + 1), json_object_get_string(value), *length + 1);
    }
    json_object_object_get_ex(row, "hex", &value);
    const char *hex = json_object_get_string(value);
    *length = strlen(hex) / 2;
    char *bytes = malloc(*length + 1);
    for (size_t i = 0; i < *length; i++)
        sscanf(hex + 2 * i, "%2hhx", (unsigned char *)bytes + i);
    return bytes;
}

#endif
