/* What plain MPI takes for an ordered sum: each rank gets its part of all others' arrays (Alltoallv), adds in
 * the order of ranks, and gives the result to all (Allgatherv). Run as mpirun -n R tests/bench/ranks-plain
 * [FLOATS]. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMES = 7, MOST = 64 };

static int rank, size;
static int counts[MOST], begins[MOST], own_counts[MOST], own_begins[MOST];

static void sum(float *x, float *parts)
{
    int n = counts[rank];
    MPI_Alltoallv(x, counts, begins, MPI_FLOAT, parts, own_counts, own_begins, MPI_FLOAT, MPI_COMM_WORLD);
    float *own = x + begins[rank];
    for (int i = 0; i < n; i++)
        own[i] = parts[i];
    for (int r = 1; r < size; r++)
        for (int i = 0; i < n; i++)
            own[i] += parts[(size_t)r * (size_t)n + (size_t)i];
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x, counts, begins, MPI_FLOAT, MPI_COMM_WORLD);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double times[TIMES], reduce[TIMES];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int n = argc > 1 ? atoi(argv[1]) : 150000000;
    for (int r = 0; r < size; r++) {
        begins[r] = (int)((long)n * r / size);
        counts[r] = (int)((long)n * (r + 1) / size) - begins[r];
    }
    for (int r = 0; r < size; r++) {
        own_counts[r] = counts[rank];
        own_begins[r] = r * counts[rank];
    }
    float *x = calloc((size_t)n, sizeof *x), *parts = malloc((size_t)size * (size_t)counts[rank] * sizeof *x);
    for (int i = -1; i < TIMES; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double begun = MPI_Wtime();
        sum(x, parts);
        if (i >= 0)
            times[i] = MPI_Wtime() - begun;
    }
    for (int i = 0; i < 3; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double begun = MPI_Wtime();
        MPI_Allreduce(MPI_IN_PLACE, x, n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        reduce[i] = MPI_Wtime() - begun;
    }
    qsort(times, TIMES, sizeof *times, compare);
    qsort(reduce, 3, sizeof *reduce, compare);
    if (rank == 0)
        printf("%d ranks, %d floats, plain MPI: ordered fastest %.3f s, median %.3f s; Allreduce median %.3f "
               "s\n",
               size, n, times[0], times[TIMES / 2], reduce[1]);
    free(x);
    free(parts);
    MPI_Finalize();
    return 0;
}
