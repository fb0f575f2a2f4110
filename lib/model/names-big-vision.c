/* The names of big_vision's image-text models (github.com/google-research/big_vision: two_towers.py, vit.py,
 * naflex_vit.py, text_transformer.py), which open_clip converts in its convert.py: what is below img and txt
 * goes to visual.trunk and text. Flax keeps a linear layer as [in, out], with heads as a dimension of their
 * own.
 */
#include "base/array.h"
#include "model/names.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the parameters are: by themselves, beside an optimizer of optax, and within one of Flax. */
static const char *const roots[] = {"params/", "opt/target/", ""};

#define IMAGE "img/"
#define TEXT "txt/"
#define IMAGE_BLOCK IMAGE "Transformer/encoderblock"
#define TEXT_BLOCK TEXT "Encoder_0/encoderblock"
#define ATTENTION "MultiHeadDotProductAttention_0/"
#define POOL IMAGE "MAPHead_0/"

/* How a tensor becomes open_clip's. */
enum orientation {
    SAME,
    TRANSPOSED,   /* [in, out] to [out, in] */
    FLAT,         /* [heads, width] to [heads * width] */
    FROM_HEADS,   /* [heads, width, out] to [out, heads * width] */
    TO_HEADS,     /* [in, heads, width] to [heads * width, in] */
    CONVOLUTION,  /* [rows, columns, in, out] to [out, in, rows, columns] */
    WITHOUT_FIRST /* [1, tokens, width] to [tokens, width] */
};

struct pair {
    const char *from, *to;
    enum orientation orientation;
    int part, parts; /* of a tensor of open_clip's; parts 0: it is whole */
};

#define NORM(from, to)                                                                                       \
    {from "/scale", to ".weight", SAME, 0, 0},                                                               \
    {                                                                                                        \
        from "/bias", to ".bias", SAME, 0, 0                                                                 \
    }
#define LINEAR(from, to)                                                                                     \
    {from "/kernel", to ".weight", TRANSPOSED, 0, 0},                                                        \
    {                                                                                                        \
        from "/bias", to ".bias", SAME, 0, 0                                                                 \
    }
#define HEADS(from, weight, bias, part, parts)                                                               \
    {from "/kernel", weight, TO_HEADS, part, parts},                                                         \
    {                                                                                                        \
        from "/bias", bias, FLAT, part, parts                                                                \
    }
#define OUT(from, to)                                                                                        \
    {from "/kernel", to ".weight", FROM_HEADS, 0, 0},                                                        \
    {                                                                                                        \
        from "/bias", to ".bias", SAME, 0, 0                                                                 \
    }

#define BLOCK(norm1, norm2, attn, in, proj, fc1, fc2)                                                        \
    {                                                                                                        \
        NORM("LayerNorm_0", norm1), NORM("LayerNorm_1", norm2),                                              \
            HEADS(ATTENTION "query", attn in "weight", attn in "bias", 0, 3),                                \
            HEADS(ATTENTION "key", attn in "weight", attn in "bias", 1, 3),                                  \
            HEADS(ATTENTION "value", attn in "weight", attn in "bias", 2, 3), OUT(ATTENTION "out", proj),    \
            LINEAR("MlpBlock_0/Dense_0", fc1), LINEAR("MlpBlock_0/Dense_1", fc2)                             \
    }

static const struct pair image_block[] =
    BLOCK("norm1", "norm2", "attn.", "qkv.", "attn.proj", "mlp.fc1", "mlp.fc2");
static const struct pair text_block[] =
    BLOCK("ln_1", "ln_2", "attn.", "in_proj_", "attn.out_proj", "mlp.c_fc", "mlp.c_proj");

#define TRUNK "visual.trunk."
#define ATTN_POOL TRUNK "attn_pool."

static const struct pair others[] = {
    {"t", "logit_scale", SAME, 0, 0},
    {"b", "logit_bias", SAME, 0, 0},
    {IMAGE "embedding/kernel", TRUNK "patch_embed.proj.weight", CONVOLUTION, 0, 0},
    {IMAGE "embedding/bias", TRUNK "patch_embed.proj.bias", SAME, 0, 0},
    {IMAGE "pos_embedding", TRUNK "pos_embed", SAME, 0, 0},
    {IMAGE "cls", TRUNK "cls_token", SAME, 0, 0},
    NORM(IMAGE "Transformer/encoder_norm", TRUNK "norm"),
    LINEAR(IMAGE "head", TRUNK "head"),
    {POOL "probe", ATTN_POOL "latent", SAME, 0, 0},
    HEADS(POOL ATTENTION "query", ATTN_POOL "q.weight", ATTN_POOL "q.bias", 0, 0),
    HEADS(POOL ATTENTION "key", ATTN_POOL "kv.weight", ATTN_POOL "kv.bias", 0, 2),
    HEADS(POOL ATTENTION "value", ATTN_POOL "kv.weight", ATTN_POOL "kv.bias", 1, 2),
    OUT(POOL ATTENTION "out", ATTN_POOL "proj"),
    NORM(POOL "LayerNorm_0", ATTN_POOL "norm"),
    LINEAR(POOL "MlpBlock_0/Dense_0", ATTN_POOL "mlp.fc1"),
    LINEAR(POOL "MlpBlock_0/Dense_1", ATTN_POOL "mlp.fc2"),
    {TEXT "Embed_0/embedding", "text.token_embedding.weight", SAME, 0, 0},
    {TEXT "pos_embedding", "text.positional_embedding", WITHOUT_FIRST, 0, 0},
    NORM(TEXT "Encoder_0/encoder_norm", "text.ln_final"),
    LINEAR(TEXT "head", "text.text_projection"),
};

