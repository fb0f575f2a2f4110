#include "shard/sample.h"
#include "base/array.h"
#include "base/random.h"
#include "shard/links.h"
#include "shard/npy.h"
#include "shard/tar.h"

#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <unistr.h>

#define KEYS_MOST 4096 /* number of a shard's keys that are remembered */
#define KEYS_ROOM (2 * KEYS_MOST)
#define READ_SIZE ((size_t)1 << 20) /* memory for a member's data grows with the data read */

/* A record under construction: the msgpack of a map whose count is filled in at the end. */
struct sketch {
    uint8_t *bytes;
    size_t size, room;
    size_t names[CLIP_MAX_FIELDS]; /* position of each field's name in the bytes, and its length */
    size_t name_sizes[CLIP_MAX_FIELDS];
    size_t count;
};

struct clip_samples {
    struct clip_source *source;
    struct clip_tar *tar;
    struct clip_links *links;
    const char *url;
    const struct clip_sample_options *options;
    struct clip_member member;
    int pending; /* `member` is not yet processed */
    int wanted;  /* its bytes are wanted for links to it, and are not read yet */
    int lost;    /* the target of the link cannot be read */
    struct clip_error lost_error;
    int ended;
    int open; /* a sample is in `sketch` */
    int bad;
    struct clip_error error; /* why */
    struct sketch sketch;
    size_t head_size; /* size of the sketch with key and url alone */
    char *key;
    size_t key_size;
    uint64_t begin, offset;  /* offset of the open sample, of the one returned last */
    uint64_t unread;         /* headers_only: bytes of the open sample that were not read */
    uint64_t members, begun; /* not folders; samples */
    uint64_t *keys;          /* [KEYS_ROOM]: hashes of the first keys, 0 where there is none */
    size_t key_count, repeated;
    int anywhere; /* the reader jumped to a sample: the order of keys means nothing */
    struct clip_passed passed;
};

/* --- names --- */

static const char *shown_url(const struct clip_samples *samples)
{
    return strcmp(samples->url, "-") == 0 ? "standard input" : samples->url;
}

int clip_split_name(const char *name, size_t size, size_t *key_size)
{
    const char *slash = memrchr(name, '/', size);
    size_t base = slash ? (size_t)(slash - name) + 1 : 0, start = 0;
    const char *dot = memchr(name + base, '.', size - base);
    if (!dot || dot == name)
        return -1;
    size_t end = (size_t)(dot - name);
    /* The last part of the key begins after the last slash that leaves it something (a "." of a pattern
     * does not match a newline). It contains no dot. */
    for (size_t i = 0; i + 1 < end && name[i] != '\n'; i++)
        if (name[i] == '/')
            start = i + 1;
    if (memchr(name + start, '.', end - start))
        return -1;
    *key_size = end;
    return 0;
}

int clip_is_meta_name(const char *name, size_t size)
{
    const char *slash = memchr(name, '/', size);
    size_t part = slash ? (size_t)(slash - name) : size;
    if (!slash && part > 0 && name[part - 1] == '\n') /* Python's $ */
        part--;
    return part >= 4 && memcmp(name, "__", 2) == 0 && memcmp(name + part - 2, "__", 2) == 0;
}

int clip_name_escapes(const char *name, size_t size)
{
    for (size_t at = 0; at < size;) {
        const char *slash = memchr(name + at, '/', size - at);
        size_t part = slash ? (size_t)(slash - name) - at : size - at;
        if ((at == 0 && part == 0) || (part == 2 && memcmp(name + at, "..", 2) == 0))
            return 1;
        at += part + 1;
    }
    return 0;
}

/* Python turns a byte that is not UTF-8 into a surrogate, which is not a letter and so separates the
 * letters around it. */
#define ESCAPE 0xdc00

/* Decodes the text to points[size]; returns their number. */
static size_t read_points(ucs4_t *points, const char *text, size_t size)
{
    size_t n = 0;
    for (size_t at = 0; at < size; n++) {
        int used = u8_mbtoucr(&points[n], (const uint8_t *)text + at, size - at);
        if (used < 0) {
            points[n] = ESCAPE | (uint8_t)text[at];
            used = 1;
        }
        at += (size_t)used;
    }
    return n;
}

