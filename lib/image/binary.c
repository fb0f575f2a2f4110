#include "image/binary.h"

#include <inttypes.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

struct clip_binary {
    size_t side, labels;
    const char *prefix;
    uint64_t count; /* pictures so far, in all files */
    FILE *file;
    const char *name;
    int begun;       /* the file has had a picture */
    uint8_t *bytes;  /* [labels + 3 side side], of the file */
    uint8_t *pixels; /* [side, side, 3] */
    void *png;       /* room for the largest PNG of such a picture */
    size_t png_room;
};

static size_t plane_of(const struct clip_binary *binary)
{
    return binary->side * binary->side;
}

void clip_binary_free(struct clip_binary *binary)
{
    if (!binary)
        return;
    free(binary->bytes);
    free(binary->pixels);
    free(binary->png);
    free(binary);
}

struct clip_binary *clip_binary_new(int side, int labels, const char *prefix, struct clip_error *error)
{
    struct clip_binary *binary = calloc(1, sizeof *binary);
    if (binary) {
        *binary = (struct clip_binary){.side = (size_t)side, .labels = (size_t)labels, .prefix = prefix};
        size_t bytes = 3 * plane_of(binary);
        binary->bytes = malloc(binary->labels + bytes);
        binary->pixels = malloc(bytes);
        binary->png_room = bytes + bytes / 8 + 4096; /* deflate adds little to data that it cannot compress */
        binary->png = malloc(binary->png_room);
    }
    if (binary && binary->bytes && binary->pixels && binary->png)
        return binary;
    clip_binary_free(binary);
    clip_fail_memory(error, "a picture");
    return NULL;
}

void clip_binary_begin(struct clip_binary *binary, FILE *file, const char *name)
{
    binary->file = file;
    binary->name = name;
    binary->begun = 0;
}

/* Encodes the picture of binary->bytes as a PNG in binary->png. Sets *size; -1 with error. */
static int make_png(struct clip_binary *binary, size_t *size, struct clip_error *error)
{
    size_t plane = plane_of(binary);
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)binary->side,
                       .height = (png_uint_32)binary->side,
                       .format = PNG_FORMAT_RGB};
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            binary->pixels[3 * i + c] = binary->bytes[binary->labels + c * plane + i];
    *size = binary->png_room;
    if (!png_image_write_to_memory(&image, binary->png, size, 0, binary->pixels, 0, NULL))
        return clip_fail(error, "a picture as PNG: %s", image.message);
    return 0;
}

/* The sample of binary->bytes. */
static int fill_record(struct clip_binary *binary, struct clip_record *record, struct clip_error *error)
{
    char key[CLIP_BINARY_MAX_PREFIX + 24], class[8];
    size_t size;
    snprintf(key, sizeof key, "%s%05" PRIu64, binary->prefix, binary->count++);
    if (clip_record_put_string(record, "__key__", key, strlen(key), error) != 0)
        return -1;
    if (binary->labels > 0) {
        snprintf(class, sizeof class, "%d", binary->bytes[binary->labels - 1]);
        if (clip_record_put_bytes(record, "cls", class, strlen(class), error) != 0)
            return -1;
    }
    if (make_png(binary, &size, error) != 0)
        return -1;
    return clip_record_put_bytes(record, "png", binary->png, size, error);
}

int clip_binary_next(struct clip_binary *binary, struct clip_record **record, struct clip_error *error)
{
    size_t size = binary->labels + 3 * plane_of(binary), got = fread(binary->bytes, 1, size, binary->file);
    if (got < size && ferror(binary->file))
        return clip_fail_errno(error, "%s", binary->name);
    if (got == 0 && binary->begun)
        return 0;
    if (got < size)
        return clip_fail(error, "%s: cut short: records have %zu bytes, but %zu are left", binary->name, size,
                         got);
    binary->begun = 1;
    if (!(*record = clip_record_new()))
        return clip_fail_memory(error, "a sample");
    if (fill_record(binary, *record, error) == 0)
        return 1;
    clip_record_free(*record);
    return -1;
}
