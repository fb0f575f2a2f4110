/* The contrastive losses against plain ones in double, finite differences, and themselves on other threads.
 */
#include "check.h"
#include "math/product.h"
#include "score/loss.h"

#include <math.h>
#include <pthread.h>
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

struct kind {
    enum clip_loss loss;
    double scale, bias;
    const uint32_t *group; /* or NULL */
};

struct plain {
    double loss, scale_gradient, bias_gradient, top1_image, top1_text;
    double *image_gradient, *text_gradient;
};

static int positive(const struct kind *kind, size_t i, size_t j)
{
    return kind->group ? kind->group[i] == kind->group[j] : i == j;
}

/* The target of the softmax at [i][j]: a row's mass over its positives. */
static double target(const struct kind *kind, size_t n, size_t i, size_t j)
{
    double count = 0;
    for (size_t k = 0; k < n; k++)
        count += positive(kind, i, k);
    return positive(kind, i, j) / count;
}

/* The loss, and gradients with respect to the logits, where there is room for them. */
static double plain_of_logits(const struct kind *kind, size_t n, const double *logits, double *gradients)
{
    double *rows = calloc(2 * n, sizeof *rows), *columns = rows + n, loss = 0;
    for (size_t at = 0; at < n * n; at++) {
        rows[at / n] += exp(logits[at]);
        columns[at % n] += exp(logits[at]);
    }
    for (size_t at = 0; at < n * n; at++) {
        size_t i = at / n, j = at % n;
        double value = exp(logits[at]), z = positive(kind, i, j) ? 1 : -1, gradient;
        if (kind->loss == CLIP_LOSS_SIGMOID) {
            loss += log(1 + exp(-z * logits[at])) / (double)n;
            gradient = -z / (1 + exp(z * logits[at]));
        } else {
            double want = target(kind, n, i, j);
            loss -= want * (log(value / rows[i]) + log(value / columns[j])) / 2 / (double)n;
            gradient = (value / rows[i] + value / columns[j]) / 2 - want;
        }
        if (gradients)
            gradients[at] = gradient / (double)n;
    }
    free(rows);
    return loss;
}

/* 1 where line i of logits, whose elements lie `step` apart, is largest at a positive. */
static int hits(const struct kind *kind, size_t n, size_t i, const double *logits, size_t step)
{
    double best[2] = {-INFINITY, -INFINITY};
    for (size_t j = 0; j < n; j++)
        best[positive(kind, i, j)] = fmax(best[positive(kind, i, j)], logits[j * step]);
    return best[1] > best[0];
}

static double plain_loss(const double *image, const double *text, size_t n, size_t width,
                         const struct kind *kind, struct plain *out)
{
    double *logits = calloc(2 * n * n, sizeof *logits), *gradients = logits + n * n;
    for (size_t at = 0; at < n * n; at++) {
        for (size_t k = 0; k < width; k++)
            logits[at] += kind->scale * image[at / n * width + k] * text[at % n * width + k];
        logits[at] += kind->bias;
    }
    double loss = plain_of_logits(kind, n, logits, out ? gradients : NULL);
    for (size_t at = 0; out && at < n * n; at++) {
        size_t i = at / n, j = at % n;
        out->scale_gradient += gradients[at] * (logits[at] - kind->bias);
        out->bias_gradient += gradients[at];
        for (size_t k = 0; k < width; k++) {
            out->image_gradient[i * width + k] += kind->scale * gradients[at] * text[j * width + k];
            out->text_gradient[j * width + k] += kind->scale * gradients[at] * image[i * width + k];
        }
    }
    for (size_t i = 0; out && i < n; i++) {
        out->top1_image += hits(kind, n, i, logits + i * n, 1) / (double)n;
        out->top1_text += hits(kind, n, i, logits + i, n) / (double)n;
    }
    free(logits);
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
    struct clip_contrast_batch batch;
    struct kind kind;
    float *image; /* and text, and their gradients */
    double *wide_image, *wide_text;
};

static struct data data_new(size_t n, size_t width, const struct kind *kind)
{
    size_t count = n * width;
    struct data d = {.kind = *kind};
    d.image = malloc(4 * count * sizeof(float));
    d.wide_image = malloc(2 * count * sizeof(double));
    d.wide_text = d.wide_image + count;
    fill(d.image, d.image + count, n, width);
    for (size_t i = 0; i < 2 * count; i++)
        d.wide_image[i] = (double)d.image[i];
    d.batch = (struct clip_contrast_batch){.n = n,
                                           .width = width,
                                           .image = d.image,
                                           .text = d.image + count,
                                           .group = kind->group,
                                           .loss = kind->loss,
                                           .scale = kind->scale,
                                           .bias = kind->bias,
                                           .image_gradient = d.image + 2 * count,
                                           .text_gradient = d.image + 3 * count};
    return d;
}

