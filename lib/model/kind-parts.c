#include "model/kind-parts.h"

#include "model/shapes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- checks --- */

int clip_check_bounds(const char *what, int value, int high, struct clip_error *error)
{
    if (value < 1 || value > high)
        return clip_fail(error, "%s is %d; it must lie between 1 and %d", what, value, high);
    return 0;
}

int clip_check_heads(const char *what, int width, int heads, struct clip_error *error)
{
    if (heads < 1 || width % heads)
        return clip_fail(error, "%s of %d cannot be split into %d heads", what, width, heads);
    return 0;
}

int clip_check_text_sizes(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (clip_check_bounds("context length", tower->context, CLIP_MAX_CONTEXT, error) != 0 ||
        clip_check_bounds("vocabulary size", tower->vocabulary, CLIP_MAX_VOCABULARY, error) != 0 ||
        clip_check_bounds("text width", tower->width, CLIP_MAX_WIDTH, error) != 0 ||
        clip_check_bounds("text layers", tower->layers, CLIP_MAX_LAYERS, error) != 0)
        return -1;
    return clip_check_bounds("text mlp", tower->mlp, CLIP_MAX_MLP, error);
}

int clip_check_padding(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (tower->pad < 0 || tower->pad >= tower->vocabulary)
        return clip_fail(error, "the id of padding, %d, is outside the vocabulary of %d", tower->pad,
                         tower->vocabulary);
    return 0;
}

int clip_check_end_token(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (tower->end_token < -1 || tower->end_token >= tower->vocabulary)
        return clip_fail(error, "end token %d is outside the vocabulary of %d", tower->end_token,
                         tower->vocabulary);
    return 0;
}

/* --- tensors --- */

void clip_list_norm(struct clip_listing *listing, size_t width, const char *name)
{
    clip_list_tensor(listing, clip_initial_ones, CLIP_SHAPE(width), "%s.weight", name);
    clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(width), "%s.bias", name);
}

void clip_list_batch_norm(struct clip_listing *listing, size_t width, struct clip_initial weight,
                          const char *name)
{
    clip_list_tensor(listing, weight, CLIP_SHAPE(width), "%s.weight", name);
    clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(width), "%s.bias", name);
    clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(width), "%s.running_mean", name)->buffer = 1;
    clip_list_tensor(listing, clip_initial_ones, CLIP_SHAPE(width), "%s.running_var", name)->buffer = 1;
    struct clip_slot *batches =
        clip_list_tensor(listing, clip_initial_zeros, CLIP_SHAPE(0), "%s.num_batches_tracked", name);
    batches->buffer = batches->integer = 1;
}

void clip_list_projection(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t width,
                          size_t embed)
{
    if (!tower->unprojected)
        clip_list_head(listing, tower, width, embed);
}

/* How a block's tensor is drawn. */
static struct clip_initial block_initial(const struct clip_tower_arch *tower, enum clip_block_tensor tensor,
                                         const struct clip_block_draws *draws)
{
    switch (tensor) {
    case CLIP_IN_WEIGHT:
    case CLIP_Q_WEIGHT:
    case CLIP_K_WEIGHT:
    case CLIP_V_WEIGHT:
        return draws->in_proj;
    case CLIP_OUT_WEIGHT:
        return draws->out_proj;
    case CLIP_FC_WEIGHT:
    case CLIP_GATE_WEIGHT:
        return draws->c_fc;
    case CLIP_PROJ_WEIGHT:
        return draws->c_proj;
    case CLIP_FC_BIAS:
    case CLIP_GATE_BIAS:
        return draws->flags & CLIP_DRAWS_BIASES ? clip_initial_fan_in((size_t)tower->width)
                                                : clip_initial_zeros;
    case CLIP_PROJ_BIAS:
        return draws->flags & CLIP_DRAWS_BIASES ? clip_initial_fan_in((size_t)tower->mlp)
                                                : clip_initial_zeros;
    case CLIP_IN_BIAS:
    case CLIP_OUT_BIAS:
        return draws->flags & CLIP_DRAWS_ALL_BIASES ? clip_initial_fan_in((size_t)tower->width)
                                                    : clip_initial_zeros;
    case CLIP_RELATIVE_FC1_WEIGHT:
    case CLIP_RELATIVE_FC1_BIAS:
        return clip_initial_fan_in(2);
    case CLIP_RELATIVE_FC2_WEIGHT:
    case CLIP_RELATIVE_FC2_BIAS:
        return clip_initial_fan_in((size_t)tower->block.relative);
    case CLIP_LAYER_SCALE_1:
    case CLIP_LAYER_SCALE_2:
        return (struct clip_initial){CLIP_DRAW_CONSTANT, (double)tower->block.layer_scale};
    case CLIP_ATTN_GATE_WEIGHT:
        return draws->in_proj;
    case CLIP_JOINED_WEIGHT:
        return draws->c_fc;
    case CLIP_ATTN_GATE_BIAS:
        return clip_initial_ones;
    case CLIP_VALUE_RESIDUAL:
        return (struct clip_initial){CLIP_DRAW_CONSTANT, 0.5};
    case CLIP_COSINE_SCALE:
        return (struct clip_initial){CLIP_DRAW_CONSTANT, log(10)};
    default: /* norms */
        return clip_block_is_bias(tensor) ? clip_initial_zeros : clip_initial_ones;
    }
}

