/* Towers of other families than OpenAI's: features of golden folders, in inference and in training; gradients
 * against those of PyTorch's autograd (tests/data/family-gradients.txt, by tests/tools/family-gradients.py);
 * the same bytes in any batch, on any number of threads, with tapes kept or made again. */
#include "golden.h"

#include "base/level.h"
#include "model/kind.h"

#include <math.h>

enum { RECORDS = 4 };

/* A golden folder's side. */
struct family {
    char name[64];
    enum clip_side side;
    struct clip_model *model;
    struct clip_parameters parameters;
    struct clip_record *input[RECORDS];
    union clip_item items[RECORDS];
    size_t width;
};

/* Of golden/families or, of models of text, golden/text. */
static char *family_path(char *path, int text, const char *name, const char *file)
{
    snprintf(path, GOLDEN_PATH, "%s/golden/%s/%s/%s", check_shared(),
             text ? "text/models" : "families/families", name, file);
    return path;
}

/* 1 if the model is one of golden/text, or, of its `file`, has such a one. */
static int is_text(const char *name, const char *file)
{
    char path[GOLDEN_PATH];
    return access(family_path(path, 1, name, file), F_OK) == 0;
}

static void read_records(const char *path, struct clip_record **records)
{
    struct clip_error error;
    struct clip_reader *reader = clip_reader_new((char *[]){(char *)path}, 1, 0, &error);
    int n = 0;
    while (n < RECORDS && clip_reader_next(reader, &records[n], &error) > 0)
        n++;
    CHECK(n == RECORDS, "%s: %d records", path, n);
    clip_reader_free(reader);
}

/* The tokens, padded to the context. */
static int32_t *whole_caption(struct family *f, int32_t *tokens, int i)
{
    const struct clip_tower_arch *text = &clip_model_arch(f->model)->text;
    size_t *count = &f->items[i].caption.count;
    tokens = realloc(tokens, (size_t)text->context * sizeof *tokens);
    while (*count < (size_t)text->context)
        tokens[(*count)++] = text->pad;
    return tokens;
}

static void family_open(struct family *f, const char *name, enum clip_side side)
{
    struct clip_error error = {""};
    char path[GOLDEN_PATH], arch[GOLDEN_PATH];
    int text = is_text(name, "."), lone = is_text(name, "arch.json");
    *f = (struct family){.side = side};
    snprintf(f->name, sizeof f->name, "%s", name);
    const char *file = lone ? "model.safetensors" : text ? "." : "open_clip";
    f->model = clip_model_open(family_path(path, text, name, file),
                               lone ? family_path(arch, 1, name, "arch.json") : NULL, &error);
    CHECK(f->model, "%s", error.text);
    CHECK(clip_parameters_load(&f->parameters, f->model,
                               side == CLIP_SIDE_IMAGE ? CLIP_PART_IMAGE : CLIP_PART_TEXT, &error) == 0,
          "%s", error.text);
    f->width = clip_feature_width(clip_model_arch(f->model), side);
    read_records(family_path(path, text, name, "batch.msgpack"), f->input);
    for (int i = 0; i < RECORDS; i++) {
        if (side == CLIP_SIDE_IMAGE)
            f->items[i].image.bytes = golden_tensor(f->input[i], "image", CLIP_U8, NULL);
        else
            f->items[i].caption.tokens = whole_caption(
                f, golden_tensor(f->input[i], "tokens", CLIP_I32, &f->items[i].caption.count), i);
    }
}

static void family_close(struct family *f)
{
    for (int i = 0; i < RECORDS; i++) {
        clip_record_free(f->input[i]);
        free(f->side == CLIP_SIDE_IMAGE ? (void *)f->items[i].image.bytes
                                        : (void *)f->items[i].caption.tokens);
    }
    clip_parameters_free(&f->parameters);
    clip_model_close(f->model);
}

/* What runs a tower. */
struct machine {
    struct clip_engine *engine;
    struct clip_pool *pool;
    struct clip_tower *tower;
};

/* 0 where the engine cannot. */
static int machine_open(struct machine *m, struct family *f, const struct golden_setting *setting, int learns,
                        int threads, size_t batch)
{
    struct clip_error error = {""};
    m->engine = clip_engine_open(setting->engine, setting->precision, 4, &error);
    if (!m->engine)
        return 0;
    m->pool = clip_pool_new(threads, &error);
    const struct clip_tower_setup setup = {clip_model_arch(f->model),
                                           learns ? NULL : f->model,
                                           learns ? &f->parameters : NULL,
                                           m->engine,
                                           m->pool,
                                           batch,
                                           NULL};
    m->tower = clip_tower_open(f->side, &setup, &error);
    CHECK(m->tower && m->tower->width == f->width, "%s: %s", f->name, error.text);
    return 1;
}

static void machine_close(struct machine *m)
{
    clip_tower_free(m->tower);
    clip_pool_free(m->pool);
    clip_engine_free(m->engine);
}

