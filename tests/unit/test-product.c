/* Matrix products of each engine that this machine has: right, and each row on its own. */
#include "base/file.h"
#include "base/threads.h"
#include "check.h"
#include "math/panels.h"
#include "math/product.h"
#include "model/weight.h"
#include "noise.h"

#include <cblas.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x as the engine wants its rows. */
static void *elements(const struct clip_engine *engine, const float *x, size_t n)
{
    size_t size = clip_engine_element(engine);
    void *out = aligned_alloc(64, (n * size + 63) / 64 * 64);
    if (size == sizeof(float))
        memcpy(out, x, n * size);
    else
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)out)[i] = to_bf16(x[i]);
    return out;
}

static double rounded(const struct clip_engine *engine, float x)
{
    return clip_engine_precision(engine) == CLIP_PRECISION_BF16 ? from_bf16(to_bf16(x)) : x;
}

/* The largest error of y = x · wᵀ in every eleventh row. The sums are of the size of sqrt(k) and are rounded
 * k times in an order that is the engine's: the errors walk as sqrt(k), so 1e-7 k is several deviations. */
static double worst(const struct clip_engine *engine, const float *x, const float *w, const float *y,
                    size_t rows, size_t n, size_t k, int transposed)
{
    double most = 0;
    for (size_t r = 0; r < rows; r += 11)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += rounded(engine, x[r * k + i]) * rounded(engine, w[transposed ? i * n + j : j * k + i]);
            most = fmax(most, fabs(sum - y[r * n + j]));
        }
    return most;
}

/* Every row of the piece must give the same bytes as the first one for the same numbers, whatever stands
 * around it: noise, or zeros. */
static void check_rows_alike(const struct clip_matrix *matrix, struct clip_engine *engine, void *scratch)
{
    size_t rows = clip_matrix_rows(matrix), n = clip_matrix_outputs(matrix), k = clip_matrix_inputs(matrix);
    float *row = random_floats(k), *all = random_floats(rows * k), *y = random_floats(rows * n),
          *first = random_floats(n);
    struct clip_error error;
    size_t different = 0;
    for (size_t turn = 0; turn < 4; turn++) {
        for (size_t i = 0; i < rows * k; i++)
            all[i] = turn < 2 ? noise() : 0;
        for (size_t r = turn % 2; r < rows; r += 2)
            memcpy(all + r * k, row, k * sizeof *row);
        void *x = elements(engine, all, rows * k);
        CHECK(clip_product(matrix, x, y, scratch, &error) == 0, "%s", error.text);
        free(x);
        if (turn == 0)
            memcpy(first, y, n * sizeof *y);
        for (size_t r = turn % 2; r < rows; r += 2)
            different += memcmp(first, y + r * n, n * sizeof *y) != 0;
    }
    CHECK(different == 0, "%s: %zu of %zu rows differ at n %zu, k %zu", clip_engine_text(engine), different,
          2 * rows, n, k);
    free(row), free(all), free(y), free(first);
}

/* A product of fewer rows gives those the bytes that one of all rows does. */
static void check_fewer_rows(const struct clip_matrix *matrix, struct clip_engine *engine, void *scratch)
{
    size_t rows = clip_matrix_rows(matrix), n = clip_matrix_outputs(matrix), k = clip_matrix_inputs(matrix);
    float *x = random_floats(rows * k), *want = random_floats(rows * n), *y = random_floats(rows * n);
    void *in = elements(engine, x, rows * k);
    struct clip_error error;
    CHECK(clip_product(matrix, in, want, scratch, &error) == 0, "%s", error.text);
    for (size_t fewer = 1; fewer <= rows; fewer += fewer < 4 ? 1 : 15) {
        memset(y, 0, rows * n * sizeof *y);
        CHECK(clip_product_rows(matrix, fewer, in, y, scratch, &error) == 0, "%s", error.text);
        CHECK(memcmp(y, want, fewer * n * sizeof *y) == 0, "%s: %zu of %zu rows, n %zu, k %zu",
              clip_engine_text(engine), fewer, rows, n, k);
    }
    free(x), free(want), free(y), free(in);
}

