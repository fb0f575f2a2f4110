/* The architecture of a CLIP model: the numbers of open_clip's model_cfg, whatever form they were read from.
 */
#ifndef CLIP_MODEL_ARCH_H
#define CLIP_MODEL_ARCH_H

#include "base/error.h"
#include "image/preprocess.h"
#include "math/activation.h"
#include "model/block.h"
#include "model/pooling.h"
#include "model/text.h"
#include "model/vit.h"
#include "text/settings.h"

#include <stddef.h>
#include <stdio.h>

/* Above every published model's sizes; the product of two fits into an int64_t with room to spare. */
enum {
    CLIP_MAX_IMAGE = 16384,
    CLIP_MAX_WIDTH = 1 << 16,
    CLIP_MAX_LAYERS = 1024,
    CLIP_MAX_CONTEXT = 1 << 16,
    CLIP_MAX_VOCABULARY = 1 << 24,
    CLIP_MAX_MLP = 1 << 20,
    CLIP_MAX_GRID = 1024,
    CLIP_MAX_REGISTERS = 1024
};
#define CLIP_INIT_LOGIT_SCALE 2.6592600369f /* ln(1/0.07) */

struct clip_kind;
struct clip_head;

/* The two towers, always in this order; BOTH: what belongs to neither alone. */
enum clip_side { CLIP_SIDE_IMAGE, CLIP_SIDE_TEXT, CLIP_SIDE_BOTH };
enum { CLIP_SIDES = 2 };

/* "vision" and "text", as their towers are called. */
extern const char *const clip_side_names[CLIP_SIDES];

enum { CLIP_MAX_STAGES = 5 };

/* The options of a FastViT, apart from its stages' blocks and widths. */
struct clip_fastvit_arch {
    int stages;    /* 4 or 5 */
    int attending; /* the last stages of these, whose blocks have attention */
    int ratio;     /* of a block's hidden layer */
    int second;    /* as mci3 and mci4: a stem without branches of side 1, layer norms before attention, no
                      squeeze and excitation between stages */
    int fused;     /* branches are one convolution, as timm's inference_mode has it */
};

/* What a Swin transformer is made of, beside its stages' blocks and widths. */
struct clip_swin_arch {
    int stages;
    int heads[CLIP_MAX_STAGES];
    int hidden[CLIP_MAX_STAGES];  /* widths of the MLPs */
    int windows[CLIP_MAX_STAGES]; /* sides, where the stage's grid is not smaller */
};

/* The numbers of a tower; 0 where its kind has no such number. */
struct clip_tower_arch {
    int absent;                   /* the model has the other tower alone; no other member is then set */
    int unprojected;              /* of one tower: there is no projection into the shared space */
    const struct clip_kind *kind; /* model/kind.h */
    const struct clip_head *head; /* where it is not its kind's own (clip_head_of); else NULL */
    int width;                    /* transformer: width of a token; ResNet: channels after the stem */
    int heads;                    /* transformer's, or attention pool's */
    int layers;                   /* transformer: blocks */
    int mlp;                      /* transformer: width of the hidden layer */
    enum clip_activation activation;
    struct clip_block_arch block; /* transformer's; ConvNeXt: epsilon, and layer_scale, its first gamma */
    enum clip_pooling pooling;    /* transformer's */
    struct clip_vit_arch vit;     /* transformer's of pictures */
    struct clip_text_arch text;   /* transformer's of captions */
    /* of pictures */
    int image_size;              /* S: pictures are [3, S, S], unless: */
    int image_width;             /* W: pictures are [3, S, W]; 0 where they are square (clip_image_width) */
    int patch;                   /* transformer, ConvNeXt: side of a patch, S / patch a side of the grid */
    int blocks[CLIP_MAX_STAGES]; /* of each stage; of a ResNet: bottlenecks */
    int widths[CLIP_MAX_STAGES]; /* ConvNeXt, FastViT: channels of each stage */
    int kernel;                  /* ConvNeXt: side of the filters of its blocks */
    struct clip_fastvit_arch fastvit;
    struct clip_swin_arch swin;
    /* of captions */
    int context;    /* positions, 77 in OpenAI's models */
    int vocabulary; /* token ids lie in [0, vocabulary) */
    int end_token; /* CLIP_POOL_TOKEN is the first position of this id, 0 if there is none; -1: of the largest
                    */
    int open_mask; /* a token sees all others, padding too; 0: causal */
    int class_row; /* CoCa: a learned row, cls_emb, is appended, and its output is the features */
    int pad;       /* with embed_cls: the id of padding, which is masked */
};

/* How a picture becomes the tower's input; OpenAI's values unless the model's folder says otherwise. */
struct clip_preprocess_arch {
    float mean[3], std[3];
    int convert_first; /* Hugging Face's order: to RGB before resizing, crop offset (d - S) / 2 */
    enum clip_resize resize;
    enum clip_interpolation interpolation;
    int fill_color; /* CLIP_LONGEST: a number for every band in the file's own mode, 0 to 255 */
};

