#include "text/pieces.h"
#include "base/array.h"
#include "text/unicode.h"

#include <string.h>

enum kind { LETTER = 'L', NUMBER = 'N', SYMBOL = 'S', NOTHING = ' ' };

/* The kinds of ASCII characters, 32 a line. */
static const char ascii[] = "SSSSSSSSS     SSSSSSSSSSSSSS    "
                            " SSSSSSSSSSSSSSSNNNNNNNNNNSSSSSS"
                            "SLLLLLLLLLLLLLLLLLLLLLLLLLLSSSSS"
                            "SLLLLLLLLLLLLLLLLLLLLLLLLLLSSSSS";

/* The kind of the character at text[n], and its length. */
static enum kind kind_of(const uint8_t *text, size_t n, size_t *length)
{
    uint32_t point = text[0];
    *length = 1;
    if (point < 0x80)
        return (enum kind)ascii[point];
    int taken = clip_utf8_read(&point, text, n);
    if (taken < 0)
        return SYMBOL;
    *length = (size_t)taken;
    /* When it ignores case, regex takes U+0345, a mark whose capital is a letter, neither for a letter nor
     * for anything else. */
    if (clip_is_space(point) || point == 0x345)
        return NOTHING;
    unsigned classes = clip_point_classes(point);
    return classes & CLIP_LETTER ? LETTER : classes & CLIP_NUMBER ? NUMBER : SYMBOL;
}

/* Length of `word`, lower case ASCII, at text[n], whatever the case of that, or 0. The long s is an s. */
static size_t match(const char *text, size_t n, const char *word)
{
    size_t i = 0;
    for (; *word; word++) {
        if (i < n && (text[i] == *word || (*word >= 'a' && *word <= 'z' && (text[i] | 0x20) == *word)))
            i++;
        else if (*word == 's' && n - i >= 2 && memcmp(text + i, "\u017f", 2) == 0)
            i += 2;
        else
            return 0;
    }
    return i;
}

static size_t match_contraction(const char *text, size_t n)
{
    static const char *const words[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    size_t length = 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(words) && length == 0; i++)
        length = match(text, n, words[i]);
    return length;
}

/* Length of a literal of the pattern at text[n], or 0. */
static size_t match_spelt(const char *text, size_t n, enum clip_piece *piece)
{
    static const char start[] = "<|startoftext|>", end[] = "<|endoftext|>";
    size_t length = 0;
    if (text[0] == '\'')
        return match_contraction(text, n);
    if (text[0] != '<')
        return 0;
    /* With capitals or a long s it is a piece, but not the special token. */
    if ((length = match(text, n, start)) > 0)
        *piece = memcmp(text, start, strlen(start)) == 0 ? CLIP_PIECE_START : CLIP_PIECE_TEXT;
    else if ((length = match(text, n, end)) > 0)
        *piece = memcmp(text, end, strlen(end)) == 0 ? CLIP_PIECE_END : CLIP_PIECE_TEXT;
    return length;
}

size_t clip_find_piece(const char *text, size_t length, enum clip_piece *piece)
{
    if (text[0] == ' ') {
        *piece = CLIP_PIECE_SKIPPED;
        return 1;
    }
    size_t found = match_spelt(text, length, piece), step;
    if (found > 0)
        return found;
    const uint8_t *bytes = (const uint8_t *)text;
    enum kind kind = kind_of(bytes, length, &found);
    if (kind == NOTHING)
        *piece = CLIP_PIECE_SKIPPED;
    if (kind == LETTER || kind == SYMBOL)
        while (found < length && kind_of(bytes + found, length - found, &step) == kind)
            found += step;
    return found;
}
