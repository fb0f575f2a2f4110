/* The names of Apple's own MobileCLIP files (github.com/apple/ml-mobileclip), which open_clip converts in its
 * convert.py and timm in fastvit.py and vision_transformer_hybrid.py: image_encoder.model.* and
 * text_encoder.* become visual.trunk.* and text.*. */
#include "base/array.h"
#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE "image_encoder.model."
#define TEXT "text_encoder."

/* The first tensor of a model with a FastViT, and of MobileCLIP-B. */
static const char *const firsts[] = {IMAGE "patch_embed.0.rbr_conv.0.conv.weight",
                                     IMAGE "patch_emb.0.block.conv.weight"};

/* A part of a name, and what replaces it. */
struct replacement {
    const char *from, *to;
};

static const struct replacement image_parts[] = {
    {"patch_embed", "stem"},     {"rbr_conv", "conv_kxk"},
    {"rbr_scale", "conv_scale"}, {"rbr_skip", "identity"},
    {"conv_exp", "final_conv"},  {"lkb_origin", "large_conv"},
    {"convffn", "mlp"},          {"se.reduce", "se.fc1"},
    {"se.expand", "se.fc2"},     {"head.proj", "head.fc.weight"},
};

static const struct replacement hybrid_parts[] = {
    {"patch_emb.", "patch_embed.backbone."},
    {"block.conv", "conv"},
    {"block.norm", "bn"},
    {"pos_embed.pos_embed.pos_embed", "pos_embed"},
    {"post_transformer_norm", "norm"},
    {"pre_norm_mha.0", "norm1"},
    {"pre_norm_mha.1", "attn"},
    {"pre_norm_ffn.0", "norm2"},
    {"pre_norm_ffn.1", "mlp.fc1"},
    {"pre_norm_ffn.4", "mlp.fc2"},
    {"qkv_proj", "qkv"},
    {"out_proj", "proj"},
    {"transformer.", "blocks."},
    {"classifier.proj", "head.weight"},
};

static const struct replacement text_parts[] = {
    {"projection_layer", "text_projection"},
    {"embedding_layer", "token_embedding"},
    {"positional_embedding.pos_embed.pos_embed", "positional_embedding"},
    {"final_layer_norm", "ln_final"},
    {"pre_norm_mha.0", "ln_1"},
    {"pre_norm_mha.1", "attn"},
    {"pre_norm_ffn.0", "ln_2"},
    {"pre_norm_ffn.1", "mlp.c_fc"},
    {"pre_norm_ffn.4", "mlp.c_proj"},
    {"qkv_proj.weight", "in_proj_weight"},
    {"qkv_proj.bias", "in_proj_bias"},
    {"transformer.", "transformer.resblocks."},
};

enum { NAME = 600, MOST_LAYERS = 64 };

/* What is known of a file's names. */
struct names {
    const char *prefix; /* `length` characters that stand before all names */
    size_t length;
    int hybrid; /* MobileCLIP-B: the image tower is a vision transformer after convolutions */
    unsigned char joins[MOST_LAYERS]; /* 1 for those of image_encoder.model.network that begin a stage */
};

/* A name that is being written. */
struct text {
    char text[NAME];
    size_t used;
    int overflow;
};

static void append_text(struct text *out, const char *text, size_t length)
{
    if (length >= sizeof out->text - out->used) {
        out->overflow = 1;
        return;
    }
    memcpy(out->text + out->used, text, length);
    out->used += length;
    out->text[out->used] = 0;
}

static void put_string(struct text *out, const char *text)
{
    append_text(out, text, strlen(text));
}

/* Writes the name with its parts replaced. */
static void put_replaced(struct text *out, const char *name, const struct replacement *parts, size_t count)
{
    while (*name) {
        size_t i = 0;
        while (i < count && strncmp(name, parts[i].from, strlen(parts[i].from)) != 0)
            i++;
        if (i < count) {
            put_string(out, parts[i].to);
            name += strlen(parts[i].from);
        } else {
            append_text(out, name++, 1);
        }
    }
}

/* Returns N of the name "network.N..." of an image encoder, and sets *rest to what follows; -1 for other
 * names, and for N from MOST_LAYERS on. */
static int network_number(const char *name, const char **rest)
{
    static const char start[] = "network.";
    char *end;
    if (strncmp(name, start, strlen(start)) != 0)
        return -1;
    unsigned long number = strtoul(name + strlen(start), &end, 10);
    *rest = end;
    return *end == '.' && number < MOST_LAYERS ? (int)number : -1;
}

static int begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Writes the stage of a part of the network, and returns the rest of the name: network.N.proj begins a stage,
 * network.N.pe has its positions, the others are its blocks. */
static const char *put_stage(struct text *out, const struct names *names, const char *name)
{
    const char *rest = name;
    char stage[32];
    int number = network_number(name, &rest), count = 0;
    if (number < 0)
        return name;
    for (int i = 0; i <= number; i++)
        count += names->joins[i];
    snprintf(stage, sizeof stage, "stages.%d", count);
    put_string(out, stage);
    if (begins(rest, ".proj"))
        put_string(out, ".downsample");
    else if (begins(rest, ".pe."))
        put_string(out, ".pos_emb.pos_enc");
    else
        put_string(out, ".blocks");
    return begins(rest, ".pe.") ? rest + strlen(".pe") : rest;
}

