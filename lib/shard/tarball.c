#include "shard/tarball.h"
#include "shard/npy.h"
#include "shard/sample.h"
#include "shard/tar.h"
#include "stream/msgpack.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK CLIP_TAR_BLOCK
#define NAME_SIZE 100
#define PREFIX_SIZE 155
#define MAX_SIZE (((uint64_t)1 << 33) - 1) /* eleven octal digits */

/* A member to be written: its extension, and its data in two parts. */
struct part {
    char *extension;
    size_t extension_size;
    char head[CLIP_NPY_HEADER]; /* an array's header, or a number as text */
    size_t head_size;
    const void *data;
    size_t size;
};

/* --- headers --- */

static void put_octal(uint8_t *at, int digits, uint64_t value)
{
    while (digits-- > 0) {
        at[digits] = (uint8_t)('0' + (value & 7));
        value >>= 3;
    }
}

/* Splits a name for ustar: the number of bytes that go into the prefix; the slash after them is dropped.
 * -1 if the name is too long. */
static int split_prefix(const char *name, size_t size, size_t *prefix)
{
    *prefix = 0;
    if (size <= NAME_SIZE)
        return 0;
    for (size_t i = size - NAME_SIZE - 1; i <= PREFIX_SIZE && i + 1 < size; i++)
        if (name[i] == '/' && i > 0) {
            *prefix = i;
            return 0;
        }
    return -1;
}

static int write_bytes(struct clip_tarball *tarball, const void *data, size_t size, struct clip_error *error)
{
    if (size && fwrite(data, 1, size, tarball->file) != size)
        return clip_fail_errno(error, "writing an archive");
    return 0;
}

static int write_padding(struct clip_tarball *tarball, uint64_t size, struct clip_error *error)
{
    static const uint8_t zeros[BLOCK];
    return write_bytes(tarball, zeros, (size_t)(-size % BLOCK), error);
}

static int write_header(struct clip_tarball *tarball, const char *name, size_t name_size, size_t prefix,
                        char type, uint64_t size, struct clip_error *error)
{
    uint8_t block[BLOCK] = {0};
    unsigned sum = 0;
    size_t begin = prefix ? prefix + 1 : 0, rest = name_size - begin;
    memcpy(block, name + begin, rest < NAME_SIZE ? rest : NAME_SIZE);
    put_octal(block + 100, 7, 0444);
    put_octal(block + 108, 7, 0);
    put_octal(block + 116, 7, 0);
    put_octal(block + 124, 11, size);
    put_octal(block + 136, 11, 0);
    memset(block + 148, ' ', 8);
    block[156] = (uint8_t)type;
    memcpy(block + 257, "ustar\00000", 8);
    memcpy(block + 345, name, prefix);
    for (int i = 0; i < BLOCK; i++)
        sum += block[i];
    put_octal(block + 148, 6, sum);
    block[154] = '\0';
    return write_bytes(tarball, block, BLOCK, error);
}

/* Writes a PAX header for the next member: "LENGTH path=NAME\n"; LENGTH counts the whole record. */
static int write_pax_name(struct clip_tarball *tarball, const char *name, size_t size,
                          struct clip_error *error)
{
    char length[24];
    size_t rest = strlen(" path=") + size + 1, digits = 1;
    while ((size_t)snprintf(length, sizeof length, "%zu", rest + digits) != digits)
        digits++;
    if (write_header(tarball, "PaxHeader", 9, 0, 'x', rest + digits, error) != 0 ||
        write_bytes(tarball, length, digits, error) != 0 || write_bytes(tarball, " path=", 6, error) != 0 ||
        write_bytes(tarball, name, size, error) != 0 || write_bytes(tarball, "\n", 1, error) != 0)
        return -1;
    return write_padding(tarball, rest + digits, error);
}

