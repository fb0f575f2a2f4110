/* resnet-learner ARCH.json [BATCH [THREADS]]: a training step of a ResNet's image tower (forward and
 * backward, without the optimizer) at batch 256 on 2 threads unless given, the best of a few turns: its time,
 * that of all processors together, which other work on the machine does not change, and how many operations a
 * second these are. Then the kernels by themselves, on one thread, for each convolution. */
#include "bench.h"

#include "math/conv-train.h"
#include "model/source.h"
#include "model/write.h"
#include "tower/tower.h"

#include <unistd.h>

enum { TURNS = 5 };

/* The architecture with initial weights. */
static struct clip_model *make_model(const char *json, struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_arch arch;
    struct clip_layout layout;
    char path[] = "/tmp/resnet-learner.XXXXXX";
    int fd = mkstemp(path);
    bench_check(fd >= 0 && clip_arch_read(&arch, json, &error) == 0, &error);
    bench_check(clip_layout_make(&layout, &arch, &error) == 0, &error);
    struct clip_seed_source seed = {1, pool};
    struct clip_tensor_source source = clip_source_of_seed(&seed);
    bench_check(clip_write_weights(&layout, &source, path, &error) == 0, &error);
    struct clip_model *model = clip_model_open(path, json, &error);
    bench_check(model != NULL, &error);
    clip_layout_free(&layout);
    unlink(path); /* it is mapped */
    close(fd);
    return model;
}

/* --- operations --- */

struct total {
    double operations; /* multiply-adds of a picture's forward */
    void (*each)(struct total *total, size_t side, size_t filter, size_t in, size_t out);
};

static void count(struct total *total, size_t side, size_t filter, size_t in, size_t out)
{
    total->operations += (double)(side * side * filter * filter * in * out);
}

/* Calls each() for the convolutions of an architecture; the first as one of side 1. */
static void convolutions(const struct clip_tower_arch *arch, struct total *total)
{
    size_t width = (size_t)arch->width, side = (size_t)arch->image_size / 2, in = width;
    total->each(total, side, 1, 27, width / 2);
    total->each(total, side, 3, width / 2, width / 2);
    total->each(total, side, 3, width / 2, width);
    side /= 2;
    for (int stage = 0; stage < 4; stage++)
        for (int i = 0; i < arch->blocks[stage]; i++) {
            size_t planes = width << stage, half = stage > 0 && i == 0 ? side / 2 : side;
            total->each(total, side, 1, in, planes);
            total->each(total, side, 3, planes, planes);
            total->each(total, half, 1, planes, 4 * planes);
            if (i == 0)
                total->each(total, half, 1, in, 4 * planes);
            side = half;
            in = 4 * planes;
        }
}

/* --- kernels --- */

/* GFLOP/s of a convolution forward, back to its input, and to its weights. */
static void time_kernels(struct total *total, size_t side, size_t filter, size_t in, size_t out)
{
    const struct clip_conv_train_kernels *kernels = clip_conv_train_kernels(clip_level());
    struct clip_conv_plane plane = {1, side, side, clip_conv_channels(in), clip_conv_channels(out), filter};
    plane.pictures = 1 + 1024 / (side * side);
    struct clip_conv_plane back = plane;
    back.in = plane.out, back.out = plane.in;
    size_t pixels = plane.pictures * (side + filter - 1) * (side + filter - 1);
    float *x = bench_zeros(pixels * plane.in * sizeof *x), *y = bench_zeros(pixels * plane.out * sizeof *y),
          *w = bench_zeros(filter * filter * plane.in * plane.out * sizeof *w);
    double best[3] = {1e9, 1e9, 1e9};
    for (int turn = 0; turn < 4 * TURNS; turn++) {
        double t[4] = {bench_clock(CLOCK_THREAD_CPUTIME_ID)};
        kernels->run(&plane, x, w, y), t[1] = bench_clock(CLOCK_THREAD_CPUTIME_ID);
        kernels->run(&back, y, w, x), t[2] = bench_clock(CLOCK_THREAD_CPUTIME_ID);
        kernels->weights(&plane, x, y, w), t[3] = bench_clock(CLOCK_THREAD_CPUTIME_ID);
        for (int k = 0; k < 3; k++)
            best[k] = t[k + 1] - t[k] < best[k] ? t[k + 1] - t[k] : best[k];
    }
    double operations = 2e-9 * (double)(plane.pictures * side * side * filter * filter * in * out);
    printf("%3zu x %-3zu side %zu, %4zu to %-4zu: %5.1f %5.1f %5.1f GFLOP/s\n", side, side, filter, in, out,
           operations / best[0], operations / best[1], operations / best[2]);
    free(x), free(y), free(w);
    (void)total;
}

