/* A tokenizer's file of any bytes, as each kind by its name; what opens must tokenize any text. The input is
 * the file; after a byte 0xff in its last 64 bytes comes the text. */
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

static char folder[] = "/tmp/fuzz-tokenizer.XXXXXX";
static const char *const names[] = {"tokenizer.json",          "vocab.txt",  "spiece.model",
                                    "sentencepiece.bpe.model", "x.tiktoken", "vocab.json"};

static const char *path_of(const char *name)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void remove_all(void)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    unlink(path_of("merges.txt"));
    rmdir(folder);
}

static void put(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(path_of(name), "w");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* Which of the names the bytes are likely meant for. */
static size_t first_name(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == '\n')
        return 2;
    if (size > 0 && data[0] == '{')
        return memmem(data, size, "\"model\"", 7) ? 0 : 5;
    return memmem(data, size, "[UNK]", 5) ? 1 : 4;
}

static void use(const char *path, const uint8_t *text, size_t size, enum clip_cleaning cleaning)
{
    static const char fixed[] =
        "A photo\xc3\xa9 of \xe2\x96\x81 \xf0\x9f\x98\x80, [MASK]</s> e\xcc\x81 12\xff  \n\n x's";
    const struct clip_tokenizer_settings settings = {.cleaning = cleaning};
    struct clip_error error;
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(path, &settings, &error);
    int32_t out[64];
    const int32_t *ids;
    size_t count;
    if (!tokenizer) {
        CHECK(error.text[0] && !strchr(error.text, '\n'));
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (clip_tokenize(tokenizer, i ? fixed : (const char *)text, i ? sizeof fixed - 1 : size, &ids,
                          &count, &error) != 0)
            continue;
        for (size_t k = 0; k < count; k++)
            CHECK(ids[k] >= 0 && (size_t)ids[k] < clip_tokenizer_size(tokenizer));
        clip_tokenizer_lay(tokenizer, ids, count, out, 64);
    }
    clip_tokenizer_free(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int ready;
    size_t end = size, from = size > 64 ? size - 64 : 0;
    if (!ready) {
        CHECK(mkdtemp(folder));
        atexit(remove_all);
        put("merges.txt", "#version: 0.2\na b\nab c\n", 23);
    }
    ready = 1;
    for (size_t i = from; i < size && end == size; i++)
        if (data[i] == 0xff)
            end = i;
    const char *name = names[first_name(data, end)];
    put(name, data, end);
    use(path_of(name), data + end, size - end, CLIP_CLEANING_NONE);
    if (strcmp(name, "spiece.model") == 0) {
        put("sentencepiece.bpe.model", data, end);
        unlink(path_of(name));
        use(folder, data + end, size - end, CLIP_CLEANING_CANONICALIZE);
        unlink(path_of("sentencepiece.bpe.model"));
    }
    return 0;
}
