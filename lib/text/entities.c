#include "text/entities.h"
#include "text/tables.h"

#include <string.h>

#define LONGEST_NAME 33 /* including its semicolon and a zero */

static int is_digit(uint32_t point)
{
    return point >= '0' && point <= '9';
}

static int is_alphanumeric(uint32_t point)
{
    return is_digit(point) || ((point | 0x20) >= 'a' && (point | 0x20) <= 'z');
}

/* The value of a digit, or -1. */
static int digit(uint32_t point, int base)
{
    if (is_digit(point))
        return (int)(point - '0');
    uint32_t letter = point | 0x20;
    return base == 16 && letter >= 'a' && letter <= 'f' ? (int)(letter - 'a') + 10 : -1;
}

static const char *find_entity(const struct clip_entity *table, size_t n, const char *name)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, table[middle].name);
        if (order == 0)
            return table[middle].text;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void append_utf8(struct clip_points *out, const char *utf8)
{
    for (size_t left = strlen(utf8); left > 0;) {
        int taken = clip_utf8_read(&out->at[out->n++], (const uint8_t *)utf8, left);
        utf8 += taken;
        left -= (size_t)taken;
    }
}

static int is_noncharacter(uint32_t number)
{
    return (number >= 1 && number <= 8) || number == 0xb || (number >= 0xe && number <= 0x1f) ||
           number == 0x7f || (number >= 0xfdd0 && number <= 0xfdef) || (number & 0xfffe) == 0xfffe;
}

/* Appends what number `number` refers to in HTML 5; nothing for noncharacters. */
static void append_number(struct clip_points *out, uint32_t number)
{
    if (number >= 0x80 && number < 0xa0)
        out->at[out->n++] = clip_windows_1252[number - 0x80];
    else if (number == 0 || (number >= 0xd800 && number < 0xe000) || number > CLIP_MAX_POINT)
        out->at[out->n++] = CLIP_REPLACEMENT;
    else if (!is_noncharacter(number))
        out->at[out->n++] = number;
}

/* Reads "#123" or "#x1f" at at[n], after an ampersand. Returns its length without a semicolon; 0 if there
 * is none. A number beyond Unicode is read as the first one beyond it. */
static size_t read_number(const uint32_t *at, size_t n, uint32_t *number)
{
    if (n < 2 || at[0] != '#')
        return 0;
    int base = (at[1] | 0x20) == 'x' ? 16 : 10;
    size_t start = base == 16 ? 2 : 1, i = start;
    *number = 0;
    for (; i < n && digit(at[i], base) >= 0; i++)
        if (*number <= CLIP_MAX_POINT)
            *number = *number * (uint32_t)base + (uint32_t)digit(at[i], base);
    return i > start ? i : 0;
}

/* Copies to name[LONGEST_NAME + 1] the letters and digits at at[n]; returns how many. */
static size_t read_name(const uint32_t *at, size_t n, char *name)
{
    size_t i = 0;
    for (; i < n && i < LONGEST_NAME - 1 && is_alphanumeric(at[i]); i++)
        name[i] = (char)at[i];
    name[i] = 0;
    return i;
}

/* Resolves the reference at at[n], after an ampersand, and appends its meaning. Returns its length, or 0. */
static size_t resolve(const uint32_t *at, size_t n, struct clip_points *out)
{
    uint32_t number;
    size_t length = read_number(at, n, &number);
    if (length > 0) {
        append_number(out, number);
        return length + (length < n && at[length] == ';');
    }
    char name[LONGEST_NAME + 1];
    length = read_name(at, n, name);
    if (length < n && at[length] == ';') {
        memcpy(name + length, ";", 2);
        const char *text = find_entity(clip_html_entities, clip_html_entities_count, name);
        if (text) {
            append_utf8(out, text);
            return length + 1;
        }
    }
    /* the longest prefix that is a name */
    for (; length > 1; length--) {
        name[length] = 0;
        const char *text = find_entity(clip_html_entities, clip_html_entities_count, name);
        if (text) {
            append_utf8(out, text);
            return length;
        }
    }
    return 0;
}

/* The same for ftfy: 1 to 24 letters and digits, and a semicolon; the whole must be a reference. */
static size_t resolve_strict(const uint32_t *at, size_t n, struct clip_points *out)
{
    size_t hash = n > 0 && at[0] == '#', end = hash;
    while (end < n && is_alphanumeric(at[end]))
        end++;
    if (end == hash || end - hash > 24 || end == n || at[end] != ';')
        return 0;
    if (hash) {
        uint32_t number;
        if (read_number(at, end, &number) != end || number == ';')
            return 0;
        append_number(out, number);
        return end + 1;
    }
    char name[LONGEST_NAME + 1];
    size_t length = read_name(at, end, name);
    memcpy(name + length, ";", 2);
    const char *text = find_entity(clip_html_entities, clip_html_entities_count, name);
    if (!text)
        text = find_entity(clip_upper_entities, clip_upper_entities_count, name);
    if (!text)
        return 0;
    append_utf8(out, text);
    return end + 1;
}

static int unescape(struct clip_points *text, struct clip_points *work,
                    size_t (*resolve_one)(const uint32_t *, size_t, struct clip_points *),
                    struct clip_error *error)
{
    size_t first = 0;
    while (first < text->n && text->at[first] != '&')
        first++;
    if (first == text->n)
        return 0;
    /* no reference stands for more code points than its length */
    if (clip_points_reserve(work, text->n, error) != 0)
        return -1;
    memcpy(work->at, text->at, first * sizeof *work->at);
    work->n = first;
    int changed = 0;
    for (size_t i = first; i < text->n;) {
        uint32_t point = text->at[i++];
        size_t length = point == '&' ? resolve_one(text->at + i, text->n - i, work) : 0;
        changed |= length > 0;
        if (length == 0)
            work->at[work->n++] = point;
        i += length;
    }
    clip_points_swap(text, work);
    return changed;
}

int clip_unescape(struct clip_points *text, struct clip_points *work, struct clip_error *error)
{
    return unescape(text, work, resolve, error);
}

int clip_unescape_strict(struct clip_points *text, struct clip_points *work, struct clip_error *error)
{
    return unescape(text, work, resolve_strict, error);
}
