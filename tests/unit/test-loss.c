/* The contrastive loss against a plain one in double, finite differences, and itself on other threads. */
#include "check.h"
#include "math/product.h"
#include "tower/loss.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static float uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 11) / 9007199254740992.0 * 2 - 1);
}

/* Random unit rows; captions lie near their pictures. */
static void fill(float *image, float *text, size_t n, size_t width)
{
    uint64_t state = 7;
    for (size_t i = 0; i < n * width; i++) {
        image[i] = uniform(&state);
        text[i] = image[i] + 3 * uniform(&state);
    }
    for (size_t i = 0; i < 2 * n; i++) {
        float *row = i < n ? image + i * width : text + (i - n) * width;
        double sum = 0;
        for (size_t k = 0; k < width; k++)
            sum += (double)row[k] * (double)row[k];
        for (size_t k = 0; k < width; k++)
            row[k] = (float)((double)row[k] / sqrt(sum));
    }
}

/* --- the plain one --- */

struct plain {
    double loss, scale_gradient, top1_image, top1_text;
    double *image_gradient, *text_gradient;
};

static double logit(const double *image, const double *text, size_t width, double scale, size_t i, size_t j)
{
    double sum = 0;
    for (size_t k = 0; k < width; k++)
        sum += image[i * width + k] * text[j * width + k];
    return scale * sum;
}

static double plain_loss(const double *image, const double *text, size_t n, size_t width, double scale,
                         struct plain *out)
{
    double *logits = malloc(n * n * sizeof *logits), *rows = calloc(n, sizeof *rows),
           *columns = calloc(n, sizeof *columns);
    double loss = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double value = logits[i * n + j] = logit(image, text, width, scale, i, j);
            rows[i] += exp(value);
            columns[j] += exp(value);
        }
    for (size_t i = 0; i < n; i++)
        loss += (log(rows[i]) + log(columns[i])) / 2 - logits[i * n + i];
    loss /= (double)n;
    for (size_t i = 0; out && i < n; i++) {
        int hit_image = 1, hit_text = 1;
        for (size_t j = 0; j < n; j++) {
            double value = exp(logits[i * n + j]),
                   gradient = (value / rows[i] + value / columns[j]) / 2 - (i == j);
            gradient /= (double)n;
            out->scale_gradient += gradient * logits[i * n + j];
            for (size_t k = 0; k < width; k++) {
                out->image_gradient[i * width + k] += scale * gradient * text[j * width + k];
                out->text_gradient[j * width + k] += scale * gradient * image[i * width + k];
            }
            hit_image &= i == j || logits[i * n + j] < logits[i * n + i];
            hit_text &= i == j || logits[j * n + i] < logits[i * n + i];
        }
        out->top1_image += (double)hit_image / (double)n;
        out->top1_text += (double)hit_text / (double)n;
    }
    free(logits);
    free(rows);
    free(columns);
    return loss;
}

static double distance(const float *a, const double *b, size_t count)
{
    double sum = 0, length = 0;
    for (size_t i = 0; i < count; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        length += b[i] * b[i];
    }
    return sqrt(sum / length);
}

/* --- the tests --- */

struct data {
    size_t n, width;
    float *image, *text, *image_gradient, *text_gradient;
    double *wide_image, *wide_text;
};

static struct data data_new(size_t n, size_t width)
{
    size_t count = n * width;
    struct data d = {n,    width, malloc(4 * count * sizeof(float)),  NULL,
                     NULL, NULL,  malloc(2 * count * sizeof(double)), NULL};
    d.text = d.image + count;
    d.image_gradient = d.text + count;
    d.text_gradient = d.image_gradient + count;
    d.wide_text = d.wide_image + count;
    fill(d.image, d.text, n, width);
    for (size_t i = 0; i < 2 * count; i++)
        d.wide_image[i] = (double)d.image[i];
    return d;
}

static void data_free(struct data *d)
{
    free(d->image);
    free(d->wide_image);
}

/* Sizes with part of a band, of a tile, and of a chunk left over. */
static void test_plain(size_t n, size_t width, double scale, struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast, alone;
    struct data d = data_new(n, width);
    struct plain plain = {.image_gradient = calloc(2 * n * width, sizeof(double))};
    plain.text_gradient = plain.image_gradient + n * width;
    double loss = plain_loss(d.wide_image, d.wide_text, n, width, scale, &plain);
    CHECK(clip_contrastive_loss(n, width, d.image, d.text, scale, d.image_gradient, d.text_gradient, pool,
                                &contrast, &error) == 0,
          "");
    CHECK(fabs(contrast.loss - loss) < 1e-6 * loss, "n %zu: %.9g %.9g", n, contrast.loss, loss);
    CHECK(fabs(contrast.logit_scale_gradient - plain.scale_gradient) < 1e-5 * fabs(plain.scale_gradient),
          "n %zu: %.9g %.9g", n, contrast.logit_scale_gradient, plain.scale_gradient);
    CHECK(fabs(contrast.top1_image - plain.top1_image) < 1e-9, "%g %g", contrast.top1_image,
          plain.top1_image);
    CHECK(fabs(contrast.top1_text - plain.top1_text) < 1e-9, "%g %g", contrast.top1_text, plain.top1_text);
    double image = distance(d.image_gradient, plain.image_gradient, n * width);
    double text = distance(d.text_gradient, plain.text_gradient, n * width);
    CHECK(image < 5e-6 && text < 5e-6, "n %zu: %g %g", n, image, text);
    CHECK(clip_contrastive_loss(n, width, d.image, d.text, scale, NULL, NULL, pool, &alone, &error) == 0, "");
    CHECK(alone.loss == contrast.loss && alone.top1_text == contrast.top1_text &&
              alone.logit_scale_gradient == 0,
          "");
    free(plain.image_gradient);
    data_free(&d);
}

