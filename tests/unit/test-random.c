/* Random numbers: the generator's published answers, and that sequences are what they are for. */
#include "base/random.h"
#include "check.h"

#include <math.h>
#include <string.h>

/* The known answers of Random123's philox4x32-10. */
static void test_philox(void)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        clip_philox(known[i].counter, known[i].key, out);
        CHECK(memcmp(out, known[i].out, sizeof out) == 0, "%08x %08x %08x %08x", out[0], out[1], out[2],
              out[3]);
    }
}

/* FNV's own examples. */
static void test_names(void)
{
    CHECK(clip_fnv1a("", 0) == 0xcbf29ce484222325, "");
    CHECK(clip_fnv1a("foobar", 6) == 0x85944171f73967e8, "");
}

/* A sequence's numbers are the generator's, two to a block. */
static void test_sequence(void)
{
    struct clip_random random;
    uint32_t block[4];
    clip_random_begin(&random, 0x123456789, 0xabcdef0123456789, 7);
    for (uint32_t i = 0; i < 3; i++) {
        clip_philox((const uint32_t[]){i, 7, 0x23456789, 0xabcdef01}, (const uint32_t[]){0x23456789, 1},
                    block);
        for (int half = 0; half < 2; half++)
            CHECK(clip_random_bits(&random) == ((uint64_t)block[2 * half + 1] << 32 | block[2 * half]), "");
    }
}

/* Each number below n is as likely: 10000 draws of each, within 4 standard deviations. */
static void test_below(void)
{
    enum { N = 7, DRAWS = 70000 };
    struct clip_random random;
    int counts[N] = {0};
    clip_random_begin(&random, 1, 2, 3);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = clip_random_below(&random, N);
        CHECK(x < N, "");
        counts[x % N]++;
    }
    for (int i = 0; i < N; i++)
        CHECK(abs(counts[i] - DRAWS / N) < 4 * sqrt(DRAWS / N), "%d: %d", i, counts[i]);
    CHECK(clip_random_below(&random, 1) == 0, "");
    int high = 0;
    for (int i = 0; i < 1000; i++) /* where every fourth number must be drawn again */
        high += clip_random_below(&random, UINT64_C(3) << 62) >= UINT64_C(1) << 63;
    CHECK(high > 270 && high < 397, "%d", high);
}

static void test_between(void)
{
    struct clip_random random;
    double sum = 0, least = 9, most = 0;
    clip_random_begin(&random, 1, 2, 3);
    for (int i = 0; i < 10000; i++) {
        double x = clip_random_between(&random, 2, 4);
        sum += x;
        least = fmin(least, x);
        most = fmax(most, x);
    }
    CHECK(least >= 2 && least < 2.01 && most < 4 && most > 3.99 && fabs(sum / 10000 - 3) < 0.03, "%g %g %g",
          least, most, sum);
}

int main(void)
{
    test_philox();
    test_names();
    test_sequence();
    test_below();
    test_between();
    return check_end();
}
