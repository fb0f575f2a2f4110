/* An opened model: its architecture and its named tensors, whatever the form on disk (FACTS: file forms of a
 * model).
 *
 * Names are OpenAI's ("visual.conv1.weight", "transformer.resblocks.0.attn.in_proj_weight", ...) whatever the
 * file calls them; a tensor that the file stores split or transposed (Hugging Face's q/k/v, projections)
 * comes as OpenAI's one. Files are mapped, not read: a tensor's pages are touched when it is fetched. */
#ifndef CLIP_MODEL_MODEL_H
#define CLIP_MODEL_MODEL_H

#include "base/error.h"
#include "model/arch.h"
#include "model/forms.h"
#include "model/layout.h"

#include <stddef.h>

struct clip_model;

/* Where MODEL is: its path, from malloc. NULL with error where there is none. */
char *clip_model_find(const char *model, struct clip_error *error);

/* Opens MODEL: a path to any readable form, or a name looked up in $CLIP_MODEL_PATH (folders separated by
 * ':'), then in the installed share/models. `arch`: name or JSON for a lone weights file, or NULL (what the
 * configuration beside the file or its metadata says, or else OpenAI's reading of shapes). `key`: which
 * weights of a checkpoint that holds several (clip_names_openai), or NULL. NULL with error. */
struct clip_model *clip_model_open_key(const char *model, const char *arch, const char *key,
                                       struct clip_error *error);
/* The same without a key. */
struct clip_model *clip_model_open(const char *model, const char *arch, struct clip_error *error);
/* The same with another image size, its positions resampled (model/positions.h). */
struct clip_model *clip_model_open_resized(const char *model, const char *arch, const char *key,
                                           int image_size, struct clip_error *error);
/* The same for the architecture, the preprocessing and the vocabulary alone: the model has no tensors then.
 * The weights of a folder are not read; of a lone file, or with `arch`, the list of tensors is. */
struct clip_model *clip_model_open_settings(const char *model, const char *arch, const char *key,
                                            struct clip_error *error);
/* The same for the logit scale and bias: of the tensors these alone are looked at. Of a lone file without a
 * configuration the shapes need not say what the towers are. */
struct clip_model *clip_model_open_scalars(const char *model, const char *arch, const char *key,
                                           struct clip_error *error);
void clip_model_close(struct clip_model *model);

const struct clip_arch *clip_model_arch(const struct clip_model *model);

/* Where the model's vocabulary is (a path for clip_tokenizer_open), or NULL where the form has none. Owned
 * by model. */
const char *clip_model_vocabulary(const struct clip_model *model);

/* The architecture's tensor of that name, or NULL. Owned by model. */
const struct clip_slot *clip_model_slot(const struct clip_model *model, const char *name);

/* 1 if there is such a tensor, else 0. */
int clip_model_has(const struct clip_model *model, const char *name);

/* Copies tensor `name` into out[product of shape] as f32 (from f32, f16, bf16, f64, or I8 with scales),
 * row-major in OpenAI's orientation. `shape` has `ndim` entries that the tensor must match; -1 with a message
 * that names it otherwise. */
int clip_model_floats(const struct clip_model *model, const char *name, int ndim, const size_t *shape,
                      float *out, struct clip_error *error);

/* The tensor where it lies in the mapping, and its type: the number of parts of it, which follow one another
 * and are of one size; 0 (use clip_model_floats) if the file does not hold them contiguous, aligned to their
 * elements, in OpenAI's orientation. Valid until clip_model_close. */
enum { CLIP_MODEL_PARTS = 3 };
size_t clip_model_lies(const struct clip_model *model, const char *name, const void *data[CLIP_MODEL_PARTS],
                       enum clip_weight_type *type);

/* The tensor in one part of little-endian f32, or *data = NULL. -1 as of clip_model_floats. */
int clip_model_mapped(const struct clip_model *model, const char *name, int ndim, const size_t *shape,
                      const float **data, struct clip_error *error);

/* Rows [first, first + rows) of the 2-d tensor `name` of `columns`, as f32 into out[rows * columns] (token
 * embeddings, of which few rows are touched). */
int clip_model_rows(const struct clip_model *model, const char *name, size_t first, size_t rows,
                    size_t columns, float *out, struct clip_error *error);

/* Elements [first, first + count) of a tensor, as clip_model_floats. */
int clip_model_elements(const struct clip_model *model, const char *name, size_t first, size_t count,
                        float *out, struct clip_error *error);

/* 1 if the matrix is one of int8's (clip_slot.rounding) and stored so: I8, and NAME_scale with a number for
 * each row, as compressed-tensors writes them. As floats it is the product of both. */
int clip_model_is_rounded(const struct clip_model *model, const char *name);
/* 1 if a matrix of the side's tower is. */
int clip_model_is_int8(const struct clip_model *model, enum clip_side side);
/* Rows [first, first + rows) of such a matrix as they are stored: q[rows][columns], scales[rows]. */
int clip_model_rounded(const struct clip_model *model, const char *name, size_t first, size_t rows, int8_t *q,
                       float *scales, struct clip_error *error);

/* Tells the kernel that the tensor's mapped pages are not needed now (after weights were packed elsewhere).
 */
void clip_model_release_pages(const struct clip_model *model, const char *name);

/* exp of this is the factor of the cosines. An error where there is none, or it is not finite, or so large
 * that it must be the factor itself. */
int clip_model_logit_scale(const struct clip_model *model, float *logit_scale, struct clip_error *error);
/* What is added to the scaled cosines, 0 where the model has none. An error where it is not finite. */
int clip_model_logit_bias(const struct clip_model *model, float *logit_bias, struct clip_error *error);

/* -1 with an error that names the model if it lacks the tower or, for CLIP_SIDE_BOTH, the logit scale. */
int clip_model_need(const struct clip_model *model, enum clip_side side, struct clip_error *error);

/* A warning for the user of a lone file: that a tower's heads (CLIP_SIDE_BOTH: any tower's) were guessed.
 * NULL if they are known, or if the warning was returned before. Owned by model. */
const char *clip_model_guess(struct clip_model *model, enum clip_side side);

/* --- for programs that look at the model itself --- */

enum clip_folder { CLIP_FOLDER_NONE, CLIP_FOLDER_OPEN_CLIP, CLIP_FOLDER_HF };

/* The path at which the model was found, and its form. Owned by model. */
const char *clip_model_path(const struct clip_model *model);
/* The folder whose configuration counts, and whose vocabulary; NULL for a lone file. Owned by model. */
const char *clip_model_home(const struct clip_model *model);
enum clip_folder clip_model_folder(const struct clip_model *model);
enum clip_form clip_model_form(const struct clip_model *model);

/* The tensors of the architecture. All are there, but for batch norm's counts (slot.integer), which may not
 * be. */
const struct clip_layout *clip_model_layout(const struct clip_model *model);

/* The type in which the file holds a tensor; -1 if there is none. */
int clip_model_type(const struct clip_model *model, const char *name, enum clip_weight_type *type);

/* Copies elements [first, first + count) of a tensor, row-major in OpenAI's orientation, in the type of the
 * file. */
int clip_model_copy(const struct clip_model *model, const char *name, size_t first, size_t count, void *out,
                    struct clip_error *error);

#endif
