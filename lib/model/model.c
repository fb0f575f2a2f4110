#include "model/model.h"
#include "base/pages.h"
#include "base/stray.h"
#include "model/forms.h"
#include "model/kind.h"
#include "model/layout.h"
#include "model/names.h"
#include "model/place.h"
#include "model/positions.h"
#include "model/shapes.h"
#include "model/shards.h"
#include "model/tokenizer-settings.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A tensor of the model: the one or three of the file that form it along the first dimension. */
struct tensor {
    const struct clip_slot *slot;
    const struct clip_weight *parts;  /* NULL: an optional one that the file does not have */
    const struct clip_weight *scales; /* as many, of a matrix in I8; else NULL */
    int count;
};

/* What is read of a model. */
enum extent {
    TENSORS,  /* all */
    SCALARS,  /* of the tensors the logit scale and bias alone */
    SETTINGS, /* no tensor */
};

struct clip_model {
    enum extent extent;
    char *path, *weights_path, *vocabulary;
    char *home;   /* the folder that says what it is, or NULL */
    char *source; /* what said the architecture of a lone file: a configuration; or NULL */
    enum clip_folder folder;
    struct clip_arch arch;
    int guessed; /* heads and activations were read off the shapes */
    char guess[400];
    struct clip_shards shards;
    struct clip_layout layout;
    struct tensor *tensors;                   /* of the layout's slots, sorted by name */
    int image_size;                           /* that was asked for; 0: the architecture's */
    struct clip_weight resampled[CLIP_SIDES]; /* tables of positions; data NULL: none */
};

static int fail_at(const char *path, struct clip_error *error)
{
    return clip_fail_prefix(error, "%s", path);
}

/* --- what a folder says --- */

