/* Both transformers and the projections: golden results, and the same bytes whatever the batch, the threads
 * and the order. (tests/unit/test-resnet.c does the other image tower.) */
#include "golden.h"

#include "base/crew.h"
#include "tower/project.h"
#include "tower/tower.h"

#include <math.h>
#include <string.h>

/* A golden model, its inputs, and what must come of them, by side. */
struct golden {
    const char *name;
    struct clip_model *model;
    struct clip_record *input[GOLDEN_RECORDS], *output[GOLDEN_RECORDS];
    struct clip_image images[GOLDEN_RECORDS];
    struct clip_caption captions[GOLDEN_RECORDS];
    const float *features[2][GOLDEN_RECORDS], *embeddings[2][GOLDEN_RECORDS];
};

static void golden_open(struct golden *golden, const char *name, const char *file, const char *expected)
{
    struct clip_error error = {""};
    golden->name = name;
    /* A lone file does not say everything; a folder does. */
    golden->model = golden_model(name, file, strchr(file, '.') != NULL);
    golden_records(name, "batch.msgpack", golden->input);
    golden_records(name, expected, golden->output);
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        golden->images[i].bytes = golden_tensor(golden->input[i], "image", CLIP_U8, NULL);
        golden->captions[i].tokens =
            golden_tensor(golden->input[i], "tokens", CLIP_I32, &golden->captions[i].count);
        CHECK(clip_caption_check(clip_model_arch(golden->model), &golden->captions[i], &error) == 0, "%s",
              error.text);
        golden->features[0][i] = golden_tensor(golden->output[i], "image_features", CLIP_F32, NULL);
        golden->features[1][i] = golden_tensor(golden->output[i], "text_features", CLIP_F32, NULL);
        golden->embeddings[0][i] = golden_tensor(golden->output[i], "image_embedding", CLIP_F32, NULL);
        golden->embeddings[1][i] = golden_tensor(golden->output[i], "text_embedding", CLIP_F32, NULL);
    }
}

static void golden_close(struct golden *golden)
{
    golden_records_free(golden->input);
    golden_records_free(golden->output);
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        free((void *)golden->images[i].bytes);
        free((void *)golden->captions[i].tokens);
        for (int side = 0; side < 2; side++) {
            free((void *)golden->features[side][i]);
            free((void *)golden->embeddings[side][i]);
        }
    }
    clip_model_close(golden->model);
}

static size_t width_of(const struct clip_model *model, int side)
{
    const struct clip_arch *arch = clip_model_arch(model);
    return clip_feature_width(arch, side);
}

/* out[n][width]: features of the golden inputs order[0..n), `batch` at a time. */
static void run_tower(const struct golden *golden, int side, struct clip_engine *engine,
                      struct clip_pool *pool, const size_t *order, size_t n, size_t batch, float *out)
{
    struct clip_error error = {""};
    const struct clip_tower_setup setup = {
        clip_model_arch(golden->model), golden->model, NULL, engine, pool, batch, NULL};
    struct clip_tower *tower = clip_tower_open(side, &setup, &error);
    CHECK(tower, "%s", error.text);
    for (size_t first = 0; first < n; first += batch) {
        size_t count = n - first < batch ? n - first : batch;
        union clip_item picked[64];
        for (size_t i = 0; i < count; i++)
            if (side == CLIP_SIDE_IMAGE)
                picked[i].image = golden->images[order[first + i]];
            else
                picked[i].caption = golden->captions[order[first + i]];
        float *features = out + first * width_of(golden->model, side);
        int status = tower->type->forward(tower, picked, count, 0, NULL, features, &error);
        CHECK(status == 0, "%s", error.text);
    }
    clip_tower_free(tower);
}

