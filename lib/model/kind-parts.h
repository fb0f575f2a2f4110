/* Helpers for the rows of the table of kinds, and for files of model/ that read configurations and shapes. */
#ifndef CLIP_MODEL_KIND_PARTS_H
#define CLIP_MODEL_KIND_PARTS_H

#include "base/array.h"
#include "model/kind.h"

/* --- checks --- */

/* -1 unless value lies in [1, high]. */
int clip_check_bounds(const char *what, int value, int high, struct clip_error *error);
/* -1 unless `width` can be split into `heads` heads. */
int clip_check_heads(const char *what, int width, int heads, struct clip_error *error);

/* A side of pictures is a multiple of `step`, the `unit`; the error names the nearest. */
int clip_check_grid(const char *what, int side, const char *unit, int step, struct clip_error *error);

/* -1 unless the sizes of a text tower, beside its heads, lie within bounds; unless the ids of padding and of
 * the end token lie in its vocabulary. */
int clip_check_text_sizes(const struct clip_tower_arch *tower, struct clip_error *error);
int clip_check_padding(const struct clip_tower_arch *tower, struct clip_error *error);
int clip_check_end_token(const struct clip_tower_arch *tower, struct clip_error *error);

/* -1 unless a vision transformer's attention pool can be. */
int clip_check_pool(const struct clip_tower_arch *tower, struct clip_error *error);

/* --- tensors --- */

void clip_list_norm(struct clip_listing *listing, size_t width, const char *name);
/* A batch norm with its running statistics; `weight`: how the factors are drawn. */
void clip_list_batch_norm(struct clip_listing *listing, size_t width, struct clip_initial weight,
                          const char *name);
/* Lists the tensors of the tower's head, if it has one. */
void clip_list_projection(struct clip_listing *listing, const struct clip_tower_arch *tower, size_t width,
                          size_t embed);

/* How initial weights differ between transformers. */
enum {
    CLIP_DRAWS_BIASES = 1 << 0,     /* the biases of the hidden layer are drawn, too, as PyTorch does */
    CLIP_DRAWS_ALL_BIASES = 1 << 2, /* and those of attention */
    CLIP_DRAWS_DEEPENING = 1 << 1,  /* out_proj and c_proj of block i are divided by sqrt(2 (i + 1)) */
};
struct clip_block_draws {
    struct clip_initial in_proj, out_proj, c_fc, c_proj;
    unsigned flags;
};
/* The blocks of a transformer. */
void clip_list_blocks(struct clip_listing *listing, const struct clip_tower_arch *tower,
                      const struct clip_block_draws *draws);

/* The positions of a vision transformer. */
void clip_vit_positions(const struct clip_tower_arch *tower, struct clip_positions *table);

/* How a tensor of a vision transformer beside its blocks is drawn. */
typedef struct clip_initial clip_vit_initial(const struct clip_tower_arch *tower, enum clip_vit_tensor tensor,
                                             const size_t shape[4]);

/* Lists those of a vision transformer's tensors [first, end) (model/vit.h) that it has. */
void clip_list_vit(struct clip_listing *listing, const struct clip_tower_arch *tower,
                   clip_vit_initial *initial, enum clip_vit_tensor first, enum clip_vit_tensor end);

/* Lists a tensor of a text transformer (model/text.h), if it has it. */
void clip_list_text(struct clip_listing *listing, const struct clip_tower_arch *tower,
                    enum clip_text_tensor tensor, struct clip_initial initial);

/* The names of a block's tensors. */
/* clang-format off */
#define CLIP_BLOCK_NAMES(hf, openai)                                                                         \
    {hf "self_attn.q_proj.", openai "attn.in_proj_", 0, 0, 0},                                                  \
    {hf "self_attn.k_proj.", openai "attn.in_proj_", 1, 0, 0},                                                  \
    {hf "self_attn.v_proj.", openai "attn.in_proj_", 2, 0, 0},                                                  \
    {hf "self_attn.out_proj.", openai "attn.out_proj.", CLIP_NAME_WHOLE, 0, 0},                                 \
    {hf "layer_norm1.", openai "ln_1.", CLIP_NAME_WHOLE, 0, 0},                                                 \
    {hf "layer_norm2.", openai "ln_2.", CLIP_NAME_WHOLE, 0, 0},                                                 \
    {hf "mlp.fc1.", openai "mlp.c_fc.", CLIP_NAME_WHOLE, 0, 0},                                                 \
    {hf "mlp.fc2.", openai "mlp.c_proj.", CLIP_NAME_WHOLE, 0, 0}
/* clang-format on */

/* --- open_clip's configuration --- */

