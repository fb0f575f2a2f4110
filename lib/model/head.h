/* Heads, which project a tower's features into the shared space: a table with a row for each head of
 * published models. A kind of tower has a default head; a tower may have another (clip_head_of,
 * model/kind.h).
 *
 * A head is none, one or two linear layers; two have an activation between them. */
#ifndef CLIP_MODEL_HEAD_H
#define CLIP_MODEL_HEAD_H

#include "base/error.h"
#include "base/json.h"
#include "model/arch.h"
#include "model/layout.h"

#include <stddef.h>
#include <stdio.h>

enum { CLIP_HEAD_LAYERS = 2, CLIP_HEAD_TRANSFORMED = -1 };

struct clip_head_layer {
    const char
        *weight;      /* [inputs, outputs], or [outputs, inputs] where `rows` are the outputs'; NULL: none */
    const char *bias; /* [outputs], or NULL */
    int rows;
    /* Outputs are as many times the embedding's width; 0: half of the inputs and the embedding;
     * CLIP_HEAD_TRANSFORMED: what the text tower says. */
    int times;
    struct clip_initial (*draw)(size_t inputs), (*draw_bias)(size_t inputs);
};

struct clip_head {
    const char *title;     /* for people: "linear" */
    const char *timm_proj; /* as open_clip's timm_proj; NULL: null, or not a timm tower's */
    int timm_proj_bias;
    int optional; /* models of this tower alone may lack it */
    enum clip_activation activation;
    struct clip_head_layer layers[CLIP_HEAD_LAYERS];
};

/* None: the features, made unit, are the embedding. OpenAI's of a ViT, of a ResNet, of the text. The text's
 * as a linear layer, with bias and without. Those of open_clip's TimmModel (with bias and without), and the
 * trunk's own classifier, of ViTs and of convolutional towers. Those of open_clip's HFTextEncoder, and
 * AltCLIP's. */
extern const struct clip_head clip_head_none, clip_head_vit, clip_head_resnet, clip_head_text,
    clip_head_text_linear, clip_head_text_rows, clip_head_timm_linear, clip_head_timm_linear_bias,
    clip_head_timm_mlp, clip_head_timm_mlp_bias, clip_head_timm_classifier, clip_head_timm_classifier_fc,
    clip_head_hf_linear, clip_head_hf_mlp, clip_head_hf_clap, clip_head_hf_alt;

/* How many layers it has. */
int clip_head_layers(const struct clip_head *head);

/* The head's last layer, whose outputs are the embedding; NULL if it has no layer. */
const struct clip_head_layer *clip_head_last(const struct clip_head *head);

/* Lists the head's tensors, for features of `width`. */
void clip_list_head(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t width,
                    size_t embed);

/* Sets tower->head by timm_proj and timm_proj_bias, to `classifier` where the trunk's own is the projection.
 */
int clip_read_timm_head(struct json_object *object, const char *where, const struct clip_head *classifier,
                        struct clip_tower_arch *tower, struct clip_error *error);
/* Writes timm_proj and timm_proj_bias, a comma after each. */
void clip_put_timm_head(FILE *file, const struct clip_head *head);

#endif