/* The same with an engine and threads of its own; NULL where the engine cannot. */
static float *features(const struct golden *golden, int side, const struct golden_setting *setting,
                       int threads, const size_t *order, size_t n, size_t batch)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open(setting->engine, setting->precision, 4, &error);
    if (!engine)
        return NULL;
    struct clip_pool *pool = clip_pool_new(threads, &error);
    CHECK(pool, "%s", error.text);
    float *out = malloc(n * width_of(golden->model, side) * sizeof *out);
    run_tower(golden, side, engine, pool, order, n, batch, out);
    clip_pool_free(pool);
    clip_engine_free(engine);
    return out;
}

/* embeddings[n][embed] of features[n][width], `batch` at a time. */
static float *project(const struct golden *golden, int side, const struct golden_setting *setting,
                      const float *features, size_t n, size_t batch)
{
    struct clip_error error = {""};
    struct clip_engine *engine = clip_engine_open(setting->engine, setting->precision, 4, &error);
    const struct clip_tower_setup setup = {
        .arch = clip_model_arch(golden->model), .model = golden->model, .engine = engine};
    struct clip_projection *projection = clip_projection_open(side, &setup, &error);
    CHECK(projection, "%s", error.text);
    size_t width = clip_projection_inputs(projection), embed = clip_projection_outputs(projection);
    CHECK(width == width_of(golden->model, side), "%zu", width);
    CHECK(embed == (size_t)clip_model_arch(golden->model)->embed, "%zu", embed);
    float *out = malloc(n * embed * sizeof *out);
    for (size_t first = 0; first < n; first += batch)
        CHECK(clip_projection_run(projection, features + first * width, n - first < batch ? n - first : batch,
                                  out + first * embed, &error) == 0,
              "%s", error.text);
    clip_projection_free(projection);
    clip_engine_free(engine);
    return out;
}

static double largest_difference(const float *x, const float *y, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i] - y[i]));
    return most;
}

static double cosine(const float *x, const float *y, size_t n)
{
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < n; i++) {
        xy += (double)x[i] * y[i];
        xx += (double)x[i] * x[i];
        yy += (double)y[i] * y[i];
    }
    return xy / sqrt(xx * yy);
}

static void check_golden(const char *name, const char *file, const char *expected)
{
    struct golden golden = {0};
    size_t order[GOLDEN_RECORDS];
    golden_open(&golden, name, file, expected);
    for (size_t i = 0; i < GOLDEN_RECORDS; i++)
        order[i] = i;
    for (int s = 0; s < GOLDEN_SETTINGS; s++)
        for (int side = 0; side < 2; side++) {
            float *out =
                features(&golden, side, &golden_settings[s], 2, order, GOLDEN_RECORDS, GOLDEN_RECORDS);
            if (!out)
                continue;
            /* bf16 is for the towers; the projection of what they give is exact. */
            float *unit = project(&golden, side, &golden_settings[0], out, GOLDEN_RECORDS, GOLDEN_RECORDS);
            size_t width = width_of(golden.model, side), embed = (size_t)clip_model_arch(golden.model)->embed;
            double off = 0, off_features = 0, least = 1;
            for (size_t i = 0; i < GOLDEN_RECORDS; i++) {
                off = fmax(off, largest_difference(unit + i * embed, golden.embeddings[side][i], embed));
                off_features =
                    fmax(off_features, largest_difference(out + i * width, golden.features[side][i], width));
                least = fmin(least, cosine(unit + i * embed, golden.embeddings[side][i], embed));
            }
            printf("%s/%s, %s, %s %s: embeddings off by %.2g, features by %.2g, least cosine %.7f\n", name,
                   file, side == CLIP_SIDE_IMAGE ? "images" : "texts", golden_settings[s].engine,
                   golden_precision(&golden_settings[s]), off, off_features, least);
            if (golden_settings[s].precision == CLIP_PRECISION_BF16)
                CHECK(least >= 0.999, "%.6f", least);
            else
                CHECK(off <= 2e-6, "%g", off);
            free(out);
            free(unit);
        }
    golden_close(&golden);
}

