#include "text/mojibake.h"
#include "base/array.h"
#include "text/tables.h"

#include <stdlib.h>
#include <string.h>
#include <uchar.h>

/* Classes of characters in mojibake (of struct clip_mojibake_point), then some more that rules use. */
enum clip_mojibake_class {
    COMMON = 1 << 0, /* found in many contexts */
    C1 = 1 << 1,     /* control characters, U+0080 to U+009F */
    BAD = 1 << 2,    /* hardly ever meant */
    LAW = 1 << 3,
    CURRENCY = 1 << 4,
    OPENING = 1 << 5, /* punctuation before a word, and after one */
    CLOSING = 1 << 6,
    NUMERIC = 1 << 7,
    KAOMOJI = 1 << 8, /* letters that faces are drawn with */
    UPPER_ACCENTED = 1 << 9,
    LOWER_ACCENTED = 1 << 10,
    UPPER_COMMON = 1 << 11, /* Greek and Cyrillic */
    LOWER_COMMON = 1 << 12,
    BOX = 1 << 13,
    FIRST_OF_2 = 1 << 14, /* first bytes of UTF-8 sequences of two, three, four bytes in some encoding */
    FIRST_OF_3 = 1 << 15,
    FIRST_OF_4 = 1 << 16,
    CONTINUATION = 1 << 17,        /* bytes that continue them */
    STRICT_CONTINUATION = 1 << 18, /* those, but seldom meant when beside mojibake */

    NAMED = 1 << 19, /* some rule begins with it */

    LOWER = 1 << 20, /* a-z */
    UPPER = 1 << 21, /* A-Z */
    NEITHER = 1 << 22,
    BLANK = 1 << 23, /* U+0020 */
    STOP = 1 << 24,  /* . , ? ! */
    SPACE = 1 << 25,
    WORD = 1 << 26,
    IN_LINE = 1 << 27, /* all but newlines */
    KNOWN = 1 << 28    /* in some encoding, beyond ASCII */
};

#define ACCENTED (LOWER_ACCENTED | UPPER_ACCENTED)
#define QUOTES (OPENING | CLOSING)

/* One character of a rule: of any of the classes, or one of those listed. */
struct place {
    uint32_t classes;
    const char32_t *also;
};

#define LONGEST_RULE 7

/* Sequences of two and more that mark text as bad. So does a C1 by itself. */
static const struct place rules[][LONGEST_RULE] = {
    {{BAD | ACCENTED | BOX | QUOTES | CURRENCY | NUMERIC | LAW, NULL}, {BAD, NULL}},
    {{LOWER | UPPER, NULL}, {LOWER_COMMON | UPPER_COMMON, NULL}, {BAD, NULL}},
    {{BAD, NULL}, {ACCENTED | BOX | QUOTES | CURRENCY | NUMERIC | LAW, NULL}},
    {{LOWER_ACCENTED | LOWER_COMMON | BOX | CLOSING | CURRENCY | NUMERIC, NULL}, {UPPER_ACCENTED, NULL}},
    {{BOX | CLOSING | CURRENCY | NUMERIC, NULL}, {LOWER_ACCENTED, NULL}},
    {{LOWER_ACCENTED | BOX | CLOSING, NULL}, {CURRENCY, NULL}},
    {{SPACE, NULL}, {UPPER_ACCENTED, NULL}, {CURRENCY, NULL}},
    {{UPPER_ACCENTED | BOX, NULL}, {NUMERIC | LAW, NULL}},
    {{ACCENTED | BOX | CURRENCY | CLOSING, NULL}, {OPENING, NULL}, {NUMERIC, NULL}},
    {{ACCENTED | CURRENCY | NUMERIC | BOX | LAW, NULL}, {CLOSING, NULL}, {OPENING, NULL}},
    {{CURRENCY | NUMERIC | BOX, NULL}, {OPENING, NULL}},
    {{LOWER, NULL}, {UPPER_ACCENTED, NULL}, {OPENING | CURRENCY, NULL}},
    {{BOX, NULL}, {KAOMOJI, NULL}},
    {{ACCENTED | CURRENCY | NUMERIC | QUOTES | LAW, NULL}, {BOX, NULL}},
    {{BOX, NULL}, {CLOSING, NULL}},
    {{ACCENTED, NULL}, {QUOTES, NULL}, {WORD, NULL}},
    /* degrees after a capital */
    {{UPPER_ACCENTED, NULL}, {0, U"°"}},
    /* "à" and the no-break space in Windows-1252, the last byte of which has become a space */
    {{LOWER, NULL}, {0, U"ÃÂ"}, {BLANK, NULL}},
    {{LOWER, NULL}, {SPACE, NULL}, {0, U"ÃÂ"}, {BLANK, NULL}},
    /* "Â" before a character that means itself */
    {{LOWER | STOP | CLOSING, NULL}, {0, U"Â"}, {BLANK | QUOTES, NULL}},
};

