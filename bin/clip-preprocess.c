/* clip-preprocess: the picture of each record as the image tower's input. */
#include "base/cli.h"
#include "base/threads.h"
#include "image/field.h"
#include "image/preprocess.h"
#include "model/model.h"
#include "stream/filter.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES, FLOATS };

static long size, max_pixels = CLIP_MAX_PIXELS;
static const char *field;
static int keep, convert_first, dtype;

static const struct clip_option options[] = {
    {"size", 's', CLIP_COUNT, &size, "S", "side of the image [the model's]", 1, CLIP_MAX_IMAGE_SIZE},
    {"convert-first", 0, CLIP_FLAG, &convert_first, NULL,
     "convert to RGB before resizing, as Hugging Face does", 0, 0},
    {"dtype", 0, CLIP_CHOICE, &dtype, "u8|f32", "bytes, or normalized floats [u8]", 0, 0},
    {"field", 0, CLIP_TEXT, &field, "NAME",
     "the field of the picture [the first that ends in jpg, jpeg, png, webp]", 0, 0},
    {"keep", 0, CLIP_FLAG, &keep, NULL, "keep the picture's field", 0, 0},
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
    int size;
    struct clip_preprocess_arch preprocess;
    struct clip_record **records; /* of this batch */
};

static const struct clip_field *find_picture(const struct clip_record *record)
{
    return field ? clip_record_find(record, field) : clip_find_picture(record);
}

/* The picture in `found` as pixels[3, size, size]. */
static int make_pixels(const struct job *job, const struct clip_field *found, uint8_t *pixels,
                       struct clip_error *error)
{
    struct clip_picture picture;
    const char *data;
    size_t bytes;
    if (clip_field_bytes(found, &data, &bytes) < 0)
        return clip_fail(error, "not bytes");
    if (clip_picture_decode(&picture, data, bytes, (uint64_t)max_pixels, error) < 0)
        return -1;
    int status = clip_picture_to_tensor(&picture, job->size, job->preprocess.convert_first, pixels, error);
    clip_picture_free(&picture);
    return status;
}

/* Replaces the picture by the image. `name` is the picture's field, not terminated. */
static int put_image(const struct job *job, struct clip_record *record, const uint8_t *pixels,
                     struct clip_error *error)
{
    size_t side = (size_t)job->size;
    struct clip_tensor image = {CLIP_U8, 3, {3, side, side}, pixels};
    if (dtype == BYTES)
        return clip_record_put_tensor(record, "image", &image, error);
    float *floats = reallocarray(NULL, 3 * side * side, sizeof *floats);
    if (!floats)
        return clip_fail_memory(error, "an image");
    clip_pixels_normalize(pixels, side * side, job->preprocess.mean, job->preprocess.std, floats);
    image.dtype = CLIP_F32;
    image.data = floats;
    int status = clip_record_put_tensor(record, "image", &image, error);
    free(floats);
    return status;
}

static void preprocess_record(const struct job *job, struct clip_record *record, uint8_t *pixels)
{
    struct clip_error error;
    const struct clip_field *found = find_picture(record);
    if (!found) {
        if (field)
            clip_record_fail(record, "no field %s", field);
        else
            clip_record_fail(record, "no picture: no field ends in jpg, jpeg, png or webp");
        return;
    }
    char name[200], *copy = strndup(found->name, found->name_size);
    clip_printable(name, sizeof name, found->name, found->name_size);
    if (!copy)
        clip_record_fail(record, "%s: out of memory", name);
    else if (make_pixels(job, found, pixels, &error) < 0)
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
    size_t bytes = 3 * (size_t)job->size * (size_t)job->size;
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
    (void)error; /* what fails is a record */
    job->records = records;
    clip_pool_run(job->pool, n, do_one, job);
    return 0;
}

/* Size, order and normalization from the model, the options before it. */
static void configure(struct job *job, const struct clip_shared *shared)
{
    static const struct clip_preprocess_arch openai = {
        {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}, 0};
    struct clip_error error;
    job->size = (int)size;
    job->preprocess = openai;
    if (shared->model) {
        struct clip_model *model = clip_model_open(shared->model, shared->arch, &error);
        if (!model)
            clip_die("%s", error.text);
        job->preprocess = clip_model_arch(model)->preprocess;
        if (!size)
            job->size = clip_model_arch(model)->vision.image_size;
        clip_model_close(model);
    } else if (!size) {
        clip_usage("give a model (-m) or a size (--size)");
    }
    job->preprocess.convert_first |= convert_first;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 32};
    struct clip_error error;
    struct job job = {.size = 0};
    int first = clip_start(&program, &shared, argc, argv);
    if (keep && field && strcmp(field, "image") == 0)
        clip_usage("--keep: the picture is in the field that the image replaces");
    configure(&job, &shared);
    job.pool = clip_pool_new((int)shared.threads, &error);
    if (!job.pool)
        clip_die("%s", error.text);
    struct clip_filter filter = {.process = do_batch, .context = &job, .batch = (size_t)shared.batch};
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    clip_pool_free(job.pool);
    return status;
}
