/* timm's vision transformers: what their names stand for, and what the two kinds of them share: those that
 * cut pictures into patches (kind-timm.c) and those that begin with convolutions (kind-hybrid.c). */
#ifndef CLIP_MODEL_TIMM_H
#define CLIP_MODEL_TIMM_H

#include "model/kind-parts.h"

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

/* NULL where there is no such name. */
const struct clip_timm_name *clip_timm_find(const char *name);

/* The name that timm_model_name has in open_clip's configuration; NULL where it has none that is known. */
const struct clip_timm_name *clip_timm_of_open_clip(struct json_object *object);

/* The name of these sizes; else one of the same family, whose sizes are overridden. */
const struct clip_timm_name *clip_timm_name_of(const struct clip_tower_arch *tower);

/* Lists the tensors of the stem of a hybrid (kind-hybrid.c). */
void clip_list_stem(struct clip_listing *listing, const struct clip_tower_arch *tower);

/* --- members of the rows of both kinds --- */

int clip_timm_check(const struct clip_tower_arch *tower, struct clip_error *error);
void clip_timm_list(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed);
int clip_timm_read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                             struct clip_error *error);
void clip_timm_put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower);
int clip_timm_read_shapes(const struct clip_weights *weights, struct clip_tower_arch *tower,
                          struct clip_error *error);
void clip_timm_describe(FILE *out, const struct clip_tower_arch *tower);
void clip_timm_describe_json(struct json_object *object, const struct clip_tower_arch *tower);
extern const char *const clip_timm_prefixes[];
/* The positions, resampled only where another image size is asked for: clip_kind.positions. */
void clip_timm_positions(const struct clip_tower_arch *tower, struct clip_positions *table);

/* What Hugging Face's SiglipModel has: the family of SigLIP. */
extern const struct clip_timm_family clip_timm_siglip;

#endif