/* Each gradient against the loss a step to either side, both in double; then ours against the plain one's is
 * what test_plain checks. */
static void test_differences(struct clip_pool *pool)
{
    enum { N = 5, WIDTH = 4 };
    const double step = 1e-6, scale = 14;
    struct clip_error error;
    struct clip_contrast contrast;
    struct data d = data_new(N, WIDTH);
    CHECK(clip_contrastive_loss(N, WIDTH, d.image, d.text, scale, d.image_gradient, d.text_gradient, pool,
                                &contrast, &error) == 0,
          "");
    for (size_t i = 0; i < 2 * N * WIDTH; i++) {
        double *x = &d.wide_image[i], old = *x;
        *x = old + step;
        double above = plain_loss(d.wide_image, d.wide_text, N, WIDTH, scale, NULL);
        *x = old - step;
        double below = plain_loss(d.wide_image, d.wide_text, N, WIDTH, scale, NULL);
        *x = old;
        double want = (above - below) / (2 * step);
        CHECK(fabs((double)d.image_gradient[i] - want) < 2e-6, "%zu: %g %g", i, (double)d.image_gradient[i],
              want);
    }
    double above = plain_loss(d.wide_image, d.wide_text, N, WIDTH, scale * exp(step), NULL);
    double below = plain_loss(d.wide_image, d.wide_text, N, WIDTH, scale * exp(-step), NULL);
    double want = (above - below) / (2 * step);
    CHECK(fabs(contrast.logit_scale_gradient - want) < 2e-6, "%g %g", contrast.logit_scale_gradient, want);
    data_free(&d);
}

static void test_threads(struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast, other;
    struct data d = data_new(700, 48), e = data_new(700, 48);
    struct clip_pool *three = clip_pool_new(3, &error);
    CHECK(clip_contrastive_loss(d.n, d.width, d.image, d.text, 30, d.image_gradient, d.text_gradient, pool,
                                &contrast, &error) == 0,
          "");
    CHECK(clip_contrastive_loss(e.n, e.width, e.image, e.text, 30, e.image_gradient, e.text_gradient, three,
                                &other, &error) == 0,
          "");
    CHECK(memcmp(&contrast, &other, sizeof contrast) == 0, "");
    CHECK(memcmp(d.image_gradient, e.image_gradient, 2 * d.n * d.width * sizeof(float)) == 0, "");
    clip_pool_free(three);
    data_free(&d);
    data_free(&e);
}

/* Logits of thousands neither overflow nor make a NaN; infinite ones are refused. */
static void test_extremes(struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast;
    float image[] = {1, 0, 0, 1}, text[] = {0, 1, 1, 0}, gradients[8];
    CHECK(clip_contrastive_loss(2, 2, image, text, 5000, gradients, gradients + 4, pool, &contrast, &error) ==
              0,
          "");
    CHECK(contrast.loss == 5000 && contrast.top1_image == 0 && contrast.top1_text == 0, "%g", contrast.loss);
    CHECK(clip_contrastive_loss(2, 2, image, image, 5000, gradients, gradients + 4, pool, &contrast,
                                &error) == 0,
          "");
    CHECK(contrast.loss == 0 && contrast.top1_image == 1 && contrast.top1_text == 1, "%g", contrast.loss);
    float huge[] = {3e38f, 3e38f, 0, 1};
    CHECK(clip_contrastive_loss(2, 2, huge, huge, 1, NULL, NULL, pool, &contrast, &error) == -1, "");
    CHECK(strcmp(error.text, "the loss is not finite") == 0, "%s", error.text);
    CHECK(clip_contrastive_loss(1, 2, image, text, 1, NULL, NULL, pool, &contrast, &error) == -1, "");
}

/* A tie is no hit: where all captions are one, none is nearest. */
static void test_ties(struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast;
    float image[] = {1, 0, 0, 1, 0.6f, 0.8f}, text[] = {1, 0, 1, 0, 1, 0};
    CHECK(clip_contrastive_loss(3, 2, image, text, 10, NULL, NULL, pool, &contrast, &error) == 0, "");
    CHECK(contrast.top1_image == 0 && fabs(contrast.top1_text - 1 / 3.0) < 1e-12, "");
}

int main(void)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, &error);
    struct clip_pool *pool = clip_pool_new(2, &error);
    CHECK(engine && pool, "%s", error.text);
    test_plain(2, 3, 14.3, pool);
    test_plain(12, 48, 14.3, pool);
    test_plain(129, 20, 100, pool);
    test_plain(300, 33, 5, pool);
    test_plain(513, 16, 20, pool);
    test_differences(pool);
    test_threads(pool);
    test_extremes(pool);
    test_ties(pool);
    clip_pool_free(pool);
    clip_engine_free(engine);
    return check_end();
}
