#include "image/png-chunks.h"
#include "base/array.h"

#include <string.h>
#include <zlib.h>

/* Pillow's limits: of one text or profile, inflated; of all texts; of one read of compressed data. */
#define MAX_TEXT (1 << 20)
#define MAX_ALL_TEXT (64 << 20)
#define BLOCK 65536

#define SIGNATURE 8 /* bytes of it */

struct chunk {
    char name[5];
    uint32_t length;
};

int clip_png_broken(struct clip_png *png, const char *what)
{
    return clip_fail(png->error, "PNG file is broken or cut: %s", what);
}

/* --- readers: each gets the data of a chunk that has the length that the table below asks for --- */

static int read_header(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    static const uint8_t depths[7] = {[CLIP_PNG_GRAY] = 1 | 2 | 4 | 8 | 16,
                                      [CLIP_PNG_RGB] = 8 | 16,
                                      [CLIP_PNG_PALETTE] = 1 | 2 | 4 | 8,
                                      [CLIP_PNG_GRAY_ALPHA] = 8 | 16,
                                      [CLIP_PNG_RGB_ALPHA] = 8 | 16};
    (void)length;
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
    return data[11] ? clip_png_broken(png, "unknown filter") : 0;
}

static int read_palette(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    if (png->known && png->colour == CLIP_PNG_PALETTE) {
        png->palette = data;
        png->palette_size = length;
    }
    return 0;
}

/* The transparent colour does not matter here, but it must be there. */
static int read_transparency(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    uint32_t need = !png->known ? 0 : png->colour == CLIP_PNG_GRAY ? 2 : png->colour == CLIP_PNG_RGB ? 6 : 0;
    return length < need ? clip_png_broken(png, "tRNS") : 0;
}

static int read_chromaticity(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    (void)data;
    return length % 4 ? clip_png_broken(png, "cHRM") : 0;
}

/* Inflates as Pillow does, at most MAX_TEXT bytes. Returns how many; -1 if there are more; -2 if the data
 * are broken, which Pillow takes for no text. */
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

static int count_text(struct clip_png *png, size_t length)
{
    png->text += length;
    return png->text > MAX_ALL_TEXT ? clip_png_broken(png, "too much text") : 0;
}

static int read_profile(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *end = memchr(data, 0, length);
    if (!end)
        return clip_png_broken(png, "iCCP");
    size_t at = (size_t)(end - data) + 2;
    return at < length && inflate_text(data + at, length - at) == -1
               ? clip_png_broken(png, "the profile is too long")
               : 0;
}

static int read_text(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *end = memchr(data, 0, length);
    return end && end > data ? count_text(png, length - 1 - (size_t)(end - data)) : 0;
}

static int read_compressed_text(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    const uint8_t *end = memchr(data, 0, length);
    size_t at = end ? (size_t)(end - data) + 1 : length; /* the method, then the text */
    if (at < length && data[at] != 0)
        return clip_png_broken(png, "zTXt");
    long text = at + 1 < length ? inflate_text(data + at + 1, length - at - 1) : 0;
    if (text == -1)
        return clip_png_broken(png, "a text is too long");
    return text > 0 && end > data ? count_text(png, (size_t)text) : 0;
}

static int read_international(struct clip_png *png, const uint8_t *data, uint32_t length)
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
        return clip_png_broken(png, "a text is too long");
    return text > 0 ? count_text(png, (size_t)text) : 0;
}

static int read_animation(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    (void)length;
    uint32_t frames = clip_be32(data);
    if (png->animated) {
        png->animated = 0;
    } else if (frames > 0 && frames <= 0x80000000) {
        png->animated = 1;
        png->frames = frames;
    }
    return 0;
}

static int next_in_sequence(struct clip_png *png, const uint8_t *data, const char *what)
{
    int64_t sequence = clip_be32(data);
    if (sequence != png->sequence + 1)
        return clip_png_broken(png, what);
    png->sequence = sequence;
    return 0;
}

static int read_frame(struct clip_png *png, const uint8_t *data, uint32_t length)
{
    (void)length;
    if (next_in_sequence(png, data, "fcTL") < 0)
        return -1;
    png->frame = (struct clip_png_tile){clip_be32(data + 12), clip_be32(data + 16), clip_be32(data + 4),
                                        clip_be32(data + 8)};
    if ((uint64_t)png->frame.x + png->frame.width > png->width ||
        (uint64_t)png->frame.y + png->frame.height > png->height)
        return clip_png_broken(png, "fcTL");
    png->has_frame = 1;
    return 0;
}

