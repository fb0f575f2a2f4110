/* clip-preprocess: the picture of each record as the image tower's input. */
#include "base/cli.h"
#include "base/threads.h"
#include "image/augment.h"
#include "image/field.h"
#include "image/preprocess.h"
#include "model/open.h"
#include "stream/filter.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES, FLOATS };

static int height, width, resize = -1, interpolation = -1;
static long fill = -1, max_pixels = CLIP_MAX_PIXELS;
static const char *field, *rejects;
static int keep, convert_first, dtype;

/* --augment */
static int augmented, pad_mode, given_range;
static long seed = -1, pad;
enum { MOST_SCALE = 4 }; /* so that memory is a small multiple of the picture's */
static struct clip_augment augment = {.scale = {0.9, 1}, .ratio = {0.75, 4 / 3.}};

/* Reads "S", or "H,W", in [1, CLIP_MAX_IMAGE_SIZE]. */
static int read_size(const char *text, struct clip_error *error)
{
    int end = 0, n = sscanf(text, "%6d%n,%6d%n", &height, &end, &width, &end);
    if (n == 1)
        width = height;
    if (n < 1 || text[end] || height < 1 || height > CLIP_MAX_IMAGE_SIZE || width < 1 ||
        width > CLIP_MAX_IMAGE_SIZE)
        return clip_fail(error, "'%s' is neither a side S nor a height and width H,W of 1 to %d", text,
                         CLIP_MAX_IMAGE_SIZE);
    return 0;
}

/* Reads "A,B" into range[2]: 0 < A <= B <= most. */
static int read_range(const char *text, double most, double *range, struct clip_error *error)
{
    int end = 0;
    given_range = 1;
    if (sscanf(text, "%20lf,%20lf%n", &range[0], &range[1], &end) != 2 || text[end] || !(range[0] > 0) ||
        !(range[1] >= range[0]) || !(range[1] <= most))
        return clip_fail(error, "'%s' is not a range A,B with 0 < A <= B <= %g", text, most);
    return 0;
}

static int read_scale(const char *text, struct clip_error *error)
{
    return read_range(text, MOST_SCALE, augment.scale, error);
}

static int read_ratio(const char *text, struct clip_error *error)
{
    return read_range(text, 1000, augment.ratio, error);
}

static const struct clip_option options[] = {
    {"size", 's', CLIP_CALLBACK, read_size, "S|H,W", "side of the image, or height and width [the model's]",
     0, 0},
    {"resize", 0, CLIP_CHOICE, &resize, "shortest|squash|longest",
     "crop the middle, distort, or fill the image [the model's, or shortest]", 0, 0},
    {"interpolation", 0, CLIP_CHOICE, &interpolation, "bicubic|bilinear",
     "filter to resize with [the model's, or bicubic]", 0, 0},
    {"fill", 0, CLIP_COUNT, &fill, "N", "longest: the fill colour, in each band [the model's, or 0]", 0, 255},
    {"convert-first", 0, CLIP_FLAG, &convert_first, NULL, "convert to RGB before resizing, like Hugging Face",
     0, 0},
    {"dtype", 0, CLIP_CHOICE, &dtype, "u8|f32", "write bytes or normalized floats [u8]", 0, 0},
    {"field", 0, CLIP_TEXT, &field, "NAME,...",
     "field of the picture: the first of these that exists [" CLIP_PICTURE_NAMES "]", 0, 0},
    {"keep", 0, CLIP_FLAG, &keep, NULL, "keep the field of the picture", 0, 0},
    {"rejects", 0, CLIP_TEXT, &rejects, "FILE",
     "--skip-bad: write the dropped records to FILE, without pictures", 0, 0},
    {"augment", 0, CLIP_FLAG, &augmented, NULL, "change each picture at random, for training", 0, 0},
    {"crop-scale", 0, CLIP_CALLBACK, read_scale, "A,B",
     "augment: range of the area of a random crop; 1,1: no crop [0.9,1]", 0, 0},
    {"crop-ratio", 0, CLIP_CALLBACK, read_ratio, "A,B",
     "augment: range of width / height of the crop [0.75,1.3333]", 0, 0},
    {"pad", 0, CLIP_COUNT, &pad, "N", "augment: first shift the picture by up to N of its pixels [0]", 0,
     4096},
    {"pad-mode", 0, CLIP_CHOICE, &pad_mode, "black|reflect",
     "augment: what is beyond a picture's edges [black]", 0, 0},
    {"flip", 0, CLIP_FLAG, &augment.flip, NULL, "augment: mirror a picture with a probability of one half", 0,
     0},
    {"erase", 0, CLIP_NUMBER, &augment.erase, "X",
     "augment: erase a square with X times the side of the image [0]", 0, 1},
    {"seed", 0, CLIP_COUNT, &seed, "N", "augment: seed of the random numbers [0]", 0, 0},
    {"max-pixels", 0, CLIP_COUNT, &max_pixels, "N", "refuse larger pictures [178956970]", 1, 1e15},
    {0}};

