/* Reading JSON files with checks: values have the right type and lie within bounds; errors name the key. */
#ifndef CLIP_BASE_JSON_H
#define CLIP_BASE_JSON_H

#include "base/error.h"

#include <json-c/json.h>

/* Reads a file of at most 64 MiB that holds one JSON object. NULL with error; release it with
 * json_object_put. */
struct json_object *clip_json_read(const char *path, struct clip_error *error);

/* The JSON object in text[size], UTF-8 or UTF-16 (base/encoding.h); otherwise as clip_json_read. */
struct json_object *clip_json_parse(const char *text, size_t size, struct clip_error *error);

/* The member `key`; NULL if it is absent or null. Borrowed. */
struct json_object *clip_json_get(struct json_object *object, const char *key);

/* Each reads a member into *value and leaves *value alone if it is absent or null; -1 with a message that
 * names `where.key` if it is something else, or outside [low, high]. clip_json_string's result is borrowed.
 */
int clip_json_int(struct json_object *object, const char *where, const char *key, int low, int high,
                  int *value, struct clip_error *error);
int clip_json_real(struct json_object *object, const char *where, const char *key, double low, double high,
                   double *value, struct clip_error *error);
int clip_json_flag(struct json_object *object, const char *where, const char *key, int *value,
                   struct clip_error *error);
int clip_json_string(struct json_object *object, const char *where, const char *key, const char **value,
                     struct clip_error *error);
int clip_json_object(struct json_object *object, const char *where, const char *key,
                     struct json_object **value, struct clip_error *error);

/* A string that is one of names[count], as its index; else refused by name. */
int clip_json_choice(struct json_object *object, const char *where, const char *key, const char *const *names,
                     int count, int *value, struct clip_error *error);

/* The numbers of three channels: an array of three, or one number for all. */
int clip_json_channels(struct json_object *object, const char *where, const char *key, double low,
                       double high, float value[3], struct clip_error *error);

/* How a configuration's option that is not read is treated. */
enum clip_json_rule {
    CLIP_JSON_USED,    /* read elsewhere */
    CLIP_JSON_IGNORED, /* does not change the arithmetic */
    CLIP_JSON_OFF,     /* only its off value is known: null, false, 0, "" or an empty object */
    CLIP_JSON_ONLY     /* null, or the one string that is known */
};
struct clip_json_option {
    const char *name;
    enum clip_json_rule rule;
    const char *only;
};

/* Refuses by name each option of `object` that is not in options[count] or whose value its entry does not
 * allow. An unknown option is accepted only if it is off. */
int clip_json_options(struct json_object *object, const char *where, const struct clip_json_option *options,
                      size_t count, struct clip_error *error);

#endif
