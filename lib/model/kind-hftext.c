/* The encoders of Hugging Face's transformers that open_clip takes for captions (HFTextEncoder): BERT,
 * RoBERTa, XLM-R, and the encoders of M2M100 (NLLB) and of T5 (mT5). */
#include "model/kind-parts.h"
#include "model/shapes.h"

#include <string.h>

/* --- what their names stand for --- */

#define BERT_BLOCK (CLIP_BLOCK_NORM_AFTER | CLIP_BLOCK_SPLIT_QKV | CLIP_BLOCK_SPLIT_BIAS)
#define M2M_BLOCK (CLIP_BLOCK_SPLIT_QKV | CLIP_BLOCK_SPLIT_BIAS)
#define BERT_TEXT (CLIP_TEXT_HIDES_PADDING | CLIP_TEXT_TYPES | CLIP_TEXT_NORM | CLIP_TEXT_NO_FINAL_NORM)
#define M2M_TEXT (CLIP_TEXT_HIDES_PADDING | CLIP_TEXT_COUNTED | CLIP_TEXT_SINUSOIDS | CLIP_TEXT_SCALED)

#define T5_BLOCK                                                                                             \
    (CLIP_BLOCK_SPLIT_QKV | CLIP_BLOCK_NO_QKV_BIAS | CLIP_BLOCK_NO_BIASES | CLIP_BLOCK_RMS |                 \
     CLIP_BLOCK_UNSCALED | CLIP_BLOCK_GATED)
#define T5_TEXT (CLIP_TEXT_HIDES_PADDING | CLIP_TEXT_RELATIVE)

/* A model_type, and what its configuration calls things. */
static const struct family {
    const char *type;
    const struct clip_block_names *blocks;
    const struct clip_text_names *names;
    unsigned block, text;
    const char *width, *layers, *heads, *mlp, *activation;
} families[] = {
    {"bert", &clip_block_names_bert, &clip_text_names_bert, BERT_BLOCK, BERT_TEXT, "hidden_size",
     "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"},
    {"roberta", &clip_block_names_bert, &clip_text_names_bert, BERT_BLOCK, BERT_TEXT | CLIP_TEXT_COUNTED,
     "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"},
    {"xlm-roberta", &clip_block_names_bert, &clip_text_names_bert, BERT_BLOCK, BERT_TEXT | CLIP_TEXT_COUNTED,
     "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"},
    {"m2m_100", &clip_block_names_m2m, &clip_text_names_m2m, M2M_BLOCK, M2M_TEXT, "d_model", "encoder_layers",
     "encoder_attention_heads", "encoder_ffn_dim", "activation_function"},
    {"mt5", &clip_block_names_t5, &clip_text_names_t5, T5_BLOCK, T5_TEXT, "d_model", "num_layers",
     "num_heads", "d_ff", NULL},
};

enum family_index { BERT, ROBERTA, XLM_ROBERTA, M2M_100, MT5 };
enum { T5_HEAD = 64, T5_BUCKETS = 32, T5_FARTHEST = 128 };

static const struct named {
    const char *name;
    const struct family *family;
    int width, layers, heads, mlp, vocabulary, places, types, pad;
    float epsilon;
    enum clip_activation activation;
} names[] = {
    {"roberta-base", &families[ROBERTA], 768, 12, 12, 3072, 50265, 514, 1, 1, 1e-5f, CLIP_GELU},
    {"roberta-large", &families[ROBERTA], 1024, 24, 16, 4096, 50265, 514, 1, 1, 1e-5f, CLIP_GELU},
    {"xlm-roberta-base", &families[XLM_ROBERTA], 768, 12, 12, 3072, 250002, 514, 1, 1, 1e-5f, CLIP_GELU},
    {"xlm-roberta-large", &families[XLM_ROBERTA], 1024, 24, 16, 4096, 250002, 514, 1, 1, 1e-5f, CLIP_GELU},
    {"bert-base-uncased", &families[BERT], 768, 12, 12, 3072, 30522, 512, 2, 0, 1e-12f, CLIP_GELU},
    {"facebook/nllb-200-distilled-600M", &families[M2M_100], 1024, 12, 16, 4096, 256206, 1024, 0, 1, 1e-5f,
     CLIP_RELU},
    {"facebook/nllb-200-distilled-1.3B", &families[M2M_100], 1024, 24, 16, 8192, 256206, 1024, 0, 1, 1e-5f,
     CLIP_RELU},
    {"google/mt5-base", &families[MT5], 768, 12, 12, 2048, 250112, 0, 0, 0, 1e-6f, CLIP_GELU_TANH},
    {"google/mt5-large", &families[MT5], 1024, 24, 16, 2816, 250112, 0, 0, 0, 1e-6f, CLIP_GELU_TANH},
    {"google/mt5-xl", &families[MT5], 2048, 24, 32, 5120, 250112, 0, 0, 0, 1e-6f, CLIP_GELU_TANH},
};

