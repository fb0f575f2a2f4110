/* APPNOTE.TXT 6.3, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (end
 * records), 4.5.3 (zip64). */
#include "model/zip.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOCAL = 0x04034b50,
    CENTRAL = 0x02014b50,
    END = 0x06054b50,
    END64 = 0x06064b50,
    LOCATOR64 = 0x07064b50,
    LOCAL_SIZE = 30,
    CENTRAL_SIZE = 46,
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR64_SIZE = 20,
    ENCRYPTED = 1, /* flag: refused */
    STREAMED = 8,  /* flag: the local header has no sizes */
    ZIP64 = 1,     /* extra field: sizes and offset of 64 bits */
    MAX_ENTRIES = 1 << 17
};

static uint16_t u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) | (uint32_t)u16(p + 2) << 16;
}

static uint64_t u64(const unsigned char *p)
{
    return u32(p) | (uint64_t)u32(p + 4) << 32;
}

/* The central directory's place, as the end records give it. */
struct directory {
    uint64_t offset, size, count;
};

/* The end record stands at the very end but for its comment. */
static int find_end(const unsigned char *data, size_t size, size_t *at, struct clip_error *error)
{
    for (size_t comment = 0; comment <= 0xffff && comment + END_SIZE <= size; comment++) {
        const unsigned char *p = data + size - END_SIZE - comment;
        if (u32(p) == END && u16(p + 20) == comment) {
            *at = (size_t)(p - data);
            return 0;
        }
    }
    return clip_fail(error, "a zip without its end record: it is cut");
}

/* A field of the end record that is all ones is to be found in the zip64 one; otherwise both must agree. */
static int agree(uint64_t small, uint64_t ones, uint64_t large)
{
    return small == ones || small == large;
}

/* The zip64 end record before the end record at `end`, if there is one; moves `end` to its begin. */
static int read_end64(const unsigned char *data, size_t *end, struct directory *directory,
                      struct clip_error *error)
{
    if (*end < LOCATOR64_SIZE + END64_SIZE || u32(data + *end - LOCATOR64_SIZE) != LOCATOR64)
        return 0;
    const unsigned char *locator = data + *end - LOCATOR64_SIZE;
    uint64_t at = u64(locator + 8);
    if (at > *end - LOCATOR64_SIZE - END64_SIZE || u32(data + at) != END64)
        return clip_fail(error, "a zip whose zip64 end record is not where it says");
    const unsigned char *p = data + at;
    if (u64(p + 4) != *end - LOCATOR64_SIZE - at - 12 || u32(p + 16) || u32(p + 20) ||
        u64(p + 24) != u64(p + 32))
        return clip_fail(error, "a zip whose zip64 end record is of another kind");
    struct directory large = {.count = u64(p + 32), .size = u64(p + 40), .offset = u64(p + 48)};
    if (!agree(directory->count, 0xffff, large.count) || !agree(directory->size, 0xffffffff, large.size) ||
        !agree(directory->offset, 0xffffffff, large.offset))
        return clip_fail(error, "a zip whose end records disagree");
    *directory = large;
    *end = (size_t)at;
    return 0;
}

static int find_directory(const unsigned char *data, size_t size, struct directory *directory,
                          struct clip_error *error)
{
    size_t end = 0;
    if (find_end(data, size, &end, error) != 0)
        return -1;
    const unsigned char *p = data + end;
    if (u16(p + 4) || u16(p + 6) || u16(p + 8) != u16(p + 10))
        return clip_fail(error, "a zip of several volumes");
    *directory = (struct directory){.count = u16(p + 10), .size = u32(p + 12), .offset = u32(p + 16)};
    if (read_end64(data, &end, directory, error) != 0)
        return -1;
    if (directory->offset > end || directory->size != end - directory->offset)
        return clip_fail(error, "a zip whose directory is not where it says");
    if (directory->count > directory->size / CENTRAL_SIZE || directory->count > MAX_ENTRIES)
        return clip_fail(error, "a zip that claims %llu entries", (unsigned long long)directory->count);
    return 0;
}

