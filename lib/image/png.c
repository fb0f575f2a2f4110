/* PNG: the chunks are read by Pillow's rules (image/png-chunks.h), the pixels by libpng, which gets only a
 * minimal header and the compressed rows. */
#include "image/png-chunks.h"

#include <limits.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Context of libpng's callbacks. */
struct rows {
    struct clip_picture *picture;
    struct clip_png_tile tile;
    int interlaced;
    uint32_t left; /* rows not yet decoded, of all passes */
    jmp_buf escape;
    char message[128];
};

/* Adam7: pass p has every `step`th row and column from `from` on. */
struct pass {
    uint32_t x_from, y_from, x_step, y_step;
};
static const struct pass passes[7] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                      {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

static uint32_t steps(uint32_t length, uint32_t from, uint32_t step)
{
    return length > from ? (length - from + step - 1) / step : 0;
}

static uint32_t count_rows(const struct rows *rows)
{
    if (!rows->interlaced)
        return rows->tile.height;
    uint32_t count = 0;
    for (const struct pass *p = passes; p < passes + 7; p++)
        if (steps(rows->tile.width, p->x_from, p->x_step) > 0)
            count += steps(rows->tile.height, p->y_from, p->y_step);
    return count;
}

static void on_error(png_structp codec, png_const_charp message)
{
    struct rows *rows = png_get_error_ptr(codec);
    strncpy(rows->message, message, sizeof rows->message - 1);
    longjmp(rows->escape, 1);
}

static void on_warning(png_structp codec, png_const_charp message)
{
    (void)codec, (void)message;
}

static void on_info(png_structp codec, png_infop info)
{
    png_read_update_info(codec, info);
}

/* Copies a row of a pass to its place. Pillow only shifts the rows of frames that are not interlaced away
 * from the corner. */
static void on_row(png_structp codec, png_bytep row, png_uint_32 number, int pass)
{
    struct rows *rows = png_get_progressive_ptr(codec);
    const struct clip_picture *picture = rows->picture;
    size_t channels = (size_t)picture->channels;
    uint8_t *pixels = picture->pixels;
    rows->left--;
    if (!rows->interlaced) {
        size_t at = (size_t)(rows->tile.y + number) * (size_t)picture->width + rows->tile.x;
        memcpy(pixels + at * channels, row, rows->tile.width * channels);
        return;
    }
    const struct pass *p = &passes[pass];
    pixels += (size_t)(p->y_from + number * p->y_step) * (size_t)picture->width * channels;
    for (uint32_t x = p->x_from; x < rows->tile.width; x += p->x_step, row += channels)
        memcpy(pixels + x * channels, row, channels);
}

/* Passes bytes of a PNG file to libpng, which does not check the checksums. */
static void feed_bytes(png_structp codec, png_infop info, const void *data, size_t size)
{
    png_process_data(codec, info, (png_bytep)data, size);
}

static void give_header(png_structp codec, png_infop info, const struct clip_png *png,
                        const struct clip_png_tile *tile)
{
    png_byte header[33] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    png_save_uint_32(header + 16, tile->width);
    png_save_uint_32(header + 20, tile->height);
    header[24] = (png_byte)png->depth;
    /* Indices are read as they are. */
    header[25] = png->colour == CLIP_PNG_PALETTE ? CLIP_PNG_GRAY : (png_byte)png->colour;
    header[28] = (png_byte)png->interlaced;
    feed_bytes(codec, info, header, sizeof header);
}

/* Until all rows are decoded, or no data are left. */
static void give_data(png_structp codec, png_infop info, struct clip_png *png, const struct rows *rows)
{
    while (rows->left > 0) {
        const uint8_t *block;
        int size = clip_png_block(png, &block);
        if (size <= 0)
            return;
        png_byte header[8] = "\0\0\0\0IDAT";
        png_save_uint_32(header, (png_uint_32)size);
        feed_bytes(codec, info, header, sizeof header);
        feed_bytes(codec, info, block, (size_t)size);
        feed_bytes(codec, info, "\0\0\0\0", 4);
    }
}

/* Samples as Pillow unpacks them: bytes; for 16 bits the high byte. */
static void set_transformations(png_structp codec, const struct clip_png *png, struct rows *rows)
{
    png_set_crc_action(codec, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_benign_errors(codec, 0);
    png_set_user_limits(codec, 0x7fffffff, 0x7fffffff);
#ifdef PNG_MAXIMUM_INFLATE_WINDOW
    png_set_option(codec, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON); /* whatever the stream's header says */
#endif
    png_set_progressive_read_fn(codec, rows, on_info, on_row, NULL);
    if (png->colour == CLIP_PNG_PALETTE)
        png_set_packing(codec);
    else if (png->depth < 8)
        png_set_expand_gray_1_2_4_to_8(codec);
    if (png->depth == 16)
        png_set_strip_16(codec);
    if (png->colour == CLIP_PNG_GRAY_ALPHA)
        png_set_gray_to_rgb(codec);
    if (png->colour == CLIP_PNG_RGB)
        png_set_filler(codec, 255, PNG_FILLER_AFTER);
}

static int run_libpng(png_structp codec, png_infop info, struct clip_png *png, struct rows *rows)
{
    if (setjmp(rows->escape))
        return clip_png_broken(png, rows->message);
    set_transformations(codec, png, rows);
    give_header(codec, info, png, &rows->tile);
    give_data(codec, info, png, rows);
    return 0;
}

static int read_rows(struct clip_png *png, struct rows *rows)
{
    png_structp codec = png_create_read_struct(PNG_LIBPNG_VER_STRING, rows, on_error, on_warning);
    png_infop info = codec ? png_create_info_struct(codec) : NULL;
    clip_png_rewind(png);
    int status = info ? run_libpng(codec, info, png, rows) : clip_fail_memory(png->error, "libpng");
    png_destroy_read_struct(&codec, &info, NULL);
    return status;
}

static int pixel_bits(const struct clip_png *png)
{
    static const int samples[7] = {[CLIP_PNG_GRAY] = 1,
                                   [CLIP_PNG_RGB] = 3,
                                   [CLIP_PNG_PALETTE] = 1,
                                   [CLIP_PNG_GRAY_ALPHA] = 2,
                                   [CLIP_PNG_RGB_ALPHA] = 4};
    return samples[png->colour] * png->depth;
}

/* Bytes of an uncompressed row of pass p, with its filter byte. */
static size_t row_bytes(const struct clip_png *png, const struct rows *rows, int p)
{
    uint32_t width = rows->tile.width;
    if (rows->interlaced)
        width = steps(width, passes[p].x_from, passes[p].x_step);
    return ((size_t)width * (size_t)pixel_bits(png) + 7) / 8 + 1;
}

/* Goes to the next row, of this pass or of the next one that has rows. */
static void next_row(const struct rows *rows, int *pass, uint32_t *y)
{
    ++*y;
    while (rows->interlaced && *pass < 6 &&
           (*y >= steps(rows->tile.height, passes[*pass].y_from, passes[*pass].y_step) ||
            steps(rows->tile.width, passes[*pass].x_from, passes[*pass].x_step) == 0)) {
        ++*pass;
        *y = 0;
    }
}

/* If compressed data are too short, but not cut, Pillow accepts them if they end with a row; the rest of
 * the picture is then black. libpng does not tell, so this inflates them again, row by row. Leaves the
 * reader where Pillow would stop reading. */
static int ends_with_row(struct clip_png *png, const struct rows *rows, z_stream *stream, uint8_t *row)
{
    int pass = 0, size;
    uint32_t y = 0;
    const uint8_t *block;
    clip_png_rewind(png);
    stream->avail_out = 0;
    while ((size = clip_png_block(png, &block)) > 0) {
        stream->next_in = (Bytef *)block;
        stream->avail_in = (uInt)size;
        while (stream->avail_in > 0) {
            if (stream->avail_out == 0) {
                stream->next_out = row;
                stream->avail_out = (uInt)row_bytes(png, rows, pass);
            }
            int status = inflate(stream, Z_NO_FLUSH);
            if (status < 0)
                return 0;
            if (stream->avail_out > 0)
                break;
            if (status == Z_STREAM_END)
                return 1;
            next_row(rows, &pass, &y);
        }
    }
    return 0;
}

static int check_short_data(struct clip_png *png, const struct rows *rows)
{
    z_stream stream = {.next_in = NULL};
    uint8_t *row = malloc(row_bytes(png, rows, 6) + row_bytes(png, rows, 0));
    if (!row || inflateInit(&stream) != Z_OK) {
        free(row);
        return clip_fail_memory(png->error, "a row");
    }
    int good = ends_with_row(png, rows, &stream, row);
    inflateEnd(&stream);
    free(row);
    return good ? 0 : clip_png_broken(png, "its data end too early");
}

static enum clip_picture_mode mode_of(const struct clip_png *png)
{
    switch (png->colour) {
    case CLIP_PNG_GRAY:
        return png->depth == 1 ? CLIP_PICTURE_1 : CLIP_PICTURE_L;
    case CLIP_PNG_PALETTE:
        return CLIP_PICTURE_P;
    case CLIP_PNG_RGB:
        return CLIP_PICTURE_RGB;
    case CLIP_PNG_GRAY_ALPHA:
        return png->depth == 8 ? CLIP_PICTURE_LA : CLIP_PICTURE_RGBA;
    default:
        return CLIP_PICTURE_RGBA;
    }
}

/* The part of the picture that the data fill. */
static int choose_tile(struct clip_png *png, struct clip_png_tile *tile)
{
    *tile = (struct clip_png_tile){0, 0, png->width, png->height};
    if (png->has_frame && png->frame.x + png->frame.width > 0)
        *tile = png->frame;
    if (tile->width == 0 || tile->height == 0)
        return clip_png_broken(png, "a frame without pixels");
    if ((uint64_t)tile->x + tile->width > png->width || (uint64_t)tile->y + tile->height > png->height)
        return clip_png_broken(png, "a frame outside the picture");
    if (tile->width > (uint32_t)(INT_MAX / pixel_bits(png) - 7)) /* Pillow's limit */
        return clip_png_broken(png, "its rows are too long");
    return 0;
}

int clip_png_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                    struct clip_error *error)
{
    struct clip_png png;
    struct rows rows = {.picture = picture};
    if (clip_png_open(&png, data, size, error) < 0 ||
        clip_picture_alloc(picture, mode_of(&png), png.width, png.height, 1, max_pixels, error) < 0 ||
        choose_tile(&png, &rows.tile) < 0)
        return -1;
    rows.interlaced = png.interlaced;
    rows.left = count_rows(&rows);
    if (png.palette_size > 0)
        memcpy(picture->palette, png.palette, png.palette_size / 3 * 3);
    if (read_rows(&png, &rows) < 0 || (rows.left > 0 && check_short_data(&png, &rows) < 0))
        return -1;
    return clip_png_finish(&png);
}
