#include "stream/record.h"
#include "base/array.h"
#include "stream/msgpack.h"

#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct clip_record *clip_record_new(void)
{
    return calloc(1, sizeof(struct clip_record));
}

static void clear_fields(struct clip_record *record)
{
    for (size_t i = 0; i < record->count; i++)
        free(record->fields[i].owned);
    if (!record->lent)
        free(record->bytes);
    record->bytes = NULL;
    record->count = 0;
    record->bad = 0;
}

void clip_record_free(struct clip_record *record)
{
    if (!record || record->lent)
        return;
    clear_fields(record);
    free(record->fields);
    free(record);
}

static struct clip_field *find_among(struct clip_field *fields, size_t count, const char *name, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (fields[i].name_size == size && (size == 0 || *fields[i].name == *name) &&
            memcmp(fields[i].name, name, size) == 0)
            return &fields[i];
    return NULL;
}

static struct clip_field *find_field(const struct clip_record *record, const char *name, size_t size)
{
    return find_among(record->fields, record->count, name, size);
}

const struct clip_field *clip_record_field(const struct clip_record *record, const char *name, size_t size)
{
    return find_field(record, name, size);
}

static struct clip_field *append_field(struct clip_record *record, struct clip_error *error)
{
    if (record->count == CLIP_MAX_FIELDS) {
        clip_fail(error, "a record of more than %d fields", CLIP_MAX_FIELDS);
        return NULL;
    }
    if (CLIP_GROW(record->fields, record->count, record->room) != 0) {
        clip_fail_memory(error, "a record");
        return NULL;
    }
    struct clip_field *field = &record->fields[record->count++];
    *field = (struct clip_field){0};
    return field;
}

/* Each object of the map begins where the previous one ends: names at even places, values at odd ones. A
 * name still begins with its head. */
static int set_fields(struct clip_record *record, const size_t *marks, size_t count, struct clip_error *error)
{
    for (size_t i = 0; i + 2 < count; i += 2) {
        if (CLIP_GROW(record->fields, record->count, record->room) != 0)
            return clip_fail_memory(error, "a record");
        record->fields[record->count++] = (struct clip_field){.name = (const char *)record->bytes + marks[i],
                                                              .value = record->bytes + marks[i + 1],
                                                              .size = marks[i + 2] - marks[i + 1]};
    }
    return 0;
}

static inline struct clip_head value_head(const struct clip_field *field)
{
    struct clip_head head = {0};
    clip_head_read(&head, field->value, field->size);
    return head;
}

static int read_names(struct clip_record *record, struct clip_error *error)
{
    for (size_t i = 0; i < record->count; i++) {
        struct clip_field *field = &record->fields[i];
        struct clip_head head;
        clip_head_read(&head, (const uint8_t *)field->name,
                       (size_t)(field->value - (const uint8_t *)field->name));
        if (head.kind != CLIP_STR)
            return clip_fail(error, "a map with a key that is not a string, %td bytes into it",
                             field->name - (const char *)record->bytes);
        const char *name = field->name + head.head;
        char shown[80];
        if (find_among(record->fields, i, name, head.length) != NULL)
            return clip_fail(error, "field '%s' occurs twice",
                             clip_printable(shown, sizeof shown, name, head.length));
        field->name = name;
        field->name_size = head.length;
    }
    const struct clip_field *key = clip_record_find(record, "__key__");
    if (key && value_head(key).kind != CLIP_STR)
        return clip_fail(error, "a __key__ that is not a string");
    return 0;
}

int clip_record_set_marked(struct clip_record *record, uint8_t *bytes, size_t size, const size_t *marks,
                           size_t count, struct clip_error *error)
{
    struct clip_head head;
    clear_fields(record);
    record->bytes = bytes;
    if (clip_head_read(&head, bytes, size) != 1 || head.kind != CLIP_MAP)
        clip_fail(error, "an object that is not a map");
    else if (set_fields(record, marks, count, error) == 0 && read_names(record, error) == 0)
        return 0;
    clear_fields(record);
    return -1;
}

