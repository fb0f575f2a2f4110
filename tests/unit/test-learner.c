/* Both transformers in training, against golden gradients: in chunks, on any number of threads, kept or
 * recomputed. (tests/unit/test-resnet-learner.c does the other image tower.) */
#include "golden.h"

#include "base/level.h"
#include "tower/tower.h"

#include <math.h>
#include <string.h>

/* Each golden record comes three times, with a third of its gradient. */
enum { BATCH = 3 * GOLDEN_RECORDS };
static const char *const fields[] = {"image_features", "text_features"};

/* A golden model's side: its inputs, its features, their gradients, and what gradients must come of them. */
struct golden {
    const char *name;
    enum clip_side side;
    struct clip_model *model;
    struct clip_parameters parameters;
    struct golden_gradients gradients;
    struct clip_record *input[GOLDEN_RECORDS], *features[GOLDEN_RECORDS], *dfeatures[GOLDEN_RECORDS];
    union clip_item items[BATCH];
    float *out, *dout; /* [BATCH][width] */
    size_t width;
};

/* The tensors of the batch's records, one after the other, times `scale`. */
static float *rows(struct clip_record **records, const char *name, float scale, size_t *width)
{
    float *all = NULL;
    for (int i = 0; i < BATCH; i++) {
        float *row = golden_tensor(records[i % GOLDEN_RECORDS], name, CLIP_F32, width);
        all = realloc(all, (size_t)(i + 1) * *width * sizeof *all);
        for (size_t j = 0; j < *width; j++)
            all[(size_t)i * *width + j] = scale * row[j];
        free(row);
    }
    return all;
}

static void golden_open(struct golden *golden, const char *name, enum clip_side side)
{
    struct clip_error error = {""};
    *golden = (struct golden){.name = name, .side = side};
    golden->model = golden_model(name, "model.safetensors", 1);
    golden_gradients_open(&golden->gradients, name);
    CHECK(clip_parameters_load(&golden->parameters, golden->model,
                               side == CLIP_SIDE_IMAGE ? CLIP_PART_IMAGE : CLIP_PART_TEXT, &error) == 0,
          "%s", error.text);
    golden_records(name, "batch.msgpack", golden->input);
    golden_records(name, "forward.msgpack", golden->features);
    golden_records(name, "backward.msgpack", golden->dfeatures);
    golden->out = rows(golden->features, fields[side], 1, &golden->width);
    golden->dout = rows(golden->dfeatures, fields[side], 1.0f * GOLDEN_RECORDS / BATCH, &golden->width);
    for (int i = 0; i < BATCH; i++) {
        struct clip_record *record = golden->input[i % GOLDEN_RECORDS];
        if (side == CLIP_SIDE_IMAGE)
            golden->items[i].image.bytes = golden_tensor(record, "image", CLIP_U8, NULL);
        else
            golden->items[i].caption.tokens =
                golden_tensor(record, "tokens", CLIP_I32, &golden->items[i].caption.count);
    }
}

static void golden_close(struct golden *golden)
{
    golden_records_free(golden->input);
    golden_records_free(golden->features);
    golden_records_free(golden->dfeatures);
    for (int i = 0; i < BATCH; i++)
        free(golden->side == CLIP_SIDE_IMAGE ? (void *)golden->items[i].image.bytes
                                             : (void *)golden->items[i].caption.tokens);
    free(golden->out), free(golden->dout);
    clip_parameters_free(&golden->parameters);
    clip_model_close(golden->model);
    golden_gradients_close(&golden->gradients);
}

/* How a batch is run. */
struct run {
    const struct golden_setting *setting;
    int threads;
    size_t chunk;
    int again; /* every chunk goes forward a second time, on a tape that was used, before its backward */
};

static struct clip_tower *open_learner(struct golden *golden, struct clip_engine *engine,
                                       struct clip_pool *pool, size_t chunk)
{
    struct clip_error error = {""};
    const struct clip_tower_setup setup = {
        clip_model_arch(golden->model), NULL, &golden->parameters, engine, pool, chunk, NULL};
    struct clip_tower *learner = clip_tower_open(golden->side, &setup, &error);
    CHECK(learner, "%s", error.text);
    CHECK(learner->width == golden->width && !clip_tower_mixes(setup.arch, golden->side), "");
    return learner;
}