static double norm(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - (double)(y ? y[i] : 0)) * (x[i] - (double)(y ? y[i] : 0));
    return sqrt(sum);
}

/* A line of the file of gradients. */
struct expected {
    char model[64], side[16], tensor[128];
    double norm, sines, cosines;
};

static const struct expected *find_expected(const struct expected *all, size_t n, const struct family *f,
                                            const char *tensor)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].model, f->name) == 0 && strcmp(all[i].side, clip_side_names[f->side]) == 0 &&
            strcmp(all[i].tensor, tensor) == 0)
            return &all[i];
    return NULL;
}

/* How far x[n] is from what is expected, at most: in its norm, and in two sums over its elements. */
static double distance(const struct expected *want, const float *x, size_t n)
{
    double sines = 0, cosines = 0;
    for (size_t k = 0; k < n; k++) {
        sines += x[k] * sin(0.7 * (double)(k + 1));
        cosines += x[k] * cos(1.3 * (double)k);
    }
    return fmax(fabs(norm(x, NULL, n) - want->norm),
                fmax(fabs(sines - want->sines), fabs(cosines - want->cosines)));
}

/* 1 where features depend on the others of the chunk: batch norm. */
static int mixes(const struct family *f)
{
    return clip_tower_mixes(clip_model_arch(f->model), f->side);
}

static void check_features(const struct family *f, const struct expected *all, size_t count,
                           const struct golden_setting *setting, const char *name, const float *features)
{
    const struct expected *want = find_expected(all, count, f, name);
    double off = want ? distance(want, features, RECORDS * f->width) : 0;
    int amplified = strcmp(name, "batch_features") == 0; /* rounding, by batch norms over few values */
    double tolerance = setting->precision == CLIP_PRECISION_BF16 ? amplified ? 6e-2 : 3e-2
                       : amplified                               ? 1e-5
                                                                 : 3e-6;
    CHECK(want && off < tolerance * want->norm, "%s, %s, %s: features off by %.1e", f->name,
          clip_side_names[f->side], setting->engine, off);
}

/* Features in inference: the golden ones, and the same bytes item by item and on another number of threads.
 */
static void check_inference(struct family *f, const struct expected *expected, size_t count,
                            const struct golden_setting *setting)
{
    struct clip_error error = {""};
    struct machine m;
    size_t n = RECORDS * f->width;
    float *all = malloc(n * sizeof *all), *one = malloc(n * sizeof *one);
    if (machine_open(&m, f, setting, 0, 2, RECORDS)) {
        CHECK(m.tower->type->forward(m.tower, f->items, RECORDS, 0, NULL, all, &error) == 0, "%s",
              error.text);
        machine_close(&m);
        check_features(f, expected, count, setting, "features", all);
        machine_open(&m, f, setting, 0, 1, 1);
        for (size_t i = 0; i < RECORDS; i++)
            CHECK(m.tower->type->forward(m.tower, f->items + i, 1, 0, NULL, one + i * f->width, &error) == 0,
                  "%s", error.text);
        machine_close(&m);
        CHECK(memcmp(all, one, n * sizeof *all) == 0, "%s, %s, %s: bytes differ with the batch", f->name,
              clip_side_names[f->side], setting->engine);
    }
    free(all), free(one);
}

/* --- training --- */

/* The norm of all gradients of the side. */
static double whole_norm(const struct family *f, const struct expected *all, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < f->parameters.count; i++) {
        const struct expected *want = find_expected(all, count, f, f->parameters.items[i].slot.name);
        sum += want ? want->norm * want->norm : 0;
    }
    return sqrt(sum);
}

/* Each tensor's gradient: its norm and two sums over its elements, to 1e-4 of the norm; in bf16 to 1e-1, as
 * rounding the operands of linear layers to bf16 in double precision moves the first norm of hf-mt5-mean-mlp
 * by 9.2e-2. But batch norms over the few values of such small pictures amplify what bf16 rounds away: their
 * tensors are measured against a tenth of all gradients at least, which is enough to tell another formula. */
static void check_gradients(const struct family *f, const struct expected *all, size_t count,
                            const struct golden_setting *setting, size_t chunk)
{
    int bf16 = setting->precision == CLIP_PRECISION_BF16;
    double least = bf16 && mixes(f) ? whole_norm(f, all, count) / 10 : 0;
    double tolerance = !bf16 ? 1e-4 : mixes(f) ? 0.25 : 1e-1;
    for (size_t i = 0; i < f->parameters.count; i++) {
        const struct clip_parameter *p = &f->parameters.items[i];
        const struct expected *want = find_expected(all, count, f, p->slot.name);
        if (!p->gradient)
            continue;
        double off = want ? distance(want, p->gradient, p->count) : 0;
        CHECK(want, "%s: no gradient of %s", f->name, p->slot.name);
        if (!want)
            continue;
        CHECK(off < tolerance * fmax(want->norm, least) || off < 1e-5,
              "%s, %s, %s, chunks of %zu: off by %.1e of %.1e", f->name, p->slot.name, setting->engine, chunk,
              off, want->norm);
    }
}

