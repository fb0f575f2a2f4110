#include "tower/weights.h"

#include "base/array.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct clip_slot *clip_setup_slot(const struct clip_tower_setup *setup, const char *name)
{
    if (!setup->parameters)
        return clip_model_slot(setup->model, name);
    const struct clip_parameter *parameter = clip_parameters_get(setup->parameters, "%s", name);
    return parameter ? &parameter->slot : NULL;
}

/* The tensor's slot; *parameter is set where it learns. NULL with error where the layout has none. */
static const struct clip_slot *find_slot(const struct clip_tower_setup *setup, const char *name,
                                         struct clip_parameter **parameter, struct clip_error *error)
{
    const struct clip_slot *slot = clip_setup_slot(setup, name);
    *parameter = setup->parameters ? clip_parameters_get(setup->parameters, "%s", name) : NULL;
    if (!slot)
        clip_fail(error, "the architecture has no tensor %s", name);
    return slot;
}

/* Bytes from which a model's tensor is read where it is mapped. */
enum { LARGE = 64 << 10 };

/* Room for a tensor's name. */
enum { NAME = sizeof((struct clip_slot *)NULL)->name };

int clip_values_load(struct clip_values *values, const struct clip_tower_setup *setup,
                     struct clip_error *error, const char *format, ...)
{
    char name[NAME];
    struct clip_parameter *parameter;
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const struct clip_slot *slot = find_slot(setup, name, &parameter, error);
    if (!slot)
        return -1;
    if (parameter) {
        *values = (struct clip_values){parameter->value, parameter->gradient, NULL};
        return 0;
    }
    size_t bytes = (size_t)clip_slot_count(slot) * sizeof(float);
    *values = (struct clip_values){0};
    if (bytes >= LARGE &&
        clip_model_mapped(setup->model, name, slot->ndim, slot->shape, &values->value, error) != 0)
        return -1;
    if (values->value)
        return 0;
    float *copy = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!copy)
        return clip_fail_memory(error, name);
    *values = (struct clip_values){copy, NULL, copy};
    return clip_model_floats(setup->model, name, slot->ndim, slot->shape, copy, error);
}

void clip_values_free(struct clip_values *values)
{
    free(values->copy);
    *values = (struct clip_values){0};
}

