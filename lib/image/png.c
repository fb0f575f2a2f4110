/* PNG: the chunks as Pillow's PngImagePlugin reads them, their pixels through libpng.
 *
 * Pillow has its own PNG reader, which takes and refuses other files than libpng: it checks the checksums of
 * the chunks before the picture's data only, lets the data end early at the end of a row, takes the first
 * frame of an animation for the picture where there is no other, and minds malformed text, times and
 * profiles, before and behind the data. So the chunks are walked here by Pillow's rules, and libpng gets only
 * what is left: a minimal header and the compressed rows. */
#include "image/codec.h"

#include <limits.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { GRAY = 0, RGB = 2, PALETTE = 3, GRAY_ALPHA = 4, RGB_ALPHA = 6 }; /* PNG's colour types */

/* Pillow's limits: of one text or profile, inflated; of all texts; of a read of compressed data. */
#define MAX_TEXT (1 << 20)
#define MAX_ALL_TEXT (64 << 20)
#define BLOCK 65536

struct chunk {
    char name[5];
    uint32_t length;
};

/* A rectangle of the picture that the data fill: all of it, or the frame of an animation. */
struct tile {
    uint32_t x, y, width, height;
};

struct png {
    struct clip_bytes in;
    struct clip_error *error;

    /* from the chunks */
    int known; /* depth and colour are of a kind that exists */
    int depth, colour, interlaced;
    uint32_t width, height;
    const uint8_t *palette;
    size_t palette_size;
    size_t text;       /* bytes of text so far */
    int animated;      /* there is a valid count of frames */
    uint32_t frames;   /* that count */
    int64_t sequence;  /* number of the last chunk of an animation, or -1 */
    struct tile frame; /* of the last frame header */
    int has_frame;
    int more; /* frames follow the picture */

    /* of the picture's data */
    size_t start;  /* where they begin */
    uint32_t size; /* bytes in the first chunk of them */
    uint32_t left; /* bytes not yet read of the chunk at hand */
    int64_t first; /* the animation's number there */
};

static int broken(struct png *png, const char *what)
{
    return clip_fail(png->error, "PNG file is broken or cut: %s", what);
}

/* --- chunks: each reader gets the chunk's data --- */

static int read_header(struct png *png, const uint8_t *data, uint32_t length)
{
    static const uint8_t depths[7] = {[GRAY] = 1 | 2 | 4 | 8 | 16,
                                      [RGB] = 8 | 16,
                                      [PALETTE] = 1 | 2 | 4 | 8,
                                      [GRAY_ALPHA] = 8 | 16,
                                      [RGB_ALPHA] = 8 | 16};
    if (length < 13)
        return broken(png, "IHDR");
    png->width = clip_be32(data);
    png->height = clip_be32(data + 4);
    int depth = data[8], colour = data[9];
    if (colour < 7 && (depths[colour] & depth) && (depth & (depth - 1)) == 0) {
        png->known = 1;
        png->depth = depth;
        png->colour = colour;
    }
    if (data[12])
        png->interlaced = 1;
    return data[11] ? broken(png, "unknown filter") : 0;
}

static int read_palette(struct png *png, const uint8_t *data, uint32_t length)
{
    if (png->known && png->colour == PALETTE) {
        png->palette = data;
        png->palette_size = length;
    }
    return 0;
}

/* What is transparent does not matter here, but it must be there. */
static int read_transparency(struct png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    uint32_t need = !png->known ? 0 : png->colour == GRAY ? 2 : png->colour == RGB ? 6 : 0;
    return length < need ? broken(png, "tRNS") : 0;
}

static int read_gamma(struct png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    return length < 4 ? broken(png, "gAMA") : 0;
}

static int read_chromaticity(struct png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    return length % 4 ? broken(png, "cHRM") : 0;
}

static int read_srgb(struct png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    return length < 1 ? broken(png, "sRGB") : 0;
}

static int read_density(struct png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    return length < 9 ? broken(png, "pHYs") : 0;
}

/* Inflates as Pillow does, at most MAX_TEXT bytes. Returns how many; -1 where more would come; -2 where the
 * data are broken, which Pillow takes for no text at all. */
