#include "text/repair.h"
#include "base/array.h"
#include "text/entities.h"
#include "text/mojibake.h"

#include <stdlib.h>
#include <string.h>
#include <uninorm.h>

#define LONGEST_SEGMENT 1000000 /* code points; longer lines are processed in parts */
#define LONGEST_FORM 3          /* code points that a ligature or a half- or full-width form becomes */

void clip_repair_free(struct clip_repair *repair)
{
    clip_points_free(&repair->segment);
    clip_points_free(&repair->before);
    clip_points_free(&repair->work);
}

/* The Latin letters of a ligature or digraph, or NULL. The apostrophe of U+0149 is straight. */
static const char *ligature(uint32_t point)
{
    static const struct {
        uint32_t point;
        const char *letters;
    } table[] = {
        {0x132, "IJ"},       {0x133, "ij"},  {0x149, "'n"},  {0x1c4, "D\u017d"}, {0x1c5, "D\u017e"},
        {0x1c6, "d\u017e"},  {0x1c7, "LJ"},  {0x1c8, "Lj"},  {0x1c9, "lj"},      {0x1ca, "NJ"},
        {0x1cb, "Nj"},       {0x1cc, "nj"},  {0x1f1, "DZ"},  {0x1f2, "Dz"},      {0x1f3, "dz"},
        {0xfb00, "ff"},      {0xfb01, "fi"}, {0xfb02, "fl"}, {0xfb03, "ffi"},    {0xfb04, "ffl"},
        {0xfb05, "\u017ft"}, {0xfb06, "st"},
    };
    if (point < 0x132 || (point > 0x1f3 && point < 0xfb00) || point > 0xfb06)
        return NULL;
    for (size_t i = 0; i < CLIP_COUNT_OF(table); i++)
        if (table[i].point == point)
            return table[i].letters;
    return NULL;
}

static int has_usual_width(uint32_t point)
{
    return point != 0x3000 && !(point > 0xff00 && point < 0xfff0);
}

/* Appends a half-width or full-width character in its usual width: its compatibility form. */
static void append_usual_width(struct clip_points *out, uint32_t point)
{
    uint32_t form[LONGEST_FORM];
    size_t length = LONGEST_FORM;
    uint32_t *result = u32_normalize(UNINORM_NFKC, &point, 1, form, &length);
    if (result != form) { /* none of the forms is that long */
        free(result);
        form[0] = point;
        length = 1;
    }
    memcpy(out->at + out->n, form, length * sizeof *form);
    out->n += length;
}

/* Makes quotation marks and line breaks plain. U+0085 was treated as mojibake already. */
static uint32_t plain(uint32_t point)
{
    if (point == 0x2bc || (point >= 0x2018 && point <= 0x201b))
        return '\'';
    if (point >= 0x201c && point <= 0x201f)
        return '"';
    if (point == '\r' || point == 0x2028 || point == 0x2029)
        return '\n';
    return point;
}

/* Control characters without effect. White space, C1, joiners, marks of direction and tags are kept. */
static int is_dropped(uint32_t point)
{
    return point < '\t' || point == 0xb || (point >= 0xe && point < 0x20) || point == 0x7f ||
           (point >= 0x206a && point <= 0x206f) || point == 0xfeff || (point >= 0xfff9 && point <= 0xfffc);
}

/* Printable ASCII, which stays as it is. */
static inline int stays(uint32_t point)
{
    return point >= ' ' && point < 0x7f;
}

/* Appends the replacement of a single character, up to LONGEST_FORM. */
static void append_point(struct clip_points *out, uint32_t point)
{
    const char *letters = ligature(point);
    if (letters) {
        for (size_t left = strlen(letters); left > 0;) {
            int taken = clip_utf8_read(&out->at[out->n++], (const uint8_t *)letters, left);
            letters += taken;
            left -= (size_t)taken;
        }
    } else if (has_usual_width(point)) {
        out->at[out->n++] = plain(point);
    } else {
        append_usual_width(out, point);
    }
}

