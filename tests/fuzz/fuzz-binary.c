/* Binary batches of pictures on any bytes: the first two choose the sizes, the rest, of at most eight
 * pictures, is the file. Every picture must come back from its PNG as it was, and as many as the file holds.
 */
#include "image/binary.h"
#include "image/picture.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

enum { MOST_PICTURES = 8 };

static void check_picture(const char *png, size_t size, const uint8_t *planes, int side)
{
    struct clip_picture picture;
    struct clip_error error;
    size_t plane = (size_t)side * (size_t)side;
    CHECK(clip_picture_decode(&picture, png, size, plane, &error) == 0);
    CHECK(picture.mode == CLIP_PICTURE_RGB && picture.width == side && picture.height == side);
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            CHECK(picture.pixels[4 * i + c] == planes[c * plane + i]);
    clip_picture_free(&picture);
}

static void check_record(const struct clip_record *record, const uint8_t *bytes, int side, int labels)
{
    const struct clip_field *class = clip_record_find(record, "cls"), *png = clip_record_find(record, "png");
    const char *data;
    char expected[8];
    size_t size;
    CHECK(clip_record_key(record, &size) && png && (class != NULL) == (labels > 0));
    if (class) {
        snprintf(expected, sizeof expected, "%d", bytes[labels - 1]);
        CHECK(clip_field_bytes(class, &data, &size) == 0);
        CHECK(size == strlen(expected) && memcmp(data, expected, size) == 0);
    }
    CHECK(clip_field_bytes(png, &data, &size) == 0);
    check_picture(data, size, bytes + labels, side);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_error error = {""};
    struct clip_record *record;
    int got;
    if (size < 3)
        return 0;
    int side = 1 + data[0] % 40, labels = data[1] % (CLIP_BINARY_MAX_LABELS + 1);
    size_t each = (size_t)labels + 3 * (size_t)(side * side), done = 0;
    data += 2;
    size = size - 2 < MOST_PICTURES * each ? size - 2 : MOST_PICTURES * each; /* a PNG takes its time */
    FILE *file = fmemopen((void *)data, size, "r");
    struct clip_binary *binary = clip_binary_new(side, labels, "k", &error);
    CHECK(file && binary);
    clip_binary_begin(binary, file, "fuzz");
    while ((got = clip_binary_next(binary, &record, &error)) == 1) {
        CHECK(size - done >= each);
        check_record(record, data + done, side, labels);
        clip_record_free(record);
        done += each;
    }
    CHECK(size - done < each && (got == 0) == (done == size) && (got == 0 || error.text[0]));
    clip_binary_free(binary);
    fclose(file);
    return 0;
}
