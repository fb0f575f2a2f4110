/* JPEG through libjpeg-turbo, after Pillow's reading of the markers.
 *
 * Pillow's JpegImagePlugin reads the markers itself up to the first scan, and refuses files that libjpeg
 * would accept (or fails on malformed application data); then it passes the whole file to libjpeg. A file
 * must pass both. Colours are converted as libjpeg guesses them; CMYK is always inverted, as Adobe writes
 * it. */
#include "base/array.h"
#include "image/codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

/* --- the markers --- */

struct walk {
    struct clip_bytes in;
    int width, height, components; /* of the last frame header */
    int has_density;               /* JFIF gave a resolution, so EXIF is not searched for one */
    const uint8_t *exif;
    size_t exif_size;
    const uint8_t *profile; /* the first ICC piece, in the order of their bytes */
    size_t profile_size;
    struct clip_error *error;
};

static int broken(struct walk *walk, const char *what)
{
    return clip_fail(walk->error, "JPEG file is broken or cut: %s", what);
}

static int starts(const uint8_t *data, size_t size, const char *with, size_t length)
{
    return size >= length && memcmp(data, with, length) == 0;
}

/* Pillow reads the resolution here. It is not needed, but a TIFF header without its offset is refused. */
static int check_exif(struct walk *walk)
{
    static const char headers[][5] = {"MM\0\x2a", "II\x2a\0", "MM\x2a\0", "II\0\x2a", "MM\0\x2b", "II\x2b\0"};
    const uint8_t *data = walk->exif;
    size_t size = walk->exif_size;
    walk->has_density = 1;
    if (starts(data, size, "Exif\0\0", 6)) {
        data += 6;
        size -= 6;
    }
    for (size_t i = 0; i < CLIP_COUNT_OF(headers); i++)
        if (starts(data, size, headers[i], 4) && (size < 8 || memcmp(data, "II\x2b", 3) == 0))
            return broken(walk, "EXIF header");
    return 0;
}

/* Photoshop's resource blocks: a block that ends after its code is an error, other cuts are not. */
static int check_photoshop(struct walk *walk, const uint8_t *data, size_t size)
{
    enum { RESOLUTION = 0x03ed };
    size_t at = 14;
    while (at + 4 <= size && memcmp(data + at, "8BIM", 4) == 0) {
        at += 4;
        if (at + 2 > size)
            return 0;
        int code = clip_be16(data + at);
        at += 2;
        if (at >= size)
            return broken(walk, "Photoshop block");
        at += 1 + data[at];
        at += at & 1;
        if (at + 4 > size)
            return 0;
        uint32_t length = clip_be32(data + at);
        at += 4;
        if (code == RESOLUTION && (length < 14 || at + 14 > size))
            return 0;
        at += length;
        at += at & 1;
    }
    return 0;
}

static int read_application(struct walk *walk, int marker, const uint8_t *data, size_t size)
{
    if (marker == 0xe0 && starts(data, size, "JFIF", 4)) {
        if (size < 7)
            return broken(walk, "JFIF header");
        if (size >= 12 && data[7] == 1)
            walk->has_density = 1;
    } else if (marker == 0xe1 && starts(data, size, "Exif\0", 5) && !walk->exif) {
        walk->exif = data;
        walk->exif_size = size;
    } else if (marker == 0xe2 && starts(data, size, "ICC_PROFILE\0", 12)) {
        size_t both = size < walk->profile_size ? size : walk->profile_size;
        int order = walk->profile ? memcmp(data, walk->profile, both) : -1;
        if (order < 0 || (order == 0 && size < walk->profile_size)) {
            walk->profile = data;
            walk->profile_size = size;
        }
    } else if (marker == 0xed && starts(data, size, "Photoshop 3.0\0", 14)) {
        if (check_photoshop(walk, data, size) < 0)
            return -1;
    } else if (marker == 0xee && starts(data, size, "Adobe", 5) && size < 7) {
        return broken(walk, "Adobe header");
    }
    return walk->exif && !walk->has_density ? check_exif(walk) : 0;
}

