/* Models in every form: what is read from each, and that all forms of a model hold the same tensors. */
#include "model/model.h"
#include "check.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static struct clip_error error;

static struct clip_model *open_at(const char *folder, const char *name, const char *arch)
{
    char path[5000];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct clip_model *model = clip_model_open(path, arch, &error);
    CHECK(model, "%s", model ? "" : error.text);
    return model;
}

/* All the tensor's elements as f32, from malloc. */
static float *floats(const struct clip_model *model, const struct clip_slot *slot)
{
    float *out = calloc((size_t)clip_slot_count(slot) + 1, sizeof *out);
    int result = clip_model_floats(model, slot->name, slot->ndim, slot->shape, out, &error);
    CHECK(result == 0, "%s", error.text);
    return out;
}

/* The same values, or, with `half`, the f16 nearest to them where the file holds f16. */
static void compare_slot(const struct clip_model *a, const struct clip_model *b, const struct clip_slot *slot,
                         int half)
{
    enum clip_weight_type type = CLIP_WEIGHT_F32;
    CHECK(clip_model_type(b, slot->name, &type) == 0 || slot->integer, "%s", slot->name);
    if (slot->integer)
        return;
    float *x = floats(a, slot), *y = floats(b, slot);
    size_t n = (size_t)clip_slot_count(slot), different = 0;
    for (size_t i = 0; i < n; i++) {
        float want = half && type == CLIP_WEIGHT_F16 ? clip_f16_float(clip_f16_round(x[i])) : x[i];
        different += memcmp(&want, &y[i], sizeof want) != 0;
    }
    CHECK(different == 0, "%s: %zu of %zu", slot->name, different, n);
    if (!half)
        CHECK(type == CLIP_WEIGHT_F32, "%s", slot->name);
    free(x);
    free(y);
}

static void compare(const struct clip_model *a, const char *folder, const char *name, const char *arch,
                    int half)
{
    struct clip_model *b = open_at(folder, name, arch);
    if (!b)
        return;
    const struct clip_layout *layout = clip_model_layout(a);
    CHECK(layout->count == clip_model_layout(b)->count, "%s/%s", folder, name);
    for (size_t i = 0; i < layout->count; i++)
        compare_slot(a, b, &layout->slots[i], half);
    clip_model_close(b);
}

static void test_golden(const char *shared, const char *name, const char *forms)
{
    char folder[5000], arch[5100], list[100];
    snprintf(folder, sizeof folder, "%s/golden/models/%s", shared, name);
    snprintf(arch, sizeof arch, "%s/arch.json", folder);
    struct clip_model *model = open_at(folder, "model.safetensors", arch);
    if (!model)
        return;
    snprintf(list, sizeof list, "%s", forms);
    for (char *form = strtok(list, " "); form; form = strtok(NULL, " "))
        compare(model, folder, form, strchr(form, '.') ? arch : NULL, strcmp(form, "openai.pt") == 0);
    clip_model_close(model);
}

/* The nine names: sizes and parameters (FACTS: the models). */
static void test_names(void)
{
    static const struct {
        const char *name;
        unsigned long long parameters;
    } nine[] = {
        {"RN50", 102007137},     {"RN101", 119688033},    {"RN50x4", 178300601},
        {"RN50x16", 290979217},  {"RN50x64", 623258305},  {"ViT-B/32", 151277313},
        {"ViT-B/16", 149620737}, {"ViT-L/14", 427616513}, {"ViT-L/14@336px", 427944193},
    };
    for (size_t i = 0; i < sizeof nine / sizeof *nine; i++) {
        struct clip_arch arch;
        struct clip_layout layout;
        CHECK(clip_arch_read(&arch, nine[i].name, &error) == 0, "%s", error.text);
        CHECK(clip_arch_check(&arch, &error) == 0, "%s", error.text);
        CHECK(strcmp(arch.name, nine[i].name) == 0, "%s", arch.name);
        CHECK(clip_layout_make(&layout, &arch, &error) == 0, "%s", error.text);
        unsigned long long parameters = clip_layout_parameters(&layout);
        CHECK(parameters == nine[i].parameters, "%s: %llu", nine[i].name, parameters);
        clip_layout_free(&layout);
    }
    struct clip_arch arch;
    CHECK(clip_arch_read(&arch, "ViT-L-14@336px", &error) == 0, "%s", error.text);
    CHECK(arch.vision.image_size == 336, "%d", arch.vision.image_size);
    CHECK(clip_arch_read(&arch, "ViT-B/33", &error) != 0, "");
}

