#include "model/block.h"

#include "model/arch.h"

#include <stdio.h>

/* Sizes of dimensions. */
enum size { NONE, ONE, TWO, WIDTH, INNER, QKV, MLP, TWO_MLP, HEADS, HEAD, RELATIVE };

static const struct {
    unsigned needs, lacks; /* flags of blocks that have it, and that do not */
    enum size size[3];
} tensors[CLIP_BLOCK_TENSORS] = {
    [CLIP_IN_WEIGHT] = {0, CLIP_BLOCK_SPLIT_QKV, {QKV, WIDTH}},
    [CLIP_Q_WEIGHT] = {CLIP_BLOCK_SPLIT_QKV, 0, {INNER, WIDTH}},
    [CLIP_K_WEIGHT] = {CLIP_BLOCK_SPLIT_QKV, 0, {INNER, WIDTH}},
    [CLIP_V_WEIGHT] = {CLIP_BLOCK_SPLIT_QKV, 0, {INNER, WIDTH}},
    [CLIP_IN_BIAS] = {0, CLIP_BLOCK_NO_QKV_BIAS | CLIP_BLOCK_SPLIT_BIAS, {QKV}},
    [CLIP_Q_BIAS] = {CLIP_BLOCK_SPLIT_BIAS, CLIP_BLOCK_NO_QKV_BIAS, {INNER}},
    [CLIP_K_BIAS] = {CLIP_BLOCK_SPLIT_BIAS, CLIP_BLOCK_NO_KEY_BIAS | CLIP_BLOCK_NO_QKV_BIAS, {INNER}},
    [CLIP_V_BIAS] = {CLIP_BLOCK_SPLIT_BIAS, CLIP_BLOCK_NO_QKV_BIAS, {INNER}},
    [CLIP_RELATIVE_FC1_WEIGHT] = {CLIP_BLOCK_RELATIVE, 0, {RELATIVE, TWO}},
    [CLIP_RELATIVE_FC1_BIAS] = {CLIP_BLOCK_RELATIVE, 0, {RELATIVE}},
    [CLIP_RELATIVE_FC2_WEIGHT] = {CLIP_BLOCK_RELATIVE, 0, {HEADS, RELATIVE}},
    [CLIP_RELATIVE_FC2_BIAS] = {CLIP_BLOCK_RELATIVE, 0, {HEADS}},
    [CLIP_QUERY_NORM_WEIGHT] = {CLIP_BLOCK_QK_NORM, 0, {HEAD}},
    [CLIP_QUERY_NORM_BIAS] = {CLIP_BLOCK_QK_NORM, CLIP_BLOCK_RMS, {HEAD}},
    [CLIP_KEY_NORM_WEIGHT] = {CLIP_BLOCK_QK_NORM, 0, {HEAD}},
    [CLIP_KEY_NORM_BIAS] = {CLIP_BLOCK_QK_NORM, CLIP_BLOCK_RMS, {HEAD}},
    [CLIP_COSINE_SCALE] = {CLIP_BLOCK_COSINE, 0, {HEADS, ONE, ONE}},
    [CLIP_VALUE_RESIDUAL] = {CLIP_BLOCK_VALUE_RESIDUAL, 0, {ONE}},
    [CLIP_ATTN_GATE_WEIGHT] = {CLIP_BLOCK_ATTN_GATE, 0, {INNER, WIDTH}},
    [CLIP_ATTN_GATE_BIAS] = {CLIP_BLOCK_ATTN_GATE | CLIP_BLOCK_ATTN_GATE_BIAS, 0, {INNER}},
    [CLIP_HEAD_SCALE] = {CLIP_BLOCK_HEAD_SCALE, 0, {HEADS, ONE, ONE}},
    [CLIP_INNER_NORM_WEIGHT] = {CLIP_BLOCK_INNER_NORM, 0, {INNER}},
    [CLIP_INNER_NORM_BIAS] = {CLIP_BLOCK_INNER_NORM, CLIP_BLOCK_RMS, {INNER}},
    [CLIP_OUT_WEIGHT] = {0, 0, {WIDTH, INNER}},
    [CLIP_OUT_BIAS] = {0, CLIP_BLOCK_NO_OUT_BIAS, {WIDTH}},
    [CLIP_ATTN_NORM_WEIGHT] = {CLIP_BLOCK_ATTN_NORM, 0, {WIDTH}},
    [CLIP_ATTN_NORM_BIAS] = {CLIP_BLOCK_ATTN_NORM, CLIP_BLOCK_RMS, {WIDTH}},
    [CLIP_LN_1_WEIGHT] = {0, CLIP_BLOCK_NO_NORMS, {WIDTH}},
    [CLIP_LN_1_BIAS] = {0, CLIP_BLOCK_NO_NORMS | CLIP_BLOCK_RMS, {WIDTH}},
    [CLIP_LAYER_SCALE_1] = {CLIP_BLOCK_LAYER_SCALE, 0, {WIDTH}},
    [CLIP_JOINED_WEIGHT] = {CLIP_BLOCK_JOINED_GATE, 0, {TWO_MLP, WIDTH}},
    [CLIP_JOINED_BIAS] = {CLIP_BLOCK_JOINED_GATE, CLIP_BLOCK_NO_MLP_BIAS, {TWO_MLP}},
    [CLIP_GATE_WEIGHT] = {CLIP_BLOCK_GATED, CLIP_BLOCK_JOINED_GATE, {MLP, WIDTH}},
    [CLIP_GATE_BIAS] = {CLIP_BLOCK_GATED, CLIP_BLOCK_NO_MLP_BIAS | CLIP_BLOCK_JOINED_GATE, {MLP}},
    [CLIP_FC_WEIGHT] = {0, CLIP_BLOCK_JOINED_GATE, {MLP, WIDTH}},
    [CLIP_FC_BIAS] = {0, CLIP_BLOCK_NO_MLP_BIAS | CLIP_BLOCK_JOINED_GATE, {MLP}},
    [CLIP_HIDDEN_NORM_WEIGHT] = {CLIP_BLOCK_HIDDEN_NORM, 0, {MLP}},
    [CLIP_HIDDEN_NORM_BIAS] = {CLIP_BLOCK_HIDDEN_NORM, CLIP_BLOCK_RMS, {MLP}},
    [CLIP_PROJ_WEIGHT] = {0, 0, {WIDTH, MLP}},
    [CLIP_PROJ_BIAS] = {0, CLIP_BLOCK_NO_MLP_BIAS, {WIDTH}},
    [CLIP_MLP_NORM_WEIGHT] = {CLIP_BLOCK_MLP_NORM, 0, {WIDTH}},
    [CLIP_MLP_NORM_BIAS] = {CLIP_BLOCK_MLP_NORM, CLIP_BLOCK_RMS, {WIDTH}},
    [CLIP_LN_2_WEIGHT] = {0, CLIP_BLOCK_NO_NORMS, {WIDTH}},
    [CLIP_LN_2_BIAS] = {0, CLIP_BLOCK_NO_NORMS | CLIP_BLOCK_RMS, {WIDTH}},
    [CLIP_INPUT_NORM_WEIGHT] = {CLIP_BLOCK_INPUT_NORM, 0, {WIDTH}},
    [CLIP_INPUT_NORM_BIAS] = {CLIP_BLOCK_INPUT_NORM, CLIP_BLOCK_RMS, {WIDTH}},
    [CLIP_LAYER_SCALE_2] = {CLIP_BLOCK_LAYER_SCALE, 0, {WIDTH}},
};

