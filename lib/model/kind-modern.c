/* open_clip's modern text transformer (text_arch "modern"): rotary positions, gated hidden layers, norms by
 * root mean square, gates of attention, registers, pools of all tokens. */
#include "model/kind-parts.h"
#include "model/shapes.h"

#include <math.h>
#include <string.h>

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (clip_check_text_sizes(tower, error) != 0 ||
        clip_check_heads("text width", tower->width, tower->heads, error) != 0 ||
        clip_check_padding(tower, error) != 0)
        return -1;
    if (tower->text.rotary > 0 && tower->width / tower->heads % 2)
        return clip_fail(error, "heads of %d cannot have rotary positions, which take two at a time",
                         tower->width / tower->heads);
    return clip_check_end_token(tower, error);
}

/* --- tensors --- */

/* How a tensor beside the blocks is drawn. */
static struct clip_initial initial_of(const struct clip_tower_arch *tower, enum clip_text_tensor tensor)
{
    switch (tensor) {
    case CLIP_TEXT_TOKENS:
        return clip_initial_normal(0.02);
    case CLIP_TEXT_REGISTERS:
        return clip_initial_normal(1e-6);
    case CLIP_TEXT_QUERY:
    case CLIP_TEXT_Q_WEIGHT:
    case CLIP_TEXT_KV_WEIGHT:
        return clip_initial_normal(1 / sqrt((double)tower->width));
    case CLIP_TEXT_NORM_WEIGHT:
    case CLIP_TEXT_FINAL_WEIGHT:
    case CLIP_TEXT_Q_NORM_WEIGHT:
    case CLIP_TEXT_K_NORM_WEIGHT:
        return clip_initial_ones;
    default: /* biases */
        return clip_initial_zeros;
    }
}

/* Blocks whose halves end in norms are drawn alike, others by their depth; the input of a gated hidden layer
 * is drawn wider, as the gate takes of its variance. */
static struct clip_block_draws block_draws(const struct clip_tower_arch *tower)
{
    int ends = (tower->block.flags & CLIP_BLOCK_ATTN_NORM) != 0;
    double in = ends ? 0.02 : 1 / sqrt((double)tower->width);
    double fc = ends ? 0.02 : in / sqrt(2.0) * (tower->block.flags & CLIP_BLOCK_GATED ? 1.22 : 1);
    double out = ends ? 0.02 : in / sqrt(2.0 * tower->layers);
    struct clip_initial last = tower->text.zero_residual ? clip_initial_zeros : clip_initial_normal(out);
    return (struct clip_block_draws){clip_initial_normal(in), last, clip_initial_normal(fc), last, 0};
}

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    struct clip_block_draws draws = block_draws(tower);
    for (int tensor = 0; tensor < CLIP_TEXT_TENSORS; tensor++) {
        if (tensor == CLIP_TEXT_FINAL_WEIGHT)
            clip_list_blocks(listing, tower, &draws);
        clip_list_text(listing, tower, tensor, initial_of(tower, tensor));
    }
    clip_list_projection(listing, tower, (size_t)tower->width, embed);
}

static const char *const prefixes[] = {"blocks.", "token_embedding.", "reg_tokens", "norm_pre.", "ln_final.",
                                       "pool.",   "text_projection",  NULL};

/* --- open_clip --- */

static int is_open_clip(struct json_object *object)
{
    const char *arch = json_object_get_string(clip_json_get(object, "text_arch"));
    return arch && strcmp(arch, "modern") == 0;
}

