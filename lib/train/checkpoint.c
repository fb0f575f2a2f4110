#include "train/checkpoint.h"

#include "base/file.h"
#include "model/kind.h"
#include "model/write.h"
#include "train/folder.h"
#include "train/tensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int clip_run_restore(const struct clip_run *run, struct clip_optimizer *optimizer, struct clip_error *error)
{
    char path[PATH_MAX];
    if (run->steps == 0)
        return 0;
    if (clip_path_print(path, error, "%s/optimizer/%s.safetensors", run->model, run->part) != 0)
        return -1;
    return clip_optimizer_read(optimizer, path, error);
}

/* --- a part --- */

struct part_source {
    const struct clip_parameters *parameters;
    struct clip_layout layout; /* slots of the parameters, in order */
};

static int slot_type(const void *context, const struct clip_slot *slot)
{
    (void)context;
    return slot->integer ? CLIP_WEIGHT_I64 : CLIP_WEIGHT_F32;
}

static int part_fill(const void *context, const struct clip_slot *slot, size_t first, size_t count, void *out,
                     struct clip_error *error)
{
    (void)error;
    const struct part_source *part = context;
    const struct clip_parameter *p = &part->parameters->items[slot - part->layout.slots];
    if (slot->integer)
        memcpy(out, &p->integer, sizeof p->integer);
    else
        memcpy(out, p->value + first, count * sizeof *p->value);
    return 0;
}

static int write_part(const struct clip_parameters *parameters, const char *path, struct clip_error *error)
{
    struct part_source part = {parameters, {calloc(parameters->count + 1, sizeof *part.layout.slots), 0}};
    const struct clip_tensor_source source = {.context = &part, .type = slot_type, .fill = part_fill};
    if (!part.layout.slots)
        return clip_fail_memory(error, "the list of tensors");
    for (size_t i = 0; i < parameters->count; i++)
        part.layout.slots[part.layout.count++] = parameters->items[i].slot;
    int status = clip_write_weights(&part.layout, &source, path, error);
    free(part.layout.slots);
    return status;
}

/* --- the complete checkpoint --- */

struct whole {
    const struct clip_run *run;
    char unfinished[PATH_MAX]; /* DIR/.step-00000100 */
    char path[PATH_MAX];       /* DIR/step-00000100 */
    uint64_t number;
    struct clip_tensors parts[CLIP_TRAIN_PARTS];
};

/* Copies from the part that has the tensor, then releases the pages, which are not needed again. */
static int whole_fill(const void *context, const struct clip_slot *slot, size_t first, size_t count,
                      void *out, struct clip_error *error)
{
    const struct whole *whole = context;
    for (int i = 0; i < CLIP_TRAIN_PARTS; i++) {
        const struct clip_weight *weight = clip_tensors_find(&whole->parts[i], slot->name);
        if (!weight)
            continue;
        if (clip_weight_count(weight) != clip_slot_count(slot) ||
            weight->type != (enum clip_weight_type)slot_type(NULL, slot))
            return clip_fail(error, "tensor %s of the part '%s' has another shape", slot->name,
                             clip_train_parts[i]);
        clip_weight_copy(weight, first, count, out);
        madvise((void *)whole->parts[i].mapping.data, whole->parts[i].mapping.size, MADV_DONTNEED);
        return 0;
    }
    return clip_fail(error, "no part has tensor %s", slot->name);
}

/* A folder of Hugging Face's stays one. */
static int keeps_hf(const struct clip_model *model)
{
    struct clip_error ignored;
    return clip_model_folder(model) == CLIP_FOLDER_HF &&
           clip_hf_model_of(clip_model_arch(model), &ignored) != NULL;
}

/* Writes the files of the model: configuration, weights from the parts, and the extra files of the first
 * model. */
static int write_model(struct whole *whole, const struct clip_folder_output *folder,
                       const struct clip_model *model, struct clip_error *error)
{
    const struct clip_tensor_source source = {.context = whole, .type = slot_type, .fill = whole_fill};
    char path[PATH_MAX];
    int opened = 0, status = 0;
    for (; opened < CLIP_TRAIN_PARTS && status == 0; opened++) {
        status = clip_path_print(path, error, "%s/weights.%s.safetensors", whole->unfinished,
                                 clip_train_parts[opened]);
        if (status == 0)
            status = clip_tensors_open(&whole->parts[opened], path, error);
    }
    if (status == 0)
        status = (keeps_hf(model) ? clip_write_hf : clip_write_open_clip)(
            folder, clip_model_arch(model), clip_model_layout(model), &source, error);
    for (int i = 0; i < opened; i++)
        clip_tensors_close(&whole->parts[i]);
    return status == 0 ? clip_run_copy_extras(whole->run, folder->temporary, error) : -1;
}

/* Moves the optimizers' states into their folder, and removes the parts' weights, which are in the
 * model's. */