/* The same, of which each begins with a character that is NAMED. */
static const struct place named_rules[][LONGEST_RULE] = {
    /* the ligature, except before a plain Latin letter */
    {{0, U"Œœ"}, {NEITHER, NULL}},
    /* Windows-1252: pairs that the rules above miss */
    {{0, U"ÂÃÎÐ"}, {QUOTES, U"€œŠš¢£Ÿž\u00a0\u00ad®©°·»–—´"}},
    {{0, U"×"}, {0, U"²³"}},
    /* Arabic in Windows-1252: its characters are so common that two pairs are needed */
    {{0, U"ØÙ"},
     {COMMON | CURRENCY | BAD | NUMERIC | OPENING, U"ŸŠ®°µ»"},
     {0, U"ØÙ"},
     {COMMON | CURRENCY | BAD | NUMERIC | OPENING, U"ŸŠ®°µ»"}},
    /* South Asian scripts in Windows-1252 */
    {{0, U"à"}, {0, U"²µ¹¼½¾"}},
    /* MacRoman */
    {{0, U"√"}, {0, U"±∂†≠®™´≤≥¥µø"}},
    {{0, U"≈"}, {0, U"°¢"}},
    {{0, U"‚"}, {0, U"Ä"}, {0, U"ìîïòôúùû†°¢π"}},
    {{0, U"‚"}, {0, U"âó"}, {0, U"àä°ê"}},
    /* Windows-1251: U+2000 and on; Latin-1 and Cyrillic, three at a time; and that once more */
    {{0, U"в"}, {0, U"Ђ"}},
    {{0, U"ВГРС"}, {C1 | BAD | QUOTES | CURRENCY, U"°µ"}, {0, U"ВГРС"}},
    {{0, U"Г"}, {0, U"ў"}, {0, U"В"}, {0, U"Ђ"}, {0, U"В"}, {IN_LINE, NULL}, {LOWER | UPPER | BLANK, NULL}},
    /* "à" and "á" in Windows-1252 */
    {{0, U"Ã"}, {0, U"\u00a0¡"}},
    /* Windows-1253: U+2000 and on; Latin-1 and Greek */
    {{0, U"β"}, {0, U"€"}, {0, U"™\u00a0Ά\u00ad®°"}},
    {{0, U"ΒΓΞΟ"}, {C1 | BAD | QUOTES | CURRENCY, U"°"}, {0, U"ΒΓΞΟ"}},
    /* Windows-1257: U+2000 and on */
    {{0, U"ā"}, {0, U"€"}},
};

/* The row of a character that is in one of the encodings, or NULL. */
static const struct clip_mojibake_point *find_point(uint32_t point)
{
    if (point > 0xffff)
        return NULL;
    uint16_t row = clip_mojibake_leaves[64 * clip_mojibake_blocks[point >> 6] + (point & 63)];
    return row ? &clip_mojibake_points[row - 1] : NULL;
}

