#include "tower/prepared.h"

#include <stdlib.h>

/* Sets *data to the part's floats: where they are mapped, or in *copy, which is allocated. */
static int find_floats(const struct clip_model *model, const struct clip_prepared_part *part, size_t columns,
                       const float **data, float **copy, struct clip_error *error)
{
    *copy = NULL;
    if (clip_model_mapped(model, part->name, part->ndim, part->shape, data, error) != 0)
        return -1;
    if (*data) {
        *data += part->first * columns;
        return 0;
    }
    *copy = reallocarray(NULL, part->count * columns, sizeof **copy);
    if (!*copy)
        return clip_fail_memory(error, part->name);
    *data = *copy;
    int status = part->count == part->shape[0]
                     ? clip_model_floats(model, part->name, part->ndim, part->shape, *copy, error)
                     : clip_model_rows(model, part->name, part->first, part->count, columns, *copy, error);
    if (status != 0)
        free(*copy);
    return status;
}

int clip_prepared_load(struct clip_prepared *prepared, const struct clip_model *model,
                       struct clip_engine *engine, size_t rows, const struct clip_prepared_part *part,
                       struct clip_error *error)
{
    *prepared = (struct clip_prepared){0};
    size_t columns = 1;
    for (int i = 1; i < part->ndim; i++)
        columns *= part->shape[i];
    size_t n = part->transposed ? columns : part->count, k = part->transposed ? part->count : columns;
    const float *data;
    float *copy;
    /* The matrix first: it checks the sizes. */
    struct clip_matrix *matrix =
        clip_matrix_new_rows(engine, rows ? rows : clip_engine_rows(engine), n, k, error);
    if (!matrix)
        return clip_fail_prefix(error, "%s", part->name);
    if (find_floats(model, part, columns, &data, &copy, error) != 0) {
        clip_matrix_free(matrix);
        return -1;
    }
    int status = clip_matrix_set(matrix, data, part->transposed, error);
    if (status == 0 && clip_engine_borrows(engine)) {
        *prepared = (struct clip_prepared){matrix, copy};
        return 0;
    }
    free(copy);
    clip_model_forget(model, part->name);
    if (status != 0) {
        clip_matrix_free(matrix);
        return clip_fail_prefix(error, "%s", part->name);
    }
    prepared->matrix = matrix;
    return 0;
}

void clip_prepared_free(struct clip_prepared *prepared)
{
    clip_matrix_free(prepared->matrix);
    free(prepared->copy);
    *prepared = (struct clip_prepared){0};
}