static void run_chunks(struct golden *golden, struct clip_tower *learner, const struct run *run, float *out)
{
    struct clip_error error = {""};
    struct clip_tape *tapes[2] = {learner->type->tape_new(learner, &error),
                                  learner->type->tape_new(learner, &error)};
    CHECK(tapes[0] && tapes[1], "%s", error.text);
    CHECK(learner->type->tape_bytes(learner, BATCH) > learner->type->tape_bytes(learner, 1) &&
              learner->type->tape_bytes(learner, run->chunk) >= learner->type->tape_bytes(learner, 1),
          "");
    for (size_t first = 0; first < BATCH; first += run->chunk) {
        size_t n = BATCH - first < run->chunk ? BATCH - first : run->chunk, other = (first + 1) % BATCH;
        float *features = out + first * golden->width, *ignored = malloc(n * golden->width * sizeof *ignored);
        CHECK(learner->type->forward(learner, golden->items + first, n, 0, tapes[0], features, &error) == 0,
              "%s", error.text);
        if (run->again) {
            CHECK(learner->type->forward(learner, golden->items + other, 1, 0, tapes[1], ignored, &error) ==
                      0,
                  "%s", error.text);
            CHECK(learner->type->forward(learner, golden->items + first, n, 1, tapes[1], ignored, &error) ==
                      0,
                  "%s", error.text);
            CHECK(memcmp(ignored, features, n * golden->width * sizeof *ignored) == 0, "%s", golden->name);
        }
        CHECK(learner->type->backward(learner, tapes[run->again], golden->dout + first * golden->width, NULL,
                                      &error) == 0,
              "%s", error.text);
        free(ignored);
    }
    clip_tape_free(tapes[0]);
    clip_tape_free(tapes[1]);
}

/* Features of the batch, and its gradients in the parameters; NULL where the engine cannot. */
static float *run_batch(struct golden *golden, const struct run *run)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open(run->setting->engine, run->setting->precision, 4, &error);
    if (!engine)
        return NULL;
    struct clip_pool *pool = clip_pool_new(run->threads, &error);
    CHECK(pool, "%s", error.text);
    struct clip_tower *learner = open_learner(golden, engine, pool, run->chunk);
    float *out = malloc(BATCH * golden->width * sizeof *out);
    memset(golden->parameters.gradients, 0, golden->parameters.gradient_bytes);
    run_chunks(golden, learner, run, out);
    clip_tower_free(learner);
    clip_pool_free(pool);
    clip_engine_free(engine);
    return out;
}

static double norm(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - (double)(y ? y[i] : 0)) * (x[i] - (double)(y ? y[i] : 0));
    return sqrt(sum);
}

/* Every gradient is within `relative` of the golden one in L2, or 1e-7 where there is nothing but rounding.
 */
static void check_gradients(const struct golden *golden, const struct run *run, double relative)
{
    double most = 0;
    const char *where = "";
    for (size_t i = 0; i < golden->parameters.count; i++) {
        const struct clip_parameter *p = &golden->parameters.items[i];
        float *want = golden_gradient(&golden->gradients, p);
        double off = norm(p->gradient, want, p->count), part = off / norm(want, NULL, p->count);
        CHECK(part < relative || off < 1e-7, "%s %s, %s, chunk %zu: off by %g, relative %g", golden->name,
              p->slot.name, run->setting->engine, run->chunk, off, part);
        if (off >= 1e-7 && part > most)
            most = part, where = p->slot.name;
        free(want);
    }
    printf("%s, %s, %s %s, chunks of %zu: gradients off by %.1e (%s)\n", golden->name, fields[golden->side],
           run->setting->engine, golden_precision(run->setting), run->chunk, most, where);
}

/* All gradients, one after the other. */
static float *copy_gradients(const struct golden *golden, size_t *count)
{
    float *all = NULL;
    *count = 0;
    for (size_t i = 0; i < golden->parameters.count; i++) {
        const struct clip_parameter *p = &golden->parameters.items[i];
        all = realloc(all, (*count + p->count) * sizeof *all);
        memcpy(all + *count, p->gradient, p->count * sizeof *all);
        *count += p->count;
    }
    return all;
}