static void check_shape(struct clip_engine *engine, size_t rows, size_t n, size_t k)
{
    struct clip_error error = {""};
    struct clip_matrix *matrix = clip_matrix_new(engine, rows, n, k, &error);
    CHECK(matrix, "%s", error.text);
    if (!matrix)
        return;
    float *w = random_floats(n * k), *x = random_floats(rows * k), *y = random_floats(rows * n);
    void *scratch = aligned_alloc(64, clip_product_scratch(matrix) / 64 * 64 + 64),
         *in = elements(engine, x, rows * k);
    for (int transposed = 0; transposed < 2; transposed++) {
        CHECK(clip_matrix_set(matrix, w, transposed, &error) == 0, "%s", error.text);
        CHECK(clip_product(matrix, in, y, scratch, &error) == 0, "%s", error.text);
        double off = worst(engine, x, w, y, rows, n, k, transposed);
        CHECK(off < 1e-6 + 1e-7 * (double)k, "%s: n %zu, k %zu, transposed %d: off by %g",
              clip_engine_text(engine), n, k, transposed, off);
    }
    check_rows_alike(matrix, engine, scratch);
    check_fewer_rows(matrix, engine, scratch);
    clip_matrix_free(matrix);
    free(w), free(x), free(y), free(scratch), free(in);
}

/* data[size] in a file's mapping. */
static const void *map_bytes(const void *data, size_t size)
{
    struct clip_error error;
    int fd = clip_temporary_file(&error);
    CHECK(fd >= 0 && clip_pwrite_all(fd, data, size, 0, &error) == 0, "%s", error.text);
    const void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED, "mmap");
    close(fd);
    return map;
}

/* Rounds w[n] to the stored type, and returns its elements. */
static void *stored_elements(float *w, size_t n, enum clip_stored stored)
{
    uint16_t *halves = malloc(n * sizeof *w);
    if (stored == CLIP_STORED_F32)
        return memcpy(halves, w, n * sizeof *w);
    for (size_t i = 0; i < n; i++) {
        halves[i] = stored == CLIP_STORED_F16 ? clip_f16_round(w[i]) : clip_bf16_round(w[i]);
        w[i] = stored == CLIP_STORED_F16 ? clip_f16_float(halves[i]) : clip_bf16_float(halves[i]);
    }
    return halves;
}

/* Products of a mapped matrix, one after the other, of any number of rows: those that come before the weights
 * are packed, and after. */
struct mapped {
    const struct clip_matrix *matrix;
    const void *x;
    const float *want;
    size_t turns;
    size_t different[4];
};

static void run_mapped(void *context, size_t i, int thread)
{
    (void)thread;
    struct mapped *mapped = context;
    size_t rows = clip_matrix_rows(mapped->matrix), n = clip_matrix_outputs(mapped->matrix);
    float *y = aligned_alloc(64, (rows * n * sizeof *y + 63) / 64 * 64);
    void *scratch = aligned_alloc(64, clip_product_scratch(mapped->matrix) / 64 * 64 + 64);
    struct clip_error error;
    for (size_t turn = 0; turn < mapped->turns; turn++) {
        size_t fewer = turn % 3 == 0 ? rows : (turn * 7 + i) % rows + 1;
        memset(scratch, 0xff, clip_product_scratch(mapped->matrix)); /* NaN */
        CHECK(clip_product_rows(mapped->matrix, fewer, mapped->x, y, scratch, &error) == 0, "%s", error.text);
        mapped->different[i] += memcmp(y, mapped->want, fewer * n * sizeof *y) != 0;
    }
    free(y), free(scratch);
}

/* Weights in a mapped file give the bytes of those that are set, in several threads and however many products
 * have been. */
