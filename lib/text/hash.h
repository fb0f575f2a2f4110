/* Hashing, and hash tables of numbers. */
#ifndef CLIP_TEXT_HASH_H
#define CLIP_TEXT_HASH_H

#include "base/error.h"
#include "base/random.h"

#include <stddef.h>
#include <stdint.h>

/* FNV-1a of bytes[n], its high half folded into the low one for tables of 2^k slots. */
static inline uint64_t clip_hash(const char *bytes, size_t n)
{
    uint64_t hash = clip_fnv1a(bytes, n);
    return hash ^ hash >> 32;
}

static inline uint64_t clip_hash_pair(int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

/* A hash table of numbers below 2^32 - 1; the user knows what they stand for. A slot holds number + 1, or
 * 0. Zeroed, it is empty. Search from slot hash & (room - 1), with clip_slots_next, to the first empty
 * one. */
struct clip_slots {
    uint32_t *slots;
    size_t room, used; /* room is a power of two, or 0 */
};

static inline size_t clip_slots_next(const struct clip_slots *table, size_t slot)
{
    return (slot + 1) & (table->room - 1);
}

/* Makes room for one more number and an empty slot. hash(context, number) is the hash of what the number
 * stands for. -1 when out of memory. */
int clip_slots_grow(struct clip_slots *table, uint64_t (*hash)(const void *context, uint32_t number),
                    const void *context, struct clip_error *error);

/* Puts `number` into a slot, empty or not. */
void clip_slots_set(struct clip_slots *table, size_t slot, size_t number);

void clip_slots_free(struct clip_slots *table);

#endif
