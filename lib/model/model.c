#include "model/model.h"
#include "base/datadir.h"
#include "base/file.h"
#include "model/forms.h"
#include "model/layout.h"
#include "model/names.h"
#include "model/shapes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A tensor of the model: the parts of the file that make it up, one or three, along the first dimension. */
struct tensor {
    const struct clip_slot *slot;
    const struct clip_weight *parts; /* NULL: an optional one that the file does not have */
    int count;
};

struct clip_model {
    char *path, *weights_path, *vocabulary;
    enum clip_folder folder;
    enum clip_form form;
    struct clip_arch arch;
    struct clip_mapping mapping;
    struct clip_weights weights;
    struct clip_layout layout;
    struct tensor *tensors; /* of the layout's slots, sorted by name */
};

static char *join(const char *folder, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* folder/name if it exists, else NULL. */
static char *existing(const char *folder, const char *name)
{
    char *path = join(folder, name);
    if (path && access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

/* --- finding the files --- */

/* `name` in a folder of models, as it stands or with a '-' for each '/'. */
static char *find_in(const char *folder, const char *name)
{
    char plain[256];
    if ((size_t)snprintf(plain, sizeof plain, "%s", name) >= sizeof plain || !*name || *name == '.' ||
        *name == '/')
        return NULL;
    for (char *p = plain; (p = strchr(p, '/'));)
        *p = '-';
    return existing(folder, plain);
}

/* `name` in $CLIP_MODEL_PATH, then in share/models. */
static char *find_by_name(const char *name)
{
    const char *folders = getenv("CLIP_MODEL_PATH");
    while (folders && *folders) {
        size_t length = strcspn(folders, ":");
        char *folder = strndup(folders, length), *path = folder && length ? find_in(folder, name) : NULL;
        free(folder);
        if (path)
            return path;
        folders += length + (folders[length] == ':');
    }
    struct clip_error ignored;
    char *models = clip_data_path("models", &ignored), *path = models ? find_in(models, name) : NULL;
    free(models);
    return path;
}

char *clip_model_find(const char *name, struct clip_error *error)
{
    char *path = access(name, F_OK) == 0 ? strdup(name) : find_by_name(name);
    if (!path)
        clip_fail(error,
                  "%s: no such model: neither a file or folder, nor a name in $CLIP_MODEL_PATH or "
                  "share/models",
                  name);
    return path;
}

static char *find_first(const char *folder, const char *const *names)
{
    char *path = NULL;
    for (; *names && !path; names++)
        path = existing(folder, *names);
    return path;
}

/* By open_clip's preference. */
static const char *const open_clip_weights[] = {"open_clip_model.safetensors",
                                                "open_clip_pytorch_model.safetensors",
                                                "open_clip_pytorch_model.bin",
                                                "open_clip_pytorch_model.pth",
                                                "model.safetensors",
                                                "pytorch_model.bin",
                                                "pytorch_model.pth",
                                                "model.pth",
                                                NULL};
static const char *const hf_weights[] = {"model.safetensors", "pytorch_model.bin", NULL};

/* merges.txt is read beside vocab.json. */
static char *find_vocabulary(const char *folder)
{
    char *merges = existing(folder, "merges.txt");
    char *path = merges ? existing(folder, "vocab.json") : NULL;
    free(merges);
    return path ? path
                : find_first(folder,
                             (const char *const[]){"tokenizer.json", "bpe_simple_vocab_16e6.txt.gz", NULL});
}

/* --- opening --- */

static int fail_at(const char *path, struct clip_error *error)
{
    return clip_fail_prefix(error, "%s", path);
}

/* Maps the weights and lists their tensors under OpenAI's names. */
static int read_weights(struct clip_model *model, struct clip_error *error)
{
    const char *path = model->weights_path;
    if (clip_map_file(&model->mapping, path, error) != 0)
        return -1;
    if (clip_form_read(&model->weights, &model->form, model->mapping.data, model->mapping.size, error) != 0 ||
        clip_names_openai(&model->weights, error) != 0)
        return fail_at(path, error);
    return 0;
}

/* A file's name without its folder and last extension. */
static void file_name(const char *path, char *name, size_t size)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    snprintf(name, size, "%.*s", (int)(dot && dot > base ? dot - base : (int)strlen(base)), base);
}

static int open_file(struct clip_model *model, const char *arch, struct clip_error *error)
{
    char name[sizeof model->arch.name];
    model->folder = CLIP_FOLDER_NONE;
    model->weights_path = strdup(model->path);
    if (!model->weights_path)
        return clip_fail_memory(error, "a file name");
    if (read_weights(model, error) != 0)
        return -1;
    if (arch)
        return clip_arch_read(&model->arch, arch, error);
    if (clip_arch_from_shapes(&model->arch, &model->weights, error) != 0)
        return fail_at(model->path, error);
    file_name(model->path, name, sizeof name);
    clip_arch_rename(&model->arch, name);
    return 0;
}

static int read_folder_arch(struct clip_model *model, struct clip_error *error)
{
    char *config = existing(model->path, "open_clip_config.json");
    if (config) {
        model->folder = CLIP_FOLDER_OPEN_CLIP;
        int result = clip_arch_read_open_clip(&model->arch, config, error);
        free(config);
        return result;
    }
    config = existing(model->path, "config.json");
    if (!config)
        return clip_fail(error,
                         "%s: not a model folder: neither open_clip_config.json nor config.json is there",
                         model->path);
    free(config);
    model->folder = CLIP_FOLDER_HF;
    if (clip_arch_read_hf(&model->arch, model->path, error) != 0)
        return -1;
    char *end = model->path + strlen(model->path);
    while (end > model->path + 1 && end[-1] == '/')
        *--end = 0;
    const char *slash = strrchr(model->path, '/');
    clip_arch_rename(&model->arch, slash ? slash + 1 : model->path);
    return 0;
}

/* A folder says its architecture itself; --arch overrides it, but for the preprocessing. */
static int open_folder(struct clip_model *model, const char *arch, struct clip_error *error)
{
    if (read_folder_arch(model, error) != 0)
        return -1;
    if (arch) {
        struct clip_preprocess_arch preprocess = model->arch.preprocess;
        if (clip_arch_read(&model->arch, arch, error) != 0)
            return -1;
        model->arch.preprocess = preprocess;
    }
    const char *const *names = model->folder == CLIP_FOLDER_HF ? hf_weights : open_clip_weights;
    model->weights_path = find_first(model->path, names);
    model->vocabulary = find_vocabulary(model->path);
    if (!model->weights_path)
        return clip_fail(error, "%s: no weights there: %s or %s", model->path, names[0], names[1]);
    return read_weights(model, error);
}

/* --- the tensors of the architecture in the file --- */

static int fail_shape(const char *name, int ndim, const size_t *shape, int wanted_ndim, const size_t *wanted,
                      struct clip_error *error)
{
    char a[120], b[120];
    return clip_fail(error, "tensor %s is %s, and should be %s", name,
                     clip_shape_describe(ndim, shape, a, sizeof a),
                     clip_shape_describe(wanted_ndim, wanted, b, sizeof b));
}

static int same_shape(int ndim, const size_t *shape, int wanted_ndim, const size_t *wanted)
{
    /* A scalar's shape may be NULL, which memcmp must not see. */
    return ndim == wanted_ndim && (ndim == 0 || memcmp(shape, wanted, (size_t)ndim * sizeof *shape) == 0);
}

/* The parts, 0 to parts - 1, must be there, and together have the slot's shape; one type for all. */
static int check_parts(struct tensor *tensor, const struct clip_weight *end, struct clip_error *error)
{
    const struct clip_slot *slot = tensor->slot;
    const struct clip_weight *first = tensor->parts;
    size_t shape[CLIP_WEIGHT_DIMENSIONS];
    memcpy(shape, first->shape, sizeof shape);
    tensor->count = first->parts;
    if (first->part != 0 || end - first < tensor->count)
        return clip_fail(error, "tensor %s lacks a part", slot->name);
    for (int i = 1; i < tensor->count; i++) {
        const struct clip_weight *part = first + i;
        if (strcmp(part->name, slot->name) != 0 || part->part != i || part->type != first->type ||
            part->ndim != first->ndim || first->ndim == 0 ||
            memcmp(part->shape, first->shape, (size_t)first->ndim * sizeof *shape) != 0)
            return clip_fail(error, "tensor %s: its parts are not alike, or one is missing", slot->name);
        shape[0] += part->shape[0];
    }
    if (first + tensor->count < end && strcmp(first[tensor->count].name, slot->name) == 0)
        return clip_fail(error, "tensor %s comes whole and in parts", slot->name);
    /* The logit scale may stand in an array of one. */
    int ndim = slot->ndim == 0 && first->ndim == 1 && shape[0] == 1 ? 0 : first->ndim;
    if (!same_shape(ndim, shape, slot->ndim, slot->shape))
        return fail_shape(slot->name, first->ndim, shape, slot->ndim, slot->shape, error);
    if (!slot->integer && !clip_weight_is_float(first->type))
        return clip_fail(error, "tensor %s holds %s, no floating-point numbers", slot->name,
                         clip_weight_type_name(first->type));
    return 0;
}

static int compare_slots(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->slot->name, ((const struct tensor *)b)->slot->name);
}

static const struct tensor *find_tensor(const struct clip_model *model, const char *name)
{
    size_t low = 0, high = model->layout.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(model->tensors[middle].slot->name, name);
        if (order == 0)
            return model->tensors[middle].parts ? &model->tensors[middle] : NULL;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A tensor that the architecture does not have would change the result if it were used: it is refused, not
 * ignored. TorchScript's modules also carry tensors that are no weights. */
static int check_unused(const struct clip_model *model, struct clip_error *error)
{
    for (size_t i = 0; i < model->weights.count && model->form != CLIP_FORM_TORCHSCRIPT; i++) {
        const char *name = model->weights.items[i].name;
        char text[200];
        if (!find_tensor(model, name) && !clip_names_ignored(name))
            return clip_fail(error, "tensor %s is not one of the architecture's",
                             clip_printable(text, sizeof text, name, strlen(name)));
    }
    return 0;
}

static int bind_tensors(struct clip_model *model, struct clip_error *error)
{
    const struct clip_weight *end = model->weights.items + model->weights.count;
    if (clip_layout_make(&model->layout, &model->arch, error) != 0)
        return -1;
    model->tensors = calloc(model->layout.count, sizeof *model->tensors);
    if (!model->tensors)
        return clip_fail_memory(error, "the list of tensors");
    for (size_t i = 0; i < model->layout.count; i++) {
        const struct clip_slot *slot = &model->layout.slots[i];
        struct tensor *tensor = &model->tensors[i];
        *tensor = (struct tensor){.slot = slot, .parts = clip_weights_find(&model->weights, slot->name)};
        if (!tensor->parts && !slot->integer)
            return clip_fail(error, "tensor %s is missing", slot->name);
        if (tensor->parts && check_parts(tensor, end, error) != 0)
            return -1;
    }
    qsort(model->tensors, model->layout.count, sizeof *model->tensors, compare_slots);
    return check_unused(model, error);
}

static int open_path(struct clip_model *model, const char *name, const char *arch, struct clip_error *error)
{
    struct stat status;
    model->path = clip_model_find(name, error);
    if (!model->path)
        return -1;
    if (stat(model->path, &status) != 0)
        return clip_fail_errno(error, "%s", model->path);
    if ((S_ISDIR(status.st_mode) ? open_folder : open_file)(model, arch, error) != 0)
        return -1;
    return bind_tensors(model, error) == 0 ? 0 : fail_at(model->weights_path, error);
}

struct clip_model *clip_model_open(const char *name, const char *arch, struct clip_error *error)
{
    struct clip_model *model = calloc(1, sizeof *model);
    if (!model) {
        clip_fail_memory(error, "a model");
        return NULL;
    }
    if (open_path(model, name, arch, error) != 0) {
        clip_model_close(model);
        return NULL;
    }
    return model;
}

void clip_model_close(struct clip_model *model)
{
    if (!model)
        return;
    clip_unmap_file(&model->mapping);
    clip_weights_free(&model->weights);
    clip_layout_free(&model->layout);
    free(model->tensors);
    free(model->path);
    free(model->weights_path);
    free(model->vocabulary);
    free(model);
}

/* --- what it holds --- */

const struct clip_arch *clip_model_arch(const struct clip_model *model)
{
    return &model->arch;
}

const char *clip_model_vocabulary(const struct clip_model *model)
{
    return model->vocabulary;
}

const char *clip_model_path(const struct clip_model *model)
{
    return model->path;
}

enum clip_folder clip_model_folder(const struct clip_model *model)
{
    return model->folder;
}

enum clip_form clip_model_form(const struct clip_model *model)
{
    return model->form;
}

const struct clip_layout *clip_model_layout(const struct clip_model *model)
{
    return &model->layout;
}

int clip_model_has(const struct clip_model *model, const char *name)
{
    return find_tensor(model, name) != NULL;
}

int clip_model_type(const struct clip_model *model, const char *name, enum clip_weight_type *type)
{
    const struct tensor *tensor = find_tensor(model, name);
    if (!tensor)
        return -1;
    *type = tensor->parts->type;
    return 0;
}

/* Runs take(part, first element of it, elements, out of the first) over the parts that hold [first, first +
 * count). */
static void each_part(const struct tensor *tensor, size_t first, size_t count, unsigned char *out,
                      size_t out_size,
                      void (*take)(const struct clip_weight *, size_t, size_t, unsigned char *))
{
    for (int i = 0; i < tensor->count && count > 0; i++) {
        const struct clip_weight *part = &tensor->parts[i];
        size_t size = clip_weight_count(part);
        if (first >= size) {
            first -= size;
            continue;
        }
        size_t n = size - first < count ? size - first : count;
        take(part, first, n, out);
        out += n * out_size;
        count -= n;
        first = 0;
    }
}

static void take_floats(const struct clip_weight *part, size_t first, size_t count, unsigned char *out)
{
    clip_weight_floats(part, first, count, (float *)(void *)out);
}

static void take_copy(const struct clip_weight *part, size_t first, size_t count, unsigned char *out)
{
    clip_weight_copy(part, first, count, out);
}

static const struct tensor *find_checked(const struct clip_model *model, const char *name, int ndim,
                                         const size_t *shape, struct clip_error *error)
{
    const struct tensor *tensor = find_tensor(model, name);
    if (!tensor) {
        clip_fail(error, "%s: there is no tensor %s", model->weights_path, name);
        return NULL;
    }
    if (!same_shape(tensor->slot->ndim, tensor->slot->shape, ndim, shape)) {
        fail_shape(name, tensor->slot->ndim, tensor->slot->shape, ndim, shape, error);
        fail_at(model->weights_path, error);
        return NULL;
    }
    if (!clip_weight_is_float(tensor->parts->type)) {
        clip_fail(error, "%s: tensor %s holds no floating-point numbers", model->weights_path, name);
        return NULL;
    }
    return tensor;
}

int clip_model_floats(const struct clip_model *model, const char *name, int ndim, const size_t *shape,
                      float *out, struct clip_error *error)
{
    const struct tensor *tensor = find_checked(model, name, ndim, shape, error);
    if (!tensor)
        return -1;
    each_part(tensor, 0, (size_t)clip_slot_count(tensor->slot), (unsigned char *)out, sizeof *out,
              take_floats);
    return 0;
}

int clip_model_mapped(const struct clip_model *model, const char *name, int ndim, const size_t *shape,
                      const float **data, struct clip_error *error)
{
    const struct tensor *tensor = find_checked(model, name, ndim, shape, error);
    if (!tensor)
        return -1;
    const struct clip_weight *part = tensor->parts;
    int fits = tensor->count == 1 && part->type == CLIP_WEIGHT_F32 && clip_weight_contiguous(part) &&
               (uintptr_t)part->data % sizeof **data == 0;
    *data = fits ? (const float *)(const void *)part->data : NULL;
    return 0;
}

int clip_model_rows(const struct clip_model *model, const char *name, size_t first, size_t rows,
                    size_t columns, float *out, struct clip_error *error)
{
    const struct tensor *tensor = find_tensor(model, name);
    if (!tensor || tensor->slot->ndim != 2)
        return clip_fail(error, "%s: there is no matrix %s", model->weights_path, name);
    size_t have = tensor->slot->shape[0];
    if (tensor->slot->shape[1] != columns || first > have || rows > have - first)
        return clip_fail(error, "%s: %s has no rows %zu to %zu of %zu", model->weights_path, name, first,
                         first + rows, columns);
    each_part(tensor, first * columns, rows * columns, (unsigned char *)out, sizeof *out, take_floats);
    return 0;
}

int clip_model_copy(const struct clip_model *model, const char *name, size_t first, size_t count, void *out,
                    struct clip_error *error)
{
    const struct tensor *tensor = find_tensor(model, name);
    size_t have = tensor ? (size_t)clip_slot_count(tensor->slot) : 0;
    if (!tensor || first > have || count > have - first)
        return clip_fail(error, "%s: there is no tensor %s of %zu elements", model->weights_path, name,
                         first + count);
    each_part(tensor, first, count, out, clip_weight_size(tensor->parts->type), take_copy);
    return 0;
}

void clip_model_forget(const struct clip_model *model, const char *name)
{
    const struct tensor *tensor = find_tensor(model, name);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; tensor && i < tensor->count; i++) {
        const struct clip_weight *part = &tensor->parts[i];
        uintptr_t start = ((uintptr_t)part->data + page - 1) / page * page;
        uintptr_t end =
            ((uintptr_t)part->data + clip_weight_count(part) * clip_weight_size(part->type)) / page * page;
        /* Only pages that are all this tensor's; the advice may be refused, and nothing is lost then. */
        if (clip_weight_count(part) && start < end)
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
}

int clip_model_logit_scale(const struct clip_model *model, float *logit_scale, struct clip_error *error)
{
    return clip_model_floats(model, "logit_scale", 0, NULL, logit_scale, error);
}
