/* How Hugging Face's folder prepares pictures: preprocessor_config.json (transformers' CLIPImageProcessor and
 * SiglipImageProcessor). */
#include "base/array.h"
#include "base/json.h"
#include "model/arch.h"
#include "model/kind.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* The numbers that `resample` has in Pillow. */
enum { PILLOW_BILINEAR = 2, PILLOW_BICUBIC = 3 };

/* Processors whose steps are known, with FeatureExtractor and ImageProcessorFast for ImageProcessor too. */
static const struct processor {
    const char *name;
    int crops; /* do_center_crop, unless the file states it */
    int half;  /* the same of image_mean and image_std: 0.5, instead of OpenAI's */
} processors[] = {{"CLIP", 1, 0}, {"ChineseCLIP", 1, 0}, {"Siglip", 0, 1}};

static const struct clip_json_option options[] = {
    {"image_mean", CLIP_JSON_USED, NULL},
    {"image_std", CLIP_JSON_USED, NULL},
    {"size", CLIP_JSON_USED, NULL},
    {"crop_size", CLIP_JSON_USED, NULL},
    {"resample", CLIP_JSON_USED, NULL},
    {"rescale_factor", CLIP_JSON_USED, NULL},
    {"do_resize", CLIP_JSON_USED, NULL},
    {"do_center_crop", CLIP_JSON_USED, NULL},
    {"do_normalize", CLIP_JSON_USED, NULL},
    {"do_rescale", CLIP_JSON_USED, NULL},
    {"do_convert_rgb", CLIP_JSON_USED, NULL},
    {"image_processor_type", CLIP_JSON_USED, NULL},
    {"feature_extractor_type", CLIP_JSON_USED, NULL},
    {"processor_class", CLIP_JSON_IGNORED, NULL},
    {"auto_map", CLIP_JSON_IGNORED, NULL},
    {"return_tensors", CLIP_JSON_IGNORED, NULL},
    {"data_format", CLIP_JSON_IGNORED, NULL},
    {"input_data_format", CLIP_JSON_IGNORED, NULL},
    {"device", CLIP_JSON_IGNORED, NULL},
    {"_valid_processor_keys", CLIP_JSON_IGNORED, NULL},
    {"use_square_size", CLIP_JSON_OFF, NULL},
};

static int is_named(const char *type, const char *name)
{
    static const char *const ends[] = {"ImageProcessor", "ImageProcessorFast", "FeatureExtractor"};
    size_t length = strlen(name);
    for (size_t i = 0; i < CLIP_COUNT_OF(ends); i++)
        if (strncmp(type, name, length) == 0 && strcmp(type + length, ends[i]) == 0)
            return 1;
    return 0;
}

/* The processor that the file names; where it names none, the model's own: SigLIP's (half) or CLIP's. NULL
 * with error. */
static const struct processor *find_processor(struct json_object *object, const char *where, int half,
                                              struct clip_error *error)
{
    const char *key = "image_processor_type", *type = NULL;
    char text[100];
    if (!clip_json_get(object, key))
        key = "feature_extractor_type";
    if (clip_json_string(object, where, key, &type, error) != 0)
        return NULL;
    for (size_t i = 0; i < CLIP_COUNT_OF(processors); i++)
        if (type ? is_named(type, processors[i].name) : processors[i].half == half)
            return &processors[i];
    clip_fail(error, "%s: \"%s\" is not supported", key,
              clip_printable(text, sizeof text, type, strlen(type)));
    return NULL;
}

static int check_side(const char *name, int side, int image_size, struct clip_error *error)
{
    return side == image_size
               ? 0
               : clip_fail(error, "%s: %d is not the model's image size, %d", name, side, image_size);
}

/* A number, or {height, width}. */
static int check_square(struct json_object *object, const char *where, const char *name, int image_size,
                        struct clip_error *error)
{
    struct json_object *size = clip_json_get(object, name);
    int height = image_size, width = image_size;
    if (!json_object_is_type(size, json_type_object)) {
        if (clip_json_int(object, where, name, 1, CLIP_MAX_IMAGE, &height, error) != 0)
            return -1;
    } else if (!clip_json_get(size, "height") || !clip_json_get(size, "width")) {
        return clip_fail(error, "%s without height and width is not supported", name);
    } else if (clip_json_int(size, name, "height", 1, CLIP_MAX_IMAGE, &height, error) != 0 ||
               clip_json_int(size, name, "width", 1, CLIP_MAX_IMAGE, &width, error) != 0) {
        return -1;
    }
    return check_side(name, height, image_size, error) != 0 ? -1 : check_side(name, width, image_size, error);
}

/* `size`: a number or {shortest_edge}, before a crop; or {height, width}. All of them must be the model's
 * image size. */
static int read_size(struct json_object *object, const char *where, int crops, int image_size,
                     enum clip_resize *resize, struct clip_error *error)
{
    struct json_object *size = clip_json_get(object, "size");
    int is_object = json_object_is_type(size, json_type_object), side = image_size,
        squash = is_object ? !clip_json_get(size, "shortest_edge") : !size && !crops;
    *resize = squash ? CLIP_SQUASH : CLIP_SHORTEST;
    if (!squash && !crops)
        return clip_fail(error, "size without height and width is not supported if nothing is cropped");
    if (squash || !is_object)
        return check_square(object, where, "size", image_size, error);
    return clip_json_int(size, "size", "shortest_edge", 1, CLIP_MAX_IMAGE, &side, error) != 0
               ? -1
               : check_side("size", side, image_size, error);
}

