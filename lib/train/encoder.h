/* The two encoders, which differ in the side alone: filters, or stages that train. */
#ifndef CLIP_TRAIN_ENCODER_H
#define CLIP_TRAIN_ENCODER_H

#include "base/cli.h"
#include "model/arch.h"
#include "train/options.h"
#include "train/stage.h"

#include <stddef.h>

/* Begin with CLIP_ENCODER_DEFAULTS. */
struct clip_encoder_options {
    struct clip_train_options train;
    struct clip_stage_options stage;
    int precision;  /* index into f32|bf16|int8|auto, or -1 */
    long int8_keep; /* blocks at either end that int8 does not round */
    long chunk;     /* pictures or captions at once; 0: 16, or the whole batch where they mix (batch norm) */
    int keep;       /* the input stays in the record */
};

/* Their entries in a program's table; `e` is its struct clip_encoder_options. */
/* clang-format off */
#define CLIP_ENCODER_OPTIONS(e, keep_help, chunk_help)                                                       \
    {"precision", 0, CLIP_CHOICE, &(e).precision, "f32|bf16|int8|auto",                                      \
     "precision of the operands of matrix products [f32; int8 of a model stored so]", 0, 0},                 \
    {"int8-keep", 0, CLIP_COUNT, &(e).int8_keep, "N",                                                        \
     "with --precision int8: do not round the first and the last N blocks [0]", 0, 1 << 20},                 \
    {"keep", 0, CLIP_FLAG, &(e).keep, NULL, keep_help, 0, 0},                                                \
    CLIP_TRAIN_OPTIONS((e).train),                                                                           \
    CLIP_FREEZE_OPTION((e).train),                                                                           \
    CLIP_STAGE_OPTIONS((e).stage),                                                                           \
    {"chunk", 0, CLIP_COUNT, &(e).chunk, "N", chunk_help, 1, 1 << 20}
#define CLIP_ENCODER_DEFAULTS {.train = CLIP_TRAIN_DEFAULTS, .stage = CLIP_STAGE_DEFAULTS, .precision = -1}
/* clang-format on */

/* Encodes, or trains with options->train.dir, over the inputs operands[0..n) (none: standard input) to
 * standard output. The program's exit status: 0; 1 after a message; wrong usage exits 2. */
int clip_encoder_run(enum clip_side side, const struct clip_encoder_options *options,
                     const struct clip_shared *shared, char *const *operands, size_t n);

#endif