static void check_sameness(const char *name)
{
    enum { N = 50 };
    struct golden golden = {0};
    size_t plain[GOLDEN_RECORDS], order[N];
    golden_open(&golden, name, "model.safetensors", "forward.msgpack");
    for (size_t i = 0; i < GOLDEN_RECORDS; i++)
        plain[i] = i;
    for (int s = 0; s < GOLDEN_SETTINGS; s++)
        for (int side = 0; side < 2; side++) {
            size_t width = width_of(golden.model, side), embed = (size_t)clip_model_arch(golden.model)->embed;
            float *want = features(&golden, side, &golden_settings[s], 1, plain, GOLDEN_RECORDS, 1);
            if (!want)
                continue;
            float *want_unit = project(&golden, side, &golden_settings[s], want, GOLDEN_RECORDS, 1);
            for (int threads = 1; threads <= 3; threads++)
                for (size_t batch = 1; batch <= N; batch = batch == 1 ? 7 : batch == 7 ? 32 : batch + 18) {
                    for (size_t i = 0; i < N; i++)
                        order[i] = (i * 5 + batch + i / GOLDEN_RECORDS) % GOLDEN_RECORDS;
                    float *out = features(&golden, side, &golden_settings[s], threads, order, N, batch);
                    float *unit = project(&golden, side, &golden_settings[s], out, N, batch);
                    size_t different = 0;
                    for (size_t i = 0; i < N; i++)
                        different += memcmp(out + i * width, want + order[i] * width, width * 4) != 0 ||
                                     memcmp(unit + i * embed, want_unit + order[i] * embed, embed * 4) != 0;
                    CHECK(different == 0, "%s, side %d, setting %d, %d threads, batch %zu: %zu of %d", name,
                          side, s, threads, batch, different, N);
                    free(out);
                    free(unit);
                }
            free(want);
            free(want_unit);
        }
    golden_close(&golden);
}

/* Floats that are normalised as the model says give what the bytes give, and NaN stays NaN, in its own row.
 */
static void check_floats(void)
{
    struct golden golden = {0};
    struct clip_error error;
    golden_open(&golden, "vit-a", "model.safetensors", "forward.msgpack");
    const struct clip_arch *arch = clip_model_arch(golden.model);
    size_t n = (size_t)arch->vision.image_size * (size_t)arch->vision.image_size, width = 64;
    float *x = malloc(3 * n * sizeof *x), *bad = malloc(3 * n * sizeof *x), out[3 * 64];
    for (size_t i = 0; i < 3 * n; i++)
        x[i] =
            (golden.images[0].bytes[i] / 255.0f - arch->preprocess.mean[i / n]) / arch->preprocess.std[i / n];
    memcpy(bad, x, 3 * n * sizeof *x);
    bad[n + 17] = NAN;
    union clip_item items[] = {{golden.images[0]}, {.image.floats = bad}, {.image.floats = x}};
    struct clip_engine *engine = clip_engine_open(NULL, CLIP_PRECISION_F32, 4, &error);
    struct clip_pool *pool = clip_pool_new(2, &error);
    const struct clip_tower_setup setup = {arch, golden.model, NULL, engine, pool, 3, NULL};
    struct clip_tower *tower = clip_tower_open(CLIP_SIDE_IMAGE, &setup, &error);
    CHECK(tower && tower->type->forward(tower, items, 3, 0, NULL, out, &error) == 0, "%s", error.text);
    CHECK(memcmp(out, out + 2 * width, width * sizeof *out) == 0, "bytes and floats differ");
    size_t nans = 0;
    for (size_t i = 0; i < width; i++)
        nans += isnan(out[width + i]) != 0;
    CHECK(nans == width, "%zu", nans);
    clip_tower_free(tower);
    clip_pool_free(pool);
    clip_engine_free(engine);
    golden_close(&golden);
    free(x);
    free(bad);
}