static const struct clip_json_option options[] = {
    {"text_arch", CLIP_JSON_ONLY, "modern"},
    {"context_length", CLIP_JSON_USED, NULL},
    {"variable_text", CLIP_JSON_USED, NULL},
    {"vocab_size", CLIP_JSON_USED, NULL},
    {"width", CLIP_JSON_USED, NULL},
    {"heads", CLIP_JSON_USED, NULL},
    {"layers", CLIP_JSON_USED, NULL},
    {"mlp_ratio", CLIP_JSON_USED, NULL},
    {"pad_id", CLIP_JSON_USED, NULL},
    {"eos_id", CLIP_JSON_USED, NULL},
    {"bos_id", CLIP_JSON_IGNORED, NULL},
    {"pool_type", CLIP_JSON_USED, NULL},
    {"proj_type", CLIP_JSON_USED, NULL},
    {"proj_bias", CLIP_JSON_USED, NULL},
    {"ls_init_value", CLIP_JSON_USED, NULL},
    {"qk_norm", CLIP_JSON_USED, NULL},
    {"attention_mode", CLIP_JSON_USED, NULL},
    {"pos_embed", CLIP_JSON_USED, NULL},
    {"rope_temperature", CLIP_JSON_USED, NULL},
    {"mlp_type", CLIP_JSON_USED, NULL},
    {"norm_type", CLIP_JSON_USED, NULL},
    {"norm_eps", CLIP_JSON_USED, NULL},
    {"norm_placement", CLIP_JSON_USED, NULL},
    {"pre_norm", CLIP_JSON_USED, NULL},
    {"attn_gated", CLIP_JSON_USED, NULL},
    {"gate_bias", CLIP_JSON_USED, NULL},
    {"attention_bias", CLIP_JSON_USED, NULL},
    {"mlp_bias", CLIP_JSON_USED, NULL},
    {"reg_tokens", CLIP_JSON_USED, NULL},
    {"value_residual", CLIP_JSON_USED, NULL},
    {"zero_init_residual", CLIP_JSON_USED, NULL},
    /* open_clip's other text towers' */
    {"hf_model_name", CLIP_JSON_OFF, NULL},
    {"hf_model_config", CLIP_JSON_IGNORED, NULL},
    {"hf_model_pretrained", CLIP_JSON_IGNORED, NULL},
    {"hf_proj_type", CLIP_JSON_IGNORED, NULL},
    {"hf_pooler_type", CLIP_JSON_IGNORED, NULL},
    {"output_tokens", CLIP_JSON_IGNORED, NULL},
    {"final_ln_after_pool", CLIP_JSON_IGNORED, NULL},
    {"embed_cls", CLIP_JSON_IGNORED, NULL},
    {"no_causal_mask", CLIP_JSON_IGNORED, NULL},
    {"scaled_cosine_attn", CLIP_JSON_IGNORED, NULL},
    {"scale_heads", CLIP_JSON_IGNORED, NULL},
    {"scale_attn_inner", CLIP_JSON_IGNORED, NULL},
    {"scale_attn", CLIP_JSON_IGNORED, NULL},
    {"scale_fc", CLIP_JSON_IGNORED, NULL},
    {"norm_kwargs", CLIP_JSON_IGNORED, NULL},
    {"act_kwargs", CLIP_JSON_IGNORED, NULL},
    {"block_type", CLIP_JSON_IGNORED, NULL},
};

/* The first two are the same. */
static const char *const pools[] = {"argmax", "eos", "mean", "map"};
static const char *const modes[] = {"causal", "bidirectional"};
static const char *const positions[] = {"rope", "none", ""};
enum { MLP_SWIGLU, MLP_GELU, MLP_RELU2, MLPS };
static const char *const mlps[MLPS] = {"swiglu", "mlp", "relu2"};
static const enum clip_activation activations[MLPS] = {CLIP_SILU, CLIP_GELU, CLIP_RELU2};
static const char *const norms[] = {"rmsnorm", "layernorm"};
static const char *const placements[] = {"pre", "sandwich"};

/* Flags of blocks, on where open_clip's option is `when`. */
static const struct {
    const char *key;
    int when;
    unsigned flag;
} block_flags[] = {
    {"qk_norm", 1, CLIP_BLOCK_QK_NORM},
    {"attn_gated", 1, CLIP_BLOCK_ATTN_GATE},
    {"value_residual", 1, CLIP_BLOCK_VALUE_RESIDUAL},
    {"attention_bias", 0, CLIP_BLOCK_NO_QKV_BIAS | CLIP_BLOCK_NO_OUT_BIAS},
    {"mlp_bias", 0, CLIP_BLOCK_NO_MLP_BIAS},
};

