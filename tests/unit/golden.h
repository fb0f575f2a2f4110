/* What tests of towers share: the golden models of the shared data, of which each has GOLDEN_RECORDS records,
 * and the engines that must agree with them. */
#ifndef CLIP_TESTS_GOLDEN_H
#define CLIP_TESTS_GOLDEN_H

#include "check.h"

#include "base/file.h"
#include "math/product.h"
#include "model/forms.h"
#include "model/model.h"
#include "model/parameters.h"
#include "stream/reader.h"
#include "tower/tower.h"

#include <string.h>
#include <unistd.h>

enum { GOLDEN_RECORDS = 12 };

static const struct golden_setting {
    const char *engine;
    enum clip_precision precision;
} golden_settings[] = {
    {"openblas", CLIP_PRECISION_F32}, {"onednn", CLIP_PRECISION_F32}, {"onednn", CLIP_PRECISION_BF16}};
enum { GOLDEN_SETTINGS = sizeof golden_settings / sizeof *golden_settings };

static inline const char *golden_precision(const struct golden_setting *setting)
{
    return setting->precision == CLIP_PRECISION_BF16 ? "bf16" : "f32";
}

enum { GOLDEN_PATH = 4400 };

/* Sets path[GOLDEN_PATH] to where a golden model has a file, and returns it. */
static inline char *golden_path(char *path, const char *model, const char *file)
{
    snprintf(path, GOLDEN_PATH, "%s/golden/models/%s/%s", check_shared(), model, file);
    return path;
}

/* The golden model from one of its forms; `arch`: with its arch.json, for a file that does not say all. */
static inline struct clip_model *golden_model(const char *model, const char *form, int arch)
{
    struct clip_error error = {""};
    char path[GOLDEN_PATH], json[GOLDEN_PATH];
    struct clip_model *opened = clip_model_open(golden_path(path, model, form),
                                                arch ? golden_path(json, model, "arch.json") : NULL, &error);
    CHECK(opened, "%s", error.text);
    return opened;
}

static inline void golden_records(const char *model, const char *file, struct clip_record **records)
{
    struct clip_error error;
    char path[GOLDEN_PATH];
    struct clip_reader *reader = clip_reader_new((char *[]){golden_path(path, model, file)}, 1, 0, &error);
    int n = 0;
    while (n < GOLDEN_RECORDS && clip_reader_next(reader, &records[n], &error) > 0)
        n++;
    CHECK(n == GOLDEN_RECORDS, "%s: %d records", path, n);
    clip_reader_free(reader);
}

static inline void golden_records_free(struct clip_record **records)
{
    for (int i = 0; i < GOLDEN_RECORDS; i++)
        clip_record_free(records[i]);
}

/* A copy, aligned, of a record's tensor; sets *count, unless it is NULL, to its elements. */
static inline void *golden_tensor(struct clip_record *record, const char *name, enum clip_dtype type,
                                  size_t *count)
{
    struct clip_tensor tensor = {0};
    CHECK(clip_record_tensor(record, name, type, &tensor) == 0, "%s", record->error.text);
    void *copy = malloc(clip_tensor_bytes(&tensor));
    memcpy(copy, tensor.data, clip_tensor_bytes(&tensor));
    if (count)
        *count = clip_tensor_count(&tensor);
    return copy;
}

/* The golden gradients of a model's parameters. (Not as a model: batch norm's running statistics are not
 * there.) */
struct golden_gradients {
    struct clip_mapping file; /* what the weights view */
    struct clip_weights weights;
};

static inline void golden_gradients_open(struct golden_gradients *gradients, const char *model)
{
    struct clip_error error = {""};
    char path[GOLDEN_PATH];
    CHECK(clip_map_file(&gradients->file, golden_path(path, model, "gradients.safetensors"), &error) == 0,
          "%s", error.text);
    CHECK(clip_safetensors_read(&gradients->weights, gradients->file.data, gradients->file.size, &error) == 0,
          "%s", error.text);
}

static inline void golden_gradients_close(struct golden_gradients *gradients)
{
    clip_weights_free(&gradients->weights);
    clip_unmap_file(&gradients->file);
}

/* That of a parameter, to be freed. */
static inline float *golden_gradient(const struct golden_gradients *gradients, const struct clip_parameter *p)
{
    float *want = calloc(p->count, sizeof *want);
    for (size_t i = 0; i < gradients->weights.count; i++)
        if (strcmp(gradients->weights.items[i].name, p->slot.name) == 0) {
            CHECK(clip_weight_count(&gradients->weights.items[i]) == p->count, "%s", p->slot.name);
            clip_weight_floats(&gradients->weights.items[i], 0, p->count, want);
            return want;
        }
    CHECK(0, "there is %s", p->slot.name);
    return want;
}

/* Bytes of the process's address space. */
static inline size_t golden_address_space(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%zu", &pages) == 1, "");
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What a learner says that it and a tape take is what they take, but for GOLDEN_SLACK: memory is mapped in
 * pages of up to 2 MB, and weights are beside it. Of a chunk so large that this is little; pages that are not
 * touched cost nothing. */
enum { GOLDEN_CHUNK = 4096, GOLDEN_SLACK = 12 << 20 };

static inline void golden_check_bytes(enum clip_side side, const struct clip_model *model,
                                      struct clip_parameters *parameters)
{
    struct clip_error error = {""};
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, 4, &error);
    struct clip_pool *pool = clip_pool_new(2, &error);
    size_t before = golden_address_space();
    const struct clip_tower_setup setup = {clip_model_arch(model), NULL, parameters, engine, pool,
                                           GOLDEN_CHUNK,           NULL};
    struct clip_tower *learner = clip_tower_open(side, &setup, &error);
    size_t opened = golden_address_space();
    struct clip_tape *tape = learner->type->tape_new(learner, &error);
    size_t taken[] = {opened - before, golden_address_space() - opened};
    size_t said[] = {learner->type->bytes(learner), learner->type->tape_bytes(learner, GOLDEN_CHUNK)};
    CHECK(tape, "%s", error.text);
    for (int i = 0; i < 2; i++)
        CHECK(said[i] > 3 * GOLDEN_SLACK && said[i] <= taken[i] && taken[i] - said[i] < GOLDEN_SLACK,
              "%s %zu bytes, and took %zu", i ? "the tape said" : "the learner said", said[i], taken[i]);
    clip_tape_free(tape);
    clip_tower_free(learner);
    clip_pool_free(pool);
    clip_engine_free(engine);
}

#endif
