#include "stream/print.h"
#include "base/array.h"
#include "stream/msgpack.h"
#include "stream/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

enum { FIRST_ELEMENTS = 8, FIRST_BYTES = 16, FIRST_TEXT = 100 };

/* --- text --- */

/* The character at text[0..size), 0xFFFD where there is none; returns its bytes. */
static size_t next_character(const char *text, size_t size, ucs4_t *c)
{
    int n = u8_mbtoucr(c, (const uint8_t *)text, size);
    if (n > 0)
        return (size_t)n;
    *c = 0xFFFD;
    return 1;
}

static void put_character(FILE *out, ucs4_t c)
{
    uint8_t bytes[6];
    fwrite(bytes, 1, (size_t)u8_uctomb(bytes, c, sizeof bytes), out);
}

void clip_print_string(FILE *out, const char *text, size_t size)
{
    static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    ucs4_t c;
    fputc('"', out);
    for (size_t i = 0; i < size;) {
        i += next_character(text + i, size - i, &c);
        const char *escape = c && c < 0x80 ? strchr(special, (int)c) : NULL;
        if (escape)
            fprintf(out, "\\%c", letters[escape - special]);
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            fprintf(out, "\\u%04x", (unsigned)c);
        else
            put_character(out, c);
    }
    fputc('"', out);
}

void clip_print_line(FILE *out, const char *text, size_t size)
{
    ucs4_t c;
    for (size_t i = 0; i < size;) {
        i += next_character(text + i, size - i, &c);
        put_character(out, c < 0x20 || (c >= 0x7f && c < 0xa0) ? 0xFFFD : c);
    }
}

void clip_print_cell(FILE *out, const char *text, size_t size)
{
    static const char special[] = "\t\n\r\\", letters[] = "tnr\\";
    ucs4_t c;
    for (size_t i = 0; i < size;) {
        i += next_character(text + i, size - i, &c);
        const char *escape = c && c < 0x80 ? strchr(special, (int)c) : NULL;
        if (escape)
            fprintf(out, "\\%c", letters[escape - special]);
        else
            put_character(out, c ? c : 0xFFFD);
    }
}

/* --- numbers --- */

static int print_unusual(FILE *out, double value)
{
    if (isfinite(value))
        return 0;
    fputs(isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"", out);
    return 1;
}

