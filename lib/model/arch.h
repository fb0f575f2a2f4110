/* What a CLIP model is made of: the numbers of open_clip's model_cfg, after every form's own spelling was
 * read. */
#ifndef CLIP_MODEL_ARCH_H
#define CLIP_MODEL_ARCH_H

#include "base/error.h"

enum clip_tower_kind { CLIP_VIT, CLIP_RESNET };
enum clip_activation { CLIP_QUICK_GELU, CLIP_GELU }; /* x sigmoid(1.702 x); x Phi(x) by erf */

struct clip_vision_arch {
    enum clip_tower_kind kind;
    int image_size; /* S: pictures are [3, S, S] */
    int width;      /* transformer: width of a token; ResNet: channels after the stem */
    int layers;     /* transformer: blocks */
    int patch;      /* transformer: side of a patch, S / patch a side of the grid */
    int heads;      /* transformer's, or attention pool's */
    int mlp;        /* transformer: width of the hidden layer */
    int blocks[4];  /* ResNet: bottlenecks of each stage */
    enum clip_activation activation;
};

struct clip_text_arch {
    int context;    /* positions, 77 in OpenAI's models */
    int vocabulary; /* token ids lie in [0, vocabulary) */
    int width, heads, layers, mlp;
    int end_token; /* features stand at the first position of this id; -1: of the largest id */
    enum clip_activation activation;
};

/* How pictures become the tower's input; OpenAI's values unless the model's folder says otherwise. */
struct clip_preprocess_arch {
    float mean[3], std[3];
    int convert_first; /* Hugging Face's order: to RGB before resizing, crop offset (d - S) / 2 */
};

struct clip_arch {
    char name[64]; /* "ViT-B/32", a file's name, or "" */
    int embed;     /* width of the shared space */
    struct clip_vision_arch vision;
    struct clip_text_arch text;
    struct clip_preprocess_arch preprocess;
};

/* The architecture of one of OpenAI's nine names ("RN50" ... "ViT-L/14@336px"; '-' is taken for '/'), or of
 * an open_clip JSON file {embed_dim, vision_cfg, text_cfg} or {model_cfg: {...}}. Sizes are checked: what
 * returns is consistent (heads divide width, patch divides image_size) and within sane bounds. */
int clip_arch_read(struct clip_arch *arch, const char *name_or_path, struct clip_error *error);

#endif
