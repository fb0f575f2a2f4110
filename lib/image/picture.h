/* Decoding of JPEG, PNG and WebP files, with the pixels and the mode that Pillow 9.4 gives for the same
 * bytes.
 *
 * What Pillow accepts in spite of its flaws is accepted, and what Pillow refuses is refused. As in Pillow,
 * ICC profiles, gamma and EXIF orientation are not applied. The one difference in pixels: 16-bit gray PNG,
 * which Pillow reads as 32-bit integers and clips at 255 when it converts to RGB, gives the high byte. */
#ifndef CLIP_IMAGE_PICTURE_H
#define CLIP_IMAGE_PICTURE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Pillow's limit: above twice its MAX_IMAGE_PIXELS it refuses a picture. */
#define CLIP_MAX_PIXELS 178956970

/* Pillow's modes; preprocessing depends on them. */
enum clip_picture_mode {
    CLIP_PICTURE_1, /* black and white, as bytes 0 and 255 */
    CLIP_PICTURE_L,
    CLIP_PICTURE_P, /* indices into the palette */
    CLIP_PICTURE_LA,
    CLIP_PICTURE_RGB,
    CLIP_PICTURE_RGBA,
    CLIP_PICTURE_CMYK,
};

struct clip_picture {
    enum clip_picture_mode mode;
    int width, height;
    int channels;    /* bytes of a pixel: 1 for 1, L and P; else 4: L L L A, or R G B and one unused */
    uint8_t *pixels; /* [height, width, channels]; owned */
    uint8_t palette[256][3]; /* for mode P: R G B; entries that the file does not have are i i i */
};

/* Decodes the file of `size` bytes at `data`; the format is found by its content. A picture of more than
 * `max_pixels` is refused by its header, before anything is decoded or allocated. -1 with error: *picture
 * then holds nothing. Free with clip_picture_free. Reentrant. */
int clip_picture_decode(struct clip_picture *picture, const void *data, size_t size, uint64_t max_pixels,
                        struct clip_error *error);

/* The extension that files of this kind have: "jpg", "png" or "webp"; told by how data[size] begins, of which
 * CLIP_PICTURE_HEAD bytes are enough. NULL with error, which says what it is instead. */
#define CLIP_PICTURE_HEAD 512
const char *clip_picture_extension(const void *data, size_t size, struct clip_error *error);

/* Frees the pixels; the struct is the caller's. */
void clip_picture_free(struct clip_picture *picture);

#endif