/* The batch again: on one thread, on three, and with recomputed tapes, each must give the same bytes. */
static void check_same_bytes(struct golden *golden, const struct run *as)
{
    const struct run others[] = {{as->setting, 1, as->chunk, 0}, {as->setting, 3, as->chunk, 1}};
    size_t n, m;
    float *out = run_batch(golden, as), *want = copy_gradients(golden, &n);
    for (int i = 0; i < 2; i++) {
        float *same = run_batch(golden, &others[i]), *got = copy_gradients(golden, &m);
        CHECK(memcmp(out, same, BATCH * golden->width * sizeof *out) == 0, "%s, features, %d", golden->name,
              i);
        CHECK(memcmp(want, got, n * sizeof *want) == 0, "%s, gradients, %d", golden->name, i);
        free(same), free(got);
    }
    free(out), free(want);
}

static void check_setting(struct golden *golden, const struct golden_setting *setting)
{
    static const size_t chunks[] = {BATCH, 5, 2, 1};
    int bf16 = setting->precision == CLIP_PRECISION_BF16;
    float *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct run run = {setting, 2, chunks[i], 0};
        float *out = run_batch(golden, &run);
        if (!out)
            return;
        /* bf16 has 8 bits: each product's operands are off by up to 0.4 %. */
        CHECK(norm(out, golden->out, BATCH * golden->width) <
                  (bf16 ? 2e-2 : 1e-6) * norm(golden->out, NULL, BATCH * golden->width),
              "%s", golden->name);
        check_gradients(golden, &run, bf16 ? 5e-2 : 1e-4);
        float *gradients = copy_gradients(golden, &n);
        if (first)
            CHECK(norm(gradients, first, n) < (bf16 ? 1e-2 : 1e-5) * norm(first, NULL, n),
                  "%s, chunks of %zu", golden->name, chunks[i]);
        else
            first = copy_gradients(golden, &n);
        free(out), free(gradients);
    }
    check_same_bytes(golden, &(struct run){setting, 2, 5, 0});
    free(first);
}

/* New values must be seen after a refresh. */
static void check_refresh(struct golden *golden)
{
    struct clip_error error = {""};
    struct clip_engine *engine = clip_engine_open(NULL, CLIP_PRECISION_F32, 4, &error);
    struct clip_pool *pool = clip_pool_new(2, &error);
    struct clip_tower *learner = open_learner(golden, engine, pool, BATCH);
    struct clip_tape *tape = learner->type->tape_new(learner, &error);
    size_t n = BATCH * golden->width;
    float *before = malloc(n * sizeof *before), *after = malloc(n * sizeof *after);
    struct clip_parameter *p =
        clip_parameters_get(&golden->parameters, "%stransformer.resblocks.0.mlp.c_fc.weight",
                            golden->side == CLIP_SIDE_IMAGE ? "visual." : "");
    CHECK(learner->type->forward(learner, golden->items, BATCH, 0, tape, before, &error) == 0, "%s",
          error.text);
    for (size_t i = 0; i < p->count; i++)
        p->value[i] *= 2;
    CHECK(learner->type->refresh(learner, &error) == 0, "%s", error.text);
    CHECK(learner->type->forward(learner, golden->items, BATCH, 0, tape, after, &error) == 0, "%s",
          error.text);
    CHECK(norm(after, before, n) > 1e-3 * norm(before, NULL, n), "%s", golden->name);
    free(before), free(after);
    clip_tape_free(tape);
    clip_tower_free(learner);
    clip_pool_free(pool);
    clip_engine_free(engine);
}

static void check_model(const char *name, enum clip_side side)
{
    struct golden golden;
    golden_open(&golden, name, side);
    for (int s = 0; s < GOLDEN_SETTINGS; s++)
        check_setting(&golden, &golden_settings[s]);
    check_refresh(&golden);
    golden_check_bytes(side, golden.model, &golden.parameters);
    golden_close(&golden);
}

int main(void)
{
    static const char *const models[] = {"vit-a", "vit-b", "rn-a", "rn-b"};
    check_need_shared();
    /* The levels below this machine's too. */
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++) {
        setenv("CLIP_CPU", clip_level_name(level), 1);
        printf("%s\n", clip_level_name(level));
        for (int i = 0; i < 4; i++)
            check_model(models[i], CLIP_SIDE_TEXT);
        for (int i = 0; i < 2; i++)
            check_model(models[i], CLIP_SIDE_IMAGE);
    }
    return check_end();
}
