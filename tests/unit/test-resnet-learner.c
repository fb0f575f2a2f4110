/* The ResNet that learns: golden gradients, chunks made again, threads, running statistics, and finite
 * differences. */
#include "check.h"

#include "base/file.h"
#include "math/product.h"
#include "model/forms.h"
#include "model/model.h"
#include "stream/reader.h"
#include "tower/learner.h"

#include <math.h>
#include <string.h>

enum { BATCH = 12 };

/* A golden model, its pictures, and the gradients of their features. */
struct golden {
    struct clip_model *model;
    struct clip_parameters parameters;
    struct clip_record *input[BATCH], *output[BATCH];
    union clip_item items[BATCH];
    float *gradients; /* [BATCH][width] */
    size_t width;
    char folder[4200];
};

static void read_records(const char *folder, const char *name, struct clip_record **records)
{
    struct clip_error error;
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct clip_reader *reader = clip_reader_new((char *[]){path}, 1, 0, &error);
    int n = 0;
    while (n < BATCH && clip_reader_next(reader, &records[n], &error) > 0)
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

static void golden_open(struct golden *golden, const char *shared, const char *name)
{
    struct clip_error error;
    char path[4400];
    snprintf(golden->folder, sizeof golden->folder, "%s/golden/models/%s", shared, name);
    snprintf(path, sizeof path, "%s/model.safetensors", golden->folder);
    golden->model = clip_model_open(path, NULL, &error);
    CHECK(golden->model, "%s", error.text);
    CHECK(clip_parameters_load(&golden->parameters, golden->model, clip_owned_by_image, &error) == 0, "%s",
          error.text);
    golden->width = clip_image_tower_width(clip_model_arch(golden->model));
    golden->gradients = malloc(BATCH * golden->width * sizeof *golden->gradients);
    read_records(golden->folder, "batch.msgpack", golden->input);
    read_records(golden->folder, "backward.msgpack", golden->output);
    for (size_t i = 0; i < BATCH; i++) {
        golden->items[i].image.bytes = tensor(golden->input[i], "image", CLIP_U8);
        golden->items[i].image.floats = NULL;
        memcpy(golden->gradients + i * golden->width, tensor(golden->output[i], "image_features", CLIP_F32),
               golden->width * sizeof *golden->gradients);
    }
}

static void golden_close(struct golden *golden)
{
    for (int i = 0; i < BATCH; i++) {
        clip_record_free(golden->input[i]);
        clip_record_free(golden->output[i]);
    }
    free(golden->gradients);
    clip_parameters_free(&golden->parameters);
    clip_model_close(golden->model);
}

/* --- */

static const struct clip_weight *find(const struct clip_weights *weights, const char *name)
{
    for (size_t i = 0; i < weights->count; i++)
        if (strcmp(weights->items[i].name, name) == 0)
            return &weights->items[i];
    return NULL;
}

/* A parameter's gradient within 1e-4 of golden, relative in L2, or 1e-7 where the true one is 0; returns how
 * far it is. */
static double check_gradient(const struct clip_parameter *p, const struct clip_weight *golden)
{
    CHECK(golden && clip_weight_count(golden) == p->count, "%s", p->slot.name);
    float *want = malloc(p->count * sizeof *want);
    clip_weight_floats(golden, 0, p->count, want);
    double difference = 0, norm = 0, most = 0;
    for (size_t i = 0; i < p->count; i++) {
        double d = (double)p->gradient[i] - want[i];
        difference += d * d;
        norm += (double)want[i] * want[i];
        most = fmax(most, fabs(d));
    }
    free(want);
    double relative = sqrt(difference / fmax(norm, 1e-300));
    CHECK(sqrt(norm) < 1e-9 ? most <= 1e-7 : relative <= 1e-4, "%s: %g of %g", p->slot.name, sqrt(difference),
          sqrt(norm));
    return sqrt(norm) < 1e-9 ? 0 : relative;
}

static void check_gradients(const struct golden *golden)
{
    struct clip_error error;
    struct clip_mapping file;
    struct clip_weights weights = {0};
    char path[4400];
    snprintf(path, sizeof path, "%s/gradients.safetensors", golden->folder);
    CHECK(clip_map_file(&file, path, &error) == 0, "%s", error.text);
    CHECK(clip_safetensors_read(&weights, file.data, file.size, &error) == 0, "%s", error.text);
    double worst = 0;
    for (size_t i = 0; i < golden->parameters.count; i++) {
        const struct clip_parameter *p = &golden->parameters.items[i];
        if (p->gradient)
            worst = fmax(worst, check_gradient(p, find(&weights, p->slot.name)));
    }
    printf("%s: gradients within %.2g\n", golden->folder, worst);
    clip_weights_free(&weights);
    clip_unmap_file(&file);
}

/* Goes forward, `again` times more, and backward. features[BATCH][width]. */
static void learn(const struct golden *golden, int threads, int again, float *features)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, &error);
    struct clip_pool *pool = clip_pool_new(threads, &error);
    struct clip_learner *learner =
        clip_resnet_learner_open(clip_model_arch(golden->model),
                                 (struct clip_parameters *)&golden->parameters, engine, pool, 16, &error);
    CHECK(learner, "%s", error.text);
    const struct clip_learner_type *type = learner->type;
    struct clip_tape *tape = type->tape_new(learner, &error);
    CHECK(tape, "%s", error.text);
    CHECK(learner->mixes == 1 && learner->width == golden->width, "");
    CHECK(type->tape_bytes(learner, 2) < type->tape_bytes(learner, 3), "");
    CHECK(type->refresh(learner, &error) == 0, "%s", error.text);
    for (int i = 0; i <= again; i++)
        CHECK(type->forward(learner, golden->items, BATCH, i, tape, features, &error) == 0, "%s", error.text);
    CHECK(type->backward(learner, tape, golden->gradients, &error) == 0, "%s", error.text);
    type->tape_free(tape);
    type->free(learner);
    clip_pool_free(pool);
    clip_engine_free(engine);
}

