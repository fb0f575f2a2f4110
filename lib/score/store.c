#include "score/store.h"
#include "base/json.h"
#include "model/forms.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- index.json --- */

static int read_count(struct json_object *object, const char *key, uint64_t most, uint64_t *value,
                      struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    *value = 0;
    if (!member)
        return 0;
    int64_t number = json_object_get_int64(member);
    if (!json_object_is_type(member, json_type_int) || number < 0 || (uint64_t)number > most)
        return clip_fail(error, "%s is not a whole number from 0 to %llu", key, (unsigned long long)most);
    *value = (uint64_t)number;
    return 0;
}

static int read_part(struct clip_store_manifest *manifest, struct json_object *object,
                     struct clip_error *error)
{
    struct clip_store_part *part = &manifest->parts[manifest->count++];
    uint64_t number, removed_number, lists_number;
    if (!json_object_is_type(object, json_type_object))
        return clip_fail(error, "a segment is not an object");
    if (read_count(object, "file", manifest->next, &number, error) != 0 ||
        read_count(object, "removed_file", manifest->next, &removed_number, error) != 0 ||
        read_count(object, "lists_file", manifest->next, &lists_number, error) != 0 ||
        read_count(object, "embeddings", INT64_MAX / 8, &part->count, error) != 0 ||
        read_count(object, "removed", part->count, &part->removed, error) != 0)
        return -1;
    part->number = (uint32_t)number;
    part->removed_number = (uint32_t)removed_number;
    part->lists_number = (uint32_t)lists_number;
    if (number == 0 || part->count == 0)
        return clip_fail(error, "a segment without a file, or without embeddings");
    return 0;
}

static int read_manifest(struct clip_store_manifest *manifest, struct json_object *object,
                         struct clip_error *error)
{
    const char *format = NULL, *dtype = "f32";
    int version = 0;
    uint64_t width, next, lists, centroids;
    struct json_object *parts = clip_json_get(object, "segments");
    if (clip_json_string(object, "index", "format", &format, error) != 0 ||
        clip_json_int(object, "index", "version", 0, INT_MAX, &version, error) != 0 ||
        clip_json_string(object, "index", "dtype", &dtype, error) != 0)
        return -1;
    if (!format || strcmp(format, "clip-index") != 0)
        return clip_fail(error, "not the file of an index");
    if (version != CLIP_STORE_VERSION)
        return clip_fail(error, "version %d, where this program reads version %d", version,
                         CLIP_STORE_VERSION);
    manifest->halves = strcmp(dtype, "f16") == 0;
    if (!manifest->halves && strcmp(dtype, "f32") != 0)
        return clip_fail(error, "dtype is neither f32 nor f16");
    if (read_count(object, "width", CLIP_STORE_WIDTH, &width, error) != 0 ||
        read_count(object, "next", UINT32_MAX - 1, &next, error) != 0 ||
        read_count(object, "lists", CLIP_STORE_MOST_LISTS, &lists, error) != 0 ||
        read_count(object, "centroids_file", next, &centroids, error) != 0)
        return -1;
    manifest->width = width;
    manifest->next = (uint32_t)next;
    manifest->lists = centroids ? (uint32_t)lists : 0;
    manifest->centroids_number = lists ? (uint32_t)centroids : 0;
    if (!json_object_is_type(parts, json_type_array) || json_object_array_length(parts) > CLIP_STORE_SEGMENTS)
        return clip_fail(error, "segments is not an array of at most %d", CLIP_STORE_SEGMENTS);
    for (size_t i = 0; i < json_object_array_length(parts); i++)
        if (read_part(manifest, json_object_array_get_idx(parts, i), error) != 0)
            return -1;
    return manifest->count > 0 && width == 0 ? clip_fail(error, "no width") : 0;
}

int clip_store_manifest_parse(struct clip_store_manifest *manifest, const char *text, size_t size,
                              struct clip_error *error)
{
    struct json_object *object = clip_json_parse(text, size, error);
    *manifest = (struct clip_store_manifest){0};
    if (!object)
        return -1;
    int status = read_manifest(manifest, object, error);
    json_object_put(object);
    return status;
}

/* --- a segment --- */

static const struct clip_weight *find_weight(const struct clip_weights *weights, const char *name)
{
    for (size_t i = 0; i < weights->count; i++)
        if (strcmp(weights->items[i].name, name) == 0)
            return &weights->items[i];
    return NULL;
}

const unsigned char *clip_store_tensor(const struct clip_weights *weights, const char *name,
                                       enum clip_weight_type type, size_t *n, size_t m,
                                       struct clip_error *error)
{
    const struct clip_weight *weight = find_weight(weights, name);
    if (!weight || weight->type != type || weight->ndim != (m ? 2 : 1) || (m && weight->shape[1] != m) ||
        (*n != SIZE_MAX && weight->shape[0] != *n)) {
        clip_fail(error, "tensor %s is missing, or not of the type and shape that it must have", name);
        return NULL;
    }
    *n = weight->shape[0];
    return weight->data;
}