/* --- names --- */

#define OPENAI_NAMES                                                                                         \
    [CLIP_IN_WEIGHT] = "attn.in_proj_weight", [CLIP_IN_BIAS] = "attn.in_proj_bias",                          \
    [CLIP_QUERY_NORM_WEIGHT] = "attn.ln_q.weight", [CLIP_QUERY_NORM_BIAS] = "attn.ln_q.bias",                \
    [CLIP_KEY_NORM_WEIGHT] = "attn.ln_k.weight", [CLIP_KEY_NORM_BIAS] = "attn.ln_k.bias",                    \
    [CLIP_COSINE_SCALE] = "attn.logit_scale", [CLIP_HEAD_SCALE] = "attn.head_scale",                         \
    [CLIP_INNER_NORM_WEIGHT] = "attn.ln_inner.weight", [CLIP_INNER_NORM_BIAS] = "attn.ln_inner.bias",        \
    [CLIP_OUT_WEIGHT] = "attn.out_proj.weight", [CLIP_OUT_BIAS] = "attn.out_proj.bias",                      \
    [CLIP_ATTN_NORM_WEIGHT] = "ln_attn.weight", [CLIP_ATTN_NORM_BIAS] = "ln_attn.bias",                      \
    [CLIP_LN_1_WEIGHT] = "ln_1.weight", [CLIP_LN_1_BIAS] = "ln_1.bias", [CLIP_LAYER_SCALE_1] = "ls_1.gamma", \
    [CLIP_GATE_WEIGHT] = "mlp.c_gate.weight", [CLIP_GATE_BIAS] = "mlp.c_gate.bias",                          \
    [CLIP_FC_WEIGHT] = "mlp.c_fc.weight", [CLIP_FC_BIAS] = "mlp.c_fc.bias",                                  \
    [CLIP_HIDDEN_NORM_WEIGHT] = "mlp.ln.weight", [CLIP_HIDDEN_NORM_BIAS] = "mlp.ln.bias",                    \
    [CLIP_PROJ_WEIGHT] = "mlp.c_proj.weight", [CLIP_PROJ_BIAS] = "mlp.c_proj.bias",                          \
    [CLIP_MLP_NORM_WEIGHT] = "ln_mlp.weight", [CLIP_MLP_NORM_BIAS] = "ln_mlp.bias",                          \
    [CLIP_LN_2_WEIGHT] = "ln_2.weight", [CLIP_LN_2_BIAS] = "ln_2.bias",                                      \
    [CLIP_INPUT_NORM_WEIGHT] = "mlp.ln_in.weight", [CLIP_INPUT_NORM_BIAS] = "mlp.ln_in.bias",                \
    [CLIP_LAYER_SCALE_2] = "ls_2.gamma",