/* A SiglipModel's preprocessor_config.json, read and written. */
static void test_siglip(const char *shared)
{
    char path[5000], *text = NULL;
    size_t size = 0;
    struct clip_arch arch, again;
    snprintf(path, sizeof path, "%s/golden/families/families/siglip2/hf", shared);
    CHECK(clip_arch_read_hf(&arch, path, &error) == 0, "%s", error.text);
    const struct clip_preprocess_arch *preprocess = &arch.preprocess;
    CHECK(preprocess->resize == CLIP_SQUASH && preprocess->interpolation == CLIP_BICUBIC &&
              preprocess->convert_first && preprocess->mean[0] == 0.5f && preprocess->std[2] == 0.5f,
          "%d %d", preprocess->resize, preprocess->interpolation);
    arch.preprocess.interpolation = CLIP_BILINEAR;
    arch.preprocess.mean[1] = 0.25f;
    FILE *file = open_memstream(&text, &size);
    CHECK(clip_arch_write_hf_preprocessor(&arch, file, &error) == 0, "%s", error.text);
    fclose(file);
    CHECK(strstr(text, "\"SiglipImageProcessor\"") && !strstr(text, "crop_size"), "%s", text);
    strcpy(path, "/tmp/clip-preprocessor-XXXXXX");
    int written = mkstemp(path);
    CHECK(written >= 0 && write(written, text, size) == (ssize_t)size && close(written) == 0, "%s", path);
    clip_arch_clear(&again);
    again.vision = arch.vision;
    CHECK(clip_arch_read_hf_preprocessor(&again, path, &error) == 0, "%s", error.text);
    again.preprocess.convert_first = 1; /* which every folder of Hugging Face has */
    CHECK(memcmp(&again.preprocess, &arch.preprocess, sizeof again.preprocess) == 0, "%s", text);
    unlink(path);
    free(text);
    file = open_memstream(&text, &size);
    arch.preprocess.resize = CLIP_SHORTEST;
    CHECK(clip_arch_write_hf_preprocessor(&arch, file, &error) != 0, "");
    CHECK(strcmp(error.text, "Hugging Face's SiglipImageProcessor does not resize pictures in the mode "
                             "\"shortest\"") == 0,
          "%s", error.text);
    fclose(file);
    free(text);
}

static void test_folder(const char *shared)
{
    char folder[5000];
    snprintf(folder, sizeof folder, "%s/golden/models", shared);
    struct clip_model *model = open_at(folder, "vit-b/hf", NULL);
    if (!model)
        return;
    const struct clip_arch *arch = clip_model_arch(model);
    CHECK(arch->vision.heads == 3 && arch->vision.mlp == 288 && arch->text.heads == 4, "");
    CHECK(arch->vision.activation == CLIP_GELU && arch->text.activation == CLIP_GELU, "");
    CHECK(arch->text.end_token == 699 && arch->preprocess.convert_first, "%d", arch->text.end_token);
    const char *vocabulary = clip_model_vocabulary(model);
    CHECK(vocabulary && strcmp(vocabulary + strlen(vocabulary) - 11, "/vocab.json") == 0, "%s", vocabulary);

    /* Rows of a matrix, and the whole of it. */
    float *all = calloc(700 * 80, sizeof *all), rows[3 * 80];
    const size_t shape[] = {700, 80};
    CHECK(clip_model_floats(model, "token_embedding.weight", 2, shape, all, &error) == 0, "%s", error.text);
    CHECK(clip_model_rows(model, "token_embedding.weight", 697, 3, 80, rows, &error) == 0, "%s", error.text);
    CHECK(memcmp(rows, all + 697 * 80, sizeof rows) == 0, "");
    CHECK(clip_model_rows(model, "token_embedding.weight", 698, 3, 80, rows, &error) != 0, "");
    CHECK(clip_model_floats(model, "token_embedding.weight", 2, (const size_t[]){80, 700}, all, &error) != 0,
          "");
    const float *mapped;
    CHECK(clip_model_mapped(model, "token_embedding.weight", 2, shape, &mapped, &error) == 0, "%s",
          error.text);
    CHECK(mapped && memcmp(mapped, all, sizeof rows) == 0, "");
    clip_model_release_pages(model, "token_embedding.weight");
    CHECK(mapped && memcmp(mapped, all, sizeof rows) == 0, "pages that were forgotten come back");
    /* Turned in the file: not where it lies. */
    CHECK(clip_model_mapped(model, "text_projection", 2, (const size_t[]){80, 80}, &mapped, &error) == 0, "");
    CHECK(!mapped, "");
    CHECK(clip_model_mapped(model, "no.such.tensor", 1, shape, &mapped, &error) != 0, "");
    float scale = 0;
    CHECK(clip_model_logit_scale(model, &scale, &error) == 0 && fabsf(scale - 2.659f) < 0.01f, "%g", scale);
    free(all);
    clip_model_close(model);
}

