#include "shard/tar.h"
#include "base/array.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK CLIP_TAR_BLOCK
#define MAX_HEADER (1 << 20) /* most bytes of a long name or a PAX header */
#define MAX_EXTENTS 65536    /* most pieces of a sparse member */

/* A piece of a sparse member that is stored; between the pieces there are zeros. */
struct extent {
    uint64_t offset, size;
};

struct map {
    struct extent *extents;
    size_t count, room;
};

/* What extension headers say about the next member. */
struct extension {
    char *name, *link; /* NULL: nothing */
    size_t name_size, link_size;
    int has_size, has_real_size; /* bytes in the archive; bytes after extraction */
    uint64_t size, real_size;
    int major,
        minor; /* version of GNU's sparse form in PAX headers: 0.x has `map`, 1.0 has it before the data */
    int sparse;
    struct map map;
};

struct clip_tar {
    struct clip_source *source;
    struct clip_member member;
    int ended, ignore_zeros;
    char last[200]; /* the last member's name, for messages */
    uint64_t last_offset;
    struct extension said; /* of the current member; its name is the member's */
    struct extension global;
    uint64_t stored;  /* bytes of the member not yet read */
    uint64_t padding; /* bytes after them, up to a whole block */
    uint64_t position;
    size_t extent; /* the one at or after `position` */
};

/* The fields of a header block in ustar and the formats before it. */
struct field {
    size_t offset, size;
};
static const struct field NAME = {0, 100}, MODE = {100, 8}, UID = {108, 8}, GID = {116, 8}, SIZE = {124, 12},
                          MTIME = {136, 12}, CHECKSUM = {148, 8}, MAJOR = {329, 8}, MINOR = {337, 8},
                          PREFIX = {345, 155}, REAL_SIZE = {483, 12};
#define TYPE 156
#define LINK 157 /* as long as NAME */
/* Old GNU's sparse map: pairs of numbers, and whether a block of more follows. */
#define SPARSE_MAP 386
#define SPARSE_PAIRS 4
#define SPARSE_MORE 482
#define SPARSE_BLOCK_PAIRS 21
#define SPARSE_BLOCK_MORE 504

struct clip_tar *clip_tar_new(struct clip_source *source, struct clip_error *error)
{
    struct clip_tar *tar = calloc(1, sizeof *tar);
    if (tar)
        tar->source = source;
    else
        clip_fail_memory(error, "an archive");
    return tar;
}

static void clear_extension(struct extension *extension)
{
    free(extension->name);
    free(extension->link);
    free(extension->map.extents);
    *extension = (struct extension){0};
}

void clip_tar_free(struct clip_tar *tar)
{
    if (!tar)
        return;
    clear_extension(&tar->said);
    clear_extension(&tar->global);
    free(tar);
}

void clip_tar_seek(struct clip_tar *tar, uint64_t offset)
{
    clip_source_seek(tar->source, offset);
    tar->stored = tar->padding = 0;
    tar->ended = 0;
    tar->last[0] = '\0';
}

void clip_tar_ignore_zeros(struct clip_tar *tar, int ignore)
{
    tar->ignore_zeros = ignore;
}

int clip_tar_renames(const struct clip_tar *tar)
{
    return tar->global.name != NULL;
}

int clip_member_fail(const struct clip_member *member, struct clip_error *error)
{
    char shown[200];
    return clip_fail_prefix(error, "member %s at offset %llu",
                            clip_printable(shown, sizeof shown, member->name, member->name_size),
                            (unsigned long long)member->offset);
}

/* --- numbers --- */

/* The characters that Python's strip() removes from ASCII text. */
static int is_blank(uint8_t c)
{
    return isspace(c) || (c >= 0x1c && c <= 0x1f);
}

/* Parses text[size] as Python's int(text, 8) does: a sign, 0o, and single underscores between digits are
 * allowed. */
