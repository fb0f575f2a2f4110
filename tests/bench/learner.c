/* learner MODEL [THREADS [CHUNK]]: how fast the towers of a vision transformer learn: refresh, forward and
 * backward of a chunk, the best of several turns; captions are of 14 tokens. Where other work runs on the
 * machine, the processor's time says more than the clock's. Operations are those of products that must be
 * made: two a multiply-add, forward once and backward twice, of the last block only what the features need.
 */
#include "bench.h"

#include "model/kind.h"
#include "model/model.h"
#include "model/parameters.h"
#include "tower/tower.h"

enum { TURNS = 5, TOKENS = 14 };

/* Operations of a forward of one sequence of `rows` rows, but for attention's own products. */
static double forward_operations(const struct clip_tower_arch *tower, double rows)
{
    double w = tower->width, mlp = tower->mlp;
    double block = 4 * w * w + 2 * w * mlp, last = 2 * w * w * rows + 2 * w * w + 2 * w * mlp;
    return 2 * ((tower->layers - 1) * rows * block + last);
}

/* Pictures of noise, or captions that end at the TOKENS-th token. */
static union clip_item *make_items(const struct clip_arch *arch, int image, size_t n)
{
    union clip_item *items = calloc(n, sizeof *items);
    size_t side = (size_t)arch->vision.image_size, context = (size_t)arch->text.context;
    unsigned state = 1;
    for (size_t i = 0; i < n; i++) {
        if (image) {
            unsigned char *bytes = malloc(3 * side * side);
            for (size_t j = 0; j < 3 * side * side; j++)
                bytes[j] = (unsigned char)((state = state * 1664525u + 1013904223u) >> 24);
            items[i].image.bytes = bytes;
            continue;
        }
        int32_t *tokens = calloc(context, sizeof *tokens);
        for (size_t j = 0; j + 1 < TOKENS; j++)
            tokens[j] =
                (int32_t)((state = state * 1664525u + 1013904223u) >> 8) % (arch->text.vocabulary - 1);
        tokens[TOKENS - 1] = arch->text.end_token >= 0 ? arch->text.end_token : arch->text.vocabulary - 1;
        items[i].caption = (struct clip_caption){tokens, context};
    }
    return items;
}

static void measure(const struct clip_model *model, int image, enum clip_precision precision, int threads,
                    size_t n)
{
    struct clip_error error;
    const struct clip_arch *arch = clip_model_arch(model);
    struct clip_parameters parameters;
    struct clip_engine *engine = clip_engine_open(NULL, precision, 4, &error);
    if (!engine)
        return;
    struct clip_pool *pool = clip_pool_new(threads, &error);
    bench_check(pool && clip_parameters_load(&parameters, model, image ? CLIP_PART_IMAGE : CLIP_PART_TEXT,
                                             &error) == 0,
                &error);
    const struct clip_tower_setup setup = {
        .arch = arch, .parameters = &parameters, .engine = engine, .pool = pool, .batch = n};
    struct clip_tower *learner = clip_tower_open(image ? CLIP_SIDE_IMAGE : CLIP_SIDE_TEXT, &setup, &error);
    bench_check(learner != NULL, &error);
    struct clip_tape *tape = learner->type->tape_new(learner, &error);
    bench_check(tape != NULL, &error);
    union clip_item *items = make_items(arch, image, n);
    float *features = calloc(n * learner->width, sizeof *features);
    double best[3] = {1e9, 1e9, 1e9}, busy[3] = {1e9, 1e9, 1e9};
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < 3; i++) {
            double at = clip_seconds(), used = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
            int status = i == 0   ? learner->type->refresh(learner, &error)
                         : i == 1 ? learner->type->forward(learner, items, n, 0, tape, features, &error)
                                  : learner->type->backward(learner, tape, features, NULL, &error);
            bench_check(status == 0, &error);
            at = clip_seconds() - at;
            used = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - used;
            best[i] = at < best[i] ? at : best[i];
            busy[i] = used < busy[i] ? used : busy[i];
        }
    const struct clip_tower_arch *tower = image ? &arch->vision : &arch->text;
    double side = arch->vision.patch, grid = arch->vision.image_size / side;
    double rows = image ? 1 + grid * grid : TOKENS;
    double patches = image ? 2 * (rows - 1) * 3 * side * side * tower->width : 0;
    double giga = (double)n * (forward_operations(tower, rows) + patches) / 1e9;
    double back = (double)n * (2 * forward_operations(tower, rows) + patches) / 1e9;
    printf("%s, %s, %zu %s:\n", arch->name, clip_engine_text(engine), n, image ? "images" : "captions");
    const char *const names[] = {"refresh", "forward", "backward"};
    const double operations[] = {0, giga, back};
    for (int i = 0; i < 3; i++)
        printf("    %-8s %6.0f ms, %4.0f GFLOP/s; %6.0f ms of the processor, %4.0f GFLOP/s a thread\n",
               names[i], best[i] * 1e3, operations[i] / best[i], busy[i] * 1e3, operations[i] / busy[i]);
    for (size_t i = 0; i < n; i++)
        free(image ? (void *)items[i].image.bytes : (void *)items[i].caption.tokens);
    free(items), free(features);
    clip_tape_free(tape);
    clip_tower_free(learner);
    clip_parameters_free(&parameters);
    clip_pool_free(pool);
    clip_engine_free(engine);
}

int main(int argc, char **argv)
{
    struct clip_error error;
    int threads = argc > 2 ? atoi(argv[2]) : 2;
    size_t n = argc > 3 ? (size_t)atoi(argv[3]) : 16;
    if (argc < 2 || threads < 1 || n < 1) {
        fprintf(stderr, "usage: learner MODEL [THREADS [CHUNK]]\n");
        return 2;
    }
    struct clip_model *model = clip_model_open(argv[1], NULL, &error);
    bench_check(model && clip_model_arch(model)->vision.kind == &clip_kind_vit, &error);
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int image = 1; image >= 0; image--)
            measure(model, image, bf16 ? CLIP_PRECISION_BF16 : CLIP_PRECISION_F32, threads, n);
    clip_model_close(model);
    return 0;
}