/* Runs the batch in chunks, each forward twice where `again`, and leaves features and gradients. */
static void train(struct family *f, const struct machine *m, size_t chunk, int again, float *features)
{
    struct clip_error error = {""};
    float *dout = malloc(RECORDS * f->width * sizeof *dout);
    struct clip_tape *tape = m->tower->type->tape_new(m->tower, &error);
    CHECK(tape, "%s", error.text);
    for (size_t i = 0; i < RECORDS * f->width; i++)
        dout[i] = (float)sin((double)(1 + i));
    memset(f->parameters.gradients, 0, f->parameters.gradient_bytes);
    for (size_t first = 0; first < RECORDS; first += chunk) {
        size_t n = RECORDS - first < chunk ? RECORDS - first : chunk;
        for (int turn = 0; turn <= again; turn++)
            CHECK(m->tower->type->forward(m->tower, f->items + first, n, turn, tape,
                                          features + first * f->width, &error) == 0,
                  "%s", error.text);
        CHECK(m->tower->type->backward(m->tower, tape, dout + first * f->width, NULL, &error) == 0, "%s",
              error.text);
    }
    clip_tape_free(tape);
    free(dout);
}

static float *copy_gradients(const struct family *f, size_t *n)
{
    float *all = NULL;
    *n = 0;
    for (size_t i = 0; i < f->parameters.count; i++) {
        const struct clip_parameter *p = &f->parameters.items[i];
        if (!p->gradient)
            continue;
        all = realloc(all, (*n + p->count) * sizeof *all);
        memcpy(all + *n, p->gradient, p->count * sizeof *all);
        *n += p->count;
    }
    return all;
}

static void check_training(struct family *f, const struct expected *all, size_t count,
                           const struct golden_setting *setting)
{
    static const size_t chunks[] = {RECORDS, 3, 1};
    struct machine m;
    size_t n = RECORDS * f->width, grads;
    float *features = malloc(n * sizeof *features), *again = malloc(n * sizeof *again);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        if (!machine_open(&m, f, setting, 1, 2, chunks[c]))
            break;
        train(f, &m, chunks[c], 0, features);
        if (!mixes(f) || chunks[c] == RECORDS) {
            check_features(f, all, count, setting, mixes(f) ? "batch_features" : "features", features);
            check_gradients(f, all, count, setting, chunks[c]);
        }
        float *first = copy_gradients(f, &grads);
        machine_close(&m);
        machine_open(&m, f, setting, 1, 3, chunks[c]);
        train(f, &m, chunks[c], 1, again);
        float *second = copy_gradients(f, &grads);
        CHECK(memcmp(features, again, n * sizeof *features) == 0 &&
                  memcmp(first, second, grads * sizeof *first) == 0,
              "%s, %s: bytes differ with threads or tapes", f->name, clip_side_names[f->side]);
        machine_close(&m);
        free(first), free(second);
    }
    free(features), free(again);
}

/* --- */

static struct expected *read_expected(const char *path, size_t *n)
{
    FILE *file = fopen(path, "r");
    struct expected *all = NULL, line;
    CHECK(file, "%s", path);
    *n = 0;
    while (file && fscanf(file, "%63s %15s %127s %lf %lf %lf", line.model, line.side, line.tensor, &line.norm,
                          &line.sines, &line.cosines) == 6) {
        all = realloc(all, (*n + 1) * sizeof *all);
        all[(*n)++] = line;
    }
    if (file)
        fclose(file);
    CHECK(*n > 0, "%s holds gradients", path);
    return all;
}

static void check_family(const char *name, enum clip_side side, const struct expected *all, size_t count)
{
    struct family f;
    family_open(&f, name, side);
    for (int s = 0; s < GOLDEN_SETTINGS; s++) {
        check_inference(&f, all, count, &golden_settings[s]);
        check_training(&f, all, count, &golden_settings[s]);
    }
    family_close(&f);
}

int main(void)
{
    char path[GOLDEN_PATH];
    size_t count;
    const char *source = getenv("srcdir");
    check_need_shared();
    snprintf(path, sizeof path, "%s/tests/data/family-gradients.txt", source ? source : ".");
    struct expected *all = read_expected(path, &count);
    /* The levels below this machine's too. */
    for (enum clip_level level = CLIP_PLAIN; level <= clip_level(); level++) {
        setenv("CLIP_CPU", clip_level_name(level), 1);
        printf("%s\n", clip_level_name(level));
        for (size_t i = 0; i < count; i++)
            for (int side = is_text(all[i].model, ".");
                 side < CLIP_SIDES && (i == 0 || strcmp(all[i].model, all[i - 1].model) != 0); side++)
                check_family(all[i].model, side, all, count);
    }
    free(all);
    return check_end();
}
