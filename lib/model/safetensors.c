/* The safetensors reader: u64 length, a JSON header, the data. The header is read by a parser of exactly its
 * form: a JSON library would keep the last of two equal names, where a header must be refused, and would
 * build objects many times the header's size from what a hostile file says. */
#include "model/forms.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

enum { MAX_HEADER = 100000000, MAX_STRING = 4096 }; /* the first is the format's own bound */

struct parser {
    const unsigned char *start, *p, *end;
    struct clip_error *error;
    char string[MAX_STRING]; /* the last string read, decoded */
    size_t length;
    int skipping;       /* strings are only checked, and may be of any length */
    const char *wanted; /* key of the metadata that is to be kept, or NULL */
    char *found;        /* its value */
};

static int bad(struct parser *parser, const char *what)
{
    return clip_fail(parser->error, "safetensors header: %s at byte %zu", what,
                     (size_t)(parser->p - parser->start));
}

static void skip_space(struct parser *parser)
{
    while (parser->p < parser->end && memchr(" \t\r\n", *parser->p, 4))
        parser->p++;
}

/* Takes the character c, after white space, if it is next. */
static int take_character(struct parser *parser, int c)
{
    skip_space(parser);
    if (parser->p == parser->end || *parser->p != c)
        return 0;
    parser->p++;
    return 1;
}

static int expect(struct parser *parser, int c)
{
    char what[] = "'x' expected";
    what[1] = (char)c;
    return take_character(parser, c) ? 0 : bad(parser, what);
}

static int append_character(struct parser *parser, ucs4_t c)
{
    if (parser->skipping)
        parser->length = 0;
    uint8_t *at = (uint8_t *)parser->string + parser->length;
    int n = u8_uctomb(at, c, (ptrdiff_t)(MAX_STRING - parser->length));
    if (n < 0)
        return bad(parser, n == -1 ? "a lone surrogate" : "a string that is too long");
    parser->length += (size_t)n;
    return 0;
}

static int read_hex(struct parser *parser, ucs4_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, parser->p++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = parser->p < parser->end && *parser->p ? strchr(digits, *parser->p) : NULL;
        if (!digit)
            return bad(parser, "four hexadecimal digits expected");
        ucs4_t n = (ucs4_t)(digit - digits);
        *value = *value << 4 | (n < 16 ? n : n - 6);
    }
    return 0;
}