int clip_record_set_fields(struct clip_record *record, const struct clip_field *fields, size_t count,
                           struct clip_error *error)
{
    clear_fields(record);
    for (size_t i = 0; i < count; i++) {
        if (CLIP_GROW(record->fields, record->count, record->room) != 0)
            return clip_fail_memory(error, "a record");
        record->fields[record->count++] = fields[i];
    }
    return 0;
}

int clip_record_set(struct clip_record *record, uint8_t *bytes, size_t size, struct clip_error *error)
{
    struct clip_head head;
    struct clip_skim skim = {0};
    struct clip_marks marks = {0};
    int whole = -1;
    if (clip_head_read(&head, bytes, size) == 1 && head.kind == CLIP_MAP && head.length > CLIP_MAX_FIELDS)
        clip_fail(error, "a map of %llu entries (at most %d)", (unsigned long long)head.length,
                  CLIP_MAX_FIELDS);
    else
        whole = clip_skim_run(&skim, bytes, size, size, &marks, error);
    if (whole == 0)
        clip_fail(error, "a map that is cut short");
    if (whole == 1) {
        whole = clip_record_set_marked(record, bytes, size, marks.offsets, marks.count, error);
    } else {
        clear_fields(record);
        free(bytes);
        whole = -1;
    }
    clip_marks_free(&marks);
    return whole;
}

const char *clip_record_key(const struct clip_record *record, size_t *size)
{
    const struct clip_field *field = clip_record_find(record, "__key__");
    const char *key;
    if (!field || clip_field_string(field, &key, size) != 0)
        return NULL;
    return key;
}

const char *clip_record_name(const struct clip_record *record, char *out, size_t size)
{
    const char *text, *key;
    size_t length;
    char source[160], name[160];
    const struct clip_field *url = clip_record_find(record, "__url__");
    if (url && clip_field_string(url, &text, &length) == 0 && (length != 1 || *text != '-'))
        clip_printable(source, sizeof source, text, length);
    else
        snprintf(source, sizeof source, "%s", record->source ? record->source : "standard input");
    key = clip_record_key(record, &length);
    if (key)
        snprintf(out, size, "%s: sample %s", source, clip_printable(name, sizeof name, key, length));
    else
        snprintf(out, size, "%s: control object", source);
    return out;
}

const char *clip_record_hint(const struct clip_record *record)
{
    size_t members = 0;
    for (size_t i = 0; i < record->count; i++)
        members += record->fields[i].name_size < 2 || memcmp(record->fields[i].name, "__", 2) != 0;
    return members == 1 && clip_record_find(record, "__url__")
               ? " (the members of a sample must be adjacent in a shard: tar --sort=name orders them)"
               : "";
}

int clip_record_fail(struct clip_record *record, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(record->error.text, sizeof record->error.text, format, args);
    va_end(args);
    record->bad = 1;
    return -1;
}

/* --- the contents of fields --- */

int clip_field_bytes(const struct clip_field *field, const char **data, size_t *size)
{
    struct clip_head head = value_head(field);
    if (head.kind != CLIP_STR && head.kind != CLIP_BIN)
        return -1;
    *data = (const char *)field->value + head.head;
    *size = head.length;
    return 0;
}

int clip_field_string(const struct clip_field *field, const char **data, size_t *size)
{
    return value_head(field).kind == CLIP_STR ? clip_field_bytes(field, data, size) : -1;
}

int clip_field_integer(const struct clip_field *field, int64_t *value)
{
    struct clip_head head = value_head(field);
    *value = head.integer;
    return head.kind == CLIP_INTEGER ? 0 : -1;
}

int clip_field_real(const struct clip_field *field, double *value)
{
    struct clip_head head = value_head(field);
    if (head.kind == CLIP_REAL)
        *value = head.real;
    else if (head.kind == CLIP_INTEGER)
        *value = (double)head.integer;
    else if (head.kind == CLIP_NATURAL)
        *value = (double)(uint64_t)head.integer;
    else
        return -1;
    return 0;
}