static int parse_octal(const uint8_t *text, size_t size, int64_t *value)
{
    size_t i = text[0] == '-' || text[0] == '+';
    uint8_t before = '_'; /* an underscore may follow a digit */
    if (i + 2 < size && text[i] == '0' && (text[i + 1] | 0x20) == 'o') {
        before = '0';
        i += 2;
    }
    for (; i < size; before = text[i++]) {
        if (text[i] == '_' && before != '_')
            continue;
        if (text[i] < '0' || text[i] > '7')
            return -1;
        *value = *value << 3 | (text[i] - '0');
    }
    if (text[0] == '-')
        *value = -*value;
    return before == '_' ? -1 : 0;
}

/* Parses a number field as tarfile's nti() does: octal digits among white space, up to a NUL, where
 * nothing means 0; or base 256 after a byte 0x80, and negative after 0xff (always -1 here). A number that
 * is too large is INT64_MAX. */
static int parse_number(const uint8_t *p, size_t size, int64_t *value)
{
    *value = 0;
    if (p[0] == 0x80 || p[0] == 0xff) {
        for (size_t i = 1; i < size; i++)
            *value = *value > INT64_MAX >> 8 ? INT64_MAX : *value << 8 | p[i];
        if (p[0] == 0xff)
            *value = -1;
        return 0;
    }
    size = strnlen((const char *)p, size);
    while (size > 0 && is_blank(p[size - 1]))
        size--;
    while (size > 0 && is_blank(*p))
        p++, size--;
    return size > 0 ? parse_octal(p, size, value) : 0;
}

static int field_number(const uint8_t *block, struct field field, int64_t *value)
{
    return parse_number(block + field.offset, field.size, value);
}

/* A decimal number text[size] of PAX headers. */
static int parse_decimal(const char *text, size_t size, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(text[i] - '0'), value))
            return -1;
    return size > 0 && *value <= INT64_MAX ? 0 : -1;
}

static uint64_t padding_of(uint64_t size)
{
    return -size % BLOCK;
}

/* --- sparse maps --- */

static int add_extent(struct map *map, uint64_t offset, uint64_t size, struct clip_error *error)
{
    if (map->count == MAX_EXTENTS)
        return clip_fail(error, "a sparse file of more than %d pieces", MAX_EXTENTS);
    if (CLIP_GROW(map->extents, map->count, map->room) != 0)
        return clip_fail_memory(error, "a sparse map");
    map->extents[map->count++] = (struct extent){offset, size};
    return 0;
}

/* Pieces must lie in order within the file, and be in the archive. */
static int check_map(const struct map *map, uint64_t size, uint64_t stored, struct clip_error *error)
{
    uint64_t end = 0, sum = 0;
    for (size_t i = 0; i < map->count; i++) {
        struct extent extent = map->extents[i];
        if (extent.offset < end || extent.offset > size || extent.size > size - extent.offset)
            return clip_fail(error, "malformed sparse map");
        end = extent.offset + extent.size;
        sum += extent.size;
    }
    return sum > stored ? clip_fail(error, "malformed sparse map") : 0;
}

/* Pairs of old GNU's header; a pair that is not a number ends them. */
static int add_pairs(struct map *map, const uint8_t *pairs, int count, struct clip_error *error)
{
    for (int i = 0; i < count; i++) {
        int64_t offset, size;
        if (parse_number(pairs + 24 * i, 12, &offset) != 0 ||
            parse_number(pairs + 24 * i + 12, 12, &size) != 0)
            break;
        if (offset < 0 || size < 0)
            return clip_fail(error, "malformed sparse map");
        if (size > 0 && add_extent(map, (uint64_t)offset, (uint64_t)size, error) != 0)
            return -1;
    }
    return 0;
}

