#include "tower/batch-norm.h"

#include <math.h>

#define EPSILON 1e-5
#define MOMENTUM 0.1

static int find_tensor(struct clip_parameter **parameter, const struct clip_parameters *parameters,
                       const char *name, const char *part, struct clip_error *error)
{
    *parameter = clip_parameters_get(parameters, "%s.%s", name, part);
    return *parameter ? 0 : clip_fail(error, "the architecture has no tensor %s.%s", name, part);
}

int clip_norm_find(struct clip_norm_learner *norm, const struct clip_parameters *parameters, const char *name,
                   struct clip_error *error)
{
    if (find_tensor(&norm->weight, parameters, name, "weight", error) != 0 ||
        find_tensor(&norm->bias, parameters, name, "bias", error) != 0 ||
        find_tensor(&norm->running_mean, parameters, name, "running_mean", error) != 0 ||
        find_tensor(&norm->running_var, parameters, name, "running_var", error) != 0 ||
        find_tensor(&norm->batches, parameters, name, "num_batches_tracked", error) != 0)
        return -1;
    norm->channels = norm->weight->count;
    return 0;
}

void clip_norm_place(struct clip_norm_learner *norm, size_t padded, struct clip_arena *arena)
{
    norm->slope = clip_arena_take(arena, padded, sizeof(float));
    norm->scale = clip_arena_take(arena, padded, sizeof(float));
    norm->shift = clip_arena_take(arena, padded, sizeof(float));
}

void clip_norm_record_place(struct clip_norm_record *record, size_t padded, struct clip_arena *arena)
{
    record->mean = clip_arena_take(arena, padded, sizeof(float));
    record->scale = clip_arena_take(arena, padded, sizeof(float));
    record->shift = clip_arena_take(arena, padded, sizeof(float));
    record->inverse = clip_arena_take(arena, padded, sizeof(float));
    record->norm = (struct clip_batch_norm){record->mean, record->scale, record->shift};
}

/* --- forward --- */

double clip_norm_moments(size_t units, size_t each, size_t last, size_t channels, size_t stride,
                         double *moments)
{
    double count = (double)(units > 1 ? each : last);
    for (size_t i = 1; i < units; i++) {
        double more = (double)(i + 1 < units ? each : last), *other = moments + 2 * i * stride;
        clip_moments_join(channels, count, moments, moments + stride, more, other, other + stride);
        count += more;
    }
    return count;
}

/* Sums over ranks, if there are several. */
static int sum_ranks(const struct clip_exchange *exchange, double *x, size_t n, struct clip_error *error)
{
    return exchange ? exchange->sum(exchange->context, x, n, error) : 0;
}

/* The moments of all ranks' pixels from this rank's: first the mean, then the squares about it. */
static int join_ranks(const struct clip_exchange *exchange, size_t channels, double *count, double *mean,
                      double *squares, double *sums, struct clip_error *error)
{
    if (!exchange)
        return 0;
    for (size_t c = 0; c < channels; c++)
        sums[c] = *count * mean[c];
    sums[channels] = *count;
    if (sum_ranks(exchange, sums, channels + 1, error) != 0)
        return -1;
    double all = sums[channels];
    for (size_t c = 0; c < channels; c++) {
        double distance = mean[c] - sums[c] / all;
        mean[c] = sums[c] / all;
        squares[c] += *count * distance * distance;
    }
    *count = all;
    return sum_ranks(exchange, squares, channels, error);
}

/* What the input is multiplied by before the norm. */
static double factor_of(const struct clip_norm_learner *norm, size_t c)
{
    return norm->factor ? (double)norm->factor->value[c] : 1;
}

static double sign_of(const struct clip_norm_learner *norm)
{
    return norm->subtracted ? -1 : 1;
}

/* As PyTorch: of the variance the unbiased one. */
static void update_running(const struct clip_norm_learner *norm, double count, const double *mean,
                           const double *squares)
{
    for (size_t c = 0; c < norm->channels; c++) {
        double factor = factor_of(norm, c);
        float *running = &norm->running_mean->value[c], *variance = &norm->running_var->value[c];
        *running = (float)((1 - MOMENTUM) * *running + MOMENTUM * (factor * mean[c]));
        *variance =
            (float)((1 - MOMENTUM) * *variance + MOMENTUM * (factor * factor * squares[c]) / (count - 1));
    }
    norm->batches->integer++;
}

int clip_norm_finish(const struct clip_norm_learner *norm, struct clip_norm_record *record, double count,
                     double *mean, double *squares, int again, const struct clip_exchange *exchange,
                     double *joined, struct clip_error *error)
{
    if (join_ranks(exchange, norm->channels, &count, mean, squares, joined, error) != 0)
        return -1;
    if (count < 2)
        return clip_fail(error, "batch norm needs more than one value per channel: use a larger chunk");
    record->count = count;
    for (size_t c = 0; c < norm->channels; c++) {
        double factor = factor_of(norm, c);
        double inverse = 1 / sqrt(factor * factor * (squares[c] / count) + EPSILON);
        double scale = sign_of(norm) * norm->weight->value[c] * factor * inverse;
        record->mean[c] = (float)mean[c];
        record->inverse[c] = (float)inverse;
        record->scale[c] = (float)scale;
        record->shift[c] =
            (float)(sign_of(norm) * norm->bias->value[c] - (mean[c] - record->mean[c]) * scale);
    }
    if (!again)
        update_running(norm, count, mean, squares);
    return 0;
}

/* --- backward --- */

/* Of a factor w: the norm takes w out again but for epsilon, so that with P, the product of the gradient and
 * the input's distance from the mean, it is weight P epsilon / (w² variance + epsilon)^(3/2). */
static double factor_gradient(const struct clip_norm_learner *norm, const struct clip_norm_record *record,
                              size_t c, double product)
{
    double inverse = record->inverse[c];
    return sign_of(norm) * norm->weight->value[c] * product * EPSILON * inverse * inverse * inverse;
}

int clip_norm_backward(struct clip_norm_learner *norm, const struct clip_norm_record *record, double *sums,
                       const struct clip_exchange *exchange, struct clip_error *error)
{
    size_t channels = norm->channels;
    double *products = sums + channels;
    for (size_t c = 0; c < channels; c++) {
        if (norm->factor)
            norm->factor->gradient[c] += (float)factor_gradient(norm, record, c, products[c]);
        products[c] *= factor_of(norm, c) * record->inverse[c];
        norm->bias->gradient[c] += (float)(sign_of(norm) * sums[c]);
        norm->weight->gradient[c] += (float)(sign_of(norm) * products[c]);
    }
    if (sum_ranks(exchange, sums, 2 * channels, error) != 0)
        return -1;
    for (size_t c = 0; c < channels; c++) {
        double inverse = factor_of(norm, c) * record->inverse[c];
        norm->scale[c] = record->scale[c];
        norm->slope[c] = (float)(-record->scale[c] * inverse * products[c] / record->count);
        norm->shift[c] = (float)(-record->scale[c] * sums[c] / record->count);
    }
    norm->back = (struct clip_batch_norm_back){record->mean, norm->slope, norm->scale, norm->shift};
    return 0;
}