int clip_field_boolean(const struct clip_field *field, int *value)
{
    struct clip_head head = value_head(field);
    *value = head.integer != 0;
    return head.kind == CLIP_BOOLEAN ? 0 : -1;
}

/* A tensor's map begins with these bytes: five entries, the first {"nd": true}, keys of bin. */
static const uint8_t tensor_head[] = {0x85, 0xc4, 2, 'n', 'd', 0xc3};

int clip_field_is_tensor(const struct clip_field *field)
{
    return field->size > sizeof tensor_head && memcmp(field->value, tensor_head, sizeof tensor_head) == 0;
}

/* Skips the key `name` and returns the head of the value after it; NULL where something else stands there. */
static const uint8_t *find_value(const uint8_t *p, const uint8_t *end, const char *name,
                                 struct clip_head *head)
{
    if (!p || clip_head_read(head, p, (size_t)(end - p)) != 1 || head->kind != CLIP_BIN)
        return NULL;
    p += head->head;
    if (head->length != strlen(name) || memcmp(p, name, head->length) != 0)
        return NULL;
    p += head->length;
    return clip_head_read(head, p, (size_t)(end - p)) == 1 ? p + head->head : NULL;
}

static const uint8_t *read_shape(const uint8_t *p, const uint8_t *end, uint64_t ndim,
                                 struct clip_tensor *tensor, size_t *bytes)
{
    *bytes = clip_dtype_size(tensor->dtype);
    for (uint64_t i = 0; i < ndim; i++) {
        struct clip_head head;
        if (clip_head_read(&head, p, (size_t)(end - p)) != 1 || head.kind != CLIP_INTEGER || head.integer < 0)
            return NULL;
        tensor->shape[i] = (size_t)head.integer;
        p += head.head;
    }
    /* A zero dimension makes the product zero whatever the others claim, so the others are checked without
     * it. */
    size_t product = *bytes;
    for (uint64_t i = 0; i < ndim; i++) {
        if (tensor->shape[i] == 0)
            *bytes = 0;
        else if (__builtin_mul_overflow(product, tensor->shape[i], &product))
            return NULL;
    }
    if (*bytes)
        *bytes = product;
    return p;
}

int clip_field_tensor(const struct clip_field *field, struct clip_tensor *tensor, struct clip_error *error)
{
    const uint8_t *p = field->value, *end = p + field->size;
    struct clip_head head;
    size_t bytes;
    char shown[80];
    if (!clip_field_is_tensor(field))
        return clip_fail(error, "field '%s' is not a tensor",
                         clip_printable(shown, sizeof shown, field->name, field->name_size));
    p = find_value(p + sizeof tensor_head, end, "type", &head);
    if (!p || head.kind != CLIP_STR)
        goto malformed;
    if (clip_dtype_parse((const char *)p, head.length, &tensor->dtype) != 0)
        return clip_fail(error, "a tensor of type '%s', which is not supported",
                         clip_printable(shown, sizeof shown, (const char *)p, head.length));
    p = find_value(p + head.length, end, "kind", &head);
    if (!p || (head.kind != CLIP_BIN && head.kind != CLIP_STR) || head.length != 0)
        goto malformed;
    p = find_value(p, end, "shape", &head);
    if (!p || head.kind != CLIP_ARRAY || head.length > CLIP_MAX_DIMENSIONS)
        goto malformed;
    tensor->ndim = (int)head.length;
    p = read_shape(p, end, head.length, tensor, &bytes);
    p = find_value(p, end, "data", &head);
    if (!p || head.kind != CLIP_BIN || head.length != (size_t)(end - p))
        goto malformed;
    if (head.length != bytes) {
        char text[120];
        return clip_fail(error, "a tensor %s that holds %zu bytes",
                         clip_tensor_describe(tensor, text, sizeof text), (size_t)head.length);
    }
    tensor->data = p;
    return 0;
malformed:
    return clip_fail(error, "field '%s' is a malformed tensor",
                     clip_printable(shown, sizeof shown, field->name, field->name_size));
}