/* "offset,size,offset,size ...": form 0.1. */
static int parse_map(struct map *map, const char *text, size_t size, struct clip_error *error)
{
    uint64_t numbers[2];
    for (size_t at = 0, i = 0; at < size; i ^= 1) {
        const char *comma = memchr(text + at, ',', size - at);
        size_t n = comma ? (size_t)(comma - text) - at : size - at;
        if (parse_decimal(text + at, n, &numbers[i]) != 0)
            return clip_fail(error, "malformed sparse map");
        if (i == 1 && add_extent(map, numbers[0], numbers[1], error) != 0)
            return -1;
        at += n + 1;
    }
    return 0;
}

/* --- extension headers --- */

/* Sets the error at `offset`. If no member has begun, the last one describes the position best. */
static int fail_between(const struct clip_tar *tar, uint64_t offset, struct clip_error *error,
                        const char *message)
{
    if (!tar->last[0])
        return clip_fail(error, "at offset %llu: %s", (unsigned long long)offset, message);
    return clip_fail(error, "at offset %llu, after member %s at offset %llu: %s", (unsigned long long)offset,
                     tar->last, (unsigned long long)tar->last_offset, message);
}

/* Reads the body of an extension header, terminated. The caller frees it. */
static char *read_body(struct clip_tar *tar, uint64_t size, struct clip_error *error)
{
    uint64_t got, padded = size + padding_of(size);
    char *body = NULL;
    if (size > MAX_HEADER)
        clip_fail(error, "an extension header of %llu bytes (at most %d)", (unsigned long long)size,
                  MAX_HEADER);
    else if (!(body = calloc(1, padded + 1)))
        clip_fail_memory(error, "an extension header");
    else if (clip_source_read(tar->source, body, padded, &got, error) == 0) {
        if (got == padded)
            return body;
        clip_fail(error, "cut short inside an extension header");
    }
    free(body);
    return NULL;
}

static int set_text(char **text, size_t *text_size, const char *name, size_t size, struct clip_error *error)
{
    char *copy = malloc(size + 1);
    if (!copy)
        return clip_fail_memory(error, "a name");
    memcpy(copy, name, size);
    copy[size] = '\0';
    free(*text);
    *text = copy;
    *text_size = size;
    return 0;
}

static int set_name(struct extension *extension, const char *name, size_t size, struct clip_error *error)
{
    return set_text(&extension->name, &extension->name_size, name, size, error);
}

static int set_link(struct extension *extension, const char *name, size_t size, struct clip_error *error)
{
    return set_text(&extension->link, &extension->link_size, name, size, error);
}

/* One "keyword=value" of a PAX header. */
static int use_record(struct extension *extension, const char *keyword, const char *value, size_t size,
                      struct clip_error *error)
{
    uint64_t number;
    int numeric = parse_decimal(value, size, &number) == 0;
    if (strcmp(keyword, "path") == 0) {
        while (size > 0 && value[size - 1] == '/')
            size--;
        return set_name(extension, value, size, error);
    }
    if (strcmp(keyword, "linkpath") == 0)
        return set_link(extension, value, size, error);
    if (strcmp(keyword, "size") == 0) {
        extension->has_size = 1;
        extension->size = number;
    } else if (strncmp(keyword, "GNU.sparse.", 11) == 0) {
        struct map *map = &extension->map;
        keyword += 11;
        extension->sparse = 1;
        if (strcmp(keyword, "name") == 0)
            return set_name(extension, value, size, error);
        if (strcmp(keyword, "map") == 0)
            return parse_map(map, value, size, error);
        if (strcmp(keyword, "offset") == 0 && numeric)
            return add_extent(map, number, 0, error);
        if (strcmp(keyword, "numbytes") == 0 && map->count > 0)
            map->extents[map->count - 1].size = number;
        else if (strcmp(keyword, "size") == 0 || strcmp(keyword, "realsize") == 0)
            extension->has_real_size = 1, extension->real_size = number;
        else if (strcmp(keyword, "major") == 0)
            extension->major = number == 1;
        else if (strcmp(keyword, "minor") == 0)
            extension->minor = number != 0;
    } else {
        return 0;
    }
    return numeric ? 0 : clip_fail(error, "a PAX header whose '%s' is not a number", keyword);
}