static int read_flags(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                      struct clip_error *error)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(block_flags); i++) {
        int on = 0;
        if (clip_json_flag(object, where, block_flags[i].key, &on, error) != 0)
            return -1;
        tower->block.flags |= on == block_flags[i].when ? block_flags[i].flag : 0;
    }
    int biased = !(tower->block.flags & CLIP_BLOCK_NO_QKV_BIAS), normed = 0;
    if (clip_json_flag(object, where, "gate_bias", &biased, error) != 0 ||
        clip_json_flag(object, where, "pre_norm", &normed, error) != 0 ||
        clip_json_flag(object, where, "variable_text", &tower->text.variable, error) != 0 ||
        clip_json_flag(object, where, "zero_init_residual", &tower->text.zero_residual, error) != 0)
        return -1;
    tower->block.flags |= biased ? CLIP_BLOCK_ATTN_GATE_BIAS : 0;
    tower->text.flags |= normed ? CLIP_TEXT_NORM : 0;
    return 0;
}

/* Of hidden layers and norms. */
static int read_parts(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                      struct clip_error *error)
{
    int mlp = MLP_SWIGLU, norm = 0, placement = 0;
    double epsilon = 1e-6, scale = 0;
    if (clip_json_choice(object, where, "mlp_type", mlps, MLPS, &mlp, error) != 0 ||
        clip_json_choice(object, where, "norm_type", norms, 2, &norm, error) != 0 ||
        clip_json_choice(object, where, "norm_placement", placements, 2, &placement, error) != 0 ||
        clip_json_real(object, where, "norm_eps", 1e-20, 1, &epsilon, error) != 0 ||
        clip_json_real(object, where, "ls_init_value", -1e6, 1e6, &scale, error) != 0)
        return -1;
    tower->activation = activations[mlp];
    tower->block.names = mlp == MLP_SWIGLU ? &clip_block_names_modern_gated : &clip_block_names_modern;
    tower->block.flags |= mlp == MLP_SWIGLU ? CLIP_BLOCK_GATED | CLIP_BLOCK_JOINED_GATE : 0;
    tower->block.flags |= norm == 0 ? CLIP_BLOCK_RMS : 0;
    tower->block.flags |= placement ? CLIP_BLOCK_ATTN_NORM | CLIP_BLOCK_MLP_NORM : 0;
    tower->block.flags |= clip_json_get(object, "ls_init_value") ? CLIP_BLOCK_LAYER_SCALE : 0;
    tower->block.epsilon = (float)epsilon;
    tower->block.layer_scale = (float)scale;
    return 0;
}

/* Masks, positions, registers, and the pool. */
static int read_text(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                     struct clip_error *error)
{
    int pool = 0, mode = 0, position = 0;
    double temperature = 10000;
    if (clip_json_choice(object, where, "pool_type", pools, CLIP_COUNT_OF(pools), &pool, error) != 0 ||
        clip_json_choice(object, where, "attention_mode", modes, 2, &mode, error) != 0 ||
        clip_json_choice(object, where, "pos_embed", positions, 3, &position, error) != 0 ||
        clip_json_real(object, where, "rope_temperature", 1e-3, 1e12, &temperature, error) != 0 ||
        clip_json_int(object, where, "pad_id", 0, CLIP_MAX_VOCABULARY, &tower->pad, error) != 0 ||
        clip_json_int(object, where, "eos_id", 0, CLIP_MAX_VOCABULARY, &tower->end_token, error) != 0 ||
        clip_json_int(object, where, "reg_tokens", 0, CLIP_MAX_CONTEXT, &tower->text.registers, error) != 0)
        return -1;
    clip_pooling_set(tower, CLIP_POOLS_TEXT, pools[pool ? pool : 1], 0);
    if (!clip_pooling_of(tower)->all && tower->end_token < 0)
        return clip_fail(error, "%s.pool_type \"%s\" needs an eos_id", where, pools[pool]);
    tower->open_mask = mode;
    tower->text.rotary = position == 0 ? (float)temperature : 0;
    tower->text.flags |= mode ? CLIP_TEXT_HIDES_PADDING : 0;
    return 0;
}

static int read_projection(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                           struct clip_error *error)
{
    const char *type = "linear";
    int bias = 0;
    if (clip_json_string(object, where, "proj_type", &type, error) != 0 ||
        clip_json_flag(object, where, "proj_bias", &bias, error) != 0)
        return -1;
    tower->head = strcmp(type, "none") == 0 ? &clip_head_none
                  : bias                    ? &clip_head_text_linear
                                            : &clip_head_text_rows;
    return 0;
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    tower->text = (struct clip_text_arch){.names = &clip_text_names_modern,
                                          .flags = CLIP_TEXT_NO_POSITIONS | CLIP_TEXT_GUARDED};
    if (clip_json_options(object, where, options, CLIP_COUNT_OF(options), error) != 0 ||
        clip_read_text_sizes(object, where, tower, error) != 0 ||
        read_flags(object, where, tower, error) != 0 || read_parts(object, where, tower, error) != 0 ||
        read_text(object, where, tower, error) != 0)
        return -1;
    return read_projection(object, where, tower, error);
}

