/* A lone weights file of any bytes, opened as a model of the architecture that it is said to be, and of that
 * which its shapes tell: it must hold every tensor of the architecture in the architecture's shape. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

#define MOST_PARAMETERS (1 << 20)

/* The architecture of the seeds. */
static const char small[] =
    "{\"embed_dim\": 4, \"vision_cfg\": {\"image_size\": 4, \"layers\": 1, \"width\": 8, \"head_width\": 4, "
    "\"patch_size\": 2, \"mlp_ratio\": 2}, \"text_cfg\": {\"context_length\": 4, \"vocab_size\": 514, "
    "\"width\": 8, \"heads\": 2, \"layers\": 1, \"mlp_ratio\": 1.5}}";

/* Rows are the values of their rows; what is mapped is the values. */
static void check_tensor(const struct clip_model *model, const struct clip_slot *slot)
{
    struct clip_error error;
    enum clip_weight_type type;
    const float *mapped;
    size_t count = clip_slot_count(slot);
    if (!clip_model_has(model, slot->name)) {
        CHECK(slot->integer);
        return;
    }
    CHECK(clip_model_type(model, slot->name, &type) == 0);
    if (slot->integer)
        return;
    float *values = reallocarray(NULL, count, sizeof *values), *last = values + (count - 1);
    CHECK(values && clip_model_floats(model, slot->name, slot->ndim, slot->shape, values, &error) == 0);
    CHECK(clip_model_mapped(model, slot->name, slot->ndim, slot->shape, &mapped, &error) == 0);
    CHECK(!mapped || memcmp(mapped, values, count * sizeof *values) == 0);
    if (slot->ndim == 2) {
        size_t columns = slot->shape[1];
        float *row = reallocarray(NULL, columns, sizeof *row);
        CHECK(row && clip_model_rows(model, slot->name, slot->shape[0] - 1, 1, columns, row, &error) == 0);
        CHECK(memcmp(row, last + 1 - columns, columns * sizeof *row) == 0);
        free(row);
    }
    if (clip_model_is_rounded(model, slot->name)) {
        size_t rows = slot->shape[0], columns = slot->shape[1];
        int8_t *q = malloc(count);
        float *scales = reallocarray(NULL, rows, sizeof *scales);
        CHECK(q && scales && clip_model_rounded(model, slot->name, 0, rows, q, scales, &error) == 0);
        for (size_t i = 0; i < count; i++) {
            float value = scales[i / columns] * q[i];
            CHECK(memcmp(&value, values + i, sizeof value) == 0 || value != value);
        }
        free(q), free(scales);
    }
    free(values);
}

/* The path of a file in memory that holds data[size]; *fd is to be closed. */
static const char *memory_file(const void *data, size_t size, int *fd, char path[40])
{
    *fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(*fd >= 0 && (size_t)write(*fd, data, size) == size);
    snprintf(path, 40, "/proc/self/fd/%d", *fd);
    return path;
}

/* Views may share their numbers, so that a small file can be a large model: its numbers are not looked at. */
static void check_model(const char *path, const char *arch)
{
    struct clip_error error = {""};
    struct clip_model *model = clip_model_open(path, arch, &error);
    if (!model) {
        CHECK(error.text[0]);
        return;
    }
    const struct clip_layout *layout = clip_model_layout(model);
    CHECK(clip_arch_check(clip_model_arch(model), &error) == 0);
    for (size_t i = 0; i < layout->count && clip_layout_parameters(layout) < MOST_PARAMETERS; i++)
        check_tensor(model, &layout->slots[i]);
    clip_model_close(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char arch[40];
    char path[40];
    int fd;
    if (!arch[0])
        memory_file(small, sizeof small - 1, &fd, arch); /* stays open */
    memory_file(data, size, &fd, path);
    check_model(path, arch);
    check_model(path, NULL);
    close(fd);
    return 0;
}
