/* The decoders of pictures, and what is made of their pixels, on any bytes. */
#include "image/preprocess.h"

#include <stdlib.h>

#define MAX_PIXELS (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[3 * 32 * 32];
    struct clip_picture picture;
    struct clip_error error;
    if (clip_picture_decode(&picture, data, size, MAX_PIXELS, &error) < 0)
        return 0;
    for (int convert_first = 0; convert_first < 2; convert_first++)
        if (clip_picture_to_tensor(&picture, size % 2 ? 32 : 7, convert_first, out, &error) < 0 &&
            (picture.width < MAX_PIXELS / 32 && picture.height < MAX_PIXELS / 32))
            abort(); /* only long ones are refused here */
    clip_picture_free(&picture);
    return 0;
}
