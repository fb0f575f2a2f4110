#include "base/random.h"

void clip_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53 * c0, b = (uint64_t)0xcd9e8d57 * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void clip_random_begin(struct clip_random *random, uint64_t seed, uint64_t purpose, uint32_t round)
{
    *random = (struct clip_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                                   .counter = {0, round, (uint32_t)purpose, (uint32_t)(purpose >> 32)}};
}

uint64_t clip_random_bits(struct clip_random *random)
{
    if (random->left == 0) {
        clip_philox(random->counter, random->key, random->block);
        random->counter[0]++;
        random->left = 2;
    }
    const uint32_t *pair = random->block + 4 - 2 * random->left--;
    return (uint64_t)pair[1] << 32 | pair[0];
}

uint64_t clip_random_below(struct clip_random *random, uint64_t n)
{
    uint64_t bits,
        uneven = -n % n; /* 2^64 mod n numbers are rejected: they would make small results likelier */
    do
        bits = clip_random_bits(random);
    while (bits < uneven);
    return bits % n;
}

double clip_random_between(struct clip_random *random, double from, double to)
{
    return from + (to - from) * ((double)(clip_random_bits(random) >> 11) * 0x1p-53);
}
