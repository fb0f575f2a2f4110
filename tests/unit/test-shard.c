/* Names, lists of shards, and archives made block by block: whole, cut everywhere, and lying. */
#include "check.h"
#include "shard/index.h"
#include "shard/sample.h"
#include "shard/shards.h"
#include "shard/tar.h"

#include <stdint.h>
#include <string.h>

/* --- names --- */

/* What Python's re.match and str.lower say; KEY is NULL where the name does not match. */
static const struct {
    const char *name, *key, *extension;
} names[] = {
    {"a.jpg", "a", "jpg"},
    {"a.b.jpg", "a", "b.jpg"},
    {"./a.JPG", "./a", "jpg"},
    {"a.b/c.d", "a.b/c", "d"},
    {"a..jpg", "a", ".jpg"},
    {"a.", "a", ""},
    {"d/._a.jpg", "d/", "_a.jpg"},
    {"/.a", "/", "a"},
    {"//.a", "//", "a"},
    {"x/y/.a.b", "x/y/", "a.b"},
    {".hidden", NULL, NULL},
    {"._a.jpg", NULL, NULL},
    {"a", NULL, NULL},
    {"", NULL, NULL},
    {"a.b/c", NULL, NULL},
    {"a.b/", NULL, NULL},
    {"v1.0/.a", NULL, NULL}, /* the key's last part would hold a dot */
    {"v1.0/x/.a", "v1.0/x/", "a"},
    {"a\nb/c.jpg", "a\nb/c", "jpg"}, /* "." is no newline, but "[^.]" may be one */
    {"a.x\nb/c.jpg", NULL, NULL},
    {"d/a.x\nb/c.jpg", NULL, NULL},
    {"d.d/a\nb/c.jpg", "d.d/a\nb/c", "jpg"},
    {"a.jpg\n", "a", "jpg\n"},
    {"a.\xc3\x84", "a", "\xc3\xa4"},
    {"a.\xff\xc3\x84", "a", "\xff\xc3\xa4"},
    {"a.A\xce\xa3", "a", "a\xcf\x82"}, /* a final sigma */
    {"a.\xce\xa3", "a", "\xcf\x83"},
    {"a.A'\xce\xa3:", "a", "a'\xcf\x82:"}, /* after what case ignores */
    {"a.A\xce\xa3'b", "a", "a\xcf\x83'b"},
    {"a.A\xff\xce\xa3", "a", "a\xff\xcf\x83"},
    {"a.\xc8\xba", "a", "\xe2\xb1\xa5"}, /* two bytes become three */
    {"a.\xc4\xb0", "a", "i\xcc\x87"},
    {"a.\xc4\xb0\xc4\xb0\xc4\xb0", "a", "i\xcc\x87i\xcc\x87i\xcc\x87"},
};

static void test_names(void)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = names[i].name;
        size_t size = strlen(name), key_size = 0, lower_size;
        int matched = clip_split_name(name, size, &key_size) == 0;
        CHECK(matched == (names[i].key != NULL), "%s", name);
        if (!matched || !names[i].key)
            continue;
        CHECK(key_size == strlen(names[i].key) && memcmp(name, names[i].key, key_size) == 0, "%s", name);
        char *lower = clip_lower_extension(name + key_size + 1, size - key_size - 1, &lower_size);
        CHECK(lower_size == strlen(names[i].extension) && memcmp(lower, names[i].extension, lower_size) == 0,
              "%s", name);
        free(lower);
    }
}

static void test_meta_names(void)
{
    static const char *const meta[] = {"__meta__", "____", "__a.jpg__", "__m__/a.jpg", "__m\n__", "__m__\n"};
    static const char *const plain[] = {"__meta__.json", "___",       "__",      "a/__m__", "_m__",
                                        "__m_",          "__m__\n\n", "__m__x/", ""};
    for (size_t i = 0; i < sizeof meta / sizeof *meta; i++)
        CHECK(clip_is_meta_name(meta[i], strlen(meta[i])), "%s", meta[i]);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        CHECK(!clip_is_meta_name(plain[i], strlen(plain[i])), "%s", plain[i]);
}