/* Whether the capital sigma points[i] ends a word: a letter with case before it and none after it, past
 * those that case ignores (Unicode's Final_Sigma; libunistring's own u8_tolower asks less). */
static int is_final_sigma(const ucs4_t *points, size_t n, size_t i)
{
    size_t before = i, after = i + 1;
    while (before > 0 && uc_is_property_case_ignorable(points[before - 1]))
        before--;
    while (after < n && uc_is_property_case_ignorable(points[after]))
        after++;
    return before > 0 && uc_is_property_cased(points[before - 1]) &&
           (after == n || !uc_is_property_cased(points[after]));
}

/* Writes the lower case of points[i] to out[6]; returns the number of bytes. */
static size_t write_lower(uint8_t *out, const ucs4_t *points, size_t n, size_t i)
{
    ucs4_t point = points[i];
    if ((point & ~(ucs4_t)0xff) == ESCAPE) {
        *out = (uint8_t)point;
        return 1;
    }
    if (point == 0x130) { /* the only capital whose lower case is two characters: i, and a dot above */
        memcpy(out, "i\xcc\x87", 3);
        return 3;
    }
    if (point == 0x3a3)
        point = is_final_sigma(points, n, i) ? 0x3c2 : 0x3c3;
    return (size_t)u8_uctomb(out, uc_tolower(point), 6);
}

char *clip_lower_extension(const char *text, size_t size, size_t *lower_size)
{
    char *lower = malloc(3 * size + 6); /* two bytes may become three */
    ucs4_t *points = reallocarray(NULL, size + 1, sizeof *points);
    *lower_size = 0;
    if (lower && points) {
        size_t n = read_points(points, text, size);
        for (size_t i = 0; i < n; i++)
            *lower_size += write_lower((uint8_t *)lower + *lower_size, points, n, i);
    } else {
        free(lower);
        lower = NULL;
    }
    free(points);
    return lower;
}

int clip_only_read(struct clip_sample_options *options, const char *words, struct clip_error *error)
{
    size_t size;
    for (const char *word = words; word;) {
        size_t length = strcspn(word, ",");
        char **only = reallocarray((void *)options->only, options->only_count + 1, sizeof *only);
        char *lower = only ? clip_lower_extension(word, length, &size) : NULL;
        options->only = only ? only : options->only;
        if (!lower)
            return clip_fail_memory(error, "extensions");
        lower[size] = '\0';
        only[options->only_count++] = lower;
        word = word[length] ? word + length + 1 : NULL;
    }
    return 0;
}

void clip_only_free(struct clip_sample_options *options)
{
    for (size_t i = 0; i < options->only_count; i++)
        free(options->only[i]);
    free((void *)options->only);
}

/* --- the record --- */

static int reserve(struct sketch *sketch, size_t size)
{
    if (sketch->room - sketch->size >= size)
        return 0;
    size_t room = sketch->size + size + sketch->size / 2;
    uint8_t *bytes = realloc(sketch->bytes, room);
    if (!bytes)
        return -1;
    sketch->bytes = bytes;
    sketch->room = room;
    return 0;
}

/* msgpack-c's packer writes through this function. */
static int sketch_write(void *data, const char *bytes, size_t size)
{
    struct sketch *sketch = data;
    if (reserve(sketch, size) != 0)
        return -1;
    memcpy(sketch->bytes + sketch->size, bytes, size);
    sketch->size += size;
    return 0;
}

static int sketch_name(struct sketch *sketch, msgpack_packer *packer, const char *name, size_t size)
{
    if (msgpack_pack_str(packer, size) != 0)
        return -1;
    sketch->names[sketch->count] = sketch->size;
    sketch->name_sizes[sketch->count++] = size;
    return sketch_write(sketch, name, size);
}

static int sketch_string(struct sketch *sketch, msgpack_packer *packer, const char *name, const char *text,
                         size_t size)
{
    return sketch_name(sketch, packer, name, strlen(name)) || msgpack_pack_str(packer, size) ||
           sketch_write(sketch, text, size);
}