/* Every f16 and bf16 number survives; halfway cases go to even. */
static void test_halves(void)
{
    int bad = 0;
    for (unsigned i = 0; i < 65536; i++) {
        float x = clip_f16_float((uint16_t)i), y = clip_bf16_float((uint16_t)i);
        bad += !isnan(x) && clip_f16_round(x) != i;
        bad += !isnan(y) && clip_bf16_round(y) != i;
        bad += isnan(x) && !isnan(clip_f16_float(clip_f16_round(x)));
        bad += isnan(y) && !isnan(clip_bf16_float(clip_bf16_round(y)));
    }
    CHECK(bad == 0, "%d", bad);
    CHECK(clip_f16_round(1 + 0x1p-11) == 0x3c00 && clip_f16_round(1 + 3 * 0x1p-11) == 0x3c02, "");
    CHECK(clip_f16_round(65519.99) == 0x7bff && clip_f16_round(65520) == 0x7c00, "");
    CHECK(clip_f16_round(-0x1p-25) == 0x8000 && clip_f16_round(0x1.8p-25) == 1, "");
    CHECK(clip_bf16_round(1 + 0x1p-8) == 0x3f80 && clip_bf16_round(1 + 0x1.8p-8) == 0x3f81, "");
    CHECK(clip_bf16_round(3.4e38) == 0x7f80 && clip_bf16_round(-0.0) == 0x8000, "");
}

/* A name of a pooling finds it, of those that are CoCa's or of the others. Each has a name, and how many rows
 * it reads. */
static void test_poolings(void)
{
    for (int pooling = 0; pooling < CLIP_POOLINGS; pooling++) {
        struct clip_tower_arch tower = {.pooling = (enum clip_pooling)pooling}, other = {0};
        const struct clip_pooling_type *type = clip_pooling_of(&tower);
        int named = 0;
        for (int option = 0; option < CLIP_POOLING_OPTIONS; option++) {
            const char *name = type->names[option];
            if (!name)
                continue;
            named++;
            CHECK(clip_pooling_set(&other, option, name, type->coca) == 0 && other.pooling == tower.pooling,
                  "%s is %d, not %d", name, other.pooling, pooling);
        }
        CHECK(named > 0, "%d has no name", pooling);
        CHECK(type->all || !type->queries, "%d: a query reads all rows", pooling);
    }
    struct clip_tower_arch tower = {.pooling = CLIP_POOL_LAST};
    CHECK(clip_pooling_set(&tower, CLIP_POOLS_TEXT, "avg", 0) == -1 && tower.pooling == CLIP_POOL_LAST, "");
    CHECK(clip_pooling_set(&tower, CLIP_POOLS_TIMM, "map", 1) == -1 && tower.pooling == CLIP_POOL_LAST, "");
    CHECK(clip_pooling_set(&tower, CLIP_POOLS_VISION, "avg", 1) == 0 &&
              tower.pooling == CLIP_POOL_QUERIES_MEAN,
          "%d", tower.pooling);
}

int main(void)
{
    test_names();
    test_poolings();
    test_halves();
    const char *shared = check_shared();
    if (!shared)
        return check_end();
    test_golden(
        shared, "vit-a",
        "model.safetensors open_clip hf state.pt legacy.pt checkpoint.pt openai.pt hf/pytorch_model.bin");
    test_golden(shared, "vit-b", "model.safetensors hf");
    test_golden(shared, "rn-a", "model.safetensors open_clip openai.pt");
    test_golden(shared, "rn-b", "model.safetensors state.pt");
    test_folder(shared);
    test_siglip(shared);
    return check_end();
}