/* --- lists of shards --- */

/* What an operand stands for, joined by spaces; NULL where it is refused. */
static const struct {
    const char *operand, *names;
} lists[] = {
    {"a.tar", "a.tar"},
    {"{1,2}", "1 2"},
    {"{1}", "{1}"},
    {"x{}y", "x{}y"},
    {"{1,2{}}", "1 2{}"},
    {"a{b,c}d{e,f}", "abde abdf acde acdf"},
    {"a{b,c{d,e,}}", "ab acd ace ac"},
    {"a{b,{c,{d,e}}}", "ab ac ad ae"},
    {"{{a,b},{c,d}}", "a b c d"},
    {"{{1..3}}", "{1} {2} {3}"},
    {"{7..10}", "7 8 9 10"},
    {"{10..7}", "10 9 8 7"},
    {"{1..5..2}", "1 3 5"},
    {"{5..1..2}", "5 3 1"},
    {"{1..5..-2}", "1 3 5"},
    {"{1..3..0}", "1 2 3"},
    {"{07..10}", "07 08 09 10"},
    {"{7..010}", "007 008 009 010"},
    {"{0..2}", "0 1 2"},
    {"{000..002}.tar", "000.tar 001.tar 002.tar"},
    {"{2..-1}", "2 1 0 -1"},
    {"{-01..1}", "-01 000 001"},
    {"{a..e}", "a b c d e"},
    {"{a..e..2}", "a c e"},
    {"{e..a..2}", "e c a"},
    {"{Z..a}", "Z a"},
    {"{a..Z}", "a Z"},
    {"{C..A}", "C B A"},
    {"{1..a}", "{1..a}"},
    {"{a..1}", "{a..1}"},
    {"{1..1}", "1"},
    {"{a..a}", "a"},
    {"{aa..b}", "{aa..b}"},
    {"{1..2..}", "{1..2..}"},
    {"{1...3}", "{1...3}"},
    {"\\{1,2}", NULL},
    {"\\{1,2\\}", "{1,2}"},
    {"{1\\,2}", "{1,2}"},
    {"{\\,1,2}", ",1 2"},
    {"{1,2\\,}", "1 2,"},
    {"\\}{1,2}", "}1 }2"},
    {"\\\\{1,2}", "\\1 \\2"},
    {"x\\", "x\\"},
    {"a::b", "a b"},
    {"{0..1}.tar::c{x,y}::d", "0.tar 1.tar cx cy d"},
    {"-", "-"},
    {"{{1,2}", NULL},
    {"{1,2}}", NULL},
    {"{1,{2}", NULL},
    {"}{1,2}", NULL},
    {"{1,2}{", NULL},
    {"a::", NULL},
    {"::a", NULL},
    {"", NULL},
    {"{,a}", NULL},
    {"{1..1000000}{1..2}", NULL},
    {"{0..999999999999}", NULL},
    {"{0..999999999999999999}", NULL},
    {"{0..9999999999999999999}", "{0..9999999999999999999}"},
};

static void test_lists(void)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct clip_shards shards = {0};
        struct clip_error error = {""};
        char joined[200] = "";
        int status = clip_shards_add(&shards, lists[i].operand, &error);
        for (size_t k = 0; k < shards.count; k++) {
            strcat(joined, k ? " " : "");
            strcat(joined, shards.names[k]);
        }
        if (lists[i].names)
            CHECK(status == 0 && strcmp(joined, lists[i].names) == 0, "%s: '%s' %s", lists[i].operand, joined,
                  error.text);
        else
            CHECK(status == -1 && shards.count == 0 && error.text[0], "%s", lists[i].operand);
        clip_shards_free(&shards);
    }
}