static void put_flags(FILE *file, const struct clip_tower_arch *tower)
{
    unsigned flags = tower->block.flags;
    for (size_t i = 0; i < CLIP_COUNT_OF(block_flags); i++)
        if (((flags & block_flags[i].flag) != 0) == block_flags[i].when)
            fprintf(file, "      \"%s\": true,\n", block_flags[i].key);
    if (flags & CLIP_BLOCK_ATTN_GATE)
        fprintf(file, "      \"gate_bias\": %s,\n", flags & CLIP_BLOCK_ATTN_GATE_BIAS ? "true" : "false");
    if (flags & CLIP_BLOCK_LAYER_SCALE)
        fprintf(file, "      \"ls_init_value\": %.9g,\n", (double)tower->block.layer_scale);
    if (tower->text.flags & CLIP_TEXT_NORM)
        fputs("      \"pre_norm\": true,\n", file);
    if (tower->text.variable)
        fputs("      \"variable_text\": true,\n", file);
    if (tower->text.zero_residual)
        fputs("      \"zero_init_residual\": true,\n", file);
    if (tower->text.registers)
        fprintf(file, "      \"reg_tokens\": %d,\n", tower->text.registers);
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    int mlp = 0;
    while (activations[mlp] != tower->activation)
        mlp++;
    fputs("      \"text_arch\": \"modern\",\n", file);
    clip_put_text_sizes(file, tower);
    fprintf(file, "      \"pad_id\": %d,\n", tower->pad);
    if (tower->end_token >= 0)
        fprintf(file, "      \"eos_id\": %d,\n", tower->end_token);
    fprintf(file, "      \"pool_type\": \"%s\",\n      \"attention_mode\": \"%s\",\n",
            clip_pooling_of(tower)->names[CLIP_POOLS_TEXT], modes[tower->open_mask]);
    fprintf(file, "      \"pos_embed\": \"%s\",\n", positions[!(tower->text.rotary > 0)]);
    if (tower->text.rotary > 0 && tower->text.rotary != 10000)
        fprintf(file, "      \"rope_temperature\": %.9g,\n", (double)tower->text.rotary);
    fprintf(file, "      \"mlp_type\": \"%s\",\n      \"norm_type\": \"%s\",\n", mlps[mlp],
            norms[!(tower->block.flags & CLIP_BLOCK_RMS)]);
    fprintf(file, "      \"norm_eps\": %.9g,\n      \"norm_placement\": \"%s\",\n",
            (double)tower->block.epsilon, placements[(tower->block.flags & CLIP_BLOCK_ATTN_NORM) != 0]);
    put_flags(file, tower);
    if (clip_head_of(tower) == &clip_head_none)
        fputs("      \"proj_type\": \"none\",\n", file);
    if (clip_head_of(tower) == &clip_head_text_linear)
        fputs("      \"proj_bias\": true,\n", file);
    fprintf(file, "      \"mlp_ratio\": %.17g\n", clip_mlp_ratio(tower));
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {{0}};

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    clip_describe_text_sizes(out, tower);
    fprintf(out, "%-14s%s\n", "mask", tower->open_mask ? "padding" : "causal");
    fprintf(out, "%-14s%s\n", "positions", tower->text.rotary > 0 ? "rotary" : "none");
    clip_describe_features(out, tower);
}

const struct clip_kind clip_kind_modern = {
    .name = "modern-text",
    .title = "modern text transformer",
    .side = CLIP_SIDE_TEXT,
    .own_activation = 1,
    .custom_text = 1,
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .head = &clip_head_text_rows,
    .check = check_arch,
    .list = list_tensors,
    .prefixes = prefixes,
    .is_open_clip = is_open_clip,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .anchors = anchors,
    .first_tensors = {"blocks.0.attn.qkv.weight"},
    .shapes_lack = "a modern text transformer do not say how it is made",
    .describe = describe_tower,
    .describe_json = clip_describe_text_json,
};