static void data_free(struct data *d)
{
    free(d->image);
    free(d->wide_image);
}

static int near(double got, double want, double relative)
{
    return fabs(got - want) <= relative * fabs(want);
}

/* --- ranks: threads that meet at a barrier --- */

enum { RANKS = 3 };

static struct meeting {
    pthread_barrier_t barrier;
    double sums[RANKS][4], *logs; /* logs: [2][n], of all */
} meeting;

static struct rank {
    struct clip_contrast_batch batch;
    struct clip_contrast_share share;
    struct clip_exchange exchange;
    struct clip_contrast contrast;
    int status;
    pthread_t thread;
} ranks[RANKS];

static int meet_sum(void *context, double *x, size_t n, struct clip_error *error)
{
    struct rank *rank = context;
    (void)error;
    memcpy(meeting.sums[rank->exchange.rank], x, n * sizeof *x);
    pthread_barrier_wait(&meeting.barrier);
    for (size_t i = 0; i < n; i++) {
        x[i] = 0;
        for (size_t r = 0; r < RANKS; r++)
            x[i] += meeting.sums[r][i];
    }
    pthread_barrier_wait(&meeting.barrier);
    return 0;
}

static int meet_logs(void *context, struct clip_error *error)
{
    (void)context;
    (void)error;
    pthread_barrier_wait(&meeting.barrier);
    return 0;
}

static void *run_rank(void *context)
{
    struct rank *rank = context;
    struct clip_error error;
    struct clip_pool *pool = clip_pool_new(1, &error);
    rank->status = clip_contrastive_loss(&rank->batch, pool, &rank->contrast, &error);
    clip_pool_free(pool);
    return NULL;
}

/* The batch of `d` as shares of unequal size, whose gradients come to lie where the whole's do. */
static void run_shares(const struct data *d)
{
    size_t n = d->batch.n, width = d->batch.width, first = 0;
    meeting.logs = calloc(2 * n, sizeof *meeting.logs);
    pthread_barrier_init(&meeting.barrier, NULL, RANKS);
    for (size_t r = 0; r < RANKS; r++) {
        struct rank *rank = &ranks[r];
        size_t count = r == 0 ? 1 : r == 1 ? n / 3 : n - first;
        rank->exchange = (struct clip_exchange){rank, r, RANKS, meet_sum};
        rank->share = (struct clip_contrast_share){&rank->exchange,  first,     count, meeting.logs,
                                                   meeting.logs + n, meet_logs, NULL};
        rank->batch = d->batch;
        rank->batch.share = &rank->share;
        rank->batch.image_gradient += first * width;
        rank->batch.text_gradient += first * width;
        first += count;
        pthread_create(&rank->thread, NULL, run_rank, rank);
    }
    for (size_t r = 0; r < RANKS; r++)
        pthread_join(ranks[r].thread, NULL);
    pthread_barrier_destroy(&meeting.barrier);
    free(meeting.logs);
}

/* Of several ranks against the plain one. */
static void test_shares(const struct data *d, double loss, const struct plain *plain)
{
    size_t n = d->batch.n, count = n * d->batch.width;
    const struct clip_contrast *first = &ranks[0].contrast;
    memset(d->batch.image_gradient, 0xff, 2 * count * sizeof(float)); /* NaN */
    run_shares(d);
    for (size_t r = 0; r < RANKS; r++)
        CHECK(ranks[r].status == 0 && memcmp(&ranks[r].contrast, first, sizeof *first) == 0, "rank %zu", r);
    CHECK(near(first->loss, loss, 1e-6), "n %zu: %.9g %.9g", n, first->loss, loss);
    CHECK(near(first->logit_scale_gradient, plain->scale_gradient, 1e-5), "n %zu", n);
    CHECK(
        near(first->logit_bias_gradient, d->kind.loss == CLIP_LOSS_SIGMOID ? plain->bias_gradient : 0, 1e-5),
        "n %zu", n);
    CHECK(fabs(first->top1_image - plain->top1_image) < 1e-9, "%g", first->top1_image);
    CHECK(fabs(first->top1_text - plain->top1_text) < 1e-9, "%g", first->top1_text);
    double image = distance(d->batch.image_gradient, plain->image_gradient, count);
    double text = distance(d->batch.text_gradient, plain->text_gradient, count);
    CHECK(image < 5e-6 && text < 5e-6, "n %zu: %g %g", n, image, text);
}