static void test_big_lists(void)
{
    static char deep[100001];
    struct clip_shards shards = {0};
    struct clip_error error;
    memset(deep, '{', 50000);
    memset(deep + 50000, '}', 50000);
    CHECK(clip_shards_add(&shards, deep, &error) == -1 && strstr(error.text, "nested"), "%s", error.text);
    CHECK(clip_shards_add(&shards, "{1..1000000}", &error) == 0 && shards.count == CLIP_MAX_SHARDS, "");
    CHECK(strcmp(shards.names[999999], "1000000") == 0, "");
    CHECK(clip_shards_add(&shards, "x", &error) == -1 && shards.count == CLIP_MAX_SHARDS, "");
    clip_shards_slice(&shards, 3, 400000);
    CHECK(shards.count == 3 && strcmp(shards.names[0], "3") == 0 && strcmp(shards.names[2], "800003") == 0,
          "");
    clip_shards_slice(&shards, 4, 4);
    CHECK(shards.count == 0, "");
    clip_shards_free(&shards);
}

/* --- archives --- */

struct archive {
    uint8_t bytes[65536];
    size_t size;
};

static void sign(uint8_t *block)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < CLIP_TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

/* Eleven octal digits. */
static void put_octal(uint8_t *at, uint64_t value)
{
    for (int i = 10; i >= 0; i--, value >>= 3)
        at[i] = (uint8_t)('0' + (value & 7));
}

/* Adds a header; the caller may change it and sign it again. */
static uint8_t *add_header(struct archive *archive, const char *name, char type, size_t size)
{
    uint8_t *block = archive->bytes + archive->size;
    memset(block, 0, CLIP_TAR_BLOCK);
    memcpy(block, name, strnlen(name, 100));
    snprintf((char *)block + 100, 8, "%07o", 0444);
    put_octal(block + 124, size);
    block[156] = (uint8_t)type;
    memcpy(block + 257, "ustar\00000", 8);
    sign(block);
    archive->size += CLIP_TAR_BLOCK;
    return block;
}

static void add_data(struct archive *archive, const void *data, size_t size)
{
    size_t padded = (size + CLIP_TAR_BLOCK - 1) / CLIP_TAR_BLOCK * CLIP_TAR_BLOCK;
    memset(archive->bytes + archive->size, 0, padded);
    if (size)
        memcpy(archive->bytes + archive->size, data, size);
    archive->size += padded;
}

static uint8_t *add_file(struct archive *archive, const char *name, char type, const char *text)
{
    uint8_t *block = add_header(archive, name, type, strlen(text));
    add_data(archive, text, strlen(text));
    return block;
}

static void add_end(struct archive *archive)
{
    add_data(archive, "", 0);
    memset(archive->bytes + archive->size, 0, 2 * CLIP_TAR_BLOCK);
    archive->size += 2 * CLIP_TAR_BLOCK;
}

/* Writes down what samples come, without their data, and whether the archive ends well: for an index, which
 * reads headers only, the same must come. */
static void outline(const uint8_t *bytes, size_t size, const struct clip_sample_options *options, char *out,
                    size_t room)
{
    FILE *file = fmemopen(out, room, "w");
    struct clip_error error;
    struct clip_record *record;
    struct clip_source *source = clip_source_memory(bytes, size, &error);
    struct clip_samples *samples = clip_samples_new(source, "t.tar", options, &error);
    int got;
    while ((got = clip_samples_next(samples, &record, &error)) == 1) {
        size_t key_size;
        const char *key = clip_record_key(record, &key_size);
        fprintf(file, "%llu %.*s %s:", (unsigned long long)clip_samples_offset(samples), (int)key_size, key,
                record->bad ? record->error.text : "");
        for (size_t i = 2; i < record->count; i++)
            fprintf(file, " %.*s", (int)record->fields[i].name_size, record->fields[i].name);
        clip_record_free(record);
    }
    fprintf(file, "%s, %llu unmatched",
            got == 0                                                    ? "end"
            : options->headers_only && strstr(error.text, "global PAX") ? "in order only"
                                                                        : "error",
            (unsigned long long)clip_samples_passed(samples)->unmatched);
    fclose(file);
    clip_samples_free(samples);
}

static void check_headers_only(const uint8_t *bytes, size_t size, const struct clip_sample_options *options)
{
    char whole[8192], headers[8192];
    struct clip_sample_options only = *options;
    only.headers_only = 1;
    outline(bytes, size, options, whole, sizeof whole);
    outline(bytes, size, &only, headers, sizeof headers);
    CHECK(strcmp(whole, headers) == 0 || strstr(headers, "in order only"), "%s\n%s", whole, headers);
}

