/* WebP through libwebp's animation decoder, as Pillow's WebPImagePlugin: the canvas of the first frame. */
#include "image/codec.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

static int check_canvas(const WebPData *file, uint32_t *width, uint32_t *height, struct clip_error *error)
{
    WebPDemuxer *demuxer = WebPDemux(file);
    if (!demuxer)
        return clip_fail(error, "WebP file is broken or cut");
    *width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    *height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    WebPDemuxDelete(demuxer);
    return 0;
}

int clip_webp_decode(struct clip_picture *picture, const uint8_t *data, size_t size, uint64_t max_pixels,
                     struct clip_error *error)
{
    /* The last letter of the magic varies: "VP8 ", "VP8X", "VP8L". */
    if (size < 16 || memcmp(data, "RIFF", 4) != 0 || !memchr(" XL", data[15], 3))
        return clip_fail(error, "WebP file without a known first chunk");
    WebPData file = {data, size};
    WebPBitstreamFeatures features;
    int alpha = WebPGetFeatures(data, size, &features) != VP8_STATUS_OK || features.has_alpha;
    uint32_t width = 0, height = 0;
    if (check_canvas(&file, &width, &height, error) < 0 ||
        clip_picture_alloc(picture, alpha ? CLIP_PICTURE_RGBA : CLIP_PICTURE_RGB, width, height, 0,
                           max_pixels, error) < 0)
        return -1;
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&file, NULL);
    if (!decoder)
        return clip_fail(error, "WebP file is broken");
    uint8_t *canvas;
    int timestamp, ok = WebPAnimDecoderGetNext(decoder, &canvas, &timestamp);
    if (ok)
        memcpy(picture->pixels, canvas, (size_t)width * height * 4);
    WebPAnimDecoderDelete(decoder);
    return ok ? 0 : clip_fail(error, "WebP picture is broken or cut");
}
