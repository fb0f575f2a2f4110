/* Hashing of short strings. */
#ifndef CLIP_TEXT_HASH_H
#define CLIP_TEXT_HASH_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a of bytes[n], its high half folded into the low one for tables of 2^k slots. */
static inline uint64_t clip_hash(const char *bytes, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

#endif
