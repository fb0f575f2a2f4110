/* The text transformer. */
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
    return clip_check_end_token(tower, error);
}

static void find_positions(const struct clip_tower_arch *tower, struct clip_positions *table)
{
    *table = (struct clip_positions){.name = clip_text_name(tower, CLIP_TEXT_POSITIONS)};
}

/* --- tensors --- */

void clip_list_text(struct clip_listing *listing, const struct clip_tower_arch *tower,
                    enum clip_text_tensor tensor, struct clip_initial initial)
{
    size_t shape[4];
    if (!clip_text_shape(tower, tensor, shape))
        return;
    struct clip_slot *slot = clip_list_tensor(listing, initial, shape, "%s", clip_text_name(tower, tensor));
    if (tensor == CLIP_TEXT_TOKENS)
        slot->rounding = CLIP_ROUNDED_F16;
}

static void list_first(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    clip_list_text(listing, tower, CLIP_TEXT_POSITIONS, clip_initial_normal(0.01));
    clip_list_text(listing, tower, CLIP_TEXT_CLASS, clip_initial_normal(0.01));
    clip_list_projection(listing, tower, (size_t)tower->width, embed);
}

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    (void)embed;
    size_t width = (size_t)tower->width;
    double scale = 1 / sqrt((double)width), residual = scale / sqrt(2.0 * tower->layers);
    struct clip_block_draws draws = {clip_initial_normal(scale), clip_initial_normal(residual),
                                     clip_initial_normal(1 / sqrt(2.0 * (double)width)),
                                     clip_initial_normal(residual), 1};
    clip_list_blocks(listing, tower, &draws);
    clip_list_text(listing, tower, CLIP_TEXT_TOKENS, clip_initial_normal(0.02));
    clip_list_text(listing, tower, CLIP_TEXT_FINAL_WEIGHT, clip_initial_ones);
    clip_list_text(listing, tower, CLIP_TEXT_FINAL_BIAS, clip_initial_zeros);
}

static const char *const prefixes[] = {"transformer.",
                                       "token_embedding.",
                                       "positional_embedding",
                                       "ln_final.",
                                       "text_projection",
                                       "cls_emb",
                                       NULL};

static const struct clip_name_pair hf_names[] = {
    {"text_model.embeddings.token_embedding.", "token_embedding.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.final_layer_norm.", "ln_final.", CLIP_NAME_WHOLE, 0, 0},
    {"text_projection.weight", "text_projection", CLIP_NAME_WHOLE, 1, 0},
    CLIP_BLOCK_NAMES("text_model.encoder.layers.#.", "transformer.resblocks.#."),
    {0}};

/* --- open_clip --- */

static const struct clip_json_option options[] = {{"context_length", CLIP_JSON_USED, NULL},
                                                  {"vocab_size", CLIP_JSON_USED, NULL},
                                                  {"width", CLIP_JSON_USED, NULL},
                                                  {"heads", CLIP_JSON_USED, NULL},
                                                  {"layers", CLIP_JSON_USED, NULL},
                                                  {"mlp_ratio", CLIP_JSON_USED, NULL},
                                                  {"pool_type", CLIP_JSON_USED, NULL},
                                                  {"eos_id", CLIP_JSON_USED, NULL},
                                                  {"bos_id", CLIP_JSON_IGNORED, NULL},
                                                  {"pad_id", CLIP_JSON_USED, NULL},
                                                  {"embed_cls", CLIP_JSON_USED, NULL},
                                                  {"no_causal_mask", CLIP_JSON_USED, NULL},
                                                  {"proj_type", CLIP_JSON_USED, NULL},
                                                  {"proj_bias", CLIP_JSON_USED, NULL},
                                                  {"hf_model_pretrained", CLIP_JSON_IGNORED, NULL},
                                                  {"hf_proj_type", CLIP_JSON_IGNORED, NULL},
                                                  {"hf_pooler_type", CLIP_JSON_IGNORED, NULL},
                                                  {"output_tokens", CLIP_JSON_IGNORED, NULL},
                                                  {"final_ln_after_pool", CLIP_JSON_IGNORED, NULL},
                                                  {"text_arch", CLIP_JSON_ONLY, "clip"},
                                                  {"variable_text", CLIP_JSON_USED, NULL},
                                                  CLIP_BLOCK_OPTIONS};

