#include "model/text.h"

#include "model/arch.h"

#include <string.h>

struct clip_text_names {
    const char *tensors[CLIP_TEXT_TENSORS];
};

/* clang-format off */
#define NORM(tensor, name) [tensor##_WEIGHT] = name ".weight", [tensor##_BIAS] = name ".bias"
/* clang-format on */

static const struct clip_text_names openai = {{[CLIP_TEXT_TOKENS] = "token_embedding.weight",
                                               [CLIP_TEXT_POSITIONS] = "positional_embedding",
                                               [CLIP_TEXT_CLASS] = "cls_emb",
                                               NORM(CLIP_TEXT_FINAL, "ln_final")}};

/* transformers', in open_clip's HFTextEncoder. */
const struct clip_text_names clip_text_names_bert = {
    {[CLIP_TEXT_TOKENS] = "transformer.embeddings.word_embeddings.weight",
     [CLIP_TEXT_POSITIONS] = "transformer.embeddings.position_embeddings.weight",
     [CLIP_TEXT_TYPE] = "transformer.embeddings.token_type_embeddings.weight",
     NORM(CLIP_TEXT_NORM, "transformer.embeddings.LayerNorm"),
     NORM(CLIP_TEXT_POOLER, "transformer.pooler.dense"),
     NORM(CLIP_TEXT_FINAL, "transformer.pre_LN")}};

const struct clip_text_names clip_text_names_m2m = {{[CLIP_TEXT_TOKENS] = "transformer.embed_tokens.weight",
                                                     NORM(CLIP_TEXT_FINAL, "transformer.layer_norm")}};