/* timm draws what its gates multiply so that it is 1. */
static void draw_gated(struct clip_slot *slot, enum clip_block_tensor tensor)
{
    if (tensor != CLIP_JOINED_WEIGHT && tensor != CLIP_JOINED_BIAS)
        return;
    slot->rest = clip_slot_count(slot) / 2;
    slot->rest_draw = tensor == CLIP_JOINED_WEIGHT ? CLIP_DRAW_NORMAL : CLIP_DRAW_CONSTANT;
    slot->rest_scale = tensor == CLIP_JOINED_WEIGHT ? 1e-6 : 1;
}

void clip_list_blocks(struct clip_listing *listing, const struct clip_tower_arch *tower,
                      const struct clip_block_draws *draws)
{
    for (int i = 0; i < tower->layers; i++)
        for (int tensor = 0; tensor < CLIP_BLOCK_TENSORS; tensor++) {
            size_t shape[4];
            char name[sizeof((struct clip_slot *)NULL)->name];
            if (!clip_block_shape(tower, tensor, shape) || (i == 0 && clip_block_is_later(tensor)))
                continue;
            clip_block_name(tower, (size_t)i, tensor, name, sizeof name);
            struct clip_initial initial = block_initial(tower, tensor, draws);
            if ((draws->flags & CLIP_DRAWS_DEEPENING) &&
                (tensor == CLIP_OUT_WEIGHT || tensor == CLIP_PROJ_WEIGHT))
                initial.scale /= sqrt(2.0 * (i + 1));
            struct clip_slot *slot = clip_list_tensor(listing, initial, shape, "%s", name);
            slot->rounding = clip_block_is_matrix(tensor, shape) ? CLIP_ROUNDED_ROWS : CLIP_UNROUNDED;
            slot->block = i;
            if (tower->block.flags & CLIP_BLOCK_GATE_FIRST)
                draw_gated(slot, tensor);
        }
}

/* --- open_clip's configuration --- */

int clip_read_mlp(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                  struct clip_error *error)
{
    double ratio = 4.0;
    if (clip_json_real(object, where, "mlp_ratio", 0, 1024, &ratio, error) != 0)
        return -1;
    tower->mlp = (int)(tower->width * ratio);
    return 0;
}

double clip_mlp_ratio(const struct clip_tower_arch *tower)
{
    double ratio = (double)tower->mlp / tower->width;
    return (int)(tower->width * ratio) < tower->mlp ? nextafter(ratio, INFINITY) : ratio;
}

int clip_read_list(struct json_object *object, const char *where, const char *key, int wanted, int high,
                   int *value, struct clip_error *error)
{
    struct json_object *array = clip_json_get(object, key);
    size_t n = json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
    if (!array)
        return 0;
    if (wanted && n != (size_t)wanted)
        return clip_fail(error, "%s.%s is not a list of %d numbers", where, key, wanted);
    if (n < 1 || n > CLIP_MAX_STAGES)
        return clip_fail(error, "%s.%s is not a list of 1 to %d numbers", where, key, CLIP_MAX_STAGES);
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        int64_t number = json_object_get_int64(item);
        if (!json_object_is_type(item, json_type_int) || number < 1 || number > high)
            return clip_fail(error, "%s.%s: number %zu is not between 1 and %d", where, key, i + 1, high);
        value[i] = (int)number;
    }
    return (int)n;
}

