/* How fast ranks sum: run as clip-ranks -n R tests/bench/ranks [FLOATS], or under mpirun, where ranks-plain
 * is what plain MPI does. Prints, from rank 0, the time of a first sum, of the fastest and of the median of
 * seven more, and of a sum of sixteen numbers. */
#include "base/file.h"
#include "train/ranks.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMES = 7, SMALL = 500 };

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run(struct clip_ranks *ranks, size_t n, struct clip_error *error)
{
    double times[TIMES], first = 0, small;
    float *x = clip_ranks_memory(ranks, n * sizeof *x, error);
    if (!x)
        return -1;
    for (int i = -1; i < TIMES; i++) {
        for (size_t k = 0; k < n; k += 1000)
            x[k] = 1;
        if (clip_ranks_barrier(ranks, error) != 0)
            return -1;
        double begun = clip_seconds();
        if (clip_ranks_sum(ranks, x, n, error) != 0)
            return -1;
        *(i < 0 ? &first : &times[i]) = clip_seconds() - begun;
    }
    small = clip_seconds();
    for (int i = 0; i < SMALL; i++)
        if (clip_ranks_sum(ranks, x, 16, error) != 0)
            return -1;
    small = (clip_seconds() - small) / SMALL;
    qsort(times, TIMES, sizeof *times, compare);
    if (clip_ranks_rank(ranks) == 0)
        printf("%zu ranks, %zu floats: first %.3f s, fastest %.3f s, median %.3f s; 16 floats %.3f ms\n",
               clip_ranks_size(ranks), n, first, times[0], times[TIMES / 2], 1e3 * small);
    return clip_ranks_end(ranks, error);
}

int main(int argc, char **argv)
{
    struct clip_ranks *ranks;
    struct clip_error error;
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 150000000;
    int status = clip_ranks_open(&ranks, "bench", &error);
    if (status == 0 && !ranks)
        status = clip_fail(&error, "run it under clip-ranks, with two ranks or more");
    if (status == 0)
        status = run(ranks, n, &error);
    if (status != 0)
        fprintf(stderr, "ranks: %s\n", error.text);
    clip_ranks_close(ranks);
    return status != 0;
}