static int sketch_has(const struct sketch *sketch, const char *name, size_t size)
{
    for (size_t i = 0; i < sketch->count; i++)
        if (sketch->name_sizes[i] == size && memcmp(sketch->bytes + sketch->names[i], name, size) == 0)
            return 1;
    return 0;
}

static const uint8_t map32[5] = {0xdf};

/* A key that occurs again belongs to a sample whose members lie apart. If a whole shard is made that way,
 * such as all pictures and then all captions, its first keys suffice to detect it. */
static int note_key(struct clip_samples *samples, struct clip_error *error)
{
    struct clip_passed *passed = &samples->passed;
    if (samples->anywhere || samples->options->loose || passed->scattered[0])
        return 0;
    if (!samples->keys && !(samples->keys = calloc(KEYS_ROOM, sizeof *samples->keys)))
        return clip_fail_memory(error, "keys");
    uint64_t hash = clip_fnv1a(samples->key, samples->key_size) | 1;
    size_t at = hash / 2 % KEYS_ROOM;
    while (samples->keys[at] && samples->keys[at] != hash)
        at = (at + 1) % KEYS_ROOM;
    if (samples->keys[at] && ++samples->repeated > 1) /* a single one may be a slip, or intended */
        clip_printable(passed->scattered, sizeof passed->scattered, samples->key, samples->key_size);
    if (!samples->keys[at] && samples->key_count < KEYS_MOST) {
        samples->keys[at] = hash;
        samples->key_count++;
    }
    return 0;
}

static int begin_sample(struct clip_samples *samples, size_t key_size, struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    msgpack_packer packer;
    msgpack_packer_init(&packer, sketch, sketch_write);
    free(samples->key);
    samples->key = malloc(key_size);
    if (!samples->key)
        return clip_fail_memory(error, "a sample");
    memcpy(samples->key, samples->member.name, key_size);
    samples->key_size = key_size;
    samples->begin = samples->member.offset;
    samples->open = 1;
    samples->bad = 0;
    samples->begun++;
    if (note_key(samples, error) != 0)
        return -1;
    samples->unread = 0;
    sketch->size = sketch->count = 0;
    if (sketch_write(sketch, (const char *)map32, sizeof map32) != 0 ||
        sketch_string(sketch, &packer, "__key__", samples->key, key_size) != 0 ||
        sketch_string(sketch, &packer, "__url__", samples->url, strlen(samples->url)) != 0)
        return clip_fail_memory(error, "a sample");
    samples->head_size = sketch->size;
    return 0;
}

/* The open sample will be returned as a bad one, without its members. */
static void mark_bad(struct clip_samples *samples, const struct clip_error *why)
{
    struct sketch *sketch = &samples->sketch;
    samples->bad = 1;
    samples->error = *why;
    sketch->size = samples->head_size;
    sketch->count = 2;
}

/* A sample that WebDataset drops: one that marks itself as bad. */
static int is_marked_bad(const struct clip_record *record)
{
    const struct clip_field *field = clip_record_find(record, "__bad__");
    const char *data;
    size_t size;
    return field && clip_field_bytes(field, &data, &size) == 0 && size > 0;
}

/* Makes a record of the open sample; *record is NULL if the sample is left out. */
static int end_sample(struct clip_samples *samples, struct clip_record **record, struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    uint8_t *bytes = sketch->bytes;
    *record = NULL;
    samples->open = 0;
    if (!samples->bad && samples->options->only_count > 0 && sketch->count == 2) {
        samples->passed.unmatched++;
        return 0;
    }
    for (int i = 1; i <= 4; i++)
        bytes[i] = (uint8_t)(sketch->count >> (32 - 8 * i));
    if (!(*record = clip_record_new()))
        return clip_fail_memory(error, "a sample");
    sketch->bytes = NULL;
    sketch->room = 0;
    int status = clip_record_set(*record, bytes, sketch->size, error);
    samples->offset = samples->begin;
    (*record)->source = shown_url(samples);
    if (samples->bad)
        clip_record_fail(*record, "%s", samples->error.text);
    if (status != 0 || (!samples->bad && is_marked_bad(*record))) {
        clip_record_free(*record);
        *record = NULL;
    }
    return status;
}

/* --- members --- */