int clip_read_text_sizes(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                         struct clip_error *error)
{
    tower->context = 77;
    tower->vocabulary = 49408;
    tower->width = 512;
    tower->heads = 8;
    tower->layers = 12;
    tower->end_token = -1;
    if (clip_json_int(object, where, "context_length", 1, CLIP_MAX_CONTEXT, &tower->context, error) != 0 ||
        clip_json_int(object, where, "vocab_size", 1, CLIP_MAX_VOCABULARY, &tower->vocabulary, error) != 0 ||
        clip_json_int(object, where, "width", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(object, where, "heads", 1, CLIP_MAX_WIDTH, &tower->heads, error) != 0 ||
        clip_json_int(object, where, "layers", 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0)
        return -1;
    return clip_read_mlp(object, where, tower, error);
}

void clip_put_text_sizes(FILE *file, const struct clip_tower_arch *tower)
{
    fprintf(file, "      \"context_length\": %d,\n", tower->context);
    fprintf(file, "      \"vocab_size\": %d,\n", tower->vocabulary);
    fprintf(file, "      \"width\": %d,\n      \"heads\": %d,\n", tower->width, tower->heads);
    fprintf(file, "      \"layers\": %d,\n", tower->layers);
}

int clip_read_image_sides(struct json_object *object, const char *where, int *height, int *width,
                          struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, "image_size");
    int64_t sides[2] = {0, 0};
    *height = 224;
    *width = 0;
    if (!json_object_is_type(member, json_type_array))
        return clip_json_int(object, where, "image_size", 1, CLIP_MAX_IMAGE, height, error);
    for (size_t i = 0; i < 2 && json_object_array_length(member) == 2; i++) {
        struct json_object *side = json_object_array_get_idx(member, i);
        sides[i] = json_object_is_type(side, json_type_int) ? json_object_get_int64(side) : 0;
    }
    if (sides[0] < 1 || sides[0] > CLIP_MAX_IMAGE || sides[1] < 1 || sides[1] > CLIP_MAX_IMAGE)
        return clip_fail(error, "%s.image_size is neither a number nor [height, width] of 1 to %d", where,
                         CLIP_MAX_IMAGE);
    *height = (int)sides[0];
    *width = sides[0] == sides[1] ? 0 : (int)sides[1];
    return 0;
}

int clip_read_image_size(struct json_object *object, const char *where, int *size, struct clip_error *error)
{
    int width;
    if (clip_read_image_sides(object, where, size, &width, error) != 0)
        return -1;
    return width ? clip_fail(error, "%s.image_size: [%d, %d] is not supported, only squares are", where,
                             *size, width)
                 : 0;
}

/* Of one token, a norm before or after pooling is the same: final_ln_after_pool has no effect. */
static const struct clip_json_option vision_options[] = {{"layers", CLIP_JSON_USED, NULL},
                                                         {"width", CLIP_JSON_USED, NULL},
                                                         {"head_width", CLIP_JSON_USED, NULL},
                                                         {"mlp_ratio", CLIP_JSON_USED, NULL},
                                                         {"patch_size", CLIP_JSON_USED, NULL},
                                                         {"image_size", CLIP_JSON_USED, NULL},
                                                         {"patch_dropout", CLIP_JSON_IGNORED, NULL},
                                                         {"output_tokens", CLIP_JSON_IGNORED, NULL},
                                                         {"no_ln_pre", CLIP_JSON_USED, NULL},
                                                         {"final_ln_after_pool", CLIP_JSON_USED, NULL},
                                                         {"attentional_pool", CLIP_JSON_USED, NULL},
                                                         {"attn_pooler_queries", CLIP_JSON_USED, NULL},
                                                         {"attn_pooler_heads", CLIP_JSON_USED, NULL},
                                                         {"timm_model_pretrained", CLIP_JSON_IGNORED, NULL},
                                                         {"timm_pool", CLIP_JSON_IGNORED, NULL},
                                                         {"timm_proj", CLIP_JSON_IGNORED, NULL},
                                                         {"timm_proj_bias", CLIP_JSON_IGNORED, NULL},
                                                         {"timm_drop", CLIP_JSON_IGNORED, NULL},
                                                         {"timm_drop_path", CLIP_JSON_IGNORED, NULL},
                                                         {"pool_type", CLIP_JSON_USED, NULL},
                                                         {"pos_embed_type", CLIP_JSON_USED, NULL},
                                                         CLIP_BLOCK_OPTIONS};

/* open_clip's flags of a block. */
static const struct {
    const char *key;
    unsigned flag;
} block_flags[] = {
    {"qk_norm", CLIP_BLOCK_QK_NORM},        {"scaled_cosine_attn", CLIP_BLOCK_COSINE},
    {"scale_heads", CLIP_BLOCK_HEAD_SCALE}, {"scale_attn_inner", CLIP_BLOCK_INNER_NORM},
    {"scale_attn", CLIP_BLOCK_ATTN_NORM},   {"scale_fc", CLIP_BLOCK_HIDDEN_NORM},
};

/* act_kwargs and norm_kwargs of a tower. */
static int read_block_kwargs(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                             struct clip_error *error)
{
    static const struct clip_json_option norm[] = {{"eps", CLIP_JSON_USED, NULL},
                                                   {"bias", CLIP_JSON_USED, NULL}};
    static const struct clip_json_option act[] = {{"approximate", CLIP_JSON_USED, NULL}};
    struct json_object *norms = NULL, *acts = NULL;
    const char *approximate = "none";
    double epsilon = 1e-5;
    int bias = 1;
    if (clip_json_object(object, where, "norm_kwargs", &norms, error) != 0 ||
        clip_json_object(object, where, "act_kwargs", &acts, error) != 0)
        return -1;
    if (norms && (clip_json_options(norms, "norm_kwargs", norm, CLIP_COUNT_OF(norm), error) != 0 ||
                  clip_json_real(norms, "norm_kwargs", "eps", 1e-12, 1, &epsilon, error) != 0 ||
                  clip_json_flag(norms, "norm_kwargs", "bias", &bias, error) != 0))
        return -1;
    if (!bias)
        return clip_fail(error, "%s.norm_kwargs.bias: norms without biases are not supported", where);
    tower->block.epsilon = (float)epsilon;
    if (acts && (clip_json_options(acts, "act_kwargs", act, CLIP_COUNT_OF(act), error) != 0 ||
                 clip_json_string(acts, "act_kwargs", "approximate", &approximate, error) != 0))
        return -1;
    if (strcmp(approximate, "none") == 0)
        return 0;
    if (strcmp(approximate, "tanh") != 0)
        return clip_fail(error, "%s.act_kwargs.approximate: \"%.40s\" is not supported", where, approximate);
    if (tower->activation == CLIP_QUICK_GELU)
        return clip_fail(error, "%s.act_kwargs: quick_gelu has no approximation", where);
    tower->activation = CLIP_GELU_TANH;
    return 0;
}

int clip_read_block(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                    struct clip_error *error)
{
    double scale = 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(block_flags); i++) {
        int on = 0;
        if (clip_json_flag(object, where, block_flags[i].key, &on, error) != 0)
            return -1;
        tower->block.flags |= on ? block_flags[i].flag : 0;
    }
    if ((tower->block.flags & CLIP_BLOCK_QK_NORM) && (tower->block.flags & CLIP_BLOCK_COSINE))
        return clip_fail(error, "%s: qk_norm and scaled_cosine_attn exclude each other", where);
    if (clip_json_get(object, "ls_init_value"))
        tower->block.flags |= CLIP_BLOCK_LAYER_SCALE;
    if (clip_json_real(object, where, "ls_init_value", -1e6, 1e6, &scale, error) != 0)
        return -1;
    tower->block.layer_scale = (float)scale;
    return read_block_kwargs(object, where, tower, error);
}

