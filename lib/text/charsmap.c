#include "text/charsmap.h"
#include "text/unicode.h"

#include <endian.h>
#include <unigbrk.h>
#include <unistr.h>

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

/* Each unit is a leaf, whose text must be there, or leads to other units. */
static int check_units(const struct clip_charsmap *map, struct clip_error *error)
{
    for (size_t i = 0; i < map->count; i++) {
        uint32_t unit = map->units[i];
        if (unit >> 31 ? (unit & 0x7fffffff) >= map->size : (i ^ offset_of(unit)) >= map->count)
            return clip_fail(error, "precompiled_charsmap: unit %zu of the trie points outside", i);
    }
    return 0;
}

/* The unit that a byte leads to from the one whose offset is `at`, or NULL. */
static const uint32_t *unit_of(const struct clip_charsmap *map, size_t at, unsigned char byte)
{
    at ^= byte;
    return at < map->count && (map->units[at] & 0x800000ff) == byte ? &map->units[at] : NULL;
}

/* 1 if the map has a text that begins with this character and another one of ASCII. */
static int is_joined(const struct clip_charsmap *map, unsigned char c)
{
    const uint32_t *unit = unit_of(map, offset_of(map->units[0]), c);
    int joined = 0;
    for (unsigned char next = 1; unit && next < 128; next++)
        joined |= unit_of(map, (size_t)(unit - map->units) ^ offset_of(*unit), next) != NULL;
    return joined;
}

int clip_charsmap_read(struct clip_charsmap *map, const void *data, size_t size, struct clip_error *error)
{
    uint32_t bytes;
    *map = (struct clip_charsmap){0};
    if (size < sizeof bytes)
        return clip_fail(error, "precompiled_charsmap is too short");
    memcpy(&bytes, data, sizeof bytes);
    bytes = le32toh(bytes);
    if (bytes % 4 != 0 || bytes == 0 || bytes > size - 4)
        return clip_fail(error, "precompiled_charsmap has a trie of %lu bytes, and %zu in all",
                         (unsigned long)bytes, size);
    map->count = bytes / 4;
    map->size = size - 4 - bytes;
    if (map->size == 0 || ((const char *)data)[size - 1] != 0) {
        map->size = 0;
        return clip_fail(error, "precompiled_charsmap has no text that ends");
    }
    map->units = malloc(bytes);
    map->texts = malloc(map->size);
    if (!map->units || !map->texts)
        return clip_fail_memory(error, "precompiled_charsmap");
    memcpy(map->units, (const char *)data + 4, bytes);
    memcpy(map->texts, (const char *)data + 4 + bytes, map->size);
    for (size_t i = 0; i < map->count; i++)
        map->units[i] = le32toh(map->units[i]);
    if (u8_check((const uint8_t *)map->texts, map->size))
        return clip_fail(error, "precompiled_charsmap has a text that is not UTF-8");
    if (check_units(map, error) != 0)
        return -1;
    for (int c = 1; c < 128; c++) {
        char text = (char)c;
        size_t length;
        const char *to = clip_charsmap_find(map, &text, 1, 1, &length);
        map->ascii[c] = to ? (char)(*to && !to[1] ? *to : 0) : text;
        map->plain[c] = (char)(is_joined(map, (unsigned char)c) ? 0 : map->ascii[c]);
    }
    return 0;
}

void clip_charsmap_free(struct clip_charsmap *map)
{
    free(map->units);
    free(map->texts);
    *map = (struct clip_charsmap){0};
}

const char *clip_charsmap_find(const struct clip_charsmap *map, const char *text, size_t n, int shortest,
                               size_t *length)
{
    const char *found = NULL;
    size_t at = map->count ? offset_of(map->units[0]) : 0;
    for (size_t i = 0; i < n && text[i] != 0; i++) {
        const uint32_t *unit = unit_of(map, at, (unsigned char)text[i]);
        if (!unit)
            break;
        at = (size_t)(unit - map->units) ^ offset_of(*unit);
        if (!(*unit >> 8 & 1) || at >= map->count || (map->units[at] & 0x7fffffff) >= map->size)
            continue;
        found = map->texts + (map->units[at] & 0x7fffffff);
        *length = i + 1;
        if (shortest)
            break;
    }
    return found;
}

/* Appends the character, or what it becomes. */
static int add_character(const struct clip_charsmap *map, const char *text, size_t n, struct clip_buffer *out,
                         struct clip_error *error)
{
    size_t length;
    const char *to = clip_charsmap_find(map, text, n, 1, &length);
    return to ? clip_buffer_add(out, to, strlen(to), error) : clip_buffer_add(out, text, n, error);
}

static int add_cluster(const struct clip_charsmap *map, const char *text, size_t n, struct clip_buffer *out,
                       struct clip_error *error)
{
    size_t length;
    const char *to = n < 6 ? clip_charsmap_find(map, text, n, 1, &length) : NULL;
    if (to)
        return clip_buffer_add(out, to, strlen(to), error);
    for (size_t i = 0; i < n; i += length) {
        uint32_t point;
        int taken = clip_utf8_read(&point, (const uint8_t *)text + i, n - i);
        length = (size_t)(taken > 0 ? taken : -taken);
        if (add_character(map, text + i, length, out, error) != 0)
            return -1;
    }
    return 0;
}

/* The end of the grapheme cluster at text[at]. Between ASCII characters there is always a break, but in CR
 * LF. */
static size_t cluster_end(const char *text, size_t n, size_t at)
{
    if (at + 1 == n || ((text[at] | text[at + 1]) & 0x80) == 0)
        return at + 1 + (at + 1 < n && text[at] == '\r' && text[at + 1] == '\n');
    const uint8_t *end = u8_grapheme_next((const uint8_t *)text + at, (const uint8_t *)text + n);
    return end ? (size_t)((const char *)end - text) : n;
}

int clip_charsmap_apply(const struct clip_charsmap *map, const char *text, size_t n, struct clip_buffer *out,
                        struct clip_error *error)
{
    if (clip_buffer_reserve(out, n, error) != 0)
        return -1;
    for (size_t i = 0, end; i < n; i = end) {
        end = cluster_end(text, n, i);
        char plain = end == i + 1 && !(text[i] & 0x80) ? map->ascii[(unsigned char)text[i]] : 0;
        if (plain && out->n + CLIP_TEXT_PADDING < out->room) {
            out->at[out->n++] = plain;
            continue;
        }
        if (add_cluster(map, text + i, end - i, out, error) != 0)
            return -1;
    }
    return 0;
}
