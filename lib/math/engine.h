/* The interface of an engine of products; only product*.c and linear*.c include this. */
#ifndef CLIP_MATH_ENGINE_H
#define CLIP_MATH_ENGINE_H

#include "math/product.h"

#include <limits.h>

/* The libraries take sizes, and offsets into an operand [a][b], as ints. */
static inline int clip_operand_fits(size_t a, size_t b)
{
    size_t elements;
    return a > 0 && b > 0 && !__builtin_mul_overflow(a, b, &elements) && elements <= INT_MAX;
}

struct clip_engine_type {
    const char *name;  /* for options */
    const char *title; /* for people */
    /* 0 if this build and processor can compute in `precision`; otherwise -1 with the reason. */
    int (*can)(enum clip_precision precision, struct clip_error *error);
    struct clip_engine *(*open)(enum clip_precision precision, struct clip_error *error);
    void (*free)(struct clip_engine *engine);
    struct clip_matrix *(*matrix_new)(struct clip_engine *engine, size_t rows, size_t n, size_t k,
                                      struct clip_error *error);
    void (*matrix_free)(struct clip_matrix *matrix);
    int (*matrix_set)(struct clip_matrix *matrix, const float *w, int transposed, struct clip_error *error);
    /* As clip_engine_maps and clip_matrix_map; NULL: one part of f32, by matrix_set. */
    int (*maps)(const struct clip_engine *engine, size_t n, const struct clip_mapped *weights);
    int (*matrix_map)(struct clip_matrix *matrix, const struct clip_mapped *weights,
                      struct clip_error *error);
    /* At least `rows` rows of y; see clip_product_rows. */
    int (*product)(const struct clip_matrix *matrix, size_t rows, const void *x, float *y, void *scratch,
                   struct clip_error *error);
    struct clip_outer *(*outer_new)(const struct clip_outer *shape, struct clip_error *error);
    void (*outer_free)(struct clip_outer *outer);
    /* Rows [first, first + count) of c, those of a panel. */
    int (*outer_add)(const struct clip_outer *outer, size_t first, size_t count, size_t rows, const void *a,
                     const void *b, float *c, void *scratch, struct clip_error *error);
    /* clip_matrix_set_int8; NULL: it has no int8. */
    int (*matrix_set_int8)(struct clip_matrix *matrix, const int8_t *q, const float *scales,
                           struct clip_error *error);
};

/* The first member of each engine's own struct. */
struct clip_engine {
    const struct clip_engine_type *type;
    enum clip_precision precision;
    size_t rows;
    int borrows;
    int exact; /* a product of fewer rows writes none but those */
    char text[128];
};

/* The first member of each engine's own matrix. */
struct clip_matrix {
    struct clip_engine *engine;
    size_t rows, n, k;
    size_t scratch; /* bytes */
};

/* The first member of each engine's own sum of outer products; outer_new copies all of it but scratch. */
struct clip_outer {
    struct clip_engine *engine;
    size_t m, n;
    size_t panel;   /* rows of c of a panel but the last */
    size_t scratch; /* bytes */
};

extern const struct clip_engine_type clip_openblas, clip_onednn, clip_native;

/* The outer_new, outer_free and outer_add of engines that leave them to OpenBLAS. */
struct clip_outer *clip_outer_openblas_new(const struct clip_outer *shape, struct clip_error *error);
void clip_outer_openblas_free(struct clip_outer *outer);
int clip_outer_openblas_add(const struct clip_outer *outer, size_t first, size_t count, size_t rows,
                            const void *a, const void *b, float *c, void *scratch, struct clip_error *error);

#endif