static const struct named *find_named(const char *name)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return &names[i];
    return NULL;
}

static const struct family *family_of(const struct clip_tower_arch *tower)
{
    const struct family *family = families;
    while (family->type != tower->text.type)
        family++;
    return family;
}

/* --- checks --- */

/* Of T5: the heads side by side may be of any width; buckets of four kinds. */
static int check_relative(const struct clip_tower_arch *tower, struct clip_error *error)
{
    const struct clip_text_arch *text = &tower->text;
    if (clip_check_bounds("d_kv", tower->block.head, CLIP_MAX_WIDTH / tower->heads, error) != 0 ||
        clip_check_bounds("relative_attention_num_buckets", text->buckets, CLIP_MAX_CONTEXT, error) != 0)
        return -1;
    if (text->buckets % 4 || text->farthest <= text->buckets / 4)
        return clip_fail(
            error,
            "%d buckets of relative positions up to %d cannot be: a multiple of 4, and distances beyond a "
            "quarter of it",
            text->buckets, text->farthest);
    return 0;
}

static int check_arch(const struct clip_tower_arch *tower, struct clip_error *error)
{
    int counted = (tower->text.flags & CLIP_TEXT_COUNTED) != 0;
    if (clip_check_text_sizes(tower, error) != 0 ||
        clip_check_bounds("text heads", tower->heads, CLIP_MAX_WIDTH, error) != 0 ||
        clip_check_padding(tower, error) != 0)
        return -1;
    if (tower->text.flags & CLIP_TEXT_RELATIVE)
        return check_relative(tower, error);
    if (clip_check_bounds("positions", tower->text.places, CLIP_MAX_CONTEXT, error) != 0 ||
        clip_check_heads("text width", tower->width, tower->heads, error) != 0)
        return -1;
    if (tower->context + (counted ? tower->pad + 1 : 0) > tower->text.places)
        return clip_fail(error, "a context of %d needs more than the %d positions that there are",
                         tower->context, tower->text.places);
    if ((tower->text.flags & CLIP_TEXT_SINUSOIDS) && tower->width < 4)
        return clip_fail(error, "a width of %d is too small for sinusoids", tower->width);
    if ((tower->text.flags & CLIP_TEXT_TYPES) && tower->text.types < 1)
        return clip_fail(error, "there are no token types");
    if (clip_head_of(tower) == &clip_head_hf_alt)
        return clip_check_bounds("project_dim", tower->text.transformed, CLIP_MAX_WIDTH, error);
    return 0;
}

/* --- tensors --- */

static void list_tensors(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t embed)
{
    struct clip_initial drawn = clip_initial_normal(0.02);
    struct clip_block_draws draws = {drawn, drawn, drawn, drawn, 0};
    for (int tensor = 0; tensor < CLIP_TEXT_TENSORS; tensor++) {
        int weight = tensor == CLIP_TEXT_NORM_WEIGHT || tensor == CLIP_TEXT_FINAL_WEIGHT;
        int bias = tensor == CLIP_TEXT_NORM_BIAS || tensor == CLIP_TEXT_FINAL_BIAS ||
                   tensor == CLIP_TEXT_POOLER_BIAS;
        if (tensor == CLIP_TEXT_FINAL_WEIGHT)
            clip_list_blocks(listing, tower, &draws);
        clip_list_text(listing, tower, tensor,
                       weight ? clip_initial_ones
                       : bias ? clip_initial_zeros
                              : drawn);
    }
    clip_list_projection(listing, tower, (size_t)tower->width, embed);
}