static const struct clip_program program = {
    .name = "clip-preprocess",
    .operands = "[STREAM...]",
    .purpose = "Decodes the JPEG, PNG or WebP picture of each record, resizes and crops it, and puts the "
               "result in the\n"
               "field image. Give -m or --size.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_BATCH | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct job {
    struct clip_pool *pool;
    struct clip_image_form form;
    float levels[CLIP_PIXEL_LEVELS];
    uint8_t mean[3];              /* as bytes: what erased pixels become */
    struct clip_record **records; /* of this batch */
};

static const struct clip_field *find_picture(const struct clip_record *record)
{
    return field ? clip_find_picture_in(record, field) : clip_find_picture(record);
}

/* Makes the picture, augmented according to its key and epoch, pixels[3, height, width]. */
static int change_picture(const struct job *job, const struct clip_record *record, uint32_t epoch,
                          const struct clip_picture *picture, uint8_t *pixels, struct clip_error *error)
{
    size_t key_size;
    const char *key = clip_record_key(record, &key_size);
    struct clip_change change =
        clip_augment_draw(&augment, epoch, key, key_size, picture->width, picture->height, &job->form);
    return clip_augment_apply(&augment, &change, picture, &job->form, job->mean, pixels, error);
}

/* Makes the record's picture, in `found`, pixels[3, height, width]. */
static int make_pixels(const struct job *job, const struct clip_record *record,
                       const struct clip_field *found, uint32_t epoch, uint8_t *pixels,
                       struct clip_error *error)
{
    struct clip_picture picture;
    const char *data;
    size_t bytes;
    if (clip_field_bytes(found, &data, &bytes) < 0)
        return clip_fail(error, "not bytes");
    if (clip_picture_decode(&picture, data, bytes, (uint64_t)max_pixels, error) < 0)
        return -1;
    int status = augmented ? change_picture(job, record, epoch, &picture, pixels, error)
                           : clip_picture_to_tensor(&picture, &job->form, pixels, error);
    clip_picture_free(&picture);
    return status;
}

/* Replaces the picture by the image. `name` is the picture's field, not terminated. */
static int put_image(const struct job *job, struct clip_record *record, const uint8_t *pixels,
                     struct clip_error *error)
{
    size_t rows = (size_t)job->form.height, columns = (size_t)job->form.width;
    struct clip_tensor image = {CLIP_U8, 3, {3, rows, columns}, pixels};
    if (dtype == BYTES)
        return clip_record_put_tensor(record, "image", &image, error);
    char head[CLIP_TENSOR_HEAD];
    image.dtype = CLIP_F32;
    size_t head_size = clip_tensor_head(&image, head);
    float *floats = clip_record_put_head(record, "image", head, head_size, clip_tensor_bytes(&image), error);
    if (!floats)
        return -1;
    clip_pixels_normalize(pixels, rows * columns, job->levels, floats);
    return 0;
}

static void preprocess_record(const struct job *job, struct clip_record *record, uint8_t *pixels)
{
    struct clip_error error;
    uint32_t epoch = 0;
    const struct clip_field *found = find_picture(record);
    if (augmented && clip_record_epoch(record, &epoch) != 0)
        return;
    if (!found) {
        if (field)
            clip_record_fail(record, "no field %s%s", field, clip_record_hint(record));
        else
            clip_record_fail(record, "no picture: no field is, or ends in, one of " CLIP_PICTURE_NAMES "%s",
                             clip_record_hint(record));
        return;
    }
    char name[200], *copy = strndup(found->name, found->name_size);
    clip_printable(name, sizeof name, found->name, found->name_size);
    if (!copy)
        clip_record_fail(record, "%s: out of memory", name);
    else if (make_pixels(job, record, found, epoch, pixels, &error) < 0)
        clip_record_fail(record, "%s: %s", name, error.text);
    else if (!keep)
        clip_record_drop(record, copy);
    free(copy);
    if (!record->bad && put_image(job, record, pixels, &error) < 0)
        clip_record_fail(record, "%s: %s", name, error.text);
}

