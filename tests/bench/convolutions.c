/* convolutions [THREADS]: how long RN50's convolutions take on this machine, by engine and precision. Every
 * thread runs convolutions of its own, as the tower does; the best of several turns counts. GFLOP/s are those
 * of plain convolution: Winograd's, which needs fewer operations, passes the machine's peak. */
#include "bench.h"

#include "math/conv.h"

enum { TURNS = 7, COPIES = 4 }; /* as many weights in turn: those of a network do not stay in the cache */

static const struct {
    struct clip_conv_shape shape;
    int times; /* in the network */
} layers[] = {
    {{224, 224, 3, 32, 3, 2}, 1},   {{112, 112, 32, 32, 3, 1}, 1},  {{112, 112, 32, 64, 3, 1}, 1},
    {{56, 56, 64, 64, 1, 1}, 1},    {{56, 56, 64, 64, 3, 1}, 3},    {{56, 56, 64, 256, 1, 1}, 4},
    {{56, 56, 256, 64, 1, 1}, 2},   {{56, 56, 256, 128, 1, 1}, 1},  {{56, 56, 128, 128, 3, 1}, 1},
    {{28, 28, 128, 512, 1, 1}, 4},  {{28, 28, 256, 512, 1, 1}, 1},  {{28, 28, 512, 128, 1, 1}, 3},
    {{28, 28, 128, 128, 3, 1}, 3},  {{28, 28, 512, 256, 1, 1}, 1},  {{28, 28, 256, 256, 3, 1}, 1},
    {{14, 14, 256, 1024, 1, 1}, 6}, {{14, 14, 512, 1024, 1, 1}, 1}, {{14, 14, 1024, 256, 1, 1}, 5},
    {{14, 14, 256, 256, 3, 1}, 5},  {{14, 14, 1024, 512, 1, 1}, 1}, {{14, 14, 512, 512, 3, 1}, 1},
    {{7, 7, 512, 2048, 1, 1}, 3},   {{7, 7, 1024, 2048, 1, 1}, 1},  {{7, 7, 2048, 512, 1, 1}, 2},
    {{7, 7, 512, 512, 3, 1}, 2},
};

struct bench {
    struct clip_conv *convs[COPIES];
    const struct clip_conv_shape *shape;
    double *seconds; /* [threads]: of one convolution */
};

/* A thread: turns over all copies; the best counts. */
static void run_thread(void *context, size_t i, int thread)
{
    (void)thread;
    struct bench *bench = context;
    const struct clip_conv_shape *shape = bench->shape;
    struct clip_error error;
    void *x = bench_zeros(shape->height * shape->width * shape->in * sizeof(float));
    void *y = bench_zeros(clip_conv_height(shape) * clip_conv_width(shape) * shape->out * sizeof(float));
    void *scratch = bench_zeros(clip_conv_scratch(bench->convs[0]));
    bench->seconds[i] = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        double start = clip_seconds();
        for (int copy = 0; copy < COPIES; copy++)
            bench_check(clip_conv_run(bench->convs[copy], x, y, scratch, &error) == 0, &error);
        double each = (clip_seconds() - start) / COPIES;
        bench->seconds[i] = each < bench->seconds[i] ? each : bench->seconds[i];
    }
    free(x), free(y), free(scratch);
}

/* Seconds of one convolution where all threads run it, their mean. */
static double measure(struct clip_engine *engine, struct clip_pool *pool, const struct clip_conv_shape *shape)
{
    struct clip_error error;
    size_t threads = (size_t)clip_pool_threads(pool),
           weights = shape->in * shape->out * shape->side * shape->side;
    float *w = bench_zeros(weights * sizeof *w), *norm = bench_zeros(shape->out * sizeof *norm);
    struct bench bench = {.shape = shape, .seconds = bench_zeros(threads * sizeof *bench.seconds)};
    for (size_t i = 0; i < weights; i++)
        w[i] = 1.0f / (float)(i % 1000 + 1);
    for (int copy = 0; copy < COPIES; copy++) {
        bench.convs[copy] = clip_conv_new(engine, shape, CLIP_LINEAR_RELU, &error);
        bench_check(bench.convs[copy] != NULL, &error);
        float *room = bench_zeros(clip_conv_room(bench.convs[copy]) * sizeof *room);
        bench_check(clip_conv_set(bench.convs[copy], w, norm, norm, room, &error) == 0, &error);
        free(room);
    }
    clip_pool_run(pool, threads, run_thread, &bench);
    double sum = 0;
    for (size_t i = 0; i < threads; i++)
        sum += bench.seconds[i];
    for (int copy = 0; copy < COPIES; copy++)
        clip_conv_free(bench.convs[copy]);
    free(w), free(norm), free(bench.seconds);
    return sum / (double)threads;
}

static void measure_engine(struct clip_engine *engine, struct clip_pool *pool)
{
    double sum = 0, all = 0;
    int threads = clip_pool_threads(pool);
    printf("%s\n", clip_engine_text(engine));
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const struct clip_conv_shape *s = &layers[i].shape;
        double seconds = measure(engine, pool, s), area = (double)(clip_conv_height(s) * clip_conv_width(s));
        double operations = 2 * area * (double)(s->in * s->out * s->side * s->side);
        sum += seconds * layers[i].times;
        all += operations * layers[i].times;
        printf("  %d of side %zu, %4zu to %4zu channels, %3zu x %-3zu %6.0f us %5.0f GFLOP/s\n",
               layers[i].times, s->side, s->in, s->out, s->height, s->width, seconds * 1e6,
               threads * operations / seconds / 1e9);
        fflush(stdout);
    }
    printf("  all %.2f ms a picture and thread, %.0f GFLOP/s, %.1f pictures/s\n", sum * 1e3,
           threads * all / sum / 1e9, threads / sum);
}

int main(int argc, char **argv)
{
    struct clip_error error;
    struct clip_pool *pool = clip_pool_new(argc > 1 ? atoi(argv[1]) : clip_processors(), &error);
    bench_check(pool != NULL, &error);
    printf("%d threads\n", clip_pool_threads(pool));
    bench_engines(pool, measure_engine);
    clip_pool_free(pool);
    return 0;
}
