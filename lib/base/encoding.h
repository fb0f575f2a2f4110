/* Text as editors save it: UTF-8, or UTF-16 with a byte order mark, as Windows writes it. The output is
 * UTF-8 without a mark. Text without a mark is passed on unchanged, whatever it is. */
#ifndef CLIP_BASE_ENCODING_H
#define CLIP_BASE_ENCODING_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* A text that comes in pieces. Zero it to begin. */
struct clip_decoder {
    enum { CLIP_TEXT_UNKNOWN, CLIP_TEXT_BYTES, CLIP_TEXT_UTF16_LE, CLIP_TEXT_UTF16_BE } kind;
    uint64_t lines; /* of UTF-16, so far */
};

/* Room that `size` bytes need in `out`. */
#define CLIP_DECODED_ROOM(size) (2 * (size) + 8)

/* Decodes in[size], the next bytes of the text, or the last if `last`, to out[*out_size]. *used is the
 * number of bytes decoded; pass the others, three at most, again in front of the next ones. -1 with error,
 * which names the line, counted from 1: a lone surrogate, or half a character at the end; `out` then has
 * what came before. */
int clip_decoder_run(struct clip_decoder *decoder, const uint8_t *in, size_t size, int last, size_t *used,
                     uint8_t *out, size_t *out_size, struct clip_error *error);

/* Decodes all of (*text)[*size]. The result is in *text; *owned is NULL where it lies in the text itself,
 * else it is the memory of the result, from malloc, which the caller frees. -1 with error. */
int clip_text_decode(const char **text, size_t *size, char **owned, struct clip_error *error);

#endif
