/* Code points as in Python: reading and writing UTF-8, their classes, NFC, lower case.
 *
 * Classes and the set of assigned code points are those of Python 3.11 (Unicode 14.0), whatever
 * libunistring's own version: the same text gives the same tokens on every system. Letters and numbers are
 * those of the regex module, which follows newer Unicode. */
#ifndef CLIP_TEXT_UNICODE_H
#define CLIP_TEXT_UNICODE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_REPLACEMENT 0xfffd
#define CLIP_MAX_POINT 0x10ffff

/* A growing array of code points. Zeroed, it is empty. */
struct clip_points {
    uint32_t *at;
    size_t n, room;
};

/* Makes room for `room` code points in all; -1 when out of memory, with the array unchanged. */
int clip_points_reserve(struct clip_points *points, size_t room, struct clip_error *error);
void clip_points_free(struct clip_points *points);
void clip_points_swap(struct clip_points *a, struct clip_points *b);

/* Reads one code point from text[length], length >= 1. Returns its number of bytes, 1 to 4. Where the
 * bytes are not UTF-8 (surrogates are not), returns minus the number of bytes that Python's
 * errors="replace" replaces by one U+FFFD. */
int clip_utf8_read(uint32_t *point, const uint8_t *text, size_t length);

/* Writes one code point, which is not a surrogate, to out[4]; returns its number of bytes. */
size_t clip_utf8_write(uint8_t *out, uint32_t point);

/* str.isspace, and \s of re. */
static inline int clip_is_space(uint32_t point)
{
    if (point < 0x80)
        return point == ' ' || (point >= '\t' && point <= '\r') || (point >= 0x1c && point <= 0x1f);
    return point == 0x85 || point == 0xa0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200a) ||
           point == 0x2028 || point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

/* Unicode's White_Space, which has no U+001C to U+001F. */
static inline int clip_is_white_space(uint32_t point)
{
    return clip_is_space(point) && (point < 0x1c || point > 0x1f);
}

/* A code point has a set of these. */
enum clip_point_class {
    CLIP_LETTER = 1,          /* \p{L} of regex */
    CLIP_NUMBER = 2,          /* \p{N} of regex */
    CLIP_WORD = 4,            /* \w of re */
    CLIP_DIGIT = 8,           /* \d of re */
    CLIP_ASSIGNED = 16,       /* in Unicode 14.0 */
    CLIP_CASED = 32,          /* Cased, where it is not Case_Ignorable */
    CLIP_CASE_IGNORABLE = 64, /* Case_Ignorable */
    CLIP_STAYS_IN_NFC = 128   /* unless the next code point composes with it */
};
unsigned clip_point_classes(uint32_t point);

/* \w of Unicode's regular expressions (UTS 18, annex C), as in Rust's and Oniguruma's. */
int clip_is_word(uint32_t point);

/* unicodedata.normalize("NFC", text), in place; `work` is overwritten. */
int clip_nfc(struct clip_points *text, struct clip_points *work, struct clip_error *error);

/* The same in any of Unicode's normal forms: NFC, NFD, NFKC, NFKD. */
enum clip_normal_form { CLIP_NFC, CLIP_NFD, CLIP_NFKC, CLIP_NFKD };
int clip_normal(enum clip_normal_form form, struct clip_points *text, struct clip_points *work,
                struct clip_error *error);

/* The small form of a code point by itself (U+03A3 becomes U+03C3; U+0130, whose small form is two code
 * points, stays). */
uint32_t clip_lower_point(uint32_t point);

/* str.lower(text), in place; `work` is overwritten. */
int clip_lower(struct clip_points *text, struct clip_points *work, struct clip_error *error);

#endif