/* --- the tower --- */

static void print(const char *name, double seconds, double processors, double operations, double pictures)
{
    printf("%s %.3f s, %.3f of processors: %.1f GFLOP/s, %.1f a processor; %.1f pictures/s, %.1f\n", name,
           seconds, processors, 1e-9 * operations / seconds, 1e-9 * operations / processors,
           pictures / seconds, pictures / processors);
}

static void run(struct clip_tower *learner, const union clip_item *items, size_t batch, double operations)
{
    struct clip_error error;
    struct clip_tape *tape = learner->type->tape_new(learner, &error);
    bench_check(tape != NULL, &error);
    size_t n = batch * learner->width;
    float *features = malloc(n * sizeof *features), *gradients = malloc(n * sizeof *gradients);
    double best[4] = {1e9, 1e9, 1e9, 1e9}, flop = 2 * operations * (double)batch;
    for (size_t i = 0; i < n; i++)
        gradients[i] = (float)(i % 17) - 8;
    bench_check(learner->type->refresh(learner, &error) == 0, &error);
    for (int turn = 0; turn < TURNS; turn++) {
        double t[6] = {clip_seconds(), bench_clock(CLOCK_PROCESS_CPUTIME_ID)};
        bench_check(learner->type->forward(learner, items, batch, 0, tape, features, &error) == 0, &error);
        t[2] = clip_seconds(), t[3] = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
        bench_check(learner->type->backward(learner, tape, gradients, NULL, &error) == 0, &error);
        t[4] = clip_seconds(), t[5] = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
        for (int k = 0; k < 4; k++)
            best[k] = t[k + 2] - t[k] < best[k] ? t[k + 2] - t[k] : best[k];
    }
    print("forward ", best[0], best[1], flop, (double)batch);
    print("backward", best[2], best[3], 2 * flop, (double)batch);
    print("both    ", best[0] + best[2], best[1] + best[3], 3 * flop, (double)batch);
    printf("tape %.0f MB\n", 1e-6 * (double)learner->type->tape_bytes(learner, batch));
    clip_tape_free(tape);
    free(features);
    free(gradients);
}

int main(int argc, char **argv)
{
    struct clip_error error;
    size_t batch = argc > 2 ? (size_t)atoi(argv[2]) : 256;
    if (argc < 2 || batch < 1) {
        fprintf(stderr, "usage: resnet-learner ARCH.json [BATCH [THREADS]]\n");
        return 2;
    }
    struct clip_pool *pool = clip_pool_new(argc > 3 ? atoi(argv[3]) : 2, &error);
    bench_check(pool != NULL, &error);
    struct clip_model *model = make_model(argv[1], pool);
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, 4, &error);
    bench_check(engine != NULL, &error);
    struct clip_parameters parameters;
    bench_check(clip_parameters_load(&parameters, model, CLIP_PART_IMAGE, &error) == 0, &error);
    const struct clip_tower_arch *arch = &clip_model_arch(model)->vision;
    size_t picture = 3 * (size_t)arch->image_size * (size_t)arch->image_size;
    union clip_item *items = calloc(batch, sizeof *items);
    uint8_t *bytes = malloc(batch * picture);
    for (size_t i = 0; i < batch * picture; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < batch; i++)
        items[i].image.bytes = bytes + i * picture;
    const struct clip_tower_setup setup = {.arch = clip_model_arch(model),
                                           .parameters = &parameters,
                                           .engine = engine,
                                           .pool = pool,
                                           .batch = batch};
    struct clip_tower *learner = clip_tower_open(CLIP_SIDE_IMAGE, &setup, &error);
    bench_check(learner != NULL, &error);
    /* The attention pool has three projections of one row. */
    struct total total = {3 * 32.0 * 32.0 * arch->width * arch->width, count};
    convolutions(arch, &total);
    run(learner, items, batch, total.operations);
    total.each = time_kernels;
    convolutions(arch, &total);
    clip_tower_free(learner);
    clip_parameters_free(&parameters);
    clip_engine_free(engine);
    clip_model_close(model);
    clip_pool_free(pool);
    free(items);
    free(bytes);
    return 0;
}
