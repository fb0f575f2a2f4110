/* The reader of shards on any bytes, compressed or not: every sample it gives must be a record that can be
 * written and read, and what clip-tar's writer takes of it must come back as it was. */
#include "shard/sample.h"
#include "shard/shards.h"
#include "shard/tar.h"
#include "shard/tarball.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct clip_sample_options options = {.max_member = 1 << 20, .max_record = 1 << 21};

static const struct clip_sample_options headers = {
    .max_member = 1 << 20, .max_record = 1 << 21, .headers_only = 1};

static struct clip_samples *open_with(const void *data, size_t size,
                                      const struct clip_sample_options *options)
{
    struct clip_error error;
    struct clip_source *source = clip_source_memory(data, size, &error);
    struct clip_samples *samples = source ? clip_samples_new(source, "fuzz", options, &error) : NULL;
    if (!samples)
        abort();
    return samples;
}

static struct clip_samples *open_samples(const void *data, size_t size)
{
    return open_with(data, size, &options);
}

/* Fields whose names begin with "_" stay behind. */
static void compare(const struct clip_record *a, const struct clip_record *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct clip_field *field = &a->fields[i], *other;
        char *name = strndup(field->name, field->name_size);
        if (!name)
            abort();
        if (name[0] != '_' && (!(other = clip_record_find(b, name)) || other->size != field->size ||
                               memcmp(other->value, field->value, field->size) != 0))
            abort();
        free(name);
    }
}

/* Writes the record as an archive of its own and reads it back. */
static void round_trip(struct clip_record *record)
{
    struct clip_error error;
    struct clip_record *again;
    char *bytes = NULL;
    size_t size;
    struct clip_tarball tarball = {.file = open_memstream(&bytes, &size)};
    if (!tarball.file || clip_tarball_add(&tarball, record, &error) != 0 ||
        clip_tarball_end(&tarball, &error) != 0 || fclose(tarball.file) != 0)
        abort();
    if (!record->bad) {
        struct clip_samples *samples = open_samples(bytes, size);
        int got = clip_samples_next(samples, &again, &error);
        if (got != 1)
            abort();
        compare(record, again);
        clip_record_free(again);
        if (clip_samples_next(samples, &again, &error) != 0)
            abort();
        clip_samples_free(samples);
    }
    clip_tarball_free(&tarball);
    free(bytes);
}

static void try_list(const uint8_t *data, size_t size)
{
    struct clip_shards shards = {0};
    struct clip_error error;
    char operand[32] = "";
    memcpy(operand, data, size < sizeof operand ? size : sizeof operand - 1);
    if (clip_shards_add(&shards, operand, &error) != 0 && shards.count > 0)
        abort();
    clip_shards_free(&shards);
}

static void try_archive(const uint8_t *data, size_t size)
{
    struct clip_error error = {""};
    struct clip_record *record;
    int got;
    struct clip_samples *samples = open_samples(data, size);
    while ((got = clip_samples_next(samples, &record, &error)) == 1) {
        if (!record->bad)
            round_trip(record);
        clip_record_free(record);
    }
    if (got < 0 && error.text[0] == '\0')
        abort(); /* an error without a message */
    clip_samples_free(samples);
}

/* Samples that come whole are those that an index finds; -1 where the archive is damaged, or only read in
 * order. */
static int64_t count_samples(const uint8_t *data, size_t size, const struct clip_sample_options *with)
{
    struct clip_error error;
    struct clip_record *record;
    int64_t count = 0;
    int got;
    struct clip_samples *samples = open_with(data, size, with);
    while ((got = clip_samples_next(samples, &record, &error)) == 1) {
        count += !record->bad;
        clip_record_free(record);
    }
    clip_samples_free(samples);
    return got < 0 ? -1 : count;
}

static void try_headers(const uint8_t *data, size_t size)
{
    int64_t count = count_samples(data, size, &headers);
    if (count >= 0 && count != count_samples(data, size, &options))
        abort();
}

/* A fuzzer hardly finds a header's checksum: gives every block that is not zero the right one. */
static void sign_blocks(uint8_t *data, size_t size)
{
    for (size_t at = 0; at + CLIP_TAR_BLOCK <= size; at += CLIP_TAR_BLOCK) {
        uint8_t *block = data + at;
        unsigned sum = 0, any = 0;
        for (int i = 0; i < CLIP_TAR_BLOCK; i++) {
            sum += i >= 148 && i < 156 ? ' ' : block[i];
            any |= block[i];
        }
        for (int i = 5; any && i >= 0; i--, sum >>= 3)
            block[148 + i] = (uint8_t)('0' + (sum & 7));
        if (any)
            block[154] = block[155] = '\0';
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    sign_blocks(copy, size);
    try_archive(data, size);
    try_archive(copy, size);
    try_headers(copy, size);
    free(copy);
    if (size < 32)
        try_list(data, size);
    return 0;
}
