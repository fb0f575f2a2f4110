/* Matrix products with prepared weights: one interface, three engines (oneDNN where configure found it, for
 * AVX-512; kernels of our own for AVX2; OpenBLAS always).
 * All products of a matrix have the same number of rows (clip_matrix_rows): longer inputs are cut into pieces
 * of that many, and the last piece is padded. So every row passes through the same instructions, and its
 * result does not depend on the batch. A piece runs in the caller's thread; any number of threads may run
 * products of the same matrix at once. */
#ifndef CLIP_MATH_PRODUCT_H
#define CLIP_MATH_PRODUCT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Of a product's operands. Sums are f32, or exact in int8, whose engines take and give f32 (math/quantize.h).
 */
enum clip_precision { CLIP_PRECISION_F32, CLIP_PRECISION_BF16, CLIP_PRECISION_INT8 };

/* Elements of weights as a file has them. */
enum clip_stored { CLIP_STORED_F32, CLIP_STORED_F16, CLIP_STORED_BF16 };

struct clip_engine;

/* `name`: "onednn", "native", "openblas", or NULL for $CLIP_ENGINE and, where that is not set, the faster one
 * that this build and processor have for `precision`. `threads` may run products, and clip_gemm, at once.
 * NULL with error if there is none. */
struct clip_engine *clip_engine_open(const char *name, enum clip_precision precision, int threads,
                                     struct clip_error *error);
void clip_engine_free(struct clip_engine *engine);

/* 0 if clip_engine_open without a name would find an engine for the precision; -1 with the reason. */
int clip_engine_can(enum clip_precision precision, struct clip_error *error);

/* For people: "oneDNN 2.6.3, bf16, avx512_core_bf16". Owned by engine. */
const char *clip_engine_text(const struct clip_engine *engine);

/* For --version: the engines of this build and what they can do on this processor, "oneDNN (f32, bf16, int8),
 * OpenBLAS (f32)". Returns `out`, which holds `size` bytes. */
const char *clip_engines(char *out, size_t size);

enum clip_precision clip_engine_precision(const struct clip_engine *engine);

/* Rows of products that suit the engine: a multiple of 16. */
size_t clip_engine_rows(const struct clip_engine *engine);

/* Rows of the pieces of a run of `rows` rows in `threads` threads: clip_engine_rows, or, of a short run, a
 * smaller multiple of 16 that gives each thread some, if a product of fewer rows writes none but those. */
size_t clip_engine_piece(const struct clip_engine *engine, size_t rows, int threads);

/* The element of a product's input, f32 or bf16 (the upper half of an f32), and its bytes. */
enum clip_precision clip_engine_element_type(const struct clip_engine *engine);
size_t clip_engine_element(const struct clip_engine *engine);

/* 1 if a matrix reads the weights in place, so that they must outlive it; 0 if it packs a copy when it is
 * set. */
int clip_engine_borrows(const struct clip_engine *engine);

/* The weights of a linear layer, [n, k]: n outputs of k inputs. */
struct clip_matrix;

/* A matrix without weights yet, for products of `rows` rows: clip_engine_rows or, for inputs of few rows,
 * another multiple of 16. NULL with error. */
struct clip_matrix *clip_matrix_new(struct clip_engine *engine, size_t rows, size_t n, size_t k,
                                    struct clip_error *error);
void clip_matrix_free(struct clip_matrix *matrix);

/* Gives it weights, or new ones: w[n][k], or w[k][n] where `transposed`; see clip_engine_borrows. Not while
 * products of this matrix run; matrices may be set in several threads at once. */
int clip_matrix_set(struct clip_matrix *matrix, const float *w, int transposed, struct clip_error *error);

/* Weights as a mapped file has them, [n][k]: in parts of equal numbers of outputs, one after the other. */
enum { CLIP_MAPPED_PARTS = 3 };
struct clip_mapped {
    const void *parts[CLIP_MAPPED_PARTS];
    size_t count;
    enum clip_stored stored;
};

/* 1 if clip_matrix_map takes them for a matrix of n outputs; one part of f32 always. */
int clip_engine_maps(const struct clip_engine *engine, size_t n, const struct clip_mapped *weights);

/* As clip_matrix_set, of weights that outlive the matrix: products may read them in place until packing pays,
 * which the first products of the matrix then do. Their pages are given back once they are not read again. */
int clip_matrix_map(struct clip_matrix *matrix, const struct clip_mapped *weights, struct clip_error *error);

/* The same of an int8 engine, with weights that are already rounded: q[n][k] and the scale of each output. */
int clip_matrix_set_int8(struct clip_matrix *matrix, const int8_t *q, const float *scales,
                         struct clip_error *error);

size_t clip_matrix_rows(const struct clip_matrix *matrix);
size_t clip_matrix_outputs(const struct clip_matrix *matrix);
size_t clip_matrix_inputs(const struct clip_matrix *matrix);

/* Bytes of scratch that clip_product needs for this matrix, aligned to 64; each thread has its own. */
size_t clip_product_scratch(const struct clip_matrix *matrix);

/* y[rows][n] = x[rows][k] · wᵀ with rows = clip_matrix_rows, x in the engine's element, y f32; both aligned
 * to 64 bytes, not overlapping. The matrix must have been set. -1 with error only where the library itself
 * fails. */
int clip_product(const struct clip_matrix *matrix, const void *x, float *y, void *scratch,
                 struct clip_error *error);

/* The same for the first `rows` rows alone, at most clip_matrix_rows; it may take less time. Their bytes
 * equal clip_product's. Other rows of x may be read, and of y written. */
int clip_product_rows(const struct clip_matrix *matrix, size_t rows, const void *x, float *y, void *scratch,
                      struct clip_error *error);

/* Sums of outer products, c[m][n] += aᵀ · b with a[rows][m] and b[rows][n]: the gradient of weights, from the
 * output's gradient and the input. c is computed in panels of rows; a result depends on the operands and the
 * number of rows alone. */
struct clip_outer;

/* NULL with error. */
struct clip_outer *clip_outer_new(struct clip_engine *engine, size_t m, size_t n, struct clip_error *error);
void clip_outer_free(struct clip_outer *outer);

size_t clip_outer_panels(const struct clip_outer *outer);

/* The first row of a panel of c; clip_outer_first(outer, clip_outer_panels(outer)) is m. */
size_t clip_outer_first(const struct clip_outer *outer, size_t panel);

/* Bytes of scratch that clip_outer_add needs, aligned to 64; each thread has its own. */
size_t clip_outer_scratch(const struct clip_outer *outer);

/* Adds to the panel's rows of c[m][n]: a[rows][m] and b[rows][n] in the engine's element, c f32; all aligned
 * to 64 bytes, not overlapping. Any number of threads may add to different panels of the same c. -1 with
 * error only where the library itself fails. */
int clip_outer_add(const struct clip_outer *outer, size_t panel, size_t rows, const void *a, const void *b,
                   float *c, void *scratch, struct clip_error *error);

/* c[m][n] = op(a) · op(b) + beta c in f32 by OpenBLAS in the caller's thread, for operands that are not
 * prepared: op(a) is a[m][k], or a[k][m] where transpose_a; op(b) is b[k][n], or b[n][k] where transpose_b;
 * lda, ldb and ldc are the strides of rows as stored, in elements. c overlaps nothing. A clip_engine must be
 * open. */
void clip_gemm(int transpose_a, int transpose_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
               const float *b, size_t ldb, float beta, float *c, size_t ldc);

#endif
