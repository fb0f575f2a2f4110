#include "model/shards.h"
#include "base/json.h"
#include "model/place.h"
#include "model/shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 4096 };

/* --- the index --- */

/* {"weight_map": {...}}: an object of JSON, which the first byte and the text tell. NULL without error where
 * the file is something else. */
static struct json_object *read_index(const struct clip_mapping *file)
{
    struct clip_error ignored; /* the reader of forms says what the file is */
    size_t at = 0;
    char *text;
    while (at < file->size && memchr(" \t\r\n", file->data[at], 4))
        at++;
    if (at == file->size || file->data[at] != '{' || file->size > (64u << 20) ||
        !(text = strndup((const char *)file->data, file->size)))
        return NULL;
    struct json_object *json = clip_json_parse(text, strlen(text), &ignored);
    free(text);
    if (json_object_is_type(clip_json_get(json, "weight_map"), json_type_object))
        return json;
    json_object_put(json);
    return NULL;
}

/* A file of the index is below its folder. */
static int leaves_folder(const char *name)
{
    if (!*name || *name == '/')
        return 1;
    for (const char *part = name; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strncmp(part, "..", 2) == 0 && (!part[2] || part[2] == '/'))
            return 1;
    return 0;
}

/* The files that the index names, each once. */
struct files {
    const char *names[MAX_FILES];
    size_t count;
};

static long find_file(const struct files *files, const char *name)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->names[i], name) == 0)
            return (long)i;
    return -1;
}

static int list_files(struct files *files, struct json_object *map, struct clip_error *error)
{
    char text[120];
    json_object_object_foreach(map, tensor, value)
    {
        clip_printable(text, sizeof text, tensor, strlen(tensor));
        if (!json_object_is_type(value, json_type_string))
            return clip_fail(error, "weight_map: tensor %s has no file", text);
        const char *name = json_object_get_string(value);
        if (find_file(files, name) >= 0)
            continue;
        if (strlen(name) != (size_t)json_object_get_string_len(value) || leaves_folder(name))
            return clip_fail(error, "weight_map: '%s' is not a file of this folder",
                             clip_printable(text, sizeof text, name, strlen(name)));
        if (files->count == MAX_FILES)
            return clip_fail(error, "weight_map: more than %d files", MAX_FILES);
        files->names[files->count++] = name;
    }
    return files->count ? 0 : clip_fail(error, "weight_map: it is empty");
}

/* --- the files --- */

/* Moves the tensors of a file, each of which the index has in that file, after the others. */
static int take_weights(struct clip_shards *shards, struct clip_weights *weights, struct json_object *map,
                        const char *name, struct clip_error *error)
{
    char text[120];
    struct clip_weight *items =
        reallocarray(shards->weights.items, shards->weights.count + weights->count + 1, sizeof *items);
    if (!items)
        return clip_fail_memory(error, "the list of tensors");
    shards->weights.items = items;
    for (size_t i = 0; i < weights->count; i++) {
        struct json_object *file = clip_json_get(map, weights->items[i].name);
        if (file && strcmp(json_object_get_string(file), name) != 0)
            return clip_fail(
                error, "tensor %s is in two files: the index has it in %s",
                clip_printable(text, sizeof text, weights->items[i].name, strlen(weights->items[i].name)),
                json_object_get_string(file));
    }
    for (size_t i = 0; i < weights->count; i++) {
        weights->items[i].holder = weights->items[i].key = 0;
        items[shards->weights.count++] = weights->items[i];
    }
    shards->weights.room = shards->weights.count;
    weights->count = 0;
    return 0;
}

/* The tensors that the index has in this file must be there. */
static int check_there(const struct clip_weights *weights, struct json_object *map, const char *name,
                       struct clip_error *error)
{
    char text[120];
    json_object_object_foreach(
        map, tensor,
        value) if (strcmp(json_object_get_string(value), name) == 0 &&
                   !clip_weights_find(
                       weights,
                       tensor)) return clip_fail(error,
                                                 "tensor %s is missing from the file that the index names",
                                                 clip_printable(text, sizeof text, tensor, strlen(tensor)));
    return 0;
}

static int read_one(struct clip_shards *shards, const char *folder, const char *name, struct json_object *map,
                    struct clip_error *error)
{
    struct clip_weights weights = {0};
    enum clip_form form = CLIP_FORM_SAFETENSORS;
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return clip_fail_memory(error, "a file name");
    struct clip_mapping *file = &shards->files[shards->count];
    int result = clip_map_file(file, path, error);
    if (result == 0) {
        shards->count++;
        if (clip_form_read(&weights, &form, file->data, file->size, error) != 0 ||
            check_there(&weights, map, name, error) != 0 ||
            take_weights(shards, &weights, map, name, error) != 0)
            result = clip_fail_prefix(error, "%s", path);
    }
    if (shards->count == 1)
        shards->form = form;
    clip_weights_free(&weights);
    free(path);
    return result;
}

static int read_files(struct clip_shards *shards, const char *path, struct json_object *index,
                      struct clip_error *error)
{
    struct json_object *map = clip_json_get(index, "weight_map");
    struct files *files = calloc(1, sizeof *files);
    char *folder = clip_folder_of(path);
    int result =
        files && folder ? list_files(files, map, error) : clip_fail_memory(error, "the list of files");
    if (result != 0)
        clip_fail_prefix(error, "%s", path);
    if (result == 0 && !(shards->files = calloc(files->count, sizeof *shards->files)))
        result = clip_fail_memory(error, "the list of files");
    for (size_t i = 0; result == 0 && i < files->count; i++)
        result = read_one(shards, folder, files->names[i], map, error);
    if (result == 0 && clip_weights_sort(&shards->weights, error) != 0)
        result = clip_fail_prefix(error, "%s", path);
    free(files);
    free(folder);
    return result;
}

int clip_shards_open(struct clip_shards *shards, const char *path, struct clip_error *error)
{
    struct clip_mapping file;
    *shards = (struct clip_shards){0};
    if (clip_map_file(&file, path, error) != 0)
        return -1;
    struct json_object *index = read_index(&file);
    if (index) {
        clip_unmap_file(&file);
        int result = read_files(shards, path, index, error);
        json_object_put(index);
        return result;
    }
    shards->files = calloc(1, sizeof *shards->files);
    if (!shards->files) {
        clip_unmap_file(&file);
        return clip_fail_memory(error, "the list of files");
    }
    shards->files[shards->count++] = file;
    if (clip_form_read(&shards->weights, &shards->form, file.data, file.size, error) != 0)
        return clip_fail_prefix(error, "%s", path);
    return 0;
}

void clip_shards_close(struct clip_shards *shards)
{
    for (size_t i = 0; i < shards->count; i++)
        clip_unmap_file(&shards->files[i]);
    free(shards->files);
    clip_weights_free(&shards->weights);
    *shards = (struct clip_shards){0};
}