const struct clip_block_names clip_block_names_vision = {"visual.transformer.resblocks.", {OPENAI_NAMES}};
const struct clip_block_names clip_block_names_text = {"transformer.resblocks.", {OPENAI_NAMES}};

#define TIMM_OUT                                                                                             \
    [CLIP_OUT_WEIGHT] = "attn.proj.weight", [CLIP_OUT_BIAS] = "attn.proj.bias",                              \
    [CLIP_PROJ_WEIGHT] = "mlp.fc2.weight", [CLIP_PROJ_BIAS] = "mlp.fc2.bias",
#define TIMM_NORMS                                                                                           \
    [CLIP_LN_1_WEIGHT] = "norm1.weight", [CLIP_LN_1_BIAS] = "norm1.bias",                                    \
    [CLIP_LN_2_WEIGHT] = "norm2.weight", [CLIP_LN_2_BIAS] = "norm2.bias",
#define TIMM_QKV [CLIP_IN_WEIGHT] = "attn.qkv.weight",
#define TIMM_FC [CLIP_FC_WEIGHT] = "mlp.fc1.weight", [CLIP_FC_BIAS] = "mlp.fc1.bias",
#define EVA_BIAS [CLIP_Q_BIAS] = "attn.q_bias", [CLIP_V_BIAS] = "attn.v_bias",

/* A linear layer or a norm. */
/* clang-format off */
#define LAYER(tensor, name) [tensor##_WEIGHT] = name ".weight", [tensor##_BIAS] = name ".bias"
/* clang-format on */

const struct clip_block_names clip_block_names_timm = {
    "visual.trunk.blocks.",
    {TIMM_QKV TIMM_OUT TIMM_NORMS TIMM_FC[CLIP_IN_BIAS] = "attn.qkv.bias", [CLIP_LAYER_SCALE_1] = "ls1.gamma",
     [CLIP_LAYER_SCALE_2] = "ls2.gamma"}};

