#include "base/array.h"
#include "model/kind.h"

#include <math.h>
#include <string.h>

/* --- how heads' tensors are drawn --- */

static struct clip_initial scaled(size_t inputs)
{
    return clip_initial_normal(1 / sqrt((double)inputs));
}

/* timm's trunks: a normal truncated at 2, which is 100 standard deviations. */
static struct clip_initial trunk(size_t inputs)
{
    (void)inputs;
    return clip_initial_normal(0.02);
}

static struct clip_initial zeros(size_t inputs)
{
    (void)inputs;
    return clip_initial_zeros;
}

/* --- the heads --- */

#define FAN_IN clip_initial_fan_in, clip_initial_fan_in /* PyTorch's default of a linear layer */
#define MLP_FC1                                                                                              \
    {                                                                                                        \
        "visual.head.mlp.fc1.weight", "visual.head.mlp.fc1.bias", 1, 2, FAN_IN                               \
    }

const struct clip_head clip_head_none = {.title = "none", .timm_proj = "none"};

const struct clip_head clip_head_vit = {
    .title = "linear", .optional = 1, .layers = {{"visual.proj", NULL, 0, 1, scaled, NULL}}};

const struct clip_head clip_head_resnet = {
    .title = "linear, with bias",
    .layers = {
        {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias", 1, 1, scaled, clip_initial_fan_in}}};

const struct clip_head clip_head_text = {
    .title = "linear", .optional = 1, .layers = {{"text_projection", NULL, 0, 1, scaled, NULL}}};

const struct clip_head clip_head_text_linear = {
    .title = "linear, with bias",
    .optional = 1,
    .layers = {{"text_projection.weight", "text_projection.bias", 1, 1, scaled, zeros}}};

const struct clip_head clip_head_text_rows = {
    .title = "linear", .optional = 1, .layers = {{"text_projection.weight", NULL, 1, 1, scaled, NULL}}};

const struct clip_head clip_head_timm_linear = {.title = "linear",
                                                .timm_proj = "linear",
                                                .optional = 1,
                                                .layers = {{"visual.head.proj.weight", NULL, 1, 1, FAN_IN}}};

const struct clip_head clip_head_timm_linear_bias = {
    .title = "linear, with bias",
    .timm_proj = "linear",
    .timm_proj_bias = 1,
    .optional = 1,
    .layers = {{"visual.head.proj.weight", "visual.head.proj.bias", 1, 1, FAN_IN}}};

const struct clip_head clip_head_timm_mlp = {
    .title = "mlp",
    .timm_proj = "mlp",
    .optional = 1,
    .activation = CLIP_GELU,
    .layers = {MLP_FC1, {"visual.head.mlp.fc2.weight", NULL, 1, 1, FAN_IN}}};

const struct clip_head clip_head_timm_mlp_bias = {
    .title = "mlp, with bias",
    .timm_proj = "mlp",
    .timm_proj_bias = 1,
    .optional = 1,
    .activation = CLIP_GELU,
    .layers = {MLP_FC1, {"visual.head.mlp.fc2.weight", "visual.head.mlp.fc2.bias", 1, 1, FAN_IN}}};

const struct clip_head clip_head_timm_classifier = {
    .title = "the trunk's classifier",
    .optional = 1,
    .layers = {{"visual.trunk.head.weight", "visual.trunk.head.bias", 1, 1, trunk, zeros}}};

const struct clip_head clip_head_timm_classifier_fc = {
    .title = "the trunk's classifier",
    .optional = 1,
    .layers = {{"visual.trunk.head.fc.weight", "visual.trunk.head.fc.bias", 1, 1, trunk, zeros}}};

const struct clip_head clip_head_hf_linear = {
    .title = "linear", .optional = 1, .layers = {{"proj.weight", NULL, 1, 1, FAN_IN}}};

const struct clip_head clip_head_hf_mlp = {
    .title = "mlp",
    .optional = 1,
    .activation = CLIP_GELU,
    .layers = {{"proj.0.weight", NULL, 1, 0, FAN_IN}, {"proj.2.weight", NULL, 1, 1, FAN_IN}}};

const struct clip_head clip_head_hf_clap = {.title = "mlp of ReLU, with bias",
                                            .optional = 1,
                                            .activation = CLIP_RELU,
                                            .layers = {{"proj.0.weight", "proj.0.bias", 1, 1, FAN_IN},
                                                       {"proj.2.weight", "proj.2.bias", 1, 1, FAN_IN}}};

/* AltCLIP's transformation of the features, and the projection. */
const struct clip_head clip_head_hf_alt = {
    .title = "two linear layers",
    .optional = 1,
    .activation = CLIP_IDENTITY,
    .layers = {
        {"proj.transformation.weight", "proj.transformation.bias", 1, CLIP_HEAD_TRANSFORMED, trunk, zeros},
        {"proj.text_projection.weight", NULL, 1, 1, scaled, NULL}}};

int clip_head_layers(const struct clip_head *head)
{
    int n = 0;
    while (n < CLIP_HEAD_LAYERS && head->layers[n].weight)
        n++;
    return n;
}

const struct clip_head_layer *clip_head_last(const struct clip_head *head)
{
    int n = clip_head_layers(head);
    return n ? &head->layers[n - 1] : NULL;
}

/* Outputs of a layer of n inputs. */
static size_t outputs_of(const struct clip_head_layer *layer, const struct clip_tower_arch *tower, size_t n,
                         size_t embed)
{
    if (layer->times == CLIP_HEAD_TRANSFORMED)
        return (size_t)tower->text.transformed;
    return layer->times ? (size_t)layer->times * embed : (n + embed) / 2;
}

void clip_list_head(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t width,
                    size_t embed)
{
    const struct clip_head *head = clip_head_of(tower);
    for (int i = 0; i < clip_head_layers(head); i++) {
        const struct clip_head_layer *layer = &head->layers[i];
        size_t outputs = outputs_of(layer, tower, width, embed);
        clip_list_tensor(listing, layer->draw(width),
                         layer->rows ? CLIP_SHAPE(outputs, width) : CLIP_SHAPE(width, outputs), "%s",
                         layer->weight)
            ->part = CLIP_PART_PROJECTION;
        if (layer->bias)
            clip_list_tensor(listing, layer->draw_bias(width), CLIP_SHAPE(outputs), "%s", layer->bias)->part =
                CLIP_PART_PROJECTION;
        width = outputs;
    }
}

/* --- open_clip's configuration of a timm tower --- */

static const struct clip_head *const timm_heads[] = {&clip_head_timm_linear, &clip_head_timm_linear_bias,
                                                     &clip_head_timm_mlp, &clip_head_timm_mlp_bias,
                                                     &clip_head_none};

/* An absent key means "linear"; null and "" mean the trunk's classifier. */
int clip_read_timm_head(struct json_object *object, const char *where, const struct clip_head *classifier,
                        struct clip_tower_arch *tower, struct clip_error *error)
{
    const char *proj = json_object_object_get_ex(object, "timm_proj", NULL) ? "" : "linear";
    int bias = 0;
    if (clip_json_string(object, where, "timm_proj", &proj, error) != 0 ||
        clip_json_flag(object, where, "timm_proj_bias", &bias, error) != 0)
        return -1;
    tower->head = *proj ? NULL : classifier;
    for (size_t i = 0; i < CLIP_COUNT_OF(timm_heads) && !tower->head; i++)
        if (strcmp(timm_heads[i]->timm_proj, proj) == 0 &&
            (timm_heads[i]->timm_proj_bias == bias || clip_head_layers(timm_heads[i]) == 0))
            tower->head = timm_heads[i];
    return tower->head ? 0 : clip_fail(error, "%s.timm_proj: \"%.40s\" is not supported", where, proj);
}

void clip_put_timm_head(FILE *file, const struct clip_head *head)
{
    const char *quote = head->timm_proj ? "\"" : "";
    fprintf(file, "      \"timm_proj\": %s%s%s,\n", quote, head->timm_proj ? head->timm_proj : "null", quote);
    fprintf(file, "      \"timm_proj_bias\": %s,\n", head->timm_proj_bias ? "true" : "false");
}
