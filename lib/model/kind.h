/* The kinds of towers: one row a kind, with all that lib/model knows of it. lib/tower has the kind's other
 * row, clip_tower_NAME (tower/tower.h). A new kind is a file kind-NAME.c, its tower's file, and a row in
 * CLIP_KINDS. */
#ifndef CLIP_MODEL_KIND_H
#define CLIP_MODEL_KIND_H

#include "base/error.h"
#include "base/json.h"
#include "model/arch.h"
#include "model/head.h"
#include "model/layout.h"
#include "model/positions.h"
#include "model/weight.h"

#include <stddef.h>
#include <stdio.h>

/* The beginnings of tensors' names in transformers and in OpenAI's files, '#' for a block's number; what
 * follows ("weight", "bias") is the same. */
struct clip_name_pair {
    const char *hf, *openai;
    int part; /* 0, 1, 2: q, k, v of an in_proj of ours; CLIP_NAME_WHOLE */
    int transposed;
    int shape; /* enum clip_name_shape */
};
enum { CLIP_NAME_WHOLE = -1 };
enum clip_name_shape {
    CLIP_NAME_SAME,
    CLIP_NAME_ONE,         /* ours has a first dimension of 1 that transformers' lacks */
    CLIP_NAME_FIRST_THIRD, /* ours is the first third of the rows of transformers' */
    CLIP_NAME_LAST_THIRDS  /* ours is the rest of them; the row follows that of the first third */
};

/* The forms in which the models of transformers have a tower: of its CLIP, SigLIP, Chinese-CLIP, AltCLIP, and
 * MetaCLIP 2. */
enum clip_hf_form_name {
    CLIP_HF_CLIP,
    CLIP_HF_SIGLIP,
    CLIP_HF_CHINESE,
    CLIP_HF_ALT,
    CLIP_HF_METACLIP,
    CLIP_HF_FORMS
};

/* A model of transformers. */
struct clip_hf_model {
    const char *type, *class;            /* its model_type, and class */
    const char *tower_types[CLIP_SIDES]; /* model_type of the towers' configurations */
    enum clip_hf_form_name forms[CLIP_SIDES];
    int embed;   /* projection_dim where a configuration is silent; 0: projection_size of the towers */
    int sigmoid; /* the logits have a bias; their scale and bias are arrays of one */
};

/* All of them; type NULL at the end. The first is CLIP's, of which there are models of one tower. */
extern const struct clip_hf_model clip_hf_models[];

/* A tensor by which weights of a kind are recognised, after any prefix of its name. */
struct clip_anchor {
    const char *name;
    int hints;          /* its presence alone does not prove that the tower is there */
    int hf;             /* the names are Hugging Face's: 1 + clip_hf_form_name */
    const char *before; /* the prefix that a tower saved by itself lacks */
    int custom;         /* the tower's names begin with "text." */
};

struct clip_kind {
    const char *name;  /* "vit" */
    const char *title; /* for people: "ResNet" */
    enum clip_side side;
    int known_widths[5];   /* of OpenAI's models, whose heads are of 64; 0 ends them */
    int untrained;         /* for inference alone */
    int own_activation;    /* whatever open_clip's quick_gelu says */
    int custom_text;       /* open_clip's class of models with such a tower is CustomTextCLIP */
    double beta2, epsilon; /* AdamW's, with which such models were trained */

    const struct clip_head *head; /* what projects its features, unless the tower says otherwise */

    /* Width of its features; NULL: that of its tokens. */
    size_t (*width)(const struct clip_tower_arch *tower);
    /* Checks that the numbers are consistent and within the bounds of model/arch.h. */
    int (*check)(const struct clip_tower_arch *tower, struct clip_error *error);

    /* Its tensors: those before the logit scale in PyTorch's order (NULL: none), and those after it. */
    void (*list_first)(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed);
    void (*list)(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed);
    const char *const *prefixes; /* beginnings of their names, NULL at the end */

