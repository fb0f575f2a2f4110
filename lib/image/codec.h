/* Internal to this floor: the three decoders of clip_picture_decode, and what they share. */
#ifndef CLIP_IMAGE_CODEC_H
#define CLIP_IMAGE_CODEC_H

#include "image/picture.h"

/* The file being read. `at` never passes `size`. */
struct clip_bytes {
    const uint8_t *data;
    size_t size, at;
};

/* Skips `count` bytes, or as many as there are; returns how many. */
size_t clip_bytes_skip(struct clip_bytes *in, size_t count);

/* Points *data at the next `count` bytes and skips them; -1 if there are fewer. */
int clip_bytes_take(struct clip_bytes *in, size_t count, const uint8_t **data);

/* Big-endian numbers, as in these files. */
uint16_t clip_be16(const uint8_t *data);
uint32_t clip_be32(const uint8_t *data);

/* Sets mode, size and palette (i i i), and allocates the pixels, zeroed or not. Refuses sizes of zero, or of
 * more than `max_pixels`, before that. */
int clip_picture_alloc(struct clip_picture *picture, enum clip_picture_mode mode, uint32_t width,
                       uint32_t height, int zeroed, uint64_t max_pixels, struct clip_error *error);

/* Each decodes a whole file of its kind into a zeroed *picture; on error the caller frees what it holds. */
int clip_jpeg_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                     struct clip_error *error);
int clip_png_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                    struct clip_error *error);
int clip_webp_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                     struct clip_error *error);

#endif
