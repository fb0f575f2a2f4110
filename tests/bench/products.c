/* products [THREADS]: how fast matrix products are on this machine, in GFLOP/s of all threads together, by
 * engine, precision and rows of a product; and how fast one row of each kernel is. Seconds are those of the
 * processor, so that other work on the machine does not count. Every thread runs products
 * of its own, as the towers do, over the four matrices of ViT-B/32's blocks; the best of several turns
 * counts. "most" is the best of all: the machine's measured peak. */
#include "bench.h"

#include "math/kernels.h"

enum { WIDTH = 768, MLP = 3072, SHAPES = 4, TURNS = 5 };
static const size_t shapes[SHAPES][2] = {{3 * WIDTH, WIDTH}, {WIDTH, WIDTH}, {MLP, WIDTH}, {WIDTH, MLP}};
#define SECONDS 0.1 /* of a turn */

struct turn {
    struct clip_matrix *const *matrices;
    double *rate; /* [threads]: operations a second */
};

/* One thread's products, one matrix after the other, until the time is up. */
static void run_turn(void *context, size_t i, int thread)
{
    (void)thread;
    const struct turn *turn = context;
    size_t rows = clip_matrix_rows(turn->matrices[0]), scratch = 0;
    for (int s = 0; s < SHAPES; s++)
        if (clip_product_scratch(turn->matrices[s]) > scratch)
            scratch = clip_product_scratch(turn->matrices[s]);
    float *x = bench_zeros(rows * MLP * sizeof *x), *y = bench_zeros(rows * MLP * sizeof *y);
    void *work = bench_zeros(scratch);
    struct clip_error error;
    double operations = 0, start = bench_clock(CLOCK_THREAD_CPUTIME_ID), end;
    do {
        for (int s = 0; s < SHAPES; s++) {
            bench_check(clip_product(turn->matrices[s], x, y, work, &error) == 0, &error);
            operations += 2.0 * (double)(rows * shapes[s][0] * shapes[s][1]);
        }
        end = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    } while (end - start < SECONDS);
    turn->rate[i] = operations / (end - start);
    free(x), free(y), free(work);
}

/* GFLOP/s of all threads, the best of TURNS. */
static double measure(struct clip_engine *engine, struct clip_pool *pool, size_t rows)
{
    struct clip_error error;
    struct clip_matrix *matrices[SHAPES];
    float *w = bench_zeros(MLP * WIDTH * sizeof *w);
    for (size_t i = 0; i < MLP * WIDTH; i++)
        w[i] = 1.0f / (float)(i % 1000 + 1);
    for (int s = 0; s < SHAPES; s++) {
        matrices[s] = clip_matrix_new(engine, rows, shapes[s][0], shapes[s][1], &error);
        bench_check(matrices[s] && clip_matrix_set(matrices[s], w, 0, &error) == 0, &error);
    }
    size_t threads = (size_t)clip_pool_threads(pool);
    double *rate = bench_zeros(threads * sizeof *rate), best = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        double sum = 0;
        clip_pool_run(pool, threads, run_turn, &(struct turn){matrices, rate});
        for (size_t i = 0; i < threads; i++)
            sum += rate[i];
        best = sum > best ? sum : best;
    }
    for (int s = 0; s < SHAPES; s++)
        clip_matrix_free(matrices[s]);
    free(rate), free(w);
    return best / 1e9;
}

static void measure_engine(struct clip_engine *engine, struct clip_pool *pool)
{
    static const size_t rows[] = {16, 32, 48, 64, 96, 128, 192, 256};
    double most = 0;
    printf("%s, %zu rows a piece\n   ", clip_engine_text(engine), clip_engine_rows(engine));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double rate = measure(engine, pool, rows[i]);
        most = rate > most ? rate : most;
        printf(" %zu: %.0f", rows[i], rate);
        fflush(stdout);
    }
    printf("\n    most %s %.0f GFLOP/s\n",
           clip_engine_precision(engine) == CLIP_PRECISION_BF16 ? "bf16" : "f32", most);
}

/* Nanoseconds of a call, the best of TURNS. */
#define TIME(best, call)                                                                                     \
    do {                                                                                                     \
        best = 1e9;                                                                                          \
        for (int turn = 0; turn < TURNS; turn++) {                                                           \
            double start = bench_clock(CLOCK_THREAD_CPUTIME_ID);                                             \
            for (int i = 0; i < 1000; i++)                                                                   \
                call;                                                                                        \
            double each = (bench_clock(CLOCK_THREAD_CPUTIME_ID) - start) * 1e6;                              \
            best = each < best ? each : best;                                                                \
        }                                                                                                    \
    } while (0)

static void measure_kernels(enum clip_level level)
{
    enum { TOKENS = 50, DIM = 64 };
    const struct clip_kernels *kernels = clip_kernels(level);
    enum clip_precision f32 = CLIP_PRECISION_F32;
    float *x = bench_zeros(TOKENS * 3 * WIDTH * sizeof *x), *bias = bench_zeros(MLP * sizeof *bias),
          *y = bench_zeros(TOKENS * WIDTH * sizeof *y),
          *scratch = bench_zeros(clip_attention_scratch(TOKENS, DIM) * 4);
    struct clip_attention attention = {.queries = TOKENS,
                                       .keys = TOKENS,
                                       .dim = DIM,
                                       .scale = 0.125f,
                                       .q = x,
                                       .k = x + DIM,
                                       .v = x + 2 * DIM,
                                       .q_stride = 3 * WIDTH,
                                       .k_stride = 3 * WIDTH,
                                       .v_stride = 3 * WIDTH,
                                       .q_bias = bias,
                                       .k_bias = bias,
                                       .v_bias = bias,
                                       .type = f32,
                                       .out = y,
                                       .out_stride = WIDTH};
    double norm, add, quick, gelu, head;
    TIME(norm, kernels->layer_norm(WIDTH, 1e-5f, x, bias, bias, f32, y));
    TIME(add, kernels->add(WIDTH, x, y, bias));
    TIME(quick, kernels->activation[CLIP_QUICK_GELU](MLP, x, bias, f32, y));
    TIME(gelu, kernels->activation[CLIP_GELU](MLP, x, bias, f32, y));
    TIME(head, kernels->attention(&attention, scratch));
    printf("%s, ns: layer_norm[%d] %.0f, add[%d] %.0f, quick_gelu[%d] %.0f, gelu[%d] %.0f, a head of "
           "attention over "
           "%d of %d %.0f\n",
           clip_level_name(level), WIDTH, norm, WIDTH, add, MLP, quick, MLP, gelu, TOKENS, DIM, head);
    free(x), free(y), free(bias), free(scratch);
}

int main(int argc, char **argv)
{
    struct clip_error error;
    struct clip_pool *pool = clip_pool_new(argc > 1 ? atoi(argv[1]) : clip_processors(), &error);
    bench_check(pool != NULL, &error);
    printf("GFLOP/s of %d threads, by rows of a product:\n", clip_pool_threads(pool));
    bench_engines(pool, measure_engine);
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++)
        measure_kernels(level);
    clip_pool_free(pool);
    return 0;
}
