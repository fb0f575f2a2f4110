/* The samples of many shards in any order: where each begins, and reading one from there.
 *
 * The shards must be uncompressed files. Each sample takes 16 bytes; in shards with hard links each member
 * takes 16 more. */
#ifndef CLIP_SHARD_INDEX_H
#define CLIP_SHARD_INDEX_H

#include "base/error.h"
#include "shard/sample.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with. */
struct clip_index {
    struct clip_index_entry {
        uint64_t offset; /* offset of sample i */
        uint32_t shard;
        uint32_t turn; /* number of the sample that comes i-th */
    } * entries;
    size_t count, room;
    struct clip_member_table *tables; /* [table_count]: of shards, for their links */
    size_t table_count;
};

/* The table of a shard, for clip_index_open, valid until the next call; NULL with error. */
struct clip_member_table *clip_index_table(struct clip_index *index, uint32_t shard,
                                           struct clip_error *error);

/* Adds a sample (clip_samples_offset); the samples come in this order at first. -1 with error: out of
 * memory, or 2^32 samples. */
int clip_index_add(struct clip_index *index, uint32_t shard, uint64_t offset, struct clip_error *error);
void clip_index_free(struct clip_index *index);

/* Shuffles the samples: the order depends only on their number, the seed and the epoch, and all orders are
 * equally likely (Fisher and Yates; Durstenfeld, CACM algorithm 235). */
void clip_index_shuffle(struct clip_index *index, uint64_t seed, uint32_t epoch);

/* --- reading --- */

/* Opens a shard for reading in any order; with options->headers_only, for indexing. `name`, the options
 * and the table must stay. NULL with error, which says what to do if the shard is compressed or not a
 * file. */
struct clip_samples *clip_index_open(const char *name, const struct clip_sample_options *options,
                                     struct clip_member_table *table, struct clip_error *error);

struct clip_index_reader;

/* A reader of the index's samples out of shards names[]; these, the index and the options must stay. NULL
 * with error. */
struct clip_index_reader *clip_index_reader_new(const struct clip_index *index, char *const *names,
                                                const struct clip_sample_options *options,
                                                struct clip_error *error);
void clip_index_reader_free(struct clip_index_reader *reader);

/* Reads the sample that comes i-th; the record is the caller's. -1 with error. */
int clip_index_read(struct clip_index_reader *reader, size_t i, struct clip_record **record,
                    struct clip_error *error);

#endif
