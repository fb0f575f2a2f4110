/* With one query the keys and values of all pixels need not be computed: of head h the score of pixel x is
 *     q . (K x + k) = (K' q) . x + q . k,
 * whose last term is the same for all pixels and drops out of the softmax, and the sum of the values is
 *     sum a (V x + v) = V (sum a x) + v.
 * So a head is three products of a picture's one row (q; K' q, its "probe"; V z of the "mix" z = sum a x) and
 * two small ones with the pixels as they are: a twentieth of the operations.
 *
 * Backward needs the pixels, the probes, the weights a and the mixes; with the gradients dz = V' dy and
 * ds = a (x . dz - sum a x . dz), that of x is a dz + ds K' q, of K' q it is sum ds x. */
#include "tower/attnpool.h"

#include "math/conv-kernels.h"
#include "math/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pictures of one product. */
enum { ROWS = 32 };

struct head {
    struct clip_matrix *query, *key, *value; /* [head width, width]; key turned round */
};

struct clip_attnpool {
    size_t pixels, tokens, width, heads, head_width;
    size_t batch; /* a multiple of ROWS */
    struct clip_engine *engine;
    struct clip_pool *pool;
    enum clip_precision type; /* the engine's */
    const struct clip_kernels *kernels;
    const struct clip_conv_kernels *conv_kernels;
    struct head *head;              /* [heads] */
    float *weights[3];              /* query, key, value [width][width] where they do not lie in the model */
    float *query_bias, *value_bias; /* [width] */
    float *positional;              /* [tokens][width] */
    float *x;                       /* [batch][tokens][width]: the mean pixel first */
    float *mixes;                   /* [heads][batch][width]: probes, then mixes */
    char *scratch;                  /* of each thread */
    size_t scratch_size, product_size; /* bytes of a thread's; of a product's own */
    /* of the run */
    size_t n;
    float *features;
    struct clip_error *errors; /* of each thread */
    int *failed;
};

/* --- making one --- */

void clip_attnpool_free(struct clip_attnpool *attn)
{
    if (!attn)
        return;
    for (size_t h = 0; attn->head && h < attn->heads; h++) {
        clip_matrix_free(attn->head[h].query);
        clip_matrix_free(attn->head[h].key);
        clip_matrix_free(attn->head[h].value);
    }
    for (int i = 0; i < 3; i++)
        free(attn->weights[i]);
    free(attn->head);
    free(attn->query_bias);
    free(attn->value_bias);
    free(attn->positional);
    free(attn->x);
    free(attn->mixes);
    free(attn->scratch);
    free(attn->errors);
    free(attn->failed);
    free(attn);
}

