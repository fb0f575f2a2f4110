#include "math/conv-kernels.h"
#include "math/conv.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How a convolution becomes products. */
enum method {
    POINTS,   /* filter of side 1: a row is a pixel */
    PATCHES,  /* a row is the pixels under the filter */
    WINOGRAD, /* f32, side 3, stride 1: a row is a tile at one of the places */
};

struct clip_conv {
    struct clip_conv_shape shape;
    enum method method;
    int relu;
    size_t element;
    size_t total; /* rows of a picture: outputs, or tiles */
    size_t rows;  /* of a piece; the last piece ends with the picture and may overlap the one before */
    size_t patches, sums; /* bytes of scratch: a piece's input and, of Winograd, its sums */
    struct clip_linear *linear;
    const struct clip_conv_kernels *kernels;
    int borrows;    /* linear reads `weights` where they lie */
    float *weights; /* [out][area][in], or [places][in][out]; kept only where the engine borrows */
    float *bias;    /* [out] of Winograd, which adds it after its output transform */
};

/* Rows of a piece: enough for the product's speed, few enough that scratch stays in the cache. */
enum { TILES = 64, PATCH_BYTES = 384 << 10 };

/* Winograd's weights are four times the filter's, and with few tiles it takes longer to read them than the
 * operations take that they save: WORTH tiles a picture are the least, and more where there are more than
 * WEIGHTS pairs of channels a tile. */
enum { WORTH = 16, WEIGHTS = 32768 };

/* --- shapes --- */

size_t clip_conv_height(const struct clip_conv_shape *shape)
{
    return (shape->height - 1) / shape->stride + 1;
}

size_t clip_conv_width(const struct clip_conv_shape *shape)
{
    return (shape->width - 1) / shape->stride + 1;
}

const struct clip_conv_kernels *clip_conv_kernels(enum clip_level level)
{
    return CLIP_TABLE(clip_conv_kernels, level);
}

size_t clip_winograd_tiles(size_t height, size_t width)
{
    size_t tile = CLIP_WINOGRAD_TILE;
    return ((height + tile - 1) / tile) * ((width + tile - 1) / tile);
}

static int check_shape(const struct clip_conv_shape *shape, int epilogue, struct clip_error *error)
{
    int known = shape->side == 1 ? shape->stride == 1
                                 : shape->side == 3 && (shape->stride == 1 || shape->stride == 2) &&
                                       !(epilogue & CLIP_LINEAR_ADD);
    size_t channels = shape->in > shape->out ? shape->in : shape->out, area, elements, weights;
    /* Winograd's tiles of 36 places for 16 outputs are the largest buffers, but for pictures of a few pixels:
     * so 64 times the picture fits an int, and 36 times the weights a size. */
    if (!known || shape->height < 1 || shape->width < 1 || shape->in < 1 || shape->out < 1 ||
        __builtin_mul_overflow(shape->height, shape->width, &area) ||
        __builtin_mul_overflow(area, channels, &elements) || elements > INT_MAX / 64 ||
        __builtin_mul_overflow(shape->in, shape->out, &weights) || weights > INT_MAX / 36)
        return clip_fail(error,
                         "a convolution of side %zu and stride %zu from %zu to %zu channels of %zu by %zu is "
                         "out of bounds",
                         shape->side, shape->stride, shape->in, shape->out, shape->height, shape->width);
    return 0;
}

static enum method method_of(const struct clip_engine *engine, const struct clip_conv_shape *shape)
{
    if (shape->side == 1)
        return POINTS;
    size_t tiles = clip_winograd_tiles(shape->height, shape->width);
    int winograd = clip_engine_precision(engine) == CLIP_PRECISION_F32 && shape->stride == 1 &&
                   tiles >= WORTH && shape->in * shape->out / WEIGHTS <= tiles;
    return winograd ? WINOGRAD : PATCHES;
}