static int read_escape(struct parser *parser)
{
    static const char codes[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    int c = parser->p < parser->end ? *parser->p++ : 0;
    const char *code = c ? strchr(codes, c) : NULL;
    if (code)
        return append_character(parser, (ucs4_t)means[code - codes]);
    ucs4_t high, low;
    if (c != 'u')
        return bad(parser, "an unknown escape");
    if (read_hex(parser, &high) != 0)
        return -1;
    if (high < 0xd800 || high >= 0xdc00)
        return append_character(parser, high);
    if (parser->end - parser->p < 2 || memcmp(parser->p, "\\u", 2) != 0)
        return bad(parser, "a lone surrogate");
    parser->p += 2;
    if (read_hex(parser, &low) != 0)
        return -1;
    if (low < 0xdc00 || low >= 0xe000)
        return bad(parser, "a lone surrogate");
    return append_character(parser, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
}

/* Reads a string into parser->string[length]. */
static int read_string(struct parser *parser)
{
    parser->length = 0;
    if (expect(parser, '"') != 0)
        return -1;
    while (parser->p < parser->end && *parser->p != '"') {
        ucs4_t c;
        if (*parser->p < 0x20)
            return bad(parser, "a control character");
        if (*parser->p == '\\') {
            parser->p++;
            if (read_escape(parser) != 0)
                return -1;
            continue;
        }
        int n = u8_mbtoucr(&c, parser->p, (size_t)(parser->end - parser->p));
        if (n < 0)
            return bad(parser, "a byte that is not UTF-8");
        if (append_character(parser, c) != 0)
            return -1;
        parser->p += n;
    }
    return expect(parser, '"');
}

static int read_number(struct parser *parser, size_t *value)
{
    skip_space(parser);
    const unsigned char *first = parser->p;
    *value = 0;
    for (; parser->p < parser->end && *parser->p >= '0' && *parser->p <= '9'; parser->p++)
        if (__builtin_mul_overflow(*value, (size_t)10, value) ||
            __builtin_add_overflow(*value, (size_t)(*parser->p - '0'), value))
            return bad(parser, "a number that overflows");
    if (parser->p == first || (*first == '0' && parser->p - first > 1))
        return bad(parser, "a whole number expected");
    return 0;
}

/* "[1, 2 ...]": at most `room` numbers. */
static int read_numbers(struct parser *parser, size_t *values, int room, int *count)
{
    *count = 0;
    if (expect(parser, '[') != 0)
        return -1;
    if (take_character(parser, ']'))
        return 0;
    do {
        if (*count == room)
            return bad(parser, "too many numbers");
        if (read_number(parser, &values[(*count)++]) != 0)
            return -1;
    } while (take_character(parser, ','));
    return expect(parser, ']');
}

static int is_string(const struct parser *parser, const char *text)
{
    return parser->length == strlen(text) && memcmp(parser->string, text, parser->length) == 0;
}

static int read_type(struct parser *parser, enum clip_weight_type *type)
{
    if (read_string(parser) != 0)
        return -1;
    for (int i = 0; i < CLIP_WEIGHT_TYPES; i++)
        if (is_string(parser, clip_weight_type_name((enum clip_weight_type)i))) {
            *type = (enum clip_weight_type)i;
            return 0;
        }
    char text[40];
    return clip_fail(parser->error, "safetensors header: dtype %s is not supported",
                     clip_printable(text, sizeof text, parser->string, parser->length));
}

/* What the header says of a tensor. */
struct entry {
    enum clip_weight_type type;
    int ndim;
    size_t shape[CLIP_WEIGHT_DIMENSIONS], offsets[2];
};

/* "{dtype, shape, data_offsets}", each once, in any order. */
static int read_entry(struct parser *parser, struct entry *entry)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    unsigned seen = 0;
    if (expect(parser, '{') != 0)
        return -1;
    do {
        if (read_string(parser) != 0 || expect(parser, ':') != 0)
            return -1;
        unsigned key = is_string(parser, "dtype")          ? DTYPE
                       : is_string(parser, "shape")        ? SHAPE
                       : is_string(parser, "data_offsets") ? OFFSETS
                                                           : 0;
        int count = 2, result;
        if (!key || seen & key)
            return bad(parser, key ? "a key that occurs twice" : "an unknown key");
        seen |= key;
        if (key == DTYPE)
            result = read_type(parser, &entry->type);
        else if (key == SHAPE)
            result = read_numbers(parser, entry->shape, CLIP_WEIGHT_DIMENSIONS, &entry->ndim);
        else
            result = read_numbers(parser, entry->offsets, 2, &count);
        if (result != 0)
            return -1;
        if (count != 2)
            return bad(parser, "two data_offsets expected");
    } while (take_character(parser, ','));
    if (seen != (DTYPE | SHAPE | OFFSETS))
        return bad(parser, "dtype, shape or data_offsets is missing");
    return expect(parser, '}');
}

/* "{string: string ...}", of which one may be wanted. Others put long texts there. */
static int read_metadata(struct parser *parser)
{
    if (expect(parser, '{') != 0)
        return -1;
    if (take_character(parser, '}'))
        return 0;
    do {
        if (read_string(parser) != 0 || expect(parser, ':') != 0)
            return -1;
        int wanted = parser->wanted && !parser->found && is_string(parser, parser->wanted);
        parser->skipping = !wanted;
        int result = read_string(parser);
        parser->skipping = 0;
        if (result != 0)
            return -1;
        if (wanted && !memchr(parser->string, 0, parser->length))
            parser->found = strndup(parser->string, parser->length);
    } while (take_character(parser, ','));
    return expect(parser, '}');
}

/* dtype times shape must be what the offsets say, and lie in [size]. The message does not name the tensor. */
static int check_entry(const struct entry *entry, size_t size, struct clip_error *error)
{
    size_t bytes = clip_weight_size(entry->type), begin = entry->offsets[0], end = entry->offsets[1];
    if (begin > end || end > size)
        return clip_fail(error, "bytes %zu to %zu of %zu: the file is truncated, or its header is wrong",
                         begin, end, size);
    for (int i = 0; i < entry->ndim; i++)
        if (__builtin_mul_overflow(bytes, entry->shape[i], &bytes))
            return clip_fail(error, "its shape overflows");
    if (bytes != end - begin)
        return clip_fail(error, "its shape needs %zu bytes, its offsets hold %zu", bytes, end - begin);
    return 0;
}

/* Adds the tensor, which lies in data[size]. */
static int add_entry(struct parser *parser, struct clip_weights *weights, const char *name, size_t length,
                     const struct entry *entry, const unsigned char *data, size_t size)
{
    char text[200];
    if (check_entry(entry, size, parser->error) != 0)
        return clip_fail_prefix(parser->error, "tensor %s", clip_printable(text, sizeof text, name, length));
    return clip_weights_add(weights, name, length, entry->type, entry->ndim, entry->shape, NULL,
                            data + entry->offsets[0], entry->offsets[1] - entry->offsets[0], parser->error);
}

static int read_header(struct parser *parser, struct clip_weights *weights, const unsigned char *data,
                       size_t size)
{
    char name[MAX_STRING];
    int metadata = 0;
    if (expect(parser, '{') != 0)
        return -1;
    if (take_character(parser, '}'))
        return 0;
    do {
        if (read_string(parser) != 0 || expect(parser, ':') != 0)
            return -1;
        if (is_string(parser, "__metadata__")) {
            if (metadata++)
                return bad(parser, "__metadata__ occurs twice");
            if (read_metadata(parser) != 0 || parser->wanted) /* nothing else is wanted then */
                return -1;
            continue;
        }
        struct entry entry;
        size_t length = parser->length;
        memcpy(name, parser->string, length);
        if (read_entry(parser, &entry) != 0 ||
            add_entry(parser, weights, name, length, &entry, data, size) != 0)
            return -1;
    } while (take_character(parser, ','));
    return expect(parser, '}');
}

static int compare_places(const void *a, const void *b)
{
    const struct clip_weight *x = *(const struct clip_weight *const *)a,
                             *y = *(const struct clip_weight *const *)b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    size_t n = clip_weight_count(x), m = clip_weight_count(y); /* an empty one comes first */
    return (n > m) - (n < m);
}

/* As the format's own reader requires: tensors are adjacent, without gaps or overlaps, and fill the file. */
static int check_places(const struct clip_weights *weights, const unsigned char *data, size_t size,
                        struct clip_error *error)
{
    const struct clip_weight **order = reallocarray(NULL, weights->count + 1, sizeof *order);
    if (!order)
        return clip_fail_memory(error, "the order of tensors");
    for (size_t i = 0; i < weights->count; i++)
        order[i] = &weights->items[i];
    qsort(order, weights->count, sizeof *order, compare_places);
    const unsigned char *end = data;
    int result = 0;
    for (size_t i = 0; i < weights->count && result == 0; i++) {
        const struct clip_weight *weight = order[i];
        char text[200];
        if (weight->data != end)
            result = clip_fail(error, "tensor %s: %s at byte %zu of the data",
                               clip_printable(text, sizeof text, weight->name, strlen(weight->name)),
                               weight->data < end ? "overlaps another" : "follows a gap",
                               (size_t)(weight->data - data));
        end = weight->data + clip_weight_count(weight) * clip_weight_size(weight->type);
    }
    if (result == 0 && end != data + size)
        result = clip_fail(error, "%zu bytes after the last tensor", (size_t)(data + size - end));
    free(order);
    return result;
}

/* The header, and the tensors it lists. */
static int read_file(struct parser *parser, struct clip_weights *weights, const unsigned char *data,
                     size_t size)
{
    uint64_t length;
    if (size < sizeof length)
        return clip_fail(parser->error, "cut: %zu bytes are not a safetensors file", size);
    memcpy(&length, data, sizeof length);
    if (length > MAX_HEADER || length > size - sizeof length)
        return clip_fail(parser->error,
                         "a safetensors header of %llu bytes in a file of %zu: the file is truncated, or its "
                         "header is wrong",
                         (unsigned long long)length, size);
    parser->start = parser->p = data + sizeof length;
    parser->end = parser->start + length;
    size_t rest = size - sizeof length - (size_t)length;
    if (read_header(parser, weights, parser->end, rest) != 0)
        return -1;
    skip_space(parser);
    if (parser->p != parser->end)
        return bad(parser, "something after its end");
    return check_places(weights, parser->end, rest, parser->error);
}

int clip_safetensors_read(struct clip_weights *weights, const unsigned char *data, size_t size,
                          struct clip_error *error)
{
    struct parser parser = {.error = error};
    return read_file(&parser, weights, data, size);
}

char *clip_safetensors_metadata(const unsigned char *data, size_t size, const char *key)
{
    struct clip_error ignored; /* the file was read already */
    struct clip_weights weights = {0};
    struct parser parser = {.error = &ignored, .wanted = key};
    (void)read_file(&parser, &weights, data, size);
    clip_weights_free(&weights);
    return parser.found;
}
