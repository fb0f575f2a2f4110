#include "model/arch.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* OpenAI's published models (FACTS: the models). A ResNet's patch is 0, its layers those of four stages. */
static const struct {
    const char *name;
    int embed, image, layers[4], width, patch, text_width, text_heads, text_layers;
} published[] = {
    {"RN50", 1024, 224, {3, 4, 6, 3}, 64, 0, 512, 8, 12},
    {"RN101", 512, 224, {3, 4, 23, 3}, 64, 0, 512, 8, 12},
    {"RN50x4", 640, 288, {4, 6, 10, 6}, 80, 0, 640, 10, 12},
    {"RN50x16", 768, 384, {6, 8, 18, 8}, 96, 0, 768, 12, 12},
    {"RN50x64", 1024, 448, {3, 15, 36, 10}, 128, 0, 1024, 16, 12},
    {"ViT-B/32", 512, 224, {12}, 768, 32, 512, 8, 12},
    {"ViT-B/16", 512, 224, {12}, 768, 16, 512, 8, 12},
    {"ViT-L/14", 768, 224, {24}, 1024, 14, 768, 12, 12},
    {"ViT-L/14@336px", 768, 336, {24}, 1024, 14, 768, 12, 12},
};

void clip_arch_clear(struct clip_arch *arch)
{
    *arch = (struct clip_arch){
        .text.end_token = -1,
        .preprocess = {.mean = {0.48145466f, 0.4578275f, 0.40821073f},
                       .std = {0.26862954f, 0.26130258f, 0.27577711f}},
        .init_logit_scale = CLIP_INIT_LOGIT_SCALE,
    };
}

static void set_name(struct clip_arch *arch, const char *name)
{
    snprintf(arch->name, sizeof arch->name, "%s", name);
}

static void set_published(struct clip_arch *arch, size_t i)
{
    clip_arch_clear(arch);
    set_name(arch, published[i].name);
    arch->embed = published[i].embed;
    struct clip_vision_arch *vision = &arch->vision;
    vision->image_size = published[i].image;
    vision->width = published[i].width;
    if (published[i].patch) {
        vision->kind = CLIP_VIT;
        vision->layers = published[i].layers[0];
        vision->patch = published[i].patch;
        vision->heads = vision->width / 64;
        vision->mlp = 4 * vision->width;
    } else {
        vision->kind = CLIP_RESNET;
        memcpy(vision->blocks, published[i].layers, sizeof vision->blocks);
        vision->heads = vision->width * 32 / 64;
    }
    vision->activation = CLIP_QUICK_GELU;
    arch->text = (struct clip_text_arch){.context = 77,
                                         .vocabulary = 49408,
                                         .width = published[i].text_width,
                                         .heads = published[i].text_heads,
                                         .layers = published[i].text_layers,
                                         .mlp = 4 * published[i].text_width,
                                         .end_token = -1,
                                         .activation = CLIP_QUICK_GELU};
}

/* Names are the same where they differ only in '-' for '/'. */
static int same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '/' : *a) != (*b == '-' ? '/' : *b))
            return 0;
    return *a == *b;
}

static int same_vision(const struct clip_vision_arch *v, const struct clip_vision_arch *w)
{
    if (v->absent || w->absent)
        return v->absent == w->absent;
    return v->kind == w->kind && v->image_size == w->image_size && v->width == w->width &&
           v->layers == w->layers && v->patch == w->patch && v->heads == w->heads && v->mlp == w->mlp &&
           memcmp(v->blocks, w->blocks, sizeof v->blocks) == 0 && v->activation == w->activation &&
           v->unprojected == w->unprojected;
}

static int same_text(const struct clip_text_arch *t, const struct clip_text_arch *u)
{
    if (t->absent || u->absent)
        return t->absent == u->absent;
    return t->context == u->context && t->vocabulary == u->vocabulary && t->width == u->width &&
           t->heads == u->heads && t->layers == u->layers && t->mlp == u->mlp &&
           t->activation == u->activation && t->unprojected == u->unprojected;
}

int clip_arch_same(const struct clip_arch *a, const struct clip_arch *b)
{
    return a->embed == b->embed && same_vision(&a->vision, &b->vision) && same_text(&a->text, &b->text);
}

void clip_arch_rename(struct clip_arch *arch, const char *otherwise)
{
    for (size_t i = 0; i < COUNT(published); i++) {
        struct clip_arch other;
        set_published(&other, i);
        if (clip_arch_same(arch, &other)) {
            set_name(arch, other.name);
            return;
        }
    }
    set_name(arch, otherwise);
}