/* The records "LENGTH keyword=value\n"; LENGTH counts the whole record. */
static int parse_pax(struct extension *extension, char *body, size_t size, struct clip_error *error)
{
    for (size_t at = 0; at < size && body[at];) {
        char *record = body + at, *space = memchr(record, ' ', size - at < 21 ? size - at : 21), *equals;
        uint64_t length;
        if (!space || parse_decimal(record, (size_t)(space - record), &length) != 0 || length > size - at ||
            length < (size_t)(space - record) + 4 || record[length - 1] != '\n' || space[1] == '=' ||
            !(equals = memchr(space, '=', (size_t)(record + length - space))))
            return clip_fail(error, "malformed PAX header");
        *equals = '\0';
        if (use_record(extension, space + 1, equals + 1, (size_t)(record + length - 1 - (equals + 1)),
                       error) != 0)
            return -1;
        at += length;
    }
    return 0;
}

/* An earlier header overrides this one. */
static void merge_extensions(struct extension *into, struct extension *from)
{
    if (!into->name) {
        into->name = from->name;
        into->name_size = from->name_size;
        from->name = NULL;
    }
    if (!into->link) {
        into->link = from->link;
        into->link_size = from->link_size;
        from->link = NULL;
    }
    if (!into->has_size && from->has_size) {
        into->has_size = 1;
        into->size = from->size;
    }
    if (!into->sparse && from->sparse) {
        into->sparse = 1;
        into->major = from->major;
        into->minor = from->minor;
        into->has_real_size = from->has_real_size;
        into->real_size = from->real_size;
        into->map = from->map;
        from->map = (struct map){0};
    }
    clear_extension(from);
}

static int is_extension(char type)
{
    return type == 'L' || type == 'K' || type == 'x' || type == 'X' || type == 'g';
}

/* Reads a GNU long name (L) or link name (K), or a PAX header (x, Sun's X, g for all members after it). */
static int read_extension(struct clip_tar *tar, char type, uint64_t size, struct clip_error *error)
{
    struct extension extension = {0};
    char *body = read_body(tar, size, error);
    if (!body)
        return -1;
    int status = 0;
    if (type == 'L')
        status = set_name(&extension, body, strlen(body), error);
    else if (type == 'K')
        status = set_link(&extension, body, strlen(body), error);
    else if (type == 'g' || type == 'x' || type == 'X')
        status = parse_pax(type == 'g' ? &tar->global : &extension, body, size, error);
    if (status == 0 && type == 'g' && (tar->global.has_size || tar->global.sparse))
        status = clip_fail(error, "a global PAX header that gives sizes");
    if (status == 0)
        merge_extensions(&tar->said, &extension);
    clear_extension(&extension);
    free(body);
    return status;
}

/* --- headers --- */

static int is_zero(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

/* The sum of the header's bytes, with spaces for its own field; some old programs summed signed bytes. */
static int checksum_holds(const uint8_t *block)
{
    int64_t claimed, plain = 0, with_signs = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        int inside = i >= CHECKSUM.offset && i < CHECKSUM.offset + CHECKSUM.size;
        plain += inside ? ' ' : block[i];
        with_signs += inside ? ' ' : (int8_t)block[i];
    }
    return field_number(block, CHECKSUM, &claimed) == 0 && (claimed == plain || claimed == with_signs);
}

/* tarfile refuses a header if any of its numbers is bad. */
static int numbers_hold(const uint8_t *block)
{
    const struct field fields[] = {MODE, UID, GID, SIZE, MTIME, MAJOR, MINOR};
    int64_t value;
    for (size_t i = 0; i < CLIP_COUNT_OF(fields); i++)
        if (field_number(block, fields[i], &value) != 0)
            return 0;
    return 1;
}

/* With ignore_zeros, an incomplete or missing block at `offset` may end the archives: after the two blocks
 * of zeros of the last one. */
