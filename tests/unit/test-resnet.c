/* ResNets: golden results from every file form, and the same bytes whatever the batch, the threads and the
 * order. */
#include "golden.h"

#include "tower/tower.h"

#include <math.h>
#include <string.h>

/* A golden model from one of its forms, its pictures, and what must come of them. */
struct golden {
    struct clip_model *model;
    struct clip_record *input[GOLDEN_RECORDS], *output[GOLDEN_RECORDS];
    union clip_item pictures[GOLDEN_RECORDS];
    float *embeddings[GOLDEN_RECORDS];
};

static void golden_open(struct golden *golden, const char *name, const char *form, const char *expected)
{
    golden->model = golden_model(name, form, 0);
    golden_records(name, "batch.msgpack", golden->input);
    golden_records(name, expected, golden->output);
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        golden->pictures[i] =
            (union clip_item){{.bytes = golden_tensor(golden->input[i], "image", CLIP_U8, NULL)}};
        golden->embeddings[i] = golden_tensor(golden->output[i], "image_embedding", CLIP_F32, NULL);
    }
}

static void golden_close(struct golden *golden)
{
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        free((void *)golden->pictures[i].image.bytes);
        free(golden->embeddings[i]);
    }
    golden_records_free(golden->input);
    golden_records_free(golden->output);
    clip_model_close(golden->model);
}

/* --- */

/* Features of the pictures, `batch` at a time; NULL where the engine cannot. */
static float *features(const struct clip_model *model, const struct golden_setting *setting, int threads,
                       const union clip_item *pictures, size_t n, size_t batch)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open(setting->engine, setting->precision, 4, &error);
    if (!engine)
        return NULL;
    struct clip_pool *pool = clip_pool_new(threads, &error);
    const struct clip_tower_setup setup = {clip_model_arch(model), model, NULL, engine, pool, batch, NULL};
    struct clip_tower *tower = clip_tower_open(CLIP_SIDE_IMAGE, &setup, &error);
    CHECK(tower, "%s", error.text);
    size_t width = 32 * (size_t)clip_model_arch(model)->vision.width;
    float *out = malloc(n * width * sizeof *out);
    for (size_t i = 0; i < n; i += batch) {
        size_t count = n - i < batch ? n - i : batch;
        CHECK(tower->type->forward(tower, pictures + i, count, 0, NULL, out + i * width, &error) == 0, "%s",
              error.text);
    }
    clip_tower_free(tower);
    clip_pool_free(pool);
    clip_engine_free(engine);
    return out;
}

/* embedding[embed], unit length, of a picture's features: the output projection. */
static void project(const struct clip_model *model, const float *x, double *embedding)
{
    struct clip_error error;
    size_t embed = (size_t)clip_model_arch(model)->embed,
           width = 32 * (size_t)clip_model_arch(model)->vision.width;
    float *w = malloc(embed * width * sizeof *w), *bias = malloc(embed * sizeof *bias);
    CHECK(clip_model_floats(model, "visual.attnpool.c_proj.weight", 2, (size_t[]){embed, width}, w, &error) ==
              0,
          "%s", error.text);
    CHECK(clip_model_floats(model, "visual.attnpool.c_proj.bias", 1, &embed, bias, &error) == 0, "%s",
          error.text);
    double square = 0;
    for (size_t i = 0; i < embed; i++) {
        embedding[i] = bias[i];
        for (size_t j = 0; j < width; j++)
            embedding[i] += (double)w[i * width + j] * x[j];
        square += embedding[i] * embedding[i];
    }
    for (size_t i = 0; i < embed; i++)
        embedding[i] /= sqrt(square);
    free(w);
    free(bias);
}

/* Largest difference from the golden embeddings, and smallest cosine with them. */
static void compare(const struct clip_model *model, const struct golden *golden, const float *out,
                    double *worst, double *cosine)
{
    size_t embed = (size_t)clip_model_arch(model)->embed,
           width = 32 * (size_t)clip_model_arch(model)->vision.width;
    double *embedding = malloc(embed * sizeof *embedding);
    *worst = 0;
    *cosine = 1;
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        double dot = 0;
        project(model, out + (size_t)i * width, embedding);
        for (size_t k = 0; k < embed; k++) {
            *worst = fmax(*worst, fabs(embedding[k] - golden->embeddings[i][k]));
            dot += embedding[k] * golden->embeddings[i][k];
        }
        *cosine = fmin(*cosine, dot);
    }
    free(embedding);
}