/* A chunk shorter than `least` is an error; `read` is NULL if only the length matters. Other chunks are
 * skipped. */
static const struct reader {
    char name[5];
    uint32_t least;
    int (*read)(struct clip_png *, const uint8_t *, uint32_t);
} readers[] = {
    {"IHDR", 13, read_header},
    {"PLTE", 0, read_palette},
    {"tRNS", 0, read_transparency},
    {"gAMA", 4, NULL},
    {"sRGB", 1, NULL},
    {"pHYs", 9, NULL},
    {"cHRM", 0, read_chromaticity},
    {"tEXt", 0, read_text},
    {"zTXt", 0, read_compressed_text},
    {"iTXt", 0, read_international},
    {"iCCP", 0, read_profile},
    {"acTL", 8, read_animation},
    {"fcTL", 26, read_frame},
};

static int read_data(struct clip_png *png, const struct chunk *chunk, const uint8_t *data)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(readers); i++)
        if (strcmp(chunk->name, readers[i].name) == 0) {
            if (chunk->length < readers[i].least)
                return clip_png_broken(png, chunk->name);
            return readers[i].read ? readers[i].read(png, data, chunk->length) : 0;
        }
    return 0;
}

/* --- the walk --- */

/* Reads length and name of the next chunk; -1, without a message, if there is none. */
static int next_chunk(struct clip_png *png, struct chunk *chunk)
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

/* Reads the data of a chunk: 0, or 1 if they are the picture's, which stay unread. Data before a valid
 * header are skipped. */
static int read_chunk(struct clip_png *png, struct chunk *chunk)
{
    const uint8_t *data;
    if ((png->known && strcmp(chunk->name, "IDAT") == 0) || strcmp(chunk->name, "IEND") == 0)
        return 1;
    if (strcmp(chunk->name, "fdAT") == 0) {
        if (!png->known || chunk->length < 4 || clip_bytes_take(&png->in, 4, &data) < 0 || png->sequence < 0)
            return clip_png_broken(png, "fdAT");
        chunk->length -= 4;
        return next_in_sequence(png, data, "fdAT") < 0 ? -1 : 1;
    }
    if (clip_bytes_take(&png->in, chunk->length, &data) < 0)
        return clip_png_broken(png, "cut inside a chunk");
    return read_data(png, chunk, data);
}

/* Reads the checksum of the chunk read last. */
static int check_chunk(struct clip_png *png, const struct chunk *chunk)
{
    const uint8_t *sum, *data = png->in.data + png->in.at - chunk->length;
    if (clip_bytes_take(&png->in, 4, &sum) < 0)
        return clip_png_broken(png, "cut after a chunk");
    uLong crc = crc32(crc32(0, (const Bytef *)chunk->name, 4), data, chunk->length);
    return crc == clip_be32(sum) ? 0 : clip_png_broken(png, "checksum of a chunk");
}

int clip_png_open(struct clip_png *png, const uint8_t *data, size_t size, struct clip_error *error)
{
    struct chunk chunk;
    *png = (struct clip_png){.in = {data, size, SIGNATURE}, .error = error, .sequence = -1};
    for (;;) {
        if (next_chunk(png, &chunk) < 0)
            return clip_png_broken(png, "no chunk where one should be");
        int status = read_chunk(png, &chunk);
        if (status < 0)
            return -1;
        if (status == 1)
            break;
        if (check_chunk(png, &chunk) < 0)
            return -1;
    }
    if (strcmp(chunk.name, "IEND") == 0)
        return clip_png_broken(png, "no picture in it");
    if (!png->known)
        return clip_png_broken(png, "unknown depth or colour type");
    if (png->palette_size / 3 > 256)
        return clip_png_broken(png, "PLTE");
    png->start = png->in.at;
    png->size = chunk.length;
    png->first = png->sequence;
    png->more = png->animated && (png->frames > 1 || !png->has_frame);
    clip_png_rewind(png);
    return 0;
}

void clip_png_rewind(struct clip_png *png)
{
    png->in.at = png->start;
    png->left = png->size;
    png->sequence = png->first;
}

int clip_png_block(struct clip_png *png, const uint8_t **block)
{
    while (png->left == 0) {
        struct chunk chunk;
        clip_bytes_skip(&png->in, 4);
        if (next_chunk(png, &chunk) < 0)
            return clip_png_broken(png, "no chunk where one should be");
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

/* Chunks after the data are read, their checksums are not. */
int clip_png_finish(struct clip_png *png)
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
            return clip_png_broken(png, "cut inside a chunk");
    }
}