/* For a member NAME.npy, as shard/tarball.h writes it, the size of NAME, the tensor's name; for a plain
 * npy the size of that word. 0 for other members; names that begin with "_" are reserved. */
static size_t tensor_name(const char *extension, size_t size)
{
    if (size == 3 && memcmp(extension, "npy", 3) == 0)
        return size;
    if (size > 0 && extension[0] == '_')
        return 0;
    return size > 4 && memcmp(extension + size - 4, ".npy", 4) == 0 ? size - 4 : 0;
}

static int is_kept(const struct clip_samples *samples, const char *extension, size_t size)
{
    const struct clip_sample_options *options = samples->options;
    size_t stem = tensor_name(extension, size);
    for (size_t i = 0; i < options->only_count; i++) {
        size_t length = strlen(options->only[i]);
        if ((length == size || (stem && length == stem)) && memcmp(options->only[i], extension, length) == 0)
            return 1;
    }
    return options->only_count == 0;
}

/* Reads the next bytes of the member, or of the target of its link. */
static int read_data(struct clip_samples *samples, void *out, uint64_t size, struct clip_error *error)
{
    return samples->member.kind == CLIP_MEMBER_LINK ? clip_links_read(samples->links, out, size, error)
                                                    : clip_tar_read(samples->tar, out, size, error);
}

/* Appends the member's data to the sketch, whose memory grows with the data read. */
static int add_data(struct clip_samples *samples, struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    for (uint64_t left = samples->member.size; left > 0;) {
        size_t n = left < READ_SIZE ? (size_t)left : READ_SIZE;
        if (reserve(sketch, n) != 0)
            return clip_fail_memory(error, "a sample");
        if (read_data(samples, sketch->bytes + sketch->size, n, error) != 0)
            return -1;
        sketch->size += n;
        left -= n;
    }
    if (!samples->wanted)
        return 0;
    samples->wanted = 0;
    return clip_links_keep(samples->links, &samples->member,
                           sketch->bytes + sketch->size - samples->member.size, error);
}

/* Checks that the member can be a field of the open sample: 0, or -1 with the reason. */
static int check_member(const struct clip_samples *samples, const char *extension, size_t size,
                        struct clip_error *why)
{
    const struct clip_sample_options *options = samples->options;
    const struct clip_member *member = &samples->member;
    char shown[100];
    if (sketch_has(&samples->sketch, extension, size))
        clip_fail(why, "extension '%s' occurs twice", clip_printable(shown, sizeof shown, extension, size));
    else if (size == 7 && memcmp(extension, "__end__", 7) == 0)
        clip_fail(why, "extension '__end__' would end a stream");
    else if (samples->sketch.count == CLIP_MAX_FIELDS)
        clip_fail(why, "a sample of more than %d members", CLIP_MAX_FIELDS - 2);
    else if (member->size > options->max_member)
        clip_fail(why, "%llu bytes (at most %zu, see --max-member)", (unsigned long long)member->size,
                  options->max_member);
    else if (samples->sketch.size + samples->unread + size + 10 + member->size > options->max_record)
        clip_fail(why, "a sample of more than %zu bytes (see --max-record)", options->max_record);
    else
        return 0;
    return clip_member_fail(member, why);
}

/* Replaces the field that begins in the sketch at `begin`, and holds the member's bytes, by the tensor. */
static int put_tensor(struct clip_samples *samples, size_t begin, const char *name, size_t size,
                      const struct clip_tensor *tensor, struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    char head[CLIP_TENSOR_HEAD];
    size_t head_size = clip_tensor_head(tensor, head), bytes = clip_tensor_bytes(tensor);
    uint8_t *copy = malloc(bytes + 1); /* its data will be overwritten */
    msgpack_packer packer;
    msgpack_packer_init(&packer, sketch, sketch_write);
    if (copy)
        memcpy(copy, tensor->data, bytes);
    sketch->size = begin;
    sketch->count--;
    int failed = !copy || sketch_name(sketch, &packer, name, size) != 0 ||
                 sketch_write(sketch, head, head_size) != 0 ||
                 sketch_write(sketch, (const char *)copy, bytes) != 0;
    free(copy);
    return failed ? clip_fail_memory(error, "a sample") : 0;
}

