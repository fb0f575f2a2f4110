/* A vocabulary of any bytes, as each of the forms; what is read must be written and read as the same again.
 */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static char folder[] = "/tmp/fuzz-vocab.XXXXXX";

/* The input is vocab/vocab.json and merges/merges.txt, beside the other one of a small vocabulary, and
 * alone/file. */
static const char *const folders[] = {"base", "vocab", "merges", "alone", "written"};
static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer.json", "file"};

static const char *path_of(const char *name, const char *file)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/%s/%s", folder, name, file);
    return path;
}

static void remove_all(void)
{
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        for (size_t k = 0; k < sizeof files / sizeof *files; k++)
            unlink(path_of(folders[i], files[k]));
        rmdir(path_of(folders[i], ""));
    }
    rmdir(folder);
}

static void put(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* A small vocabulary, whose vocab.json and merges.txt stand beside the input as the other. */
static void make_folders(void)
{
    static const char text[] = "the thin thief thinks the other thing";
    struct clip_error error;
    CHECK(mkdtemp(folder));
    atexit(remove_all);
    FILE *in = fmemopen((void *)text, sizeof text - 1, "r");
    struct clip_vocabulary *base = in ? clip_vocabulary_train(in, 520, &error) : NULL;
    CHECK(base);
    fclose(in);
    static const char *const of[] = {"base", "vocab", "merges"};
    for (size_t i = 0; i < 3; i++)
        CHECK(clip_vocabulary_write(base, path_of(of[i], ""), &error) == 0);
    CHECK(mkdir(path_of("alone", ""), 0777) == 0);
    clip_vocabulary_free(base);
}

static void check_use(const struct clip_vocabulary *vocabulary)
{
    static const char text[] = "the \"quick\" brown fox 12 \xc3\xa9t\xc3\xa9 <|endoftext|> aaaaaaaaaa";
    struct clip_error error;
    struct clip_tokenizer *tokenizer = clip_tokenizer_new(vocabulary, &error);
    const int32_t *ids;
    size_t count;
    CHECK(tokenizer && clip_tokenize(tokenizer, text, sizeof text - 1, &ids, &count, &error) == 0 &&
          count > 0);
    for (size_t i = 0; i < count; i++)
        CHECK(ids[i] >= 0 && (size_t)ids[i] < vocabulary->size);
    clip_tokenizer_free(tokenizer);
}

static void check_written(const struct clip_vocabulary *vocabulary)
{
    struct clip_error error;
    CHECK(clip_vocabulary_write(vocabulary, path_of("written", ""), &error) == 0);
    struct clip_vocabulary *again = clip_vocabulary_open(path_of("written", ""), &error);
    CHECK(again && again->merge_count == vocabulary->merge_count && again->start == vocabulary->start);
    CHECK(memcmp(again->bytes, vocabulary->bytes, sizeof again->bytes) == 0);
    clip_vocabulary_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int ready;
    static const char *const places[][2] = {
        {"vocab", "vocab.json"}, {"merges", "merges.txt"}, {"alone", "file"}};
    if (!ready)
        make_folders();
    ready = 1;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct clip_error error;
        put(path_of(places[i][0], places[i][1]), data, size);
        struct clip_vocabulary *vocabulary =
            clip_vocabulary_open(path_of(places[i][0], places[i][1]), &error);
        if (!vocabulary)
            continue;
        check_use(vocabulary);
        check_written(vocabulary);
        clip_vocabulary_free(vocabulary);
    }
    return 0;
}