int clip_record_tensor(struct clip_record *record, const char *name, enum clip_dtype dtype,
                       struct clip_tensor *tensor)
{
    const struct clip_field *field = clip_record_find(record, name);
    struct clip_error error;
    char text[120];
    if (!field)
        return clip_record_fail(record, "no field '%s'", name);
    if (clip_field_tensor(field, tensor, &error) != 0)
        return clip_record_fail(record, "%s", error.text);
    if (tensor->dtype != dtype)
        return clip_record_fail(record, "field '%s' is %s, not %s", name,
                                clip_tensor_describe(tensor, text, sizeof text), clip_dtype_name(dtype) + 1);
    return 0;
}

/* --- changing --- */

int clip_record_epoch(struct clip_record *record, uint32_t *epoch)
{
    const struct clip_field *found = clip_record_find(record, "__epoch__");
    int64_t number = 1;
    if (found && (clip_field_integer(found, &number) != 0 || number < 0 || number > UINT32_MAX))
        return clip_record_fail(record, "field '__epoch__' is not a whole number from 0 to %u", UINT32_MAX);
    *epoch = (uint32_t)number;
    return 0;
}

void clip_record_drop(struct clip_record *record, const char *name)
{
    struct clip_field *field = find_field(record, name, strlen(name));
    if (!field)
        return;
    free(field->owned);
    size_t after = record->count - (size_t)(field - record->fields) - 1;
    memmove(field, field + 1, after * sizeof *field);
    record->count--;
}

#define BODY_ALIGNMENT 16 /* malloc's own */

/* Sets the field to the packed head and a body for the caller to fill, which is returned; what the field
 * owned before is the caller's to free. One allocation holds the name, the head and, aligned, the body. */
static char *put_room(struct clip_record *record, const char *name, const void *head, size_t head_size,
                      size_t body_size, void **before, struct clip_error *error)
{
    size_t name_size = strlen(name), front = name_size + head_size;
    size_t aligned = (front + BODY_ALIGNMENT - 1) / BODY_ALIGNMENT * BODY_ALIGNMENT;
    char *owned = malloc(aligned + body_size);
    if (!owned) {
        clip_fail_memory(error, name);
        return NULL;
    }
    struct clip_field *field = find_field(record, name, name_size);
    if (!field)
        field = append_field(record, error);
    if (!field) {
        free(owned);
        return NULL;
    }
    char *at = owned + aligned - front;
    memcpy(at, name, name_size);
    if (head_size)
        memcpy(at + name_size, head, head_size);
    *before = field->owned;
    *field = (struct clip_field){at, name_size, (uint8_t *)at + name_size, head_size + body_size, owned};
    return owned + aligned;
}

static int put_field(struct clip_record *record, const char *name, const void *head, size_t head_size,
                     const void *body, size_t body_size, struct clip_error *error)
{
    void *before;
    char *to = put_room(record, name, head, head_size, body_size, &before, error);
    if (!to)
        return -1;
    if (body_size)
        memcpy(to, body, body_size);
    free(before);
    return 0;
}

/* What msgpack-c packs in front of a value's body: a scalar, or the heads of a tensor. */
struct packed_head {
    char bytes[CLIP_TENSOR_HEAD];
    size_t size;
};

static int head_write(void *data, const char *bytes, size_t size)
{
    struct packed_head *head = data;
    if (size > sizeof head->bytes - head->size)
        return -1;
    memcpy(head->bytes + head->size, bytes, size);
    head->size += size;
    return 0;
}

/* Packs one value with msgpack-c and puts it; BODY follows the packed head unchanged. */
#define PUT(PACK, BODY, SIZE)                                                                                \
    struct packed_head head;                                                                                 \
    head.size = 0;                                                                                           \
    msgpack_packer packer;                                                                                   \
    msgpack_packer_init(&packer, &head, head_write);                                                         \
    return (PACK) == 0 ? put_field(record, name, head.bytes, head.size, BODY, SIZE, error)                   \
                       : clip_fail(error, "%s: too large to pack", name)