static int read_frame(struct walk *walk, const uint8_t *data, size_t size)
{
    if (size < 6)
        return broken(walk, "frame header");
    walk->height = clip_be16(data + 1);
    walk->width = clip_be16(data + 3);
    walk->components = data[5];
    if (data[0] != 8)
        return clip_fail(walk->error, "JPEG of %d bits", data[0]);
    if (walk->components != 1 && walk->components != 3 && walk->components != 4)
        return clip_fail(walk->error, "JPEG of %d components", walk->components);
    if (walk->profile && walk->profile_size < 14)
        return broken(walk, "ICC profile");
    walk->profile = NULL;
    return size % 3 == 0 ? 0 : broken(walk, "frame header");
}

static int read_tables(struct walk *walk, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t length = data[at] >> 4 ? 129 : 65;
        if (length > size - at)
            return broken(walk, "quantization table");
        at += length;
    }
    return 0;
}

/* The markers of Pillow's table that are followed by a length. */
static int has_length(int marker)
{
    return (marker >= 0xc0 && marker < 0xd0 && marker != 0xc8) || (marker >= 0xda && marker < 0xf0) ||
           marker == 0xfe;
}

static int read_marker(struct walk *walk, int marker)
{
    const uint8_t *data;
    if (!has_length(marker))
        return 0;
    if (clip_bytes_take(&walk->in, 2, &data) < 0)
        return broken(walk, "no length");
    size_t size = clip_be16(data);
    if (clip_bytes_take(&walk->in, size < 2 ? 0 : size - 2, &data) < 0)
        return broken(walk, "cut inside a marker");
    size = size < 2 ? 0 : size - 2;
    if (marker >= 0xe0 && marker < 0xf0)
        return read_application(walk, marker, data, size);
    if (marker == 0xdb)
        return read_tables(walk, data, size);
    int frame = (marker < 0xd0 && marker != 0xc4 && marker != 0xcc) || marker == 0xde;
    return frame ? read_frame(walk, data, size) : 0;
}

/* From after the first 0xff 0xd8 0xff to the first scan. */
static int walk_markers(struct walk *walk)
{
    const uint8_t *next;
    int prefix = 1; /* the byte before was 0xff */
    for (;;) {
        if (clip_bytes_take(&walk->in, 1, &next) < 0)
            return broken(walk, "no picture in it");
        int marker = *next;
        if (!prefix || marker == 0xff) {
            prefix = marker == 0xff;
            continue;
        }
        prefix = 0;
        if (marker == 0)
            continue;
        if (marker < 0xc0)
            return broken(walk, "unknown marker");
        if (read_marker(walk, marker) < 0)
            return -1;
        if (marker == 0xda)
            return walk->components ? 0 : broken(walk, "no frame header");
    }
}

/* --- the picture --- */

/* Pillow passes this many bytes at a time to libjpeg, and no more after the last row. It matters:
 * arithmetic decoding cannot suspend, so longer files of that kind are refused; and errors after the
 * picture are not seen. */
#define BLOCK 65536

struct decoder {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX];
    const struct clip_bytes *file;
    size_t read; /* bytes of the file passed to libjpeg so far */
    size_t skip; /* bytes after those that libjpeg wants to skip */
};

static void on_error(j_common_ptr codec)
{
    struct decoder *decoder = codec->client_data;
    codec->err->format_message(codec, decoder->message);
    longjmp(decoder->escape, 1);
}

static void on_message(j_common_ptr codec)
{
    (void)codec;
}

static void on_source(j_decompress_ptr codec)
{
    (void)codec;
}

/* libjpeg suspends at the end of the bytes passed. */
static boolean on_end(j_decompress_ptr codec)
{
    (void)codec;
    return FALSE;
}

static void on_skip(j_decompress_ptr codec, long count)
{
    struct decoder *decoder = codec->client_data;
    struct jpeg_source_mgr *source = &decoder->source;
    size_t wanted = count < 0 ? 0 : (size_t)count;
    size_t skip = wanted < source->bytes_in_buffer ? wanted : source->bytes_in_buffer;
    source->next_input_byte += skip;
    source->bytes_in_buffer -= skip;
    decoder->skip = wanted - skip;
}

