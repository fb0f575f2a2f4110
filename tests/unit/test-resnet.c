/* ResNets: golden results from every file form, and the same bytes whatever the batch, the threads and the
 * order. */
#include "check.h"

#include "math/product.h"
#include "model/model.h"
#include "stream/reader.h"
#include "tower/tower.h"

#include <math.h>
#include <string.h>

enum { BATCH = 12 };

/* A golden model's pictures, and what must come of them. */
struct golden {
    struct clip_record *input[BATCH], *output[BATCH];
    struct clip_image pictures[BATCH];
    const float *embeddings[BATCH];
};

static void read_records(const char *path, struct clip_record **records)
{
    struct clip_error error;
    struct clip_reader *reader = clip_reader_new((char *[]){(char *)path}, 1, 0, &error);
    int n = 0, status;
    while (n < BATCH && (status = clip_reader_next(reader, &records[n], &error)) > 0)
        n++;
    CHECK(n == BATCH, "%s: %d records", path, n);
    clip_reader_free(reader);
}

static const void *tensor(struct clip_record *record, const char *name, enum clip_dtype type)
{
    struct clip_tensor tensor;
    int status = clip_record_tensor(record, name, type, &tensor);
    CHECK(status == 0, "%s", record->error.text);
    return tensor.data;
}

static void golden_read(struct golden *golden, const char *folder, const char *expected)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/batch.msgpack", folder);
    read_records(path, golden->input);
    snprintf(path, sizeof path, "%s/%s", folder, expected);
    read_records(path, golden->output);
    for (int i = 0; i < BATCH; i++) {
        golden->pictures[i] = (struct clip_image){.bytes = tensor(golden->input[i], "image", CLIP_U8)};
        golden->embeddings[i] = tensor(golden->output[i], "image_embedding", CLIP_F32);
    }
}

static void golden_free(struct golden *golden)
{
    for (int i = 0; i < BATCH; i++) {
        clip_record_free(golden->input[i]);
        clip_record_free(golden->output[i]);
    }
}

/* --- */

struct setting {
    const char *engine;
    enum clip_precision precision;
};