static int may_end(const struct clip_tar *tar, const uint8_t *block, uint64_t got, uint64_t zeros)
{
    for (uint64_t i = 0; i < got; i++)
        if (block[i] != 0)
            return 0;
    return tar->ignore_zeros && zeros >= 2;
}

/* Reads a header block after `zeros` blocks of zeros. Returns 1; 0 for another block of zeros, or at the
 * end of the input; -1 with error. */
static int read_header(struct clip_tar *tar, uint8_t *block, uint64_t zeros, struct clip_error *error)
{
    uint64_t got, offset = clip_source_offset(tar->source);
    if (clip_source_read(tar->source, block, BLOCK, &got, error) != 0)
        return clip_fail_prefix(error, "at offset %llu", (unsigned long long)offset);
    if (got == 0 && offset == 0)
        return clip_fail(error, "not a tar archive: empty");
    if (got < BLOCK && may_end(tar, block, got, zeros)) {
        tar->ended = 1;
        return 0;
    }
    if (got == 0)
        return fail_between(tar, offset, error, "cut short: no end-of-archive blocks");
    if (got < BLOCK)
        return fail_between(tar, offset, error, "cut short inside a header");
    if (is_zero(block))
        return 0;
    if (checksum_holds(block) && numbers_hold(block))
        return 1;
    if (offset == 0)
        return clip_fail(error, "not a tar archive: it does not begin with a header");
    return fail_between(tar, offset, error, "no header of a member, or a damaged one");
}

/* After the first block of zeros there must be a second. */
static int read_end(struct clip_tar *tar, struct clip_error *error)
{
    uint8_t block[BLOCK];
    uint64_t got, offset = clip_source_offset(tar->source);
    if (clip_source_read(tar->source, block, BLOCK, &got, error) != 0)
        return clip_fail_prefix(error, "at offset %llu", (unsigned long long)offset);
    if (got < BLOCK)
        return fail_between(tar, offset, error, "cut short inside the end-of-archive blocks");
    if (!is_zero(block))
        return fail_between(tar, offset, error, "only one end-of-archive block");
    tar->ended = 1;
    return 0;
}

/* The name as the header block itself gives it. */
static int header_name(struct extension *said, const uint8_t *block, int folder, struct clip_error *error)
{
    char name[256];
    size_t size = strnlen((const char *)block, NAME.size), prefix = 0;
    while (folder && size > 0 && block[size - 1] == '/')
        size--;
    if (block[TYPE] != 'S')
        prefix = strnlen((const char *)block + PREFIX.offset, PREFIX.size);
    memcpy(name, block + PREFIX.offset, prefix);
    if (prefix > 0)
        name[prefix++] = '/';
    memcpy(name + prefix, block, size);
    return set_name(said, name, prefix + size, error);
}

/* The map in an old GNU header; more of it may follow in blocks. */
static int read_gnu_map(struct clip_tar *tar, const uint8_t *header, struct clip_error *error)
{
    uint8_t block[BLOCK];
    uint64_t got;
    int64_t size;
    struct map *map = &tar->said.map;
    map->count = 0;
    if (add_pairs(map, header + SPARSE_MAP, SPARSE_PAIRS, error) != 0)
        return -1;
    for (int more = header[SPARSE_MORE]; more; more = block[SPARSE_BLOCK_MORE]) {
        if (clip_source_read(tar->source, block, BLOCK, &got, error) != 0)
            return -1;
        if (got < BLOCK)
            return clip_fail(error, "cut short inside its sparse map");
        if (add_pairs(map, block, SPARSE_BLOCK_PAIRS, error) != 0)
            return -1;
    }
    if (field_number(header, REAL_SIZE, &size) != 0 || size < 0)
        return clip_fail(error, "malformed sparse header");
    tar->said.sparse = tar->said.has_real_size = 1;
    tar->said.real_size = (uint64_t)size;
    return 0;
}