/* Passes one more block to libjpeg; 0 at the end of the file. */
static int more(struct decoder *decoder)
{
    size_t rest = decoder->file->size - decoder->read, block = rest < BLOCK ? rest : BLOCK;
    if (block == 0)
        return 0;
    decoder->read += block;
    decoder->source.bytes_in_buffer += block;
    on_skip(&decoder->codec, (long)decoder->skip);
    return 1;
}

/* Returns NULL, or what is wrong. Each call of libjpeg is repeated with more bytes while it suspends. */
static const char *read_picture(struct decoder *decoder, const struct walk *walk,
                                struct clip_picture *picture)
{
    struct jpeg_decompress_struct *codec = &decoder->codec;
    int status;
    while ((status = jpeg_read_header(codec, FALSE)) != JPEG_HEADER_OK)
        if (status == JPEG_SUSPENDED && !more(decoder))
            return "cut in its header";
    if ((int)codec->image_width != walk->width || (int)codec->image_height != walk->height ||
        codec->num_components != walk->components)
        return "two frame headers";
    codec->out_color_space = walk->components == 1   ? JCS_GRAYSCALE
                             : walk->components == 3 ? JCS_EXT_RGBX
                                                     : JCS_CMYK;
    while (!jpeg_start_decompress(codec))
        if (!more(decoder))
            return "cut in its data";
    size_t row = (size_t)picture->width * (size_t)picture->channels;
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW to = picture->pixels + row * codec->output_scanline;
        if (jpeg_read_scanlines(codec, &to, 1) != 1 && !more(decoder))
            return "cut in its data";
    }
    jpeg_finish_decompress(codec); /* a suspension before the end marker does not matter now */
    return NULL;
}

static int run_decoder(struct decoder *decoder, const struct walk *walk, struct clip_picture *picture)
{
    decoder->file = &walk->in;
    decoder->source = (struct jpeg_source_mgr){.init_source = on_source,
                                               .next_input_byte = walk->in.data,
                                               .fill_input_buffer = on_end,
                                               .skip_input_data = on_skip,
                                               .resync_to_restart = jpeg_resync_to_restart,
                                               .term_source = on_source};
    decoder->codec.err = jpeg_std_error(&decoder->errors);
    decoder->errors.error_exit = on_error;
    decoder->errors.output_message = on_message;
    decoder->codec.client_data = decoder;
    if (setjmp(decoder->escape)) {
        jpeg_destroy_decompress(&decoder->codec);
        return clip_fail(walk->error, "JPEG file is broken: %s", decoder->message);
    }
    jpeg_create_decompress(&decoder->codec);
    decoder->codec.src = &decoder->source;
    const char *wrong = read_picture(decoder, walk, picture);
    jpeg_destroy_decompress(&decoder->codec);
    return wrong ? clip_fail(walk->error, "JPEG file is broken or cut: %s", wrong) : 0;
}

int clip_jpeg_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                     struct clip_error *error)
{
    struct walk walk = {.in = {data, size, 3}, .error = error};
    if (walk_markers(&walk) < 0)
        return -1;
    enum clip_picture_mode mode = walk.components == 1   ? CLIP_PICTURE_L
                                  : walk.components == 3 ? CLIP_PICTURE_RGB
                                                         : CLIP_PICTURE_CMYK;
    if (clip_picture_alloc(picture, mode, (uint32_t)walk.width, (uint32_t)walk.height, 0, max_pixels, error) <
        0)
        return -1;
    struct decoder decoder = {.read = 0};
    if (run_decoder(&decoder, &walk, picture) < 0)
        return -1;
    size_t bytes = (size_t)walk.width * (size_t)walk.height * 4;
    for (size_t i = 0; mode == CLIP_PICTURE_CMYK && i < bytes; i++)
        picture->pixels[i] = (uint8_t)~picture->pixels[i];
    return 0;
}