/* Features of the pictures, `batch` at a time; NULL where the engine cannot. */
static float *features(const struct clip_model *model, const struct setting *setting, int threads,
                       const struct clip_image *pictures, size_t n, size_t batch)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open(setting->engine, setting->precision, &error);
    if (!engine)
        return NULL;
    struct clip_pool *pool = clip_pool_new(threads, &error);
    struct clip_image_tower *tower = clip_resnet_type.open(model, engine, pool, batch, &error);
    CHECK(tower, "%s", error.text);
    size_t width = 32 * (size_t)clip_model_arch(model)->vision.width;
    float *out = malloc(n * width * sizeof *out);
    for (size_t i = 0; i < n; i += batch) {
        size_t count = n - i < batch ? n - i : batch;
        CHECK(tower->type->run(tower, pictures + i, count, out + i * width, &error) == 0, "%s", error.text);
    }
    tower->type->free(tower);
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
    for (int i = 0; i < BATCH; i++) {
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

static const struct setting settings[] = {
    {"openblas", CLIP_PRECISION_F32}, {"onednn", CLIP_PRECISION_F32}, {"onednn", CLIP_PRECISION_BF16}};
enum { SETTINGS = sizeof settings / sizeof *settings };

static void test_golden(const char *shared, const char *name, const char *file, const char *expected)
{
    struct clip_error error;
    struct golden golden;
    char folder[4200], path[4400];
    snprintf(folder, sizeof folder, "%s/golden/models/%s", shared, name);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    golden_read(&golden, folder, expected);
    struct clip_model *model = clip_model_open(path, NULL, &error);
    CHECK(model, "%s", error.text);
    for (int i = 0; i < SETTINGS && model; i++) {
        double worst, cosine;
        float *out = features(model, &settings[i], 2, golden.pictures, BATCH, BATCH);
        if (!out)
            continue;
        compare(model, &golden, out, &worst, &cosine);
        printf("%s/%s, %s %s: %.3g, cosine %.7f\n", name, file, settings[i].engine,
               settings[i].precision == CLIP_PRECISION_BF16 ? "bf16" : "f32", worst, cosine);
        if (settings[i].precision == CLIP_PRECISION_BF16)
            CHECK(cosine >= 0.999, "%.6f", cosine);
        else
            CHECK(worst <= 2e-6, "%g", worst);
        free(out);
    }
    clip_model_close(model);
    golden_free(&golden);
}

/* Batches, threads, order; bytes or floats. */
static void test_sameness(const char *shared, const char *name)
{
    struct clip_error error;
    struct golden golden;
    char folder[4200], path[4400];
    snprintf(folder, sizeof folder, "%s/golden/models/%s", shared, name);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    golden_read(&golden, folder, "forward.msgpack");
    struct clip_model *model = clip_model_open(path, NULL, &error);
    CHECK(model, "%s", error.text);
    size_t width = 32 * (size_t)clip_model_arch(model)->vision.width;
    for (int s = 0; s < SETTINGS; s++) {
        float *want = features(model, &settings[s], 1, golden.pictures, BATCH, 1);
        for (int threads = 1; want && threads <= 3; threads++)
            for (size_t n = 40, batch = 7; batch <= 40; batch += 11) {
                struct clip_image pictures[40];
                size_t order[40];
                for (size_t i = 0; i < n; i++) {
                    order[i] = (i * 7 + batch) % BATCH;
                    pictures[i] = golden.pictures[order[i]];
                }
                float *out = features(model, &settings[s], threads, pictures, n, batch);
                for (size_t i = 0; i < n; i++)
                    CHECK(memcmp(out + i * width, want + order[i] * width, width * sizeof *out) == 0,
                          "%s %s: batch %zu, %d threads, picture %zu", name, settings[s].engine, batch,
                          threads, i);
                free(out);
            }
        free(want);
    }
    clip_model_close(model);
    golden_free(&golden);
}

static void test_floats(const char *shared)
{
    struct clip_error error;
    struct golden golden;
    char folder[4200], path[4400];
    snprintf(folder, sizeof folder, "%s/golden/models/rn-a", shared);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    golden_read(&golden, folder, "forward.msgpack");
    struct clip_model *model = clip_model_open(path, NULL, &error);
    CHECK(model, "%s", error.text);
    const struct clip_arch *arch = clip_model_arch(model);
    size_t n = (size_t)arch->vision.image_size * (size_t)arch->vision.image_size;
    float *x = malloc(3 * n * sizeof *x);
    for (size_t i = 0; i < 3 * n; i++)
        x[i] = (float)((golden.pictures[0].bytes[i] / 255.0 - arch->preprocess.mean[i / n]) /
                       arch->preprocess.std[i / n]);
    struct clip_image pictures[2] = {golden.pictures[0], {.floats = x}};
    float *out = features(model, &settings[0], 1, pictures, 2, 2);
    size_t width = 32 * (size_t)arch->vision.width;
    CHECK(memcmp(out, out + width, width * sizeof *out) == 0, "bytes and floats differ");
    free(x);
    free(out);
    clip_model_close(model);
    golden_free(&golden);
}

int main(void)
{
    const char *shared = check_shared();
    if (!shared)
        check_skip("shared data is absent");
    test_golden(shared, "rn-a", "model.safetensors", "forward.msgpack");
    test_golden(shared, "rn-a", "open_clip", "forward.msgpack");
    test_golden(shared, "rn-a", "openai.pt", "forward_f16.msgpack");
    test_golden(shared, "rn-b", "model.safetensors", "forward.msgpack");
    test_golden(shared, "rn-b", "state.pt", "forward.msgpack");
    test_sameness(shared, "rn-a");
    test_sameness(shared, "rn-b");
    test_floats(shared);
    return check_end();
}
