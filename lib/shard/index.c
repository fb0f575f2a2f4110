#include "shard/index.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { OPEN_SHARDS = 64 };

int clip_index_add(struct clip_index *index, uint32_t shard, uint64_t offset, struct clip_error *error)
{
    if (index->count == UINT32_MAX)
        return clip_fail(error, "more than %u samples", UINT32_MAX);
    if (index->count == index->room) {
        size_t room = index->room ? index->room + index->room / 2 : 1024;
        struct clip_index_entry *entries = reallocarray(index->entries, room, sizeof *entries);
        if (!entries)
            return clip_fail_memory(error, "an index of samples");
        index->entries = entries;
        index->room = room;
    }
    index->entries[index->count] = (struct clip_index_entry){offset, shard, (uint32_t)index->count};
    index->count++;
    return 0;
}

struct clip_member_table *clip_index_table(struct clip_index *index, uint32_t shard, struct clip_error *error)
{
    if (shard >= index->table_count) {
        size_t count = (size_t)shard + 1 + shard / 2;
        struct clip_member_table *tables = reallocarray(index->tables, count, sizeof *tables);
        if (!tables) {
            clip_fail_memory(error, "an index of samples");
            return NULL;
        }
        memset(tables + index->table_count, 0, (count - index->table_count) * sizeof *tables);
        index->tables = tables;
        index->table_count = count;
    }
    return &index->tables[shard];
}

void clip_index_free(struct clip_index *index)
{
    free(index->entries);
    for (size_t i = 0; i < index->table_count; i++)
        clip_member_table_free(&index->tables[i]);
    free(index->tables);
    *index = (struct clip_index){0};
}

void clip_index_shuffle(struct clip_index *index, uint64_t seed, uint32_t epoch)
{
    struct clip_index_entry *entries = index->entries;
    struct clip_random random;
    clip_random_begin(&random, seed, clip_fnv1a("shuffle", 7), epoch);
    for (size_t i = 0; i < index->count; i++)
        entries[i].turn = (uint32_t)i;
    for (size_t i = index->count; i > 1; i--) {
        size_t other = (size_t)clip_random_below(&random, i);
        uint32_t turn = entries[i - 1].turn;
        entries[i - 1].turn = entries[other].turn;
        entries[other].turn = turn;
    }
}

/* --- reading --- */

struct clip_samples *clip_index_open(const char *name, const struct clip_sample_options *options,
                                     struct clip_member_table *table, struct clip_error *error)
{
    struct clip_source *source = clip_source_open_file(name, error);
    struct clip_samples *samples = source ? clip_samples_new(source, name, options, error) : NULL;
    if (samples)
        clip_samples_share(samples, table);
    return samples;
}

struct clip_index_reader {
    const struct clip_index *index;
    char *const *names;
    const struct clip_sample_options *options;
    struct {
        uint32_t shard;
        struct clip_samples *samples; /* or NULL */
    } open[OPEN_SHARDS];              /* at shard % OPEN_SHARDS */
};

struct clip_index_reader *clip_index_reader_new(const struct clip_index *index, char *const *names,
                                                const struct clip_sample_options *options,
                                                struct clip_error *error)
{
    struct clip_index_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        clip_fail_memory(error, "shards");
        return NULL;
    }
    reader->index = index;
    reader->names = names;
    reader->options = options;
    return reader;
}

void clip_index_reader_free(struct clip_index_reader *reader)
{
    if (!reader)
        return;
    for (int i = 0; i < OPEN_SHARDS; i++)
        clip_samples_free(reader->open[i].samples);
    free(reader);
}

static struct clip_samples *open_shard(struct clip_index_reader *reader, uint32_t shard,
                                       struct clip_error *error)
{
    uint32_t place = shard % OPEN_SHARDS;
    if (reader->open[place].samples && reader->open[place].shard == shard)
        return reader->open[place].samples;
    clip_samples_free(reader->open[place].samples);
    reader->open[place].shard = shard;
    reader->open[place].samples =
        clip_index_open(reader->names[shard], reader->options, &reader->index->tables[shard], error);
    return reader->open[place].samples;
}

int clip_index_read(struct clip_index_reader *reader, size_t i, struct clip_record **record,
                    struct clip_error *error)
{
    const struct clip_index_entry *entries = reader->index->entries, *entry = &entries[entries[i].turn];
    struct clip_samples *samples = open_shard(reader, entry->shard, error);
    if (!samples)
        return -1;
    clip_samples_seek(samples, entry->offset);
    int got = clip_samples_next(samples, record, error);
    if (got == 0)
        clip_fail(error, "%s: it changed since it was indexed", reader->names[entry->shard]);
    return got == 1 ? 0 : -1;
}