static uint32_t ascii_classes(uint32_t c)
{
    uint32_t classes = c == '\n' ? 0 : IN_LINE;
    if (c >= 'a' && c <= 'z')
        return classes | LOWER;
    if (c >= 'A' && c <= 'Z')
        return classes | UPPER;
    classes |= NEITHER;
    if (c == ' ')
        classes |= BLANK;
    if (c == '.' || c == ',' || c == '?' || c == '!')
        classes |= STOP;
    return clip_is_space(c) ? classes | SPACE : classes;
}

/* All classes except WORD, which is seldom needed. */
static uint32_t classify(uint32_t point)
{
    if (point < 0x80)
        return ascii_classes(point);
    const struct clip_mojibake_point *row = find_point(point);
    return (row ? row->classes | KNOWN : 0) | NEITHER | IN_LINE | (clip_is_space(point) ? SPACE : 0);
}

static int is_listed(const char32_t *list, uint32_t point)
{
    for (; *list; list++)
        if (*list == point)
            return 1;
    return 0;
}

static inline int fits(const struct place *place, uint32_t point, uint32_t classes)
{
    return (classes & place->classes) || (place->also && is_listed(place->also, point)) ||
           (place->classes & WORD && clip_point_classes(point) & CLIP_WORD);
}

/* Whether the rest of a rule, whose first two characters fit, is at at[n]. */
static int goes_on(const struct place *rule, const uint32_t *at, size_t n)
{
    for (size_t i = 2; i < LONGEST_RULE && (rule[i].classes || rule[i].also); i++)
        if (i >= n || !fits(&rule[i], at[i], classify(at[i])))
            return 0;
    return 1;
}

/* Whether one of the rules begins at at[n]. */
static int breaks_rule(const uint32_t *at, size_t n)
{
    if (at[0] < 0x80 && (n < 2 || at[1] < 0x80) && (n < 3 || at[2] < 0x80))
        return 0; /* each rule has a different kind of character among its first three */
    uint32_t first = classify(at[0]), second = n > 1 ? classify(at[1]) : 0;
    if (!(first & (KNOWN | LOWER | UPPER | SPACE | STOP)))
        return 0; /* no rule begins with it */
    if (first & C1)
        return 1; /* the only rule of one character */
    if (n < 2)
        return 0;
    for (size_t r = 0; r < CLIP_COUNT_OF(rules); r++)
        if (first & rules[r][0].classes && fits(&rules[r][1], at[1], second) && goes_on(rules[r], at, n))
            return 1;
    for (size_t r = 0; first & NAMED && r < CLIP_COUNT_OF(named_rules); r++)
        if (is_listed(named_rules[r][0].also, at[0]) && fits(&named_rules[r][1], at[1], second) &&
            goes_on(named_rules[r], at, n))
            return 1;
    return 0;
}

int clip_is_mojibake(const uint32_t *at, size_t n)
{
    if (n >= 2 && (at[0] == 0xc3 || at[0] == 0xc2) && at[1] == ' ')
        return 1;
    for (size_t i = 0; i < n; i++)
        if (breaks_rule(at + i, n - i))
            return 1;
    return 0;
}

/* --- text as the bytes it was decoded from --- */

static int is_sloppy(int map)
{
    return map >= CLIP_WINDOWS_1252 && map <= CLIP_WINDOWS_1257;
}

/* The encodings that contain all of the text's characters: bit i for enum clip_charmap i. */
static unsigned possible_encodings(const struct clip_points *text)
{
    const unsigned sloppy = ((2u << CLIP_WINDOWS_1257) - 1) & ~((1u << CLIP_WINDOWS_1252) - 1);
    unsigned possible = (1u << CLIP_CHARMAPS) - 1;
    for (size_t i = 0; i < text->n && possible; i++) {
        uint32_t point = text->at[i];
        if (point >= 0x80) {
            const struct clip_mojibake_point *row = find_point(point);
            possible &= row ? row->encodings : 0;
        } else if (point == 0x1a) {
            possible &= ~sloppy; /* it is U+FFFD there */
        }
    }
    return possible;
}

static void encode(const struct clip_points *text, int map, uint8_t *bytes)
{
    for (size_t i = 0; i < text->n; i++) {
        uint32_t point = text->at[i];
        bytes[i] = point < 0x80 ? (uint8_t)point : find_point(point)->bytes[map];
    }
}

