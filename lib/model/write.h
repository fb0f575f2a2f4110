/* Writing models: safetensors files, and folders that appear whole or not at all. */
#ifndef CLIP_MODEL_WRITE_H
#define CLIP_MODEL_WRITE_H

#include "base/error.h"
#include "model/arch.h"
#include "model/layout.h"
#include "model/weight.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* --- safetensors --- */

/* What a safetensors file says of a tensor. */
struct clip_tensor_info {
    const char *name; /* UTF-8 */
    enum clip_weight_type type;
    int ndim;
    size_t shape[CLIP_WEIGHT_DIMENSIONS];
    uint64_t offset; /* set by clip_safetensors_begin: where its data begins in the file */
    uint64_t bytes;  /* set by it: of its data */
    size_t index;    /* the caller's: begin changes the order of the list */
};

/* Sorts tensors[count] into the order of the file (by falling element size, so that all are aligned, then by
 * name: the same tensors give the same bytes), sets offset and bytes, and writes the header. The caller then
 * writes each tensor's data in that order, or anywhere at its offset. Names must differ. `arch`: the
 * architecture's JSON (clip_arch_print) for the metadata, or NULL. */
int clip_safetensors_begin(FILE *file, struct clip_tensor_info *tensors, size_t count, const char *arch,
                           struct clip_error *error);

/* --- folders --- */

/* A folder being written: files go into `temporary`, beside the final path. */
struct clip_folder_output {
    char *path, *temporary;
    uint64_t shard_size; /* weights past so many bytes are written as several files and an index; 0: 5 GiB */
};

/* Refuses a path that exists. */
int clip_folder_begin(struct clip_folder_output *folder, const char *path, struct clip_error *error);
/* Syncs the folder and all its files, and gives it its name; on error everything is removed. */
int clip_folder_commit(struct clip_folder_output *folder, struct clip_error *error);
void clip_folder_abandon(struct clip_folder_output *folder);

/* --- models --- */

/* Where a model's tensors come from: `type` says in which type a slot is written, or -1 to leave it out
 * (batch norm's counts); `fill` gives elements [first, first + count), row-major in OpenAI's orientation.
 * A matrix of int8's (clip_slot.rounding) may be I8: `scales` gives those of its rows [first, first + count),
 * which are written beside it as NAME_scale [rows, 1]; NULL: none is. */
struct clip_tensor_source {
    const void *context;
    int (*type)(const void *context, const struct clip_slot *slot);
    int (*fill)(const void *context, const struct clip_slot *slot, size_t first, size_t count, void *out,
                struct clip_error *error);
    int (*scales)(const void *context, const struct clip_slot *slot, size_t first, size_t count, float *out,
                  struct clip_error *error);
};

/* One safetensors file with OpenAI's names, whole or not at all: a part of a model. */
int clip_write_weights(const struct clip_layout *layout, const struct clip_tensor_source *source,
                       const char *path, struct clip_error *error);

/* The same of a model, with its architecture in the metadata: it can be read by itself. */
int clip_write_lone(const struct clip_arch *arch, const struct clip_layout *layout,
                    const struct clip_tensor_source *source, const char *path, struct clip_error *error);

/* open_clip's folder: open_clip_config.json, open_clip_model.safetensors (or several and an index). With
 * matrices in I8 the configuration has a quantization_config, as compressed-tensors writes it. */
int clip_write_open_clip(const struct clip_folder_output *folder, const struct clip_arch *arch,
                         const struct clip_layout *layout, const struct clip_tensor_source *source,
                         struct clip_error *error);

/* Hugging Face's folder: config.json, preprocessor_config.json, model.safetensors; of I8 the same. -1 for a
 * model that it cannot hold. */
int clip_write_hf(const struct clip_folder_output *folder, const struct clip_arch *arch,
                  const struct clip_layout *layout, const struct clip_tensor_source *source,
                  struct clip_error *error);

/* tokenizer_config.json, which both know, for a vocabulary that is put beside it. */
int clip_write_tokenizer_config(const struct clip_folder_output *folder, const struct clip_arch *arch,
                                struct clip_error *error);

/* Copies the files of tokenizers (clip_tokenizer_files) unchanged from a model's folder; *count is how many
 * there were. */
int clip_copy_vocabulary(const struct clip_folder_output *folder, const char *from, int *count,
                         struct clip_error *error);

/* Copies the tokenizer at `path`: a folder's files, or a file, as `name` if its own is not one that a folder
 * is searched for, and the files that describe it. */
int clip_copy_tokenizer(const struct clip_folder_output *folder, const char *path, const char *name,
                        struct clip_error *error);

#endif