    /* Its table of positions, where another size of it can be resampled (NULL: none can). */
    void (*positions)(const struct clip_tower_arch *tower, struct clip_positions *table);
    /* Of pictures: fails where its weights are not those of another image size, and names the sizes that they
     * are for (NULL: they are for any). */
    int (*check_resize)(const struct clip_tower_arch *tower, int image_size, struct clip_error *error);

    /* open_clip's vision_cfg or text_cfg: whether it is one of this kind (NULL: if it is not another kind's);
     * what it says; and its writing. `own`: with what a file's metadata says more. */
    int (*is_open_clip)(struct json_object *object);
    int (*read_open_clip)(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error);
    void (*put_open_clip)(FILE *file, int own, const struct clip_tower_arch *tower);

    /* Each of Hugging Face's forms of a tower; `read` NULL: it has no such kind. `put` puts the members of
     * its configuration, `in` before each; NULL: the form is only read. `refuse` (or NULL) fails where the
     * form cannot say what the tower is. */
    struct clip_hf_form {
        const char *class;         /* of models of this tower alone; NULL: there is none */
        const char *key, *old_key; /* of its configuration within the whole's */
        int (*read)(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                    struct clip_error *error);
        void (*put)(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed);
        int (*refuse)(const struct clip_tower_arch *tower, struct clip_error *error);
        const struct clip_name_pair *names; /* hf NULL at the end */
    } hf[CLIP_HF_FORMS];

    /* Weights without a configuration: by what they are known, the first that fits counts (name NULL at the
     * end); tensors of which one is there where the tower is (the second may be NULL); what shapes say. Where
     * they cannot say what the tower is, read_shapes is NULL, and shapes_lack names it and what is missing.
     */
    const struct clip_anchor *anchors;
    const char *first_tensors[2];
    int (*read_shapes)(const struct clip_weights *weights, struct clip_tower_arch *tower,
                       struct clip_error *error);
    const char *shapes_lack;

    /* What the weights decide whatever their configuration says; NULL: nothing. */
    void (*fit)(struct clip_tower_arch *tower, const struct clip_weights *weights);

    /* What clip-model prints of it: the rest of a line, and members of a JSON object. */
    void (*describe)(FILE *out, const struct clip_tower_arch *tower);
    void (*describe_json)(struct json_object *object, const struct clip_tower_arch *tower);
};

/* All kinds. If several fit, the first is taken. */
#define CLIP_KINDS(row)                                                                                      \
    row(convnext) row(fastvit) row(hybrid) row(vitamin) row(swin) row(timm) row(resnet) row(vit) row(modern) \
        row(hftext) row(text)
#define CLIP_KIND_DECLARE(name) extern const struct clip_kind clip_kind_##name;
CLIP_KINDS(CLIP_KIND_DECLARE)

/* The rows, NULL at the end. */
extern const struct clip_kind *const clip_kinds[];

/* The prefixes of all towers for pictures. */
extern const char *const clip_image_prefixes[];

/* What projects the tower's features into the shared space. */
const struct clip_head *clip_head_of(const struct clip_tower_arch *tower);

/* The kind of a side for an open_clip configuration, for weights (the side's last one where they are no
 * kind's), and for Hugging Face's form. */
const struct clip_kind *clip_kind_of_open_clip(enum clip_side side, struct json_object *object);
const struct clip_kind *clip_kind_of_weights(enum clip_side side, const struct clip_weights *weights);
/* 1 if the weights have one of the kind's first tensors. */
int clip_kind_has_weights(const struct clip_kind *kind, const struct clip_weights *weights);
const struct clip_kind *clip_kind_of_hf(enum clip_side side, enum clip_hf_form_name form);

/* The model of Hugging Face's as which the architecture can be written; NULL with the reason why none. */
const struct clip_hf_model *clip_hf_model_of(const struct clip_arch *arch, struct clip_error *error);

#endif
