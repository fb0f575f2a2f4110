/* What the programs that measure share. */
#ifndef CLIP_TESTS_BENCH_H
#define CLIP_TESTS_BENCH_H

#include "base/error.h"
#include "base/file.h"
#include "base/threads.h"
#include "math/product.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the program with the error unless ok. */
static inline void bench_check(int ok, const struct clip_error *error)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, error->text);
    exit(1);
}

/* Seconds of a clock, as those of the processor for a thread or for all; clip_seconds has the wall's. */
static inline double bench_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Memory aligned to 64, written so that its pages are there; to be freed. */
static inline void *bench_zeros(size_t bytes)
{
    char *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!memory)
        abort();
    memset(memory, 0, bytes);
    return memory;
}

/* Measures each engine; says why where the machine does not have it. */
static inline void bench_engines(struct clip_pool *pool,
                                 void (*measure)(struct clip_engine *engine, struct clip_pool *pool))
{
    static const struct {
        const char *name;
        enum clip_precision precision;
    } all[] = {{"native", CLIP_PRECISION_F32},
               {"openblas", CLIP_PRECISION_F32},
               {"onednn", CLIP_PRECISION_F32},
               {"onednn", CLIP_PRECISION_BF16}};
    struct clip_error error;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct clip_engine *engine = clip_engine_open(all[i].name, all[i].precision, 4, &error);
        if (engine)
            measure(engine, pool);
        else
            printf("%s, %s: %s\n", all[i].name, all[i].precision == CLIP_PRECISION_BF16 ? "bf16" : "f32",
                   error.text);
        clip_engine_free(engine);
    }
}

#endif
