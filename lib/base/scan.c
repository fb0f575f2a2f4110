#include "base/scan.h"
#include "base/array.h"

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

enum { DEEPEST = 64 };

static int fail_scan(const struct clip_scan *scan, const char *what, struct clip_error *error)
{
    return clip_fail(error, "not JSON: %s at byte %td", what, scan->at - scan->begin);
}

void clip_scan_start(struct clip_scan *scan, const char *text, size_t size)
{
    *scan = (struct clip_scan){.begin = text, .at = text, .end = text + size};
}

void clip_scan_free(struct clip_scan *scan)
{
    free(scan->string);
    scan->string = NULL;
}

/* The next character that is not white space, or 0 at the end (a zero in the text is not JSON either). */
static char next_character(struct clip_scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
    return scan->at < scan->end ? *scan->at : 0;
}

int clip_scan_type(struct clip_scan *scan)
{
    char c = next_character(scan);
    if (c == '-' || (c >= '0' && c <= '9'))
        return '0';
    return c && strchr("{[\"tfn", c) ? c : 0;
}

static int take_character(struct clip_scan *scan, char wanted, const char *what, struct clip_error *error)
{
    if (next_character(scan) != wanted)
        return fail_scan(scan, what, error);
    scan->at++;
    return 0;
}

/* To the next one of what `open` and `close` enclose. */
static int next_item(struct clip_scan *scan, size_t *count, char open, char close, struct clip_error *error)
{
    if (*count == 0 && take_character(scan, open, open == '{' ? "no object" : "no array", error) != 0)
        return -1;
    if (next_character(scan) == close) {
        scan->at++;
        return 0;
    }
    return (*count)++ > 0 && take_character(scan, ',', "no comma", error) != 0 ? -1 : 1;
}

int clip_scan_element(struct clip_scan *scan, size_t *count, struct clip_error *error)
{
    return next_item(scan, count, '[', ']', error);
}

int clip_scan_member(struct clip_scan *scan, size_t *count, struct clip_error *error)
{
    int more = next_item(scan, count, '{', '}', error);
    if (more <= 0)
        return more;
    if (next_character(scan) != '"')
        return fail_scan(scan, "no name", error);
    return clip_scan_string(scan, error) != 0 || take_character(scan, ':', "no colon", error) != 0 ? -1 : 1;
}

/* --- strings --- */

/* The end of the string whose first quotation mark was passed, or NULL. */
static const char *string_end(struct clip_scan *scan)
{
    for (const char *p = scan->at; p < scan->end && (unsigned char)*p >= 0x20; p++) {
        if (*p == '"')
            return p;
        p += *p == '\\';
    }
    return NULL;
}

static int hex4(const char *text, const char *end, uint32_t *value)
{
    *value = 0;
    if (end - text < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)text[i] | 0x20;
        int digit = text[i] >= '0' && text[i] <= '9' ? text[i] - '0'
                    : c >= 'a' && c <= 'f'           ? c - 'a' + 10
                                                     : -1;
        if (digit < 0)
            return -1;
        *value = *value << 4 | (uint32_t)digit;
    }
    return 0;
}

/* The character of what is after "\u", a pair of surrogates where it is one. Returns the bytes read, or 0. */
static size_t read_unicode(const char *text, const char *end, uint32_t *point)
{
    uint32_t low;
    if (hex4(text, end, point) != 0 || (*point >= 0xdc00 && *point < 0xe000))
        return 0;
    if (*point < 0xd800 || *point >= 0xe000)
        return 4;
    if (end - text < 10 || text[4] != '\\' || text[5] != 'u' || hex4(text + 6, end, &low) != 0 ||
        low < 0xdc00 || low >= 0xe000)
        return 0;
    *point = 0x10000 + ((*point - 0xd800) << 10) + (low - 0xdc00);
    return 10;
}

/* Unescapes what is after a backslash to `out`. Returns the bytes read, or 0. */
static size_t unescape(const char *text, const char *end, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = text < end && *text ? strchr(from, *text) : NULL;
    uint32_t point;
    if (known) {
        *(*out)++ = to[known - from];
        return 1;
    }
    size_t taken = text < end && *text == 'u' ? read_unicode(text + 1, end, &point) : 0;
    if (taken == 0)
        return 0;
    *out += u8_uctomb((uint8_t *)*out, point, 4);
    return taken + 1;
}

