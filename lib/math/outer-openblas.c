/* Sums of outer products by OpenBLAS, for the engines without kernels of their own for them. */
#include "math/engine.h"

#include <stdlib.h>

struct clip_outer *clip_outer_openblas_new(const struct clip_outer *shape, struct clip_error *error)
{
    struct clip_outer *outer = malloc(sizeof *outer);
    if (!outer) {
        clip_fail_memory(error, "a gradient");
        return NULL;
    }
    *outer = *shape;
    return outer;
}

void clip_outer_openblas_free(struct clip_outer *outer)
{
    free(outer);
}

int clip_outer_openblas_add(const struct clip_outer *outer, size_t first, size_t count, size_t rows,
                            const void *a, const void *b, float *c, void *scratch, struct clip_error *error)
{
    (void)scratch, (void)error;
    clip_gemm(1, 0, count, outer->n, rows, (const float *)a + first, outer->m, b, outer->n, 1,
              c + first * outer->n, outer->n);
    return 0;
}