/* Which position's features are the text's: open_clip's embed_cls, pool_type and eos_id. */
static int read_pooling(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                        struct clip_error *error)
{
    const char *pool = "argmax";
    if (clip_json_string(object, where, "pool_type", &pool, error) != 0 ||
        clip_json_flag(object, where, "no_causal_mask", &tower->open_mask, error) != 0 ||
        clip_json_flag(object, where, "embed_cls", &tower->class_row, error) != 0 ||
        clip_json_int(object, where, "pad_id", 0, CLIP_MAX_VOCABULARY, &tower->pad, error) != 0)
        return -1;
    if (tower->class_row)
        pool = "last";
    if (strcmp(pool, "argmax") == 0) /* the end token is the largest id */
        return 0;
    if (clip_pooling_set(tower, CLIP_POOLS_TEXT, pool, 0) != 0 || clip_pooling_of(tower)->all)
        return clip_fail(error, "%s.pool_type: \"%.40s\" is not supported", where, pool);
    if (clip_pooling_of(tower)->features)
        return 0;
    if (!clip_json_get(object, "eos_id"))
        return clip_fail(error, "%s.pool_type \"eos\" needs an eos_id", where);
    return clip_json_int(object, where, "eos_id", 0, CLIP_MAX_VOCABULARY, &tower->end_token, error);
}

static int read_projection(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                           struct clip_error *error)
{
    const char *type = "linear";
    int bias = 0;
    if (clip_json_string(object, where, "proj_type", &type, error) != 0 ||
        clip_json_flag(object, where, "proj_bias", &bias, error) != 0)
        return -1;
    if (strcmp(type, "none") == 0)
        tower->head = &clip_head_none;
    else if (strcmp(type, "linear") != 0)
        return clip_fail(error, "%s.proj_type: \"%.40s\" is not supported", where, type);
    else if (bias)
        tower->head = &clip_head_text_linear;
    return 0;
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    if (clip_json_options(object, where, options, CLIP_COUNT_OF(options), error) != 0 ||
        clip_read_text_sizes(object, where, tower, error) != 0 ||
        clip_json_flag(object, where, "variable_text", &tower->text.variable, error) != 0 ||
        clip_read_block(object, where, tower, error) != 0 || read_pooling(object, where, tower, error) != 0)
        return -1;
    return read_projection(object, where, tower, error);
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    clip_put_text_sizes(file, tower);
    if (tower->text.variable)
        fputs("      \"variable_text\": true,\n", file);
    /* The largest id and the end token are one where the end token is the last: the way every open_clip
     * knows. */
    if (tower->end_token >= 0 && (own || tower->end_token != tower->vocabulary - 1))
        fprintf(file, "      \"pool_type\": \"eos\",\n      \"eos_id\": %d,\n", tower->end_token);
    if (tower->class_row)
        fprintf(file, "      \"embed_cls\": true,\n      \"pad_id\": %d,\n", tower->pad);
    else if (clip_pooling_of(tower)->features)
        fprintf(file, "      \"pool_type\": \"%s\",\n", clip_pooling_of(tower)->names[CLIP_POOLS_TEXT]);
    if (tower->open_mask)
        fputs("      \"no_causal_mask\": true,\n", file);
    if (clip_head_of(tower) == &clip_head_none)
        fputs("      \"proj_type\": \"none\",\n", file);
    if (clip_head_of(tower) == &clip_head_text_linear)
        fputs("      \"proj_bias\": true,\n", file);
    clip_put_block(file, tower);
    fprintf(file, "      \"mlp_ratio\": %.17g\n", clip_mlp_ratio(tower));
}

/* --- Hugging Face --- */

