/* ResNets of random weights against plain loops in f64: the network as its definition reads, nothing folded,
 * keys and values of all pixels. */
#include "check.h"

#include "math/product.h"
#include "model/layout.h"
#include "model/model.h"
#include "model/write.h"
#include "tower/tower.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/test-resnet.XXXXXX";
static uint64_t seed = 1;

/* Uniform in [-1, 1). */
static double draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / (1 << 23) - 1;
}

/* --- a random model --- */

static int type_of(const void *context, const struct clip_slot *slot)
{
    (void)context;
    return slot->integer ? -1 : CLIP_WEIGHT_F32;
}

/* Norms' weights and variances lie around 1, the rest around 0 such that the network keeps its scale. */
static int fill(const void *context, const struct clip_slot *slot, size_t first, size_t count, void *out,
                struct clip_error *error)
{
    (void)context, (void)first, (void)error;
    size_t inputs = 1;
    for (int i = 1; i < slot->ndim; i++)
        inputs *= slot->shape[i];
    int norm = slot->ndim == 1 && strstr(slot->name, "weight");
    int variance = strstr(slot->name, "running_var") != NULL;
    for (size_t i = 0; i < count; i++)
        ((float *)out)[i] = (float)(norm || variance  ? 1 + 0.5 * draw()
                                    : slot->ndim == 1 ? 0.2 * draw()
                                                      : draw() * sqrt(6 / (double)inputs));
    return 0;
}

static struct clip_model *random_model(const char *vision)
{
    struct clip_error error;
    struct clip_arch arch;
    struct clip_layout layout;
    struct clip_tensor_source source = {NULL, type_of, fill};
    char json[4200], weights[4200];
    snprintf(json, sizeof json, "%s/arch.json", folder);
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    FILE *file = fopen(json, "w");
    fprintf(
        file,
        "{\"embed_dim\": 16, \"vision_cfg\": {%s, \"patch_size\": null}, \"text_cfg\": {\"context_length\": "
        "4, \"vocab_size\": 520, \"width\": 64, \"heads\": 1, \"layers\": 1}}",
        vision);
    fclose(file);
    CHECK(clip_arch_read(&arch, json, &error) == 0, "%s", error.text);
    CHECK(clip_layout_make(&layout, &arch, &error) == 0, "%s", error.text);
    CHECK(clip_write_weights(&layout, &source, weights, &error) == 0, "%s", error.text);
    clip_layout_free(&layout);
    struct clip_model *model = clip_model_open(weights, json, &error);
    CHECK(model, "%s", error.text);
    unlink(json);
    unlink(weights); /* it is mapped */
    return model;
}

/* --- the plain network --- */

/* A picture [side][side][channels]. */
struct map {
    size_t side, channels;
    double *x;
};

static struct map new_map(size_t side, size_t channels)
{
    return (struct map){side, channels, calloc(side * side * channels, sizeof(double))};
}

static float *tensor(const struct clip_model *model, int ndim, const size_t *shape, const char *format,
                     const char *a, const char *b)
{
    struct clip_error error;
    char name[128];
    size_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    snprintf(name, sizeof name, format, a, b);
    float *x = malloc(n * sizeof *x);
    CHECK(clip_model_floats(model, name, ndim, shape, x, &error) == 0, "%s", error.text);
    return x;
}

/* Convolution without bias, padded with side / 2 zeros. */
static struct map conv(const struct clip_model *model, struct map in, const char *block, const char *name,
                       size_t out, size_t side, size_t stride)
{
    struct map y = new_map((in.side - 1) / stride + 1, out);
    float *w = tensor(model, 4, (size_t[]){out, in.channels, side, side}, "%s%s.weight", block, name);
    for (size_t row = 0; row < y.side; row++)
        for (size_t column = 0; column < y.side; column++)
            for (size_t k = 0; k < side * side; k++) {
                size_t i = row * stride + k / side - side / 2, j = column * stride + k % side - side / 2;
                if (i >= in.side || j >= in.side) /* also those below 0 */
                    continue;
                for (size_t o = 0; o < out; o++)
                    for (size_t c = 0; c < in.channels; c++)
                        y.x[(row * y.side + column) * out + o] += w[(o * in.channels + c) * side * side + k] *
                                                                  in.x[(i * in.side + j) * in.channels + c];
            }
    free(w);
    return y;
}

static void norm(const struct clip_model *model, struct map x, const char *block, const char *name)
{
    static const char *const parts[] = {"%s%s.weight", "%s%s.bias", "%s%s.running_mean", "%s%s.running_var"};
    float *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = tensor(model, 1, &x.channels, parts[i], block, name);
    for (size_t i = 0; i < x.side * x.side * x.channels; i++) {
        size_t c = i % x.channels;
        x.x[i] = (x.x[i] - p[2][c]) / sqrt(p[3][c] + 1e-5) * p[0][c] + p[1][c];
    }
    for (int i = 0; i < 4; i++)
        free(p[i]);
}