/* Version 1.0: lines of numbers before the data, their count first, padded to a block. */
static int read_leading_map(struct clip_tar *tar, struct clip_error *error)
{
    char block[BLOCK], digits[20];
    size_t at = BLOCK, used = 0;
    uint64_t numbers = 0, left = 1, number, offset = 0, got;
    struct map *map = &tar->said.map;
    map->count = 0;
    for (; left > 0; at++) {
        if (at == BLOCK) {
            if (tar->stored < BLOCK)
                return clip_fail(error, "malformed sparse map");
            if (clip_source_read(tar->source, block, BLOCK, &got, error) != 0)
                return -1;
            if (got < BLOCK)
                return clip_fail(error, "cut short inside its sparse map");
            tar->stored -= BLOCK;
            at = 0;
        }
        if (block[at] != '\n' && used < sizeof digits) {
            digits[used++] = block[at];
            continue;
        }
        if (block[at] != '\n' || parse_decimal(digits, used, &number) != 0 ||
            (numbers == 0 && number > MAX_EXTENTS))
            return clip_fail(error, "malformed sparse map");
        used = 0;
        left += numbers == 0 ? 2 * number : 0;
        if (numbers % 2 == 1)
            offset = number;
        else if (numbers > 0 && add_extent(map, offset, number, error) != 0)
            return -1;
        numbers++;
        left--;
    }
    return 0;
}

/* Links, folders and devices have no data, whatever their size says; the data of everything else must be
 * skipped. */
static int has_data(char type)
{
    return type < '1' || type > '6';
}

static int set_sizes(struct clip_tar *tar, const uint8_t *block, char type, struct clip_error *error)
{
    struct extension *said = &tar->said;
    int64_t size;
    field_number(block, SIZE, &size);
    tar->member.size = tar->stored = tar->padding = 0;
    if (!has_data(type))
        return 0;
    if (size < 0 && !said->has_size)
        return clip_fail(error, "a negative size");
    tar->stored = said->has_size ? said->size : (uint64_t)size;
    tar->padding = padding_of(tar->stored);
    if (type == 'S' && read_gnu_map(tar, block, error) != 0)
        return -1;
    if (type != 'S' && said->major == 1 && said->minor == 0 && read_leading_map(tar, error) != 0)
        return -1;
    tar->member.size = said->sparse && said->has_real_size ? said->real_size : tar->stored;
    if (!said->sparse) {
        said->map.count = 0;
        return tar->stored > 0 ? add_extent(&said->map, 0, tar->stored, error) : 0;
    }
    return check_map(&said->map, tar->member.size, tar->stored, error);
}

static int kind_of(char type)
{
    if (type == '0' || type == '\0' || type == '7' || type == 'S')
        return CLIP_MEMBER_FILE;
    return type == '1'   ? CLIP_MEMBER_LINK
           : type == '2' ? CLIP_MEMBER_SYMLINK
           : type == '5' ? CLIP_MEMBER_FOLDER
                         : CLIP_MEMBER_OTHER;
}

/* Reads the header of a member itself, after all its extensions. */
static int use_header(struct clip_tar *tar, const uint8_t *block, struct clip_error *error)
{
    char type = (char)block[TYPE];
    struct extension *said = &tar->said;
    size_t size = strnlen((const char *)block, NAME.size);
    if (type == '\0' && size > 0 && block[size - 1] == '/')
        type = '5'; /* the only sign of a folder in v7 */
    if (!said->name && tar->global.name && type != 'S') {
        if (set_name(said, tar->global.name, tar->global.name_size, error) != 0)
            return -1;
    } else if (!said->name && header_name(said, block, type == '5', error) != 0) {
        return -1;
    }
    tar->member.name = said->name;
    tar->member.name_size = said->name_size;
    tar->member.kind = kind_of(type);
    if (!said->link && set_link(said, (const char *)block + LINK,
                                strnlen((const char *)block + LINK, NAME.size), error) != 0)
        return -1;
    tar->member.link = said->link;
    tar->member.link_size = said->link_size;
    tar->position = tar->extent = 0;
    clip_printable(tar->last, sizeof tar->last, said->name, said->name_size);
    tar->last_offset = tar->member.offset;
    if (set_sizes(tar, block, type, error) != 0)
        return clip_member_fail(&tar->member, error);
    return 1;
}

