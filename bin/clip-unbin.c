/* clip-unbin: binary batches of labelled pictures, as of CIFAR-10, to samples. */
#include "base/cli.h"
#include "stream/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *prefix = "";
static long side = 32, labels = 1;

static const struct clip_option options[] = {
    {"size", 's', CLIP_COUNT, &side, "S", "side of the pictures [32]", 1, 4096},
    {"labels", 0, CLIP_COUNT, &labels, "N", "bytes in front of a picture, the last its class [1]", 0, 16},
    {"key", 0, CLIP_TEXT, &prefix, "PREFIX", "what keys begin with, before the number", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-unbin",
    .operands = "[FILE...]",
    .purpose = "Reads pictures in records of fixed size, class and then planes of red, green and blue, and\n"
               "writes them as samples: png and cls.",
    .options = options};

struct run {
    struct clip_writer *out;
    uint8_t *record, *pixels; /* [labels + 3 S S], [S, S, 3] */
    void *png;                /* room for the largest PNG of such a picture */
    size_t png_room;
    uint64_t count;
};

/* The picture of run->record as a PNG in run->png. Sets *size; -1 with error. */
static int make_png(struct run *run, size_t *size, struct clip_error *error)
{
    size_t plane = (size_t)side * (size_t)side;
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)side,
                       .height = (png_uint_32)side,
                       .format = PNG_FORMAT_RGB};
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            run->pixels[3 * i + c] = run->record[(size_t)labels + c * plane + i];
    *size = run->png_room;
    if (!png_image_write_to_memory(&image, run->png, size, 0, run->pixels, 0, NULL))
        return clip_fail(error, "a picture as PNG: %s", image.message);
    return 0;
}

static int write_sample(struct run *run, struct clip_error *error)
{
    char key[400], class[8];
    size_t size;
    struct clip_record *record = clip_record_new();
    snprintf(key, sizeof key, "%s%05" PRIu64, prefix, run->count++);
    int status = record ? clip_record_put_string(record, "__key__", key, strlen(key), error)
                        : clip_fail_memory(error, "a sample");
    if (status == 0 && labels > 0) {
        snprintf(class, sizeof class, "%d", run->record[labels - 1]);
        status = clip_record_put_bytes(record, "cls", class, strlen(class), error);
    }
    if (status == 0)
        status = make_png(run, &size, error);
    if (status == 0)
        status = clip_record_put_bytes(record, "png", run->png, size, error);
    if (status == 0)
        status = clip_writer_record(run->out, record, error);
    clip_record_free(record);
    return status;
}

static int read_file(struct run *run, FILE *file, const char *name, struct clip_error *error)
{
    size_t size = (size_t)labels + 3 * (size_t)side * (size_t)side, got;
    uint64_t before = run->count;
    int status = 0;
    while (status == 0 && (got = fread(run->record, 1, size, file)) == size)
        status = write_sample(run, error);
    if (status == 0 && ferror(file))
        status = clip_fail_errno(error, "%s", name);
    else if (status == 0 && (got > 0 || run->count == before))
        status =
            clip_fail(error, "%s: cut short: records are of %zu bytes, and %zu are left", name, size, got);
    return status;
}

static int read_all(struct run *run, char **names, int n, struct clip_error *error)
{
    size_t bytes = 3 * (size_t)side * (size_t)side;
    run->record = malloc((size_t)labels + bytes);
    run->pixels = malloc(bytes);
    run->png_room = bytes + bytes / 8 + 4096; /* deflate adds little to what it cannot make smaller */
    run->png = malloc(run->png_room);
    if (!run->record || !run->pixels || !run->png)
        return clip_fail_memory(error, "a picture");
    if (n == 0)
        return read_file(run, stdin, "standard input", error);
    for (int i = 0; i < n; i++) {
        int is_input = strcmp(names[i], "-") == 0;
        FILE *file = is_input ? stdin : fopen(names[i], "re");
        if (!file)
            return clip_fail(error, "%s: %s", names[i], strerror(errno));
        int status = read_file(run, file, is_input ? "standard input" : names[i], error);
        if (!is_input)
            fclose(file);
        if (status != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error, flush_error;
    struct run run = {0};
    int first = clip_start(&program, &shared, argc, argv);
    if (strlen(prefix) > 300)
        clip_usage("--key: more than 300 bytes");
    clip_refuse_terminal();
    run.out = clip_writer_new(STDOUT_FILENO, "standard output", &error);
    if (!run.out)
        clip_die("%s", error.text);
    int status = read_all(&run, argv + first, argc - first, &error);
    if (status == 0)
        status = clip_writer_end(run.out, &error);
    else
        clip_writer_flush(run.out, &flush_error); /* the run has failed already; `error` says how */
    if (status == 0 && close(STDOUT_FILENO) != 0)
        status = clip_fail_errno(&error, "standard output");
    if (status != 0)
        clip_message("%s", error.text);
    clip_writer_free(run.out);
    free(run.record);
    free(run.pixels);
    free(run.png);
    return status != 0;
}