static long inflate_text(const uint8_t *data, size_t length)
{
    z_stream stream = {.next_in = (Bytef *)data, .avail_in = (uInt)length};
    uint8_t scratch[8192];
    if (inflateInit(&stream) != Z_OK)
        return -2;
    int status;
    do {
        uLong rest = MAX_TEXT - stream.total_out;
        stream.next_out = scratch;
        stream.avail_out = rest < sizeof scratch ? (uInt)rest : sizeof scratch;
        status = inflate(&stream, Z_SYNC_FLUSH);
    } while (status == Z_OK && stream.avail_out == 0 && stream.total_out < MAX_TEXT);
    long text = (long)stream.total_out;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        text = -2;
    else if (status != Z_STREAM_END && stream.avail_in > 0)
        text = -1;
    inflateEnd(&stream);
    return text;
}

static int count_text(struct png *png, size_t length)
{
    png->text += length;
    return png->text > MAX_ALL_TEXT ? broken(png, "too much text") : 0;
}

static int read_profile(struct png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *end = memchr(data, 0, length);
    if (!end)
        return broken(png, "iCCP");
    size_t at = (size_t)(end - data) + 2;
    return at < length && inflate_text(data + at, length - at) == -1 ? broken(png, "too long a profile") : 0;
}

static int read_text(struct png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *end = memchr(data, 0, length);
    return end && end > data ? count_text(png, length - 1 - (size_t)(end - data)) : 0;
}

static int read_compressed_text(struct png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *end = memchr(data, 0, length);
    size_t at = end ? (size_t)(end - data) + 1 : length; /* the method, then the text */
    if (at < length && data[at] != 0)
        return broken(png, "zTXt");
    long text = at + 1 < length ? inflate_text(data + at + 1, length - at - 1) : 0;
    if (text == -1)
        return broken(png, "too long a text");
    return text > 0 && end > data ? count_text(png, (size_t)text) : 0;
}

static int read_international_text(struct png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *stop = data + length, *key = memchr(data, 0, length);
    if (!key || stop - key < 3)
        return 0;
    int compressed = key[1], method = key[2];
    const uint8_t *language = memchr(key + 3, 0, (size_t)(stop - key - 3));
    const uint8_t *title = language ? memchr(language + 1, 0, (size_t)(stop - language - 1)) : NULL;
    if (!title || (compressed && method != 0))
        return 0;
    size_t rest = (size_t)(stop - title - 1);
    long text = compressed ? inflate_text(title + 1, rest) : (long)rest;
    if (text == -1)
        return broken(png, "too long a text");
    return text > 0 ? count_text(png, (size_t)text) : 0;
}

static int read_animation(struct png *png, const uint8_t *data, uint32_t length)
{
    if (length < 8)
        return broken(png, "acTL");
    uint32_t frames = clip_be32(data);
    if (png->animated) {
        png->animated = 0;
    } else if (frames > 0 && frames <= 0x80000000) {
        png->animated = 1;
        png->frames = frames;
    }
    return 0;
}

static int next_in_sequence(struct png *png, const uint8_t *data, const char *what)
{
    int64_t sequence = clip_be32(data);
    if (sequence != png->sequence + 1)
        return broken(png, what);
    png->sequence = sequence;
    return 0;
}

static int read_frame(struct png *png, const uint8_t *data, uint32_t length)
{
    if (length < 26)
        return broken(png, "fcTL");
    if (next_in_sequence(png, data, "fcTL") < 0)
        return -1;
    png->frame =
        (struct tile){clip_be32(data + 12), clip_be32(data + 16), clip_be32(data + 4), clip_be32(data + 8)};
    if ((uint64_t)png->frame.x + png->frame.width > png->width ||
        (uint64_t)png->frame.y + png->frame.height > png->height)
        return broken(png, "fcTL");
    png->has_frame = 1;
    return 0;
}

static int read_nothing(struct png *png, const uint8_t *data, uint32_t length)
{
    (void)png, (void)data, (void)length;
    return 0;
}