void clip_put_block(FILE *file, const struct clip_tower_arch *tower)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(block_flags); i++)
        if (tower->block.flags & block_flags[i].flag)
            fprintf(file, "      \"%s\": true,\n", block_flags[i].key);
    if (tower->block.flags & CLIP_BLOCK_LAYER_SCALE)
        fprintf(file, "      \"ls_init_value\": %.9g,\n", (double)tower->block.layer_scale);
    if (clip_block_epsilon(&tower->block) != 1e-5f)
        fprintf(file, "      \"norm_kwargs\": {\"eps\": %.6g},\n", (double)tower->block.epsilon);
    if (tower->activation == CLIP_GELU_TANH)
        fputs("      \"act_kwargs\": {\"approximate\": \"tanh\"},\n", file);
}

int clip_check_vision_options(struct json_object *object, const char *where, struct clip_error *error)
{
    return clip_json_options(object, where, vision_options, CLIP_COUNT_OF(vision_options), error);
}

/* --- Hugging Face's --- */

/* The names of activations in configurations of transformers. */
static const struct {
    const char *name;
    enum clip_activation activation;
} activations[] = {
    {"quick_gelu", CLIP_QUICK_GELU}, {"gelu", CLIP_GELU}, {"gelu_pytorch_tanh", CLIP_GELU_TANH},
    {"gelu_new", CLIP_GELU_TANH},    {"relu", CLIP_RELU}, {"silu", CLIP_SILU}};

