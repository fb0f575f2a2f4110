#include "model/block.h"

#include "model/arch.h"

#include <string.h>

/* Sizes of dimensions. */
enum size { NONE, ONE, WIDTH, QKV, MLP, HEADS, HEAD };

static const struct {
    const char *name;
    unsigned needs, lacks; /* flags of blocks that have it, and that do not */
    enum size size[3];
} tensors[CLIP_BLOCK_TENSORS] = {
    [CLIP_IN_WEIGHT] = {"attn.in_proj_weight", 0, 0, {QKV, WIDTH}},
    [CLIP_IN_BIAS] = {"attn.in_proj_bias", 0, CLIP_BLOCK_NO_QKV_BIAS, {QKV}},
    [CLIP_QUERY_NORM_WEIGHT] = {"attn.ln_q.weight", CLIP_BLOCK_QK_NORM, 0, {HEAD}},
    [CLIP_QUERY_NORM_BIAS] = {"attn.ln_q.bias", CLIP_BLOCK_QK_NORM, 0, {HEAD}},
    [CLIP_KEY_NORM_WEIGHT] = {"attn.ln_k.weight", CLIP_BLOCK_QK_NORM, 0, {HEAD}},
    [CLIP_KEY_NORM_BIAS] = {"attn.ln_k.bias", CLIP_BLOCK_QK_NORM, 0, {HEAD}},
    [CLIP_COSINE_SCALE] = {"attn.logit_scale", CLIP_BLOCK_COSINE, 0, {HEADS, ONE, ONE}},
    [CLIP_HEAD_SCALE] = {"attn.head_scale", CLIP_BLOCK_HEAD_SCALE, 0, {HEADS, ONE, ONE}},
    [CLIP_INNER_NORM_WEIGHT] = {"attn.ln_inner.weight", CLIP_BLOCK_INNER_NORM, 0, {WIDTH}},
    [CLIP_INNER_NORM_BIAS] = {"attn.ln_inner.bias", CLIP_BLOCK_INNER_NORM, 0, {WIDTH}},
    [CLIP_OUT_WEIGHT] = {"attn.out_proj.weight", 0, 0, {WIDTH, WIDTH}},
    [CLIP_OUT_BIAS] = {"attn.out_proj.bias", 0, 0, {WIDTH}},
    [CLIP_ATTN_NORM_WEIGHT] = {"ln_attn.weight", CLIP_BLOCK_ATTN_NORM, 0, {WIDTH}},
    [CLIP_ATTN_NORM_BIAS] = {"ln_attn.bias", CLIP_BLOCK_ATTN_NORM, 0, {WIDTH}},
    [CLIP_LN_1_WEIGHT] = {"ln_1.weight", 0, CLIP_BLOCK_NO_NORMS, {WIDTH}},
    [CLIP_LN_1_BIAS] = {"ln_1.bias", 0, CLIP_BLOCK_NO_NORMS, {WIDTH}},
    [CLIP_LAYER_SCALE_1] = {"ls_1.gamma", CLIP_BLOCK_LAYER_SCALE, 0, {WIDTH}},
    [CLIP_GATE_WEIGHT] = {"mlp.c_gate.weight", CLIP_BLOCK_GATED, 0, {MLP, WIDTH}},
    [CLIP_GATE_BIAS] = {"mlp.c_gate.bias", CLIP_BLOCK_GATED, 0, {MLP}},
    [CLIP_FC_WEIGHT] = {"mlp.c_fc.weight", 0, 0, {MLP, WIDTH}},
    [CLIP_FC_BIAS] = {"mlp.c_fc.bias", 0, 0, {MLP}},
    [CLIP_HIDDEN_NORM_WEIGHT] = {"mlp.ln.weight", CLIP_BLOCK_HIDDEN_NORM, 0, {MLP}},
    [CLIP_HIDDEN_NORM_BIAS] = {"mlp.ln.bias", CLIP_BLOCK_HIDDEN_NORM, 0, {MLP}},
    [CLIP_PROJ_WEIGHT] = {"mlp.c_proj.weight", 0, 0, {WIDTH, MLP}},
    [CLIP_PROJ_BIAS] = {"mlp.c_proj.bias", 0, 0, {WIDTH}},
    [CLIP_MLP_NORM_WEIGHT] = {"ln_mlp.weight", CLIP_BLOCK_MLP_NORM, 0, {WIDTH}},
    [CLIP_MLP_NORM_BIAS] = {"ln_mlp.bias", CLIP_BLOCK_MLP_NORM, 0, {WIDTH}},
    [CLIP_LN_2_WEIGHT] = {"ln_2.weight", 0, CLIP_BLOCK_NO_NORMS, {WIDTH}},
    [CLIP_LN_2_BIAS] = {"ln_2.bias", 0, CLIP_BLOCK_NO_NORMS, {WIDTH}},
    [CLIP_INPUT_NORM_WEIGHT] = {"mlp.ln_in.weight", CLIP_BLOCK_INPUT_NORM, 0, {WIDTH}},
    [CLIP_INPUT_NORM_BIAS] = {"mlp.ln_in.bias", CLIP_BLOCK_INPUT_NORM, 0, {WIDTH}},
    [CLIP_LAYER_SCALE_2] = {"ls_2.gamma", CLIP_BLOCK_LAYER_SCALE, 0, {WIDTH}},
};

const char *clip_block_name(enum clip_block_tensor tensor)
{
    return tensors[tensor].name;
}

int clip_block_is_bias(enum clip_block_tensor tensor)
{
    return strstr(tensors[tensor].name, "bias") != NULL;
}

int clip_block_shape(const struct clip_tower_arch *tower, enum clip_block_tensor tensor, size_t shape[4])
{
    unsigned flags = tower->block.flags;
    size_t width = (size_t)tower->width, heads = (size_t)tower->heads;
    const size_t sizes[] = {[NONE] = 0,
                            [ONE] = 1,
                            [WIDTH] = width,
                            [QKV] = 3 * width,
                            [MLP] = (size_t)tower->mlp,
                            [HEADS] = heads,
                            [HEAD] = heads ? width / heads : 0};
    if ((flags & tensors[tensor].needs) != tensors[tensor].needs || (flags & tensors[tensor].lacks))
        return 0;
    for (int i = 0; i < 3; i++)
        shape[i] = sizes[tensors[tensor].size[i]];
    shape[3] = 0;
    return 1;
}

float clip_block_epsilon(const struct clip_block_arch *block)
{
    return block->epsilon > 0 ? block->epsilon : 1e-5f;
}
