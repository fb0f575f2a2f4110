/* Texts of a line each, of any bytes: prompts, which must be filled whole, and captions that a vocabulary is
 * learnt from, which must know them. */
#include "text/prompts.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

/* Two captions of one length give texts that differ in nothing else. */
static void check_filled(const struct clip_prompts *prompts, uint64_t seed)
{
    static const char captions[][4] = {"\1\1\1", "\2\2\2"};
    size_t sizes[2], places = 0;
    char *texts[2];
    for (int i = 0; i < 2; i++)
        CHECK(texts[i] = clip_prompts_fill(prompts, clip_prompts_draw(prompts, seed, 1, "key", 3),
                                           captions[i], 3, &sizes[i]));
    CHECK(sizes[0] == sizes[1]);
    for (size_t i = 0; i < sizes[0]; i++)
        places += texts[0][i] != texts[1][i];
    CHECK(places >= 3 && places % 3 == 0 && !memmem(texts[0], sizes[0], "\n", 1));
    free(texts[0]);
    free(texts[1]);
}

static void check_prompts(const uint8_t *data, size_t size)
{
    char path[40];
    struct clip_error error = {""};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && (size_t)write(fd, data, size) == size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct clip_prompts *prompts = clip_prompts_read(path, &error);
    CHECK(prompts || error.text[0]);
    for (uint64_t seed = 0; prompts && seed < 4; seed++)
        check_filled(prompts, seed);
    clip_prompts_free(prompts);
    close(fd);
}

static void check_training(const uint8_t *data, size_t size)
{
    const int32_t *ids;
    size_t count;
    struct clip_error error = {""};
    FILE *file = fmemopen((void *)data, size, "r");
    CHECK(file);
    struct clip_vocabulary *vocabulary = clip_vocabulary_train(file, 514 + size % 8, &error);
    CHECK(vocabulary ? vocabulary->size == 514 + size % 8 : error.text[0]);
    /* A tokenizer takes much memory: now and then. */
    struct clip_tokenizer *tokenizer =
        vocabulary && size % 16 == 0 ? clip_tokenizer_new(vocabulary, &error) : NULL;
    if (tokenizer) {
        CHECK(clip_tokenize(tokenizer, (const char *)data, size, &ids, &count, &error) == 0);
        for (size_t i = 0; i < count; i++)
            CHECK(ids[i] >= 0 && (size_t)ids[i] < vocabulary->size);
    }
    clip_tokenizer_free(tokenizer);
    clip_vocabulary_free(vocabulary);
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096) /* some references take a round each */
        return 0;
    check_prompts(data, size);
    check_training(data, size);
    return 0;
}