void clip_print_float(FILE *out, float value)
{
    char text[32];
    if (print_unusual(out, (double)value))
        return;
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

void clip_print_real(FILE *out, double value)
{
    char text[32];
    if (print_unusual(out, value))
        return;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

/* --- bytes --- */

static void print_hex(FILE *out, const uint8_t *data, size_t size, size_t shown)
{
    fputs("\"hex\":\"", out);
    for (size_t i = 0; i < size && i < shown; i++)
        fprintf(out, "%02x", data[i]);
    fputs(size > shown ? "...\"" : "\"", out);
}

/* The name of the file format of these bytes, or NULL. */
static const char *file_type(const uint8_t *data, size_t size)
{
    static const struct {
        size_t at, size;
        const char *magic, *type;
    } types[] = {{0, 3, "\xff\xd8\xff", "jpeg"}, {0, 8, "\x89PNG\r\n\x1a\n", "png"},
                 {8, 4, "WEBP", "webp"},         {0, 4, "GIF8", "gif"},
                 {0, 6, "\x93NUMPY", "npy"},     {0, 2, "\x1f\x8b", "gzip"},
                 {0, 4, "PK\3\4", "zip"}};
    for (size_t i = 0; i < CLIP_COUNT_OF(types); i++)
        if (size >= types[i].at + types[i].size &&
            memcmp(data + types[i].at, types[i].magic, types[i].size) == 0)
            return types[i].type;
    return NULL;
}

/* 1 if the bytes are UTF-8 without control characters other than white space. */
static int is_text(const char *data, size_t size)
{
    for (size_t i = 0; i < size;) {
        ucs4_t c;
        int n = u8_mbtoucr(&c, (const uint8_t *)data + i, size - i);
        if (n < 1 || c == 0x7f || (c < 0x20 && !(c >= '\t' && c <= '\r')))
            return 0;
        i += (size_t)n;
    }
    return 1;
}

static void print_bin(FILE *out, const char *data, size_t size, int whole)
{
    fprintf(out, "{\"bin\":%zu,", size);
    const char *type = file_type((const uint8_t *)data, size);
    if (!type && is_text(data, size)) {
        size_t shown = 0;
        ucs4_t c;
        while (shown < size && (whole || shown < FIRST_TEXT))
            shown += next_character(data + shown, size - shown, &c);
        fputs(shown < size ? "\"begins\":" : "\"text\":", out);
        clip_print_string(out, data, shown);
    } else {
        if (type)
            fprintf(out, "\"type\":\"%s\",", type);
        print_hex(out, (const uint8_t *)data, size, whole ? size : FIRST_BYTES);
    }
    fputc('}', out);
}

/* --- tensors --- */

static void print_element(FILE *out, const struct clip_tensor *tensor, size_t i)
{
    double value = clip_tensor_value(tensor, i);
    uint64_t bits;
    switch (tensor->dtype) {
    case CLIP_BOOL:
        fputs(value != 0 ? "true" : "false", out);
        break;
    case CLIP_F16:
    case CLIP_F32:
        clip_print_float(out, (float)value);
        break;
    case CLIP_I64:
    case CLIP_U64: /* a double cannot hold all of them */
        memcpy(&bits, (const char *)tensor->data + 8 * i, sizeof bits);
        fprintf(out, tensor->dtype == CLIP_I64 ? "%lld" : "%llu", (long long)bits);
        break;
    default:
        clip_print_real(out, value);
    }
}

/* Prints the elements from *at on, nested as dimensions [dimension, ndim) say. */
static void print_nested(FILE *out, const struct clip_tensor *tensor, int dimension, size_t *at)
{
    if (dimension == tensor->ndim) {
        print_element(out, tensor, (*at)++);
        return;
    }
    fputc('[', out);
    for (size_t i = 0; i < tensor->shape[dimension]; i++) {
        if (i)
            fputc(',', out);
        print_nested(out, tensor, dimension + 1, at);
    }
    fputc(']', out);
}

static void print_tensor(FILE *out, const struct clip_tensor *tensor, int whole)
{
    size_t count = clip_tensor_count(tensor), at = 0;
    fprintf(out, "{\"tensor\":\"%s\",\"shape\":[", clip_dtype_name(tensor->dtype) + 1);
    for (int i = 0; i < tensor->ndim; i++)
        fprintf(out, i ? ",%zu" : "%zu", tensor->shape[i]);
    if (whole && count > 0) {
        fputs("],\"values\":", out);
        print_nested(out, tensor, 0, &at);
    } else {
        fputs(whole ? "],\"values\":[" : "],\"first\":[", out);
        for (size_t i = 0; i < count && i < FIRST_ELEMENTS; i++) {
            if (i)
                fputc(',', out);
            print_element(out, tensor, i);
        }
        fputc(']', out);
    }
    fputc('}', out);
}

/* --- any value --- */

static size_t print_object(FILE *out, const uint8_t *p, size_t size, int whole);

/* Number of bytes of the complete object at p. */
static size_t object_size(const uint8_t *p, size_t size)
{
    struct clip_head head;
    size_t at = 0;
    for (uint64_t left = 1; left > 0; left--) {
        if (clip_head_read(&head, p + at, size - at) != 1)
            return size;
        int container = head.kind == CLIP_ARRAY || head.kind == CLIP_MAP;
        at += head.head + (container ? 0 : head.length);
        left += container ? head.length * (head.kind == CLIP_MAP ? 2 : 1) : 0;
    }
    return at;
}

static int all_keys_are_strings(const uint8_t *p, size_t size, uint64_t entries)
{
    struct clip_head head;
    for (uint64_t i = 0; i < entries; i++) {
        if (clip_head_read(&head, p, size) != 1 || head.kind != CLIP_STR)
            return 0;
        for (int half = 0; half < 2; half++) {
            size_t step = object_size(p, size);
            p += step;
            size -= step;
        }
    }
    return 1;
}

static size_t print_map(FILE *out, const uint8_t *p, size_t size, const struct clip_head *head, int whole)
{
    size_t at = head->head;
    int plain = all_keys_are_strings(p + at, size - at, head->length);
    fputs(plain ? "{" : "{\"map\":[", out);
    for (uint64_t i = 0; i < head->length; i++) {
        fputs(i ? plain ? "," : ",[" : plain ? "" : "[", out);
        at += print_object(out, p + at, size - at, whole);
        fputc(plain ? ':' : ',', out);
        at += print_object(out, p + at, size - at, whole);
        fputs(plain ? "" : "]", out);
    }
    fputs(plain ? "}" : "]}", out);
    return at;
}

static size_t print_array(FILE *out, const uint8_t *p, size_t size, const struct clip_head *head, int whole)
{
    size_t at = head->head;
    fputc('[', out);
    for (uint64_t i = 0; i < head->length; i++) {
        if (i)
            fputc(',', out);
        at += print_object(out, p + at, size - at, whole);
    }
    fputc(']', out);
    return at;
}

/* Prints the object at p, which is complete and not nested deeper than the reader allows; returns its
 * number of bytes. */
static size_t print_object(FILE *out, const uint8_t *p, size_t size, int whole)
{
    struct clip_head head;
    struct clip_tensor tensor;
    struct clip_error ignored;
    if (clip_head_read(&head, p, size) != 1)
        return size;
    const uint8_t *body = p + head.head;
    struct clip_field field = {.name = "", .value = p, .size = size};
    switch (head.kind) {
    case CLIP_NIL:
        fputs("null", out);
        break;
    case CLIP_BOOLEAN:
        fputs(head.integer ? "true" : "false", out);
        break;
    case CLIP_INTEGER:
        fprintf(out, "%lld", (long long)head.integer);
        break;
    case CLIP_NATURAL:
        fprintf(out, "%llu", (unsigned long long)head.integer);
        break;
    case CLIP_REAL:
        if (p[0] == 0xca)
            clip_print_float(out, (float)head.real);
        else
            clip_print_real(out, head.real);
        break;
    case CLIP_STR:
        clip_print_string(out, (const char *)body, head.length);
        return head.head + head.length;
    case CLIP_BIN:
        print_bin(out, (const char *)body, head.length, whole);
        return head.head + head.length;
    case CLIP_EXT: /* its type byte comes first */
        fprintf(out, "{\"ext\":%d,", (int8_t)body[0]);
        print_hex(out, body + 1, head.length - 1, whole ? SIZE_MAX : FIRST_BYTES);
        fputc('}', out);
        return head.head + head.length;
    case CLIP_ARRAY:
        return print_array(out, p, size, &head, whole);
    case CLIP_MAP:
        field.size = object_size(p, size);
        if (!clip_field_is_tensor(&field) || clip_field_tensor(&field, &tensor, &ignored) != 0)
            return print_map(out, p, size, &head, whole);
        print_tensor(out, &tensor, whole);
        return field.size;
    }
    return head.head;
}

void clip_print_value(FILE *out, const uint8_t *value, size_t size, int whole)
{
    print_object(out, value, size, whole);
}