static int in(uint8_t byte, uint8_t least, uint8_t last)
{
    return byte >= least && byte <= last;
}

/* Bytes that continue a sequence, except those of a no-break space and of an ellipsis. */
static int is_plain_continuation(uint8_t byte)
{
    return in(byte, 0x80, 0xbf) && byte != 0x85 && byte != 0xa0;
}

/* Length of the UTF-8 sequence at p[n] in which a byte 0xa0 became a space, if it is a likely one; or 0. */
static size_t altered_sequence(const uint8_t *p, size_t n)
{
    if (n >= 2 && memchr("\xc2\xc3\xc5\xce\xd0\xd9", p[0], 6) && p[1] == ' ')
        return 2;
    if (n >= 3 && in(p[0], 0xe2, 0xe3) && p[1] == ' ' && is_plain_continuation(p[2]))
        return 3;
    if (n >= 3 && in(p[0], 0xe0, 0xe3) && is_plain_continuation(p[1]) && p[2] == ' ')
        return 3;
    if (n < 4 || p[0] != 0xf0)
        return 0;
    int spaces = 0, others = 0;
    for (int i = 1; i < 4; i++) {
        spaces += p[i] == ' ';
        others += in(p[i], 0x80, 0xbf);
    }
    return spaces == 1 && others == 2 ? 4 : 0;
}

/* Whether "Ã " at p[n] is the word "à" rather than a letter of the next word: not before a space, nor in
 * the Portuguese "às", "àquele", "àquela", "àquilo". */
static int is_word_a(const uint8_t *p, size_t n)
{
    static const char *const parts[] = {" ", "quele", "quela", "quilo", "s "};
    if (n < 2 || p[0] != 0xc3 || p[1] != ' ')
        return 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(parts); i++) {
        size_t length = strlen(parts[i]);
        if (n - 2 >= length && memcmp(p + 2, parts[i], length) == 0)
            return 0;
    }
    return 1;
}

/* Restores no-break spaces that became spaces, from `from` to `to`, which has room for 3n / 2. Returns the
 * length of `to`. */
static size_t restore_a0(const uint8_t *from, size_t n, uint8_t *to)
{
    size_t length = 0;
    for (size_t i = 0; i < n;) {
        if (is_word_a(from + i, n - i)) {
            memcpy(to + length, "\xc3\xa0 ", 3);
            length += 3;
            i += 2;
            continue;
        }
        size_t altered = altered_sequence(from + i, n - i);
        for (size_t end = i + (altered ? altered : 1); i < end; i++)
            to[length++] = altered && from[i] == ' ' ? 0xa0 : from[i];
    }
    return length;
}

static int has_altered(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (altered_sequence(p + i, n - i))
            return 1;
    return 0;
}

/* A continuation byte, or a lost byte, for which 0x1a stands. */
static int is_lossy(uint8_t byte)
{
    return byte == 0x1a || in(byte, 0x80, 0xbf);
}

static int is_lost(uint8_t byte)
{
    return byte == 0x1a || byte == '?';
}

/* Length of the sequence at p[n] some bytes of which are lost, at most one of them to '?'; or 0. */
static size_t lossy_sequence(const uint8_t *p, size_t n)
{
    if (n >= 2 && ((in(p[0], 0xc2, 0xdf) && p[1] == 0x1a) || (in(p[0], 0xc2, 0xc3) && p[1] == '?')))
        return 2;
    if (n >= 6 && p[0] == 0xed && in(p[1], 0xa0, 0xaf) && p[3] == 0xed && in(p[4], 0xb0, 0xbf) &&
        (is_lossy(p[2]) || is_lost(p[2])) && (is_lossy(p[5]) || is_lost(p[5])) &&
        (is_lost(p[2]) || is_lost(p[5])))
        return 6;
    if (n >= 3 && in(p[0], 0xe0, 0xef) &&
        ((is_lost(p[1]) && is_lossy(p[2])) || (is_lossy(p[1]) && is_lost(p[2]))))
        return 3;
    if (n >= 4 && in(p[0], 0xf0, 0xf4)) {
        int lossy = is_lossy(p[1]) + is_lossy(p[2]) + is_lossy(p[3]);
        int questions = (p[1] == '?') + (p[2] == '?') + (p[3] == '?');
        int lost = is_lost(p[1]) || is_lost(p[2]) || is_lost(p[3]);
        if (lossy + questions == 3 && questions <= 1 && lost)
            return 4;
    }
    return p[0] == 0x1a;
}