int clip_record_put_bytes(struct clip_record *record, const char *name, const void *data, size_t size,
                          struct clip_error *error)
{
    PUT(msgpack_pack_bin(&packer, size), data, size);
}

int clip_record_put_string(struct clip_record *record, const char *name, const char *data, size_t size,
                           struct clip_error *error)
{
    PUT(msgpack_pack_str(&packer, size), data, size);
}

int clip_record_put_integer(struct clip_record *record, const char *name, int64_t value,
                            struct clip_error *error)
{
    PUT(msgpack_pack_int64(&packer, value), NULL, 0);
}

int clip_record_put_real(struct clip_record *record, const char *name, double value, struct clip_error *error)
{
    PUT(msgpack_pack_double(&packer, value), NULL, 0);
}

int clip_record_put_boolean(struct clip_record *record, const char *name, int value, struct clip_error *error)
{
    PUT(value ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer), NULL, 0);
}

int clip_record_put_object(struct clip_record *record, const char *name, const uint8_t *value, size_t size,
                           struct clip_error *error)
{
    return put_field(record, name, NULL, 0, value, size, error);
}

static int pack_str_text(msgpack_packer *packer, const char *text)
{
    return msgpack_pack_str(packer, strlen(text)) || msgpack_pack_str_body(packer, text, strlen(text));
}

static int pack_strings(msgpack_packer *packer, const char *const *strings, size_t n)
{
    int failed = msgpack_pack_array(packer, n);
    for (size_t i = 0; i < n; i++)
        failed = failed || pack_str_text(packer, strings[i]);
    return failed;
}

int clip_record_put_strings(struct clip_record *record, const char *name, const char *const *strings,
                            size_t n, struct clip_error *error)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    int status = pack_strings(&packer, strings, n) == 0
                     ? put_field(record, name, buffer.data, buffer.size, NULL, 0, error)
                     : clip_fail_memory(error, name);
    msgpack_sbuffer_destroy(&buffer);
    return status;
}

/* The order and the types of msgpack-numpy's encode(). The beginning that all tensors share is packed
 * already: nd, type, kind and the key of shape. */
static int pack_tensor_head(msgpack_packer *packer, const struct clip_tensor *tensor)
{
    enum { TYPE = 13 }; /* where it is in `start` */
    char start[] = "\x85\xc4\x02nd\xc3\xc4\x04type\xa3...\xc4\x04kind\xc4\0\xc4\x05shape";
    memcpy(start + TYPE, clip_dtype_name(tensor->dtype), 3);
    int failed = msgpack_pack_bin_body(packer, start, sizeof start - 1) ||
                 msgpack_pack_array(packer, (size_t)tensor->ndim);
    for (int i = 0; i < tensor->ndim; i++)
        failed = failed || msgpack_pack_uint64(packer, tensor->shape[i]);
    return failed || msgpack_pack_bin(packer, 4) || msgpack_pack_bin_body(packer, "data", 4) ||
           msgpack_pack_bin(packer, clip_tensor_bytes(tensor));
}

size_t clip_tensor_head(const struct clip_tensor *tensor, char *out)
{
    struct packed_head head;
    msgpack_packer packer;
    head.size = 0;
    msgpack_packer_init(&packer, &head, head_write);
    pack_tensor_head(&packer, tensor); /* room for CLIP_MAX_DIMENSIONS numbers */
    memcpy(out, head.bytes, head.size);
    return head.size;
}

int clip_record_put_tensor(struct clip_record *record, const char *name, const struct clip_tensor *tensor,
                           struct clip_error *error)
{
    char head[CLIP_TENSOR_HEAD];
    size_t size = clip_tensor_head(tensor, head);
    return put_field(record, name, head, size, tensor->data, clip_tensor_bytes(tensor), error);
}

void *clip_record_put_head(struct clip_record *record, const char *name, const char *head, size_t head_size,
                           size_t size, struct clip_error *error)
{
    void *before, *data = put_room(record, name, head, head_size, size, &before, error);
    if (data)
        free(before);
    return data;
}
