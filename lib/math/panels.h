/* Products with weights packed in panels: panel p holds columns [p width, (p + 1) width), [k][width], zeros
 * after the last column, so that a tile of sums that fits into the registers reads it in order. One source is
 * compiled for each level of the processor. A row's sums are added up in the order of k, in blocks of one
 * length: they do not depend on the other rows. */
#ifndef CLIP_MATH_PANELS_H
#define CLIP_MATH_PANELS_H

#include "base/level.h"
#include "math/product.h"

#include <stddef.h>

struct clip_panel_kernels {
    size_t width; /* columns of a panel */
    size_t tall;  /* rows of a tile */
    size_t group; /* outputs that run_lying puts at once */

    /* y[n] = x[n], exactly. */
    void (*floats)(size_t n, const void *x, enum clip_stored stored, float *y);

    /* packed[clip_panels_floats] = w[n][k], or w[k][n] where `transposed`. */
    void (*pack)(size_t n, size_t k, const float *w, int transposed, float *packed);

    /* The same of w[n][k] as it is stored. */
    void (*pack_stored)(size_t n, size_t k, const void *w, enum clip_stored stored, float *packed);

    /* y[rows][n] = or, where `add`, += x[rows][k] · wᵀ. scratch: clip_panels_scratch floats. Nothing
     * overlaps. */
    void (*run)(size_t rows, size_t n, size_t k, const float *x, const float *packed, int add, float *y,
                float *scratch);

    /* y[rows][n], `row` floats from row to row, = x[rows][k] · wᵀ of w[n][k] as it lies: the bytes of `run`,
     * in more time where there are many rows. scratch: clip_lying_scratch floats. */
    void (*run_lying)(size_t rows, size_t n, size_t k, const float *x, const void *w, enum clip_stored stored,
                      float *y, size_t row, float *scratch);
};

/* Returns the kernels for a level. */
const struct clip_panel_kernels *clip_panel_kernels(enum clip_level level);

/* Floats of w[n][k], packed. */
size_t clip_panels_floats(const struct clip_panel_kernels *kernels, size_t n, size_t k);

/* Floats of scratch for products of `rows` rows. */
size_t clip_panels_scratch(size_t rows, size_t k);
size_t clip_lying_scratch(const struct clip_panel_kernels *kernels, size_t rows, size_t n, size_t k);

/* The length of a block of k: of that length, rows of x and a panel stay in the second cache. */
enum { CLIP_PANEL_DEPTH = 768 };

extern const struct clip_panel_kernels clip_panel_kernels_plain, clip_panel_kernels_avx2,
    clip_panel_kernels_avx512;

#endif
