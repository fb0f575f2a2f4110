/* Random numbers that depend only on their purpose: the same on every machine, in any order.
 *
 * All come from Philox4x32-10, which computes a block of numbers from a counter and a key (Salmon, Moraes,
 * Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011). */
#ifndef CLIP_BASE_RANDOM_H
#define CLIP_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Philox4x32-10 of a counter and key, into out[4]. */
void clip_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* FNV-1a of bytes[n]: a name as a number. */
static inline uint64_t clip_fnv1a(const char *bytes, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    return hash;
}

/* A sequence of 2^33 numbers. */
struct clip_random {
    uint32_t key[2], counter[4], block[4];
    int left; /* pairs of `block` not yet returned */
};

/* Begins the sequence of a seed, a purpose (clip_fnv1a of a name) and a round: key = seed; counter =
 * number of the block, round, purpose. */
void clip_random_begin(struct clip_random *random, uint64_t seed, uint64_t purpose, uint32_t round);

/* The next 64 bits: low half first. */
uint64_t clip_random_bits(struct clip_random *random);

/* The next number in [0, n), all equally likely; n > 0. May consume more than one number of the sequence. */
uint64_t clip_random_below(struct clip_random *random, uint64_t n);

/* The next number in [from, to): from + (to - from) u, u of the upper 53 bits. */
double clip_random_between(struct clip_random *random, double from, double to);

#endif