static void check_mapped(struct clip_engine *engine, size_t rows, size_t n, size_t k, enum clip_stored stored)
{
    const size_t parts = n % 96 == 0 ? 3 : n % 32 == 0 ? 2 : 1;
    if (!clip_engine_maps(engine, n, &(struct clip_mapped){.count = parts, .stored = stored}))
        return;
    struct clip_error error = {""};
    struct clip_matrix *set = clip_matrix_new(engine, rows, n, k, &error),
                       *matrix = clip_matrix_new(engine, rows, n, k, &error);
    struct clip_pool *pool = clip_pool_new(4, &error);
    float *w = random_floats(n * k), *x = random_floats(rows * k), *want = random_floats(rows * n);
    void *in = elements(engine, x, rows * k),
         *scratch = aligned_alloc(64, clip_product_scratch(set) / 64 * 64 + 64),
         *lie = stored_elements(w, n * k, stored);
    size_t bytes = n * k * (stored == CLIP_STORED_F32 ? 4 : 2);
    const void *map = map_bytes(lie, bytes);
    CHECK(clip_matrix_set(set, w, 0, &error) == 0, "%s", error.text);
    struct clip_mapped weights = {.count = parts, .stored = stored};
    for (size_t i = 0; i < parts; i++)
        weights.parts[i] = (const char *)map + i * (bytes / parts);
    CHECK(clip_matrix_map(matrix, &weights, &error) == 0, "%s", error.text);
    CHECK(clip_product(set, in, want, scratch, &error) == 0, "%s", error.text);
    struct mapped mapped = {matrix, in, want, 12, {0}};
    clip_pool_run(pool, 4, run_mapped, &mapped);
    for (size_t i = 0; i < 4; i++)
        CHECK(mapped.different[i] == 0, "%s: %zu of %zu products differ at n %zu, k %zu, type %d",
              clip_engine_text(engine), mapped.different[i], mapped.turns, n, k, (int)stored);
    clip_pool_free(pool);
    clip_matrix_free(matrix);
    clip_matrix_free(set);
    munmap((void *)map, bytes);
    free(w), free(x), free(want), free(in), free(scratch), free(lie);
}

/* Weights as they lie give the bytes of packed ones. */
static void check_lying(enum clip_level level)
{
    static const size_t shapes[][3] = {{1, 1, 1},     {5, 7, 33},     {16, 100, 64},
                                       {50, 96, 769}, {96, 50, 1600}, {33, 200, 768}};
    const struct clip_panel_kernels *kernels = clip_panel_kernels(level);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t rows = shapes[i][0], n = shapes[i][1], k = shapes[i][2],
               lying = clip_lying_scratch(kernels, rows, n, k);
        float *w = random_floats(n * k), *x = random_floats(rows * k), *want = random_floats(rows * n),
              *y = random_floats(rows * n), *packed = random_floats(clip_panels_floats(kernels, n, k)),
              *scratch = random_floats(lying + clip_panels_scratch(rows, k) + 1);
        x[0] = NAN; /* what is not a number has the same bytes, too */
        x[k / 2] = -INFINITY;
        x[k - 1] = -NAN;
        kernels->pack(n, k, w, 0, packed);
        kernels->run(rows, n, k, x, packed, 0, want, scratch);
        float after = scratch[lying];
        kernels->run_lying(rows, n, k, x, w, CLIP_STORED_F32, y, n, scratch);
        CHECK(memcmp(y, want, rows * n * sizeof *y) == 0, "%s: %zu rows, n %zu, k %zu",
              clip_level_name(level), rows, n, k);
        CHECK(memcmp(&after, &scratch[lying], sizeof after) == 0, "scratch: %zu rows, n %zu, k %zu", rows, n,
              k);
        free(w), free(x), free(want), free(y), free(packed), free(scratch);
    }
}

/* Each half of either type becomes the float that it is; NaN stays one. */
static void check_halves(enum clip_level level)
{
    enum { ALL = 1 << 16 };
    uint16_t *halves = malloc(ALL * sizeof *halves);
    float *y = malloc(ALL * sizeof *y);
    for (size_t i = 0; i < ALL; i++)
        halves[i] = (uint16_t)i;
    for (int type = CLIP_STORED_F16; type <= CLIP_STORED_BF16; type++)
        for (size_t short_of = 0; short_of < 3; short_of++) {
            size_t different = 0, n = ALL - short_of;
            clip_panel_kernels(level)->floats(n, halves + short_of, (enum clip_stored)type, y);
            for (size_t i = 0; i < n; i++) {
                uint16_t half = halves[short_of + i];
                float want = type == CLIP_STORED_F16 ? clip_f16_float(half) : clip_bf16_float(half);
                different += isnan(want) ? !isnan(y[i]) : memcmp(&y[i], &want, sizeof want) != 0;
            }
            CHECK(different == 0, "%s, type %d: %zu differ", clip_level_name(level), type, different);
        }
    free(halves), free(y);
}