/* --- data --- */

static int fail_data(const struct clip_tar *tar, uint64_t wanted, uint64_t got, struct clip_error *error)
{
    clip_fail(error, "cut short (%llu bytes are missing)", (unsigned long long)(wanted - got));
    return clip_member_fail(&tar->member, error);
}

static int skip_rest(struct clip_tar *tar, struct clip_error *error)
{
    uint64_t got, rest = tar->stored + tar->padding; /* stored <= INT64_MAX */
    if (clip_source_read(tar->source, NULL, rest, &got, error) != 0)
        return clip_member_fail(&tar->member, error);
    if (got < rest)
        return fail_data(tar, rest, got, error);
    tar->stored = tar->padding = 0;
    return 0;
}

/* Reads the next header block. Returns 1; 0 at the end; -1 with error. */
static int next_header(struct clip_tar *tar, uint8_t *block, int extended, struct clip_error *error)
{
    int got = read_header(tar, block, 0, error);
    if (got == 0 && extended)
        return clip_fail(error, "an extension header at offset %llu without its member",
                         (unsigned long long)tar->member.offset);
    for (uint64_t zeros = 1; got == 0 && !tar->ended && tar->ignore_zeros; zeros++) {
        tar->member.offset = clip_source_offset(tar->source);
        got = read_header(tar, block, zeros, error);
    }
    return got != 0 || tar->ended ? got : read_end(tar, error);
}

int clip_tar_next(struct clip_tar *tar, struct clip_member *member, struct clip_error *error)
{
    uint8_t block[BLOCK];
    int64_t size;
    if (tar->ended)
        return 0;
    if (skip_rest(tar, error) != 0)
        return -1;
    clear_extension(&tar->said);
    tar->member.offset = clip_source_offset(tar->source);
    for (int extended = 0;; extended = 1) {
        int got = next_header(tar, block, extended, error);
        if (got <= 0)
            return got;
        if (!is_extension((char)block[TYPE]))
            break;
        field_number(block, SIZE, &size);
        if (read_extension(tar, (char)block[TYPE], size < 0 ? UINT64_MAX : (uint64_t)size, error) != 0)
            return clip_fail_prefix(error, "at offset %llu", (unsigned long long)tar->member.offset);
    }
    int status = use_header(tar, block, error);
    *member = tar->member;
    return status;
}

static int read_stored(struct clip_tar *tar, void *out, uint64_t size, struct clip_error *error)
{
    uint64_t got;
    if (clip_source_read(tar->source, out, size, &got, error) != 0)
        return clip_member_fail(&tar->member, error);
    if (got < size)
        return fail_data(tar, tar->stored, got, error);
    tar->stored -= size;
    return 0;
}

int clip_tar_read(struct clip_tar *tar, void *out, uint64_t size, struct clip_error *error)
{
    const struct map *map = &tar->said.map;
    uint8_t *to = out;
    while (size > 0) {
        int hole = tar->extent == map->count || tar->position < map->extents[tar->extent].offset;
        uint64_t end = tar->extent == map->count ? tar->member.size : map->extents[tar->extent].offset;
        if (!hole)
            end += map->extents[tar->extent].size;
        uint64_t n = end - tar->position < size ? end - tar->position : size;
        if (hole)
            memset(to, 0, n);
        else if (read_stored(tar, to, n, error) != 0)
            return -1;
        to += n;
        size -= n;
        tar->position += n;
        if (!hole && tar->position == end)
            tar->extent++;
    }
    return 0;
}
