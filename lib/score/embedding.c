#include "score/embedding.h"
#include "math/unit.h"
#include "stream/vector.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const clip_embedding_fields[2] = {"image_embedding", "text_embedding"};

enum { MOST_WIDTH = 1 << 20 };

int clip_embedding_read(struct clip_record *record, const char *const fields[2], size_t *width, float **unit)
{
    struct clip_tensor tensor;
    struct clip_error error;
    const char *name = fields[1] && !clip_record_find(record, fields[0]) ? fields[1] : fields[0];
    if (!clip_record_find(record, name))
        return clip_record_fail(record, fields[1] ? "no field '%s' or '%s'" : "no field '%s'", fields[0],
                                fields[1]);
    if (clip_record_floats(record, name, &tensor) != 0)
        return -1;
    if (tensor.ndim != 1 || tensor.shape[0] < 1 || tensor.shape[0] > MOST_WIDTH)
        return clip_record_fail(record, "field '%s' is not a vector", name);
    if (*width && tensor.shape[0] != *width)
        return clip_record_fail(record, "field '%s' has width %zu, but the embeddings before it have %zu",
                                name, tensor.shape[0], *width);
    if (!*unit && !(*unit = calloc(tensor.shape[0], sizeof **unit)))
        return clip_record_fail(record, "out of memory for field '%s'", name);
    if (clip_unit_vector(tensor.shape[0], tensor.data, *unit, &error) != 0) {
        if (!*width) { /* the next may have another */
            free(*unit);
            *unit = NULL;
        }
        return clip_record_fail(record, "field '%s': %s", name, error.text);
    }
    *width = tensor.shape[0];
    return 0;
}

/* The field's text or bytes, without newlines at the end, and up to a zero byte. */
static void read_text(struct clip_record_text *text, const struct clip_field *field)
{
    text->data = NULL;
    text->size = 0;
    if (!field || clip_field_bytes(field, &text->data, &text->size) != 0)
        return;
    while (text->size > 0 && (text->data[text->size - 1] == '\n' || text->data[text->size - 1] == '\r'))
        text->size--;
    text->size = strnlen(text->data, text->size);
}

void clip_key_read(struct clip_record_text *key, const struct clip_record *record)
{
    key->data = clip_record_key(record, &key->size);
    if (key->data)
        key->size = strnlen(key->data, key->size);
}

void clip_label_read(struct clip_record_text *text, const struct clip_record *record, const char *label)
{
    int64_t number;
    int caption = strcmp(label, "caption") == 0;
    const struct clip_field *field = clip_record_find(record, caption ? "txt" : label);
    if (strcmp(label, "key") == 0)
        field = NULL;
    read_text(text, field);
    if (field && !caption && clip_field_integer(field, &number) == 0) {
        text->size = (size_t)snprintf(text->number, sizeof text->number, "%" PRId64, number);
        text->data = text->number;
    } else if (!text->data && !caption && strcmp(label, "key") != 0) {
        text->data = "";
    }
}

int clip_embedding_keep(struct clip_vectors *vectors, const float *unit, const struct clip_record *record,
                        const char *label, struct clip_error *error)
{
    struct clip_record_text key, text;
    clip_key_read(&key, record);
    clip_label_read(&text, record, label);
    return clip_vectors_add(vectors, unit, key.data, key.size, text.data, text.size, error);
}
