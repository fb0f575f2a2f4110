/* Files of PyTorch: a pickle whose tensors are views of storages, which stand beside it in a zip (torch.save
 * since 1.6, TorchScript), or after it (torch.save before). */
#include "model/forms.h"
#include "model/names.h"
#include "model/pickle.h"
#include "model/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    MAX_DEPTH = 64,      /* of modules in modules */
    MAX_STEPS = 1 << 20, /* of a walk over them: shared ones are met again */
    MAX_NAME = 512
};

/* Where a storage's bytes are. */
struct place {
    const struct clip_pickle_storage *storage;
    const unsigned char *data; /* NULL until it is found */
};

struct reader {
    const struct clip_pickle *pickle;
    struct place *places; /* sorted by key, each key once */
    size_t count;
    struct clip_weights *weights;
    char name[MAX_NAME]; /* of what the walk is in, with its dot */
    size_t length;
    long steps;
    struct clip_error *error;
};

/* --- storages --- */

static int compare_keys(const void *a, const void *b)
{
    const struct clip_pickle_storage *x = ((const struct place *)a)->storage,
                                     *y = ((const struct place *)b)->storage;
    int order = memcmp(x->key, y->key, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int fail_storage(const struct clip_pickle_storage *storage, const char *what, struct clip_error *error)
{
    char text[100];
    return clip_fail(error, "storage %s %s", clip_printable(text, sizeof text, storage->key, storage->length),
                     what);
}

/* Lists the pickle's storages by key; one that is met again must be the same. */
static int list_places(struct reader *reader)
{
    const struct clip_pickle *pickle = reader->pickle;
    reader->places = calloc(pickle->storage_count + 1, sizeof *reader->places);
    if (!reader->places)
        return clip_fail_memory(reader->error, "the list of storages");
    for (size_t i = 0; i < pickle->storage_count; i++)
        reader->places[i].storage = &pickle->storages[i];
    qsort(reader->places, pickle->storage_count, sizeof *reader->places, compare_keys);
    for (size_t i = 0; i < pickle->storage_count; i++) {
        struct place *place = &reader->places[i], *last = &reader->places[reader->count];
        if (reader->count == 0 || compare_keys(place, last - 1) != 0) {
            *last = *place;
            reader->count++;
        } else if (place->storage->type != last[-1].storage->type ||
                   place->storage->bytes != last[-1].storage->bytes) {
            return fail_storage(place->storage, "occurs twice, with different sizes", reader->error);
        }
    }
    return 0;
}

static struct place *find_place(const struct reader *reader, const char *key, size_t length)
{
    struct clip_pickle_storage storage = {.key = key, .length = length};
    struct place wanted = {.storage = &storage};
    return reader->count ? bsearch(&wanted, reader->places, reader->count, sizeof wanted, compare_keys)
                         : NULL;
}

/* --- the tensors of the pickle --- */

static int add_tensor(struct reader *reader, const struct clip_pickle_value *container, const char *key,
                      size_t length, uint32_t value)
{
    const struct clip_pickle *pickle = reader->pickle;
    const struct clip_pickle_tensor *tensor = &pickle->tensors[pickle->values[value].integer];
    const struct clip_pickle_storage *storage = &pickle->storages[tensor->storage];
    const struct place *place = find_place(reader, storage->key, storage->length);
    size_t size = clip_weight_size(tensor->type);
    uint64_t begin;
    if (length > MAX_NAME - reader->length)
        return clip_fail(reader->error, "a tensor's name of %zu bytes", reader->length + length);
    memcpy(reader->name + reader->length, key, length);
    if (__builtin_mul_overflow(tensor->offset, size, &begin) || begin > storage->bytes)
        return fail_storage(storage, "is smaller than a tensor in it", reader->error);
    if (clip_weights_add(reader->weights, reader->name, reader->length + length, tensor->type, tensor->ndim,
                         tensor->shape, tensor->stride, place->data + begin, (size_t)(storage->bytes - begin),
                         reader->error) != 0)
        return -1;
    struct clip_weight *weight = &reader->weights->items[reader->weights->count - 1];
    weight->holder = (uint32_t)(container - pickle->values);
    weight->key = (uint32_t)reader->length;
    return 0;
}

static int walk(struct reader *reader, const struct clip_pickle_value *container, int depth);

/* What stands in a container under a key, of which the name's end is `key` already: a tensor, or what may
 * hold some. */
static int walk_item(struct reader *reader, const struct clip_pickle_value *container, const char *key,
                     size_t length, uint32_t value, int depth)
{
    const struct clip_pickle_value *item = &reader->pickle->values[value];
    int tensor = item->kind == CLIP_PICKLE_TENSOR;
    if (!tensor && item->kind != CLIP_PICKLE_MODULE && item->kind != CLIP_PICKLE_DICT &&
        item->kind != CLIP_PICKLE_OBJECT && item->kind != CLIP_PICKLE_LIST && item->kind != CLIP_PICKLE_TUPLE)
        return 0;
    if (tensor)
        return add_tensor(reader, container, key, length, value);
    size_t before = reader->length;
    if (length + 1 > MAX_NAME - before)
        return clip_fail(reader->error, "a name of %zu bytes", before + length);
    memcpy(reader->name + before, key, length);
    reader->name[before + length] = '.';
    reader->length += length + 1;
    int result = walk(reader, item, depth + 1);
    reader->length = before;
    return result;
}

/* Adds the tensors in a dict, module or list, and in those that it holds: the name of each is its keys, with
 * dots between them. */
static int walk(struct reader *reader, const struct clip_pickle_value *container, int depth)
{
    const struct clip_pickle *pickle = reader->pickle;
    const struct clip_pickle_cell *cells = pickle->cells;
    int list = container->kind == CLIP_PICKLE_LIST || container->kind == CLIP_PICKLE_TUPLE;
    long place = 0;
    if (depth > MAX_DEPTH)
        return clip_fail(reader->error, "modules nested deeper than %d", MAX_DEPTH);
    for (uint32_t cell = container->first; cell != CLIP_PICKLE_END;) {
        const struct clip_pickle_value *key = list ? NULL : &pickle->values[cells[cell].value];
        uint32_t at = list ? cell : cells[cell].next, value = cells[at].value;
        char number[24];
        int length = 0;
        cell = cells[at].next;
        if (++reader->steps > MAX_STEPS)
            return clip_fail(reader->error, "more modules than a model has");
        if (list || key->kind == CLIP_PICKLE_INTEGER)
            length =
                snprintf(number, sizeof number, "%lld", list ? (long long)place++ : (long long)key->integer);
        else if (key->kind != CLIP_PICKLE_STRING)
            continue;
        if (walk_item(reader, container, length ? number : key->text, length ? (size_t)length : key->length,
                      value, depth) != 0)
            return -1;
    }
    return 0;
}

/* The first object that is a torch.nn.Module, or, with any set, that there is; NULL. */
static const struct clip_pickle_value *find_object(const struct clip_pickle *pickle, int any)
{
    for (size_t i = 0; i < pickle->value_count; i++) {
        const struct clip_pickle_value *value = &pickle->values[i];
        if (value->kind == CLIP_PICKLE_OBJECT && value->text && (any || value->global))
            return value;
    }
    return NULL;
}

/* Where no weights of CLIP were found. */
static int fail_objects(const struct reader *reader)
{
    const struct clip_pickle *pickle = reader->pickle;
    const struct clip_pickle_value *root = &pickle->values[pickle->root];
    const struct clip_pickle_value *object = root->kind == CLIP_PICKLE_OBJECT ? root : find_object(pickle, 0);
    char name[300];
    if (!object && reader->weights->count == 0 && pickle->tensor_count > 0)
        object = find_object(pickle, 1);
    if (object)
        return clip_fail(reader->error,
                         "it holds a whole object of %s, as torch.save(model) writes it, which is code: "
                         "save the model's state_dict() instead",
                         clip_pickle_maker(object, name, sizeof name));
    if (pickle->tensor_count == 0)
        return clip_fail(reader->error, "the pickle holds no tensors");
    return 0;
}

static int read_tensors(struct reader *reader)
{
    const struct clip_pickle_value *root = &reader->pickle->values[reader->pickle->root];
    if (root->kind == CLIP_PICKLE_TENSOR)
        return clip_fail(reader->error, "the pickle is one tensor without a name, not a state dict");
    if (root->kind != CLIP_PICKLE_DICT && root->kind != CLIP_PICKLE_MODULE &&
        root->kind != CLIP_PICKLE_OBJECT && root->kind != CLIP_PICKLE_LIST && root->kind != CLIP_PICKLE_TUPLE)
        return clip_fail(reader->error, "the pickle is neither a state dict nor a module");
    if (walk(reader, root, 0) != 0)
        return -1;
    return clip_names_count(reader->weights) > 0 ? 0 : fail_objects(reader);
}

/* --- the zip --- */

/* NAME/data.pkl, of which there is one. */
static const struct clip_zip_entry *find_pickle(const struct clip_zip *zip, size_t *prefix,
                                                struct clip_error *error)
{
    static const char name[] = "/data.pkl";
    const struct clip_zip_entry *found = NULL;
    for (size_t i = 0; i < zip->count; i++) {
        const struct clip_zip_entry *entry = &zip->entries[i];
        const char *slash = memchr(entry->name, '/', entry->length);
        size_t before = slash ? (size_t)(slash - entry->name) : 0;
        if (!slash || entry->length - before != strlen(name) || memcmp(slash, name, strlen(name)) != 0)
            continue;
        if (found) {
            clip_fail(error, "a zip with two files data.pkl");
            return NULL;
        }
        found = entry;
        *prefix = before + 1;
    }
    if (!found)
        clip_fail(error, "a zip, but not PyTorch's: it has no data.pkl");
    return found;
}

static int check_pickle(const struct clip_zip_entry *entry, struct clip_error *error)
{
    if (entry->method != 0)
        return clip_fail(error, "data.pkl is compressed, which PyTorch never does");
    if (crc32_z(0, entry->data, entry->stored) != entry->crc)
        return clip_fail(error, "data.pkl is damaged: its checksum differs");
    return 0;
}

/* The entry PREFIX + between + name, or NULL. */
static const struct clip_zip_entry *find_entry(const struct clip_zip *zip, const char *prefix,
                                               size_t prefix_length, const char *between, const char *name,
                                               size_t length)
{
    char path[600];
    size_t middle = strlen(between);
    if (prefix_length + middle + length > sizeof path)
        return NULL;
    memcpy(path, prefix, prefix_length);
    memcpy(path + prefix_length, between, middle);
    memcpy(path + prefix_length + middle, name, length);
    return clip_zip_find(zip, path, prefix_length + middle + length);
}

/* Each storage is the entry PREFIX/data/KEY, of just its size. */
static int place_in_zip(struct reader *reader, const struct clip_zip *zip, const char *prefix, size_t length)
{
    const struct clip_zip_entry *order = find_entry(zip, prefix, length, "", "byteorder", 9);
    if (order && (order->stored != 6 || memcmp(order->data, "little", 6) != 0))
        return clip_fail(reader->error, "its numbers are not little-endian");
    for (size_t i = 0; i < reader->count; i++) {
        struct place *place = &reader->places[i];
        const struct clip_pickle_storage *storage = place->storage;
        const struct clip_zip_entry *entry =
            find_entry(zip, prefix, length, "data/", storage->key, storage->length);
        if (!entry)
            return fail_storage(storage, "is not in the zip", reader->error);
        if (entry->method != 0)
            return fail_storage(storage, "is compressed, which PyTorch never does", reader->error);
        if (entry->stored != storage->bytes)
            return fail_storage(storage, "has another size in the zip than in the pickle", reader->error);
        place->data = entry->data;
    }
    return 0;
}

static int read_zip(struct reader *reader, struct clip_zip *zip, struct clip_pickle *pickle,
                    const unsigned char *data, size_t size)
{
    size_t prefix = 0;
    if (clip_zip_read(zip, data, size, reader->error) != 0)
        return -1;
    const struct clip_zip_entry *entry = find_pickle(zip, &prefix, reader->error);
    if (!entry || check_pickle(entry, reader->error) != 0 ||
        clip_pickle_read(pickle, entry->data, entry->stored, reader->error) != 0)
        return -1;
    if (pickle->used != entry->stored)
        return clip_fail(reader->error, "something after the end of the pickle");
    if (list_places(reader) != 0 || place_in_zip(reader, zip, entry->name, prefix) != 0)
        return -1;
    return read_tensors(reader);
}

int clip_torch_zip_read(struct clip_weights *weights, enum clip_form *form, const unsigned char *data,
                        size_t size, struct clip_error *error)
{
    struct clip_pickle pickle = {0};
    struct clip_zip zip = {0};
    struct reader reader = {.pickle = &pickle, .weights = weights, .error = error};
    int result = read_zip(&reader, &zip, &pickle, data, size);
    if (result == 0)
        *form = pickle.values[pickle.root].kind == CLIP_PICKLE_MODULE ? CLIP_FORM_TORCHSCRIPT
                                                                      : CLIP_FORM_TORCH_ZIP;
    free(reader.places);
    clip_pickle_free(&pickle);
    clip_zip_free(&zip);
    return result;
}

/* --- before 1.6 --- */

/* A pickle of torch.save's magic number, 0x1950a86a20f9469cfc6c: more bits than any number that the reader
 * takes. */
static const unsigned char magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                      0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

int clip_torch_is_legacy(const unsigned char *data, size_t size)
{
    return size >= sizeof magic && memcmp(data, magic, sizeof magic) == 0;
}

/* Reads the pickle at *at and goes on after it. */
static int next_pickle(struct clip_pickle *pickle, const unsigned char *data, size_t size, size_t *at,
                       struct clip_error *error)
{
    if (clip_pickle_read(pickle, data + *at, size - *at, error) != 0)
        return -1;
    *at += pickle->used;
    return 0;
}

/* The protocol's number is 1001; the system's description says little_endian. */
static int check_system(const unsigned char *data, size_t size, size_t *at, struct clip_error *error)
{
    struct clip_pickle pickle;
    int result = next_pickle(&pickle, data, size, at, error);
    if (result == 0) {
        const struct clip_pickle_value *root = &pickle.values[pickle.root];
        if (root->kind != CLIP_PICKLE_INTEGER || root->integer != 1001)
            result = clip_fail(error, "a protocol of torch.save that is not 1001");
    }
    clip_pickle_free(&pickle);
    if (result != 0)
        return -1;
    result = next_pickle(&pickle, data, size, at, error);
    if (result == 0) {
        const struct clip_pickle_value *root = &pickle.values[pickle.root];
        const struct clip_pickle_cell *cells = pickle.cells;
        uint32_t cell = root->kind == CLIP_PICKLE_DICT ? root->first : CLIP_PICKLE_END;
        for (; cell != CLIP_PICKLE_END; cell = cells[cells[cell].next].next) {
            const struct clip_pickle_value *value = &pickle.values[cells[cells[cell].next].value];
            if (clip_pickle_is(&pickle.values[cells[cell].value], "little_endian") && !value->integer)
                result = clip_fail(error, "its numbers are not little-endian");
        }
    }
    clip_pickle_free(&pickle);
    return result;
}

/* The storages stand after the list of their keys, in its order: a count of elements, then these. */
static int place_after(struct reader *reader, const struct clip_pickle *keys, const unsigned char *data,
                       size_t size, size_t at)
{
    const struct clip_pickle_value *list = &keys->values[keys->root];
    if (list->kind != CLIP_PICKLE_LIST)
        return clip_fail(reader->error, "the list of storages is missing");
    for (uint32_t cell = list->first; cell != CLIP_PICKLE_END; cell = keys->cells[cell].next) {
        const struct clip_pickle_value *key = &keys->values[keys->cells[cell].value];
        struct place *place =
            key->kind == CLIP_PICKLE_STRING ? find_place(reader, key->text, key->length) : NULL;
        uint64_t count;
        if (!place || place->data)
            return clip_fail(reader->error, "the list of storages does not match the pickle");
        const struct clip_pickle_storage *storage = place->storage;
        if (size - at < sizeof count || storage->bytes > size - at - sizeof count)
            return fail_storage(storage, "is cut", reader->error);
        memcpy(&count, data + at, sizeof count);
        size_t element = storage->type == CLIP_WEIGHT_TYPES ? 1 : clip_weight_size(storage->type);
        if (count != storage->bytes / element)
            return fail_storage(storage, "has another size than in the pickle", reader->error);
        place->data = data + at + sizeof count;
        at += sizeof count + (size_t)storage->bytes;
    }
    for (size_t i = 0; i < reader->count; i++)
        if (!reader->places[i].data)
            return fail_storage(reader->places[i].storage, "is missing", reader->error);
    return at == size ? 0 : clip_fail(reader->error, "%zu bytes after the last storage", size - at);
}

static int read_legacy(struct reader *reader, struct clip_pickle *pickle, struct clip_pickle *keys,
                       const unsigned char *data, size_t size)
{
    size_t at = sizeof magic;
    if (check_system(data, size, &at, reader->error) != 0 ||
        next_pickle(pickle, data, size, &at, reader->error) != 0 ||
        next_pickle(keys, data, size, &at, reader->error) != 0 || list_places(reader) != 0 ||
        place_after(reader, keys, data, size, at) != 0)
        return -1;
    return read_tensors(reader);
}

int clip_torch_legacy_read(struct clip_weights *weights, const unsigned char *data, size_t size,
                           struct clip_error *error)
{
    struct clip_pickle pickle = {0}, keys = {0};
    struct reader reader = {.pickle = &pickle, .weights = weights, .error = error};
    int result = read_legacy(&reader, &pickle, &keys, data, size);
    free(reader.places);
    clip_pickle_free(&pickle);
    clip_pickle_free(&keys);
    return result;
}
