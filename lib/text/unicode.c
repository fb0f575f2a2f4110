#include "text/unicode.h"
#include "text/tables.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <uninorm.h>
#include <unictype.h>

int clip_points_reserve(struct clip_points *points, size_t room, struct clip_error *error)
{
    if (room <= points->room)
        return 0;
    size_t larger = points->room < SIZE_MAX / 2 && points->room + points->room / 2 > room
                        ? points->room + points->room / 2
                        : room;
    uint32_t *at = reallocarray(points->at, larger, sizeof *at);
    if (!at)
        return clip_fail_memory(error, "a text");
    points->at = at;
    points->room = larger;
    return 0;
}

void clip_points_free(struct clip_points *points)
{
    free(points->at);
    *points = (struct clip_points){0};
}

void clip_points_swap(struct clip_points *a, struct clip_points *b)
{
    struct clip_points c = *a;
    *a = *b;
    *b = c;
}

/* The number of continuation bytes from text[1] on, at most `most`, the first of them in [least, last]. */
static int continuations(const uint8_t *text, size_t length, int most, uint8_t least, uint8_t last)
{
    int n = 0;
    while (n < most && (size_t)n + 1 < length && text[n + 1] >= least && text[n + 1] <= last) {
        n++;
        least = 0x80;
        last = 0xbf;
    }
    return n;
}

int clip_utf8_read(uint32_t *point, const uint8_t *text, size_t length)
{
    uint8_t lead = text[0];
    if (lead < 0x80) {
        *point = lead;
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    /* the range of the second byte excludes long forms, surrogates and numbers beyond U+10FFFF */
    uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t last = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    int found = continuations(text, length, more, least, last);
    if (found < more)
        return -(1 + found);
    *point = lead & (0x3fu >> more);
    for (int i = 1; i <= more; i++)
        *point = *point << 6 | (text[i] & 0x3f);
    return 1 + more;
}

size_t clip_utf8_write(uint8_t *out, uint32_t point)
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    out[0] = (uint8_t)(0xff00 >> (more + 1) | point >> 6 * more);
    for (int i = 1; i <= more; i++)
        out[i] = (uint8_t)(0x80 | (point >> 6 * (more - i) & 0x3f));
    return (size_t)more + 1;
}

unsigned clip_point_classes(uint32_t point)
{
    size_t block = point >> 8;
    size_t low = clip_class_blocks[block]; /* the range is in [low, high) */
    size_t high =
        block + 1 < clip_class_blocks_count ? clip_class_blocks[block + 1] + 1u : clip_class_ranges_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (clip_class_ranges[middle].first <= point)
            low = middle;
        else
            high = middle;
    }
    return clip_class_ranges[low].classes;
}

int clip_is_word(uint32_t point)
{
    if (point < 0x80)
        return (point >= '0' && point <= '9') || ((point | 0x20) >= 'a' && (point | 0x20) <= 'z') ||
               point == '_';
    return uc_is_property_alphabetic(point) || uc_is_property_join_control(point) ||
           uc_is_general_category_withtable(point,
                                            UC_CATEGORY_MASK_M | UC_CATEGORY_MASK_Nd | UC_CATEGORY_MASK_Pc);
}

/* Appends at[n], normalised, to `out`. */
static int append_normal(enum clip_normal_form form, struct clip_points *out, const uint32_t *at, size_t n,
                         struct clip_error *error)
{
    const uninorm_t forms[] = {UNINORM_NFC, UNINORM_NFD, UNINORM_NFKC, UNINORM_NFKD};
    if (n == 0)
        return 0;
    size_t length = out->room - out->n;
    uint32_t *there = out->at + out->n, *result = u32_normalize(forms[form], at, n, there, &length);
    if (!result)
        return clip_fail_memory(error, "a normal form");
    int status = 0;
    if (result != there) {
        status = clip_points_reserve(out, out->n + length, error);
        if (status == 0)
            memcpy(out->at + out->n, result, length * sizeof *result);
        free(result);
    }
    if (status == 0)
        out->n += length;
    return status;
}

int clip_nfc(struct clip_points *text, struct clip_points *work, struct clip_error *error)
{
    size_t first = 0;
    while (first < text->n &&
           (text->at[first] < 0x300 || clip_point_classes(text->at[first]) & CLIP_STAYS_IN_NFC))
        first++;
    return first == text->n ? 0 : clip_normal(CLIP_NFC, text, work, error);
}

int clip_normal(enum clip_normal_form form, struct clip_points *text, struct clip_points *work,
                struct clip_error *error)
{
    work->n = 0;
    /* A code point that Unicode 14.0 does not assign is unchanged and composes with nothing. Newer
     * versions of libunistring may assign it, so they do not get to see it. */
    for (size_t i = 0, run = 0; i <= text->n; i++) {
        if (i < text->n && (text->at[i] < 0x300 || clip_point_classes(text->at[i]) & CLIP_ASSIGNED))
            continue;
        if (clip_points_reserve(work, work->n + (i - run) + 1, error) != 0 ||
            append_normal(form, work, text->at + run, i - run, error) != 0 ||
            clip_points_reserve(work, work->n + 1, error) != 0)
            return -1;
        if (i < text->n)
            work->at[work->n++] = text->at[i];
        run = i + 1;
    }
    clip_points_swap(text, work);
    return 0;
}

/* Whether the capital sigma at[i] ends a word: a cased letter is before it and none after it, skipping what
 * case ignores (Unicode's Final_Sigma). */
static int is_final_sigma(const struct clip_points *text, size_t i)
{
    size_t before = i, after = i + 1;
    while (before > 0 && clip_point_classes(text->at[before - 1]) & CLIP_CASE_IGNORABLE)
        before--;
    if (before == 0 || !(clip_point_classes(text->at[before - 1]) & CLIP_CASED))
        return 0;
    while (after < text->n && clip_point_classes(text->at[after]) & CLIP_CASE_IGNORABLE)
        after++;
    return after == text->n || !(clip_point_classes(text->at[after]) & CLIP_CASED);
}

uint32_t clip_lower_point(uint32_t point)
{
    if (point < 0x80)
        return point >= 'A' && point <= 'Z' ? point | 0x20 : point;
    const unsigned capital = CLIP_ASSIGNED | CLIP_CASED;
    return (clip_point_classes(point) & capital) == capital ? uc_tolower(point) : point;
}

int clip_lower(struct clip_points *text, struct clip_points *work, struct clip_error *error)
{
    if (clip_points_reserve(work, 2 * text->n, error) != 0)
        return -1;
    work->n = 0;
    for (size_t i = 0; i < text->n; i++) {
        uint32_t point = text->at[i];
        if (point == 0x3a3) {
            work->at[work->n++] = is_final_sigma(text, i) ? 0x3c2 : 0x3c3;
        } else if (point == 0x130) { /* the only capital whose lower case is two code points */
            work->at[work->n++] = 'i';
            work->at[work->n++] = 0x307;
        } else {
            work->at[work->n++] = clip_lower_point(point);
        }
    }
    clip_points_swap(text, work);
    return 0;
}
