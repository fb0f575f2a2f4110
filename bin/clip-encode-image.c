/* clip-encode-image: the image tower, from pixels to features. */
#include "base/cli.h"
#include "math/product.h"
#include "train/encoder.h"

static struct clip_encoder_options encoder = CLIP_ENCODER_DEFAULTS;

static const struct clip_option options[] = {
    CLIP_ENCODER_OPTIONS(encoder, "keep the image",
                         "with --train: compute N pictures at once [16; with batch norm: all]"),
    {0}};

static const struct clip_program program = {
    .name = "clip-encode-image",
    .operands = "[STREAM...]",
    .purpose =
        "Replaces the image of each record by the features that the model's image tower computes from it,\n"
        "image_features.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_BATCH | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP,
    .engines = clip_engines};

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 32};
    int first = clip_start(&program, &shared, argc, argv);
    return clip_encoder_run(CLIP_SIDE_IMAGE, &encoder, &shared, argv + first, (size_t)(argc - first));
}
