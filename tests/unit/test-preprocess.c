/* Pictures against what Pillow 9.4 and torchvision make of them: tests/data/pictures, and the shared golden
 * results where they are. */
#include "base/file.h"
#include "base/json.h"
#include "image/preprocess.h"
#include "check.h"
#include "sha256.h"

#include <stdlib.h>
#include <string.h>

/* The hash of what a file becomes; "refused" where it is not a picture to us, or cannot be resized. */
static const char *result_of(const char *path, const struct clip_image_form *form, char hash[65])
{
    struct clip_mapping file;
    struct clip_picture picture;
    struct clip_error error;
    size_t bytes = 3 * (size_t)form->height * (size_t)form->width;
    uint8_t *out = malloc(bytes);
    if (!out || clip_map_file(&file, path, &error) != 0) {
        free(out);
        return "unreadable";
    }
    const char *result = "refused";
    if (clip_picture_decode(&picture, file.data, file.size, CLIP_MAX_PIXELS, &error) == 0) {
        if (clip_picture_to_tensor(&picture, form, out, &error) == 0)
            result = sha256(out, bytes, hash);
        clip_picture_free(&picture);
    }
    clip_unmap_file(&file);
    free(out);
    return result;
}

static struct clip_image_form square(int size, int convert_first)
{
    return (struct clip_image_form){
        .height = size, .width = size, .convert_first = convert_first, .level = clip_level()};
}

static void check_form(const char *folder, const char *name, const struct clip_image_form *form,
                       const char *want)
{
    char path[4400], hash[65];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const char *got = result_of(path, form, hash);
    CHECK(strcmp(got, want) == 0, "%s at %d x %d, %s, %s, filled with %d%s: %s instead of %s", path,
          form->height, form->width, clip_resize_names[form->resize],
          clip_interpolation_names[form->interpolation], form->fill_color,
          form->convert_first ? ", converted first" : "", got, want);
}

static void check_file(const char *folder, const char *name, int size, int convert_first, const char *want)
{
    struct clip_image_form form = square(size, convert_first);
    check_form(folder, name, &form, want);
}

/* Lines of FILE SIZE ORDER HASH. */
static void check_own(void)
{
    char folder[4200], path[4300], name[100], order[20], want[100];
    const char *src = getenv("srcdir");
    int size, lines = 0;
    snprintf(folder, sizeof folder, "%s/tests/data/pictures", src ? src : ".");
    snprintf(path, sizeof path, "%s/expected.txt", folder);
    FILE *file = fopen(path, "r");
    CHECK(file, "%s", path);
    while (file && fscanf(file, "%99s %d %19s %99s", name, &size, order, want) == 4) {
        check_file(folder, name, size, strcmp(order, "convert-first") == 0, want);
        lines++;
    }
    CHECK(lines > 300, "%d", lines);
    if (file)
        fclose(file);
}

static int find_word(const char *const *words, int count, const char *word)
{
    int i = 0;
    while (i < count && strcmp(words[i], word) != 0)
        i++;
    CHECK(i < count, "%s", word);
    return i < count ? i : 0;
}

/* Lines of FILE HEIGHT WIDTH RESIZE INTERPOLATION FILL ORDER HASH. */
static void check_resized(void)
{
    char folder[4200], path[4300], name[100], resize[20], interpolation[20], order[20], want[100];
    const char *src = getenv("srcdir");
    struct clip_image_form form = {.level = clip_level()};
    int lines = 0;
    snprintf(folder, sizeof folder, "%s/tests/data/pictures", src ? src : ".");
    snprintf(path, sizeof path, "%s/resized.txt", folder);
    FILE *file = fopen(path, "r");
    CHECK(file, "%s", path);
    while (file && fscanf(file, "%99s %d %d %19s %19s %d %19s %99s", name, &form.height, &form.width, resize,
                          interpolation, &form.fill_color, order, want) == 8) {
        form.resize = (enum clip_resize)find_word(clip_resize_names, CLIP_RESIZES, resize);
        form.interpolation =
            (enum clip_interpolation)find_word(clip_interpolation_names, CLIP_INTERPOLATIONS, interpolation);
        form.convert_first = strcmp(order, "convert-first") == 0;
        check_form(folder, name, &form, want);
        lines++;
    }
    CHECK(lines > 500, "%d", lines);
    if (file)
        fclose(file);
}

