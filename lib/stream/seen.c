#include "stream/seen.h"
#include "base/array.h"

#include "stream/reader.h"

#include <stdlib.h>
#include <string.h>

static int compare_hashes(const void *a, const void *b)
{
    const struct clip_seen_file *x = a, *y = b;
    size_t size = x->key_size < y->key_size ? x->key_size : y->key_size;
    int order = memcmp(x->key, y->key, size);
    if (order == 0)
        order = (x->key_size > y->key_size) - (x->key_size < y->key_size);
    if (order == 0)
        order = (x->size > y->size) - (x->size < y->size);
    return order ? order : (x->time > y->time) - (x->time < y->time);
}

int clip_seen_add(struct clip_seen *seen, const char *key, size_t key_size, int64_t size, double time,
                  const char *why, size_t why_size, struct clip_error *error)
{
    if (CLIP_GROW(seen->files, seen->count, seen->room) != 0)
        return clip_fail_memory(error, "a list of files");
    struct clip_seen_file *file = &seen->files[seen->count];
    *file = (struct clip_seen_file){malloc(key_size + 1), key_size, size, time,
                                    why ? strndup(why, why_size) : NULL};
    if (!file->key || (why && !file->why)) {
        free(file->key);
        free(file->why);
        return clip_fail_memory(error, "a list of files");
    }
    memcpy(file->key, key, key_size);
    seen->count++;
    return 0;
}

static int add_record(struct clip_seen *seen, const struct clip_record *record, struct clip_error *error)
{
    const struct clip_field *size_field = clip_record_find(record, "__size__"),
                            *time_field = clip_record_find(record, "__mtime__"),
                            *why_field = clip_record_find(record, "error");
    const char *why = NULL;
    size_t key_size, why_size = 0;
    int64_t size;
    double time;
    const char *key = clip_record_key(record, &key_size);
    if (!key)
        return 0;
    if (!size_field || !time_field || clip_field_integer(size_field, &size) != 0 ||
        clip_field_real(time_field, &time) != 0) {
        seen->without++;
        return 0;
    }
    if (why_field && clip_field_bytes(why_field, &why, &why_size) != 0)
        why = NULL;
    return clip_seen_add(seen, key, key_size, size, time, why, why_size, error);
}

int clip_seen_read(struct clip_seen *seen, const char *path, size_t max_record, struct clip_error *error)
{
    struct clip_record *record;
    char *const paths[] = {(char *)path};
    int got, status = 0;
    struct clip_reader *reader = clip_reader_new(paths, 1, max_record, error);
    if (!reader)
        return -1;
    while (status == 0 && (got = clip_reader_next(reader, &record, error)) != 0) {
        status = got < 0 ? -1 : add_record(seen, record, error);
        if (got > 0)
            clip_record_free(record);
    }
    clip_reader_free(reader);
    return status;
}

void clip_seen_sort(struct clip_seen *seen)
{
    if (seen->count)
        qsort(seen->files, seen->count, sizeof *seen->files, compare_hashes);
}

void clip_seen_free(struct clip_seen *seen)
{
    for (size_t i = 0; i < seen->count; i++) {
        free(seen->files[i].key);
        free(seen->files[i].why);
    }
    free(seen->files);
    *seen = (struct clip_seen){0};
}

const struct clip_seen_file *clip_seen_find(const struct clip_seen *seen, const char *key, size_t key_size,
                                            int64_t size, double time)
{
    struct clip_seen_file wanted = {(char *)key, key_size, size, time, NULL};
    return seen->count ? bsearch(&wanted, seen->files, seen->count, sizeof wanted, compare_hashes) : NULL;
}
