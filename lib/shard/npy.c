#include "shard/npy.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64
#define MOST_DIGITS 21 /* the room that NumPy leaves for the first dimension */

size_t clip_npy_header(char *out, enum clip_dtype dtype, int ndim, const uint64_t *shape)
{
    char text[CLIP_NPY_HEADER];
    int used = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                        clip_dtype_name(dtype));
    int first = 0; /* digits of the first dimension */
    for (int i = 0; i < ndim; i++) {
        int n = snprintf(text + used, sizeof text - (size_t)used, i ? ", %" PRIu64 : "%" PRIu64, shape[i]);
        first = i ? first : n;
        used += n;
    }
    used += snprintf(text + used, sizeof text - (size_t)used, ndim == 1 ? ",), }" : "), }");
    size_t least = 10 + (size_t)used + (ndim ? (size_t)(MOST_DIGITS - first) : 0) + 1;
    size_t size = (least + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((size - 10) & 255);
    out[9] = (char)((size - 10) >> 8);
    memset(out + 10, ' ', size - 10);
    memcpy(out + 10, text, (size_t)used);
    out[size - 1] = '\n';
    return size;
}

static int write_header(struct clip_npy *npy, struct clip_error *error)
{
    char header[CLIP_NPY_HEADER];
    size_t size = clip_npy_header(header, npy->dtype, npy->ndim, npy->shape);
    return fwrite(header, 1, size, npy->file) == size ? 0 : clip_fail_errno(error, "writing an array");
}

/* The first record determines the type and shape of all. */
static int begin_array(struct clip_npy *npy, const struct clip_tensor *tensor, struct clip_error *error)
{
    npy->dtype = tensor->dtype;
    npy->ndim = tensor->ndim + 1;
    for (int i = 0; i < tensor->ndim; i++)
        npy->shape[i + 1] = tensor->shape[i];
    return write_header(npy, error);
}

static int is_alike(const struct clip_npy *npy, const struct clip_tensor *tensor)
{
    int alike = npy->dtype == tensor->dtype && npy->ndim == tensor->ndim + 1;
    for (int i = 0; alike && i < tensor->ndim; i++)
        alike = npy->shape[i + 1] == tensor->shape[i];
    return alike;
}

int clip_npy_add(struct clip_npy *npy, struct clip_record *record, const char *name, struct clip_error *error)
{
    const struct clip_field *field = clip_record_find(record, name);
    struct clip_tensor tensor;
    struct clip_error why;
    char text[200];
    if (!field)
        clip_record_fail(record, "no field '%s'", name);
    else if (clip_field_tensor(field, &tensor, &why) != 0)
        clip_record_fail(record, "%s", why.text);
    else if (npy->shape[0] > 0 && !is_alike(npy, &tensor))
        clip_record_fail(record, "field '%s' is %s, unlike the first record's", name,
                         clip_tensor_describe(&tensor, text, sizeof text));
    if (record->bad)
        return 0;
    if (npy->shape[0] == 0 && begin_array(npy, &tensor, error) != 0)
        return -1;
    size_t size = clip_tensor_bytes(&tensor);
    if (size && fwrite(tensor.data, 1, size, npy->file) != size)
        return clip_fail_errno(error, "writing an array");
    npy->shape[0]++;
    return 0;
}

int clip_npy_end(struct clip_npy *npy, struct clip_error *error)
{
    if (npy->shape[0] == 0)
        return clip_fail(error, "no record: an array without one has no shape");
    if (fflush(npy->file) != 0 || fseeko(npy->file, 0, SEEK_SET) != 0)
        return clip_fail_errno(error, "writing an array");
    return write_header(npy, error);
}

/* --- reading --- */

/* The header is a dictionary as Python writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 */
struct text {
    const char *at, *end;
};

static void skip_blanks(struct text *text)
{
    while (text->at < text->end && isspace((unsigned char)*text->at))
        text->at++;
}

/* Skips the word, if it comes next. */
static int take_word(struct text *text, const char *word)
{
    size_t size = strlen(word);
    skip_blanks(text);
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0)
        return 0;
    text->at += size;
    return 1;
}

/* A string in quotes without escapes. -1 where there is none. */
static int take_string(struct text *text, const char **begin, size_t *size)
{
    skip_blanks(text);
    if (text->at == text->end || (*text->at != '\'' && *text->at != '"'))
        return -1;
    const char *end = memchr(text->at + 1, *text->at, (size_t)(text->end - text->at - 1));
    if (!end)
        return -1;
    *begin = text->at + 1;
    *size = (size_t)(end - *begin);
    text->at = end + 1;
    return 0;
}

static int take_shape(struct text *text, struct clip_npy_array *array, struct clip_error *error)
{
    if (!take_word(text, "("))
        return clip_fail(error, "a malformed .npy header: no shape");
    for (array->ndim = 0; !take_word(text, ")"); array->ndim++) {
        size_t value = 0;
        const char *begin = (skip_blanks(text), text->at);
        if (array->ndim == CLIP_MAX_DIMENSIONS)
            return clip_fail(error, "an array of more than %d dimensions", CLIP_MAX_DIMENSIONS);
        for (; text->at < text->end && isdigit((unsigned char)*text->at); text->at++)
            if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, (size_t)(*text->at - '0'), &value))
                return clip_fail(error, "an array that is too large");
        if (text->at == begin)
            return clip_fail(error, "a malformed .npy header: no shape");
        take_word(text, "L"); /* a long number of Python 2 */
        array->shape[array->ndim] = value;
        if (!take_word(text, ",") && !(skip_blanks(text), text->at < text->end && *text->at == ')'))
            return clip_fail(error, "a malformed .npy header: no shape");
    }
    return 0;
}

