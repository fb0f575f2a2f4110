/* Products in int8, where this processor has them. */
#include "check.h"
#include "math/product.h"
#include "math/quantize.h"
#include "noise.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Fewer rows, and a row at another place, have the bytes `want` that a product of all rows gives. */
static void check_fewer_rows(const struct clip_matrix *matrix, float *x, const float *want, void *scratch)
{
    size_t rows = clip_matrix_rows(matrix), n = clip_matrix_outputs(matrix), k = clip_matrix_inputs(matrix);
    float *y = random_floats(rows * n);
    struct clip_error error;
    for (size_t fewer = 1; fewer <= rows; fewer += fewer < 4 ? 1 : 31) {
        memset(y, 0, rows * n * sizeof *y);
        CHECK(clip_product_rows(matrix, fewer, x, y, scratch, &error) == 0, "%s", error.text);
        CHECK(memcmp(y, want, fewer * n * sizeof *y) == 0, "%zu of %zu rows, n %zu, k %zu", fewer, rows, n,
              k);
    }
    memcpy(x + (rows - 3) * k, x, k * sizeof *x);
    CHECK(clip_product(matrix, x, y, scratch, &error) == 0, "%s", error.text);
    CHECK(memcmp(y + (rows - 3) * n, want, n * sizeof *y) == 0, "row 0 at %zu, n %zu, k %zu", rows - 3, n, k);
    free(y);
}

/* Products in int8 against sums of the integers that quantize.h gives, and against the products of floats;
 * weights set as floats in both orders, and as integers, give the same bytes. */
static void check_int8_shape(struct clip_engine *engine, size_t rows, size_t n, size_t k)
{
    const struct clip_quantizers *quantizers = clip_quantizers(clip_level());
    struct clip_error error = {""};
    struct clip_matrix *matrix = clip_matrix_new(engine, rows, n, k, &error);
    CHECK(matrix, "%s", error.text);
    if (!matrix)
        return;
    float *w = random_floats(n * k), *x = random_floats(rows * k), *y[3], *turned = random_floats(n * k),
          *scales = random_floats(n);
    int8_t *q = malloc(n * k);
    uint8_t *in = malloc(rows * k);
    void *scratch = aligned_alloc(64, clip_product_scratch(matrix) / 64 * 64 + 64);
    for (size_t i = 0; i < n; i++) {
        scales[i] = quantizers->weights(k, w + i * k, q + i * k);
        for (size_t j = 0; j < k; j++)
            turned[j * n + i] = w[i * k + j];
    }
    for (int turn = 0; turn < 3; turn++) {
        y[turn] = random_floats(rows * n);
        int set = turn == 2 ? clip_matrix_set_int8(matrix, q, scales, &error)
                            : clip_matrix_set(matrix, turn ? turned : w, turn, &error);
        CHECK(set == 0, "%s", error.text);
        CHECK(clip_product(matrix, x, y[turn], scratch, &error) == 0, "%s", error.text);
        CHECK(memcmp(y[0], y[turn], rows * n * sizeof **y) == 0, "n %zu, k %zu: way %d of setting", n, k,
              turn);
    }
    double most = 0, off = 0;
    for (size_t r = 0; r < rows; r++) {
        struct clip_int8_row row = quantizers->row(k, x + r * k, in + r * k);
        for (size_t i = 0; i < n; i++) {
            double sum = 0, whole = 0;
            for (size_t j = 0; j < k; j++) {
                sum += ((double)in[r * k + j] - (double)row.zero) * q[i * k + j];
                whole += (double)x[r * k + j] * (double)w[i * k + j];
            }
            double want = sum * (double)row.scale * (double)scales[i];
            most = fmax(most, fabs(want - (double)y[0][r * n + i]) / (1e-3 + fabs(want)));
            off = fmax(off, fabs(whole - want));
        }
    }
    CHECK(most < 1e-5, "rows %zu, n %zu, k %zu: off by %g of the integers' sums", rows, n, k, most);
    /* Each term's rounding is of up to 1/255 and 1/254: random errors walk as sqrt(k). */
    CHECK(off < 0.03 * sqrt((double)k) + 0.02, "n %zu, k %zu: off by %g of the floats' sums", n, k, off);
    check_fewer_rows(matrix, x, y[0], scratch);
    clip_matrix_free(matrix);
    free(w), free(x), free(y[0]), free(y[1]), free(y[2]), free(turned), free(scales), free(q), free(in),
        free(scratch);
}

static void check_int8(void)
{
    static const size_t shapes[][2] = {{16, 16},  {48, 48},   {192, 64}, {256, 64},
                                       {288, 96}, {512, 512}, {100, 72}};
    struct clip_error error = {""};
    struct clip_engine *engine = clip_engine_open("onednn", CLIP_PRECISION_INT8, 4, &error);
    if (!engine) {
        printf("int8: not here: %s\n", error.text);
        CHECK(error.text[0], "a reason");
        return;
    }
    printf("%s, %zu rows\n", clip_engine_text(engine), clip_engine_rows(engine));
    CHECK(clip_engine_element(engine) == sizeof(float) &&
              clip_engine_element_type(engine) == CLIP_PRECISION_F32,
          "");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_int8_shape(engine, clip_engine_rows(engine), shapes[i][0], shapes[i][1]);
        check_int8_shape(engine, 16, shapes[i][0], shapes[i][1]);
    }
    CHECK(!clip_matrix_new(engine, 16, 16, CLIP_INT8_INPUTS + 1, &error) && strstr(error.text, "overflow"),
          "%s", error.text);
    clip_engine_free(engine);
}

int main(void)
{
    check_int8();
    return check_end();
}