/* a * b * c floats aligned to 64 bytes, NULL where that does not fit. */
static float *floats(size_t a, size_t b, size_t c)
{
    size_t n;
    if (__builtin_mul_overflow(a, b, &n) || __builtin_mul_overflow(n, c, &n) || n > SIZE_MAX / 8)
        return NULL;
    return aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static int make_matrices(struct clip_attnpool *attn, struct clip_error *error)
{
    size_t width = attn->width, head_width = attn->head_width;
    for (size_t h = 0; h < attn->heads; h++) {
        struct head *head = &attn->head[h];
        head->query = clip_matrix_new_rows(attn->engine, ROWS, head_width, width, error);
        head->key = head->query ? clip_matrix_new_rows(attn->engine, ROWS, width, head_width, error) : NULL;
        head->value = head->key ? clip_matrix_new_rows(attn->engine, ROWS, head_width, width, error) : NULL;
        if (!head->value)
            return -1;
        struct clip_matrix *matrices[] = {head->query, head->key, head->value};
        for (int i = 0; i < 3; i++)
            if (clip_product_scratch(matrices[i]) > attn->product_size)
                attn->product_size = clip_product_scratch(matrices[i]);
    }
    return 0;
}

/* Bytes of ROWS rows in f32. A thread's scratch are three of them and a product's own, or the scores of a
 * picture. */
static size_t rows_size(const struct clip_attnpool *attn)
{
    return round_up(ROWS * attn->width * sizeof(float));
}

static int make_buffers(struct clip_attnpool *attn, struct clip_error *error)
{
    size_t threads = (size_t)clip_pool_threads(attn->pool),
           work = 3 * rows_size(attn) + round_up(attn->product_size);
    size_t scores = round_up(attn->heads * attn->tokens * sizeof(float));
    attn->scratch_size = work > scores ? work : scores;
    attn->query_bias = floats(attn->width, 1, 1);
    attn->value_bias = floats(attn->width, 1, 1);
    attn->positional = floats(attn->tokens, attn->width, 1);
    attn->x = floats(attn->batch, attn->tokens, attn->width);
    attn->mixes = floats(attn->heads, attn->batch, attn->width);
    attn->scratch = (char *)floats(threads, attn->scratch_size / sizeof(float), 1);
    attn->errors = calloc(threads, sizeof *attn->errors);
    attn->failed = calloc(threads, sizeof *attn->failed);
    if (!attn->query_bias || !attn->value_bias || !attn->positional || !attn->x || !attn->mixes ||
        !attn->scratch || !attn->errors || !attn->failed)
        return clip_fail_memory(error, "the attention pool");
    return 0;
}

/* The matrix `name` where it lies in the model, or a copy that the pool owns. */
static const float *square(struct clip_attnpool *attn, int i, const struct clip_model *model,
                           const char *name, struct clip_error *error)
{
    size_t shape[2] = {attn->width, attn->width};
    const float *data;
    if (clip_model_mapped(model, name, 2, shape, &data, error) < 0)
        return NULL;
    if (data)
        return data;
    attn->weights[i] = floats(attn->width, attn->width, 1);
    if (!attn->weights[i]) {
        clip_fail_memory(error, name);
        return NULL;
    }
    return clip_model_floats(model, name, 2, shape, attn->weights[i], error) < 0 ? NULL : attn->weights[i];
}

static int read_weights(struct clip_attnpool *attn, const struct clip_model *model, struct clip_error *error)
{
    static const char *const names[3] = {"visual.attnpool.q_proj.weight", "visual.attnpool.k_proj.weight",
                                         "visual.attnpool.v_proj.weight"};
    const float *w[3];
    for (int i = 0; i < 3; i++)
        if (!(w[i] = square(attn, i, model, names[i], error)))
            return -1;
    for (size_t h = 0; h < attn->heads; h++) {
        size_t at = h * attn->head_width * attn->width;
        if (clip_matrix_set(attn->head[h].query, w[0] + at, 0, error) < 0 ||
            clip_matrix_set(attn->head[h].key, w[1] + at, 1, error) < 0 ||
            clip_matrix_set(attn->head[h].value, w[2] + at, 0, error) < 0)
            return -1;
    }
    for (int i = 0; i < 3 && !clip_engine_borrows(attn->engine); i++) {
        free(attn->weights[i]);
        attn->weights[i] = NULL;
        clip_model_forget(model, names[i]);
    }
    size_t shape[2] = {attn->tokens, attn->width};
    if (clip_model_floats(model, "visual.attnpool.positional_embedding", 2, shape, attn->positional, error) <
            0 ||
        clip_model_floats(model, "visual.attnpool.q_proj.bias", 1, &attn->width, attn->query_bias, error) <
            0 ||
        clip_model_floats(model, "visual.attnpool.v_proj.bias", 1, &attn->width, attn->value_bias, error) < 0)
        return -1;
    return 0;
}

struct clip_attnpool *clip_attnpool_open(const struct clip_model *model, struct clip_engine *engine,
                                         struct clip_pool *pool, size_t pixels, size_t batch,
                                         struct clip_error *error)
{
    const struct clip_vision_arch *arch = &clip_model_arch(model)->vision;
    size_t width = 32 * (size_t)arch->width, heads = (size_t)arch->heads;
    enum clip_level level;
    if (clip_level_choose(&level, error) < 0)
        return NULL;
    if (batch < 1 || batch > SIZE_MAX - ROWS || heads < 1 || width % heads) {
        clip_fail(error, "%zu heads do not divide %zu channels", heads, width);
        return NULL;
    }
    struct clip_attnpool *attn = calloc(1, sizeof *attn);
    if (attn)
        attn->head = calloc(heads, sizeof *attn->head);
    if (!attn || !attn->head) {
        clip_fail_memory(error, "the attention pool");
        free(attn);
        return NULL;
    }
    attn->pixels = pixels;
    attn->tokens = pixels + 1;
    attn->width = width;
    attn->heads = heads;
    attn->head_width = width / heads;
    attn->batch = (batch + ROWS - 1) / ROWS * ROWS;
    attn->engine = engine;
    attn->pool = pool;
    attn->type = clip_engine_precision(engine);
    attn->kernels = clip_kernels(level);
    attn->conv_kernels = clip_conv_kernels(level);
    if (make_matrices(attn, error) < 0 || make_buffers(attn, error) < 0 ||
        read_weights(attn, model, error) < 0) {
        clip_attnpool_free(attn);
        return NULL;
    }
    return attn;
}

/* --- forward --- */

void clip_attnpool_put(struct clip_attnpool *attn, size_t i, const void *x)
{
    size_t width = attn->width, n = attn->pixels * width;
    float *mean = attn->x + i * attn->tokens * width, *y = mean + width;
    if (attn->type == CLIP_PRECISION_BF16)
        attn->conv_kernels->widen(x, n, y);
    else
        memcpy(y, x, n * sizeof *y);
    memset(mean, 0, width * sizeof *mean);
    for (size_t pixel = 0; pixel < attn->pixels; pixel++)
        for (size_t c = 0; c < width; c++)
            mean[c] += y[pixel * width + c];
    for (size_t c = 0; c < width; c++)
        mean[c] /= (float)attn->pixels;
    for (size_t k = 0; k < n + width; k++)
        mean[k] += attn->positional[k];
}

/* x[n] in the engine's element: x itself, or made in `scratch`. */
static const void *elements(const struct clip_attnpool *attn, const float *x, size_t n, void *scratch)
{
    if (attn->type == CLIP_PRECISION_F32)
        return x;
    attn->kernels->convert(n, x, attn->type, scratch);
    return scratch;
}

/* Probes of head h, of ROWS pictures from `first` on. */
static int probe(struct clip_attnpool *attn, size_t first, size_t h, char *scratch, struct clip_error *error)
{
    size_t width = attn->width, head_width = attn->head_width, step = rows_size(attn);
    float *x = (float *)scratch, *q = (float *)(scratch + step), *bias = attn->query_bias + h * head_width;
    void *narrow = scratch + 2 * step, *product = scratch + 3 * step;
    float scale = 1 / sqrtf((float)head_width);
    for (size_t row = 0; row < ROWS; row++)
        if (first + row < attn->n)
            memcpy(x + row * width, attn->x + (first + row) * attn->tokens * width, width * sizeof *x);
        else
            memset(x + row * width, 0, width * sizeof *x);
    if (clip_product(attn->head[h].query, elements(attn, x, ROWS * width, narrow), q, product, error) < 0)
        return -1;
    for (size_t row = 0; row < ROWS; row++)
        for (size_t j = 0; j < head_width; j++)
            q[row * head_width + j] = scale * (q[row * head_width + j] + bias[j]);
    return clip_product(attn->head[h].key, elements(attn, q, ROWS * head_width, narrow),
                        attn->mixes + (h * attn->batch + first) * width, product, error);
}

static void softmax(float *x, size_t n)
{
    float most = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        most = fmaxf(most, x[i]);
    for (size_t i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - most);
    for (size_t i = 0; i < n; i++)
        x[i] /= sum;
}

/* Probes of picture i become mixes. */
static void mix(struct clip_attnpool *attn, size_t i, float *scores)
{
    size_t width = attn->width, tokens = attn->tokens, step = attn->batch * width;
    const float *x = attn->x + i * tokens * width;
    float *mixes = attn->mixes + i * width;
    clip_gemm(0, 1, attn->heads, tokens, width, mixes, step, x, width, 0, scores, tokens);
    for (size_t h = 0; h < attn->heads; h++)
        softmax(scores + h * tokens, tokens);
    clip_gemm(0, 0, attn->heads, width, tokens, scores, tokens, x, width, 0, mixes, step);
}

/* Features of head h, of ROWS pictures from `first` on. */
static int gather(struct clip_attnpool *attn, size_t first, size_t h, char *scratch, struct clip_error *error)
{
    size_t width = attn->width, head_width = attn->head_width, step = rows_size(attn);
    const float *mixes = attn->mixes + (h * attn->batch + first) * width,
                *bias = attn->value_bias + h * head_width;
    float *y = (float *)scratch;
    if (clip_product(attn->head[h].value, elements(attn, mixes, ROWS * width, scratch + step), y,
                     scratch + 3 * step, error) < 0)
        return -1;
    for (size_t row = 0; row < ROWS && first + row < attn->n; row++)
        for (size_t j = 0; j < head_width; j++)
            attn->features[(first + row) * width + h * head_width + j] = y[row * head_width + j] + bias[j];
    return 0;
}

/* Pieces of work: a head of ROWS pictures, or a picture. */

static void probe_piece(void *context, size_t i, int thread)
{
    struct clip_attnpool *attn = context;
    if (probe(attn, i / attn->heads * ROWS, i % attn->heads,
              attn->scratch + (size_t)thread * attn->scratch_size, &attn->errors[thread]) < 0)
        attn->failed[thread] = 1;
}

static void mix_piece(void *context, size_t i, int thread)
{
    struct clip_attnpool *attn = context;
    mix(attn, i, (float *)(attn->scratch + (size_t)thread * attn->scratch_size));
}

static void gather_piece(void *context, size_t i, int thread)
{
    struct clip_attnpool *attn = context;
    if (gather(attn, i / attn->heads * ROWS, i % attn->heads,
               attn->scratch + (size_t)thread * attn->scratch_size, &attn->errors[thread]) < 0)
        attn->failed[thread] = 1;
}

int clip_attnpool_run(struct clip_attnpool *attn, size_t n, float *features, struct clip_error *error)
{
    size_t pieces = (n + ROWS - 1) / ROWS * attn->heads;
    attn->n = n;
    attn->features = features;
    clip_pool_run(attn->pool, pieces, probe_piece, attn);
    clip_pool_run(attn->pool, n, mix_piece, attn);
    clip_pool_run(attn->pool, pieces, gather_piece, attn);
    for (int thread = 0; thread < clip_pool_threads(attn->pool); thread++)
        if (attn->failed[thread]) {
            *error = attn->errors[thread];
            return -1;
        }
    return 0;
}