/* Ours against the plain one, and the loss alone against the loss with gradients. */
static void test_plain(size_t n, size_t width, const struct kind *kind, struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast, alone;
    struct data d = data_new(n, width, kind);
    struct plain plain = {.image_gradient = calloc(2 * n * width, sizeof(double))};
    plain.text_gradient = plain.image_gradient + n * width;
    double loss = plain_loss(d.wide_image, d.wide_text, n, width, kind, &plain);
    CHECK(clip_contrastive_loss(&d.batch, pool, &contrast, &error) == 0, "");
    CHECK(near(contrast.loss, loss, 1e-6), "n %zu: %.9g %.9g", n, contrast.loss, loss);
    CHECK(near(contrast.logit_scale_gradient, plain.scale_gradient, 1e-5), "n %zu: %.9g %.9g", n,
          contrast.logit_scale_gradient, plain.scale_gradient);
    CHECK(near(contrast.logit_bias_gradient, kind->loss == CLIP_LOSS_SIGMOID ? plain.bias_gradient : 0, 1e-5),
          "n %zu: %.9g %.9g", n, contrast.logit_bias_gradient, plain.bias_gradient);
    CHECK(fabs(contrast.top1_image - plain.top1_image) < 1e-9, "%g %g", contrast.top1_image,
          plain.top1_image);
    CHECK(fabs(contrast.top1_text - plain.top1_text) < 1e-9, "%g %g", contrast.top1_text, plain.top1_text);
    double image = distance(d.batch.image_gradient, plain.image_gradient, n * width);
    double text = distance(d.batch.text_gradient, plain.text_gradient, n * width);
    CHECK(image < 5e-6 && text < 5e-6, "n %zu: %g %g", n, image, text);
    if (n > RANKS)
        test_shares(&d, loss, &plain);
    d.batch.image_gradient = d.batch.text_gradient = NULL;
    CHECK(clip_contrastive_loss(&d.batch, pool, &alone, &error) == 0, "");
    CHECK(alone.loss == contrast.loss && alone.top1_text == contrast.top1_text &&
              alone.logit_scale_gradient == 0,
          "");
    free(plain.image_gradient);
    data_free(&d);
}

/* Sizes with part of a band, of a tile, and of a chunk left over; groups over tiles, and of one alone. */
static void test_sizes(enum clip_loss loss, struct clip_pool *pool)
{
    static const struct {
        size_t n, width;
        double scale;
    } sizes[] = {{2, 3, 14.3}, {12, 48, 14.3}, {129, 20, 100}, {300, 33, 5}, {513, 16, 20}};
    uint32_t groups[513];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i].n;
        struct kind kind = {loss, sizes[i].scale, loss == CLIP_LOSS_SIGMOID ? -10 : 0, NULL};
        test_plain(n, sizes[i].width, &kind, pool);
        for (size_t k = 0; k < n; k++)
            groups[k] = (uint32_t)(k == 1 ? n - 1 : k * k % 7 % n);
        kind.group = groups;
        test_plain(n, sizes[i].width, &kind, pool);
    }
}

/* The loss, a plain one in double, where a number is a step larger, less where it is a step smaller. */
static double slope(const struct data *d, const struct kind *kind, double *x)
{
    const double step = 1e-6, old = *x;
    *x = old + step;
    double above = plain_loss(d->wide_image, d->wide_text, d->batch.n, d->batch.width, kind, NULL);
    *x = old - step;
    double below = plain_loss(d->wide_image, d->wide_text, d->batch.n, d->batch.width, kind, NULL);
    *x = old;
    return (above - below) / (2 * step);
}

static void test_differences(const struct kind *given, struct clip_pool *pool)
{
    enum { N = 5, WIDTH = 4 };
    struct clip_error error;
    struct clip_contrast contrast;
    struct kind kind = *given;
    struct data d = data_new(N, WIDTH, &kind);
    CHECK(clip_contrastive_loss(&d.batch, pool, &contrast, &error) == 0, "");
    for (size_t i = 0; i < 2 * N * WIDTH; i++) {
        double got = (double)d.batch.image_gradient[i], want = slope(&d, &kind, &d.wide_image[i]);
        CHECK(fabs(got - want) < 2e-6, "%zu: %g %g", i, got, want);
    }
    double want = slope(&d, &kind, &kind.scale) * kind.scale; /* with respect to ln scale */
    CHECK(fabs(contrast.logit_scale_gradient - want) < 2e-6, "%g %g", contrast.logit_scale_gradient, want);
    want = slope(&d, &kind, &kind.bias);
    CHECK(fabs(contrast.logit_bias_gradient - want) < 2e-6, "%g %g", contrast.logit_bias_gradient, want);
    data_free(&d);
}