static int read_tensors(struct clip_store_segment *segment, const struct clip_store_manifest *manifest,
                        const struct clip_weights *weights, struct clip_error *error)
{
    size_t n = SIZE_MAX, more;
    segment->keys_size = segment->labels_size = SIZE_MAX;
    segment->embeddings =
        clip_store_tensor(weights, "embeddings", manifest->halves ? CLIP_WEIGHT_F16 : CLIP_WEIGHT_F32, &n,
                          manifest->width, error);
    if (!segment->embeddings || (more = n + 1) == 0)
        return -1;
    segment->count = n;
    segment->key_offsets = clip_store_tensor(weights, "key_offsets", CLIP_WEIGHT_I64, &more, 0, error);
    if (!segment->key_offsets ||
        !(segment->label_offsets =
              clip_store_tensor(weights, "label_offsets", CLIP_WEIGHT_I64, &more, 0, error)) ||
        !(segment->sizes = clip_store_tensor(weights, "sizes", CLIP_WEIGHT_I64, &n, 0, error)) ||
        !(segment->times = clip_store_tensor(weights, "times", CLIP_WEIGHT_F64, &n, 0, error)) ||
        !(segment->keys = (const char *)clip_store_tensor(weights, "keys", CLIP_WEIGHT_U8,
                                                          &segment->keys_size, 0, error)) ||
        !(segment->labels = (const char *)clip_store_tensor(weights, "labels", CLIP_WEIGHT_U8,
                                                            &segment->labels_size, 0, error)))
        return -1;
    if ((uintptr_t)segment->embeddings % 4 != 0)
        return clip_fail(error, "the embeddings are not aligned");
    return 0;
}

int clip_store_segment_read(struct clip_store_segment *segment, const struct clip_store_manifest *manifest,
                            const unsigned char *data, size_t size, struct clip_error *error)
{
    struct clip_weights weights = {0};
    int status = clip_safetensors_read(&weights, data, size, error);
    if (status == 0)
        status = read_tensors(segment, manifest, &weights, error);
    clip_weights_free(&weights);
    return status;
}

static int64_t integer_at(const unsigned char *list, uint64_t i)
{
    int64_t value;
    memcpy(&value, list + i * sizeof value, sizeof value);
    return value;
}

/* The terminated text between offsets i and i + 1 of text[size]. NULL where they say something else. */
static const char *text_at(const unsigned char *offsets, uint64_t i, const char *text, size_t size)
{
    int64_t begin = integer_at(offsets, i), end = integer_at(offsets, i + 1);
    if (begin < 0 || end <= begin || (uint64_t)end > size || text[end - 1] != '\0')
        return NULL;
    return text + begin;
}

int clip_store_segment_entry(const struct clip_store_segment *segment, uint64_t i,
                             struct clip_store_entry *entry, struct clip_error *error)
{
    entry->key = text_at(segment->key_offsets, i, segment->keys, segment->keys_size);
    entry->label = text_at(segment->label_offsets, i, segment->labels, segment->labels_size);
    entry->size = integer_at(segment->sizes, i);
    memcpy(&entry->time, segment->times + i * sizeof entry->time, sizeof entry->time);
    if (!entry->key || !entry->label)
        return clip_fail(error, "the offsets of embedding %llu's key or label are damaged",
                         (unsigned long long)i);
    return 0;
}

/* --- an index --- */

char *clip_store_path(const char *path, uint32_t number, const char *ending, struct clip_error *error)
{
    char *file;
    if (asprintf(&file, "%s/%08u%s", path, number, ending) >= 0)
        return file;
    clip_fail_memory(error, "a file name");
    return NULL;
}

int clip_store_map(const char *path, uint32_t number, const char *ending, struct clip_mapping *mapping,
                   struct clip_error *error)
{
    char *file = clip_store_path(path, number, ending, error);
    int status = file ? clip_map_file(mapping, file, error) : -1;
    int code = errno;
    free(file);
    errno = code;
    return status;
}

static int read_removed(struct clip_store_open_part *part, struct clip_error *error)
{
    struct clip_weights weights = {0};
    size_t n = (part->segment.count + 7) / 8;
    int status = clip_safetensors_read(&weights, part->removed.data, part->removed.size, error);
    if (status == 0 && !(part->bits = clip_store_tensor(&weights, "removed", CLIP_WEIGHT_U8, &n, 0, error)))
        status = -1;
    clip_weights_free(&weights);
    return status;
}