/* Rows of a piece where `total` are cut into equal pieces of at most `most`. */
static size_t equal_piece(size_t total, size_t most)
{
    size_t pieces = most > 0 ? (total + most - 1) / most : total;
    return (total + pieces - 1) / pieces;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Pieces, scratch, and the products' shape. */
static struct clip_linear_shape plan_products(struct clip_conv *conv)
{
    const struct clip_conv_shape *shape = &conv->shape;
    struct clip_linear_shape linear = {
        .n = shape->out, .k = shape->side * shape->side * shape->in, .count = 1};
    conv->total = clip_conv_height(shape) * clip_conv_width(shape);
    conv->rows = conv->total;
    if (conv->method == PATCHES) {
        conv->rows = equal_piece(conv->total, PATCH_BYTES / (linear.k * conv->element));
        conv->patches = round_up(conv->rows * linear.k * conv->element);
    } else if (conv->method == WINOGRAD) {
        linear.k = shape->in;
        linear.count = CLIP_WINOGRAD_PLACES;
        conv->total = clip_winograd_tiles(shape->height, shape->width);
        conv->rows = equal_piece(conv->total, TILES);
        conv->patches = round_up(linear.count * conv->rows * shape->in * sizeof(float));
        conv->sums = round_up(linear.count * conv->rows * shape->out * sizeof(float));
    }
    linear.rows = conv->rows;
    return linear;
}

/* --- making one --- */

struct clip_conv *clip_conv_new(struct clip_engine *engine, const struct clip_conv_shape *shape, int epilogue,
                                struct clip_error *error)
{
    enum clip_level level;
    if (check_shape(shape, epilogue, error) < 0 || clip_level_choose(&level, error) < 0)
        return NULL;
    struct clip_conv *conv = calloc(1, sizeof *conv);
    if (!conv) {
        clip_fail_memory(error, "a convolution");
        return NULL;
    }
    conv->shape = *shape;
    conv->method = method_of(engine, shape);
    conv->kernels = clip_conv_kernels(level);
    conv->relu = (epilogue & CLIP_LINEAR_RELU) != 0;
    conv->element = clip_engine_element(engine);
    conv->borrows = clip_engine_borrows(engine);
    struct clip_linear_shape linear = plan_products(conv);
    conv->linear =
        clip_linear_new(engine, &linear, conv->method == WINOGRAD ? 0 : epilogue | CLIP_LINEAR_BIAS, error);
    if (!conv->linear) {
        clip_conv_free(conv);
        return NULL;
    }
    return conv;
}

void clip_conv_free(struct clip_conv *conv)
{
    if (!conv)
        return;
    clip_linear_free(conv->linear);
    free(conv->weights);
    free(conv->bias);
    free(conv);
}

size_t clip_conv_scratch(const struct clip_conv *conv)
{
    return conv->patches + conv->sums + clip_linear_scratch(conv->linear);
}

/* --- weights --- */

void clip_batch_norm_fold(size_t n, const float *weight, const float *bias, const float *mean,
                          const float *variance, double epsilon, float *scale, float *shift)
{
    for (size_t i = 0; i < n; i++) {
        double factor = weight[i] / sqrt(variance[i] + epsilon);
        scale[i] = (float)factor;
        shift[i] = (float)(bias[i] - mean[i] * factor);
    }
}

/* From one of Winograd's places to the next in the room: a power of two, which the number of weights often
 * is, would bring all places into the same part of the cache. */
static size_t place_step(const struct clip_conv *conv)
{
    enum { LINE = 16 };
    return clip_linear_part(conv->linear) * conv->shape.in + LINE;
}

/* Floats of a part's weights. */
static size_t part_weights(const struct clip_conv *conv)
{
    size_t side = conv->shape.side;
    return conv->method == WINOGRAD ? CLIP_WINOGRAD_PLACES * place_step(conv)
                                    : side * side * clip_linear_part(conv->linear) * conv->shape.in;
}

size_t clip_conv_room(const struct clip_conv *conv)
{
    return conv->borrows ? 0 : part_weights(conv);
}

/* Gives `linear` the weights of outputs [first, first + count), by u. */
static int set_part(struct clip_conv *conv, size_t first, size_t count, const float *w, const float *scale,
                    const float *shift, float *u, struct clip_error *error)
{
    size_t in = conv->shape.in, area = conv->shape.side * conv->shape.side;
    if (conv->method != WINOGRAD) {
        conv->kernels->patch_weights(w + first * in * area, scale + first, area, in, count, u);
        return clip_linear_set(conv->linear, 0, first, count, u, 0, shift + first, error);
    }
    conv->kernels->winograd_weights(w + first * in * area, scale + first, in, count, place_step(conv), u);
    for (size_t place = 0; place < CLIP_WINOGRAD_PLACES; place++)
        if (clip_linear_set(conv->linear, place, first, count, u + place * place_step(conv), 1, NULL, error) <
            0)
            return -1;
    memcpy(conv->bias + first, shift + first, count * sizeof *shift);
    return 0;
}

int clip_conv_set(struct clip_conv *conv, const float *w, const float *scale, const float *shift, float *room,
                  struct clip_error *error)
{
    size_t out = conv->shape.out, part = clip_linear_part(conv->linear);
    if (conv->borrows && !conv->weights &&
        !(conv->weights = reallocarray(NULL, part_weights(conv), sizeof *conv->weights)))
        return clip_fail_memory(error, "a convolution's weights");
    if (conv->method == WINOGRAD && !conv->bias && !(conv->bias = malloc(out * sizeof *conv->bias)))
        return clip_fail_memory(error, "a convolution");
    for (size_t first = 0; first < out; first += part)
        if (set_part(conv, first, out - first < part ? out - first : part, w, scale, shift,
                     conv->borrows ? conv->weights : room, error) != 0)
            return -1;
    return 0;
}

/* --- forward --- */

/* One row of a patch: three pixels from column - 1 on, zeros outside. */
static void patch_row(const char *row, size_t width, size_t pixel, size_t column, char *y)
{
    if (column >= 1 && column + 2 <= width) {
        memcpy(y, row + (column - 1) * pixel, 3 * pixel);
        return;
    }
    for (size_t j = column; j < column + 3; j++, y += pixel)
        if (j >= 1 && j <= width)
            memcpy(y, row + (j - 1) * pixel, pixel);
        else
            memset(y, 0, pixel);
}

void clip_im2col(const void *x, size_t element, size_t height, size_t width, size_t channels, size_t stride,
                 size_t first, size_t rows, void *y)
{
    size_t pixel = channels * element, across = (width - 1) / stride + 1;
    char *out = y;
    for (size_t row = first; row < first + rows; row++) {
        size_t top = row / across * stride, left = row % across * stride;
        for (size_t i = top; i < top + 3; i++, out += 3 * pixel)
            if (i >= 1 && i <= height)
                patch_row((const char *)x + (i - 1) * width * pixel, width, pixel, left, out);
            else
                memset(out, 0, 3 * pixel);
    }
}

static int run_patches(const struct clip_conv *conv, const void *x, size_t first, char *y, char *scratch,
                       struct clip_error *error)
{
    const struct clip_conv_shape *shape = &conv->shape;
    clip_im2col(x, conv->element, shape->height, shape->width, shape->in, shape->stride, first, conv->rows,
                scratch);
    return clip_linear_run(conv->linear, 0, 1, scratch, y + first * shape->out * conv->element,
                           scratch + conv->patches, error);
}

static int run_winograd(const struct clip_conv *conv, const void *x, size_t first, void *y, char *scratch,
                        struct clip_error *error)
{
    const struct clip_conv_shape *shape = &conv->shape;
    float *patches = (float *)scratch, *sums = (float *)(scratch + conv->patches);
    conv->kernels->winograd_input(x, shape->height, shape->width, shape->in, first, conv->rows, patches);
    if (clip_linear_run(conv->linear, 0, CLIP_WINOGRAD_PLACES, patches, sums,
                        scratch + conv->patches + conv->sums, error) < 0)
        return -1;
    conv->kernels->winograd_output(sums, conv->bias, conv->relu, shape->height, shape->width, shape->out,
                                   first, conv->rows, y);
    return 0;
}

int clip_conv_run(const struct clip_conv *conv, const void *x, void *y, void *scratch,
                  struct clip_error *error)
{
    if (conv->method == POINTS)
        return clip_linear_run(conv->linear, 0, 1, x, y, scratch, error);
    for (size_t done = 0; done < conv->total; done += conv->rows) {
        size_t first = done + conv->rows <= conv->total ? done : conv->total - conv->rows;
        int status = conv->method == WINOGRAD ? run_winograd(conv, x, first, y, scratch, error)
                                              : run_patches(conv, x, first, y, scratch, error);
        if (status < 0)
            return -1;
    }
    return 0;
}
