#include "stream/msgpack.h"
#include "base/array.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t big_endian(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;
    switch (bytes) {
    case 1:
        return p[0];
    case 2:
        return (uint64_t)p[0] << 8 | p[1];
    case 4:
        return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
    case 8:
        memcpy(&value, p, sizeof value);
        return be64toh(value);
    default:
        return 0;
    }
}

/* Heads 0xc0 to 0xdf: the kind, how many bytes of a number follow the first byte, and whether the number
 * is a length. */
enum meaning { WRONG, PLAIN, LENGTH, UNSIGNED, SIGNED, FLOAT, FIXEXT };
static const struct {
    enum clip_kind kind;
    enum meaning meaning;
    uint8_t bytes;
} heads[32] = {
    {CLIP_NIL, PLAIN, 0},        {CLIP_NIL, WRONG, 0},        {CLIP_BOOLEAN, PLAIN, 0},
    {CLIP_BOOLEAN, PLAIN, 0},    {CLIP_BIN, LENGTH, 1},       {CLIP_BIN, LENGTH, 2},
    {CLIP_BIN, LENGTH, 4},       {CLIP_EXT, LENGTH, 1},       {CLIP_EXT, LENGTH, 2},
    {CLIP_EXT, LENGTH, 4},       {CLIP_REAL, FLOAT, 4},       {CLIP_REAL, FLOAT, 8},
    {CLIP_INTEGER, UNSIGNED, 1}, {CLIP_INTEGER, UNSIGNED, 2}, {CLIP_INTEGER, UNSIGNED, 4},
    {CLIP_INTEGER, UNSIGNED, 8}, {CLIP_INTEGER, SIGNED, 1},   {CLIP_INTEGER, SIGNED, 2},
    {CLIP_INTEGER, SIGNED, 4},   {CLIP_INTEGER, SIGNED, 8},   {CLIP_EXT, FIXEXT, 1},
    {CLIP_EXT, FIXEXT, 2},       {CLIP_EXT, FIXEXT, 4},       {CLIP_EXT, FIXEXT, 8},
    {CLIP_EXT, FIXEXT, 16},      {CLIP_STR, LENGTH, 1},       {CLIP_STR, LENGTH, 2},
    {CLIP_STR, LENGTH, 4},       {CLIP_ARRAY, LENGTH, 2},     {CLIP_ARRAY, LENGTH, 4},
    {CLIP_MAP, LENGTH, 2},       {CLIP_MAP, LENGTH, 4},
};

int clip_wide_head_read(struct clip_head *head, const uint8_t *p, size_t available)
{
    int i = p[0] - 0xc0;
    size_t bytes = heads[i].meaning == FIXEXT ? 0 : heads[i].bytes;
    if (heads[i].meaning == WRONG)
        return -1;
    if (available < 1 + bytes)
        return 0;
    uint64_t number = big_endian(p + 1, bytes);
    *head = (struct clip_head){.kind = heads[i].kind, .head = 1 + bytes};
    switch (heads[i].meaning) {
    case LENGTH:
        head->length = number + (head->kind == CLIP_EXT); /* an ext's type byte counts as content */
        break;
    case FIXEXT:
        head->length = 1u + heads[i].bytes;
        break;
    case UNSIGNED:
        if (number > INT64_MAX)
            head->kind = CLIP_NATURAL;
        head->integer = (int64_t)number;
        break;
    case SIGNED:
        head->integer = bytes == 1   ? (int8_t)number
                        : bytes == 2 ? (int16_t)number
                        : bytes == 4 ? (int32_t)number
                                     : (int64_t)number;
        break;
    case FLOAT:
        if (bytes == 4) {
            uint32_t bits = (uint32_t)number;
            float value;
            memcpy(&value, &bits, 4);
            head->real = value;
        } else {
            memcpy(&head->real, &number, 8);
        }
        break;
    default:
        head->integer = p[0] == 0xc3;
    }
    return 1;
}

void clip_marks_free(struct clip_marks *marks)
{
    free(marks->offsets);
    *marks = (struct clip_marks){0};
}

static inline int mark(struct clip_marks *marks, size_t offset, struct clip_error *error)
{
    if (CLIP_GROW(marks->offsets, marks->count, marks->room) != 0)
        return clip_fail_memory(error, "a record");
    marks->offsets[marks->count++] = offset;
    return 0;
}

/* The size of a string, bytes or a number of a short head, as most objects are, if all of it is there; else
 * 0. */
static inline size_t short_size(const uint8_t *p, size_t available)
{
    size_t size = 1;
    if (available < 2)
        return 0;
    if (p[0] >= 0xa0 && p[0] < 0xc0)
        size += p[0] & 31;
    else if (p[0] == 0xc4 || p[0] == 0xd9)
        size += 1 + (size_t)p[1];
    else if (p[0] >= 0x80 && p[0] < 0xe0)
        return 0;
    return size <= available ? size : 0;
}

int clip_skim_run(struct clip_skim *skim, const uint8_t *p, size_t available, size_t limit,
                  struct clip_marks *marks, struct clip_error *error)
{
    if (skim->at == 0 && skim->depth == 0)
        skim->left[0] = 1;
    while (skim->left[0] > 0 || skim->depth > 0) {
        if (skim->left[skim->depth] == 0) { /* the innermost container is full */
            if (skim->depth-- == 1 && mark(marks, skim->at, error) != 0)
                return -1;
            continue;
        }
        size_t size = short_size(p + skim->at, available - skim->at);
        if (size > 0 && skim->at + size <= limit) {
            if (skim->depth == 1 && mark(marks, skim->at, error) != 0)
                return -1;
            skim->left[skim->depth]--;
            skim->at += size;
            continue;
        }
        struct clip_head head;
        int known = clip_head_read(&head, p + skim->at, available - skim->at);
        if (known < 0)
            return clip_fail(error, "0x%02x does not begin a msgpack object", p[skim->at]);
        if (known == 0)
            return 0;
        int container = head.kind == CLIP_ARRAY || head.kind == CLIP_MAP;
        if (head.length > limit)
            return clip_fail(error, "%s of %llu %s is over the limit of %zu",
                             container ? "a container" : "a value", (unsigned long long)head.length,
                             container ? "entries" : "bytes", limit);
        size = head.head + (container ? 0 : (size_t)head.length);
        if (skim->at + size > limit)
            return clip_fail(error, "a record of more than %zu bytes (see --max-record)", limit);
        if (available - skim->at < size)
            return 0;
        if (skim->depth == 1 && mark(marks, skim->at, error) != 0)
            return -1;
        skim->left[skim->depth]--;
        skim->at += size;
        if (container) {
            if (skim->depth == CLIP_MAX_NESTING)
                return clip_fail(error, "containers nested more than %d deep", CLIP_MAX_NESTING);
            skim->left[++skim->depth] = head.kind == CLIP_MAP ? 2 * head.length : head.length;
        }
    }
    return 1;
}