static int (*chunk_reader(const char *name))(struct png *, const uint8_t *, uint32_t)
{
    static const struct {
        char name[5];
        int (*read)(struct png *, const uint8_t *, uint32_t);
    } readers[] = {
        {"IHDR", read_header},
        {"PLTE", read_palette},
        {"tRNS", read_transparency},
        {"gAMA", read_gamma},
        {"cHRM", read_chromaticity},
        {"sRGB", read_srgb},
        {"pHYs", read_density},
        {"tEXt", read_text},
        {"zTXt", read_compressed_text},
        {"iCCP", read_profile},
        {"iTXt", read_international_text},
        {"acTL", read_animation},
        {"fcTL", read_frame},
    };
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strcmp(name, readers[i].name) == 0)
            return readers[i].read;
    return read_nothing;
}

/* Length and name of the next chunk; -1, without a message, where there is none. */
static int next_chunk(struct png *png, struct chunk *chunk)
{
    const uint8_t *data;
    if (clip_bytes_take(&png->in, 8, &data) < 0)
        return -1;
    chunk->length = clip_be32(data);
    memcpy(chunk->name, data + 4, 4);
    chunk->name[4] = 0;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    return strspn(chunk->name, letters) == 4 ? 0 : -1;
}

/* Reads the data of a chunk: 0, or 1 if they are the picture's, which stay unread. */
static int read_chunk(struct png *png, struct chunk *chunk)
{
    const uint8_t *data;
    if (strcmp(chunk->name, "IDAT") == 0 || strcmp(chunk->name, "IEND") == 0)
        return 1;
    if (strcmp(chunk->name, "fdAT") == 0) {
        if (chunk->length < 4 || clip_bytes_take(&png->in, 4, &data) < 0 || png->sequence < 0)
            return broken(png, "fdAT");
        chunk->length -= 4;
        return next_in_sequence(png, data, "fdAT") < 0 ? -1 : 1;
    }
    if (clip_bytes_take(&png->in, chunk->length, &data) < 0)
        return broken(png, "cut inside a chunk");
    return chunk_reader(chunk->name)(png, data, chunk->length);
}

/* The checksum behind the chunk that was read last. */
static int check_chunk(struct png *png, const struct chunk *chunk)
{
    const uint8_t *sum, *data = png->in.data + png->in.at - chunk->length;
    if (clip_bytes_take(&png->in, 4, &sum) < 0)
        return broken(png, "cut behind a chunk");
    uLong crc = crc32(crc32(0, (const Bytef *)chunk->name, 4), data, chunk->length);
    return crc == clip_be32(sum) ? 0 : broken(png, "checksum of a chunk");
}

/* Up to the picture's data. */
static int read_head(struct png *png)
{
    struct chunk chunk;
    for (;;) {
        if (next_chunk(png, &chunk) < 0)
            return broken(png, "no chunk where one should be");
        int status = read_chunk(png, &chunk);
        if (status < 0)
            return -1;
        if (status == 1)
            break;
        if (check_chunk(png, &chunk) < 0)
            return -1;
    }
    if (strcmp(chunk.name, "IEND") == 0)
        return broken(png, "no picture in it");
    if (!png->known)
        return broken(png, "no known depth and colour type");
    if (png->palette_size / 3 > 256)
        return broken(png, "PLTE");
    png->start = png->in.at;
    png->size = chunk.length;
    png->first = png->sequence;
    png->more = png->animated && (png->frames > 1 || !png->has_frame);
    return 0;
}

/* What follows the picture's data, to the end or to the next frame. Pillow reads the chunks, without
 * checksums. */
static int read_tail(struct png *png)
{
    struct chunk chunk;
    clip_bytes_skip(&png->in, png->left);
    for (;;) {
        clip_bytes_skip(&png->in, 4); /* the checksum */
        if (next_chunk(png, &chunk) < 0 || strcmp(chunk.name, "IEND") == 0)
            return 0;
        if (png->more && strcmp(chunk.name, "fcTL") == 0)
            return 0;
        int status = read_chunk(png, &chunk);
        if (status < 0)
            return -1;
        if (status == 1 && clip_bytes_skip(&png->in, chunk.length) < chunk.length)
            return broken(png, "cut inside a chunk");
    }
}

/* --- the compressed rows --- */

static void rewind_data(struct png *png)
{
    png->in.at = png->start;
    png->left = png->size;
    png->sequence = png->first;
}

