/* timm's vision transformers: what their names stand for, and what the kinds of them share: those that
 * cut pictures into patches (kind-timm.c) and those that begin with convolutions (kind-hybrid.c). */
#ifndef CLIP_MODEL_TIMM_H
#define CLIP_MODEL_TIMM_H

#include "model/timm-config.h"

/* timm's classes, which differ in the options that timm_model_kwargs may have. */
enum clip_timm_class {
    CLIP_TIMM_VIT = 1,         /* VisionTransformer that cuts patches */
    CLIP_TIMM_HYBRID = 1 << 1, /* the same that begins with convolutions */
    CLIP_TIMM_EVA = 1 << 2,    /* Eva */
    CLIP_TIMM_NAFLEX = 1 << 3, /* NaFlexVit */
    CLIP_TIMM_RELPOS = 1 << 4, /* VisionTransformerRelPos */
};

/* What the models of a family have in common. */
struct clip_timm_family {
    enum clip_timm_class class;
    const struct clip_block_names *names;
    const struct clip_vit_names *vit_names;
    unsigned block, vit; /* flags */
    enum clip_pooling pooling;
    enum clip_vit_stem stem;
    float epsilon;
    float layer_scale; /* first value, where there is one */
    int pool_heads;    /* of the pool, whose hidden layer is four times its width; 0: those of the blocks, and
                          theirs */
    int registers;
    int relative; /* width of the hidden layer of relative positions */
    int swiglu;   /* blocks have a gate, as swiglu_mlp says; another family has the same names without */
    int grid; /* side of the grid that positions are of, where they are resampled to the picture's; else 0 */
    int deepening; /* last layers of blocks are drawn smaller, the deeper they are (kind-parts.h) */
    int drawn;     /* layers are drawn as PyTorch does, not as VisionTransformer does */
};

struct clip_timm_name {
    const char *name;
    const struct clip_timm_family *family;
    int image, patch, width, layers, heads;
    double mlp; /* ratio of the hidden layer's width */
    enum clip_activation activation;
    struct clip_rotary rotary;
};

/* NULL where there is no such name, whose blocks have a gate or not. */
const struct clip_timm_name *clip_timm_find(const char *name, int swiglu);

/* The name that timm_model_name has in open_clip's configuration; NULL where it has none that is known. */
const struct clip_timm_name *clip_timm_of_open_clip(struct json_object *object);

/* The name of these sizes; else one of the same family, whose sizes are overridden. */
const struct clip_timm_name *clip_timm_name_of(const struct clip_tower_arch *tower);

/* Lists the tensors of the stem (kind-hybrid.c, kind-vitamin.c). */
void clip_list_conv_stem(struct clip_listing *listing, const struct clip_tower_arch *tower);
void clip_list_mbconv_stem(struct clip_listing *listing, const struct clip_tower_arch *tower);

/* 1 if an open_clip configuration names a tower with this stem. */
int clip_timm_has_stem(struct json_object *object, enum clip_vit_stem stem);

/* --- the rows of these kinds --- */

int clip_timm_check(const struct clip_tower_arch *tower, struct clip_error *error);
void clip_timm_positions(const struct clip_tower_arch *tower, struct clip_positions *table);
void clip_timm_list(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed);
int clip_timm_read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                             struct clip_error *error);
void clip_timm_put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower);
void clip_timm_describe(FILE *out, const struct clip_tower_arch *tower);
void clip_timm_describe_json(struct json_object *object, const struct clip_tower_arch *tower);

/* clang-format off */
#define CLIP_TIMM_ROW                                                                                        \
    .side = CLIP_SIDE_IMAGE, .beta2 = 0.98, .epsilon = 1e-6, .own_activation = 1,                            \
    .head = &clip_head_timm_linear, .width = clip_vit_width, .check = clip_timm_check,                       \
    .list = clip_timm_list, .prefixes = clip_image_prefixes, .positions = clip_timm_positions,               \
    .read_open_clip = clip_timm_read_open_clip, .put_open_clip = clip_timm_put_open_clip,                    \
    .shapes_lack = "a timm tower do not say which one it is",                                                \
    .describe = clip_timm_describe, .describe_json = clip_timm_describe_json
/* clang-format on */

/* What Hugging Face's SiglipModel has: the family of SigLIP. */
extern const struct clip_timm_family clip_timm_siglip;

#endif