/* The values that are all ones in a header are, in this order, in its zip64 extra field. */
static int read_zip64(const unsigned char *extra, size_t length, uint64_t *const values[], int count)
{
    while (length >= 4) {
        size_t size = u16(extra + 2);
        if (size > length - 4)
            return -1;
        if (u16(extra) == ZIP64) {
            const unsigned char *p = extra + 4, *end = p + size;
            for (int i = 0; i < count; i++) {
                if (*values[i] != 0xffffffff)
                    continue;
                if (end - p < 8)
                    return -1;
                *values[i] = u64(p);
                p += 8;
            }
            return 0;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    return 0;
}

static int fail_entry(const struct clip_zip_entry *entry, const char *what, struct clip_error *error)
{
    char text[200];
    return clip_fail(error, "zip entry %s %s", clip_printable(text, sizeof text, entry->name, entry->length),
                     what);
}

/* Checks the local header against the entry, and finds its data, which ends before `end`. */
static int read_local(struct clip_zip_entry *entry, const unsigned char *data, uint64_t end, uint16_t flags,
                      struct clip_error *error)
{
    if (entry->header > end || end - entry->header < LOCAL_SIZE)
        return fail_entry(entry, "lies outside of the file", error);
    const unsigned char *p = data + entry->header;
    size_t room = (size_t)end - entry->header - LOCAL_SIZE, length = u16(p + 26), extra = u16(p + 28);
    if (u32(p) != LOCAL || length + extra > room || length != entry->length ||
        memcmp(p + LOCAL_SIZE, entry->name, length) != 0 || u16(p + 6) != flags ||
        u16(p + 8) != entry->method)
        return fail_entry(entry, "has the local header of another entry", error);
    uint64_t size = u32(p + 22), stored = u32(p + 18);
    uint32_t crc = u32(p + 14);
    if (read_zip64(p + LOCAL_SIZE + length, extra, (uint64_t *const[]){&size, &stored}, 2) != 0)
        return fail_entry(entry, "has a broken extra field", error);
    int absent = flags & STREAMED && size == 0 && stored == 0 && crc == 0;
    if (!absent && (size != entry->size || stored != entry->stored || crc != entry->crc))
        return fail_entry(entry, "has sizes that disagree", error);
    if (entry->stored > room - length - extra)
        return fail_entry(entry, "is larger than the file", error);
    entry->data = p + LOCAL_SIZE + length + extra;
    return 0;
}

/* Reads the directory's entry at *at, before `end`, and goes on after it. */
static int read_central(struct clip_zip_entry *entry, const unsigned char *data, uint64_t directory,
                        uint64_t *at, uint64_t end, struct clip_error *error)
{
    const unsigned char *p = data + *at;
    if (end - *at < CENTRAL_SIZE || u32(p) != CENTRAL)
        return clip_fail(error, "a zip whose directory is cut");
    size_t length = u16(p + 28), extra = u16(p + 30), comment = u16(p + 32);
    if (length + extra + comment > end - *at - CENTRAL_SIZE)
        return clip_fail(error, "a zip whose directory is cut");
    uint64_t size = u32(p + 24), stored = u32(p + 20), header = u32(p + 42);
    *entry = (struct clip_zip_entry){
        .name = (const char *)p + CENTRAL_SIZE, .length = length, .method = u16(p + 10), .crc = u32(p + 16)};
    uint16_t flags = u16(p + 8);
    if (read_zip64(p + CENTRAL_SIZE + length, extra, (uint64_t *const[]){&size, &stored, &header}, 3) != 0)
        return fail_entry(entry, "has a broken extra field", error);
    entry->size = size;
    entry->stored = stored;
    entry->header = header;
    if (flags & ENCRYPTED)
        return fail_entry(entry, "is encrypted", error);
    if (entry->method == 0 && size != stored)
        return fail_entry(entry, "has sizes that disagree", error);
    *at += CENTRAL_SIZE + length + extra + comment;
    return read_local(entry, data, directory, flags, error);
}

static int compare_headers(const void *a, const void *b)
{
    const struct clip_zip_entry *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

static int compare_names(const void *a, const void *b)
{
    const struct clip_zip_entry *x = a, *y = b;
    int order = memcmp(x->name, y->name, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

/* No two entries share bytes, or a name. */
static int check_entries(struct clip_zip *zip, const unsigned char *data, struct clip_error *error)
{
    struct clip_zip_entry *entries = zip->entries;
    if (zip->count == 0)
        return 0;
    qsort(entries, zip->count, sizeof *entries, compare_headers);
    for (size_t i = 1; i < zip->count; i++)
        if (entries[i].header < (size_t)(entries[i - 1].data + entries[i - 1].stored - data))
            return fail_entry(&entries[i], "overlaps another", error);
    qsort(entries, zip->count, sizeof *entries, compare_names);
    for (size_t i = 1; i < zip->count; i++)
        if (compare_names(&entries[i - 1], &entries[i]) == 0)
            return fail_entry(&entries[i], "occurs twice", error);
    return 0;
}

int clip_zip_read(struct clip_zip *zip, const unsigned char *data, size_t size, struct clip_error *error)
{
    struct directory directory = {0};
    *zip = (struct clip_zip){0};
    if (find_directory(data, size, &directory, error) != 0)
        return -1;
    zip->entries = reallocarray(NULL, (size_t)directory.count + 1, sizeof *zip->entries);
    if (!zip->entries)
        return clip_fail_memory(error, "a zip's directory");
    uint64_t at = directory.offset, end = directory.offset + directory.size;
    for (; zip->count < directory.count; zip->count++)
        if (read_central(&zip->entries[zip->count], data, directory.offset, &at, end, error) != 0)
            return -1;
    if (at != end)
        return clip_fail(error, "a zip whose directory holds more than it says");
    return check_entries(zip, data, error);
}

void clip_zip_free(struct clip_zip *zip)
{
    free(zip->entries);
    *zip = (struct clip_zip){0};
}

const struct clip_zip_entry *clip_zip_find(const struct clip_zip *zip, const char *name, size_t length)
{
    struct clip_zip_entry key = {.name = name, .length = length};
    return zip->count ? bsearch(&key, zip->entries, zip->count, sizeof key, compare_names) : NULL;
}