static void test_threads(enum clip_loss loss, struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast, other;
    const struct kind kind = {loss, 30, loss == CLIP_LOSS_SIGMOID ? -3 : 0, NULL};
    struct data d = data_new(700, 48, &kind), e = data_new(700, 48, &kind);
    struct clip_pool *three = clip_pool_new(3, &error);
    CHECK(clip_contrastive_loss(&d.batch, pool, &contrast, &error) == 0, "");
    CHECK(clip_contrastive_loss(&e.batch, three, &other, &error) == 0, "");
    CHECK(memcmp(&contrast, &other, sizeof contrast) == 0, "");
    CHECK(memcmp(d.batch.image_gradient, e.batch.image_gradient, 2 * 700 * 48 * sizeof(float)) == 0, "");
    clip_pool_free(three);
    data_free(&d);
    data_free(&e);
}

/* The loss of given vectors of two, with gradients that nobody looks at; -1 where it is refused. */
static int loss_of(size_t n, const float *image, const float *text, const struct kind *kind,
                   struct clip_pool *pool, struct clip_contrast *contrast, struct clip_error *error)
{
    static float gradients[12];
    struct clip_contrast_batch batch = {
        n, 2, image, text, kind->group, kind->loss, kind->scale, kind->bias, gradients, gradients + 6, NULL};
    return clip_contrastive_loss(&batch, pool, contrast, error);
}

/* Logits of thousands neither overflow nor make a NaN; infinite ones are refused. */
static void test_extremes(struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast;
    struct kind kind = {CLIP_LOSS_SOFTMAX, 5000, 0, NULL};
    float image[] = {1, 0, 0, 1}, text[] = {0, 1, 1, 0};
    CHECK(loss_of(2, image, text, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.loss == 5000 && contrast.top1_image == 0 && contrast.top1_text == 0, "%g", contrast.loss);
    CHECK(loss_of(2, image, image, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.loss == 0 && contrast.top1_image == 1 && contrast.top1_text == 1, "%g", contrast.loss);
    kind.loss = CLIP_LOSS_SIGMOID; /* each row: a positive and another, one at 5000 and one at 0 */
    CHECK(loss_of(2, image, text, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.loss == 5000 + log(2), "%g", contrast.loss);
    CHECK(loss_of(2, image, image, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.loss == log(2), "%g", contrast.loss);
    kind = (struct kind){CLIP_LOSS_SOFTMAX, 1, 0, NULL};
    float huge[] = {3e38f, 3e38f, 0, 1};
    CHECK(loss_of(2, huge, huge, &kind, pool, &contrast, &error) == -1, "");
    CHECK(strcmp(error.text, "the loss is not finite") == 0, "%s", error.text);
    CHECK(loss_of(1, image, text, &kind, pool, &contrast, &error) == -1, "");
}

/* A tie is no hit: where all captions are one, none is nearest; but where they are positives of each other,
 * there is none to be nearer. */
static void test_ties(struct clip_pool *pool)
{
    struct clip_error error;
    struct clip_contrast contrast;
    const uint32_t two[] = {0, 2, 2}, one[] = {0, 0, 0};
    struct kind kind = {CLIP_LOSS_SOFTMAX, 10, 0, NULL};
    float image[] = {1, 0, 0, 1, 0.6f, 0.8f}, text[] = {1, 0, 1, 0, 1, 0};
    CHECK(loss_of(3, image, text, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.top1_image == 0 && fabs(contrast.top1_text - 1 / 3.0) < 1e-12, "");
    kind.group = two; /* all three captions lie nearest to the first picture */
    CHECK(loss_of(3, image, text, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.top1_image == 0 && fabs(contrast.top1_text - 1 / 3.0) < 1e-12, "");
    kind.group = one;
    CHECK(loss_of(3, image, text, &kind, pool, &contrast, &error) == 0, "");
    CHECK(contrast.top1_image == 1 && contrast.top1_text == 1, "");
}

int main(void)
{
    static const uint32_t groups[] = {3, 0, 3, 1, 3};
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open("openblas", CLIP_PRECISION_F32, 4, &error);
    struct clip_pool *pool = clip_pool_new(2, &error);
    CHECK(engine && pool, "%s", error.text);
    for (enum clip_loss loss = CLIP_LOSS_SOFTMAX; loss <= CLIP_LOSS_SIGMOID; loss++) {
        double bias = loss == CLIP_LOSS_SIGMOID ? -4 : 0;
        test_sizes(loss, pool);
        test_differences(&(struct kind){loss, 14, bias, NULL}, pool);
        test_differences(&(struct kind){loss, 14, bias, groups}, pool);
        test_threads(loss, pool);
    }
    test_extremes(pool);
    test_ties(pool);
    clip_pool_free(pool);
    clip_engine_free(engine);
    return check_end();
}