/* Renames the field that begins in the sketch at `begin`, and empties it. */
static int rename_field(struct clip_samples *samples, size_t begin, const char *name, size_t size,
                        struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    msgpack_packer packer;
    msgpack_packer_init(&packer, sketch, sketch_write);
    sketch->size = begin;
    sketch->count--;
    if (sketch_name(sketch, &packer, name, size) != 0 || msgpack_pack_bin(&packer, 0) != 0)
        return clip_fail_memory(error, "a sample");
    return 0;
}

/* Makes the field that was read last, from `begin` on, with its bytes from `data` on, a tensor if these
 * are a .npy file. */
static int use_array(struct clip_samples *samples, size_t begin, size_t data, uint64_t total,
                     const char *extension, size_t size, struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    struct clip_npy_array array;
    struct clip_tensor tensor;
    struct clip_error why;
    uint8_t *owned;
    char shown[100];
    size_t stem = tensor_name(extension, size);
    size_t read = sketch->size - data;
    int got = clip_npy_read(&array, sketch->bytes + data, read, total, 0, &why);
    if (got > 0 && stem != size && sketch_has(sketch, extension, stem))
        got = clip_fail(&why, "extension '%s' occurs twice",
                        clip_printable(shown, sizeof shown, extension, stem));
    if (got < 0) {
        clip_member_fail(&samples->member, &why);
        mark_bad(samples, &why);
    }
    if (got <= 0)
        return 0;
    if (read < total) { /* headers_only: only the name is known */
        samples->unread += read;
        return rename_field(samples, begin, extension, stem, error);
    }
    if (clip_npy_tensor(&array, &tensor, &owned, error) != 0)
        return -1;
    int status = put_tensor(samples, begin, extension, stem, &tensor, error);
    free(owned);
    return status;
}

static int add_member(struct clip_samples *samples, const char *extension, size_t size,
                      struct clip_error *error)
{
    struct sketch *sketch = &samples->sketch;
    size_t begin = sketch->size;
    struct clip_error why;
    msgpack_packer packer;
    if (samples->bad || !is_kept(samples, extension, size))
        return 0;
    if (samples->lost) {
        why = samples->lost_error;
        clip_member_fail(&samples->member, &why);
        mark_bad(samples, &why);
        return 0;
    }
    if (check_member(samples, extension, size, &why) != 0) {
        mark_bad(samples, &why);
        return 0;
    }
    /* A sample says in its data whether it is bad. */
    uint64_t total = samples->member.size;
    size_t stem = tensor_name(extension, size);
    if (samples->options->headers_only && !samples->wanted &&
        !(size == 7 && memcmp(extension, "__bad__", 7) == 0)) {
        samples->member.size = stem == 0 ? 0 : total < CLIP_NPY_MOST ? total : CLIP_NPY_MOST;
        samples->unread += total - samples->member.size;
    }
    msgpack_packer_init(&packer, sketch, sketch_write);
    if (sketch_name(sketch, &packer, extension, size) != 0 ||
        msgpack_pack_bin(&packer, (size_t)samples->member.size) != 0)
        return clip_fail_memory(error, "a sample");
    size_t data = sketch->size;
    if (add_data(samples, error) != 0)
        return -1;
    return stem ? use_array(samples, begin, data, total, extension, size, error) : 0;
}

/* Makes the pending member a sample of its own. If another sample is open, the member stays pending:
 * returns 1. */
static int place_loose(struct clip_samples *samples, struct clip_error *error)
{
    const char *extension = samples->options->loose;
    samples->pending = samples->open;
    if (samples->pending)
        return 1;
    if (begin_sample(samples, samples->member.name_size, error) != 0)
        return -1;
    return add_member(samples, extension, strlen(extension), error);
}

/* Keys become file names sooner or later: refuses one that leads out of the folder. */
static void refuse_name(struct clip_samples *samples)
{
    struct clip_error why;
    clip_fail(&why, "absolute names, and '..' in them, are refused");
    clip_member_fail(&samples->member, &why);
    mark_bad(samples, &why);
}

/* Puts the pending member into its sample: the open one or, if none is open, a new one. If another sample
 * is open, the member stays pending: returns 1. */