static int write_member(struct clip_tarball *tarball, const char *name, size_t name_size,
                        const struct part *part, struct clip_error *error)
{
    size_t prefix;
    uint64_t size = (uint64_t)part->head_size + part->size;
    if (split_prefix(name, name_size, &prefix) != 0 && write_pax_name(tarball, name, name_size, error) != 0)
        return -1;
    if (write_header(tarball, name, name_size, prefix, '0', size, error) != 0 ||
        write_bytes(tarball, part->head, part->head_size, error) != 0 ||
        write_bytes(tarball, part->data, part->size, error) != 0)
        return -1;
    return write_padding(tarball, size, error);
}

/* --- fields --- */

/* The fewest digits that read back as the same number. */
static size_t print_real(char *out, size_t size, double value)
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, size, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    return (size_t)n;
}

static int set_extension(struct part *part, const struct clip_field *field, const char *suffix,
                         struct clip_error *why)
{
    part->extension_size = field->name_size + strlen(suffix);
    part->extension = malloc(part->extension_size + 1);
    if (!part->extension)
        return clip_fail_memory(why, "a name");
    memcpy(part->extension, field->name, field->name_size);
    strcpy(part->extension + field->name_size, suffix);
    return 0;
}

static int set_tensor(struct part *part, const struct clip_field *field, struct clip_error *why)
{
    struct clip_tensor tensor;
    uint64_t shape[CLIP_MAX_DIMENSIONS];
    if (clip_field_tensor(field, &tensor, why) != 0)
        return -1;
    for (int i = 0; i < tensor.ndim; i++)
        shape[i] = tensor.shape[i];
    part->head_size = clip_npy_header(part->head, tensor.dtype, tensor.ndim, shape);
    part->data = tensor.data;
    part->size = clip_tensor_bytes(&tensor);
    return 0;
}

static int set_data(struct part *part, const struct clip_field *field, struct clip_error *why)
{
    struct clip_head head;
    char shown[80];
    if (clip_field_is_tensor(field))
        return set_tensor(part, field, why);
    clip_head_read(&head, field->value, field->size);
    switch (head.kind) {
    case CLIP_STR:
    case CLIP_BIN:
        part->data = field->value + head.head;
        part->size = (size_t)head.length;
        return 0;
    case CLIP_INTEGER:
        part->head_size = (size_t)snprintf(part->head, sizeof part->head, "%" PRId64, head.integer);
        return 0;
    case CLIP_NATURAL:
        part->head_size = (size_t)snprintf(part->head, sizeof part->head, "%" PRIu64, (uint64_t)head.integer);
        return 0;
    case CLIP_REAL:
        part->head_size = print_real(part->head, sizeof part->head, head.real);
        return 0;
    default:
        return clip_fail(why, "field '%s' is neither bytes, text, a number nor a tensor",
                         clip_printable(shown, sizeof shown, field->name, field->name_size));
    }
}

static int by_extension(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    size_t size = x->extension_size < y->extension_size ? x->extension_size : y->extension_size;
    int order = memcmp(x->extension, y->extension, size);
    return order ? order : (x->extension_size > y->extension_size) - (x->extension_size < y->extension_size);
}

/* "KEY.EXTENSION"; NULL when out of memory. */
static char *join_name(const char *key, size_t key_size, const struct part *part, size_t *size)
{
    char *name = malloc(key_size + 1 + part->extension_size);
    *size = key_size + 1 + part->extension_size;
    if (name) {
        memcpy(name, key, key_size);
        name[key_size] = '.';
        memcpy(name + key_size + 1, part->extension, part->extension_size);
    }
    return name;
}

/* The name must be read back as the key and the extension that it was made of. */
static int check_name(const char *name, size_t size, size_t key_size, struct clip_error *why)
{
    size_t split, lower_size;
    char shown[200];
    if (clip_name_escapes(name, size))
        return clip_fail(
            why, "a member '%s' would be extracted elsewhere: absolute names, and '..' in them, are refused",
            clip_printable(shown, sizeof shown, name, size));
    char *lower = clip_lower_extension(name + key_size + 1, size - key_size - 1, &lower_size);
    if (!lower)
        return clip_fail_memory(why, "a name");
    int holds = clip_split_name(name, size, &split) == 0 && split == key_size &&
                !clip_is_meta_name(name, size) && !memchr(name, '\0', size) &&
                lower_size == size - key_size - 1 && memcmp(lower, name + key_size + 1, lower_size) == 0;
    free(lower);
    return holds ? 0
                 : clip_fail(why, "a member '%s' would be read back as another sample or field",
                             clip_printable(shown, sizeof shown, name, size));
}

