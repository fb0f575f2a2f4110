/* A text transformer beside its blocks (model/block.h): what comes before them and after. All 0 is OpenAI's:
 * embeddings of tokens and of positions; ln_final. */
#ifndef CLIP_MODEL_TEXT_H
#define CLIP_MODEL_TEXT_H

#include <stddef.h>

/* How it differs. */
enum {
    CLIP_TEXT_HIDES_PADDING = 1 << 0, /* nothing sees a token that is clip_tower_arch.pad */
    /* Tokens that are not padding are at pad + 1, pad + 2 ... of the positions, padding is at pad (RoBERTa).
     */
    CLIP_TEXT_COUNTED = 1 << 1,
    /* Positions are fixed: of half = width / 2, sin and then cos of place exp(-j ln 10000 / (half - 1)),
     * j < half; 0 at pad (M2M100). */
    CLIP_TEXT_SINUSOIDS = 1 << 2,
    CLIP_TEXT_SCALED = 1 << 3,        /* embeddings of tokens are multiplied by sqrt(width) */
    CLIP_TEXT_TYPES = 1 << 4,         /* type 0's embedding is added to all */
    CLIP_TEXT_NORM = 1 << 5,          /* a norm comes before the blocks */
    CLIP_TEXT_NO_FINAL_NORM = 1 << 6, /* no ln_final */
    CLIP_TEXT_TANH = 1 << 7,          /* the features are tanh(W x + b) of the row (BERT's pooler) */
    /* No positions: scores have a bias by relative position, which all blocks share (T5). Of the `buckets`
     * half is for keys after the query; of each half the first half is for distances of so many tokens, the
     * rest by the logarithm of the distance, up to `farthest`. */
    CLIP_TEXT_RELATIVE = 1 << 8,
    CLIP_TEXT_NO_POSITIONS = 1 << 9, /* none are added: they are rotary, or there are none */
    /* Where all tokens are padding the first is seen all the same, and where the end token is missing it
     * stands in for the last of as many tokens as are not padding (open_clip's modern tower). */
    CLIP_TEXT_GUARDED = 1 << 10,
};

struct clip_text_names;

struct clip_text_arch {
    const struct clip_text_names *names; /* NULL: OpenAI's */
    unsigned flags;
    int places;       /* rows of the table of positions; 0: the context's */
    int types;        /* rows of that of types */
    const char *type; /* model_type of an encoder of transformers; NULL: none */
    int transformed;  /* width of the first layer of AltCLIP's head */
    int buckets, farthest;
    int registers; /* rows of their own that come first; no pool takes them */
    /* Rotary positions: of a head of size d, the neighbours 2j and 2j + 1 are turned by i rotary^(-2j/d) at
     * row i; 0: there are none. */
    float rotary;
    int zero_residual; /* first values of what blocks add are 0 */
    int variable;      /* open_clip pads captions to the longest of a batch */
};

/* Its tensors but for those of the blocks. */
enum clip_text_tensor {
    CLIP_TEXT_POSITIONS,
    CLIP_TEXT_CLASS,     /* CoCa's cls_emb */
    CLIP_TEXT_REGISTERS, /* [1][registers][width] */
    CLIP_TEXT_TOKENS,
    CLIP_TEXT_TYPE,
    CLIP_TEXT_BIAS, /* [buckets][heads] */
    CLIP_TEXT_NORM_WEIGHT,
    CLIP_TEXT_NORM_BIAS,
    CLIP_TEXT_FINAL_WEIGHT,
    CLIP_TEXT_FINAL_BIAS,
    CLIP_TEXT_POOLER_WEIGHT,
    CLIP_TEXT_POOLER_BIAS,
    /* of an attention pool (CLIP_POOL_ATTEND) */
    CLIP_TEXT_QUERY, /* [1][1][width] */
    CLIP_TEXT_Q_WEIGHT,
    CLIP_TEXT_Q_BIAS,
    CLIP_TEXT_KV_WEIGHT,
    CLIP_TEXT_KV_BIAS,
    CLIP_TEXT_Q_NORM_WEIGHT,
    CLIP_TEXT_Q_NORM_BIAS,
    CLIP_TEXT_K_NORM_WEIGHT,
    CLIP_TEXT_K_NORM_BIAS,
    CLIP_TEXT_TENSORS
};

extern const struct clip_text_names clip_text_names_bert, clip_text_names_m2m, clip_text_names_t5,
    clip_text_names_modern;

struct clip_tower_arch;

/* "token_embedding.weight" */
const char *clip_text_name(const struct clip_tower_arch *tower, enum clip_text_tensor tensor);

/* 1 if the tower has it. Sets shape[4], zeros after the last dimension. */
int clip_text_shape(const struct clip_tower_arch *tower, enum clip_text_tensor tensor, size_t shape[4]);

/* Rows that the table of positions has, stored or not. */
size_t clip_text_places(const struct clip_tower_arch *tower);

/* 1 if they are alike. */
int clip_text_same(const struct clip_text_arch *a, const struct clip_text_arch *b);

#endif