/* transformers' default, where a configuration is silent. */
enum { DEFAULT_END_TOKEN = 49407 };

/* MetaCLIP 2's end token is what its configuration says. */
static int read_metaclip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                         struct clip_error *error)
{
    tower->end_token = DEFAULT_END_TOKEN;
    tower->width = 512;
    tower->mlp = 2048;
    tower->layers = 12;
    tower->heads = 8;
    tower->context = 77;
    tower->vocabulary = 49408;
    tower->activation = CLIP_QUICK_GELU;
    if (clip_read_hf_tower(object, where, tower, error) != 0 ||
        clip_json_int(object, where, "max_position_embeddings", 1, CLIP_MAX_CONTEXT, &tower->context,
                      error) != 0 ||
        clip_json_int(object, where, "vocab_size", 1, CLIP_MAX_VOCABULARY, &tower->vocabulary, error) != 0)
        return -1;
    return clip_json_int(object, where, "eos_token_id", 0, CLIP_MAX_VOCABULARY, &tower->end_token, error);
}

static int read_hf(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                   struct clip_error *error)
{
    if (read_metaclip(object, where, tower, error) != 0)
        return -1;
    int end = tower->end_token;
    /* 2 was once written by mistake everywhere; transformers takes it as "the largest id". */
    tower->end_token = end == 2 || (end == DEFAULT_END_TOKEN && end >= tower->vocabulary) ? -1 : end;
    return 0;
}

/* Where the end token is the largest id, OpenAI's folders say 2, and 0 and 1 for the others. */
static void put_hf(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed)
{
    int end = tower->end_token;
    clip_put_hf_tower(file, in, tower, embed);
    fprintf(file, "%s\"bos_token_id\": %d,\n%s\"eos_token_id\": %d,\n%s\"pad_token_id\": 1,\n", in,
            end > 0 ? end - 1 : 0, in, end >= 0 ? end : 2, in);
    fprintf(file, "%s\"max_position_embeddings\": %d,\n%s\"vocab_size\": %d\n", in, tower->context, in,
            tower->vocabulary);
}

static int refuse_metaclip(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (tower->open_mask || tower->class_row || !(clip_pooling_of(tower)->hf & 1 << CLIP_HF_CLIP) ||
        tower->text.flags)
        return clip_fail(error,
                         "Hugging Face's form of CLIP has only causal text towers whose features are the end "
                         "token's");
    if (clip_head_of(tower) != &clip_head_text)
        return clip_fail(error, "Hugging Face's form of CLIP has no text projection that is %s",
                         clip_head_of(tower)->title);
    if (clip_refuse_hf_blocks(tower, error) != 0)
        return -1;
    return tower->end_token < 0 ? clip_fail(error, "Hugging Face's form of MetaCLIP 2 needs an end token")
                                : 0;
}

static int refuse_hf(const struct clip_tower_arch *tower, struct clip_error *error)
{
    struct clip_tower_arch ended = *tower;
    ended.end_token = 0;
    if (refuse_metaclip(&ended, error) != 0)
        return -1;
    return tower->end_token == 2 ? clip_fail(error, "Hugging Face's form cannot have 2 as the end token") : 0;
}

/* --- Hugging Face's SiglipModel --- */

static const struct clip_name_pair siglip_names[] = {
    {"text_model.embeddings.token_embedding.", "token_embedding.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.embeddings.position_embedding.weight", "positional_embedding", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.final_layer_norm.", "ln_final.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.head.", "text_projection.", CLIP_NAME_WHOLE, 0, 0},
    CLIP_BLOCK_NAMES("text_model.encoder.layers.#.", "transformer.resblocks.#."),
    {0}};

static int read_siglip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    tower->width = 768;
    tower->mlp = 3072;
    tower->layers = tower->heads = 12;
    tower->context = 64;
    tower->vocabulary = 32000;
    tower->end_token = -1;
    tower->activation = CLIP_GELU_TANH;
    tower->block.epsilon = 1e-6f;
    tower->open_mask = 1;
    tower->pooling = CLIP_POOL_LAST;
    tower->head = &clip_head_text_linear;
    if (clip_read_hf_tower(object, where, tower, error) != 0 ||
        clip_json_int(object, where, "max_position_embeddings", 1, CLIP_MAX_CONTEXT, &tower->context,
                      error) != 0)
        return -1;
    return clip_json_int(object, where, "vocab_size", 1, CLIP_MAX_VOCABULARY, &tower->vocabulary, error);
}

