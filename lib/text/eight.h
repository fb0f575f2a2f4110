/* Eight bytes of text at a time, as one number whose lowest byte is the first. Of what is found in each byte
 * its top bit tells. */
#ifndef CLIP_TEXT_EIGHT_H
#define CLIP_TEXT_EIGHT_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CLIP_EIGHT(byte) (0x0101010101010101 * (uint64_t)(byte))
#define CLIP_EIGHT_TOPS CLIP_EIGHT(0x80)

static inline uint64_t clip_eight_load(const char *bytes)
{
    uint64_t eight;
    memcpy(&eight, bytes, sizeof eight);
    return le64toh(eight);
}

/* The bytes from `least` to `most` of ASCII alone: no byte has its top bit set. */
static inline uint64_t clip_eight_between(uint64_t ascii, unsigned least, unsigned most)
{
    return (ascii + CLIP_EIGHT(0x80 - least)) & ~(ascii + CLIP_EIGHT(0x7f - most)) & CLIP_EIGHT_TOPS;
}

/* How many of the first bytes are 'a' to 'z'. */
static inline size_t clip_eight_letters(uint64_t eight)
{
    uint64_t others = ~(clip_eight_between(eight & ~CLIP_EIGHT_TOPS, 'a', 'z') & ~eight) & CLIP_EIGHT_TOPS;
    return others ? (size_t)__builtin_ctzll(others) / 8 : 8;
}

#endif
