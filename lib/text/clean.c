#include "text/clean.h"
#include "text/entities.h"
#include "text/repair.h"
#include "text/tables.h"
#include "text/unicode.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct clip_cleaner {
    struct clip_points text, work;
    struct clip_repair repair;
    uint8_t *clean;
    size_t room;
};

struct clip_cleaner *clip_cleaner_new(struct clip_error *error)
{
    struct clip_cleaner *cleaner = calloc(1, sizeof *cleaner);
    if (!cleaner)
        clip_fail_memory(error, "a cleaner");
    return cleaner;
}

void clip_cleaner_free(struct clip_cleaner *cleaner)
{
    if (!cleaner)
        return;
    clip_points_free(&cleaner->text);
    clip_points_free(&cleaner->work);
    clip_repair_free(&cleaner->repair);
    free(cleaner->clean);
    free(cleaner);
}

static int reserve(struct clip_cleaner *cleaner, size_t room, struct clip_error *error)
{
    if (room <= cleaner->room)
        return 0;
    room += room / 2;
    uint8_t *clean = realloc(cleaner->clean, room);
    if (!clean)
        return clip_fail_memory(error, "a text");
    cleaner->clean = clean;
    cleaner->room = room;
    return 0;
}

enum { BLOCK = 16 };
typedef uint8_t block __attribute__((vector_size(BLOCK)));
typedef uint64_t block_halves __attribute__((vector_size(BLOCK)));

/* 1 if any byte is set. */
static int has_any(block bytes)
{
    block_halves halves = (block_halves)bytes;
    return (halves[0] | halves[1]) != 0;
}

/* Writes the lower case of a block, and returns bytes that are set where one of it is not printable ASCII, is
 * '&', or is a space before another one. The byte after the block is read, too. */
static inline block lower_block(const char *text, uint8_t *out)
{
    block now, next;
    memcpy(&now, text, BLOCK);
    memcpy(&next, text + 1, BLOCK);
    block small = now | ((block)(now - 'A' < 26) & 0x20);
    memcpy(out, &small, BLOCK);
    return (block)(now - ' ' > '~' - ' ') | (block)(now == '&') |
           ((block)(now == ' ') & (block)(next == ' '));
}

/* Lower case of text[length], to out[length] in whole blocks: 1 if it is printable ASCII without '&', with
 * single spaces, none of them at the begin; else 0. */
static int clean_simple(const char *text, size_t length, uint8_t *out)
{
    char last[BLOCK + 1];
    block bad = {0};
    size_t i = 0;
    if (length == 0 || *text == ' ')
        return length == 0;
    for (; i + BLOCK < length; i += BLOCK)
        bad |= lower_block(text + i, out + i);
    memset(last, 'a', sizeof last);
    memcpy(last, text + i, length - i);
    return !has_any(bad | lower_block(last, out + i));
}

/* Cleans text[length] to out[length + CLIP_CLEAN_PADDING] if only white space and case can change: 1, and the
 * length written; else 0. */
static int clean_plain(const char *text, size_t length, uint8_t *out, size_t *out_length)
{
    size_t n = 0;
    uint8_t before = ' ';
    if (clean_simple(text, length, out)) {
        *out_length = length - (length > 0 && out[length - 1] == ' ');
        return 1;
    }
    for (size_t i = 0; i < length; i++) {
        uint8_t c = clip_plain_bytes[(unsigned char)text[i]];
        if (!c)
            return 0;
        out[n] = c;
        n += c != ' ' || before != ' ';
        before = c;
    }
    *out_length = n > 0 && before == ' ' ? n - 1 : n;
    return 1;
}

static int is_punctuation(uint32_t point)
{
    return point > ' ' && point < 0x7f && !(point - '0' < 10) && !((point | 32) - 'a' < 26);
}

/* What a cleaning makes of a character before white space is joined: itself, a space, or 0 where it is left
 * out. (Python's string.punctuation is all of ASCII's.) */
static uint32_t filter(enum clip_cleaning cleaning, uint32_t point)
{
    if (cleaning == CLIP_CLEANING_WHITESPACE)
        return point;
    if (point == '_')
        return ' ';
    return cleaning == CLIP_CLEANING_CANONICALIZE && is_punctuation(point) ? 0 : point;
}