static void check_golden_line(const char *folder, struct json_object *line)
{
    struct clip_error error;
    const char *name = NULL, *kind = NULL, *wrong = NULL, *openai = NULL, *convert_first = NULL;
    int size = 0;
    CHECK(clip_json_string(line, "", "file", &name, &error) == 0 && name, "");
    CHECK(clip_json_string(line, "", "kind", &kind, &error) == 0 && kind, "");
    CHECK(clip_json_int(line, "", "size", 1, 10000, &size, &error) == 0 && size, "");
    clip_json_string(line, "", "error", &wrong, &error);
    clip_json_string(line, "", "openai", &openai, &error);
    clip_json_string(line, "", "convert_first", &convert_first, &error);
    if (!name || !kind || strstr(kind, "16-bit gray")) /* there the high byte is ours */
        return;
    CHECK(wrong || (openai && convert_first), "%s", name);
    if (wrong || openai)
        check_file(folder, name, size, 0, wrong ? "refused" : openai);
    if (wrong || convert_first)
        check_file(folder, name, size, 1, wrong ? "refused" : convert_first);
}

/* A line of what open_clip's own transform makes of a picture. */
static void check_resize_line(const char *folder, struct json_object *line)
{
    struct clip_error error;
    struct clip_image_form form = {.level = clip_level()};
    const char *name = NULL, *mode = NULL, *want = NULL;
    int resize = -1, interpolation = -1;
    struct json_object *size = clip_json_get(line, "size");
    CHECK(clip_json_string(line, "", "file", &name, &error) == 0 && name, "");
    CHECK(clip_json_string(line, "", "mode", &mode, &error) == 0 && mode, "");
    CHECK(clip_json_string(line, "", "sha256", &want, &error) == 0 && want, "");
    CHECK(clip_json_choice(line, "", "resize_mode", clip_resize_names, CLIP_RESIZES, &resize, &error) == 0 &&
              clip_json_choice(line, "", "interpolation", clip_interpolation_names, CLIP_INTERPOLATIONS,
                               &interpolation, &error) == 0 &&
              clip_json_int(line, "", "fill_color", 0, 255, &form.fill_color, &error) == 0,
          "%s", error.text);
    CHECK(json_object_is_type(size, json_type_array) && resize >= 0 && interpolation >= 0, "%s", name);
    if (!name || !mode || !want || strcmp(mode, "I") == 0) /* 16-bit gray: the high byte is ours */
        return;
    form.height = json_object_get_int(json_object_array_get_idx(size, 0));
    form.width = json_object_get_int(json_object_array_get_idx(size, 1));
    form.resize = (enum clip_resize)resize;
    form.interpolation = (enum clip_interpolation)interpolation;
    check_form(folder, name, &form, want);
}

/* Calls `check` for each line of a file that is about golden/preprocess/images. */
static void check_golden(const char *shared, const char *results, int least,
                         void (*check)(const char *folder, struct json_object *line))
{
    char path[4300], folder[4300], *text = NULL;
    size_t room = 0;
    int lines = 0;
    snprintf(path, sizeof path, "%s/golden/%s", shared, results);
    snprintf(folder, sizeof folder, "%s/golden/preprocess/images", shared);
    FILE *file = fopen(path, "r");
    CHECK(file, "%s", path);
    while (file && getline(&text, &room, file) > 0) {
        struct json_object *line = json_tokener_parse(text);
        CHECK(line, "%s", text);
        if (line)
            check(folder, line);
        json_object_put(line);
        lines++;
    }
    CHECK(lines >= least, "%d", lines);
    free(text);
    if (file)
        fclose(file);
}