static int arrange_parts(const struct whole *whole, struct clip_error *error)
{
    char folder[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    if (clip_path_print(folder, error, "%s/optimizer", whole->unfinished) != 0)
        return -1;
    if (mkdir(folder, 0777) != 0)
        return clip_fail_errno(error, "%s", folder);
    for (int i = 0; i < CLIP_TRAIN_PARTS; i++) {
        const char *part = clip_train_parts[i];
        if (clip_path_print(from, error, "%s/optimizer.%s.safetensors", whole->unfinished, part) != 0 ||
            clip_path_print(to, error, "%s/%s.safetensors", folder, part) != 0)
            return -1;
        if (rename(from, to) != 0)
            return clip_fail_errno(error, "%s", from);
        if (clip_path_print(from, error, "%s/weights.%s.safetensors", whole->unfinished, part) != 0)
            return -1;
        if (unlink(from) != 0)
            return clip_fail_errno(error, "%s", from);
    }
    return clip_folder_sync(folder, error);
}

/* Replaces an existing checkpoint of that number, which is complete but not yet the target of `latest`. */
static int publish(struct whole *whole, struct clip_folder_output *folder, struct clip_error *error)
{
    char old[PATH_MAX];
    if (clip_path_print(old, error, "%s.old", whole->unfinished) != 0)
        return -1;
    if (rename(whole->path, old) != 0 && errno != ENOENT)
        return clip_fail_errno(error, "%s", whole->path);
    if (clip_folder_commit(folder, error) != 0)
        return -1;
    return clip_tree_remove(old, error);
}

static int move_latest(const struct whole *whole, struct clip_error *error)
{
    char link[PATH_MAX], temporary[PATH_MAX];
    const char *dir = whole->run->dir;
    if (clip_path_print(link, error, "%s/latest", dir) != 0 ||
        clip_path_print(temporary, error, "%s/.latest", dir) != 0)
        return -1;
    if (unlink(temporary) != 0 && errno != ENOENT)
        return clip_fail_errno(error, "%s", temporary);
    if (symlink(strrchr(whole->path, '/') + 1, temporary) != 0 || rename(temporary, link) != 0)
        return clip_fail_errno(error, "%s", link);
    return clip_folder_sync(dir, error);
}

/* --- saving --- */

static int make_whole(struct whole *whole, const struct clip_model *model, uint64_t keep,
                      struct clip_error *error)
{
    struct clip_folder_output folder = {.path = strdup(whole->path), .temporary = strdup(whole->unfinished)};
    if (!folder.path || !folder.temporary) {
        clip_fail_memory(error, "a file name");
    } else if (write_model(whole, &folder, model, error) == 0 && arrange_parts(whole, error) == 0) {
        if (publish(whole, &folder, error) != 0 || move_latest(whole, error) != 0)
            return -1; /* the folder's names are freed with it in either case */
        return keep ? clip_run_remove_old(whole->run->dir, whole->number, keep, error) : 0;
    }
    free(folder.path);
    free(folder.temporary);
    return -1;
}

/* 1 if the weights of all parts exist; each part's were written after its optimizer. */
static int all_there(const struct whole *whole)
{
    char path[PATH_MAX];
    struct clip_error ignored;
    for (int i = 0; i < CLIP_TRAIN_PARTS; i++)
        if (clip_path_print(path, &ignored, "%s/weights.%s.safetensors", whole->unfinished,
                            clip_train_parts[i]) != 0 ||
            access(path, F_OK) != 0)
            return 0;
    return 1;
}

static int write_parts(const struct whole *whole, const struct clip_parameters *parameters,
                       const struct clip_optimizer *optimizer, struct clip_error *error)
{
    char path[PATH_MAX];
    if (mkdir(whole->unfinished, 0777) != 0 && errno != EEXIST)
        return clip_fail_errno(error, "%s", whole->unfinished);
    if (clip_path_print(path, error, "%s/optimizer.%s.safetensors", whole->unfinished, whole->run->part) !=
            0 ||
        clip_optimizer_write(optimizer, path, error) != 0)
        return -1;
    if (clip_path_print(path, error, "%s/weights.%s.safetensors", whole->unfinished, whole->run->part) != 0)
        return -1;
    return write_part(parameters, path, error);
}

int clip_run_save(const struct clip_run *run, const struct clip_model *model,
                  const struct clip_parameters *parameters, const struct clip_optimizer *optimizer,
                  uint64_t number, uint64_t keep, struct clip_error *error)
{
    struct whole *whole = calloc(1, sizeof *whole);
    int status = -1;
    if (!whole)
        return clip_fail_memory(error, "a checkpoint");
    whole->run = run;
    whole->number = number;
    if (clip_path_print(whole->unfinished, error, "%s/.step-%08" PRIu64, run->dir, number) == 0 &&
        clip_path_print(whole->path, error, "%s/step-%08" PRIu64, run->dir, number) == 0 &&
        write_parts(whole, parameters, optimizer, error) == 0)
        status = clip_run_lock(run, error);
    if (status == 0) {
        if (all_there(whole)) /* otherwise another stage still writes its part, and will find the rest here */
            status = make_whole(whole, model, keep, error);
        clip_run_unlock(run);
    }
    free(whole);
    return status;
}
