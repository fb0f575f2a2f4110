/* What projects the features of a tower into the shared space: a row for each head that models have. A kind
 * of tower has one of its own; a tower may have another (clip_head_of, model/kind.h).
 *
 * A head is no, one or two linear layers, with an activation between two. */
#ifndef CLIP_MODEL_HEAD_H
#define CLIP_MODEL_HEAD_H

#include "base/error.h"
#include "base/json.h"
#include "model/arch.h"
#include "model/layout.h"

#include <stddef.h>
#include <stdio.h>

enum { CLIP_HEAD_LAYERS = 2 };

struct clip_head_layer {
    const char
        *weight;      /* [inputs, outputs], or [outputs, inputs] where `rows` are the outputs'; NULL: none */
    const char *bias; /* [outputs], or NULL */
    int rows;
    int times; /* outputs are as many times the embedding's width; 0: half of the inputs and the embedding */
    struct clip_initial (*draw)(size_t inputs), (*draw_bias)(size_t inputs);
};

struct clip_head {
    const char *title;     /* for people: "linear" */
    const char *timm_proj; /* as open_clip's timm_proj; NULL: null, or not a timm tower's */
    int timm_proj_bias;
    int optional; /* there are models of such a tower alone without it */
    enum clip_activation activation;
    struct clip_head_layer layers[CLIP_HEAD_LAYERS];
};

/* None: the features are the embedding, but for its length. OpenAI's: of a ViT, of a ResNet, of the text. The
 * text's as a linear layer with bias, and without. timm's: of open_clip's TimmModel (with bias and without),
 * and the trunk's own classifier, as ViTs have it, and as convolutional towers do. Those of its
 * HFTextEncoder. */
extern const struct clip_head clip_head_none, clip_head_vit, clip_head_resnet, clip_head_text,
    clip_head_text_linear, clip_head_text_rows, clip_head_timm_linear, clip_head_timm_linear_bias,
    clip_head_timm_mlp, clip_head_timm_mlp_bias, clip_head_timm_classifier, clip_head_timm_classifier_fc,
    clip_head_hf_linear, clip_head_hf_mlp, clip_head_hf_clap;

/* How many layers it has. */
int clip_head_layers(const struct clip_head *head);

/* Its last layer, whose outputs are the embedding's; NULL where it has none. */
const struct clip_head_layer *clip_head_last(const struct clip_head *head);

/* Lists its tensors, from features of `width`. */
void clip_list_head(struct clip_listing *listing, const struct clip_head *head, size_t width, size_t embed);

/* tower->head as timm_proj and timm_proj_bias say it, `classifier` where the trunk's own is the projection.
 */
int clip_read_timm_head(struct json_object *object, const char *where, const struct clip_head *classifier,
                        struct clip_tower_arch *tower, struct clip_error *error);
/* Puts the two, a comma after each. */
void clip_put_timm_head(FILE *file, const struct clip_head *head);

#endif