/* The steps that each of the processors has must all be on. */
static int check_steps(struct json_object *object, const char *where, struct clip_error *error)
{
    static const char *const steps[] = {"do_resize", "do_normalize", "do_rescale", "do_convert_rgb"};
    for (size_t i = 0; i < CLIP_COUNT_OF(steps); i++) {
        int on = 1;
        if (clip_json_flag(object, where, steps[i], &on, error) != 0)
            return -1;
        if (!on)
            return clip_fail(error, "%s: false is not supported", steps[i]);
    }
    return 0;
}

/* The numbers: of the filter, and of the way from bytes to the tower's input. */
static int read_numbers(struct json_object *object, const char *where,
                        struct clip_preprocess_arch *preprocess, struct clip_error *error)
{
    int resample = PILLOW_BICUBIC;
    double factor = 1 / 255.;
    if (clip_json_channels(object, where, "image_mean", -1e6, 1e6, preprocess->mean, error) != 0 ||
        clip_json_channels(object, where, "image_std", 1e-6, 1e6, preprocess->std, error) != 0 ||
        clip_json_int(object, where, "resample", 0, 5, &resample, error) != 0 ||
        clip_json_real(object, where, "rescale_factor", 0, 1, &factor, error) != 0)
        return -1;
    if (resample != PILLOW_BICUBIC && resample != PILLOW_BILINEAR)
        return clip_fail(error, "resample: %d is not supported (only 3, bicubic, and 2, bilinear)", resample);
    if (fabs(factor * 255 - 1) > 1e-6)
        return clip_fail(error, "rescale_factor: %g is not supported (only 1/255)", factor);
    preprocess->interpolation = resample == PILLOW_BILINEAR ? CLIP_BILINEAR : CLIP_BICUBIC;
    return 0;
}

static int read_preprocessor(struct json_object *object, struct clip_arch *arch, struct clip_error *error)
{
    const char *where = "preprocessor";
    int image_size = arch->vision.image_size;
    int half = arch->vision.kind->hf[CLIP_HF_SIGLIP].read != NULL;
    const struct processor *processor = find_processor(object, where, half, error);
    if (!processor)
        return -1;
    int crops = processor->crops;
    struct clip_arch usual;
    clip_arch_clear(&usual);
    for (int c = 0; c < 3; c++) {
        arch->preprocess.mean[c] = processor->half ? 0.5f : usual.preprocess.mean[c];
        arch->preprocess.std[c] = processor->half ? 0.5f : usual.preprocess.std[c];
    }
    if (clip_json_options(object, where, options, CLIP_COUNT_OF(options), error) != 0 ||
        check_steps(object, where, error) != 0 ||
        read_numbers(object, where, &arch->preprocess, error) != 0 ||
        clip_json_flag(object, where, "do_center_crop", &crops, error) != 0 ||
        read_size(object, where, crops, image_size, &arch->preprocess.resize, error) != 0)
        return -1;
    return crops ? check_square(object, where, "crop_size", image_size, error) : 0;
}

int clip_arch_read_hf_preprocessor(struct clip_arch *arch, const char *path, struct clip_error *error)
{
    if (access(path, F_OK) != 0)
        return 0;
    struct json_object *object = clip_json_read(path, error);
    if (!object)
        return -1;
    int result = read_preprocessor(object, arch, error);
    json_object_put(object);
    return result == 0 ? 0 : clip_fail_prefix(error, "%s", path);
}

int clip_arch_write_hf_preprocessor(const struct clip_arch *arch, FILE *file, struct clip_error *error)
{
    enum clip_resize resize = arch->preprocess.resize;
    int size = arch->vision.image_size, crops = resize == CLIP_SHORTEST,
        siglip = arch->vision.kind->hf[CLIP_HF_SIGLIP].put != NULL;
    const char *processor = siglip ? "SiglipImageProcessor" : "CLIPImageProcessor";
    if (resize == CLIP_LONGEST || (siglip && crops))
        return clip_fail(error, "Hugging Face's %s does not resize pictures in the mode \"%s\"", processor,
                         clip_resize_names[resize]);
    fprintf(file,
            "{\n  \"image_processor_type\": \"%s\",\n  \"do_convert_rgb\": true,\n"
            "  \"do_resize\": true,\n  \"do_center_crop\": %s,\n  \"do_rescale\": true,\n"
            "  \"do_normalize\": true,\n  \"resample\": %d,\n  \"rescale_factor\": 0.00392156862745098,\n",
            processor, crops ? "true" : "false",
            arch->preprocess.interpolation == CLIP_BILINEAR ? PILLOW_BILINEAR : PILLOW_BICUBIC);
    fputs("  \"image_mean\": ", file);
    clip_arch_put_channels(file, arch->preprocess.mean);
    fputs(",\n  \"image_std\": ", file);
    clip_arch_put_channels(file, arch->preprocess.std);
    if (crops)
        fprintf(file, ",\n  \"size\": {\"shortest_edge\": %d},\n  \"crop_size\"", size);
    else
        fprintf(file, ",\n  \"size\"");
    fprintf(file, ": {\"height\": %d, \"width\": %d}\n}\n", size, size);
    return 0;
}
