/* The tensors of a part of a model in memory, as f32, with their gradients: what a training stage owns and
 * updates.
 *
 * Values and gradients lie row-major in OpenAI's orientation, each aligned to 64 bytes, in one allocation for
 * the values and one for the gradients. */
#ifndef CLIP_MODEL_PARAMETERS_H
#define CLIP_MODEL_PARAMETERS_H

#include "base/arena.h"
#include "base/error.h"
#include "model/model.h"

#include <stddef.h>
#include <stdint.h>

struct clip_parameter {
    struct clip_slot slot; /* name, shape; slot.buffer: batch norm's running statistics */
    size_t count;          /* elements */
    float *value;          /* [count]; NULL for batch norm's counts (slot.integer) */
    float *gradient;       /* [count], zeroed at first; NULL for buffers */
    int64_t integer;       /* batch norm's count of batches, where slot.integer */
    int frozen;            /* the optimizer leaves it as it is */
};

struct clip_parameters {
    struct clip_parameter *items; /* in the layout's order */
    size_t count;
    char *values, *gradients; /* where those of all items lie, in their order, with zeros in the gaps */
    size_t value_bytes, gradient_bytes;
    struct clip_arena owned_values, owned_gradients; /* empty once moved */
};

/* Loads the model's tensors of a part; counts that the file lacks are 0.
 * clip_parameters_free afterwards, also after an error. */
int clip_parameters_load(struct clip_parameters *parameters, const struct clip_model *model,
                         enum clip_part part, struct clip_error *error);
void clip_parameters_free(struct clip_parameters *parameters);

/* The parameter whose name is printed from `format`; NULL if there is none. */
struct clip_parameter *clip_parameters_get(const struct clip_parameters *parameters, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Moves the values and the gradients, which must still be 0, to the caller's memory: value_bytes and
 * gradient_bytes zeroed bytes, aligned to 64, which must outlive the parameters. */
void clip_parameters_move(struct clip_parameters *parameters, void *values, void *gradients);

/* A hash of all values, to compare processes that must hold the same. */
uint64_t clip_parameters_hash(const struct clip_parameters *parameters);

#endif