/* The normalized tensors that other people published. */
static void check_published(const char *shared)
{
    static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
    static const float std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    enum { SIDE = 224, PLANE = SIDE * SIDE };
    static uint8_t pixels[3 * PLANE];
    static float floats[3 * PLANE];
    const struct clip_image_form form = square(SIDE, 0);
    float levels[CLIP_PIXEL_LEVELS];
    char path[4300], hash[65];
    struct clip_error error;
    clip_pixel_levels(mean, std, levels);
    snprintf(path, sizeof path, "%s/golden/published/pixels.json", shared);
    struct json_object *root = clip_json_read(path, &error),
                       *tensors = root ? clip_json_get(root, "tensors") : NULL;
    CHECK(tensors && json_object_object_length(tensors) == 8, "%s", path);
    if (!tensors)
        return;
    json_object_object_foreach(tensors, name, want)
    {
        struct clip_mapping file;
        struct clip_picture picture;
        snprintf(path, sizeof path, "%s/golden/published/images/%s", shared, name);
        CHECK(clip_map_file(&file, path, &error) == 0, "%s", error.text);
        CHECK(clip_picture_decode(&picture, file.data, file.size, CLIP_MAX_PIXELS, &error) == 0, "%s",
              error.text);
        CHECK(clip_picture_to_tensor(&picture, &form, pixels, &error) == 0, "%s", error.text);
        clip_pixels_normalize(pixels, PLANE, levels, floats);
        CHECK(strcmp(sha256(floats, sizeof floats, hash), json_object_get_string(want)) == 0, "%s", name);
        clip_picture_free(&picture);
        clip_unmap_file(&file);
    }
    json_object_put(root);
}

