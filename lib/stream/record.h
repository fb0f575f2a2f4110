/* A record of a stream: a msgpack map with string keys, kept as the bytes that were read and the fields
 * that were set since.
 *
 * Fields keep their order; those that nobody changes are written as the very bytes that were read. A
 * record whose map has no `__key__` is a control object. */
#ifndef CLIP_STREAM_RECORD_H
#define CLIP_STREAM_RECORD_H

#include "base/error.h"
#include "stream/tensor.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CLIP_MAX_FIELDS 4096

struct clip_field {
    const char *name; /* not terminated */
    size_t name_size;
    const uint8_t *value; /* one msgpack object */
    size_t size;
    void *owned; /* memory that clip_record_put_* allocated for it, or NULL */
};

struct clip_record {
    uint8_t *bytes; /* the message as it was read; names and values point into it */
    int lent;       /* the record and `bytes` are the reader's (clip_reader_lend) */
    struct clip_field *fields;
    size_t count, room;
    const char *source;      /* the input it came from, for messages; not owned */
    int bad;                 /* clip_record_fail was called */
    struct clip_error error; /* why */
};

/* An empty record, to be freed by clip_record_free; NULL when out of memory. */
struct clip_record *clip_record_new(void);
void clip_record_free(struct clip_record *record); /* NULL and a lent one are left alone */

/* Sets the record to message bytes[size], one complete map from malloc, which the record then owns. On
 * error the record is empty and the bytes are freed. Refuses keys that are not strings, and a key that
 * occurs twice. */
int clip_record_set(struct clip_record *record, uint8_t *bytes, size_t size, struct clip_error *error);
/* The same where it is known already what is in the map: marks[count] are where each name and each value
 * begins, and the map's end, as clip_skim_run marks them. */
int clip_record_set_marked(struct clip_record *record, uint8_t *bytes, size_t size, const size_t *marks,
                           size_t count, struct clip_error *error);

/* Sets the record to these fields, of names that differ, which own nothing: their memory stays the caller's.
 */
int clip_record_set_fields(struct clip_record *record, const struct clip_field *fields, size_t count,
                           struct clip_error *error);

/* The record's key, not terminated, or NULL: a control object (or a `__key__` that is not a string, which
 * `set` refuses).
 */
const char *clip_record_key(const struct clip_record *record, size_t *size);

/* "SOURCE: sample KEY" for messages, into out[size]; SOURCE is `__url__` where there is one. Returns out. */
const char *clip_record_name(const struct clip_record *record, char *out, size_t size);

/* For the message that a field is missing: if the record comes from a shard and has only one member, a
 * possible cause, in brackets; else "". */
const char *clip_record_hint(const struct clip_record *record);

/* Marks the record as bad, with the reason; always returns -1. */
int clip_record_fail(struct clip_record *record, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The field of that name, or NULL. Valid until the record changes. */
const struct clip_field *clip_record_field(const struct clip_record *record, const char *name, size_t size);
static inline const struct clip_field *clip_record_find(const struct clip_record *record, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < record->count; i++)
        if (record->fields[i].name_size == size && memcmp(record->fields[i].name, name, size) == 0)
            return &record->fields[i];
    return NULL;
}

/* The contents of a field. Each returns 0, or -1 where the field holds something else (clip_field_tensor:
 * with a message). Views are valid as long as the field. bytes: str or bin. */
int clip_field_bytes(const struct clip_field *field, const char **data, size_t *size);
int clip_field_string(const struct clip_field *field, const char **data, size_t *size);
int clip_field_integer(const struct clip_field *field, int64_t *value);
int clip_field_real(const struct clip_field *field, double *value); /* integers too */
int clip_field_boolean(const struct clip_field *field, int *value);
int clip_field_is_tensor(const struct clip_field *field);
int clip_field_tensor(const struct clip_field *field, struct clip_tensor *tensor, struct clip_error *error);

/* The tensor `name` of type `dtype`. -1, and the record is marked as bad, where it is missing or of
 * another type. */
int clip_record_tensor(struct clip_record *record, const char *name, enum clip_dtype dtype,
                       struct clip_tensor *tensor);

/* The record's pass over the data, on which random choices in training depend: __epoch__, or 1 where there
 * is none. -1, and the record is marked as bad, where that is something else. */
int clip_record_epoch(struct clip_record *record, uint32_t *epoch);

/* Drops the field, if it exists. */
void clip_record_drop(struct clip_record *record, const char *name);

/* Sets a field to a copy of the value: replaces the field of that name, or adds one at the end. -1 when
 * out of memory (the message says so) or past CLIP_MAX_FIELDS. */
int clip_record_put_bytes(struct clip_record *record, const char *name, const void *data, size_t size,
                          struct clip_error *error); /* bin */
int clip_record_put_string(struct clip_record *record, const char *name, const char *data, size_t size,
                           struct clip_error *error);
int clip_record_put_integer(struct clip_record *record, const char *name, int64_t value,
                            struct clip_error *error);
int clip_record_put_real(struct clip_record *record, const char *name, double value,
                         struct clip_error *error);
int clip_record_put_boolean(struct clip_record *record, const char *name, int value,
                            struct clip_error *error);
int clip_record_put_tensor(struct clip_record *record, const char *name, const struct clip_tensor *tensor,
                           struct clip_error *error);
/* Writes what precedes a tensor's elements in a stream to out[CLIP_TENSOR_HEAD]; returns its size. */
#define CLIP_TENSOR_HEAD 256
size_t clip_tensor_head(const struct clip_tensor *tensor, char *out);
/* Sets a field to what clip_tensor_head has written and elements of `size` bytes, which are for the caller to
 * write: returns where, aligned to 16 bytes; NULL with error. */
void *clip_record_put_head(struct clip_record *record, const char *name, const char *head, size_t head_size,
                           size_t size, struct clip_error *error);

/* An array of strings, each terminated. */
int clip_record_put_strings(struct clip_record *record, const char *name, const char *const *strings,
                            size_t n, struct clip_error *error);
/* The raw msgpack object value[size] (a field of another record). */
int clip_record_put_object(struct clip_record *record, const char *name, const uint8_t *value, size_t size,
                           struct clip_error *error);

#endif