const struct clip_text_names clip_text_names_t5 = {
    {[CLIP_TEXT_TOKENS] = "transformer.embed_tokens.weight",
     [CLIP_TEXT_BIAS] = "transformer.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     [CLIP_TEXT_FINAL_WEIGHT] = "transformer.final_layer_norm.weight"}};

const struct clip_text_names clip_text_names_modern = {{[CLIP_TEXT_REGISTERS] = "reg_tokens",
                                                        [CLIP_TEXT_TOKENS] = "token_embedding.weight",
                                                        NORM(CLIP_TEXT_NORM, "norm_pre"),
                                                        NORM(CLIP_TEXT_FINAL, "ln_final"),
                                                        [CLIP_TEXT_QUERY] = "pool.query",
                                                        NORM(CLIP_TEXT_Q, "pool.q"),
                                                        NORM(CLIP_TEXT_KV, "pool.kv"),
                                                        NORM(CLIP_TEXT_Q_NORM, "pool.q_norm"),
                                                        NORM(CLIP_TEXT_K_NORM, "pool.k_norm")}};

const char *clip_text_name(const struct clip_tower_arch *tower, enum clip_text_tensor tensor)
{
    return (tower->text.names ? tower->text.names : &openai)->tensors[tensor];
}

size_t clip_text_places(const struct clip_tower_arch *tower)
{
    return tower->text.places ? (size_t)tower->text.places
                              : (size_t)tower->context + (size_t)tower->class_row;
}

/* Of an attention pool, whose biases and norms are as the blocks' attention has them. */
static int in_pool(const struct clip_tower_arch *tower, enum clip_text_tensor tensor)
{
    unsigned flags = tower->block.flags;
    int norms = (flags & CLIP_BLOCK_QK_NORM) != 0;
    if (!clip_pooling_of(tower)->queries)
        return 0;
    switch (tensor) {
    case CLIP_TEXT_Q_BIAS:
    case CLIP_TEXT_KV_BIAS:
        return !(flags & CLIP_BLOCK_NO_QKV_BIAS);
    case CLIP_TEXT_Q_NORM_WEIGHT:
    case CLIP_TEXT_K_NORM_WEIGHT:
        return norms;
    case CLIP_TEXT_Q_NORM_BIAS:
    case CLIP_TEXT_K_NORM_BIAS:
        return norms && !(flags & CLIP_BLOCK_RMS);
    default:
        return 1;
    }
}

static int has_tensor(const struct clip_tower_arch *tower, enum clip_text_tensor tensor)
{
    unsigned flags = tower->text.flags;
    if (tensor >= CLIP_TEXT_QUERY)
        return in_pool(tower, tensor);
    switch (tensor) {
    case CLIP_TEXT_POSITIONS:
        return !(flags & (CLIP_TEXT_SINUSOIDS | CLIP_TEXT_RELATIVE | CLIP_TEXT_NO_POSITIONS));
    case CLIP_TEXT_CLASS:
        return tower->class_row;
    case CLIP_TEXT_REGISTERS:
        return tower->text.registers > 0;
    case CLIP_TEXT_TYPE:
        return (flags & CLIP_TEXT_TYPES) != 0;
    case CLIP_TEXT_NORM_WEIGHT:
        return (flags & CLIP_TEXT_NORM) != 0;
    case CLIP_TEXT_NORM_BIAS:
        return (flags & CLIP_TEXT_NORM) && !(tower->block.flags & CLIP_BLOCK_RMS);
    case CLIP_TEXT_BIAS:
        return (flags & CLIP_TEXT_RELATIVE) != 0;
    case CLIP_TEXT_FINAL_BIAS:
        return !(flags & CLIP_TEXT_NO_FINAL_NORM) && !(tower->block.flags & CLIP_BLOCK_RMS);
    case CLIP_TEXT_FINAL_WEIGHT:
        return !(flags & CLIP_TEXT_NO_FINAL_NORM);
    case CLIP_TEXT_POOLER_WEIGHT:
    case CLIP_TEXT_POOLER_BIAS:
        return (flags & CLIP_TEXT_TANH) != 0;
    default:
        return 1;
    }
}

int clip_text_shape(const struct clip_tower_arch *tower, enum clip_text_tensor tensor, size_t shape[4])
{
    size_t width = (size_t)tower->width, types = (size_t)tower->text.types, head = clip_block_head(tower);
    const size_t sizes[CLIP_TEXT_TENSORS][4] = {
        [CLIP_TEXT_POSITIONS] = {clip_text_places(tower), width},
        [CLIP_TEXT_CLASS] = {width},
        [CLIP_TEXT_REGISTERS] = {1, (size_t)tower->text.registers, width},
        [CLIP_TEXT_TOKENS] = {(size_t)tower->vocabulary, width},
        [CLIP_TEXT_TYPE] = {types, width},
        [CLIP_TEXT_BIAS] = {(size_t)tower->text.buckets, (size_t)tower->heads},
        [CLIP_TEXT_NORM_WEIGHT] = {width},
        [CLIP_TEXT_NORM_BIAS] = {width},
        [CLIP_TEXT_FINAL_WEIGHT] = {width},
        [CLIP_TEXT_FINAL_BIAS] = {width},
        [CLIP_TEXT_POOLER_WEIGHT] = {width, width},
        [CLIP_TEXT_POOLER_BIAS] = {width},
        [CLIP_TEXT_QUERY] = {1, 1, width},
        [CLIP_TEXT_Q_WEIGHT] = {width, width},
        [CLIP_TEXT_Q_BIAS] = {width},
        [CLIP_TEXT_KV_WEIGHT] = {2 * width, width},
        [CLIP_TEXT_KV_BIAS] = {2 * width},
        [CLIP_TEXT_Q_NORM_WEIGHT] = {head},
        [CLIP_TEXT_Q_NORM_BIAS] = {head},
        [CLIP_TEXT_K_NORM_WEIGHT] = {head},
        [CLIP_TEXT_K_NORM_BIAS] = {head},
    };
    if (!has_tensor(tower, tensor))
        return 0;
    memcpy(shape, sizes[tensor], sizeof sizes[tensor]);
    return 1;
}

int clip_text_same(const struct clip_text_arch *a, const struct clip_text_arch *b)
{
    return a->names == b->names && a->flags == b->flags && a->places == b->places && a->types == b->types &&
           a->buckets == b->buckets && a->farthest == b->farthest && a->registers == b->registers &&
           a->type == b->type && a->transformed == b->transformed && a->rotary == b->rotary;
}
