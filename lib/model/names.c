#include "model/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beginnings of names in transformers' CLIPModel and in OpenAI's; what follows ("weight", "bias") is the
 * same. */
struct pair {
    const char *hf, *openai;
    int part; /* 0, 1, 2: q, k, v of an in_proj; WHOLE */
    int transposed;
};
enum { WHOLE = -1 };

static const struct pair outer[] = {
    {"vision_model.embeddings.class_embedding", "visual.class_embedding", WHOLE, 0},
    {"vision_model.embeddings.patch_embedding.", "visual.conv1.", WHOLE, 0},
    {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding", WHOLE, 0},
    {"vision_model.pre_layrnorm.", "visual.ln_pre.", WHOLE, 0}, /* their spelling */
    {"vision_model.post_layernorm.", "visual.ln_post.", WHOLE, 0},
    {"text_model.embeddings.token_embedding.", "token_embedding.", WHOLE, 0},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding", WHOLE, 0},
    {"text_model.final_layer_norm.", "ln_final.", WHOLE, 0},
    {"visual_projection.weight", "visual.proj", WHOLE, 1},
    {"text_projection.weight", "text_projection", WHOLE, 1},
    {"logit_scale", "logit_scale", WHOLE, 0},
};

/* A block's number stands between these and the next ones. */
static const struct pair blocks[] = {
    {"vision_model.encoder.layers.", "visual.transformer.resblocks.", WHOLE, 0},
    {"text_model.encoder.layers.", "transformer.resblocks.", WHOLE, 0},
};

static const struct pair inner[] = {
    {"self_attn.q_proj.", "attn.in_proj_", 0, 0}, {"self_attn.k_proj.", "attn.in_proj_", 1, 0},
    {"self_attn.v_proj.", "attn.in_proj_", 2, 0}, {"self_attn.out_proj.", "attn.out_proj.", WHOLE, 0},
    {"layer_norm1.", "ln_1.", WHOLE, 0},          {"layer_norm2.", "ln_2.", WHOLE, 0},
    {"mlp.fc1.", "mlp.c_fc.", WHOLE, 0},          {"mlp.fc2.", "mlp.c_proj.", WHOLE, 0},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What follows `start` in text; NULL if text does not begin so. */
static const char *after(const char *text, const char *start)
{
    size_t length = strlen(start);
    return strncmp(text, start, length) == 0 ? text + length : NULL;
}

/* What follows a block's number and its dot; NULL if there is none. */
static const char *after_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits && text[digits] == '.' ? text + digits + 1 : NULL;
}

/* The pair of a name on one side, and what follows in it. */
struct found {
    const struct pair *pair, *block; /* block: NULL outside of blocks */
    const char *number, *rest;       /* of the name: the block's number; what follows the pair's beginning */
};

static int find(const struct pair *pairs, size_t count, int hf, int part, const char *name,
                struct found *found)
{
    for (size_t i = 0; i < count; i++) {
        const char *rest = after(name, hf ? pairs[i].hf : pairs[i].openai);
        if (rest && (hf || pairs[i].part == WHOLE || pairs[i].part == part)) {
            found->pair = &pairs[i];
            found->rest = rest;
            return 1;
        }
    }
    return 0;
}

/* Looks a name up by Hugging Face's column, or by OpenAI's and the part of an in_proj that is wanted. */
static int look_up(int hf, int part, const char *name, struct found *found)
{
    *found = (struct found){0};
    for (size_t i = 0; i < COUNT(blocks); i++) {
        const char *number = after(name, hf ? blocks[i].hf : blocks[i].openai);
        const char *rest = number ? after_number(number) : NULL;
        if (rest) {
            found->block = &blocks[i];
            found->number = number;
            return find(inner, COUNT(inner), hf, part, rest, found);
        }
    }
    return find(outer, COUNT(outer), hf, part, name, found);
}

/* The name on the other side, into out[size]; -1 if it does not fit. */
static int translate(const struct found *found, int to_hf, char *out, size_t size)
{
    const char *start = to_hf ? found->pair->hf : found->pair->openai, *before = "";
    int digits = 0;
    if (found->block) {
        before = to_hf ? found->block->hf : found->block->openai;
        digits = (int)strcspn(found->number, ".") + 1; /* and the dot */
    }
    int n = snprintf(out, size, "%s%.*s%s%s", before, digits, found->block ? found->number : "", start,
                     found->rest);
    return n >= 0 && (size_t)n < size ? 0 : -1;
}

int clip_names_hf(const char *name, int part, char *out, size_t size, int *parts, int *transposed)
{
    struct found found;
    if (!look_up(0, part, name, &found) || translate(&found, 1, out, size) != 0)
        return -1;
    *parts = found.pair->part == WHOLE ? 1 : 3;
    *transposed = found.pair->transposed;
    return part < *parts ? 0 : -1;
}

int clip_names_ignored(const char *name)
{
    static const char *const ignored[] = {"input_resolution", "context_length", "vocab_size",
                                          "attn_mask",        "mask",           "position_ids"};
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (size_t i = 0; i < COUNT(ignored); i++)
        if (strcmp(last, ignored[i]) == 0)
            return 1;
    return 0;
}

static void turn(struct clip_weight *weight)
{
    size_t shape = weight->shape[0], stride = weight->stride[0];
    weight->shape[0] = weight->shape[1];
    weight->stride[0] = weight->stride[1];
    weight->shape[1] = shape;
    weight->stride[1] = stride;
}

/* Drops the first n characters of a name. */
static void cut_front(char *name, size_t n)
{
    memmove(name, name + n, strlen(name + n) + 1);
}

static int rename_hf(struct clip_weight *weight, struct clip_error *error)
{
    struct found found;
    char name[600];
    if (!look_up(1, 0, weight->name, &found) || translate(&found, 0, name, sizeof name) != 0)
        return 0;
    if (found.pair->transposed && weight->ndim == 2)
        turn(weight);
    weight->part = found.pair->part == WHOLE ? 0 : found.pair->part;
    weight->parts = found.pair->part == WHOLE ? 1 : 3;
    char *copy = strdup(name);
    if (!copy)
        return clip_fail_memory(error, "a tensor's name");
    free(weight->name);
    weight->name = copy;
    return 0;
}

/* 1 if all names begin so, or, with any set, one of them. */
static int begin_with(const struct clip_weights *weights, const char *start, int any)
{
    size_t n = 0;
    for (size_t i = 0; i < weights->count; i++)
        n += after(weights->items[i].name, start) != NULL;
    return any ? n > 0 : n > 0 && n == weights->count;
}

int clip_names_openai(struct clip_weights *weights, struct clip_error *error)
{
    int module = begin_with(weights, "module.", 0);
    for (size_t i = 0; i < weights->count && module; i++)
        cut_front(weights->items[i].name, strlen("module."));
    int hf = begin_with(weights, "text_model.", 1) || begin_with(weights, "vision_model.", 1);
    for (size_t i = 0; i < weights->count; i++) {
        struct clip_weight *weight = &weights->items[i];
        if (hf && rename_hf(weight, error) != 0)
            return -1;
        if (!hf && after(weight->name, "text."))
            cut_front(weight->name, strlen("text."));
    }
    return clip_weights_sort(weights, error);
}