static void check_captions(void)
{
    struct clip_arch arch = {.text = {.context = 5, .vocabulary = 100, .end_token = -1}};
    struct clip_error error = {""};
    int32_t tokens[] = {98, 3, 99, 0, 0};
    struct clip_caption caption = {tokens, 5};
    CHECK(clip_caption_check(&arch, &caption, &error) == 0, "%s", error.text);
    arch.text.end_token = 99;
    CHECK(clip_caption_check(&arch, &caption, &error) == 0, "%s", error.text);
    arch.text.end_token = 97; /* where there is none, position 0 counts, as in open_clip */
    CHECK(clip_caption_check(&arch, &caption, &error) == 0, "%s", error.text);
    arch.text.text.flags = CLIP_TEXT_HIDES_PADDING;
    CHECK(clip_caption_check(&arch, &caption, &error) == 0, "%s", error.text);
    caption.tokens = (int32_t[5]){0};
    CHECK(clip_caption_check(&arch, &caption, &error) == -1 && strstr(error.text, "padding (0)"), "%s",
          error.text);
    caption.tokens = tokens;
    tokens[1] = 100;
    CHECK(clip_caption_check(&arch, &caption, &error) == -1 && strstr(error.text, "100"), "%s", error.text);
    tokens[1] = -1;
    CHECK(clip_caption_check(&arch, &caption, &error) == -1 && strstr(error.text, "-1"), "%s", error.text);
    caption.count = 4;
    CHECK(clip_caption_check(&arch, &caption, &error) == -1 && strstr(error.text, "4 tokens"), "%s",
          error.text);
}

/* --- tasks that wait --- */

struct chain {
    struct clip_crew crew;
    unsigned done[64];
    int order[64];
    int next;
    int fail_at;
};

/* Task i waits for i - 1: they run in order whatever thread has them. */
static int link_task(void *context, size_t i, int thread, struct clip_error *error)
{
    struct chain *chain = context;
    (void)thread;
    if (i > 0 && clip_crew_wait(&chain->crew, chain->done, i - 1, i - 1, 1) != 0)
        return clip_fail(error, "not the first");
    if ((int)i == chain->fail_at)
        return clip_fail(error, "task %zu", i);
    chain->order[chain->next++] = (int)i;
    clip_crew_count(&chain->crew, &chain->done[i]);
    return 0;
}

static void check_crew(void)
{
    struct clip_error error;
    for (int threads = 1; threads <= 4; threads++) {
        struct clip_pool *pool = clip_pool_new(threads, &error);
        struct chain chain = {.fail_at = -1};
        clip_crew_init(&chain.crew);
        CHECK(clip_crew_run(&chain.crew, pool, 64, link_task, &chain, &error) == 0, "%s", error.text);
        int in_order = chain.next == 64;
        for (int i = 0; i < 64; i++)
            in_order &= chain.order[i] == i;
        CHECK(in_order, "%d threads", threads);
        memset(chain.done, 0, sizeof chain.done);
        chain.next = 0;
        chain.fail_at = 20;
        CHECK(clip_crew_run(&chain.crew, pool, 64, link_task, &chain, &error) == -1, "%d threads", threads);
        CHECK(strcmp(error.text, "task 20") == 0 && chain.next == 20, "%s, %d", error.text, chain.next);
        clip_crew_destroy(&chain.crew);
        clip_pool_free(pool);
    }
}

int main(void)
{
    check_crew();
    check_captions();
    if (!check_shared())
        return check_end();
    check_golden("vit-a", "model.safetensors", "forward.msgpack");
    check_golden("vit-a", "openai.pt", "forward_f16.msgpack");
    check_golden("vit-a", "hf", "forward.msgpack");
    check_golden("vit-b", "model.safetensors", "forward.msgpack");
    check_golden("rn-a", "model.safetensors", "forward.msgpack");
    check_sameness("vit-a");
    check_sameness("vit-b");
    check_floats();
    return check_end();
}