static const char *const prefixes[] = {"transformer.", "proj.", NULL};

/* --- open_clip: hf_model_name and hf_model_config --- */

static int is_open_clip(struct json_object *object)
{
    struct json_object *name = clip_json_get(object, "hf_model_name");
    return json_object_is_type(name, json_type_string) && find_named(json_object_get_string(name));
}

static const struct clip_json_option options[] = {
    {"hf_model_name", CLIP_JSON_USED, NULL},
    {"hf_model_config", CLIP_JSON_USED, NULL},
    {"hf_pooler_type", CLIP_JSON_USED, NULL},
    {"hf_proj_type", CLIP_JSON_USED, NULL},
    {"context_length", CLIP_JSON_USED, NULL},
    {"variable_text", CLIP_JSON_USED, NULL},
    {"hf_model_pretrained", CLIP_JSON_IGNORED, NULL},
    {"output_tokens", CLIP_JSON_IGNORED, NULL},
    /* open_clip's own towers' */
    {"vocab_size", CLIP_JSON_IGNORED, NULL},
    {"width", CLIP_JSON_IGNORED, NULL},
    {"heads", CLIP_JSON_IGNORED, NULL},
    {"layers", CLIP_JSON_IGNORED, NULL},
    {"pad_id", CLIP_JSON_IGNORED, NULL},
    {"eos_id", CLIP_JSON_IGNORED, NULL},
    {"bos_id", CLIP_JSON_IGNORED, NULL},
};

/* Of a configuration of transformers what changes an encoder's arithmetic and is not read. */
static const struct clip_json_option refused[] = {
    {"position_embedding_type", CLIP_JSON_ONLY, "absolute"},
    {"is_decoder", CLIP_JSON_OFF, NULL},
    {"add_cross_attention", CLIP_JSON_OFF, NULL},
    {"cross_attention_hidden_size", CLIP_JSON_OFF, NULL},
};

/* 0 unless one of the options is there and not as it must be. */
static int check_refused(struct json_object *object, const char *where, struct clip_error *error)
{
    struct json_object *some = json_object_new_object();
    for (size_t i = 0; i < CLIP_COUNT_OF(refused); i++)
        if (clip_json_get(object, refused[i].name))
            json_object_object_add(some, refused[i].name,
                                   json_object_get(clip_json_get(object, refused[i].name)));
    int result = clip_json_options(some, where, refused, CLIP_COUNT_OF(refused), error);
    json_object_put(some);
    return result;
}

static int read_t5(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                   struct clip_error *error)
{
    double epsilon = (double)tower->block.epsilon;
    const char *hidden = "gated-gelu";
    if (clip_json_int(object, where, "d_kv", 1, CLIP_MAX_WIDTH, &tower->block.head, error) != 0 ||
        clip_json_int(object, where, "relative_attention_num_buckets", 1, CLIP_MAX_CONTEXT,
                      &tower->text.buckets, error) != 0 ||
        clip_json_int(object, where, "relative_attention_max_distance", 1, CLIP_MAX_VOCABULARY,
                      &tower->text.farthest, error) != 0 ||
        clip_json_real(object, where, "layer_norm_epsilon", 1e-20, 1, &epsilon, error) != 0 ||
        clip_json_string(object, where, "feed_forward_proj", &hidden, error) != 0)
        return -1;
    tower->block.epsilon = (float)epsilon;
    return strcmp(hidden, "gated-gelu") == 0
               ? 0
               : clip_fail(error, "%s.feed_forward_proj: \"%.40s\" is not supported", where, hidden);
}