/* Reads the samples and writes down what came: "KEY: EXT=DATA EXT=DATA; ", "KEY: bad REASON; ", "end" or the
 * error. */
static const char *read_with(const uint8_t *bytes, size_t size, const struct clip_sample_options *options)
{
    static char out[8192];
    FILE *file = fmemopen(out, sizeof out, "w");
    struct clip_error error = {""};
    struct clip_record *record;
    uint8_t *copy =
        malloc(size ? size : 1); /* of its own size, so that a sanitizer sees what is read past it */
    memcpy(copy, bytes, size);
    check_headers_only(copy, size, options);
    struct clip_source *source = clip_source_memory(copy, size, &error);
    struct clip_samples *samples = clip_samples_new(source, "t.tar", options, &error);
    int got;
    while ((got = clip_samples_next(samples, &record, &error)) == 1) {
        size_t key_size;
        const char *key = clip_record_key(record, &key_size), *data;
        fprintf(file, "%.*s:", (int)key_size, key);
        if (record->bad)
            fprintf(file, " bad %s", record->error.text);
        for (size_t i = 2; i < record->count; i++) {
            size_t data_size = 0;
            CHECK(clip_field_bytes(&record->fields[i], &data, &data_size) == 0, "");
            fprintf(file, " %.*s=%.*s", (int)record->fields[i].name_size, record->fields[i].name,
                    (int)data_size, data_size ? data : "");
        }
        fprintf(file, "; ");
        clip_record_free(record);
    }
    fprintf(file, "%s", got < 0 ? error.text : "end");
    fclose(file);
    clip_samples_free(samples);
    free(copy);
    return out;
}

static const struct clip_sample_options plain = {.max_member = 1000000, .max_record = 2000000};

static const char *read_all(const struct archive *archive)
{
    return read_with(archive->bytes, archive->size, &plain);
}

static void expect(const struct archive *archive, const char *what, const char *expected)
{
    const char *got = read_all(archive);
    CHECK(strcmp(got, expected) == 0, "%s: %s", what, got);
}

static void test_grouping(void)
{
    struct archive a = {.size = 0};
    add_file(&a, "a.jpg", '0', "1");
    add_file(&a, "README", '0', "x");
    add_file(&a, "a.TXT", '\0', "22");
    add_file(&a, "__meta__", '0', "x");
    add_file(&a, "d.d", '5', "");
    add_file(&a, "a.lnk", '1', "");
    add_file(&a, "a.sym", '2', "");
    add_file(&a, "a.Z", 'Z', "a type that nobody knows");
    add_file(&a, "a.seven", '7', "7");
    add_file(&a, "b.jpg", '0', "");
    add_file(&a, "a.jpg", '0', "3");
    add_file(&a, "folder.d/", '\0', "");
    add_end(&a);
    expect(&a, "grouping", "a: jpg=1 txt=22 seven=7; b: jpg=; a: jpg=3; end");
}

static void test_bad_samples(void)
{
    struct archive a = {.size = 0};
    add_file(&a, "a.jpg", '0', "1");
    add_file(&a, "b.jpg", '0', "1");
    add_file(&a, "b.JPG", '0', "2");
    add_file(&a, "b.txt", '0', "3");
    add_file(&a, "c.__url__", '0', "x");
    add_file(&a, "d.__end__", '0', "x");
    add_file(&a, "e.__bad__", '0', "x");
    add_file(&a, "f.__bad__", '0', "");
    add_file(&a, "g.jpg", '0', "1");
    add_end(&a);
    expect(&a, "bad",
           "a: jpg=1; b: bad member b.JPG at offset 2048: extension 'jpg' occurs twice; "
           "c: bad member c.__url__ at offset 4096: extension '__url__' occurs twice; "
           "d: bad member d.__end__ at offset 5120: extension '__end__' would end a stream; "
           "f: __bad__=; g: jpg=1; end");
}