int clip_scan_string(struct clip_scan *scan, struct clip_error *error)
{
    if (take_character(scan, '"', "no string", error) != 0)
        return -1;
    const char *end = string_end(scan);
    if (!end)
        return fail_scan(scan, "a string that does not end, or a control character in it", error);
    size_t size = (size_t)(end - scan->at);
    if (size + 8 > scan->room) {
        char *string = realloc(scan->string, 2 * size + 64);
        if (!string)
            return clip_fail_memory(error, "JSON");
        scan->string = string;
        scan->room = 2 * size + 64;
    }
    char *out = scan->string;
    for (const char *p = scan->at; p < end; p++) {
        if (*p != '\\') {
            *out++ = *p;
            continue;
        }
        size_t taken = unescape(p + 1, end, &out);
        if (taken == 0)
            return fail_scan(scan, "a wrong escape in the string", error);
        p += taken;
    }
    *out = 0;
    scan->length = (size_t)(out - scan->string);
    scan->at = end + 1;
    return 0;
}

/* --- other values --- */

/* The length of a number in JSON's form at the place of the scan, or 0. */
static size_t number_length(const struct clip_scan *scan)
{
    const char *p = scan->at, *end = scan->end;
    p += p < end && *p == '-';
    const char *digits = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == digits || (*digits == '0' && p - digits > 1))
        return 0;
    if (p < end && *p == '.') {
        digits = ++p;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (p == digits)
            return 0;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        digits = p;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (p == digits)
            return 0;
    }
    return (size_t)(p - scan->at);
}

int clip_scan_number(struct clip_scan *scan, double *value, struct clip_error *error)
{
    static const double powers[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    char text[400];
    next_character(scan);
    size_t length = number_length(scan);
    if (length == 0 || length >= sizeof text)
        return fail_scan(scan, "no number", error);
    memcpy(text, scan->at, length);
    text[length] = 0;
    if (length < CLIP_COUNT_OF(powers) && strspn(text, "0123456789") == length) {
        *value = 0; /* a small whole number, as ids are */
        for (size_t i = 0; i < length; i++)
            *value += (text[i] - '0') * powers[length - 1 - i];
    } else {
        locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (!plain)
            return clip_fail_memory(error, "JSON");
        *value = strtod_l(text, NULL, plain);
        freelocale(plain);
    }
    scan->at += length;
    return isfinite(*value) ? 0 : fail_scan(scan, "a number that is too large", error);
}

static int skip_word(struct clip_scan *scan, struct clip_error *error)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(scan->end - scan->at) >= length && memcmp(scan->at, words[i], length) == 0) {
            scan->at += length;
            return 0;
        }
    }
    return fail_scan(scan, "no value", error);
}

/* Skips a string, a number or a word. */
static int skip_plain(struct clip_scan *scan, int type, struct clip_error *error)
{
    if (type == '"') {
        scan->at++;
        const char *end = string_end(scan);
        if (!end)
            return fail_scan(scan, "a string that does not end, or a control character in it", error);
        scan->at = end + 1;
        return 0;
    }
    if (type != '0')
        return skip_word(scan, error);
    size_t length = number_length(scan);
    scan->at += length;
    return length ? 0 : fail_scan(scan, "no number", error);
}

int clip_scan_skip(struct clip_scan *scan, const char **text, size_t *size, struct clip_error *error)
{
    size_t counts[DEEPEST];
    char closes[DEEPEST];
    int depth = 0;
    next_character(scan);
    *text = scan->at;
    do {
        int type = clip_scan_type(scan);
        if (type == 0)
            return fail_scan(scan, "no value", error);
        if (type == '{' || type == '[') {
            if (depth == DEEPEST)
                return fail_scan(scan, "more than 64 values within each other", error);
            counts[depth] = 0;
            closes[depth++] = (char)type;
        } else if (skip_plain(scan, type, error) != 0) {
            return -1;
        }
        int more = 0;
        while (depth > 0 && more == 0) {
            more = closes[depth - 1] == '{' ? clip_scan_member(scan, &counts[depth - 1], error)
                                            : clip_scan_element(scan, &counts[depth - 1], error);
            if (more < 0)
                return -1;
            depth -= more == 0;
        }
    } while (depth > 0);
    *size = (size_t)(scan->at - *text);
    return 0;
}

int clip_scan_end(struct clip_scan *scan, struct clip_error *error)
{
    next_character(scan);
    return scan->at == scan->end ? 0 : fail_scan(scan, "something after the end", error);
}