static int read_encoder(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                        struct clip_error *error)
{
    const struct family *family = family_of(tower);
    double epsilon = (double)tower->block.epsilon;
    int scaled = 1;
    if (check_refused(object, where, error) != 0 ||
        clip_json_int(object, where, family->width, 1, CLIP_MAX_WIDTH, &tower->width, error) != 0 ||
        clip_json_int(object, where, family->layers, 1, CLIP_MAX_LAYERS, &tower->layers, error) != 0 ||
        clip_json_int(object, where, family->heads, 1, CLIP_MAX_WIDTH, &tower->heads, error) != 0 ||
        clip_json_int(object, where, family->mlp, 1, CLIP_MAX_MLP, &tower->mlp, error) != 0 ||
        clip_json_int(object, where, "vocab_size", 1, CLIP_MAX_VOCABULARY, &tower->vocabulary, error) != 0 ||
        clip_json_int(object, where, "max_position_embeddings", 1, CLIP_MAX_CONTEXT, &tower->text.places,
                      error) != 0 ||
        clip_json_int(object, where, "type_vocab_size", 0, CLIP_MAX_CONTEXT, &tower->text.types, error) !=
            0 ||
        clip_json_int(object, where, "pad_token_id", 0, CLIP_MAX_VOCABULARY, &tower->pad, error) != 0 ||
        clip_json_int(object, where, "project_dim", 1, CLIP_MAX_WIDTH, &tower->text.transformed, error) !=
            0 ||
        clip_json_real(object, where, "layer_norm_eps", 1e-20, 1, &epsilon, error) != 0 ||
        clip_json_flag(object, where, "scale_embedding", &scaled, error) != 0)
        return -1;
    if (family == &families[MT5])
        return read_t5(object, where, tower, error);
    if (clip_read_hf_activation(object, where, family->activation, &tower->activation, error) != 0)
        return -1;
    tower->block.epsilon = (float)epsilon;
    if (family == &families[M2M_100] && !scaled)
        tower->text.flags &= ~(unsigned)CLIP_TEXT_SCALED;
    return 0;
}

static void set_named(const struct named *named, struct clip_tower_arch *tower)
{
    tower->width = named->width;
    tower->layers = named->layers;
    tower->heads = named->heads;
    tower->mlp = named->mlp;
    tower->vocabulary = named->vocabulary;
    tower->activation = named->activation;
    tower->pad = named->pad;
    tower->end_token = -1;
    tower->open_mask = 1;
    tower->block = (struct clip_block_arch){
        .names = named->family->blocks, .flags = named->family->block, .epsilon = named->epsilon};
    tower->text = (struct clip_text_arch){.names = named->family->names,
                                          .flags = named->family->text,
                                          .places = named->places,
                                          .types = named->types,
                                          .type = named->family->type};
    if (named->family == &families[MT5]) {
        tower->block.head = T5_HEAD;
        tower->text.buckets = T5_BUCKETS;
        tower->text.farthest = T5_FARTHEST;
    }
}

/* The row of the first token, through the pooler that a BERT has of its own. */
static const char cls_pooler[] = "cls_pooler";

static const char *pooler_of(const struct clip_tower_arch *tower)
{
    return tower->text.flags & CLIP_TEXT_TANH ? cls_pooler : clip_pooling_of(tower)->names[CLIP_POOLS_HF];
}

static int set_pooler(struct clip_tower_arch *tower, const char *name)
{
    if (strcmp(name, cls_pooler) != 0)
        return clip_pooling_set(tower, CLIP_POOLS_HF, name, 0);
    tower->pooling = CLIP_POOL_FIRST;
    tower->text.flags |= tower->text.names == &clip_text_names_bert ? CLIP_TEXT_TANH : 0;
    return 0;
}

static const struct {
    const char *name; /* NULL: null */
    const struct clip_head *head;
} projections[] = {{"mlp", &clip_head_hf_mlp},
                   {"linear", &clip_head_hf_linear},
                   {"clap_mlp", &clip_head_hf_clap},
                   {"altclip", &clip_head_hf_alt}, /* ours; open_clip has no such tower */
                   {NULL, &clip_head_none}};

