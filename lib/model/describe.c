#include "model/describe.h"

#include "model/kind-parts.h"
#include "model/names.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Counted once, for both ways of printing. */
struct facts {
    uint64_t parameters, towers[CLIP_SIDES]; /* of all; of each tower */
    size_t types[CLIP_WEIGHT_TYPES];         /* tensors of each type in the file */
    int has_scale;
    float logit_scale; /* as it is stored */
};

static int find_facts(struct facts *facts, const struct clip_arch *arch, const struct clip_model *model,
                      struct clip_error *error)
{
    struct clip_layout layout;
    *facts = (struct facts){0};
    if (clip_layout_make(&layout, arch, error) != 0)
        return -1;
    facts->parameters = clip_layout_parameters(&layout);
    for (size_t i = 0; i < layout.count; i++) {
        const struct clip_slot *slot = &layout.slots[i];
        enum clip_weight_type type;
        if (!slot->buffer && slot->side != CLIP_SIDE_BOTH)
            facts->towers[slot->side] += clip_slot_count(slot);
        if (model && clip_model_type(model, slot->name, &type) == 0)
            facts->types[type]++;
    }
    clip_layout_free(&layout);
    facts->has_scale = model && clip_model_has(model, "logit_scale");
    return facts->has_scale ? clip_model_floats(model, "logit_scale", 0, NULL, &facts->logit_scale, error)
                            : 0;
}

/* "f32" of safetensors' "F32". */
static const char *type_name(int type, char out[8])
{
    const char *name = clip_weight_type_name((enum clip_weight_type)type);
    size_t i = 0;
    for (; name[i] && i < 7; i++)
        out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    out[i] = 0;
    return out;
}

int clip_describe_shapes(FILE *out, const struct clip_arch *arch, const struct clip_model *model,
                         struct clip_error *error)
{
    struct clip_layout layout;
    (void)model;
    if (clip_layout_make(&layout, arch, error) != 0)
        return -1;
    for (size_t i = 0; i < layout.count; i++) {
        const struct clip_slot *slot = &layout.slots[i];
        char name[sizeof slot->name + 8], text[100];
        clip_names_open_clip(slot->name, arch->custom_text && slot->side == CLIP_SIDE_TEXT, name,
                             sizeof name);
        if (!slot->buffer)
            fprintf(out, "%s %s\n", name, clip_shape_describe(slot->ndim, slot->shape, text, sizeof text));
    }
    fprintf(out, "parameters: %" PRIu64 "\n", clip_layout_parameters(&layout));
    clip_layout_free(&layout);
    return 0;
}

/* --- for people --- */

/* "151,277,313" */
static const char *grouped(uint64_t n, char out[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n), used = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = 0;
    return out;
}

static void put_tower(FILE *out, const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    fprintf(out, "%-14s", clip_side_names[side]);
    if (tower->absent)
        fprintf(out, "none\n");
    else
        tower->kind->describe(out, tower);
}

static void put_preprocess(FILE *out, const struct clip_preprocess_arch *preprocess)
{
    fprintf(out, "%-14smean ", "pictures");
    clip_arch_put_channels(out, preprocess->mean);
    fprintf(out, ", std ");
    clip_arch_put_channels(out, preprocess->std);
    fprintf(out, ", converted to RGB %s resizing\n", preprocess->convert_first ? "before" : "after");
    fprintf(out, "%-14s%s, %s", "resizing", clip_resize_names[preprocess->resize],
            clip_interpolation_names[preprocess->interpolation]);
    if (preprocess->resize == CLIP_LONGEST)
        fprintf(out, ", filled with %d", preprocess->fill_color);
    fputc('\n', out);
}

/* The logit scale, or why it cannot be used. */
static void put_scale(FILE *out, const struct clip_model *model, const struct facts *facts)
{
    struct clip_error error;
    float usable;
    double scale = (double)facts->logit_scale;
    if (!facts->has_scale)
        fprintf(out, "%-14snone\n", "logit scale");
    else if (clip_model_logit_scale(model, &usable, &error) == 0)
        fprintf(out, "%-14s%.6g, a factor of %.6g\n", "logit scale", scale, exp(scale));
    else
        fprintf(out, "%-14s%.6g, which is not the logarithm of a factor\n", "logit scale", scale);
}

/* Which towers are stored in int8, if one is. */
static void put_int8(FILE *out, const struct clip_model *model)
{
    const char *between = "\nint8          ";
    for (int side = 0; side < CLIP_SIDES; side++)
        if (clip_model_is_int8(model, (enum clip_side)side)) {
            fprintf(out, "%s%s", between, clip_side_names[side]);
            between = ", ";
        }
}

static void put_file(FILE *out, const struct clip_model *model, const struct facts *facts)
{
    static const char *const folders[] = {"", "open_clip folder, ", "Hugging Face folder, "};
    const char *vocabulary = clip_model_vocabulary(model), *between = "";
    fprintf(out, "%-14s%s\n", "path", clip_model_path(model));
    fprintf(out, "%-14s%s%s\n", "form", folders[clip_model_folder(model)],
            clip_form_name(clip_model_form(model)));
    fprintf(out, "%-14s", "dtype");
    for (int type = 0; type < CLIP_WEIGHT_TYPES; type++) {
        char name[8];
        if (!facts->types[type])
            continue;
        fprintf(out, "%s%s (%zu tensors)", between, type_name(type, name), facts->types[type]);
        between = ", ";
    }
    put_int8(out, model);
    fprintf(out, "\n%-14s%s\n", "vocabulary", vocabulary ? vocabulary : "none with it");
    put_scale(out, model, facts);
}

