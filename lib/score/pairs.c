#include "score/pairs.h"
#include "score/embedding.h"
#include "stream/vector.h"

#include <stdlib.h>
#include <string.h>

void clip_pairs_clear(struct clip_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++)
        clip_record_free(pairs->keys[i]);
    for (size_t i = 0; i < pairs->value_count; i++)
        free(pairs->values[i].bytes);
    clip_slots_free(&pairs->table);
    pairs->n = pairs->value_count = 0;
}

void clip_pairs_free(struct clip_pairs *pairs)
{
    clip_pairs_clear(pairs);
    free(pairs->keys);
    free(pairs->group);
    free(pairs->values);
    for (int side = 0; side < 2; side++) {
        free(pairs->embeddings[side]);
        free(pairs->gradients[side]);
    }
}

/* --- taking records --- */

/* Resizes an array in place; -1 leaves it as it was. */
static int resize(void *array, size_t room, size_t size)
{
    void *old, *new;
    memcpy(&old, array, sizeof old);
    if (!(new = reallocarray(old, room, size)))
        return -1;
    memcpy(array, &new, sizeof new);
    return 0;
}

static int grow_batch(struct clip_pairs *pairs, struct clip_error *error)
{
    size_t room = pairs->room ? 2 * pairs->room : 64, row = pairs->width * sizeof(float);
    int by = pairs->by != NULL;
    if (resize(&pairs->keys, room, sizeof *pairs->keys) != 0 ||
        resize(&pairs->embeddings[0], room, row) != 0 || resize(&pairs->embeddings[1], room, row) != 0 ||
        (by && resize(&pairs->group, room, sizeof *pairs->group) != 0) ||
        (by && resize(&pairs->values, room, sizeof *pairs->values) != 0))
        return clip_fail_memory(error, "a batch");
    pairs->room = room;
    return 0;
}

static uint64_t hash_value(const void *context, uint32_t number)
{
    const struct clip_pairs *pairs = context;
    return clip_hash((const char *)pairs->values[number].bytes, pairs->values[number].size);
}

/* The group that a value, a msgpack object, stands for: one that is there, or a new one. */
static int find_group(struct clip_pairs *pairs, const uint8_t *value_bytes, size_t size, uint32_t *group,
                      struct clip_error *error)
{
    if (clip_slots_grow(&pairs->table, hash_value, pairs, error) != 0)
        return -1;
    size_t slot = clip_hash((const char *)value_bytes, size) & (pairs->table.room - 1);
    for (; pairs->table.slots[slot]; slot = clip_slots_next(&pairs->table, slot)) {
        const struct clip_pair_value *value = &pairs->values[pairs->table.slots[slot] - 1];
        if (value->size == size && memcmp(value->bytes, value_bytes, size) == 0) {
            *group = pairs->table.slots[slot] - 1;
            return 0;
        }
    }
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return clip_fail_memory(error, "a batch");
    memcpy(bytes, value_bytes, size);
    *group = (uint32_t)pairs->value_count++;
    pairs->values[*group] = (struct clip_pair_value){bytes, size};
    clip_slots_set(&pairs->table, slot, *group);
    return 0;
}

static struct clip_record *key_alone(const struct clip_record *record, struct clip_error *error)
{
    const struct clip_field *key = clip_record_find(record, "__key__");
    struct clip_record *alone = clip_record_new();
    if (!alone)
        clip_fail_memory(error, "a batch");
    if (alone && clip_record_put_object(alone, "__key__", key->value, key->size, error) == 0)
        return alone;
    clip_record_free(alone);
    return NULL;
}