/* c += aᵀ · b, twice: the largest error, and the same bytes from the same operands. */
static void check_outer(struct clip_engine *engine, size_t rows, size_t m, size_t n)
{
    struct clip_error error = {""};
    struct clip_outer *outer = clip_outer_new(engine, m, n, &error);
    CHECK(outer, "%s", error.text);
    if (!outer)
        return;
    float *a = random_floats(rows * m), *b = random_floats(rows * n), *c = random_floats(m * n),
          *was = random_floats(m * n), *first = random_floats(m * n);
    void *scratch = aligned_alloc(64, clip_outer_scratch(outer) / 64 * 64 + 64),
         *left = elements(engine, a, rows * m), *right = elements(engine, b, rows * n);
    for (int turn = 0; turn < 2; turn++) {
        memcpy(c, was, m * n * sizeof *c);
        memset(scratch, 0xff, clip_outer_scratch(outer)); /* NaN */
        for (size_t panel = clip_outer_panels(outer); panel-- > 0;)
            CHECK(clip_outer_add(outer, panel, rows, left, right, c, scratch, &error) == 0, "%s", error.text);
        CHECK(turn == 0 || memcmp(c, first, m * n * sizeof *c) == 0, "%s", clip_engine_text(engine));
        memcpy(first, c, m * n * sizeof *c);
    }
    double most = 0;
    for (size_t i = 0; i < m; i += 3)
        for (size_t j = 0; j < n; j++) {
            double sum = was[i * n + j];
            for (size_t r = 0; r < rows; r++)
                sum += rounded(engine, a[r * m + i]) * rounded(engine, b[r * n + j]);
            most = fmax(most, fabs(sum - c[i * n + j]));
        }
    CHECK(most < 1e-6 + 1e-7 * (double)rows, "%s: %zu rows, m %zu, n %zu: off by %g",
          clip_engine_text(engine), rows, m, n, most);
    CHECK(clip_outer_first(outer, clip_outer_panels(outer)) == m, "%zu", m);
    clip_outer_free(outer);
    free(a), free(b), free(c), free(was), free(first), free(scratch), free(left), free(right);
}