/* 1 if the tensor is a layer scale, which open_clip calls NAME.gamma. */
static int is_scale(const char *name)
{
    size_t length = strlen(name), digits = strspn(name + (length ? length - 1 : 0), "0123456789");
    static const char scale[] = "layer_scale", numbered[] = "layer_scale_";
    const char *end = digits ? numbered : scale;
    size_t before = strlen(end) + digits;
    return length >= before && memcmp(name + length - before, end, strlen(end)) == 0;
}

static void put_image(struct text *out, const struct names *names, const char *name)
{
    put_string(out, "visual.trunk.");
    if (names->hybrid) {
        put_replaced(out, name, hybrid_parts, CLIP_COUNT_OF(hybrid_parts));
        return;
    }
    put_replaced(out, put_stage(out, names, name), image_parts, CLIP_COUNT_OF(image_parts));
    if (is_scale(name))
        put_string(out, ".gamma");
}

static void put_text(struct text *out, const char *name)
{
    put_string(out, "text.");
    put_replaced(out, name, text_parts, CLIP_COUNT_OF(text_parts));
}

/* Takes leading dimensions of 1 away until there are `ndim`. */
static void squeeze(struct clip_weight *weight, int ndim)
{
    while (weight->ndim > ndim && weight->shape[0] == 1) {
        weight->ndim--;
        memmove(weight->shape, weight->shape + 1, (size_t)weight->ndim * sizeof *weight->shape);
        memmove(weight->stride, weight->stride + 1, (size_t)weight->ndim * sizeof *weight->stride);
    }
}

/* Adds the bias that the projection does not have: zeros, all at one address. */
static int add_bias(struct clip_weights *weights, const char *projection, const struct clip_weight *like,
                    struct clip_error *error)
{
    static const float zero;
    size_t shape = like->shape[0], stride = 0;
    char name[NAME + 8];
    int n = snprintf(name, sizeof name, "%.*sbias", (int)(strlen(projection) - strlen("weight")), projection);
    uint32_t holder = like->holder, key = like->key;
    if (clip_weights_add(weights, name, (size_t)n, CLIP_WEIGHT_F32, 1, &shape, &stride,
                         (const unsigned char *)&zero, sizeof zero, error) != 0)
        return -1;
    weights->items[weights->count - 1].holder = holder;
    weights->items[weights->count - 1].key = key;
    return 0;
}

static int rename_one(struct clip_weights *weights, size_t i, const struct names *names,
                      struct clip_error *error)
{
    struct clip_weight *weight = &weights->items[i];
    const char *name = weight->name + names->length;
    struct text out = {"", 0, 0};
    if (strncmp(weight->name, names->prefix, names->length) != 0)
        return 0;
    append_text(&out, weight->name, names->length);
    if (begins(name, IMAGE))
        put_image(&out, names, name + strlen(IMAGE));
    else if (begins(name, TEXT))
        put_text(&out, name + strlen(TEXT));
    else
        return 0;
    if (out.overflow)
        return clip_fail(error, "a tensor's name that is too long");
    char *copy = strdup(out.text);
    if (!copy)
        return clip_fail_memory(error, "a tensor's name");
    int projects =
        strcmp(name, names->hybrid ? IMAGE "classifier.proj" : IMAGE "head.proj") == 0 && weight->ndim == 2;
    if (strcmp(name, TEXT "positional_embedding.pos_embed.pos_embed") == 0)
        squeeze(weight, 2);
    if (strcmp(name, IMAGE "pos_embed.pos_embed.pos_embed") == 0)
        squeeze(weight, 3);
    if (projects)
        clip_weight_transpose(weight);
    free(weight->name);
    weight->name = copy;
    return projects ? add_bias(weights, copy, weight, error) : 0;
}

/* Finds the first tensor of such a model, and the length of what stands before it; NULL if there is none. */
static const struct clip_weight *find_first(const struct clip_weights *weights, struct names *names)
{
    for (size_t i = 0; i < weights->count; i++)
        for (size_t k = 0; k < CLIP_COUNT_OF(firsts); k++) {
            size_t n = strlen(weights->items[i].name), length = strlen(firsts[k]);
            if (n < length || strcmp(weights->items[i].name + n - length, firsts[k]) != 0)
                continue;
            names->length = n - length;
            names->hybrid = k == 1;
            return &weights->items[i];
        }
    return NULL;
}

int clip_names_apple(struct clip_weights *weights, struct clip_error *error)
{
    struct names names = {.length = 0};
    const struct clip_weight *first = find_first(weights, &names);
    if (!first)
        return 0;
    char *prefix = strndup(first->name, names.length);
    if (!prefix)
        return clip_fail_memory(error, "a tensor's name");
    names.prefix = prefix;
    int status = 0;
    size_t count = weights->count;
    for (size_t i = 0; i < count && status == 0; i++) {
        const char *name = weights->items[i].name, *rest = "";
        if (strncmp(name, prefix, names.length) != 0)
            continue;
        if (begins(name + names.length, TEXT "transformer.0.token_mixer."))
            status = clip_fail(error, "Apple's MobileCLIP-S0: its text tower of convolutions and attention "
                                      "is not supported");
        int number = begins(name + names.length, IMAGE)
                         ? network_number(name + names.length + strlen(IMAGE), &rest)
                         : -1;
        if (number >= 0 && begins(rest, ".proj."))
            names.joins[number] = 1;
    }
    for (size_t i = 0; i < count && status == 0; i++)
        status = rename_one(weights, i, &names, error);
    free(prefix);
    return status;
}