/* Gradients and running statistics of two runs are the same bytes. */
static void check_same(const struct golden *a, const struct golden *b)
{
    for (size_t i = 0; i < a->parameters.count; i++) {
        const struct clip_parameter *p = &a->parameters.items[i], *q = &b->parameters.items[i];
        CHECK(p->integer == q->integer, "%s", p->slot.name);
        CHECK(!p->gradient || memcmp(p->gradient, q->gradient, p->count * sizeof(float)) == 0, "%s",
              p->slot.name);
        CHECK(!p->value || memcmp(p->value, q->value, p->count * sizeof(float)) == 0, "%s", p->slot.name);
    }
}

/* The golden gradients; the same bytes from other threads and from a tape made again. */
static void test_golden(const char *shared, const char *name)
{
    struct golden a, b;
    golden_open(&a, shared, name);
    golden_open(&b, shared, name);
    float *features = malloc(2 * BATCH * a.width * sizeof *features), *others = features + BATCH * a.width;
    learn(&a, 1, 0, features);
    check_gradients(&a);
    learn(&b, 3, 1, others);
    check_same(&a, &b);
    CHECK(memcmp(features, others, BATCH * a.width * sizeof *features) == 0, "");
    learn(&b, 2, 0, others); /* adds the same once more */
    for (size_t i = 0; i < a.parameters.count; i++)
        for (size_t k = 0; a.parameters.items[i].gradient && k < a.parameters.items[i].count; k++) {
            float once = a.parameters.items[i].gradient[k], twice = b.parameters.items[i].gradient[k];
            CHECK(fabsf(twice - 2 * once) <= 4e-6f * fabsf(once) + 1e-7f, "%s: %g, %g",
                  a.parameters.items[i].slot.name, once, twice);
        }
    free(features);
    golden_close(&a);
    golden_close(&b);
}

int main(void)
{
    const char *shared = check_shared();
    if (!shared)
        check_skip("shared data is absent");
    test_golden(shared, "rn-a");
    test_golden(shared, "rn-b");
    return check_end();
}
