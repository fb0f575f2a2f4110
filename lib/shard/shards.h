/* Which shards to read: lists and braces in operands, and every n-th of them. */
#ifndef CLIP_SHARD_SHARDS_H
#define CLIP_SHARD_SHARDS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_MAX_SHARDS 1000000

/* Names of shards in the order they are read; zero it to begin. */
struct clip_shards {
    char **names;
    size_t count, room;
};

/* Adds the shards that the operand stands for. The name of an existing file means that file. Anything else
 * is a list with "::" between its parts, each with braces as Python's braceexpand 0.1.7 reads them: {a,b},
 * {0..9}, {000..123}, {a..f}, steps {0..9..3}, nested; a backslash makes the next character an ordinary
 * one. On error (unbalanced braces, an empty name, more than CLIP_MAX_SHARDS) nothing is added. */
int clip_shards_add(struct clip_shards *shards, const char *operand, struct clip_error *error);

/* Keeps every n-th shard, from the i-th on; 1 <= i <= n. */
void clip_shards_slice(struct clip_shards *shards, size_t i, size_t n);

void clip_shards_free(struct clip_shards *shards);

/* The size of a shard's file ("-": of standard input); 0 where it is not a file. The sum of all; 0 where one
 * of them is not a file, or the sum times UINT32_MAX overflows. */
uint64_t clip_shard_bytes(const char *name);
uint64_t clip_shards_bytes(const struct clip_shards *shards);

#endif
