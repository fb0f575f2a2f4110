/* Where the files of a model are. */
#ifndef CLIP_MODEL_PLACE_H
#define CLIP_MODEL_PLACE_H

#include "base/error.h"

#include <stddef.h>

/* Folder/name if it exists, else NULL; from malloc. */
char *clip_existing(const char *folder, const char *name);

/* The folder that a file stands in ("." for a bare name), from malloc; NULL when out of memory. */
char *clip_folder_of(const char *path);

/* The configuration of that name in share/architectures, from malloc, or NULL. */
char *clip_arch_find(const char *name);

/* The names of those that are there, sorted; the caller frees them. -1 where the folder cannot be read. */
int clip_arch_names(char ***names, size_t *count, struct clip_error *error);
void clip_arch_names_free(char **names, size_t count);

/* The weights of an open_clip folder or (hf) one of Hugging Face's, by the libraries' preference: a file, or
 * the index of several, NAME.index.json. From malloc; NULL with error where there are none. */
char *clip_find_weights(const char *folder, int hf, struct clip_error *error);

/* 1 if the name is that of one shard of several, as "model-00001-of-00002.safetensors". */
int clip_is_shard(const char *path);

#endif