static void test_options(void)
{
    struct archive a = {.size = 0};
    char *only[] = {"txt", "cls"};
    struct clip_sample_options options = {.only = only, .only_count = 2, .max_member = 3, .max_record = 50};
    add_file(&a, "a.jpg", '0', "not read, so not too long");
    add_file(&a, "a.txt", '0', "abc");
    add_file(&a, "a.JPG", '0', "nor does it come twice");
    add_file(&a, "b.jpg", '0', "x");
    add_file(&a, "c.cls", '0', "1");
    add_file(&a, "c.txt", '0', "abcd");
    add_file(&a, "d.cls", '0', "123");
    add_file(&a, "d.txt", '0', "123");
    add_end(&a);
    const char *got = read_with(a.bytes, a.size, &options);
    CHECK(strcmp(got,
                 "a: txt=abc; c: bad member c.txt at offset 5120: 4 bytes (at most 3, see --max-member); "
                 "d: bad member d.txt at offset 7168: a sample of more than 50 bytes (see --max-record); "
                 "end") == 0,
          "%s", got);
}

static void test_extension_headers(void)
{
    struct archive a = {.size = 0};
    char name[301];
    memset(name, 'n', 300);
    memcpy(name + 296, ".jpg", 5);
    add_file(&a, "././@LongLink", 'L', name);
    add_file(&a, "cut off", '0', "1");
    add_file(&a, "././@LongLink", 'K', name);
    add_file(&a, "b.jpg", '0', "2");
    add_file(&a, "pax", 'x', "18 path=c/p.jpg//\n10 size=1\n");
    add_file(&a, "d.jpg", '0', "3");
    add_file(&a, "pax", 'g', "14 path=g.jpg\n");
    add_file(&a, "e.jpg", '0', "4");
    add_file(&a, "pax", 'g', "12 path=h.1\n");
    add_file(&a, "pax", 'x', "12 path=i.1\n");
    add_file(&a, "././@LongLink", 'L', "j.jpg");
    add_file(&a, "f.jpg", '0', "5");
    memcpy(add_file(&a, "k.jpg", '0', "6") + 345, "prefix/p", 8);
    sign(a.bytes + a.size - 2 * CLIP_TAR_BLOCK);
    add_end(&a);
    char expected[1000];
    snprintf(expected, sizeof expected, "%.296s: jpg=1; b: jpg=2; c/p: jpg=3; g: jpg=4; i: 1=5; h: 1=6; end",
             name);
    expect(&a, "extensions", expected);
}

static void test_prefix_and_numbers(void)
{
    struct archive a = {.size = 0};
    uint8_t *block = add_file(&a, "a.jpg", '0', "1");
    memcpy(block + 345, "long/prefix", 11);
    memcpy(block + 108, "\x80\0\0\0\xff\xff\xff\xff", 8); /* a user beyond octal digits */
    memcpy(block + 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
    sign(block);
    block = add_file(&a, "b.jpg", '0', "22");
    memcpy(block + 124, "\x80\0\0\0\0\0\0\0\0\0\0\2", 12);
    sign(block);
    block = add_file(&a, "c.jpg", '0', "333");
    memcpy(block + 124, "   3        ", 12);
    memcpy(block + 100, " -1\0zzzz", 8);
    sign(block);
    add_end(&a);
    expect(&a, "numbers", "long/prefix/a: jpg=1; b: jpg=22; c: jpg=333; end");
    block[100] = '9';
    sign(block);
    expect(&a, "mode 9",
           "long/prefix/a: jpg=1; t.tar: at offset 2048, after member b.jpg at offset 1024: no header of a "
           "member, or a "
           "damaged one");
}

/* Python's int(text, 8), which tarfile uses. */
static void test_python_numbers(void)
{
    static const char *const good[] = {"+1_2", "0o12", "-0O_12", "\x1c 12\x1f\t", "0", "0o7", "1_2_3"};
    static const char *const bad[] = {"_1", "1__2", "1_", "+", "-", "+-1", "0o", "0o_", "0x1", "1 2", "0_o1"};
    struct archive a = {.size = 0};
    add_file(&a, "a.jpg", '0', "1");
    uint8_t *block = add_file(&a, "b.jpg", '0', "0123456789");
    add_end(&a);
    memcpy(block + 124, "\v+0O1_2\0zz", 11);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        strncpy((char *)block + 108, good[i], 8);
        sign(block);
        expect(&a, good[i], "a: jpg=1; b: jpg=0123456789; end");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        strncpy((char *)block + 108, bad[i], 8);
        sign(block);
        expect(&a, bad[i],
               "t.tar: at offset 1024, after member a.jpg at offset 0: no header of a member, or a damaged "
               "one");
    }
}