static int read_pooler(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error)
{
    const char *pooler = "mean_pooler",
               *proj = json_object_object_get_ex(object, "hf_proj_type", NULL) ? NULL : "mlp";
    if (clip_json_string(object, where, "hf_pooler_type", &pooler, error) != 0 ||
        clip_json_string(object, where, "hf_proj_type", &proj, error) != 0)
        return -1;
    size_t j = 0;
    if (set_pooler(tower, pooler) != 0)
        return clip_fail(error, "%s.hf_pooler_type: \"%.40s\" is not supported", where, pooler);
    while (j < CLIP_COUNT_OF(projections) &&
           (!proj || !projections[j].name ? proj != projections[j].name
                                          : strcmp(projections[j].name, proj) != 0))
        j++;
    if (j == CLIP_COUNT_OF(projections))
        return clip_fail(error, "%s.hf_proj_type: \"%.40s\" is not supported", where, proj);
    tower->head = projections[j].head;
    if (tower->head == &clip_head_hf_alt)
        tower->text.flags &= ~(unsigned)CLIP_TEXT_NO_FINAL_NORM;
    return 0;
}

static int read_open_clip(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                          struct clip_error *error)
{
    struct json_object *more = NULL;
    set_named(find_named(json_object_get_string(clip_json_get(object, "hf_model_name"))), tower);
    tower->context = 77;
    if (clip_json_options(object, where, options, CLIP_COUNT_OF(options), error) != 0 ||
        clip_json_object(object, where, "hf_model_config", &more, error) != 0 ||
        (more && read_encoder(more, "hf_model_config", tower, error) != 0) ||
        clip_json_int(object, where, "context_length", 1, CLIP_MAX_CONTEXT, &tower->context, error) != 0 ||
        clip_json_flag(object, where, "variable_text", &tower->text.variable, error) != 0)
        return -1;
    return read_pooler(object, where, tower, error);
}

/* The first name of the family; of the same sizes, where there is one. */
static const struct named *find_name(const struct clip_tower_arch *tower)
{
    const struct named *like = NULL;
    for (size_t i = CLIP_COUNT_OF(names); i-- > 0;) {
        if (names[i].family != family_of(tower))
            continue;
        like = &names[i];
        if (like->width == tower->width && like->layers == tower->layers && like->mlp == tower->mlp)
            break;
    }
    return like;
}

static void put_open_clip(FILE *file, int own, const struct clip_tower_arch *tower)
{
    (void)own;
    const struct named *named = find_name(tower);
    const struct family *family = named->family;
    size_t j = 0;
    while (projections[j].head != clip_head_of(tower))
        j++;
    const char *quote = projections[j].name ? "\"" : "";
    fprintf(file, "      \"context_length\": %d,\n      \"hf_model_name\": \"%s\",\n", tower->context,
            named->name);
    if (tower->text.variable)
        fputs("      \"variable_text\": true,\n", file);
    fprintf(file, "      \"hf_pooler_type\": \"%s\",\n      \"hf_proj_type\": %s%s%s,\n", pooler_of(tower),
            quote, projections[j].name ? projections[j].name : "null", quote);
    fprintf(file, "      \"hf_model_config\": {\"%s\": %d, \"%s\": %d, \"%s\": %d, \"%s\": %d,\n",
            family->width, tower->width, family->layers, tower->layers, family->heads, tower->heads,
            family->mlp, tower->mlp);
    fprintf(file, "        \"vocab_size\": %d, \"pad_token_id\": %d", tower->vocabulary, tower->pad);
    if (family->activation)
        fprintf(file, ", \"max_position_embeddings\": %d, \"%s\": \"%s\"", tower->text.places,
                family->activation, clip_hf_activation(tower->activation));
    if (tower->text.flags & CLIP_TEXT_TYPES)
        fprintf(file, ", \"type_vocab_size\": %d, \"layer_norm_eps\": %.6g", tower->text.types,
                (double)tower->block.epsilon);
    if (tower->text.flags & CLIP_TEXT_SINUSOIDS)
        fprintf(file, ", \"scale_embedding\": %s", tower->text.flags & CLIP_TEXT_SCALED ? "true" : "false");
    if (tower->text.flags & CLIP_TEXT_RELATIVE)
        fprintf(file,
                ", \"d_kv\": %d, \"relative_attention_num_buckets\": %d, "
                "\"relative_attention_max_distance\": %d, \"layer_norm_epsilon\": %.6g",
                tower->block.head, tower->text.buckets, tower->text.farthest, (double)tower->block.epsilon);
    if (clip_head_of(tower) == &clip_head_hf_alt)
        fprintf(file, ", \"project_dim\": %d", tower->text.transformed);
    fputs("}\n", file);
}

