/* The parts of a transformer block, apart from its sizes: read by the layout, and by forward and backward
 * (tower/block.h). All 0 is OpenAI's:
 *
 *     x += out_proj(attention(ln_1(x)));  x += c_proj(activation(c_fc(ln_2(x)))). */
#ifndef CLIP_MODEL_BLOCK_H
#define CLIP_MODEL_BLOCK_H

#include <stddef.h>

/* How it differs. */
enum {
    CLIP_BLOCK_NO_NORMS = 1 << 0,     /* neither ln_1 nor ln_2 */
    CLIP_BLOCK_NORM_AFTER = 1 << 1,   /* they are of the sums: x = ln_1(x + ...) (BERT) */
    CLIP_BLOCK_INPUT_NORM = 1 << 2,   /* a second norm, mlp.ln_in, follows ln_2 (ViTamin) */
    CLIP_BLOCK_NO_QKV_BIAS = 1 << 3,  /* in_proj has no bias */
    CLIP_BLOCK_NO_KEY_BIAS = 1 << 4,  /* it has none for keys, which is 0 there (EVA) */
    CLIP_BLOCK_QK_NORM = 1 << 5,      /* a norm of each head's q, and of its k */
    CLIP_BLOCK_COSINE = 1 << 6,       /* scores are exp(min(attn.logit_scale, ln 100)) cos(q, k) */
    CLIP_BLOCK_HEAD_SCALE = 1 << 7,   /* a learned factor for each head's output */
    CLIP_BLOCK_INNER_NORM = 1 << 8,   /* a norm of the joined heads, before out_proj */
    CLIP_BLOCK_ATTN_NORM = 1 << 9,    /* a norm of attention's output, after out_proj */
    CLIP_BLOCK_MLP_NORM = 1 << 10,    /* a norm of the MLP's output, after c_proj (EVA02-E) */
    CLIP_BLOCK_HIDDEN_NORM = 1 << 11, /* a norm of the hidden layer, after its activation */
    CLIP_BLOCK_GATED = 1 << 12,       /* the hidden layer is activation(c_gate(y)) c_fc(y) */
    CLIP_BLOCK_LAYER_SCALE = 1 << 13, /* the halves' outputs are multiplied by ls_1, ls_2 */
    CLIP_BLOCK_SPLIT_QKV = 1 << 14,   /* the rows of q, k and v in in_proj are three tensors */
    CLIP_BLOCK_SPLIT_BIAS = 1 << 15,  /* and so are those of its bias */
    CLIP_BLOCK_NO_OUT_BIAS = 1 << 16, /* out_proj has no bias */
    CLIP_BLOCK_RMS = 1 << 17,      /* norms are x weight / sqrt(mean of x² + epsilon), without a bias (T5) */
    CLIP_BLOCK_UNSCALED = 1 << 18, /* scores are q . k (T5) */
    CLIP_BLOCK_NO_MLP_BIAS = 1 << 19,    /* the hidden layer's products have no biases */
    CLIP_BLOCK_JOINED_GATE = 1 << 20,    /* the rows of c_fc and of c_gate are one tensor, in this order */
    CLIP_BLOCK_ATTN_GATE = 1 << 21,      /* what the heads give is multiplied by sigmoid(gate(ln_1(x))) */
    CLIP_BLOCK_ATTN_GATE_BIAS = 1 << 22, /* this gate has a bias */
    /* After the first block a head's v is v_1 + lambda (v - v_1), v_1 that of the first block (ResFormer). */
    CLIP_BLOCK_VALUE_RESIDUAL = 1 << 23,
    CLIP_BLOCK_RELATIVE = 1 << 24,   /* scores have a bias by relative position (tower/relative.h) */
    CLIP_BLOCK_GATE_FIRST = 1 << 25, /* c_gate's rows are the first of the joined tensor (timm) */
};

/* No product has a bias. */
#define CLIP_BLOCK_NO_BIASES (CLIP_BLOCK_NO_QKV_BIAS | CLIP_BLOCK_NO_OUT_BIAS | CLIP_BLOCK_NO_MLP_BIAS)

/* Rotary positions of a grid's patches (EVA02, PE): of head size d, the neighbours 2j and 2j + 1 of each half
 * are rotated by t 10000^(-4j/d), t = (i + offset) / side * reference of the patch's row i in the first half,
 * of its column in the second, or the other way round. The class token is not rotated. */
struct clip_rotary {
    int reference; /* 0: there are none */
    int offset;
    int columns_first;
};

struct clip_block_names;

struct clip_block_arch {
    const struct clip_block_names *names; /* NULL: OpenAI's */
    unsigned flags;
    float epsilon;     /* of norms; 0: 1e-5 */
    int head;          /* size of a head; 0: width / heads */
    int relative;      /* width of the hidden layer that gives biases by relative position */
    float layer_scale; /* first value of ls_1 and ls_2 */
    struct clip_rotary rotary;
};

