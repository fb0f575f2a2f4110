#include "model/kind.h"

#include "model/shapes.h"

#define ROW(name) &clip_kind_##name,
const struct clip_kind *const clip_kinds[] = {CLIP_KINDS(ROW) NULL};

const char *const clip_image_prefixes[] = {"visual.", NULL};

const struct clip_head *clip_head_of(const struct clip_tower_arch *tower)
{
    return tower->head ? tower->head : tower->kind->head;
}

const struct clip_kind *clip_kind_of_open_clip(enum clip_side side, struct json_object *object)
{
    const struct clip_kind *const *kind = clip_kinds;
    while ((*kind)->side != side || ((*kind)->is_open_clip && !(*kind)->is_open_clip(object)))
        kind++;
    return *kind;
}

int clip_kind_has_weights(const struct clip_kind *kind, const struct clip_weights *weights)
{
    return clip_weights_find(weights, kind->first_tensors[0]) ||
           (kind->first_tensors[1] && clip_weights_find(weights, kind->first_tensors[1]));
}

const struct clip_kind *clip_kind_of_weights(enum clip_side side, const struct clip_weights *weights)
{
    const struct clip_kind *last = NULL;
    for (const struct clip_kind *const *kind = clip_kinds; *kind; kind++)
        if ((*kind)->side == side) {
            last = *kind;
            if (clip_kind_has_weights(last, weights))
                break;
        }
    return last;
}

const struct clip_hf_model clip_hf_models[] = {
    {"clip", "CLIPModel", {"clip_vision_model", "clip_text_model"}, {CLIP_HF_CLIP, CLIP_HF_CLIP}, 512, 0},
    {"siglip",
     "SiglipModel",
     {"siglip_vision_model", "siglip_text_model"},
     {CLIP_HF_SIGLIP, CLIP_HF_SIGLIP},
     0,
     1},
    {"chinese_clip",
     "ChineseCLIPModel",
     {"chinese_clip_vision_model", "chinese_clip_text_model"},
     {CLIP_HF_CLIP, CLIP_HF_CHINESE},
     512,
     0},
    {"altclip",
     "AltCLIPModel",
     {"altclip_vision_model", "altclip_text_model"},
     {CLIP_HF_CLIP, CLIP_HF_ALT},
     768,
     0},
    {"metaclip_2",
     "MetaClip2Model",
     {"metaclip_2_vision_model", "metaclip_2_text_model"},
     {CLIP_HF_CLIP, CLIP_HF_METACLIP},
     512,
     0},
    {0},
};

const struct clip_kind *clip_kind_of_hf(enum clip_side side, enum clip_hf_form_name form)
{
    const struct clip_kind *const *kind = clip_kinds;
    while ((*kind)->side != side || !(*kind)->hf[form].read)
        kind++;
    return *kind;
}