static int check_part(const struct part *parts, size_t i, const char *key, size_t key_size,
                      struct clip_error *why)
{
    size_t size;
    char shown[80];
    if (parts[i].head_size + (uint64_t)parts[i].size > MAX_SIZE)
        return clip_fail(why, "a member of more than 8 GB");
    if (i > 0 && by_extension(&parts[i - 1], &parts[i]) == 0)
        return clip_fail(why, "extension '%s' occurs twice",
                         clip_printable(shown, sizeof shown, parts[i].extension, parts[i].extension_size));
    char *name = join_name(key, key_size, &parts[i], &size);
    int status = name ? check_name(name, size, key_size, why) : clip_fail_memory(why, "a name");
    free(name);
    return status;
}

/* Makes the record's parts, in order; -1 with the reason. The caller frees them in either case. */
static int make_parts(const struct clip_record *record, struct part *parts, size_t *n, struct clip_error *why)
{
    size_t key_size;
    const char *key = clip_record_key(record, &key_size);
    for (size_t i = 0; i < record->count; i++) {
        const struct clip_field *field = &record->fields[i];
        if (field->name_size > 0 && field->name[0] == '_')
            continue;
        struct part *part = &parts[(*n)++];
        if (set_extension(part, field, clip_field_is_tensor(field) ? ".npy" : "", why) != 0 ||
            set_data(part, field, why) != 0)
            return -1;
    }
    if (*n == 0)
        return clip_fail(why, "no field to write");
    qsort(parts, *n, sizeof *parts, by_extension);
    for (size_t i = 0; i < *n; i++)
        if (check_part(parts, i, key, key_size, why) != 0)
            return -1;
    return 0;
}

static int write_parts(struct clip_tarball *tarball, const struct part *parts, size_t n,
                       struct clip_error *error)
{
    int status = 0;
    for (size_t i = 0; i < n && status == 0; i++) {
        size_t size;
        char *name = join_name(tarball->key, tarball->key_size, &parts[i], &size);
        status =
            name ? write_member(tarball, name, size, &parts[i], error) : clip_fail_memory(error, "a name");
        free(name);
    }
    return status;
}

/* Remembers the key. Returns 1 if the last record had the same one. */
static int same_key(struct clip_tarball *tarball, const char *key, size_t size, struct clip_error *error)
{
    if (tarball->key && tarball->key_size == size && memcmp(tarball->key, key, size) == 0)
        return 1;
    free(tarball->key);
    tarball->key = malloc(size + 1);
    if (!tarball->key)
        return clip_fail_memory(error, "a key");
    memcpy(tarball->key, key, size);
    tarball->key_size = size;
    return 0;
}

int clip_tarball_add(struct clip_tarball *tarball, struct clip_record *record, struct clip_error *error)
{
    struct clip_error why;
    size_t key_size, n = 0;
    const char *key = clip_record_key(record, &key_size);
    struct part *parts = calloc(record->count, sizeof *parts);
    if (!parts)
        return clip_fail_memory(error, "a record");
    int status = 0;
    if (make_parts(record, parts, &n, &why) != 0)
        clip_record_fail(record, "%s", why.text);
    else if ((status = same_key(tarball, key, key_size, error)) == 1)
        clip_record_fail(record,
                         "the record before it has the same key: they would be read back as one sample");
    else if (status == 0)
        status = write_parts(tarball, parts, n, error);
    for (size_t i = 0; i < n; i++)
        free(parts[i].extension);
    free(parts);
    return status < 0 ? -1 : 0;
}

int clip_tarball_end(struct clip_tarball *tarball, struct clip_error *error)
{
    static const uint8_t zeros[2 * BLOCK];
    return write_bytes(tarball, zeros, sizeof zeros, error);
}

void clip_tarball_free(struct clip_tarball *tarball)
{
    free(tarball->key);
    *tarball = (struct clip_tarball){0};
}