/* Points *block at the next bytes of compressed data, cut where Pillow cuts them. Returns how many, 0 where
 * they end, -1 with error. */
static int next_block(struct png *png, const uint8_t **block)
{
    while (png->left == 0) {
        struct chunk chunk;
        clip_bytes_skip(&png->in, 4);
        if (next_chunk(png, &chunk) < 0)
            return broken(png, "no chunk where one should be");
        if (strcmp(chunk.name, "fdAT") == 0) {
            if (read_chunk(png, &chunk) < 0)
                return -1;
        } else if (strcmp(chunk.name, "IDAT") != 0 && strcmp(chunk.name, "DDAT") != 0) {
            return 0;
        }
        png->left = chunk.length;
    }
    uint32_t want = png->left < BLOCK ? png->left : BLOCK;
    *block = png->in.data + png->in.at;
    png->left -= want;
    return (int)clip_bytes_skip(&png->in, want);
}

/* libpng's side. */
struct rows {
    struct clip_picture *picture;
    struct tile tile;
    int interlaced;
    uint32_t left; /* rows still to come, of all passes */
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

/* Puts a row of a pass where it belongs. Pillow sets only the rows of whole frames off from the corner. */
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

/* Bytes of a PNG file in libpng's hands: its checksums are not looked at. */
static void give(png_structp codec, png_infop info, const void *data, size_t size)
{
    png_process_data(codec, info, (png_bytep)data, size);
}

static void give_header(png_structp codec, png_infop info, const struct png *png, const struct tile *tile)
{
    png_byte header[33] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    png_save_uint_32(header + 16, tile->width);
    png_save_uint_32(header + 20, tile->height);
    header[24] = (png_byte)png->depth;
    header[25] = png->colour == PALETTE ? GRAY : (png_byte)png->colour; /* indices are read as they are */
    header[28] = (png_byte)png->interlaced;
    give(codec, info, header, sizeof header);
}

/* Until the rows are there, or no data come. */
static void give_data(png_structp codec, png_infop info, struct png *png, const struct rows *rows)
{
    while (rows->left > 0) {
        const uint8_t *block;
        int size = next_block(png, &block);
        if (size <= 0)
            return;
        png_byte header[8] = "\0\0\0\0IDAT";
        png_save_uint_32(header, (png_uint_32)size);
        give(codec, info, header, sizeof header);
        give(codec, info, block, (size_t)size);
        give(codec, info, "\0\0\0\0", 4);
    }
}

/* Samples as Pillow unpacks them: bytes, of 16 bits the high one. */
static void set_transformations(png_structp codec, const struct png *png, struct rows *rows)
{
    png_set_crc_action(codec, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_benign_errors(codec, 0);
    png_set_user_limits(codec, 0x7fffffff, 0x7fffffff);
#ifdef PNG_MAXIMUM_INFLATE_WINDOW
    png_set_option(codec, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON); /* whatever the stream's header says */
#endif
    png_set_progressive_read_fn(codec, rows, on_info, on_row, NULL);
    if (png->colour == PALETTE)
        png_set_packing(codec);
    else if (png->depth < 8)
        png_set_expand_gray_1_2_4_to_8(codec);
    if (png->depth == 16)
        png_set_strip_16(codec);
    if (png->colour == GRAY_ALPHA)
        png_set_gray_to_rgb(codec);
    if (png->colour == RGB)
        png_set_filler(codec, 255, PNG_FILLER_AFTER);
}

static int run_libpng(png_structp codec, png_infop info, struct png *png, struct rows *rows)
{
    if (setjmp(rows->escape))
        return broken(png, rows->message);
    set_transformations(codec, png, rows);
    give_header(codec, info, png, &rows->tile);
    give_data(codec, info, png, rows);
    return 0;
}

static int read_rows(struct png *png, struct rows *rows)
{
    png_structp codec = png_create_read_struct(PNG_LIBPNG_VER_STRING, rows, on_error, on_warning);
    png_infop info = codec ? png_create_info_struct(codec) : NULL;
    rewind_data(png);
    int status = info ? run_libpng(codec, info, png, rows) : clip_fail_memory(png->error, "libpng");
    png_destroy_read_struct(&codec, &info, NULL);
    return status;
}

static int pixel_bits(const struct png *png)
{
    static const int samples[7] = {[GRAY] = 1, [RGB] = 3, [PALETTE] = 1, [GRAY_ALPHA] = 2, [RGB_ALPHA] = 4};
    return samples[png->colour] * png->depth;
}

/* Bytes of a compressed row, its filter included, in pass p. */
static size_t row_bytes(const struct png *png, const struct rows *rows, int p)
{
    uint32_t width = rows->tile.width;
    if (rows->interlaced)
        width = steps(width, passes[p].x_from, passes[p].x_step);
    return ((size_t)width * (size_t)pixel_bits(png) + 7) / 8 + 1;
}

/* Whether compressed data that are too short, but not cut, end with a row, as Pillow wants it: then the rest
 * of the picture stays black. libpng does not tell, so they are inflated once more, row for row like there.
 * Leaves the reader where Pillow would stop reading. */
static int ends_with_row(struct png *png, const struct rows *rows, z_stream *stream, uint8_t *row)
{
    int pass = 0, size;
    uint32_t y = 0;
    size_t want = row_bytes(png, rows, 0);
    const uint8_t *block;
    stream->next_out = row;
    stream->avail_out = (uInt)want;
    rewind_data(png);
    while ((size = next_block(png, &block)) > 0) {
        stream->next_in = (Bytef *)block;
        stream->avail_in = (uInt)size;
        while (stream->avail_in > 0) {
            int status = inflate(stream, Z_NO_FLUSH);
            if (status < 0)
                return 0;
            if (stream->avail_out > 0)
                break;
            if (status == Z_STREAM_END)
                return 1;
            y++;
            while (rows->interlaced && pass < 6 &&
                   (y >= steps(rows->tile.height, passes[pass].y_from, passes[pass].y_step) ||
                    steps(rows->tile.width, passes[pass].x_from, passes[pass].x_step) == 0)) {
                pass++;
                y = 0;
            }
            want = row_bytes(png, rows, pass);
            stream->next_out = row;
            stream->avail_out = (uInt)want;
        }
    }
    return 0;
}

static int check_short_data(struct png *png, const struct rows *rows)
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
    return good ? 0 : broken(png, "its data end too early");
}

static enum clip_picture_mode mode_of(const struct png *png)
{
    switch (png->colour) {
    case GRAY:
        return png->depth == 1 ? CLIP_PICTURE_1 : CLIP_PICTURE_L;
    case PALETTE:
        return CLIP_PICTURE_P;
    case RGB:
        return CLIP_PICTURE_RGB;
    case GRAY_ALPHA:
        return png->depth == 8 ? CLIP_PICTURE_LA : CLIP_PICTURE_RGBA;
    default:
        return CLIP_PICTURE_RGBA;
    }
}

/* The part of the picture that its data fill. */
static int choose_tile(struct png *png, struct tile *tile)
{
    *tile = (struct tile){0, 0, png->width, png->height};
    if (png->has_frame && png->frame.x + png->frame.width > 0)
        *tile = png->frame;
    if (tile->width == 0 || tile->height == 0)
        return broken(png, "a frame without pixels");
    if ((uint64_t)tile->x + tile->width > png->width || (uint64_t)tile->y + tile->height > png->height)
        return broken(png, "a frame outside the picture");
    if (tile->width > (uint32_t)(INT_MAX / pixel_bits(png) - 7)) /* Pillow's limit */
        return broken(png, "its rows are too long");
    return 0;
}

int clip_png_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                    struct clip_error *error)
{
    struct png png = {.in = {data, size, 8}, .error = error, .sequence = -1};
    struct rows rows = {.picture = picture};
    if (read_head(&png) < 0 ||
        clip_picture_alloc(picture, mode_of(&png), png.width, png.height, max_pixels, error) < 0 ||
        choose_tile(&png, &rows.tile) < 0)
        return -1;
    rows.interlaced = png.interlaced;
    rows.left = count_rows(&rows);
    if (png.palette_size > 0)
        memcpy(picture->palette, png.palette, png.palette_size / 3 * 3);
    if (read_rows(&png, &rows) < 0 || (rows.left > 0 && check_short_data(&png, &rows) < 0))
        return -1;
    return read_tail(&png);
}