int clip_describe(FILE *out, const struct clip_arch *arch, const struct clip_model *model,
                  struct clip_error *error)
{
    struct facts facts;
    char all[32], vision[32], text[32];
    if (find_facts(&facts, arch, model, error) != 0)
        return -1;
    fprintf(out, "%-14s%s\n", "model", *arch->name ? arch->name : "?");
    fprintf(out, "%-14s%s (vision %s, text %s)\n", "parameters", grouped(facts.parameters, all),
            grouped(facts.towers[CLIP_SIDE_IMAGE], vision), grouped(facts.towers[CLIP_SIDE_TEXT], text));
    if (arch->embed)
        fprintf(out, "%-14s%d\n", "embedding", arch->embed);
    else
        fprintf(out, "%-14snone: there is no projection\n", "embedding");
    for (int side = 0; side < CLIP_SIDES; side++)
        put_tower(out, arch, side);
    if (!arch->vision.absent)
        put_preprocess(out, &arch->preprocess);
    if (model)
        put_file(out, model, &facts);
    return 0;
}

/* --- for programs --- */

/* Writes as many digits as a float needs. */
static struct json_object *new_float(float value)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", (double)value);
    return json_object_new_double_s((double)value, text);
}

static void add_channels(struct json_object *object, const char *key, const float value[3])
{
    struct json_object *array = json_object_new_array();
    for (int i = 0; i < 3; i++)
        json_object_array_add(array, new_float(value[i]));
    json_object_object_add(object, key, array);
}

static void add_tower(struct json_object *parent, const struct clip_arch *arch, enum clip_side side)
{
    const struct clip_tower_arch *tower = &arch->towers[side];
    struct json_object *object = tower->absent ? NULL : json_object_new_object();
    json_object_object_add(parent, clip_side_names[side], object);
    if (object) {
        tower->kind->describe_json(object, tower);
        json_object_object_add(object, "trainable", json_object_new_boolean(!tower->kind->untrained));
    }
}

static void add_preprocess(struct json_object *parent, const struct clip_preprocess_arch *preprocess)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(parent, "preprocess", object);
    add_channels(object, "mean", preprocess->mean);
    add_channels(object, "std", preprocess->std);
    json_object_object_add(object, "convert_first", json_object_new_boolean(preprocess->convert_first));
    clip_add_text(object, "resize_mode", clip_resize_names[preprocess->resize]);
    clip_add_text(object, "interpolation", clip_interpolation_names[preprocess->interpolation]);
    clip_add_int(object, "fill_color", (uint64_t)preprocess->fill_color);
}

static void add_file(struct json_object *object, const struct clip_model *model, const struct facts *facts)
{
    static const char *const folders[] = {NULL, "open_clip", "hf"};
    struct json_object *types = json_object_new_object();
    clip_add_text(object, "path", clip_model_path(model));
    clip_add_text(object, "folder", folders[clip_model_folder(model)]);
    clip_add_text(object, "form", clip_form_name(clip_model_form(model)));
    json_object_object_add(object, "dtypes", types);
    for (int type = 0; type < CLIP_WEIGHT_TYPES; type++) {
        char name[8];
        if (facts->types[type])
            clip_add_int(types, type_name(type, name), facts->types[type]);
    }
    struct json_object *rounded = json_object_new_array();
    for (int side = 0; side < CLIP_SIDES; side++)
        if (clip_model_is_int8(model, (enum clip_side)side))
            json_object_array_add(rounded, json_object_new_string(clip_side_names[side]));
    json_object_object_add(object, "int8", rounded);
    clip_add_text(object, "vocabulary", clip_model_vocabulary(model));
    json_object_object_add(object, "logit_scale",
                           facts->has_scale && isfinite(facts->logit_scale) ? new_float(facts->logit_scale)
                                                                            : NULL);
}

int clip_describe_json(FILE *out, const struct clip_arch *arch, const struct clip_model *model,
                       struct clip_error *error)
{
    struct facts facts;
    if (find_facts(&facts, arch, model, error) != 0)
        return -1;
    struct json_object *object = json_object_new_object();
    clip_add_text(object, "model", arch->name);
    clip_add_int(object, "parameters", facts.parameters);
    clip_add_int(object, "vision_parameters", facts.towers[CLIP_SIDE_IMAGE]);
    clip_add_int(object, "text_parameters", facts.towers[CLIP_SIDE_TEXT]);
    if (arch->embed)
        clip_add_int(object, "embed_dim", (uint64_t)arch->embed);
    else
        clip_add_text(object, "embed_dim", NULL);
    json_object_object_add(object, "logit_bias", json_object_new_boolean(arch->logit_bias));
    for (int side = 0; side < CLIP_SIDES; side++)
        add_tower(object, arch, side);
    add_preprocess(object, &arch->preprocess);
    if (model)
        add_file(object, model, &facts);
    const char *text =
        json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text)
        fprintf(out, "%s\n", text);
    json_object_put(object);
    return text ? 0 : clip_fail_memory(error, "JSON");
}