static int open_part(struct clip_store *index, size_t i, struct clip_error *error)
{
    const struct clip_store_manifest *manifest = &index->manifest;
    const struct clip_store_part *said = &manifest->parts[i];
    struct clip_store_open_part *part = &index->parts[i];
    if (clip_store_map(index->path, said->number, CLIP_STORE_SEGMENT, &part->file, error) != 0 ||
        (said->removed_number &&
         clip_store_map(index->path, said->removed_number, CLIP_STORE_REMOVED, &part->removed, error) != 0))
        return -1;
    errno = 0; /* what is wrong from here on is in the files */
    if (clip_store_segment_read(&part->segment, manifest, part->file.data, part->file.size, error) != 0)
        return clip_fail_prefix(error, "%s/%08u%s", index->path, said->number, CLIP_STORE_SEGMENT);
    if (part->segment.count != said->count)
        return clip_fail(error, "%s/%08u%s: %llu embeddings, where %s says %llu", index->path, said->number,
                         CLIP_STORE_SEGMENT, (unsigned long long)part->segment.count, CLIP_STORE_FILE,
                         (unsigned long long)said->count);
    if (said->removed_number && read_removed(part, error) != 0)
        return clip_fail_prefix(error, "%s/%08u%s", index->path, said->removed_number, CLIP_STORE_REMOVED);
    part->first = i > 0 ? index->parts[i - 1].first + index->parts[i - 1].segment.count : 0;
    part->vectors = clip_vectors_map(manifest->width, part->segment.count, part->segment.embeddings,
                                     manifest->halves, part->bits, error);
    return part->vectors ? 0 : -1;
}

struct clip_store *clip_store_load(const char *path, const struct clip_store_manifest *manifest,
                                   struct clip_error *error)
{
    struct clip_store *index = calloc(1, sizeof *index);
    int status = index ? 0 : -1;
    if (index) {
        index->manifest = *manifest;
        index->path = strdup(path);
        index->parts = calloc(manifest->count + 1, sizeof *index->parts);
        status = index->path && index->parts ? 0 : -1;
    }
    if (status != 0)
        clip_fail_memory(error, "an index");
    for (size_t i = 0; i < manifest->count && status == 0; i++)
        status = open_part(index, i, error);
    if (status == 0)
        return index;
    int code = errno;
    clip_store_close(index);
    errno = code;
    return NULL;
}

static int read_index_file(struct clip_store_manifest *manifest, const char *path, struct clip_error *error)
{
    struct clip_mapping mapping;
    char *file;
    if (asprintf(&file, "%s/%s", path, CLIP_STORE_FILE) < 0)
        return clip_fail_memory(error, "a file name");
    int status = clip_map_file(&mapping, file, error), code = errno;
    if (status != 0 && (code == ENOENT || code == ENOTDIR))
        clip_fail(error, "%s: not an index: there is no %s", path, file);
    if (status == 0) {
        status = clip_store_manifest_parse(manifest, (const char *)mapping.data, mapping.size, error);
        if (status != 0)
            clip_fail_prefix(error, "%s", file);
        clip_unmap_file(&mapping);
    }
    free(file);
    return status;
}

/* A segment that is gone was replaced after index.json was read: it says then what took its place. */
struct clip_store *clip_store_open(const char *path, struct clip_error *error)
{
    struct clip_store_manifest *manifest = malloc(sizeof *manifest);
    struct clip_store *index = NULL;
    uint32_t seen = 0;
    if (!manifest)
        clip_fail_memory(error, "an index");
    while (manifest && read_index_file(manifest, path, error) == 0) {
        index = clip_store_load(path, manifest, error);
        if (index || errno != ENOENT || manifest->next == seen)
            break;
        seen = manifest->next;
    }
    free(manifest);
    return index;
}

void clip_store_close(struct clip_store *index)
{
    if (!index)
        return;
    for (size_t i = 0; index->parts && i < index->manifest.count; i++) {
        clip_vectors_free(index->parts[i].vectors);
        clip_unmap_file(&index->parts[i].file);
        clip_unmap_file(&index->parts[i].removed);
    }
    free(index->parts);
    free(index->path);
    free(index);
}

uint64_t clip_store_count(const struct clip_store *index)
{
    uint64_t count = 0;
    for (size_t i = 0; i < index->manifest.count; i++)
        count += index->manifest.parts[i].count - index->manifest.parts[i].removed;
    return count;
}

/* The part that has the embedding. */
static size_t part_of(const struct clip_store *index, uint64_t number)
{
    size_t i = 0;
    while (i + 1 < index->manifest.count && index->parts[i + 1].first <= number)
        i++;
    return i;
}

int clip_store_entry(const struct clip_store *index, uint64_t number, struct clip_store_entry *entry,
                     struct clip_error *error)
{
    size_t i = part_of(index, number);
    const struct clip_store_open_part *part = &index->parts[i];
    if (clip_store_segment_entry(&part->segment, number - part->first, entry, error) == 0)
        return 0;
    return clip_fail_prefix(error, "%s/%08u%s", index->path, index->manifest.parts[i].number,
                            CLIP_STORE_SEGMENT);
}

int clip_store_next(const struct clip_store *index, uint64_t *number, struct clip_store_entry *entry,
                    struct clip_error *error)
{
    for (size_t i = part_of(index, *number); i < index->manifest.count; i++) {
        const struct clip_store_open_part *part = &index->parts[i];
        while (*number - part->first < part->segment.count) {
            uint64_t here = (*number)++;
            if (!clip_store_removed(part, here - part->first))
                return clip_store_entry(index, here, entry, error) == 0 ? 1 : -1;
        }
    }
    return 0;
}