const struct clip_block_names clip_block_names_vitamin = {
    "visual.trunk.blocks.",
    {TIMM_QKV[CLIP_IN_BIAS] = "attn.qkv.bias", TIMM_NORMS[CLIP_OUT_WEIGHT] = "attn.proj.weight",
     [CLIP_OUT_BIAS] = "attn.proj.bias", [CLIP_INPUT_NORM_WEIGHT] = "mlp.norm.weight",
     [CLIP_INPUT_NORM_BIAS] = "mlp.norm.bias", [CLIP_GATE_WEIGHT] = "mlp.w0.weight",
     [CLIP_GATE_BIAS] = "mlp.w0.bias", [CLIP_FC_WEIGHT] = "mlp.w1.weight", [CLIP_FC_BIAS] = "mlp.w1.bias",
     [CLIP_PROJ_WEIGHT] = "mlp.w2.weight", [CLIP_PROJ_BIAS] = "mlp.w2.bias",
     [CLIP_LAYER_SCALE_1] = "ls1.gamma", [CLIP_LAYER_SCALE_2] = "ls2.gamma"}};

const struct clip_block_names clip_block_names_relpos = {
    "visual.trunk.blocks.",
    {TIMM_QKV TIMM_OUT TIMM_NORMS TIMM_FC[CLIP_IN_BIAS] = "attn.qkv.bias", [CLIP_LAYER_SCALE_1] = "ls1.gamma",
     [CLIP_LAYER_SCALE_2] = "ls2.gamma", [CLIP_RELATIVE_FC1_WEIGHT] = "attn.rel_pos.mlp.fc1.weight",
     [CLIP_RELATIVE_FC1_BIAS] = "attn.rel_pos.mlp.fc1.bias",
     [CLIP_RELATIVE_FC2_WEIGHT] = "attn.rel_pos.mlp.fc2.weight",
     [CLIP_RELATIVE_FC2_BIAS] = "attn.rel_pos.mlp.fc2.bias"}};

/* EVA01; EVA02-E, whose norms are of what the halves give; EVA02 of other sizes. */
const struct clip_block_names clip_block_names_eva = {"visual.trunk.blocks.",
                                                      {TIMM_QKV EVA_BIAS TIMM_OUT TIMM_NORMS TIMM_FC}};
/* timm's EvaBlock with a gate, in a NaFlexVit. */
const struct clip_block_names clip_block_names_timm_gated = {
    "visual.trunk.blocks.",
    {TIMM_QKV EVA_BIAS TIMM_OUT TIMM_NORMS LAYER(CLIP_JOINED, "mlp.fc1"), [CLIP_LAYER_SCALE_1] = "gamma_1",
     [CLIP_LAYER_SCALE_2] = "gamma_2"}};
const struct clip_block_names clip_block_names_eva_post = {
    "visual.trunk.blocks.",
    {TIMM_QKV EVA_BIAS TIMM_OUT TIMM_FC[CLIP_ATTN_NORM_WEIGHT] = "norm1.weight",
     [CLIP_ATTN_NORM_BIAS] = "norm1.bias", [CLIP_MLP_NORM_WEIGHT] = "norm2.weight",
     [CLIP_MLP_NORM_BIAS] = "norm2.bias"}};
const struct clip_block_names clip_block_names_eva02 = {
    "visual.trunk.blocks.",
    {TIMM_OUT TIMM_NORMS[CLIP_Q_WEIGHT] = "attn.q_proj.weight", [CLIP_K_WEIGHT] = "attn.k_proj.weight",
     [CLIP_V_WEIGHT] = "attn.v_proj.weight", [CLIP_Q_BIAS] = "attn.q_proj.bias",
     [CLIP_V_BIAS] = "attn.v_proj.bias", [CLIP_INNER_NORM_WEIGHT] = "attn.norm.weight",
     [CLIP_INNER_NORM_BIAS] = "attn.norm.bias", [CLIP_GATE_WEIGHT] = "mlp.fc1_g.weight",
     [CLIP_GATE_BIAS] = "mlp.fc1_g.bias", [CLIP_FC_WEIGHT] = "mlp.fc1_x.weight",
     [CLIP_FC_BIAS] = "mlp.fc1_x.bias", [CLIP_HIDDEN_NORM_WEIGHT] = "mlp.norm.weight",
     [CLIP_HIDDEN_NORM_BIAS] = "mlp.norm.bias"}};