static void test_golden(const char *name, const char *form, const char *expected)
{
    struct golden golden;
    golden_open(&golden, name, form, expected);
    const struct clip_model *model = golden.model;
    for (int i = 0; i < GOLDEN_SETTINGS && model; i++) {
        double worst, cosine;
        float *out = features(model, &golden_settings[i], 2, golden.pictures, GOLDEN_RECORDS, GOLDEN_RECORDS);
        if (!out)
            continue;
        compare(model, &golden, out, &worst, &cosine);
        printf("%s/%s, %s %s: %.3g, cosine %.7f\n", name, form, golden_settings[i].engine,
               golden_precision(&golden_settings[i]), worst, cosine);
        if (golden_settings[i].precision == CLIP_PRECISION_BF16)
            CHECK(cosine >= 0.999, "%.6f", cosine);
        else
            CHECK(worst <= 2e-6, "%g", worst);
        free(out);
    }
    golden_close(&golden);
}

/* Batches, threads, order; bytes or floats. */
static void test_sameness(const char *name)
{
    struct golden golden;
    golden_open(&golden, name, "model.safetensors", "forward.msgpack");
    const struct clip_model *model = golden.model;
    size_t width = 32 * (size_t)clip_model_arch(model)->vision.width;
    for (int s = 0; s < GOLDEN_SETTINGS; s++) {
        float *want = features(model, &golden_settings[s], 1, golden.pictures, GOLDEN_RECORDS, 1);
        for (int threads = 1; want && threads <= 3; threads++)
            for (size_t n = 40, batch = 7; batch <= 40; batch += 11) {
                union clip_item pictures[40];
                size_t order[40];
                for (size_t i = 0; i < n; i++) {
                    order[i] = (i * 7 + batch) % GOLDEN_RECORDS;
                    pictures[i] = golden.pictures[order[i]];
                }
                float *out = features(model, &golden_settings[s], threads, pictures, n, batch);
                for (size_t i = 0; i < n; i++)
                    CHECK(memcmp(out + i * width, want + order[i] * width, width * sizeof *out) == 0,
                          "%s %s: batch %zu, %d threads, picture %zu", name, golden_settings[s].engine, batch,
                          threads, i);
                free(out);
            }
        free(want);
    }
    golden_close(&golden);
}

static void test_floats(void)
{
    struct golden golden;
    golden_open(&golden, "rn-a", "model.safetensors", "forward.msgpack");
    const struct clip_model *model = golden.model;
    const struct clip_arch *arch = clip_model_arch(model);
    size_t n = (size_t)arch->vision.image_size * (size_t)arch->vision.image_size;
    float *x = malloc(3 * n * sizeof *x);
    for (size_t i = 0; i < 3 * n; i++)
        x[i] = (golden.pictures[0].image.bytes[i] / 255.0f - arch->preprocess.mean[i / n]) /
               arch->preprocess.std[i / n];
    union clip_item pictures[2] = {golden.pictures[0], {.image.floats = x}};
    float *out = features(model, &golden_settings[0], 1, pictures, 2, 2);
    size_t width = 32 * (size_t)arch->vision.width;
    CHECK(memcmp(out, out + width, width * sizeof *out) == 0, "bytes and floats differ");
    free(x);
    free(out);
    golden_close(&golden);
}

int main(void)
{
    check_need_shared();
    test_golden("rn-a", "model.safetensors", "forward.msgpack");
    test_golden("rn-a", "open_clip", "forward.msgpack");
    test_golden("rn-a", "openai.pt", "forward_f16.msgpack");
    test_golden("rn-b", "model.safetensors", "forward.msgpack");
    test_golden("rn-b", "state.pt", "forward.msgpack");
    test_sameness("rn-a");
    test_sameness("rn-b");
    test_floats();
    return check_end();
}