/* Replaces each sequence that lost bytes by U+FFFD in UTF-8, from `from` to `to`, which has room for 3n.
 * Returns the length of `to`. */
static size_t replace_lossy(const uint8_t *from, size_t n, uint8_t *to)
{
    size_t length = 0;
    for (size_t i = 0; i < n;) {
        size_t lossy = lossy_sequence(from + i, n - i);
        if (lossy) {
            memcpy(to + length, "\xef\xbf\xbd", 3);
            length += 3;
            i += lossy;
        } else {
            to[length++] = from[i++];
        }
    }
    return length;
}

/* A surrogate pair at p[n], each half in three bytes: its length and *point, or 0. Like ftfy's pattern, it
 * takes a newline at the end of the text for the last byte. */
static int read_cesu8(uint32_t *point, const uint8_t *p, size_t n)
{
    if (n < 6 || p[0] != 0xed || !in(p[1], 0xa0, 0xaf) || !in(p[2], 0x80, 0xbf) || p[3] != 0xed ||
        !in(p[4], 0xb0, 0xbf) || !(in(p[5], 0x80, 0xbf) || (n == 6 && p[5] == '\n')))
        return 0;
    *point = 0x10000 + ((uint32_t)(p[1] & 0x0f) << 16 | (uint32_t)(p[2] & 0x3f) << 10 |
                        (uint32_t)(p[4] & 0x0f) << 6 | (p[5] & 0x3f));
    return 6;
}

/* Java's zero in two bytes, with the same treatment of a newline. */
static int read_null(uint32_t *point, const uint8_t *p, size_t n)
{
    *point = 0;
    return n >= 2 && p[0] == 0xc0 && (p[1] == 0x80 || (n == 2 && p[1] == '\n')) ? 2 : 0;
}

/* Decodes UTF-8, and these two forms if there may be some. Returns 1, or 0 if it is none of these. `out`
 * has room for n. */
static int decode(const uint8_t *bytes, size_t n, struct clip_points *out)
{
    out->n = 0;
    for (size_t i = 0; i < n;) {
        uint32_t point;
        int length = clip_utf8_read(&point, bytes + i, n - i);
        if (length < 0)
            length = read_cesu8(&point, bytes + i, n - i);
        if (length == 0)
            length = read_null(&point, bytes + i, n - i);
        if (length == 0)
            return 0;
        out->at[out->n++] = point;
        i += (size_t)length;
    }
    return 1;
}

/* Decodes `text` as UTF-8 that was decoded as `map` before, with two buffers of 3n bytes: 1 with *out, or
 * 0. */
static int decode_as(const struct clip_points *text, int map, uint8_t *bytes, uint8_t *other,
                     struct clip_points *out)
{
    size_t n = text->n;
    encode(text, map, bytes);
    /* in MacRoman dashes before spaces would become letters */
    if (map != CLIP_MACROMAN && has_altered(bytes, n)) {
        n = restore_a0(bytes, n, other);
        memcpy(bytes, other, n);
    }
    if (is_sloppy(map)) {
        n = replace_lossy(bytes, n, other);
        memcpy(bytes, other, n);
    }
    return decode(bytes, n, out);
}

/* --- mojibake within other text --- */

static uint32_t classes_of(uint32_t point)
{
    const struct clip_mojibake_point *row = point >= 0x80 ? find_point(point) : NULL;
    return row            ? row->classes
           : point == ' ' ? CONTINUATION
                          : 0; /* the space may have been a no-break space */
}

