#include "stream/rejects.h"
#include "base/array.h"
#include "base/file.h"
#include "stream/writer.h"

#include <stdlib.h>
#include <string.h>

struct clip_rejects {
    struct clip_output output;
    int open;
    struct clip_writer *writer;
};

struct clip_rejects *clip_rejects_new(const char *path, struct clip_error *error)
{
    struct clip_rejects *rejects = calloc(1, sizeof *rejects);
    if (!rejects) {
        clip_fail_memory(error, "a list of rejects");
        return NULL;
    }
    rejects->open = clip_output_open(&rejects->output, path, error) == 0;
    if (rejects->open)
        rejects->writer = clip_writer_new(fileno(rejects->output.file), rejects->output.path, error);
    if (rejects->writer)
        return rejects;
    clip_rejects_free(rejects);
    return NULL;
}

void clip_rejects_free(struct clip_rejects *rejects)
{
    if (!rejects)
        return;
    clip_writer_free(rejects->writer);
    if (rejects->open)
        clip_output_abandon(&rejects->output);
    free(rejects);
}

int clip_rejects_add(struct clip_rejects *rejects, const struct clip_record *record, struct clip_error *error)
{
    static const char *const kept[] = {"__key__", "__url__", "__size__", "__mtime__"};
    struct clip_record *reject = clip_record_new();
    int status = reject ? 0 : clip_fail_memory(error, "a record");
    for (size_t i = 0; i < CLIP_COUNT_OF(kept) && status == 0; i++) {
        const struct clip_field *field = clip_record_find(record, kept[i]);
        if (field)
            status = clip_record_put_object(reject, kept[i], field->value, field->size, error);
    }
    const char *why = record->error.text;
    if (status == 0)
        status = clip_record_put_string(reject, "error", why, strlen(why), error);
    if (status == 0)
        status = clip_writer_record(rejects->writer, reject, error);
    clip_record_free(reject);
    return status;
}

int clip_rejects_commit(struct clip_rejects *rejects, struct clip_error *error)
{
    if (clip_writer_count(rejects->writer) == 0)
        return 0;
    if (clip_writer_end(rejects->writer, error) != 0)
        return -1;
    rejects->open = 0;
    return clip_output_commit(&rejects->output, error);
}
