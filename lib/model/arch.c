#include "model/arch.h"

#include "model/kind-parts.h"

#include <stdlib.h>
#include <string.h>

const char *const clip_side_names[CLIP_SIDES] = {"vision", "text"};

/* clang-format off */
#define VIT(size, side, depth, w)                                                                            \
    {.kind = &clip_kind_vit, .image_size = (size), .patch = (side), .layers = (depth), .width = (w),         \
     .heads = (w) / 64, .mlp = 4 * (w), .activation = CLIP_QUICK_GELU}
#define RESNET(size, w, ...)                                                                                 \
    {.kind = &clip_kind_resnet, .image_size = (size), .width = (w), .heads = (w) / 2,                        \
     .blocks = {__VA_ARGS__}, .activation = CLIP_QUICK_GELU}
#define TEXT(w, n)                                                                                           \
    {.kind = &clip_kind_text, .context = 77, .vocabulary = 49408, .width = (w), .heads = (n), .layers = 12,  \
     .mlp = 4 * (w), .end_token = -1, .activation = CLIP_QUICK_GELU}
/* clang-format on */

/* OpenAI's published models; share/architectures holds open_clip's configurations. */
static const struct {
    const char *name;
    int embed;
    struct clip_tower_arch vision, text;
} published[] = {
    {"RN50", 1024, RESNET(224, 64, 3, 4, 6, 3), TEXT(512, 8)},
    {"RN101", 512, RESNET(224, 64, 3, 4, 23, 3), TEXT(512, 8)},
    {"RN50x4", 640, RESNET(288, 80, 4, 6, 10, 6), TEXT(640, 10)},
    {"RN50x16", 768, RESNET(384, 96, 6, 8, 18, 8), TEXT(768, 12)},
    {"RN50x64", 1024, RESNET(448, 128, 3, 15, 36, 10), TEXT(1024, 16)},
    {"ViT-B/32", 512, VIT(224, 32, 12, 768), TEXT(512, 8)},
    {"ViT-B/16", 512, VIT(224, 16, 12, 768), TEXT(512, 8)},
    {"ViT-L/14", 768, VIT(224, 14, 24, 1024), TEXT(768, 12)},
    {"ViT-L/14@336px", 768, VIT(336, 14, 24, 1024), TEXT(768, 12)},
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
    arch->vision = published[i].vision;
    arch->text = published[i].text;
}

/* Names are the same where they differ only in '-' for '/'. */
static int same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '/' : *a) != (*b == '-' ? '/' : *b))
            return 0;
    return *a == *b;
}

const char *clip_arch_published_name(size_t i)
{
    return i < CLIP_COUNT_OF(published) ? published[i].name : NULL;
}

int clip_arch_published(struct clip_arch *arch, const char *name)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(published); i++)
        if (same_name(name, published[i].name)) {
            set_published(arch, i);
            return 1;
        }
    return 0;
}

int clip_image_width(const struct clip_tower_arch *tower)
{
    return tower->image_width ? tower->image_width : tower->image_size;
}

size_t clip_feature_width(const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    return tower->kind->width ? tower->kind->width(tower) : (size_t)tower->width;
}

enum clip_side clip_arch_side(const struct clip_arch *arch)
{
    return arch->vision.absent ? CLIP_SIDE_TEXT : arch->text.absent ? CLIP_SIDE_IMAGE : CLIP_SIDE_BOTH;
}

/* All but the end token, which not every form can say. */
static int same_tower(const struct clip_tower_arch *t, const struct clip_tower_arch *u)
{
    if (t->absent || u->absent)
        return t->absent == u->absent;
    return t->kind == u->kind && t->image_size == u->image_size && t->image_width == u->image_width &&
           t->width == u->width && t->layers == u->layers && t->patch == u->patch && t->heads == u->heads &&
           t->mlp == u->mlp && memcmp(t->blocks, u->blocks, sizeof t->blocks) == 0 &&
           memcmp(t->widths, u->widths, sizeof t->widths) == 0 && t->kernel == u->kernel &&
           memcmp(&t->fastvit, &u->fastvit, sizeof t->fastvit) == 0 &&
           memcmp(&t->swin, &u->swin, sizeof t->swin) == 0 && t->context == u->context &&
           t->vocabulary == u->vocabulary && t->class_row == u->class_row && t->open_mask == u->open_mask &&
           t->activation == u->activation && t->unprojected == u->unprojected &&
           clip_head_of(t) == clip_head_of(u) && clip_block_same(&t->block, &u->block) &&
           t->pooling == u->pooling && clip_vit_same(&t->vit, &u->vit) && clip_text_same(&t->text, &u->text);
}

int clip_arch_same(const struct clip_arch *a, const struct clip_arch *b)
{
    return a->embed == b->embed && same_tower(&a->vision, &b->vision) && same_tower(&a->text, &b->text);
}

void clip_arch_rename(struct clip_arch *arch, const char *otherwise)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(published); i++) {
        struct clip_arch other;
        set_published(&other, i);
        if (clip_arch_same(arch, &other)) {
            set_name(arch, other.name);
            return;
        }
    }
    set_name(arch, otherwise);
}

/* Features without a projection must have the embedding's width. */
static int check_head(const struct clip_arch *arch, enum clip_side side, struct clip_error *error)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    size_t width = clip_feature_width(arch, side);
    if (tower->unprojected || clip_head_last(clip_head_of(tower)) || width == (size_t)arch->embed)
        return 0;
    return clip_fail(error, "the %s tower has no projection and %zu features, but the embedding has %d",
                     clip_side_names[side], width, arch->embed);
}

int clip_arch_check(const struct clip_arch *arch, struct clip_error *error)
{
    int projected = 0;
    if (arch->vision.absent && arch->text.absent)
        return clip_fail(error, "it has neither a vision tower nor a text tower");
    for (int side = 0; side < CLIP_SIDES; side++)
        projected |= !arch->towers[side].absent && !arch->towers[side].unprojected;
    if (projected && clip_check_bounds("embedding width", arch->embed, CLIP_MAX_WIDTH, error) != 0)
        return -1;
    for (int side = 0; side < CLIP_SIDES; side++)
        if (!arch->towers[side].absent && (arch->towers[side].kind->check(&arch->towers[side], error) != 0 ||
                                           check_head(arch, side, error) != 0))
            return -1;
    return 0;
}

/* OpenAI's mean and std as they are usually written; other numbers as the shortest decimal that reads back as
 * the same float. */
static void put_float(FILE *file, float x)
{
    static const char *const known[] = {"0.48145466", "0.4578275",  "0.40821073",
                                        "0.26862954", "0.26130258", "0.27577711"};
    char text[32];
    for (size_t i = 0; i < CLIP_COUNT_OF(known); i++)
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