/* NaFlexVit's, whose patches come as rows, and whose positions as a grid. */
static const struct pair naflex[] = {
    {IMAGE "embedding/kernel", TRUNK "embeds.proj.weight", TRANSPOSED, 0, 0},
    {IMAGE "embedding/bias", TRUNK "embeds.proj.bias", SAME, 0, 0},
    {IMAGE "pos_embedding", TRUNK "embeds.pos_embed", SAME, 0, 0},
    {IMAGE "cls", TRUNK "embeds.cls_token", SAME, 0, 0},
};

static const struct pair *find_pair(const struct pair *pairs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i].from, name) == 0)
            return &pairs[i];
    return NULL;
}

static const char *after(const char *text, const char *start)
{
    size_t length = strlen(start);
    return strncmp(text, start, length) == 0 ? text + length : NULL;
}

/* --- shapes --- */

/* Dimensions i and i + 1 become one; -1 where their elements do not lie so. */
static int merge(struct clip_weight *weight, int i)
{
    size_t *shape = weight->shape, *stride = weight->stride;
    if (shape[i] != 1 && shape[i + 1] != 1 && stride[i] != stride[i + 1] * shape[i + 1])
        return -1;
    stride[i] = shape[i + 1] == 1 ? stride[i] : stride[i + 1];
    shape[i] *= shape[i + 1];
    weight->ndim--;
    for (int k = i + 1; k < weight->ndim; k++) {
        shape[k] = shape[k + 1];
        stride[k] = stride[k + 1];
    }
    return 0;
}

static void drop_first(struct clip_weight *weight)
{
    weight->ndim--;
    memmove(weight->shape, weight->shape + 1, (size_t)weight->ndim * sizeof *weight->shape);
    memmove(weight->stride, weight->stride + 1, (size_t)weight->ndim * sizeof *weight->stride);
}

static void turn_convolution(struct clip_weight *weight)
{
    static const int from[4] = {3, 2, 0, 1};
    struct clip_weight before = *weight;
    for (int i = 0; i < 4; i++) {
        weight->shape[i] = before.shape[from[i]];
        weight->stride[i] = before.stride[from[i]];
    }
}

/* Turns the view, whose dimensions must be those of big_vision's. */
static int orient(struct clip_weight *weight, enum orientation how, struct clip_error *error)
{
    static const int dimensions[] = {[TRANSPOSED] = 2, [FLAT] = 2,        [FROM_HEADS] = 3,
                                     [TO_HEADS] = 3,   [CONVOLUTION] = 4, [WITHOUT_FIRST] = 3};
    if (how == SAME)
        return 0;
    if (weight->ndim != dimensions[how])
        return clip_fail(error, "tensor %s has %d dimensions, but should have %d", weight->name, weight->ndim,
                         dimensions[how]);
    if (how == CONVOLUTION)
        turn_convolution(weight);
    if (how == WITHOUT_FIRST && weight->shape[0] == 1)
        drop_first(weight);
    if ((how == FLAT || how == FROM_HEADS || how == TO_HEADS) && merge(weight, how == TO_HEADS) != 0)
        return clip_fail(error, "tensor %s: the numbers of its heads do not lie side by side", weight->name);
    if (how == TRANSPOSED || how == FROM_HEADS || how == TO_HEADS)
        clip_weight_transpose(weight);
    return 0;
}

/* --- names --- */

enum { NAME = 600 };

/* The file, after what is found out of it. */
struct file {
    struct clip_weights *weights;
    const char *root;
    int naflex;
};

/* A block's tensor: its number, -1 of all blocks at once, and what follows. NULL for other tensors. */
static const char *block_of(const char *name, const char *start, long *number)
{
    const char *rest = after(name, start);
    char *end;
    if (!rest)
        return NULL;
    *number = -1;
    if (*rest == '_' && rest[1] >= '0' && rest[1] <= '9') {
        *number = strtol(rest + 1, &end, 10);
        rest = end;
    }
    return *rest == '/' ? rest + 1 : NULL;
}

/* Gives the view open_clip's name `start` + `to`, and turns it. */
static int rename_view(struct clip_weight *weight, const char *start, const struct pair *pair,
                       struct clip_error *error)
{
    char name[NAME];
    snprintf(name, sizeof name, "%s%s", start, pair->to);
    if (orient(weight, pair->orientation, error) != 0)
        return -1;
    char *copy = strdup(name);
    if (!copy)
        return clip_fail_memory(error, "a tensor's name");
    free(weight->name);
    weight->name = copy;
    weight->part = pair->part;
    weight->parts = pair->parts ? pair->parts : 1;
    return 0;
}