/* --- Hugging Face: the text towers of Chinese-CLIP and AltCLIP --- */

static const struct clip_name_pair chinese_names[] = {
    {"text_model.embeddings.", "transformer.embeddings.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.encoder.layer.#.", "transformer.encoder.layer.#.", CLIP_NAME_WHOLE, 0, 0},
    {"text_projection.weight", "proj.weight", CLIP_NAME_WHOLE, 0, 0},
    {0}};

static const struct clip_name_pair alt_names[] = {
    {"text_model.roberta.embeddings.", "transformer.embeddings.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.roberta.encoder.layer.#.", "transformer.encoder.layer.#.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.pre_LN.", "transformer.pre_LN.", CLIP_NAME_WHOLE, 0, 0},
    {"text_model.transformation.", "proj.transformation.", CLIP_NAME_WHOLE, 0, 0},
    {"text_projection.weight", "proj.text_projection.weight", CLIP_NAME_WHOLE, 0, 0},
    {0}};

/* Where a configuration is silent, and the tokens to which captions are cut and padded. */
static const struct named chinese = {NULL, &families[BERT], 768,      12, 12, 3072, 30522, 512, 2,
                                     0,    1e-12f,          CLIP_GELU},
                          alt = {
                              NULL,     &families[XLM_ROBERTA], 1024, 24, 16, 4096, 250002, 514, 1, 1, 1e-5f,
                              CLIP_GELU};
enum { CHINESE_CONTEXT = 52, ALT_CONTEXT = 77, ALT_TRANSFORMED = 768 };

/* The features are the first token's. */
static int read_hf(struct json_object *object, const char *where, const struct named *usual, int context,
                   const struct clip_head *head, struct clip_tower_arch *tower, struct clip_error *error)
{
    set_named(usual, tower);
    tower->head = head;
    tower->pooling = CLIP_POOL_FIRST;
    if (read_encoder(object, where, tower, error) != 0)
        return -1;
    int most = tower->text.places - (tower->text.flags & CLIP_TEXT_COUNTED ? tower->pad + 1 : 0);
    tower->context = context < most ? context : most;
    return 0;
}

static int read_chinese(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                        struct clip_error *error)
{
    return read_hf(object, where, &chinese, CHINESE_CONTEXT, &clip_head_hf_linear, tower, error);
}

static int read_alt(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                    struct clip_error *error)
{
    if (read_hf(object, where, &alt, ALT_CONTEXT, &clip_head_hf_alt, tower, error) != 0)
        return -1;
    tower->text.flags &= ~(unsigned)CLIP_TEXT_NO_FINAL_NORM;
    tower->text.transformed = ALT_TRANSFORMED;
    return clip_json_int(object, where, "project_dim", 1, CLIP_MAX_WIDTH, &tower->text.transformed, error);
}

static void put_hf(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed)
{
    (void)embed;
    clip_put_hf_tower(file, in, tower, 0);
    fprintf(file, "%s\"max_position_embeddings\": %d,\n%s\"type_vocab_size\": %d,\n", in, tower->text.places,
            in, tower->text.types);
    if (clip_head_of(tower) == &clip_head_hf_alt)
        fprintf(file, "%s\"project_dim\": %d,\n", in, tower->text.transformed);
    fprintf(file, "%s\"vocab_size\": %d,\n%s\"pad_token_id\": %d\n", in, tower->vocabulary, in, tower->pad);
}