static void test_signed_checksum(void)
{
    struct archive a = {.size = 0};
    uint8_t *block = add_file(&a, "\xc3\xa9.jpg", '0', "1");
    int sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < CLIP_TAR_BLOCK; i++)
        sum += (int8_t)block[i];
    snprintf((char *)block + 148, 8, "%06o", (unsigned)sum);
    add_end(&a);
    expect(&a, "signed", "\xc3\xa9: jpg=1; end");
}

/* An archive of every kind of header; each cut of it is an error, and what came before is a beginning. */
static void make_varied(struct archive *a)
{
    add_file(a, "a.jpg", '0', "11");
    add_file(a, "a.txt", '0', "2");
    add_file(a, "././@LongLink", 'L', "b.jpg");
    add_file(a, "x", '0', "3");
    add_file(a, "pax", 'x', "18 path=dir/c.jpg\n");
    add_file(a, "x", '0', "4");
    add_end(a);
}

static void test_cuts(void)
{
    struct archive a = {.size = 0};
    char whole[1000];
    make_varied(&a);
    snprintf(whole, sizeof whole, "%s", read_all(&a));
    CHECK(strcmp(whole, "a: jpg=11 txt=2; b: jpg=3; dir/c: jpg=4; end") == 0, "%s", whole);
    for (size_t cut = 0; cut < a.size; cut++) {
        const char *got = read_with(a.bytes, cut, &plain), *message = strstr(got, "t.tar: ");
        CHECK(message && strncmp(whole, got, (size_t)(message - got)) == 0, "cut at %zu: %s", cut, got);
        CHECK(message && (cut == 0 ? strcmp(message, "t.tar: not a tar archive: empty") == 0
                                   : strstr(message, "at offset") && strstr(message, "cut short")),
              "cut at %zu: %s", cut, got);
    }
}

/* Every byte of the headers set to some other: no crash, and an error or a stream. */
static void test_changed_bytes(void)
{
    static const uint8_t values[] = {0, ' ', '1', '7', '9', 'L', 'x', 0x80, 0xff};
    struct archive a = {.size = 0};
    size_t refused = 0;
    make_varied(&a);
    for (size_t i = 0; i < a.size; i++)
        for (size_t k = 0; k < sizeof values; k++) {
            uint8_t old = a.bytes[i];
            a.bytes[i] = values[k];
            if (i % CLIP_TAR_BLOCK < 148 || i % CLIP_TAR_BLOCK >= 156)
                sign(a.bytes + i / CLIP_TAR_BLOCK * CLIP_TAR_BLOCK);
            const char *got = read_all(&a);
            size_t size = strlen(got);
            refused += size < 3 || strcmp(got + size - 3, "end") != 0;
            a.size = 0;
            make_varied(&a);
            CHECK(a.bytes[i] == old, "");
        }
    CHECK(refused > 1000, "%zu", refused);
}

/* --- archives that lie --- */

static void refuse(const struct archive *archive, const char *word)
{
    const char *got = read_all(archive), *message = strstr(got, "t.tar: ");
    CHECK(message && strstr(message, word), "wanted '%s': %s", word, got);
}