/* The hidden layer's width as Python's int(width * ratio), and the ratio that gives it. */
int clip_read_mlp(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                  struct clip_error *error);
double clip_mlp_ratio(const struct clip_tower_arch *tower);
/* The sizes of open_clip's own text towers, mlp_ratio too, where they are absent its defaults; no end token
 * is known. Puts them but for mlp_ratio, a comma after each. */
int clip_read_text_sizes(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                         struct clip_error *error);
void clip_put_text_sizes(FILE *file, const struct clip_tower_arch *tower);
/* The options of open_clip's blocks, for a table of options. */
/* clang-format off */
#define CLIP_BLOCK_OPTIONS                                                                                   \
    {"qk_norm", CLIP_JSON_USED, NULL}, {"scaled_cosine_attn", CLIP_JSON_USED, NULL},                         \
    {"scale_heads", CLIP_JSON_USED, NULL}, {"scale_attn_inner", CLIP_JSON_USED, NULL},                       \
    {"scale_attn", CLIP_JSON_USED, NULL}, {"scale_fc", CLIP_JSON_USED, NULL},                                \
    {"ls_init_value", CLIP_JSON_USED, NULL}, {"norm_kwargs", CLIP_JSON_USED, NULL},                          \
    {"act_kwargs", CLIP_JSON_USED, NULL}, {"block_type", CLIP_JSON_IGNORED, NULL}
/* clang-format on */
/* tower->block and, of act_kwargs, tower->activation, which was set by quick_gelu. */
int clip_read_block(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                    struct clip_error *error);
/* Puts them, a comma after each. */
void clip_put_block(FILE *file, const struct clip_tower_arch *tower);
/* A list of `wanted` numbers (0: of at most CLIP_MAX_STAGES) from 1 to `high`: how many, 0 where the key is
 * absent; -1 with error. */
int clip_read_list(struct json_object *object, const char *where, const char *key, int wanted, int high,
                   int *value, struct clip_error *error);
/* image_size: a number, or two, the height and the width. *width is 0 where they are the same. */
int clip_read_image_sides(struct json_object *object, const char *where, int *height, int *width,
                          struct clip_error *error);
/* The same of towers that take squares only. */
int clip_read_image_size(struct json_object *object, const char *where, int *size, struct clip_error *error);
/* The options of a CLIPVisionCfg. */
int clip_check_vision_options(struct json_object *object, const char *where, struct clip_error *error);

/* --- Hugging Face's --- */

/* Reads an activation of a transformers configuration; unchanged if absent. */
int clip_read_hf_activation(struct json_object *object, const char *where, const char *key,
                            enum clip_activation *activation, struct clip_error *error);
const char *clip_hf_activation(enum clip_activation activation);
/* What transformers' configurations of both towers share; absent members leave values unchanged. */
int clip_read_hf_tower(struct json_object *object, const char *where, struct clip_tower_arch *tower,
                       struct clip_error *error);
/* -1 where transformers' CLIP has no such blocks. */
int clip_refuse_hf_blocks(const struct clip_tower_arch *tower, struct clip_error *error);
/* Puts it, a comma after all. */
void clip_put_hf_tower(FILE *file, const char *in, const struct clip_tower_arch *tower, int embed);

/* --- shapes --- */

/* Dimension `axis` of the tensor, which must have `ndim`, as an int in [1, limit]. */
int clip_shape_dimension(const struct clip_weights *weights, const char *name, int ndim, int axis, int limit,
                         int *value, struct clip_error *error);
/* How many of prefix0, prefix1 ... have a tensor `suffix`. */
int clip_count_blocks(const struct clip_weights *weights, const char *prefix, const char *suffix);
/* The side of the grid whose cells, and one place more, have a positional embedding. */
int clip_grid_side(const struct clip_weights *weights, const char *name, int *side, struct clip_error *error);

/* --- descriptions --- */

const char *clip_activation_name(enum clip_activation activation);
void clip_add_list(struct json_object *object, const char *key, const int *value, int n);
void clip_add_int(struct json_object *object, const char *key, uint64_t value);
/* Members that towers share: kind and image size; the sizes of a transformer, with its activation; activation
 * and projection. */
void clip_add_image(struct json_object *object, const struct clip_tower_arch *tower);
void clip_add_sizes(struct json_object *object, const struct clip_tower_arch *tower);
void clip_add_ends(struct json_object *object, const struct clip_tower_arch *tower);
/* Of a text tower: the rest of a line, members, and a line that says what its features are. */
void clip_describe_text_sizes(FILE *out, const struct clip_tower_arch *tower);
void clip_describe_features(FILE *out, const struct clip_tower_arch *tower);
void clip_describe_text_json(struct json_object *object, const struct clip_tower_arch *tower);
/* value NULL: null. */
void clip_add_text(struct json_object *object, const char *key, const char *value);

#endif