int clip_pairs_take(struct clip_pairs *pairs, struct clip_record *record, struct clip_error *error)
{
    char name[400];
    const void *data[2];
    const struct clip_field *by = pairs->by ? clip_record_find(record, pairs->by) : NULL;
    for (int side = 0; side < 2 && !record->bad; side++)
        clip_record_vector(record, clip_embedding_fields[side], &pairs->width, &data[side]);
    if (!record->bad && pairs->by && !by)
        clip_record_fail(record, "no field '%s'", pairs->by);
    if (record->bad)
        return clip_fail(error, "%s: %s", clip_record_name(record, name, sizeof name), record->error.text);
    if (pairs->n == pairs->room && grow_batch(pairs, error) != 0)
        return -1;
    for (int side = 0; side < 2; side++)
        memcpy(pairs->embeddings[side] + pairs->n * pairs->width, data[side], pairs->width * sizeof(float));
    if (by && find_group(pairs, by->value, by->size, &pairs->group[pairs->n], error) != 0)
        return -1;
    if (!(pairs->keys[pairs->n] = key_alone(record, error)))
        return -1;
    pairs->n++;
    return 0;
}

/* --- values of several ranks --- */

size_t clip_pairs_pack_values(const struct clip_pairs *pairs, char *out)
{
    size_t bytes = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        const struct clip_pair_value *value = &pairs->values[pairs->group[i]];
        if (out) {
            memcpy(out + bytes, &value->size, sizeof value->size);
            memcpy(out + bytes + sizeof value->size, value->bytes, value->size);
        }
        bytes += sizeof value->size + value->size;
    }
    return bytes;
}

int clip_pairs_unpack_groups(const char *packed, size_t bytes, size_t n, uint32_t *group,
                             struct clip_error *error)
{
    struct clip_pairs all = {.values = calloc(n, sizeof *all.values)};
    int status = all.values ? 0 : clip_fail_memory(error, "a batch");
    for (size_t i = 0, at = 0; i < n && status == 0; i++) {
        size_t size = 0;
        if (bytes - at >= sizeof size)
            memcpy(&size, packed + at, sizeof size);
        if (bytes - at < sizeof size || bytes - at - sizeof size < size)
            status = clip_fail(error, "the ranks' values of positives are cut short");
        else
            status = find_group(&all, (const uint8_t *)packed + at + sizeof size, size, &group[i], error);
        at += sizeof size + size;
    }
    clip_pairs_free(&all);
    return status;
}

/* --- the loss --- */

int clip_pairs_loss(struct clip_pairs *pairs, const struct clip_contrast_batch *kind, int gradients,
                    struct clip_pool *pool, struct clip_contrast *contrast, struct clip_error *error)
{
    if (!kind->share && pairs->n < 2)
        return clip_fail(error, "a batch of %zu: nothing to contrast", pairs->n);
    for (int side = 0; gradients && side < 2; side++)
        if (resize(&pairs->gradients[side], pairs->n, pairs->width * sizeof(float)) != 0)
            return clip_fail_memory(error, "gradients");
    struct clip_contrast_batch batch = *kind;
    batch.width = pairs->width;
    if (!batch.share) {
        batch.n = pairs->n;
        batch.image = pairs->embeddings[0];
        batch.text = pairs->embeddings[1];
        batch.group = pairs->group;
    }
    batch.image_gradient = gradients ? pairs->gradients[0] : NULL;
    batch.text_gradient = gradients ? pairs->gradients[1] : NULL;
    return clip_contrastive_loss(&batch, pool, contrast, error);
}

int clip_pairs_write_gradients(struct clip_pairs *pairs, struct clip_writer *out, struct clip_error *error)
{
    for (size_t i = 0; i < pairs->n; i++) {
        for (int side = 0; side < 2; side++)
            if (clip_record_put_vector(pairs->keys[i], clip_embedding_fields[side],
                                       pairs->gradients[side] + i * pairs->width, pairs->width, error) != 0)
                return -1;
        if (clip_writer_record(out, pairs->keys[i], error) != 0)
            return -1;
        clip_record_free(pairs->keys[i]);
        pairs->keys[i] = NULL;
    }
    return 0;
}