/* The tensors of a block. */
enum clip_block_tensor {
    CLIP_IN_WEIGHT, /* rows of q, k, v */
    CLIP_Q_WEIGHT,
    CLIP_K_WEIGHT,
    CLIP_V_WEIGHT,
    CLIP_IN_BIAS,
    CLIP_Q_BIAS,
    CLIP_K_BIAS,
    CLIP_V_BIAS,
    CLIP_RELATIVE_FC1_WEIGHT, /* of rows and columns */
    CLIP_RELATIVE_FC1_BIAS,
    CLIP_RELATIVE_FC2_WEIGHT,
    CLIP_RELATIVE_FC2_BIAS,
    CLIP_QUERY_NORM_WEIGHT,
    CLIP_QUERY_NORM_BIAS,
    CLIP_KEY_NORM_WEIGHT,
    CLIP_KEY_NORM_BIAS,
    CLIP_COSINE_SCALE,
    CLIP_VALUE_RESIDUAL, /* lambda; not in the first block */
    CLIP_ATTN_GATE_WEIGHT,
    CLIP_ATTN_GATE_BIAS,
    CLIP_HEAD_SCALE,
    CLIP_INNER_NORM_WEIGHT,
    CLIP_INNER_NORM_BIAS,
    CLIP_OUT_WEIGHT,
    CLIP_OUT_BIAS,
    CLIP_ATTN_NORM_WEIGHT,
    CLIP_ATTN_NORM_BIAS,
    CLIP_LN_1_WEIGHT,
    CLIP_LN_1_BIAS,
    CLIP_LAYER_SCALE_1,
    CLIP_JOINED_WEIGHT, /* rows of c_fc and c_gate */
    CLIP_JOINED_BIAS,
    CLIP_GATE_WEIGHT,
    CLIP_GATE_BIAS,
    CLIP_FC_WEIGHT,
    CLIP_FC_BIAS,
    CLIP_HIDDEN_NORM_WEIGHT,
    CLIP_HIDDEN_NORM_BIAS,
    CLIP_PROJ_WEIGHT,
    CLIP_PROJ_BIAS,
    CLIP_MLP_NORM_WEIGHT,
    CLIP_MLP_NORM_BIAS,
    CLIP_LN_2_WEIGHT,
    CLIP_LN_2_BIAS,
    CLIP_INPUT_NORM_WEIGHT,
    CLIP_INPUT_NORM_BIAS,
    CLIP_LAYER_SCALE_2,
    CLIP_BLOCK_TENSORS
};

/* The tensors' names: "visual.transformer.resblocks.", a number, '.', and "attn.in_proj_weight". */
struct clip_block_names {
    const char *blocks;
    const char *tensors[CLIP_BLOCK_TENSORS]; /* NULL: no block of these names has it */
};

/* OpenAI's names, as open_clip extends them, for pictures and captions; timm's names of vision transformers;
 * transformers' names of BERT, M2M100 and T5, in open_clip's HFTextEncoder; those of its modern text tower.
 */
extern const struct clip_block_names clip_block_names_vision, clip_block_names_text, clip_block_names_timm,
    clip_block_names_vitamin, clip_block_names_relpos, clip_block_names_timm_gated, clip_block_names_eva,
    clip_block_names_eva_post, clip_block_names_eva02, clip_block_names_bert, clip_block_names_m2m,
    clip_block_names_t5, clip_block_names_modern, clip_block_names_modern_gated;

struct clip_tower_arch;

/* Into name[size]. */
void clip_block_name(const struct clip_tower_arch *tower, size_t block, enum clip_block_tensor tensor,
                     char *name, size_t size);

/* 1 if the tensor is of relative positions, which the tower computes, not the block. */
int clip_block_is_relative(enum clip_block_tensor tensor);

/* 1 if the tensor, whose shape is clip_block_shape's, is a matrix of the block's products. */
int clip_block_is_matrix(enum clip_block_tensor tensor, const size_t shape[4]);

/* 1 if the tensor is a bias, of a product or of a norm. */
int clip_block_is_bias(enum clip_block_tensor tensor);

/* 1 if block 0 lacks the tensor although the tower's other blocks have it. */
int clip_block_is_later(enum clip_block_tensor tensor);

/* 1 if the tower's blocks have the tensor. Sets shape[4], zeros after the last dimension. */
int clip_block_shape(const struct clip_tower_arch *tower, enum clip_block_tensor tensor, size_t shape[4]);

/* Size of a head. */
size_t clip_block_head(const struct clip_tower_arch *tower);

/* Epsilon of the tower's norms. */
float clip_block_epsilon(const struct clip_block_arch *block);

/* 1 if the blocks are the same, initial values aside. */
int clip_block_same(const struct clip_block_arch *a, const struct clip_block_arch *b);

#endif