static int place_member(struct clip_samples *samples, struct clip_error *error)
{
    const struct clip_member *member = &samples->member;
    size_t key_size, lower_size;
    if (samples->options->loose)
        return place_loose(samples, error);
    samples->pending = 0;
    if (clip_is_meta_name(member->name, member->name_size) ||
        clip_split_name(member->name, member->name_size, &key_size) != 0)
        return 0;
    if (samples->open &&
        (samples->key_size != key_size || memcmp(samples->key, member->name, key_size) != 0)) {
        samples->pending = 1;
        return 1;
    }
    if (!samples->open && begin_sample(samples, key_size, error) != 0)
        return -1;
    if (clip_name_escapes(member->name, member->name_size)) {
        if (!samples->bad)
            refuse_name(samples);
        return 0;
    }
    char *lower =
        clip_lower_extension(member->name + key_size + 1, member->name_size - key_size - 1, &lower_size);
    if (!lower)
        return clip_fail_memory(error, "a name");
    int status = add_member(samples, lower, lower_size, error);
    free(lower);
    return status;
}

/* --- the archive --- */

struct clip_samples *clip_samples_new(struct clip_source *source, const char *url,
                                      const struct clip_sample_options *options, struct clip_error *error)
{
    struct clip_samples *samples = calloc(1, sizeof *samples);
    if (!samples)
        clip_fail_memory(error, "a shard");
    struct clip_tar *tar = samples ? clip_tar_new(source, error) : NULL;
    struct clip_links *links = tar ? clip_links_new(source, options->ignore_zeros, error) : NULL;
    if (!links) {
        clip_tar_free(tar);
        free(samples);
        clip_source_close(source);
        return NULL;
    }
    clip_tar_ignore_zeros(tar, options->ignore_zeros);
    samples->source = source;
    samples->tar = tar;
    samples->links = links;
    samples->url = url;
    samples->options = options;
    return samples;
}

void clip_samples_share(struct clip_samples *samples, struct clip_member_table *table)
{
    clip_links_share(samples->links, table);
}

void clip_samples_free(struct clip_samples *samples)
{
    if (!samples)
        return;
    clip_links_free(samples->links);
    clip_tar_free(samples->tar);
    clip_source_close(samples->source);
    free(samples->keys);
    free(samples->sketch.bytes);
    free(samples->key);
    free(samples);
}

/* Reads what follows the archive: damage of a compressed file may show there, and a program that writes
 * into a pipe must not be stopped early. Only zeros, which pad archives, may follow. */
static int drain_archive(struct clip_samples *samples, struct clip_error *error)
{
    uint8_t block[8192];
    uint64_t got, offset, more = 0, at = 0;
    do {
        offset = clip_source_offset(samples->source);
        if (clip_source_read(samples->source, block, sizeof block, &got, error) != 0)
            return clip_fail_prefix(error, "after the end of the archive");
        for (uint64_t i = 0; i < got; i++)
            if (block[i] != 0 && more++ == 0)
                at = offset + i;
    } while (got == sizeof block);
    if (more == 0)
        return 0;
    return clip_fail(error,
                     "data follows the end of the archive, at offset %llu (if it is another archive, "
                     "--ignore-zeros reads it)",
                     (unsigned long long)at);
}

const char *clip_passed_describe(const struct clip_passed *passed, char *out, size_t size)
{
    const struct {
        uint64_t count;
        const char *what;
    } kinds[] = {{passed->symlinks, "symbolic links"},
                 {passed->dangling, "hard links to no earlier member"},
                 {passed->others, "devices and other special members"}};
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < CLIP_COUNT_OF(kinds); i++)
        if (kinds[i].count && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s: %llu", used ? ", " : "", kinds[i].what,
                                     (unsigned long long)kinds[i].count);
    return out;
}

int clip_passed_add(struct clip_passed *sum, const struct clip_passed *passed)
{
    sum->unmatched += passed->unmatched;
    sum->symlinks += passed->symlinks;
    sum->dangling += passed->dangling;
    sum->others += passed->others;
    if (!passed->scattered[0] || sum->scattered[0])
        return 0;
    memcpy(sum->scattered, passed->scattered, sizeof sum->scattered);
    return 1;
}