static void do_one(void *context, size_t i, int thread)
{
    const struct job *job = context;
    size_t bytes = 3 * (size_t)job->form.height * (size_t)job->form.width;
    uint8_t *pixels = malloc(bytes);
    (void)thread;
    if (pixels)
        preprocess_record(job, job->records[i], pixels);
    else
        clip_record_fail(job->records[i], "out of memory for an image");
    free(pixels);
}

static int do_batch(void *context, struct clip_record **records, size_t n, struct clip_error *error)
{
    struct job *job = context;
    (void)error; /* only records can fail */
    job->records = records;
    clip_pool_run(job->pool, n, do_one, job);
    return 0;
}

/* Sets how pictures are resized: as the model says, unless options override it. */
static void configure_resizing(struct clip_image_form *form, const struct clip_preprocess_arch *preprocess)
{
    form->resize = resize < 0 ? preprocess->resize : (enum clip_resize)resize;
    form->interpolation =
        interpolation < 0 ? preprocess->interpolation : (enum clip_interpolation)interpolation;
    form->fill_color = fill < 0 ? preprocess->fill_color : (int)fill;
    form->convert_first = preprocess->convert_first || convert_first;
    if (fill >= 0 && form->resize != CLIP_LONGEST)
        clip_usage("--fill needs --resize longest");
}

/* Sets size, resizing, order and normalization: from the model, unless options override them. */
static void configure(struct job *job, const struct clip_shared *shared)
{
    struct clip_preprocess_arch preprocess = {.mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                              .std = {0.26862954f, 0.26130258f, 0.27577711f}}; /* OpenAI's */
    struct clip_error error;
    job->form.height = height;
    job->form.width = width;
    if (shared->model) {
        struct clip_model *model = clip_open_settings(shared, CLIP_SIDE_IMAGE, &error);
        if (!model)
            clip_die("%s", error.text);
        preprocess = clip_model_arch(model)->preprocess;
        if (!height) {
            job->form.height = clip_model_arch(model)->vision.image_size;
            job->form.width = clip_image_width(&clip_model_arch(model)->vision);
        }
        clip_model_close(model);
    } else if (!height) {
        clip_usage("give a model (-m) or a size (--size)");
    }
    configure_resizing(&job->form, &preprocess);
    if (clip_level_choose(&job->form.level, &error) != 0)
        clip_die("%s", error.text);
    clip_pixel_levels(preprocess.mean, preprocess.std, job->levels);
    for (int c = 0; c < 3; c++)
        job->mean[c] = (uint8_t)rintf(fminf(fmaxf(255 * preprocess.mean[c], 0), 255));
}

/* Sets the options of --augment, which are errors without it. */
static void configure_augment(void)
{
    if (!augmented && (pad || pad_mode || augment.flip || augment.erase > 0 || seed >= 0 || given_range))
        clip_usage(
            "--crop-scale, --crop-ratio, --pad, --pad-mode, --flip, --erase and --seed need --augment");
    augment.pad = (int)pad;
    augment.reflect = pad_mode;
    augment.seed = seed < 0 ? 0 : (uint64_t)seed;
}

/* Whether `image` is in the list of fields. */
static int names_image(const char *list)
{
    for (const char *name = list; name; name = strchr(name, ',') ? strchr(name, ',') + 1 : NULL)
        if (strcspn(name, ",") == 5 && memcmp(name, "image", 5) == 0)
            return 1;
    return 0;
}

/* Keeps what is freed: else each picture would get fresh pages, whose clearing takes a sixth of the time. */
static void keep_memory(void)
{
    enum { LARGEST = 32 << 20 }; /* that malloc takes from what it keeps */
    mallopt(M_MMAP_THRESHOLD, LARGEST);
    mallopt(M_TRIM_THRESHOLD, 2 * LARGEST);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 32};
    struct clip_error error;
    struct job job = {0};
    int first = clip_start(&program, &shared, argc, argv);
    if (keep && field && names_image(field))
        clip_usage("--keep: the picture is in the field that the image replaces");
    if (rejects && !shared.skip_bad)
        clip_usage("--rejects needs --skip-bad");
    configure(&job, &shared);
    configure_augment();
    keep_memory();
    job.pool = clip_pool_new((int)shared.threads, &error);
    if (!job.pool)
        clip_die("%s", error.text);
    struct clip_filter filter = {
        .process = do_batch, .context = &job, .batch = (size_t)shared.batch, .rejects = rejects};
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    clip_pool_free(job.pool);
    return status;
}