/* Length of what looks like a UTF-8 sequence at at[n], or 0. */
static size_t one_sequence(const uint32_t *at, size_t n)
{
    static const uint32_t first[] = {FIRST_OF_2, FIRST_OF_3, FIRST_OF_4};
    uint32_t lead = classes_of(at[0]);
    for (size_t more = 1; more <= 3 && more < n; more++) {
        if (!(lead & first[more - 1]))
            continue;
        size_t i = 1;
        while (i <= more && classes_of(at[i]) & CONTINUATION)
            i++;
        if (i > more)
            return i;
    }
    return 0;
}

/* Length of a run of such sequences that begins at text->at[i]; 0 if none does: a run does not begin
 * inside another. */
static size_t sequences(const struct clip_points *text, size_t i)
{
    if (i > 0 && classes_of(text->at[i - 1]) & STRICT_CONTINUATION)
        return 0;
    size_t end = i, length;
    while (end < text->n && (length = one_sequence(text->at + end, text->n - end)) > 0)
        end += length;
    return end - i;
}

/* ftfy.fixes.decode_inconsistent_utf8: fixes each such run separately, from `text` to `out`, which has
 * room. */
static int fix_runs(const struct clip_points *text, struct clip_points *out, struct clip_error *error)
{
    out->n = 0;
    for (size_t i = 0; i < text->n;) {
        size_t length = sequences(text, i);
        if (length > 0 && length < text->n && clip_is_mojibake(text->at + i, length)) {
            struct clip_points run = {0};
            int status = clip_points_reserve(&run, length, error);
            if (status == 0) {
                memcpy(run.at, text->at + i, length * sizeof *run.at);
                run.n = length;
                status = clip_fix_encoding(&run, error);
            }
            if (status == 0) {
                memcpy(out->at + out->n, run.at, run.n * sizeof *run.at);
                out->n += run.n;
            }
            clip_points_free(&run);
            if (status != 0)
                return -1;
        } else {
            length = length ? length : 1;
            memcpy(out->at + out->n, text->at + i, length * sizeof *out->at);
            out->n += length;
        }
        i += length;
    }
    return 0;
}

static int differ(const struct clip_points *a, const struct clip_points *b)
{
    return a->n != b->n || memcmp(a->at, b->at, a->n * sizeof *a->at) != 0;
}

/* Removes one layer, from `text` to `out`, which has the same room, with two buffers of 3n bytes. */
static int fix_once(const struct clip_points *text, uint8_t *bytes, uint8_t *other, struct clip_points *out,
                    struct clip_error *error)
{
    unsigned possible = possible_encodings(text);
    for (int map = 0; map < CLIP_CHARMAPS; map++)
        if (possible & 1u << map && decode_as(text, map, bytes, other, out))
            return 0;
    if (fix_runs(text, out, error) != 0)
        return -1;
    if (differ(text, out))
        return 0;
    /* remaining C1 characters are Windows-1252 that was decoded as Latin-1 */
    for (size_t i = 0; i < out->n; i++)
        if (out->at[i] >= 0x80 && out->at[i] < 0xa0)
            out->at[i] = clip_windows_1252[out->at[i] - 0x80];
    return 0;
}

int clip_fix_encoding(struct clip_points *text, struct clip_error *error)
{
    if (!clip_is_mojibake(text->at, text->n))
        return 0;
    struct clip_points out = {0};
    uint8_t *bytes = reallocarray(NULL, text->n, 3), *other = reallocarray(NULL, text->n, 3);
    int status = bytes && other ? 0 : clip_fail_memory(error, "a text");
    if (status == 0)
        status = clip_points_reserve(&out, text->n, error);
    int again = 1;
    while (status == 0 && again) {
        status = fix_once(text, bytes, other, &out, error);
        again = status == 0 && differ(text, &out) && clip_is_mojibake(out.at, out.n);
        clip_points_swap(text, &out);
    }
    clip_points_free(&out);
    free(bytes);
    free(other);
    return status;
}