struct clip_arch {
    char name[64]; /* "ViT-B/32", a file's name, or "" */
    int embed;     /* width of the shared space; 0 where nothing is projected into it */
    union {
        struct {
            struct clip_tower_arch vision, text;
        };
        struct clip_tower_arch towers[CLIP_SIDES]; /* the same by side */
    };
    struct clip_preprocess_arch preprocess;
    struct clip_tokenizer_settings tokenizer;
    int unscaled;           /* of one tower: there is no logit scale */
    float init_logit_scale; /* ln(1/0.07) in OpenAI's models */
    int logit_bias;         /* SigLIP: the logits have a bias */
    int custom_text;        /* open_clip's class is CustomTextCLIP, whose text tower's names begin "text." */
    float init_logit_bias;
};

/* The architecture of a published name, OpenAI's ("RN50" ... "ViT-L/14@336px"; '-' is taken for '/') or
 * open_clip's (a file of share/architectures), or of an open_clip JSON file {embed_dim, vision_cfg, text_cfg}
 * or {model_cfg: {...}}. Sizes are checked: what returns is consistent (heads divide width) and within sane
 * bounds. */
int clip_arch_read(struct clip_arch *arch, const char *name_or_path, struct clip_error *error);

/* As clip_arch_read, of an open_clip JSON file alone; its preprocess_cfg too, where there is one. */
int clip_arch_read_open_clip(struct clip_arch *arch, const char *path, struct clip_error *error);

/* The same of `text`, as a safetensors file's metadata has it: a tower may be absent, and
 * preprocess_cfg.convert_first is known. */
int clip_arch_parse(struct clip_arch *arch, const char *text, struct clip_error *error);

/* As clip_arch_read, of a Hugging Face folder: its config.json and, where there is one,
 * preprocessor_config.json. Models of one tower (CLIPVisionModel, CLIPTextModel) have the other one absent.
 */
int clip_arch_read_hf(struct clip_arch *arch, const char *folder, struct clip_error *error);

/* 1 if folder/config.json is that of a CLIP model of Hugging Face, supported or not; 0 if it is something
 * else's. */
int clip_arch_is_hf(const char *folder);

/* Writes an open_clip_config.json, or Hugging Face's config.json and preprocessor_config.json, to an open
 * file. -1 where the form cannot say what the architecture is (a ResNet in Hugging Face's, two activations in
 * open_clip's). What is written reads back as the same architecture, but for the order of preprocessing,
 * which open_clip's form fixes to OpenAI's and Hugging Face's form to its own. */
int clip_arch_write_open_clip(const struct clip_arch *arch, FILE *file, struct clip_error *error);
int clip_arch_write_hf(const struct clip_arch *arch, FILE *file, struct clip_error *error);
int clip_arch_write_hf_preprocessor(const struct clip_arch *arch, FILE *file, struct clip_error *error);

/* What clip_arch_parse reads, as the first; from malloc, NULL with error. */
char *clip_arch_print(const struct clip_arch *arch, struct clip_error *error);

/* --- for readers and writers of configurations --- */

/* Where readers start: OpenAI's preprocessing and logit scale, the rest 0. */
void clip_arch_clear(struct clip_arch *arch);

/* Reads preprocessor_config.json, if there is one, into arch->preprocess; the image size must be known. */
int clip_arch_read_hf_preprocessor(struct clip_arch *arch, const char *path, struct clip_error *error);

/* Sets the architecture to OpenAI's of this name, or returns 0. */
int clip_arch_published(struct clip_arch *arch, const char *name);
/* The i-th of OpenAI's names; NULL after the last. */
const char *clip_arch_published_name(size_t i);

/* Checks what clip_arch_read promises. */
int clip_arch_check(const struct clip_arch *arch, struct clip_error *error);

/* Writes "[0.1, 0.2, 0.3]", which reads back as the same floats. */
void clip_arch_put_channels(FILE *file, const float value[3]);

/* Width of the pictures of a tower, whose height is image_size. */
int clip_image_width(const struct clip_tower_arch *tower);

/* Width of the features of a side's tower. */
size_t clip_feature_width(const struct clip_arch *arch, enum clip_side side);

/* The side of the only tower; CLIP_SIDE_BOTH of models that have two. */
enum clip_side clip_arch_side(const struct clip_arch *arch);

/* 1 if both are of the same sizes, heads and activations; names, preprocessing and first values aside. */
int clip_arch_same(const struct clip_arch *a, const struct clip_arch *b);

/* Sets the name to the published name of the same sizes, or to `otherwise` (cut to fit). */
void clip_arch_rename(struct clip_arch *arch, const char *otherwise);

#endif