static void put_siglip(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed)
{
    clip_put_hf_tower(file, in, tower, 0);
    fprintf(file, "%s\"projection_size\": %d,\n%s\"max_position_embeddings\": %d,\n%s\"vocab_size\": %d\n",
            in, embed, in, tower->context, in, tower->vocabulary);
}

static int refuse_siglip(const struct clip_tower_arch *tower, struct clip_error *error)
{
    if (!tower->open_mask || tower->class_row || !(clip_pooling_of(tower)->hf & 1 << CLIP_HF_SIGLIP) ||
        tower->text.flags || clip_head_of(tower) != &clip_head_text_linear)
        return clip_fail(error, "Hugging Face's form of SigLIP has only text towers without a mask whose "
                                "features are the last position's, with a projection that has a bias");
    return clip_refuse_hf_blocks(tower, error);
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {
    {"text_model.embeddings.token_embedding.weight", 0, 1 + CLIP_HF_CLIP, "", 0},
    {"embeddings.token_embedding.weight", 0, 1 + CLIP_HF_CLIP, "text_model.", 0},
    {"text.token_embedding.weight", 0, 0, "", 1},
    {"token_embedding.weight", 0, 0, "", 0},
    {0}};

static int read_shapes(const struct clip_weights *weights, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    if (clip_shape_dimension(weights, "positional_embedding", 2, 0, CLIP_MAX_CONTEXT, &tower->context,
                             error) != 0 ||
        clip_shape_dimension(weights, "token_embedding.weight", 2, 0, CLIP_MAX_VOCABULARY, &tower->vocabulary,
                             error) != 0 ||
        clip_shape_dimension(weights, "ln_final.weight", 1, 0, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_shape_dimension(weights, "transformer.resblocks.0.mlp.c_fc.weight", 2, 0, CLIP_MAX_MLP,
                             &tower->mlp, error) != 0)
        return -1;
    tower->layers = clip_count_blocks(weights, "transformer.resblocks.", ".attn.in_proj_weight");
    tower->heads = tower->width / 64;
    return 0;
}

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    clip_describe_text_sizes(out, tower);
    if (tower->open_mask)
        fprintf(out, "%-14snone\n", "mask");
    clip_describe_features(out, tower);
}

const struct clip_kind clip_kind_text = {
    .name = "text",
    .title = "text transformer",
    .side = CLIP_SIDE_TEXT,
    .known_widths = {512, 640, 768, 1024},
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .head = &clip_head_text,
    .check = check_arch,
    .list_first = list_first,
    .list = list_tensors,
    .prefixes = prefixes,
    .positions = find_positions,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .hf = {[CLIP_HF_CLIP] = {.class = "CLIPTextModel",
                             .key = "text_config",
                             .old_key = "text_config_dict",
                             .read = read_hf,
                             .put = put_hf,
                             .refuse = refuse_hf,
                             .names = hf_names},
           [CLIP_HF_SIGLIP] = {.key = "text_config",
                               .read = read_siglip,
                               .put = put_siglip,
                               .refuse = refuse_siglip,
                               .names = siglip_names},
           [CLIP_HF_METACLIP] = {.key = "text_config",
                                 .old_key = "text_config_dict",
                                 .read = read_metaclip,
                                 .put = put_hf,
                                 .refuse = refuse_metaclip,
                                 .names = hf_names}},
    .anchors = anchors,
    .first_tensors = {"token_embedding.weight"},
    .read_shapes = read_shapes,
    .describe = describe_tower,
    .describe_json = clip_describe_text_json,
};