static void check_outers(struct clip_engine *engine)
{
    static const size_t cases[][3] = {{1, 7, 5},      {31, 48, 20},  {32, 192, 64}, {33, 193, 65},
                                      {100, 400, 96}, {800, 64, 80}, {547, 192, 48}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_outer(engine, cases[i][0], cases[i][1], cases[i][2]);
}

static void check_engine(const char *name, enum clip_precision precision)
{
    struct clip_error error = {""};
    struct clip_engine *engine = clip_engine_open(name, precision, 4, &error);
    if (!engine) {
        printf("%s, %s: not here: %s\n", name, precision == CLIP_PRECISION_F32 ? "f32" : "bf16", error.text);
        CHECK(error.text[0], "a reason");
        CHECK(strcmp(name, "openblas") != 0, "OpenBLAS is always there");
        return;
    }
    printf("%s, %zu rows\n", clip_engine_text(engine), clip_engine_rows(engine));
    CHECK(clip_engine_precision(engine) == precision, "");
    CHECK(clip_engine_element(engine) == (precision == CLIP_PRECISION_F32 ? 4 : 2), "");
    static const size_t shapes[][2] = {{1, 1},      {48, 27},   {17, 100}, {64, 64},   {192, 64},
                                       {256, 64},   {80, 320},  {288, 96}, {512, 512}, {1536, 512},
                                       {512, 2048}, {320, 588}, {64, 576}, {768, 768}, {50, 1537}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_shape(engine, clip_engine_rows(engine), shapes[i][0], shapes[i][1]);
        check_shape(engine, 16, shapes[i][0], shapes[i][1]);
        for (int stored = CLIP_STORED_F32; stored <= CLIP_STORED_BF16; stored++) {
            check_mapped(engine, clip_engine_rows(engine), shapes[i][0], shapes[i][1],
                         (enum clip_stored)stored);
            check_mapped(engine, 16, shapes[i][0], shapes[i][1], (enum clip_stored)stored);
        }
    }
    size_t most = clip_engine_rows(engine), small = strcmp(name, "native") == 0 ? 32 : most;
    CHECK(clip_engine_piece(engine, 50, 2) == small && clip_engine_piece(engine, 1000, 2) == most &&
              clip_engine_piece(engine, 100, 1) == most,
          "%zu rows", clip_engine_piece(engine, 50, 2));
    check_outers(engine);
    CHECK(!clip_outer_new(engine, 2, (size_t)1 << 40, &error), "far too large");
    CHECK(!clip_matrix_new(engine, 16, (size_t)1 << 40, 2, &error), "far too large");
    CHECK(!clip_matrix_new(engine, 16, 0, 2, &error), "empty");
    clip_engine_free(engine);
}

static void check_gemm(void)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, 4, &error);
    CHECK(engine, "%s", error.text);
    enum { M = 5, N = 7, K = 11, LD = 13 };
    float *a = random_floats(LD * LD), *b = random_floats(LD * LD), *before = random_floats(M * LD),
          *c = random_floats(M * LD);
    for (int t = 0; t < 8; t++) {
        int ta = t & 1, tb = t >> 1 & 1, beta = t >> 2;
        memcpy(c, before, M * LD * sizeof *c);
        clip_gemm(ta, tb, M, N, K, a, LD, b, LD, (float)beta, c, LD);
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < LD; j++) {
                double want = before[i * LD + j];
                for (size_t k = 0; j < N && k < K; k++)
                    want = (k == 0 ? beta * want : want) +
                           (double)a[ta ? k * LD + i : i * LD + k] * b[tb ? j * LD + k : k * LD + j];
                CHECK(fabs(want - c[i * LD + j]) < 1e-5, "transposes %d, row %zu, column %zu", t, i, j);
            }
    }
    free(a), free(b), free(before), free(c);
    clip_engine_free(engine);
}

/* clip_gemm runs in its caller's thread beside either engine: OpenBLAS's own threads would wait for ours. */
static void check_one_thread(const char *name)
{
    struct clip_error error;
    openblas_set_num_threads(2);
    struct clip_engine *engine = clip_engine_open(name, CLIP_PRECISION_F32, 4, &error);
    CHECK(engine || strcmp(name, "openblas") != 0, "%s", error.text);
    if (!engine)
        return;
    CHECK(openblas_get_num_threads() == 1, "%s leaves OpenBLAS %d threads", name, openblas_get_num_threads());
    clip_engine_free(engine);
}

static void check_names(void)
{
    struct clip_error error;
    CHECK(!clip_engine_open("abacus", CLIP_PRECISION_F32, 4, &error) && strstr(error.text, "abacus"), "%s",
          error.text);
    CHECK(!clip_engine_open("openblas", CLIP_PRECISION_BF16, 4, &error), "OpenBLAS has no bf16");
    CHECK(!clip_engine_open("openblas", CLIP_PRECISION_INT8, 4, &error), "OpenBLAS has no int8");
    char list[128];
    CHECK(strstr(clip_engines(list, sizeof list), "OpenBLAS (f32)"), "%s", list);
}

int main(void)
{
    for (int level = CLIP_PLAIN; level <= (int)clip_level(); level++) {
        check_halves((enum clip_level)level);
        check_lying((enum clip_level)level);
    }
    check_names();
    check_gemm();
    check_one_thread("openblas");
    check_one_thread("onednn");
    check_one_thread("native");
    check_engine("native", CLIP_PRECISION_F32);
    check_engine("openblas", CLIP_PRECISION_F32);
    check_engine("onednn", CLIP_PRECISION_F32);
    check_engine("onednn", CLIP_PRECISION_BF16);
    return check_end();
}
