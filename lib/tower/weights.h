/* The weights of a tower, from a model or from parameters that learn. Their shapes are those of the layout
 * (model/kind.h): a tower asks for them by name alone. */
#ifndef CLIP_TOWER_WEIGHTS_H
#define CLIP_TOWER_WEIGHTS_H

#include "base/error.h"
#include "base/exchange.h"
#include "base/threads.h"
#include "math/product.h"
#include "model/model.h"
#include "model/parameters.h"

#include <stddef.h>

/* int8 for the linear layers of transformers' blocks. */
struct clip_int8_setup {
    struct clip_engine *engine;
    struct clip_engine *kept; /* of blocks that are not rounded */
    size_t keep;              /* how many at either end are not */
};

/* What a tower is made of. */
struct clip_tower_setup {
    const struct clip_arch *arch;
    const struct clip_model *model;     /* one of them: for inference, */
    struct clip_parameters *parameters; /* or, of its part (model/layout.h), for training: f32 */
    struct clip_engine *engine;         /* its precision is that of products */
    struct clip_pool *pool;
    size_t batch;
    const struct clip_int8_setup *int8; /* of a model's tower; NULL: `engine` is for all products */
    const struct clip_exchange
        *exchange; /* of several ranks, for what mixes the items of a batch; NULL: one */
};

/* The tensor of that name of the model or of the parameters; NULL where there is none. */
const struct clip_slot *clip_setup_slot(const struct clip_tower_setup *setup, const char *name);

/* A tensor as it lies: a bias, a norm's weight, positions. */
struct clip_values {
    const float *value;
    float *gradient; /* NULL where nothing learns */
    float *copy;     /* of a model's: what `value` points at; NULL where that is mapped */
};

/* -1 with error; clip_values_free afterwards, also after an error, of zeroed ones too. The name is printed
 * from `format`. */
int clip_values_load(struct clip_values *values, const struct clip_tower_setup *setup,
                     struct clip_error *error, const char *format, ...) __attribute__((format(printf, 4, 5)));
void clip_values_free(struct clip_values *values);

/* A norm: its tensors are NAME.weight and NAME.bias. */
struct clip_norm {
    struct clip_values weight, bias; /* [width] */
};
/* As clip_values_load, of both. */
int clip_norm_load(struct clip_norm *norm, const struct clip_tower_setup *setup, struct clip_error *error,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
void clip_norm_free(struct clip_norm *norm);

/* Which part of which tensor: rows [first, first + count) along its first dimension, each of the product of
 * the other dimensions; count 0: all. */
struct clip_operand_part {
    const char *name;
    const char *more[2]; /* tensors of the same shape whose rows follow, whole; NULL: none */
    size_t first, count;
    int transposed;  /* the tensor is [inputs, outputs] */
    int first_layer; /* nothing learns from the gradient of its input */
};

/* A matrix, prepared for products. */
struct clip_operand {
    struct clip_matrix *forward;
    struct clip_matrix *backward; /* from the gradient of the output to that of the input; NULL: none */
    int transposed;
    const float *value; /* of the part, where it learns: parameters */
    float *gradient;
    float *copy; /* of a model's: where the engine borrows and the file has no such floats */
};

/* Prepares the part for products of `rows` rows (0: the engine's own number). A model's mapped pages that are
 * not read again are given back. -1 with error; clip_operand_free afterwards, also of zeroed ones. */
int clip_operand_load(struct clip_operand *operand, const struct clip_tower_setup *setup, size_t rows,
                      const struct clip_operand_part *part, struct clip_error *error);
void clip_operand_free(struct clip_operand *operand);

/* Takes up the parameters' values. */
int clip_operand_refresh(struct clip_operand *operand, struct clip_error *error);

/* A linear layer, or a convolution as products: its tensors are NAME.weight and, where the layout has it,
 * NAME.bias. */
struct clip_dense {
    struct clip_operand weight;
    struct clip_values bias; /* value NULL: none */
};
/* As clip_operand_load, of both; first_layer as in clip_operand_part. */
int clip_dense_load(struct clip_dense *dense, const struct clip_tower_setup *setup, size_t rows,
                    int first_layer, struct clip_error *error, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
void clip_dense_free(struct clip_dense *dense);

/* The most scratch that the products of an operand need (clip_product_scratch). */
size_t clip_operand_scratch(const struct clip_operand *operand);

#endif
