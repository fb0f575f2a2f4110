#include "base/encoding.h"

#include <stdlib.h>
#include <string.h>
#include <unistr.h>

static const uint8_t utf8_mark[] = {0xef, 0xbb, 0xbf};

/* Looks at the first bytes: sets the kind, and how many of the bytes are a mark. Returns 0 if it needs
 * more bytes. */
static int find_mark(struct clip_decoder *decoder, const uint8_t *p, size_t size, int last, size_t *mark)
{
    *mark = 0;
    if (size >= 2 && (p[0] ^ p[1]) == (0xff ^ 0xfe) && (p[0] == 0xff || p[0] == 0xfe)) {
        decoder->kind = p[0] == 0xff ? CLIP_TEXT_UTF16_LE : CLIP_TEXT_UTF16_BE;
        *mark = 2;
        return 1;
    }
    size_t same = 0;
    while (same < size && same < sizeof utf8_mark && p[same] == utf8_mark[same])
        same++;
    if (!last && (size == 0 || (same == size && same < sizeof utf8_mark) || (size == 1 && p[0] >= 0xfe)))
        return 0;
    decoder->kind = CLIP_TEXT_BYTES;
    *mark = same == sizeof utf8_mark ? same : 0;
    return 1;
}

static int fail_line(const struct clip_decoder *decoder, struct clip_error *error, const char *what)
{
    return clip_fail(error, "line %llu: %s of UTF-16", (unsigned long long)decoder->lines + 1, what);
}

/* Decodes the complete characters of p[size]; *used is the number of bytes they take. */
static int decode_utf16(struct clip_decoder *decoder, const uint8_t *p, size_t size, size_t *used,
                        uint8_t *out, size_t *out_size, struct clip_error *error)
{
    int low = decoder->kind == CLIP_TEXT_UTF16_BE; /* index of a unit's low byte */
    size_t at = 0, n = 0;
    for (; at + 2 <= size; at += 2) {
        ucs4_t c = (ucs4_t)p[at + !low] << 8 | p[at + low];
        if (c >= 0xd800 && c < 0xdc00) {
            if (at + 4 > size)
                break;
            ucs4_t second = (ucs4_t)p[at + 2 + !low] << 8 | p[at + 2 + low];
            c = second >= 0xdc00 && second < 0xe000 ? 0x10000 + ((c & 0x3ff) << 10 | (second & 0x3ff)) : c;
            at += c >= 0x10000 ? 2 : 0;
        }
        int bytes = u8_uctomb(out + n, c, 4);
        if (bytes < 0) {
            *out_size = n;
            return fail_line(decoder, error, "a lone surrogate");
        }
        n += (size_t)bytes;
        decoder->lines += c == '\n';
    }
    *used = at;
    *out_size = n;
    return 0;
}

int clip_decoder_run(struct clip_decoder *decoder, const uint8_t *in, size_t size, int last, size_t *used,
                     uint8_t *out, size_t *out_size, struct clip_error *error)
{
    size_t mark = 0, rest;
    *used = *out_size = 0;
    if (decoder->kind == CLIP_TEXT_UNKNOWN && !find_mark(decoder, in, size, last, &mark))
        return 0;
    if (decoder->kind == CLIP_TEXT_BYTES) {
        memcpy(out, in + mark, size - mark);
        *out_size = size - mark;
        *used = size;
        return 0;
    }
    if (decode_utf16(decoder, in + mark, size - mark, used, out, out_size, error) != 0)
        return -1;
    *used += mark;
    rest = size - *used;
    if (!last || rest == 0)
        return 0;
    return fail_line(decoder, error, rest % 2 ? "half a character" : "a lone surrogate");
}

int clip_text_decode(const char **text, size_t *size, char **owned, struct clip_error *error)
{
    struct clip_decoder decoder = {0};
    size_t mark, used;
    *owned = NULL;
    find_mark(&decoder, (const uint8_t *)*text, *size, 1, &mark);
    if (decoder.kind == CLIP_TEXT_BYTES) {
        *text += mark;
        *size -= mark;
        return 0;
    }
    char *out = malloc(CLIP_DECODED_ROOM(*size));
    if (!out)
        return clip_fail_memory(error, "a text");
    decoder.kind = CLIP_TEXT_UNKNOWN;
    if (clip_decoder_run(&decoder, (const uint8_t *)*text, *size, 1, &used, (uint8_t *)out, size, error) !=
        0) {
        free(out);
        return -1;
    }
    *text = *owned = out;
    return 0;
}