/* A file's name without its folder and last extension, or a folder's. */
static void base_name(const char *path, int is_file, char *name, size_t size)
{
    size_t end = strlen(path);
    while (!is_file && end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    const char *dot = is_file ? strrchr(path + begin, '.') : NULL;
    snprintf(name, size, "%.*s",
             dot && dot > path + begin ? (int)(dot - path - (long)begin) : (int)(end - begin), path + begin);
}

/* The folder's configuration: open_clip's, or else Hugging Face's. 0 where there is neither. */
static int read_folder_arch(struct clip_model *model, const char *folder, struct clip_error *error)
{
    char name[sizeof model->arch.name];
    model->source = clip_existing(folder, "open_clip_config.json");
    if (model->source) {
        model->folder = CLIP_FOLDER_OPEN_CLIP;
        return clip_arch_read_open_clip(&model->arch, model->source, error) == 0 ? 1 : -1;
    }
    model->source = clip_existing(folder, "config.json");
    if (!model->source)
        return 0;
    model->folder = CLIP_FOLDER_HF;
    if (clip_arch_read_hf(&model->arch, folder, error) != 0 ||
        clip_hf_tokenizer_settings(folder, &model->arch.tokenizer, error) != 0)
        return -1;
    base_name(folder, 0, name, sizeof name);
    clip_arch_rename(&model->arch, name);
    return 1;
}

/* --arch overrides what a folder says, but for the preprocessing and the tokenizer. */
static int override_arch(struct clip_model *model, const char *arch, struct clip_error *error)
{
    struct clip_preprocess_arch preprocess = model->arch.preprocess;
    struct clip_tokenizer_settings tokenizer = model->arch.tokenizer;
    if (clip_arch_read(&model->arch, arch, error) != 0)
        return -1;
    model->arch.preprocess = preprocess;
    model->arch.tokenizer = tokenizer;
    return 0;
}

/* Maps the weights and lists their tensors under OpenAI's names. */
static int read_weights(struct clip_model *model, const char *key, struct clip_error *error)
{
    if (clip_shards_open(&model->shards, model->weights_path, error) != 0)
        return -1;
    return clip_names_openai(&model->shards.weights, key, error) == 0 ? 0
                                                                      : fail_at(model->weights_path, error);
}

/* Weights that are not read may be missing, but the remains of a failed download are named. */
static int check_begin(const char *path, struct clip_error *error)
{
    struct clip_mapping file;
    if (clip_map_file(&file, path, error) != 0)
        return -1;
    const char *what = clip_stray_text(file.data, file.size);
    clip_unmap_file(&file);
    return what ? clip_fail(error, "%s: %s", path, what) : 0;
}

static int open_folder(struct clip_model *model, const char *arch, const char *key, struct clip_error *error)
{
    int found = read_folder_arch(model, model->path, error);
    if (found == 0)
        return clip_fail(error,
                         "%s: not a model folder: neither open_clip_config.json nor config.json is there",
                         model->path);
    if (found < 0 || (arch && override_arch(model, arch, error) != 0))
        return -1;
    model->weights_path = clip_find_weights(model->path, model->folder == CLIP_FOLDER_HF, error);
    model->vocabulary = clip_tokenizer_find(model->path, &model->arch.tokenizer);
    model->home = strdup(model->path);
    if (model->extent == SETTINGS && !arch)
        return model->weights_path ? check_begin(model->weights_path, error) : 0;
    if (!model->weights_path)
        return -1;
    if (!model->home)
        return clip_fail_memory(error, "a file name");
    if (read_weights(model, key, error) != 0)
        return -1;
    clip_arch_fit(&model->arch, &model->shards.weights, arch != NULL);
    return 0;
}

/* --- a file of weights named itself --- */

/* Reads the architecture in the file's metadata, as `convert` writes it. 0 if there is none. */
static int read_metadata(struct clip_model *model, struct clip_arch *arch, struct clip_error *error)
{
    char name[sizeof arch->name];
    const struct clip_mapping *file = &model->shards.files[0];
    char *text = model->shards.form == CLIP_FORM_SAFETENSORS
                     ? clip_safetensors_metadata(file->data, file->size, CLIP_METADATA_ARCH)
                     : NULL;
    if (!text || *text != '{') { /* another's */
        free(text);
        return 0;
    }
    int result = clip_arch_parse(arch, text, error);
    free(text);
    if (result != 0)
        return clip_fail_prefix(error, "%s: the architecture in its metadata", model->path);
    base_name(model->path, 1, name, sizeof name);
    clip_arch_rename(arch, name);
    return 1;
}

static int read_shapes(struct clip_model *model, struct clip_error *error)
{
    char name[sizeof model->arch.name];
    if (model->extent == SCALARS) {
        clip_arch_from_names(&model->arch, &model->shards.weights);
        return 0;
    }
    if (clip_arch_from_shapes(&model->arch, &model->shards.weights, error) != 0)
        return fail_at(model->path, error);
    base_name(model->path, 1, name, sizeof name);
    clip_arch_rename(&model->arch, name);
    model->guessed = !clip_arch_heads_known(&model->arch, CLIP_SIDE_IMAGE) ||
                     !clip_arch_heads_known(&model->arch, CLIP_SIDE_TEXT);
    return 0;
}

/* Reads the configuration beside the file. 1 if that is one of a CLIP model; 0 with *stray, from malloc,
 * where it is something else's; -1 where it is CLIP's and cannot be read. */
static int read_beside(struct clip_model *model, const char *folder, char **stray, struct clip_error *error)
{
    *stray = NULL;
    int found = read_folder_arch(model, folder, error);
    if (found > 0 || (found < 0 && (model->folder == CLIP_FOLDER_OPEN_CLIP || clip_arch_is_hf(folder))))
        return found;
    *stray = model->source;
    model->source = NULL;
    model->folder = CLIP_FOLDER_NONE;
    return 0;
}

/* 1 if the folder's name would open this file. */
static int is_main_file(const struct clip_model *model, const char *folder)
{
    struct clip_error ignored;
    char *own = clip_find_weights(folder, model->folder == CLIP_FOLDER_HF, &ignored);
    const char *slash = strrchr(model->path, '/');
    int is = own && strcmp(strrchr(own, '/') + 1, slash ? slash + 1 : model->path) == 0;
    free(own);
    return is;
}

/* The architecture of a lone file, from the first of these: --arch; the configuration beside it, unless the
 * file is not the folder's and its metadata differs; its metadata; the shapes. A configuration of another
 * library beside it is not the file's. */
static int find_arch(struct clip_model *model, const char *folder, const char *arch, struct clip_error *error)
{
    struct clip_arch own;
    struct clip_error ignored;
    char *stray;
    int beside = read_beside(model, folder, &stray, arch ? &ignored : error);
    if (beside <= 0)
        model->folder = CLIP_FOLDER_NONE;
    int described = arch ? 0 : read_metadata(model, &own, beside < 0 ? &ignored : error), result = 0;
    if (arch && beside > 0) {
        result = override_arch(model, arch, error);
    } else if (arch) {
        result = clip_arch_read(&model->arch, arch, error);
    } else if (described > 0 &&
               (beside <= 0 || (!is_main_file(model, folder) && !clip_arch_same(&own, &model->arch)))) {
        model->arch = own;
        model->folder = CLIP_FOLDER_NONE;
    } else if (beside < 0 || (beside == 0 && described < 0)) {
        result = -1;
    } else if (beside == 0) {
        result = read_shapes(model, error);
        if (stray && result != 0)
            clip_fail_prefix(error, "%s is not the configuration of a CLIP model, and", stray);
        else if (stray && model->guessed)
            result = clip_fail(
                error,
                "%s: %s is not the configuration of a CLIP model, and the shapes do not determine how many "
                "heads there are (give --arch NAME|JSON)",
                model->path, stray);
    }
    free(stray);
    return result;
}

static int open_file(struct clip_model *model, const char *arch, const char *key, struct clip_error *error)
{
    char *folder = clip_folder_of(model->path);
    model->weights_path = strdup(model->path);
    if (!model->weights_path || !folder) {
        free(folder);
        return clip_fail_memory(error, "a file name");
    }
    int result = -1;
    if (clip_is_shard(model->path))
        clip_fail(
            error,
            "%s: one of several files of a model: name the folder, or its file that ends in .index.json",
            model->path);
    else if (read_weights(model, key, error) == 0)
        result = find_arch(model, folder, arch, error);
    if (result == 0)
        clip_arch_fit(&model->arch, &model->shards.weights, model->folder == CLIP_FOLDER_NONE || arch);
    if (result == 0 && model->folder != CLIP_FOLDER_NONE) {
        model->vocabulary = clip_tokenizer_find(folder, &model->arch.tokenizer);
        model->home = folder;
        return 0;
    }
    free(folder);
    free(model->source);
    model->source = NULL;
    return result;
}

/* --- the tensors of the architecture in the file --- */

static int fail_shape(const char *name, int ndim, const size_t *shape, int wanted_ndim, const size_t *wanted,
                      struct clip_error *error)
{
    char a[120], b[120];
    return clip_fail(error, "tensor %s is %s, but should be %s", name,
                     clip_shape_describe(ndim, shape, a, sizeof a),
                     clip_shape_describe(wanted_ndim, wanted, b, sizeof b));
}

static int same_shape(int ndim, const size_t *shape, int wanted_ndim, const size_t *wanted)
{
    /* A scalar's shape may be NULL, which memcmp does not take. */
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
            return clip_fail(error, "tensor %s: its parts differ, or one is missing", slot->name);
        shape[0] += part->shape[0];
    }
    if (first + tensor->count < end && strcmp(first[tensor->count].name, slot->name) == 0)
        return clip_fail(error, "tensor %s occurs both whole and in parts", slot->name);
    /* The logit scale may be an array of one element. */
    int ndim = slot->ndim == 0 && first->ndim == 1 && shape[0] == 1 ? 0 : first->ndim;
    if (!same_shape(ndim, shape, slot->ndim, slot->shape))
        return fail_shape(slot->name, first->ndim, shape, slot->ndim, slot->shape, error);
    if (!slot->integer && !clip_weight_is_float(first->type) && !tensor->scales)
        return clip_fail(error, "tensor %s holds %s, not floating-point numbers", slot->name,
                         clip_weight_type_name(first->type));
    return 0;
}