/* Of a tensor of all blocks: a view for each, of which the first takes its place. */
static int split_blocks(struct file *file, size_t i, const char *start, const struct pair *pair,
                        struct clip_error *error)
{
    struct clip_weight whole = file->weights->items[i];
    size_t layers = whole.shape[0], step = whole.stride[0] * clip_weight_size(whole.type);
    char name[NAME], begin[100];
    if (whole.ndim < 1 || layers < 1)
        return clip_fail(error, "tensor %s has no blocks", whole.name);
    snprintf(name, sizeof name, "%s", whole.name);
    drop_first(&whole);
    for (size_t layer = 0; layer < layers; layer++) {
        size_t at = layer ? file->weights->count : i;
        /* They lie within the whole, which was checked. */
        if (layer && clip_weights_add(file->weights, name, strlen(name), whole.type, whole.ndim, whole.shape,
                                      whole.stride, whole.data + layer * step, SIZE_MAX, error) != 0)
            return -1;
        if (!layer)
            drop_first(&file->weights->items[i]);
        snprintf(begin, sizeof begin, "%s%zu.", start, layer);
        if (rename_view(&file->weights->items[at], begin, pair, error) != 0)
            return -1;
    }
    return 0;
}

static int rename_block(struct file *file, size_t i, const char *rest, long number, int image,
                        struct clip_error *error)
{
    const char *start = image ? TRUNK "blocks." : "text.transformer.resblocks.";
    const struct pair *pair = image ? find_pair(image_block, CLIP_COUNT_OF(image_block), rest)
                                    : find_pair(text_block, CLIP_COUNT_OF(text_block), rest);
    char begin[100];
    if (!pair)
        return 0;
    if (number < 0)
        return split_blocks(file, i, start, pair, error);
    snprintf(begin, sizeof begin, "%s%ld.", start, number);
    return rename_view(&file->weights->items[i], begin, pair, error);
}

/* [rows, columns, width] becomes [1, rows, columns, width]. */
static void add_first(struct clip_weight *weight)
{
    memmove(weight->shape + 1, weight->shape, (size_t)weight->ndim * sizeof *weight->shape);
    memmove(weight->stride + 1, weight->stride, (size_t)weight->ndim * sizeof *weight->stride);
    weight->shape[0] = 1;
    weight->stride[0] = 0;
    weight->ndim++;
}

static int rename_one(struct file *file, size_t i, struct clip_error *error)
{
    struct clip_weight *weight = &file->weights->items[i];
    const char *name = weight->name + strlen(file->root), *rest;
    const struct pair *pair = file->naflex ? find_pair(naflex, CLIP_COUNT_OF(naflex), name) : NULL;
    long number;
    if (strlen(name) >= NAME)
        return 0;
    if ((rest = block_of(name, IMAGE_BLOCK, &number)) != NULL)
        return rename_block(file, i, rest, number, 1, error);
    if ((rest = block_of(name, TEXT_BLOCK, &number)) != NULL)
        return rename_block(file, i, rest, number, 0, error);
    if (pair && strcmp(name, IMAGE "pos_embedding") == 0 && weight->ndim == 3)
        add_first(weight);
    if (!pair)
        pair = find_pair(others, CLIP_COUNT_OF(others), name);
    return pair ? rename_view(weight, "", pair, error) : 0;
}

/* Finds under which root a model's first tensors are, and whether it is a NaFlexVit; 0 where there is none.
 */
static int find_root(struct file *file)
{
    for (size_t k = 0; k < CLIP_COUNT_OF(roots); k++)
        for (size_t i = 0; i < file->weights->count; i++) {
            const struct clip_weight *weight = &file->weights->items[i];
            const char *name = after(weight->name, roots[k]);
            int image = name && strcmp(name, IMAGE "embedding/kernel") == 0;
            if (!image && !(name && strcmp(name, TEXT "Embed_0/embedding") == 0))
                continue;
            file->root = roots[k];
            file->naflex = image && weight->ndim == 2;
            return 1;
        }
    return 0;
}

/* Removes what is not under the root: the state of an optimizer. */
static void leave_root(struct file *file)
{
    size_t n = 0;
    for (size_t i = 0; i < file->weights->count; i++)
        if (after(file->weights->items[i].name, file->root))
            file->weights->items[n++] = file->weights->items[i];
        else
            free(file->weights->items[i].name);
    file->weights->count = n;
}

int clip_names_big_vision(struct clip_weights *weights, struct clip_error *error)
{
    struct file file = {.weights = weights};
    if (!find_root(&file))
        return 0;
    leave_root(&file);
    for (size_t i = 0, count = weights->count; i < count; i++)
        if (rename_one(&file, i, error) != 0)
            return -1;
    return 0;
}