int clip_read_hf_activation(struct json_object *object, const char *where, const char *key,
                            enum clip_activation *activation, struct clip_error *error)
{
    const char *name = NULL;
    if (clip_json_string(object, where, key, &name, error) != 0)
        return -1;
    for (size_t i = 0; name && i < CLIP_COUNT_OF(activations); i++)
        if (strcmp(activations[i].name, name) == 0) {
            *activation = activations[i].activation;
            return 0;
        }
    return name ? clip_fail(error, "%s.%s: \"%.40s\" is not supported", where, key, name) : 0;
}

const char *clip_hf_activation(enum clip_activation activation)
{
    size_t i = 0;
    while (activations[i].activation != activation)
        i++;
    return activations[i].name;
}

int clip_read_hf_tower(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    double epsilon = (double)clip_block_epsilon(&tower->block);
    if (clip_json_int(object, where, "hidden_size", 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(object, where, "intermediate_size", 1, CLIP_MAX_MLP, &tower->mlp, error) != 0 ||
        clip_json_int(object, where, "num_hidden_layers", 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0 ||
        clip_json_int(object, where, "num_attention_heads", 1, CLIP_MAX_WIDTH, &tower->heads, error) != 0 ||
        clip_json_real(object, where, "layer_norm_eps", 1e-20, 1, &epsilon, error) != 0)
        return -1;
    tower->block.epsilon = (float)epsilon;
    return clip_read_hf_activation(object, where, "hidden_act", &tower->activation, error);
}

int clip_refuse_hf_blocks(const struct clip_tower_arch *tower, struct clip_error *error)
{
    static const struct clip_block_arch plain = {0};
    struct clip_block_arch block = tower->block;
    block.epsilon = 0; /* which it can say */
    if (clip_block_same(&block, &plain) && tower->activation != CLIP_SILU && tower->activation < CLIP_RELU)
        return 0;
    return clip_fail(error, "Hugging Face's form of CLIP has no blocks like those of the %s tower",
                     clip_side_names[tower->kind->side]);
}

void clip_put_hf_tower(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed)
{
    fprintf(file, "%s\"hidden_size\": %d,\n%s\"intermediate_size\": %d,\n", in, tower->width, in, tower->mlp);
    fprintf(file, "%s\"num_hidden_layers\": %d,\n%s\"num_attention_heads\": %d,\n", in, tower->layers, in,
            tower->heads);
    fprintf(file, "%s\"hidden_act\": \"%s\",\n%s\"layer_norm_eps\": %.6g,\n", in,
            clip_hf_activation(tower->activation), in, (double)clip_block_epsilon(&tower->block));
    if (embed)
        fprintf(file, "%s\"projection_dim\": %d,\n", in, embed);
}

/* --- shapes --- */

int clip_shape_dimension(const struct clip_weights *weights, const char *name, int ndim, int axis, int limit,
                         int *value, struct clip_error *error)
{
    const struct clip_weight *weight = clip_weights_find(weights, name);
    char text[120];
    if (!weight)
        return clip_fail(error, "not a CLIP model: there is no tensor %s", name);
    if (weight->ndim != ndim || weight->shape[axis] < 1 || weight->shape[axis] > (size_t)limit)
        return clip_fail(error, "tensor %s has the impossible shape %s", name,
                         clip_shape_describe(weight->ndim, weight->shape, text, sizeof text));
    *value = (int)weight->shape[axis];
    return 0;
}

int clip_count_blocks(const struct clip_weights *weights, const char *prefix, const char *suffix)
{
    int n = 0;
    char name[100];
    do
        snprintf(name, sizeof name, "%s%d%s", prefix, n, suffix);
    while (clip_weights_find(weights, name) && ++n <= CLIP_MAX_LAYERS);
    return n;
}

int clip_grid_side(const struct clip_weights *weights, const char *name, int *side, struct clip_error *error)
{
    int places;
    if (clip_shape_dimension(weights, name, 2, 0, CLIP_MAX_IMAGE * CLIP_MAX_IMAGE + 1, &places, error) != 0)
        return -1;
    *side = (int)lround(sqrt(places - 1.0));
    if (*side * *side + 1 != places)
        return clip_fail(error, "tensor %s: %d positions are not a square number plus one", name, places);
    return 0;
}

/* --- descriptions --- */

const char *clip_activation_name(enum clip_activation activation)
{
    static const char *const names[CLIP_ACTIVATIONS] = {[CLIP_QUICK_GELU] = "quick_gelu",
                                                        [CLIP_GELU] = "gelu",
                                                        [CLIP_GELU_TANH] = "gelu_tanh",
                                                        [CLIP_SILU] = "silu",
                                                        [CLIP_RELU] = "relu",
                                                        [CLIP_RELU2] = "relu2",
                                                        [CLIP_SIGMOID] = "sigmoid",
                                                        [CLIP_IDENTITY] = "identity"};
    return names[activation];
}

void clip_add_list(struct json_object *object, const char *key, const int *value, int n)
{
    struct json_object *array = json_object_new_array();
    for (int i = 0; i < n; i++)
        json_object_array_add(array, json_object_new_int(value[i]));
    json_object_object_add(object, key, array);
}

void clip_describe_text_sizes(FILE *out, const struct clip_tower_arch *tower)
{
    fprintf(out, "context %d, vocabulary %d, width %d, %d layers, %d heads, mlp %d, %s\n", tower->context,
            tower->vocabulary, tower->width, tower->layers, tower->heads, tower->mlp,
            clip_activation_name(tower->activation));
}

void clip_describe_features(FILE *out, const struct clip_tower_arch *tower)
{
    const char *features = tower->class_row ? "a class row" : clip_pooling_of(tower)->features;
    if (features)
        fprintf(out, "%-14s%s\n", "features", features);
    else if (tower->end_token >= 0)
        fprintf(out, "%-14s%d\n", "end token", tower->end_token);
    else
        fprintf(out, "%-14sthe largest id\n", "end token");
}

void clip_add_int(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_int64((int64_t)value));
}

void clip_add_text(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, value ? json_object_new_string(value) : NULL);
}

void clip_add_image(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_text(object, "kind", tower->kind->name);
    clip_add_int(object, "image_size", (uint64_t)tower->image_size);
}

void clip_add_sizes(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_int(object, "width", (uint64_t)tower->width);
    clip_add_int(object, "heads", (uint64_t)tower->heads);
    clip_add_int(object, "layers", (uint64_t)tower->layers);
    if (tower->kind->side == CLIP_SIDE_IMAGE)
        clip_add_int(object, "patch_size", (uint64_t)tower->patch);
    clip_add_int(object, "mlp", (uint64_t)tower->mlp);
    clip_add_text(object, "activation", clip_activation_name(tower->activation));
}

void clip_add_ends(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_text(object, "activation", clip_activation_name(tower->activation));
    clip_add_text(object, "projection", clip_head_of(tower)->title);
}

void clip_describe_text_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_add_text(object, "kind", tower->kind->name);
    clip_add_int(object, "context_length", (uint64_t)tower->context);
    clip_add_int(object, "vocab_size", (uint64_t)tower->vocabulary);
    clip_add_sizes(object, tower);
    if (tower->end_token >= 0)
        clip_add_int(object, "end_token", (uint64_t)tower->end_token);
    else
        clip_add_text(object, "end_token", NULL);
}