/* '|V2', or '<V2' as of ml_dtypes */
static int is_bfloat16(const char *type, size_t size)
{
    return size == 3 && (type[0] == '|' || type[0] == '<') && memcmp(type + 1, "V2", 2) == 0;
}

static int take_type(struct text *text, struct clip_npy_array *array, int bfloat16, struct clip_error *error)
{
    const char *type;
    size_t size;
    char name[4] = "", shown[60];
    if (take_word(text, "["))
        return clip_fail(error, "an array of structures, which is not supported");
    if (take_string(text, &type, &size) != 0)
        return clip_fail(error, "a malformed .npy header: no descr");
    array->bfloat16 = bfloat16 && is_bfloat16(type, size);
    if (array->bfloat16) {
        array->dtype = CLIP_U16;
        return 0;
    }
    if (size == 3)
        memcpy(name, type, 3);
    array->swapped = name[0] == '>';
    if (array->swapped)
        name[0] = name[2] == '1' ? '|' : '<';
    if (clip_dtype_parse(name, strlen(name), &array->dtype) == 0)
        return 0;
    return clip_fail(error, "an array of type '%s', which is not supported",
                     clip_printable(shown, sizeof shown, type, size));
}

static int read_header(struct clip_npy_array *array, struct text *text, int bfloat16,
                       struct clip_error *error)
{
    const char *key;
    size_t size;
    int seen = 0;
    if (!take_word(text, "{"))
        return clip_fail(error, "a malformed .npy header");
    while (!take_word(text, "}")) {
        if (take_string(text, &key, &size) != 0 || !take_word(text, ":"))
            return clip_fail(error, "a malformed .npy header");
        if (size == 5 && memcmp(key, "descr", 5) == 0) {
            seen |= 1;
            if (take_type(text, array, bfloat16, error) != 0)
                return -1;
        } else if (size == 5 && memcmp(key, "shape", 5) == 0) {
            seen |= 2;
            if (take_shape(text, array, error) != 0)
                return -1;
        } else if (size == 13 && memcmp(key, "fortran_order", 13) == 0) {
            seen |= 4;
            array->fortran = take_word(text, "True");
            if (!array->fortran && !take_word(text, "False"))
                return clip_fail(error, "a malformed .npy header: no fortran_order");
        } else {
            return clip_fail(error, "a malformed .npy header: a key that is not known");
        }
        if (!take_word(text, ",") && !(skip_blanks(text), text->at < text->end && *text->at == '}'))
            return clip_fail(error, "a malformed .npy header");
    }
    return seen == 7 ? 0
                     : clip_fail(error, "a malformed .npy header: descr, fortran_order or shape is missing");
}

/* Bytes of the elements; -1 if the number overflows. */
static int count_bytes(const struct clip_npy_array *array, size_t *bytes)
{
    int none = 0;
    *bytes = clip_dtype_size(array->dtype);
    for (int i = 0; i < array->ndim; i++) {
        if (array->shape[i] == 0)
            none = 1;
        else if (__builtin_mul_overflow(*bytes, array->shape[i], bytes))
            return -1;
    }
    if (none)
        *bytes = 0;
    return 0;
}

int clip_npy_read(struct clip_npy_array *array, const uint8_t *bytes, size_t size, uint64_t total,
                  int bfloat16, struct clip_error *error)
{
    size_t begin, length, want;
    *array = (struct clip_npy_array){0};
    if (size == 0)
        return clip_fail(error, "an empty .npy file");
    if (size < 6 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return 0;
    if (size < 12)
        return clip_fail(error, "a .npy file that is cut in its header");
    if (bytes[6] < 1 || bytes[6] > 3)
        return clip_fail(error, "a .npy file of version %d, which is not supported", bytes[6]);
    begin = bytes[6] == 1 ? 10 : 12;
    length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (begin == 12)
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > CLIP_NPY_MOST - 12)
        return clip_fail(error, "a .npy file with a header of %zu bytes", length);
    if (length > size - begin)
        return clip_fail(error, "a .npy file that is cut in its header");
    struct text text = {(const char *)bytes + begin, (const char *)bytes + begin + length};
    if (read_header(array, &text, bfloat16, error) != 0)
        return -1;
    array->data = bytes + begin + length;
    if (count_bytes(array, &want) != 0 || want != total - begin - length)
        return clip_fail(error, "a .npy file that is cut, or too long: its array does not take %llu bytes",
                         (unsigned long long)(total - begin - length));
    return 1;
}

static void copy_element(uint8_t *to, const uint8_t *from, size_t size, int swapped)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[swapped ? size - 1 - i : i];
}

int clip_npy_tensor(const struct clip_npy_array *array, struct clip_tensor *tensor, uint8_t **owned,
                    struct clip_error *error)
{
    size_t size = clip_dtype_size(array->dtype), index[CLIP_MAX_DIMENSIONS] = {0};
    *owned = NULL;
    *tensor = (struct clip_tensor){.dtype = array->dtype, .ndim = array->ndim, .data = array->data};
    memcpy(tensor->shape, array->shape, sizeof tensor->shape);
    if (!array->fortran && !array->swapped)
        return 0;
    size_t count = clip_tensor_count(tensor);
    uint8_t *out = *owned = malloc(count * size + 1);
    if (!out)
        return clip_fail_memory(error, "an array");
    for (size_t i = 0; i < count; i++) {
        size_t from = i;
        if (array->fortran) {
            from = 0;
            for (int d = array->ndim; d-- > 0;)
                from = from * array->shape[d] + index[d];
            for (int d = array->ndim; d-- > 0 && ++index[d] == array->shape[d];)
                index[d] = 0;
        }
        copy_element(out + i * size, array->data + from * size, size, array->swapped);
    }
    tensor->data = out;
    return 0;
}