static int refuse_hf(const struct clip_tower_arch *tower, enum clip_hf_form_name form,
                     const struct family *family, const struct clip_head *head, const char *title,
                     struct clip_error *error)
{
    if (family_of(tower) == family && clip_head_of(tower) == head && clip_pooling_of(tower)->hf & 1 << form &&
        !(tower->text.flags & CLIP_TEXT_TANH))
        return 0;
    return clip_fail(error, "Hugging Face's form of %s has no such transformers text encoder", title);
}

static int refuse_chinese(const struct clip_tower_arch *tower, struct clip_error *error)
{
    return refuse_hf(tower, CLIP_HF_CHINESE, &families[BERT], &clip_head_hf_linear, "Chinese-CLIP", error);
}

static int refuse_alt(const struct clip_tower_arch *tower, struct clip_error *error)
{
    return refuse_hf(tower, CLIP_HF_ALT, &families[XLM_ROBERTA], &clip_head_hf_alt, "AltCLIP", error);
}

/* --- shapes --- */

static const struct clip_anchor anchors[] = {
    {"text_model.embeddings.word_embeddings.weight", 0, 1 + CLIP_HF_CHINESE, "", 0},
    {"text_model.roberta.embeddings.word_embeddings.weight", 0, 1 + CLIP_HF_ALT, "", 0},
    {"text.transformer.embeddings.word_embeddings.weight", 0, 0, "", 1},
    {"text.transformer.embed_tokens.weight", 0, 0, "", 1},
    {"transformer.embeddings.word_embeddings.weight", 0, 0, "", 0},
    {"transformer.embed_tokens.weight", 0, 0, "", 0},
    {0}};

/* --- descriptions --- */

static void describe_tower(FILE *out, const struct clip_tower_arch *tower)
{
    fprintf(out, "context %d, %s, vocabulary %d, width %d, %d layers, %d heads, mlp %d, %s, projection %s\n",
            tower->context, family_of(tower)->type, tower->vocabulary, tower->width, tower->layers,
            tower->heads, tower->mlp, clip_activation_name(tower->activation), clip_head_of(tower)->title);
    fprintf(out, "%-14s%s\n", "features", pooler_of(tower));
}

static void describe_json(struct json_object *object, const struct clip_tower_arch *tower)
{
    clip_describe_text_json(object, tower);
    clip_add_text(object, "model_type", family_of(tower)->type);
    clip_add_text(object, "projection", clip_head_of(tower)->title);
}

const struct clip_kind clip_kind_hftext = {
    .name = "hf-text",
    .title = "transformers text encoder",
    .side = CLIP_SIDE_TEXT,
    .own_activation = 1,
    .custom_text = 1,
    .beta2 = 0.98,
    .epsilon = 1e-6,
    .head = &clip_head_hf_mlp,
    .check = check_arch,
    .list = list_tensors,
    .prefixes = prefixes,
    .is_open_clip = is_open_clip,
    .read_open_clip = read_open_clip,
    .put_open_clip = put_open_clip,
    .hf = {[CLIP_HF_CHINESE] = {.key = "text_config",
                                .old_key = "text_config_dict",
                                .read = read_chinese,
                                .put = put_hf,
                                .refuse = refuse_chinese,
                                .names = chinese_names},
           [CLIP_HF_ALT] = {.key = "text_config",
                            .old_key = "text_config_dict",
                            .read = read_alt,
                            .put = put_hf,
                            .refuse = refuse_alt,
                            .names = alt_names}},
    .anchors = anchors,
    .first_tensors = {"transformer.embeddings.word_embeddings.weight", "transformer.embed_tokens.weight"},
    .shapes_lack = "an encoder of transformers do not say which one it is",
    .describe = describe_tower,
    .describe_json = describe_json,
};