/* As clean_plain, of the other cleanings. */
static int filter_plain(enum clip_cleaning cleaning, const char *text, size_t length, uint8_t *out,
                        size_t *out_length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        uint8_t plain = clip_plain_bytes[(unsigned char)text[i]];
        if (!plain)
            return 0;
        uint8_t c = (uint8_t)filter(cleaning, plain == ' ' || cleaning == CLIP_CLEANING_CANONICALIZE
                                                  ? plain
                                                  : (unsigned char)text[i]);
        out[n] = c;
        n += c != 0 && (c != ' ' || (n > 0 && out[n - 1] != ' '));
    }
    *out_length = n > 0 && out[n - 1] == ' ' ? n - 1 : n;
    return 1;
}

/* Decodes as errors="replace"; `text` has room for length. */
static void decode(const char *bytes, size_t length, struct clip_points *text)
{
    text->n = 0;
    for (size_t i = 0; i < length;) {
        uint32_t point = CLIP_REPLACEMENT;
        int taken = clip_utf8_read(&point, (const uint8_t *)bytes + i, length - i);
        text->at[text->n++] = point;
        i += (size_t)(taken > 0 ? taken : -taken);
    }
}

/* Replaces runs of white space by one space, and removes them at the ends, in place. */
static void collapse_spaces(struct clip_points *text)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) {
        if (!clip_is_space(text->at[i]))
            text->at[n++] = text->at[i];
        else if (n > 0 && text->at[n - 1] != ' ')
            text->at[n++] = ' ';
    }
    text->n = n > 0 && text->at[n - 1] == ' ' ? n - 1 : n;
}

static void filter_points(enum clip_cleaning cleaning, struct clip_points *text)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) {
        uint32_t before = text->at[i], point = filter(cleaning, before);
        text->at[n] = point;
        n += point != 0 || before == 0;
    }
    text->n = n;
}

/* Cleans the cleaner's decoded text in place. */
static int clean_points(struct clip_cleaner *cleaner, enum clip_cleaning cleaning, struct clip_error *error)
{
    struct clip_points *text = &cleaner->text, *work = &cleaner->work;
    if (cleaning == CLIP_CLEANING_NONE)
        return 0;
    if (clip_repair(&cleaner->repair, text, work, error) != 0)
        return -1;
    clip_points_swap(text, work);
    if (clip_unescape(text, work, error) < 0 || clip_unescape(text, work, error) < 0)
        return -1;
    int lower = cleaning == CLIP_CLEANING_DEFAULT || cleaning == CLIP_CLEANING_LOWER;
    if (!lower)
        filter_points(cleaning, text);
    collapse_spaces(text);
    return lower || cleaning == CLIP_CLEANING_CANONICALIZE ? clip_lower(text, work, error) : 0;
}

int clip_clean(struct clip_cleaner *cleaner, const char *text, size_t length, const char **clean,
               size_t *clean_length, struct clip_error *error)
{
    return clip_clean_as(cleaner, CLIP_CLEANING_LOWER, text, length, clean, clean_length, error);
}

/* The texts that need no more than their bytes looked at. */
static int clean_quickly(struct clip_cleaner *cleaner, enum clip_cleaning cleaning, const char *text,
                         size_t length, size_t *n)
{
    if (cleaning == CLIP_CLEANING_DEFAULT || cleaning == CLIP_CLEANING_LOWER)
        return clean_plain(text, length, cleaner->clean, n);
    return cleaning != CLIP_CLEANING_NONE && filter_plain(cleaning, text, length, cleaner->clean, n);
}

int clip_clean_as(struct clip_cleaner *cleaner, enum clip_cleaning cleaning, const char *text, size_t length,
                  const char **clean, size_t *clean_length, struct clip_error *error)
{
    size_t n = 0;
    if (reserve(cleaner, length + CLIP_CLEAN_PADDING, error) != 0)
        return -1;
    if (!clean_quickly(cleaner, cleaning, text, length, &n)) {
        struct clip_points *points = &cleaner->text;
        if (clip_points_reserve(points, length, error) != 0)
            return -1;
        decode(text, length, points);
        if (clean_points(cleaner, cleaning, error) != 0 ||
            reserve(cleaner, 4 * points->n + CLIP_CLEAN_PADDING, error) != 0)
            return -1;
        for (size_t i = 0; i < points->n; i++)
            n += clip_utf8_write(cleaner->clean + n, points->at[i]);
    }
    memset(cleaner->clean + n, 0, CLIP_CLEAN_PADDING);
    *clean = (const char *)cleaner->clean;
    *clean_length = n;
    return 0;
}