static int in_bounds(const char *what, int value, int high, struct clip_error *error)
{
    if (value < 1 || value > high)
        return clip_fail(error, "%s is %d; it must lie between 1 and %d", what, value, high);
    return 0;
}

static int check_heads(const char *what, int width, int heads, struct clip_error *error)
{
    if (heads < 1 || width % heads)
        return clip_fail(error, "%s of %d cannot be split into %d heads", what, width, heads);
    return 0;
}

static int check_vision(const struct clip_vision_arch *vision, struct clip_error *error)
{
    if (in_bounds("image size", vision->image_size, CLIP_MAX_IMAGE, error) != 0 ||
        in_bounds("vision width", vision->width, CLIP_MAX_WIDTH, error) != 0)
        return -1;
    if (vision->kind == CLIP_RESNET) {
        for (int i = 0; i < 4; i++)
            if (in_bounds("vision layers", vision->blocks[i], CLIP_MAX_LAYERS, error) != 0)
                return -1;
        if (vision->width > CLIP_MAX_WIDTH / 32 || vision->width % 2)
            return clip_fail(error, "a ResNet's width of %d is odd or too large", vision->width);
        if (vision->image_size % 32)
            return clip_fail(error, "a ResNet's image size of %d is not a multiple of 32",
                             vision->image_size);
        return check_heads("attention pool", vision->width * 32, vision->heads, error);
    }
    if (in_bounds("vision layers", vision->layers, CLIP_MAX_LAYERS, error) != 0 ||
        in_bounds("vision mlp", vision->mlp, CLIP_MAX_MLP, error) != 0)
        return -1;
    if (vision->patch < 1 || vision->image_size % vision->patch)
        return clip_fail(error, "image size %d is not a multiple of the patch size %d", vision->image_size,
                         vision->patch);
    return check_heads("vision width", vision->width, vision->heads, error);
}

static int check_text(const struct clip_text_arch *text, struct clip_error *error)
{
    if (in_bounds("context length", text->context, CLIP_MAX_CONTEXT, error) != 0 ||
        in_bounds("vocabulary size", text->vocabulary, CLIP_MAX_VOCABULARY, error) != 0 ||
        in_bounds("text width", text->width, CLIP_MAX_WIDTH, error) != 0 ||
        in_bounds("text layers", text->layers, CLIP_MAX_LAYERS, error) != 0 ||
        in_bounds("text mlp", text->mlp, CLIP_MAX_MLP, error) != 0 ||
        check_heads("text width", text->width, text->heads, error) != 0)
        return -1;
    if (text->end_token < -1 || text->end_token >= text->vocabulary)
        return clip_fail(error, "end token %d is outside the vocabulary of %d", text->end_token,
                         text->vocabulary);
    return 0;
}

int clip_arch_check(const struct clip_arch *arch, struct clip_error *error)
{
    int projected = (!arch->vision.absent && !arch->vision.unprojected) ||
                    (!arch->text.absent && !arch->text.unprojected);
    if (arch->vision.absent && arch->text.absent)
        return clip_fail(error, "it has neither a vision tower nor a text tower");
    if (projected && in_bounds("embedding width", arch->embed, CLIP_MAX_WIDTH, error) != 0)
        return -1;
    if (!arch->vision.absent && check_vision(&arch->vision, error) != 0)
        return -1;
    return arch->text.absent ? 0 : check_text(&arch->text, error);
}

int clip_arch_read(struct clip_arch *arch, const char *name_or_path, struct clip_error *error)
{
    for (size_t i = 0; i < COUNT(published); i++)
        if (same_name(name_or_path, published[i].name)) {
            set_published(arch, i);
            return 0;
        }
    if (clip_arch_read_open_clip(arch, name_or_path, error) == 0)
        return 0;
    if (!strchr(name_or_path, '/') && !strchr(name_or_path, '.'))
        return clip_fail(error, "%s: no such architecture (one of OpenAI's nine, or an open_clip JSON file)",
                         name_or_path);
    return -1;
}

/* OpenAI's numbers as everybody writes them; else the shortest decimal that reads back as the same float. */
static void put_float(FILE *file, float x)
{
    static const char *const known[] = {"0.48145466", "0.4578275",  "0.40821073",
                                        "0.26862954", "0.26130258", "0.27577711"};
    char text[32];
    for (size_t i = 0; i < COUNT(known); i++)
        if (strtof(known[i], NULL) == x) {
            fputs(known[i], file);
            return;
        }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x)
            break;
    }
    fputs(text, file);
}

void clip_arch_put_channels(FILE *file, const float value[3])
{
    for (int i = 0; i < 3; i++) {
        fputs(i ? ", " : "[", file);
        put_float(file, value[i]);
    }
    fputs("]", file);
}