const struct clip_block_names clip_block_names_bert = {
    "transformer.encoder.layer.",
    {LAYER(CLIP_Q, "attention.self.query"), LAYER(CLIP_K, "attention.self.key"),
     LAYER(CLIP_V, "attention.self.value"), LAYER(CLIP_OUT, "attention.output.dense"),
     LAYER(CLIP_LN_1, "attention.output.LayerNorm"), LAYER(CLIP_FC, "intermediate.dense"),
     LAYER(CLIP_PROJ, "output.dense"), LAYER(CLIP_LN_2, "output.LayerNorm")}};
const struct clip_block_names clip_block_names_m2m = {
    "transformer.layers.",
    {LAYER(CLIP_Q, "self_attn.q_proj"), LAYER(CLIP_K, "self_attn.k_proj"), LAYER(CLIP_V, "self_attn.v_proj"),
     LAYER(CLIP_OUT, "self_attn.out_proj"), LAYER(CLIP_LN_1, "self_attn_layer_norm"), LAYER(CLIP_FC, "fc1"),
     LAYER(CLIP_PROJ, "fc2"), LAYER(CLIP_LN_2, "final_layer_norm")}};

const struct clip_block_names clip_block_names_t5 = {
    "transformer.block.",
    {[CLIP_Q_WEIGHT] = "layer.0.SelfAttention.q.weight",
     [CLIP_K_WEIGHT] = "layer.0.SelfAttention.k.weight",
     [CLIP_V_WEIGHT] = "layer.0.SelfAttention.v.weight",
     [CLIP_OUT_WEIGHT] = "layer.0.SelfAttention.o.weight",
     [CLIP_LN_1_WEIGHT] = "layer.0.layer_norm.weight",
     [CLIP_GATE_WEIGHT] = "layer.1.DenseReluDense.wi_0.weight",
     [CLIP_FC_WEIGHT] = "layer.1.DenseReluDense.wi_1.weight",
     [CLIP_PROJ_WEIGHT] = "layer.1.DenseReluDense.wo.weight",
     [CLIP_LN_2_WEIGHT] = "layer.1.layer_norm.weight"}};

/* open_clip's modern text tower, with a plain hidden layer and with a gated one. */
/* clang-format off */
#define MODERN_NAMES                                                                                         \
    LAYER(CLIP_IN, "attn.qkv"), LAYER(CLIP_QUERY_NORM, "attn.q_norm"), LAYER(CLIP_KEY_NORM, "attn.k_norm"), \
    LAYER(CLIP_ATTN_GATE, "attn.gate"), LAYER(CLIP_OUT, "attn.proj"), LAYER(CLIP_ATTN_NORM, "norm1_post"),   \
    LAYER(CLIP_LN_1, "norm1"), LAYER(CLIP_MLP_NORM, "norm2_post"), LAYER(CLIP_LN_2, "norm2"),                \
    [CLIP_VALUE_RESIDUAL] = "attn.vr_lambda", [CLIP_LAYER_SCALE_1] = "ls1.gamma",                            \
    [CLIP_LAYER_SCALE_2] = "ls2.gamma"
/* clang-format on */
const struct clip_block_names clip_block_names_modern = {
    "blocks.", {MODERN_NAMES, LAYER(CLIP_FC, "mlp.c_fc"), LAYER(CLIP_PROJ, "mlp.c_proj")}};
const struct clip_block_names clip_block_names_modern_gated = {
    "blocks.", {MODERN_NAMES, LAYER(CLIP_JOINED, "mlp.w12"), LAYER(CLIP_PROJ, "mlp.w3")}};