static void check_limits(void)
{
    struct clip_picture picture;
    struct clip_error error;
    struct clip_mapping file;
    char path[4300];
    uint8_t out[3];
    const char *src = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/data/pictures/gray.jpg", src ? src : ".");
    CHECK(clip_map_file(&file, path, &error) == 0, "%s", error.text);
    CHECK(clip_picture_decode(&picture, file.data, file.size, 23 * 17 - 1, &error) == -1, "");
    CHECK(strcmp(error.text, "23 x 17 pixels are more than the limit of 390") == 0, "%s", error.text);
    CHECK(clip_picture_decode(&picture, file.data, file.size, 23 * 17, &error) == 0, "%s", error.text);
    static const struct {
        int height, width, fine;
    } sizes[] = {
        {0, 1, 0}, {1, 0, 0}, {CLIP_MAX_IMAGE_SIZE + 1, 1, 0}, {1, CLIP_MAX_IMAGE_SIZE + 1, 0}, {1, 1, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct clip_image_form form = square(1, 0);
        form.height = sizes[i].height;
        form.width = sizes[i].width;
        CHECK((clip_picture_to_tensor(&picture, &form, out, &error) == 0) == sizes[i].fine, "%zu: %s", i,
              error.text);
    }
    clip_picture_free(&picture);
    clip_picture_free(&picture); /* harmless */
    clip_unmap_file(&file);
    CHECK(clip_picture_decode(&picture, "GIF89a", 6, CLIP_MAX_PIXELS, &error) == -1, "");
    CHECK(strcmp(error.text, "a GIF picture: neither JPEG, PNG nor WebP") == 0, "%s", error.text);
}

/* What is no picture that we read is named as what it is, from as many bytes as that takes, and no more. */
static void check_kinds(void)
{
#define KIND(bytes, name)                                                                                    \
    {                                                                                                        \
        bytes, sizeof bytes - 1, name ": neither JPEG, PNG nor WebP"                                         \
    }
    static const struct {
        const char *bytes;
        size_t size;
        const char *want;
    } kinds[] = {
        {"", 0, "empty"},
        {"text", 4, "neither JPEG, PNG nor WebP"},
        {"\0\0\0\x20"
         "ftyp",
         8, "neither JPEG, PNG nor WebP"},
        KIND("GIF89a", "a GIF picture"),
        KIND("GIF87a", "a GIF picture"),
        KIND("BM\x36", "a BMP picture"),
        KIND("II*\0", "a TIFF picture"),
        KIND("MM\0*", "a TIFF picture"),
        KIND("II+\0\x08", "a TIFF picture"),
        KIND("\0\0\0\x1c"
             "ftypavif\0\0\0\0avifmif1",
             "an AVIF picture"),
        KIND("\0\0\0\x1c"
             "ftypmif1\0\0\0\0mif1avif",
             "an AVIF picture"),
        KIND("\0\0\0\x18"
             "ftypheic\0\0\0\0mif1heic",
             "a HEIC picture"),
        KIND("\0\0\0\x18"
             "ftypmif1\0\0\0\0mif1heic",
             "a HEIC picture"),
        KIND("\0\0\0\x18"
             "ftypisom\0\0\0\0isommp41",
             "an MP4 or QuickTime file"),
        KIND("\xff\x0a\0", "a JPEG XL picture"),
        KIND("\0\0\0\x0cJXL \r\n", "a JPEG XL picture"),
        KIND("8BPS\0\1", "a Photoshop document"),
        KIND("%PDF-1.7", "a PDF document"),
        KIND("\n <SVG xmlns", "an SVG drawing"),
        KIND("\xef\xbb\xbf<!doctype HTML>", "an HTML page"),
        KIND("version https://git-lfs.github.com/spec/v1",
             "a Git LFS pointer, not the file itself (git lfs pull fetches it)"),
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct clip_picture picture;
        struct clip_error error = {""};
        char *bytes = malloc(kinds[i].size); /* so that sanitizers see what is read past the end */
        memcpy(bytes, kinds[i].bytes, kinds[i].size);
        CHECK(clip_picture_decode(&picture, bytes, kinds[i].size, CLIP_MAX_PIXELS, &error) == -1, "");
        CHECK(strcmp(error.text, kinds[i].want) == 0, "%zu: %s", i, error.text);
        free(bytes);
    }
}

/* Of a long picture only the square is computed: Pillow would need 20 GB for the whole of this one. */
static void check_long(void)
{
    enum { SIDE = 224, LENGTH = 100000 };
    static uint8_t pixels[LENGTH], out[3 * SIDE * SIDE];
    struct clip_image_form form = square(SIDE, 0);
    struct clip_picture picture = {
        .mode = CLIP_PICTURE_L, .width = 1, .height = LENGTH, .channels = 1, .pixels = pixels};
    struct clip_error error;
    memset(pixels + LENGTH / 2, 200, LENGTH / 2);
    CHECK(clip_picture_to_tensor(&picture, &form, out, &error) == 0, "%s", error.text);
    CHECK(out[0] == 0 && out[SIDE * SIDE - 1] == 200, "%d to %d", out[0], out[SIDE * SIDE - 1]);
    form.resize = CLIP_LONGEST; /* its width would be 0 */
    CHECK(clip_picture_to_tensor(&picture, &form, out, &error) == -1, "");
    CHECK(strcmp(error.text, "1 x 100000 pixels are too long to be resized to 224 x 224") == 0, "%s",
          error.text);
    form.resize = CLIP_SHORTEST;
    picture.height = 1 << 28; /* never looked at */
    CHECK(clip_picture_to_tensor(&picture, &form, out, &error) == -1, "");
    CHECK(strcmp(error.text, "1 x 268435456 pixels are too long to be resized to 224 x 224") == 0, "%s",
          error.text);
}

int main(void)
{
    const char *shared = check_shared();
    check_own();
    check_resized();
    check_limits();
    check_kinds();
    check_long();
    if (shared) {
        check_golden(shared, "preprocess/expected.jsonl", 300, check_golden_line);
        check_golden(shared, "families/preprocess/resize.jsonl", 1005, check_resize_line);
        check_published(shared);
    }
    return check_end();
}