static void test_lies(void)
{
    static const struct {
        char type;
        const char *body, *word;
    } extensions[] = {
        {'x', "5 x=\n", "without its member"},
        {'x', "999 path=a\n", "malformed PAX"},
        {'x', "4 x\n", "malformed PAX"},
        {'x', "11 =value\n\n", "malformed PAX"},
        {'x', "12 path=a.b", "malformed PAX"},
        {'x', "99999999999999999999 a=b\n", "malformed PAX"},
        {'x', "x", "malformed PAX"},
        {'x', "11 size=-1\n", "'size' is not a number"},
        {'x', "27 size=999999999999999999\n", "without its member"},
        {'x', "31 size=9999999999999999999999\n", "'size' is not a number"},
        {'x', "22 GNU.sparse.map=1,2\n\n", "malformed PAX"},
        {'x', "22 GNU.sparse.map=1,x\n", "sparse map"},
        {'g', "10 size=1\n", "global"},
        {'g', "22 GNU.sparse.map=1,2\n", "global"},
    };
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
        struct archive a = {.size = 0};
        add_file(&a, "ext", extensions[i].type, extensions[i].body);
        add_end(&a);
        refuse(&a, extensions[i].word);
    }
    struct archive a = {.size = 0};
    add_header(&a, "long", 'L', (size_t)1 << 30);
    refuse(&a, "1073741824 bytes");
    a.size = 0;
    add_header(&a, "a.jpg", '0', 1000000);
    refuse(&a, "cut short");
    a.size = 0;
    memcpy(add_header(&a, "a.jpg", '0', 0) + 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    sign(a.bytes);
    refuse(&a, "negative size");
    memcpy(a.bytes + 124, "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
    sign(a.bytes);
    add_end(&a);
    refuse(&a, "cut short");
    a.size = 0;
    add_file(&a, "a.jpg", '0', "1");
    add_data(&a, "", 0);
    memset(a.bytes + a.size, 0, CLIP_TAR_BLOCK);
    a.size += CLIP_TAR_BLOCK;
    add_file(&a, "b.jpg", '0', "1");
    add_end(&a);
    refuse(&a, "only one end-of-archive block");
}

/* --- sparse members --- */

/* "..AB...C": two pieces, AB at 2 and C at 7, in old GNU's form. */
static uint8_t *add_gnu_sparse(struct archive *a, uint64_t size)
{
    uint8_t *block = add_file(a, "s.bin", 'S', "ABC");
    put_octal(block + 386, 2);
    put_octal(block + 398, 2);
    put_octal(block + 410, 7);
    put_octal(block + 422, 1);
    put_octal(block + 483, size);
    sign(block);
    return block;
}

static void expect_sparse(const struct archive *a, const char *what)
{
    struct clip_error error;
    struct clip_member member;
    char data[8];
    struct clip_source *source = clip_source_memory(a->bytes, a->size, &error);
    struct clip_tar *tar = clip_tar_new(source, &error);
    CHECK(clip_tar_next(tar, &member, &error) == 1 && member.size == 8 && member.kind == CLIP_MEMBER_FILE,
          "%s", what);
    CHECK(strcmp(member.name, "s.bin") == 0, "%s: %s", what, member.name);
    /* in two goes, the first of which ends in a hole */
    CHECK(clip_tar_read(tar, data, 5, &error) == 0 && clip_tar_read(tar, data + 5, 3, &error) == 0, "%s",
          what);
    CHECK(memcmp(data, "\0\0AB\0\0\0C", 8) == 0, "%s", what);
    CHECK(clip_tar_next(tar, &member, &error) == 1 && strcmp(member.name, "after.txt") == 0, "%s", what);
    CHECK(clip_tar_next(tar, &member, &error) == 0, "%s: %s", what, error.text);
    clip_tar_free(tar);
    clip_source_close(source);
}

static void test_sparse(void)
{
    static const char *const pax[] = {
        "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n25 GNU.sparse.name=s.bin\n21 GNU.sparse.size=8\n"
        "26 GNU.sparse.map=2,2,7,1\n",
        "21 GNU.sparse.size=8\n26 GNU.sparse.numblocks=2\n"
        "23 GNU.sparse.offset=2\n25 GNU.sparse.numbytes=2\n"
        "23 GNU.sparse.offset=7\n25 GNU.sparse.numbytes=1\n14 path=s.bin\n"};
    struct archive a = {.size = 0};
    add_gnu_sparse(&a, 8);
    add_file(&a, "after.txt", '0', "");
    add_end(&a);
    expect_sparse(&a, "old GNU");
    for (size_t i = 0; i < 2; i++) {
        a.size = 0;
        add_file(&a, "pax", 'x', pax[i]);
        add_file(&a, "GNUSparseFile.0/s.bin", '0', "ABC");
        add_file(&a, "after.txt", '0', "");
        add_end(&a);
        expect_sparse(&a, pax[i]);
    }
    char body[CLIP_TAR_BLOCK + 3] = "2\n2\n2\n7\n1\n";
    memcpy(body + CLIP_TAR_BLOCK, "ABC", 3);
    a.size = 0;
    add_file(&a, "pax", 'x',
             "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.name=s.bin\n"
             "25 GNU.sparse.realsize=8\n");
    add_header(&a, "GNUSparseFile.0/s.bin", '0', sizeof body);
    add_data(&a, body, sizeof body);
    add_file(&a, "after.txt", '0', "");
    add_end(&a);
    expect_sparse(&a, "1.0");
    for (const char *bad = "9x\n"; *bad; bad++) { /* a count too large, no number, none at all */
        a.bytes[3 * CLIP_TAR_BLOCK] = (uint8_t)*bad;
        refuse(&a, *bad == '9' ? "malformed sparse map" : "s.bin at offset 0: malformed sparse map");
    }
}

static void test_sparse_lies(void)
{
    struct archive a = {.size = 0};
    uint8_t *block = add_gnu_sparse(&a, (uint64_t)7 << 30);
    add_end(&a);
    const char *got = read_all(&a);
    CHECK(strstr(got, "bad member s.bin at offset 0: 7516192768 bytes (at most 1000000"), "%s", got);
    put_octal(block + 483, 7); /* a piece beyond the end */
    sign(block);
    refuse(&a, "malformed sparse map");
    put_octal(block + 483, 8);
    put_octal(block + 410, 3); /* pieces that overlap */
    sign(block);
    refuse(&a, "malformed sparse map");
    put_octal(block + 410, 4);
    put_octal(block + 422, 4); /* more than the archive holds of it */
    sign(block);
    refuse(&a, "malformed sparse map");
    block[482] = 1; /* a block of more pieces that does not come */
    sign(block);
    a.size = CLIP_TAR_BLOCK + 3;
    refuse(&a, "s.bin at offset 0: cut short inside its sparse map");
}

/* The turns are each sample once, and a function of number, seed and epoch, whatever they were before. */
static void test_turns(void)
{
    enum { N = 1000 };
    struct clip_index index = {0}, other = {0};
    struct clip_error error;
    char seen[N] = {0};
    size_t moved = 0;
    for (uint32_t i = 0; i < N; i++)
        CHECK(clip_index_add(&index, i / 100, i * 512, &error) == 0 &&
                  clip_index_add(&other, 0, i, &error) == 0 && index.entries[i].turn == i,
              "");
    clip_index_shuffle(&index, 5, 1);
    for (size_t i = 0; i < N; i++) {
        CHECK(index.entries[i].turn < N && !seen[index.entries[i].turn]++, "");
        CHECK(index.entries[i].shard == i / 100 && index.entries[i].offset == i * 512, "");
        moved += index.entries[i].turn != i;
    }
    CHECK(moved > 980, "%zu", moved);
    clip_index_shuffle(&other, 5, 2);
    CHECK(index.entries[0].turn != other.entries[0].turn || index.entries[1].turn != other.entries[1].turn,
          "");
    clip_index_shuffle(&other, 5, 1);
    for (size_t i = 0; i < N; i++)
        CHECK(index.entries[i].turn == other.entries[i].turn, "");
    clip_index_free(&index);
    clip_index_free(&other);
}

int main(void)
{
    test_turns();
    test_names();
    test_meta_names();
    test_lists();
    test_big_lists();
    test_grouping();
    test_bad_samples();
    test_options();
    test_extension_headers();
    test_prefix_and_numbers();
    test_python_numbers();
    test_signed_checksum();
    test_cuts();
    test_changed_bytes();
    test_lies();
    test_sparse();
    test_sparse_lies();
    return check_end();
}