static const struct clip_block_names *names_of(const struct clip_tower_arch *tower)
{
    if (tower->block.names)
        return tower->block.names;
    return tower->context ? &clip_block_names_text : &clip_block_names_vision;
}

void clip_block_name(const struct clip_tower_arch *tower, size_t block, enum clip_block_tensor tensor,
                     char *name, size_t size)
{
    const struct clip_block_names *names = names_of(tower);
    snprintf(name, size, "%s%zu.%s", names->blocks, block, names->tensors[tensor]);
}

int clip_block_is_relative(enum clip_block_tensor tensor)
{
    return tensor >= CLIP_RELATIVE_FC1_WEIGHT && tensor <= CLIP_RELATIVE_FC2_BIAS;
}

int clip_block_is_matrix(enum clip_block_tensor tensor, const size_t shape[4])
{
    return shape[1] && tensor != CLIP_COSINE_SCALE && tensor != CLIP_HEAD_SCALE &&
           !clip_block_is_relative(tensor);
}

int clip_block_is_bias(enum clip_block_tensor tensor)
{
    switch (tensor) {
    case CLIP_IN_BIAS:
    case CLIP_Q_BIAS:
    case CLIP_K_BIAS:
    case CLIP_V_BIAS:
    case CLIP_QUERY_NORM_BIAS:
    case CLIP_KEY_NORM_BIAS:
    case CLIP_ATTN_GATE_BIAS:
    case CLIP_INNER_NORM_BIAS:
    case CLIP_OUT_BIAS:
    case CLIP_ATTN_NORM_BIAS:
    case CLIP_LN_1_BIAS:
    case CLIP_JOINED_BIAS:
    case CLIP_GATE_BIAS:
    case CLIP_FC_BIAS:
    case CLIP_HIDDEN_NORM_BIAS:
    case CLIP_PROJ_BIAS:
    case CLIP_MLP_NORM_BIAS:
    case CLIP_LN_2_BIAS:
    case CLIP_INPUT_NORM_BIAS:
        return 1;
    default:
        return 0;
    }
}

int clip_block_is_later(enum clip_block_tensor tensor)
{
    return tensor == CLIP_VALUE_RESIDUAL;
}

int clip_block_shape(const struct clip_tower_arch *tower, enum clip_block_tensor tensor, size_t shape[4])
{
    unsigned flags = tower->block.flags;
    size_t head = clip_block_head(tower), heads = (size_t)tower->heads, inner = heads * head;
    const size_t sizes[] = {[NONE] = 0,
                            [ONE] = 1,
                            [WIDTH] = (size_t)tower->width,
                            [INNER] = inner,
                            [QKV] = 3 * inner,
                            [MLP] = (size_t)tower->mlp,
                            [TWO_MLP] = 2 * (size_t)tower->mlp,
                            [HEADS] = heads,
                            [HEAD] = head,
                            [TWO] = 2,
                            [RELATIVE] = (size_t)tower->block.relative};
    if ((flags & tensors[tensor].needs) != tensors[tensor].needs || (flags & tensors[tensor].lacks))
        return 0;
    for (int i = 0; i < 3; i++)
        shape[i] = sizes[tensors[tensor].size[i]];
    shape[3] = 0;
    return 1;
}

size_t clip_block_head(const struct clip_tower_arch *tower)
{
    if (tower->block.head)
        return (size_t)tower->block.head;
    return tower->heads ? (size_t)tower->width / (size_t)tower->heads : 0;
}

float clip_block_epsilon(const struct clip_block_arch *block)
{
    return block->epsilon > 0 ? block->epsilon : 1e-5f;
}

int clip_block_same(const struct clip_block_arch *a, const struct clip_block_arch *b)
{
    return a->names == b->names && a->flags == b->flags && clip_block_epsilon(a) == clip_block_epsilon(b) &&
           a->head == b->head && a->relative == b->relative && a->rotary.reference == b->rotary.reference &&
           a->rotary.offset == b->rotary.offset && a->rotary.columns_first == b->rotary.columns_first;
}
