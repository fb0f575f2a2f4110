#include "score/store-records.h"
#include "base/file.h"
#include "score/embedding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void read_file_fields(const struct clip_record *record, struct clip_store_entry *entry)
{
    const struct clip_field *size = clip_record_find(record, "__size__"),
                            *time = clip_record_find(record, "__mtime__");
    if (!size || !time || clip_field_integer(size, &entry->size) != 0 ||
        clip_field_real(time, &entry->time) != 0) {
        entry->size = -1;
        entry->time = 0;
    }
}

int clip_store_put_record(struct clip_store_writer *writer, const float *unit, size_t width,
                          struct clip_record *record, const char *label, struct clip_error *error)
{
    struct clip_record_text key, text;
    struct clip_store_entry entry;
    clip_key_read(&key, record);
    clip_label_read(&text, record, label);
    char *key_text = strndup(key.data, key.size),
         *label_text = strndup(text.data ? text.data : "", text.size);
    int status = key_text && label_text ? 0 : clip_fail_memory(error, "keys");
    entry.key = key_text;
    entry.label = label_text;
    read_file_fields(record, &entry);
    if (status == 0)
        status = clip_store_put(writer, unit, width, &entry, error);
    free(key_text);
    free(label_text);
    return status > 0 ? clip_record_fail(record, "its key occurs twice") : status;
}

struct clip_record *clip_store_entry_record(const struct clip_store_entry *entry, struct clip_error *error)
{
    struct clip_record *record = clip_record_new();
    int status = record ? clip_record_put_string(record, "__key__", entry->key, strlen(entry->key), error)
                        : clip_fail_memory(error, "a record");
    if (status == 0 && *entry->label)
        status = clip_record_put_string(record, "label", entry->label, strlen(entry->label), error);
    if (status == 0 && entry->size >= 0)
        status = clip_record_put_integer(record, "__size__", entry->size, error);
    if (status == 0 && entry->size >= 0)
        status = clip_record_put_real(record, "__mtime__", entry->time, error);
    if (status == 0)
        return record;
    clip_record_free(record);
    return NULL;
}

/* Whether the file of that key is there, and with `changed`, as it was when it was added. */
static int is_current(const struct clip_store_entry *entry, int changed)
{
    struct stat about;
    if (lstat(entry->key, &about) != 0)
        return errno != ENOENT && errno != ENOTDIR;
    return !changed || (entry->size == about.st_size && entry->time == clip_file_time(&about));
}

int clip_store_remove_outdated(struct clip_store_writer *writer, int changed, struct clip_error *error)
{
    struct clip_store_entry entry;
    uint64_t number = 0;
    int got;
    while ((got = clip_store_next(clip_store_writer_index(writer), &number, &entry, error)) > 0)
        if (!is_current(&entry, changed) &&
            clip_store_remove(writer, entry.key, strlen(entry.key), error) != 0)
            return -1;
    return got;
}