/* Length of a terminal's escape sequence at at[n] (ESC [ numbers letter), or 0. */
static size_t escape_sequence(const uint32_t *at, size_t n)
{
    size_t i = 2;
    if (n < 3 || at[0] != 0x1b || at[1] != '[')
        return 0;
    while (i < n && (at[i] == ';' || clip_point_classes(at[i]) & CLIP_DIGIT))
        i++;
    return i < n && (at[i] | 0x20) >= 'a' && (at[i] | 0x20) <= 'z' ? i + 1 : 0;
}

/* Removes terminal escapes, then control characters, in place. */
static void remove_controls(struct clip_points *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->n;) {
        size_t escape = stays(text->at[i]) ? 0 : escape_sequence(text->at + i, text->n - i);
        if (stays(text->at[i]) || (escape == 0 && !is_dropped(text->at[i])))
            text->at[kept++] = text->at[i];
        i += escape ? escape : 1;
    }
    text->n = kept;
}

/* Applies ftfy's fixes of single characters, in its order. */
static int fix_characters(struct clip_points *text, struct clip_points *work, struct clip_error *error)
{
    if (text->n > SIZE_MAX / LONGEST_FORM)
        return clip_fail_memory(error, "a text");
    if (clip_points_reserve(work, LONGEST_FORM * text->n, error) != 0)
        return -1;
    work->n = 0;
    for (size_t i = 0; i < text->n; i++)
        if (stays(text->at[i]))
            work->at[work->n++] = text->at[i];
        else if (!(text->at[i] == '\r' && i + 1 < text->n && text->at[i + 1] == '\n'))
            append_point(work, text->at[i]);
    remove_controls(work);
    clip_points_swap(text, work);
    return 0;
}

/* Fixes repair->segment until it no longer changes: references, encoding, characters, and again. */
static int fix_segment(struct clip_repair *repair, int unescape, struct clip_error *error)
{
    struct clip_points *text = &repair->segment, *before = &repair->before, *work = &repair->work;
    int again = unescape ? clip_unescape_strict(text, work, error) : 0;
    if (again < 0)
        return -1;
    do {
        if (clip_fix_encoding(text, error) != 0 || clip_points_reserve(before, text->n, error) != 0)
            return -1;
        memcpy(before->at, text->at, text->n * sizeof *text->at);
        before->n = text->n;
        if (fix_characters(text, work, error) != 0 || clip_nfc(text, work, error) != 0)
            return -1;
        int changed = text->n != before->n || memcmp(text->at, before->at, text->n * sizeof *text->at) != 0;
        again = unescape ? clip_unescape_strict(text, work, error) : 0;
        if (again < 0)
            return -1;
        again |= changed;
    } while (again);
    return 0;
}

/* Length of the line at at[n] with its newline, or of the part of it that is processed at once. */
static size_t segment_length(const uint32_t *at, size_t n)
{
    size_t length = 0;
    while (length < n && length < LONGEST_SEGMENT)
        if (at[length++] == '\n')
            break;
    return length;
}

static int contains(const uint32_t *at, size_t n, uint32_t point)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] == point)
            return 1;
    return 0;
}

int clip_repair(struct clip_repair *repair, const struct clip_points *text, struct clip_points *out,
                struct clip_error *error)
{
    int unescape = 1; /* until the first "<", after which it is HTML */
    out->n = 0;
    for (size_t i = 0; i < text->n;) {
        struct clip_points *segment = &repair->segment;
        size_t n = segment_length(text->at + i, text->n - i);
        unescape = unescape && !contains(text->at + i, n, '<');
        if (clip_points_reserve(segment, n, error) != 0)
            return -1;
        memcpy(segment->at, text->at + i, n * sizeof *segment->at);
        segment->n = n;
        if (fix_segment(repair, unescape, error) != 0 ||
            clip_points_reserve(out, out->n + segment->n, error) != 0)
            return -1;
        if (segment->n > 0) /* else there may be nothing to copy to */
            memcpy(out->at + out->n, segment->at, segment->n * sizeof *segment->at);
        out->n += segment->n;
        i += n;
    }
    return 0;
}