int clip_norm_load(struct clip_norm *norm, const struct clip_tower_setup *setup, struct clip_error *error,
                   const char *format, ...)
{
    char name[NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return clip_values_load(&norm->weight, setup, error, "%s.weight", name) == 0
               ? clip_values_load(&norm->bias, setup, error, "%s.bias", name)
               : -1;
}

void clip_norm_free(struct clip_norm *norm)
{
    clip_values_free(&norm->weight);
    clip_values_free(&norm->bias);
}

/* Sets *data to the part's floats: where they are mapped, or in *copy, which is allocated. */
static int find_floats(const struct clip_model *model, const struct clip_slot *slot, size_t first,
                       size_t count, size_t columns, const float **data, float **copy,
                       struct clip_error *error)
{
    *copy = NULL;
    if (clip_model_mapped(model, slot->name, slot->ndim, slot->shape, data, error) != 0)
        return -1;
    if (*data) {
        *data += first * columns;
        return 0;
    }
    *copy = reallocarray(NULL, count * columns, sizeof **copy);
    if (!*copy)
        return clip_fail_memory(error, slot->name);
    *data = *copy;
    int status = count == slot->shape[0]
                     ? clip_model_floats(model, slot->name, slot->ndim, slot->shape, *copy, error)
                     : clip_model_rows(model, slot->name, first, count, columns, *copy, error);
    if (status != 0) {
        free(*copy);
        *copy = NULL;
    }
    return status;
}

/* Tensors of a part. */
static size_t tensors_of(const struct clip_operand_part *part)
{
    return part->more[0] ? part->more[1] ? 3 : 2 : 1;
}

static const char *tensor_of(const struct clip_operand_part *part, size_t i)
{
    return i ? part->more[i - 1] : part->name;
}

/* *copy, which is allocated, takes the tensors of a part, one after the other. */
static int join_floats(const struct clip_model *model, const struct clip_slot *slot,
                       const struct clip_operand_part *part, float **copy, struct clip_error *error)
{
    size_t each = (size_t)clip_slot_count(slot), n = tensors_of(part);
    *copy = reallocarray(NULL, n * each, sizeof **copy);
    if (!*copy)
        return clip_fail_memory(error, slot->name);
    for (size_t i = 0; i < n; i++) {
        const char *name = tensor_of(part, i);
        if (clip_model_floats(model, name, slot->ndim, slot->shape, *copy + i * each, error) != 0)
            return -1;
        clip_model_release_pages(model, name);
    }
    return 0;
}

/* The type of elements in products; -1: they do not take it. */
static int stored_type(enum clip_weight_type type)
{
    return type == CLIP_WEIGHT_F32    ? CLIP_STORED_F32
           : type == CLIP_WEIGHT_F16  ? CLIP_STORED_F16
           : type == CLIP_WEIGHT_BF16 ? CLIP_STORED_BF16
                                      : -1;
}

/* Finds the tensors of a part, one after the other, where they are mapped: 1 if they are all there and alike.
 */
static int find_mapped(const struct clip_model *model, const struct clip_operand_part *part,
                       struct clip_mapped *weights)
{
    *weights = (struct clip_mapped){.count = 0};
    for (size_t i = 0; i < tensors_of(part); i++) {
        const void *data[CLIP_MODEL_PARTS];
        enum clip_weight_type type;
        size_t found = clip_model_lies(model, tensor_of(part, i), data, &type);
        int stored = found ? stored_type(type) : -1;
        if (stored < 0 || weights->count + found > CLIP_MAPPED_PARTS ||
            (i > 0 && (found != 1 || stored != (int)weights->stored)))
            return 0;
        weights->stored = (enum clip_stored)stored;
        for (size_t j = 0; j < found; j++)
            weights->parts[weights->count++] = data[j];
    }
    return 1;
}

/* Narrows weights of all `rows` outputs to [first, first + count): 0 if that cuts one of several parts. */
static int narrow_mapped(struct clip_mapped *weights, size_t rows, size_t first, size_t count, size_t columns)
{
    size_t each = rows / weights->count, element = weights->stored == CLIP_STORED_F32 ? sizeof(float) : 2;
    if (weights->count == 1)
        weights->parts[0] = (const char *)weights->parts[0] + first * columns * element;
    else if (first % each || count % each)
        return 0;
    else
        for (size_t i = 0; i < count / each; i++)
            weights->parts[i] = weights->parts[first / each + i];
    weights->count = weights->count == 1 ? 1 : count / each;
    return 1;
}

/* Weights that products may read where they are mapped: 1 if the part is such. */
static int map_part(const struct clip_operand *operand, const struct clip_tower_setup *setup,
                    const struct clip_slot *slot, const struct clip_operand_part *part, size_t count,
                    size_t columns, struct clip_mapped *weights)
{
    size_t rows = slot->shape[0] * tensors_of(part);
    return !operand->transposed && find_mapped(setup->model, part, weights) &&
           narrow_mapped(weights, rows, part->first, count, columns) &&
           clip_engine_maps(setup->engine, count, weights);
}

/* The rounded matrix of a model's tensors, for an int8 engine: as it is stored. */
static int set_rounded(struct clip_operand *operand, const struct clip_tower_setup *setup,
                       const struct clip_slot *slot, const struct clip_operand_part *part, size_t count,
                       size_t columns, struct clip_error *error)
{
    size_t n = tensors_of(part), each = count / n;
    int8_t *q = reallocarray(NULL, count, columns);
    float *scales = reallocarray(NULL, count, sizeof *scales);
    int status = q && scales ? 0 : clip_fail_memory(error, slot->name);
    for (size_t i = 0; i < n && status == 0; i++)
        status = clip_model_rounded(setup->model, tensor_of(part, i), part->first, each,
                                    q + i * each * columns, scales + i * each, error);
    if (status == 0)
        status = clip_matrix_set_int8(operand->forward, q, scales, error);
    for (size_t i = 0; i < n; i++)
        clip_model_release_pages(setup->model, tensor_of(part, i));
    free(q), free(scales);
    return status;
}

/* 1 if all tensors of the part are stored as an int8 engine takes them. */
static int is_rounded(const struct clip_tower_setup *setup, const struct clip_operand_part *part)
{
    int rounded = clip_engine_precision(setup->engine) == CLIP_PRECISION_INT8;
    for (size_t i = 0; i < tensors_of(part) && rounded; i++)
        rounded = clip_model_is_rounded(setup->model, tensor_of(part, i));
    return rounded;
}

/* The matrix of a model's tensor; count and columns are those of the whole part. */
static int set_mapped(struct clip_operand *operand, const struct clip_tower_setup *setup,
                      const struct clip_slot *slot, const struct clip_operand_part *part, size_t count,
                      size_t columns, struct clip_error *error)
{
    const float *data;
    struct clip_mapped weights;
    if (is_rounded(setup, part))
        return set_rounded(operand, setup, slot, part, count, columns, error);
    if (map_part(operand, setup, slot, part, count, columns, &weights))
        return clip_matrix_map(operand->forward, &weights, error) == 0
                   ? 0
                   : clip_fail_prefix(error, "%s", slot->name);
    int found = part->more[0] ? join_floats(setup->model, slot, part, &operand->copy, error)
                              : find_floats(setup->model, slot, part->first, count, columns, &data,
                                            &operand->copy, error);
    if (found != 0)
        return -1;
    if (part->more[0])
        data = operand->copy;
    int status = clip_matrix_set(operand->forward, data, operand->transposed, error);
    if (status == 0 && clip_engine_borrows(setup->engine))
        return 0;
    free(operand->copy);
    operand->copy = NULL;
    clip_model_release_pages(setup->model, slot->name);
    return status == 0 ? 0 : clip_fail_prefix(error, "%s", slot->name);
}

/* Parameters that are read as one matrix must lie one after the other, as those of a layout do whose sizes
 * are multiples of 64 bytes. */
static int check_adjacent(const struct clip_tower_setup *setup, const struct clip_operand_part *part,
                          const struct clip_parameter *first, struct clip_error *error)
{
    for (size_t i = 1; i < tensors_of(part); i++) {
        const struct clip_parameter *next = clip_parameters_get(setup->parameters, "%s", tensor_of(part, i));
        if (!next || next->count != first->count || next->value != first->value + i * first->count ||
            next->gradient != first->gradient + i * first->count)
            return clip_fail(error, "%s: a width that is not a multiple of 4 cannot be trained", part->name);
    }
    return 0;
}

int clip_operand_load(struct clip_operand *operand, const struct clip_tower_setup *setup, size_t rows,
                      const struct clip_operand_part *part, struct clip_error *error)
{
    struct clip_parameter *parameter;
    const struct clip_slot *slot = find_slot(setup, part->name, &parameter, error);
    *operand = (struct clip_operand){.transposed = part->transposed};
    if (!slot || (parameter && check_adjacent(setup, part, parameter, error) != 0))
        return -1;
    size_t columns = (size_t)clip_slot_count(slot) / slot->shape[0];
    size_t count = part->count ? part->count : slot->shape[0] * tensors_of(part);
    size_t n = part->transposed ? columns : count, k = part->transposed ? count : columns;
    rows = rows ? rows : clip_engine_rows(setup->engine);
    /* The matrix first: it checks the sizes. */
    operand->forward = clip_matrix_new(setup->engine, rows, n, k, error);
    if (operand->forward && parameter && !part->first_layer)
        operand->backward = clip_matrix_new(setup->engine, rows, k, n, error);
    if (!operand->forward || (parameter && !part->first_layer && !operand->backward))
        return clip_fail_prefix(error, "%s", part->name);
    if (!parameter)
        return set_mapped(operand, setup, slot, part, count, columns, error);
    operand->value = parameter->value + part->first * columns;
    operand->gradient = parameter->gradient + part->first * columns;
    return clip_operand_refresh(operand, error);
}

void clip_operand_free(struct clip_operand *operand)
{
    clip_matrix_free(operand->forward);
    clip_matrix_free(operand->backward);
    free(operand->copy);
    *operand = (struct clip_operand){0};
}

int clip_operand_refresh(struct clip_operand *operand, struct clip_error *error)
{
    if (operand->forward &&
        clip_matrix_set(operand->forward, operand->value, operand->transposed, error) != 0)
        return -1;
    return operand->backward ? clip_matrix_set(operand->backward, operand->value, !operand->transposed, error)
                             : 0;
}

size_t clip_operand_scratch(const struct clip_operand *operand)
{
    size_t forward = operand->forward ? clip_product_scratch(operand->forward) : 0;
    size_t backward = operand->backward ? clip_product_scratch(operand->backward) : 0;
    return forward > backward ? forward : backward;
}

int clip_dense_load(struct clip_dense *dense, const struct clip_tower_setup *setup, size_t rows,
                    int first_layer, struct clip_error *error, const char *format, ...)
{
    char name[NAME], weight[NAME + sizeof ".weight"], bias[NAME + sizeof ".bias"];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const struct clip_operand_part part = {.name = weight, .first_layer = first_layer};
    if (clip_operand_load(&dense->weight, setup, rows, &part, error) != 0)
        return -1;
    return clip_setup_slot(setup, bias) ? clip_values_load(&dense->bias, setup, error, "%s", bias) : 0;
}

void clip_dense_free(struct clip_dense *dense)
{
    clip_operand_free(&dense->weight);
    clip_values_free(&dense->bias);
}