/* What follows a matrix's name in that of its scales, as compressed-tensors writes them. */
#define SCALES "_scale"

/* Finds the scales of a matrix in I8: one for each row as the file has it, which may be a column of ours. */
static int find_scales(struct tensor *tensor, const struct clip_weights *weights, struct clip_error *error)
{
    const struct clip_weight *end = weights->items + weights->count;
    char name[sizeof tensor->slot->name + sizeof SCALES];
    if (!tensor->parts || tensor->slot->integer || tensor->slot->ndim != 2 ||
        tensor->parts->type != CLIP_WEIGHT_I8 || end - tensor->parts < tensor->parts->parts)
        return 0;
    snprintf(name, sizeof name, "%s" SCALES, tensor->slot->name);
    const struct clip_weight *scales = clip_weights_find(weights, name);
    if (!scales || end - scales < tensor->parts->parts)
        return clip_fail(error, "tensor %s holds I8, but its scales, %s, are missing", tensor->slot->name,
                         name);
    for (int i = 0; i < tensor->parts->parts; i++) {
        const struct clip_weight *matrix = &tensor->parts[i], *of = &scales[i];
        if (strcmp(of->name, name) != 0 || of->part != i || !clip_weight_is_float(of->type) ||
            of->ndim != 2 || matrix->ndim != 2 ||
            !((of->shape[0] == matrix->shape[0] && of->shape[1] == 1) ||
              (of->shape[0] == 1 && of->shape[1] == matrix->shape[1])))
            return clip_fail(error, "tensor %s is not a scale for each row of %s", name, tensor->slot->name);
    }
    tensor->scales = scales;
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

/* 1 if the name is that of scales which were found. */
static int is_scales(const struct clip_model *model, const char *name)
{
    char matrix[sizeof((struct clip_slot *)NULL)->name];
    size_t length = strlen(name), ending = strlen(SCALES);
    if (length <= ending || length - ending >= sizeof matrix || strcmp(name + length - ending, SCALES) != 0)
        return 0;
    snprintf(matrix, sizeof matrix, "%.*s", (int)(length - ending), name);
    const struct tensor *tensor = find_tensor(model, matrix);
    return tensor && tensor->scales;
}

/* A model opened as a single tower's may hold the other, too. */
static int belongs_to_absent(const struct clip_arch *arch, const char *name)
{
    for (const struct clip_kind *const *kind = clip_kinds; *kind; kind++)
        for (const char *const *prefix = (*kind)->prefixes; arch->towers[(*kind)->side].absent && *prefix;
             prefix++)
            if (strncmp(name, *prefix, strlen(*prefix)) == 0)
                return 1;
    return 0;
}

/* A tensor that the architecture does not have would change the result if it were used: it is refused, not
 * ignored. TorchScript's modules also carry tensors that are not weights. */
static int check_unused(const struct clip_model *model, struct clip_error *error)
{
    for (size_t i = 0; i < model->shards.weights.count && model->shards.form != CLIP_FORM_TORCHSCRIPT; i++) {
        const char *name = model->shards.weights.items[i].name;
        char text[200];
        if (!find_tensor(model, name) && !is_scales(model, name) && !clip_names_ignored(name) &&
            !belongs_to_absent(&model->arch, name))
            return clip_fail(error, "tensor %s is not one of the architecture's",
                             clip_printable(text, sizeof text, name, strlen(name)));
    }
    return 0;
}

/* A table of positions of another size is resampled: of open_clip's folders, of pictures in big_vision's
 * archives, and where a size was asked for. */
static int fit_positions(struct clip_model *model, struct tensor *tensor, struct clip_error *error)
{
    const struct clip_slot *slot = tensor->slot;
    int forced =
        model->image_size > 0 || (model->shards.form == CLIP_FORM_NPZ && slot->side == CLIP_SIDE_IMAGE);
    if (!tensor->parts || slot->side == CLIP_SIDE_BOTH || (!forced && model->folder != CLIP_FOLDER_OPEN_CLIP))
        return 0;
    struct clip_weight *out = &model->resampled[slot->side];
    int fit = clip_positions_fit(&model->arch, slot, tensor->parts, forced, out, error);
    if (fit > 0) {
        tensor->parts = out;
        tensor->count = 1;
    }
    return fit;
}

static int bind_tensors(struct clip_model *model, struct clip_error *error)
{
    const struct clip_weight *end = model->shards.weights.items + model->shards.weights.count;
    struct clip_arch arch = model->arch;
    for (int side = 0; side < CLIP_SIDES; side++)
        arch.towers[side].absent |= model->extent == SCALARS;
    if (clip_layout_make(&model->layout, &arch, error) != 0)
        return -1;
    model->tensors = calloc(model->layout.count, sizeof *model->tensors);
    if (!model->tensors)
        return clip_fail_memory(error, "the list of tensors");
    for (size_t i = 0; i < model->layout.count; i++) {
        const struct clip_slot *slot = &model->layout.slots[i];
        struct tensor *tensor = &model->tensors[i];
        *tensor =
            (struct tensor){.slot = slot, .parts = clip_weights_find(&model->shards.weights, slot->name)};
        if (!tensor->parts && !slot->integer)
            return clip_fail(error, "tensor %s is missing", slot->name);
        int fit = find_scales(tensor, &model->shards.weights, error) == 0
                      ? fit_positions(model, tensor, error)
                      : -1;
        if (fit < 0 || (fit == 0 && tensor->parts && check_parts(tensor, end, error) != 0))
            return -1;
    }
    qsort(model->tensors, model->layout.count, sizeof *model->tensors, compare_slots);
    return model->extent == SCALARS ? 0 : check_unused(model, error);
}

/* If a tensor does not fit, the configuration that gave the shapes may be wrong: name it, too. */
static int fail_tensors(const struct clip_model *model, int is_file, struct clip_error *error)
{
    if (is_file && model->source)
        clip_fail_prefix(error, "%s, by %s (--arch NAME|JSON overrides it)", model->weights_path,
                         model->source);
    else
        fail_at(model->weights_path, error);
    return -1;
}

static int open_path(struct clip_model *model, const char *name, const char *arch, const char *key,
                     struct clip_error *error)
{
    struct stat status;
    model->path = clip_model_find(name, error);
    if (!model->path)
        return -1;
    if (stat(model->path, &status) != 0)
        return clip_fail_errno(error, "%s", model->path);
    int is_file = !S_ISDIR(status.st_mode);
    if ((is_file ? open_file : open_folder)(model, arch, key, error) != 0)
        return -1;
    if (model->image_size && clip_arch_resize(&model->arch, model->image_size, 1, error) != 0)
        return fail_at(model->path, error);
    if (model->extent == SETTINGS || bind_tensors(model, error) == 0)
        return 0;
    return fail_tensors(model, is_file, error);
}

static struct clip_model *open_model(const char *name, const char *arch, const char *key, enum extent extent,
                                     int image_size, struct clip_error *error)
{
    struct clip_model *model = calloc(1, sizeof *model);
    if (!model) {
        clip_fail_memory(error, "a model");
        return NULL;
    }
    model->extent = extent;
    model->image_size = image_size;
    if (open_path(model, name, arch, key, error) != 0) {
        clip_model_close(model);
        return NULL;
    }
    return model;
}

struct clip_model *clip_model_open_key(const char *name, const char *arch, const char *key,
                                       struct clip_error *error)
{
    return open_model(name, arch, key, TENSORS, 0, error);
}

struct clip_model *clip_model_open_resized(const char *name, const char *arch, const char *key,
                                           int image_size, struct clip_error *error)
{
    return open_model(name, arch, key, TENSORS, image_size, error);
}

struct clip_model *clip_model_open(const char *name, const char *arch, struct clip_error *error)
{
    return clip_model_open_key(name, arch, NULL, error);
}

struct clip_model *clip_model_open_settings(const char *name, const char *arch, const char *key,
                                            struct clip_error *error)
{
    return open_model(name, arch, key, SETTINGS, 0, error);
}

struct clip_model *clip_model_open_scalars(const char *name, const char *arch, const char *key,
                                           struct clip_error *error)
{
    return open_model(name, arch, key, SCALARS, 0, error);
}

void clip_model_close(struct clip_model *model)
{
    if (!model)
        return;
    clip_shards_close(&model->shards);
    for (int side = 0; side < CLIP_SIDES; side++)
        free((void *)model->resampled[side].data);
    clip_layout_free(&model->layout);
    free(model->tensors);
    free(model->path);
    free(model->weights_path);
    free(model->vocabulary);
    free(model->home);
    free(model->source);
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

const char *clip_model_home(const struct clip_model *model)
{
    return model->home;
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
    return model->shards.form;
}

const struct clip_layout *clip_model_layout(const struct clip_model *model)
{
    return &model->layout;
}

const struct clip_slot *clip_model_slot(const struct clip_model *model, const char *name)
{
    const struct tensor *tensor = find_tensor(model, name);
    return tensor ? tensor->slot : NULL;
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

/* Elements [first, first + count) of part i. */
struct run {
    int i;
    size_t first, count;
};

/* The next run of elements that lie in one part, of the `left` from element `first` on: 0 if there is none.
 */
static int next_run(const struct tensor *tensor, size_t first, size_t left, struct run *run)
{
    for (int i = 0; i < tensor->count && left > 0; i++) {
        size_t size = clip_weight_count(&tensor->parts[i]);
        if (first < size) {
            *run = (struct run){i, first, size - first < left ? size - first : left};
            return 1;
        }
        first -= size;
    }
    return 0;
}

/* Elements [first, first + count) as floats. */
static void take_floats(const struct tensor *tensor, size_t first, size_t count, float *out)
{
    struct run run;
    for (; next_run(tensor, first, count, &run); first += run.count, count -= run.count, out += run.count)
        if (tensor->scales)
            clip_weight_scaled(&tensor->parts[run.i], &tensor->scales[run.i], run.first, run.count, out);
        else
            clip_weight_floats(&tensor->parts[run.i], run.first, run.count, out);
}

static void take_copies(const struct tensor *tensor, size_t first, size_t count, unsigned char *out)
{
    struct run run;
    for (; next_run(tensor, first, count, &run); first += run.count, count -= run.count) {
        clip_weight_copy(&tensor->parts[run.i], run.first, run.count, out);
        out += run.count * clip_weight_size(tensor->parts->type);
    }
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
    if (!clip_weight_is_float(tensor->parts->type) && !tensor->scales) {
        clip_fail(error, "%s: tensor %s does not hold floating-point numbers", model->weights_path, name);
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
    take_floats(tensor, 0, (size_t)clip_slot_count(tensor->slot), out);
    return 0;
}

size_t clip_model_lies(const struct clip_model *model, const char *name, const void *data[CLIP_MODEL_PARTS],
                       enum clip_weight_type *type)
{
    const struct tensor *tensor = find_tensor(model, name);
    if (!tensor || tensor->count > CLIP_MODEL_PARTS)
        return 0;
    *type = tensor->parts->type;
    for (int i = 0; i < tensor->count; i++) {
        const struct clip_weight *part = &tensor->parts[i];
        if (part->type != *type || clip_weight_count(part) != clip_weight_count(tensor->parts) ||
            !clip_weight_contiguous(part) || (uintptr_t)part->data % clip_weight_size(*type) != 0)
            return 0;
        data[i] = part->data;
    }
    return (size_t)tensor->count;
}

int clip_model_mapped(const struct clip_model *model, const char *name, int ndim, const size_t *shape,
                      const float **data, struct clip_error *error)
{
    const void *parts[CLIP_MODEL_PARTS];
    enum clip_weight_type type;
    if (!find_checked(model, name, ndim, shape, error))
        return -1;
    *data = clip_model_lies(model, name, parts, &type) == 1 && type == CLIP_WEIGHT_F32 ? parts[0] : NULL;
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
    take_floats(tensor, first * columns, rows * columns, out);
    return 0;
}

/* The tensor, if it has elements [first, first + count). */
static const struct tensor *find_elements(const struct clip_model *model, const char *name, size_t first,
                                          size_t count, struct clip_error *error)
{
    const struct tensor *tensor = find_tensor(model, name);
    size_t have = tensor ? (size_t)clip_slot_count(tensor->slot) : 0;
    if (tensor && first <= have && count <= have - first)
        return tensor;
    clip_fail(error, "%s: there is no tensor %s of %zu elements", model->weights_path, name, first + count);
    return NULL;
}

int clip_model_copy(const struct clip_model *model, const char *name, size_t first, size_t count, void *out,
                    struct clip_error *error)
{
    const struct tensor *tensor = find_elements(model, name, first, count, error);
    if (!tensor)
        return -1;
    take_copies(tensor, first, count, out);
    return 0;
}

int clip_model_elements(const struct clip_model *model, const char *name, size_t first, size_t count,
                        float *out, struct clip_error *error)
{
    const struct tensor *tensor = find_elements(model, name, first, count, error);
    if (!tensor)
        return -1;
    take_floats(tensor, first, count, out);
    return 0;
}

static int is_rounded(const struct tensor *tensor)
{
    return tensor->scales && tensor->slot->rounding == CLIP_ROUNDED_ROWS &&
           tensor->scales->shape[0] == tensor->parts->shape[0];
}

int clip_model_is_rounded(const struct clip_model *model, const char *name)
{
    const struct tensor *tensor = find_tensor(model, name);
    return tensor && is_rounded(tensor);
}

int clip_model_is_int8(const struct clip_model *model, enum clip_side side)
{
    for (size_t i = 0; i < model->layout.count; i++)
        if (model->tensors[i].slot->side == side && is_rounded(&model->tensors[i]))
            return 1;
    return 0;
}

int clip_model_rounded(const struct clip_model *model, const char *name, size_t first, size_t rows, int8_t *q,
                       float *scales, struct clip_error *error)
{
    const struct tensor *tensor = find_tensor(model, name);
    if (!tensor || !is_rounded(tensor) || first > tensor->slot->shape[0] ||
        rows > tensor->slot->shape[0] - first)
        return clip_fail(error, "%s: there are no rounded rows %zu to %zu of %s", model->weights_path, first,
                         first + rows, name);
    size_t columns = tensor->slot->shape[1];
    struct tensor factors = {.slot = tensor->slot, .parts = tensor->scales, .count = tensor->count};
    take_copies(tensor, first * columns, rows * columns, (unsigned char *)q);
    take_floats(&factors, first, rows, scales);
    return 0;
}

void clip_model_release_pages(const struct clip_model *model, const char *name)
{
    const struct tensor *tensor = find_tensor(model, name);
    for (int i = 0; tensor && i < tensor->count; i++) {
        const struct clip_weight *part = &tensor->parts[i];
        if (part >= model->resampled && part < model->resampled + CLIP_SIDES)
            return; /* not mapped */
        clip_pages_return(part->data, clip_weight_count(part) * clip_weight_size(part->type));
    }
}

/* --- what it lacks --- */

int clip_model_need(const struct clip_model *model, enum clip_side side, struct clip_error *error)
{
    const struct clip_arch *arch = &model->arch;
    const char *const *names = clip_side_names;
    if (side == CLIP_SIDE_BOTH && arch->unscaled)
        return clip_fail(error, "%s: the model has no logit scale: it has only a %s tower", model->path,
                         names[clip_arch_side(arch)]);
    if (side != CLIP_SIDE_BOTH && arch->towers[side].absent)
        return clip_fail(error, "%s: the model has no %s tower: it has only a %s tower", model->path,
                         names[side], names[!side]);
    return 0;
}

const char *clip_model_guess(struct clip_model *model, enum clip_side side)
{
    if (!model->guessed || model->guess[0] ||
        (side != CLIP_SIDE_BOTH && clip_arch_heads_known(&model->arch, side)))
        return NULL;
    snprintf(
        model->guess, sizeof model->guess,
        "%s: neither the number of heads nor the activation is specified: heads of 64 and quick GELU are "
        "assumed; --arch NAME|JSON overrides this",
        model->path);
    return model->guess;
}

/* No training reaches a logit scale above this: OpenAI clips it at ln 100. */
static const float absurd_logit_scale = 9.5F;

int clip_model_logit_scale(const struct clip_model *model, float *logit_scale, struct clip_error *error)
{
    if (clip_model_need(model, CLIP_SIDE_BOTH, error) != 0 ||
        clip_model_floats(model, "logit_scale", 0, NULL, logit_scale, error) != 0)
        return -1;
    if (!isfinite(*logit_scale))
        return clip_fail(error, "%s: logit_scale is %g, not a finite number", model->path,
                         (double)*logit_scale);
    if (*logit_scale > absurd_logit_scale)
        return clip_fail(
            error,
            "%s: logit_scale is %g, which would be a factor of exp(%g): the factor itself was stored "
            "instead of its logarithm, %.6g",
            model->path, (double)*logit_scale, (double)*logit_scale, log((double)*logit_scale));
    return 0;
}

int clip_model_logit_bias(const struct clip_model *model, float *logit_bias, struct clip_error *error)
{
    *logit_bias = 0;
    if (!model->arch.logit_bias)
        return 0;
    if (clip_model_floats(model, "logit_bias", 0, NULL, logit_bias, error) != 0)
        return -1;
    if (!isfinite(*logit_bias))
        return clip_fail(error, "%s: logit_bias is %g, not a finite number", model->path,
                         (double)*logit_bias);
    return 0;
}