static void relu(struct map x)
{
    for (size_t i = 0; i < x.side * x.side * x.channels; i++)
        x.x[i] = fmax(x.x[i], 0);
}

static struct map pool(struct map x)
{
    struct map y = new_map(x.side / 2, x.channels);
    for (size_t i = 0; i < 2 * y.side; i++)
        for (size_t j = 0; j < 2 * y.side; j++)
            for (size_t c = 0; c < x.channels; c++)
                y.x[(i / 2 * y.side + j / 2) * y.channels + c] += x.x[(i * x.side + j) * x.channels + c] / 4;
    return y;
}

static struct map conv_norm_relu(const struct clip_model *model, struct map in, const char *block, int number,
                                 size_t out, size_t side, size_t stride)
{
    char conv_name[16], norm_name[16];
    snprintf(conv_name, sizeof conv_name, "conv%d", number);
    snprintf(norm_name, sizeof norm_name, "bn%d", number);
    struct map y = conv(model, in, block, conv_name, out, side, stride);
    norm(model, y, block, norm_name);
    relu(y);
    free(in.x);
    return y;
}

static struct map bottleneck(const struct clip_model *model, struct map x, const char *block, size_t planes,
                             int first, int halves)
{
    struct map copy = new_map(x.side, x.channels), side = x, y;
    memcpy(copy.x, x.x, x.side * x.side * x.channels * sizeof *x.x);
    y = conv_norm_relu(model, copy, block, 1, planes, 1, 1);
    y = conv_norm_relu(model, y, block, 2, planes, 3, 1);
    if (halves) {
        struct map half = pool(y), half_side = pool(x);
        free(y.x);
        free(x.x);
        y = half;
        side = half_side;
    }
    if (first) {
        struct map out = conv(model, side, block, "downsample.0", 4 * planes, 1, 1);
        norm(model, out, block, "downsample.1");
        free(side.x);
        side = out;
    }
    struct map sum = conv(model, y, block, "conv3", 4 * planes, 1, 1);
    norm(model, sum, block, "bn3");
    for (size_t i = 0; i < sum.side * sum.side * sum.channels; i++)
        sum.x[i] += side.x[i];
    relu(sum);
    free(y.x);
    free(side.x);
    return sum;
}

/* y[width] = w x + bias */
static double *linear(const struct clip_model *model, const double *x, size_t width, const char *name)
{
    float *w = tensor(model, 2, (size_t[]){width, width}, "visual.attnpool.%s%s.weight", name, "");
    float *bias = tensor(model, 1, &width, "visual.attnpool.%s%s.bias", name, "");
    double *y = malloc(width * sizeof *y);
    for (size_t i = 0; i < width; i++) {
        y[i] = bias[i];
        for (size_t j = 0; j < width; j++)
            y[i] += w[i * width + j] * x[j];
    }
    free(w);
    free(bias);
    return y;
}

/* Keys and values of all tokens, a head at a time. */
static void attend(const double *q, double *const *k, double *const *v, size_t tokens, size_t width,
                   size_t heads, double *features)
{
    size_t dim = width / heads;
    for (size_t i = 0; i < width; i++)
        features[i] = 0;
    for (size_t h = 0; h < heads; h++) {
        double total = 0;
        for (size_t t = 0; t < tokens; t++) {
            double score = 0;
            for (size_t i = h * dim; i < (h + 1) * dim; i++)
                score += q[i] * k[t][i] / sqrt((double)dim);
            total += exp(score);
            for (size_t i = h * dim; i < (h + 1) * dim; i++)
                features[i] += exp(score) * v[t][i];
        }
        for (size_t i = h * dim; i < (h + 1) * dim; i++)
            features[i] /= total;
    }
}

static double *attnpool(const struct clip_model *model, struct map x)
{
    size_t pixels = x.side * x.side, tokens = pixels + 1, width = x.channels;
    float *positions =
        tensor(model, 2, (size_t[]){tokens, width}, "visual.attnpool.%s%s", "positional_embedding", "");
    double *token = calloc(tokens * width, sizeof *token), *features = malloc(width * sizeof *features);
    double **k = malloc(tokens * sizeof *k), **v = malloc(tokens * sizeof *v);
    for (size_t i = 0; i < pixels * width; i++) {
        token[width + i] = x.x[i];
        token[i % width] += x.x[i] / (double)pixels;
    }
    for (size_t i = 0; i < tokens * width; i++)
        token[i] += positions[i];
    for (size_t t = 0; t < tokens; t++) {
        k[t] = linear(model, token + t * width, width, "k_proj");
        v[t] = linear(model, token + t * width, width, "v_proj");
    }
    double *q = linear(model, token, width, "q_proj");
    attend(q, k, v, tokens, width, (size_t)clip_model_arch(model)->vision.heads, features);
    for (size_t t = 0; t < tokens; t++) {
        free(k[t]);
        free(v[t]);
    }
    free(positions), free(token), free(k), free(v), free(q);
    return features;
}

