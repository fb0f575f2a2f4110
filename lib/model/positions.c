#include "model/positions.h"

#include "math/resample.h"
#include "model/kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A configuration cannot make a small file's table larger than so many times: it is refused by its shape. */
enum { MOST_GROWTH = 256 };

int clip_arch_resize(struct clip_arch *arch, int image_size, struct clip_error *error)
{
    struct clip_tower_arch *tower = &arch->vision;
    if (tower->absent)
        return clip_fail(error, "image size %d: the model has no vision tower", image_size);
    if (tower->kind->fixed_image && image_size != tower->image_size)
        return clip_fail(error, "image size %d: the %s takes only images of %d, %s", image_size,
                         tower->kind->title, tower->image_size, tower->kind->fixed_image);
    if (image_size < tower->patch)
        return clip_fail(error, "image size %d: smaller than a patch; sizes from %d on fit", image_size,
                         tower->patch);
    tower->image_size = image_size;
    tower->image_width = 0;
    return clip_arch_check(arch, error);
}

/* The tower's table, if the slot is one and may be resampled. */
static int find_table(const struct clip_arch *arch, const struct clip_slot *slot, int forced,
                      struct clip_positions *table)
{
    const struct clip_tower_arch *tower = slot->side < CLIP_SIDE_BOTH ? &arch->towers[slot->side] : NULL;
    if (!tower || !tower->kind->positions)
        return 0;
    tower->kind->positions(tower, table);
    return table->name && strcmp(table->name, slot->name) == 0 && (forced || !table->forced);
}

/* Rows and columns of a file's grid, which must be square. */
static int find_grid(size_t rows, size_t from[2])
{
    size_t side = (size_t)lround(sqrt((double)rows));
    from[0] = from[1] = side;
    return side * side == rows ? 0 : -1;
}

/* Floats of the file's rows become those of the slot. */
static int resample(const struct clip_positions *table, size_t rows, size_t width, const float *x,
                    size_t wanted, float *out, struct clip_error *error)
{
    size_t from[2], before = table->before;
    if (!table->grid[0]) {
        clip_line_resample(rows, wanted, width, x, out);
        return 0;
    }
    if (rows <= before || find_grid(rows - before, from) != 0)
        return clip_fail(error, "tensor %s: %zu positions are not those of a square grid", table->name,
                         rows - (rows < before ? rows : before));
    struct clip_grid grid;
    int status = clip_grid_init(&grid, from[0], from[1], table->grid[0], table->grid[1], error);
    if (status == 0) {
        memcpy(out, x, before * width * sizeof *out);
        clip_grid_resample(&grid, width, x + before * width, out + before * width);
    }
    clip_grid_free(&grid);
    return status;
}

int clip_positions_fit(const struct clip_arch *arch, const struct clip_slot *slot,
                       const struct clip_weight *weight, int forced, struct clip_weight *out,
                       struct clip_error *error)
{
    struct clip_positions table = {0};
    int last = slot->ndim - 1; /* [rows, width], or [1, rows, width] */
    if (!find_table(arch, slot, forced, &table) || weight->parts != 1 || weight->ndim != slot->ndim ||
        weight->shape[last] != slot->shape[last] || weight->shape[last - 1] == slot->shape[last - 1] ||
        (last == 2 && weight->shape[0] != 1) || !clip_weight_is_float(weight->type))
        return 0;
    size_t rows = weight->shape[last - 1], wanted = slot->shape[last - 1], width = slot->shape[last];
    if (wanted / MOST_GROWTH > rows)
        return 0;
    size_t size = clip_weight_size(weight->type), count = wanted * width;
    float *x = reallocarray(NULL, rows * width, sizeof *x), *y = reallocarray(NULL, count, sizeof *y);
    unsigned char *data = reallocarray(NULL, count, size);
    int status = x && y && data ? 0 : clip_fail_memory(error, "positions");
    if (status == 0) {
        clip_weight_floats(weight, 0, rows * width, x);
        status = resample(&table, rows, width, x, wanted, y, error);
    }
    for (size_t i = 0; status == 0 && i < count; i++)
        clip_weight_store(weight->type, (double)y[i], data + i * size);
    free(x);
    free(y);
    if (status != 0) {
        free(data);
        return -1;
    }
    *out = (struct clip_weight){
        .name = weight->name, .type = weight->type, .ndim = slot->ndim, .data = data, .parts = 1};
    memcpy(out->shape, slot->shape, sizeof slot->shape);
    out->stride[last] = 1;
    out->stride[last - 1] = width;
    if (last == 2)
        out->stride[0] = count;
    return 1;
}