/* The archive is read. Members without a single sample are an error, because nobody wants that. */
static int check_all(const struct clip_samples *samples, struct clip_error *error)
{
    const struct clip_passed *passed = &samples->passed;
    uint64_t named = samples->members - passed->symlinks - passed->dangling - passed->others;
    char text[200];
    if (samples->members == 0 || samples->begun > 0)
        return 0;
    clip_passed_describe(passed, text, sizeof text);
    if (named == 0)
        return clip_fail(error, "members, but no sample (%s)", text);
    return clip_fail(error, "members, but no sample (names that are not KEY.EXTENSION: %llu%s%s)",
                     (unsigned long long)named, text[0] ? ", " : "", text);
}

/* Keeps the last member's bytes if links may point to it and nobody has read them. */
static int keep_unread(struct clip_samples *samples, struct clip_error *error)
{
    if (!samples->wanted)
        return 0;
    samples->wanted = 0;
    char *bytes = malloc((size_t)samples->member.size + 1);
    int status = bytes ? clip_tar_read(samples->tar, bytes, samples->member.size, error)
                       : clip_fail_memory(error, "links");
    if (status == 0)
        status = clip_links_keep(samples->links, &samples->member, bytes, error);
    free(bytes);
    return status;
}

/* Goes to the next member: it is `pending` if it may belong to a sample, else counted. */
static int next_member(struct clip_samples *samples, struct clip_error *error)
{
    struct clip_member *member = &samples->member;
    if (keep_unread(samples, error) != 0)
        return -1;
    int got = clip_tar_next(samples->tar, member, error);
    if (got < 0)
        return -1;
    samples->ended = !got;
    samples->lost = 0;
    if (!got || member->kind == CLIP_MEMBER_FOLDER)
        return 0;
    samples->members++;
    samples->passed.symlinks += member->kind == CLIP_MEMBER_SYMLINK;
    samples->passed.others += member->kind == CLIP_MEMBER_OTHER;
    samples->pending = member->kind == CLIP_MEMBER_FILE;
    if (member->kind == CLIP_MEMBER_LINK) {
        got = clip_links_find(samples->links, member, &member->size, &samples->lost_error);
        samples->passed.dangling += got == 0;
        samples->lost = got < 0;
        samples->pending = got != 0;
    }
    /* The target of a link is kept already. */
    samples->wanted = member->kind == CLIP_MEMBER_FILE && clip_links_wants(samples->links, member);
    return 0;
}

static int next_sample(struct clip_samples *samples, struct clip_record **record, struct clip_error *error)
{
    *record = NULL;
    while (!*record) {
        if (!samples->pending && !samples->ended) {
            if (next_member(samples, error) != 0)
                return -1;
            if (samples->options->headers_only && clip_tar_renames(samples->tar))
                return clip_fail(error, "a global PAX header that names members, which needs their order");
        }
        int other = samples->ended;
        if (samples->pending && (other = place_member(samples, error)) < 0)
            return -1;
        if (other && samples->open && end_sample(samples, record, error) != 0)
            return -1;
        if (samples->ended && !*record)
            return drain_archive(samples, error) == 0 ? check_all(samples, error) : -1;
    }
    return 1;
}

int clip_samples_next(struct clip_samples *samples, struct clip_record **record, struct clip_error *error)
{
    int status = next_sample(samples, record, error);
    if (status < 0)
        clip_fail_prefix(error, "%.300s", shown_url(samples));
    return status;
}

void clip_samples_seek(struct clip_samples *samples, uint64_t offset)
{
    clip_tar_seek(samples->tar, offset);
    samples->pending = samples->wanted = samples->ended = samples->open = 0;
    samples->anywhere = 1;
}

const struct clip_passed *clip_samples_passed(const struct clip_samples *samples)
{
    return &samples->passed;
}

uint64_t clip_samples_taken(const struct clip_samples *samples)
{
    return clip_source_taken(samples->source);
}

double clip_samples_waited(const struct clip_samples *samples)
{
    return clip_source_waited(samples->source);
}

uint64_t clip_samples_offset(const struct clip_samples *samples)
{
    return samples->offset;
}