static double *plain_features(const struct clip_model *model, const float *picture)
{
    const struct clip_tower_arch *arch = &clip_model_arch(model)->vision;
    size_t size = (size_t)arch->image_size, width = (size_t)arch->width;
    struct map x = new_map(size, 3);
    for (size_t i = 0; i < 3 * size * size; i++)
        x.x[i] = picture[i % 3 * size * size + i / 3];
    x = conv_norm_relu(model, x, "visual.", 1, width / 2, 3, 2);
    x = conv_norm_relu(model, x, "visual.", 2, width / 2, 3, 1);
    x = conv_norm_relu(model, x, "visual.", 3, width, 3, 1);
    struct map half = pool(x);
    free(x.x);
    x = half;
    for (int stage = 0; stage < 4; stage++)
        for (int i = 0; i < arch->blocks[stage]; i++) {
            char block[48];
            snprintf(block, sizeof block, "visual.layer%d.%d.", stage + 1, i);
            x = bottleneck(model, x, block, width << stage, i == 0, stage > 0 && i == 0);
        }
    double *features = attnpool(model, x);
    free(x.x);
    return features;
}

/* --- */

static void test_engine(const struct clip_model *model, const float *picture, const double *want,
                        const char *name, enum clip_precision precision)
{
    struct clip_error error;
    struct clip_engine *engine = clip_engine_open(name, precision, 4, &error);
    if (!engine) {
        printf("without %s in this precision: %s\n", name, error.text);
        return;
    }
    size_t width = clip_feature_width(clip_model_arch(model), CLIP_SIDE_IMAGE);
    float *features = malloc(width * sizeof *features);
    struct clip_pool *threads = clip_pool_new(1, &error);
    const struct clip_tower_setup setup = {clip_model_arch(model), model, NULL, engine, threads, 1, NULL};
    struct clip_tower *tower = clip_tower_open(CLIP_SIDE_IMAGE, &setup, &error);
    CHECK(tower, "%s", error.text);
    CHECK(tower->type->forward(tower, &(union clip_item){.image.floats = picture}, 1, 0, NULL, features,
                               &error) == 0,
          "%s", error.text);
    double square = 0, difference = 0;
    for (size_t i = 0; i < width; i++) {
        square += want[i] * want[i];
        difference += (features[i] - want[i]) * (features[i] - want[i]);
    }
    double relative = sqrt(difference / square);
    printf("%s: relative difference %.2g\n", clip_engine_text(engine), relative);
    CHECK(relative < (precision == CLIP_PRECISION_F32 ? 2e-6 : 4e-2), "%s: %g", clip_engine_text(engine),
          relative);
    clip_tower_free(tower);
    clip_pool_free(threads);
    clip_engine_free(engine);
    free(features);
}

static void test_model(const char *vision)
{
    printf("%s\n", vision);
    struct clip_model *model = random_model(vision);
    size_t size = (size_t)clip_model_arch(model)->vision.image_size;
    float *picture = malloc(3 * size * size * sizeof *picture);
    for (size_t i = 0; i < 3 * size * size; i++)
        picture[i] = (float)(2 * draw());
    double *want = plain_features(model, picture);
    test_engine(model, picture, want, "native", CLIP_PRECISION_F32);
    test_engine(model, picture, want, "openblas", CLIP_PRECISION_F32);
    test_engine(model, picture, want, "onednn", CLIP_PRECISION_F32);
    test_engine(model, picture, want, "onednn", CLIP_PRECISION_BF16);
    free(want);
    free(picture);
    clip_model_close(model);
}

int main(void)
{
    CHECK(mkdtemp(folder), "%s", folder);
    test_model("\"image_size\": 32, \"layers\": [1, 1, 1, 1], \"width\": 2");
    test_model("\"image_size\": 64, \"layers\": [1, 2, 1, 1], \"width\": 6, \"head_width\": 48");
    test_model("\"image_size\": 96, \"layers\": [1, 1, 1, 2], \"width\": 8, \"head_width\": 32");
    rmdir(folder);
    return check_end();
}
